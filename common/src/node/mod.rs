//! The node: every decision that a miner or a wallet takes about peers, blocks and payments, as a state
//! machine without sockets, threads, clocks or randomness of its own.
//!
//! A driver feeds it [`Input`]s with the time, and carries out the [`Effect`]s that it finds in
//! [`Node::next_effect`]; when nothing happens it calls [`Node::tick`] at [`Node::next_deadline`]. Signature
//! checks are effects too: they come back as inputs. The store is the only thing that is touched directly.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `peers` | whom to call, whom to leave alone, what was asked and until when |
//! | `sync` | which chain to follow, which headers and bodies to ask for, from whom |
//! | `relay` | payments: admission, exchange of pools, named peers, waiting callers |
//! | `mempool`, `template`, `mine` | which payments wait, which block is worked on |
//! | `push` | blocks over connections that only one side can open |
//! | `serve` | what is answered from the chain alone |
//! | `jobs` | signature checks as values |
//! | `limits` | every bound, and why |

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::block::{Block, Seal};
use crate::chain::{Chain, TipChange};
use crate::consensus::{CheckedBlock, CheckedTransaction};
use crate::hash::{BlockId, NetworkId, TransactionId};
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::{Store, StoreError, Tip};
use crate::time::{Height, Timestamp};
use crate::transaction::Transaction;
use crate::wire::{Announcement, Hello, MAGIC, MIN_VERSION, Request, Response, Status, VERSION};

pub mod jobs;
pub mod limits;
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

pub use jobs::{Checked, Checker, Job};
pub use mempool::{Mempool, MempoolError, MempoolLimits};
pub use peers::{LinkId, Target};
pub use template::{Idle, Template};

use peers::Peers;
use relay::Relay;
use sync::Sync;

/// The two clocks that every entry point is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the program started; for deadlines. Never goes back.
    pub monotonic: Duration,
    /// What the machine's clock says; for blocks.
    pub wall: Timestamp,
}

/// A caller of the block server, by a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What this node does besides following the chain.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Random per run.
    pub instance: u64,
    /// Seed of the choices between equal peers.
    pub seed: u64,
    /// Program and version, for peers' logs.
    pub agent: String,
    /// Where the block server listens; 0: there is none, and no status is broadcast.
    pub block_server_port: u16,
    /// How often a status is broadcast.
    pub status_interval: Duration,
    /// How often pools are compared with another miner's.
    pub pool_interval: Duration,
    /// `HOST:PORT` of peers to keep up a connection with.
    pub named_peers: Vec<String>,
    /// What the pool may hold; `None`: keep no pool (a wallet).
    pub pool: Option<MempoolLimits>,
    /// Who is paid for blocks; `None`: do not mine.
    pub miner: Option<Address>,
    /// Free data of this miner's rewards.
    pub reward_data: Vec<u8>,
}

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    /// A datagram of this network.
    Announcement {
        /// Where it came from.
        from: IpAddr,
        /// What it says.
        announcement: Announcement,
    },
    /// A datagram of another network.
    ForeignNetwork {
        /// Where it came from.
        from: IpAddr,
        /// The first bytes of the network's id.
        prefix: [u8; 8],
    },
    /// A connection that was asked for is open, and the hello was of this network.
    Connected {
        /// Which.
        link: LinkId,
        /// The server's hello.
        hello: Hello,
    },
    /// A connection could not be opened, or ended.
    Disconnected {
        /// Which.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// An answer.
    Response {
        /// On which connection.
        link: LinkId,
        /// What it says.
        response: Response,
    },
    /// A caller of the block server introduced itself.
    Caller {
        /// Where it calls from.
        from: SocketAddr,
        /// Its hello.
        hello: Hello,
    },
    /// A caller asks something that is not about the chain alone (see [`serve::is_about_chain`]).
    Request {
        /// Who asks.
        connection: ConnectionId,
        /// What.
        request: Request,
    },
    /// A caller is gone.
    CallerGone {
        /// Who.
        connection: ConnectionId,
    },
    /// A job is done.
    Checked(Checked),
    /// The nonce of a template was found.
    Mined {
        /// The template.
        template: Arc<Template>,
        /// Its nonce.
        nonce: u64,
        /// The miner's seal, on networks with authorities.
        seal: Option<Seal>,
    },
    /// The user's own payments, for the named peers (others hear them by broadcast).
    Submit(Vec<Transaction>),
}

