//! An LMDB environment: two files in a directory, seen through a map of fixed size that grows when it is
//! full, also when it was another process that filled it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use heed::{Env, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};

use super::super::StoreError;
use super::data_file::DataFile;
use super::half_made;
use super::lock_file;
use super::pages::{self, Meta, PageError};
use super::swap;
use super::tables::{BODIES, OLD_TABLE_COUNT, TABLE_COUNT};
use crate::files::{self, Space};
use crate::process;

/// LMDB's name for the file with the data; `lock.mdb` lies beside it.
pub(super) const DATA_FILE: &str = "data.mdb";

/// How many transactions may read at once, in all processes together. Each takes 64 bytes of the lock
/// file; a node reads on a few threads, and a command on one.
const MAX_READERS: u32 = 512;

/// What begins transactions, and lets the map change only between them.
pub(super) struct Environment {
    env: Env<WithoutTls>,
    directory: PathBuf,
    /// Every transaction holds this for reading as long as it lives; who resizes the map, for writing.
    map: RwLock<Map>,
    /// Whether all pages were checked, by this process, since it opened them.
    checked: AtomicBool,
    /// What the system said when a write first failed. What it was told to make safe then may be lost although it says
    /// the next time it is asked that all is well, so nothing more is written.
    write_error: OnceLock<i32>,
    /// Held from before a write begins until it is known what came of it.
    turn: Mutex<()>,
    /// Which file it is, whatever its name.
    file: FileNumber,
}

/// What tells the file with the data from all others on this machine; elsewhere than on Unix all are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileNumber {
    device: u64,
    inode: u64,
}

impl FileNumber {
    fn of(directory: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(directory.join(DATA_FILE))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Ok(Self { device: metadata.dev(), inode: metadata.ino() })
        }
        #[cfg(not(unix))]
        {
            let _ = metadata;
            Ok(Self { device: 0, inode: 0 })
        }
    }
}

/// Whether the files are mapped.
pub(super) enum Map {
    Usable,
    /// A new size was refused after the old map was given up: nothing may be touched any more.
    Lost,
}

/// Keeps the map as it is. Bind it before the transaction, so that it is dropped after it.
type MapGuard<'e> = RwLockReadGuard<'e, Map>;

/// The same for a write, of which there is one at a time. Bind it before the transaction, too.
pub(super) struct WriteGuard<'e> {
    _map: MapGuard<'e>,
    _turn: MutexGuard<'e, ()>,
}

/// Whether the directory holds a database of any kind. A file in which nothing is yet is none; where the system does
/// not let anybody look, nothing can be said. What is no file is refused: to open a pipe may take for ever.
pub(super) fn exists(directory: &Path) -> Result<bool, StoreError> {
    let path = directory.join(DATA_FILE);
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            Err(failed("open", &path, io::Error::other("it is not a file")))
        }
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed("look for the chain in", directory, source)),
    }
}

/// The one path that all names of this directory lead to.
pub(super) fn canonical(directory: &Path) -> Result<PathBuf, StoreError> {
    directory.canonicalize().map_err(|source| failed("open the chain in", directory, source))
}

/// What LMDB says when a disk that is full took a part of what was to be written.
const SHORT_WRITE: i32 = INPUT_OUTPUT_ERROR;
/// The number of an input or output error on Unix.
const INPUT_OUTPUT_ERROR: i32 = 5;
/// With no more room than this a disk is full: some file systems keep the last blocks to themselves.
const FULL_BYTES: u64 = 64 << 10;

pub(super) fn failed(action: &'static str, directory: &Path, source: io::Error) -> StoreError {
    let full = || Space::of(directory).is_some_and(|space| space.free < FULL_BYTES);
    let source = match source.raw_os_error() {
        Some(SHORT_WRITE) if full() => io::ErrorKind::StorageFull.into(),
        _ => source,
    };
    StoreError::Io { action, path: directory.display().to_string(), source }
}

