//! What a key and a passphrase leave behind in memory once they are let go of: nothing. The whole memory of this program
//! is looked through, so that no other test may run in it.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use common::files::create_new;
use common::key_store::{KeyName, KeyStore};
use common::passphrase::Passphrases;
use common::signature::{RsaVerifier, SignatureVerifier};
use zeroize::{Zeroize, Zeroizing};

/// What secrets are kept under here, so that what is looked for is not found where it is looked for from.
const COVER: u8 = 0xa5;
/// So many bytes of a secret are no chance.
const NEEDLE: usize = 24;
const PIECE: usize = 1 << 20;

/// Part of a secret, covered.
struct Needle {
    what: &'static str,
    covered: [u8; NEEDLE],
}

impl Needle {
    fn new(what: &'static str, secret: &[u8]) -> Self {
        let mut covered = [COVER; NEEDLE];
        covered.iter_mut().zip(secret).for_each(|(to, byte)| *to ^= byte);
        Self { what, covered }
    }

    /// The same of a number as libraries hold it, the least significant byte first.
    fn reversed(&self, what: &'static str) -> Self {
        let mut covered = self.covered;
        covered.reverse();
        Self { what, covered }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let first = self.covered[0] ^ COVER;
        let places = bytes.windows(NEEDLE).filter(|window| window[0] == first);
        places.into_iter().any(|window| window.iter().zip(self.covered).all(|(byte, it)| byte ^ COVER == it))
    }
}

/// Those of the needles that are in memory that this program can write to.
fn found(needles: &[Needle]) -> Vec<&'static str> {
    let memory = File::open("/proc/self/mem").expect("there is /proc");
    let maps = fs::read_to_string("/proc/self/maps").expect("there is /proc");
    let mut piece = Zeroizing::new(vec![0; PIECE + NEEDLE]);
    let mut found = vec![false; needles.len()];
    for line in
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")))
    {
        let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
        let mut at = start;
        while at < end {
            // What was read lies in this memory itself, and must not be found there.
            piece.as_mut_slice().zeroize();
            let length = (PIECE + NEEDLE).min((end - at) as usize);
            // Some of what is mapped cannot be read.
            let Ok(length) = memory.read_at(&mut piece[..length], at) else { break };
            for (found, needle) in found.iter_mut().zip(needles) {
                *found |= needle.is_in(&piece[..length]);
            }
            at += PIECE as u64;
        }
    }
    needles.iter().zip(found).filter(|(_, found)| *found).map(|(needle, _)| needle.what).collect()
}

/// The contents of an element of DER, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        0x81 => (usize::from(der[2]), 3),
        _ => (usize::from(u16::from_be_bytes([der[2], der[3]])), 4),
    };
    (&der[start..start + length], &der[start + length..])
}

/// What must not stay of a key: parts of its text, of its private exponent and of a prime.
fn needles_of(text: &str) -> Vec<Needle> {
    let (_, base64) = text.split_once("-----BEGIN PRIVATE KEY-----").expect("it is a plain key");
    let mut der = Zeroizing::new(Vec::with_capacity(4096));
    let (mut bits, mut held) = (0_u32, 0);
    for byte in base64.bytes().take_while(|byte| *byte != b'-').filter(|byte| *byte != b'\n' && *byte != b'=')
    {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        (bits, held) = (bits << 6 | u32::from(six), held + 6);
        if held >= 8 {
            held -= 8;
            der.push((bits >> held) as u8);
        }
    }
    // PrivateKeyInfo: version, algorithm, and in an OCTET STRING the RSAPrivateKey: version, n, e, d, p (RFC 5958, 8017).
    let (info, _) = element(&der);
    let (_, rest) = element(info);
    let (_, rest) = element(rest);
    let (key, _) = element(element(rest).0);
    let (_, rest) = element(key);
    let (_, rest) = element(rest);
    let (_, rest) = element(rest);
    let (exponent, rest) = element(rest);
    let (prime, _) = element(rest);
    let exponent = Needle::new("the private exponent", &exponent[100..]);
    let prime = Needle::new("a prime", &prime[50..]);
    let middle = base64.len() / 2;
    vec![
        Needle::new("the text of the file", &base64.as_bytes()[middle..]),
        exponent.reversed("the private exponent, reversed"),
        prime.reversed("a prime, reversed"),
        exponent,
        prime,
    ]
}

#[test]
fn a_key_and_its_passphrase_leave_nothing_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let passphrase_file = directory.path().join("passphrase");
    let store = KeyStore::new(directory.path().join("keys"));
    let name: KeyName = "alice".parse().unwrap();
    let random = Zeroizing::new(format!("{:032x}", u128::from(getrandom::u64().unwrap()) << 64 | 0x5eed));
    create_new(&passphrase_file, random.as_bytes()).unwrap();
    let mut needles = vec![Needle::new("the passphrase", random.as_bytes())];
    drop(random);
    let passphrases = Passphrases::from_flag(Some(passphrase_file));

    let (key, _) = store.create_encrypted(&name, 2048, &passphrases).unwrap();
    needles.extend(needles_of(&key.to_pem()));
    // Otherwise this would not find what is there.
    let there = found(&needles);
    assert!(there.contains(&"a prime") && there.contains(&"the private exponent"), "{there:?}");
    drop(key);
    assert_eq!(found(&needles), [""; 0], "of a key that was made");

    let key = store.load(&name, 2048, &passphrases).unwrap();
    let signature = key.sign(b"message");
    assert!(RsaVerifier::default().verify(key.modulus(), b"message", &signature));
    drop(key);
    assert_eq!(found(&needles), [""; 0], "of a key that was read");

    store.decrypt(&name, &passphrases).unwrap();
    store.encrypt(&name, &passphrases).unwrap();
    assert_eq!(found(&needles), [""; 0], "of a key that was rewritten");
}
