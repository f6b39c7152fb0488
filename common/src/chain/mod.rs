//! The block tree and the best chain: fork choice, reorganisation, and what changed (`PROTOCOL.md`,
//! section 6).
//!
//! A [`Chain`] keeps nothing in memory: it is the rules and a store. Blocks come in whole and checked but
//! for the ledger; those of a better branch become the best chain in one atomic write, whatever its depth,
//! and the caller is given the difference as a value.

use std::sync::Arc;

use crate::address::Address;
use crate::consensus::{CheckedBlock, TransactionError};
use crate::hash::{BlockId, NetworkId};
use crate::ledger::{self, Account, Accounts, LedgerError};
use crate::rules::Rules;
use crate::store::{BlockRecord, Read, Store, StoreError, Tip, Write, beats};
use crate::time::Height;

mod audit;
mod query;
mod repair;
#[cfg(test)]
mod tests;
mod verify;

pub use audit::{Audit, AuditError};
pub use query::{MAX_HEADERS, MAX_LOCATOR, ancestors_of, headers_after, locator};
pub use repair::{RepairError, Repaired, repair};
pub use verify::{Verified, VerifyError, verify};

/// The best chain changed: these blocks left it, those joined it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TipChange {
    /// The tip before.
    pub old: Tip,
    /// The tip now.
    pub new: Tip,
    /// Blocks that left the best chain, the newest first.
    pub reverted: Vec<BlockId>,
    /// Blocks that joined it, the oldest first.
    pub connected: Vec<BlockId>,
}

/// A block breaks rule 13: it, and all that builds on it, is invalid for ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {height} ({id}) is invalid: transaction {index}: {error}")]
pub struct InvalidBlock {
    /// The block.
    pub id: BlockId,
    /// Its height.
    pub height: Height,
    /// Which of its transactions.
    pub index: usize,
    /// Which rule it breaks.
    pub error: TransactionError,
}

/// What came of offering blocks to the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How the best chain changed, if it did.
    pub change: Option<TipChange>,
    /// The first block that was found to be invalid, if any was.
    pub invalid: Option<InvalidBlock>,
}

/// Why blocks cannot be offered to the chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The first block's parent is not in the tree, or is invalid.
    #[error("the parent {parent} of the block is not known")]
    UnknownParent {
        /// The parent.
        parent: BlockId,
    },
    /// The store failed, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The rules of a network and a store of its blocks.
#[derive(Clone)]
pub struct Chain<S> {
    rules: Arc<Rules>,
    network: NetworkId,
    store: S,
}

impl<S: Store> Chain<S> {
    /// The chain in a store that was opened for these rules.
    pub fn new(rules: Arc<Rules>, store: S) -> Self {
        Self { network: rules.network_id(), rules, store }
    }

    /// The network's rules.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The network's id.
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The store, for reading.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The last block of the best chain.
    pub fn tip(&self) -> Result<Tip, StoreError> {
        self.store.read(|reader| reader.tip())
    }

    /// Adds blocks to the tree, each the parent of the next, and makes them the best chain if their tip is
    /// better than the present one. All of it is one atomic, durable write.
    ///
    /// Blocks of a branch that is not better are kept: the caller offers only those that are part of one
    /// whose headers promise more work. When one breaks a rule on the ledger, it is marked as invalid, and
    /// those before it still count.
    pub fn connect(&self, blocks: &[CheckedBlock]) -> Result<Outcome, ChainError> {
        let (mut rest, mut invalid, mut condemned) = (blocks, None, Vec::new());
        loop {
            match self.store.write(|writer| self.connect_valid(writer, rest, &condemned)) {
                Ok(change) => return Ok(Outcome { change, invalid }),
                Err(ConnectError::Chain(error)) => return Err(error),
                Err(ConnectError::Invalid { block, with_descendants, before }) => {
                    rest = &rest[..before];
                    invalid = Some(block);
                    condemned.extend(with_descendants);
                }
            }
        }
    }

    /// Watches addresses from now on, and records what the best chain already holds of them.
    pub fn watch(&self, addresses: &[Address]) -> Result<(), StoreError> {
        crate::store::watch(&self.store, &self.rules, addresses)
    }

    /// Watches addresses from now on that were made just now: no block can hold them, and none is searched.
    pub fn watch_fresh(&self, addresses: &[Address]) -> Result<(), StoreError> {
        crate::store::watch_fresh(&self.store, addresses)
    }

