//! How a rebuilt store takes the place of a damaged one: at once, whatever ends the program meanwhile, and so that
//! nothing is thrown away.
//!
//! The new database is made in a directory inside the store's. When it is whole and durable, the damaged one gets a
//! second name, `data.mdb.damaged-1`, and one rename puts the new one into its place. Before that the old one is
//! there, after that the new one; what is left over in between nobody reads, and the next repair removes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::environment::DATA_FILE;
#[cfg(target_os = "linux")]
use super::lock_file::LOCK_FILE;
use crate::files::{self, FileLock, FilesError};

/// Where the new store is made.
const NEW: &str = "repaired";
/// Held by whoever repairs the store, for as long as that takes.
const REPAIR_LOCK_FILE: &str = "repair.lock";
/// Held by whoever opens a store, and whoever has to know that nobody does, for moments.
const OPENING_LOCK_FILE: &str = "opening.lock";

/// Why a store cannot be replaced. It is as it was, unless the sentence says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// Another process has it open.
    #[error("the store in {path} is in use: end the programs that use it first", path = path.display())]
    InUse {
        /// Which store.
        path: PathBuf,
    },
    /// Another process has written to it.
    #[error("the store in {path} was changed meanwhile: try again", path = path.display())]
    Changed {
        /// Which store.
        path: PathBuf,
    },
    /// The new one is in its place, which a power cut may undo.
    #[error(
        "the rebuilt store is {new}, and the damaged one {aside}, but that may not last: {}", files::reason(new, source),
        new = new.display(), aside = aside.display()
    )]
    Uncertain {
        /// The file of the new one.
        new: PathBuf,
        /// The file of the damaged one.
        aside: PathBuf,
        /// What the system said when it was to make it durable.
        source: io::Error,
    },
    /// Something cannot be written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

impl SwapError {
    /// Whether the disk failed.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Uncertain { source, .. } => files::is_of_disk(source),
            Self::Files(error) => error.is_of_disk(),
            Self::InUse { .. } | Self::Changed { .. } => false,
        }
    }
}

/// A store about to be replaced. When it is dropped, nothing is left of a new one that did not get its place: it may be
/// as large as the disk had room, and who drops it has closed it.
pub struct Swap {
    directory: PathBuf,
    /// What the old file was like when it was looked at.
    old: (u64, SystemTime),
    /// Nobody else repairs it meanwhile.
    _repairing: FileLock,
}

impl Swap {
    /// Prepares for a new store beside the one in this directory, which nobody may have open.
    pub fn begin(directory: &Path) -> Result<Self, SwapError> {
        {
            let _turn = turn(directory)?;
            drop(lock(directory)?);
        }
        let repairing = FileLock::try_acquire(&directory.join(REPAIR_LOCK_FILE))?;
        let repairing = repairing.ok_or_else(|| SwapError::InUse { path: directory.to_owned() })?;
        let swap = Self { directory: directory.to_owned(), old: like(directory)?, _repairing: repairing };
        match fs::remove_dir_all(swap.new_directory()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove what an earlier repair left in", &swap.new_directory(), error).into())
            }
            _ => Ok(swap),
        }
    }

    /// Where the new store belongs.
    pub fn new_directory(&self) -> PathBuf {
        self.directory.join(NEW)
    }

    /// Puts the new store, which is closed, into the place of the old one, and gives the name that this has now.
    pub fn finish(self) -> Result<PathBuf, SwapError> {
        let Self { directory, old, .. } = &self;
        // Whoever opens the store from now on waits until this is dropped, and then finds the new one. LMDB's own lock,
        // which says that nobody has it open, must not be what he waits at: he would take the lock file for that of a
        // database in use, and what it says of the old one for true of the new one.
        let _turn = turn(directory)?;
        let _lock = lock(directory)?;
        if like(directory)? != *old {
            return Err(SwapError::Changed { path: directory.clone() });
        }
        let data = directory.join(DATA_FILE);
        let names = (1_u32..).map(|number| directory.join(format!("{DATA_FILE}.damaged-{number}")));
        let aside = names.into_iter().find_map(|name| match fs::hard_link(&data, &name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            linked => Some(linked.map(|()| name)),
        });
        let aside = aside.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()));
        let aside = aside.map_err(|error| io_error("keep aside", &data, error))?;
        renamed(files::rename(&self.new_directory().join(DATA_FILE), &data), aside)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // What cannot be removed the next repair removes.
        let _ = fs::remove_dir_all(self.new_directory());
    }
}

