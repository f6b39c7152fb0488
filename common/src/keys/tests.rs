use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::rand_core::OsRng;
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};

use super::*;
use crate::amount::Amount;
use crate::consensus::check_transaction;
use crate::hash::sha256;
use crate::passphrase::Passphrase;
use crate::rules::Rules;
use crate::signature::{RsaVerifier, SignatureVerifier, key_info_of};
use crate::transaction::TransactionVersion;

mod encrypted;

/// One key for all tests: making one takes a while.
fn key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| PrivateKey::generate(2048).unwrap())
}

fn rsa_key() -> RsaPrivateKey {
    RsaPrivateKey::from_pkcs8_der(&key().der).unwrap()
}

fn error_of(text: &str) -> KeyError {
    PrivateKey::from_pem(text).expect_err("the key is unusable")
}

/// What `openssl` prints; `None`, and a sentence, where there is no such program.
fn openssl(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let output = openssl_ends(arguments, input)?;
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn openssl_ends(arguments: &[&str], input: &[u8]) -> Option<Output> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        writeln!(std::io::stderr(), "skipped: openssl is not installed").unwrap();
        return None;
    };
    // It may know enough before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    Some(child.wait_with_output().unwrap())
}

#[test]
fn a_written_key_reads_back_and_names_its_address() {
    let text = key().to_pem();
    assert!(text.starts_with(&format!("Address: {}\n-----BEGIN PRIVATE KEY-----\n", key().address())));
    let read = PrivateKey::from_pem(&text).unwrap();
    assert_eq!((read.modulus(), read.address(), read.bits()), (key().modulus(), key().address(), 2048));
    assert_eq!(*read.to_pem(), *text);
    assert_eq!(address_of_pem(&text), Ok(key().address()));
    assert_eq!(PrivateKey::from_pem(&text.replace('\n', "\r\n")).unwrap().address(), key().address());
}

#[test]
fn the_address_is_the_hash_of_what_other_software_calls_the_public_key() {
    let spki = rsa_key().to_public_key().to_public_key_der().unwrap();
    assert_eq!(key().address(), Address::from_bytes(sha256(&[spki.as_bytes()])));
    let Some(der) = openssl(&["pkey", "-pubout", "-outform", "DER"], key().to_pem().as_bytes()) else {
        return;
    };
    assert_eq!(key().address(), Address::from_bytes(sha256(&[&der])));
}

#[test]
fn a_key_made_by_openssl_is_read_with_or_without_our_line() {
    let Some(made) =
        openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], b"")
    else {
        return;
    };
    let text = String::from_utf8(made).unwrap();
    let read = PrivateKey::from_pem(&text).unwrap();
    assert!(RsaVerifier::default().verify(read.modulus(), b"message", &read.sign(b"message")));
}

#[test]
fn signatures_are_those_of_the_rsa_crate_byte_for_byte() {
    // RFC 8017, section 9.2: what comes before a SHA-256 hash.
    let prefix = hex::decode("3031300d060960864801650304020105000420").unwrap();
    let scheme = || Pkcs1v15Sign { hash_len: Some(32), prefix: prefix.clone().into() };
    let (message, hash) = (b"a message", sha256(&[b"a message"]));
    let signature = key().sign(message);
    assert_eq!(signature, rsa_key().sign(scheme(), &hash).unwrap());
    assert!(rsa_key().to_public_key().verify(scheme(), &hash, &signature).is_ok());
    assert!(RsaVerifier::default().verify(key().modulus(), message, &signature));
    assert!(!RsaVerifier::default().verify(key().modulus(), b"another", &signature));
}

#[test]
fn signed_payments_and_seals_are_valid_on_their_network_alone() {
    let rules = Rules::default();
    let payment = Payment {
        version: TransactionVersion::V1,
        to: Address::from_bytes([7; 32]),
        amount: Amount::from_coins(1),
        fee: Amount::ZERO,
        nonce: 0,
        valid_until: 0,
        data: b"hello".to_vec(),
        public_key: Vec::new(),
    };
    let transaction = key().sign_payment(payment, &rules.network_id());
    let checked =
        check_transaction(&rules, &rules.network_id(), transaction.clone(), &RsaVerifier::default()).unwrap();
    assert_eq!(checked.sender(), key().address());
    assert!(check_transaction(&rules, &NetworkId::ZERO, transaction, &RsaVerifier::default()).is_err());

    let id = BlockId::from_bytes([9; 32]);
    let seal = key().seal(&id);
    assert!(RsaVerifier::default().verify(&seal.public_key, &seal_message(&id), &seal.signature));
}

