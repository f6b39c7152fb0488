//! A database whose making was cut short by a power cut: LMDB gives the file its length before its first pages are
//! safe on the disk, so that zeros may stand where they belong. Nothing was ever committed to it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::super::StoreError;
use super::environment::{self, DATA_FILE};
use super::salvage::Salvage;
use super::swap::{self, SwapError};
use crate::time::Height;

/// LMDB's pages on most machines; elsewhere they are larger, and a file that was cut short is refused as any other
/// that is no database.
const PAGE_BYTES: usize = 4096;
/// Where in a meta page the number of its transaction stands; it has eight bytes.
const TRANSACTION_AT: usize = 144;
/// What a disk writes at once: no power cut leaves less of a file that LMDB began, but damage may.
const SECTOR_BYTES: u64 = 512;
/// A file that is longer was committed to, and is damaged otherwise: it is left to be looked at. A new store takes
/// 30 KB, and 100 bytes more for each account of genesis.
const LARGEST_BYTES: u64 = 1 << 20;

/// Makes the file of the store in a directory empty if it never held a block, so that it is made anew. A store that
/// somebody has open is left alone: it may be being made just now. For who holds its [`swap::turn`].
pub(super) fn clear(directory: &Path) -> Result<(), StoreError> {
    let failed = |source| environment::failed("make the chain anew in", directory, source);
    let path = directory.join(DATA_FILE);
    if !looks_half_made(&path).map_err(|source| StoreError::unreadable(directory, source))? {
        return Ok(());
    }
    let _lock = match swap::lock(directory) {
        Ok(lock) => lock,
        Err(SwapError::InUse { .. } | SwapError::Changed { .. }) => return Ok(()),
        Err(SwapError::Files(error)) => return Err(error.into()),
        Err(SwapError::Uncertain { source, .. }) => return Err(failed(source)),
    };
    clear_unless_it_holds_blocks(directory, &path).map_err(failed)
}

fn clear_unless_it_holds_blocks(directory: &Path, path: &Path) -> io::Result<()> {
    // Somebody may have made it meanwhile. And where blocks are, the meta pages were lost later: that is damage, which
    // a repair mends.
    let holds_blocks = |salvage: Salvage| salvage.headers().iter().any(|it| it.height > Height::GENESIS);
    if looks_half_made(path)? && !Salvage::scan(directory)?.is_some_and(holds_blocks) {
        File::options().write(true).open(path)?.set_len(0)?;
    }
    Ok(())
}

fn looks_half_made(file: &Path) -> io::Result<bool> {
    let opened = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let length = opened.metadata()?.len();
    let mut pages = Vec::with_capacity(2 * PAGE_BYTES);
    opened.take(2 * PAGE_BYTES as u64).read_to_end(&mut pages)?;
    Ok((SECTOR_BYTES..=LARGEST_BYTES).contains(&length) && is_half_made(&pages))
}

/// Whether one of the two meta pages was never written and the other has no transaction. Who makes a database just
/// now writes both at once, and none that is whole looks so.
fn is_half_made(pages: &[u8]) -> bool {
    let is_blank = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    let is_unused = |page: &[u8]| page[TRANSACTION_AT..][..8] == [0; 8];
    let (metas, rest) = pages.as_chunks::<PAGE_BYTES>();
    match metas {
        [] => is_blank(rest),
        [one] => is_unused(one) && is_blank(rest),
        [one, two, ..] => is_unused(one) && is_unused(two) && (is_blank(one) || is_blank(two)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::LmdbStore;
    use super::*;
    use crate::chain::Chain;
    use crate::rules::Rules;
    use crate::store::Store;
    use crate::testing::{Branch, Key, easy_rules};

    /// What is opened where `data.mdb` has these bytes; gives the height.
    fn open(bytes: &[u8]) -> Result<Height, StoreError> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("data.mdb"), bytes).unwrap();
        let store = LmdbStore::open(directory.path(), &Rules::default())?;
        Ok(store.read(|reader| reader.tip())?.height)
    }

    #[test]
    fn a_database_that_a_power_cut_left_half_made_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        drop(LmdbStore::open(directory.path(), &Rules::default()).unwrap());
        let whole = fs::read(directory.path().join("data.mdb")).unwrap();
        // The first commit is in the second meta page; the first is as it was when the file was made.
        let first = &whole[..PAGE_BYTES];
        let left = [
            vec![0; 512],
            vec![0; PAGE_BYTES],
            vec![0; 2 * PAGE_BYTES],
            vec![0; whole.len()],
            first.to_vec(),
            [first, &[0; PAGE_BYTES]].concat(),
            [first, &[0; PAGE_BYTES], &whole[2 * PAGE_BYTES..]].concat(),
            [&[0; 2 * PAGE_BYTES], &whole[2 * PAGE_BYTES..]].concat(),
        ];
        for (number, bytes) in left.iter().enumerate() {
            assert_eq!(open(bytes).unwrap(), Height::GENESIS, "{number}");
        }
    }

    #[test]
    fn whatever_was_committed_to_and_whatever_is_longer_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        drop(LmdbStore::open(directory.path(), &Rules::default()).unwrap());
        let file = directory.path().join("data.mdb");
        let whole = fs::read(&file).unwrap();
        let without_first = [&[0; PAGE_BYTES], &whole[PAGE_BYTES..]].concat();
        let long = vec![0; LARGEST_BYTES as usize + 1];
        for bytes in [whole, without_first, long, vec![0x5a; 100]] {
            fs::write(&file, &bytes).unwrap();
            clear(directory.path()).unwrap();
            assert!(fs::read(&file).unwrap() == bytes);
        }
        clear(&directory.path().join("missing")).unwrap();
    }

    /// The system's word was lost on the way, and with it the exit code that says that the disk failed.
    #[test]
    fn why_a_half_made_database_cannot_be_made_anew_is_what_the_system_says() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("data.mdb"), [0; PAGE_BYTES]).unwrap();
        // Nobody can open a directory for writing.
        fs::create_dir(directory.path().join("lock.mdb")).unwrap();
        let error = clear(directory.path()).unwrap_err();
        let StoreError::Io { path, source, .. } = &error else { panic!("{error}") };
        assert!(path.ends_with("lock.mdb"), "{error}");
        assert_eq!(source.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn a_store_with_blocks_that_lost_its_first_pages_is_damaged_and_not_made_anew() {
        let rules = std::sync::Arc::new(easy_rules(&[]));
        let directory = tempfile::tempdir().unwrap();
        let mut branch = Branch::new(&rules);
        branch.grow(&Key::new(1), Vec::new());
        let store = LmdbStore::open(directory.path(), &rules).unwrap();
        Chain::new(rules.clone(), store.clone()).connect(&branch.blocks).unwrap();
        drop(store);
        let file = directory.path().join("data.mdb");
        let mut bytes = fs::read(&file).unwrap();
        bytes[..2 * PAGE_BYTES].fill(0);
        fs::write(&file, &bytes).unwrap();
        assert!(LmdbStore::open(directory.path(), &rules).is_err());
        assert!(fs::read(&file).unwrap() == bytes);
    }
}
