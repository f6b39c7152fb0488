//! How quantities look to people. Values in, text out.

use std::time::Duration;

use common::difficulty::CompactTarget;
use common::hash::BlockId;
use common::time::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;

/// The time of day here and now: `12:34:56`.
pub fn time_of_day_now() -> String {
    Zoned::now().strftime("%H:%M:%S").to_string()
}

/// When something is, as this machine's clock and time zone have it: the time of day, with the date where it
/// is not that of `now`.
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    let zoned = |time: Timestamp| {
        let millis = i64::try_from(time.millis()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).ok().map(|time| time.to_zoned(TimeZone::system()))
    };
    match (zoned(at), zoned(now)) {
        (Some(at), Some(now)) if at.date() == now.date() => at.strftime("%H:%M:%S").to_string(),
        (Some(at), _) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        (None, _) => "the end of time".to_owned(),
    }
}

/// The end of a block's id: its beginning is all zeros when blocks are hard to find.
pub fn block(id: &BlockId) -> String {
    let digits = id.to_string();
    format!("…{}", &digits[digits.len() - 8..])
}

/// A stretch of time in two digits or more: `0.25 s`, `3.1 s`, `42 s`, `12 min`, `5.0 h`, `40 days`.
pub fn duration(duration: Duration) -> String {
    seconds(duration.as_secs_f64())
}

/// See [`duration`].
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{s:.2} s"),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s if s < 365.25 * 86_400.0 => format!("{:.0} days", s / 86_400.0),
        s => format!("{:.0} years", s / (365.25 * 86_400.0)),
    }
}

/// Hashes in a second: `850 H/s`, `3.10 MH/s`.
pub fn hash_rate(hashes_per_second: f64) -> String {
    let units = [(1e12, "TH/s"), (1e9, "GH/s"), (1e6, "MH/s"), (1e3, "kH/s")];
    match units.into_iter().find(|(size, _)| hashes_per_second >= *size) {
        Some((size, unit)) => format!("{:.2} {unit}", hashes_per_second / size),
        None => format!("{hashes_per_second:.0} H/s"),
    }
}

/// How many hashes a block of this target is expected to take.
pub fn expected_hashes(bits: CompactTarget) -> f64 {
    bits.to_target().work().to_f64()
}

/// The difficulty as a number of zero bits: `24.0 bits`.
pub fn difficulty(bits: CompactTarget) -> String {
    format!("{:.1} bits", expected_hashes(bits).log2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        assert_eq!(seconds(0.25), "0.25 s");
        assert_eq!(seconds(59.6), "60 s");
        assert_eq!(seconds(600.0), "10 min");
        assert_eq!(seconds(1e9), "32 years");
        assert_eq!(hash_rate(12.0), "12 H/s");
        assert_eq!(hash_rate(3_100_000.0), "3.10 MH/s");
    }

    #[test]
    fn the_difficulty_is_the_number_of_zero_bits() {
        let bits = common::difficulty::Target::from_leading_zero_bits(18).to_compact();
        assert_eq!(difficulty(bits), "18.0 bits");
    }
}
