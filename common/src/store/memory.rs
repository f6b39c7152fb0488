//! The store's twin in memory, for tests and simulations: a few maps, as obvious as can be.
//!
//! A write changes the maps in place and notes what was there before; when it fails, that is put back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::{Activity, BlockRecord, Read, Store, StoreError, Tip, TransactionPlace, Write};
use crate::address::Address;
use crate::consensus::CheckedBlock;
use crate::difficulty::Work;
use crate::hash::{BlockId, TransactionId};
use crate::ledger::Account;
use crate::rules::Rules;
use crate::time::Height;

/// A store in memory. Clones share it. Readers and a writer wait for each other, and transactions do not
/// nest: inside the closure of [`Store::read`] or [`Store::write`], neither may be called again.
#[derive(Clone)]
pub struct MemoryStore(Arc<RwLock<State>>);

struct State {
    records: Table<BlockId, BlockRecord>,
    bodies: Table<BlockId, Vec<u8>>,
    /// Never empty: it begins with genesis and ends with the tip.
    best: Table<Height, BlockId>,
    accounts: Table<Address, Account>,
    /// Where each transaction stands in each block of the tree.
    transactions: Table<(TransactionId, BlockId), u32>,
    invalid: Table<BlockId, ()>,
    watched: Table<Address, ()>,
    activity: Table<(Address, Height, u32), Activity>,
}

/// A panic in the middle of a write is a failed test already: there is no state to go on with.
const POISONED: &str = "no earlier write panicked";

/// A map, and what its entries were before the present write, the latest change last.
struct Table<K, V> {
    entries: BTreeMap<K, V>,
    before: Vec<(K, Option<V>)>,
}

impl<K: Ord + Clone, V> Table<K, V> {
    fn new(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { entries: entries.into_iter().collect(), before: Vec::new() }
    }

    fn insert(&mut self, key: K, value: V) {
        let before = self.entries.insert(key.clone(), value);
        self.before.push((key, before));
    }

    fn remove(&mut self, key: K) {
        let before = self.entries.remove(&key);
        self.before.push((key, before));
    }

    fn keep_changes(&mut self) {
        self.before.clear();
    }

