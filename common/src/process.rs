//! What a program asks of the system for itself.

mod disk_signals;

pub(crate) use disk_signals::is_mapped;
pub use disk_signals::{meet_disk_signals, say_when_the_map_fails};

use crate::driver::limits::LEAST_DESCRIPTORS;

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

/// The system lets this program open too few files and sockets.
#[derive(Debug, thiserror::Error)]
#[error(
    "the system allows {most} open files, and this program needs {LEAST_DESCRIPTORS}: say `ulimit -n {LEAST_DESCRIPTORS}`, \
     or more"
)]
pub struct TooFewDescriptors {
    most: usize,
}

/// Fails where this program cannot open as much as it may need. To be asked before anything is done: what is said later
/// is said of whatever happens to miss one, and event loops panic.
pub fn enough_descriptors() -> Result<(), TooFewDescriptors> {
    enough(most_descriptors())
}

fn enough(descriptors: Option<usize>) -> Result<(), TooFewDescriptors> {
    match descriptors {
        Some(most) if most < LEAST_DESCRIPTORS => Err(TooFewDescriptors { most }),
        _ => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn with_too_few_descriptors_nothing_is_begun() {
        for descriptors in [None, Some(LEAST_DESCRIPTORS), Some(1_024)] {
            enough(descriptors).unwrap();
        }
        let error = enough(Some(LEAST_DESCRIPTORS - 1)).unwrap_err().to_string();
        assert!(error.starts_with("the system allows 31 open files, and this program needs 32: "), "{error}");
    }

    #[test]
    fn hidden_memory_is_dumped_nowhere() {
        // In a process of its own, for it cannot be undone.
        const ALONE: &str = "HIDES_ITS_MEMORY";
        if std::env::var_os(ALONE).is_none() {
            let name = "process::tests::hidden_memory_is_dumped_nowhere";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            let output = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
            return;
        }
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        hide_memory();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let cores = getrlimit(Resource::Core);
        assert_eq!((cores.current, cores.maximum), (Some(0), Some(0)));
    }
}
