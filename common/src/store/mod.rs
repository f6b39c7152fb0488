//! Where the chain lies: blocks, the best chain by height, accounts, the transaction index, and the
//! activity of the addresses that a wallet watches.
//!
//! One small interface with two implementations: [`lmdb`], which programs use, and [`memory`], its twin
//! for tests and simulations. Everything is read and written inside a transaction of the store: a reader
//! sees one committed state for as long as it looks, a writer's changes become visible and durable all at
//! once or not at all. Nothing is cached outside a transaction, so that several processes may work on one
//! store.
//!
//! Costs, on a chain of any length: every operation is a few look-ups in B-trees, and by the id of a block or a
//! transaction one in an index that grows very slowly dearer with the chain; opening looks at the structure of the
//! pages that are in use, which takes up to 40 ms for each 100 MiB. A store of an older format is converted when it is first opened.

use std::borrow::Cow;
use std::path::Path;

use crate::address::Address;
use crate::block::{Body, EncodedBody, SealedHeader};
use crate::consensus::CheckedBlock;
use crate::difficulty::Work;
use crate::encoding::{DecodeError, decode};
use crate::files::FilesError;
use crate::hash::{BlockId, NetworkId, TransactionId};
use crate::ledger::Account;
use crate::rules::Rules;
use crate::time::{Height, Timestamp};

mod activity;
pub mod lmdb;
pub mod memory;
#[cfg(test)]
mod tests;

pub use activity::{Activity, Direction};
pub(crate) use activity::{allocated, entries, forget, record, watch, watch_fresh};
pub use lmdb::LmdbStore;
pub use memory::MemoryStore;

/// Why a store does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or its files cannot be used.
    #[error("cannot {action} {path}: {}", crate::files::reason(path.as_ref(), source))]
    Io {
        /// What was tried: a verb, and what of.
        action: &'static str,
        /// Which file or directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk cannot read what it was given to keep.
    #[error("cannot read the chain in {path}: {source}")]
    Unreadable {
        /// Where it lies.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database itself failed.
    #[error("the database failed: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Written by a version of the program that knows more.
    #[error("the store in {path} has format {got}; this version knows up to {known}: use a newer version")]
    Newer {
        /// Where the store is.
        path: String,
        /// Its format.
        got: u32,
        /// The newest format known here.
        known: u32,
    },
    /// A database of another program.
    #[error("{path} holds a database that is no farthing store: choose another data directory")]
    Foreign {
        /// Where it is.
        path: String,
    },
    /// A farthing store of another network.
    #[error("the store in {path} belongs to network {got}, not {expected}")]
    OtherNetwork {
        /// Where it is.
        path: String,
        /// Whose blocks it holds.
        got: NetworkId,
        /// Whose blocks were expected.
        expected: NetworkId,
    },
    /// The file system does not keep what LMDB needs.
    #[error(
        "{path} is on a network file system ({kind}), where a store could be damaged: choose a data directory on a local disk"
    )]
    NetworkFileSystem {
        /// Where it is.
        path: String,
        /// Which kind.
        kind: &'static str,
    },
    /// Its file has no name any more, so that whatever is written to it is lost.
    #[error("the store in {path} was removed or replaced while it was in use")]
    Gone {
        /// Where it was.
        path: String,
    },
    /// What was read is not what was written.
    #[error("the store is damaged: {what}")]
    Damaged {
        /// Which part.
        what: String,
    },
}

/// The numbers on Unix for too many files that the system, or one program, has open: ENFILE and EMFILE.
const TOO_MANY_FILES: [i32; 2] = [23, 24];