    fn undo_changes(&mut self) {
        while let Some((key, before)) = self.before.pop() {
            match before {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
    }
}

impl MemoryStore {
    /// A store that holds genesis and what it allocates.
    pub fn new(rules: &Rules) -> Self {
        let genesis = BlockRecord::genesis(rules);
        let id = genesis.id();
        let alloc = rules.alloc.iter().filter(|(_, balance)| !balance.is_zero());
        Self(Arc::new(RwLock::new(State {
            records: Table::new([(id, genesis)]),
            bodies: Table::new([]),
            best: Table::new([(Height::GENESIS, id)]),
            accounts: Table::new(
                alloc.map(|(address, balance)| (*address, Account { balance: *balance, nonce: 0 })),
            ),
            transactions: Table::new([]),
            invalid: Table::new([]),
            watched: Table::new([]),
            activity: Table::new([]),
        })))
    }
}

impl Store for MemoryStore {
    fn read<T, E: From<StoreError>>(&self, look: impl FnOnce(&dyn Read) -> Result<T, E>) -> Result<T, E> {
        look(&*self.0.read().expect(POISONED))
    }

    fn write<T, E: From<StoreError>>(
        &self,
        mut change: impl FnMut(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut state = self.0.write().expect(POISONED);
        let result = change(&mut *state);
        state.end_write(result.is_ok());
        result
    }
}

impl State {
    fn end_write(&mut self, keep: bool) {
        fn end<K: Ord + Clone, V>(table: &mut Table<K, V>, keep: bool) {
            if keep { table.keep_changes() } else { table.undo_changes() }
        }
        let Self { records, bodies, best, accounts, transactions, invalid, watched, activity } = self;
        end(records, keep);
        end(bodies, keep);
        end(best, keep);
        end(accounts, keep);
        end(transactions, keep);
        end(invalid, keep);
        end(watched, keep);
        end(activity, keep);
    }
}

impl Read for State {
    fn tip(&self) -> Result<Tip, StoreError> {
        let last = self.best.entries.last_key_value();
        let record = last.and_then(|(_, id)| self.records.entries.get(id));
        record.map(Tip::from).ok_or_else(|| StoreError::damaged("the tip is not in the tree"))
    }

    fn record(&self, id: &BlockId) -> Result<Option<BlockRecord>, StoreError> {
        Ok(self.records.entries.get(id).cloned())
    }

    fn encoded_body(&self, id: &BlockId) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        Ok(self.bodies.entries.get(id).map(|body| Cow::Borrowed(&body[..])))
    }

    fn best_at(&self, height: Height) -> Result<Option<BlockId>, StoreError> {
        Ok(self.best.entries.get(&height).copied())
    }

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        Ok(self.accounts.entries.get(address).copied().unwrap_or_default())
    }

    fn find_transaction(&self, id: &TransactionId) -> Result<Option<TransactionPlace>, StoreError> {
        let blocks = (*id, BlockId::ZERO)..=(*id, BlockId::from_bytes([0xff; 32]));
        for ((_, block), index) in self.transactions.entries.range(blocks) {
            let record = self.records.entries.get(block);
            if let Some(record) = record.filter(|record| self.is_best(record).is_ok_and(|best| best)) {
                return Ok(Some(TransactionPlace { block: *block, height: record.height(), index: *index }));
            }
        }
        Ok(None)
    }

    fn is_invalid(&self, id: &BlockId) -> Result<bool, StoreError> {
        Ok(self.invalid.entries.contains_key(id))
    }

    fn watched(&self) -> Result<Vec<Address>, StoreError> {
        Ok(self.watched.entries.keys().copied().collect())
    }

    fn activity(&self, address: &Address, limit: usize) -> Result<Vec<Activity>, StoreError> {
        let all = (*address, Height::GENESIS, 0)..=(*address, Height::MAX, u32::MAX);
        Ok(self.activity.entries.range(all).rev().take(limit).map(|(_, entry)| entry.clone()).collect())
    }

    fn for_each_account(&self, visit: &mut dyn FnMut(Address, Account)) -> Result<(), StoreError> {
        self.accounts.entries.iter().for_each(|(address, account)| visit(*address, *account));
        Ok(())
    }
}

impl Write for State {
    fn put_block(&mut self, block: &CheckedBlock, work: Work) -> Result<(), StoreError> {
        let id = block.id();
        if self.records.entries.contains_key(&id) {
            return Ok(());
        }
        self.records.insert(id, BlockRecord { header: block.header().clone(), work });
        self.bodies.insert(id, block.encoded_body().to_vec());
        for (index, entry) in (0..).zip(block.entries()) {
            self.transactions.insert((entry.id(), id), index);
        }
        Ok(())
    }

    fn extend_best(&mut self, record: &BlockRecord) -> Result<(), StoreError> {
        let (id, tip) = (record.id(), self.tip()?.id);
        if record.header.header.previous != tip || !self.records.entries.contains_key(&id) {
            return Err(StoreError::cannot_follow(&id, &tip));
        }
        self.best.insert(record.height(), id);
        Ok(())
    }

    fn retract_best(&mut self) -> Result<(), StoreError> {
        let tip = self.tip()?;
        if tip.height == Height::GENESIS {
            return Err(StoreError::has_no_parent(&tip.id));
        }
        self.best.remove(tip.height);
        Ok(())
    }

    fn put_account(&mut self, address: &Address, account: Account) -> Result<(), StoreError> {
        if account == Account::default() {
            self.accounts.remove(*address);
        } else {
            self.accounts.insert(*address, account);
        }
        Ok(())
    }

    fn mark_invalid(&mut self, id: &BlockId) -> Result<(), StoreError> {
        self.invalid.insert(*id, ());
        Ok(())
    }

    fn watch(&mut self, address: &Address) -> Result<(), StoreError> {
        self.watched.insert(*address, ());
        Ok(())
    }

    fn put_activity(&mut self, address: &Address, entry: &Activity) -> Result<(), StoreError> {
        self.activity.insert((*address, entry.height, entry.index), entry.clone());
        Ok(())
    }

    fn remove_activity(&mut self, address: &Address, height: Height) -> Result<(), StoreError> {
        let entries = (*address, height, 0)..=(*address, height, u32::MAX);
        let keys: Vec<_> = self.activity.entries.range(entries).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.activity.remove(key));
        Ok(())
    }
}
