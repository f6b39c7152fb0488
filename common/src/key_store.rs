//! The keys of a user: one PEM file a name, in one directory. Called by the wallet's commands and by a miner
//! for its reward key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::address::Address;
use crate::files::{self, FileLock, FilesError};
use crate::keys::{KeyError, KeyFile, PrivateKey, PublicKey};
use crate::passphrase::{Passphrase, PassphraseError, Passphrases};

/// The longest name of a key.
pub const MAX_KEY_NAME_BYTES: usize = 32;
/// The longest file of a key: one of 4,096 bits has 3.4 KB, 4.4 encrypted; the rest is room for notes and certificates beside it.
pub const MAX_KEY_FILE_BYTES: u64 = 16 * 1024;
/// What a key's file is called after its name.
const EXTENSION: &str = ".pem";
/// The lock that is held while files of keys are written: for moments, and never while a user is asked.
const LOCK_FILE: &str = ".lock";

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
    /// There is no passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
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

/// A file of a key that was written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The file, which its name may have been a link to.
    pub path: PathBuf,
    /// How many other names (hard links) the old file has: each still leads to what it was.
    pub other_names: u64,
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
        let Opened { path, file, .. } = self.parse(name, false)?;
        Ok(in_file(&path, file.public_key())?.address())
    }

    /// Whether it takes a passphrase to sign with a key.
    pub fn is_encrypted(&self, name: &KeyName) -> Result<bool, KeyStoreError> {
        Ok(self.parse(name, false)?.file.is_encrypted())
    }

    /// Puts a key under a passphrase, which is asked for. Whatever happens, the file is the old one or the new
    /// one, and no copy of the key stays on the disk that is not encrypted.
    pub fn encrypt(&self, name: &KeyName, passphrases: &Passphrases) -> Result<Rewritten, KeyStoreError> {
        let old = self.parse(name, true)?;
        if old.file.is_encrypted() {
            // Somebody who was killed while he decrypted it may have left a copy.
            self.tidy()?;
            return Err(KeyStoreError::EncryptedAlready { name: name.clone() });
        }
        let key = in_file(&old.path, old.file.open())?;
        let passphrase = passphrases.get_new(name.as_str())?;
        let text = in_file(&old.path, old.file.with_encrypted(&key, &passphrase))?;
        self.rewrite(&old, text.as_bytes())
    }

    /// Takes the passphrase off a key. Whatever happens, the file is the old one or the new one.
    pub fn decrypt(&self, name: &KeyName, passphrases: &Passphrases) -> Result<Rewritten, KeyStoreError> {
        let old = self.parse_encrypted(name)?;
        let key = unlock(name, &old.path, &old.file, passphrases)?;
        let text = in_file(&old.path, old.file.with_plain(&key))?;
        self.rewrite(&old, text.as_bytes())
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
        let passphrase = new_passphrases.get_new(name.as_str())?;
        let text = in_file(&old.path, old.file.with_encrypted(&key, &passphrase))?;
        self.rewrite(&old, text.as_bytes())
    }

    /// Removes what programs left behind that were killed while they wrote keys. It may be a copy of a key that is
    /// encrypted by now. Whatever writes a key does so first.
    pub fn tidy(&self) -> Result<(), KeyStoreError> {
        match self.leftovers()?.is_empty() {
            true => Ok(()),
            false => self.lock().map(drop),
        }
    }

    /// Every key with its address, or with what is wrong with it, by name.
    pub fn list(&self) -> Result<Vec<ListedKey>, KeyStoreError> {
        let listed = |name| ListedKey { address: self.find(&name), name };
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
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps other programs from writing keys until the result is dropped, and removes what those left behind that
    /// were killed. Nobody holds it for long, so it is waited for.
    fn lock(&self) -> Result<FileLock, KeyStoreError> {
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

    /// The names of the files that keys may be in.
    fn names(&self) -> Result<Vec<KeyName>, KeyStoreError> {
        let names = files::names_in(&self.directory)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(EXTENSION)?.parse().ok()).collect())
    }

    /// Replaces the file of a key, if it is still what it was when it was read.
    fn rewrite(&self, old: &Opened, contents: &[u8]) -> Result<Rewritten, KeyStoreError> {
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
        files::replace(&path, contents)?;
        Ok(Rewritten { path, other_names: names.saturating_sub(1) })
    }

    /// What a key's file holds; if it is to be `private`, only when nobody else can read it.
    fn parse(&self, name: &KeyName, private: bool) -> Result<Opened, KeyStoreError> {
        let (path, text) = self.read(name, private)?;
        let file = in_file(&path, KeyFile::parse(&text))?;
        Ok(Opened { path, text, file })
    }

    fn parse_encrypted(&self, name: &KeyName) -> Result<Opened, KeyStoreError> {
        match self.parse(name, true)? {
            opened if opened.file.is_encrypted() => Ok(opened),
            _ => Err(KeyStoreError::NotEncrypted { name: name.clone() }),
        }
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

/// Says in which file a key is that is of no use.
fn in_file<T>(path: &Path, outcome: Result<T, KeyError>) -> Result<T, KeyStoreError> {
    outcome.map_err(|error| KeyStoreError::Key { path: path.to_owned(), error })
}

mod check;
#[cfg(test)]
mod tests;
