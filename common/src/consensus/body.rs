//! The rules of a body by itself (rules 9 to 12 of `PROTOCOL.md`, section 6, and of 13 what needs no
//! ledger).

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use super::transaction::{CheckedTransaction, TransactionError, check_transaction, data_fits, not_expired};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{Block, Body, Reward, SealedHeader};
use crate::encoding::{encode, encode_into};
use crate::hash::{BlockId, NetworkId, TransactionId};
use crate::merkle;
use crate::rules::Rules;
use crate::signature::{SignatureVerifier, address_of};
use crate::time::{Height, Timestamp};
use crate::transaction::Transaction;

/// Which rule a body breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum BodyError {
    #[error("its body is not the one that its header commits to")]
    MerkleRoot,
    #[error("its body has {got} bytes; at most {most} are allowed")]
    TooLarge { got: usize, most: u32 },
    #[error("it holds {got} leaves; {least} are needed this soon after its parent")]
    TooFewLeaves { got: usize, least: u32 },
    #[error("its reward is {got}; block reward and fees come to {expected}")]
    RewardAmount { got: Amount, expected: Amount },
    #[error("its fees add up to more than can exist")]
    FeesOverflow,
    #[error("its reward's data: {0}")]
    RewardData(TransactionError),
    #[error("its reward goes to {got}, and it is sealed by {sealer}")]
    RewardNotToSealer { got: Address, sealer: Address },
    #[error("transaction {index}: {error}")]
    Transaction { index: usize, error: TransactionError },
}

impl BodyError {
    /// Whether the block itself is invalid for ever. A block's id covers neither its seal nor, but for the
    /// Merkle root, its body: whoever sends a good header with another body, or another authority's seal,
    /// shows nothing about the block, only about himself.
    pub fn condemns_block(&self) -> bool {
        !matches!(self, Self::MerkleRoot | Self::RewardNotToSealer { .. })
    }
}

/// A block that keeps every rule but those that need the ledger. Only [`check_body`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBlock {
    header: SealedHeader,
    id: BlockId,
    reward: Reward,
    transactions: Vec<Arc<CheckedTransaction>>,
    encoded_body: Vec<u8>,
}

impl CheckedBlock {
    /// Header and seal.
    pub fn header(&self) -> &SealedHeader {
        &self.header
    }

    /// The header's id.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// The height.
    pub fn height(&self) -> Height {
        self.header.header.height
    }

    /// What its miner is paid.
    pub fn reward(&self) -> &Reward {
        &self.reward
    }

    /// Its transactions, in order.
    pub fn transactions(&self) -> &[Arc<CheckedTransaction>] {
        &self.transactions
    }

    /// The encoding of its body.
    pub fn encoded_body(&self) -> &[u8] {
        &self.encoded_body
    }

    /// The whole block, as it is sent.
    pub fn to_block(&self) -> Block {
        let transactions = self.transactions.iter().map(|checked| checked.transaction().clone()).collect();
        Block {
            header: self.header.header,
            seal: self.header.seal.clone(),
            body: Body { reward: self.reward.clone(), transactions },
        }
    }

    /// For what is read back from a store, which only holds what was checked before it was written.
    pub(crate) fn from_store(header: SealedHeader, body: Body) -> Self {
        Self {
            id: header.id(),
            encoded_body: encode(&body),
            reward: body.reward,
            transactions: body
                .transactions
                .into_iter()
                .map(CheckedTransaction::from_store)
                .map(Arc::new)
                .collect(),
            header,
        }
    }
}

/// Transactions that were checked before, by their id: a signature is verified once in its life.
pub trait KnownTransactions: Sync {
    /// The checked transaction with this id, if it is known.
    fn known(&self, id: &TransactionId) -> Option<Arc<CheckedTransaction>>;
}

/// From so many transactions on they are shared out among the cores: less than a millisecond of signature
/// checks is not worth a thread.
const PARALLEL_FROM: usize = 64;

/// Knows nothing.
pub struct NothingKnown;

impl KnownTransactions for NothingKnown {
    fn known(&self, _: &TransactionId) -> Option<Arc<CheckedTransaction>> {
        None
    }
}

/// Checks rules 9 to 12, and every transaction by itself, in a block whose header was checked.
pub fn check_body(
    rules: &Rules,
    network: &NetworkId,
    parent_time: Timestamp,
    block: Block,
    known: &dyn KnownTransactions,
    verifier: &dyn SignatureVerifier,
) -> Result<CheckedBlock, BodyError> {
    let header = block.sealed_header();
    let Body { reward, transactions } = block.body;
    let encoded = EncodedBody::new(&reward, &transactions);
    body_is_the_headers(&header, &encoded)?;
    body_fits(rules, encoded.bytes.len())?;
    leaves_are_enough(rules, &header, parent_time, 1 + transactions.len())?;
    data_fits(&reward.data).map_err(BodyError::RewardData)?;
    let fees = transactions.iter().map(|transaction| transaction.payment.fee);
    reward_is_exact(rules, &reward, fees)?;
    reward_goes_to_sealer(&header, &reward)?;
    let ids = encoded.leaves[1..].iter().map(|leaf| TransactionId::from_bytes(*leaf));
    let check = |(id, transaction): (TransactionId, Transaction)| {
        let checked = match known.known(&id) {
            Some(known) => known,
            None => Arc::new(check_transaction(rules, network, transaction, verifier)?),
        };
        not_expired(checked.payment(), header.header.height).map(|()| checked)
    };
    let transactions = check_each(ids.zip(transactions).collect(), &check)
        .map_err(|(index, error)| BodyError::Transaction { index, error })?;
    Ok(CheckedBlock { id: header.id(), header, reward, transactions, encoded_body: encoded.bytes })
}

