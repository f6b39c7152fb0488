//! The store that programs use: LMDB, a memory-mapped B-tree with one writer and any number of readers,
//! in any number of processes.
//!
//! - `environment` opens the files, and grows the map that LMDB sees them through; `half_made` clears away what a
//!   power cut left of a new one, `lock_file` makes room for LMDB's locks;
//! - `tables` says which tables there are and what their keys and values look like, `values` packs the latter;
//! - `index` finds blocks and transactions by their ids, `convert` takes over stores of older
//!   formats;
//! - `transaction` answers [`Read`] and [`Write`] from them.
//!
//! - `data_file` reads a file without LMDB, `pages` checks its structure before LMDB follows it, `check` whether the tables agree; `salvage` finds
//!   blocks in a file that is damaged, `swap` puts a rebuilt one into its place.
//!
//! LMDB's pages have no checksums. What they hold proves itself: headers, bodies, accounts, the best chain and the
//! history have a checksum each, which is verified whenever one is read, so that a damaged block is never served or
//! applied, and no honest block is taken for invalid because of a damaged account; a header's id and a body's
//! Merkle root, which `verify` computes again, leave nothing to chance. The structure is checked whenever a store is
//! opened; where a command only wants to look something up, that of the bodies, which are most of a store, is checked
//! when the first of them is read or something is first written. What the index of blocks does not find is believed
//! to be missing only if the entries beside it are what was put.
//! That indexes, accounts and history are what the blocks come to is checked by replaying these
//! ([`crate::chain::verify`]). A page that the disk cannot read while the map is in use ends the program, with a
//! sentence ([`crate::process::meet_disk_signals`]).
//!
//! A write is durable when [`Store::write`] returns. A process that is killed at any moment leaves the
//! state of the last write behind, and no lock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use heed::{MdbError, RwTxn};

use super::{Read, Store, StoreError, Write};
use crate::files;
use crate::hash::NetworkId;
use crate::rules::Rules;

mod check;
mod convert;
mod data_file;
mod environment;
mod file_system;
mod half_made;
mod index;
mod lock_file;
mod pages;
mod salvage;
mod swap;
mod tables;
#[cfg(test)]
mod tests;
mod transaction;
mod values;

#[cfg(all(test, unix))]
pub(crate) use data_file::failing::while_unreadable;
pub use salvage::Salvage;
pub use swap::{Swap, SwapError};

use data_file::DataFile;
use environment::{CheckPages, Environment};
use tables::{Found, Tables};
use transaction::Transaction;

/// How much of the address space a store takes at first, in bytes; it doubles whenever it is full. On disk
/// a store takes no more than what it holds. 1 GiB holds a network's first months without growing, and can
/// be had on any machine of 64 bits, also under a limit on address space.
const FIRST_MAP_BYTES: usize = 1 << 30;

/// A store in a directory of its own. Clones share it, and so does whoever opens the directory again, in
/// this process or another.
///
/// Transactions do not nest: inside the closure of [`Store::read`] or [`Store::write`], neither may be
/// called again on the same store.
#[derive(Clone)]
pub struct LmdbStore(Arc<Shared>);

struct Shared {
    tables: Tables,
    network: NetworkId,
    environment: Environment,
}

/// A store is to be made where there is none.
struct Create;

/// The stores that are open in this process, by directory: LMDB forbids a process to open one twice.
static OPEN: Mutex<BTreeMap<PathBuf, Weak<Shared>>> = Mutex::new(BTreeMap::new());

impl LmdbStore {
    /// Opens the store in this directory; creates it, and the directory, where there is none.
    ///
    /// Fails when the directory cannot be used ([`StoreError::Io`]), is on a network file system, or holds
    /// a database that is foreign, newer, or another network's.
    pub fn open(directory: &Path, rules: &Rules) -> Result<Self, StoreError> {
        Self::open_with_map_size(directory, rules, FIRST_MAP_BYTES)
    }

    /// Opens the store in this directory; `None` where there is none, and then none is made, though a file that a power
    /// cut left half made is made empty. Fails like [`LmdbStore::open`]. The pages of the blocks' bodies, which most
    /// commands do without, are checked when the first body is read or something is first written, not before.
    pub fn open_existing(directory: &Path, rules: &Rules) -> Result<Option<Self>, StoreError> {
        if !environment::exists(directory)? {
            return Ok(None);
        }
        Self::open_or_find_none(directory, rules, FIRST_MAP_BYTES, None, CheckPages::AllButBodies)
    }

    /// Whether the directory holds a database of any kind. Fails where that cannot be looked at.
    pub fn exists(directory: &Path) -> Result<bool, StoreError> {
        environment::exists(directory)
    }

