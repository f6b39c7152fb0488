//! One sender's payments, and how much each payment is wanted.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::amount::Amount;
use crate::hash::TransactionId;
use crate::node::limits::MAX_GAP_PER_SENDER;
use crate::transaction::Payment;

/// What a miner takes first and a full pool drops last: what a block could hold at all, then the higher fee a byte,
/// then the older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Priority {
    /// No earlier payment of its sender is missing. One that waits for a missing one can be in no block, so its fee
    /// is an empty promise.
    pub(super) in_order: bool,
    /// Millionths a byte, times 2^20.
    fee_rate: u64,
    arrival: Reverse<u64>,
}

impl Priority {
    pub(super) fn new(in_order: bool, fee: Amount, bytes: usize, arrival: u64) -> Self {
        let rate = (u128::from(fee.units()) << 20) / bytes.max(1) as u128;
        Self { in_order, fee_rate: u64::try_from(rate).unwrap_or(u64::MAX), arrival: Reverse(arrival) }
    }

    /// The least fee with which a later payment of this many bytes comes before this, both being in order or
    /// neither.
    pub(super) fn fee_to_beat(&self, bytes: usize) -> Amount {
        let scaled = (u128::from(self.fee_rate) + 1) * bytes.max(1) as u128;
        Amount::from_units(u64::try_from(scaled.div_ceil(1 << 20)).unwrap_or(u64::MAX))
    }
}

/// One sender's payments by nonce. Those below [`Self::end`] are *in order*: none is missing before them. The others
/// are *aside*.
#[derive(Debug, Default)]
pub(super) struct SenderQueue {
    by_nonce: BTreeMap<u64, Place>,
    /// The nonce that the sender's account uses next.
    next: u64,
    /// The first nonce from there on that is missing here.
    end: u64,
    /// What those in order take together, so that appending one costs the same however many there are.
    total_in_order: u128,
    /// Of all encodings.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    id: TransactionId,
    /// What it takes from the sender's account.
    total: u128,
    bytes: usize,
}

/// Payments of a queue that were aside and are in order now, or the other way round.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) in_order: bool,
    pub(super) ids: Vec<TransactionId>,
}

impl SenderQueue {
    pub(super) fn of_account(next: u64) -> Self {
        Self { next, end: next, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_nonce.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_nonce.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, nonce: u64) -> Option<TransactionId> {
        self.by_nonce.get(&nonce).map(|place| place.id)
    }

    /// All from this nonce on.
    pub(super) fn from(&self, nonce: u64) -> impl Iterator<Item = TransactionId> {
        self.by_nonce.range(nonce..).map(|(_, place)| place.id)
    }

    /// All after this nonce, the last first, and their bytes.
    pub(super) fn last_first(&self, nonce: u64) -> impl Iterator<Item = (TransactionId, usize)> {
        let after = (Bound::Excluded(nonce), Bound::Unbounded);
        self.by_nonce.range(after).rev().map(|(_, place)| (place.id, place.bytes))
    }

    /// The first nonce that is missing when the account uses `next` next.
    pub(super) fn end_for(&self, next: u64) -> u64 {
        if (self.next..=self.end).contains(&next) { self.end } else { self.unbroken(next) }
    }

    /// Whether so many are aside that no other may be.
    pub(super) fn is_full_aside(&self, end: u64) -> bool {
        self.by_nonce.range(end..).take(MAX_GAP_PER_SENDER).count() == MAX_GAP_PER_SENDER
    }

    /// What the payments before this nonce take together. It is quick where one may be added: as the next in order, or
    /// to the few that are aside.
    pub(super) fn total_before(&self, nonce: u64) -> u128 {
        if nonce < self.end { self.sum(..nonce) } else { self.total_in_order + self.sum(self.end..nonce) }
    }

    /// What the account cannot send any more: the nonces it has used, and all from where this balance ends.
    pub(super) fn beyond(&self, next: u64, balance: Amount) -> Vec<TransactionId> {
        let (mut gone, mut left) = (Vec::new(), Some(u128::from(balance.units())));
        for (nonce, place) in &self.by_nonce {
            if *nonce >= next {
                left = left.and_then(|left| left.checked_sub(place.total));
                if left.is_some() {
                    continue;
                }
            }
            gone.push(place.id);
        }
        gone
    }

    /// Adds a payment whose nonce is not there yet. Those that waited for it are in order now, as far as they
    /// follow it without a gap.
    pub(super) fn insert(&mut self, payment: &Payment, id: TransactionId, bytes: usize) -> Moved {
        let (nonce, total) = (payment.nonce, total_units(payment));
        self.by_nonce.insert(nonce, Place { id, total, bytes });
        self.bytes += bytes;
        if nonce < self.end {
            self.total_in_order += total;
        }
        let mut moved = self.move_end(if nonce == self.end { self.unbroken(nonce) } else { self.end });
        moved.ids.retain(|moved| *moved != id);
        moved
    }

    /// Removes a payment. Those after it are aside now, unless the account has used its nonce.
    pub(super) fn remove(&mut self, nonce: u64) -> Moved {
        let Some(place) = self.by_nonce.remove(&nonce) else { return self.move_end(self.end) };
        self.bytes -= place.bytes;
        if nonce < self.end {
            self.total_in_order -= place.total;
        }
        let breaks = (self.next..self.end).contains(&nonce);
        self.move_end(if breaks { nonce } else { self.end })
    }

    /// The account uses this nonce next.
    pub(super) fn follow(&mut self, next: u64) -> Moved {
        let end = self.end_for(next);
        self.next = next;
        self.move_end(end)
    }

    /// The first nonce from this on that is missing.
    fn unbroken(&self, nonce: u64) -> u64 {
        let run = self.by_nonce.range(nonce..).zip(nonce..);
        nonce + run.take_while(|((nonce, _), expected)| *nonce == expected).count() as u64
    }

    fn move_end(&mut self, end: u64) -> Moved {
        let in_order = end > self.end;
        let (low, high) = (self.end.min(end), self.end.max(end));
        let (ids, total) = (self.ids(low..high), self.sum(low..high));
        match in_order {
            true => self.total_in_order += total,
            false => self.total_in_order -= total,
        }
        self.end = end;
        Moved { in_order, ids }
    }

    /// Panics unless what is kept beside the payments is what they add up to; says which of them are in order.
    #[cfg(test)]
    pub(super) fn audit(&self, next: u64) -> Vec<(TransactionId, bool)> {
        let end = (next..).find(|nonce| !self.by_nonce.contains_key(nonce)).expect("numbers do not end");
        assert_eq!((self.next, self.end), (next, end));
        assert_eq!(self.bytes, self.by_nonce.values().map(|place| place.bytes).sum::<usize>());
        assert_eq!(self.total_in_order, self.sum(..end));
        self.by_nonce.iter().map(|(nonce, place)| (place.id, *nonce < end)).collect()
    }

    fn ids(&self, nonces: std::ops::Range<u64>) -> Vec<TransactionId> {
        self.by_nonce.range(nonces).map(|(_, place)| place.id).collect()
    }

    fn sum(&self, nonces: impl std::ops::RangeBounds<u64>) -> u128 {
        self.by_nonce.range(nonces).map(|(_, place)| place.total).sum()
    }
}

/// What a payment takes from its sender; no more than two numbers of 64 bits can say.
pub(super) fn total_units(payment: &Payment) -> u128 {
    u128::from(payment.amount.units()) + u128::from(payment.fee.units())
}
