//! What a miner's log says of the things that its node notices: a line each for people who have not seen one
//! before, as many as they can read. Called by [`crate::program`], on the event loop's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::amount::Amount;
use common::chain::TipChange;
use common::hash::BlockId;
use common::node::{Idle, Notice, Source, Template};
use common::rate_limit::RateLimit;
use common::rules::Rules;
use common::text::count;
use common::time::{Height, Timestamp};
use tracing::{debug, info, warn};

use crate::words;

/// Blocks found here that are remembered, to say so when a reorganisation takes them out: more than the
/// deepest that is not an alarm.
const REMEMBERED_BLOCKS: usize = 256;
/// A clock that is wrong by more than this is worth advice.
const MUCH_BEHIND_MS: u64 = 3_600_000;
/// A wait for one's turn that is not worth a line: little more than the least time between blocks.
const BRIEF_MS: u64 = 2_000;

/// Kinds of lines, each of which is bounded for itself.
#[derive(Clone, Copy)]
enum Kind {
    Found,
    Taken,
    Reorganisations,
    Payments,
    Refusals,
    Peers,
    Idle,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Found,
        Self::Taken,
        Self::Reorganisations,
        Self::Payments,
        Self::Refusals,
        Self::Peers,
        Self::Idle,
    ];

    /// What the lines are about, for the sentence that stands for those left out.
    fn about(self) -> &'static str {
        match self {
            Self::Found => "blocks found here",
            Self::Taken => "blocks of others",
            Self::Reorganisations => "reorganisations",
            Self::Payments => "payments that were accepted",
            Self::Refusals => "payments and blocks that were refused",
            Self::Peers => "peers",
            Self::Idle => "why there was nothing to mine",
        }
    }
}

/// What kind of line tells of this; `None`: one that is not bounded here, for it is rare, or for those who asked for
/// everything.
fn kind_of(notice: &Notice) -> Option<Kind> {
    match notice {
        Notice::PeerFound { .. }
        | Notice::PeerFailed { .. }
        | Notice::PeerMisbehaved { .. }
        | Notice::CallerMisbehaved { .. }
        | Notice::ForeignNetwork { .. }
        | Notice::ClockDiffers { .. } => Some(Kind::Peers),
        Notice::BlockWaits { .. }
        | Notice::InvalidBlock { .. }
        | Notice::PaymentRefused { .. }
        | Notice::PaymentGaveWay { .. } => Some(Kind::Refusals),
        Notice::PaymentAccepted { .. } => Some(Kind::Payments),
        Notice::Idle(_) => Some(Kind::Idle),
        Notice::TipChanged { .. }
        | Notice::CatchingUp { .. }
        | Notice::DeepReorganisation { .. }
        | Notice::Submitted { .. }
        | Notice::Mining { .. } => None,
    }
}

/// The block that was found was this work.
pub struct FoundBy<'a> {
    /// What was worked on.
    pub template: Option<&'a Template>,
    /// For how long.
    pub took: Duration,
    /// Hashes in a second.
    pub rate: f64,
}

/// See the module.
pub struct Journal {
    rules: Arc<Rules>,
    started: Instant,
    lines: [RateLimit; Kind::ALL.len()],
    height: Height,
    catching_up: bool,
    /// Blocks found here, the newest last.
    found: VecDeque<BlockId>,
    found_count: usize,
    lost_count: usize,
}

impl Journal {
    /// Of a chain that has this height.
    pub fn new(rules: Arc<Rules>, height: Height) -> Self {
        Self {
            rules,
            started: Instant::now(),
            lines: Default::default(),
            height,
            catching_up: false,
            found: VecDeque::new(),
            found_count: 0,
            lost_count: 0,
        }
    }

    /// A search begins, or follows what others have done by then.
    pub fn mining_begins(&self, others_are_heard: bool) {
        match others_are_heard {
            true => info!("others are heard: mining with them from height {}", self.height),
            false => info!("nobody else is heard so far: mining alone"),
        }
    }

    /// How the search is going.
    pub fn mining_goes_on(&self, template: &Template, rate: f64) {
        let seconds = words::expected_hashes(template.header.bits) / rate.max(1.0);
        info!(
            "mining block {} with {}: {}, {}, a block in about {} at this rate",
            template.header.height,
            count(template.transactions.len(), "payment"),
            words::hash_rate(rate),
            words::difficulty(template.header.bits),
            words::seconds(seconds),
        );
    }