/// Which pages are checked when a store is opened. The others are checked before the first of them is read, and before
/// something is first written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckPages {
    All,
    /// All that is in use, but for the bodies of blocks.
    AllButBodies,
}

/// How often to look again for a state that other processes replace meanwhile.
const LOOKS: usize = 100;

impl Environment {
    /// Opens the database in a directory, given by its canonical path; creates an empty one where there
    /// is none. Readers that were killed are cleared away: they would keep old pages from being reused.
    ///
    /// What LMDB would stumble over is found before it does ([`pages`]).
    pub(super) fn open(directory: &Path, map_bytes: usize, check: CheckPages) -> Result<Self, StoreError> {
        let turn = swap::turn(directory)?;
        if exists(directory)? {
            half_made::clear(directory)?;
        }
        let new = !exists(directory)?;
        if !new {
            metas(&mut open_data(directory)?, directory)?;
        }
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        let tables = TABLE_COUNT + OLD_TABLE_COUNT;
        options.map_size(map_bytes).max_readers(MAX_READERS).max_dbs(tables as u32);
        process::is_mapped(directory);
        let env = loop {
            // The last handle of a moment ago is being dropped by another thread.
            if let Some(closing) = heed::env_closing_event(directory) {
                closing.wait();
                continue;
            }
            lock_file::make_room(directory, MAX_READERS)?;
            // SAFETY: the map is sound as long as nobody but LMDB changes the files under it: the directory
            // is the store's own, its file system is local, and locking and syncing are left switched on.
            match unsafe { options.open(directory) } {
                Err(heed::Error::Mdb(MdbError::Invalid | MdbError::VersionMismatch)) => {
                    return Err(StoreError::Foreign { path: directory.display().to_string() });
                }
                Err(heed::Error::Io(source)) => return Err(failed("open the chain in", directory, source)),
                Err(error) => return Err(error.into()),
                Ok(env) => break env,
            }
        };
        let file = FileNumber::of(directory).map_err(|source| StoreError::unreadable(directory, source))?;
        // From here on LMDB's own lock says that it is in use.
        drop(turn);
        if new {
            // LMDB flushes what it writes into the file, but not the file's name.
            files::flush_directory_of(&directory.join(DATA_FILE))?;
        }
        env.clear_stale_readers()?;
        let environment = Self {
            env,
            directory: directory.to_owned(),
            map: RwLock::new(Map::Usable),
            checked: AtomicBool::new(false),
            write_error: OnceLock::new(),
            turn: Mutex::new(()),
            file,
        };
        environment.check_pages(check)?;
        environment.fill_up()?;
        Ok(environment)
    }

    /// Checks the pages of the last commit, without keeping others from going on.
    pub(super) fn check_pages(&self, check: CheckPages) -> Result<(), StoreError> {
        self.check_state(check, || self.begin_read())
    }

    /// Checks what was not checked when the store was opened, once. For who has a transaction.
    pub(super) fn check_the_rest(&self) -> Result<(), StoreError> {
        if self.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        // The map stays as it is for as long as the other transaction lives.
        self.check_state(CheckPages::All, || {
            Ok(((), self.env.read_txn().map_err(|error| self.failed(error))?))
        })
    }

    fn check_state<'e, Guard>(
        &'e self,
        check: CheckPages,
        begin: impl Fn() -> Result<(Guard, RoTxn<'e, WithoutTls>), StoreError>,
    ) -> Result<(), StoreError> {
        let mut file = open_data(&self.directory)?;
        for _ in 0..LOOKS {
            // As long as this transaction lives nobody overwrites the pages that it sees.
            let (_guard, txn) = begin()?;
            let metas = metas(&mut file, &self.directory)?;
            let Some(meta) = metas.iter().find(|meta| meta.transaction == txn.id() as u64) else {
                // Others have committed twice since it began.
                continue;
            };
            let bytes = file.len().map_err(|source| StoreError::unreadable(&self.directory, source))?;
            let checked = match check {
                CheckPages::All => pages::check(&mut file, bytes, meta).map(|_| ()),
                CheckPages::AllButBodies => pages::check_all_tables_but(&mut file, bytes, meta, BODIES),
            };
            checked.map_err(|error| page_error(&self.directory, error))?;
            self.checked.fetch_or(check == CheckPages::All, Ordering::Relaxed);
            return Ok(());
        }
        Err(StoreError::Database("its state changes too fast to be looked at".into()))
    }

