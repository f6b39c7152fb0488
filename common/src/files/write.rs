//! Files that appear whole or not at all.
//!
//! A file is written under a temporary name in its own directory, flushed to the disk, and only then given
//! its name; the directory is flushed last. Whoever reads it sees the old file or the new one, also after
//! kill -9 or a power cut at any moment. What such an end leaves behind is a temporary file, whose name starts
//! with a dot and which nobody reads.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::FilesError;
use super::directory::{directory_of, flush_directory_of, names_in};

/// Random bytes in the name of a temporary file.
const TEMPORARY_BYTES: usize = 8;

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

/// Lets only the owner read and write what is created.
pub(super) fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::files::read;

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
}
