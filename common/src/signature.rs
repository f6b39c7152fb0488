//! Public keys and the one verifier of signatures (`PROTOCOL.md`, section 3). Private keys are in
//! [`crate::keys`].

mod recent_keys;

use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

use crate::address::Address;
use crate::hash::{sha256, sha256_many};
use recent_keys::{RecentKey, RecentKeys};

/// 65537, big endian: the public exponent of every key.
const PUBLIC_EXPONENT: [u8; 3] = [1, 0, 1];
/// The longest modulus, and so the longest signature, in bytes.
pub const MAX_MODULUS_BYTES: usize = 512;

/// What decides whether a signature is valid. Consensus takes it as an argument, so that every node uses
/// the same one and a simulation may use a cheap one.
pub trait SignatureVerifier: Send + Sync {
    /// The address of the key with this modulus, if `signature` is a valid signature of it over the message with
    /// this SHA-256 digest. The modulus has passed [`modulus_bits`].
    ///
    /// A key made as usual has only one; where 65537 divides φ of the modulus, only the key's owner can make others.
    ///
    /// It takes a digest because those of many messages are computed at once, by [`sha256_many`].
    fn signer(&self, modulus: &[u8], digest: &[u8; 32], signature: &[u8]) -> Option<Address>;

    /// Whether `signature` is a valid signature over `message` of the key with this modulus.
    fn verify(&self, modulus: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.signer(modulus, &sha256(&[message]), signature).is_some()
    }
}

/// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2.2). Keeps the keys that verified something lately,
/// so all threads should share one.
#[derive(Default)]
pub struct RsaVerifier {
    recent: RecentKeys,
}

impl SignatureVerifier for RsaVerifier {
    fn signer(&self, modulus: &[u8], digest: &[u8; 32], signature: &[u8]) -> Option<Address> {
        let digest = Digest::import_less_safe(digest, &SHA256).ok()?;
        if let Some(recent) = self.recent.get(modulus) {
            return recent.key.verify_digest_sig(&digest, signature).ok().map(|()| recent.address);
        }
        let components = RsaPublicKeyComponents { n: modulus, e: &PUBLIC_EXPONENT[..] };
        let key = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        key.verify_digest_sig(&digest, signature).ok()?;
        // Only now, so that wrong signatures drive no key out.
        let address = address_of(modulus);
        self.recent.insert(modulus, Arc::new(RecentKey { key, address }));
        Some(address)
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
    Address::from_bytes(sha256(&[&key_info_of(modulus)]))
}

/// The DER `SubjectPublicKeyInfo` of a modulus that has passed [`modulus_bits`].
pub(crate) fn key_info_of(modulus: &[u8]) -> Vec<u8> {
    let mut key_info = Vec::with_capacity(modulus.len() + 64);
    write_key_info(modulus, &mut key_info);
    key_info
}

/// The addresses of many moduli, hashed together.
pub fn addresses_of<'a>(moduli: impl IntoIterator<Item = &'a [u8]>) -> Vec<Address> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for modulus in moduli {
        write_key_info(modulus, &mut bytes);
        ends.push(bytes.len());
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let key_infos: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect();
    sha256_many(&[], &key_infos).into_iter().map(Address::from_bytes).collect()
}

/// Appends the DER `SubjectPublicKeyInfo` of a modulus.
fn write_key_info(modulus: &[u8], to: &mut Vec<u8>) {
    // rsaEncryption with NULL parameters, the same for every key.
    const ALGORITHM: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    const EXPONENT: [u8; 5] = [2, 3, 1, 0, 1];
    const HEADER_BYTES: usize = 4;
    // The modulus has a zero byte before it, because its top bit is set and the number is positive; the bit
    // string has one that says that no bits are left over.
    let integer_bytes = 1 + modulus.len();
    let key_bytes = HEADER_BYTES + integer_bytes + EXPONENT.len();
    let bit_string_bytes = 1 + HEADER_BYTES + key_bytes;
    to.extend(header(0x30, ALGORITHM.len() + HEADER_BYTES + bit_string_bytes));
    to.extend(ALGORITHM);
    to.extend(header(0x03, bit_string_bytes));
    to.push(0);
    to.extend(header(0x30, key_bytes));
    to.extend(header(0x02, integer_bytes));
    to.push(0);
    to.extend_from_slice(modulus);
    to.extend(EXPONENT);
}

