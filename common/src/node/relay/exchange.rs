//! Payments between pools: compared with one peer at a time, and given to named peers, who may not know this node's
//! address.

use std::collections::BTreeSet;

use super::Submission;
use crate::hash::TransactionId;
use crate::node::limits::*;
use crate::node::links::{Asked, Purpose};
use crate::node::peers::{Peer, PeerId};
use crate::node::unverified::Origin;
use crate::node::{Node, Notice};
use crate::store::{Store, StoreError};
use crate::transaction::Transaction;
use crate::wire::{MAX_POOL_IDS, Request, SubmitResult};

#[derive(Default)]
pub(super) struct Exchange {
    /// The ids that a named peer has; of another peer's they are of no use afterwards, and are not kept.
    pub(super) theirs: BTreeSet<TransactionId>,
    last: Option<TransactionId>,
    pages: usize,
}

impl<S: Store> Node<S> {
    /// Compares pools with one other miner at every interval, and with every named peer.
    pub(super) fn start_exchange(&mut self) {
        let now = self.now.monotonic;
        if self.pool.is_none() {
            return;
        }
        if self.relay.next_exchange <= now {
            self.relay.next_exchange = now + self.config.pool_interval;
            self.choose_partners();
        }
        for id in std::mem::take(&mut self.relay.partners) {
            self.open(id, Purpose::Ask);
            let Some(link) = self.peers.get(id).map(|peer| &peer.ask) else { continue };
            if link.is_opening() {
                self.relay.partners.insert(id);
            } else if !link.is_asked(|asked| matches!(asked, Asked::PoolIds))
                && self.ask(id, Purpose::Ask, Request::GetPoolIds { after: None }, Asked::PoolIds)
            {
                self.relay.exchanges.insert(id, Exchange::default());
            }
        }
    }

    fn choose_partners(&mut self) {
        let now = self.now.monotonic;
        let callable = self.peers.all.iter().filter(|(_, peer)| peer.may_be_called(now));
        let (named, heard): (Vec<_>, Vec<_>) = callable.partition(|(_, peer)| peer.named);
        let named: Vec<PeerId> = named.into_iter().map(|(id, _)| *id).collect();
        let heard: Vec<PeerId> =
            heard.into_iter().filter(|(_, peer)| peer.claim().is_some()).map(|(id, _)| *id).collect();
        let chosen = (!heard.is_empty()).then(|| heard[(self.random() % heard.len() as u64) as usize]);
        self.relay.partners.extend(named.into_iter().chain(chosen));
    }

    /// Gives named peers the payments that came in since the last time.
    pub(super) fn send_fresh(&mut self) {
        if self.relay.fresh.is_empty() || self.relay.fresh_at > self.now.monotonic {
            return;
        }
        let fresh = std::mem::take(&mut self.relay.fresh);
        let Some(pool) = &self.pool else { return };
        let transactions: Vec<Transaction> =
            fresh.iter().filter_map(|id| pool.get(id)).map(|known| known.transaction().clone()).collect();
        for id in self.peers.named() {
            self.open(id, Purpose::Ask);
            let chunks = transactions.len().div_ceil(POOL_TRANSACTIONS);
            let has_room =
                |peer: &Peer| peer.ask.is_open() && peer.ask.submissions() + chunks <= MAX_SUBMISSIONS;
            if self.peers.get(id).is_some_and(has_room) {
                for chunk in transactions.chunks(POOL_TRANSACTIONS) {
                    self.submit_to(id, chunk.to_vec());
                }
            } else {
                // It is told all at once when it is reached, or has taken what it was given.
                self.relay.partners.insert(id);
            }
        }
    }

