//! A machine's disk: the store's twin in memory, which outlives the program, and whose writes can be told to
//! fail in the middle.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::address::Address;
use crate::consensus::CheckedBlock;
use crate::difficulty::Work;
use crate::hash::{BlockId, TransactionId};
use crate::ledger::Account;
use crate::rules::Rules;
use crate::store::{
    Activity, BlockRecord, MemoryStore, Read, Store, StoreError, Tip, TransactionPlace, Write,
};
use crate::time::Height;

/// No change of the next write fails.
const NEVER: u64 = u64::MAX;

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct Disk {
    store: MemoryStore,
    /// Changes that still succeed.
    succeed: Arc<AtomicU64>,
    /// Of so many changes of an account one is forgotten, to see that the checks notice; 0: none.
    forget_one_in: u64,
    changes: Arc<AtomicU64>,
}

impl Disk {
    pub(crate) fn new(rules: &Rules) -> Self {
        Self {
            store: MemoryStore::new(rules),
            succeed: Arc::new(AtomicU64::new(NEVER)),
            forget_one_in: 0,
            changes: Arc::default(),
        }
    }

    /// A disk that now and then says that it wrote what it did not write.
    #[cfg(test)]
    pub(crate) fn forgetful(rules: &Rules, forget_one_in: u64) -> Self {
        Self { forget_one_in, ..Self::new(rules) }
    }

    /// After so many more changes the next fails, and with it the write that it is part of.
    pub(crate) fn fail_after(&self, changes: u64) {
        self.succeed.store(changes, Ordering::Relaxed);
    }

    pub(crate) fn is_about_to_fail(&self) -> bool {
        self.succeed.load(Ordering::Relaxed) != NEVER
    }

    /// From now on it works. Says whether a failure that was asked for is still to come.
    pub(crate) fn mend(&self) -> bool {
        self.succeed.swap(NEVER, Ordering::Relaxed) != NEVER
    }

    fn change(&self) -> Result<(), StoreError> {
        let left = self.succeed.load(Ordering::Relaxed);
        if left == NEVER {
            return Ok(());
        }
        if left == 0 {
            let source = std::io::Error::other("the disk failed");
            return Err(StoreError::Io { action: "write", path: "a simulated disk".to_owned(), source });
        }
        self.succeed.store(left - 1, Ordering::Relaxed);
        Ok(())
    }

    fn forgets(&self) -> bool {
        let count = self.changes.fetch_add(1, Ordering::Relaxed);
        self.forget_one_in > 0 && count % self.forget_one_in == self.forget_one_in - 1
    }
}

impl Store for Disk {
    fn read<T, E: From<StoreError>>(&self, look: impl FnOnce(&dyn Read) -> Result<T, E>) -> Result<T, E> {
        self.store.read(look)
    }

    fn write<T, E: From<StoreError>>(
        &self,
        mut change: impl FnMut(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        self.store.write(|writer| change(&mut Changes { disk: self, writer }))
    }
}

/// A writing transaction on a disk.
struct Changes<'a> {
    disk: &'a Disk,
    writer: &'a mut dyn Write,
}

impl Read for Changes<'_> {
    fn tip(&self) -> Result<Tip, StoreError> {
        self.writer.tip()
    }

    fn record(&self, id: &BlockId) -> Result<Option<BlockRecord>, StoreError> {
        self.writer.record(id)
    }

    fn encoded_body(&self, id: &BlockId) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        self.writer.encoded_body(id)
    }

    fn best_at(&self, height: Height) -> Result<Option<BlockId>, StoreError> {
        self.writer.best_at(height)
    }

    fn account(&self, address: &Address) -> Result<Account, StoreError> {
        self.writer.account(address)
    }

    fn find_transaction(&self, id: &TransactionId) -> Result<Option<TransactionPlace>, StoreError> {
        self.writer.find_transaction(id)
    }

    fn is_invalid(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.writer.is_invalid(id)
    }

    fn watched(&self) -> Result<Vec<Address>, StoreError> {
        self.writer.watched()
    }

    fn activity(&self, address: &Address, limit: usize) -> Result<Vec<Activity>, StoreError> {
        self.writer.activity(address, limit)
    }

    fn for_each_account(&self, visit: &mut dyn FnMut(Address, Account)) -> Result<(), StoreError> {
        self.writer.for_each_account(visit)
    }
}

impl Write for Changes<'_> {
    fn put_block(&mut self, block: &CheckedBlock, work: Work) -> Result<(), StoreError> {
        self.disk.change()?;
        self.writer.put_block(block, work)
    }

    fn extend_best(&mut self, record: &BlockRecord) -> Result<(), StoreError> {
        self.disk.change()?;
        self.writer.extend_best(record)
    }

    fn retract_best(&mut self) -> Result<(), StoreError> {
        self.disk.change()?;
        self.writer.retract_best()
    }

    fn put_account(&mut self, address: &Address, account: Account) -> Result<(), StoreError> {
        self.disk.change()?;
        if self.disk.forgets() {
            return Ok(());
        }
        self.writer.put_account(address, account)
    }

    fn mark_invalid(&mut self, id: &BlockId) -> Result<(), StoreError> {
        self.disk.change()?;
        self.writer.mark_invalid(id)
    }

    fn watch(&mut self, address: &Address) -> Result<(), StoreError> {
        self.disk.change()?;
        self.writer.watch(address)
    }

    fn put_activity(&mut self, address: &Address, entry: &Activity) -> Result<(), StoreError> {
        self.disk.change()?;
        self.writer.put_activity(address, entry)
    }

    fn remove_activity(&mut self, address: &Address, height: Height) -> Result<(), StoreError> {
        self.disk.change()?;
        self.writer.remove_activity(address, height)
    }
}
