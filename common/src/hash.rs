//! SHA-256, and one type for every meaning that a hash has in the protocol, so that none can be taken
//! for another.

#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, unused_imports, reason = "elsewhere messages are hashed one by one")
)]
mod many;

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use sha2::{Digest, Sha256};

pub use many::sha256_many;

/// SHA-256 of the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Why a text is not a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not 64 hexadecimal digits")]
pub struct ParseHashError {
    /// What was given.
    pub text: String,
}

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name([u8; 32]);

        impl $name {
            /// All zeros.
            pub const ZERO: Self = Self([0; 32]);

            /// From its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight hex digits: enough to recognise it in a log.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            /// 64 lower-case hex digits, in byte order.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseHashError;

            fn from_str(text: &str) -> Result<Self, ParseHashError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| ParseHashError { text: text.into() })?;
                Ok(Self(bytes))
            }
        }
    };
}

hash_type! {
    /// SHA-256 of a block's header. Read as a big-endian number, it is what the target bounds.
    BlockId
}
hash_type! {
    /// SHA-256 of 0x00 and a signed transaction's encoding: its Merkle leaf, and its key in every cache.
    TransactionId
}
hash_type! {
    /// The root of a block's Merkle tree (RFC 6962).
    MerkleRoot
}
hash_type! {
    /// The id of a network's genesis block: two programs are on one network when they share it.
    NetworkId
}

impl NetworkId {
    /// The first eight bytes, which every datagram carries.
    pub fn prefix(&self) -> [u8; 8] {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[..8]);
        prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_shown_in_byte_order_and_reads_back() {
        let id = BlockId::from_bytes(sha256(&[b"a", b"bc"]));
        assert_eq!(id.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("ba78".parse::<BlockId>().is_err());
    }
}
