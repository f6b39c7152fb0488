//! Blocks and their encoding (`PROTOCOL.md`, section 5). Data only: the rules are in
//! [`crate::consensus`].

mod encoded;

use bincode::{Decode, Encode};

use crate::address::Address;
use crate::amount::Amount;
use crate::difficulty::CompactTarget;
use crate::encoding::{encode, encode_into};
use crate::hash::{BlockId, MerkleRoot, sha256};
use crate::merkle;
use crate::time::{Height, Timestamp};
use crate::transaction::Transaction;

pub use encoded::{EncodedBlock, EncodedBody};

/// What a seal's signature begins with.
const SEAL_TAG: &[u8; 14] = b"farthing:seal:";

/// What proof of work is done on. 96 bytes, laid out so that only SHA-256's second chunk changes while
/// mining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockHeader {
    /// 1.
    pub version: u32,
    /// The parent's id.
    pub previous: BlockId,
    /// Commits to the reward and every transaction.
    pub merkle_root: MerkleRoot,
    /// When its miner says it was made.
    pub time: Timestamp,
    /// The target that the id is below.
    pub bits: CompactTarget,
    /// The parent's plus one.
    pub height: Height,
    /// What mining varies.
    pub nonce: u64,
}

/// An authority's signature on a block's id (`PROTOCOL.md`, section 8).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Seal {
    /// The authority's RSA modulus, big endian.
    pub public_key: Vec<u8>,
    /// Over [`seal_message`].
    pub signature: Vec<u8>,
}

/// What a block's miner is paid.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reward {
    /// The miner's address.
    pub to: Address,
    /// The block reward and all fees, exactly.
    pub amount: Amount,
    /// A note that everyone can read; at most 80 bytes.
    pub data: Vec<u8>,
}

/// What a block's Merkle root commits to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    /// Credited after the transactions.
    pub reward: Reward,
    /// In the order in which they are applied.
    pub transactions: Vec<Transaction>,
}

/// A block, unchecked. What has passed the checks is a [`crate::consensus::CheckedBlock`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// What links it to its parent.
    pub header: BlockHeader,
    /// On networks with authorities.
    pub seal: Option<Seal>,
    /// Reward and transactions.
    pub body: Body,
}

/// A header with its seal: what links, work, time and turn are checked from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SealedHeader {
    /// The header.
    pub header: BlockHeader,
    /// On networks with authorities.
    pub seal: Option<Seal>,
}

/// The bytes an authority signs to seal the block with this id.
pub fn seal_message(id: &BlockId) -> [u8; 46] {
    let mut message = [0; 46];
    message[..14].copy_from_slice(SEAL_TAG);
    message[14..].copy_from_slice(id.as_bytes());
    message
}

impl BlockHeader {
    /// The length of a header's encoding.
    pub const ENCODED_BYTES: usize = 96;
    /// Where the nonce stands in the encoding, little endian.
    pub const NONCE_OFFSET: usize = 88;

    /// SHA-256 of the encoding.
    pub fn id(&self) -> BlockId {
        BlockId::from_bytes(sha256(&[&encode(self)]))
    }
}

impl Reward {
    /// The length of the encoding.
    pub fn encoded_bytes(&self) -> usize {
        48 + self.data.len()
    }

    /// The Merkle leaf 0 of the block it is in.
    pub fn leaf(&self) -> [u8; 32] {
        merkle::leaf(&encode(self))
    }
}

impl Block {
    /// The id of the header.
    pub fn id(&self) -> BlockId {
        self.header.id()
    }

    /// Header and seal alone.
    pub fn sealed_header(&self) -> SealedHeader {
        SealedHeader { header: self.header, seal: self.seal.clone() }
    }
}

impl SealedHeader {
    /// The id of the header.
    pub fn id(&self) -> BlockId {
        self.header.id()
    }

    /// The encoding of the whole block, from this and the encoding of its body.
    pub fn encode_block(&self, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BlockHeader::ENCODED_BYTES + 1 + body.len());
        encode_into(self, &mut bytes);
        bytes.extend_from_slice(body);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::Ancestors;
    use crate::encoding::decode;
    use crate::testing::{Key, child, easy_rules};

    fn block() -> Block {
        let rules = easy_rules(&[]);
        let pay =
            |nonce| Key::new(1).sign(&rules.network_id(), Key::new(1).payment(Address::default(), 5, nonce));
        child(&rules, &Ancestors::of_genesis_child(&rules), &Key::new(9), vec![pay(0), pay(1)])
    }

    #[test]
    fn a_header_has_96_bytes_and_its_nonce_at_88() {
        let header = BlockHeader {
            version: 1,
            previous: BlockId::from_bytes([2; 32]),
            merkle_root: MerkleRoot::from_bytes([3; 32]),
            time: Timestamp::from_millis(4),
            bits: CompactTarget::from_bits(5),
            height: Height::new(6),
            nonce: 0x0807_0605_0403_0201,
        };
        let bytes = encode(&header);
        assert_eq!(bytes.len(), BlockHeader::ENCODED_BYTES);
        assert_eq!(bytes[BlockHeader::NONCE_OFFSET..], [1, 2, 3, 4, 5, 6, 7, 8]);
        for (offset, field) in [(0, &[1, 0, 0, 0][..]), (4, &[2; 32]), (36, &[3; 32]), (76, &[5, 0, 0, 0])] {
            assert_eq!(&bytes[offset..offset + field.len()], field, "at {offset}");
        }
        assert_eq!((bytes[68], bytes[80]), (4, 6));
    }

    #[test]
    fn a_block_is_header_seal_and_body_one_after_the_other() {
        for seal in [None, Some(Key::new(1).seal(&BlockId::ZERO))] {
            let block = Block { seal, ..block() };
            let bytes = encode(&block);
            assert_eq!(block.sealed_header().encode_block(&encode(&block.body)), bytes);
            assert_eq!(decode::<Block>(&bytes).unwrap(), block);
            assert_eq!(bytes[96], u8::from(block.seal.is_some()));
            assert_eq!(block.id(), BlockId::from_bytes(sha256(&[&bytes[..96]])));
            assert_eq!(block.sealed_header().id(), block.id());
        }
    }

    #[test]
    fn the_merkle_leaves_are_the_reward_and_the_payments_ids() {
        let Body { reward, transactions } = block().body;
        let left = sha256(&[&[1], &sha256(&[&[0], &encode(&reward)]), transactions[0].id().as_bytes()]);
        let root = sha256(&[&[1], &left, transactions[1].id().as_bytes()]);
        assert_eq!(block().body.merkle_root(), MerkleRoot::from_bytes(root));
    }

    #[test]
    fn a_seal_signs_the_tag_and_the_id() {
        let message = seal_message(&BlockId::from_bytes([7; 32]));
        assert_eq!(message.to_vec(), [&b"farthing:seal:"[..], &[7; 32]].concat());
    }
}
