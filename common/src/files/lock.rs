//! Locks that die with their holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::FilesError;
use super::temporary::private;

/// A lock between processes, held until it is dropped or its process ends, however it ends. The file itself
/// stays and holds nothing.
#[derive(Debug)]
pub struct FileLock {
    /// The system keeps the lock for as long as this file is open.
    _file: File,
}

impl FileLock {
    /// Takes the lock, or says `None` when somebody else holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, FilesError> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(FilesError::io("lock", path)(source)),
        }
    }

    /// Takes the lock, waiting for whoever holds it. For locks that are held for moments.
    pub fn acquire(path: &Path) -> Result<Self, FilesError> {
        let file = Self::open(path)?;
        file.lock().map_err(FilesError::io("lock", path))?;
        Ok(Self { _file: file })
    }

    fn open(path: &Path) -> Result<File, FilesError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        options.open(path).map_err(FilesError::io("open the lock", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_is_free_when_dropped() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = FileLock::try_acquire(&path).unwrap();
        assert!(held.is_some());
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        drop(held);
        let held = FileLock::acquire(&path).unwrap();
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_acquire(&path).unwrap().is_some());
    }
}