impl StoreError {
    /// Whether the disk failed, and not what is on it.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => crate::files::is_of_disk(source),
            Self::Unreadable { .. } | Self::Gone { .. } => true,
            _ => false,
        }
    }

    /// A [`StoreError::Unreadable`] of the store in this directory, unless it is only not allowed, is gone, or this
    /// program may not open as much or have as much memory.
    pub(crate) fn unreadable(directory: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{NotFound, OutOfMemory, PermissionDenied};
        let path = directory.display().to_string();
        let not_its_fault = [PermissionDenied, NotFound, OutOfMemory].contains(&source.kind())
            || cfg!(unix) && source.raw_os_error().is_some_and(|error| TOO_MANY_FILES.contains(&error));
        match not_its_fault {
            true => Self::Io { action: "read the chain in", path, source },
            false => Self::Unreadable { path, source },
        }
    }

    /// The store in this directory cannot be read any more where it is mapped into memory. Nobody can return it: the
    /// system ends the program ([`crate::process::meet_disk_signals`]).
    pub fn failed_under_the_map(directory: &Path) -> Self {
        let why = "the disk failed, or the file was cut short while it was in use";
        Self::Unreadable { path: directory.display().to_string(), source: std::io::Error::other(why) }
    }

    /// A [`StoreError::Damaged`] with this description.
    pub fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    /// A block is not in the tree although another that is names it.
    pub(crate) fn missing(id: &BlockId) -> Self {
        Self::damaged(format!("block {id} is missing from the tree"))
    }

    /// A block was to become the tip that is not in the tree, or is no child of the tip.
    fn cannot_follow(id: &BlockId, tip: &BlockId) -> Self {
        Self::damaged(format!("block {id} cannot follow the tip {tip}"))
    }

    /// The tip was to be taken away although there is nothing below it.
    fn has_no_parent(tip: &BlockId) -> Self {
        Self::damaged(format!("the tip {tip} has no parent in the best chain"))
    }
}

impl From<FilesError> for StoreError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Io { action, path, source } => {
                Self::Io { action, path: path.display().to_string(), source }
            }
            error => Self::Database(Box::new(error)),
        }
    }
}

impl From<DecodeError> for StoreError {
    fn from(error: DecodeError) -> Self {
        Self::damaged(format!("a record does not decode: {error}"))
    }
}

/// A block of the tree, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// Its header and seal.
    pub header: SealedHeader,
    /// The work of it and all its ancestors, genesis excluded.
    pub work: Work,
}

impl BlockRecord {
    /// Genesis, where every chain of these rules begins.
    pub fn genesis(rules: &Rules) -> Self {
        Self { header: rules.genesis(), work: Work::ZERO }
    }

    /// The header's id.
    pub fn id(&self) -> BlockId {
        self.header.id()
    }

    /// The header's height.
    pub fn height(&self) -> Height {
        self.header.header.height
    }
}

/// The last block of the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its id.
    pub id: BlockId,
    /// Its height.
    pub height: Height,
    /// The work of the whole chain.
    pub work: Work,
    /// Its time.
    pub time: Timestamp,
}

impl Tip {
    /// Fork choice: more work, or equal work and the numerically smaller id (`PROTOCOL.md`, section 6).
    pub fn is_better_than(&self, other: &Self) -> bool {
        beats(self.work, &self.id, other.work, &other.id)
    }
}

/// Whether a chain of this work and tip is preferred to another.
pub fn beats(work: Work, id: &BlockId, other_work: Work, other_id: &BlockId) -> bool {
    (work, std::cmp::Reverse(id)) > (other_work, std::cmp::Reverse(other_id))
}

impl From<&BlockRecord> for Tip {
    fn from(record: &BlockRecord) -> Self {
        let header = &record.header.header;
        Self { id: record.id(), height: header.height, work: record.work, time: header.time }
    }
}

/// Where a transaction stands in the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionPlace {
    /// Its block.
    pub block: BlockId,
    /// That block's height.
    pub height: Height,
    /// Its position among the block's transactions, from 0.
    pub index: u32,
}

/// How much a store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Blocks of the tree, genesis included, on the best chain or not.
    pub blocks: u64,
    /// Their transactions.
    pub transactions: u64,
    /// Entries in the activity of watched addresses.
    pub activity: u64,
}

/// What a transaction of the store, reading or writing, can be asked.
pub trait Read {
    /// The last block of the best chain; genesis at first.
    fn tip(&self) -> Result<Tip, StoreError>;

    /// A block of the tree, genesis included, on the best chain or not.
    fn record(&self, id: &BlockId) -> Result<Option<BlockRecord>, StoreError>;

    /// The encoded body of a block of the tree, its checksum verified; `None` for genesis.
    fn encoded_body(&self, id: &BlockId) -> Result<Option<Cow<'_, [u8]>>, StoreError>;

    /// The block of this height in the best chain.
    fn best_at(&self, height: Height) -> Result<Option<BlockId>, StoreError>;

    /// The block of this height in the best chain, with what else is known of it.
    fn best_record_at(&self, height: Height) -> Result<Option<BlockRecord>, StoreError> {
        let Some(id) = self.best_at(height)? else { return Ok(None) };
        self.record(&id)?.map(Some).ok_or_else(|| StoreError::missing(&id))
    }

