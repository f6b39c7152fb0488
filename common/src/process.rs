//! What a program asks of the system for itself.

/// For programs that are about to hold a secret: keeps this process out of core dumps, and from being looked into by
/// other processes of the same user. What the system does not grant is no reason to fail: it is one protection of
/// several.
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

/// How many files and sockets the system lets this program have open; `None`: it does not say, or any number.
pub fn most_descriptors() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok())
    }
    #[cfg(not(unix))]
    None
}
