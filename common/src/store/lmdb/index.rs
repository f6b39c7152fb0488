//! An index by id, in sorted runs: where a transaction, or a block, of this id lies.
//!
//! Ids are hashes, so their order is random. A B-tree that takes 12,000 of them in one write changes as many
//! pages, each for one entry of 44 bytes: at a million entries that was most of the processor time that a
//! payment cost, it grew with the chain, and it wrote more than the blocks themselves. A *run* is a sorted array
//! of entries in one value. Each write appends one run of what it added, and merges the last runs into one for
//! as long as the run before is at most twice as long. So every run is more than twice as long as the next, and
//! an entry is moved about as often as its run doubles. No run grows beyond [`LARGEST_RUN`]: what one write
//! merges is bounded, and a run that is too long to be merged is not moved again.
//!
//! A look-up is a binary search in each run, right in the map: in at most 17 runs, and one more for about every
//! 100,000 entries. Entries are never taken away: whether they count is for the caller to judge. They have no checksum
//! either: who finds nothing asks whether those beside the place are what was put ([`Index::around`]).

use std::ops::Range;

use heed::RoTxn;

use super::super::StoreError;
use super::tables::{Table, exactly};

/// The most entries in a run: 5.2 MB of transactions, which are merged and written in some 20 ms.
pub(super) const LARGEST_RUN: usize = 1 << 17;

/// An index in a table of its own: the number of a run, from 0, by its entries one after the other.
pub(super) struct Index<const N: usize> {
    pub(super) table: Table<'static>,
    largest_run: usize,
}

/// What adding entries to an index does to its table.
pub(super) struct Change<const N: usize> {
    /// The number of the first run that changes. All from there on are replaced.
    first: u32,
    /// What stands there now, sorted: one run, or as few as may be.
    entries: Vec<[u8; N]>,
    largest_run: usize,
    /// The number after that of the last run that there was.
    end: u32,
}

impl<const N: usize> Index<N> {
    pub(super) fn new(table: Table<'static>) -> Self {
        Self { table, largest_run: LARGEST_RUN }
    }

    /// The entries that begin with this id, or with this part of one: as much as every entry begins with.
    pub(super) fn find(&self, txn: &RoTxn, id: &[u8]) -> Result<Vec<[u8; N]>, StoreError> {
        let mut found = Vec::new();
        for run in self.table.iter(txn)? {
            let entries = entries_of(run?.1)?;
            found.extend_from_slice(&entries[places(entries, id)]);
        }
        Ok(found)
    }

    /// The same, with the entries beside them in each run. One entry that is not what was put, and so is not found, is
    /// among them: a search that it leads astray ends beside it, and any other where it belonged.
    pub(super) fn around(&self, txn: &RoTxn, id: &[u8]) -> Result<Vec<[u8; N]>, StoreError> {
        let mut found = Vec::new();
        for run in self.table.iter(txn)? {
            let entries = entries_of(run?.1)?;
            let Range { start, end } = places(entries, id);
            found.extend_from_slice(&entries[start.saturating_sub(1)..entries.len().min(end + 1)]);
        }
        Ok(found)
    }

    /// How many entries there are.
    pub(super) fn len(&self, txn: &RoTxn) -> Result<u64, StoreError> {
        let lengths = self.table.iter(txn)?.map(|run| Ok(entries_of::<N>(run?.1)?.len() as u64));
        lengths.sum()
    }

    /// What is to be done to add these entries, none of which is in the index.
    pub(super) fn adding(&self, txn: &RoTxn, mut entries: Vec<[u8; N]>) -> Result<Change<N>, StoreError> {
        // The parts are sorted, and the last sort only merges them.
        entries.sort_unstable();
        // Their numbers have no gaps, so that what is to be replaced is as many as there are.
        let end = u32::try_from(self.table.len(txn)?).unwrap_or(u32::MAX);
        let mut first = end;
        for run in self.table.rev_iter(txn)? {
            let (key, value) = run?;
            let number = u32::from_be_bytes(exactly(key, "a run's number")?);
            if number.checked_add(1) != Some(first) {
                return Err(StoreError::damaged(format!(
                    "an index of {end} runs has one with the number {number}"
                )));
            }
            let run = entries_of(value)?;
            if run.len() > 2 * entries.len() || run.len() + entries.len() > self.largest_run {
                break;
            }
            first = number;
            entries.extend_from_slice(run);
        }
        entries.sort();
        Ok(Change { first, entries, largest_run: self.largest_run, end })
    }
}

impl<const N: usize> Change<N> {
    /// The runs to put, and the numbers that they get.
    pub(super) fn put(&self) -> impl Iterator<Item = ([u8; 4], &[u8])> {
        let runs = self.entries.chunks(self.largest_run).map(<[_]>::as_flattened);
        (self.first..).map(u32::to_be_bytes).zip(runs)
    }

    /// The numbers of the runs to delete.
    pub(super) fn delete(&self) -> impl Iterator<Item = [u8; 4]> + use<N> {
        let put = self.entries.len().div_ceil(self.largest_run) as u32;
        (self.first + put..self.end).map(u32::to_be_bytes)
    }
}

/// Which entries of a run begin with this.
fn places<const N: usize>(entries: &[[u8; N]], id: &[u8]) -> Range<usize> {
    let start = entries.partition_point(|entry| entry[..id.len()] < *id);
    start..start + entries[start..].iter().take_while(|entry| entry.starts_with(id)).count()
}

