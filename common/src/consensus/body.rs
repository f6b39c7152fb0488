//! The rules of a body by itself (rules 9 to 12 of `PROTOCOL.md`, section 6, and of 13 what needs no
//! ledger).

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use super::transaction::{
    CheckedTransaction, LedgerEntry, TransactionError, Unchecked, check_each, data_fits, entries_from_store,
    not_expired,
};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{Block, EncodedBlock, EncodedBody, Reward, SealedHeader};
use crate::hash::{BlockId, NetworkId, TransactionId};
use crate::merkle;
use crate::rules::Rules;
use crate::signature::{SignatureVerifier, address_of};
use crate::time::{Height, Timestamp};

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

/// A block that keeps every rule but those that need the ledger. [`check_encoded_body`] makes one, and a store
/// gives back what was one; nobody else does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBlock {
    header: SealedHeader,
    id: BlockId,
    entries: Vec<LedgerEntry>,
    body: EncodedBody,
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
        self.body.reward()
    }

    /// What the ledger needs of its transactions, in order.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// Its body, as it is sent and stored.
    pub fn body(&self) -> &EncodedBody {
        &self.body
    }

    /// The encoding of its body.
    pub fn encoded_body(&self) -> &[u8] {
        self.body.bytes()
    }

    /// Its transactions, whole, in order.
    pub fn transactions(&self) -> impl Iterator<Item = CheckedTransaction> {
        let numbered = self.body.transactions().zip(&self.entries);
        numbered.map(|(it, entry)| CheckedTransaction::new(it.to_transaction(), *entry))
    }

    /// The whole block by itself.
    pub fn to_block(&self) -> Block {
        EncodedBlock { header: self.header.clone(), body: self.body.clone() }.to_block()
    }

    /// For what is read back from a store, which only holds what was checked before it was written.
    pub(crate) fn from_store(header: SealedHeader, body: EncodedBody) -> Self {
        let leaves = body.leaves();
        let transactions: Vec<_> = body.transactions().collect();
        let entries = entries_from_store(&transactions, &leaves[1..]);
        Self { id: header.id(), header, entries, body }
    }
}

/// Transactions that were checked before, by their id: a signature is verified once in its life.
pub trait KnownTransactions: Sync {
    /// The checked transaction with this id, if it is known.
    fn known(&self, id: &TransactionId) -> Option<Arc<CheckedTransaction>>;
}

/// How many threads check the transactions of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parallelism {
    /// The caller's alone: for callers that check several blocks at a time.
    OneThread,
    /// One a core: the soonest answer for one block.
    AllCores,
}

/// From so many transactions on they are shared out among the cores: a millisecond of signature checks is not
/// worth a thread.
const PARALLEL_FROM: usize = 64;

/// Knows nothing.
pub struct NothingKnown;

impl KnownTransactions for NothingKnown {
    fn known(&self, _: &TransactionId) -> Option<Arc<CheckedTransaction>> {
        None
    }
}

/// [`check_encoded_body`] of a block that has yet to be encoded, on all cores.
pub fn check_body(
    rules: &Rules,
    network: &NetworkId,
    parent_time: Timestamp,
    block: Block,
    known: &dyn KnownTransactions,
    verifier: &dyn SignatureVerifier,
) -> Result<CheckedBlock, BodyError> {
    let cores = Parallelism::AllCores;
    check_encoded_body(rules, network, parent_time, (&block).into(), known, verifier, cores)
}

