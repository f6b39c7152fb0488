//! Targets, their compact form, work, and the retarget (`PROTOCOL.md`, sections 5 and 6).

use std::fmt;

use bincode::de::{Decoder, read::Reader};
use bincode::enc::{Encoder, write::Writer};
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use ruint::aliases::{U256, U512};

use crate::hash::BlockId;
use crate::rules::Rules;
use crate::time::Timestamp;

/// A target in compact form: `size · 2^24 | mantissa`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct CompactTarget(u32);

/// A number that a block's id, read as a big-endian number, must be below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(U256);

/// How many hashes a block, or a chain of them, is expected to have taken.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work(U256);

impl CompactTarget {
    /// From the number in a header.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The number in a header.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The target that this stands for. Bytes shifted out at the low end are lost. A value that no computed
    /// target has never panics: a mantissa's sign bit is ignored, and a target beyond 256 bits saturates.
    pub fn to_target(self) -> Target {
        let size = self.0 >> 24;
        let mantissa = U256::from(self.0 & 0x007f_ffff);
        if size <= 3 {
            Target(mantissa >> (8 * (3 - size as usize)))
        } else {
            Target(mantissa.checked_shl(8 * (size as usize - 3)).unwrap_or(U256::MAX))
        }
    }
}

impl Target {
    /// The easiest target with `zero_bits` leading zero bits: 2^(256 − zero_bits), for 1 to 255.
    pub fn from_leading_zero_bits(zero_bits: u32) -> Self {
        Self(U256::from(1) << (256 - zero_bits as usize))
    }

    /// The compact form, rounded down to what its three bytes of mantissa can hold.
    pub fn to_compact(self) -> CompactTarget {
        let mut size = self.0.bit_len().div_ceil(8);
        let top: U256 = if size <= 3 { self.0 << (8 * (3 - size)) } else { self.0 >> (8 * (size - 3)) };
        let mut mantissa = u32::try_from(top).unwrap_or(0x00ff_ffff);
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            size += 1;
        }
        CompactTarget((size as u32) << 24 | mantissa)
    }

    /// Whether a block with this id has done its work.
    pub fn is_met_by(self, id: &BlockId) -> bool {
        U256::from_be_bytes(*id.as_bytes()) < self.0
    }

    /// floor(2^256 / target); of the target 0, which nothing meets, the most there is.
    pub fn work(self) -> Work {
        // 2^256 does not fit: floor(2^256 / t) = floor((2^256 − t) / t) + 1, and 2^256 − t = !t + 1.
        match self.0 {
            U256::ZERO => Work(U256::MAX),
            U256::ONE => Work(U256::MAX),
            target => Work((!target + U256::ONE) / target + U256::ONE),
        }
    }

    /// From a big-endian number.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// Big endian.
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }
}

impl Work {
    /// No work: a chain of genesis alone.
    pub const ZERO: Self = Self(U256::ZERO);

    /// From a big-endian number.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// As a big-endian number.
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// The work of both, at most the most there is (2^256 − 1, which no chain reaches).
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// This less `other`, or nothing.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// About how many hashes that is, for display.
    pub fn to_f64(self) -> f64 {
        self.0.as_limbs().iter().rev().fold(0.0, |sum, limb| sum * 2_f64.powi(64) + *limb as f64)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Work({})", self.0)
    }
}

impl Encode for Work {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encoder.writer().write(&self.to_be_bytes())
    }
}

impl<Context> Decode<Context> for Work {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        decoder.claim_bytes_read(32)?;
        let mut bytes = [0; 32];
        decoder.reader().read(&mut bytes)?;
        Ok(Self::from_be_bytes(bytes))
    }
}
bincode::impl_borrow_decode!(Work);

/// What the retarget needs of a block's ancestors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetargetContext {
    /// The parent's bits.
    pub parent_bits: CompactTarget,
    /// The parent's time.
    pub parent_time: Timestamp,
    /// The time of the parent's own parent; `None` when the parent is block 1 or genesis.
    pub grandparent_time: Option<Timestamp>,
}

/// The bits that a block must have (aserti3-2d, relative to the parent). Blocks 1 and 2 keep genesis'
/// bits: the time between genesis and block 1 says nothing about the hash rate.
pub fn next_bits(rules: &Rules, context: &RetargetContext) -> CompactTarget {
    let spacing_target_ms = i128::from(rules.target_block_seconds) * 1000;
    let Some(grandparent_time) = context.grandparent_time.filter(|_| spacing_target_ms > 0) else {
        return context.parent_bits;
    };
    // A long pause is no evidence of a weak network: beyond this the solve time counts no further.
    let longest_ms = i128::max(300_000, 6 * spacing_target_ms);
    let solve_time_ms = i128::from(context.parent_time.millis()) - i128::from(grandparent_time.millis());
    let half_life_ms = i128::from(rules.retarget_blocks) * spacing_target_ms;
    let exponent = ((solve_time_ms.min(longest_ms) - spacing_target_ms) * 65536) / half_life_ms;
    let floor = Target::from_leading_zero_bits(rules.difficulty);
    scale_target(context.parent_bits.to_target(), exponent, Target(U256::from(1_u64 << 32)), floor)
        .to_compact()
}

/// `target · 2^(exponent / 65536)`, by the cubic approximation of aserti3-2d, between `least` and `most`.
///
/// Source: the ASERT specification of Bitcoin Cash (2020-11-15); the test reproduces its vectors.
pub fn scale_target(target: Target, exponent: i128, least: Target, most: Target) -> Target {
    let shift = exponent >> 16;
    let fraction = (exponent & 0xffff) as u128;
    let factor = 65536
        + ((195_766_423_245_049 * fraction
            + 971_821_376 * fraction.pow(2)
            + 5127 * fraction.pow(3)
            + (1 << 47))
            >> 48);
    // 256 bits of target and 17 of factor leave 239 for the shift.
    let product = U512::from(target.0) * U512::from(factor);
    let scaled = match shift - 16 {
        left @ 0..239 => product << (left as usize),
        239.. => return most,
        right => product >> (right.unsigned_abs().min(511) as usize),
    };
    let scaled = if scaled > U512::from(most.0) { most } else { Target(scaled.to::<U256>()) };
    scaled.max(least)
}
