//! Payments between nodes: admission to the pool, exchange of pools, what callers ask of the pool, and the
//! callers that wait for a new tip.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::jobs::Job;
use super::limits::*;
use super::links::{Asked, Purpose};
use super::load::Count;
use super::mempool::{Mempool, MempoolError};
use super::peers::{Peer, PeerId};
use super::unverified::{Origin, Unverified};
use super::{ConnectionId, Effect, Node, Notice, push};
use crate::address::Address;
use crate::chain::TipChange;
use crate::consensus::{CheckedBlock, CheckedTransaction, TransactionError};
use crate::hash::TransactionId;
use crate::signature::addresses_of;
use crate::store::{Store, StoreError};
use crate::transaction::{Transaction, ids_of};
use crate::wire::{MAX_FRAME_BYTES, MAX_POOL_IDS, Request, Response, SubmitResult};

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

#[derive(Default)]
struct Exchange {
    /// The ids that a named peer has; of another peer's they are of no use afterwards, and are not kept.
    theirs: BTreeSet<TransactionId>,
    last: Option<TransactionId>,
    pages: usize,
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
    /// Payments came in, by broadcast or from a peer: everything cheap is checked, and their signatures asked
    /// for.
    pub(super) fn heard_transactions(
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

    pub(super) fn transactions_checked(
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
    fn tell_who_gave_way(&mut self) {
        let gone = self.pool.as_mut().map(Mempool::take_gone).unwrap_or_default();
        for (id, fee) in gone {
            self.notice(Notice::PaymentGaveWay { id, fee });
        }
    }

    /// The best chain changed. What mining needs of that is done at once; taking out of the pool what is in
    /// the chain now, which costs more than all the rest, when the news is out: before the next input or tick.
    pub(super) fn pool_changes(
        &mut self,
        change: TipChange,
        given: Vec<CheckedBlock>,
    ) -> Result<(), StoreError> {
        let Some(pool) = &mut self.pool else { return Ok(()) };
        if pool.is_empty() && change.reverted.is_empty() {
            return Ok(());
        }
        pool.expire(change.new.height.next());
        let is_urgent = !change.reverted.is_empty();
        self.relay.unfollowed.push((change, given));
        // Payments that came out of the chain may be in the next block.
        if is_urgent { self.pool_follows() } else { Ok(()) }
    }

    /// Whether the pool has yet to follow a change of the chain.
    pub(super) fn pool_is_behind(&self) -> bool {
        !self.relay.unfollowed.is_empty()
    }

    /// How many payments of the pool wait for a block still, if those of these blocks no longer do.
    pub(super) fn waiting_after(&self, blocks: &[CheckedBlock]) -> usize {
        let Some(pool) = &self.pool else { return 0 };
        let done = blocks.iter().flat_map(CheckedBlock::entries).filter(|it| pool.get(&it.id()).is_some());
        pool.len() - done.count()
    }

    /// Brings the pool in line with the best chain.
    pub(super) fn pool_follows(&mut self) -> Result<(), StoreError> {
        for (change, given) in std::mem::take(&mut self.relay.unfollowed) {
            self.pool_follows_change(&change, &given)?;
        }
        self.tell_who_gave_way();
        Ok(())
    }

    fn pool_follows_change(&mut self, change: &TipChange, given: &[CheckedBlock]) -> Result<(), StoreError> {
        let (Some(pool), mining) = (&mut self.pool, &mut self.mining) else { return Ok(()) };
        let next_height = change.new.height.next();
        // One look at the store for all of it.
        self.chain.store().read::<_, StoreError>(|reader| {
            let mut affected = BTreeSet::new();
            let mut note = |block: &CheckedBlock| {
                affected.insert(block.reward().to);
                for entry in block.entries() {
                    affected.extend([entry.sender(), entry.to()]);
                }
            };
            for id in change.reverted.iter().chain(&change.connected) {
                match given.iter().find(|block| block.id() == *id) {
                    Some(block) => note(block),
                    None => reader.checked_block(id)?.iter().for_each(&mut note),
                }
            }
            let account_of = |address: &Address| reader.account(address).unwrap_or_default();
            pool.tip_changed(affected, next_height, account_of);
            // What a block took out of the pool comes back with the block's end, where it still is valid.
            for id in change.reverted.iter().rev() {
                let Some(block) = reader.checked_block(id)? else { continue };
                for transaction in block.transactions() {
                    let sender = account_of(&transaction.sender());
                    if pool.insert(Arc::new(transaction), next_height, sender).is_ok() {
                        mining.payment_arrived(self.now.monotonic);
                    }
                }
            }
            Ok(())
        })
    }

    // ── Callers ─────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn request(&mut self, connection: ConnectionId, request: Request) -> Result<(), StoreError> {
        let response = match request {
            Request::GetPoolIds { after } => Response::PoolIds(
                self.pool.as_ref().map_or(Vec::new(), |pool| pool.ids_after(after, MAX_POOL_IDS)),
            ),
            Request::GetTransactions { ids } => {
                let found = ids.iter().filter_map(|id| self.pool.as_ref()?.get(id));
                Response::Transactions(found.map(|known| known.transaction().clone()).collect())
            }
            Request::SubmitTransactions(transactions) => {
                return self.transactions_submitted(connection, transactions);
            }
            Request::SubmitBlocks(blocks) => return self.blocks_submitted(connection, blocks),
            Request::WaitStatus { tip } if tip == self.tip.id && self.waiting.len() < MAX_WAITING => {
                self.waiting.insert(connection, self.now.monotonic + WAIT_STATUS_HOLD);
                return Ok(());
            }
            // The chain's requests are answered without the node; one that strays here is told its status.
            _ => Response::Status(self.status()),
        };
        self.effects.push_back(Effect::Respond { connection, response });
        Ok(())
    }

    fn transactions_submitted(
        &mut self,
        connection: ConnectionId,
        transactions: Vec<Transaction>,
    ) -> Result<(), StoreError> {
        if transactions.is_empty() {
            self.effects.push_back(Effect::Respond { connection, response: Response::Results(Vec::new()) });
            return Ok(());
        }
        let number = self.relay.next_ticket;
        self.relay.next_ticket += 1;
        let (results, open) = (vec![SubmitResult::POOL_FULL; transactions.len()], transactions.len());
        self.relay.submitted.insert(number, Submitted { connection, results, open });
        let places = transactions.into_iter().enumerate();
        let origin = Origin::Caller(connection);
        self.heard_transactions(places.map(|(place, it)| (it, origin, Some((number, place)))).collect())
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

    pub(super) fn caller_gone(&mut self, connection: ConnectionId) {
        self.waiting.remove(&connection);
        self.relay.staged.remove(&connection);
        self.relay.submitted.retain(|_, submitted| submitted.connection != connection);
    }

    /// Answers the callers that wait for a new tip: all of them, or those who have waited long enough.
    pub(super) fn answer_waiting(&mut self, all: bool) {
        let (now, status) = (self.now.monotonic, self.status());
        let due: Vec<ConnectionId> = self
            .waiting
            .iter()
            .filter(|(_, until)| all || **until <= now)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in due {
            self.waiting.remove(&connection);
            self.effects.push_back(Effect::Respond { connection, response: Response::Status(status) });
        }
    }

    // ── Exchange ────────────────────────────────────────────────────────────────────────────────────

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

    fn hand_out_jobs(&mut self) {
        while self.relay.jobs < MAX_TRANSACTION_JOBS && self.relay.unverified.len() > 0 {
            let batch = self.relay.unverified.next_job();
            self.relay.jobs += 1;
            self.effects.push_back(Effect::Check(Job::Transactions(batch)));
        }
    }

    /// Compares pools with one other miner at every interval, and with every named peer.
    fn start_exchange(&mut self) {
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
    fn send_fresh(&mut self) {
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

    pub(super) fn pool_ids_came(&mut self, id: PeerId, ids: Vec<TransactionId>) {
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

    pub(super) fn pool_transactions_came(
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
    pub(super) fn submit(&mut self, transactions: &[Transaction]) {
        for id in self.peers.named() {
            transactions.iter().for_each(|transaction| self.relay.keep_for(id, transaction));
        }
    }

    /// Sends what is kept for named peers to those that are connected.
    fn send_outgoing(&mut self) {
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

    pub(super) fn submission_answered(
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
