//! An LMDB environment: two files in a directory, seen through a map of fixed size that grows when it is
//! full, also when it was another process that filled it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use heed::{Env, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};

use super::super::StoreError;
use super::half_made;
use super::tables::{OLD_TABLE_COUNT, TABLE_COUNT};

/// LMDB's name for the file with the data; `lock.mdb` lies beside it.
const DATA_FILE: &str = "data.mdb";

/// How many transactions may read at once, in all processes together. Each takes 64 bytes of the lock
/// file; a node reads on a few threads, and a command on one.
const MAX_READERS: u32 = 512;

/// What begins transactions, and lets the map change only between them.
pub(super) struct Environment {
    env: Env<WithoutTls>,
    directory: PathBuf,
    /// Every transaction holds this for reading as long as it lives; who resizes the map, for writing.
    map: RwLock<Map>,
}

/// Whether the files are mapped.
pub(super) enum Map {
    Usable,
    /// A new size was refused after the old map was given up: nothing may be touched any more.
    Lost,
}

/// Keeps the map as it is. Bind it before the transaction, so that it is dropped after it.
type MapGuard<'e> = RwLockReadGuard<'e, Map>;

/// Whether the directory holds a database of any kind.
pub(super) fn exists(directory: &Path) -> bool {
    directory.join(DATA_FILE).exists()
}

/// Creates a directory that only its owner can look into, and those above it.
pub(super) fn create_directory(directory: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|source| unusable(directory, source))
}

/// The one path that all names of this directory lead to.
pub(super) fn canonical(directory: &Path) -> Result<PathBuf, StoreError> {
    directory.canonicalize().map_err(|source| unusable(directory, source))
}

fn unusable(directory: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: directory.display().to_string(), source }
}

impl Environment {
    /// Opens the database in a directory, given by its canonical path; creates an empty one where there
    /// is none. Readers that were killed are cleared away: they would keep old pages from being reused.
    pub(super) fn open(directory: &Path, map_bytes: usize) -> Result<Self, StoreError> {
        half_made::clear(&directory.join(DATA_FILE)).map_err(|source| unusable(directory, source))?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        let tables = TABLE_COUNT + OLD_TABLE_COUNT;
        options.map_size(map_bytes).max_readers(MAX_READERS).max_dbs(tables as u32);
        let env = loop {
            // SAFETY: the map is sound as long as nobody but LMDB changes the files under it: the directory
            // is the store's own, its file system is local, and locking and syncing are left switched on.
            match unsafe { options.open(directory) } {
                // The last handle of a moment ago is being dropped by another thread.
                Err(heed::Error::EnvAlreadyOpened) => {
                    if let Some(closing) = heed::env_closing_event(directory) {
                        closing.wait();
                    }
                }
                Err(heed::Error::Mdb(MdbError::Invalid | MdbError::VersionMismatch)) => {
                    return Err(StoreError::Foreign { path: directory.display().to_string() });
                }
                Err(heed::Error::Io(source)) => return Err(unusable(directory, source)),
                Err(error) => return Err(error.into()),
                Ok(env) => break env,
            }
        };
        env.clear_stale_readers()?;
        let environment = Self { env, directory: directory.to_owned(), map: RwLock::new(Map::Usable) };
        environment.fill_up()?;
        Ok(environment)
    }

    /// Gives a file that was cut short its length back. The missing pages are zeros then, which LMDB reports as
    /// damage where it needs them; touching a page beyond the end of the file would kill the process. A whole
    /// file may lack its last pages too, if nothing is in them.
    fn fill_up(&self) -> Result<(), StoreError> {
        if self.size_on_disk()? >= self.size_in_use() {
            return Ok(());
        }
        // While this process holds the lock for writing nobody else lengthens the file.
        let (_map, txn) = self.begin_write()?;
        let (size, needed) = (self.size_on_disk()?, self.size_in_use());
        if size < needed {
            let file = fs::OpenOptions::new().write(true).open(self.directory.join(DATA_FILE));
            let filled = file.and_then(|file| file.set_len(needed));
            filled.map_err(|source| unusable(&self.directory, source))?;
        }
        drop(txn);
        Ok(())
    }

    /// How long the file has to be to hold every page that the last commit knows of.
    fn size_in_use(&self) -> u64 {
        let page_bytes = self.env.unnamed_database_stat().page_size;
        (self.env.info().last_page_number as u64 + 1) * u64::from(page_bytes)
    }

    pub(super) fn env(&self) -> &Env<WithoutTls> {
        &self.env
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn begin_read(&self) -> Result<(MapGuard<'_>, RoTxn<'_, WithoutTls>), StoreError> {
        self.begin(Env::read_txn)
    }

    /// Waits until no other transaction writes, in this process or another.
    pub(super) fn begin_write(&self) -> Result<(MapGuard<'_>, RwTxn<'_>), StoreError> {
        self.begin(Env::write_txn)
    }

    fn begin<'e, Txn>(
        &'e self,
        begin: impl Fn(&'e Env<WithoutTls>) -> heed::Result<Txn>,
    ) -> Result<(MapGuard<'e>, Txn), StoreError> {
        loop {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            if matches!(*map, Map::Lost) {
                return Err(StoreError::Database("its map was lost when it could not grow".into()));
            }
            match begin(&self.env) {
                Ok(txn) => return Ok((map, txn)),
                Err(heed::Error::Mdb(MdbError::MapResized)) => {
                    drop(map);
                    self.follow_growth()?;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// The size of the map.
    pub(super) fn map_bytes(&self) -> usize {
        self.env.info().map_size
    }

    /// Doubles a map that was found full at this size, unless another thread has done so since.
    pub(super) fn grow(&self, full_bytes: usize) -> Result<(), StoreError> {
        self.resize(|now| (now == full_bytes).then(|| now.saturating_mul(2)))
    }

    /// Makes the map as large as another process has made it.
    fn follow_growth(&self) -> Result<(), StoreError> {
        // LMDB takes 0 for the size that is written in the file.
        self.resize(|_| Some(0))
    }

    /// Waits until no transaction of this process is live, then gives the map the size that `wanted` makes
    /// of the present one.
    fn resize(&self, wanted: impl FnOnce(usize) -> Option<usize>) -> Result<(), StoreError> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let Some(bytes) = wanted(self.map_bytes()) else { return Ok(()) };
        if matches!(*map, Map::Lost) {
            return Ok(());
        }
        // SAFETY: every transaction of this process holds `map` for reading, so none is live.
        let resized = unsafe { self.env.resize(bytes) };
        resized.map_err(|error| {
            *map = Map::Lost;
            self.failed(error)
        })
    }

    pub(super) fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.env.real_disk_size().map_err(|error| self.failed(error))
    }

    /// The sentence for an error of the environment as a whole, with the directory in it where the system
    /// is to blame (a full disk, a limit).
    pub(super) fn failed(&self, error: heed::Error) -> StoreError {
        match error {
            heed::Error::Io(source) => unusable(&self.directory, source),
            error => error.into(),
        }
    }
}