    fn connect_valid(
        &self,
        writer: &mut dyn Write,
        blocks: &[CheckedBlock],
        condemned: &[BlockId],
    ) -> Result<Option<TipChange>, ConnectError> {
        for id in condemned {
            writer.mark_invalid(id)?;
        }
        let given = self.add_to_tree(writer, blocks)?;
        let old = writer.tip()?;
        let last = given.last().zip(blocks.last());
        if !last.is_some_and(|(record, block)| beats(record.work, &block.id(), old.work, &old.id)) {
            return Ok(None);
        }
        let branch = branch_from_best(writer, &old, blocks, given)?;
        let watched = writer.watched()?;
        let mut reverted = Vec::new();
        loop {
            let tip = writer.tip()?;
            if tip.id == branch.fork {
                break;
            }
            let block = stored_block(writer, &tip.id)?;
            ledger::undo(&mut Ledger(writer), &block).map_err(damaged)?;
            crate::store::forget(writer, &block, &watched)?;
            writer.retract_best()?;
            reverted.push(tip.id);
        }
        let mut connected = Vec::with_capacity(branch.blocks.len());
        // The branch ends with the blocks given, or with the last of them.
        let stored = branch.blocks.len().saturating_sub(blocks.len());
        let on_best = blocks.len().saturating_sub(branch.blocks.len());
        for (place, record) in branch.blocks.iter().enumerate() {
            let given = place.checked_sub(stored).map(|place| on_best + place);
            let read;
            let block = match given {
                Some(position) => &blocks[position],
                None => {
                    read = stored_block(writer, &record.id())?;
                    &read
                }
            };
            let id = block.id();
            ledger::apply(&mut Ledger(writer), block).map_err(|error| match error {
                LedgerError::Transaction { index, error } => ConnectError::Invalid {
                    block: InvalidBlock { id, height: record.height(), index, error },
                    with_descendants: branch.blocks[place..].iter().map(BlockRecord::id).collect(),
                    before: given.unwrap_or(0),
                },
                other => damaged(other),
            })?;
            writer.extend_best(record)?;
            crate::store::record(writer, block, &watched)?;
            connected.push(id);
        }
        let new = writer.tip()?;
        Ok(Some(TipChange { old, new, reverted, connected }))
    }

    /// Puts the blocks into the tree, and says what they are there.
    fn add_to_tree(
        &self,
        writer: &mut dyn Write,
        blocks: &[CheckedBlock],
    ) -> Result<Vec<BlockRecord>, ConnectError> {
        let Some(first) = blocks.first() else { return Ok(Vec::new()) };
        let parent = first.header().header.previous;
        let unknown = || ConnectError::Chain(ChainError::UnknownParent { parent });
        if writer.is_invalid(&parent)? {
            return Err(unknown());
        }
        let (mut last, mut work) = (parent, writer.record(&parent)?.ok_or_else(unknown)?.work);
        let mut records = Vec::with_capacity(blocks.len());
        for block in blocks {
            let parent = block.header().header.previous;
            if parent != last {
                return Err(ConnectError::Chain(ChainError::UnknownParent { parent }));
            }
            work = work.plus(block.header().header.bits.to_target().work());
            writer.put_block(block, work)?;
            records.push(BlockRecord { header: block.header().clone(), work });
            last = block.id();
        }
        Ok(records)
    }
}

/// The end of one attempt to connect blocks.
enum ConnectError {
    Chain(ChainError),
    /// A block is invalid, and with it all that builds on it; of the blocks given, so many stand before it.
    Invalid {
        block: InvalidBlock,
        with_descendants: Vec<BlockId>,
        before: usize,
    },
}

impl From<StoreError> for ConnectError {
    fn from(error: StoreError) -> Self {
        Self::Chain(ChainError::Store(error))
    }
}

/// A branch off the best chain.
struct Branch {
    /// The last block that it shares with the best chain.
    fork: BlockId,
    /// The blocks after that, the oldest first.
    blocks: Vec<BlockRecord>,
}

/// The branch that the blocks given end, each the parent of the next, and those before them that are not
/// part of the best chain either.
fn branch_from_best(
    reader: &dyn Read,
    tip: &Tip,
    blocks: &[CheckedBlock],
    given: Vec<BlockRecord>,
) -> Result<Branch, StoreError> {
    let mut on_best = 0;
    // Nothing above the tip is part of the best chain: mostly, that is all of them.
    for (block, record) in blocks.iter().zip(&given).take_while(|(block, _)| block.height() <= tip.height) {
        if reader.best_at(record.height())? != Some(block.id()) {
            break;
        }
        on_best += 1;
    }
    let mut branch = Vec::new();
    let mut fork = given.get(on_best).map_or(tip.id, |record| record.header.header.previous);
    loop {
        let record = reader.record(&fork)?.ok_or_else(|| StoreError::missing(&fork))?;
        if reader.best_at(record.height())? == Some(fork) {
            break;
        }
        fork = record.header.header.previous;
        branch.push(record);
    }
    branch.reverse();
    branch.extend(given.into_iter().skip(on_best));
    Ok(Branch { fork, blocks: branch })
}

fn stored_block(reader: &dyn Read, id: &BlockId) -> Result<CheckedBlock, StoreError> {
    reader.checked_block(id)?.ok_or_else(|| StoreError::damaged(format!("the body of block {id} is missing")))
}

fn damaged(error: LedgerError<StoreError>) -> ConnectError {
    ConnectError::from(match error {
        LedgerError::Accounts(error) => error,
        other => StoreError::damaged(other.to_string()),
    })
}

/// The accounts of a writing transaction.
struct Ledger<'a>(&'a mut dyn Write);

impl Accounts for Ledger<'_> {
    type Error = StoreError;

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        self.0.account(address)
    }

    fn set_account(&mut self, address: &Address, account: Account) -> Result<(), StoreError> {
        self.0.put_account(address, account)
    }
}
