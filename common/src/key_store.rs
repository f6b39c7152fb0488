//! The keys of a user: one PEM file a name, in one directory. Called by the wallet's commands and by a miner
//! for its reward key.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::address::Address;
use crate::files::{self, FilesError};
use crate::keys::{KeyError, KeyFile, PrivateKey, PublicKey};
use crate::passphrase::{Passphrase, Passphrases};

mod check;
mod error;
mod lock;
mod name;
mod rewrite;

pub use error::{Became, KeyStoreError};
pub use name::{KeyName, MAX_KEY_NAME_BYTES, ParseKeyNameError};
pub use rewrite::Rewritten;

/// The longest file of a key: one of 4,096 bits has 3.4 KB, 4.4 encrypted; the rest is room for notes and
/// certificates beside it.
pub const MAX_KEY_FILE_BYTES: u64 = 16 * 1024;
/// What a key's file is called after its name.
const EXTENSION: &str = ".pem";

/// A key as it is listed.
#[derive(Debug)]
pub struct ListedKey {
    /// Its name.
    pub name: KeyName,
    /// Its address, or what is wrong with its file.
    pub address: Result<Address, KeyStoreError>,
    /// Its size in bits, if nothing is wrong.
    pub bits: Option<u32>,
}

/// A file of a key as it was read.
struct Opened {
    path: PathBuf,
    text: Zeroizing<String>,
    file: KeyFile,
}

/// A directory of keys.
#[derive(Clone, Debug)]
pub struct KeyStore {
    directory: PathBuf,
}

impl KeyStore {
    /// The keys in this directory, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where the keys are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of a key.
    pub fn path(&self, name: &KeyName) -> PathBuf {
        self.directory.join(format!("{name}{EXTENSION}"))
    }

    /// Makes a key and its file, durably and for the owner's eyes alone. An existing file is never touched,
    /// whatever it is; of several who make one name at once exactly one succeeds.
    pub fn create(&self, name: &KeyName, bits: u32) -> Result<(PrivateKey, PathBuf), KeyStoreError> {
        self.refuse_existing(name)?;
        self.make(name, bits, |key| Ok(key.to_pem()))
    }

    /// The same, but the key is never on the disk without encryption. The passphrase is asked for.
    pub fn create_encrypted(
        &self,
        name: &KeyName,
        bits: u32,
        passphrases: &Passphrases,
    ) -> Result<(PrivateKey, PathBuf), KeyStoreError> {
        self.refuse_existing(name)?;
        let passphrase = passphrases.get_new(name.as_str())?;
        self.make(name, bits, |key| key.to_encrypted_pem(&passphrase).map(Zeroizing::new))
    }

    /// Reads a key to sign with: whole, private, and of at least so many bits. If it is encrypted, its passphrase
    /// is asked for; of a file that is damaged nothing is asked.
    pub fn load(
        &self,
        name: &KeyName,
        least_bits: u32,
        passphrases: &Passphrases,
    ) -> Result<PrivateKey, KeyStoreError> {
        let Opened { path, file, .. } = self.parse(name, true)?;
        if let Ok(public) = file.public_key() {
            in_file(&path, public.has_bits(least_bits))?;
        }
        let key = unlock(name, &path, &file, passphrases)?;
        in_file(&path, key.public_key().has_bits(least_bits))?;
        Ok(key)
    }

    /// The public part of a key of at least so many bits, for somebody who will be paid. If it is not encrypted,
    /// the key is known to be able to spend that.
    pub fn public_key(&self, name: &KeyName, least_bits: u32) -> Result<PublicKey, KeyStoreError> {
        let Opened { path, file, .. } = self.parse(name, true)?;
        let public = in_file(&path, file.public_key())?.clone();
        in_file(&path, public.has_bits(least_bits))?;
        if !file.is_encrypted() {
            in_file(&path, file.open())?;
        }
        Ok(public)
    }

    /// The address of a key. Only its public part is looked at, so that a wallet of many keys is listed at
    /// once; whether the key can sign is found out by [`KeyStore::load`].
    pub fn find(&self, name: &KeyName) -> Result<Address, KeyStoreError> {
        Ok(self.look_at(name)?.address())
    }

    fn look_at(&self, name: &KeyName) -> Result<PublicKey, KeyStoreError> {
        let Opened { path, file, .. } = self.parse(name, false)?;
        in_file(&path, file.public_key()).cloned()
    }

    /// Whether it takes a passphrase to sign with a key.
    pub fn is_encrypted(&self, name: &KeyName) -> Result<bool, KeyStoreError> {
        Ok(self.parse(name, false)?.file.is_encrypted())
    }

