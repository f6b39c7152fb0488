//! What a file of a key holds: the key in PKCS#8 PEM, as OpenSSL writes and reads it, and lines before it. What else
//! is there, such as certificates and comments, is the user's: it stays where it is, byte for byte, when the key is
//! put under a passphrase or taken from under it.
//!
//! ```text
//! Address: 7765dE50…                          the address, for people; checked if it is there
//! Checksum: 0123456789abcdef                  of what follows, if it is encrypted
//! -----BEGIN PUBLIC KEY-----                  so that the address is known without the passphrase
//! -----BEGIN ENCRYPTED PRIVATE KEY-----       or PRIVATE KEY, alone
//! ```
//!
//! Encryption as PKCS#8 does it has nothing that tells a wrong passphrase from a damaged file. The checksum does.

use std::ops::Range;

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
/// What OpenSSL writes that tells a private key, in PEM however damaged or in digits.
const SECRETS: [&str; 3] = ["PRIVATE KEY-", "Private-Key:", "privateExponent"];
/// How much of a SHA-256 hash the checksum is: it is for accidents.
const CHECKSUM_BYTES: usize = 8;

/// The text of a key's file, taken apart. What is secret in it is overwritten with zeros when it is dropped.
pub struct KeyFile {
    contents: Contents,
    public: Option<PublicKey>,
    around: Around,
}

enum Contents {
    Plain(Zeroizing<Vec<u8>>),
    Encrypted {
        der: Zeroizing<Vec<u8>>,
        /// Whether a checksum says that nothing is damaged.
        checked: bool,
    },
}

/// What stands in a file beside the key and the key's own lines, byte for byte.
#[derive(Default)]
pub(super) struct Around {
    /// Before the key's own lines.
    before: Zeroizing<String>,
    /// Between those and the key, but for a public key right before it: that goes with the encryption.
    between: Zeroizing<String>,
    /// After the key.
    after: Zeroizing<String>,
    /// Whether the public key is in there.
    has_public: bool,
}

impl KeyFile {
    /// Takes a text apart. Whatever can be found wrong without a passphrase is.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut blocks = pem::blocks_of(text).map_err(|reason| KeyError::NotPem { reason })?;
        let checked = checksum_line_is_of(text, &blocks)?;
        let private = take_private(&mut blocks)?;
        let beside = blocks.iter().find(|block| block.label == PUBLIC);
        let around = Around::of(text, &private.place, beside.map(|block| &block.place));
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
        Ok(Self { contents, public, around })
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
    pub fn with_plain(&self, key: &PrivateKey) -> Result<Zeroizing<String>, KeyError> {
        let text = plain_text(key, &self.around);
        gives_back(key, KeyFile::parse(&text)?.open()?)?;
        Ok(text)
    }

    /// The same file with this key under a passphrase. Fails if a copy of the key would stay in it that is not.
    pub fn with_encrypted(&self, key: &PrivateKey, passphrase: &Passphrase) -> Result<String, KeyError> {
        self.around.tells_no_secret()?;
        encrypted_text(key, &self.around, passphrase, Cost::IN_USE)
    }
}

impl PrivateKey {
    /// The key as encrypted PKCS#8 PEM beside its public key, as [`KeyFile`] and OpenSSL read it.
    pub fn to_encrypted_pem(&self, passphrase: &Passphrase) -> Result<String, KeyError> {
        encrypted_text(self, &Around::default(), passphrase, Cost::IN_USE)
    }
}

impl Around {
    /// What is around the private key at this place, and the public key at that.
    fn of(text: &str, private: &Range<usize>, public: Option<&Range<usize>>) -> Self {
        let own_lines = [ADDRESS_LINE, CHECKSUM_LINE].map(|start| pem::note_of(text, start));
        let mut own: Vec<Range<usize>> = own_lines.into_iter().flatten().map(|(place, _)| place).collect();
        own.sort_unstable_by_key(|place| place.start);
        let start = own.first().map_or_else(|| pem::end_of_notes(text), |place| place.start);
        let right_before = public.filter(|public| public.end == private.start);
        own.extend(right_before.cloned());
        let mut between = Zeroizing::new(String::with_capacity(private.start - start));
        let mut done = start;
        for place in own {
            between.push_str(&text[done..place.start]);
            done = place.end;
        }
        between.push_str(&text[done..private.start]);
        Self {
            before: Zeroizing::new(text[..start].to_owned()),
            between,
            after: Zeroizing::new(text[private.end..].to_owned()),
            has_public: public.is_some() && right_before.is_none(),
        }
    }

