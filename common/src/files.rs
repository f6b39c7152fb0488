//! Files that must survive: where a program's data lies, private directories, files that appear whole or not
//! at all, and locks that die with their holder. Called by [`crate::store`], [`crate::key_store`], the wallet's outbox
//! and the programs' edges.
//!
//! A file is written under a temporary name in its own directory, flushed to the disk, and only then given
//! its name; the directory is flushed last. Whoever reads it sees the old file or the new one, also after
//! kill -9 or a power cut at any moment. What such an end leaves behind is a temporary file, whose name starts
//! with a dot and which nobody reads.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use zeroize::Zeroizing;

use crate::hash::NetworkId;

/// Random bytes in the name of a temporary file.
const TEMPORARY_BYTES: usize = 8;
/// The folder of the programs inside the platform's data directory.
const FOLDER: &str = "farthing";

/// Why something on the disk cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system refused.
    #[error("cannot {action} {path}: {}", reason(path, source), path = path.display())]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of this name is there already; it was left as it is.
    #[error("{path} exists already", path = path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// A directory, a device or the like stands where a file belongs.
    #[error("{path} is not a file", path = path.display())]
    NotAFile {
        /// What stands there.
        path: PathBuf,
    },
    /// Larger than any such file can rightly be.
    #[error("{path} has more than {max} bytes, which no such file has", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The most that is read.
        max: u64,
    },
    /// Others on this machine can read what is secret.
    #[error("{path} can be read by others (its mode is {mode:03o}): say `chmod 600 {path}`", path = path.display())]
    ReadableByOthers {
        /// Which file.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// The system does not say where the user's data belongs.
    #[error("the home directory is not known: name a data directory")]
    NoHomeDirectory,
}

impl FilesError {
    /// For `map_err`: an [`FilesError::Io`] about this path.
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the disk failed, and not who asked.
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_of_disk(source))
    }

    /// Whether the file is not there at all.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Linux' number for an input or output error, which has no [`io::ErrorKind`] of its own.
const INPUT_OUTPUT_ERROR: i32 = 5;

/// Whether it is the disk that failed: full, over a quota, not writable, or broken.
pub fn is_of_disk(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    let broken = cfg!(unix) && error.raw_os_error() == Some(INPUT_OUTPUT_ERROR);
    // A file that may not grow is as good as a full disk.
    let kinds = [StorageFull, QuotaExceeded, ReadOnlyFilesystem, PermissionDenied, FileTooLarge];
    broken || kinds.contains(&error.kind())
}

/// What the system said of a path; if it wanted for room, with how much there is.
pub fn reason(path: &Path, error: &io::Error) -> String {
    use io::ErrorKind::*;
    let room = matches!(error.kind(), StorageFull | QuotaExceeded).then(|| Space::of(path)).flatten();
    match room {
        Some(Space { free, total }) => format!("{error}; {} of {} are free", size(free), size(total)),
        None => error.to_string(),
    }
}

/// What whoever runs a program can do when [`is_of_disk`]. No sentence more exact holds for all of it.
pub const DISK_HINT: &str = "make room there, see that it can be written, or choose another place with --data-dir, \
                             and start again: what was stored before is intact";

/// The room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The bytes that this user may still write.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

impl Space {
    /// The room where this path is, or would be. `None` where the system does not tell.
    pub fn of(path: &Path) -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
            let status = rustix::fs::statvfs(existing).ok()?;
            let bytes = |blocks: u64| blocks.saturating_mul(status.f_frsize);
            Some(Self { free: bytes(status.f_bavail), total: bytes(status.f_blocks) })
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = path;
            None
        }
    }
}

/// A number of bytes for people: `12 KiB`, `3.4 GiB`.
pub fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    if amount < 10.0 && unit != "B" { format!("{amount:.1} {unit}") } else { format!("{amount:.0} {unit}") }
}

/// Makes a directory, with its parents, that only its owner may look into (0700); one that exists stays as it is.
/// When this returns its name is as durable as what will be in it: a file that was flushed is lost all the same if
/// the power fails before the directories on the way to it are.
pub fn create_directory(path: &Path) -> Result<(), FilesError> {
    let failed = FilesError::io("create the directory", path);
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| is_missing(ancestor)).collect();
    // Whoever made the last of those that exist may have been killed before it was flushed.
    let existing = path.ancestors().nth(missing.len());
    if let Some(existing) = existing.filter(|existing| !existing.as_os_str().is_empty()) {
        flush_directory_of(existing)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    for directory in missing.into_iter().rev() {
        match builder.create(directory) {
            // Another process was faster; it may not have come to this.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
            Ok(()) => {}
        }
        flush_directory_of(directory)?;
    }
    if !path.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    Ok(())
}

