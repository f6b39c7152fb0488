//! The lines that a program writes while it is attacked: of each kind as many as people can read, whoever sends how
//! much (`LIMITS.md`, "Log lines").

use std::time::{Duration, Instant};

use common::rate_limit::{LINES_A_PERIOD, PERIOD};

/// What the line begins with, after its time, that stands for those left out.
const LEFT_OUT: &str = "… and ";

/// Kinds of lines, by what only lines of that kind have in them.
pub type Kinds = &'static [&'static [&'static str]];

/// Those of a miner's log; a line is of the first that it fits.
pub const OF_MINERS: Kinds = &[
    &["found block "],
    &["reorganisation: "],
    &[" accepted: "],
    &[" has to wait", " refused: ", "is refused: ", " gave way to one "],
    &["found a peer: ", "no contact with ", " broke the protocol", "another network, ", "the clock of "],
    &["waiting for the authority ", "idle: "],
    // Blocks of others.
    &[" from "],
];
/// Those of the notes of `wallet sync`.
pub const OF_WALLETS: Kinds = &[
    &[" broke the protocol ", "the clock of ", " was refused: "],
    &["Following ", " is left alone for now: ", "Another network is heard ", " took "],
    &[" has to wait."],
];
/// What an attacked miner says besides, as often as it mines, where the log shows everything.
const OF_WORK: [&str; 3] = ["mining block ", "found a nonce for ", "idle until "];

/// The lines of one program, since some moment.
pub struct LogLines {
    kinds: Kinds,
    since: Instant,
    /// What passed besides.
    more: Duration,
    /// How many bytes there were before.
    before: usize,
}

impl LogLines {
    /// Counts from now on.
    pub fn after(said: &str, kinds: Kinds) -> Self {
        Self { kinds, since: Instant::now(), more: Duration::ZERO, before: said.len() }
    }

    /// So much time passed for the program alone.
    pub fn pass(&mut self, time: Duration) {
        self.more += time;
    }

    /// Asserts that no kind has more lines than there was room for, whatever came; says how many there are in all.
    pub fn count(&self, said: &str) -> u64 {
        // A period may have begun before, and another may not be over yet.
        let periods = (self.since.elapsed() + self.more).as_secs() / PERIOD.as_secs() + 2;
        let lines =
            said[self.before..].lines().filter(|line| !OF_WORK.iter().any(|part| line.contains(part)));
        let (none, left_out) = (self.kinds.len(), self.kinds.len() + 1);
        let mut counts = vec![0; left_out + 1];
        for line in lines {
            let kind = self.kinds.iter().position(|parts| parts.iter().any(|part| line.contains(part)));
            counts[if line.contains(LEFT_OUT) { left_out } else { kind.unwrap_or(none) }] += 1;
        }
        for (kind, count) in counts.iter().enumerate() {
            let most = match kind {
                // One a period for each of the others.
                kind if kind == left_out => periods * self.kinds.len() as u64,
                _ => periods * LINES_A_PERIOD,
            };
            let words = self.kinds.get(kind);
            assert!(*count <= most, "{count} lines, at most {most} are in order, with {words:?}: {said}");
        }
        counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_lines_as_fit_into_two_periods_are_in_order() {
        let said = |count| "12:00:00 no contact with 127.0.0.1:9: refused\n".repeat(count);
        assert_eq!(LogLines::after("", OF_MINERS).count(&said(40)), 40);
    }

    #[test]
    #[should_panic = "41 lines"]
    fn one_more_is_not() {
        LogLines::after("", OF_MINERS).count(&"12:00:00 no contact with 127.0.0.1:9: refused\n".repeat(41));
    }
}