    /// Every key with its address, or with what is wrong with it, by name.
    pub fn list(&self) -> Result<Vec<ListedKey>, KeyStoreError> {
        let listed = |name| {
            let key = self.look_at(&name);
            let bits = key.as_ref().ok().map(PublicKey::bits);
            ListedKey { name, address: key.map(|key| key.address()), bits }
        };
        let mut keys: Vec<ListedKey> = self.names()?.into_iter().map(listed).collect();
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(keys)
    }

    /// Said before the seconds that making a key may take, and before a passphrase is asked for; the file system
    /// decides later.
    fn refuse_existing(&self, name: &KeyName) -> Result<(), KeyStoreError> {
        let path = self.path(name);
        match path.symlink_metadata() {
            Ok(_) => Err(KeyStoreError::Exists { name: name.clone(), path }),
            Err(_) => Ok(()),
        }
    }

    fn make(
        &self,
        name: &KeyName,
        bits: u32,
        write: impl FnOnce(&PrivateKey) -> Result<Zeroizing<String>, KeyError>,
    ) -> Result<(PrivateKey, PathBuf), KeyStoreError> {
        let path = self.path(name);
        let key = in_file(&path, PrivateKey::generate(bits))?;
        let text = in_file(&path, write(&key))?;
        files::create_private_directory(&self.directory)?;
        let _lock = self.lock()?;
        match files::create_new(&path, text.as_bytes()) {
            Ok(()) => Ok((key, path)),
            Err(FilesError::Exists { path }) => Err(KeyStoreError::Exists { name: name.clone(), path }),
            Err(error) => Err(unwritten(name, Became::Made, error)),
        }
    }

    /// The names of the files that keys may be in.
    fn names(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        let names = files::names_in(&self.directory)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(EXTENSION)?.parse().ok()).collect())
    }

    /// What a key's file holds; if it is to be `private`, only when nobody else can read it.
    fn parse(&self, name: &KeyName, private: bool) -> Result<Opened, KeyStoreError> {
        let (path, text) = self.read(name, private)?;
        let file = in_file(&path, KeyFile::parse(&text))?;
        Ok(Opened { path, text, file })
    }

    fn read(&self, name: &KeyName, private: bool) -> Result<(PathBuf, Zeroizing<String>), KeyStoreError> {
        let path = self.path(name);
        let file = files::open(&path).map_err(|error| match path.symlink_metadata() {
            Err(_) if error.is_not_found() => {
                KeyStoreError::Unknown { name: name.clone(), directory: self.directory.clone() }
            }
            _ => error.into(),
        })?;
        if private {
            files::refuse_if_readable_by_others(&file, &path).map_err(|error| match error {
                FilesError::ReadableByOthers { path, mode } => KeyStoreError::ReadableByOthers { path, mode },
                error => error.into(),
            })?;
        }
        match String::from_utf8(files::read_opened(file, &path, MAX_KEY_FILE_BYTES)?) {
            Ok(text) => Ok((path, Zeroizing::new(text))),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                let error = KeyError::NotPem { reason: "it is not text".to_owned() };
                Err(KeyStoreError::Key { path, error })
            }
        }
    }
}

/// The key of a file, whose passphrase is asked for if it has one: again, if a user can answer again.
fn unlock(
    name: &KeyName,
    path: &Path,
    file: &KeyFile,
    passphrases: &Passphrases,
) -> Result<PrivateKey, KeyStoreError> {
    if !file.is_encrypted() {
        return in_file(path, file.open());
    }
    let mut attempts = passphrases.attempts();
    loop {
        let passphrase: Passphrase = passphrases.get(name.as_str())?;
        match file.unlock(&passphrase) {
            Err(KeyError::WrongPassphrase { .. }) if attempts > 1 => passphrases.tell_wrong(),
            outcome => return in_file(path, outcome),
        }
        attempts -= 1;
    }
}

/// Says of an error in writing a key's file whether the file may be written all the same.
fn unwritten(name: &KeyName, became: Became, error: FilesError) -> KeyStoreError {
    match error {
        FilesError::Uncertain { .. } => {
            KeyStoreError::Uncertain { name: name.clone(), became, source: error }
        }
        error => error.into(),
    }
}

/// Says in which file a key is that is of no use.
fn in_file<T>(path: &Path, outcome: Result<T, KeyError>) -> Result<T, KeyStoreError> {
    outcome.map_err(|error| KeyStoreError::Key { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests;
