//! Admission to the pool: what is cheap to check first, then the signature.

use std::sync::Arc;

use super::{Submitted, Ticket};
use crate::address::Address;
use crate::consensus::{CheckedTransaction, TransactionError};
use crate::hash::TransactionId;
use crate::node::jobs::Job;
use crate::node::limits::*;
use crate::node::mempool::{Mempool, MempoolError};
use crate::node::unverified::Origin;
use crate::node::{ConnectionId, Effect, Node, Notice};
use crate::signature::addresses_of;
use crate::store::{Store, StoreError};
use crate::transaction::{Transaction, ids_of};
use crate::wire::{Response, SubmitResult};

impl<S: Store> Node<S> {
    /// Payments came in, by broadcast or from a peer: everything cheap is checked, and their signatures asked
    /// for.
    pub(in crate::node) fn heard_transactions(
        &mut self,
        heard: Vec<(Transaction, Origin, Option<Ticket>)>,
    ) -> Result<(), StoreError> {
        let (transactions, sources): (Vec<_>, Vec<_>) =
            heard.into_iter().map(|(transaction, origin, ticket)| (transaction, (origin, ticket))).unzip();
        let ids = ids_of(&transactions);
        let senders = addresses_of(transactions.iter().map(|it| &it.payment.public_key[..]));
        let heard: Vec<_> = ids.into_iter().zip(senders).zip(transactions).zip(sources).collect();
        let (chain, pool, relay) = (&self.chain, &self.pool, &mut self.relay);
        let next_height = self.tip.height.next();
        // One look at the store for all of them.
        let refused = chain.store().read::<_, StoreError>(|reader| {
            let mut refused = Vec::new();
            for (((id, sender), transaction), (origin, ticket)) in heard {
                let account_of = |address: &Address| reader.account(address).unwrap_or_default();
                let known = relay.in_check.contains_key(&id);
                let admitted = match pool {
                    _ if known => Err(MempoolError::Known),
                    Some(pool) if relay.unverified.has_room(&origin) => {
                        let rules = chain.rules();
                        pool.check_before_signature(
                            rules,
                            &transaction,
                            &id,
                            &sender,
                            next_height,
                            account_of,
                        )
                    }
                    _ => Err(MempoolError::Busy),
                };
                match admitted {
                    Ok(_) => {
                        relay.in_check.insert(id, ticket);
                        if let Some(gone) = relay.unverified.push(&origin, id, transaction) {
                            refused.push((relay.in_check.remove(&gone).flatten(), gone, MempoolError::Busy));
                        }
                    }
                    Err(error) => refused.push((ticket, id, error)),
                }
            }
            Ok(refused)
        })?;
        for (ticket, id, error) in refused {
            self.settle(ticket, id, Err(error));
        }
        Ok(())
    }

    /// Tells whoever asked what became of a payment.
    fn settle(
        &mut self,
        ticket: Option<Ticket>,
        id: TransactionId,
        result: Result<Arc<CheckedTransaction>, MempoolError>,
    ) {
        let number = result.as_ref().map_or_else(MempoolError::result, |_| SubmitResult::ACCEPTED);
        let waiting = self.pool.as_ref().map_or(0, Mempool::len);
        match result {
            Ok(transaction) => self.notice(Notice::PaymentAccepted { transaction, waiting }),
            Err(MempoolError::Known | MempoolError::RefusedBefore) => {}
            // A payment that is re-sent after it was mined is no news.
            Err(MempoolError::Rule(TransactionError::NonceTooLow { .. })) => {}
            Err(reason) => self.notice(Notice::PaymentRefused { id, reason }),
        }
        if let Some((connection, results)) = self.relay.answer(ticket, number) {
            self.effects.push_back(Effect::Respond { connection, response: Response::Results(results) });
        }
    }

    pub(in crate::node) fn transactions_checked(
        &mut self,
        results: Vec<(TransactionId, Result<Arc<CheckedTransaction>, TransactionError>)>,
    ) -> Result<(), StoreError> {
        self.relay.jobs = self.relay.jobs.saturating_sub(1);
        let next_height = self.tip.height.next();
        let Some(pool) = &mut self.pool else { return Ok(()) };
        let settled = self.chain.store().read::<_, StoreError>(|reader| {
            let mut settled = Vec::with_capacity(results.len());
            for (id, result) in results {
                let result = match result {
                    Ok(transaction) => {
                        let account = reader.account(&transaction.sender())?;
                        pool.insert(transaction.clone(), next_height, account).map(|()| transaction)
                    }
                    Err(error) => {
                        pool.refuse(id);
                        Err(error.into())
                    }
                };
                settled.push((id, result));
            }
            Ok(settled)
        })?;
        self.tell_who_gave_way();
        for (id, result) in settled {
            let ticket = self.relay.in_check.remove(&id).flatten();
            if result.is_ok() {
                self.mining.payment_arrived(self.now.monotonic);
                if !self.config.named_peers.is_empty() {
                    if self.relay.fresh.is_empty() {
                        self.relay.fresh_at = self.now.monotonic + RELAY_DEBOUNCE;
                    }
                    if self.relay.fresh.len() < MAX_FRESH {
                        self.relay.fresh.push(id);
                    }
                }
            }
            self.settle(ticket, id, result);
        }
        Ok(())
    }

    /// Says which payments had to leave a full pool.
    pub(super) fn tell_who_gave_way(&mut self) {
        let gone = self.pool.as_mut().map(Mempool::take_gone).unwrap_or_default();
        for (id, fee) in gone {
            self.notice(Notice::PaymentGaveWay { id, fee });
        }
    }

    pub(super) fn transactions_submitted(
        &mut self,
        connection: ConnectionId,
        mut transactions: Vec<Transaction>,
    ) -> Result<(), StoreError> {
        if transactions.is_empty() {
            self.effects.push_back(Effect::Respond { connection, response: Response::Results(Vec::new()) });
            return Ok(());
        }
        let number = self.relay.next_ticket;
        self.relay.next_ticket += 1;
        let results = vec![SubmitResult::POOL_FULL; transactions.len()];
        transactions.truncate(MAX_SUBMITTED);
        let open = transactions.len();
        self.relay.submitted.insert(number, Submitted { connection, results, open });
        let places = transactions.into_iter().enumerate();
        let origin = Origin::Caller(connection);
        self.heard_transactions(places.map(|(place, it)| (it, origin, Some((number, place)))).collect())
    }

    pub(super) fn hand_out_jobs(&mut self) {
        while self.relay.jobs < MAX_TRANSACTION_JOBS && self.relay.unverified.len() > 0 {
            let batch = self.relay.unverified.next_job();
            self.relay.jobs += 1;
            self.effects.push_back(Effect::Check(Job::Transactions(batch)));
        }
    }
}
