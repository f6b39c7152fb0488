//! The names of keys.

use std::fmt;
use std::str::FromStr;

/// The longest name of a key.
pub const MAX_KEY_NAME_BYTES: usize = 32;

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
