//! What goes into a node and what comes out: the whole of its interface to drivers and simulations, as
//! values.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Checked, Idle, Job, LinkId, MempoolError, MempoolLimits, Target, Template};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::Seal;
use crate::chain::{ChainError, Outcome, TipChange};
use crate::consensus::{CheckedBlock, CheckedTransaction};
use crate::hash::{BlockId, TransactionId};
use crate::time::{Height, Timestamp};
use crate::transaction::Transaction;
use crate::wire::{Announcement, Hello, Request, Response};

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
    /// A connection ended because the server broke the protocol.
    PeerAtFault {
        /// Which.
        link: LinkId,
        /// How.
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
    /// A caller asks something that is not about the chain alone (see [`super::serve::is_about_chain`]).
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
    /// A caller broke the protocol, and its connection is closed.
    CallerAtFault {
        /// Where it called from.
        from: IpAddr,
        /// How.
        reason: String,
        /// How long callers from there have to wait for an answer to their next call.
        pause: Duration,
    },
    /// A job is done.
    Checked(Checked),
    /// Blocks were offered to the chain, as [`Effect::Offer`] asked.
    Offered {
        /// Those blocks.
        blocks: Vec<CheckedBlock>,
        /// What came of it.
        result: Result<Outcome, ChainError>,
    },
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
    /// Offer these blocks to the chain ([`crate::chain::Chain::connect`]): after those of earlier effects of
    /// this kind, on any thread. Each is answered by an [`Input::Offered`], in the same order.
    Offer(Vec<CheckedBlock>),
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
    /// A reorganisation was deeper than [`super::limits::DEEP_REORGANISATION`].
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
    /// A caller of the block server broke the protocol.
    CallerMisbehaved {
        /// Where it called from.
        from: IpAddr,
        /// How.
        reason: String,
        /// How long callers from there have to wait at their next call.
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
    /// The pool was full, and a payment gave way to one that pays more.
    PaymentGaveWay {
        /// Which.
        id: TransactionId,
        /// What it would have paid.
        fee: Amount,
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
