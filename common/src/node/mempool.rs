//! Payments that wait for a block: by sender in nonce order, by fee a byte and then age across senders,
//! and bounded.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use super::limits::{MAX_GAP_PER_SENDER, MAX_RECENT, MAX_REFUSED_IDS, SENDER_SHARE};
use super::load::Count;
use crate::address::Address;
use crate::amount::Amount;
use crate::consensus::{CheckedTransaction, KnownTransactions, TransactionError, check_form, not_expired};
use crate::hash::TransactionId;
use crate::ledger::Account;
use crate::rules::Rules;
use crate::time::Height;
use crate::transaction::{Payment, Transaction};
use crate::wire::SubmitResult;

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

/// Why a transaction is not in the pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MempoolError {
    /// It is there already.
    #[error("it is known already")]
    Known,
    /// Its signature was found to be wrong before.
    #[error("its signature was found to be wrong before")]
    RefusedBefore,
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] TransactionError),
    /// Another one of its sender has its nonce.
    #[error("another payment of its sender with nonce {nonce} is waiting already")]
    Conflict {
        /// The nonce.
        nonce: u64,
    },
    /// Too many of its sender already wait for an earlier one.
    #[error("an earlier payment of its sender is missing, and {MAX_GAP_PER_SENDER} already wait for it")]
    TooManyGaps,
    /// Its sender has its share of the pool already.
    #[error(
        "its sender has {most} payments or {most_bytes} bytes waiting already, which is its share of the pool"
    )]
    SenderFull {
        /// How many one sender may have.
        most: usize,
        /// How many bytes of them.
        most_bytes: usize,
    },
    /// The pool is full of payments that pay as much for a byte, or more.
    #[error("the pool is full: to be taken it needs a fee of {least_fee} or more")]
    Full {
        /// The least fee with which it would have been taken.
        least_fee: Amount,
    },
    /// The pool is full, and what pays least there is an earlier payment of the same sender: no fee would help.
    #[error("the pool is full, and an earlier payment of its sender pays least of all there")]
    FullBehindOwn,
    /// Too many payments wait for their signature check, or there is no pool.
    #[error("too many payments wait to be checked; send it again later")]
    Busy,
}

impl MempoolError {
    /// The protocol's number for it.
    pub fn result(&self) -> SubmitResult {
        match self {
            Self::Known => SubmitResult::KNOWN,
            Self::RefusedBefore => SubmitResult::BAD_SIGNATURE,
            Self::Conflict { .. } => SubmitResult::CONFLICT,
            Self::TooManyGaps => SubmitResult::NONCE_GAP,
            Self::SenderFull { .. } | Self::Full { .. } | Self::FullBehindOwn | Self::Busy => {
                SubmitResult::POOL_FULL
            }
            Self::Rule(error) => match error {
                TransactionError::BadSignature => SubmitResult::BAD_SIGNATURE,
                TransactionError::NonceTooLow { .. } => SubmitResult::NONCE_TOO_LOW,
                TransactionError::NonceGap { .. } => SubmitResult::NONCE_GAP,
                TransactionError::InsufficientFunds { .. } => SubmitResult::FUNDS,
                TransactionError::FeeTooLow { .. } => SubmitResult::FEE,
                TransactionError::Expired { .. } => SubmitResult::EXPIRED,
                _ => SubmitResult::FORM,
            },
        }
    }
}

/// What a miner takes first: the higher fee a byte, then the older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Priority {
    /// Millionths a byte, times 2^20.
    fee_rate: u64,
    arrival: Reverse<u64>,
}

impl Priority {
    fn new(fee: Amount, bytes: usize, arrival: u64) -> Self {
        let rate = (u128::from(fee.units()) << 20) / bytes.max(1) as u128;
        Self { fee_rate: u64::try_from(rate).unwrap_or(u64::MAX), arrival: Reverse(arrival) }
    }

    /// The least fee with which a later payment of this many bytes comes before this.
    fn fee_to_beat(&self, bytes: usize) -> Amount {
        let scaled = (u128::from(self.fee_rate) + 1) * bytes.max(1) as u128;
        Amount::from_units(u64::try_from(scaled.div_ceil(1 << 20)).unwrap_or(u64::MAX))
    }
}

#[derive(Debug)]
struct Entry {
    transaction: Arc<CheckedTransaction>,
    priority: Priority,
}

/// One sender's transactions.
#[derive(Debug, Default)]
struct SenderQueue {
    by_nonce: BTreeMap<u64, TransactionId>,
    /// What all of them take together, so that appending one costs the same however many there are.
    total: u128,
    /// Of their encodings.
    bytes: usize,
}