/// A DER tag with a length of 256 to 65,535 bytes, which every part of these keys has.
fn header(tag: u8, length: usize) -> [u8; 4] {
    [tag, 0x82, (length >> 8) as u8, length as u8]
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeyPair;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding};
    use proptest::prelude::*;
    use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
    use rsa::rand_core::{CryptoRng, Error, RngCore, impls};
    use rsa::traits::{PrivateKeyParts, PublicKeyParts};
    use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};

    use super::*;

    const MESSAGE: &[u8] = b"what is signed";

    /// The DER `DigestInfo` of SHA-256, up to the hash (RFC 8017, section 9.2).
    const SHA256_INFO: [u8; 19] =
        [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];

    static KEY: LazyLock<RsaPrivateKey> =
        LazyLock::new(|| RsaPrivateKey::new(&mut Counter(0), 2048).expect("2048 bits are enough"));

    /// Randomness that is the same in every run.
    struct Counter(u64);

    impl RngCore for Counter {
        fn next_u32(&mut self) -> u32 {
            self.next_u64() as u32
        }

        fn next_u64(&mut self) -> u64 {
            self.0 += 1;
            sha256(&[&self.0.to_le_bytes()]).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
        }

        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            impls::fill_bytes_via_next(self, bytes);
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
            self.fill_bytes(bytes);
            Ok(())
        }
    }

    impl CryptoRng for Counter {}

    fn modulus() -> Vec<u8> {
        KEY.n().to_bytes_be()
    }

    fn verifies(signature: &[u8]) -> bool {
        verify(&modulus(), MESSAGE, signature)
    }

    /// What a verifier that never saw a key says, and one that knows it: they must say the same.
    fn verify(modulus: &[u8], message: &[u8], signature: &[u8]) -> bool {
        static WARM: LazyLock<RsaVerifier> = LazyLock::new(|| {
            let verifier = RsaVerifier::default();
            let signature = root_of(&padded(&digest_info()));
            assert!(verifier.verify(&self::modulus(), MESSAGE, &signature));
            assert!(verifier.recent.get(&self::modulus()).is_some());
            verifier
        });
        let cold = RsaVerifier::default();
        let digest = sha256(&[message]);
        let signer = cold.signer(modulus, &digest, signature);
        assert_eq!(cold.recent.get(modulus).is_some(), signer.is_some(), "only a proven key is kept");
        assert_eq!(cold.signer(modulus, &digest, signature), signer, "asked again");
        assert_eq!(WARM.signer(modulus, &digest, signature), signer, "among known keys");
        assert_eq!(cold.verify(modulus, message, signature), signer.is_some());
        assert!(signer.is_none_or(|address| address == address_of(modulus)));
        signer.is_some()
    }

    /// What a signing library makes.
    fn signed_with(encoding: &'static dyn RsaEncoding) -> Vec<u8> {
        let key = KeyPair::from_pkcs8(KEY.to_pkcs8_der().unwrap().as_bytes()).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
        signature
    }

    /// The number whose power is `encoded`, which only the holder of the key can find: so a test can sign
    /// any malformed padding.
    fn root_of(encoded: &[u8]) -> Vec<u8> {
        fixed(&BigUint::from_bytes_be(encoded).modpow(KEY.d(), KEY.n()))
    }

    fn fixed(number: &BigUint) -> Vec<u8> {
        let bytes = number.to_bytes_be();
        [vec![0; 256_usize.saturating_sub(bytes.len())], bytes].concat()
    }

    /// 00 01 FF…FF 00 and the end.
    fn padded(end: &[u8]) -> Vec<u8> {
        [&[0, 1][..], &vec![0xff; 256 - 3 - end.len()], &[0], end].concat()
    }

    fn digest_info() -> Vec<u8> {
        [&SHA256_INFO[..], &sha256(&[MESSAGE])].concat()
    }

    #[test]
    fn the_one_right_signature_verifies_however_it_was_made() {
        let expected = root_of(&padded(&digest_info()));
        assert!(verifies(&expected));
        assert_eq!(signed_with(&RSA_PKCS1_SHA256), expected);
        let scheme = Pkcs1v15Sign { hash_len: Some(32), prefix: SHA256_INFO.into() };
        assert_eq!(KEY.sign(scheme, &sha256(&[MESSAGE])).unwrap(), expected);
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let signature = signed_with(&RSA_PKCS1_SHA256);
        for place in 0..signature.len() {
            let mut other = signature.clone();
            other[place] ^= 1 << (place % 8);
            assert!(!verifies(&other), "byte {place}");
        }
        for place in 0..MESSAGE.len() {
            let mut other = MESSAGE.to_vec();
            other[place] ^= 1;
            assert!(!verify(&modulus(), &other, &signature), "byte {place} of the message");
        }
        assert!(!verify(&modulus(), b"", &signature));
    }

    #[test]
    fn a_number_that_is_not_below_the_modulus_is_refused() {
        let signature = BigUint::from_bytes_be(&signed_with(&RSA_PKCS1_SHA256));
        // The top bit of the modulus is set, so a signature plus the modulus may need a byte more; take one
        // that does not.
        let small = (0_u32..)
            .map(|i| i.to_le_bytes())
            .map(|message| {
                let end = [&SHA256_INFO[..], &sha256(&[&message])].concat();
                (message, BigUint::from_bytes_be(&root_of(&padded(&end))))
            })
            .find(|(_, root)| (root + KEY.n()).bits() <= 2048);
        let (message, root) = small.expect("one message in a few has such a signature");
        assert!(verify(&modulus(), &message, &fixed(&root)));
        assert!(!verify(&modulus(), &message, &fixed(&(&root + KEY.n()))));
        assert!(!verifies(&fixed(&(signature + KEY.n()))));
        assert!(!verifies(&modulus()) && !verifies(&[0; 256]) && !verifies(&[0xff; 256]));
    }

    #[test]
    fn a_longer_or_shorter_signature_is_refused() {
        let signature = signed_with(&RSA_PKCS1_SHA256);
        assert!(!verifies(&[&[0][..], &signature].concat()));
        assert!(!verifies(&[&signature[..], &[0]].concat()));
        assert!(!verifies(&signature[..255]) && !verifies(&signature[1..]) && !verifies(&[]));
    }

    #[test]
    fn other_schemes_and_other_digests_are_refused() {
        assert!(!verifies(&signed_with(&RSA_PSS_SHA256)));
        assert!(!verifies(&signed_with(&RSA_PKCS1_SHA512)));
        for (algorithm, info) in [
            (&SHA1_FOR_LEGACY_USE_ONLY, "3021300906052b0e03021a05000414"),
            (&SHA384, "3041300d060960864801650304020205000430"),
        ] {
            let hash = digest::digest(algorithm, MESSAGE);
            assert!(!verifies(&root_of(&padded(&[&hex::decode(info).unwrap(), hash.as_ref()].concat()))));
        }
        // The bare hash, and the hash of the hash.
        assert!(!verifies(&root_of(&padded(digest::digest(&SHA256, MESSAGE).as_ref()))));
        let twice = sha256(&[&sha256(&[MESSAGE])]);
        assert!(!verifies(&root_of(&padded(&[&SHA256_INFO[..], &twice].concat()))));
    }

    #[test]
    fn a_digest_info_in_another_encoding_is_refused() {
        let hash = hex::encode(sha256(&[MESSAGE]));
        for (what, info) in [
            ("no NULL parameter", "302f300b06096086480165030402010420"),
            ("long form of the outer length", "308131300d060960864801650304020105000420"),
            ("long form of the inner length", "303230810d060960864801650304020105000420"),
            ("long form of the hash's length", "3032300d06096086480165030402010500048120"),
            ("long form of NULL's length", "3032300e06096086480165030402010581000420"),
            ("indefinite length", "3080300d060960864801650304020105000420"),
        ] {
            let end = hex::decode(format!("{info}{hash}")).unwrap();
            assert!(!verifies(&root_of(&padded(&end))), "{what}");
        }
    }

    #[test]
    fn padding_with_anything_but_ff_is_refused() {
        let right = padded(&digest_info());
        for (place, byte) in [(0, 1), (1, 0), (1, 2), (2, 0xfe), (100, 0), (203, 0xfe), (204, 0xff), (204, 1)]
        {
            let mut other = right.clone();
            assert_ne!(std::mem::replace(&mut other[place], byte), byte);
            // A first byte above 0 may stand for a number above the modulus: no root then.
            assert!(!verifies(&root_of(&other)), "byte {place}");
        }
    }

    #[test]
    fn garbage_after_the_hash_is_refused() {
        // Bleichenbacher's forgery of 2006 puts the hash early and lets the rest be whatever a cube root needs.
        let forged = [&[0, 1][..], &[0xff; 8], &[0], &digest_info()].concat();
        let garbage = vec![0x5a; 256 - forged.len()];
        assert!(!verifies(&root_of(&[forged.clone(), garbage].concat())));
        assert!(!verifies(&root_of(&[forged, vec![0; 256 - 11 - 51]].concat())));
        // The same inside the structure, as parameters of the algorithm.
        let hash = sha256(&[MESSAGE]);
        let end =
            [
                &hex::decode("3041301d060960864801650304020104100123456789abcdef0123456789abcdef0420")
                    .unwrap()[..],
                &hash,
            ]
            .concat();
        assert!(!verifies(&root_of(&padded(&end))));
    }

    #[test]
    fn only_odd_moduli_of_three_sizes_with_their_top_bit_set_are_keys() {
        for bits in [2048, 3072, 4096] {
            let mut modulus = vec![0; bits as usize / 8];
            (modulus[0], *modulus.last_mut().unwrap()) = (0x80, 1);
            assert_eq!(modulus_bits(&modulus), Some(bits));
            modulus[0] = 0x7f;
            assert_eq!(modulus_bits(&modulus), None, "no top bit");
            (modulus[0], *modulus.last_mut().unwrap()) = (0x80, 2);
            assert_eq!(modulus_bits(&modulus), None, "even");
        }
        for bytes in [0, 1, 64, 128, 255, 257, 320, 383, 385, 511, 513, 1024] {
            assert_eq!(modulus_bits(&vec![0xff; bytes]), None, "{bytes} bytes");
        }
    }

    #[test]
    fn the_verifier_itself_refuses_even_and_small_moduli() {
        let signature = signed_with(&RSA_PKCS1_SHA256);
        let mut even = modulus();
        even[255] ^= 1;
        assert!(!verify(&even, MESSAGE, &signature));
        assert!(!verify(&[0xff; 128], MESSAGE, &[1; 128]));
        assert!(!verify(&[], MESSAGE, &[]));
        // Of the modulus 1 every number is a root of everything.
        let one = fixed(&BigUint::from(1_u8));
        assert!(!verify(&one, MESSAGE, &[0; 256]));
    }

    #[test]
    fn an_address_is_the_hash_of_the_key_as_other_programs_write_it() {
        for bytes in [256, 384, 512] {
            for seed in 0..4_u8 {
                let mut modulus = sha256(&[&[seed]]).repeat(bytes / 32);
                (modulus[0], modulus[bytes - 1]) = (modulus[0] | 0x80, modulus[bytes - 1] | 1);
                let key =
                    RsaPublicKey::new(BigUint::from_bytes_be(&modulus), BigUint::from(65537_u32)).unwrap();
                let expected = sha256(&[key.to_public_key_der().unwrap().as_bytes()]);
                assert_eq!(address_of(&modulus), Address::from_bytes(expected), "{bytes} bytes");
            }
        }
    }

    #[test]
    fn many_addresses_are_those_of_one_after_the_other() {
        let moduli: Vec<Vec<u8>> =
            (0..50_u8).map(|seed| sha256(&[&[seed]]).repeat([8, 12, 16][usize::from(seed) % 3])).collect();
        let expected: Vec<Address> = moduli.iter().map(|modulus| address_of(modulus)).collect();
        assert_eq!(addresses_of(moduli.iter().map(Vec::as_slice)), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Right, nearly right and random signatures under the real key and under others.
        #[test]
        fn agrees_with_an_independent_implementation(
            message in prop::collection::vec(any::<u8>(), 0..200),
            flip in prop::option::of(0_usize..2048),
            padding in prop::option::of((0_usize..256, any::<u8>())),
            other_key in prop::bool::weighted(0.1),
        ) {
            let mut encoded = padded(&[&SHA256_INFO[..], &sha256(&[&message])].concat());
            if let Some((place, byte)) = padding {
                encoded[place] = byte;
            }
            let mut signature = root_of(&encoded);
            if let Some(bit) = flip {
                signature[bit / 8] ^= 1 << (bit % 8);
            }
            let mut modulus = modulus();
            modulus[128] ^= u8::from(other_key);
            let scheme = Pkcs1v15Sign { hash_len: Some(32), prefix: SHA256_INFO.into() };
            let key = RsaPublicKey::new(BigUint::from_bytes_be(&modulus), BigUint::from(65537_u32)).unwrap();
            let expected = key.verify(scheme, &sha256(&[&message]), &signature).is_ok();
            prop_assert_eq!(verify(&modulus, &message, &signature), expected);
            if flip.is_none() && padding.is_none() && !other_key {
                prop_assert!(expected);
            }
        }
    }
}
