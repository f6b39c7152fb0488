//! Private keys: made, read, written, and signed with (`PROTOCOL.md`, section 3). Files of keys are in
//! [`crate::key_store`], the checking of signatures is in [`crate::signature`].
//!
//! The `rsa` crate makes and reads keys; aws-lc signs, in constant time. What is held of a key here is
//! overwritten with zeros when it is dropped.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use rsa::pkcs1;
use rsa::pkcs8::{EncodePrivateKey, PrivateKeyInfo};
use rsa::rand_core::OsRng;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::block::{Seal, seal_message};
use crate::hash::{BlockId, NetworkId};
use crate::signature::{address_of, modulus_bits};
use crate::transaction::{Payment, Transaction};

/// What a PKCS#8 file calls its contents.
const PEM_LABEL: &str = "PRIVATE KEY";
/// What the line begins with that tells the address of a key to people, and to programs that cannot open it.
const ADDRESS_LINE: &str = "Address:";
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
    /// Encrypted with a passphrase.
    #[error(
        "is encrypted, which this version cannot read yet: write it decrypted with `openssl pkey -in OLD.pem -out NEW.pem`"
    )]
    Encrypted,
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

/// An RSA private key that is ready to sign.
pub struct PrivateKey {
    pair: KeyPair,
    modulus: Vec<u8>,
    address: Address,
    /// PKCS#8, as it was made or read.
    der: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// Makes a key of 2048, 3072 or 4096 bits. Takes from a tenth of a second to several seconds.
    pub fn generate(bits: u32) -> Result<Self, KeyError> {
        if ![2048, 3072, 4096].contains(&bits) {
            return Err(KeyError::Size { got: bits });
        }
        let failed = |reason: String| KeyError::Generate { reason };
        let key = rsa::RsaPrivateKey::new(&mut OsRng, bits as usize).map_err(|e| failed(e.to_string()))?;
        let der = key.to_pkcs8_der().map_err(|error| failed(error.to_string()))?;
        Self::from_der(der.to_bytes())
    }

    /// Reads a key from PKCS#8 PEM. Text before it is passed over, but for an `Address:` line, which has to
    /// be the key's.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let key = Self::from_der(der_of_pem(text)?)?;
        address_line_is_of(text, &key.address)?;
        Ok(key)
    }

    /// The key as PKCS#8 PEM after an `Address:` line, as [`PrivateKey::from_pem`] and OpenSSL read it.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let pem = pem::Pem::new(PEM_LABEL, self.der.as_slice());
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        let body = Zeroizing::new(pem::encode_config(&pem, config));
        drop(Zeroizing::new(pem.into_contents()));
        Zeroizing::new(format!("{ADDRESS_LINE} {}\n{}", self.address, *body))
    }

    /// The modulus, big endian: the public key as the protocol has it.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Its size in bits.
    pub fn bits(&self) -> u32 {
        self.modulus.len() as u32 * 8
    }

    /// The address that it can spend from.
    pub fn address(&self) -> Address {
        self.address
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 over a message.
    ///
    /// # Panics
    /// When memory runs out; a key that was made or read can sign.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.modulus.len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("aws-lc accepted the key and the buffer has the length of its modulus");
        signature
    }

    /// Signs a payment for one network. The payment's `public_key` is set to this key's.
    pub fn sign_payment(&self, payment: Payment, network: &NetworkId) -> Transaction {
        let payment = Payment { public_key: self.modulus.clone(), ..payment };
        let signature = self.sign(&payment.signing_message(network));
        Transaction { payment, signature }
    }

    /// An authority's seal on the block with this id.
    pub fn seal(&self, id: &BlockId) -> Seal {
        Seal { public_key: self.modulus.clone(), signature: self.sign(&seal_message(id)) }
    }

    fn from_der(der: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let modulus = modulus_of_der(&der)?;
        // Checks that the primes, the exponents and the modulus belong together.
        let pair =
            KeyPair::from_pkcs8(&der).map_err(|error| KeyError::Damaged { reason: error.to_string() })?;
        Ok(Self { pair, address: address_of(&modulus), modulus, der })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.address.short())
    }
}

/// The address of a key in PKCS#8 PEM, computed from its modulus. Whether the rest of the key belongs to it is
/// left to [`PrivateKey::from_pem`], which costs seven times as much (0.25 ms against 0.04).
pub fn address_of_pem(text: &str) -> Result<Address, KeyError> {
    let address = address_of(&modulus_of_der(&der_of_pem(text)?)?);
    address_line_is_of(text, &address)?;
    Ok(address)
}

/// What lies between BEGIN and END, if they announce a private key in PKCS#8.
fn der_of_pem(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let pem = pem::parse(text).map_err(|error| KeyError::NotPem { reason: error.to_string() })?;
    let (label, encrypted) = (pem.tag().to_owned(), pem.headers().get("Proc-Type").is_some());
    let der = Zeroizing::new(pem.into_contents());
    match label.as_str() {
        PEM_LABEL => Ok(der),
        "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
        _ if encrypted => Err(KeyError::Encrypted),
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => Err(KeyError::PublicKey),
        _ => Err(KeyError::OtherForm { label }),
    }
}

/// The modulus of a key in PKCS#8, if key and modulus are what the protocol knows.
fn modulus_of_der(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let damaged = |reason: String| KeyError::Damaged { reason };
    let info = PrivateKeyInfo::try_from(der).map_err(|error| damaged(error.to_string()))?;
    if info.algorithm.oid != pkcs1::ALGORITHM_OID {
        return Err(KeyError::NotRsa);
    }
    let key = pkcs1::RsaPrivateKey::try_from(info.private_key).map_err(|error| damaged(error.to_string()))?;
    let modulus = key.modulus.as_bytes();
    if key.public_exponent.as_bytes() != PUBLIC_EXPONENT {
        return Err(KeyError::Exponent);
    }
    if modulus_bits(modulus).is_some() {
        return Ok(modulus.to_vec());
    }
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    match modulus.len() as u32 * 8 - unused {
        2048 | 3072 | 4096 => Err(damaged("its modulus is even".to_owned())),
        got => Err(KeyError::Size { got }),
    }
}

/// If there is an `Address:` line before the key, it says this address.
fn address_line_is_of(text: &str, actual: &Address) -> Result<(), KeyError> {
    let before = text.lines().take_while(|line| !line.starts_with("-----BEGIN "));
    match before.filter_map(|line| line.strip_prefix(ADDRESS_LINE)).map(str::trim).next() {
        Some(stated) if stated.parse() != Ok(*actual) => {
            Err(KeyError::AddressLine { stated: stated.to_owned(), actual: *actual })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
