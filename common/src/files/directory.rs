//! Directories, and what is in them.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::path::Path;

use super::FilesError;

/// Makes a directory, with its parents, that only its owner may look into (0700); one that exists stays as it is.
/// When this returns its name is as durable as what will be in it: a file that was flushed is lost all the same if
/// the power fails before the directories on the way to it are.
pub fn create_directory(path: &Path) -> Result<(), FilesError> {
    let failed = FilesError::io("create the directory", path);
    // A file on the way to it, a name that is too long: whatever is neither there nor missing.
    if let Err(error) = path.symlink_metadata()
        && !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
    {
        return Err(failed(error));
    }
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
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(failed(io::ErrorKind::NotADirectory.into())),
        // It, or one on the way to it, may be another user's.
        Err(error) => Err(failed(error)),
    }
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

pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::files::{create_new, replace};

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
        for path in [file.clone(), file.join("d"), directory.join("long".repeat(100))] {
            let error = create_directory(&path).unwrap_err();
            let what = format!("cannot create the directory {}: ", path.display());
            assert!(error.to_string().starts_with(&what) && !error.is_of_disk(), "{error}");
        }
    }
}
