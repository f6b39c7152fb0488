//! Why something on the disk cannot be done, and whether it is the disk's fault.

use std::io;
use std::path::{Path, PathBuf};

use super::space::{Space, is_full_of_files, size};

/// Why something on the disk cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system refused.
    #[error("cannot {action} {path}: {}", reason(path, source), path = path.display())]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is new is whole and has its name, which may not survive a power cut, and could not be taken back.
    #[error("{path} is written, and may not last: {}", reason(path, source), path = path.display())]
    Uncertain {
        /// Which file.
        path: PathBuf,
        /// What the system said when it was to make it durable.
        source: io::Error,
    },
    /// A file of this name is there already; it was left as it is.
    #[error("{path} exists already", path = path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// A directory, a device or the like stands where a file belongs.
    #[error("{path} is not a file", path = path.display())]
    NotAFile {
        /// What stands there.
        path: PathBuf,
    },
    /// Larger than any such file can rightly be.
    #[error("{path} has more than {max} bytes, which no such file has", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The most that is read.
        max: u64,
    },
    /// Others on this machine can read what is secret.
    #[error("{path} can be read by others (its mode is {mode:03o}): say `chmod 600 {path}`", path = path.display())]
    ReadableByOthers {
        /// Which file.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// The system does not say where the user's data belongs.
    #[error("the home directory is not known: name a data directory")]
    NoHomeDirectory,
}

impl FilesError {
    /// For `map_err`: an [`FilesError::Io`] about this path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the disk failed, and not who asked.
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } | Self::Uncertain { source, .. } if is_of_disk(source))
    }

    /// Whether the file is not there at all.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Linux' number for an input or output error, which has no [`io::ErrorKind`] of its own.
const INPUT_OUTPUT_ERROR: i32 = 5;

/// Whether it is the disk that failed: full, over a quota, not writable, or broken.
pub fn is_of_disk(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    let broken = cfg!(unix) && error.raw_os_error() == Some(INPUT_OUTPUT_ERROR);
    // A file that may not grow is as good as a full disk.
    let kinds = [StorageFull, QuotaExceeded, ReadOnlyFilesystem, PermissionDenied, FileTooLarge];
    broken || kinds.contains(&error.kind())
}

/// What the system said of a path; if it wanted for room, with how much there is.
pub fn reason(path: &Path, error: &io::Error) -> String {
    use io::ErrorKind::*;
    if error.kind() == StorageFull && is_full_of_files(path) {
        return format!("{error}; the file system takes no more files, of any size");
    }
    let room = matches!(error.kind(), StorageFull | QuotaExceeded).then(|| Space::of(path)).flatten();
    match room {
        Some(Space { free, total }) => format!("{error}; {} of {} are free", size(free), size(total)),
        None => error.to_string(),
    }
}

/// What whoever runs a program can do when [`is_of_disk`]. No sentence more exact holds for all of it.
pub const DISK_HINT: &str = "make room there, see that it can be written, or choose another place with --data-dir, \
                             and start again: what was stored before is intact";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_does_is_told_from_what_was_asked_wrongly() {
        let io = |number| {
            let source = io::Error::from_raw_os_error(number);
            FilesError::Io { action: "write", path: std::env::temp_dir().join("no/such/file"), source }
        };
        // Linux' numbers for EIO, EACCES, EFBIG, ENOSPC, EROFS, EDQUOT.
        #[cfg(target_os = "linux")]
        {
            assert!([5, 13, 27, 28, 30, 122].into_iter().all(|number| io(number).is_of_disk()));
            assert!([28, 122].into_iter().all(|number| io(number).to_string().ends_with(" are free")));
            assert!(!io(5).to_string().contains("free"));
        }
        assert!(!io(2).is_of_disk() && io(2).is_not_found());
    }
}
