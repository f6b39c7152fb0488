//! What is known of payments by their ids, in the pool or not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use crate::consensus::{CheckedTransaction, KnownTransactions};
use crate::hash::TransactionId;
use crate::node::limits::{MAX_RECENT, MAX_REFUSED_IDS};

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
    pub(super) fn insert(&self, transaction: &Arc<CheckedTransaction>) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.known.insert(transaction.id(), transaction.clone());
    }

    /// How many are known, and how many of these left the pool.
    pub(super) fn counts(&self) -> (usize, usize) {
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (index.known.len(), index.left.len())
    }

    /// A transaction leaves the pool: it is kept for a while, and the one that left longest ago is not.
    pub(super) fn leave(&self, id: TransactionId, in_pool: impl Fn(&TransactionId) -> bool) {
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

/// The last [`MAX_REFUSED_IDS`] ids that were refused for good.
#[derive(Debug, Default)]
pub(super) struct RefusedIds {
    set: HashSet<TransactionId>,
    order: VecDeque<TransactionId>,
}

impl RefusedIds {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn contains(&self, id: &TransactionId) -> bool {
        self.set.contains(id)
    }

    pub(super) fn insert(&mut self, id: TransactionId) {
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
