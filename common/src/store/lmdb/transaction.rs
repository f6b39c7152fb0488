//! What one transaction of LMDB is asked: one implementation of [`Read`] for readers and writers, and
//! [`Write`] for writers.
//!
//! A writer keeps the accounts that it changes, and its entries for the indexes, aside, and puts them into
//! their tables sorted, once, at the end: many blocks in one write then cost little more than one. Its own
//! reads look there first.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::ops::{Bound, Deref};

use heed::{MdbError, PutFlags, RoTxn, RwTxn, WithoutTls};

use super::super::{Activity, BlockRecord, Read, StoreError, Tip, TransactionPlace, Write};
use super::index::Index;
use super::tables::{
    CHECKSUM_BYTES, TIP_KEY, Table, Tables, TransactionEntry, activity_key, block_entry, checksum, exactly,
    height_key, index_in, sequence_in, transaction_entry, unseal,
};
use crate::address::Address;
use crate::consensus::CheckedBlock;
use crate::difficulty::Work;
use crate::encoding::{decode, encode};
use crate::hash::{BlockId, TransactionId};
use crate::ledger::Account;
use crate::time::Height;

/// A transaction: `Txn` is `&RoTxn` for a reader, `RwTxn` for a writer.
pub(super) struct Transaction<'s, Txn> {
    tables: &'s Tables,
    txn: Txn,
    /// What a writer has changed and not yet put into the tables.
    accounts: HashMap<Address, Account>,
    blocks: HashMap<BlockId, u64>,
    transactions: Vec<TransactionEntry>,
    /// Whether a writer ran out of room: all that it does from then on is in vain.
    map_full: bool,
}

impl<'s, Txn> Transaction<'s, Txn> {
    pub(super) fn new(tables: &'s Tables, txn: Txn) -> Self {
        let (accounts, blocks, transactions) = Default::default();
        Self { tables, txn, accounts, blocks, transactions, map_full: false }
    }
}

impl<'s, Txn: Deref<Target = RoTxn<'s, WithoutTls>>> Transaction<'s, Txn> {
    fn sequence_of(&self, id: &BlockId) -> Result<Option<u64>, StoreError> {
        if let Some(sequence) = self.blocks.get(id) {
            return Ok(Some(*sequence));
        }
        let found = self.tables.block_index.find(&self.txn, id.as_bytes())?;
        Ok(found.first().map(|entry| sequence_in(entry)))
    }

    /// The block with a sequence number that was given.
    fn record_at(&self, sequence: u64) -> Result<(BlockId, BlockRecord), StoreError> {
        let damaged =
            || StoreError::damaged(format!("the header of block number {sequence} is not what it was"));
        let sealed = self.tables.records.get(&self.txn, &sequence.to_be_bytes())?.ok_or_else(damaged)?;
        let record: BlockRecord =
            decode(sealed.get(CHECKSUM_BYTES..).unwrap_or_default()).map_err(|_| damaged())?;
        let id = record.id();
        unseal(&id, sealed).ok_or_else(damaged)?;
        Ok((id, record))
    }

    fn tip_id(&self) -> Result<BlockId, StoreError> {
        let found = self.tables.meta.get(&self.txn, TIP_KEY)?.unwrap_or_default();
        Ok(BlockId::from_bytes(exactly(found, "the tip")?))
    }

    /// Where an entry of the index leads, if it is to the best chain.
    fn place(&self, entry: &TransactionEntry) -> Result<Option<TransactionPlace>, StoreError> {
        let (block, record) = self.record_at(sequence_in(entry))?;
        let place = TransactionPlace { block, height: record.height(), index: index_in(entry) };
        Ok(self.is_best(&record)?.then_some(place))
    }
}

