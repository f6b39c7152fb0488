//! One writer of keys at a time, and what those left behind that were killed.

use std::path::PathBuf;

use super::{KeyStore, KeyStoreError};
use crate::files::{self, FileLock};

/// The lock that is held while files of keys are written: for moments, and never while a user is asked.
pub(super) const LOCK_FILE: &str = ".lock";

impl KeyStore {
    /// Removes what programs left behind that were killed while they wrote keys. It may be a copy of a key that is
    /// encrypted by now. Whatever writes a key does so first.
    pub fn tidy(&self) -> Result<(), KeyStoreError> {
        match self.leftovers()?.is_empty() {
            true => Ok(()),
            false => self.lock().map(drop),
        }
    }

    /// Keeps other programs from writing keys until the result is dropped, and removes what those left behind that
    /// were killed. Nobody holds it for long, so it is waited for.
    pub(super) fn lock(&self) -> Result<FileLock, KeyStoreError> {
        let lock = FileLock::acquire(&self.directory.join(LOCK_FILE))?;
        for leftover in self.leftovers()? {
            match files::remove(&leftover) {
                // Where links lead it may not be ours to write; whoever rewrites that key insists.
                Err(_) if leftover.parent() != Some(&self.directory) => {}
                removed => removed?,
            }
        }
        Ok(lock)
    }

    /// Temporary files of keys: here, and beside the files that links lead to from here.
    fn leftovers(&self) -> Result<Vec<PathBuf>, KeyStoreError> {
        let mut leftovers = files::leftovers_in(&self.directory)?;
        for name in self.names()? {
            let path = self.path(&name);
            let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
            // Of links that lead nowhere there is nothing to find.
            if let (true, Ok(target)) = (is_link, path.canonicalize()) {
                leftovers.extend(files::leftovers_of(&target).unwrap_or_default());
            }
        }
        Ok(leftovers)
    }
}