/// The checked transactions of the pool by id, and the [`MAX_RECENT`] that left it last, shared with the
/// threads that check blocks: a payment that a reorganisation brings in another block is not verified again.
#[derive(Clone, Debug, Default)]
pub struct PoolIndex(Arc<RwLock<Index>>);

#[derive(Debug, Default)]
struct Index {
    known: HashMap<TransactionId, Arc<CheckedTransaction>>,
    /// Those that left the pool, the oldest first; one that came back may be named here more than once.
    left: VecDeque<TransactionId>,
}

impl PoolIndex {
    fn insert(&self, transaction: &Arc<CheckedTransaction>) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.known.insert(transaction.id(), transaction.clone());
    }

    /// How many are known, and how many of these left the pool.
    fn counts(&self) -> (usize, usize) {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (index.known.len(), index.left.len())
    }

    /// A transaction leaves the pool: it is kept for a while, and the one that left longest ago is not.
    fn leave(&self, id: TransactionId, in_pool: impl Fn(&TransactionId) -> bool) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.left.push_back(id);
        if index.left.len() > MAX_RECENT {
            let oldest = index.left.pop_front().filter(|id| !in_pool(id));
            oldest.and_then(|id| index.known.remove(&id));
        }
    }
}

impl KnownTransactions for PoolIndex {
    fn known(&self, id: &TransactionId) -> Option<Arc<CheckedTransaction>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).known.get(id).cloned()
    }
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
            Count::new("refused ids", self.refused.order.len(), MAX_REFUSED_IDS),
        ]
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
        self.check_place(payment, sender, account_of(sender))?;
        self.check_room(payment, sender, bytes)
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
        self.check_place(payment, &sender, account)?;
        self.make_room(payment, &sender, transaction.encoded_bytes())?;
        self.arrivals += 1;
        let priority = Priority::new(payment.fee, transaction.encoded_bytes(), self.arrivals);
        self.bytes += transaction.encoded_bytes();
        let queue = self.by_sender.entry(sender).or_default();
        queue.by_nonce.insert(payment.nonce, id);
        queue.total += total_units(payment);
        queue.bytes += transaction.encoded_bytes();
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
        let Some(queue) = self.by_sender.get(sender) else { return };
        let (mut gone, mut left) = (Vec::new(), Some(account.balance));
        for (nonce, id) in &queue.by_nonce {
            if *nonce < account.nonce {
                gone.push(*id);
                continue;
            }
            let total = self.entries.get(id).and_then(|entry| entry.transaction.payment().total());
            left = left.zip(total).and_then(|(left, total)| left.checked_sub(total));
            if left.is_none() {
                gone.push(*id);
            }
        }
        for id in gone {
            self.remove(&id);
        }
    }

    /// Whether a payment has a place in its sender's queue: nonce, gap and funds.
    fn check_place(&self, payment: &Payment, sender: &Address, account: Account) -> Result<(), MempoolError> {
        if payment.nonce < account.nonce {
            return Err(TransactionError::NonceTooLow { got: payment.nonce, next: account.nonce }.into());
        }
        let empty = SenderQueue::default();
        let queue = self.by_sender.get(sender).unwrap_or(&empty);
        if queue.by_nonce.contains_key(&payment.nonce) {
            return Err(MempoolError::Conflict { nonce: payment.nonce });
        }
        // The usual payment comes after all others of its sender, and needs no walk through them.
        let appended = queue.by_nonce.last_key_value().is_none_or(|(last, _)| *last < payment.nonce);
        let (before, total_before) = if appended {
            (queue.by_nonce.len(), queue.total)
        } else {
            let before = queue.by_nonce.range(..payment.nonce);
            let totals = before.clone().filter_map(|(_, id)| self.entries.get(id));
            (before.count(), totals.map(|entry| total_units(entry.transaction.payment())).sum())
        };
        let gap = payment.nonce - account.nonce > before as u64;
        if gap && self.aside(queue, account.nonce) >= MAX_GAP_PER_SENDER {
            return Err(MempoolError::TooManyGaps);
        }
        let total = total_before + total_units(payment);
        if total > u128::from(account.balance.units()) {
            let total = Amount::from_units(u64::try_from(total).unwrap_or(u64::MAX));
            return Err(TransactionError::InsufficientFunds { balance: account.balance, total }.into());
        }
        Ok(())
    }

    /// How many of a queue wait for a missing one.
    fn aside(&self, queue: &SenderQueue, next: u64) -> usize {
        let in_order = queue.by_nonce.keys().zip(next..).take_while(|(nonce, expected)| *nonce == expected);
        queue.by_nonce.len() - in_order.count()
    }

    /// Whether the pool has room, or something in it that is wanted less.
    fn check_room(&self, payment: &Payment, sender: &Address, bytes: usize) -> Result<(), MempoolError> {
        let (of_sender, bytes_of_sender) =
            self.by_sender.get(sender).map_or((0, 0), |queue| (queue.by_nonce.len(), queue.bytes));
        let most = (self.limits.transactions / SENDER_SHARE).max(1);
        let most_bytes = self.limits.bytes / SENDER_SHARE;
        if of_sender >= most || (of_sender > 0 && bytes_of_sender + bytes > most_bytes) {
            return Err(MempoolError::SenderFull { most, most_bytes });
        }
        match self.by_priority.first() {
            Some((least, id)) if !self.fits(0, 0, bytes) => {
                self.check_beats(payment, sender, bytes, least, id)
            }
            _ => Ok(()),
        }
    }

    /// Whether one of so many bytes fits when some are gone.
    fn fits(&self, gone: usize, gone_bytes: usize, bytes: usize) -> bool {
        self.entries.len() - gone < self.limits.transactions
            && self.bytes - gone_bytes + bytes <= self.limits.bytes
    }

    /// Whether a payment may take the place of another that pays less.
    fn check_beats(
        &self,
        payment: &Payment,
        sender: &Address,
        bytes: usize,
        other: &Priority,
        id: &TransactionId,
    ) -> Result<(), MempoolError> {
        if *other >= Priority::new(payment.fee, bytes, self.arrivals + 1) {
            return Err(MempoolError::Full { least_fee: other.fee_to_beat(bytes) });
        }
        let own = self.entries.get(id).filter(|entry| entry.transaction.sender() == *sender);
        match own {
            Some(entry) if entry.transaction.payment().nonce < payment.nonce => {
                Err(MempoolError::FullBehindOwn)
            }
            _ => Ok(()),
        }
    }

    /// Makes room for a payment: what pays least gives way, with the later ones of its sender, which cannot go
    /// without it. Nothing does when that is not enough.
    fn make_room(&mut self, payment: &Payment, sender: &Address, bytes: usize) -> Result<(), MempoolError> {
        self.check_room(payment, sender, bytes)?;
        if self.fits(0, 0, bytes) {
            return Ok(());
        }
        let (mut gone, mut gone_bytes) = (BTreeMap::new(), 0);
        for (priority, least) in &self.by_priority {
            if self.fits(gone.len(), gone_bytes, bytes) {
                break;
            }
            self.check_beats(payment, sender, bytes, priority, least)?;
            for id in self.with_later(least) {
                let Some(entry) = self.entries.get(&id) else { continue };
                if gone.insert(id, entry.transaction.payment().fee).is_none() {
                    gone_bytes += entry.transaction.encoded_bytes();
                }
            }
        }
        gone.keys().for_each(|id| self.remove(id));
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
            queue.by_nonce.remove(&payment.nonce);
            queue.total -= total_units(payment);
            queue.bytes -= entry.transaction.encoded_bytes();
            if queue.by_nonce.is_empty() {
                self.by_sender.remove(&sender);
            }
        }
    }

    /// A transaction and the later ones of its sender, which cannot go without it.
    fn with_later(&self, id: &TransactionId) -> impl Iterator<Item = TransactionId> {
        let entry = self.entries.get(id).map(|entry| &entry.transaction);
        let queue = entry.and_then(|it| Some((self.by_sender.get(&it.sender())?, it.payment().nonce)));
        queue.into_iter().flat_map(|(queue, nonce)| queue.by_nonce.range(nonce..)).map(|(_, id)| *id)
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
            if let Some(entry) = queue.by_nonce.get(&account.nonce).and_then(|id| self.entries.get(id)) {
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
            let next = self.by_sender.get(&sender).and_then(|queue| queue.by_nonce.get(&charged.nonce));
            if let Some(next) = next.and_then(|id| self.entries.get(id)) {
                heads.push((next.priority, next.transaction.id()));
            }
        }
        selected
    }
}

/// What a payment takes from its sender; more than can exist when the sum overflows.
fn total_units(payment: &Payment) -> u128 {
    u128::from(payment.amount.units()) + u128::from(payment.fee.units())
}

/// The last [`MAX_REFUSED_IDS`] ids that were refused for good.
#[derive(Debug, Default)]
struct RefusedIds {
    set: HashSet<TransactionId>,
    order: VecDeque<TransactionId>,
}

impl RefusedIds {
    fn contains(&self, id: &TransactionId) -> bool {
        self.set.contains(id)
    }

    fn insert(&mut self, id: TransactionId) {
        if self.set.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > MAX_REFUSED_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}
