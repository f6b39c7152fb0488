//! Payments that wait for a block: by sender in nonce order, by fee a byte and then age across senders,
//! and bounded.
//!
//! A payment that waits for a missing one of its sender is kept aside. No block can hold it, so it never pays the
//! fee that it names: in a full pool all of those aside give way before any other does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::limits::{MAX_RECENT, MAX_REFUSED_IDS, SENDER_SHARE};
use super::load::Count;
use crate::address::Address;
use crate::amount::Amount;
use crate::consensus::{CheckedTransaction, TransactionError, check_form, not_expired};
use crate::hash::TransactionId;
use crate::ledger::Account;
use crate::rules::Rules;
use crate::time::Height;
use crate::transaction::{Payment, Transaction};

mod error;
mod index;
mod queue;

pub use error::MempoolError;
pub use index::PoolIndex;

use index::RefusedIds;
use queue::{Moved, Priority, SenderQueue, total_units};

/// How much a pool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolLimits {
    /// Transactions.
    pub transactions: usize,
    /// Bytes of their encodings.
    pub bytes: usize,
}

impl Default for MempoolLimits {
    fn default() -> Self {
        Self { transactions: 100_000, bytes: 64 * 1024 * 1024 }
    }
}

#[derive(Debug)]
struct Entry {
    transaction: Arc<CheckedTransaction>,
    priority: Priority,
}

/// A payment that asks to be taken.
struct Newcomer<'a> {
    payment: &'a Payment,
    sender: &'a Address,
    bytes: usize,
    priority: Priority,
}

/// The pool. Accounts are passed in, as they are at the tip; [`Mempool::tip_changed`] keeps the two
/// together.
#[derive(Debug, Default)]
pub struct Mempool {
    limits: MempoolLimits,
    entries: HashMap<TransactionId, Entry>,
    index: PoolIndex,
    by_sender: HashMap<Address, SenderQueue>,
    /// All entries, the least wanted first.
    by_priority: BTreeSet<(Priority, TransactionId)>,
    /// Those that end, the soonest first.
    by_end: BTreeSet<(u32, TransactionId)>,
    /// All ids ascending, for pages of them.
    ids: BTreeSet<TransactionId>,
    bytes: usize,
    arrivals: u64,
    refused: RefusedIds,
    /// What gave way to better-paying payments since [`Mempool::take_gone`].
    gone: Vec<(TransactionId, Amount)>,
}

impl Mempool {
    /// An empty pool with these limits.
    pub fn new(limits: MempoolLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all encodings.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn counts(&self) -> [Count; 5] {
        let (remembered, left) = self.index.counts();
        [
            Count::new("payments of the pool", self.entries.len(), self.limits.transactions),
            Count::new("bytes of the pool", self.bytes, self.limits.bytes),
            Count::new("remembered payments", remembered, self.limits.transactions + MAX_RECENT),
            Count::new("payments that left the pool", left, MAX_RECENT),
            Count::new("refused ids", self.refused.len(), MAX_REFUSED_IDS),
        ]
    }

    /// Panics unless all that is kept of the payments agrees, on these accounts.
    #[cfg(test)]
    pub(super) fn audit(&self, account_of: impl Fn(&Address) -> Account) {
        let mut entries = 0;
        for (sender, queue) in &self.by_sender {
            assert!(!queue.is_empty());
            for (id, in_order) in queue.audit(account_of(sender).nonce) {
                let entry = &self.entries[&id];
                assert_eq!((entry.transaction.sender(), entry.priority.in_order), (*sender, in_order));
                assert!(self.by_priority.contains(&(entry.priority, id)) && self.ids.contains(&id));
                entries += 1;
            }
        }
        let lengths = [self.entries.len(), self.by_priority.len(), self.ids.len()];
        assert_eq!(lengths, [entries; 3]);
        assert_eq!(self.bytes, self.entries.values().map(|it| it.transaction.encoded_bytes()).sum::<usize>());
    }

    /// The checked transactions by id, for threads that check blocks.
    pub fn index(&self) -> &PoolIndex {
        &self.index
    }

    /// A transaction of the pool.
    pub fn get(&self, id: &TransactionId) -> Option<&Arc<CheckedTransaction>> {
        self.entries.get(id).map(|entry| &entry.transaction)
    }

    /// Up to `limit` ids after this one, ascending.
    pub fn ids_after(&self, after: Option<TransactionId>, limit: usize) -> Vec<TransactionId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        self.ids.range((start, Unbounded)).take(limit).copied().collect()
    }

