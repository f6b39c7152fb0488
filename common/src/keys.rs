//! Private keys: made, read, written, and signed with (`PROTOCOL.md`, section 3). Their text form is in
//! [`KeyFile`], files of keys are in [`crate::key_store`], the checking of signatures is in
//! [`crate::signature`].
//!
//! All that is done with a private key is done by aws-lc: it makes keys, checks them and signs. Its RSA takes
//! constant time, with blinding, and it checks each signature before it gives it away, so that neither the time
//! that signing takes nor a fault of the processor tells anything of the key. What aws-lc and this module hold of
//! a key is overwritten with zeros when it is dropped.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::block::{Seal, seal_message};
use crate::hash::{BlockId, NetworkId};
use crate::signature::address_of;
use crate::transaction::{Payment, Transaction};

mod encryption;
mod file;
mod pem;

pub use file::KeyFile;

/// The public exponent of every key: 65537, big endian.
const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];

/// Why a key cannot be used: each sentence continues "the key in FILE …" and says what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block, or not a whole one.
    #[error("is not a PEM file, or a damaged one ({reason}): restore it from a backup")]
    NotPem {
        /// What is missing.
        reason: String,
    },
    /// PEM around something that is no key, or not a consistent one.
    #[error("is damaged ({reason}): restore it from a backup")]
    Damaged {
        /// What is wrong inside.
        reason: String,
    },
    /// A public key, or a certificate of one.
    #[error("is a public key, which cannot sign: put the private key in its place")]
    PublicKey,
    /// Encrypted, where a key was expected that is not.
    #[error("is encrypted: it takes its passphrase")]
    Encrypted,
    /// Not the passphrase that it was encrypted with.
    #[error("stays locked: the passphrase is wrong{}", if *.checked { "" } else { ", or the file is damaged in a way that cannot be told from it" })]
    WrongPassphrase {
        /// Whether a checksum says that the file is as it was written.
        checked: bool,
    },
    /// Encrypted, and nothing beside it says whose key it is.
    #[error("is encrypted, and nothing in the file says its public key: `wallet change-passphrase` adds it")]
    NoPublicKey,
    /// Encrypted, but not as PKCS#8 does it.
    #[error(
        "is encrypted in an old form: convert it with `openssl pkcs8 -topk8 -in OLD.pem -out NEW.pem`, which asks for the old passphrase and a new one"
    )]
    OldEncryption,
    /// Encrypted with something that is not known here.
    #[error(
        "is encrypted in a way that is not known here ({what}): convert it with `openssl pkcs8 -topk8 -in OLD.pem -out NEW.pem`"
    )]
    UnknownEncryption {
        /// With what.
        what: String,
    },
    /// Encrypted so that trying a passphrase would take this machine down.
    #[error(
        "asks for {asks_for} to be decrypted, which is too much: if it is yours, convert it with `openssl pkcs8 -topk8 -in OLD.pem -out NEW.pem`"
    )]
    TooCostly {
        /// For what.
        asks_for: String,
    },
    /// More than one private key.
    #[error("is one of {count} in its file: put each into a file of its own")]
    Several {
        /// How many there are.
        count: usize,
    },
    /// It is to be encrypted, and a copy of it, or another key, would stay beside it that is not.
    #[error(
        "stands beside what looks like a private key ({what:?}) and would stay readable: take that out of the file first"
    )]
    SecretBeside {
        /// What looks so.
        what: &'static str,
    },
    /// A private key in another form than PKCS#8.
    #[error("is a {label:?} and not in PKCS#8 form: convert it with `openssl pkey -in OLD.pem -out NEW.pem`")]
    OtherForm {
        /// What its BEGIN line says.
        label: String,
    },
    /// A key of another algorithm.
    #[error("is not an RSA key: make one with `wallet new-address`")]
    NotRsa,
    /// Another public exponent than 65537.
    #[error("has another public exponent than 65537, which no network takes: make a new key")]
    Exponent,
    /// Not a size that the protocol knows.
    #[error("has {got} bits; a key has 2048, 3072 or 4096: make a new key")]
    Size {
        /// Its size in bits.
        got: u32,
    },
    /// A size that this network does not take.
    #[error("has {got} bits, and this network asks for {least}: make a new key")]
    TooSmall {
        /// Its size in bits.
        got: u32,
        /// The least size in bits.
        least: u32,
    },
    /// The `Address:` line names another key.
    #[error(
        "has the address {actual}, but its Address line says {stated:?}: one of the two was exchanged; if the address is the right one, remove the line"
    )]
    AddressLine {
        /// What the line says.
        stated: String,
        /// What the key's address is.
        actual: Address,
    },
    /// The system gave no random numbers, or no such size is possible.
    #[error("cannot be made: {reason}")]
    Generate {
        /// What went wrong.
        reason: String,
    },
}