    /// Gives a file that was cut short its length back, when the pages that are gone were free: LMDB may want to
    /// use them, and touching one beyond the end of the file would kill the process.
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
            filled.map_err(|source| failed("write the chain in", &self.directory, source))?;
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
        self.begin(Env::read_txn, || {
            // The write that failed may not have been taken note of yet.
            drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            self.refused()
        })
    }

    /// Waits until no other transaction writes, in this process or another. A store whose pages are not sound is not
    /// written to.
    pub(super) fn begin_write(&self) -> Result<(WriteGuard<'_>, RwTxn<'_>), StoreError> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.write_error.get().is_some() {
            return Err(self.refused());
        }
        if !self.checked.load(Ordering::Relaxed) {
            self.check_pages(CheckPages::All)?;
        }
        // What is written to a file without a name nobody finds again.
        let gone = match FileNumber::of(&self.directory) {
            Ok(file) => file != self.file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(source) => return Err(failed("look at the chain in", &self.directory, source)),
        };
        if gone {
            return Err(StoreError::Gone { path: self.directory.display().to_string() });
        }
        let (map, txn) = self.begin(Env::write_txn, || self.refused())?;
        Ok((WriteGuard { _map: map, _turn: turn }, txn))
    }

    /// What is said of everything that is asked after a write failed.
    fn refused(&self) -> StoreError {
        // Where none was noted LMDB knows, and does not say which it was.
        let error = self.write_error.get().unwrap_or(&INPUT_OUTPUT_ERROR);
        self.failed(heed::Error::Io(io::Error::from_raw_os_error(*error)))
    }

    /// The sentence for a write that failed. If it was the disk that failed, it was the last.
    pub(super) fn write_failed(&self, error: heed::Error) -> StoreError {
        if let heed::Error::Io(source) = &error {
            self.write_error.get_or_init(|| source.raw_os_error().unwrap_or(INPUT_OUTPUT_ERROR));
        }
        self.failed(error)
    }

    fn begin<'e, Txn>(
        &'e self,
        begin: impl Fn(&'e Env<WithoutTls>) -> heed::Result<Txn>,
        refused: impl FnOnce() -> StoreError,
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
                // It could not write the page that says what is committed, and trusts nothing any more.
                Err(heed::Error::Mdb(MdbError::Panic)) => {
                    drop(map);
                    return Err(refused());
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
        failed_in(&self.directory, error)
    }
}

/// See [`Environment::failed`].
pub(super) fn failed_in(directory: &Path, error: heed::Error) -> StoreError {
    match error {
        heed::Error::Io(source) => failed("write the chain in", directory, source),
        error => error.into(),
    }
}

fn open_data(directory: &Path) -> Result<DataFile, StoreError> {
    DataFile::open(directory).map_err(|source| failed("open", &directory.join(DATA_FILE), source))
}

/// The meta pages of a file, which another process may be writing just now.
fn metas(file: &mut DataFile, directory: &Path) -> Result<[Meta; 2], StoreError> {
    let mut looked = pages::metas(file);
    for _ in 1..LOOKS {
        if looked.is_ok() {
            break;
        }
        looked = pages::metas(file);
    }
    looked.map_err(|error| page_error(directory, error))
}

fn page_error(directory: &Path, error: PageError) -> StoreError {
    match error {
        PageError::Io(source) => StoreError::unreadable(directory, source),
        PageError::NoDatabase => StoreError::Foreign { path: directory.display().to_string() },
        PageError::Page { .. } => StoreError::damaged(error.to_string()),
    }
}