impl<'s, Txn: Deref<Target = RoTxn<'s, WithoutTls>>> Read for Transaction<'s, Txn> {
    fn tip(&self) -> Result<Tip, StoreError> {
        let record = self.record(&self.tip_id()?)?;
        record.as_ref().map(Tip::from).ok_or_else(|| StoreError::damaged("the tip is not in the tree"))
    }

    fn record(&self, id: &BlockId) -> Result<Option<BlockRecord>, StoreError> {
        let Some(sequence) = self.sequence_of(id)? else { return Ok(None) };
        let (got, record) = self.record_at(sequence)?;
        if got == *id {
            Ok(Some(record))
        } else {
            Err(StoreError::damaged(format!("block {got} stands where block {id} belongs")))
        }
    }

    fn encoded_body(&self, id: &BlockId) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        let Some(sequence) = self.sequence_of(id)? else { return Ok(None) };
        let Some(sealed) = self.tables.bodies.get(&self.txn, &sequence.to_be_bytes())? else {
            return Ok(None);
        };
        match unseal(id, sealed) {
            Some(body) => Ok(Some(Cow::Borrowed(body))),
            None => Err(StoreError::damaged(format!("the body of block {id} does not match its checksum"))),
        }
    }

    fn best_at(&self, height: Height) -> Result<Option<BlockId>, StoreError> {
        let Some(key) = height_key(height) else { return Ok(None) };
        let found = self.tables.best.get(&self.txn, &key)?;
        found.map(|bytes| Ok(BlockId::from_bytes(exactly(bytes, "a block id")?))).transpose()
    }

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        if let Some(changed) = self.accounts.get(address) {
            return Ok(*changed);
        }
        match self.tables.accounts.get(&self.txn, address.as_bytes())? {
            Some(bytes) => Ok(decode(bytes)?),
            None => Ok(Account::default()),
        }
    }

    fn find_transaction(&self, id: &TransactionId) -> Result<Option<TransactionPlace>, StoreError> {
        let mut entries = self.tables.transactions.find(&self.txn, id.as_bytes())?;
        entries.extend(self.transactions.iter().filter(|entry| entry.starts_with(id.as_bytes())));
        for entry in &entries {
            if let Some(place) = self.place(entry)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn is_invalid(&self, id: &BlockId) -> Result<bool, StoreError> {
        Ok(self.tables.invalid.get(&self.txn, id.as_bytes())?.is_some())
    }

    fn watched(&self) -> Result<Vec<Address>, StoreError> {
        let mut addresses = Vec::new();
        for entry in self.tables.watched.iter(&self.txn)? {
            addresses.push(Address::from_bytes(exactly(entry?.0, "a watched address")?));
        }
        Ok(addresses)
    }

    fn activity(&self, address: &Address, limit: usize) -> Result<Vec<Activity>, StoreError> {
        let mut entries = Vec::new();
        for entry in self.tables.activity.rev_prefix_iter(&self.txn, address.as_bytes())?.take(limit) {
            entries.push(decode(entry?.1)?);
        }
        Ok(entries)
    }

    fn for_each_account(&self, visit: &mut dyn FnMut(Address, Account)) -> Result<(), StoreError> {
        let mut visit = |address, account| {
            if account != Account::default() {
                visit(address, account);
            }
        };
        let mut changed: Vec<_> =
            self.accounts.iter().map(|(address, account)| (*address, *account)).collect();
        changed.sort_unstable_by_key(|(address, _)| *address);
        let mut changed = changed.into_iter().peekable();
        for entry in self.tables.accounts.iter(&self.txn)? {
            let (key, value) = entry?;
            let address = Address::from_bytes(exactly(key, "an account's address")?);
            while let Some((address, account)) = changed.next_if(|(new, _)| *new < address) {
                visit(address, account);
            }
            match changed.next_if(|(new, _)| *new == address) {
                Some((address, account)) => visit(address, account),
                None => visit(address, decode(value)?),
            }
        }
        changed.for_each(|(address, account)| visit(address, account));
        Ok(())
    }
}

impl<'s> Transaction<'s, RwTxn<'s>> {
    /// Whether there was no room in the map for a change.
    pub(super) fn found_map_full(&self) -> bool {
        self.map_full
    }

    /// Puts what was kept aside into the tables.
    pub(super) fn write_back(&mut self) -> Result<(), StoreError> {
        let mut accounts: Vec<_> = std::mem::take(&mut self.accounts).into_iter().collect();
        accounts.sort_unstable_by_key(|(address, _)| *address);
        for (address, account) in accounts {
            if account == Account::default() {
                self.delete(self.tables.accounts, address.as_bytes())?;
            } else {
                self.put(self.tables.accounts, address.as_bytes(), &encode(&account))?;
            }
        }
        let blocks = std::mem::take(&mut self.blocks);
        let blocks = blocks.iter().map(|(id, sequence)| block_entry(id, *sequence)).collect();
        self.add_to_index(&self.tables.block_index, blocks)?;
        let transactions = std::mem::take(&mut self.transactions);
        self.add_to_index(&self.tables.transactions, transactions)
    }

    fn add_to_index<const N: usize>(
        &mut self,
        index: &Index<N>,
        entries: Vec<[u8; N]>,
    ) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let change = index.adding(&self.txn, entries)?;
        for (number, run) in change.put() {
            self.put(index.table, &number, run)?;
        }
        for number in change.delete() {
            self.delete(index.table, &number)?;
        }
        Ok(())
    }

    /// The transaction of LMDB, to be committed.
    pub(super) fn into_inner(self) -> RwTxn<'s> {
        self.txn
    }

    fn put(&mut self, table: Table<'static>, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let result = table.put(&mut self.txn, key, value);
        self.noting_map_full(result)
    }

    /// Puts a key that is greater than every other of its table.
    fn append(&mut self, table: Table<'static>, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let result = table.put_with_flags(&mut self.txn, PutFlags::APPEND, key, value);
        self.noting_map_full(result)
    }

    /// Puts a key that is greater than every other of its table, its value with a checksum before it. A body
    /// is copied once, to where it stays.
    fn append_sealed(
        &mut self,
        table: Table<'static>,
        key: &[u8],
        id: &BlockId,
        value: &[u8],
    ) -> Result<(), StoreError> {
        let bytes = CHECKSUM_BYTES + value.len();
        let result =
            table.get_or_put_reserved_with_flags(&mut self.txn, PutFlags::APPEND, key, bytes, |space| {
                space.write_all(&checksum(id, value))?;
                space.write_all(value)
            });
        self.noting_map_full(result.map(|_| ()))
    }

    fn delete(&mut self, table: Table<'static>, key: &[u8]) -> Result<(), StoreError> {
        // A page is copied before it is changed, so even this may need room.
        let result = table.delete(&mut self.txn, key);
        self.noting_map_full(result).map(|_| ())
    }

    fn noting_map_full<T>(&mut self, result: heed::Result<T>) -> Result<T, StoreError> {
        self.map_full |= matches!(result, Err(heed::Error::Mdb(MdbError::MapFull)));
        Ok(result?)
    }

    fn next_sequence(&self) -> Result<u64, StoreError> {
        match self.tables.records.last(&self.txn)? {
            Some((key, _)) => Ok(u64::from_be_bytes(exactly(key, "a sequence number")?) + 1),
            None => Ok(0),
        }
    }
}

