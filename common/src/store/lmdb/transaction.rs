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

use super::super::{Activity, BlockRecord, Read, StoreError, TableCounts, Tip, TransactionPlace, Write};
use super::environment::Environment;
use super::index::Index;
use super::tables::{
    BlockEntry, TIP_KEY, Table, Tables, TransactionEntry, activity_key, block_entry, block_id_start,
    block_in, exactly, height_key, place_in, sequence_key, transaction_entry,
};
use super::values::{
    CHECKSUM_BYTES, SealedAccount, checksum, decode_account, decode_record, encode_record, seal,
    seal_sequence, unseal,
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
    environment: &'s Environment,
    tables: &'s Tables,
    txn: Txn,
    /// What a writer has changed and not yet put into the tables.
    accounts: HashMap<Address, Account>,
    blocks: HashMap<BlockId, u32>,
    transactions: Vec<TransactionEntry>,
    /// Whether a writer ran out of room: all that it does from then on is in vain.
    map_full: bool,
}

impl<'s, Txn> Transaction<'s, Txn> {
    pub(super) fn new(environment: &'s Environment, tables: &'s Tables, txn: Txn) -> Self {
        let (accounts, blocks, transactions) = Default::default();
        Self { environment, tables, txn, accounts, blocks, transactions, map_full: false }
    }
}

impl<'s, Txn: Deref<Target = RoTxn<'s, WithoutTls>>> Transaction<'s, Txn> {
    pub(super) fn tables(&self) -> &'s Tables {
        self.tables
    }

    pub(super) fn txn(&self) -> &RoTxn<'s, WithoutTls> {
        &self.txn
    }

    /// A block of the tree and its sequence number.
    pub(super) fn find_block(&self, id: &BlockId) -> Result<Option<(u32, BlockRecord)>, StoreError> {
        if let Some(sequence) = self.blocks.get(id) {
            return Ok(Some((*sequence, self.record_at(*sequence)?.1)));
        }
        for entry in self.tables.block_index.find(&self.txn, block_id_start(id))? {
            let (got, record) = self.block_of(&entry)?;
            if got == *id {
                return Ok(Some((block_in(&entry), record)));
            }
        }
        self.check_absence(id)?;
        Ok(None)
    }

    /// The block that an entry of the index leads to.
    fn block_of(&self, entry: &BlockEntry) -> Result<(BlockId, BlockRecord), StoreError> {
        let sequence = block_in(entry);
        let (id, record) = self.record_at(sequence)?;
        if !entry.starts_with(block_id_start(&id)) {
            return Err(StoreError::damaged(format!("the index of blocks has another id for block {id}")));
        }
        Ok((id, record))
    }

    /// Whether a block that the index does not know is not there. To take one for unknown that is would be to hold
    /// against others what is this store's fault: their headers would seem to follow nothing, or other targets.
    fn check_absence(&self, id: &BlockId) -> Result<(), StoreError> {
        let index = &self.tables.block_index;
        let (got, expected) =
            (index.len(&self.txn)? + self.blocks.len() as u64, self.tables.records.len(&self.txn)?);
        if got != expected {
            return Err(StoreError::damaged(format!("the index of blocks has {got} entries for {expected}")));
        }
        index
            .around(&self.txn, block_id_start(id))?
            .iter()
            .try_for_each(|entry| self.block_of(entry).map(drop))
    }

    /// The block with a sequence number that was given.
    pub(super) fn record_at(&self, sequence: u32) -> Result<(BlockId, BlockRecord), StoreError> {
        let damaged =
            || StoreError::damaged(format!("the header of block number {sequence} is not what it was"));
        let sealed = self.tables.records.get(&self.txn, &sequence_key(sequence))?.ok_or_else(damaged)?;
        let record = sealed.get(CHECKSUM_BYTES..).and_then(decode_record).ok_or_else(damaged)?;
        let id = record.id();
        unseal(id.as_bytes(), sealed).ok_or_else(damaged)?;
        Ok((id, record))
    }

    /// The body of the block with this sequence number, with its checksum.
    pub(super) fn body_at(&self, sequence: u32) -> Result<Option<&[u8]>, StoreError> {
        self.environment.check_the_rest()?;
        Ok(self.tables.bodies.get(&self.txn, &sequence_key(sequence))?)
    }

    /// The value of a key in a table whose values are sealed with their keys. Where there is none the entries beside
    /// it are looked at: had a bit of the key itself changed, it would be one of them, for the order of keys is sound.
    fn sealed(&self, table: Table, key: &[u8], what: &str) -> Result<Option<&[u8]>, StoreError> {
        let next = table.get_greater_than_or_equal_to(&self.txn, key)?;
        if let Some((found, value)) = next
            && found == key
        {
            return unsealed(key, value, what).map(Some);
        }
        for (key, value) in next.into_iter().chain(table.get_lower_than(&self.txn, key)?) {
            unsealed(key, value, what)?;
        }
        Ok(None)
    }

    /// The sequence number of the block of this height in the best chain.
    fn best_sequence(&self, height: Height) -> Result<Option<u32>, StoreError> {
        let Some(key) = height_key(height) else { return Ok(None) };
        let found = self.sealed(self.tables.best, &key, "an entry of the best chain")?;
        found.map(|bytes| Ok(u32::from_be_bytes(exactly(bytes, "a sequence number")?))).transpose()
    }

    fn tip_id(&self) -> Result<BlockId, StoreError> {
        let found = self.tables.meta.get(&self.txn, TIP_KEY)?.unwrap_or_default();
        Ok(BlockId::from_bytes(exactly(found, "the tip")?))
    }

    /// Where an entry of the index leads, if it is to the best chain.
    fn place(&self, entry: &TransactionEntry) -> Result<Option<TransactionPlace>, StoreError> {
        let (sequence, index) = place_in(entry);
        let (block, record) = self.record_at(sequence)?;
        let place = TransactionPlace { block, height: record.height(), index };
        Ok((self.best_sequence(place.height)? == Some(sequence)).then_some(place))
    }
}

