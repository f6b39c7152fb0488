//! One writer of keys at a time, and what those left behind that were killed.

use std::path::PathBuf;

use super::{KeyStore, KeyStoreError};
use crate::files::{self, FileLock};

/// The lock that is held while files of keys are written: for moments, and never while a user is asked.
pub(super) const LOCK_FILE: &str = ".lock";

impl KeyStore {
    /// Removes what programs left behind that were killed while they wrote keys. It may be a copy of a key that is
    /// encrypted by now. Whatever writes a key does so first, where it can; this fails where it cannot.
    pub fn tidy(&self) -> Result<(), KeyStoreError> {
        self.tidy_also(&self.linked()?)
    }

    /// The same of this directory, and of these files elsewhere.
    pub(super) fn tidy_also(&self, elsewhere: &[PathBuf]) -> Result<(), KeyStoreError> {
        let mut leftovers = files::leftovers_in(&self.directory)?;
        for file in elsewhere {
            leftovers.extend(files::leftovers_of(file)?);
        }
        if leftovers.is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        Ok(leftovers.iter().try_for_each(|leftover| files::remove(leftover))?)
    }

    /// Keeps other programs from writing keys until the result is dropped, and removes what those left behind that
    /// were killed. Nobody holds it for long, so it is waited for.
    pub(super) fn lock(&self) -> Result<FileLock, KeyStoreError> {
        let lock = FileLock::acquire(&self.directory.join(LOCK_FILE))?;
        files::remove_leftovers_in(&self.directory)?;
        for file in self.linked()? {
            // Where links lead it may not be ours to write; whoever rewrites that key insists.
            let leftovers = files::leftovers_of(&file).unwrap_or_default();
            leftovers.iter().for_each(|leftover| drop(files::remove(leftover)));
        }
        Ok(lock)
    }

    /// The files that links lead to from here, beside which something may have been left. Of links that lead nowhere
    /// there is nothing to find.
    fn linked(&self) -> Result<Vec<PathBuf>, KeyStoreError> {
        let paths = self.names()?.into_iter().map(|name| self.path(&name));
        let is_link = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        Ok(paths.filter(is_link).filter_map(|path| path.canonicalize().ok()).collect())
    }
}
