//! How much a program says of what strangers make it notice: so many lines of one kind, and of each the beginning. Used
//! by the miner's log and by a wallet that follows the network. `LIMITS.md` has the numbers in its table.

use std::time::Duration;

/// So many lines of one kind are shown in each period: enough to follow what happens, too few to bury the rest of the
/// log.
pub const LINES_A_PERIOD: u64 = 20;
/// The usual period.
pub const PERIOD: Duration = Duration::from_secs(10);
/// A period in which there was no room for all is followed by one twice as long, up to this: a flood that lasts fills
/// no disk, 300 kB a day and kind.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(600);
/// The most characters of a line. What is longer was sent by a stranger.
pub const LONGEST_LINE: usize = 400;

/// The beginning of a line that is too long ([`LONGEST_LINE`]).
pub fn cut(line: &str) -> &str {
    line.char_indices().nth(LONGEST_LINE).map_or(line, |(end, _)| &line[..end])
}

/// Limits the lines of one kind.
#[derive(Debug)]
pub struct RateLimit {
    since: Duration,
    period: Duration,
    shown: u64,
    hidden: u64,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { since: Duration::ZERO, period: PERIOD, shown: 0, hidden: 0 }
    }
}

impl RateLimit {
    /// Whether there is room for one more line. `now` is the time since the program started.
    pub fn admits(&mut self, now: Duration) -> bool {
        if now >= self.since + self.period && self.hidden == 0 {
            *self = Self { since: now, ..Self::default() };
        }
        let admits = self.shown < LINES_A_PERIOD;
        *(if admits { &mut self.shown } else { &mut self.hidden }) += 1;
        admits
    }

    /// How many lines were left out in the period that has just ended; said once.
    pub fn left_out(&mut self, now: Duration) -> Option<u64> {
        if self.hidden == 0 || now < self.since + self.period {
            return None;
        }
        let hidden = self.hidden;
        let period = (2 * self.period).min(LONGEST_PERIOD);
        *self = Self { since: now, period, ..Self::default() };
        Some(hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_counted_and_over_after_the_period() {
        let mut lines = RateLimit::default();
        let now = Duration::from_secs(100);
        let admitted = (0..1_000).filter(|_| lines.admits(now)).count() as u64;
        assert_eq!(admitted, LINES_A_PERIOD);
        assert_eq!(lines.left_out(now), None, "the period is not over");
        assert_eq!(lines.left_out(now + PERIOD), Some(1_000 - LINES_A_PERIOD));
        assert_eq!(lines.left_out(now + PERIOD), None);
        assert!(lines.admits(now + PERIOD));
    }

    #[test]
    fn a_flood_that_lasts_fills_no_disk() {
        let mut lines = RateLimit::default();
        let mut said = 0;
        for second in 0..86_400 {
            let now = Duration::from_secs(second);
            said += lines.left_out(now).iter().count();
            said += (0..100).filter(|_| lines.admits(now)).count();
        }
        assert!(said < 3_200, "{said} lines in a day");
        // And it is over when the flood is: after one quiet period all is shown again.
        let now = Duration::from_secs(86_400) + LONGEST_PERIOD;
        lines.left_out(now);
        let now = now + LONGEST_PERIOD;
        assert!((0..10).all(|it| lines.admits(now + it * PERIOD)));
        assert_eq!(lines.period, PERIOD);
    }

    #[test]
    fn a_line_has_an_end() {
        let long = "é".repeat(1_000_000);
        assert_eq!(cut(&long).chars().count(), LONGEST_LINE);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn what_is_rare_is_never_cut_off() {
        let mut lines = RateLimit::default();
        assert!((0..1_000).all(|second| lines.admits(Duration::from_secs(second))));
    }
}
