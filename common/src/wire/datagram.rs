//! What is said by UDP broadcast: one message a datagram.

use bincode::{Decode, Encode};

use super::{MAGIC, VERSION};
use crate::difficulty::Work;
use crate::encoding::{DecodeError, decode_limited, encode};
use crate::hash::{BlockId, NetworkId};
use crate::time::Height;
use crate::transaction::Transaction;

/// The longest datagram: what IPv6's least MTU of 1,280 leaves, so that none is ever fragmented. The
/// longest payment, with a key of 4,096 bits and 80 bytes of data, fits.
pub const MAX_DATAGRAM_BYTES: usize = 1_232;

/// A message as it is broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Datagram {
    /// `FRTH`.
    pub magic: [u8; 4],
    /// 1.
    pub version: u16,
    /// The first bytes of the network's id.
    pub network: [u8; 8],
    /// What is announced.
    pub announcement: Announcement,
}

/// What a datagram announces.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Announcement {
    /// The chain that its sender has, to `status_broadcast_port`.
    Status(Status),
    /// A payment, to `transaction_port`.
    Transaction(Transaction),
}

/// What chain a miner has, and where it serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// Random per run: a program ignores its own.
    pub instance: u64,
    /// The height of its tip.
    pub height: Height,
    /// The work of its chain.
    pub work: Work,
    /// Its tip.
    pub tip: BlockId,
    /// The TCP port of its block server, at the address that the datagram comes from.
    pub block_server_port: u16,
}

/// Why a datagram is dropped.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum DatagramError {
    #[error("it has {got} bytes; at most {MAX_DATAGRAM_BYTES} are allowed")]
    TooLong { got: usize },
    #[error("it is no farthing datagram")]
    Magic,
    #[error("it is of version {got} of the protocol; this program speaks {VERSION}")]
    Version { got: u16 },
    #[error("it is of another network, {}", hex::encode(prefix))]
    OtherNetwork { prefix: [u8; 8] },
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Datagram {
    /// A datagram of this network.
    pub fn new(network: &NetworkId, announcement: Announcement) -> Self {
        Self { magic: MAGIC, version: VERSION, network: network.prefix(), announcement }
    }

    /// The bytes to send.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// What a datagram of this network announces. The cheap checks come first: most noise costs a
    /// comparison.
    pub fn announcement_of(bytes: &[u8], network: &NetworkId) -> Result<Announcement, DatagramError> {
        let prefix = Self::network_of(bytes)?;
        if prefix != network.prefix() {
            return Err(DatagramError::OtherNetwork { prefix });
        }
        Ok(Self::decode(bytes)?.announcement)
    }

    /// A datagram of any network.
    pub fn decode(bytes: &[u8]) -> Result<Self, DatagramError> {
        Self::network_of(bytes)?;
        Ok(decode_limited::<Self, { 2 * MAX_DATAGRAM_BYTES }>(bytes)?)
    }

    /// The network prefix of a datagram, after checking length, magic and version.
    fn network_of(bytes: &[u8]) -> Result<[u8; 8], DatagramError> {
        if bytes.len() > MAX_DATAGRAM_BYTES {
            return Err(DatagramError::TooLong { got: bytes.len() });
        }
        let Some((head, _)) = bytes.split_first_chunk::<14>() else { return Err(DatagramError::Magic) };
        if head[..4] != MAGIC {
            return Err(DatagramError::Magic);
        }
        let version = u16::from_le_bytes([head[4], head[5]]);
        if version != VERSION {
            return Err(DatagramError::Version { got: version });
        }
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&head[6..]);
        Ok(prefix)
    }
}
