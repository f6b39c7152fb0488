//! The world that machines live in: time, which jumps from one event to the next; a network that delays, loses and
//! doubles; connections that break; and what each machine's program decides, carried out.
//!
//! It stands in for `driver` and the operating system, for the histories that a seed says ([`super::history`]) and
//! for the scenes that are written by hand (`node::tests`) alike. Everything follows from the seed.
//!
//! | file | what it is |
//! | --- | --- |
//! | `time` | the queue of events, and what each of them is |
//! | `programs` | how they start and end, what they are given, what must be true of them at any time |
//! | `effects` | what they decide, and what they tell their users |
//! | `broadcast` | datagrams |
//! | `connections`, `serving` | calls, what is sent on them, and which answers a request has |
//! | `writes` | blocks on their way to the disk, and writes that are cut short |
//! | `mining` | the search for nonces |

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::history::Payer;
use super::journal::Journal;
use super::machine::{Machine, MachineId, Role};
use super::oracle::Oracle;
use super::random::Random;
use super::{Counts, Verdict, Violation};
use crate::hash::BlockId;
use crate::node::Now;
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::Tip;
use crate::time::Timestamp;

mod broadcast;
mod connections;
mod effects;
mod mining;
mod programs;
mod serving;
mod time;
mod writes;

use connections::Connections;
pub(crate) use serving::Reply;
#[cfg(test)]
pub(crate) use serving::chain_answers;
pub(crate) use time::Event;
use time::Queue;

/// True time when a history begins, after genesis: a month, so that clocks may be wrong both ways.
const START_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// What the network, the disks and the processors are like.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// How long a message takes.
    pub(crate) latency: Range<Duration>,
    /// Datagrams lost, in a thousand.
    pub(crate) loss: u64,
    /// Datagrams that come twice, in a thousand.
    pub(crate) doubled: u64,
    /// How long signature checks take.
    pub(crate) checking: Range<Duration>,
    /// How long a write takes; the news of it takes a quarter of that.
    pub(crate) writing: Range<Duration>,
    /// Bytes a second that a block server can send; `None`: any number.
    pub(crate) uplink: Option<u64>,
    /// The most callers that a block server takes.
    pub(crate) callers: usize,
    /// A status that others have sent already reaches this many machines, chosen by chance; see `report`. Any status,
    /// where nobody keeps account of who sent what.
    pub(crate) echo_reaches: Option<usize>,
}

/// See the module.
pub(crate) struct World {
    pub(crate) rules: Arc<Rules>,
    pub(crate) now: Duration,
    pub(crate) machines: Vec<Machine>,
    pub(crate) weather: Weather,
    pub(crate) random: Random,
    pub(crate) counts: Counts,
    pub(crate) oracle: Oracle,
    /// Whether nonces are found.
    pub(crate) mining: bool,
    /// When each block first became the tip of each machine that has it, for reports.
    pub(crate) arrivals: Option<HashMap<BlockId, Vec<Duration>>>,
    pub(crate) payers: Vec<Payer>,
    pub(crate) status_interval: Duration,
    pub(crate) pool_interval: Duration,
    /// Decides about signatures, in programs that start from now on.
    pub(crate) verifier: Arc<dyn SignatureVerifier>,
    /// A fingerprint of all that happened.
    pub(crate) trace: u64,
    /// What scenes look back on.
    pub(crate) journal: Option<Journal>,
    /// Whether what happens is printed.
    pub(crate) tell: Option<fn(Duration, &str)>,
    queue: Queue,
    connections: Connections,
}

impl World {
    pub(crate) fn new(
        rules: Arc<Rules>,
        verifier: Arc<dyn SignatureVerifier>,
        weather: Weather,
        random: Random,
    ) -> Self {
        Self {
            now: Duration::ZERO,
            machines: Vec::new(),
            weather,
            random,
            counts: Counts::default(),
            oracle: Oracle::new(&rules, verifier.clone()),
            mining: true,
            arrivals: None,
            payers: Vec::new(),
            status_interval: Duration::from_secs(2),
            pool_interval: Duration::from_secs(10),
            verifier,
            trace: 0,
            journal: None,
            tell: None,
            queue: Queue::default(),
            connections: Connections::default(),
            rules,
        }
    }

    /// A new machine, switched off.
    pub(crate) fn add(&mut self, role: Role, disk: Disk) -> MachineId {
        self.machines.push(Machine::new(role, disk));
        self.machines.len() - 1
    }

    /// The clocks of a machine.
    pub(crate) fn now_of(&self, id: MachineId) -> Now {
        let true_ms = self.rules.genesis_time.millis() + START_MS + self.now.as_millis() as u64;
        let wall = true_ms.saturating_add_signed(self.machines[id].role.clock_offset_ms);
        Now { monotonic: self.now, wall: Timestamp::from_millis(wall) }
    }

    /// Whether two machines can reach each other now.
    fn reach(&self, a: MachineId, b: MachineId) -> bool {
        self.machines[a].side == self.machines[b].side
    }

    /// The best tip of these machines' programs.
    pub(crate) fn best_tip(&self, of: impl IntoIterator<Item = MachineId>) -> Option<Tip> {
        let tips = of.into_iter().filter_map(|id| self.machines[id].node.as_ref().map(|node| *node.tip()));
        tips.reduce(|best, tip| if tip.is_better_than(&best) { tip } else { best })
    }

    /// What is being looked at is told, where somebody listens.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(tell) = self.tell {
            tell(self.now, &what());
        }
    }

    /// A fingerprint of what happened so far and of this.
    fn fingerprint(&mut self, kind: u64, whom: MachineId) {
        let now = self.now.as_nanos() as u64;
        for number in [now, kind, whom as u64] {
            self.trace = (self.trace ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }
}
