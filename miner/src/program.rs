//! What the miner does with its node: it hands templates to the search threads, and tells people what
//! happens. Called by [`common::driver`], on the event loop's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::amount::Amount;
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
/// The longest that mining waits, at the start, for the chain that others claim to have: they may lie.
const LONGEST_START: Duration = Duration::from_secs(30);
/// Blocks mined here that are remembered, to say so when a reorganisation takes them out: more than the
/// deepest that is not an alarm.
const REMEMBERED_BLOCKS: usize = 256;

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

/// See the module.
pub struct Miner {
    rules: Arc<Rules>,
    search: Option<Search>,
    started: Instant,
    lines: [Bounded; Kind::ALL.len()],
    /// Mining begins then, or when the chain of others is fetched, so that nobody starts by finding blocks
    /// that are thrown away at once. `None`: it has begun.
    listen_until: Option<Duration>,
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
    /// Told of nothing yet. Without `search` it never mines; with one it listens first, for long enough to
    /// hear every miner's status.
    pub fn new(rules: Arc<Rules>, search: Option<Search>, status_interval: Duration, height: Height) -> Self {
        let listen = status_interval * 3 / 2;
        if search.is_some() {
            info!("listening for {} whether others are mining", words::duration(listen));
        }
        Self {
            listen_until: search.is_some().then_some(listen),
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
            lost => format!(", {lost} of them replaced by others"),
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
        if !change.reverted.is_empty() && self.may_say(Kind::Reorganisations) {
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
            Source::Peer(peer) => self.took_blocks(change, payments, waiting, &peer.to_string()),
            Source::Caller => self.took_blocks(change, payments, waiting, "a caller"),
        }
        self.since = self.now();
    }

    fn found_block(&mut self, change: &TipChange, payments: usize) {
        self.found_count += 1;
        self.found.push_back(change.new.id);
        if self.found.len() > REMEMBERED_BLOCKS {
            self.found.pop_front();
        }
        if !self.may_say(Kind::Found) {
            return;
        }
        let template = self.template.as_ref().filter(|template| template.header.previous == change.old.id);
        let details = template.map_or_else(String::new, |template| {
            let (reward, bits) = (template.reward.amount, words::difficulty(template.header.bits));
            match reward.saturating_sub(self.rules.block_reward) {
                Amount::ZERO => format!(", {reward} earned; difficulty {bits}"),
                fees => format!(", {reward} earned, {fees} of it fees; difficulty {bits}"),
            }
        });
        self.measure();
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
        if !self.may_say(Kind::Taken) {
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

    /// Begins to mine when it is time.
    fn start_when_due<S: Store>(&mut self, node: &Node<S>) {
        let Some(until) = self.listen_until else { return };
        let heard = node.has_heard_anybody();
        let due =
            if heard { node.is_caught_up() || self.now() >= LONGEST_START } else { self.now() >= until };
        if due {
            self.listen_until = None;
            match heard {
                true => info!("others are heard: mining with them from height {}", node.tip().height),
                false => info!("nobody else is heard so far: mining alone"),
            }
            self.begin_to_measure();
            self.work();
        }
    }

    /// The time without work counts for nothing.
    fn begin_to_measure(&mut self) {
        self.since = self.now();
        self.reported = self.since;
        self.rate.begin(self.since, self.hashes());
    }

    /// Hands the template to the search threads.
    fn work(&mut self) {
        let Some(search) = self.search.as_ref().filter(|_| self.listen_until.is_none()) else { return };
        search.work_on(self.template.clone());
    }

    fn is_mining(&self) -> bool {
        self.template.is_some() && self.listen_until.is_none()
    }

    fn measure(&mut self) {
        if self.is_mining() {
            self.rate.update(self.now(), self.hashes());
        }
    }

    fn report(&mut self) {
        if let Some(template) = self.template.as_ref().filter(|_| self.is_mining()) {
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
                info!(
                    "lost {target}: {reason}; to be called again in {} at the earliest",
                    words::duration(pause)
                );
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
        let was_mining = self.is_mining();
        self.template = template;
        if !was_mining {
            self.begin_to_measure();
        }
        self.work();
    }

    fn tick(&mut self, node: &Node<S>, now: Now) -> Result<(Vec<Command>, Option<Duration>), StoreError> {
        for kind in Kind::ALL {
            let own_now = self.now();
            if let Some(left_out) = self.lines[kind as usize].left_out(own_now) {
                info!("… and {left_out} more lines about {}", kind.about());
            }
        }
        self.start_when_due(node);
        self.measure();
        if self.now() >= self.reported + REPORT_INTERVAL {
            self.report();
        }
        // The node's own deadlines are never further apart than a second: often enough for all else.
        let listen_for = self.listen_until.and_then(|until| until.checked_sub(self.now()));
        Ok((Vec::new(), listen_for.map(|listen_for| now.monotonic + listen_for)))
    }
}