    /// The last line.
    pub fn goodbye(&self, mined: bool) {
        let lost = match self.lost_count {
            0 => String::new(),
            lost => format!(", {lost} of them replaced by others"),
        };
        let found = count(self.found_count, "block");
        match mined {
            true => info!("stopped at height {}; {found} found{lost}", self.height),
            false => info!("stopped at height {}", self.height),
        }
    }

    /// Says how many lines there was no room for, once their time is over.
    pub fn catch_up_on_left_out(&mut self) {
        let now = self.started.elapsed();
        for kind in Kind::ALL {
            if let Some(left_out) = self.lines[kind as usize].left_out(now) {
                info!("… and {left_out} more lines about {}", kind.about());
            }
        }
    }

    /// Whether there is room for a line of this kind.
    fn may_say(&mut self, kind: Kind) -> bool {
        self.lines[kind as usize].admits(self.started.elapsed())
    }

    /// The best chain changed. `waiting` payments are in the pool now; `found_by` is for a block found here.
    pub fn tip_changed(
        &mut self,
        change: &TipChange,
        source: &Source,
        payments: usize,
        waiting: usize,
        found_by: &FoundBy<'_>,
    ) {
        self.height = change.new.height;
        self.reorganised(change);
        match source {
            Source::Mined => self.found_block(change, payments, found_by),
            Source::Peer(peer) => self.took_blocks(change, payments, waiting, &peer.to_string()),
            Source::Caller => self.took_blocks(change, payments, waiting, "a caller"),
        }
    }

    /// What others claim to have is fetched.
    pub fn caught_up(&mut self) {
        if std::mem::take(&mut self.catching_up) {
            info!("caught up at height {}", self.height);
        }
    }

    fn reorganised(&mut self, change: &TipChange) {
        let lost = change.reverted.iter().filter(|id| self.found.contains(id)).count();
        self.lost_count += lost;
        if change.reverted.is_empty() || !self.may_say(Kind::Reorganisations) {
            return;
        }
        let own = match lost {
            0 => String::new(),
            1 => ", one of them found here".to_owned(),
            lost => format!(", {lost} of them found here"),
        };
        info!(
            "reorganisation: a branch with more work takes over: {} left the chain{own}, {} joined it; payments \
             that only the former held wait again",
            count(change.reverted.len(), "block"),
            change.connected.len(),
        );
    }

    fn found_block(&mut self, change: &TipChange, payments: usize, by: &FoundBy<'_>) {
        self.found_count += 1;
        self.found.push_back(change.new.id);
        if self.found.len() > REMEMBERED_BLOCKS {
            self.found.pop_front();
        }
        if !self.may_say(Kind::Found) {
            return;
        }
        let template = by.template.filter(|template| template.header.previous == change.old.id);
        let details = template.map_or_else(String::new, |template| {
            let (reward, bits) = (template.reward.amount, words::difficulty(template.header.bits));
            match reward.saturating_sub(self.rules.block_reward) {
                Amount::ZERO => format!(", {reward} earned; difficulty {bits}"),
                fees => format!(", {reward} earned, {fees} of it fees; difficulty {bits}"),
            }
        });
        info!(
            "found block {} ({}) in {}: {}{details}, {}",
            change.new.height,
            words::block(&change.new.id),
            words::duration(by.took),
            count(payments, "payment"),
            words::hash_rate(by.rate),
        );
    }

    fn took_blocks(&mut self, change: &TipChange, payments: usize, waiting: usize, from: &str) {
        if !self.may_say(Kind::Taken) {
            return;
        }
        let payments = count(payments, "payment");
        let (height, id) = (change.new.height, words::block(&change.new.id));
        let waiting = match waiting {
            0 => String::new(),
            waiting => format!("; {waiting} still wait"),
        };
        match change.connected.len() {
            0 | 1 => info!("block {height} ({id}) from {from}: {payments}{waiting}"),
            blocks => info!("{blocks} blocks up to {height} ({id}) from {from}: {payments}{waiting}"),
        }
    }

