//! A key that is put under a passphrase, then under another, then taken from under it, again and again: what is done,
//! and what must hold of its file at any moment.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use common::address::Address;
use common::key_store::{KeyName, KeyStore};
use common::passphrase::{Passphrase, Passphrases};

/// The name of the key.
pub const KEY: &str = "alice";
/// What it is put under in turn.
const PASSPHRASES: [&str; 2] = ["the first", "the second"];
/// What no file may hold beside a key that was said to be encrypted.
const PLAIN: &str = "BEGIN PRIVATE KEY";

/// Under what the key is: nothing, or one of [`PASSPHRASES`].
type Lock = Option<usize>;

/// Under what it is after so many steps.
fn lock_after(steps: usize) -> Lock {
    (steps % 3).checked_sub(1)
}

/// How far it has come.
#[derive(Clone, Debug)]
pub struct Progress {
    address: Address,
    /// How many steps were done before what is listened to.
    before: usize,
    /// How many were said to be done.
    done: usize,
    /// How many there are.
    last: usize,
}

impl Progress {
    /// A key that is in plain as yet, and what will be done: so many steps.
    pub fn new(keys: &KeyStore, steps: usize) -> Self {
        let address = keys.find(&name()).expect("the key was made");
        Self { address, before: 0, done: 0, last: steps }
    }

    /// How many steps were said to be done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Takes in all that the commands printed so far.
    pub fn hear(&mut self, stdout: &str) {
        let is_result = |line: &&str| {
            line.starts_with("File ")
                && [", encrypted\n", ", encrypted anew\n", ", not encrypted\n"]
                    .iter()
                    .any(|end| line.ends_with(end))
        };
        self.done = self.before + stdout.split_inclusive('\n').filter(is_result).count();
    }

    /// What is done after this: one step more, whether the last was said to be done or not.
    pub fn next(&self, keys: &KeyStore) -> Result<Self, String> {
        let done = self.check(keys)?;
        Ok(Self { before: done, done, last: done + 1, ..self.clone() })
    }

    /// The key is there, at the step that was said to be done or the next one; gives that. If it was said to be
    /// encrypted, and is not being decrypted, it is in plain nowhere.
    pub fn check(&self, keys: &KeyStore) -> Result<usize, String> {
        let steps = self.done..=self.last.min(self.done + 1);
        let found = self.find(keys, steps.clone())?;
        if { steps }.all(|step| lock_after(step).is_some()) {
            for entry in fs::read_dir(keys.directory()).map_err(|error| error.to_string())? {
                let path = entry.map_err(|error| error.to_string())?.path();
                let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                if bytes.windows(PLAIN.len()).any(|window| window == PLAIN.as_bytes()) {
                    return Err(format!("a plain key is in {}, after {self:?}", path.display()));
                }
            }
        }
        Ok(found)
    }

    /// At which of these steps the key is.
    fn find(&self, keys: &KeyStore, steps: RangeInclusive<usize>) -> Result<usize, String> {
        let mut why = String::new();
        for step in steps {
            match opens(keys, lock_after(step)) {
                Ok(address) if address == self.address => return Ok(step),
                Ok(address) => why = format!("it became {address}"),
                Err(error) => why = error,
            }
        }
        Err(format!("the key {KEY} is lost: {why}, after {self:?}"))
    }
}

/// The address of the key, if it opens with nothing more than this.
fn opens(keys: &KeyStore, lock: Lock) -> Result<Address, String> {
    let is_encrypted = keys.is_encrypted(&name()).map_err(|error| error.to_string())?;
    let passphrases = match lock {
        None if is_encrypted => return Err("it is encrypted".to_owned()),
        Some(_) if !is_encrypted => return Err("it is not encrypted".to_owned()),
        None => Passphrases::File("/nonexistent".into()),
        Some(place) => Passphrases::Known(
            Passphrase::new(PASSPHRASES[place].as_bytes().to_vec().into())
                .expect("it is neither empty nor long"),
        ),
    };
    let key = keys.load(&name(), 2048, &passphrases).map_err(|error| error.to_string())?;
    Ok(key.address())
}

fn name() -> KeyName {
    KEY.parse().expect("it is a name")
}

/// The arguments of the wallet for each step.
pub struct Commands {
    files: [String; 2],
}

impl Commands {
    /// They take the passphrases from files that are made in this directory.
    pub fn with_files_in(directory: &Path) -> Self {
        let files = [0, 1].map(|place| {
            let path = directory.join(format!("passphrase-{place}"));
            common::files::create_new(&path, PASSPHRASES[place].as_bytes()).expect("there is room");
            path.to_str().expect("the path is text").to_owned()
        });
        Self { files }
    }

    /// Those of the step after so many.
    pub fn after(&self, steps: usize) -> Vec<&str> {
        let [first, second] = &self.files;
        match lock_after(steps) {
            None => vec!["encrypt", KEY, "--passphrase-file", first],
            Some(0) => {
                vec!["change-passphrase", KEY, "--passphrase-file", first, "--new-passphrase-file", second]
            }
            Some(_) => vec!["decrypt", KEY, "--passphrase-file", second],
        }
    }
}
