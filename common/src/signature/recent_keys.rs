//! The public keys that verified a signature lately. A key is worth keeping: what comes from its modulus
//! alone (Montgomery constants, the address) costs a seventh of a verification.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::signature::ParsedPublicKey;

use crate::address::Address;

/// A generation ends when its moduli take so many bytes: 2,048 keys of 2,048 bits, or half as many of
/// 4,096. A key takes about nine times its modulus, so two generations stay below 10 MiB.
const GENERATION_BYTES: usize = 2_048 * 256;

/// A key that verified a signature, with all that was computed from its modulus.
pub(super) struct RecentKey {
    pub(super) key: ParsedPublicKey,
    pub(super) address: Address,
}

/// Two generations of keys. When the younger one is full it becomes the older one, which is dropped whole;
/// a key of the older one that is used moves to the younger. So what is used often stays, whatever else
/// passes through, and no use of a key but these moves changes anything that threads share.
///
/// Strangers choose the moduli. The map's hash is keyed at random and takes in the whole modulus, and the
/// whole modulus is compared: no choice of them makes a lookup slow or finds another's key.
#[derive(Default)]
pub(super) struct RecentKeys(RwLock<Generations>);

#[derive(Default)]
struct Generations {
    younger: Generation,
    older: Generation,
    /// What the moduli of the younger one take.
    younger_bytes: usize,
}

type Generation = HashMap<Box<[u8]>, Arc<RecentKey>>;

impl RecentKeys {
    /// The key with this modulus.
    pub(super) fn get(&self, modulus: &[u8]) -> Option<Arc<RecentKey>> {
        let generations = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = generations.younger.get(modulus) {
            return Some(key.clone());
        }
        let key = generations.older.get(modulus)?.clone();
        drop(generations);
        self.insert(modulus, key.clone());
        Some(key)
    }

    /// Keeps a key.
    pub(super) fn insert(&self, modulus: &[u8], key: Arc<RecentKey>) {
        let mut generations = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = Generation::new();
        if generations.younger_bytes + modulus.len() > GENERATION_BYTES {
            let full = std::mem::take(&mut generations.younger);
            dropped = std::mem::replace(&mut generations.older, full);
            generations.younger_bytes = 0;
        }
        if generations.younger.insert(modulus.into(), key).is_none() {
            generations.younger_bytes += modulus.len();
        }
        // Thousands of keys are freed while nobody waits for the lock.
        drop(generations);
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;
    use crate::signature::address_of;

    fn modulus(seed: u32) -> Vec<u8> {
        let mut modulus = vec![0x81; 256];
        modulus[100..104].copy_from_slice(&seed.to_be_bytes());
        modulus
    }

    fn keep(keys: &RecentKeys, seed: u32) {
        let modulus = modulus(seed);
        let components = RsaPublicKeyComponents { n: &modulus[..], e: &[1, 0, 1][..] };
        let key = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).unwrap();
        keys.insert(&modulus, Arc::new(RecentKey { key, address: address_of(&modulus) }));
    }

    fn has(keys: &RecentKeys, seed: u32) -> bool {
        let found = keys.get(&modulus(seed));
        found.is_some_and(|found| found.address == address_of(&modulus(seed)))
    }

    #[test]
    fn the_table_of_limits_has_the_room_of_a_generation() {
        assert_eq!(GENERATION_BYTES, 524_288);
        assert!(include_str!("../../../LIMITS.md").contains("| `GENERATION_BYTES` | 524,288 | "));
    }

    #[test]
    fn a_key_is_found_by_its_whole_modulus() {
        let keys = RecentKeys::default();
        assert!(!has(&keys, 1));
        keep(&keys, 1);
        keep(&keys, 2);
        assert!(has(&keys, 1) && has(&keys, 2) && !has(&keys, 3));
        assert!(keys.get(&modulus(1)[..255]).is_none() && keys.get(&[]).is_none());
    }

    #[test]
    fn a_key_in_use_outlives_any_number_of_others_and_the_others_go() {
        let keys = RecentKeys::default();
        keep(&keys, 0);
        for seed in 1..10_000 {
            keep(&keys, seed);
            assert!(seed % 1_000 != 0 || has(&keys, 0), "after {seed} others");
        }
        assert!(has(&keys, 9_999) && !has(&keys, 1) && !has(&keys, 5_000));
        let generations = keys.0.read().unwrap();
        for generation in [&generations.younger, &generations.older] {
            assert!(generation.len() * 256 <= GENERATION_BYTES);
        }
        assert_eq!(generations.younger.len() * 256, generations.younger_bytes);
    }

    #[test]
    fn keeping_a_key_twice_counts_it_once() {
        let keys = RecentKeys::default();
        for _ in 0..10_000 {
            keep(&keys, 1);
        }
        let generations = keys.0.read().unwrap();
        assert_eq!((generations.younger.len(), generations.older.len()), (1, 0));
        assert_eq!(generations.younger_bytes, 256);
    }
}