#[test]
fn nothing_secret_is_printed() {
    assert_eq!(format!("{:?}", key()), format!("PrivateKey({})", key().address().short()));
    let shown = format!("{:?} {:#?}", key(), [Some(key())]);
    // No eight digits of any private number, whatever way bytes are printed.
    let private = rsa_key();
    let numbers =
        [private.d(), &private.primes()[0], &private.primes()[1]].map(|number| number.to_bytes_be());
    for part in numbers.iter().flat_map(|number| number.chunks_exact(4)).chain(key().der.chunks_exact(4)) {
        assert!(!shown.to_lowercase().contains(&hex::encode(part)), "{shown}");
        assert!(!shown.contains(format!("{part:?}").trim_matches(['[', ']'])), "{shown}");
    }
}

#[test]
fn damage_is_named() {
    let text = key().to_pem();
    assert!(matches!(error_of(""), KeyError::NotPem { .. }));
    assert!(matches!(error_of("not a key"), KeyError::NotPem { .. }));
    for length in [100, 200, text.len() / 2, text.len() - 10] {
        assert!(matches!(error_of(&text[..length]), KeyError::NotPem { .. }), "{length}");
    }
    let wrap = |der: &[u8]| ::pem::encode(&::pem::Pem::new("PRIVATE KEY", der));
    assert!(matches!(error_of(&wrap(b"no DER")), KeyError::Damaged { .. }));
    // Another bit in the private exponent: the form is right, the numbers do not belong together.
    let mut der = key().der.to_vec();
    der[320] ^= 1;
    assert!(matches!(error_of(&wrap(&der)), KeyError::Damaged { .. }));
}

#[test]
fn a_public_key_is_not_taken_for_a_private_one() {
    let text = rsa_key().to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
    assert_eq!(error_of(&text), KeyError::PublicKey);
    assert_eq!(address_of_pem(&text), Err(KeyError::PublicKey));
}

#[test]
fn other_forms_say_how_to_convert_them() {
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(error_of(old), KeyError::OldEncryption);
    assert!(error_of(old).to_string().contains("openssl pkcs8 -topk8 -in"));
    let old = ::pem::encode(&::pem::Pem::new("RSA PRIVATE KEY", vec![1]));
    assert_eq!(error_of(&old), KeyError::OtherForm { label: "RSA PRIVATE KEY".to_owned() });
    assert!(error_of(&old).to_string().contains("openssl pkey -in"));
    let other = ::pem::encode(&::pem::Pem::new("OPENSSH PRIVATE KEY", vec![1]));
    assert!(matches!(error_of(&other), KeyError::OtherForm { .. }));
    let two = [key().to_pem(), key().to_pem()].map(|text| text.to_string()).concat();
    assert_eq!(error_of(&two), KeyError::Several { count: 2 });
}

#[test]
fn other_algorithms_exponents_and_sizes_are_named() {
    if let Some(made) = openssl(&["genpkey", "-algorithm", "ed25519"], b"") {
        assert_eq!(error_of(std::str::from_utf8(&made).unwrap()), KeyError::NotRsa);
    }
    let pem_of = |key: RsaPrivateKey| {
        ::pem::encode(&::pem::Pem::new("PRIVATE KEY", key.to_pkcs8_der().unwrap().as_bytes()))
    };
    let exponent = RsaPrivateKey::new_with_exp(&mut OsRng, 2048, &BigUint::from(3_u8)).unwrap();
    assert_eq!(error_of(&pem_of(exponent)), KeyError::Exponent);
    let small = RsaPrivateKey::new(&mut OsRng, 1024).unwrap();
    assert_eq!(small.n().bits(), 1024);
    assert_eq!(error_of(&pem_of(small)), KeyError::Size { got: 1024 });
    assert!(matches!(PrivateKey::generate(1024), Err(KeyError::Size { got: 1024 })));
}

#[test]
fn an_address_line_of_another_key_is_noticed() {
    let text = key().to_pem();
    let other = Address::from_bytes([1; 32]).to_string();
    let exchanged = text.replace(&key().address().to_string(), &other);
    let expected = KeyError::AddressLine { stated: other, actual: key().address() };
    assert_eq!(error_of(&exchanged), expected);
    assert_eq!(address_of_pem(&exchanged), Err(expected));
    let without = text.lines().skip(1).collect::<Vec<_>>().join("\n");
    assert!(PrivateKey::from_pem(&without).is_ok());
}
