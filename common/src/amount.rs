//! Money: a checked count of millionths of a coin (`PROTOCOL.md`, section 2). No floats anywhere.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use bincode::{Decode, Encode};

/// An amount of money, in millionths of a coin. `"10"` is 10_000_000 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Amount(u64);

/// How many decimals an amount has.
const DECIMALS: usize = 6;

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAmountError {
    /// Something other than digits with at most one decimal point between them.
    #[error("{text:?} is not an amount: write coins as digits, such as 10 or 0.25")]
    NotANumber {
        /// What was given.
        text: String,
    },
    /// More than six decimals.
    #[error("{text:?} has more than {DECIMALS} decimals: the smallest amount is 0.000001")]
    TooPrecise {
        /// What was given.
        text: String,
    },
    /// Beyond what can exist.
    #[error("{text:?} is more than {max}, the most that can exist", max = Amount::MAX)]
    TooLarge {
        /// What was given.
        text: String,
    },
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The millionths in one coin.
    pub const UNITS_PER_COIN: u64 = 1_000_000;
    /// The bound that every network's rules keep its whole supply under: 2^63 − 1 millionths.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// An amount of so many millionths.
    pub const fn from_units(units: u64) -> Self {
        Self(units)
    }

    /// An amount of so many whole coins.
    ///
    /// # Panics
    /// If the product overflows; for constants and tests.
    pub const fn from_coins(coins: u64) -> Self {
        Self(coins * Self::UNITS_PER_COIN)
    }

    /// The count of millionths.
    pub const fn units(self) -> u64 {
        self.0
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` when it overflows.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` when it would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, or nothing when it would be negative.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum of many, or `None` when it overflows.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// What [`Amount::from_str`] reads, and beyond it as much as an encoding holds: what rules ask for may be more
    /// than can exist.
    pub fn parse_bound(text: &str) -> Result<Self, ParseAmountError> {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let (coins, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(ParseAmountError::NotANumber { text: text.into() }),
            Some(parts) => parts,
            None => (text, ""),
        };
        if coins.is_empty() || !digits(coins) || !digits(fraction) {
            return Err(ParseAmountError::NotANumber { text: text.into() });
        }
        if fraction.len() > DECIMALS {
            return Err(ParseAmountError::TooPrecise { text: text.into() });
        }
        // Only digits are left, at most six of them after the point: parsing can fail by size alone.
        let too_large = || ParseAmountError::TooLarge { text: text.into() };
        let coins: u64 = coins.parse().map_err(|_| too_large())?;
        let millionths: u64 = format!("{fraction:0<DECIMALS$}").parse().map_err(|_| too_large())?;
        coins
            .checked_mul(Self::UNITS_PER_COIN)
            .and_then(|units| units.checked_add(millionths))
            .map(Self)
            .ok_or_else(too_large)
    }
}

impl fmt::Display for Amount {
    /// Coins, without needless zeros: `10`, `0.25`, `0.000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (coins, fraction) = (self.0 / Self::UNITS_PER_COIN, self.0 % Self::UNITS_PER_COIN);
        if fraction == 0 {
            return f.pad(&coins.to_string());
        }
        let text = format!("{coins}.{fraction:0DECIMALS$}");
        f.pad(text.trim_end_matches('0'))
    }
}

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let amount = Self::parse_bound(text)?;
        if amount <= Self::MAX { Ok(amount) } else { Err(ParseAmountError::TooLarge { text: text.into() }) }
    }
}

impl Sum for Amount {
    /// For display only; consensus uses [`Amount::checked_sum`].
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |sum, amount| Self(sum.0.saturating_add(amount.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_coins_with_up_to_six_decimals() {
        for (text, units) in
            [("10", 10_000_000), ("0.000001", 1), ("0", 0), ("1.5", 1_500_000), ("007", 7_000_000)]
        {
            assert_eq!(text.parse(), Ok(Amount::from_units(units)), "{text}");
        }
    }

    #[test]
    fn refuses_signs_exponents_blanks_and_other_numbers() {
        for text in [
            "", "-1", "+1", "1e3", "NaN", "inf", " 1", "1 ", "1.", ".5", "1,5", "0x10", "1_000", "1.2.3", "١",
        ] {
            assert!(matches!(text.parse::<Amount>(), Err(ParseAmountError::NotANumber { .. })), "{text}");
        }
        assert!(matches!("0.0000001".parse::<Amount>(), Err(ParseAmountError::TooPrecise { .. })));
        for text in ["9223372036854.775808", "99999999999999999999", "18446744073709.551616"] {
            assert!(matches!(text.parse::<Amount>(), Err(ParseAmountError::TooLarge { .. })), "{text}");
        }
        assert_eq!("9223372036854.775807".parse(), Ok(Amount::MAX));
    }

    #[test]
    fn a_bound_may_be_more_than_can_exist() {
        assert_eq!(Amount::parse_bound("18446744073709.551615"), Ok(Amount::from_units(u64::MAX)));
        let beyond = Amount::parse_bound("18446744073709.551616");
        assert!(matches!(beyond, Err(ParseAmountError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(units in 0..=Amount::MAX.units()) {
            let amount = Amount::from_units(units);
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }
    }
}