    /// What an address holds at the tip.
    fn account(&self, address: &Address) -> Result<Account, StoreError>;

    /// Where a transaction stands in the best chain, if it does.
    fn find_transaction(&self, id: &TransactionId) -> Result<Option<TransactionPlace>, StoreError>;

    /// Whether a block was found to break a rule although its body was its own.
    fn is_invalid(&self, id: &BlockId) -> Result<bool, StoreError>;

    /// The addresses whose activity is kept.
    fn watched(&self) -> Result<Vec<Address>, StoreError>;

    /// The activity of a watched address: the newest first, at most `limit` entries.
    fn activity(&self, address: &Address, limit: usize) -> Result<Vec<Activity>, StoreError>;

    /// All activity of a watched address, the oldest first, for audits: `visit` is called once each.
    fn for_each_activity(
        &self,
        address: &Address,
        visit: &mut dyn FnMut(Activity),
    ) -> Result<(), StoreError> {
        self.activity(address, usize::MAX)?.into_iter().rev().for_each(visit);
        Ok(())
    }

    /// Every account, addresses ascending, for audits and tests: `visit` is called once each.
    fn for_each_account(&self, visit: &mut dyn FnMut(Address, Account)) -> Result<(), StoreError>;

    /// Checks what is kept besides the ledger and the best chain: every block of the tree with its body, and every
    /// index. Gives what there is, or a sentence about each damage, and may take seconds. A store in memory has
    /// nothing that could be damaged.
    fn check_tables(&self) -> Result<TableCounts, Vec<String>> {
        Ok(TableCounts::default())
    }

    /// The decoded body of a block of the tree; `None` for genesis.
    fn body(&self, id: &BlockId) -> Result<Option<Body>, StoreError> {
        Ok(self.encoded_body(id)?.map(|bytes| decode(&bytes)).transpose()?)
    }

    /// A block of the tree with its body, as it was checked before it was stored; `None` for genesis.
    fn checked_block(&self, id: &BlockId) -> Result<Option<CheckedBlock>, StoreError> {
        let (Some(record), Some(body)) = (self.record(id)?, self.encoded_body(id)?) else { return Ok(None) };
        Ok(Some(CheckedBlock::from_store(record.header, EncodedBody::decode(body.into_owned())?)))
    }

    /// Whether a block is part of the best chain.
    fn is_best(&self, record: &BlockRecord) -> Result<bool, StoreError> {
        Ok(self.best_at(record.height())? == Some(record.id()))
    }
}

/// What a writing transaction of the store can be asked besides. It sees its own changes.
pub trait Write: Read {
    /// Adds a block to the tree, with its body and the index entries of its transactions. The best chain
    /// stays as it is. Adding a block again changes nothing.
    fn put_block(&mut self, block: &CheckedBlock, work: Work) -> Result<(), StoreError>;

    /// Makes a child of the tip, which is in the tree, the new tip.
    fn extend_best(&mut self, record: &BlockRecord) -> Result<(), StoreError>;

    /// Makes the parent of the tip the new tip.
    fn retract_best(&mut self) -> Result<(), StoreError>;

    /// Replaces an account; the default account is not kept.
    fn put_account(&mut self, address: &Address, account: Account) -> Result<(), StoreError>;

    /// Remembers that a block is invalid for ever.
    fn mark_invalid(&mut self, id: &BlockId) -> Result<(), StoreError>;

    /// Keeps the activity of an address from now on.
    fn watch(&mut self, address: &Address) -> Result<(), StoreError>;

    /// Adds an entry to the activity of an address.
    fn put_activity(&mut self, address: &Address, entry: &Activity) -> Result<(), StoreError>;

    /// Removes the entries of one height from the activity of an address.
    fn remove_activity(&mut self, address: &Address, height: Height) -> Result<(), StoreError>;
}

/// A store that several threads, and several processes, may use at once.
pub trait Store: Clone + Send + Sync + 'static {
    /// Looks at one committed state. The closure should be short and must not wait for anything: an LMDB
    /// reader that lingers keeps old pages from being reused.
    fn read<T, E: From<StoreError>>(&self, look: impl FnOnce(&dyn Read) -> Result<T, E>) -> Result<T, E>;

    /// Changes the store: all of it durably when the closure succeeds, nothing when it fails. The closure
    /// may be run again from the start (a map that is full is grown first), so it must depend on nothing
    /// that an earlier run of it changed.
    fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnMut(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E>;
}
