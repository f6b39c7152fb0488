//! LMDB's lock file, which all processes that have the database open map and write to.

use std::path::Path;

use super::super::StoreError;

/// Lies beside the file with the data. Whoever has the database open has a lock on it.
#[cfg(target_os = "linux")]
pub(super) const LOCK_FILE: &str = "lock.mdb";

/// What LMDB keeps in it for each reader, in bytes, and at most beside the readers.
#[cfg(target_os = "linux")]
const READER_BYTES: u64 = 64;
#[cfg(target_os = "linux")]
const MOST_OTHER_BYTES: u64 = 4096;
/// The unit of `st_blocks`, whatever the file system.
#[cfg(target_os = "linux")]
const BLOCK_BYTES: u64 = 512;

/// Sees to it that there is room on the disk for all of the lock file. LMDB only gives the file its length, and where
/// the disk is full the first touch of a page that has no room ends the program (SIGBUS).
///
/// For who holds the [`turn`](super::swap::turn) and does not have the database open: a process loses its locks with the
/// first file that it closes. Elsewhere than on Linux nothing is done.
#[cfg(target_os = "linux")]
pub(super) fn make_room(directory: &Path, readers: u32) -> Result<(), StoreError> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    let path = directory.join(LOCK_FILE);
    let failed = |action| {
        let path = &path;
        move |source| super::environment::failed(action, path, source)
    };
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(failed("open"))?;
    let (length, room) = {
        let metadata = file.metadata().map_err(failed("look at"))?;
        (metadata.len(), metadata.blocks() * BLOCK_BYTES)
    };
    let bytes = match length {
        0 => READER_BYTES * u64::from(readers) + MOST_OTHER_BYTES,
        // Some file systems ask for room once more before they see that it is there, and a full disk has none.
        length if room >= length => return Ok(()),
        length => length,
    };
    loop {
        // LMDB goes by the length, which is left to it.
        return match fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Err(Errno::INTR) => continue,
            // A file system that gives no room beforehand.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            // One that packs its blocks: the file was written to before, and takes less than its length.
            Err(Errno::NOSPC | Errno::DQUOT) if length > 0 && room > 0 => Ok(()),
            Err(error) => Err(failed("make room for")(error.into())),
        };
    }
}

/// See the other.
#[cfg(not(target_os = "linux"))]
pub(super) fn make_room(_: &Path, _: u32) -> Result<(), StoreError> {
    Ok(())
}