/// What has become of the two stores when the new one was to get the name of the old one, which has another by now.
fn renamed(renamed: Result<(), FilesError>, aside: PathBuf) -> Result<PathBuf, SwapError> {
    match renamed {
        Ok(()) => Ok(aside),
        Err(FilesError::Uncertain { path, source }) => Err(SwapError::Uncertain { new: path, aside, source }),
        Err(error) => {
            // A second name is not needed. A failing disk may have renamed all the same: then it is the only one.
            if has_another_name(&aside) {
                let _ = fs::remove_file(aside);
            }
            Err(error.into())
        }
    }
}

/// Whether a file can be found by another name, too; `false` where the system does not say.
fn has_another_name(file: &Path) -> bool {
    #[cfg(unix)]
    return fs::metadata(file).is_ok_and(|metadata| std::os::unix::fs::MetadataExt::nlink(&metadata) > 1);
    #[cfg(not(unix))]
    return false;
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> FilesError {
    FilesError::Io { action, path: path.to_owned(), source }
}

fn like(directory: &Path) -> Result<(u64, SystemTime), FilesError> {
    let data = directory.join(DATA_FILE);
    let looked = fs::metadata(&data).and_then(|metadata| Ok((metadata.len(), metadata.modified()?)));
    looked.map_err(|error| io_error("look at", &data, error))
}

/// Keeps others from beginning to open the store in a directory, or to replace it; waits while somebody does.
pub(super) fn turn(directory: &Path) -> Result<FileLock, FilesError> {
    FileLock::acquire(&directory.join(OPENING_LOCK_FILE))
}

/// Keeps others from having the store in a directory open; fails when somebody has. Only for who holds its [`turn`].
/// This process must not have it open: a process has such locks as a whole, and loses them with the first file that it
/// closes.
#[cfg(target_os = "linux")]
pub(super) fn lock(directory: &Path) -> Result<File, SwapError> {
    use rustix::fs::{FlockOperation, fcntl_lock};
    let path = directory.join(LOCK_FILE);
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(|error| io_error("open the lock", &path, error))?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            Err(SwapError::InUse { path: directory.to_owned() })
        }
        Err(error) => Err(io_error("lock", &path, error.into()).into()),
    }
}

/// Elsewhere who repairs has to see to it that nobody has the store open.
#[cfg(not(target_os = "linux"))]
pub(super) fn lock(directory: &Path) -> Result<File, SwapError> {
    let data = directory.join(DATA_FILE);
    Ok(File::open(&data).map_err(|error| io_error("open", &data, error))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was said to be as it was although it had been replaced.
    #[test]
    fn what_is_said_of_a_store_whose_replacement_may_not_last_names_both() {
        let directory = tempfile::tempdir().unwrap();
        let [new, aside] = ["data.mdb", "data.mdb.damaged-1"].map(|name| directory.path().join(name));
        fs::write(&aside, "damaged").unwrap();
        let broken = || io::Error::from_raw_os_error(5);
        let uncertain = FilesError::Uncertain { path: new.clone(), source: broken() };
        let error = renamed(Err(uncertain), aside.clone()).unwrap_err();
        let said = error.to_string();
        assert!(
            [&new, &aside].iter().all(|file| said.contains(file.to_str().unwrap())) && error.is_of_disk(),
            "{said}"
        );
        assert!(aside.exists());
        // Where it could not be replaced it keeps one name, and never loses its last.
        let refused = || FilesError::Io { action: "rename", path: new.clone(), source: broken() };
        assert!(matches!(renamed(Err(refused()), aside.clone()), Err(SwapError::Files(_))));
        assert!(aside.exists());
        fs::hard_link(&aside, &new).unwrap();
        assert!(matches!(renamed(Err(refused()), aside.clone()), Err(SwapError::Files(_))));
        assert!(new.exists() && !aside.exists());
    }
}