    /// The pages that the disk cannot read, of a store that nobody needs to open: all of its file is read, with calls,
    /// and so nothing happens to who asks. None where there is no store.
    pub fn unreadable_pages(directory: &Path) -> Result<Vec<Range<u64>>, StoreError> {
        if !environment::exists(directory)? {
            return Ok(Vec::new());
        }
        let pages = DataFile::open(directory).and_then(|mut file| file.unreadable_pages());
        pages.map_err(|source| StoreError::unreadable(directory, source))
    }

    /// [`LmdbStore::open_existing`], with all pages checked: seconds if the store is large.
    pub fn open_checked(directory: &Path, rules: &Rules) -> Result<Option<Self>, StoreError> {
        if !environment::exists(directory)? {
            return Ok(None);
        }
        Self::open_or_find_none(directory, rules, FIRST_MAP_BYTES, None, CheckPages::All)
    }

    /// [`LmdbStore::open`] with a map that is at first no larger than this, a multiple of the page size.
    pub(crate) fn open_with_map_size(
        directory: &Path,
        rules: &Rules,
        map_bytes: usize,
    ) -> Result<Self, StoreError> {
        files::create_directory(directory)?;
        let store = Self::open_or_find_none(directory, rules, map_bytes, Some(Create), CheckPages::All)?;
        store.ok_or_else(|| StoreError::damaged("the tables that were just created are missing"))
    }

    /// The bytes that the store takes on disk.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.0.environment.size_on_disk()
    }

    fn open_or_find_none(
        directory: &Path,
        rules: &Rules,
        map_bytes: usize,
        create: Option<Create>,
        check: CheckPages,
    ) -> Result<Option<Self>, StoreError> {
        file_system::is_local(directory)?;
        let directory = environment::canonical(directory)?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, store| store.strong_count() > 0);
        if let Some(shared) = open.get(&directory).and_then(Weak::upgrade) {
            tables::same_network(&directory, shared.network, rules.network_id())?;
            // Whoever opened it first may have looked at less of it.
            if check == CheckPages::All {
                shared.environment.check_pages(check)?;
            }
            return Ok(Some(Self(shared)));
        }
        let environment = Environment::open(&directory, map_bytes, check)?;
        let tables = loop {
            match Tables::open(&environment, rules)? {
                Found::Store(tables) if create.is_some() => {
                    tables.write_format_again(&environment)?;
                    break tables;
                }
                Found::Store(tables) => break tables,
                Found::Older => convert::to_present_format(&environment)?,
                Found::Nothing if create.is_some() => Tables::create(&environment, rules)?,
                Found::Nothing => return Ok(None),
            }
        };
        let shared = Arc::new(Shared { tables, network: rules.network_id(), environment });
        open.insert(directory, Arc::downgrade(&shared));
        Ok(Some(Self(shared)))
    }
}

impl Store for LmdbStore {
    fn read<T, E: From<StoreError>>(&self, look: impl FnOnce(&dyn Read) -> Result<T, E>) -> Result<T, E> {
        let (_map, txn) = self.0.environment.begin_read()?;
        look(&Transaction::new(&self.0.environment, &self.0.tables, &txn))
    }

    fn write<T, E: From<StoreError>>(
        &self,
        mut change: impl FnMut(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        let environment = &self.0.environment;
        loop {
            let full_bytes = {
                let (_map, txn) = environment.begin_write()?;
                match self.0.attempt(txn, &mut change) {
                    Attempt::Done(result) => return result,
                    Attempt::MapFull => environment.map_bytes(),
                }
            };
            environment.grow(full_bytes)?;
        }
    }
}

/// What came of running the closure of a write once.
enum Attempt<T, E> {
    /// It is committed, or it failed and nothing is changed.
    Done(Result<T, E>),
    /// Nothing is changed: there was no room in the map.
    MapFull,
}

impl Shared {
    fn attempt<T, E: From<StoreError>>(
        &self,
        txn: RwTxn<'_>,
        change: &mut impl FnMut(&mut dyn Write) -> Result<T, E>,
    ) -> Attempt<T, E> {
        let mut writer = Transaction::new(&self.environment, &self.tables, txn);
        let result = change(&mut writer).and_then(|value| {
            writer.write_back()?;
            Ok(value)
        });
        // The closure may have wrapped the error, or passed over it: the transaction knows.
        if writer.found_map_full() {
            return Attempt::MapFull;
        }
        let value = match result {
            Ok(value) => value,
            Err(error) => return Attempt::Done(Err(error)),
        };
        match writer.into_inner().commit() {
            Ok(()) => Attempt::Done(Ok(value)),
            Err(heed::Error::Mdb(MdbError::MapFull)) => Attempt::MapFull,
            Err(error) => Attempt::Done(Err(self.environment.write_failed(error).into())),
        }
    }
}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> Self {
        match error {
            heed::Error::Mdb(
                MdbError::Corrupted | MdbError::PageNotFound | MdbError::CursorFull | MdbError::PageFull,
            ) => Self::damaged(error.to_string()),
            error => Self::Database(Box::new(error)),
        }
    }
}