    pub(in crate::node) fn pool_ids_came(&mut self, id: PeerId, ids: Vec<TransactionId>) {
        let (Some(pool), Some(mut exchange)) = (&self.pool, self.relay.exchanges.remove(&id)) else { return };
        let after = exchange.last;
        let ascending = ids.is_sorted_by(|a, b| a < b)
            && ids.first().zip(after).is_none_or(|(first, after)| *first > after);
        if !ascending || ids.len() > MAX_POOL_IDS {
            self.misbehaved(id, "its pool's ids are not in ascending order, or too many".to_owned());
            return;
        }
        let wanted: Vec<TransactionId> = ids
            .iter()
            .filter(|id| !pool.is_settled(id) && !self.relay.in_check.contains_key(id))
            .copied()
            .collect();
        let last_page = ids.len() < MAX_POOL_IDS;
        exchange.pages += 1;
        exchange.last = ids.last().copied().or(after);
        if self.peers.get(id).is_some_and(|peer| peer.named) {
            exchange.theirs.extend(ids);
        }
        for chunk in wanted.chunks(POOL_TRANSACTIONS) {
            self.ask(id, Purpose::Ask, Request::GetTransactions { ids: chunk.to_vec() }, Asked::Transactions);
        }
        if last_page || exchange.pages >= MAX_POOL_PAGES {
            self.offer_pool(id, &exchange.theirs);
            return;
        }
        let after = exchange.last;
        if self.ask(id, Purpose::Ask, Request::GetPoolIds { after }, Asked::PoolIds) {
            self.relay.exchanges.insert(id, exchange);
        }
    }

    /// Gives a named peer what its pool lacks: it cannot ask, because it may not know this node's address.
    fn offer_pool(&mut self, id: PeerId, theirs: &BTreeSet<TransactionId>) {
        let Some(pool) = &self.pool else { return };
        if !self.peers.get(id).is_some_and(|peer| peer.named) {
            return;
        }
        let lacking = pool.ids_after(None, usize::MAX).into_iter().filter(|id| !theirs.contains(id));
        let transactions: Vec<Transaction> = lacking
            .take(POOL_TRANSACTIONS)
            .filter_map(|id| pool.get(&id))
            .map(|known| known.transaction().clone())
            .collect();
        self.submit_to(id, transactions);
    }

    fn submit_to(&mut self, id: PeerId, transactions: Vec<Transaction>) {
        if !transactions.is_empty() {
            let request = Request::SubmitTransactions(transactions.clone());
            self.ask(id, Purpose::Ask, request, Asked::Submitted(transactions));
        }
    }

    pub(in crate::node) fn pool_transactions_came(
        &mut self,
        from: PeerId,
        mut transactions: Vec<Transaction>,
    ) -> Result<(), StoreError> {
        transactions.truncate(POOL_TRANSACTIONS);
        // They come in the order of their ids; in that of their nonces fewer have to be kept aside.
        transactions.sort_by_key(|transaction| transaction.payment.nonce);
        let heard = transactions.into_iter().map(|transaction| (transaction, Origin::Peer(from), None));
        self.heard_transactions(heard.collect())
    }

    /// The user's own payments, for every named peer.
    pub(in crate::node) fn submit(&mut self, transactions: &[Transaction]) {
        for id in self.peers.named() {
            transactions.iter().for_each(|transaction| self.relay.keep_for(id, transaction));
        }
    }

    /// Sends what is kept for named peers to those that are connected.
    pub(super) fn send_outgoing(&mut self) {
        let waiting: Vec<PeerId> = self.relay.outgoing.keys().copied().collect();
        for id in waiting {
            self.open(id, Purpose::Ask);
            match self.peers.get(id) {
                Some(peer) if !peer.ask.is_open() || peer.ask.submissions() >= MAX_SUBMISSIONS => {}
                peer => {
                    let exists = peer.is_some();
                    let kept = self.relay.outgoing.remove(&id).unwrap_or_default();
                    if exists {
                        self.submit_to(id, kept.into_iter().map(|(_, transaction)| transaction).collect());
                    }
                }
            }
        }
    }

    pub(in crate::node) fn submission_answered(
        &mut self,
        id: PeerId,
        submission: Submission,
        results: &[SubmitResult],
    ) {
        let taken = results
            .iter()
            .filter(|result| matches!(**result, SubmitResult::ACCEPTED | SubmitResult::KNOWN))
            .count();
        if let Some(target) = self.peers.get(id).map(|peer| peer.target.clone()) {
            self.notice(Notice::Submitted { target, taken, of: submission.len() });
        }
    }
}
