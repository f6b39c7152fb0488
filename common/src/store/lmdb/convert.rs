//! Makes a store of an older format one of the present format, when it is opened for the first time.
//!
//! Format 1 kept its two indexes, of blocks and of transactions by id, as tables with one key an entry. They
//! become runs ([`super::index`]), a slice at a time, all in one write: a process that is killed meanwhile leaves
//! the old store. A million transactions take a second or two.

use std::ops::Bound;

use heed::{CommitOrAbort, MdbError, RwTxn};

use super::super::StoreError;
use super::environment::Environment;
use super::index::LARGEST_RUN;
use super::tables::{self, BlockEntry, FORMAT, FORMAT_KEY, Table, TransactionEntry};

/// The indexes of format 1. Their tables are left behind empty.
pub(super) const BLOCKS_1: &str = "block_index";
pub(super) const TRANSACTIONS_1: &str = "transactions";

/// Converts a store of format 1. Does nothing when another process was faster.
pub(super) fn from_format_1(environment: &Environment) -> Result<(), StoreError> {
    tables::in_one_write(environment, |opener, txn| {
        let [meta, blocks, _, _, _, _, transactions, ..] = tables::create_each(opener, txn)?;
        if meta.get(txn, FORMAT_KEY)? != Some(&1_u32.to_be_bytes()) {
            return Ok(CommitOrAbort::Abort(()));
        }
        let blocks_1 = opener.create_database(txn, Some(BLOCKS_1))?;
        let transactions_1 = opener.create_database(txn, Some(TRANSACTIONS_1))?;
        into_runs::<{ size_of::<BlockEntry>() }>(txn, blocks_1, blocks)?;
        into_runs::<{ size_of::<TransactionEntry>() }>(txn, transactions_1, transactions)?;
        meta.put(txn, FORMAT_KEY, &FORMAT.to_be_bytes())?;
        Ok(CommitOrAbort::Commit(()))
    })
}

/// Moves entries, each a key and its value, from a table that holds them one by one to one of runs.
fn into_runs<const N: usize>(txn: &mut RwTxn, entries: Table, runs: Table) -> heed::Result<()> {
    // Before every key of an entry, which is longer. LMDB looks for no empty one.
    let mut last = vec![0];
    for number in 0_u32.. {
        let after = (Bound::Excluded(&last[..]), Bound::Unbounded);
        let (mut run, mut key) = (Vec::with_capacity(LARGEST_RUN * N), &[][..]);
        for entry in entries.range(txn, &after)?.take(LARGEST_RUN) {
            let value;
            (key, value) = entry?;
            if key.len() + value.len() != N {
                return Err(heed::Error::Mdb(MdbError::Corrupted));
            }
            run.extend_from_slice(key);
            run.extend_from_slice(value);
        }
        if run.is_empty() {
            break;
        }
        last = key.to_vec();
        runs.put(txn, &number.to_be_bytes(), &run)?;
    }
    entries.clear(txn)
}
