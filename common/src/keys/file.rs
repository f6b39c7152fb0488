//! What a file of a key holds: the key in PKCS#8 PEM, as OpenSSL writes and reads it, and lines before it.
//!
//! ```text
//! Address: 7765dE50…                          the address, for people; checked if it is there
//! Checksum: 0123456789abcdef                  of what follows, if it is encrypted
//! -----BEGIN PUBLIC KEY-----                  so that the address is known without the passphrase
//! -----BEGIN ENCRYPTED PRIVATE KEY-----       or PRIVATE KEY, alone
//! ```
//!
//! Encryption as PKCS#8 does it has nothing that tells a wrong passphrase from a damaged file. The checksum does.

use std::fmt::Write;

use pkcs1::{RsaPrivateKey, RsaPublicKey};
use pkcs8::PrivateKeyInfoRef;
use pkcs8::der::Decode;
use pkcs8::der::asn1::UintRef;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use zeroize::Zeroizing;

use super::encryption::{self, Cost, DecryptError};
use super::pem::{self, Block};
use super::{KeyError, PUBLIC_EXPONENT, PrivateKey, PublicKey};
use crate::address::Address;
use crate::hash::sha256;
use crate::passphrase::Passphrase;
use crate::signature::{key_info_of, modulus_bits};

const PRIVATE: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// What the line begins with that tells the address of a key to people, and to programs that cannot open it.
const ADDRESS_LINE: &str = "Address:";
/// What the line begins with that tells damage.
const CHECKSUM_LINE: &str = "Checksum:";
/// How much of a SHA-256 hash the checksum is: it is for accidents.
const CHECKSUM_BYTES: usize = 8;

/// The text of a key's file, taken apart. What is secret in it is overwritten with zeros when it is dropped.
pub struct KeyFile {
    contents: Contents,
    public: Option<PublicKey>,
    /// The user's own lines before the key.
    notes: Vec<String>,
}

enum Contents {
    Plain(Zeroizing<Vec<u8>>),
    Encrypted {
        der: Zeroizing<Vec<u8>>,
        /// Whether a checksum says that nothing is damaged.
        checked: bool,
    },
}

impl KeyFile {
    /// Takes a text apart. Whatever can be found wrong without a passphrase is.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut blocks = pem::blocks_of(text).map_err(|reason| KeyError::NotPem { reason })?;
        let checked = checksum_line_is_of(text, &blocks)?;
        let private = take_private(&mut blocks)?;
        let beside = blocks.iter().find(|block| block.label == PUBLIC);
        let beside = beside.map(|block| modulus_of_public(&block.der)).transpose()?;
        let (contents, modulus) = match private.label.as_str() {
            ENCRYPTED => {
                encryption::check(&private.der)?;
                (Contents::Encrypted { der: private.der, checked }, beside)
            }
            _ => {
                let own = modulus_of_private(&private.der)?;
                if beside.is_some_and(|beside| beside != own) {
                    return Err(other_public_key());
                }
                (Contents::Plain(private.der), Some(own))
            }
        };
        let public = modulus.map(PublicKey::new);
        if let Some(public) = &public {
            address_line_is_of(text, &public.address)?;
        }
        let notes = pem::notes_of(text).filter(|line| {
            ![ADDRESS_LINE, CHECKSUM_LINE].iter().any(|own| line.starts_with(own)) && !line.trim().is_empty()
        });
        Ok(Self { contents, public, notes: notes.map(str::to_owned).collect() })
    }

    /// Whether it takes a passphrase to sign with the key.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.contents, Contents::Encrypted { .. })
    }

    /// The public part of the key.
    pub fn public_key(&self) -> Result<&PublicKey, KeyError> {
        self.public.as_ref().ok_or(KeyError::NoPublicKey)
    }

    /// The key, if it is not encrypted.
    pub fn open(&self) -> Result<PrivateKey, KeyError> {
        match &self.contents {
            Contents::Plain(der) => PrivateKey::from_der(der.clone()),
            Contents::Encrypted { .. } => Err(KeyError::Encrypted),
        }
    }

    /// The key. If it is not encrypted, the passphrase is not looked at.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<PrivateKey, KeyError> {
        let Contents::Encrypted { der, checked } = &self.contents else { return self.open() };
        let damaged = |reason: &str| KeyError::Damaged { reason: reason.to_owned() };
        let der = encryption::decrypt(der, passphrase).map_err(|error| match error {
            DecryptError::Form(error) => error,
            DecryptError::NoKey => KeyError::WrongPassphrase { checked: *checked },
            DecryptError::Damaged => {
                damaged("the passphrase is right, and the key that it gives is not whole")
            }
        })?;
        let key = PrivateKey::from_der(der)?;
        match &self.public {
            Some(public) if *public != key.public => Err(other_public_key()),
            _ => Ok(key),
        }
    }

    /// The same file with this key in plain.
    pub fn with_plain(&self, key: &PrivateKey) -> Zeroizing<String> {
        plain_text(key, &self.notes)
    }

    /// The same file with this key under a passphrase.
    pub fn with_encrypted(&self, key: &PrivateKey, passphrase: &Passphrase) -> Result<String, KeyError> {
        encrypted_text(key, &self.notes, passphrase, Cost::IN_USE)
    }
}

impl PrivateKey {
    /// The key as encrypted PKCS#8 PEM beside its public key, as [`KeyFile`] and OpenSSL read it.
    pub fn to_encrypted_pem(&self, passphrase: &Passphrase) -> Result<String, KeyError> {
        encrypted_text(self, &[], passphrase, Cost::IN_USE)
    }
}