/// What a node wants done.
#[derive(Debug)]
pub enum Effect {
    /// Send a datagram to everyone who listens.
    Broadcast(Announcement),
    /// Open a connection, and say hello.
    Connect {
        /// What to call it.
        link: LinkId,
        /// Where to.
        target: Target,
    },
    /// Send a request.
    Send {
        /// On which connection.
        link: LinkId,
        /// What to ask.
        request: Request,
    },
    /// Close a connection.
    Disconnect {
        /// Which.
        link: LinkId,
    },
    /// Answer a caller.
    Respond {
        /// Whom.
        connection: ConnectionId,
        /// With what.
        response: Response,
    },
    /// Check signatures.
    Check(Job),
    /// Work on this block from now on; on none.
    Mine(Option<Arc<Template>>),
    /// Tell the user.
    Notice(Notice),
}

/// Something that a user may want to know.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The best chain changed.
    TipChanged {
        /// How.
        change: TipChange,
        /// Where the blocks came from.
        source: Source,
        /// How many payments the blocks that were given hold.
        payments: usize,
        /// How many payments wait now.
        waiting: usize,
    },
    /// More is being fetched than a block or two.
    CatchingUp {
        /// The height now.
        height: Height,
        /// The height that a peer claims.
        claimed: Height,
        /// The peer.
        from: Target,
    },
    /// A reorganisation was deeper than [`limits::DEEP_REORGANISATION`].
    DeepReorganisation {
        /// How many blocks left the best chain.
        depth: usize,
    },
    /// A peer was reached for the first time.
    PeerFound {
        /// Where.
        target: Target,
        /// Its program and version.
        agent: String,
    },
    /// A peer could not be reached, or failed.
    PeerFailed {
        /// Where.
        target: Target,
        /// Why.
        reason: String,
        /// How long it is left alone.
        pause: Duration,
    },
    /// A peer broke the protocol.
    PeerMisbehaved {
        /// Where.
        target: Target,
        /// How.
        reason: String,
        /// How long it is left alone.
        pause: Duration,
    },
    /// Somebody runs another network here. Said once for each.
    ForeignNetwork {
        /// Where.
        from: IpAddr,
        /// The first bytes of its id.
        prefix: [u8; 8],
    },
    /// A peer's clock differs from this machine's. Said once for each peer.
    ClockDiffers {
        /// Whose.
        target: Target,
        /// Theirs less ours, in milliseconds.
        offset_ms: i64,
    },
    /// A block is ahead of this machine's clock and has to wait.
    BlockWaits {
        /// Which.
        id: BlockId,
        /// By how much.
        ahead_ms: u64,
    },
    /// A block breaks a rule.
    InvalidBlock {
        /// Which.
        id: BlockId,
        /// The rule.
        reason: String,
    },
    /// A payment is in the pool.
    PaymentAccepted {
        /// Which.
        transaction: Arc<CheckedTransaction>,
        /// How many wait now.
        waiting: usize,
    },
    /// A payment was refused.
    PaymentRefused {
        /// Which.
        id: TransactionId,
        /// Why.
        reason: MempoolError,
    },
    /// What a named peer said of submitted payments.
    Submitted {
        /// Which peer.
        target: Target,
        /// How many it took or knew.
        taken: usize,
        /// How many there were.
        of: usize,
    },
    /// There is a block to work on.
    Mining {
        /// Its height.
        height: Height,
        /// How many payments it holds.
        payments: usize,
    },
    /// There is none.
    Idle(Idle),
}

