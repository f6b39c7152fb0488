//! Every bound of what strangers can make a miner do at its start, or when it looks for networks.
//! `LIMITS.md` has them in tables.

use std::time::Duration;

/// The longest that mining waits, at the start, for the chain that others claim to have: they may lie.
pub const LONGEST_START: Duration = Duration::from_secs(30);

/// Lines of the log that wait for whoever reads it; those that come then are left out, and counted.
pub const MAX_WAITING_LINES: usize = 4_096;
/// How long the end of the program waits for whoever reads its log.
pub const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Networks that `miner networks` lists: a room has a few; a flood of invented ones finds no more room.
pub const MAX_NETWORKS: usize = 64;
/// Miners of one of them that are counted.
pub const MAX_MINERS: usize = 256;
/// Of these at one IP address: a classroom on one machine, and half of the room for others whatever ports are invented
/// there.
pub const MAX_MINERS_PER_ADDRESS: usize = 128;
/// Miners of a network that are asked for its rules, one after the other until one gives them: one of each IP address,
/// then a second of each, in random order. Where every other one lies, all sixteen do once in 65,000 times.
pub const MAX_ASKED: usize = 16;
/// How long each may take for all of it. On a LAN it takes milliseconds.
pub const ASK_WITHIN: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_limits_have_every_constant_with_its_value() {
        let table = include_str!("../../LIMITS.md");
        let seconds = |duration: Duration| match duration.as_millis() % 1_000 {
            0 => format!("{} s", duration.as_secs()),
            _ => format!("{} ms", duration.as_millis()),
        };
        let rows = [
            ("LONGEST_START", seconds(LONGEST_START)),
            ("MAX_WAITING_LINES", format!("{},{:03}", MAX_WAITING_LINES / 1_000, MAX_WAITING_LINES % 1_000)),
            ("LONGEST_WAIT", seconds(LONGEST_WAIT)),
            ("MAX_NETWORKS", MAX_NETWORKS.to_string()),
            ("MAX_MINERS", MAX_MINERS.to_string()),
            ("MAX_MINERS_PER_ADDRESS", MAX_MINERS_PER_ADDRESS.to_string()),
            ("MAX_ASKED", MAX_ASKED.to_string()),
            ("ASK_WITHIN", seconds(ASK_WITHIN)),
        ];
        let constants = include_str!("limits.rs").lines().filter(|line| line.starts_with("pub const "));
        assert_eq!(constants.count(), rows.len(), "a constant is not in this test");
        for (name, value) in rows {
            let row = format!("| `{name}` | {value} | ");
            assert_eq!(table.matches(&row).count(), 1, "LIMITS.md has no such row: {row}");
        }
    }
}
