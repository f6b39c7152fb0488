//! Why a key cannot be made, found, read or rewritten.

use std::fmt;
use std::path::PathBuf;

use super::{KeyName, MAX_KEY_FILE_BYTES};
use crate::files::FilesError;
use crate::keys::KeyError;
use crate::passphrase::PassphraseError;

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
    /// It is to be encrypted, and is.
    #[error("the key {name} is encrypted already")]
    EncryptedAlready {
        /// Which name.
        name: KeyName,
    },
    /// It is to be decrypted or to get another passphrase, and has none.
    #[error("the key {name} is not encrypted")]
    NotEncrypted {
        /// Which name.
        name: KeyName,
    },
    /// Somebody else changed the file while a passphrase was asked for.
    #[error("the key in {path} was changed by another program in the meantime, and is left as that made it", path = path.display())]
    Changed {
        /// Its file.
        path: PathBuf,
    },
    /// With what is beside it, the key would no longer fit into a file that is read.
    #[error("the key in {path} would take more than {MAX_KEY_FILE_BYTES} bytes with what is beside it: take that out of the file first", path = path.display())]
    NoRoom {
        /// Its file.
        path: PathBuf,
    },
    /// The disk failed when the file was written already: it may be the old one or the new one after a power cut.
    #[error("it is not certain that the key {name} {became}: {source}")]
    Uncertain {
        /// Which key.
        name: KeyName,
        /// What it was to be, and is until then.
        became: Became,
        /// What the disk refused.
        source: FilesError,
    },
    /// There is no passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The same of the one that a key is to get, where it has another.
    #[error(transparent)]
    NewPassphrase(PassphraseError),
    /// The file cannot be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

impl KeyStoreError {
    /// Whether the disk failed, and not who asked.
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::Files(error) | Self::Uncertain { source: error, .. } if error.is_of_disk())
    }
}

/// What a key is when its file has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// There was none.
    Made,
    /// It has a passphrase, and had none.
    Encrypted,
    /// It has none any more.
    Decrypted,
    /// It has another than before.
    ChangedPassphrase,
}

impl fmt::Display for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Made => "is made",
            Self::Encrypted => "is encrypted",
            Self::Decrypted => "is decrypted",
            Self::ChangedPassphrase => "has its new passphrase",
        })
    }
}
