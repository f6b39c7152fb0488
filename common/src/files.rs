//! Files that must survive: where a program's data lies, private directories, files that appear whole or not
//! at all, and locks that die with their holder. Called by [`crate::store`], [`crate::key_store`], the wallet's outbox
//! and the programs' edges.

mod data_directory;
mod directory;
mod error;
mod lock;
mod read;
mod space;
mod temporary;
mod write;

pub use data_directory::{DataDirectory, Program};
pub use directory::{create_directory, create_private_directory, flush_directory_of, names_in};
pub use error::{DISK_HINT, FilesError, is_of_disk, reason};
pub use lock::FileLock;
pub use read::{open, read, read_opened, refuse_if_readable_by_others};
pub use space::{Space, size};
pub use temporary::{leftovers_in, leftovers_of, remove_leftovers_in};
pub use write::{create_new, remove, rename, replace};
