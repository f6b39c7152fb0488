//! Keys under a passphrase.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{Decode, Encode};
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters, Pbkdf2Prf, ScryptParams};

use super::super::encryption::{self, Cost};
use super::super::file::{Around, encrypted_text};
use super::*;

const RIGHT: &str = "correct horse battery staple";

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

/// The key under [`RIGHT`], cheaply.
fn text() -> String {
    encrypted_text(key(), &Around::default(), &passphrase(RIGHT), Cost::IN_USE).unwrap()
}

fn unlock(text: &str, with: &str) -> Result<Address, KeyError> {
    KeyFile::parse(text)?.unlock(&passphrase(with)).map(|key| key.address())
}

fn is_damaged(error: &KeyError) -> bool {
    matches!(error, KeyError::Damaged { .. } | KeyError::NotPem { .. })
}

/// Without the line that tells damage, as other programs write.
fn without_checksum(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("Checksum:")).flat_map(|line| [line, "\n"]).collect()
}

/// The block of this label, decoded.
fn block(text: &str, label: &str) -> Vec<u8> {
    let blocks = ::pem::parse_many(text).unwrap();
    blocks.into_iter().find(|block| block.tag() == label).unwrap().into_contents()
}

fn wrap(label: &str, der: Vec<u8>) -> String {
    ::pem::encode(&::pem::Pem::new(label, der))
}

/// An encrypted key with another description of how it is encrypted.
fn described(change: impl FnOnce(&mut Parameters)) -> String {
    let der = block(&text(), "ENCRYPTED PRIVATE KEY");
    let info = EncryptedPrivateKeyInfoRef::from_der(&der).unwrap();
    let EncryptionScheme::Pbes2(mut parameters) = info.encryption_algorithm else { unreachable!() };
    change(&mut parameters);
    let encryption_algorithm = EncryptionScheme::Pbes2(parameters);
    let changed = EncryptedPrivateKeyInfoRef { encryption_algorithm, encrypted_data: info.encrypted_data };
    wrap("ENCRYPTED PRIVATE KEY", changed.to_der().unwrap())
}

