//! Whether the tables agree with each other: every block with its checksum, its id and its body, the tree that they
//! are, and every index with them. What only a replay shows, accounts and activity, is for [`crate::chain`].

use std::ops::Deref;

use heed::{RoTxn, WithoutTls};

use super::super::{Read, StoreError, TableCounts};
use super::index::Index;
use super::tables::{
    FORMAT, FORMAT_COPY_KEY, FORMAT_KEY, MAGIC_KEY, NETWORK_KEY, TIP_KEY, block_entry, block_id_start,
    exactly, format_in_copy, sequence_key, transaction_entry,
};
use super::transaction::Transaction;
use super::values::unseal;
use crate::address::Address;
use crate::block::EncodedBody;
use crate::hash::{BlockId, TransactionId};
use crate::merkle;
use crate::time::Height;

/// The most sentences that are of use to anybody. After them one more says that there are others.
const MOST_DAMAGES: usize = 20;
const AND_MORE: &str = "and more is damaged";

impl<'s, Txn: Deref<Target = RoTxn<'s, WithoutTls>>> Transaction<'s, Txn> {
    /// See [`Read::check_tables`].
    pub(super) fn check(&self) -> Result<TableCounts, Vec<String>> {
        let mut check = Check { of: self, counts: TableCounts::default(), damages: Vec::new() };
        let parts = [Check::names, Check::blocks, Check::best, Check::indexes, Check::addresses];
        for part in parts {
            if let Err(error) = part(&mut check) {
                check.failed(error);
            }
        }
        if check.damages.is_empty() { Ok(check.counts) } else { Err(check.damages) }
    }
}

struct Check<'t, 's, Txn> {
    of: &'t Transaction<'s, Txn>,
    counts: TableCounts,
    damages: Vec<String>,
}

impl<'s, Txn: Deref<Target = RoTxn<'s, WithoutTls>>> Check<'_, 's, Txn> {
    fn damaged(&mut self, what: impl Into<String>) {
        match self.damages.len() {
            0..MOST_DAMAGES => self.damages.push(what.into()),
            MOST_DAMAGES => self.damages.push(AND_MORE.to_owned()),
            _ => {}
        }
    }

    fn failed(&mut self, error: StoreError) {
        match error {
            StoreError::Damaged { what } => self.damaged(what),
            error => self.damaged(error.to_string()),
        }
    }

    /// There is no name but those that belong there. What they say was looked at when the store was opened.
    fn names(&mut self) -> Result<(), StoreError> {
        for entry in self.of.tables().meta.iter(self.of.txn())? {
            let (name, value) = entry?;
            match name {
                MAGIC_KEY | FORMAT_KEY | NETWORK_KEY | TIP_KEY => {}
                FORMAT_COPY_KEY if format_in_copy(value) == Some(FORMAT) => {}
                FORMAT_COPY_KEY => self.damaged("what says its format a second time is not what it was"),
                _ => self.damaged(format!("there is a value with the name {}", name.escape_ascii())),
            }
        }
        Ok(())
    }

    /// Every block is whole, found by its id, and the child of another; so are its transactions.
    fn blocks(&mut self) -> Result<(), StoreError> {
        let (txn, tables) = (self.of.txn(), self.of.tables());
        for (number, entry) in tables.records.iter(txn)?.enumerate() {
            let sequence = u32::try_from(number).unwrap_or(u32::MAX);
            if entry?.0 != sequence_key(sequence) {
                self.damaged(format!("the header of block number {number} is missing"));
                break;
            }
            match self.block(sequence) {
                Ok(transactions) => self.counts.transactions += transactions,
                Err(error) => self.failed(error),
            }
            self.counts.blocks += 1;
        }
        let bodies = tables.bodies.len(txn)? + 1;
        if bodies != self.counts.blocks {
            self.damaged(format!("there are {} headers, but bodies for {bodies}", self.counts.blocks));
        }
        Ok(())
    }

