//! What is said over TCP: a hello each way, then requests and their answers.

use bincode::{Decode, Encode};

use super::frame::BLOCK_VARIANT;
use super::{MAGIC, MAX_HELLO_FRAME_BYTES, MIN_VERSION, Status, VERSION};
use crate::block::{Block, EncodedBlock, Reward, SealedHeader};
use crate::encoding::{DecodeError, decode, decode_limited};
use crate::hash::{BlockId, NetworkId, TransactionId};
use crate::time::Timestamp;
use crate::transaction::Transaction;

/// The longest agent text of a hello, in bytes.
pub const MAX_AGENT_BYTES: usize = 64;
/// The most blocks asked for at once; each comes in a frame of its own, so this only bounds the request.
pub const MAX_BLOCK_IDS: usize = 256;
/// The most ids in one page of a pool: 1 MiB.
pub const MAX_POOL_IDS: usize = 32_768;
/// The most transactions asked for at once: with the largest keys 4.9 MB, below the frame limit.
pub const MAX_TRANSACTION_IDS: usize = 4_096;

/// The first message of each side; the server's comes first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// `FRTH`.
    pub magic: [u8; 4],
    /// The version that the sender speaks.
    pub version: u16,
    /// The oldest version that it understands.
    pub min_version: u16,
    /// Whose blocks it has.
    pub network: NetworkId,
    /// Random per run, so that a program knows itself.
    pub instance: u64,
    /// What its clock says.
    pub time: Timestamp,
    /// Where it serves blocks; 0: nowhere.
    pub block_server_port: u16,
    /// Bit 0: serves all bodies.
    pub features: u64,
    /// Program and version, for people to read; at most 64 bytes.
    pub agent: Vec<u8>,
}

/// Why a hello is not one to go on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum HelloError {
    #[error("it is no farthing program")]
    Magic,
    #[error("it speaks versions {min} to {max} of the protocol, this program {MIN_VERSION} to {VERSION}")]
    Version { min: u16, max: u16 },
    #[error("it is on another network, {network}")]
    OtherNetwork { network: NetworkId },
    #[error("its agent text is longer than {MAX_AGENT_BYTES} bytes")]
    Agent,
}

impl Hello {
    /// Bit 0 of `features`: serves all bodies.
    pub const SERVES_BODIES: u64 = 1;

    /// The hello in a frame's bytes. Announced lengths are bounded by what a hello may take: a stranger
    /// makes nobody allocate more.
    pub fn from_frame(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_limited::<Self, { 2 * MAX_HELLO_FRAME_BYTES }>(bytes)
    }

    /// What a caller that serves nothing says, on whatever network the server is. Nobody has to recognise it:
    /// its instance is 0.
    pub fn of_caller(server: &Self, agent: &str, time: Timestamp) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            min_version: MIN_VERSION,
            network: server.network,
            instance: 0,
            time,
            block_server_port: 0,
            features: 0,
            agent: agent.as_bytes().to_vec(),
        }
    }

    /// Whether the sender is a farthing program of this version, whatever its network.
    pub fn check_protocol(&self) -> Result<(), HelloError> {
        if self.magic != MAGIC {
            return Err(HelloError::Magic);
        }
        if self.min_version > VERSION || self.version < MIN_VERSION {
            return Err(HelloError::Version { min: self.min_version, max: self.version });
        }
        if self.agent.len() > MAX_AGENT_BYTES {
            return Err(HelloError::Agent);
        }
        Ok(())
    }

    /// Whether the sender is one to talk to: of this version and this network.
    pub fn check(&self, network: &NetworkId) -> Result<(), HelloError> {
        self.check_protocol()?;
        if self.network != *network {
            return Err(HelloError::OtherNetwork { network: self.network });
        }
        Ok(())
    }
}