impl<'s> Write for Transaction<'s, RwTxn<'s>> {
    fn put_block(&mut self, block: &CheckedBlock, work: Work) -> Result<(), StoreError> {
        let id = block.id();
        if self.sequence_of(&id)?.is_some() {
            return Ok(());
        }
        let sequence = self.next_sequence()?;
        let key = sequence.to_be_bytes();
        let record = BlockRecord { header: block.header().clone(), work };
        self.append_sealed(self.tables.records, &key, &id, &encode(&record))?;
        self.append_sealed(self.tables.bodies, &key, &id, block.encoded_body())?;
        let ids = (0..).zip(block.entries());
        self.transactions.extend(ids.map(|(index, entry)| transaction_entry(&entry.id(), sequence, index)));
        self.blocks.insert(id, sequence);
        Ok(())
    }

    fn extend_best(&mut self, record: &BlockRecord) -> Result<(), StoreError> {
        let (id, tip) = (record.id(), self.tip_id()?);
        if record.header.header.previous != tip || self.sequence_of(&id)?.is_none() {
            return Err(StoreError::cannot_follow(&id, &tip));
        }
        self.append(self.tables.best, &known_height_key(record.height())?, id.as_bytes())?;
        self.put(self.tables.meta, TIP_KEY, id.as_bytes())
    }

    fn retract_best(&mut self) -> Result<(), StoreError> {
        let tip = self.tip()?;
        let parent = tip.height.previous().map(|height| self.best_at(height)).transpose()?.flatten();
        let parent = parent.ok_or_else(|| StoreError::has_no_parent(&tip.id))?;
        self.delete(self.tables.best, &known_height_key(tip.height)?)?;
        self.put(self.tables.meta, TIP_KEY, parent.as_bytes())
    }

    fn put_account(&mut self, address: &Address, account: Account) -> Result<(), StoreError> {
        self.accounts.insert(*address, account);
        Ok(())
    }

    fn mark_invalid(&mut self, id: &BlockId) -> Result<(), StoreError> {
        self.put(self.tables.invalid, id.as_bytes(), &[])
    }

    fn watch(&mut self, address: &Address) -> Result<(), StoreError> {
        self.put(self.tables.watched, address.as_bytes(), &[])
    }

    fn put_activity(&mut self, address: &Address, entry: &Activity) -> Result<(), StoreError> {
        let height = known_height_key(entry.height)?;
        self.put(self.tables.activity, &activity_key(address, height, entry.index), &encode(entry))
    }

    fn remove_activity(&mut self, address: &Address, height: Height) -> Result<(), StoreError> {
        let height = known_height_key(height)?;
        let (first, last) = (activity_key(address, height, 0), activity_key(address, height, u32::MAX));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let result = self.tables.activity.delete_range(&mut self.txn, &range);
        self.noting_map_full(result).map(|_| ())
    }
}

/// The key of a height that a valid block has.
fn known_height_key(height: Height) -> Result<[u8; 4], StoreError> {
    height_key(height).ok_or_else(|| StoreError::damaged(format!("no block has height {height}")))
}
