//! Every kind of lanes against the `sha2` crate.

use proptest::prelude::*;
use sha2::block_api::compress256;

use super::*;

/// Compresses one chunk in every lane, each with a message and a state of its own.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn compress_all<L: Lanes>(messages: &[([u32; 8], [u32; 16])]) -> Vec<[u32; 8]> {
    let lanes = |word: &dyn Fn(usize) -> u32| {
        let mut words = L::Words::default();
        words.as_mut().iter_mut().enumerate().for_each(|(lane, place)| *place = word(lane));
        // SAFETY: the caller's promise.
        unsafe { L::from_words(words) }
    };
    let mut state: [L; 8] = std::array::from_fn(|i| lanes(&|lane| messages[lane].0[i]));
    let chunk: [L; 16] = std::array::from_fn(|i| lanes(&|lane| messages[lane].1[i]));
    compress(&mut state, &chunk);
    let states = state.map(|word| word.to_words());
    (0..L::COUNT).map(|lane| states.map(|words| words.as_ref()[lane])).collect()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(messages: &[([u32; 8], [u32; 16])]) -> Vec<[u32; 8]> {
    // SAFETY: this function's own feature.
    unsafe { compress_all::<Avx2>(messages) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(messages: &[([u32; 8], [u32; 16])]) -> Vec<[u32; 8]> {
    // SAFETY: this function's own feature.
    unsafe { compress_all::<Avx512>(messages) }
}

/// What every kind of lanes that this machine has makes of the messages.
fn all_kinds(messages: &[([u32; 8], [u32; 16])]) -> Vec<(&'static str, Vec<[u32; 8]>)> {
    // SAFETY: one lane needs no special instructions.
    let mut all = vec![("u32", unsafe { compress_all::<u32>(messages) })];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            // SAFETY: it was just detected.
            all.push(("AVX2", unsafe { avx2(messages) }));
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: it was just detected.
            all.push(("AVX-512", unsafe { avx512(messages) }));
        }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: every processor of this kind has NEON.
    all.push(("NEON", unsafe { compress_all::<Neon>(messages) }));
    all
}

proptest! {
    #[test]
    fn every_lane_is_sha256_of_its_own_message(
        messages in prop::collection::vec((any::<[u32; 8]>(), any::<[u32; 16]>()), 16)
    ) {
        for (kind, states) in all_kinds(&messages) {
            for ((before, chunk), after) in messages.iter().zip(states) {
                let mut bytes = [0; 64];
                for (bytes, word) in bytes.chunks_exact_mut(4).zip(chunk) {
                    bytes.copy_from_slice(&word.to_be_bytes());
                }
                let mut expected = *before;
                compress256(&mut expected, &[bytes]);
                prop_assert_eq!(after, expected, "{}", kind);
            }
        }
    }
}

/// What [`Lanes::from_chunks`] makes of these bytes, back in the order of the lanes.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn words_of<L: Lanes, const COUNT: usize>(chunks: &[[u8; 64]]) -> Vec<[u32; 16]> {
    // SAFETY: the caller's promise.
    let words = unsafe { L::from_chunks::<COUNT>(&std::array::from_fn(|lane| &chunks[lane])) };
    let words = words.map(|word| word.to_words());
    (0..L::COUNT).map(|lane| words.map(|words| words.as_ref()[lane])).collect()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn words_of_avx512(chunks: &[[u8; 64]]) -> Vec<[u32; 16]> {
    // SAFETY: this function's own feature.
    unsafe { words_of::<Avx512, 16>(chunks) }
}

proptest! {
    #[test]
    fn every_lane_gets_the_words_of_its_own_chunk(chunks in prop::collection::vec(any::<[[u8; 32]; 2]>(), 16)) {
        let chunks: Vec<[u8; 64]> = chunks.iter().map(|halves| *halves.as_flattened().first_chunk().unwrap()).collect();
        // SAFETY: one lane needs no special instructions.
        let expected: Vec<_> = chunks.iter().flat_map(|chunk| unsafe { words_of::<u32, 1>(&[*chunk]) }).collect();
        prop_assert_eq!(expected[0][0], u32::from_be_bytes(*chunks[0].first_chunk().unwrap()));
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: it was just detected.
            prop_assert_eq!(unsafe { words_of_avx512(&chunks) }, expected);
        }
    }
}
