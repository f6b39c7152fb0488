//! Whole networks in one process, with a network, clocks, disks and chance of their own: the programs' node, chain and
//! rules under everything that can go wrong, from a seed.
//!
//! A seed is a history: from it follow the machines, the rules of their network, who breaks them, when programs are
//! killed in the middle of a write, who is cut off from whom, and whose clock is wrong. After every step each honest
//! machine is held against a slow model ([`oracle`](self)); in the end all must agree. The same seed is the same
//! history, to the last event: [`run`] gives a fingerprint of it.
//!
//! | file | what it is |
//! | --- | --- |
//! | `history/` | what a seed says, and what must be so in the end |
//! | `world/` | the engine: time, network, connections; carries out what nodes decide; what must be so at any time |
//! | `machine`, `disk` | one machine, and what outlives its program |
//! | `byzantine/` | machines that break the rules |
//! | `puppet`, `journal` | what scenes have besides: block servers without a program, and what they look back on |
//! | `oracle` | which chains are valid, told without the product's code |
//! | `report` | fork rates and propagation against the number of machines |
//! | `random`, `signer` | chance, and who signs |
//!
//! The scenes that are written by hand play in the same world: see `node::tests::harness`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

mod byzantine;
pub(crate) mod disk;
mod history;
#[cfg_attr(not(test), allow(dead_code, reason = "only scenes look back"))]
pub(crate) mod journal;
pub(crate) mod machine;
mod oracle;
#[cfg_attr(not(test), allow(dead_code, reason = "only scenes have puppets"))]
pub(crate) mod puppet;
pub(crate) mod random;
pub mod report;
pub(crate) mod signer;
#[cfg(test)]
mod tests;
pub(crate) mod world;

use disk::Disk;
pub use history::Size;

/// Something that must never be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

pub(crate) type Verdict = Result<(), Violation>;

/// A history that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// How large it was.
    pub size: Size,
    /// When, since it began.
    pub at: Duration,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    /// What happened, and the command that repeats it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} fails after {:.3} s: {}", self.seed, self.at.as_secs_f64(), self.what)?;
        write!(f, "repeat it: scripts/simulate --seed {}", self.seed)?;
        match self.size {
            Size::Chance => Ok(()),
            Size::Machines(count) => write!(f, " --machines {count}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What happened in a history, or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a number of what its name says")]
pub struct Counts {
    pub events: u64,
    pub datagrams: u64,
    pub lost_datagrams: u64,
    pub doubled_datagrams: u64,
    pub calls: u64,
    pub refused_calls: u64,
    pub cut_connections: u64,
    pub answers: u64,
    pub found: u64,
    pub tips: u64,
    pub reorganisations: u64,
    pub deepest: usize,
    /// Reorganisations by how many blocks they undid.
    pub depths: BTreeMap<usize, u64>,
    pub writes: u64,
    pub kills: u64,
    pub cut_writes: u64,
    pub whole_writes: u64,
    pub failed_disks: u64,
    pub moved: u64,
    pub clocks_set: u64,
    pub clocks_off_by_minutes: u64,
    pub clocks_off_by_an_hour: u64,
    pub clocks_in_1970: u64,
    /// Of a program that ran, from more than a second off, as NTP does it.
    pub clocks_put_right: u64,
    pub payments: u64,
    pub double_spends: u64,
    pub refused_payments: u64,
    pub bans: u64,
    /// Statuses of chains that nobody has.
    pub lies: u64,
    /// Answers without the bodies that were asked for.
    pub withheld_bodies: u64,
    pub mutated_answers: u64,
    /// Blocks that break a rule and were worked for.
    pub forged_blocks: u64,
    /// Headers that were given to others.
    pub headers_without_work: u64,
    /// Headers that were given to others, of branches that are none the better for them.
    pub low_work_headers: u64,
    /// Statuses that a selfish miner kept to himself.
    pub hidden_tips: u64,
    /// Statuses that he told when others were about to catch up.
    pub told_late: u64,
    /// Blocks with a time as far ahead of the clock as passes.
    pub latest_times: u64,
    /// Blocks with the earliest time that there may be after their parents, by machines whose clocks are behind for that.
    pub earliest_times: u64,
    pub nonsense: u64,
    pub spam: u64,
    pub invalid_blocks: u64,
    pub waiting_blocks: u64,
    pub agreed: u64,
}

impl Counts {
    /// Adds another history's.
    pub fn add(&mut self, other: &Self) {
        let Self { depths, deepest, .. } = other;
        self.deepest = self.deepest.max(*deepest);
        for (depth, count) in depths {
            *self.depths.entry(*depth).or_default() += count;
        }
        let (mine, theirs) = (self.numbers_mut(), other.numbers());
        for ((_, mine), (_, theirs)) in mine.into_iter().zip(theirs) {
            *mine += theirs;
        }
    }
}

macro_rules! numbers {
    ($($name:ident)*) => {
        impl Counts {
            /// Each number with its name, in order.
            pub fn numbers(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }

            fn numbers_mut(&mut self) -> Vec<(&'static str, &mut u64)> {
                vec![$((stringify!($name), &mut self.$name)),*]
            }
        }
    };
}

numbers! {
    events datagrams lost_datagrams doubled_datagrams calls refused_calls cut_connections answers found tips
    reorganisations writes kills cut_writes whole_writes failed_disks moved clocks_set clocks_off_by_minutes
    clocks_off_by_an_hour clocks_in_1970 clocks_put_right payments double_spends refused_payments bans lies
    withheld_bodies mutated_answers forged_blocks headers_without_work low_work_headers hidden_tips told_late
    latest_times earliest_times nonsense spam invalid_blocks waiting_blocks agreed
}

/// A history that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many machines there were.
    pub machines: usize,
    /// The height of the chain in the end.
    pub height: u64,
    /// The fingerprint of all that happened.
    pub trace: u64,
    /// How long it lasted there.
    pub time: Duration,
    /// What happened.
    pub counts: Counts,
}

/// Lives through the history of a seed. `tell` is told what happens, as it happens.
pub fn run(seed: u64, size: Size, tell: Option<fn(Duration, &str)>) -> Result<Summary, Failure> {
    run_on(seed, size, tell, Disk::new)
}

fn run_on(
    seed: u64,
    size: Size,
    tell: Option<fn(Duration, &str)>,
    disk: impl Fn(&crate::rules::Rules) -> Disk,
) -> Result<Summary, Failure> {
    let failed = |at, what| Failure { seed, size, at, what };
    let lived =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history::live(seed, size, tell, disk)));
    match lived {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err((violation, at))) => Err(failed(at, violation.0)),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            Err(failed(Duration::ZERO, format!("a panic: {}", said.unwrap_or_default())))
        }
    }
}
