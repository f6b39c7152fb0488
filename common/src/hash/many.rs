//! SHA-256 of many messages at once: a processor's wide registers hold the same word of 8 or 16 messages
//! ("lanes"), so that every instruction works on all of them.

use std::sync::LazyLock;

use super::sha256;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{INITIAL_STATE, Lanes, compress};

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
            Self::Avx512 => in_groups(prefix, messages, 9, |group| unsafe { hash_avx512(prefix, group) }),
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
    // SAFETY: this function is called where the processor has the instructions.
    unsafe { hash_lanes::<Avx512, 16>(prefix, messages) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn hash_avx2(prefix: &[u8], messages: [&[u8]; 8]) -> [[u8; 32]; 8] {
    // SAFETY: this function is called where the processor has the instructions.
    unsafe { hash_lanes::<Avx2, 8>(prefix, messages) }
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

/// A chunk of the padded concatenation of `prefix` and `message` that lies in the message as it is.
#[inline(always)]
fn inner_chunk<'a>(prefix: &[u8], message: &'a [u8], number: usize) -> Option<&'a [u8; 64]> {
    let start = (64 * number).checked_sub(prefix.len())?;
    message.get(start..)?.first_chunk()
}

/// A chunk of it that holds more than the message.
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

/// The hashes of messages that all have as many chunks. Inlined into functions that may use the lanes'
/// instructions.
///
/// # Safety
/// The processor has them.
#[inline(always)]
unsafe fn hash_lanes<L: Lanes, const COUNT: usize>(
    prefix: &[u8],
    messages: [&[u8]; COUNT],
) -> [[u8; 32]; COUNT] {
    // SAFETY: the caller's promise.
    let mut state = INITIAL_STATE.map(|word| unsafe { L::splat(word) });
    for number in 0..chunk_count(prefix.len() + messages[0].len()) {
        let mut edges = [[0; 64]; COUNT];
        let mut chunks = [&[0; 64]; COUNT];
        for ((chunk, edge), message) in chunks.iter_mut().zip(&mut edges).zip(&messages) {
            *chunk = inner_chunk(prefix, message, number).unwrap_or_else(|| {
                *edge = edge_chunk(prefix, message, number);
                edge
            });
        }
        // SAFETY: the caller's promise.
        compress(&mut state, &unsafe { L::from_chunks(&chunks) });
    }
    let mut hashes = [[0; 32]; COUNT];
    for (place, words) in state.iter().enumerate() {
        for (hash, word) in hashes.iter_mut().zip(words.to_words().as_ref()) {
            hash[4 * place..4 * place + 4].copy_from_slice(&word.to_be_bytes());
        }
    }
    hashes
}

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

    /// Messages of one test. Miri takes as long for a few as many take otherwise.
    const MOST: usize = if cfg!(miri) { 20 } else { 100 };

    /// Lengths of what stands before every message.
    const PREFIXES: [usize; 10] = [0, 1, 53, 54, 55, 56, 63, 64, 65, 130];

    #[test]
    fn messages_of_every_length_around_the_chunks_edges() {
        let bytes: Vec<u8> = (0..400).map(|i| (i * 7) as u8).collect();
        let (prefixes, step) = if cfg!(miri) { (&[1, 55][..], 20) } else { (&PREFIXES[..], 1) };
        for &prefix in prefixes {
            let messages: Vec<_> = (0..260).step_by(step).map(|length| bytes[..length].to_vec()).collect();
            assert_same(&bytes[..prefix], &messages);
        }
    }

    #[test]
    fn every_number_of_equal_lengths() {
        let (counts, length) = if cfg!(miri) { (16..18_u8, 70) } else { (0..70, 600) };
        for count in counts {
            assert_same(&[0], &(0..count).map(|i| vec![i; length]).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn many_hashes_are_those_of_one_after_the_other(
            prefix in prop::collection::vec(any::<u8>(), 0..80),
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..MOST),
            length in 0_usize..8 * MOST,
            equal in prop::collection::vec(any::<[u8; 8]>(), 0..40),
        ) {
            let equal = equal.iter().map(|seed| seed.iter().copied().cycle().take(length).collect());
            assert_same(&prefix, &messages.into_iter().chain(equal).collect::<Vec<_>>());
        }
    }
}
