//! Makes a store of an older format one of the present format, when it is opened for the first time.
//!
//! Format 1 kept its two indexes, of blocks and of transactions by id, as tables with one key an entry. They
//! become runs ([`super::index`]), a slice at a time. Its table of the best chain named ids, which become
//! sequence numbers. Its records and accounts have all of their zeros ([`super::values`]) and stay as they are.
//!
//! Formats 1 and 2 kept the best chain, accounts and activity without checksums, in tables of other names: so no bit
//! that is flipped in the number of the format makes one format pass for another.
//!
//! What was damaged before gets a checksum, too, and is found by a replay only (`verify`).
//!
//! It is all one write: a process that is killed meanwhile leaves the old store. A million transactions take a
//! second or two.

use std::ops::Bound;

use heed::{CommitOrAbort, MdbError, PutFlags, RwTxn};

use super::super::StoreError;
use super::environment::Environment;
use super::index::LARGEST_RUN;
use super::tables::{self, BlockEntry, FORMAT_KEY, Table, TransactionEntry, block_entry, transaction_entry};
use super::values::seal;
use crate::hash::{BlockId, TransactionId};

// The tables of older formats are left behind empty.

/// Of format 1, by block id: the sequence number, of eight bytes.
pub(super) const BLOCKS_1: &str = "block_index";
/// Of format 1, by transaction id, sequence number of eight bytes, and index: nothing.
pub(super) const TRANSACTIONS_1: &str = "transactions";
/// By height: the block's sequence number; in format 1 its id.
pub(super) const BEST_2: &str = "best";
/// What is the `ledger` now, without checksums.
pub(super) const ACCOUNTS_2: &str = "accounts";
/// What is the `history` now, without checksums.
pub(super) const ACTIVITY_2: &str = "activity";

/// Converts a store of format 1 or 2. Does nothing when another process was faster.
pub(super) fn to_present_format(environment: &Environment) -> Result<(), StoreError> {
    tables::in_one_write(environment, |opener, txn| {
        let [meta, blocks, _, _, best, accounts, transactions, _, _, activity] =
            tables::create_each(opener, txn)?;
        let mut old = |name| opener.create_database(txn, Some(name));
        let (best_2, accounts_2, activity_2) = (old(BEST_2)?, old(ACCOUNTS_2)?, old(ACTIVITY_2)?);
        let format = meta.get(txn, FORMAT_KEY)?.and_then(|format| format.try_into().ok());
        match format.map(u32::from_be_bytes) {
            Some(1) => {
                let blocks_1 = opener.create_database(txn, Some(BLOCKS_1))?;
                let transactions_1 = opener.create_database(txn, Some(TRANSACTIONS_1))?;
                into_sequence_numbers(txn, best_2, blocks_1)?;
                into_runs(txn, blocks_1, blocks, block)?;
                into_runs(txn, transactions_1, transactions, transaction)?;
            }
            Some(2) => {}
            _ => return Ok(CommitOrAbort::Abort(())),
        }
        if best_2.is_empty(txn)? {
            // Every store has at least genesis there.
            return Err(damaged());
        }
        into_sealed(txn, best_2, best)?;
        into_sealed(txn, accounts_2, accounts)?;
        into_sealed(txn, activity_2, activity)?;
        tables::put_format(meta, txn)?;
        Ok(CommitOrAbort::Commit(()))
    })
}

/// What a sequence number was, in four bytes.
fn shorter(sequence: &[u8]) -> Option<u32> {
    u64::from_be_bytes(sequence.try_into().ok()?).try_into().ok()
}

/// The entry of a block, from its key and its value.
fn block(key: &[u8], value: &[u8]) -> Option<BlockEntry> {
    Some(block_entry(&BlockId::from_bytes(key.try_into().ok()?), shorter(value)?))
}

/// The entry of a transaction, from its key.
fn transaction(key: &[u8], _: &[u8]) -> Option<TransactionEntry> {
    let (id, place) = key.split_first_chunk()?;
    let (sequence, index) = place.split_at_checked(8)?;
    let index = u32::from_be_bytes(index.try_into().ok()?);
    Some(transaction_entry(&TransactionId::from_bytes(*id), shorter(sequence)?, index))
}

fn damaged() -> heed::Error {
    heed::Error::Mdb(MdbError::Corrupted)
}

/// Makes the ids of the best chain sequence numbers.
fn into_sequence_numbers(txn: &mut RwTxn, best: Table, blocks: Table) -> heed::Result<()> {
    let mut sequences = Vec::new();
    for entry in best.iter(txn)? {
        let sequence = blocks.get(txn, entry?.1)?.and_then(shorter);
        sequences.push(sequence.ok_or_else(damaged)?);
    }
    // What is put in the place of something longer leaves pages half empty.
    best.clear(txn)?;
    for (height, sequence) in (0_u32..).zip(sequences) {
        best.put_with_flags(txn, PutFlags::APPEND, &height.to_be_bytes(), &sequence.to_be_bytes())?;
    }
    Ok(())
}

/// Moves entries to a table in which the value of each is sealed with its key.
fn into_sealed(txn: &mut RwTxn, entries: Table, sealed: Table) -> heed::Result<()> {
    sealed.clear(txn)?;
    // Before every key of an entry, which is longer. LMDB looks for no empty one.
    let mut last = vec![0];
    while let Some((key, value)) = entries.get_greater_than(txn, &last)? {
        let value = seal(key, value);
        last = key.to_vec();
        sealed.put_with_flags(txn, PutFlags::APPEND, &last, &value)?;
    }
    entries.clear(txn)
}

/// Moves entries from a table that holds them one by one to one of runs.
fn into_runs<const N: usize>(
    txn: &mut RwTxn,
    entries: Table,
    runs: Table,
    convert: impl Fn(&[u8], &[u8]) -> Option<[u8; N]>,
) -> heed::Result<()> {
    let mut last = vec![0];
    for number in 0_u32.. {
        let after = (Bound::Excluded(&last[..]), Bound::Unbounded);
        let (mut run, mut key) = (Vec::with_capacity(LARGEST_RUN), &[][..]);
        for entry in entries.range(txn, &after)?.take(LARGEST_RUN) {
            let value;
            (key, value) = entry?;
            run.push(convert(key, value).ok_or_else(damaged)?);
        }
        if run.is_empty() {
            break;
        }
        last = key.to_vec();
        // They come in order, but for two blocks whose ids begin alike.
        run.sort_unstable();
        runs.put(txn, &number.to_be_bytes(), run.as_flattened())?;
    }
    entries.clear(txn)
}
