//! The bits that a block must have, told once more from `PROTOCOL.md` (section 6) and the public specification of
//! aserti3-2d, without a line of the product's. A number is the list of its digits, and is shifted by doubling or
//! halving it, one bit at a time.

use crate::rules::Rules;

/// What decides about the bits of a block.
pub(super) struct Before {
    pub(super) parent_height: u64,
    pub(super) parent_bits: u32,
    pub(super) parent_time_ms: u64,
    /// `None`: the parent is genesis.
    pub(super) grandparent_time_ms: Option<u64>,
}

/// A natural number of any size: its digits to the base 256, the lowest first, the highest not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Natural(Vec<u8>);

/// The bits of a block that comes after these.
pub(super) fn bits_after(rules: &Rules, before: &Before) -> u32 {
    let easiest = Natural::power_of_two(256 - rules.difficulty);
    if rules.target_block_seconds == 0 || before.parent_height < 2 {
        return easiest.to_bits();
    }
    let Some(grandparent_time_ms) = before.grandparent_time_ms else { return easiest.to_bits() };
    let spacing_ms = i128::from(rules.target_block_seconds) * 1_000;
    let half_life_ms = i128::from(rules.retarget_blocks) * spacing_ms;
    let solve_time_ms = i128::from(before.parent_time_ms) - i128::from(grandparent_time_ms);
    // Five minutes, or six spacings: what is longer is a pause, and says nothing of the hash rate.
    let counted_ms = solve_time_ms.min(i128::max(5 * 60 * 1_000, 6 * spacing_ms));
    // This division truncates toward zero, as the specification asks.
    let exponent = (counted_ms - spacing_ms) * 65_536 / half_life_ms;
    let hardest = Natural::power_of_two(32);
    scaled(&Natural::of_bits(before.parent_bits), exponent, &hardest, &easiest).to_bits()
}

/// `target · 2^(exponent / 65536)` as aserti3-2d approximates it, not below `hardest` and not above `easiest`.
fn scaled(target: &Natural, exponent: i128, hardest: &Natural, easiest: &Natural) -> Natural {
    let (doublings, fraction) = (exponent.div_euclid(65_536), exponent.rem_euclid(65_536) as u128);
    let cubic = 195_766_423_245_049 * fraction
        + 971_821_376 * fraction * fraction
        + 5_127 * fraction * fraction * fraction
        + 2_u128.pow(47);
    let factor = 65_536 + cubic / 2_u128.pow(48);
    let mut scaled = target.times(factor as u64);
    // The factor is too large by 2^16.
    let doublings = doublings - 16;
    for _ in 0..doublings {
        scaled = scaled.times(2);
    }
    for _ in doublings..0 {
        scaled = scaled.half();
    }
    if easiest.is_below(&scaled) {
        easiest.clone()
    } else if scaled.is_below(hardest) {
        hardest.clone()
    } else {
        scaled
    }
}

impl Natural {
    fn power_of_two(exponent: u32) -> Self {
        let mut power = Self(vec![1]);
        for _ in 0..exponent {
            power = power.times(2);
        }
        power
    }

