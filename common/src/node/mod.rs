//! The node: every decision that a miner or a wallet takes about peers, blocks and payments, as a state
//! machine without sockets, threads, clocks or randomness of its own.
//!
//! A driver feeds it [`Input`]s with the time, and carries out the [`Effect`]s that it finds in
//! [`Node::next_effect`]; when nothing happens it calls [`Node::tick`] at [`Node::next_deadline`]. Signature
//! checks and writes of blocks are effects too: they come back as inputs, so that the next blocks are fetched
//! and checked while the last are written. Of the store the node itself reads, and writes only what is small.
//!
//! The same inputs give the same effects in the same order, so that a simulation repeats itself: what is gone through
//! lies in an ordered map, and only what is looked up in a hash map.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `events` | what goes in and what comes out, as values |
//! | `peers`, `bans` | whom to call, whom to leave alone |
//! | `claims` | what peers say of their chains, and how far they are believed |
//! | `links` | connections: what was asked on each, until when, and who takes the answer |
//! | `sync` | which chain to follow, which headers and bodies to ask for, from whom |
//! | `relay`, `unverified` | payments: admission, exchange of pools, named peers, waiting callers |
//! | `mempool`, `template`, `mine` | which payments wait, which block is worked on |
//! | `push` | blocks over connections that only one side can open |
//! | `serve` | what is answered from the chain alone |
//! | `jobs` | signature checks as values |
//! | `limits`, `load` | every bound, and why; what is held at a moment |

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::block::Seal;
use crate::chain::{Chain, TipChange};
use crate::consensus::{CheckedBlock, Parallelism};
use crate::hash::NetworkId;
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::{Store, StoreError, Tip};
use crate::time::Timestamp;
use crate::wire::{Announcement, Hello, MAGIC, MIN_VERSION, Status, VERSION};

mod bans;
mod claims;
mod events;
pub mod jobs;
pub mod limits;
mod links;
mod load;
pub mod mempool;
mod mine;
mod peers;
mod push;
mod relay;
pub mod serve;
mod sync;
pub mod template;
#[cfg(test)]
mod tests;
mod unverified;

pub use events::{ConnectionId, Effect, Input, NodeConfig, Notice, Now, Source};
pub use jobs::{Checked, Checker, Job};
pub use links::LinkId;
pub use load::{Count, Load};
pub use mempool::{Mempool, MempoolError, MempoolLimits};
pub use peers::Target;
pub use template::{Idle, Template};

use peers::Peers;
use relay::Relay;
use sync::{Offer, Sync};
use unverified::Origin;

/// See the module.
pub struct Node<S> {
    chain: Chain<S>,
    config: NodeConfig,
    checker: Checker,
    tip: Tip,
    now: Now,
    effects: VecDeque<Effect>,
    peers: Peers,
    sync: Sync,
    relay: Relay,
    pool: Option<Mempool>,
    mining: mine::Mining,
    next_status: Duration,
    foreign: HashSet<[u8; 8]>,
    random: u64,
    waiting: BTreeMap<ConnectionId, Duration>,
}

impl<S: Store> Node<S> {
    /// A node on this chain that has heard nothing yet.
    pub fn new(
        chain: Chain<S>,
        config: NodeConfig,
        verifier: Arc<dyn SignatureVerifier>,
        now: Now,
    ) -> Result<Self, StoreError> {
        let pool = config.pool.map(Mempool::new);
        let checker = Checker {
            rules: chain.rules().clone(),
            network: chain.network(),
            verifier,
            pool: pool.as_ref().map(|pool| pool.index().clone()).unwrap_or_default(),
        };
        let mut node = Self {
            tip: chain.tip()?,
            peers: Peers::new(&config.named_peers),
            sync: Sync::default(),
            relay: Relay::new(now.monotonic + config.pool_interval, config.seed),
            mining: mine::Mining::default(),
            next_status: now.monotonic,
            random: config.seed,
            foreign: HashSet::new(),
            waiting: BTreeMap::new(),
            effects: VecDeque::new(),
            now,
            pool,
            checker,
            config,
            chain,
        };
        node.drive()?;
        Ok(node)
    }

