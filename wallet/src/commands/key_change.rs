//! What a command did to keys. It is done before it is printed: a result that cannot be printed must not look like a
//! refusal, or somebody throws a passphrase away that opens his key.

use std::io;

use common::failure::Failure;
use common::key_store::{Became, KeyName};

use crate::error::WalletError;

/// Keys that were written, and the result that says so.
#[derive(Debug)]
pub struct KeyChange {
    /// Which; none, when there was nothing to do.
    pub keys: Vec<KeyName>,
    /// What each of them is now.
    pub became: Became,
    /// What is printed of it.
    pub result: String,
}

impl KeyChange {
    /// Of one key.
    pub fn of(name: KeyName, became: Became, result: String) -> Self {
        Self { keys: vec![name], became, result }
    }

    /// What to say when the result cannot be printed.
    pub fn unprinted(self, source: io::Error) -> WalletError {
        match self.keys.is_empty() {
            true => Failure::Unprinted { what: "the result", source }.into(),
            false => WalletError::KeysWritten { keys: self.keys, became: self.became, source },
        }
    }
}
