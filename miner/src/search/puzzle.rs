//! A header prepared for search.

use common::block::BlockHeader;
use common::difficulty::Target;
use common::encoding::encode;
use common::hash::BlockId;
use common::lanes::{INITIAL_STATE, compress};

/// A header prepared for search: its first 64 bytes, which no nonce changes, are hashed.
#[derive(Clone, Debug)]
pub struct Puzzle {
    /// SHA-256's state after the header's first 64 bytes.
    pub(super) midstate: [u32; 8],
    /// The second and last chunk: the rest of the header with the nonce 0, and SHA-256's padding.
    pub(super) tail: [u32; 16],
    /// What the id has to be below.
    pub(super) target: Target,
    /// The target's first word: an id whose own is above it fails, and nearly every one does.
    pub(super) most: u32,
}

impl Puzzle {
    /// Which words of the tail are the nonce, of which the low half comes first. Both halves are little
    /// endian, as the whole is: a word of SHA-256 has its bytes the other way round.
    pub(super) const NONCE: [usize; 2] = [Self::LOW, Self::LOW + 1];
    const LOW: usize = (BlockHeader::NONCE_OFFSET - 64) / 4;

    /// Prepares a header; its own nonce is of no importance.
    pub fn new(header: &BlockHeader) -> Self {
        let mut message = encode(&BlockHeader { nonce: 0, ..*header });
        message.push(0x80);
        message.resize(120, 0);
        message.extend_from_slice(&(8 * BlockHeader::ENCODED_BYTES as u64).to_be_bytes());
        let word = |at: usize| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|byte| message[4 * at + byte]);
            u32::from_be_bytes([a, b, c, d])
        };
        let mut midstate = INITIAL_STATE;
        compress(&mut midstate, &std::array::from_fn(word));
        let target = header.bits.to_target();
        let [a, b, c, d, ..] = target.to_be_bytes();
        Self {
            midstate,
            tail: std::array::from_fn(|i| word(16 + i)),
            target,
            most: u32::from_be_bytes([a, b, c, d]),
        }
    }

    /// The tail with this nonce.
    pub(super) fn tail_with(&self, nonce: u64) -> [u32; 16] {
        let mut tail = self.tail;
        let [low, high] = Self::NONCE;
        tail[low] = (nonce as u32).swap_bytes();
        tail[high] = ((nonce >> 32) as u32).swap_bytes();
        tail
    }

    /// Whether a block with this nonce has done its work.
    pub(super) fn is_solved_by(&self, nonce: u64) -> bool {
        let mut state = self.midstate;
        compress(&mut state, &self.tail_with(nonce));
        let mut id = [0; 32];
        for (bytes, word) in id.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        self.target.is_met_by(&BlockId::from_bytes(id))
    }
}

/// A range of nonces that have the same high half.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub first: u64,
    pub count: u32,
}

impl Range {
    /// So many nonces from `first` on, cut where their high half changes; after the last nonce comes 0.
    pub fn cut(first: u64, count: u32) -> impl Iterator<Item = Self> {
        let until_change = (1_u64 << 32) - u64::from(first as u32);
        let here = u32::try_from(until_change).map_or(count, |until_change| until_change.min(count));
        let parts = [
            Self { first, count: here },
            Self { first: first.wrapping_add(u64::from(here)), count: count - here },
        ];
        parts.into_iter().filter(|part| part.count > 0)
    }
}
