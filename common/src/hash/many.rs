//! SHA-256 of many messages at once: a processor's wide registers hold the same word of 8 or 16 messages
//! ("lanes"), so that every instruction works on all of them.

use std::sync::LazyLock;

use super::sha256;

/// SHA-256 of the concatenation of `prefix` and each of `messages`.
pub fn sha256_many(prefix: &[u8], messages: &[&[u8]]) -> Vec<[u8; 32]> {
    static FASTEST: LazyLock<Path> = LazyLock::new(Path::fastest);
    FASTEST.hash(prefix, messages)
}

/// A way to hash many messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// One after the other, with the SHA instructions of the processor where it has them.
    OneByOne,
    /// Sixteen lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Eight lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Path {
    /// The fastest that this machine can take.
    #[cfg(target_arch = "x86_64")]
    fn fastest() -> Self {
        // SHA instructions are as fast as eight lanes, and need no two messages of one length.
        if Self::Avx512.is_possible() {
            Self::Avx512
        } else if Self::Avx2.is_possible() && !is_x86_feature_detected!("sha") {
            Self::Avx2
        } else {
            Self::OneByOne
        }
    }

    /// The fastest that this machine can take.
    #[cfg(not(target_arch = "x86_64"))]
    fn fastest() -> Self {
        Self::OneByOne
    }

    fn hash(self, prefix: &[u8], messages: &[&[u8]]) -> Vec<[u8; 32]> {
        assert!(self.is_possible());
        match self {
            Self::OneByOne => messages.iter().map(|message| sha256(&[prefix, message])).collect(),
            // SAFETY: the processor has the instructions, as was just checked.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => in_groups(prefix, messages, 5, |group| unsafe { hash_avx512(prefix, group) }),
            // SAFETY: the processor has the instructions, as was just checked.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => in_groups(prefix, messages, 3, |group| unsafe { hash_avx2(prefix, group) }),
        }
    }

    /// Whether this machine can take it.
    fn is_possible(self) -> bool {
        match self {
            Self::OneByOne => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn hash_avx512(prefix: &[u8], messages: [&[u8]; 16]) -> [[u8; 32]; 16] {
    hash_lanes(prefix, messages)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn hash_avx2(prefix: &[u8], messages: [&[u8]; 8]) -> [[u8; 32]; 8] {
    hash_lanes(prefix, messages)
}

/// Hands messages of as many chunks to `hash`, as many as it takes at a time. Lanes are left empty when
/// there are not enough; fewer than `least` are hashed one by one.
fn in_groups<const LANES: usize>(
    prefix: &[u8],
    messages: &[&[u8]],
    least: usize,
    hash: impl Fn([&[u8]; LANES]) -> [[u8; 32]; LANES],
) -> Vec<[u8; 32]> {
    let chunks = |place: &usize| chunk_count(prefix.len() + messages[*place].len());
    let mut places: Vec<usize> = (0..messages.len()).collect();
    places.sort_by_key(chunks);
    let mut hashes = vec![[0; 32]; messages.len()];
    for group in places.chunk_by(|a, b| chunks(a) == chunks(b)).flat_map(|equal| equal.chunks(LANES)) {
        if group.len() < least {
            group.iter().for_each(|place| hashes[*place] = sha256(&[prefix, messages[*place]]));
            continue;
        }
        // What the empty lanes hash does not matter, as long as it has the same length.
        let mut lanes = [messages[group[0]]; LANES];
        lanes.iter_mut().zip(group).for_each(|(lane, place)| *lane = messages[*place]);
        group.iter().zip(hash(lanes)).for_each(|(place, hash)| hashes[*place] = hash);
    }
    hashes
}

/// How many chunks a message of so many bytes has with its padding.
fn chunk_count(bytes: usize) -> usize {
    (bytes + 9).div_ceil(64)
}

/// A chunk of the padded concatenation of `prefix` and `message`.
#[inline(always)]
fn chunk(prefix: &[u8], message: &[u8], number: usize) -> [u8; 64] {
    let start = 64 * number;
    let rest = start.checked_sub(prefix.len()).and_then(|start| message.get(start..));
    match rest.and_then(|rest| rest.first_chunk()) {
        Some(whole) => *whole,
        None => edge_chunk(prefix, message, number),
    }
}

/// A chunk that holds more than the message.
fn edge_chunk(prefix: &[u8], message: &[u8], number: usize) -> [u8; 64] {
    let (start, length) = (64 * number, prefix.len() + message.len());
    let mut chunk = [0; 64];
    for (part, at) in [(prefix, 0), (message, prefix.len())] {
        let (from, to) = (start.max(at), (start + 64).min(at + part.len()));
        if from < to {
            chunk[from - start..to - start].copy_from_slice(&part[from - at..to - at]);
        }
    }
    if (start..start + 64).contains(&length) {
        chunk[length - start] = 0x80;
    }
    if number + 1 == chunk_count(length) {
        chunk[56..].copy_from_slice(&(8 * length as u64).to_be_bytes());
    }
    chunk
}

/// The hashes of messages that all have as many chunks. Inlined into functions that may use wide registers.
#[inline(always)]
fn hash_lanes<const LANES: usize>(prefix: &[u8], messages: [&[u8]; LANES]) -> [[u8; 32]; LANES] {
    let mut state = INITIAL.map(|word| [word; LANES]);
    for number in 0..chunk_count(prefix.len() + messages[0].len()) {
        let mut chunks = [[0; 64]; LANES];
        for (chunk, message) in chunks.iter_mut().zip(messages) {
            *chunk = self::chunk(prefix, message, number);
        }
        let mut words = [[0; LANES]; 16];
        for (place, word) in words.iter_mut().enumerate() {
            for (lane, chunk) in word.iter_mut().zip(&chunks) {
                let bytes = &chunk[4 * place..4 * place + 4];
                *lane = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        compress(&mut state, words);
    }
    let mut hashes = [[0; 32]; LANES];
    for (place, words) in state.iter().enumerate() {
        for (hash, word) in hashes.iter_mut().zip(words) {
            hash[4 * place..4 * place + 4].copy_from_slice(&word.to_be_bytes());
        }
    }
    hashes
}

/// SHA-256's compression function (FIPS 180-4, section 6.2.2), in every lane.
#[inline(always)]
fn compress<const LANES: usize>(state: &mut [[u32; LANES]; 8], mut words: [[u32; LANES]; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for sixteen in CONSTANTS {
        for (place, constant) in sixteen.into_iter().enumerate() {
            let word = words[place];
            let first: [u32; LANES] = each(|lane| {
                let s1 = e[lane].rotate_right(6) ^ e[lane].rotate_right(11) ^ e[lane].rotate_right(25);
                let choice = (e[lane] & f[lane]) ^ (!e[lane] & g[lane]);
                h[lane].wrapping_add(word[lane].wrapping_add(constant)).wrapping_add(choice).wrapping_add(s1)
            });
            let next_a: [u32; LANES] = each(|lane| {
                let s0 = a[lane].rotate_right(2) ^ a[lane].rotate_right(13) ^ a[lane].rotate_right(22);
                let majority = (a[lane] & b[lane]) ^ (a[lane] & c[lane]) ^ (b[lane] & c[lane]);
                first[lane].wrapping_add(s0).wrapping_add(majority)
            });
            let next_e: [u32; LANES] = each(|lane| d[lane].wrapping_add(first[lane]));
            (a, b, c, d, e, f, g, h) = (next_a, a, b, c, next_e, e, f, g);
            // The word of the schedule that stands here sixteen rounds later; the last sixteen go unused.
            let (w1, w9, w14) = (words[(place + 1) % 16], words[(place + 9) % 16], words[(place + 14) % 16]);
            words[place] = each(|lane| {
                let s0 = w1[lane].rotate_right(7) ^ w1[lane].rotate_right(18) ^ (w1[lane] >> 3);
                let s1 = w14[lane].rotate_right(17) ^ w14[lane].rotate_right(19) ^ (w14[lane] >> 10);
                word[lane].wrapping_add(s0).wrapping_add(w9[lane]).wrapping_add(s1)
            });
        }
    }
    for (sum, last) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *sum = each(|lane| sum[lane].wrapping_add(last[lane]));
    }
}

/// The same in every lane.
#[inline(always)]
fn each<const LANES: usize>(word: impl Fn(usize) -> u32) -> [u32; LANES] {
    let mut words = [0; LANES];
    for (lane, out) in words.iter_mut().enumerate() {
        *out = word(lane);
    }
    words
}

/// FIPS 180-4, section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// FIPS 180-4, section 4.2.2, sixteen rounds a row.
#[rustfmt::skip]
const CONSTANTS: [[u32; 16]; 4] = [
    [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    ],
    [
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    ],
    [
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    ],
    [
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ],
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Those that this machine can take.
    fn paths() -> Vec<Path> {
        let mut paths = vec![Path::OneByOne];
        #[cfg(target_arch = "x86_64")]
        paths.extend([Path::Avx2, Path::Avx512]);
        paths.retain(|path| path.is_possible());
        paths
    }

    fn assert_same(prefix: &[u8], messages: &[Vec<u8>]) {
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let expected: Vec<_> = messages.iter().map(|message| sha256(&[prefix, message])).collect();
        for path in paths() {
            assert_eq!(path.hash(prefix, &messages), expected, "{path:?}");
        }
        assert_eq!(sha256_many(prefix, &messages), expected);
    }

    #[test]
    fn messages_of_every_length_around_the_chunks_edges() {
        let bytes: Vec<u8> = (0..400).map(|i| (i * 7) as u8).collect();
        for prefix in [0, 1, 53, 54, 55, 56, 63, 64, 65, 130] {
            let messages: Vec<_> = (0..260).map(|length| bytes[..length].to_vec()).collect();
            assert_same(&bytes[..prefix], &messages);
        }
    }

    #[test]
    fn every_number_of_equal_lengths() {
        for count in 0..70_u8 {
            assert_same(&[0], &(0..count).map(|i| vec![i; 600]).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn many_hashes_are_those_of_one_after_the_other(
            prefix in prop::collection::vec(any::<u8>(), 0..80),
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..100),
            length in 0_usize..800,
            equal in prop::collection::vec(any::<[u8; 8]>(), 0..40),
        ) {
            let equal = equal.iter().map(|seed| seed.iter().copied().cycle().take(length).collect());
            assert_same(&prefix, &messages.into_iter().chain(equal).collect::<Vec<_>>());
        }
    }
}
