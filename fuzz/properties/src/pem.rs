//! Files of keys: whatever a user, or somebody else, put in their place.

use common::keys::{KeyFile, PrivateKey, address_of_pem};
use common::passphrase::Passphrase;
use common::signature::{RsaVerifier, SignatureVerifier, address_of, modulus_bits};
use pkcs8::der::Decode;
use pkcs8::pkcs5::{EncryptionScheme, pbes2::Kdf};
use zeroize::Zeroizing;

use crate::allocation::within;
use crate::read;

/// The most bytes that an error of a file has.
const LONGEST_SENTENCE: usize = 400;
/// The most characters without a break that it may have from the file: an address.
const LONGEST_QUOTE: usize = 64;

/// The bytes as a file, and the bytes as what such a file has between BEGIN and END.
pub fn pem(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        plain(text);
    }
    plain(&::pem::encode(&::pem::Pem::new("PRIVATE KEY", bytes)));
}

/// What the keys in the corpus are encrypted with.
const PASSPHRASE: &[u8] = b"farthing";
/// The most work of scrypt, as N·r·p, and the most rounds of PBKDF2 that are tried: whoever fuzzes has no time for more.
const MOST_WORK: u64 = 1 << 10;

/// The bytes as a file whose key may be encrypted, and as what such a file has between BEGIN and END.
pub fn encrypted_pem(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        encrypted(text);
    }
    encrypted(&::pem::encode(&::pem::Pem::new("ENCRYPTED PRIVATE KEY", bytes)));
}

/// A file whose key is encrypted; gives whether it was opened.
fn encrypted(text: &str) -> bool {
    let most = 64 * 1024 + 8 * text.len();
    let file = within(most, || KeyFile::parse(text));
    if let Err(error) = &file {
        quotes_no_key(&error.to_string(), text);
    }
    let Some(file) = read(file).filter(KeyFile::is_encrypted) else { return false };
    assert!(file.open().is_err(), "no encrypted key opens without its passphrase");
    let Some(work) = work_of(text).filter(|work| *work <= MOST_WORK) else { return false };
    let passphrase = Passphrase::new(Zeroizing::new(PASSPHRASE.to_vec())).expect("a passphrase");
    let key = within(most + 128 * (work as usize + 16), || file.unlock(&passphrase));
    if let Err(error) = &key {
        quotes_no_key(&error.to_string(), text);
    }
    let Some(key) = read(key) else { return false };
    if let Ok(public) = file.public_key() {
        assert_eq!(public, key.public_key());
    }
    let plain = file.with_plain(&key).expect("what was unlocked can be written");
    assert_eq!(PrivateKey::from_pem(&plain).expect("what was written reads").to_pem(), key.to_pem());
    let signature = key.sign(b"message");
    assert!(RsaVerifier::default().verify(key.modulus(), b"message", &signature));
    true
}

/// What deriving the key of the file's only encrypted block takes, as N·r·p of scrypt or rounds of PBKDF2.
fn work_of(text: &str) -> Option<u64> {
    let blocks = ::pem::parse_many(text).ok()?;
    let [block] =
        &blocks.iter().filter(|block| block.tag() == "ENCRYPTED PRIVATE KEY").collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let info = pkcs8::EncryptedPrivateKeyInfoRef::from_der(block.contents()).ok()?;
    let EncryptionScheme::Pbes2(parameters) = info.encryption_algorithm else { return None };
    match parameters.kdf {
        Kdf::Scrypt(it) => {
            let [size, passes] = [it.block_size, it.parallelization].map(u64::from);
            it.cost_parameter.checked_mul(size)?.checked_mul(passes)
        }
        Kdf::Pbkdf2(it) => Some(it.iteration_count.into()),
        _ => None,
    }
}

/// What is said of a file may go into a log: it is a sentence, and holds nothing as long as what a key is made of.
fn quotes_no_key(error: &str, text: &str) {
    assert!(error.len() <= LONGEST_SENTENCE, "{error}");
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let mut runs = text.split(|c: char| !is_base64(c)).filter(|run| run.len() > LONGEST_QUOTE);
    assert!(runs.all(|run| !error.contains(&run[..=LONGEST_QUOTE])), "{error}");
}

/// A file whose key is not encrypted.
fn plain(text: &str) {
    let most = 64 * 1024 + 8 * text.len();
    let address = read(within(most, || address_of_pem(text)));
    let key = within(most, || PrivateKey::from_pem(text));
    if let Err(error) = &key {
        quotes_no_key(&error.to_string(), text);
    }
    let Some(key) = read(key) else { return };
    assert_eq!((Some(key.address()), key.address()), (address, address_of(key.modulus())));
    assert_eq!(modulus_bits(key.modulus()), Some(key.bits()));

    let written = key.to_pem();
    let again = PrivateKey::from_pem(&written).expect("what was written reads");
    assert_eq!((again.address(), again.to_pem()), (key.address(), written));

    // Written anew, the file keeps what is beside the key; once the key is in its usual form, it changes no more.
    let rewritten = |text: &str| KeyFile::parse(text).and_then(|file| file.with_plain(&key));
    if let Ok(text) = rewritten(text) {
        assert_eq!(rewritten(&text), Ok(text));
    }

    // Whatever is accepted can sign.
    let signature = key.sign(b"message");
    assert!(RsaVerifier::default().verify(key.modulus(), b"message", &signature));
    assert!(!RsaVerifier::default().verify(key.modulus(), b"another", &signature));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the property would say nothing of what is behind a passphrase.
    #[test]
    fn keys_of_the_corpus_open() {
        let as_file = |der: &[u8]| ::pem::encode(&::pem::Pem::new("ENCRYPTED PRIVATE KEY", der));
        assert!(encrypted(include_str!("../../corpus/encrypted_pem/file")));
        assert!(encrypted(&as_file(include_bytes!("../../corpus/encrypted_pem/scrypt-256"))));
        assert!(encrypted(&as_file(include_bytes!("../../corpus/encrypted_pem/pbkdf2-128"))));
        let other = as_file(include_bytes!("../../corpus/encrypted_pem/pbkdf2-192-other-passphrase"));
        assert!(!encrypted(&other));
    }
}
