//! What the miner does with its node: it hands templates to the search threads, and tells people what
//! happens. Called by [`common::driver`], on the event loop's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::chain::TipChange;
use common::driver::{Command, Program};
use common::hash::BlockId;
use common::node::{Idle, Node, Notice, Now, Source, Template};
use common::rules::Rules;
use common::store::{Store, StoreError};
use common::time::{Height, Timestamp};
use tracing::{debug, info, warn};

use crate::log::Bounded;
use crate::search::Search;
use crate::words;

/// How long the log of a miner may say nothing of its mining.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Blocks mined here that are remembered, to say so when a reorganisation takes them out: more than the
/// deepest that is not an alarm.
const REMEMBERED_BLOCKS: usize = 256;

/// Kinds of lines, each of which is bounded for itself.
#[derive(Clone, Copy)]
enum Kind {
    Blocks,
    Payments,
    Refusals,
    Peers,
    Idle,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Blocks, Self::Payments, Self::Refusals, Self::Peers, Self::Idle];

    /// What the lines are about, for the sentence that stands for those left out.
    fn about(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Payments => "payments that were accepted",
            Self::Refusals => "payments and blocks that were refused",
            Self::Peers => "peers",
            Self::Idle => "why there was nothing to mine",
        }
    }
}

/// See the module.
pub struct Miner {
    rules: Arc<Rules>,
    search: Option<Search>,
    started: Instant,
    lines: [Bounded; Kind::ALL.len()],
    /// What is being worked on.
    template: Option<Arc<Template>>,
    /// Since when this tip is worked on.
    since: Duration,
    /// When the hash rate was last told.
    reported: Duration,
    rate: HashRate,
    catching_up: bool,
    /// Blocks found here, the newest last.
    found: VecDeque<BlockId>,
    found_count: usize,
    lost_count: usize,
    height: Height,
}

impl Miner {
    /// Told of nothing yet. Without `search` it never mines.
    pub fn new(rules: Arc<Rules>, search: Option<Search>, height: Height) -> Self {
        Self {
            rules,
            search,
            started: Instant::now(),
            lines: Default::default(),
            template: None,
            since: Duration::ZERO,
            reported: Duration::ZERO,
            rate: HashRate::default(),
            catching_up: false,
            found: VecDeque::new(),
            found_count: 0,
            lost_count: 0,
            height,
        }
    }