/// Checks transactions in order, or many of them on all cores; of several wrong ones, the first counts.
fn check_each<T: Send>(
    mut transactions: Vec<(TransactionId, Transaction)>,
    check: &(impl Fn((TransactionId, Transaction)) -> Result<T, TransactionError> + Sync),
) -> Result<Vec<T>, (usize, TransactionError)> {
    let threads = if transactions.len() < PARALLEL_FROM {
        1
    } else {
        thread::available_parallelism().map_or(1, NonZeroUsize::get)
    };
    let share = transactions.len().div_ceil(threads).max(1);
    let mut parts = Vec::with_capacity(threads);
    while transactions.len() > share {
        let rest = transactions.split_off(share);
        parts.push(std::mem::replace(&mut transactions, rest));
    }
    let in_order = |first: usize, part: Vec<_>| -> Result<Vec<T>, _> {
        let numbered = part.into_iter().enumerate();
        numbered.map(|(place, one)| check(one).map_err(|error| (first + place, error))).collect()
    };
    thread::scope(|scope| {
        let last = parts.len() * share;
        let others: Vec<_> = parts
            .into_iter()
            .enumerate()
            .map(|(number, part)| scope.spawn(move || in_order(number * share, part)))
            .collect();
        let last = in_order(last, transactions);
        let mut checked = Vec::new();
        for part in others {
            // A panic is passed on as it would be without threads.
            checked.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        checked.extend(last?);
        Ok(checked)
    })
}

/// A body's encoding and its Merkle leaves, made in one pass.
struct EncodedBody {
    bytes: Vec<u8>,
    leaves: Vec<[u8; 32]>,
}

impl EncodedBody {
    fn new(reward: &Reward, transactions: &[Transaction]) -> Self {
        let mut bytes = encode(reward);
        let mut leaves = vec![merkle::leaf(&bytes)];
        encode_into(&(transactions.len() as u64), &mut bytes);
        for transaction in transactions {
            let start = bytes.len();
            encode_into(transaction, &mut bytes);
            leaves.push(merkle::leaf(&bytes[start..]));
        }
        Self { bytes, leaves }
    }
}

/// How many leaves a block needs that comes this long after its parent (rule 11).
pub fn least_leaves(rules: &Rules, height: Height, since_parent_ms: u64) -> u32 {
    let interval_ms = u64::from(rules.block_interval_seconds) * 1000;
    let waited = interval_ms > 0 && since_parent_ms >= interval_ms;
    if height == Height::new(1) {
        1
    } else if waited {
        rules.least_leaves()
    } else {
        rules.block_size.max(rules.least_leaves())
    }
}

fn body_is_the_headers(header: &SealedHeader, body: &EncodedBody) -> Result<(), BodyError> {
    if merkle::root(&body.leaves) == header.header.merkle_root { Ok(()) } else { Err(BodyError::MerkleRoot) }
}

fn body_fits(rules: &Rules, got: usize) -> Result<(), BodyError> {
    let most = rules.max_block_bytes;
    if got <= most as usize { Ok(()) } else { Err(BodyError::TooLarge { got, most }) }
}

fn leaves_are_enough(
    rules: &Rules,
    header: &SealedHeader,
    parent_time: Timestamp,
    got: usize,
) -> Result<(), BodyError> {
    let least = least_leaves(rules, header.header.height, header.header.time.millis_since(parent_time));
    if got >= least as usize { Ok(()) } else { Err(BodyError::TooFewLeaves { got, least }) }
}

fn reward_is_exact(
    rules: &Rules,
    reward: &Reward,
    fees: impl Iterator<Item = Amount>,
) -> Result<(), BodyError> {
    let expected = Amount::checked_sum(fees.chain([rules.block_reward])).ok_or(BodyError::FeesOverflow)?;
    if reward.amount == expected {
        Ok(())
    } else {
        Err(BodyError::RewardAmount { got: reward.amount, expected })
    }
}

fn reward_goes_to_sealer(header: &SealedHeader, reward: &Reward) -> Result<(), BodyError> {
    let Some(seal) = &header.seal else { return Ok(()) };
    let sealer = address_of(&seal.public_key);
    if reward.to == sealer { Ok(()) } else { Err(BodyError::RewardNotToSealer { got: reward.to, sealer }) }
}
