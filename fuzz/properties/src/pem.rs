//! Files of keys: whatever a user, or somebody else, put in their place.

use common::keys::{KeyFile, PrivateKey, address_of_pem};
use common::signature::{RsaVerifier, SignatureVerifier, address_of, modulus_bits};

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
