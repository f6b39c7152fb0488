//! Bodies as they are sent and stored. What came from a peer or a store is looked through once, and neither
//! taken apart nor encoded again: hashes and signatures are checked on the bytes that were received, and those
//! are what is stored and sent on.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};

use super::{Block, Body, Reward, SealedHeader};
use crate::consensus::CheckedTransaction;
use crate::encoding::{DecodeError, decode_start, encode_into};
use crate::hash::{BlockId, MerkleRoot};
use crate::merkle;
use crate::transaction::{Transaction, TransactionRef};

/// A body's encoding, found to be one. Nothing else is checked.
#[derive(Clone, Debug)]
pub struct EncodedBody {
    /// What was received may begin with something else.
    buffer: Vec<u8>,
    start: usize,
    reward: Reward,
    /// Where the first transaction begins, and where each ends, in the encoding.
    bounds: Vec<usize>,
    /// Where they are known already.
    leaves: Option<Vec<[u8; 32]>>,
}

impl PartialEq for EncodedBody {
    /// Whatever stands before them.
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for EncodedBody {}

/// A block, unchecked, with its body as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBlock {
    /// Header and seal.
    pub header: SealedHeader,
    /// Reward and transactions.
    pub body: EncodedBody,
}

impl EncodedBody {
    /// Encodes a body.
    pub fn new(body: &Body) -> Self {
        Self::from_parts(&body.reward, body.transactions.iter())
    }

    /// Encodes the body with this reward and these transactions.
    pub fn from_parts<'a>(
        reward: &Reward,
        transactions: impl ExactSizeIterator<Item = &'a Transaction> + Clone,
    ) -> Self {
        let of_transactions: usize = transactions.clone().map(Transaction::encoded_bytes).sum();
        let mut bytes = Vec::with_capacity(reward.encoded_bytes() + 8 + of_transactions);
        encode_into(reward, &mut bytes);
        encode_into(&(transactions.len() as u64), &mut bytes);
        let mut bounds = Vec::with_capacity(1 + transactions.len());
        bounds.push(bytes.len());
        for transaction in transactions {
            encode_into(transaction, &mut bytes);
            bounds.push(bytes.len());
        }
        Self { buffer: bytes, start: 0, reward: reward.clone(), bounds, leaves: None }
    }

    /// The same of transactions that were checked: their ids, which are leaves, are not hashed again.
    pub(crate) fn from_checked(reward: &Reward, transactions: &[Arc<CheckedTransaction>]) -> Self {
        let body = Self::from_parts(reward, transactions.iter().map(|checked| checked.transaction()));
        let ids = transactions.iter().map(|checked| *checked.id().as_bytes());
        Self { leaves: Some(std::iter::once(reward.leaf()).chain(ids).collect()), ..body }
    }

    /// Takes over the encoding of a body.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        Self::decode_from(bytes, 0)
    }

    /// The same of what begins at `start`, which is within the bytes.
    fn decode_from(buffer: Vec<u8>, start: usize) -> Result<Self, DecodeError> {
        let bytes = &buffer[start..];
        let (reward, reward_bytes) = decode_start::<Reward>(bytes)?;
        let (count, count_bytes) = decode_start::<u64>(&bytes[reward_bytes..])?;
        let mut end = reward_bytes + count_bytes;
        let mut bounds = vec![end];
        // Room grows with what is there, not with what is announced.
        for _ in 0..count {
            end += TransactionRef::decode_start(&bytes[end..])?.1;
            bounds.push(end);
        }
        match bytes.len() - end {
            0 => Ok(Self { buffer, start, reward, bounds, leaves: None }),
            extra => Err(DecodeError::TrailingBytes { extra }),
        }
    }

    /// The encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// What its miner is paid.
    pub fn reward(&self) -> &Reward {
        &self.reward
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The transactions, in order.
    pub fn transactions(&self) -> impl ExactSizeIterator<Item = TransactionRef<'_>> {
        self.encodings().map(read)
    }

    /// The transaction with this number, from 0.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn transaction(&self, index: usize) -> TransactionRef<'_> {
        read(&self.bytes()[self.range(index)])
    }

    /// The encodings of the transactions.
    pub fn encodings(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| &self.bytes()[self.range(index)])
    }

    /// The leaves of its Merkle tree: the reward's, and the transactions' ids.
    pub fn leaves(&self) -> Cow<'_, [[u8; 32]]> {
        if let Some(known) = &self.leaves {
            return Cow::Borrowed(known);
        }
        let reward = &self.bytes()[..self.reward.encoded_bytes()];
        merkle::leaves(&std::iter::once(reward).chain(self.encodings()).collect::<Vec<_>>()).into()
    }

    /// The body by itself.
    pub fn to_body(&self) -> Body {
        let transactions = self.transactions().map(|transaction| transaction.to_transaction());
        Body { reward: self.reward.clone(), transactions: transactions.collect() }
    }

    fn range(&self, index: usize) -> Range<usize> {
        self.bounds[index]..self.bounds[index + 1]
    }
}

