//! Reading files of which nobody knows what they are.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::FilesError;

/// Reads a file of at most `max` bytes.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, FilesError> {
    read_opened(open(path)?, path, max)
}

/// Opens a regular file (or a link to one) for reading.
pub fn open(path: &Path) -> Result<File, FilesError> {
    // Looked at first: to open a device may do something.
    if !fs::metadata(path).map_err(FilesError::io("read", path))?.is_file() {
        return Err(FilesError::NotAFile { path: path.to_owned() });
    }
    open_at_once(path)
}

/// The same, whatever has taken the place of what was looked at: opening a pipe would wait for a writer.
fn open_at_once(path: &Path) -> Result<File, FilesError> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.cast_signed());
    }
    let file = options.open(path).map_err(FilesError::io("read", path))?;
    match file.metadata().map_err(FilesError::io("look at", path))?.is_file() {
        true => Ok(file),
        false => Err(FilesError::NotAFile { path: path.to_owned() }),
    }
}

/// Reads a file of at most `max` bytes that was opened with [`open`]; `path` is for the error's sentence.
pub fn read_opened(file: File, path: &Path, max: u64) -> Result<Vec<u8>, FilesError> {
    // The whole capacity at once, so that growing never leaves a copy of a secret behind; nor does a failure.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(max + 1).unwrap_or(0)));
    file.take(max + 1).read_to_end(&mut bytes).map_err(FilesError::io("read", path))?;
    if bytes.len() as u64 > max {
        return Err(FilesError::TooLarge { path: path.to_owned(), max });
    }
    Ok(std::mem::take(&mut *bytes))
}

/// Fails if a file on a disk can be read, or written, by others than its owner. Pipes and devices have rules of
/// their own.
pub fn refuse_if_readable_by_others(file: &File, path: &Path) -> Result<(), FilesError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = file.metadata().map_err(FilesError::io("look at", path))?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_file() && mode & 0o077 != 0 {
            return Err(FilesError::ReadableByOthers { path: path.to_owned(), mode });
        }
    }
    #[cfg(not(unix))]
    let _ = (file, path);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{names_in, remove, replace};

    #[test]
    fn reading_is_bounded_and_of_files_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        replace(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(FilesError::TooLarge { max: 4, .. })));
        assert!(matches!(read(root.path(), 4), Err(FilesError::NotAFile { .. })));
        assert!(read(&root.path().join("other"), 4).unwrap_err().is_not_found());
        assert!(names_in(&root.path().join("other")).unwrap().is_empty());
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn nobody_waits_for_the_writer_of_a_pipe_that_took_the_place_of_a_file() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("there is a `mkfifo`").success());
        for open in [open, open_at_once] {
            assert!(matches!(open(&pipe), Err(FilesError::NotAFile { .. })));
        }
        assert!(matches!(open_at_once(root.path()), Err(FilesError::NotAFile { .. })));
    }
}
