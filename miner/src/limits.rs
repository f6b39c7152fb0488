//! Every bound of what a miner says. `LIMITS.md` has them in a table.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_limits_has_every_constant_with_its_value() {
        let table = include_str!("../../LIMITS.md");
        for row in [
            format!("| `LINES_A_PERIOD` | {LINES_A_PERIOD} | "),
            format!("| `PERIOD` | {} s | ", PERIOD.as_secs()),
            format!("| `LONGEST_PERIOD` | {} s | ", LONGEST_PERIOD.as_secs()),
            format!("| `LONGEST_LINE` | {LONGEST_LINE} | "),
        ] {
            assert!(table.contains(&row), "LIMITS.md has no such row: {row}");
        }
    }
}