/// The public part of a key: what is known of it without a passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    modulus: Vec<u8>,
    address: Address,
}

impl PublicKey {
    /// From a modulus that has passed [`crate::signature::modulus_bits`].
    fn new(modulus: Vec<u8>) -> Self {
        Self { address: address_of(&modulus), modulus }
    }

    /// The modulus, big endian: the public key as the protocol has it.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Its size in bits.
    pub fn bits(&self) -> u32 {
        self.modulus.len() as u32 * 8
    }

    /// The address that the key can spend from.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Fails if a network that asks for so many bits does not take the key.
    pub fn has_bits(&self, least: u32) -> Result<(), KeyError> {
        match self.bits() {
            got if got < least => Err(KeyError::TooSmall { got, least }),
            _ => Ok(()),
        }
    }
}

/// An RSA private key that is ready to sign.
pub struct PrivateKey {
    pair: KeyPair,
    public: PublicKey,
    /// PKCS#8, as it was made or read.
    der: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Makes a key of 2048, 3072 or 4096 bits. Takes from a tenth of a second to several seconds.
    pub fn generate(bits: u32) -> Result<Self, KeyError> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            got => return Err(KeyError::Size { got }),
        };
        let failed = |error: aws_lc_rs::error::Unspecified| KeyError::Generate { reason: error.to_string() };
        let pair = KeyPair::generate(size).map_err(failed)?;
        let der: Pkcs8V1Der = pair.as_der().map_err(failed)?;
        Self::from_der(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// Reads a key from PKCS#8 PEM that is not encrypted; [`KeyFile`] has the rest. Text before it is passed
    /// over, but for an `Address:` line, which has to be the key's.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        KeyFile::parse(text)?.open()
    }

    /// The key as PKCS#8 PEM after an `Address:` line, as [`PrivateKey::from_pem`] and OpenSSL read it.
    pub fn to_pem(&self) -> Zeroizing<String> {
        file::plain_text(self, &file::Around::default())
    }

    /// The public part.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The modulus, big endian: the public key as the protocol has it.
    pub fn modulus(&self) -> &[u8] {
        &self.public.modulus
    }

    /// Its size in bits.
    pub fn bits(&self) -> u32 {
        self.public.bits()
    }

    /// The address that it can spend from.
    pub fn address(&self) -> Address {
        self.public.address
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over a message.
    ///
    /// # Panics
    /// When memory runs out; a key that was made or read can sign.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.modulus().len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("aws-lc accepted the key and the buffer has the length of its modulus");
        signature
    }

    /// Signs a payment for one network. The payment's `public_key` is set to this key's.
    pub fn sign_payment(&self, payment: Payment, network: &NetworkId) -> Transaction {
        let payment = Payment { public_key: self.modulus().to_vec(), ..payment };
        let signature = self.sign(&payment.signing_message(network));
        Transaction { payment, signature }
    }

    /// An authority's seal on the block with this id.
    pub fn seal(&self, id: &BlockId) -> Seal {
        Seal { public_key: self.modulus().to_vec(), signature: self.sign(&seal_message(id)) }
    }

    fn from_der(der: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let public = PublicKey::new(file::modulus_of_private(&der)?);
        // Checks that the primes, the exponents and the modulus belong together.
        let pair =
            KeyPair::from_pkcs8(&der).map_err(|error| KeyError::Damaged { reason: error.to_string() })?;
        Ok(Self { pair, public, der })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.address().short())
    }
}

/// The address of a key in PEM, computed from its modulus. Whether the rest of the key belongs to it is left to
/// [`KeyFile::open`], which costs seven times as much (0.25 ms against 0.04).
pub fn address_of_pem(text: &str) -> Result<Address, KeyError> {
    Ok(KeyFile::parse(text)?.public_key()?.address())
}

#[cfg(test)]
mod tests;
