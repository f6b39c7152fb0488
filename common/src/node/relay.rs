//! Payments between nodes, and what else callers ask of a node.
//!
//! | file | what it decides |
//! | --- | --- |
//! | `admission` | which payments come into the pool |
//! | `follow` | which leave it, or come back, with the blocks of the chain |
//! | `exchange` | which payments others have to be asked for, or told of |
//! | `callers` | what callers are answered, and who waits for a new tip |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::limits::*;
use super::load::Count;
use super::peers::PeerId;
use super::unverified::Unverified;
use super::{ConnectionId, Node, push};
use crate::chain::TipChange;
use crate::consensus::CheckedBlock;
use crate::hash::TransactionId;
use crate::store::{Store, StoreError};
use crate::transaction::Transaction;
use crate::wire::{MAX_FRAME_BYTES, MAX_POOL_IDS, SubmitResult};

mod admission;
mod callers;
mod exchange;
mod follow;

use exchange::Exchange;

/// Payments submitted to a named peer; kept until it answers.
pub(super) type Submission = Vec<Transaction>;

/// A caller's `SubmitTransactions`, until all of its signatures are checked.
struct Submitted {
    connection: ConnectionId,
    results: Vec<SubmitResult>,
    open: usize,
}

/// Where the result of a signature check goes besides the pool.
type Ticket = (u64, usize);

/// See the module.
pub(super) struct Relay {
    unverified: Unverified,
    /// Those and the ones being checked, with who waits for the result.
    in_check: HashMap<TransactionId, Option<Ticket>>,
    jobs: usize,
    submitted: HashMap<u64, Submitted>,
    next_ticket: u64,
    next_exchange: Duration,
    /// Whose pools are to be compared with this one's as soon as a connection is open.
    partners: BTreeSet<PeerId>,
    /// The ids that a peer's pool holds, page by page.
    exchanges: HashMap<PeerId, Exchange>,
    /// Payments that came into the pool and that named peers were not told of, and when to tell them.
    fresh: Vec<TransactionId>,
    fresh_at: Duration,
    /// The user's payments, until they are sent to each named peer.
    outgoing: BTreeMap<PeerId, Vec<(TransactionId, Transaction)>>,
    pub(super) staged: BTreeMap<ConnectionId, push::Staged>,
    /// Changes of the chain that the pool has yet to follow, with the blocks at hand.
    unfollowed: Vec<(TipChange, Vec<CheckedBlock>)>,
}

impl Relay {
    pub(super) fn new(next_exchange: Duration, seed: u64) -> Self {
        Self {
            unverified: Unverified::new(seed),
            in_check: HashMap::new(),
            jobs: 0,
            submitted: HashMap::new(),
            next_ticket: 0,
            next_exchange,
            partners: BTreeSet::new(),
            exchanges: HashMap::new(),
            fresh: Vec::new(),
            fresh_at: Duration::ZERO,
            outgoing: BTreeMap::new(),
            staged: BTreeMap::new(),
            unfollowed: Vec::new(),
        }
    }

    pub(super) fn counts(&self, named: usize) -> [Count; 12] {
        let in_jobs = MAX_TRANSACTION_JOBS * TRANSACTIONS_PER_JOB;
        let staged = || self.staged.values();
        let theirs = self.exchanges.values().map(|exchange| exchange.theirs.len()).sum();
        let outgoing = self.outgoing.values().map(Vec::len).sum();
        [
            Count::new("unverified payments", self.unverified.len(), MAX_UNVERIFIED),
            Count::new("payments in check", self.in_check.len(), MAX_UNVERIFIED + in_jobs),
            Count::new("signature jobs", self.jobs, MAX_TRANSACTION_JOBS),
            Count::new("payments to tell", self.fresh.len(), MAX_FRESH),
            Count::new("payments for named peers", outgoing, named * POOL_TRANSACTIONS),
            Count::new("exchanges of pools", self.exchanges.len(), MAX_OUTBOUND + named),
            Count::new("ids of exchanges", theirs, named * MAX_POOL_PAGES * MAX_POOL_IDS),
            Count::new("partners", self.partners.len(), MAX_PEERS.max(named)),
            Count::new("staged blocks of a caller", staged().map(push::Staged::blocks).max().unwrap_or(0), {
                MAX_STAGED_BLOCKS
            }),
            // The last block may be of any size.
            Count::new(
                "staged bytes of a caller",
                staged().map(push::Staged::bytes).max().unwrap_or(0),
                MAX_STAGED_BYTES + MAX_FRAME_BYTES,
            ),
            Count::new("staged bytes", staged().map(push::Staged::bytes).sum(), MAX_STAGED_BYTES_IN_ALL),
            Count::new("changes to follow", self.unfollowed.len(), MAX_OFFERS + 2),
        ]
    }

    /// Keeps a payment for a peer, unless it is kept already or there are too many: whoever made it sends
    /// it again.
    fn keep_for(&mut self, peer: PeerId, transaction: &Transaction) {
        let kept = self.outgoing.entry(peer).or_default();
        let id = transaction.id();
        if kept.len() < POOL_TRANSACTIONS && kept.iter().all(|(known, _)| *known != id) {
            kept.push((id, transaction.clone()));
        }
    }

    /// The connection ended before the peer said what became of these.
    pub(super) fn submission_failed(&mut self, peer: PeerId, submission: Submission) {
        submission.iter().for_each(|transaction| self.keep_for(peer, transaction));
    }

    pub(super) fn forget_exchange(&mut self, peer: PeerId) {
        self.exchanges.remove(&peer);
    }

    fn answer(
        &mut self,
        ticket: Option<Ticket>,
        result: SubmitResult,
    ) -> Option<(ConnectionId, Vec<SubmitResult>)> {
        let (number, place) = ticket?;
        let submitted = self.submitted.get_mut(&number)?;
        submitted.results[place] = result;
        submitted.open -= 1;
        if submitted.open > 0 {
            return None;
        }
        self.submitted.remove(&number).map(|submitted| (submitted.connection, submitted.results))
    }
}

impl<S: Store> Node<S> {
    pub(super) fn relay_deadline(&self) -> Option<Duration> {
        let waiting = self.waiting.values().min().copied();
        let exchange = self.pool.is_some().then_some(self.relay.next_exchange);
        let fresh = (!self.relay.fresh.is_empty()).then_some(self.relay.fresh_at);
        [waiting, exchange, fresh].into_iter().flatten().min()
    }

    pub(super) fn drive_relay(&mut self) -> Result<(), StoreError> {
        self.hand_out_jobs();
        self.answer_waiting(false);
        self.start_exchange();
        self.send_fresh();
        self.send_outgoing();
        self.drive_push()
    }

    /// What is under way and must come to an end: checks, submissions, exchanges.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        let relay = &self.relay;
        relay.unverified.len()
            + relay.in_check.len()
            + relay.jobs
            + relay.submitted.len()
            + relay.exchanges.len()
            + relay.partners.len()
            + relay.fresh.len()
    }
}
