//! What a program asks of the system for itself. Called by the programs when they are about to hold a secret.

/// Keeps this process out of core dumps, and from being looked into by other processes of the same user. What the
/// system does not grant is no reason to fail: it is one protection of several.
pub fn hide_memory() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
    // A core limit of 0 does not stop a dump into a pipe, such as systemd's; this does.
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