fn read(encoding: &[u8]) -> TransactionRef<'_> {
    TransactionRef::decode_start(encoding).expect("it was read before").0
}

impl EncodedBlock {
    /// The id of the header.
    pub fn id(&self) -> BlockId {
        self.header.id()
    }

    /// Takes over the encoding of a block, which begins at `start` of the bytes and ends where they do.
    pub fn decode(bytes: Vec<u8>, start: usize) -> Result<Self, DecodeError> {
        let block = bytes.get(start..).unwrap_or_default();
        let (header, header_bytes) = decode_start::<SealedHeader>(block)?;
        Ok(Self { header, body: EncodedBody::decode_from(bytes, start + header_bytes)? })
    }

    /// The block by itself.
    pub fn to_block(&self) -> Block {
        let SealedHeader { header, seal } = self.header.clone();
        Block { header, seal, body: self.body.to_body() }
    }
}

impl From<&Block> for EncodedBlock {
    /// Encodes the body of a block.
    fn from(block: &Block) -> Self {
        Self { header: block.sealed_header(), body: EncodedBody::new(&block.body) }
    }
}

impl Encode for EncodedBlock {
    /// The encoding of [`Block`].
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.header.encode(encoder)?;
        encoder.writer().write(self.body.bytes())
    }
}

impl<Context> Decode<Context> for EncodedBlock {
    /// For a block inside another value. One that came alone is taken over by [`EncodedBlock::decode`].
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, bincode::error::DecodeError> {
        Ok(Self::from(&Block::decode(decoder)?))
    }
}

bincode::impl_borrow_decode!(EncodedBlock);

impl Body {
    /// The Merkle root over reward and transactions.
    pub fn merkle_root(&self) -> MerkleRoot {
        merkle::root(&EncodedBody::new(self).leaves())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::Address;
    use crate::amount::Amount;
    use crate::block::Reward;
    use crate::consensus::Ancestors;
    use crate::encoding::{decode, encode};
    use crate::testing::{Key, child, easy_rules};

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
            prop_assert_eq!(&decoded, &EncodedBlock::from(&block));
            prop_assert_eq!(decoded.header.encode_block(decoded.body.bytes()), &bytes[..]);
            prop_assert_eq!(encode(&decoded), &bytes[..]);
            prop_assert_eq!(&decode::<EncodedBlock>(&bytes).unwrap(), &decoded);
            prop_assert_eq!(decoded.body.len(), payments.len());
            let transactions = || block.body.transactions.iter();
            for (encoding, transaction) in decoded.body.encodings().zip(transactions()) {
                prop_assert_eq!(encoding, encode(transaction));
            }
            for (read, transaction) in decoded.body.transactions().zip(transactions()) {
                prop_assert_eq!(read, transaction.borrowed());
            }
            let ids = transactions().map(|transaction| *transaction.id().as_bytes());
            let leaves: Vec<_> = std::iter::once(block.body.reward.leaf()).chain(ids).collect();
            prop_assert_eq!(&decoded.body.leaves()[..], &leaves[..]);
            prop_assert_eq!(decoded.to_block(), block);
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
                    prop_assert_eq!(taken, EncodedBlock::from(&block));
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
