//! Bodies together with their encoding. What came from a peer or a store is decoded once, and never encoded
//! again: hashes are computed from what was received, and that is what is stored and sent on.

use super::{Block, Body, SealedHeader};
use crate::encoding::{DecodeError, MAX_DECODE_BYTES, decode, decode_start, encode};
use crate::merkle;

/// What the number of transactions takes in a body's encoding.
const COUNT_BYTES: usize = 8;

/// A body and its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBody {
    body: Body,
    bytes: Vec<u8>,
}

/// A block, unchecked, with the encoding of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBlock {
    /// Header and seal.
    pub header: SealedHeader,
    /// Reward and transactions.
    pub body: EncodedBody,
}

impl EncodedBody {
    /// Encodes a body.
    pub fn new(body: Body) -> Self {
        Self { bytes: encode(&body), body }
    }

    /// Takes over the encoding of a body.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        Ok(Self { body: decode(&bytes)?, bytes })
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Its encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The leaves of its Merkle tree: the reward's, and the transactions' ids.
    pub fn leaves(&self) -> Vec<[u8; 32]> {
        self.body.leaves(&self.bytes)
    }

    /// The body and its encoding.
    pub fn into_parts(self) -> (Body, Vec<u8>) {
        (self.body, self.bytes)
    }
}

impl EncodedBlock {
    /// Takes over the encoding of a block, which begins at `start` of the bytes and ends where they do.
    pub fn decode(mut bytes: Vec<u8>, start: usize) -> Result<Self, DecodeError> {
        let block = bytes.get(start..).unwrap_or_default();
        let (header, header_bytes) = decode_start::<SealedHeader, MAX_DECODE_BYTES>(block)?;
        bytes.drain(..start + header_bytes);
        Ok(Self { header, body: EncodedBody::decode(bytes)? })
    }

    /// The block without its encoding.
    pub fn into_block(self) -> Block {
        let SealedHeader { header, seal } = self.header;
        Block { header, seal, body: self.body.body }
    }
}

impl From<Block> for EncodedBlock {
    /// Encodes the body of a block.
    fn from(block: Block) -> Self {
        let Block { header, seal, body } = block;
        Self { header: SealedHeader { header, seal }, body: EncodedBody::new(body) }
    }
}

impl Body {
    /// Cuts `bytes`, this body's encoding, into those of the reward and of each transaction.
    ///
    /// Every field of the encoding has a fixed size or its length before it, and is written in one way only:
    /// so where each transaction stands follows from the lengths of its fields.
    pub(crate) fn cut<'a>(&self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let (reward, counted) = bytes.split_at(self.reward.encoded_bytes());
        let mut rest = &counted[COUNT_BYTES..];
        let mut parts = Vec::with_capacity(1 + self.transactions.len());
        parts.push(reward);
        for transaction in &self.transactions {
            let (part, after) = rest.split_at(transaction.encoded_bytes());
            parts.push(part);
            rest = after;
        }
        parts
    }

    /// The leaves of the Merkle tree, from `bytes`, this body's encoding.
    pub(super) fn leaves(&self, bytes: &[u8]) -> Vec<[u8; 32]> {
        merkle::leaves(&self.cut(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::Address;
    use crate::amount::Amount;
    use crate::block::Reward;
    use crate::testing::{Key, child, easy_rules};
    use crate::{consensus::Ancestors, transaction::Transaction};

    /// A block whose parts have these lengths.
    fn block(reward_data: usize, payments: &[(usize, usize, usize)], sealed: bool) -> Block {
        let rules = easy_rules(&[]);
        let ancestors = Ancestors::of_genesis_child(&rules);
        let mut block = child(&rules, &ancestors, &Key::new(9), Vec::new());
        block.body.reward =
            Reward { to: Address::default(), amount: Amount::ZERO, data: vec![1; reward_data] };
        block.body.transactions = payments
            .iter()
            .map(|(data, key, signature)| {
                let mut payment = Key::new(1).payment(Address::default(), 5, 3);
                (payment.data, payment.public_key) = (vec![2; *data], vec![3; *key]);
                Transaction { payment, signature: vec![4; *signature] }
            })
            .collect();
        block.seal = sealed.then(|| Key::new(9).seal(&block.id()));
        block
    }

    proptest! {
        #[test]
        fn a_body_is_cut_into_the_encodings_of_its_parts(
            reward_data in 0_usize..100,
            payments in prop::collection::vec((0_usize..100, 0_usize..600, 0_usize..600), 0..9),
            sealed in any::<bool>(),
            start in 0_usize..9,
        ) {
            let block = block(reward_data, &payments, sealed);
            let bytes = encode(&block);
            let decoded = EncodedBlock::decode([&vec![7; start][..], &bytes].concat(), start).unwrap();
            prop_assert_eq!(&decoded, &EncodedBlock::from(block.clone()));
            prop_assert_eq!(decoded.header.encode_block(decoded.body.bytes()), bytes);
            let (body, bytes) = decoded.body.clone().into_parts();
            let parts = body.cut(&bytes);
            prop_assert_eq!(parts.len(), 1 + payments.len());
            prop_assert_eq!(parts[0], encode(&body.reward));
            for (part, transaction) in parts[1..].iter().zip(&body.transactions) {
                prop_assert_eq!(*part, encode(transaction));
            }
            prop_assert_eq!(decoded.into_block(), block);
        }

        /// There is one encoding of each block: what decodes is what it is encoded to, and the whole block is
        /// accepted exactly when header and body are.
        #[test]
        fn whatever_decodes_is_encoded_to_the_same_bytes(
            payments in prop::collection::vec((0_usize..9, 0_usize..9, 0_usize..9), 0..4),
            sealed in any::<bool>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in prop::option::of(any::<prop::sample::Index>()),
            extra in 0_usize..2,
        ) {
            let mut bytes = encode(&block(3, &payments, sealed));
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes.resize(bytes.len() + extra, 0);
            match (EncodedBlock::decode(bytes.clone(), 0), decode::<Block>(&bytes)) {
                (Ok(taken), Ok(block)) => {
                    prop_assert_eq!(encode(&block), bytes);
                    prop_assert_eq!(taken, EncodedBlock::from(block));
                }
                (Err(_), Err(_)) => {}
                (taken, block) => prop_assert!(false, "{taken:?} {block:?}"),
            }
        }
    }

    #[test]
    fn nothing_is_no_block() {
        for start in [0, 1, 2] {
            assert!(EncodedBlock::decode(vec![0], start).is_err());
        }
    }
}
