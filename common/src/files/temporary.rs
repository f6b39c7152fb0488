//! Files on their way to a name, and what is left of them when their writer is killed.
//!
//! Linux has files without a name: of those nothing is left. They cannot take the place of another file, though, and
//! not every file system has them. So there are temporary names, which start with a dot and which nobody reads. Where
//! a directory has a lock, whoever takes it removes them ([`remove_leftovers_in`]).

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::FilesError;
use super::directory::{directory_of, names_in};

/// Random bytes in the name of a temporary file.
const TEMPORARY_BYTES: usize = 8;

/// A file under its temporary name. Dropping it removes that name.
pub(super) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A temporary file beside `path`, written and flushed.
    pub(super) fn write(path: &Path, contents: &[u8]) -> Result<Self, FilesError> {
        let temporary = name_beside(path)?;
        // Without a name until it is whole, so that a kill between here and a rename has next to no time to come.
        let Some(file) = create_nameless(&temporary, contents)? else {
            return Self::write_named(path, contents);
        };
        let temporary = Self { path: temporary };
        file.sync_all().map_err(FilesError::io("write", &temporary.path))?;
        Ok(temporary)
    }

    /// The same, with its name from the beginning.
    pub(super) fn write_named(path: &Path, contents: &[u8]) -> Result<Self, FilesError> {
        let temporary = name_beside(path)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private(&mut options);
        let mut file = options.open(&temporary).map_err(FilesError::io("create", &temporary))?;
        let temporary = Self { path: temporary };
        let written = file.write_all(contents).and_then(|()| file.sync_all());
        written.map_err(FilesError::io("write", &temporary.path))?;
        Ok(temporary)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone already. If it cannot be removed, a leftover is harmless.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes and flushes a file without a name, and gives it this one, which nothing may have yet. `None`: this cannot
/// be done here, and nothing was. Whoever called has to flush the file again: a file system may keep nothing of one
/// that is flushed while it has no name (btrfs), and its name alone when its directory is.
#[cfg(target_os = "linux")]
pub(super) fn create_nameless(path: &Path, contents: &[u8]) -> Result<Option<File>, FilesError> {
    use std::ffi::CString;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_TMPFILE);
    private(&mut options);
    // Whatever else is in the way here is so with a name, too, and is told of then.
    let Ok(mut file) = options.open(directory_of(path)) else { return Ok(None) };
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    written.map_err(FilesError::io("write", path))?;
    // By its number alone only some may link it.
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    let (Ok(itself), Ok(name)) = (CString::new(itself), CString::new(path.as_os_str().as_bytes())) else {
        return Ok(None);
    };
    // By the C library, as all that std does with files: the trials of power cuts stand in front of that, and would
    // miss a system call that is made directly, as `rustix` makes it.
    // SAFETY: both are strings that end with a zero and live until the call is over.
    let outcome = unsafe {
        libc::linkat(libc::AT_FDCWD, itself.as_ptr(), libc::AT_FDCWD, name.as_ptr(), libc::AT_SYMLINK_FOLLOW)
    };
    match outcome {
        0 => Ok(Some(file)),
        _ if io::Error::last_os_error().kind() == io::ErrorKind::AlreadyExists => {
            Err(FilesError::Exists { path: path.to_owned() })
        }
        // There is no `/proc`, or somebody's policy is against it.
        _ => Ok(None),
    }
}

/// Only Linux can.
#[cfg(not(target_os = "linux"))]
pub(super) fn create_nameless(_: &Path, _: &[u8]) -> Result<Option<File>, FilesError> {
    Ok(None)
}

/// A name for a temporary file that will be `path`.
fn name_beside(path: &Path) -> Result<PathBuf, FilesError> {
    let mut random = [0; TEMPORARY_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| FilesError::io("name a temporary file for", path)(error.into()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{}.tmp", hex::encode(random))))
}

/// What the temporary file of this name was to be called.
fn intended(name: &str) -> Option<&str> {
    let (intended, random) = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
    let is_random = random.len() == 2 * TEMPORARY_BYTES && hex::decode(random).is_ok();
    (is_random && !intended.is_empty()).then_some(intended)
}

/// What writers of any file in this directory left behind when they were killed, which may be copies of a secret, or
/// what those who write now are about to rename: whoever removes it holds the directory's lock.
pub fn leftovers_in(directory: &Path) -> Result<Vec<PathBuf>, FilesError> {
    leftovers(directory, |_| true)
}

/// The same for one file.
pub fn leftovers_of(path: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    leftovers(directory_of(path), |intended| intended == name)
}

/// Removes what [`leftovers_in`] finds.
pub fn remove_leftovers_in(directory: &Path) -> Result<(), FilesError> {
    leftovers_in(directory)?.iter().try_for_each(|leftover| super::remove(leftover))
}

fn leftovers(directory: &Path, is_sought: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, FilesError> {
    let names = names_in(directory)?.into_iter();
    let found = names.filter(|name| intended(name).is_some_and(&is_sought)).map(|name| directory.join(name));
    // A directory of such a name is nobody's temporary file.
    Ok(found.filter(|path| path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir())).collect())
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
    use super::*;
    use crate::files::read;

    const LEFTOVER: &str = ".file.0123456789abcdef.tmp";

    /// A directory with empty files of these names.
    fn directory_with(names: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| fs::write(root.path().join(name), "").unwrap());
        root
    }

    #[test]
    fn leftovers_are_told_from_everything_else() {
        let other = ".file2.0123456789abcdef.tmp";
        let (odd, tmp) = (".a.b..0123456789abcdef.tmp", ".0123456789abcdef.tmp");
        let kept = [".file.01.tmp", ".file.0123456789abcdeg.tmp", tmp, "..0123456789abcdef.tmp", "file"];
        let root = directory_with(&[&kept[..], &[LEFTOVER, other, odd]].concat());
        fs::create_dir(root.path().join(".directory.0123456789abcdef.tmp")).unwrap();
        assert_eq!(leftovers_of(&root.path().join("file")).unwrap(), [root.path().join(LEFTOVER)]);
        remove_leftovers_in(root.path()).unwrap();
        let mut expected = [&kept[..], &[".directory.0123456789abcdef.tmp"]].concat();
        expected.sort_unstable();
        assert_eq!(names_in(root.path()).unwrap(), expected);
        assert!(leftovers_in(&root.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn a_temporary_file_is_a_leftover_until_it_is_dropped_whichever_way_it_came() {
        for write in [Temporary::write, Temporary::write_named] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("file");
            let temporary = write(&path, b"contents").unwrap();
            assert_eq!(leftovers_of(&path).unwrap(), [temporary.path().to_owned()]);
            assert_eq!(read(temporary.path(), 100).unwrap(), b"contents");
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                assert_eq!(fs::metadata(temporary.path()).unwrap().permissions().mode() & 0o777, 0o600);
            }
            drop(temporary);
            assert!(names_in(root.path()).unwrap().is_empty());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_cannot_be_done_without_a_name_changes_nothing() {
        // Nothing can be created there: it has no files of anybody.
        assert!(create_nameless(Path::new("/proc/farthing"), b"x").unwrap().is_none());
        let root = tempfile::tempdir().unwrap();
        assert!(create_nameless(&root.path().join("missing/file"), b"x").unwrap().is_none());
        // A name that no file can have is refused when all is written.
        assert!(create_nameless(&root.path().join("x".repeat(300)), b"x").unwrap().is_none());
        assert!(names_in(root.path()).unwrap().is_empty());
    }
}
