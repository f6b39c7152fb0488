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

/// A long pause is no evidence of a weak network: beyond the longer of this time, in milliseconds, and so many times the
/// spacing that the rules ask for, a solve time counts no further.
const LONGEST_SOLVE_TIME_MS: i128 = 300_000;
/// See [`LONGEST_SOLVE_TIME_MS`].
const LONGEST_SOLVE_SPACINGS: i128 = 6;
/// The hardest target that the rule comes to, 2^32: far beyond all hash rates, and no block becomes impossible.
const LEAST_TARGET: Target = Target(U256::from_limbs([1 << 32, 0, 0, 0]));

/// The bits that a block must have (aserti3-2d, relative to the parent). Blocks 1 and 2 keep genesis'
/// bits: the time between genesis and block 1 says nothing about the hash rate.
pub fn next_bits(rules: &Rules, context: &RetargetContext) -> CompactTarget {
    let spacing_target_ms = i128::from(rules.target_block_seconds) * 1000;
    let Some(grandparent_time) = context.grandparent_time.filter(|_| spacing_target_ms > 0) else {
        return context.parent_bits;
    };
    let longest_ms = i128::max(LONGEST_SOLVE_TIME_MS, LONGEST_SOLVE_SPACINGS * spacing_target_ms);
    let solve_time_ms = i128::from(context.parent_time.millis()) - i128::from(grandparent_time.millis());
    let half_life_ms = i128::from(rules.retarget_blocks) * spacing_target_ms;
    let exponent = ((solve_time_ms.min(longest_ms) - spacing_target_ms) * 65536) / half_life_ms;
    let floor = Target::from_leading_zero_bits(rules.difficulty);
    scale_target(context.parent_bits.to_target(), exponent, LEAST_TARGET, floor).to_compact()
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(bits: u32) -> Target {
        CompactTarget::from_bits(bits).to_target()
    }

    fn target(limbs: [u64; 4]) -> Target {
        Target(U256::from_limbs(limbs))
    }

    /// 5-second blocks, as by default, from difficulty `zero_bits`.
    fn rules(zero_bits: u32) -> Rules {
        Rules { difficulty: zero_bits, ..Rules::default() }
    }

    /// The bits after a parent with these bits, which came so long after its own.
    fn after(rules: &Rules, parent: Target, solve_time_ms: u64) -> Target {
        let grandparent_time = Timestamp::from_millis(1_000_000);
        let context = RetargetContext {
            parent_bits: parent.to_compact(),
            parent_time: grandparent_time.plus_millis(solve_time_ms),
            grandparent_time: Some(grandparent_time),
        };
        next_bits(rules, &context).to_target()
    }

    #[test]
    fn compact_values_known_from_bitcoin() {
        for (bits, zeros, digits) in [
            (0x1d00_ffff_u32, 8, "ffff"),
            (0x1b04_04cb, 10, "0404cb"),
            (0x1707_a429, 18, "07a429"),
            (0x207f_ffff, 0, "7fffff"),
        ] {
            let text = format!("{:0<64}", format!("{}{digits}", "0".repeat(zeros)));
            let bytes: [u8; 32] = hex::decode(text).unwrap().try_into().unwrap();
            assert_eq!(compact(bits).to_be_bytes(), bytes, "{bits:#x}");
            assert_eq!(compact(bits).to_compact().to_bits(), bits, "{bits:#x}");
        }
    }

    #[test]
    fn small_compact_values_lose_their_low_bytes() {
        // From Bitcoin Core's `bignum_SetCompact` test.
        for (bits, value, again) in [
            (0x0112_3456, 0x12, 0x0112_0000),
            (0x0212_3456, 0x1234, 0x0212_3400),
            (0x0312_3456, 0x12_3456, 0x0312_3456),
            (0x0412_3456, 0x1234_5600, 0x0412_3456),
            (0x0500_9234, 0x9234_0000, 0x0500_9234),
            (0x0012_3456, 0, 0),
        ] {
            assert_eq!(compact(bits), target([value, 0, 0, 0]), "{bits:#x}");
            assert_eq!(compact(bits).to_compact().to_bits(), again, "{bits:#x}");
        }
        assert_eq!(target([0x80, 0, 0, 0]).to_compact().to_bits(), 0x0200_8000);
    }

    #[test]
    fn the_target_of_a_difficulty_has_one_bit_and_survives_its_compact_form() {
        for zero_bits in 1..=224 {
            let target = Target::from_leading_zero_bits(zero_bits);
            assert_eq!(target.to_compact().to_target(), target, "{zero_bits}");
            assert_eq!(target.work(), Work(U256::ONE << zero_bits as usize), "{zero_bits}");
            let mut bytes = [0; 32];
            bytes[(zero_bits as usize - 1) / 8] = 0x80 >> ((zero_bits - 1) % 8);
            assert_eq!(target.to_be_bytes(), bytes, "{zero_bits}");
        }
    }

    #[test]
    fn an_id_meets_a_target_that_it_is_below() {
        let target = Target::from_leading_zero_bits(24);
        let id = |value: U256| BlockId::from_bytes(value.to_be_bytes());
        assert!(target.is_met_by(&id(target.0 - U256::ONE)));
        assert!(!target.is_met_by(&id(target.0)));
        assert!(!target.is_met_by(&id(target.0 + U256::ONE)));
        assert!(target.is_met_by(&BlockId::ZERO) && !target.is_met_by(&id(U256::MAX)));
    }

    #[test]
    fn work_is_exact_at_its_extremes() {
        assert_eq!(Target(U256::MAX).work(), Work(U256::ONE));
        assert_eq!(Target(U256::ONE << 255).work(), Work(U256::from(2)));
        assert_eq!(Target((U256::ONE << 255) + U256::ONE).work(), Work(U256::ONE));
        assert_eq!(Target(U256::from(3)).work(), Work(U256::MAX / U256::from(3)));
        assert_eq!(Target(U256::from(2)).work(), Work(U256::ONE << 255));
        // 2^256 itself is one more than there is room for.
        assert_eq!(Target(U256::ONE).work(), Work(U256::MAX));
        assert_eq!(Target(U256::ZERO).work(), Work(U256::MAX));
        // Bitcoin's first block: 0x100010001 hashes.
        assert_eq!(compact(0x1d00_ffff).work(), Work(U256::from(0x1_0001_0001_u64)));
    }

    #[test]
    fn work_adds_up_to_at_most_the_most_there_is() {
        let (one, most) = (Work(U256::ONE), Work(U256::MAX));
        assert_eq!(Work::ZERO.plus(one).plus(one).minus(one), one);
        assert_eq!(most.plus(one), most);
        assert_eq!(one.minus(most), Work::ZERO);
        assert_eq!(Work(U256::ONE << 200).to_f64(), 2_f64.powi(200));
    }

    #[test]
    fn without_a_measured_spacing_the_bits_stay() {
        let parent_bits = CompactTarget::from_bits(0x1c01_2345);
        let (early, late) = (Timestamp::from_millis(1), Timestamp::from_millis(u64::MAX));
        let context = RetargetContext { parent_bits, parent_time: late, grandparent_time: None };
        assert_eq!(next_bits(&rules(24), &context), parent_bits);
        let context = RetargetContext { grandparent_time: Some(early), ..context };
        let fixed = Rules { target_block_seconds: 0, ..rules(24) };
        assert_eq!(next_bits(&fixed, &context), parent_bits);
        assert_ne!(next_bits(&rules(24), &context), parent_bits);
    }

    #[test]
    fn a_block_on_time_keeps_its_parents_target() {
        let parent = Target::from_leading_zero_bits(40);
        assert_eq!(after(&rules(24), parent, 5_000), parent);
        assert!(after(&rules(24), parent, 4_990) < parent);
        assert!(after(&rules(24), parent, 5_010) > parent);
    }

    #[test]
    fn a_half_life_late_doubles_the_target_and_a_long_pause_counts_no_further() {
        let parent = Target::from_leading_zero_bits(60);
        let expected = Target::from_leading_zero_bits(59);
        assert_eq!(after(&rules(24), parent, 5_000 + 20 * 5_000), expected);
        // 300 s are 2.95 half-lives of 100 s: (300 − 5) / 100.
        let longest = after(&rules(24), parent, 300_000);
        assert!(longest < Target::from_leading_zero_bits(57) && longest > Target::from_leading_zero_bits(58));
        assert!(after(&rules(24), parent, 299_900) < longest);
        for pause in [300_001, 86_400_000, 1 << 52] {
            assert_eq!(after(&rules(24), parent, pause), longest, "{pause} ms");
        }
        // Of slow networks six spacings count: here 6 × 600 s.
        let slow = Rules { target_block_seconds: 600, ..rules(24) };
        let longest = after(&slow, parent, 3_600_000);
        assert!(after(&slow, parent, 3_599_000) < longest);
        assert_eq!(after(&slow, parent, 3_600_001), longest);
        // At 50 s both bounds are the same.
        let between = Rules { target_block_seconds: 50, ..rules(24) };
        assert_eq!(after(&between, parent, 300_001), after(&between, parent, 300_000));
        assert!(after(&between, parent, 299_000) < after(&between, parent, 300_000));
    }

    #[test]
    fn the_target_is_never_above_that_of_difficulty() {
        for zero_bits in [1, 8, 24, 224] {
            let floor = Target::from_leading_zero_bits(zero_bits);
            assert_eq!(after(&rules(zero_bits), floor, 300_000), floor);
            let fast = after(&rules(zero_bits), floor, 250);
            assert!(zero_bits == 224 || fast < floor, "difficulty {zero_bits}");
            assert_eq!(after(&rules(zero_bits), fast, 300_000), floor);
        }
    }

    #[test]
    fn the_target_is_never_below_2_to_the_32() {
        let least = Target::from_leading_zero_bits(224);
        assert_eq!(after(&rules(24), least, 1), least);
        assert_eq!(after(&rules(24), compact(0x0501_0001), 1), least);
        let scaled = scale_target(least, -(1 << 40), least, Target(U256::MAX));
        assert_eq!(scaled, least, "whatever the exponent");
        assert_eq!(scale_target(least, 1 << 40, least, Target(U256::MAX)), Target(U256::MAX));
    }

    #[test]
    fn a_negative_exponent_is_truncated_toward_zero() {
        // With T = 86,400 s and N = 10,000 a unit of the exponent is 864,000,000,000 / 65,536 ms: being early
        // by less is no reason to change anything, where rounding down would make it −1.
        let rules = Rules { target_block_seconds: 86_400, retarget_blocks: 10_000, ..rules(24) };
        let parent = Target::from_leading_zero_bits(40);
        assert_eq!(after(&rules, parent, 86_400_000 - 1), parent);
        assert_eq!(after(&rules, parent, 86_400_000 - 13_183_593), parent);
        assert!(after(&rules, parent, 86_400_000 - 13_183_594) < parent);
        // The shift, on the other hand, rounds down: a fraction is never negative.
        let (low, high) = (Target(U256::ONE), Target(U256::MAX));
        let unit = scale_target(Target(U256::ONE << 200), -1, low, high);
        assert!(unit < Target(U256::ONE << 200) && unit > Target((U256::ONE << 200) - (U256::ONE << 186)));
    }

    /// Deterministic solve times of miners who make `hashes_per_ms`, their mean alone: what is left is
    /// the controller.
    fn simulate(hash_rates: impl Iterator<Item = f64>) -> Vec<f64> {
        let rules = rules(8);
        let mut bits = Target::from_leading_zero_bits(8).to_compact();
        let (mut grandparent_time, mut time) = (None, Timestamp::from_millis(0));
        let mut spacings = Vec::new();
        for hashes_per_ms in hash_rates {
            let context = RetargetContext { parent_bits: bits, parent_time: time, grandparent_time };
            bits = next_bits(&rules, &context);
            let spacing_ms = (bits.to_target().work().to_f64() / hashes_per_ms).max(250.0);
            grandparent_time = Some(time);
            time = time.plus_millis(spacing_ms as u64);
            spacings.push(spacing_ms);
        }
        spacings
    }

    #[test]
    fn the_spacing_converges_after_the_hash_rate_steps_up_and_down() {
        let steps = [10.0, 1_000.0, 20.0];
        let spacings = simulate(steps.into_iter().flat_map(|rate| std::iter::repeat_n(rate, 400)));
        for (step, spacings) in spacings.chunks(400).enumerate() {
            // Fifteen half-lives after the step, and from then on, the spacing is right to a percent.
            let off = spacings[300..].iter().map(|ms| (ms / 5_000.0 - 1.0).abs()).fold(0.0, f64::max);
            assert!(off < 0.01, "step {step}: {off}");
        }
        // It does not overshoot: blocks that were too fast become slower, never slower than the aim.
        assert!(spacings[400..800].iter().all(|ms| *ms < 5_050.0));
        assert!(spacings[800..].iter().all(|ms| *ms > 4_950.0));
    }

    proptest! {
            #[test]
            fn a_compact_form_is_canonical_and_rounds_down_by_less_than_2_to_the_minus_15(
                limbs in any::<[u64; 4]>(), shift in 0_usize..256,
            ) {
                let target = Target(U256::from_limbs(limbs) >> shift);
                let compact = target.to_compact();
                let again = compact.to_target();
                prop_assert_eq!(again.to_compact(), compact);
                prop_assert!(again <= target);
                prop_assert!((target.0 - again.0) <= target.0 >> 15);
    prop_assert_eq!(compact.to_bits() & 0x80_0000, 0, "the sign bit is clear");
            }

            #[test]
            fn any_compact_value_decodes_without_a_panic(bits in any::<u32>()) {
                let target = compact(bits);
                let (size, mantissa) = (bits >> 24, bits & 0x7f_ffff);
                // As floating point numbers, wherever those hold them.
                let value = f64::from(mantissa) * 256_f64.powi(size as i32 - 3);
                if mantissa > 0 && value >= 2_f64.powi(256) {
                    prop_assert_eq!(target, Target(U256::MAX));
                } else {
                    let decoded = Work(target.0).to_f64();
                    prop_assert_eq!(decoded, if size < 3 { value.floor() } else { value });
                }
                target.work();
            }

            #[test]
            fn work_is_the_quotient(limbs in any::<[u64; 4]>(), shift in 0_usize..256) {
                let target = Target(U256::from_limbs(limbs) >> shift);
                prop_assume!(target.0 > U256::ONE);
                let quotient = (U512::ONE << 256) / U512::from(target.0);
                prop_assert_eq!(U512::from(target.work().0), quotient);
            }

            #[test]
            fn longer_spacings_never_give_smaller_targets(
                zero_bits in 2_u32..224, first in 1_u64..400_000, second in 1_u64..400_000,
                seconds in 1_u32..86_400, blocks in 5_u32..10_000,
            ) {
                let rules = Rules { target_block_seconds: seconds, retarget_blocks: blocks, ..rules(1) };
                let parent = Target::from_leading_zero_bits(zero_bits);
                let (short, long) = (first.min(second), first.max(second));
                prop_assert!(after(&rules, parent, short) <= after(&rules, parent, long));
            }
        }
}