impl<'s, Txn: Deref<Target = RoTxn<'s, WithoutTls>>> Read for Transaction<'s, Txn> {
    fn tip(&self) -> Result<Tip, StoreError> {
        let record = self.record(&self.tip_id()?)?;
        record.as_ref().map(Tip::from).ok_or_else(|| StoreError::damaged("the tip is not in the tree"))
    }

    fn record(&self, id: &BlockId) -> Result<Option<BlockRecord>, StoreError> {
        Ok(self.find_block(id)?.map(|(_, record)| record))
    }

    fn encoded_body(&self, id: &BlockId) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        let Some((sequence, record)) = self.find_block(id)? else { return Ok(None) };
        match self.body_at(sequence)? {
            None if record.height() == Height::GENESIS => Ok(None),
            None => Err(StoreError::damaged(format!("the body of block {id} is missing"))),
            Some(sealed) => match unseal(id.as_bytes(), sealed) {
                Some(body) => Ok(Some(Cow::Borrowed(body))),
                None => {
                    Err(StoreError::damaged(format!("the body of block {id} does not match its checksum")))
                }
            },
        }
    }

    fn best_at(&self, height: Height) -> Result<Option<BlockId>, StoreError> {
        let Some(sequence) = self.best_sequence(height)? else { return Ok(None) };
        Ok(Some(self.record_at(sequence)?.0))
    }

    fn best_record_at(&self, height: Height) -> Result<Option<BlockRecord>, StoreError> {
        let sequence = self.best_sequence(height)?;
        sequence.map(|sequence| Ok(self.record_at(sequence)?.1)).transpose()
    }

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        if let Some(changed) = self.accounts.get(address) {
            return Ok(*changed);
        }
        let found = self.sealed(self.tables.accounts, address.as_bytes(), ACCOUNT)?;
        found.map_or(Ok(Account::default()), decode_account)
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
            entries.push(activity(entry?)?);
        }
        // An entry whose key was damaged is no longer among them, but beside them: see `sealed`.
        let after = self.tables.activity.get_greater_than(&self.txn, &last_activity_key(address))?;
        let before = match entries.len() < limit {
            true => self.tables.activity.get_lower_than(&self.txn, address.as_bytes())?,
            false => None,
        };
        for (key, value) in before.into_iter().chain(after) {
            unsealed(key, value, HISTORY)?;
        }
        Ok(entries)
    }

    fn for_each_activity(
        &self,
        address: &Address,
        visit: &mut dyn FnMut(Activity),
    ) -> Result<(), StoreError> {
        for entry in self.tables.activity.prefix_iter(&self.txn, address.as_bytes())? {
            visit(activity(entry?)?);
        }
        Ok(())
    }

    fn check_tables(&self) -> Result<TableCounts, Vec<String>> {
        self.check()
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
                None => visit(address, decode_account(unsealed(key, value, ACCOUNT)?)?),
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
                let sealed = SealedAccount::new(&address, &account);
                self.put(self.tables.accounts, address.as_bytes(), sealed.as_bytes())?;
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
        // LMDB would refuse it too, in a way that heed takes for a value at no address.
        if table.last(&self.txn)?.is_some_and(|(last, _)| last >= key) {
            return Err(StoreError::damaged("a table holds a block that was not put yet"));
        }
        let bytes = CHECKSUM_BYTES + value.len();
        let result =
            table.get_or_put_reserved_with_flags(&mut self.txn, PutFlags::APPEND, key, bytes, |space| {
                space.write_all(&checksum(id.as_bytes(), value))?;
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
        result.map_err(|error| self.environment.failed(error))
    }

    fn next_sequence(&self) -> Result<u32, StoreError> {
        let Some((key, _)) = self.tables.records.last(&self.txn)? else { return Ok(0) };
        let last = u64::from_be_bytes(exactly(key, "a sequence number")?);
        let next = last.checked_add(1).and_then(|next| u32::try_from(next).ok());
        next.ok_or_else(|| StoreError::damaged(format!("no store has a block number {last}")))
    }
}

impl<'s> Write for Transaction<'s, RwTxn<'s>> {
    fn put_block(&mut self, block: &CheckedBlock, work: Work) -> Result<(), StoreError> {
        let id = block.id();
        if self.find_block(&id)?.is_some() {
            return Ok(());
        }
        let sequence = self.next_sequence()?;
        let key = sequence_key(sequence);
        let record = BlockRecord { header: block.header().clone(), work };
        self.append_sealed(self.tables.records, &key, &id, &encode_record(&record))?;
        self.append_sealed(self.tables.bodies, &key, &id, block.encoded_body())?;
        let ids = (0..).zip(block.entries());
        self.transactions.extend(ids.map(|(index, entry)| transaction_entry(&entry.id(), sequence, index)));
        self.blocks.insert(id, sequence);
        Ok(())
    }

    fn extend_best(&mut self, record: &BlockRecord) -> Result<(), StoreError> {
        let (id, tip) = (record.id(), self.tip_id()?);
        let found = if record.header.header.previous == tip { self.find_block(&id)? } else { None };
        let (sequence, _) = found.ok_or_else(|| StoreError::cannot_follow(&id, &tip))?;
        let key = known_height_key(record.height())?;
        self.append(self.tables.best, &key, &seal_sequence(&key, sequence))?;
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
        let key = activity_key(address, known_height_key(entry.height)?, entry.index);
        self.put(self.tables.activity, &key, &seal(&key, &encode(entry)))
    }

    fn remove_activity(&mut self, address: &Address, height: Height) -> Result<(), StoreError> {
        let height = known_height_key(height)?;
        let (first, last) = (activity_key(address, height, 0), activity_key(address, height, u32::MAX));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let result = self.tables.activity.delete_range(&mut self.txn, &range);
        self.noting_map_full(result).map(|_| ())
    }
}

/// What sentences about damage call an account.
const ACCOUNT: &str = "an account";
/// The same for what is remembered of a watched address.
const HISTORY: &str = "an entry of the history";

/// The greatest key that an entry of an address can have.
fn last_activity_key(address: &Address) -> [u8; 40] {
    let mut key = [0xff; 40];
    key[..32].copy_from_slice(address.as_bytes());
    key
}

/// The value of an entry that is sealed with its key.
fn unsealed<'v>(key: &[u8], value: &'v [u8], what: &str) -> Result<&'v [u8], StoreError> {
    unseal(key, value).ok_or_else(|| StoreError::damaged(format!("{what} does not match its checksum")))
}

/// What an entry of the history says.
fn activity((key, value): (&[u8], &[u8])) -> Result<Activity, StoreError> {
    Ok(decode(unsealed(key, value, HISTORY)?)?)
}

/// The key of a height that a valid block has.
fn known_height_key(height: Height) -> Result<[u8; 4], StoreError> {
    height_key(height).ok_or_else(|| StoreError::damaged(format!("no block has height {height}")))
}
