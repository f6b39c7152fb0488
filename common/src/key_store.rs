//! The keys of a user: one PEM file a name, in one directory. Called by the wallet's commands and by a miner
//! for its reward key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::address::Address;
use crate::files::{self, FilesError};
use crate::keys::{KeyError, PrivateKey, address_of_pem};

/// The longest name of a key.
pub const MAX_KEY_NAME_BYTES: usize = 32;
/// The longest file of a key: one of 4,096 bits has 3.4 KB; the rest is room for notes before it.
pub const MAX_KEY_FILE_BYTES: u64 = 16 * 1024;
/// What a key's file is called after its name.
const EXTENSION: &str = ".pem";

/// The name of a key: 1–32 of `A–Z a–z 0–9 . _ -`, not starting with a dot. Nothing that a path could be made
/// of, and nothing that hides the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// Why a text is not the name of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a name for a key: a name is 1–{MAX_KEY_NAME_BYTES} of A–Z a–z 0–9 . _ -, and does not start with a dot"
)]
pub struct ParseKeyNameError {
    /// What was given.
    pub text: String,
}

impl KeyName {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = ParseKeyNameError;

    fn from_str(text: &str) -> Result<Self, ParseKeyNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=MAX_KEY_NAME_BYTES).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('.')
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseKeyNameError { text: text.to_owned() })
        }
    }
}

/// Why a key cannot be made, found or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// There is a key of this name; it was left as it is.
    #[error("the key {name} exists already, in {path}: choose another name", path = path.display())]
    Exists {
        /// Which name.
        name: KeyName,
        /// Its file.
        path: PathBuf,
    },
    /// There is no key of this name.
    #[error("there is no key {name} in {directory}", directory = directory.display())]
    Unknown {
        /// Which name.
        name: KeyName,
        /// Where keys are.
        directory: PathBuf,
    },
    /// Others on this machine can read the private key.
    #[error(
        "the key in {path} can be read by others (its mode is {mode:03o}): say `chmod 600 {path}`",
        path = path.display()
    )]
    ReadableByOthers {
        /// Its file.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// The file is there, and what it holds cannot be used.
    #[error("the key in {path} {error}", path = path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// A key as it is listed.
#[derive(Debug)]
pub struct ListedKey {
    /// Its name.
    pub name: KeyName,
    /// Its address, or what is wrong with its file.
    pub address: Result<Address, KeyStoreError>,
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
        let path = self.path(name);
        // Said before the seconds that making a key may take; the file system decides below.
        if path.symlink_metadata().is_ok() {
            return Err(KeyStoreError::Exists { name: name.clone(), path });
        }
        let key =
            PrivateKey::generate(bits).map_err(|error| KeyStoreError::Key { path: path.clone(), error })?;
        files::create_private_directory(&self.directory)?;
        match files::create_new(&path, key.to_pem().as_bytes()) {
            Ok(()) => Ok((key, path)),
            Err(FilesError::Exists { path }) => Err(KeyStoreError::Exists { name: name.clone(), path }),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a key to sign with: whole, private, and of at least so many bits.
    pub fn load(&self, name: &KeyName, least_bits: u32) -> Result<PrivateKey, KeyStoreError> {
        let (path, text) = self.read(name, true)?;
        let key = PrivateKey::from_pem(&text).and_then(|key| match key.bits() {
            got if got < least_bits => Err(KeyError::TooSmall { got, least: least_bits }),
            _ => Ok(key),
        });
        key.map_err(|error| KeyStoreError::Key { path, error })
    }

    /// The address of a key. Only its public part is looked at, so that a wallet of many keys is listed at
    /// once; whether the key can sign is found out by [`KeyStore::load`].
    pub fn find(&self, name: &KeyName) -> Result<Address, KeyStoreError> {
        let (path, text) = self.read(name, false)?;
        address_of_pem(&text).map_err(|error| KeyStoreError::Key { path, error })
    }

    /// Every key with its address, or with what is wrong with it, by name.
    pub fn list(&self) -> Result<Vec<ListedKey>, KeyStoreError> {
        let names = files::names_in(&self.directory)?;
        let names = names.iter().filter_map(|name| name.strip_suffix(EXTENSION)?.parse().ok());
        let listed = |name| ListedKey { address: self.find(&name), name };
        let mut keys: Vec<ListedKey> = names.map(listed).collect();
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(keys)
    }

    /// The text of a key's file; if it is to be `private`, only when nobody else can read it.
    fn read(&self, name: &KeyName, private: bool) -> Result<(PathBuf, Zeroizing<String>), KeyStoreError> {
        let path = self.path(name);
        let file = files::open(&path).map_err(|error| match path.symlink_metadata() {
            Err(_) if error.is_not_found() => {
                KeyStoreError::Unknown { name: name.clone(), directory: self.directory.clone() }
            }
            _ => error.into(),
        })?;
        #[cfg(unix)]
        if private {
            use std::os::unix::fs::PermissionsExt;
            let metadata = file.metadata().map_err(|source| FilesError::Io {
                action: "look at",
                path: path.clone(),
                source,
            })?;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyStoreError::ReadableByOthers { path, mode });
            }
        }
        #[cfg(not(unix))]
        let _ = private;
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

mod check;
#[cfg(test)]
mod tests;