    /// Whether an id needs no further look: it is here, or its signature is wrong.
    pub fn is_settled(&self, id: &TransactionId) -> bool {
        self.entries.contains_key(id) || self.refused.contains(id)
    }

    /// All that can be said of a transaction, whose sender is the address of its key, before its signature is
    /// checked: cheapest first.
    pub fn check_before_signature(
        &self,
        rules: &Rules,
        transaction: &Transaction,
        id: &TransactionId,
        sender: &Address,
        next_height: Height,
        account_of: impl FnOnce(&Address) -> Account,
    ) -> Result<(), MempoolError> {
        if self.entries.contains_key(id) {
            return Err(MempoolError::Known);
        }
        if self.refused.contains(id) {
            return Err(MempoolError::RefusedBefore);
        }
        let payment = &transaction.payment;
        check_form(rules, &transaction.borrowed())?;
        not_expired(payment.valid_until, next_height)?;
        let bytes = payment.data.len() + payment.public_key.len() + transaction.signature.len() + 100;
        let in_order = self.check_place(payment, sender, account_of(sender))?;
        self.check_room(&self.newcomer(payment, sender, bytes, in_order))
    }

    /// Adds a transaction, checking again what may have changed since its signature check began.
    pub fn insert(
        &mut self,
        transaction: Arc<CheckedTransaction>,
        next_height: Height,
        account: Account,
    ) -> Result<(), MempoolError> {
        let (id, payment, sender) = (transaction.id(), transaction.payment(), transaction.sender());
        if self.entries.contains_key(&id) {
            return Err(MempoolError::Known);
        }
        not_expired(payment.valid_until, next_height)?;
        let in_order = self.check_place(payment, &sender, account)?;
        let bytes = transaction.encoded_bytes();
        let newcomer = self.newcomer(payment, &sender, bytes, in_order);
        let priority = newcomer.priority;
        self.make_room(&newcomer)?;
        let queue = self.by_sender.entry(sender).or_insert_with(|| SenderQueue::of_account(account.nonce));
        let moved = [queue.follow(account.nonce), queue.insert(payment, id, bytes)];
        moved.into_iter().for_each(|moved| self.reorder(moved));
        self.arrivals += 1;
        self.bytes += bytes;
        self.by_priority.insert((priority, id));
        if payment.valid_until != 0 {
            self.by_end.insert((payment.valid_until, id));
        }
        self.ids.insert(id);
        self.index.insert(&transaction);
        self.entries.insert(id, Entry { transaction, priority });
        Ok(())
    }

    /// The payments that gave way to others since this was last asked, and their fees.
    pub fn take_gone(&mut self) -> Vec<(TransactionId, Amount)> {
        std::mem::take(&mut self.gone)
    }

    /// Remembers that a transaction is wrong for good: its signature is bad.
    pub fn refuse(&mut self, id: TransactionId) {
        self.refused.insert(id);
    }

    /// Follows the chain: the accounts of these senders may have changed, and a block of `next_height`
    /// comes next. What no longer can be in a block leaves the pool.
    pub fn tip_changed(
        &mut self,
        senders: impl IntoIterator<Item = Address>,
        next_height: Height,
        account_of: impl Fn(&Address) -> Account,
    ) {
        self.expire(next_height);
        for sender in senders {
            if self.by_sender.contains_key(&sender) {
                self.follow_account(&sender, account_of(&sender));
            }
        }
    }

    /// A block of `next_height` comes next: what it may no longer hold leaves the pool.
    pub fn expire(&mut self, next_height: Height) {
        while let Some((valid_until, id)) = self.by_end.first().copied() {
            if u64::from(valid_until) >= next_height.get() {
                break;
            }
            self.remove(&id);
        }
    }

    /// Drops what an account can no longer send: used nonces, and all from where its money ends.
    fn follow_account(&mut self, sender: &Address, account: Account) {
        let Some(queue) = self.by_sender.get_mut(sender) else { return };
        let moved = queue.follow(account.nonce);
        let gone = queue.beyond(account.nonce, account.balance);
        self.reorder(moved);
        for id in gone {
            self.remove(&id);
        }
    }