/// Checks rules 9 to 12, and every transaction by itself, in a block whose header was checked.
pub fn check_encoded_body(
    rules: &Rules,
    network: &NetworkId,
    parent_time: Timestamp,
    block: EncodedBlock,
    known: &dyn KnownTransactions,
    verifier: &dyn SignatureVerifier,
    parallelism: Parallelism,
) -> Result<CheckedBlock, BodyError> {
    let EncodedBlock { header, body } = block;
    let leaves = body.leaves();
    body_is_the_headers(&header, &leaves)?;
    body_fits(rules, body.bytes().len())?;
    leaves_are_enough(rules, &header, parent_time, leaves.len())?;
    let reward = body.reward();
    data_fits(&reward.data).map_err(BodyError::RewardData)?;
    let transactions: Vec<_> = body.transactions().collect();
    reward_is_exact(rules, reward, transactions.iter().map(|transaction| transaction.fee))?;
    reward_goes_to_sealer(&header, reward)?;
    let wrong = |index: usize, error| BodyError::Transaction { index, error };
    let height = header.header.height;
    let in_time = transactions.iter().map(|transaction| not_expired(transaction.valid_until, height));
    let expired = in_time.enumerate().find_map(|(index, result)| Some((index, result.err()?)));
    // Of several wrong ones the first counts: those after one that is wrong already are not looked at.
    let count = expired.as_ref().map_or(transactions.len(), |(index, _)| index + 1);
    let ids = leaves[1..=count].iter();
    let mut entries: Vec<Option<LedgerEntry>> =
        ids.map(|id| known.known(&TransactionId::from_bytes(*id)).map(|known| *known.entry())).collect();
    let unknown: Vec<usize> = (0..count).filter(|index| entries[*index].is_none()).collect();
    let encodings: Vec<_> = body.encodings().collect();
    let unchecked = unknown.iter().map(|index| Unchecked {
        transaction: transactions[*index],
        encoding: encodings[*index],
        id: leaves[1 + index],
    });
    let check = |share: Vec<Unchecked>| -> Result<Vec<_>, (usize, TransactionError)> {
        let checked = check_each(rules, network, &share, verifier).enumerate();
        checked.map(|(place, entry)| entry.map_err(|error| (place, error))).collect()
    };
    let checked = in_shares(unchecked.collect(), parallelism, &check)
        .map_err(|(place, error)| wrong(unknown[place], error))?;
    for (index, entry) in unknown.iter().zip(checked) {
        entries[*index] = Some(entry);
    }
    if let Some((index, error)) = expired {
        return Err(wrong(index, error));
    }
    let entries = entries.into_iter().flatten().collect();
    Ok(CheckedBlock { id: header.id(), header, entries, body })
}

/// Checks transactions in order, or many of them on all cores; of several wrong ones, the first counts.
/// `check` tells where in its share the first wrong one is.
fn in_shares<'a, T: Send>(
    mut transactions: Vec<Unchecked<'a>>,
    parallelism: Parallelism,
    check: &(impl Fn(Vec<Unchecked<'a>>) -> Result<Vec<T>, (usize, TransactionError)> + Sync),
) -> Result<Vec<T>, (usize, TransactionError)> {
    if parallelism == Parallelism::OneThread || transactions.len() < PARALLEL_FROM {
        return check(transactions);
    }
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let count = transactions.len().div_ceil(threads);
    let mut shares = Vec::with_capacity(threads);
    while transactions.len() > count {
        let rest = transactions.split_off(count);
        shares.push(std::mem::replace(&mut transactions, rest));
    }
    let checked = thread::scope(|scope| {
        let others: Vec<_> = shares.into_iter().map(|share| scope.spawn(|| check(share))).collect();
        let last = check(transactions);
        // A panic is passed on as it would be without threads.
        let joined = others.into_iter().map(|it| it.join().unwrap_or_else(|panic| resume_unwind(panic)));
        joined.chain([last]).collect::<Vec<_>>()
    });
    let mut all = Vec::new();
    for (share, result) in checked.into_iter().enumerate() {
        all.extend(result.map_err(|(index, error)| (share * count + index, error))?);
    }
    Ok(all)
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

fn body_is_the_headers(header: &SealedHeader, leaves: &[[u8; 32]]) -> Result<(), BodyError> {
    if merkle::root(leaves) == header.header.merkle_root { Ok(()) } else { Err(BodyError::MerkleRoot) }
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
