//! Payments that wait for their signature check, in lanes by where they came from, which have turns: whoever sends
//! the most delays himself.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use super::ConnectionId;
use super::limits::{LANES, MAX_UNVERIFIED, TRANSACTIONS_PER_JOB};
use super::peers::PeerId;
use crate::hash::TransactionId;
use crate::transaction::Transaction;

/// Where a payment came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A datagram; the address may be invented.
    Datagram(IpAddr),
    /// A peer's pool.
    Peer(PeerId),
    /// A caller of the block server, and the submission that it belongs to.
    Caller(ConnectionId),
}

/// See the module. There are [`LANES`] of them: as many as there are honest sources in a room, and no more to go
/// through however many a flood invents.
pub(super) struct Unverified {
    lanes: Vec<VecDeque<(TransactionId, Transaction)>>,
    /// The lane whose turn it is.
    turn: usize,
    len: usize,
    /// So that nobody can choose the lane of somebody else.
    seed: u64,
}

impl Unverified {
    pub(super) fn new(seed: u64) -> Self {
        Self { lanes: (0..LANES).map(|_| VecDeque::new()).collect(), turn: 0, len: 0, seed }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn lane(&self, origin: &Origin) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, origin).hash(&mut hasher);
        hasher.finish() as usize % LANES
    }

    /// Whether a payment from there finds room. Where all is full the longest lane gives its newest payment for
    /// one of a lane that is shorter by two or more.
    pub(super) fn has_room(&self, origin: &Origin) -> bool {
        let longest = || self.lanes.iter().map(VecDeque::len).max().unwrap_or(0);
        self.len < MAX_UNVERIFIED || self.lanes[self.lane(origin)].len() + 1 < longest()
    }

    /// Adds a payment, for which [`Self::has_room`]; gives the one that had to make room.
    pub(super) fn push(
        &mut self,
        origin: &Origin,
        id: TransactionId,
        payment: Transaction,
    ) -> Option<TransactionId> {
        let lane = self.lane(origin);
        self.lanes[lane].push_back((id, payment));
        self.len += 1;
        if self.len <= MAX_UNVERIFIED {
            return None;
        }
        let longest = self.lanes.iter_mut().max_by_key(|lane| lane.len())?;
        self.len -= 1;
        longest.pop_back().map(|(id, _)| id)
    }

    /// The payments of the next job: of one lane as many as fit, then of the next ones.
    pub(super) fn next_job(&mut self) -> Vec<(TransactionId, Transaction)> {
        let mut job = Vec::with_capacity(self.len.min(TRANSACTIONS_PER_JOB));
        for _ in 0..LANES {
            let lane = &mut self.lanes[self.turn];
            let count = lane.len().min(TRANSACTIONS_PER_JOB - job.len());
            job.extend(lane.drain(..count));
            self.turn = (self.turn + 1) % LANES;
            if job.len() == TRANSACTIONS_PER_JOB {
                break;
            }
        }
        self.len -= job.len();
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::NetworkId;
    use crate::testing::Key;

    fn id(number: u64) -> TransactionId {
        TransactionId::from_bytes(crate::hash::sha256(&[&number.to_le_bytes()]))
    }

    fn heard(from: u8) -> Origin {
        Origin::Datagram(IpAddr::from([10, 0, 0, from]))
    }

    #[test]
    fn a_flood_from_one_source_delays_itself_and_gives_way_to_others() {
        let key = Key::new(1);
        let payment = key.sign(&NetworkId::from_bytes([1; 32]), key.payment(key.address(), 1, 0));
        let mut unverified = Unverified::new(5);
        let other = (2..).map(heard).find(|other| unverified.lane(other) != unverified.lane(&heard(1)));
        let other = other.expect("there are many lanes");
        for number in 0..MAX_UNVERIFIED as u64 {
            assert!(unverified.has_room(&heard(1)));
            assert_eq!(unverified.push(&heard(1), id(number), payment.clone()), None);
        }
        assert!(!unverified.has_room(&heard(1)));
        assert!(unverified.has_room(&other));
        // Its newest makes room.
        let last = id(MAX_UNVERIFIED as u64 - 1);
        assert_eq!(unverified.push(&other, id(u64::MAX), payment), Some(last));
        assert_eq!(unverified.len(), MAX_UNVERIFIED);
        // The other has its turn within two jobs, however long the flood.
        let jobs = [unverified.next_job(), unverified.next_job()];
        assert!(jobs.iter().flatten().any(|(it, _)| *it == id(u64::MAX)));
        assert!(jobs.iter().all(|job| job.len() == TRANSACTIONS_PER_JOB));
        // All else comes in the order in which it was heard, and once.
        let mut rest: Vec<_> = jobs.into_iter().flatten().collect();
        while unverified.len() > 0 {
            rest.extend(unverified.next_job());
        }
        let flood: Vec<_> = rest.into_iter().map(|(it, _)| it).filter(|it| *it != id(u64::MAX)).collect();
        assert!(flood.into_iter().eq((0..MAX_UNVERIFIED as u64 - 1).map(id)));
        assert!(unverified.next_job().is_empty());
    }
}