/// What a caller asks. The variants' order is their number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// For [`Response::Headers`]: those of the best chain after the first locator entry that is on it.
    GetHeaders {
        /// Ids of the caller's best chain, the newest first; at most [`crate::chain::MAX_LOCATOR`].
        locator: Vec<BlockId>,
        /// How many; at most [`crate::chain::MAX_HEADERS`].
        limit: u32,
    },
    /// For a [`Response::Block`] or [`Response::NotFound`] for each id, in order.
    GetBlocks {
        /// At most [`MAX_BLOCK_IDS`].
        ids: Vec<BlockId>,
    },
    /// For [`Response::Compact`].
    GetCompact {
        /// Which block.
        id: BlockId,
    },
    /// For [`Response::Transactions`]: these of a block.
    GetBlockTransactions {
        /// Which block.
        id: BlockId,
        /// Which of its transactions, from 0, ascending; at most [`MAX_TRANSACTION_IDS`].
        indices: Vec<u32>,
    },
    /// For [`Response::PoolIds`], ascending.
    GetPoolIds {
        /// Where the page before ended.
        after: Option<TransactionId>,
    },
    /// For [`Response::Transactions`]: those of these that are in the pool.
    GetTransactions {
        /// At most [`MAX_TRANSACTION_IDS`].
        ids: Vec<TransactionId>,
    },
    /// For [`Response::Results`], one for each.
    SubmitTransactions(Vec<Transaction>),
    /// For [`Response::Results`], one for each.
    SubmitBlocks(Vec<Block>),
    /// For [`Response::Status`] when the tip differs from this one, or after ten seconds.
    WaitStatus {
        /// The tip that the caller knows of.
        tip: BlockId,
    },
    /// For [`Response::Proof`].
    GetProof {
        /// Which transaction of the best chain.
        transaction: TransactionId,
    },
    /// For [`Response::Rules`].
    GetRules,
}

impl Request {
    /// How many frames answer it.
    pub fn answer_frames(&self) -> usize {
        match self {
            Self::GetBlocks { ids } => ids.len(),
            _ => 1,
        }
    }
}

/// A request as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// One that this version knows.
    Known(Request),
    /// One of a later version, by its number: it is answered with [`Response::Unsupported`], and is no
    /// fault.
    Unknown(u32),
}

impl Incoming {
    /// How many requests this version knows.
    const KNOWN: u32 = 11;

    /// The request in a frame's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first_chunk::<4>().map(|number| u32::from_le_bytes(*number)) {
            Some(number) if number >= Self::KNOWN => Ok(Self::Unknown(number)),
            _ => decode(bytes).map(Self::Known),
        }
    }
}

/// What a server answers. The variants' order is their number on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// Each the parent of the next.
    Headers(Vec<SealedHeader>),
    /// One block.
    Block(EncodedBlock),
    /// The server has no such block (genesis, which has no body, included) or transaction.
    NotFound([u8; 32]),
    /// A block with its transactions named only.
    Compact(CompactBlock),
    /// In the order in which they were asked for.
    Transactions(Vec<Transaction>),
    /// Ascending; the next page begins after the last of them.
    PoolIds(Vec<TransactionId>),
    /// One for each thing submitted.
    Results(Vec<SubmitResult>),
    /// The server's tip.
    Status(Status),
    /// That a transaction is in a block.
    Proof(Proof),
    /// The rules bytes; genesis commits to their hash.
    Rules(Vec<u8>),
    /// The server does not know a request with this number.
    Unsupported(u32),
}

impl Response {
    /// The response in a frame's bytes, its length taken off. A block takes them over as they are.
    pub fn from_frame(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        match bytes.first_chunk::<4>() {
            Some(variant) if u32::from_le_bytes(*variant) == BLOCK_VARIANT => {
                EncodedBlock::decode(bytes, 4).map(Self::Block)
            }
            _ => decode(&bytes),
        }
    }
}

/// A block whose transactions most receivers have in their pools already.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CompactBlock {
    /// Header and seal.
    pub header: SealedHeader,
    /// The reward, whole.
    pub reward: Reward,
    /// The transactions, in order.
    pub ids: Vec<TransactionId>,
}

/// That a transaction is in a block, from the block's header alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proof {
    /// The block's header and seal.
    pub header: SealedHeader,
    /// The position of the transaction's leaf; the reward is leaf 0.
    pub index: u32,
    /// How many leaves there are.
    pub count: u32,
    /// The audit path, from the leaf's sibling upwards; at most [`crate::merkle::MAX_PATH`].
    pub path: Vec<[u8; 32]>,
}

/// What became of a submitted transaction or block; on the wire its number, as a `u32`. Unlike an enum's
/// variant it is open: a number that is not known is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SubmitResult(pub u32);

#[expect(missing_docs, reason = "the names are the protocol's own words")]
impl SubmitResult {
    pub const ACCEPTED: Self = Self(0);
    pub const KNOWN: Self = Self(1);
    pub const BAD_SIGNATURE: Self = Self(2);
    pub const NONCE_TOO_LOW: Self = Self(3);
    pub const NONCE_GAP: Self = Self(4);
    pub const FUNDS: Self = Self(5);
    pub const FEE: Self = Self(6);
    pub const POOL_FULL: Self = Self(7);
    pub const FORM: Self = Self(8);
    pub const EXPIRED: Self = Self(9);
    pub const UNKNOWN_PARENT: Self = Self(10);
    pub const WAITS: Self = Self(11);
    pub const REFUSED: Self = Self(12);
    /// Another transaction of the sender with this nonce is in the pool.
    pub const CONFLICT: Self = Self(13);
}