    /// The number that big-endian bytes spell.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self(bytes.iter().rev().copied().collect()).trimmed()
    }

    /// The target that a compact form stands for: three bytes, and zeros up to its size.
    pub(super) fn of_bits(bits: u32) -> Self {
        let [size, top, middle, low] = bits.to_be_bytes();
        let mut bytes = vec![top, middle, low];
        bytes.resize(size.into(), 0);
        Self::of_bytes(&bytes)
    }

    /// The compact form: the size in bytes, and the three highest.
    fn to_bits(&self) -> u32 {
        let mut bytes: Vec<u8> = self.0.iter().rev().copied().collect();
        // Its highest bit would be a sign.
        if bytes.first().is_some_and(|highest| *highest >= 0x80) {
            bytes.insert(0, 0);
        }
        let size = bytes.len() as u32;
        bytes.resize(bytes.len().max(3), 0);
        size * 0x0100_0000
            + u32::from(bytes[0]) * 0x1_0000
            + u32::from(bytes[1]) * 0x100
            + u32::from(bytes[2])
    }

    fn times(&self, factor: u64) -> Self {
        let (mut digits, mut carry) = (Vec::new(), 0_u128);
        for digit in &self.0 {
            carry += u128::from(*digit) * u128::from(factor);
            digits.push((carry % 256) as u8);
            carry /= 256;
        }
        while carry > 0 {
            digits.push((carry % 256) as u8);
            carry /= 256;
        }
        Self(digits).trimmed()
    }

    /// Half of it, rounded down: long division, from the highest digit.
    fn half(&self) -> Self {
        let (mut digits, mut rest) = (self.0.clone(), 0);
        for digit in digits.iter_mut().rev() {
            let value = rest * 256 + u32::from(*digit);
            *digit = (value / 2) as u8;
            rest = value % 2;
        }
        Self(digits).trimmed()
    }

    pub(super) fn is_below(&self, other: &Self) -> bool {
        let highest_first = |number: &Self| number.0.iter().rev().copied().collect::<Vec<_>>();
        (self.0.len(), highest_first(self)) < (other.0.len(), highest_first(other))
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difficulty::{CompactTarget, RetargetContext, next_bits};
    use crate::simulator::random::Random;
    use crate::time::Timestamp;

    #[test]
    fn numbers_are_what_their_digits_say() {
        let number = |bytes: &[u8]| Natural::of_bytes(bytes);
        assert_eq!(number(&[0, 1, 0]).0, [0, 1]);
        assert_eq!(number(&[1, 0]).times(300), number(&[1, 44, 0]));
        assert_eq!(number(&[1, 1]).half(), number(&[128]));
        assert_eq!(number(&[1]).half(), number(&[]));
        assert!(number(&[255]).is_below(&number(&[1, 0])) && number(&[1, 2]).is_below(&number(&[1, 3])));
        assert!(!number(&[2, 1]).is_below(&number(&[1, 2])) && !number(&[7]).is_below(&number(&[7])));
        // Known from Bitcoin.
        for bits in [0x1d00_ffff, 0x1b04_04cb, 0x1707_a429, 0x207f_ffff, 0x0312_3456, 0x0200_8000] {
            assert_eq!(Natural::of_bits(bits).to_bits(), bits, "{bits:#x}");
        }
        assert_eq!(Natural::of_bits(0x0312_3456), number(&[0x12, 0x34, 0x56]));
        assert_eq!(Natural::of_bits(0x0212_3456), number(&[0x12, 0x34]));
        assert_eq!(Natural::power_of_two(232).to_bits(), 0x1e01_0000);
    }

    /// Each line of Bitcoin Cash's published vectors.
    #[test]
    fn the_vectors_of_bitcoin_cash_come_out() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/asert");
        let (hardest, easiest) = (Natural(vec![1]), Natural::of_bits(0x1d00_ffff));
        let mut lines = 0;
        for run in 1..=11 {
            let text = std::fs::read_to_string(folder.join(format!("run{run:02}"))).unwrap();
            let (head, body): (Vec<&str>, Vec<&str>) =
                text.lines().filter(|line| !line.is_empty()).partition(|line| line.starts_with('#'));
            let said = |name: &str| {
                let line = head.iter().find(|line| line.contains(name)).unwrap();
                line.rsplit(' ').next().unwrap().to_owned()
            };
            let bits = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
            let time = if text.contains("anchor parent time") { "parent time" } else { "ancestor time" };
            let height: i128 = said("anchor height").parse().unwrap();
            let (time, anchor): (i128, _) = (said(time).parse().unwrap(), bits(&said("anchor nBits")));
            for line in body {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let [later, later_height]: [i128; 2] = [2, 1].map(|place| fields[place].parse().unwrap());
                let exponent = (later - time - 600 * (later_height - height + 1)) * 65_536 / 172_800;
                let next = scaled(&Natural::of_bits(anchor), exponent, &hardest, &easiest);
                assert_eq!(next.to_bits(), bits(fields[3]), "run {run}: {line}");
                lines += 1;
            }
        }
        assert_eq!(lines, 4_000);
    }

    /// Where a chain can come to, and much further.
    #[test]
    fn the_product_says_the_same_of_chance() {
        let mut random = Random::new(7);
        // Of every order of magnitude as many.
        let mut some = |bits: u64| {
            let magnitude = random.below(bits);
            random.below(1 << magnitude)
        };
        for _ in 0..20_000 {
            let rules = Rules {
                difficulty: 1 + some(8) as u32,
                target_block_seconds: 1 + some(17).min(86_399) as u32,
                retarget_blocks: 5 + some(14).min(9_995) as u32,
                ..Rules::default()
            };
            let zeros = rules.difficulty + some(8).min(224 - u64::from(rules.difficulty)) as u32;
            let target = Natural::power_of_two(256 - zeros).times(65_536 - some(16));
            let parent_bits = (0..16).fold(target, |target, _| target.half()).to_bits();
            let (solve_time_ms, grandparent_time_ms) = (some(40), some(50));
            let before = Before {
                parent_height: 2 + some(6),
                parent_bits,
                parent_time_ms: grandparent_time_ms + solve_time_ms,
                grandparent_time_ms: Some(grandparent_time_ms),
            };
            let context = RetargetContext {
                parent_bits: CompactTarget::from_bits(parent_bits),
                parent_time: Timestamp::from_millis(before.parent_time_ms),
                grandparent_time: Some(Timestamp::from_millis(grandparent_time_ms)),
            };
            let product = next_bits(&rules, &context).to_bits();
            assert_eq!(bits_after(&rules, &before), product, "{rules:?} {context:?}");
        }
    }
}