    /// Gives payments that came in order, or are aside now, their place among those that are wanted more or less.
    fn reorder(&mut self, moved: Moved) {
        for id in moved.ids {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            self.by_priority.remove(&(entry.priority, id));
            entry.priority.in_order = moved.in_order;
            self.by_priority.insert((entry.priority, id));
        }
    }

    /// Whether a payment has a place in its sender's queue: nonce, gap and funds. If so, says whether it would be in
    /// order there, or aside because an earlier one is missing.
    fn check_place(
        &self,
        payment: &Payment,
        sender: &Address,
        account: Account,
    ) -> Result<bool, MempoolError> {
        let nonce = payment.nonce;
        if nonce < account.nonce {
            return Err(TransactionError::NonceTooLow { got: nonce, next: account.nonce }.into());
        }
        let empty = SenderQueue::of_account(account.nonce);
        let queue = self.by_sender.get(sender).unwrap_or(&empty);
        if queue.get(nonce).is_some() {
            return Err(MempoolError::Conflict { nonce });
        }
        let end = queue.end_for(account.nonce);
        if nonce > end && queue.is_full_aside(end) {
            return Err(MempoolError::TooManyGaps);
        }
        let total = queue.total_before(nonce) + total_units(payment);
        if total > u128::from(account.balance.units()) {
            let total = Amount::from_units(u64::try_from(total).unwrap_or(u64::MAX));
            return Err(TransactionError::InsufficientFunds { balance: account.balance, total }.into());
        }
        Ok(nonce <= end)
    }