fn with_scrypt(change: impl FnOnce(&mut ScryptParams)) -> String {
    described(|parameters| match &mut parameters.kdf {
        Kdf::Scrypt(scrypt) => change(scrypt),
        _ => unreachable!(),
    })
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_and_says_its_address_without() {
    let text = text();
    let file = KeyFile::parse(&text).unwrap();
    assert!(file.is_encrypted());
    assert_eq!(file.public_key(), Ok(key().public_key()));
    assert_eq!(address_of_pem(&text), Ok(key().address()));
    assert_eq!(error_of(&text), KeyError::Encrypted);
    let opened = file.unlock(&passphrase(RIGHT)).unwrap();
    assert_eq!(opened.to_pem(), key().to_pem());
    assert_eq!(opened.sign(b"message"), key().sign(b"message"));
    assert_eq!(unlock(&text.replace('\n', "\r\n"), RIGHT), Ok(key().address()));
    // Twice the same is nowhere: salt and IV are new each time.
    assert_ne!(
        block(&text, "ENCRYPTED PRIVATE KEY"),
        block(&super::encrypted::text(), "ENCRYPTED PRIVATE KEY")
    );
}

/// The text of a file, its key put under a passphrase and taken from under it.
fn to_and_fro(text: &str) -> (String, String) {
    let encrypted = KeyFile::parse(text).unwrap().with_encrypted(key(), &passphrase(RIGHT)).unwrap();
    assert_eq!(unlock(&encrypted, RIGHT), Ok(key().address()));
    let back = KeyFile::parse(&encrypted).unwrap().with_plain(key()).unwrap();
    (encrypted, back.to_string())
}

#[test]
fn what_is_beside_the_key_stays_byte_for_byte() {
    let certificate = wrap("CERTIFICATE", vec![1; 100]).replace('\n', "\r\n");
    let address = format!("Address: {}\n", key().address());
    let pem = key().to_pem();
    let private = pem.strip_prefix(&address).unwrap();
    let public = wrap("PUBLIC KEY", key_info_of(key().modulus())).replace("\r\n", "\n");
    let theirs = wrap("PUBLIC KEY", key_info_of(PrivateKey::generate(2048).unwrap().modulus()));
    for (before, between, after) in [
        ("", "", ""),
        ("a note\n\n\t two \r\n", "", "after\nthe end"),
        ("", "\na note\n\n", " \n"),
        ("Bag Attributes\n    friendlyName: é\n", "", certificate.as_str()),
        ("x: y\n", certificate.as_str(), "# and after\r\n"),
        ("", "Address: of my house\n", "Checksum: of nothing\nAddress: none\n"),
        // The public key is in the file already, not right before the key; and after it that of somebody else.
        ("", format!("{public}{theirs}").as_str(), ""),
        ("", "", format!("{public}{theirs}").as_str()),
    ] {
        let plain = format!("{before}{address}{between}{private}{after}");
        let (encrypted, back) = to_and_fro(&plain);
        assert_eq!(back, plain);
        assert!(encrypted.starts_with(&format!("{before}{address}Checksum: ")), "{encrypted}");
        assert!(encrypted.contains(between) && encrypted.ends_with(after), "{encrypted}");
        assert_eq!(encrypted.matches("BEGIN PUBLIC").count(), plain.matches("BEGIN PUBLIC").count().max(1));
        assert_eq!(to_and_fro(&back).1, plain);
    }
}

#[test]
fn the_own_lines_of_a_key_come_to_their_places() {
    let pem = key().to_pem();
    let (address, private) = pem.split_once('\n').unwrap();
    let certificate = wrap("CERTIFICATE", vec![1; 100]);
    // Without an Address line, after other blocks: the line comes before all of them, where it is looked for.
    let (encrypted, back) = to_and_fro(&format!("a note\n{certificate}{private}"));
    assert!(encrypted.starts_with(&format!("a note\n{address}\nChecksum: ")), "{encrypted}");
    assert_eq!(back, format!("a note\n{address}\n{certificate}{private}"));
    // A public key right before the key goes with the encryption, in whatever form it was.
    let public = wrap("PUBLIC KEY", key_info_of(key().modulus()));
    assert_eq!(to_and_fro(&format!("{address}\n{public}{private}")).1, *pem);
    // Without a last line end.
    assert_eq!(to_and_fro(pem.trim_end()).1, *pem);
}

#[test]
fn a_key_is_not_called_encrypted_beside_a_readable_copy() {
    let pem = key().to_pem();
    let damaged = pem.replace("-----BEGIN", "----BEGIN");
    for copy in [damaged.as_str(), "Private-Key: (2048 bit, 2 primes)\n", "privateExponent:\n    00:01\n"] {
        for text in [format!("{copy}{}", *pem), format!("{}{copy}", *pem)] {
            let file = KeyFile::parse(&text).unwrap();
            let error = file.with_encrypted(key(), &passphrase(RIGHT)).unwrap_err();
            assert!(matches!(error, KeyError::SecretBeside { .. }), "{error:?}");
            assert!(file.open().is_ok(), "it can be used as it is");
        }
    }
}

#[test]
fn a_plain_key_needs_no_passphrase() {
    assert_eq!(unlock(&key().to_pem(), RIGHT), Ok(key().address()));
    assert!(!KeyFile::parse(&key().to_pem()).unwrap().is_encrypted());
}

#[test]
fn a_wrong_passphrase_is_called_wrong() {
    let text = text();
    for wrong in ["correct horse battery stapl", "Correct horse battery staple", " ", "x"] {
        assert_eq!(unlock(&text, wrong), Err(KeyError::WrongPassphrase { checked: true }));
    }
    assert_eq!(unlock(&text, "x").unwrap_err().to_string(), "stays locked: the passphrase is wrong");
    let foreign = without_checksum(&text);
    assert_eq!(unlock(&foreign, RIGHT), Ok(key().address()));
    for number in 0..600 {
        // Of 256 wrong ones, one gives a right padding.
        let wrong = unlock(&foreign, &format!("wrong {number}"));
        assert_eq!(wrong, Err(KeyError::WrongPassphrase { checked: false }), "{number}");
    }
    assert!(unlock(&foreign, "x").unwrap_err().to_string().contains("or the file is damaged"));
}

#[test]
fn a_damaged_file_is_never_called_a_wrong_passphrase() {
    let text = text();
    let bytes = text.as_bytes();
    // Every byte of the file, each exchanged for what stays text: the key opens, or damage is found.
    for (index, byte) in bytes.iter().enumerate() {
        for other in [b'A', b'b', b'7', b'-', b'\n'] {
            if *byte == other {
                continue;
            }
            let mut damaged = bytes.to_vec();
            damaged[index] = other;
            let damaged = String::from_utf8(damaged).unwrap();
            match KeyFile::parse(&damaged) {
                Ok(file) => {
                    assert_eq!(file.public_key(), Ok(key().public_key()), "byte {index}");
                    if index % 16 == 0 {
                        assert_eq!(unlock(&damaged, RIGHT), Ok(key().address()), "byte {index}");
                    }
                }
                Err(error) => assert!(
                    is_damaged(&error) || matches!(error, KeyError::AddressLine { .. } | KeyError::PublicKey),
                    "byte {index}: {error:?}"
                ),
            }
        }
    }
    for length in 0..bytes.len() {
        match KeyFile::parse(&text[..length]) {
            Ok(file) => assert!(file.unlock(&passphrase(RIGHT)).is_ok(), "{length} bytes"),
            Err(error) => assert!(is_damaged(&error), "{length} bytes: {error:?}"),
        }
    }
}

#[test]
fn damage_without_a_checksum_is_found_with_the_right_passphrase() {
    let der = block(&text(), "ENCRYPTED PRIVATE KEY");
    // In the second half of the key, whose beginning shows that the passphrase is right.
    for place in [der.len() / 2, der.len() - 40, der.len() - 1] {
        let mut damaged = der.clone();
        damaged[place] ^= 1;
        let error = unlock(&wrap("ENCRYPTED PRIVATE KEY", damaged), RIGHT).unwrap_err();
        assert!(is_damaged(&error), "{place}: {error:?}");
    }
    // Cut to whole blocks: only the outer form tells.
    let error = unlock(&wrap("ENCRYPTED PRIVATE KEY", der[..der.len() - 16].to_vec()), RIGHT).unwrap_err();
    assert!(is_damaged(&error), "{error:?}");
}

#[test]
fn a_public_key_of_somebody_else_beside_it_is_noticed() {
    let other = PrivateKey::generate(2048).unwrap();
    let theirs = encrypted_text(&other, &Around::default(), &passphrase(RIGHT), Cost::IN_USE).unwrap();
    let public = wrap("PUBLIC KEY", block(&theirs, "PUBLIC KEY"));
    let exchanged = public.clone() + &wrap("ENCRYPTED PRIVATE KEY", block(&text(), "ENCRYPTED PRIVATE KEY"));
    assert_eq!(address_of_pem(&exchanged), Ok(other.address()), "nothing can be known before it is opened");
    let error = unlock(&exchanged, RIGHT).unwrap_err();
    assert!(error.to_string().contains("belongs to another private key"), "{error}");
    // In plain it is known at once.
    assert!(is_damaged(&error_of(&(public + &key().to_pem()))));
    let own = wrap("PUBLIC KEY", block(&text(), "PUBLIC KEY")) + &key().to_pem();
    assert!(PrivateKey::from_pem(&own).is_ok());
}

#[test]
fn a_key_without_its_public_key_opens_and_says_how_to_get_it_one() {
    let alone = wrap("ENCRYPTED PRIVATE KEY", block(&text(), "ENCRYPTED PRIVATE KEY"));
    assert_eq!(unlock(&alone, RIGHT), Ok(key().address()));
    assert_eq!(address_of_pem(&alone), Err(KeyError::NoPublicKey));
    assert!(KeyError::NoPublicKey.to_string().contains("wallet change-passphrase"));
}

#[test]
fn a_derivation_that_costs_too_much_is_refused_before_it_begins() {
    let too_costly = |text: &str| matches!(unlock(text, RIGHT), Err(KeyError::TooCostly { .. }));
    assert!(too_costly(&with_scrypt(|scrypt| scrypt.cost_parameter = 1 << 18)), "256 MiB and 1 KiB");
    assert!(too_costly(&with_scrypt(|scrypt| scrypt.cost_parameter = 1 << 63)));
    assert!(too_costly(&with_scrypt(|scrypt| {
        scrypt.cost_parameter = 1 << 8;
        scrypt.block_size = u16::MAX;
    })));
    assert!(too_costly(&with_scrypt(|scrypt| {
        scrypt.cost_parameter = 1 << 14;
        scrypt.parallelization = 33;
    })));
    for rounds in [10_000_001, u32::MAX] {
        assert!(too_costly(&pbkdf2(rounds, Pbkdf2Prf::HmacWithSha256)));
    }
    let error = unlock(&with_scrypt(|scrypt| scrypt.cost_parameter = 1 << 20), RIGHT).unwrap_err();
    assert!(error.to_string().contains("1024 MiB of memory"), "{error}");
}

fn pbkdf2(iteration_count: u32, prf: Pbkdf2Prf) -> String {
    described(|parameters| {
        let Kdf::Scrypt(scrypt) = &parameters.kdf else { unreachable!() };
        parameters.kdf = Kdf::Pbkdf2(pkcs8::pkcs5::pbes2::Pbkdf2Params {
            salt: scrypt.salt,
            iteration_count,
            key_length: None,
            prf,
        });
    })
}

#[test]
fn senseless_and_unknown_derivations_and_ciphers_are_named() {
    for change in [
        (|scrypt| scrypt.cost_parameter = 0) as fn(&mut ScryptParams),
        |scrypt| scrypt.cost_parameter = 1,
        |scrypt| scrypt.cost_parameter = 15,
        |scrypt| scrypt.block_size = 0,
        |scrypt| scrypt.parallelization = 0,
        |scrypt| scrypt.key_length = Some(16),
    ] {
        let error = unlock(&with_scrypt(change), RIGHT).unwrap_err();
        assert!(matches!(error, KeyError::Damaged { .. }), "{error:?}");
    }
    assert!(is_damaged(&unlock(&pbkdf2(0, Pbkdf2Prf::HmacWithSha256), RIGHT).unwrap_err()));
    let unknown = |text: &str| matches!(unlock(text, RIGHT), Err(KeyError::UnknownEncryption { .. }));
    assert!(unknown(&pbkdf2(1, Pbkdf2Prf::HmacWithSha224)));
    assert!(unknown(&described(|parameters| {
        parameters.encryption = pkcs8::pkcs5::pbes2::EncryptionScheme::Aes256Gcm { nonce: [0; 12] };
    })));
    // An object identifier that nobody knows in place of AES-256-CBC's.
    let mut der = block(&text(), "ENCRYPTED PRIVATE KEY");
    let oid = [6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];
    let place = der.windows(oid.len()).position(|window| window == oid).unwrap();
    der[place + 10] = 99;
    assert!(unknown(&wrap("ENCRYPTED PRIVATE KEY", der)));
    assert!(is_damaged(&unlock(&wrap("ENCRYPTED PRIVATE KEY", vec![1, 2, 3]), RIGHT).unwrap_err()));
    // No whole blocks of AES.
    let der = block(&text(), "ENCRYPTED PRIVATE KEY");
    let info = EncryptedPrivateKeyInfoRef::from_der(&der).unwrap();
    for length in [0, 1, 17] {
        let data = &info.encrypted_data.as_bytes()[..length];
        let changed = EncryptedPrivateKeyInfoRef {
            encryption_algorithm: info.encryption_algorithm.clone(),
            encrypted_data: OctetStringRef::new(data).unwrap(),
        };
        let error = unlock(&wrap("ENCRYPTED PRIVATE KEY", changed.to_der().unwrap()), RIGHT).unwrap_err();
        assert!(matches!(error, KeyError::Damaged { .. }), "{error:?}");
    }
}

#[test]
fn what_was_encrypted_and_is_no_key_is_named() {
    let encrypted = |der: &[u8]| {
        wrap("ENCRYPTED PRIVATE KEY", encryption::encrypt(der, &passphrase(RIGHT), Cost::IN_USE).unwrap())
    };
    let ed25519 = hex::decode(format!("302e020100300506032b657004220420{}", "07".repeat(32))).unwrap();
    assert_eq!(unlock(&encrypted(&ed25519), RIGHT), Err(KeyError::NotRsa));
    let nothing = unlock(&encrypted(b"no key at all"), RIGHT);
    assert_eq!(nothing, Err(KeyError::WrongPassphrase { checked: false }), "there is no telling");
    let mut der = key().der.to_vec();
    der[320] ^= 1;
    assert!(is_damaged(&unlock(&encrypted(&der), RIGHT).unwrap_err()));
}

#[test]
fn openssl_opens_what_is_written_here() {
    // At the real cost: OpenSSL has a limit of its own.
    let text = encrypted_text(key(), &Around::default(), &passphrase(RIGHT), Cost::USUAL).unwrap();
    let right = format!("pass:{RIGHT}");
    let Some(plain) = openssl(&["pkey", "-passin", &right], text.as_bytes()) else { return };
    assert_eq!(PrivateKey::from_pem(std::str::from_utf8(&plain).unwrap()).unwrap().to_pem(), key().to_pem());
    let public = openssl(&["pkey", "-pubin", "-outform", "DER"], text.as_bytes()).unwrap();
    assert_eq!(key().address(), Address::from_bytes(sha256(&[&public])), "it asks for no passphrase");
    let wrong = openssl_ends(&["pkey", "-passin", "pass:wrong"], text.as_bytes()).unwrap();
    assert!(!wrong.status.success() && wrong.stdout.is_empty());
}

#[test]
fn what_openssl_encrypts_opens_here() {
    let usual: &[&str] = &[];
    for flags in [
        usual,
        &["-scrypt"],
        &["-v2", "aes-128-cbc"],
        &["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"],
        &["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA1", "-iter", "100000"],
        &["-v2", "aes256", "-v2prf", "hmacWithSHA384"],
    ] {
        let right = format!("pass:{RIGHT}");
        let arguments = [&["pkcs8", "-topk8", "-passout", &right], flags].concat();
        let Some(made) = openssl(&arguments, key().to_pem().as_bytes()) else { return };
        let text = String::from_utf8(made).unwrap();
        assert_eq!(unlock(&text, RIGHT), Ok(key().address()), "{flags:?}");
        assert_eq!(unlock(&text, "wrong"), Err(KeyError::WrongPassphrase { checked: false }), "{flags:?}");
    }
    let arguments = ["pkcs8", "-topk8", "-passout", "pass:x", "-v2", "des3"];
    let made = openssl(&arguments, key().to_pem().as_bytes()).unwrap();
    let error = unlock(std::str::from_utf8(&made).unwrap(), "x").unwrap_err();
    assert!(matches!(&error, KeyError::UnknownEncryption { .. }), "{error:?}");
}
