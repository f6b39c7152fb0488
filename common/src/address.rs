//! Addresses: who is paid (`PROTOCOL.md`, section 3).

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};

use crate::hash::sha256;

/// SHA-256 of a public key's DER `SubjectPublicKeyInfo`.
///
/// Printed as 64 hex digits whose letter case is a checksum, so that a mistyped address is noticed.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Address([u8; 32]);

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// Not 64 hexadecimal digits.
    #[error("{text:?} is not an address: an address is 64 hexadecimal digits")]
    NotAnAddress {
        /// What was given.
        text: String,
    },
    /// Mixed case that does not match: a digit was mistyped.
    #[error("{text:?} has a typing error: its upper and lower case letters do not match its digits")]
    Checksum {
        /// What was given.
        text: String,
    },
}

impl Address {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight digits as printed: enough to recognise it in a log.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl fmt::Display for Address {
    /// EIP-55's idea with SHA-256: a letter is upper case where the hash of the text has a digit ≥ 8.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = hex::encode(self.0);
        let checksum = hex::encode(sha256(&[lower.as_bytes()]));
        let text: String = lower
            .chars()
            .zip(checksum.chars())
            .map(|(digit, check)| if check >= '8' { digit.to_ascii_uppercase() } else { digit })
            .collect();
        f.pad(&text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.short())
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| ParseAddressError::NotAnAddress { text: text.into() })?;
        let address = Self(bytes);
        let one_case = text == text.to_ascii_lowercase() || text == text.to_ascii_uppercase();
        if one_case || text == address.to_string() {
            Ok(address)
        } else {
            Err(ParseAddressError::Checksum { text: text.into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_single_changed_letter_case_is_noticed() {
        let text = Address(sha256(&[b"address"])).to_string();
        assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.clone()));
        for (i, digit) in text.char_indices().filter(|(_, digit)| digit.is_ascii_alphabetic()) {
            let mut wrong = text.clone();
            let flipped = if digit.is_ascii_lowercase() {
                digit.to_ascii_uppercase()
            } else {
                digit.to_ascii_lowercase()
            };
            wrong.replace_range(i..=i, &flipped.to_string());
            assert!(matches!(wrong.parse::<Address>(), Err(ParseAddressError::Checksum { .. })), "{wrong}");
        }
    }

    #[test]
    fn one_case_is_read_unchecked_and_other_texts_are_refused() {
        let address = Address(sha256(&[b"address"]));
        assert_eq!(address.to_string().to_lowercase().parse(), Ok(address));
        assert_eq!(address.to_string().to_uppercase().parse(), Ok(address));
        for text in ["", "ab", "zz", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
            assert!(matches!(text.parse::<Address>(), Err(ParseAddressError::NotAnAddress { .. })), "{text}");
        }
    }
}