    /// Everything else that a node notices.
    pub fn noticed(&mut self, notice: Notice) {
        if kind_of(&notice).is_some_and(|kind| !self.may_say(kind)) {
            return;
        }
        match notice {
            Notice::CatchingUp { height, claimed, from } => {
                self.catching_up = true;
                let percent = 100 * height.get() / claimed.get().max(1);
                info!("catching up with {from}: height {height} of {claimed} ({percent} %)");
            }
            Notice::DeepReorganisation { depth } => warn!(
                "{depth} BLOCKS ARE BEING REPLACED by a branch with more work: payments that were confirmed in \
                 them may be undone. Either the network was split until now, or somebody rewrites its history"
            ),
            Notice::PeerFound { target, agent } => {
                info!("found a peer: {target}, {agent}");
            }
            Notice::PeerFailed { target, reason, pause } => {
                info!(
                    "no contact with {target}: {reason}; to be called again in {} at the earliest",
                    words::duration(pause)
                );
            }
            Notice::PeerMisbehaved { target, reason, pause } => {
                warn!("peer {target} broke the protocol: {reason}; ignored for {}", words::duration(pause));
            }
            Notice::CallerMisbehaved { from, reason, pause } => warn!(
                "a caller from {from} broke the protocol and was cut off: {reason}; callers from there wait {} at \
                 first",
                words::duration(pause)
            ),
            Notice::ForeignNetwork { from, prefix } => info!(
                "another network, {prefix}, is running at {from}: it is ignored. `miner networks` says what it is, \
                 `miner networks --join {prefix}` keeps its rules",
                prefix = hex::encode(prefix),
            ),
            Notice::ClockDiffers { target, offset_ms } => warn!(
                "the clock of {target} is {} {} this machine's: one of the two should be set, or blocks may have \
                 to wait",
                words::duration(Duration::from_millis(offset_ms.unsigned_abs())),
                if offset_ms > 0 { "ahead of" } else { "behind" },
            ),
            Notice::BlockWaits { id, ahead_ms } => info!(
                "block {} is {} ahead of this machine's clock and has to wait",
                words::block(&id),
                words::duration(Duration::from_millis(ahead_ms)),
            ),
            Notice::InvalidBlock { id, reason } => {
                warn!("block {} is refused: {reason}", words::block(&id));
            }
            Notice::PaymentAccepted { transaction, waiting } => {
                let payment = transaction.payment();
                info!(
                    "payment {} accepted: {} from {} to {}, fee {}; {waiting} waiting",
                    transaction.id().short(),
                    payment.amount,
                    transaction.sender().short(),
                    payment.to.short(),
                    payment.fee,
                );
            }
            Notice::PaymentRefused { id, reason } => {
                info!("payment {} refused: {reason}", id.short());
            }
            Notice::PaymentGaveWay { id, fee } => {
                info!("the pool is full: payment {} (fee {fee}) gave way to one that pays more", id.short());
            }
            Notice::Submitted { target, taken, of } => debug!("{target} took {taken} of {of} payments"),
            Notice::Mining { height, payments } => {
                debug!("mining block {height} with {}", count(payments, "payment"));
            }
            Notice::Idle(idle) => self.idle(idle),
            // Told of by `tip_changed`, which is given more.
            Notice::TipChanged { .. } => {}
        }
    }

    fn idle(&self, idle: Idle) {
        let now = Timestamp::from_system_clock();
        match idle {
            Idle::WaitingForPayments { have, need, until } => {
                let enough = count(self.rules.least_leaves().saturating_sub(1) as usize, "payment");
                let later = match (until, self.rules.block_interval_seconds) {
                    (Some(until), _) => format!("; at {} {enough} will do", words::moment(until, now)),
                    (None, 0) => String::new(),
                    (None, seconds) => format!("; {seconds} s after the block before, {enough} will do"),
                };
                let need = count(need, "payment");
                info!("idle: a block needs {need} on this network, and {have} wait{later}");
            }
            Idle::NotOurTurn { until } if until.millis_since(now) > BRIEF_MS => info!(
                "waiting for the authority whose turn it is; if it makes no block, this one's turn comes at {}",
                words::moment(until, now)
            ),
            Idle::NotOurTurn { until } | Idle::TooSoon { until } => {
                debug!("idle until {}", words::moment(until, now))
            }
            Idle::NoAuthority => info!("idle: this miner's key is not one of the network's authorities"),
            Idle::ClockBehind { behind_ms } => {
                let behind = words::duration(Duration::from_millis(behind_ms));
                let most = self.rules.max_ahead_seconds;
                // What a clock that is a little wrong explains, everybody sets right.
                let advice = match behind_ms {
                    0..=MUCH_BEHIND_MS => "",
                    _ => {
                        ". The newest blocks were made by a clock that was ahead, or this one is behind: set it right; \
                         if it is, only time helps, or a network of another name"
                    }
                };
                warn!(
                    "idle: the next block would be {behind} ahead of this machine's clock, and others take none more \
                     than {most} s ahead{advice}"
                );
            }
            Idle::ChainIsFull => info!("idle: the chain has reached the last height that there can be"),
        }
    }
}