    /// One block; how many transactions it has.
    fn block(&self, sequence: u32) -> Result<u64, StoreError> {
        let (txn, tables) = (self.of.txn(), self.of.tables());
        let (id, record) = self.of.record_at(sequence)?;
        let header = record.header.header;
        let damaged = |what: &str| {
            let height = header.height;
            Err(StoreError::damaged(format!("block {height} ({id}, number {sequence}) {what}")))
        };
        let found = tables.block_index.find(txn, block_id_start(&id))?;
        if !found.contains(&block_entry(&id, sequence)) {
            return damaged("is missing from the index of blocks");
        }
        let body = self.of.body_at(sequence)?;
        if sequence == 0 {
            return if body.is_none() { Ok(0) } else { damaged("has a body, although it is genesis") };
        }
        let Some((_, parent)) = self.of.find_block(&header.previous)? else {
            return damaged("has no parent in the store");
        };
        if header.height != parent.height().next() {
            return damaged("has a height that is not its parent's plus one");
        }
        if record.work != parent.work.plus(header.bits.to_target().work()) {
            return damaged("has a work that is not its parent's plus its own");
        }
        if !header.bits.to_target().is_met_by(&id) {
            return damaged("has no proof of work");
        }
        let Some(body) = body.and_then(|sealed| unseal(id.as_bytes(), sealed)) else {
            return damaged("has a body that does not match its checksum");
        };
        let Ok(body) = EncodedBody::decode(body.to_vec()) else {
            return damaged("has a body that does not decode");
        };
        let leaves = body.leaves();
        if merkle::root(&leaves) != header.merkle_root {
            return damaged("has a body that is not the one that its header commits to");
        }
        for (index, leaf) in (0..).zip(&leaves[1..]) {
            let transaction = TransactionId::from_bytes(*leaf);
            let found = tables.transactions.find(txn, transaction.as_bytes())?;
            if !found.contains(&transaction_entry(&transaction, sequence, index)) {
                return damaged("holds a transaction that the index of transactions does not know");
            }
        }
        Ok(leaves.len() as u64 - 1)
    }

    /// The best chain has a block for each height up to the tip's, and no others.
    fn best(&mut self) -> Result<(), StoreError> {
        let blocks = self.of.tables().best.len(self.of.txn())?;
        let tip = self.of.tip()?.height;
        if Height::new(blocks) != tip.next() {
            self.damaged(format!("the best chain has {blocks} blocks, and its tip the height {tip}"));
        }
        Ok(())
    }

    /// The indexes have as many entries as there are blocks and transactions, all of which were found in them, and
    /// none twice: they have no others.
    fn indexes(&mut self) -> Result<(), StoreError> {
        if !self.damages.is_empty() {
            // Not all blocks could be counted.
            return Ok(());
        }
        let (txn, tables) = (self.of.txn(), self.of.tables());
        let of_index = |entries: Result<u64, StoreError>, expected, what: &str| match entries {
            Ok(got) if got == expected => Ok(()),
            Ok(got) => Err(format!("the index of {what} has {got} entries for {expected}")),
            Err(error) => Err(format!("the index of {what}: {error}")),
        };
        let blocks = of_index(entries_of(&tables.block_index, txn), self.counts.blocks, "blocks");
        let transactions =
            of_index(entries_of(&tables.transactions, txn), self.counts.transactions, "transactions");
        for damage in [blocks, transactions].into_iter().filter_map(Result::err) {
            self.damaged(damage);
        }
        Ok(())
    }

    /// Addresses and ids are as long as they are, and activity is of addresses that are watched.
    fn addresses(&mut self) -> Result<(), StoreError> {
        let (txn, tables) = (self.of.txn(), self.of.tables());
        for (table, what) in
            [(tables.invalid, "an invalid block's id"), (tables.watched, "a watched address")]
        {
            for entry in table.iter(txn)? {
                let (key, value) = entry?;
                exactly::<{ size_of::<BlockId>() }>(key, what)?;
                if !value.is_empty() {
                    self.damaged(format!("{what} has a value"));
                }
            }
        }
        let watched = self.of.watched()?;
        for entry in tables.activity.iter(txn)? {
            let (key, _) = entry?;
            let [address @ .., _, _, _, _, _, _, _, _] = exactly::<40>(key, "the key of an activity")?;
            let address = Address::from_bytes(address);
            if !watched.contains(&address) {
                self.damaged(format!("there is activity of {address}, which is not watched"));
            }
            self.counts.activity += 1;
        }
        Ok(())
    }
}

/// How many entries there are; the runs are numbered without gaps, and each is sorted.
fn entries_of<const N: usize>(index: &Index<N>, txn: &RoTxn) -> Result<u64, StoreError> {
    let mut count = 0;
    for (number, run) in (0_u32..).zip(index.table.iter(txn)?) {
        let (key, value) = run?;
        let (entries, rest) = value.as_chunks::<N>();
        if key != number.to_be_bytes() || !rest.is_empty() || !entries.is_sorted_by(|one, other| one < other)
        {
            return Err(StoreError::damaged(format!("run {number} is not sorted")));
        }
        count += entries.len() as u64;
    }
    Ok(count)
}
