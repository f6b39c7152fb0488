//! Files of keys that are written anew: under a passphrase, under another, or from under it.
//!
//! A user may think of a passphrase for minutes. So no lock is held meanwhile, and the file is replaced only if it is
//! still what it was.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Became, KeyName, KeyStore, KeyStoreError, MAX_KEY_FILE_BYTES, Opened};
use super::{in_file, unlock, unwritten};
use crate::files::{self, FilesError};
use crate::passphrase::Passphrases;

/// A file of a key that was written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The file, which its name may have been a link to.
    pub path: PathBuf,
    /// How many other names (hard links) the old file has: each still leads to what it was.
    pub other_names: u64,
}

impl KeyStore {
    /// Puts a key under a passphrase, which is asked for. Whatever happens, the file is the old one or the new
    /// one, and no copy of the key stays on the disk that is not encrypted.
    pub fn encrypt(&self, name: &KeyName, passphrases: &Passphrases) -> Result<Rewritten, KeyStoreError> {
        let old = self.parse(name, true)?;
        if old.file.is_encrypted() {
            // Somebody who was killed while he decrypted it may have left a copy.
            self.tidy_also(old.path.canonicalize().ok().as_slice())?;
            return Err(KeyStoreError::EncryptedAlready { name: name.clone() });
        }
        let key = in_file(&old.path, old.file.open())?;
        let passphrase = passphrases.get_new(name.as_str())?;
        let text = in_file(&old.path, old.file.with_encrypted(&key, &passphrase))?;
        self.rewrite(name, &old, Became::Encrypted, text.as_bytes())
    }

    /// Takes the passphrase off a key. Whatever happens, the file is the old one or the new one.
    pub fn decrypt(&self, name: &KeyName, passphrases: &Passphrases) -> Result<Rewritten, KeyStoreError> {
        let old = self.parse_encrypted(name)?;
        let key = unlock(name, &old.path, &old.file, passphrases)?;
        let text = in_file(&old.path, old.file.with_plain(&key))?;
        self.rewrite(name, &old, Became::Decrypted, text.as_bytes())
    }

    /// Puts an encrypted key under another passphrase; the key itself stays what it is. The file will say its
    /// public key also if it did not before.
    pub fn change_passphrase(
        &self,
        name: &KeyName,
        old_passphrases: &Passphrases,
        new_passphrases: &Passphrases,
    ) -> Result<Rewritten, KeyStoreError> {
        let old = self.parse_encrypted(name)?;
        let key = unlock(name, &old.path, &old.file, old_passphrases)?;
        let passphrase = new_passphrases.get_new(name.as_str()).map_err(KeyStoreError::NewPassphrase)?;
        let text = in_file(&old.path, old.file.with_encrypted(&key, &passphrase))?;
        self.rewrite(name, &old, Became::ChangedPassphrase, text.as_bytes())
    }

    fn parse_encrypted(&self, name: &KeyName) -> Result<Opened, KeyStoreError> {
        match self.parse(name, true)? {
            opened if opened.file.is_encrypted() => Ok(opened),
            _ => Err(KeyStoreError::NotEncrypted { name: name.clone() }),
        }
    }

    /// Replaces the file of a key, if it is still what it was when it was read.
    fn rewrite(
        &self,
        name: &KeyName,
        old: &Opened,
        became: Became,
        contents: &[u8],
    ) -> Result<Rewritten, KeyStoreError> {
        if contents.len() as u64 > MAX_KEY_FILE_BYTES {
            return Err(KeyStoreError::NoRoom { path: old.path.clone() });
        }
        let _lock = self.lock()?;
        let failed = |source| FilesError::Io { action: "look at", path: old.path.clone(), source };
        // A link stays one: what it leads to is replaced.
        let path = old.path.canonicalize().map_err(failed)?;
        let now = Zeroizing::new(files::read(&path, MAX_KEY_FILE_BYTES)?);
        if *now != old.text.as_bytes() {
            return Err(KeyStoreError::Changed { path });
        }
        files::leftovers_of(&path)?.iter().try_for_each(|leftover| files::remove(leftover))?;
        #[cfg(unix)]
        let names = std::os::unix::fs::MetadataExt::nlink(&path.metadata().map_err(failed)?);
        #[cfg(not(unix))]
        let names = 1;
        files::replace(&path, contents).map_err(|error| unwritten(name, became, error))?;
        Ok(Rewritten { path, other_names: names.saturating_sub(1) })
    }
}