    /// Nothing in there looks like a private key.
    fn tells_no_secret(&self) -> Result<(), KeyError> {
        let parts = [&self.before, &self.between, &self.after];
        match SECRETS.into_iter().find(|secret| parts.iter().any(|part| part.contains(secret))) {
            Some(what) => Err(KeyError::SecretBeside { what }),
            None => Ok(()),
        }
    }

    /// Its length.
    fn bytes(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }
}

/// The text of a file with a key in plain.
pub(super) fn plain_text(key: &PrivateKey, around: &Around) -> Zeroizing<String> {
    let address = address_line(key);
    let room = around.bytes() + address.len() + pem::encoded_bytes(PRIVATE, &key.der);
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.extend([around.before.as_str(), &address, &around.between]);
    pem::push_block(PRIVATE, &key.der, &mut text);
    text.push_str(&around.after);
    text
}

/// The text of a file with an encrypted key, after making sure that it can be decrypted again.
pub(super) fn encrypted_text(
    key: &PrivateKey,
    around: &Around,
    passphrase: &Passphrase,
    cost: Cost,
) -> Result<String, KeyError> {
    let encrypted = encryption::encrypt(&key.der, passphrase, cost)?;
    let mut contents = around.between.to_string();
    if !around.has_public {
        pem::push_block(PUBLIC, &key_info_of(key.modulus()), &mut contents);
    }
    pem::push_block(ENCRYPTED, &encrypted, &mut contents);
    contents.push_str(&around.after);
    let blocks = pem::blocks_of(&contents).map_err(|reason| KeyError::NotPem { reason })?;
    let checksum = format!("{CHECKSUM_LINE} {}\n", checksum_of(&blocks));
    let text = [around.before.as_str(), &address_line(key), &checksum, &contents].concat();
    gives_back(key, KeyFile::parse(&text)?.unlock(passphrase)?)?;
    Ok(text)
}

/// What replaces the only copy of a key has to give it back.
fn gives_back(key: &PrivateKey, again: PrivateKey) -> Result<(), KeyError> {
    match again.der == key.der {
        true => Ok(()),
        false => Err(KeyError::Generate { reason: "reading it again gave another key".to_owned() }),
    }
}

fn address_line(key: &PrivateKey) -> String {
    format!("{ADDRESS_LINE} {}\n", key.address())
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
    let block = blocks.remove(index);
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
    match pem::note_of(text, ADDRESS_LINE) {
        Some((_, stated)) if stated.parse() != Ok(*actual) => {
            // Only what may be an address is quoted: where line ends are lost, the key follows on the same line.
            let is_address =
                stated.len() <= actual.to_string().len() && stated.chars().all(|c| c.is_ascii_hexdigit());
            let stated = if is_address { stated } else { "something that is no address" };
            Err(KeyError::AddressLine { stated: stated.to_owned(), actual: *actual })
        }
        _ => Ok(()),
    }
}

/// Whether there is a `Checksum:` line; what it says is true.
fn checksum_line_is_of(text: &str, blocks: &[Block]) -> Result<bool, KeyError> {
    match pem::note_of(text, CHECKSUM_LINE) {
        None => Ok(false),
        Some((_, stated)) if stated == checksum_of(blocks) => Ok(true),
        Some(_) => Err(KeyError::Damaged {
            reason: "its Checksum line is of other contents; if you changed them, remove the line".to_owned(),
        }),
    }
}

fn checksum_of(blocks: &[Block]) -> String {
    let contents: Vec<&[u8]> = blocks.iter().map(|block| block.der.as_slice()).collect();
    hex::encode(&sha256(&contents)[..CHECKSUM_BYTES])
}

fn other_public_key() -> KeyError {
    damaged("the public key in the file belongs to another private key")
}

fn damaged(reason: impl ToString) -> KeyError {
    KeyError::Damaged { reason: reason.to_string() }
}