/// Whether there is nothing of this name, not even a link that leads nowhere. The empty path is the directory that
/// a relative one begins in.
fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty()
        && path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Makes a directory like [`create_directory`]. One that exists is narrowed to its owner (0700).
pub fn create_private_directory(path: &Path) -> Result<(), FilesError> {
    create_directory(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(FilesError::io("look at", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(FilesError::io("make private", path))?;
        }
    }
    Ok(())
}

/// Writes a file that does not exist yet, readable by its owner alone (0600), whole and durable when this
/// returns. Of several processes that try at once exactly one succeeds.
///
/// # Errors
/// [`FilesError::Exists`] when anything of that name is there: nothing is changed then.
pub fn create_new(path: &Path, contents: &[u8]) -> Result<(), FilesError> {
    let temporary = Temporary::write(path, contents)?;
    // A hard link, unlike a rename, never replaces.
    fs::hard_link(&temporary.path, path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => FilesError::Exists { path: path.to_owned() },
        _ => FilesError::io("create", path)(source),
    })?;
    drop(temporary);
    flush_directory_of(path)
}

/// Writes a file, readable by its owner alone (0600), whole and durable when this returns. It takes the place
/// of one that is there.
pub fn replace(path: &Path, contents: &[u8]) -> Result<(), FilesError> {
    let temporary = Temporary::write(path, contents)?;
    fs::rename(&temporary.path, path).map_err(FilesError::io("write", path))?;
    flush_directory_of(path)
}

/// Gives a file another name in its directory, durably. It takes the place of one that is there.
pub fn rename(from: &Path, to: &Path) -> Result<(), FilesError> {
    fs::rename(from, to).map_err(FilesError::io("rename", from))?;
    flush_directory_of(to)
}

/// Removes a file; that it was not there is no error.
pub fn remove(path: &Path) -> Result<(), FilesError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FilesError::io("remove", path)(error)),
        _ => flush_directory_of(path),
    }
}

/// Opens a regular file (or a link to one) for reading.
pub fn open(path: &Path) -> Result<File, FilesError> {
    // Looked at first: to open a pipe would wait for a writer.
    if !fs::metadata(path).map_err(FilesError::io("read", path))?.is_file() {
        return Err(FilesError::NotAFile { path: path.to_owned() });
    }
    File::open(path).map_err(FilesError::io("read", path))
}

/// Reads a file of at most `max` bytes that was opened with [`open`]; `path` is for the error's sentence.
pub fn read_opened(file: File, path: &Path, max: u64) -> Result<Vec<u8>, FilesError> {
    // The whole capacity at once, so that growing never leaves a copy of a secret behind; nor does a failure.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(max + 1).unwrap_or(0)));
    file.take(max + 1).read_to_end(&mut bytes).map_err(FilesError::io("read", path))?;
    if bytes.len() as u64 > max {
        return Err(FilesError::TooLarge { path: path.to_owned(), max });
    }
    Ok(std::mem::take(&mut *bytes))
}

/// Fails if a file on a disk can be read, or written, by others than its owner. Pipes and devices have rules of
/// their own.
pub fn refuse_if_readable_by_others(file: &File, path: &Path) -> Result<(), FilesError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = file.metadata().map_err(FilesError::io("look at", path))?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_file() && mode & 0o077 != 0 {
            return Err(FilesError::ReadableByOthers { path: path.to_owned(), mode });
        }
    }
    #[cfg(not(unix))]
    let _ = (file, path);
    Ok(())
}

/// Removes what writers of this file left behind when they were killed, which may be copies of a secret. Whoever
/// writes the file at this moment fails; so callers hold a lock.
pub fn remove_leftovers_of(path: &Path) -> Result<(), FilesError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let directory = directory_of(path);
    for leftover in names_in(directory)? {
        let random = leftover
            .strip_prefix('.')
            .and_then(|rest| rest.strip_prefix(&*name))
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(".tmp"));
        if random.is_some_and(|random| random.len() == 2 * TEMPORARY_BYTES && hex::decode(random).is_ok()) {
            remove(&directory.join(leftover))?;
        }
    }
    Ok(())
}

/// Reads a file of at most `max` bytes.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, FilesError> {
    read_opened(open(path)?, path, max)
}

