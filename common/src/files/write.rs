//! Files that appear whole or not at all.
//!
//! A file is written without a name or under a temporary one in its own directory, flushed to the disk, and only then
//! given its name; the directory is flushed last. Whoever reads it sees the old file or the new one, also after
//! kill -9 or a power cut at any moment. What such an end may leave behind is told in [`super::temporary`].

use std::fs;
use std::io;
use std::path::Path;

use super::FilesError;
use super::directory::flush_directory_of;
use super::temporary::{Temporary, create_nameless};

/// Writes a file that does not exist yet, readable by its owner alone (0600), whole and durable when this
/// returns. Of several processes that try at once exactly one succeeds.
///
/// # Errors
/// [`FilesError::Exists`] when anything of that name is there: nothing is changed then. [`FilesError::Uncertain`] when
/// the file may be there all the same. After every other error it is not.
pub fn create_new(path: &Path, contents: &[u8]) -> Result<(), FilesError> {
    let nameless = create_nameless(path, contents)?;
    if nameless.is_none() {
        create_by_another_name(path, contents)?;
    }
    let flushed = nameless.map_or(Ok(()), |file| file.sync_all().map_err(FilesError::io("write", path)));
    match flushed.and_then(|()| flush_directory_of(path)) {
        // It has its name already, of which whoever asked must not be told that it has not.
        Err(FilesError::Io { source, .. }) if remove(path).is_err() => {
            Err(FilesError::Uncertain { path: path.to_owned(), source })
        }
        flushed => flushed,
    }
}

/// As any Unix and any file system can, but for those without hard links.
fn create_by_another_name(path: &Path, contents: &[u8]) -> Result<(), FilesError> {
    let temporary = Temporary::write_named(path, contents)?;
    // A hard link, unlike a rename, never replaces.
    fs::hard_link(temporary.path(), path).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => FilesError::Exists { path: path.to_owned() },
        _ => FilesError::io("create", path)(source),
    })
}

/// Writes a file, readable by its owner alone (0600), whole and durable when this returns. It takes the place
/// of one that is there.
///
/// # Errors
/// [`FilesError::Uncertain`] when the new file is there, and the old one may be again after a power cut. After every
/// other error the old one is there.
pub fn replace(path: &Path, contents: &[u8]) -> Result<(), FilesError> {
    let temporary = Temporary::write(path, contents)?;
    fs::rename(temporary.path(), path).map_err(FilesError::io("write", path))?;
    make_name_last(path)
}

/// Gives a file another name, durably. It takes the place of one that is there.
///
/// # Errors
/// As of [`replace`].
pub fn rename(from: &Path, to: &Path) -> Result<(), FilesError> {
    fs::rename(from, to).map_err(FilesError::io("rename", from))?;
    make_name_last(to)
}

fn make_name_last(path: &Path) -> Result<(), FilesError> {
    flush_directory_of(path).map_err(|error| match error {
        FilesError::Io { source, .. } => FilesError::Uncertain { path: path.to_owned(), source },
        error => error,
    })
}

/// Removes a file; that it was not there is no error.
pub fn remove(path: &Path) -> Result<(), FilesError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FilesError::io("remove", path)(error)),
        _ => flush_directory_of(path),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::files::{names_in, read};

    /// How a new file may come to be.
    type Way = fn(&Path, &[u8]) -> Result<(), FilesError>;
    const WAYS: [Way; 2] = [create_new, create_by_another_name];

    #[test]
    fn create_new_never_overwrites_and_replace_does() {
        for create in WAYS {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("file");
            create(&path, b"first").unwrap();
            assert!(matches!(create(&path, b"second"), Err(FilesError::Exists { .. })));
            assert_eq!(read(&path, 100).unwrap(), b"first");
            replace(&path, b"third").unwrap();
            assert_eq!(read(&path, 100).unwrap(), b"third");
            assert_eq!(names_in(root.path()).unwrap(), ["file"], "no temporary file is left");
        }
    }

    #[test]
    #[cfg(unix)]
    fn create_new_does_not_follow_or_replace_a_link() {
        for create in WAYS {
            let root = tempfile::tempdir().unwrap();
            let (link, target) = (root.path().join("link"), root.path().join("target"));
            std::os::unix::fs::symlink(&target, &link).unwrap();
            assert!(matches!(create(&link, b"x"), Err(FilesError::Exists { .. })));
            assert!(!target.exists());
            assert_eq!(names_in(root.path()).unwrap(), ["link"]);
        }
    }

    #[test]
    fn of_many_that_create_one_file_exactly_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let (path, start) = (root.path().join("file"), Barrier::new(8));
        // Half of them this way and half that.
        let attempt = |i: u8| {
            start.wait();
            WAYS[usize::from(i % 2)](&path, &[i; 4]).is_ok().then_some(i)
        };
        let winners: Vec<u8> = std::thread::scope(|scope| {
            let attempt = &attempt;
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || attempt(i))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1);
        assert_eq!(read(&path, 100).unwrap(), [winners[0]; 4]);
        assert_eq!(names_in(root.path()).unwrap(), ["file"]);
    }

    #[test]
    fn where_nothing_can_be_created_every_way_says_so_of_the_same_place() {
        let root = tempfile::tempdir().unwrap();
        for create in WAYS {
            let error = create(&root.path().join("missing/file"), b"x").unwrap_err();
            assert!(error.is_not_found() && error.to_string().contains("missing"), "{error}");
        }
    }
}
