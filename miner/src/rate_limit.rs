//! How many lines of one kind the log has room for. Used by [`crate::journal`].

use std::time::Duration;

use crate::limits::{LINES_A_PERIOD, LONGEST_PERIOD, PERIOD};

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
    fn what_is_rare_is_never_cut_off() {
        let mut lines = RateLimit::default();
        assert!((0..1_000).all(|second| lines.admits(Duration::from_secs(second))));
    }
}