/// The text of a file with a key in plain.
pub(super) fn plain_text(key: &PrivateKey, notes: &[String]) -> Zeroizing<String> {
    let notes = header(notes, &key.address());
    let mut text = Zeroizing::new(String::with_capacity(notes.len() + pem::encoded_bytes(PRIVATE, &key.der)));
    text.push_str(&notes);
    pem::push_block(PRIVATE, &key.der, &mut text);
    text
}

/// The text of a file with an encrypted key, after making sure that it can be decrypted again.
pub(super) fn encrypted_text(
    key: &PrivateKey,
    notes: &[String],
    passphrase: &Passphrase,
    cost: Cost,
) -> Result<String, KeyError> {
    let public = key_info_of(key.modulus());
    let encrypted = encryption::encrypt(&key.der, passphrase, cost)?;
    let mut text = header(notes, &key.address());
    writeln!(text, "{CHECKSUM_LINE} {}", checksum([&public[..], &encrypted]))
        .expect("writing to a String does not fail");
    pem::push_block(PUBLIC, &public, &mut text);
    pem::push_block(ENCRYPTED, &encrypted, &mut text);
    // What replaces the only copy of a key has to give it back.
    let again = KeyFile::parse(&text)?.unlock(passphrase)?;
    if again.der != key.der {
        return Err(KeyError::Generate { reason: "decrypting it again gave another key".to_owned() });
    }
    Ok(text)
}

/// The lines before a key.
fn header(notes: &[String], address: &Address) -> String {
    let mut text: String = notes.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    writeln!(text, "{ADDRESS_LINE} {address}").expect("writing to a String does not fail");
    text
}

/// The one private key among these blocks, in PKCS#8.
fn take_private(blocks: &mut Vec<Block>) -> Result<Block, KeyError> {
    let is_private = |block: &Block| block.label.ends_with(PRIVATE);
    let count = blocks.iter().filter(|block| is_private(block)).count();
    let Some(index) = blocks.iter().position(is_private) else {
        let public = |block: &Block| block.label.ends_with(PUBLIC) || block.label == "CERTIFICATE";
        return Err(match blocks.first() {
            None => KeyError::NotPem { reason: "there is no BEGIN line".to_owned() },
            Some(_) if blocks.iter().any(public) => KeyError::PublicKey,
            Some(block) => KeyError::OtherForm { label: block.label.clone() },
        });
    };
    let block = blocks.swap_remove(index);
    match block.label.as_str() {
        _ if count > 1 => Err(KeyError::Several { count }),
        _ if block.has_headers => Err(KeyError::OldEncryption),
        PRIVATE | ENCRYPTED => Ok(block),
        _ => Err(KeyError::OtherForm { label: block.label }),
    }
}

/// The modulus of a private key in PKCS#8, if key and modulus are what the protocol knows.
pub(super) fn modulus_of_private(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(damaged)?;
    if info.algorithm.oid != pkcs1::ALGORITHM_OID {
        return Err(KeyError::NotRsa);
    }
    let key = RsaPrivateKey::from_der(info.private_key.as_bytes()).map_err(damaged)?;
    known_modulus(&key.modulus, &key.public_exponent)
}

/// The modulus of a `SubjectPublicKeyInfo`, if key and modulus are what the protocol knows.
fn modulus_of_public(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(damaged)?;
    if info.algorithm.oid != pkcs1::ALGORITHM_OID {
        return Err(KeyError::NotRsa);
    }
    let key = RsaPublicKey::from_der(info.subject_public_key.raw_bytes()).map_err(damaged)?;
    known_modulus(&key.modulus, &key.public_exponent)
}

fn known_modulus(modulus: &UintRef<'_>, exponent: &UintRef<'_>) -> Result<Vec<u8>, KeyError> {
    let modulus = modulus.as_bytes();
    if exponent.as_bytes() != PUBLIC_EXPONENT {
        return Err(KeyError::Exponent);
    }
    if modulus_bits(modulus).is_some() {
        return Ok(modulus.to_vec());
    }
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    match modulus.len() as u32 * 8 - unused {
        2048 | 3072 | 4096 => Err(damaged("its modulus is even")),
        got => Err(KeyError::Size { got }),
    }
}

/// If there is an `Address:` line before the key, it says this address.
fn address_line_is_of(text: &str, actual: &Address) -> Result<(), KeyError> {
    match line_of(text, ADDRESS_LINE) {
        Some(stated) if stated.parse() != Ok(*actual) => {
            Err(KeyError::AddressLine { stated: stated.to_owned(), actual: *actual })
        }
        _ => Ok(()),
    }
}

/// Whether there is a `Checksum:` line; what it says is true.
fn checksum_line_is_of(text: &str, blocks: &[Block]) -> Result<bool, KeyError> {
    match line_of(text, CHECKSUM_LINE) {
        None => Ok(false),
        Some(stated) if stated == checksum(blocks.iter().map(|block| block.der.as_slice())) => Ok(true),
        Some(_) => Err(KeyError::Damaged {
            reason: "its Checksum line is of other contents; if you changed them, remove the line".to_owned(),
        }),
    }
}

fn line_of<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    pem::notes_of(text).find_map(|line| line.strip_prefix(start)).map(str::trim)
}

fn checksum<'b>(contents: impl IntoIterator<Item = &'b [u8]>) -> String {
    let contents: Vec<&[u8]> = contents.into_iter().collect();
    hex::encode(&sha256(&contents)[..CHECKSUM_BYTES])
}

fn other_public_key() -> KeyError {
    damaged("the public key in the file belongs to another private key")
}

fn damaged(reason: impl ToString) -> KeyError {
    KeyError::Damaged { reason: reason.to_string() }
}