    /// Takes in what happened. Errors are those of the store, and final: the node must not go on.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<(), StoreError> {
        self.handle_many([input], now)
    }

    /// Takes in several things that happened at a time, for little more than the cost of one: a burst of
    /// payments above all.
    pub fn handle_many(
        &mut self,
        inputs: impl IntoIterator<Item = Input>,
        now: Now,
    ) -> Result<(), StoreError> {
        self.pass_to(now);
        self.look_at_store()?;
        self.pool_follows()?;
        let mut payments = Vec::new();
        for input in inputs {
            match input {
                Input::Announcement { from, announcement: Announcement::Transaction(payment) } => {
                    payments.push((payment, Origin::Datagram(from), None));
                }
                input => self.take_in(input)?,
            }
        }
        self.heard_transactions(payments)?;
        self.drive()
    }

    fn take_in(&mut self, input: Input) -> Result<(), StoreError> {
        match input {
            Input::Announcement { from, announcement: Announcement::Status(status) } => {
                self.heard_status(from, status)
            }
            Input::Announcement { from, announcement: Announcement::Transaction(payment) } => {
                self.heard_transactions(vec![(payment, Origin::Datagram(from), None)])?;
            }
            Input::ForeignNetwork { from, prefix } => self.heard_foreign_network(from, prefix),
            Input::Connected { link, hello } => self.connected(link, &hello),
            Input::Disconnected { link, reason } => self.disconnected(link, reason),
            Input::PeerAtFault { link, reason } => self.peer_at_fault(link, reason),
            Input::Response { link, response } => self.response(link, response)?,
            Input::Caller { from, hello } => self.heard_caller(from, &hello),
            Input::Request { connection, request } => self.request(connection, request)?,
            Input::CallerGone { connection } => self.caller_gone(connection),
            Input::CallerAtFault { from, reason, pause } => {
                self.notice(Notice::CallerMisbehaved { from, reason, pause });
            }
            Input::Checked(Checked::Transactions(results)) => self.transactions_checked(results)?,
            Input::Checked(Checked::Block { number, id, result }) => {
                self.block_checked(number, id, *result)?;
            }
            Input::Offered { blocks, result } => self.offered(blocks, result)?,
            Input::Mined { template, nonce, seal } => self.mined(&template, nonce, seal)?,
            Input::Submit(transactions) => self.submit(&transactions),
        }
        Ok(())
    }

    /// Does what is due. Called at [`Node::next_deadline`], and harmless at any other time.
    pub fn tick(&mut self, now: Now) -> Result<(), StoreError> {
        self.pass_to(now);
        self.look_at_store()?;
        self.pool_follows()?;
        self.drive()
    }

    /// It is this time now. What had to wait for the machine's clock need not wait any more when that was set.
    fn pass_to(&mut self, now: Now) {
        let passed = now.monotonic.saturating_sub(self.now.monotonic);
        let expected = self.now.wall.plus_millis(passed.as_millis() as u64);
        let set_by_ms = now.wall.millis().abs_diff(expected.millis());
        if set_by_ms > limits::CLOCK_WAS_SET_MS {
            self.peers.hold_nobody();
        }
        self.now = now;
    }

    /// Takes over what another process did to the store. A second `wallet sync` may work on a wallet's; a
    /// miner, which keeps a pool, is the only one on its own.
    fn look_at_store(&mut self) -> Result<(), StoreError> {
        if self.pool.is_none() {
            self.tip = self.chain.tip()?;
        }
        Ok(())
    }

    /// The next thing to carry out.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Node::tick`] must be called at the latest.
    pub fn next_deadline(&self) -> Duration {
        let second = self.now.monotonic + Duration::from_secs(1);
        [
            Some(second),
            self.pool_is_behind().then_some(self.now.monotonic),
            self.status_deadline(),
            self.peers_deadline(),
            self.sync_deadline(),
            self.relay_deadline(),
            self.mining_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(second)
    }

    /// The chain.
    pub fn chain(&self) -> &Chain<S> {
        &self.chain
    }

    /// What signature checks need; for the threads that run [`Job`]s.
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// The last block of the best chain.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// The pool, if this node keeps one.
    pub fn pool(&self) -> Option<&Mempool> {
        self.pool.as_ref()
    }

    /// What this node says of itself when a connection opens.
    pub fn hello(&self, now: Timestamp) -> Hello {
        Hello {
            magic: MAGIC,
            version: VERSION,
            min_version: MIN_VERSION,
            network: self.network(),
            instance: self.config.instance,
            time: now,
            block_server_port: self.config.block_server_port,
            features: if self.config.block_server_port == 0 { 0 } else { Hello::SERVES_BODIES },
            agent: self.config.agent.clone().into_bytes(),
        }
    }

    /// What this node broadcasts.
    pub fn status(&self) -> Status {
        Status {
            instance: self.config.instance,
            height: self.tip.height,
            work: self.tip.work,
            tip: self.tip.id,
            block_server_port: self.config.block_server_port,
        }
    }

    /// Whether somebody says that he has no better chain, nobody who may be asked says that he has one,
    /// and none is being looked at.
    pub fn is_caught_up(&self) -> bool {
        !self.sync.is_busy() && self.best_claim().is_none() && self.somebody_agrees()
    }

    /// Whether anybody on this network said what chain he has.
    pub fn has_heard_anybody(&self) -> bool {
        self.peers.heard_anybody()
    }

    fn rules(&self) -> &Arc<Rules> {
        self.chain.rules()
    }

    fn network(&self) -> NetworkId {
        self.chain.network()
    }

    fn notice(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Notice(notice));
    }

    /// SplitMix64: enough to spread choices, and the same for the same seed.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Brings everything in line with what is known now. Each step looks at the whole state and does what
    /// is missing, so none has to remember why it was called.
    fn drive(&mut self) -> Result<(), StoreError> {
        self.drive_peers();
        self.drive_sync()?;
        self.drive_relay()?;
        self.drive_mining()?;
        self.drive_status();
        Ok(())
    }

    fn status_deadline(&self) -> Option<Duration> {
        (self.config.block_server_port != 0).then_some(self.next_status)
    }

    fn drive_status(&mut self) {
        if self.status_deadline().is_some_and(|deadline| deadline <= self.now.monotonic) {
            self.next_status = self.now.monotonic + self.config.status_interval;
            let status = self.status();
            self.effects.push_back(Effect::Broadcast(Announcement::Status(status)));
        }
    }

    fn heard_foreign_network(&mut self, from: IpAddr, prefix: [u8; 8]) {
        // Bounded: a flood of invented networks is named for a while, then no more.
        if self.foreign.len() < limits::MAX_FOREIGN_NETWORKS && self.foreign.insert(prefix) {
            self.notice(Notice::ForeignNetwork { from, prefix });
        }
    }

    /// The best chain changed: everything that depends on it follows.
    fn tip_changed(
        &mut self,
        change: TipChange,
        given: Vec<CheckedBlock>,
        source: Source,
    ) -> Result<(), StoreError> {
        // It may have been seen in the store already, and the one after it too.
        if change.new.is_better_than(&self.tip) {
            self.tip = change.new;
        }
        let payments = given.iter().map(|block| block.entries().len()).sum();
        // Everybody is told at once, so that they stop working on an older block.
        self.next_status = self.now.monotonic;
        self.mining.invalidate();
        self.answer_waiting(true);
        if change.reverted.len() > limits::DEEP_REORGANISATION {
            self.notice(Notice::DeepReorganisation { depth: change.reverted.len() });
        }
        let waiting = self.waiting_after(&given);
        self.notice(Notice::TipChanged { change: change.clone(), source, payments, waiting });
        self.pool_changes(change, given)
    }

    fn mined(&mut self, template: &Arc<Template>, nonce: u64, seal: Option<Seal>) -> Result<(), StoreError> {
        let block = template.to_block(nonce, seal);
        let (id, sealed) = (block.id(), block.header.clone());
        if template.header.previous != self.tip.id {
            // Found a moment too late: the block would be a sibling of the tip, or older.
            return Ok(());
        }
        if let Err(error) = self.check_next_header(&sealed)? {
            self.notice(Notice::InvalidBlock { id, reason: format!("mined here: {error}") });
            self.mining.invalidate();
            return Ok(());
        }
        match self.checker.block(block, template.parent_time, Parallelism::AllCores) {
            Ok(checked) => self.offer(vec![checked], Offer::mined()),
            Err(error) => {
                self.notice(Notice::InvalidBlock { id, reason: format!("mined here: {error}") });
                self.mining.invalidate();
            }
        }
        Ok(())
    }
}