/// Where blocks came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This node's miner.
    Mined,
    /// A peer's block server.
    Peer(Target),
    /// A caller of the block server.
    Caller,
}

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
    waiting: HashMap<ConnectionId, Duration>,
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
            relay: Relay::new(now.monotonic + config.pool_interval),
            mining: mine::Mining::default(),
            next_status: now.monotonic,
            random: config.seed,
            foreign: HashSet::new(),
            waiting: HashMap::new(),
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
        self.now = now;
        self.look_at_store()?;
        match input {
            Input::Announcement { from, announcement: Announcement::Status(status) } => {
                self.heard_status(from, status)
            }
            Input::Announcement { announcement: Announcement::Transaction(transaction), .. } => {
                self.heard_transaction(transaction, None);
            }
            Input::ForeignNetwork { from, prefix } => self.heard_foreign_network(from, prefix),
            Input::Connected { link, hello } => self.connected(link, &hello),
            Input::Disconnected { link, reason } => self.disconnected(link, reason),
            Input::Response { link, response } => self.response(link, response)?,
            Input::Caller { from, hello } => self.heard_caller(from, &hello),
            Input::Request { connection, request } => self.request(connection, request)?,
            Input::CallerGone { connection } => self.caller_gone(connection),
            Input::Checked(Checked::Transactions(results)) => self.transactions_checked(results)?,
            Input::Checked(Checked::Block { number, id, result }) => {
                self.block_checked(number, id, *result)?;
            }
            Input::Mined { template, nonce, seal } => self.mined(&template, nonce, seal)?,
            Input::Submit(transactions) => self.submit(&transactions),
        }
        self.drive()
    }

    /// Does what is due. Called at [`Node::next_deadline`], and harmless at any other time.
    pub fn tick(&mut self, now: Now) -> Result<(), StoreError> {
        self.now = now;
        self.look_at_store()?;
        self.drive()
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
            features: Hello::SERVES_BODIES,
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
        if self.foreign.len() < 64 && self.foreign.insert(prefix) {
            self.notice(Notice::ForeignNetwork { from, prefix });
        }
    }

    /// The best chain changed: everything that depends on it follows.
    fn tip_changed(
        &mut self,
        change: TipChange,
        given: &[CheckedBlock],
        source: Source,
    ) -> Result<(), StoreError> {
        self.tip = change.new;
        self.pool_follows(&change, given)?;
        let payments = given.iter().map(|block| block.transactions().len()).sum();
        // Everybody is told at once, so that they stop working on an older block.
        self.next_status = self.now.monotonic;
        self.mining.invalidate();
        self.answer_waiting(true);
        if change.reverted.len() > limits::DEEP_REORGANISATION {
            self.notice(Notice::DeepReorganisation { depth: change.reverted.len() });
        }
        let waiting = self.pool.as_ref().map_or(0, Mempool::len);
        self.notice(Notice::TipChanged { change, source, payments, waiting });
        Ok(())
    }

    fn mined(&mut self, template: &Arc<Template>, nonce: u64, seal: Option<Seal>) -> Result<(), StoreError> {
        let block: Block = template.to_block(nonce, seal);
        let (id, sealed) = (block.id(), block.sealed_header());
        if template.header.previous != self.tip.id {
            // Found a moment too late: the block would be a sibling of the tip, or older.
            return Ok(());
        }
        if let Err(error) = self.check_next_header(&sealed)? {
            self.notice(Notice::InvalidBlock { id, reason: format!("mined here: {error}") });
            self.mining.invalidate();
            return Ok(());
        }
        match self.checker.block(block, template.parent_time) {
            Ok(checked) => self.connect(&[checked], Source::Mined).map(|_| ()),
            Err(error) => {
                self.notice(Notice::InvalidBlock { id, reason: format!("mined here: {error}") });
                self.mining.invalidate();
                Ok(())
            }
        }
    }
}
