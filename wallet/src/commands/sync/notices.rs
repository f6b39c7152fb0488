//! What a wallet says of that which its node notices beside the chain: of peers, of clocks, of blocks that are refused.
//! Whoever floods the network with such things gets some lines of each kind, and a count of the others.

use std::time::Duration;

use common::node::Notice;
use common::rate_limit::{RateLimit, cut};
use common::text::count;

use crate::output::{self, Note};

/// Kinds of lines, each of which is bounded for itself: who comes and goes hides no warning.
#[derive(Clone, Copy)]
enum Kind {
    Peers,
    Waiting,
    Trouble,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Peers, Self::Waiting, Self::Trouble];

    fn note(self, text: &str) -> Note {
        match self {
            Self::Peers | Self::Waiting => Note::info(text),
            Self::Trouble => Note::warning(text),
        }
    }

    /// What stands for so many lines that there was no room for.
    fn left_out(self, lines: u64) -> Note {
        let about = match self {
            Self::Peers => "peers",
            Self::Waiting => "blocks that have to wait",
            Self::Trouble => "broken rules and wrong clocks",
        };
        self.note(&format!("… and {} about {about}.", count(lines, "more line")))
    }
}

/// See the module.
#[derive(Default)]
pub struct Notices {
    lines: [RateLimit; Kind::ALL.len()],
    now: Duration,
}

impl Notices {
    /// Time has gone on, since the program started, to this. What stands for lines that there was no room for before.
    pub fn left_out(&mut self, now: Duration) -> Vec<Note> {
        self.now = now;
        let left_out = Kind::ALL.map(|kind| Some(kind.left_out(self.lines[kind as usize].left_out(now)?)));
        left_out.into_iter().flatten().collect()
    }

    /// What is said of this, if anything is, and there is room. `verbose`: also of what went as it should.
    pub fn note(&mut self, notice: &Notice, verbose: bool) -> Option<Note> {
        let (kind, text) = line(notice, verbose)?;
        self.lines[kind as usize].admits(self.now).then(|| kind.note(cut(&text)))
    }
}

fn line(notice: &Notice, verbose: bool) -> Option<(Kind, String)> {
    Some(match notice {
        Notice::PeerFound { target, agent } => {
            (Kind::Peers, format!("Following {target} ({}).", output::data(agent.as_bytes())))
        }
        Notice::PeerFailed { target, reason, .. } => {
            (Kind::Peers, format!("{target} is left alone for now: {reason}."))
        }
        Notice::ForeignNetwork { from, .. } => (
            Kind::Peers,
            format!(
                "Another network is heard from {from} and ignored; `miner networks` shows which there are."
            ),
        ),
        Notice::Submitted { target, taken, of } if taken < of || verbose => {
            (Kind::Peers, format!("{target} took {taken} of {of} payments."))
        }
        Notice::BlockWaits { id, ahead_ms } => (
            Kind::Waiting,
            format!(
                "Block {} is {} ahead of this machine's clock and has to wait.",
                id.short(),
                output::duration(*ahead_ms)
            ),
        ),
        Notice::PeerMisbehaved { target, reason, .. } => {
            (Kind::Trouble, format!("{target} broke the protocol and is left alone: {reason}"))
        }
        Notice::ClockDiffers { target, offset_ms } => (
            Kind::Trouble,
            format!(
                "the clock of {target} is {} {} this machine's; one of the two is wrong",
                output::duration(offset_ms.unsigned_abs()),
                if *offset_ms > 0 { "ahead of" } else { "behind" }
            ),
        ),
        Notice::InvalidBlock { id, reason } => {
            (Kind::Trouble, format!("block {} was refused: {reason}", id.short()))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use common::hash::BlockId;
    use common::node::Target;
    use common::rate_limit::{LINES_A_PERIOD, LONGEST_LINE, PERIOD};

    use super::*;

    fn failed(port: u16, reason: &str) -> Notice {
        let target = Target::Address(([127, 0, 0, 1], port).into());
        Notice::PeerFailed { target, reason: reason.to_owned(), pause: Duration::from_secs(1) }
    }

    #[test]
    fn a_flood_of_peers_fills_no_disk_and_hides_no_warning() {
        let mut notices = Notices::default();
        let said =
            (1..=1_000).filter_map(|port| notices.note(&failed(port, "nobody is there"), false)).count();
        assert_eq!(said as u64, LINES_A_PERIOD);
        let invalid = Notice::InvalidBlock { id: BlockId::ZERO, reason: "it has no work".to_owned() };
        assert!(notices.note(&invalid, false).is_some_and(|note| note.is_trouble()));
        let left_out = notices.left_out(PERIOD);
        assert_eq!(left_out, [Note::info("… and 980 more lines about peers.")]);
        assert_eq!(notices.left_out(2 * PERIOD), []);
        assert!(notices.note(&failed(1, "nobody is there"), false).is_some(), "there is room again");
    }

    #[test]
    fn what_a_stranger_gives_as_a_reason_has_an_end() {
        let note = Notices::default().note(&failed(1, &"é".repeat(100_000)), false).unwrap();
        assert_eq!(note.to_string().chars().count(), LONGEST_LINE);
    }

    #[test]
    fn payments_that_were_all_taken_are_told_of_to_those_who_asked_for_everything() {
        let target = Target::Address(([127, 0, 0, 1], 1).into());
        let submitted = |taken| Notice::Submitted { target: target.clone(), taken, of: 2 };
        let mut notices = Notices::default();
        assert_eq!(notices.note(&submitted(2), false), None);
        assert!(notices.note(&submitted(2), true).is_some() && notices.note(&submitted(1), false).is_some());
    }
}