/// The names in a directory, sorted, but for those that are not Unicode; none when there is no such
/// directory.
pub fn names_in(directory: &Path) -> Result<Vec<String>, FilesError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FilesError::io("read the directory", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FilesError::io("read the directory", directory))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// A file under its temporary name. Dropping it removes that name.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Writes and flushes a temporary file beside `path`.
    fn write(path: &Path, contents: &[u8]) -> Result<Self, FilesError> {
        let mut random = [0; TEMPORARY_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| FilesError::io("name a temporary file for", path)(error.into()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", hex::encode(random)));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private(&mut options);
        let mut file = options.open(&temporary).map_err(FilesError::io("create", &temporary))?;
        let temporary = Self { path: temporary };
        let written = file.write_all(contents).and_then(|()| file.sync_all());
        written.map_err(FilesError::io("write", &temporary.path))?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone already. If it cannot be removed, a leftover is harmless.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes the names in the directory of `path` durable.
pub fn flush_directory_of(path: &Path) -> Result<(), FilesError> {
    // Only Unix opens directories as files; elsewhere the file system's journal has to do.
    #[cfg(unix)]
    {
        let directory = directory_of(path);
        match File::open(directory).and_then(|directory| directory.sync_all()) {
            // What is not this user's to look into, such as where home directories are, it was not who changed.
            // Some file systems have directories that need no flushing, and say so.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {}
            flushed => flushed.map_err(FilesError::io("flush the directory", directory))?,
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Lets only the owner read and write what is created.
fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// A lock between processes, held until it is dropped or its process ends, however it ends. The file itself
/// stays and holds nothing.
#[derive(Debug)]
pub struct FileLock {
    /// The system keeps the lock for as long as this file is open.
    _file: File,
}

impl FileLock {
    /// Takes the lock, or says `None` when somebody else holds it.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, FilesError> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(FilesError::io("lock", path)(source)),
        }
    }

    /// Takes the lock, waiting for whoever holds it. For locks that are held for moments.
    pub fn acquire(path: &Path) -> Result<Self, FilesError> {
        let file = Self::open(path)?;
        file.lock().map_err(FilesError::io("lock", path))?;
        Ok(Self { _file: file })
    }

    fn open(path: &Path) -> Result<File, FilesError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        options.open(path).map_err(FilesError::io("open the lock", path))
    }
}

/// Which program's store it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `miner`.
    Miner,
    /// `wallet`.
    Wallet,
}

/// Where a user's data lies. Keys belong to every network; what belongs to one lies apart, under the
/// network's name and the start of its id, because anybody may give another network the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirectory {
    root: PathBuf,
}

impl DataDirectory {
    /// The data directory that the user named.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder `farthing` in the platform's data directory (`$XDG_DATA_HOME` or `~/.local/share`, on
    /// Windows the roaming application data).
    pub fn default_location() -> Result<Self, FilesError> {
        let strategy = etcetera::choose_base_strategy().map_err(|_| FilesError::NoHomeDirectory)?;
        Ok(Self::new(strategy.data_dir().join(FOLDER)))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The keys, for [`crate::key_store::KeyStore`].
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The payments of this user on a network that may still change: `outbox/<network>`.
    pub fn outbox(&self, name: &str, network: &NetworkId) -> PathBuf {
        self.root.join("outbox").join(network_folder(name, network))
    }

    /// The store of a program for a network: `miner/<network>` or `wallet/<network>`.
    pub fn program(&self, program: Program, name: &str, network: &NetworkId) -> PathBuf {
        let folder = match program {
            Program::Miner => "miner",
            Program::Wallet => "wallet",
        };
        self.root.join(folder).join(network_folder(name, network))
    }

    /// The rules of the networks that were joined.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }
}

/// `<name>-<first 8 hex digits of the id>`. A network's name holds nothing that a path could be made of.
fn network_folder(name: &str, network: &NetworkId) -> String {
    format!("{name}-{}", network.short())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[cfg(unix)]
    fn mode(path: &Path) -> u32 {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
    }

    #[test]
    #[cfg(unix)]
    fn directories_and_files_are_the_owners_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        create_private_directory(&directory).unwrap();
        assert_eq!((mode(&root.path().join("a")), mode(&directory)), (0o700, 0o700));
        let file = directory.join("file");
        create_new(&file, b"1").unwrap();
        assert_eq!(mode(&file), 0o600);
        replace(&file, b"2").unwrap();
        assert_eq!(mode(&file), 0o600);

        fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        create_private_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
    }

    #[test]
    fn directories_are_made_also_by_several_at_once_and_a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let (directory, start) = (root.path().join("a/b/c"), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    create_directory(&directory).unwrap();
                });
            }
        });
        assert!(directory.is_dir());
        create_directory(&directory).unwrap();
        create_directory(Path::new("")).unwrap_err();
        let file = directory.join("file");
        create_new(&file, b"1").unwrap();
        for path in [file.clone(), file.join("d")] {
            let error = create_directory(&path).unwrap_err();
            assert!(error.to_string().contains("file") && !error.is_of_disk(), "{error}");
        }
    }

    #[test]
    fn what_the_disk_does_is_told_from_what_was_asked_wrongly() {
        let io = |number| {
            let source = io::Error::from_raw_os_error(number);
            FilesError::Io { action: "write", path: std::env::temp_dir().join("no/such/file"), source }
        };
        // Linux' numbers for EIO, EACCES, EFBIG, ENOSPC, EROFS, EDQUOT.
        #[cfg(target_os = "linux")]
        {
            assert!([5, 13, 27, 28, 30, 122].into_iter().all(|number| io(number).is_of_disk()));
            assert!([28, 122].into_iter().all(|number| io(number).to_string().ends_with(" are free")));
            assert!(!io(5).to_string().contains("free"));
        }
        assert!(!io(2).is_of_disk() && io(2).is_not_found());
        assert_eq!(
            [0, 1023, 1024, 12 << 10, 64 << 20, 3 << 40].map(size),
            ["0 B", "1023 B", "1.0 KiB", "12 KiB", "64 MiB", "3.0 TiB"]
        );
    }

    #[test]
    fn create_new_never_overwrites_and_replace_does() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        create_new(&path, b"first").unwrap();
        assert!(matches!(create_new(&path, b"second"), Err(FilesError::Exists { .. })));
        assert_eq!(read(&path, 100).unwrap(), b"first");
        replace(&path, b"third").unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"third");
        assert_eq!(names_in(root.path()).unwrap(), ["file"], "no temporary file is left");
    }

    #[test]
    #[cfg(unix)]
    fn create_new_does_not_follow_or_replace_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (link, target) = (root.path().join("link"), root.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(create_new(&link, b"x"), Err(FilesError::Exists { .. })));
        assert!(!target.exists());
    }

    #[test]
    fn of_many_that_create_one_file_exactly_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let (path, start) = (root.path().join("file"), Barrier::new(8));
        let attempt = |i: u8| {
            start.wait();
            create_new(&path, &[i; 4]).is_ok().then_some(i)
        };
        let winners: Vec<u8> = std::thread::scope(|scope| {
            let attempt = &attempt;
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || attempt(i))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1);
        assert_eq!(read(&path, 100).unwrap(), [winners[0]; 4]);
    }

    #[test]
    fn reading_is_bounded_and_of_files_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        replace(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(FilesError::TooLarge { max: 4, .. })));
        assert!(matches!(read(root.path(), 4), Err(FilesError::NotAFile { .. })));
        assert!(read(&root.path().join("other"), 4).unwrap_err().is_not_found());
        assert!(names_in(&root.path().join("other")).unwrap().is_empty());
        remove(&path).unwrap();
        remove(&path).unwrap();
    }

    #[test]
    fn leftovers_of_one_file_are_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let leftover = ".file.0123456789abcdef.tmp";
        let others =
            [".file.01.tmp", ".file.0123456789abcdeg.tmp", ".file2.0123456789abcdef.tmp", "file", "file.tmp"];
        for name in others.iter().chain([&leftover]) {
            fs::write(root.path().join(name), "").unwrap();
        }
        remove_leftovers_of(&root.path().join("file")).unwrap();
        assert_eq!(names_in(root.path()).unwrap(), others);
    }

    #[test]
    fn a_lock_has_one_holder_and_is_free_when_dropped() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = FileLock::try_acquire(&path).unwrap();
        assert!(held.is_some());
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        drop(held);
        let held = FileLock::acquire(&path).unwrap();
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn what_belongs_to_a_network_lies_apart_also_from_its_namesakes() {
        let data = DataDirectory::new("/data");
        let (one, two) = (NetworkId::from_bytes([0x11; 32]), NetworkId::from_bytes([0x22; 32]));
        assert_eq!(data.outbox("lab", &one), Path::new("/data/outbox/lab-11111111"));
        assert_eq!(data.program(Program::Miner, "lab", &one), Path::new("/data/miner/lab-11111111"));
        assert_eq!(data.program(Program::Wallet, "lab", &two), Path::new("/data/wallet/lab-22222222"));
        assert_eq!(data.keys(), Path::new("/data/keys"));
    }
}