/// The entries of a run, where it lies.
fn entries_of<const N: usize>(run: &[u8]) -> Result<&[[u8; N]], StoreError> {
    match run.as_chunks() {
        (entries, []) => Ok(entries),
        _ => Err(StoreError::damaged(format!("a run of an index has {} bytes, not times {N}", run.len()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use heed::types::Bytes;
    use heed::{CommitOrAbort, Env, EnvOpenOptions, WithoutTls};
    use proptest::prelude::*;

    use super::*;
    use crate::hash::sha256;

    type Entry = [u8; 40];

    fn open(directory: &tempfile::TempDir) -> Env<WithoutTls> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        // SAFETY: nobody else uses the files.
        unsafe { options.map_size(16 << 20).max_dbs(1).open(directory.path()) }.unwrap()
    }

    fn index(env: &Env<WithoutTls>, largest_run: usize) -> Index<40> {
        let created = env.create_databases_and_commit(env.write_txn().unwrap(), |opener, txn| {
            opener.create_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
        });
        Index { largest_run, ..Index::new(created.unwrap().unwrap_commit()) }
    }

    fn add(env: &Env<WithoutTls>, index: &Index<40>, entries: Vec<Entry>) {
        let mut txn = env.write_txn().unwrap();
        let change = index.adding(&txn, entries).unwrap();
        change.put().for_each(|(number, run)| index.table.put(&mut txn, &number, run).unwrap());
        change.delete().for_each(|number| assert!(index.table.delete(&mut txn, &number).unwrap()));
        txn.commit().unwrap();
    }

    fn lengths(env: &Env<WithoutTls>, index: &Index<40>) -> Vec<usize> {
        let txn = env.read_txn().unwrap();
        let runs = index.table.iter(&txn).unwrap().enumerate().map(|(place, run)| {
            let (number, run) = run.unwrap();
            assert_eq!(number, (place as u32).to_be_bytes());
            let entries = entries_of::<40>(run).unwrap();
            assert!(entries.is_sorted());
            entries.len()
        });
        runs.collect()
    }

    /// An entry of one of few ids, so that several have the same.
    fn entry(id: u8, number: u64) -> Entry {
        let mut entry = [0; 40];
        entry[..32].copy_from_slice(&sha256(&[&[id]]));
        entry[32..].copy_from_slice(&number.to_be_bytes());
        entry
    }

    #[test]
    fn runs_are_merged_like_the_digits_of_a_number_and_full_ones_are_final() {
        let directory = tempfile::tempdir().unwrap();
        let env = open(&directory);
        let index = index(&env, 16);
        let mut numbers = 0..;
        let mut add = |count: usize| {
            add(&env, &index, numbers.by_ref().take(count).map(|number| entry(0, number)).collect());
            lengths(&env, &index)
        };
        assert_eq!(add(5), [5]);
        assert_eq!(add(2), [5, 2]);
        assert_eq!(add(1), [8], "2 is not more than twice 1, and 5 not more than twice 3");
        assert_eq!(add(3), [8, 3]);
        assert_eq!(add(5), [16]);
        assert_eq!(add(20), [16, 16, 4], "as few runs as can be");
        assert_eq!(add(16), [16, 16, 4, 16]);
        assert_eq!(add(1), [16, 16, 4, 16, 1]);
    }

    #[test]
    fn a_run_beyond_a_gap_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let env = open(&directory);
        let index = index(&env, 16);
        for number in [1_u32, 1 << 28, u32::MAX] {
            let mut txn = env.write_txn().unwrap();
            index.table.put(&mut txn, &number.to_be_bytes(), &[0; 40]).unwrap();
            assert!(matches!(index.adding(&txn, vec![[1; 40]]), Err(StoreError::Damaged { .. })));
        }
    }

    #[test]
    fn a_run_that_does_not_divide_into_entries_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let env = open(&directory);
        let index = index(&env, 16);
        let mut txn = env.write_txn().unwrap();
        index.table.put(&mut txn, &0_u32.to_be_bytes(), &[0; 79]).unwrap();
        assert!(matches!(index.find(&txn, &[0; 32]), Err(StoreError::Damaged { .. })));
        assert!(matches!(index.adding(&txn, vec![[0; 40]]), Err(StoreError::Damaged { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_finds_what_a_map_finds(
            writes in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..60), any::<bool>()), 1..40)
        ) {
            let directory = tempfile::tempdir().unwrap();
            let (mut env, mut model) = (open(&directory), BTreeMap::<u8, Vec<Entry>>::new());
            let mut numbers = 0..;
            for (ids, reopen) in writes {
                let entries: Vec<_> = ids.iter().zip(&mut numbers).map(|(id, number)| entry(*id, number)).collect();
                ids.iter().zip(&entries).for_each(|(id, entry)| model.entry(*id).or_default().push(*entry));
                add(&env, &index(&env, 100), entries);
                if reopen {
                    env.prepare_for_closing().wait();
                    env = open(&directory);
                }
            }
            let index = index(&env, 100);
            let lengths = lengths(&env, &index);
            prop_assert_eq!(lengths.iter().sum::<usize>(), model.values().map(Vec::len).sum::<usize>());
            prop_assert!(lengths.iter().all(|length| *length <= 100));
            prop_assert!(lengths.windows(2).all(|two| two[0] > 2 * two[1] || two[0] + two[1] > 100));
            let txn = env.read_txn().unwrap();
            for id in 0..=u8::MAX {
                let mut found = index.find(&txn, &sha256(&[&[id]])).unwrap();
                found.sort_unstable();
                prop_assert_eq!(found, model.remove(&id).unwrap_or_default());
            }
        }
    }
}