    /// The last line of the log.
    pub fn say_goodbye(&self) {
        let lost = match self.lost_count {
            0 => String::new(),
            lost => format!(", {lost} of which other blocks took the place of"),
        };
        let found = words::count(self.found_count, "block");
        match self.search {
            Some(_) => info!("stopped at height {}; {found} found{lost}", self.height),
            None => info!("stopped at height {}", self.height),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn hashes(&self) -> u64 {
        self.search.as_ref().map_or(0, Search::hashes)
    }

    /// Whether there is room for a line of this kind.
    fn may_say(&mut self, kind: Kind) -> bool {
        let now = self.now();
        self.lines[kind as usize].admits(now)
    }

    fn tip_changed(&mut self, change: &TipChange, source: &Source, payments: usize, waiting: usize) {
        let lost = change.reverted.iter().filter(|id| self.found.contains(id)).count();
        self.lost_count += lost;
        self.height = change.new.height;
        if !change.reverted.is_empty() && self.may_say(Kind::Blocks) {
            let own = match lost {
                0 => String::new(),
                1 => ", one of them found here".to_owned(),
                lost => format!(", {lost} of them found here"),
            };
            info!(
                "reorganisation: another branch has more work: {} left the chain{own}, {} joined it; payments \
                 that are in neither wait again",
                words::count(change.reverted.len(), "block"),
                change.connected.len(),
            );
        }
        match source {
            Source::Mined => self.found_block(change, payments),
            Source::Peer(peer) => self.took_blocks(change, payments, waiting, &format!("by {peer}")),
            Source::Caller => self.took_blocks(change, payments, waiting, "by a caller"),
        }
        self.since = self.now();
    }

    fn found_block(&mut self, change: &TipChange, payments: usize) {
        self.found_count += 1;
        self.found.push_back(change.new.id);
        if self.found.len() > REMEMBERED_BLOCKS {
            self.found.pop_front();
        }
        if !self.may_say(Kind::Blocks) {
            return;
        }
        let template = self.template.as_ref().filter(|template| template.header.previous == change.old.id);
        let details = template.map_or_else(String::new, |template| {
            let fees = template.reward.amount.saturating_sub(self.rules.block_reward);
            let bits = words::difficulty(template.header.bits);
            format!(", {} earned (fees {fees}), difficulty {bits}", template.reward.amount)
        });
        info!(
            "found block {} ({}) in {}: {}{details}, {}",
            change.new.height,
            words::block(&change.new.id),
            words::duration(self.now().saturating_sub(self.since)),
            words::count(payments, "payment"),
            words::hash_rate(self.rate.per_second()),
        );
        self.reported = self.now();
    }

    fn took_blocks(&mut self, change: &TipChange, payments: usize, waiting: usize, from: &str) {
        if !self.may_say(Kind::Blocks) {
            return;
        }
        let payments = words::count(payments, "payment");
        let (height, id) = (change.new.height, words::block(&change.new.id));
        match change.connected.len() {
            0 | 1 => info!("block {height} ({id}) with {payments} {from}; {waiting} waiting"),
            blocks => {
                info!("{blocks} blocks with {payments} {from}; height {height} ({id}), {waiting} waiting")
            }
        }
    }

    fn idle(&mut self, idle: Idle) {
        if !self.may_say(Kind::Idle) {
            return;
        }
        let now = Timestamp::from_system_clock();
        match idle {
            Idle::WaitingForPayments { have, need, until } => {
                let then = match until {
                    Some(until) => format!("; at {} fewer will do", words::moment(until, now)),
                    None if have == 0 => "; one is needed in any case".to_owned(),
                    None => String::new(),
                };
                let need = words::count(need, "payment");
                info!("idle: a block needs {need} on this network now, and {have} wait{then}");
            }
            Idle::NotOurTurn { until } => {
                info!("idle until {}: another authority has its turn", words::moment(until, now));
            }
            Idle::NoAuthority => info!("idle: this miner's key is not one of the network's authorities"),
            Idle::ClockBehind { behind_ms } => info!(
                "idle: the next block would be {} ahead of this machine's clock, and others take none more than \
                 {} s ahead",
                words::duration(Duration::from_millis(behind_ms)),
                self.rules.max_ahead_seconds,
            ),
            Idle::ChainIsFull => info!("idle: the chain has reached the last height that there can be"),
        }
    }

    fn report(&mut self) {
        if let Some(template) = &self.template {
            let rate = self.rate.per_second();
            let pace = words::expected_hashes(template.header.bits) / rate.max(1.0);
            info!(
                "mining block {} with {}: {}, {}, a block in about {} at this rate",
                template.header.height,
                words::count(template.transactions.len(), "payment"),
                words::hash_rate(rate),
                words::difficulty(template.header.bits),
                words::seconds(pace),
            );
        }
        self.reported = self.now();
    }
}

/// How fast the search is, over the last second or more of searching.
#[derive(Debug, Default)]
struct HashRate {
    since: Duration,
    hashes: u64,
    per_second: Option<f64>,
    so_far: f64,
}

impl HashRate {
    /// Less would measure how hashes are counted, a batch at a time.
    const LEAST_TIME: Duration = Duration::from_secs(1);

    /// Searching begins after a time without it, which is not to count.
    fn begin(&mut self, now: Duration, hashes: u64) {
        (self.since, self.hashes) = (now, hashes);
    }

    fn update(&mut self, now: Duration, hashes: u64) {
        let elapsed = now.saturating_sub(self.since);
        self.so_far = (hashes - self.hashes) as f64 / elapsed.as_secs_f64().max(1e-3);
        if elapsed >= Self::LEAST_TIME {
            self.per_second = Some(self.so_far);
            self.begin(now, hashes);
        }
    }

    fn per_second(&self) -> f64 {
        self.per_second.unwrap_or(self.so_far)
    }
}

impl<S: Store> Program<S> for Miner {
    fn notice(&mut self, node: &Node<S>, notice: Notice) {
        match notice {
            Notice::TipChanged { change, source, payments, waiting } => {
                self.tip_changed(&change, &source, payments, waiting);
                if self.catching_up && node.is_caught_up() {
                    self.catching_up = false;
                    info!("caught up at height {}", change.new.height);
                }
            }
            Notice::CatchingUp { height, claimed, from } => {
                self.catching_up = true;
                let percent = 100 * height.get() / claimed.get().max(1);
                info!("catching up with {from}: height {height} of {claimed} ({percent} %)");
            }
            Notice::DeepReorganisation { depth } => warn!(
                "{depth} BLOCKS ARE BEING REPLACED by a branch with more work: payments that were confirmed in \
                 them may be undone. Either the network was split until now, or somebody rewrites its history"
            ),
            Notice::PeerFound { target, agent } if self.may_say(Kind::Peers) => {
                info!("found a peer: {target}, {agent}");
            }
            Notice::PeerFailed { target, reason, pause } if self.may_say(Kind::Peers) => {
                info!("peer {target} failed: {reason}; next attempt in {}", words::duration(pause));
            }
            Notice::PeerMisbehaved { target, reason, pause } if self.may_say(Kind::Peers) => {
                warn!("peer {target} broke the protocol: {reason}; ignored for {}", words::duration(pause));
            }
            Notice::ForeignNetwork { from, prefix } if self.may_say(Kind::Peers) => info!(
                "another network, {}, is running at {from}: it is ignored. `miner networks` says what it is, \
                 `miner networks --join {}` keeps its rules",
                hex::encode(prefix),
                hex::encode(&prefix[..4]),
            ),
            Notice::ClockDiffers { target, offset_ms } if self.may_say(Kind::Peers) => warn!(
                "the clock of {target} is {} {} this machine's: one of the two should be set, or blocks may have \
                 to wait",
                words::duration(Duration::from_millis(offset_ms.unsigned_abs())),
                if offset_ms > 0 { "ahead of" } else { "behind" },
            ),
            Notice::BlockWaits { id, ahead_ms } if self.may_say(Kind::Refusals) => info!(
                "block {} is {} ahead of this machine's clock and has to wait",
                words::block(&id),
                words::duration(Duration::from_millis(ahead_ms)),
            ),
            Notice::InvalidBlock { id, reason } if self.may_say(Kind::Refusals) => {
                warn!("block {} is refused: {reason}", words::block(&id));
            }
            Notice::PaymentAccepted { transaction, waiting } if self.may_say(Kind::Payments) => {
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
            Notice::PaymentRefused { id, reason } if self.may_say(Kind::Refusals) => {
                info!("payment {} refused: {reason}", id.short());
            }
            Notice::Submitted { target, taken, of } => debug!("{target} took {taken} of {of} payments"),
            Notice::Mining { height, payments } => {
                debug!("mining block {height} with {}", words::count(payments, "payment"));
            }
            Notice::Idle(idle) => self.idle(idle),
            // Lines for which there is no room.
            _ => {}
        }
    }

    fn mine(&mut self, template: Option<Arc<Template>>) {
        if let Some(search) = &self.search {
            if self.template.is_none() {
                // The time without work counts for nothing.
                self.since = self.now();
                self.reported = self.since;
                self.rate.begin(self.since, self.hashes());
            }
            search.work_on(template.clone());
            self.template = template;
        }
    }

    fn tick(&mut self, _: &Node<S>, now: Now) -> Result<(Vec<Command>, Option<Duration>), StoreError> {
        for kind in Kind::ALL {
            let own_now = self.now();
            if let Some(left_out) = self.lines[kind as usize].left_out(own_now) {
                info!("… and {left_out} more lines about {}", kind.about());
            }
        }
        if self.template.is_some() {
            let (own_now, hashes) = (self.now(), self.hashes());
            self.rate.update(own_now, hashes);
        }
        let since_report = self.now().saturating_sub(self.reported);
        if since_report >= REPORT_INTERVAL {
            self.report();
            return Ok((Vec::new(), Some(now.monotonic + REPORT_INTERVAL)));
        }
        Ok((Vec::new(), Some(now.monotonic + (REPORT_INTERVAL - since_report))))
    }
}