    fn newcomer<'a>(
        &self,
        payment: &'a Payment,
        sender: &'a Address,
        bytes: usize,
        in_order: bool,
    ) -> Newcomer<'a> {
        let priority = Priority::new(in_order, payment.fee, bytes, self.arrivals + 1);
        Newcomer { payment, sender, bytes, priority }
    }

    /// Whether the pool has room, or something in it that is wanted less.
    fn check_room(&self, newcomer: &Newcomer<'_>) -> Result<(), MempoolError> {
        let own = self.own_to_go(newcomer)?;
        match self.by_priority.first() {
            Some(least) if !self.fits(own.len(), self.bytes_of(&own), newcomer.bytes) => {
                self.check_beats(newcomer, least)
            }
            _ => Ok(()),
        }
    }

    /// Which of its sender's own payments have to go for a newcomer, so that the sender has no more than his share. None
    /// but those aside, and only for one in order, the last first: otherwise a share full of payments that wait for a
    /// missing one would keep out the missing one itself.
    fn own_to_go(&self, newcomer: &Newcomer<'_>) -> Result<Vec<TransactionId>, MempoolError> {
        let Some(queue) = self.by_sender.get(newcomer.sender) else { return Ok(Vec::new()) };
        let most = (self.limits.transactions / SENDER_SHARE).max(1);
        let most_bytes = self.limits.bytes / SENDER_SHARE;
        let (mut count, mut bytes) = (queue.len(), queue.bytes());
        let mut aside = queue.last_first(newcomer.payment.nonce).filter(|_| newcomer.priority.in_order);
        let mut to_go = Vec::new();
        while count >= most || (count > 0 && bytes + newcomer.bytes > most_bytes) {
            let (id, bytes_of_it) = aside.next().ok_or(MempoolError::SenderFull { most, most_bytes })?;
            to_go.push(id);
            count -= 1;
            bytes -= bytes_of_it;
        }
        Ok(to_go)
    }

    fn bytes_of(&self, ids: &[TransactionId]) -> usize {
        ids.iter().filter_map(|id| self.entries.get(id)).map(|entry| entry.transaction.encoded_bytes()).sum()
    }

    /// Whether one of so many bytes fits when some are gone.
    fn fits(&self, gone: usize, gone_bytes: usize, bytes: usize) -> bool {
        self.entries.len() - gone < self.limits.transactions
            && self.bytes - gone_bytes + bytes <= self.limits.bytes
    }

    /// Whether a payment may take the place of another that is wanted less.
    fn check_beats(
        &self,
        newcomer: &Newcomer<'_>,
        (least, id): &(Priority, TransactionId),
    ) -> Result<(), MempoolError> {
        if least.in_order && !newcomer.priority.in_order {
            return Err(MempoolError::FullBehindGap);
        }
        if *least >= newcomer.priority {
            return Err(MempoolError::Full { least_fee: least.fee_to_beat(newcomer.bytes) });
        }
        let own = self.entries.get(id).filter(|entry| entry.transaction.sender() == *newcomer.sender);
        match own {
            Some(entry) if entry.transaction.payment().nonce < newcomer.payment.nonce => {
                Err(MempoolError::FullBehindOwn)
            }
            _ => Ok(()),
        }
    }

    /// Makes room for a payment: what is wanted least gives way, with the later ones of its sender, which cannot go
    /// without it. Nothing does when that is not enough.
    fn make_room(&mut self, newcomer: &Newcomer<'_>) -> Result<(), MempoolError> {
        let own = self.own_to_go(newcomer)?;
        let bytes = newcomer.bytes;
        let (mut gone, mut gone_bytes) = (BTreeMap::new(), self.bytes_of(&own));
        for least in &self.by_priority {
            if self.fits(own.len() + gone.len(), gone_bytes, bytes) {
                break;
            }
            self.check_beats(newcomer, least)?;
            for id in self.with_later(&least.1).filter(|id| !own.contains(id)) {
                let Some(entry) = self.entries.get(&id) else { continue };
                if gone.insert(id, entry.transaction.payment().fee).is_none() {
                    gone_bytes += entry.transaction.encoded_bytes();
                }
            }
        }
        own.iter().chain(gone.keys()).for_each(|id| self.remove(id));
        self.gone.extend(gone);
        Ok(())
    }

    fn remove(&mut self, id: &TransactionId) {
        let Some(entry) = self.entries.remove(id) else { return };
        let (payment, sender) = (entry.transaction.payment(), entry.transaction.sender());
        self.bytes -= entry.transaction.encoded_bytes();
        self.by_priority.remove(&(entry.priority, *id));
        self.by_end.remove(&(payment.valid_until, *id));
        self.ids.remove(id);
        self.index.leave(*id, |id| self.entries.contains_key(id));
        if let Some(queue) = self.by_sender.get_mut(&sender) {
            let moved = queue.remove(payment.nonce);
            if queue.is_empty() {
                self.by_sender.remove(&sender);
            }
            self.reorder(moved);
        }
    }

    /// A transaction and the later ones of its sender, which cannot go without it.
    fn with_later(&self, id: &TransactionId) -> impl Iterator<Item = TransactionId> {
        let entry = self.entries.get(id).map(|entry| &entry.transaction);
        let queue = entry.and_then(|it| Some((self.by_sender.get(&it.sender())?, it.payment().nonce)));
        queue.into_iter().flat_map(|(queue, nonce)| queue.from(nonce))
    }

    /// The transactions that a block should hold, in their order: by fee a byte, then age, each sender's
    /// in nonce order, at most `max_bytes` of encodings. Of the chain only [`Mempool::expire`] must have been
    /// followed: the accounts tell which payments are in it already.
    pub fn select(
        &self,
        max_bytes: usize,
        account_of: impl Fn(&Address) -> Account,
    ) -> Vec<Arc<CheckedTransaction>> {
        use std::collections::BinaryHeap;
        // Balances are followed only downwards: what a block pays to a sender may be spent in the next.
        let mut accounts: HashMap<Address, Account> = HashMap::new();
        let mut heads: BinaryHeap<(Priority, TransactionId)> = BinaryHeap::new();
        for (sender, queue) in &self.by_sender {
            let account = account_of(sender);
            if let Some(entry) = queue.get(account.nonce).and_then(|id| self.entries.get(&id)) {
                heads.push((entry.priority, entry.transaction.id()));
                accounts.insert(*sender, account);
            }
        }
        let (mut selected, mut bytes) = (Vec::new(), 0);
        while let Some((_, id)) = heads.pop() {
            let Some(entry) = self.entries.get(&id) else { continue };
            let transaction = &entry.transaction;
            let sender = transaction.sender();
            let Some(account) = accounts.get_mut(&sender) else { continue };
            let Ok(charged) = crate::ledger::charge(*account, transaction.entry()) else { continue };
            if bytes + transaction.encoded_bytes() > max_bytes {
                continue;
            }
            bytes += transaction.encoded_bytes();
            *account = charged;
            selected.push(transaction.clone());
            let next = self.by_sender.get(&sender).and_then(|queue| queue.get(charged.nonce));
            if let Some(next) = next.and_then(|id| self.entries.get(&id)) {
                heads.push((next.priority, next.transaction.id()));
            }
        }
        selected
    }
}
