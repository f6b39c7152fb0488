//! Public keys and the one verifier of signatures (`PROTOCOL.md`, section 3). Private keys are in
//! [`crate::keys`].

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

use crate::address::Address;
use crate::hash::sha256;

/// 65537, big endian: the public exponent of every key.
const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];
/// The longest modulus, and so the longest signature, in bytes.
pub const MAX_MODULUS_BYTES: usize = 512;

/// What decides whether a signature is valid. Consensus takes it as an argument, so that every node uses
/// the same one and a simulation may use a cheap one.
pub trait SignatureVerifier: Send + Sync {
    /// Whether `signature` is the one valid signature over `message` of the key with this modulus. The
    /// modulus has passed [`modulus_bits`].
    fn verify(&self, modulus: &[u8], message: &[u8], signature: &[u8]) -> bool;
}

/// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct RsaVerifier;

impl SignatureVerifier for RsaVerifier {
    fn verify(&self, modulus: &[u8], message: &[u8], signature: &[u8]) -> bool {
        RsaPublicKeyComponents { n: modulus, e: &PUBLIC_EXPONENT[..] }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok()
    }
}

/// The size of a modulus in bits, or `None` when it is not one that the protocol knows: 2048, 3072 or
/// 4096 bits with the top bit set, and odd.
pub fn modulus_bits(modulus: &[u8]) -> Option<u32> {
    let known_size = [256, 384, 512].contains(&modulus.len());
    let top_bit = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    (known_size && top_bit && odd).then_some(modulus.len() as u32 * 8)
}

/// The address of a modulus that has passed [`modulus_bits`]: SHA-256 of its DER `SubjectPublicKeyInfo`
/// (RFC 8017, appendix A.1; RFC 5280, section 4.1).
pub fn address_of(modulus: &[u8]) -> Address {
    // rsaEncryption with NULL parameters, the same for every key.
    const ALGORITHM: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let integer = [&header(0x02, modulus.len() + 1)[..], &[0]].concat();
    let exponent = [2, 3, 1, 0, 1];
    let key_bytes = integer.len() + modulus.len() + exponent.len();
    let key = header(0x30, key_bytes);
    let bit_string = [&header(0x03, 1 + key.len() + key_bytes)[..], &[0]].concat();
    let whole = header(0x30, ALGORITHM.len() + bit_string.len() + key.len() + key_bytes);
    Address::from_bytes(sha256(&[&whole, &ALGORITHM, &bit_string, &key, &integer, modulus, &exponent]))
}

/// A DER tag with a length of 256 to 65,535 bytes, which every part of these keys has.
fn header(tag: u8, length: usize) -> [u8; 4] {
    [tag, 0x82, (length >> 8) as u8, length as u8]
}
