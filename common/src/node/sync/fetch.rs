//! Fetching the bodies of a chain that has proved its work, and connecting them.

use std::time::Duration;

use super::{BodyState, Cursor, Fetch, Offer, Pending, Scan, body_bytes, encoded_bytes, left};
use crate::block::{Block, EncodedBlock, EncodedBody, SealedHeader};
use crate::chain::{ChainError, MAX_HEADERS, Outcome};
use crate::consensus::{BodyError, CheckedBlock, HeaderError, Parallelism};
use crate::hash::BlockId;
use crate::node::jobs::Job;
use crate::node::limits::*;
use crate::node::links::{Asked, Purpose};
use crate::node::peers::PeerId;
use crate::node::push::Pushed;
use crate::node::{Effect, Node, Notice, Source};
use crate::store::{Store, StoreError};
use crate::transaction::Transaction;
use crate::wire::{CompactBlock, Request};

impl<S: Store> Node<S> {
    pub(super) fn start_fetch(&mut self, id: PeerId, scan: Scan, complete: bool) {
        let Some((start, _)) = scan.from else { return };
        let now = self.now.monotonic;
        if let Some(fetch) = &self.sync.fetch {
            // One chain at a time. One that stands still or crawls gives way to any other that proved more
            // work than the tip has, however much it promises itself; to itself it need not.
            let next = fetch.pending.front().map(|pending| pending.id);
            let same = fetch.peer.is_some() && scan.held.iter().any(|(id, _)| Some(*id) == next);
            if fetch.is_moving(now) || same {
                self.peers.hold(id, now + HEDGE_AFTER);
                return;
            }
        }
        self.end_fetch();
        let lean = !scan.windows.is_empty();
        let mut fetch = Fetch::new(self.sync.number(), Some(id), start, now);
        fetch.windows = scan.windows.into();
        fetch.complete = complete && !lean;
        for (block_id, header) in scan.held {
            fetch.push(block_id, header);
        }
        // Others who were followed to the same end are of use for bodies, not for headers.
        self.sync.scans.retain(|_, other| other.claim.status.tip != scan.claim.status.tip);
        self.sync.fetch = Some(fetch);
    }

    /// Ends the fetch, if there is one, whatever it has got to.
    fn end_fetch(&mut self) {
        if let Some(pushed) = self.sync.fetch.take().and_then(|fetch| fetch.pushed) {
            self.answer_push(pushed);
        }
    }

    /// Sees to it that no fetch lasts without end.
    pub(super) fn look_after_fetch(&mut self) {
        let now = self.now.monotonic;
        let Some(fetch) = &mut self.sync.fetch else { return };
        fetch.measure(now);
        let (peer, forgotten) = (fetch.peer, now >= fetch.progress_at + FETCH_PATIENCE);
        let under_way =
            |pending: &Pending| matches!(pending.state, BodyState::Checking { .. } | BodyState::Ready { .. });
        let idle = fetch.writing_bytes.is_none() && !fetch.pending.iter().any(under_way);
        let nobody_has_it = peer.is_none() && idle && self.holders_of_fetch().is_empty();
        if forgotten || nobody_has_it {
            self.end_fetch();
            if let Some(peer) = peer {
                self.failed(peer, "its chain could not be fetched".to_owned());
            }
        }
    }

    pub(super) fn fetched_headers(
        &mut self,
        id: PeerId,
        mut fetch: Fetch,
        headers: Vec<SealedHeader>,
    ) -> Result<(), StoreError> {
        fetch.headers_asked = None;
        let expected = fetch.windows.pop_front();
        let wanted = expected.map_or(MAX_HEADERS, |window| window.count);
        if expected.is_none() && left(&fetch.end, headers.first()) {
            // What is here is fetched; where its chain goes on now is found out afterwards.
            fetch.complete = true;
            self.sync.fetch = Some(fetch);
            return Ok(());
        }
        fetch.complete = headers.len() < wanted || (expected.is_none() && headers.is_empty());
        let changed = left(&fetch.end, headers.first());
        for header in headers.into_iter().filter(|_| !changed) {
            match self.check_candidate_header(&fetch.end, &header)? {
                Ok(block_id) => fetch.push(block_id, header),
                Err(HeaderError::AheadOfClock { ahead_ms }) => {
                    self.waits(id, header.id(), ahead_ms);
                    fetch.complete = true;
                    break;
                }
                Err(error) => {
                    self.misbehaved(id, format!("its block {} breaks a rule: {error}", header.header.height));
                    return Ok(());
                }
            }
        }
        if expected.is_some_and(|window| window.last != fetch.end.id()) {
            // It may have changed its mind honestly; what was proved is gone all the same.
            self.failed(id, "its chain changed while it was fetched".to_owned());
            return Ok(());
        }
        self.sync.fetch = Some(fetch);
        Ok(())
    }

    pub(super) fn ask_for_headers(&mut self) {
        let Some(fetch) = &self.sync.fetch else { return };
        let Some(peer) = fetch.peer else { return };
        let room = fetch.pending.len() + MAX_HEADERS <= MAX_PENDING_HEADERS;
        if fetch.headers_asked.is_some() || fetch.complete || !room {
            return;
        }
        let limit = fetch.windows.front().map_or(MAX_HEADERS, |window| window.count) as u32;
        let request = Request::GetHeaders { locator: vec![fetch.end.id()], limit };
        // Its connection may have been closed while it had nothing to do.
        self.open(peer, Purpose::Ask);
        let number = self.sync.number();
        if self.ask(peer, Purpose::Ask, request, Asked::Headers(number))
            && let Some(fetch) = &mut self.sync.fetch
        {
            fetch.headers_asked = Some(number);
        }
    }

    /// Asks for the bodies that come next, of everyone who may have them.
    pub(super) fn ask_for_bodies(&mut self) {
        let now = self.now.monotonic;
        let Some(fetch) = &self.sync.fetch else { return };
        // More peers are worth a call when there is a lot to fetch.
        let calls = if fetch.pending.len() > 2 * BLOCKS_PER_REQUEST { MAX_FETCH_PEERS } else { 1 };
        let holders = self.holders(fetch);
        for id in holders.iter().take(calls) {
            self.open(*id, Purpose::Ask);
        }
        loop {
            let Some(fetch) = &mut self.sync.fetch else { return };
            let window = fetch.window();
            // Whoever has the least to do; a block that somebody sits on is asked of a second peer.
            let free = holders
                .iter()
                .filter_map(|id| {
                    Some((*id, self.peers.get(*id).filter(|peer| peer.ask.is_open())?.ask.block_requests()))
                })
                .filter(|(_, requests)| *requests < REQUESTS_PER_PEER)
                .min_by_key(|(_, requests)| *requests);
            let Some((peer, _)) = free else { return };
            let of_state = |wanted: &dyn Fn(&BodyState) -> bool| -> Vec<BlockId> {
                let next = fetch.pending.iter().take(window).filter(|pending| wanted(&pending.state));
                next.take(BLOCKS_PER_REQUEST).map(|pending| pending.id).collect()
            };
            let late = |state: &BodyState| matches!(state, BodyState::Asked { of, at } if now >= *at + HEDGE_AFTER && !of.contains(&peer));
            let mut ids = of_state(&|state| matches!(state, BodyState::Wanted));
            if ids.is_empty() {
                // It would be idle: it may as well try what another takes long for.
                ids = of_state(&late);
            }
            if ids.is_empty() {
                return;
            }
            for pending in fetch.pending.iter_mut().filter(|pending| ids.contains(&pending.id)) {
                match &mut pending.state {
                    BodyState::Asked { of, at } => {
                        of.push(peer);
                        *at = now;
                    }
                    state => *state = BodyState::Asked { of: vec![peer], at: now },
                }
            }
            let compact = self.pool.is_some() && !fetch.whole_blocks && fetch.pending.len() <= 2;
            let asked = if compact {
                let id = ids[0];
                // One at a time: the second is asked for on the next round.
                for pending in fetch.pending.iter_mut().filter(|pending| ids[1..].contains(&pending.id)) {
                    pending.state = BodyState::Wanted;
                }
                self.ask(peer, Purpose::Ask, Request::GetCompact { id }, Asked::Compact(id))
            } else {
                let request = Request::GetBlocks { ids: ids.clone() };
                self.ask(peer, Purpose::Ask, request, Asked::Blocks(ids.into()))
            };
            if !asked {
                return;
            }
        }
    }

    /// Who may have the bodies: whoever gave the headers, then those who claim a better chain than this
    /// node's, those reached before first.
    fn holders(&self, fetch: &Fetch) -> Vec<PeerId> {
        let mut holders: Vec<PeerId> = fetch.peer.into_iter().collect();
        let others = self.peers.all.iter().filter(|(id, peer)| {
            peer.may_be_called(self.now.monotonic)
                && Some(**id) != fetch.peer
                && peer.claim().is_some_and(|claim| self.beats_tip(claim.work, &claim.tip))
        });
        let (reached, unknown): (Vec<_>, Vec<_>) = others.partition(|(_, peer)| peer.greeted);
        holders.extend(reached.into_iter().chain(unknown).map(|(id, _)| *id));
        holders.retain(|id| !fetch.lacking.contains(id));
        holders
    }

    pub(in crate::node) fn block_came(&mut self, from: PeerId, id: BlockId, block: EncodedBlock) {
        let bytes = block.body.bytes().len();
        let now = self.now.monotonic;
        let number = self.sync.number();
        let Some(fetch) = &mut self.sync.fetch else { return };
        let full = fetch.buffered_bytes + bytes > MAX_BUFFERED_BYTES;
        let is_next = fetch.pending.front().is_some_and(|pending| pending.id == id);
        let Some(pending) = fetch.find(block.header.header.height.get(), &id) else { return };
        if !matches!(pending.state, BodyState::Asked { .. } | BodyState::Wanted) {
            return;
        }
        if full && !is_next {
            pending.state = BodyState::Wanted;
            return;
        }
        pending.state = BodyState::Checking { number, from: Some(from), bytes };
        // The header that was checked counts, not the one that came with the body.
        let block = Box::new(EncodedBlock { header: pending.header.clone(), body: block.body });
        let parent_time = pending.parent_time;
        // Many blocks keep all cores busy, each its own.
        let parallelism = match fetch.pending.len() {
            1 => Parallelism::AllCores,
            _ => Parallelism::OneThread,
        };
        fetch.came(bytes, now);
        self.effects.push_back(Effect::Check(Job::Block { number, block, parent_time, parallelism }));
    }

    /// A peer does not have a block that was asked of it. That is no fault, but for the one that announced
    /// the chain.
    pub(in crate::node) fn block_not_found(&mut self, from: PeerId, id: &BlockId) {
        let Some(fetch) = &mut self.sync.fetch else { return };
        let Some(pending) = fetch.find_by_id(id) else { return };
        let BodyState::Asked { of, .. } = &mut pending.state else { return };
        if !of.contains(&from) {
            return;
        }
        of.retain(|peer| *peer != from);
        if of.is_empty() {
            pending.state = BodyState::Wanted;
        }
        fetch.lacking.insert(from);
        if fetch.peer == Some(from) {
            self.end_fetch();
            self.failed(from, "it no longer has the chain that it announced".to_owned());
        }
    }

    /// A block of which only the missing transactions have to be fetched.
    pub(in crate::node) fn compact_came(
        &mut self,
        from: PeerId,
        id: BlockId,
        compact: CompactBlock,
    ) -> Result<(), StoreError> {
        if compact.header.id() != id {
            self.misbehaved(from, "it sent another block than the one asked for".to_owned());
            return Ok(());
        }
        if compact.ids.len() > self.rules().max_block_bytes as usize / LEAST_TRANSACTION_BYTES {
            self.misbehaved(from, "it named more payments than a block can hold".to_owned());
            return Ok(());
        }
        let Some(pool) = &self.pool else { return Ok(()) };
        let missing = |(index, id): (usize, _)| pool.get(id).is_none().then_some(index as u32);
        let indices: Vec<u32> = compact.ids.iter().enumerate().filter_map(missing).collect();
        if indices.is_empty() {
            self.missing_came(from, compact, &[], Vec::new());
        } else if indices.len() > compact.ids.len() / 2 || indices.len() > crate::wire::MAX_TRANSACTION_IDS {
            // Most are unknown: the whole block is one answer instead of two.
            self.fetch_whole(from, id);
        } else {
            let request = Request::GetBlockTransactions { id, indices: indices.clone() };
            self.ask(from, Purpose::Ask, request, Asked::Missing { compact: Box::new(compact), indices });
        }
        Ok(())
    }

    pub(in crate::node) fn missing_came(
        &mut self,
        from: PeerId,
        compact: CompactBlock,
        indices: &[u32],
        transactions: Vec<Transaction>,
    ) {
        let id = compact.header.id();
        let Some(pool) = &self.pool else { return };
        let known: Vec<_> = compact.ids.iter().map(|id| pool.get(id)).collect();
        let body = if indices.is_empty() {
            let known: Vec<_> = known.into_iter().flatten().cloned().collect();
            EncodedBody::from_checked(&compact.reward, &known)
        } else {
            let mut missing = indices.iter().zip(&transactions).peekable();
            let whole = known.into_iter().enumerate().filter_map(|(index, known)| {
                let sent = missing.next_if(|(missing, _)| **missing as usize == index);
                sent.map(|(_, sent)| sent).or_else(|| known.map(|known| known.transaction()))
            });
            let whole: Vec<_> = whole.collect();
            EncodedBody::from_parts(&compact.reward, whole.into_iter())
        };
        if body.len() != compact.ids.len() {
            // The pool changed meanwhile, or the answer was short.
            self.fetch_whole(from, id);
            return;
        }
        self.block_came(from, id, EncodedBlock { header: compact.header, body });
    }

    pub(in crate::node) fn fetch_whole(&mut self, from: PeerId, id: BlockId) {
        let Some(fetch) = &mut self.sync.fetch else { return };
        fetch.whole_blocks = true;
        let now = self.now.monotonic;
        if let Some(pending) = fetch.find_by_id(&id) {
            pending.state = BodyState::Asked { of: vec![from], at: now };
            self.ask(from, Purpose::Ask, Request::GetBlocks { ids: vec![id] }, Asked::Blocks([id].into()));
        }
    }

    pub(in crate::node) fn block_checked(
        &mut self,
        job: u64,
        id: BlockId,
        result: Result<CheckedBlock, BodyError>,
    ) -> Result<(), StoreError> {
        let Some(fetch) = &mut self.sync.fetch else { return Ok(()) };
        let peer = fetch.peer;
        fetch.progress_at = self.now.monotonic;
        let Some(pending) = fetch.find_by_id(&id) else { return Ok(()) };
        let BodyState::Checking { number, from, bytes } = pending.state else { return Ok(()) };
        if number != job {
            // Of an earlier attempt: this one's body may be another.
            return Ok(());
        }
        match result {
            Ok(block) => pending.state = BodyState::Ready { block: Box::new(block), bytes },
            Err(error) if error.condemns_block() => {
                let place = fetch.pending.iter().position(|pending| pending.id == id).unwrap_or(0);
                let condemned: Vec<BlockId> =
                    fetch.pending.iter().skip(place).map(|pending| pending.id).collect();
                self.chain
                    .store()
                    .write(|writer| condemned.iter().try_for_each(|id| writer.mark_invalid(id)))?;
                self.notice(Notice::InvalidBlock { id, reason: error.to_string() });
                self.end_fetch();
                if let Some(peer) = peer {
                    self.misbehaved(peer, format!("its block {} is invalid: {error}", id.short()));
                }
            }
            Err(error) => {
                // Not the block's fault: somebody sent another body, or with the header another's seal.
                let seal = matches!(error, BodyError::RewardNotToSealer { .. });
                pending.state = BodyState::Wanted;
                pending.failures += 1;
                let given_up = pending.failures > MAX_BODY_FAILURES;
                fetch.buffered_bytes -= bytes;
                fetch.whole_blocks = true;
                if given_up || seal || from.is_none() {
                    self.end_fetch();
                }
                if let Some(culprit) = if seal { peer } else { from } {
                    self.misbehaved(culprit, format!("it sent a wrong body or seal: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Hands out the checked blocks at the front to be connected: at once at the tip, many together while
    /// catching up, and while some are being written the next are only collected.
    pub(super) fn connect_ready(&mut self) {
        let Some(fetch) = &mut self.sync.fetch else { return };
        if fetch.writing_bytes.is_some() || self.sync.offers.len() >= MAX_OFFERS {
            return;
        }
        let ready = fetch
            .pending
            .iter()
            .take_while(|pending| matches!(pending.state, BodyState::Ready { .. }))
            .take(BATCH_BLOCKS);
        let mut bytes = 0;
        let count = ready
            .take_while(|pending| {
                let before = bytes;
                bytes += body_bytes(pending);
                before == 0 || bytes <= BATCH_BYTES
            })
            .count();
        let all = count == fetch.pending.len();
        let full = count == BATCH_BLOCKS || bytes >= BATCH_BYTES;
        let waited = self.now.monotonic >= fetch.connected_at + CONNECT_AFTER;
        if count == 0 || !(all || full || waited) {
            if fetch.pending.is_empty() && fetch.complete {
                self.end_fetch();
            }
            return;
        }
        let (mut blocks, mut bytes) = (Vec::with_capacity(count), 0);
        for pending in fetch.pending.drain(..count) {
            bytes += body_bytes(&pending);
            if let BodyState::Ready { block, .. } = pending.state {
                blocks.push(*block);
            }
        }
        fetch.writing_bytes = Some(bytes);
        fetch.progress_at = self.now.monotonic;
        fetch.connected_at = self.now.monotonic;
        let (fetch, peer) = (Some(fetch.number), fetch.peer);
        let source = match peer.and_then(|peer| self.peers.get(peer)) {
            Some(peer) => Source::Peer(peer.target.clone()),
            None => Source::Caller,
        };
        self.offer(blocks, Offer { source, fetch, peer });
    }

    /// Hands out checked blocks to be connected.
    pub(in crate::node) fn offer(&mut self, blocks: Vec<CheckedBlock>, offer: Offer) {
        self.sync.offers.push_back(offer);
        self.effects.push_back(Effect::Offer(blocks));
    }

    /// Blocks were offered to the chain: what follows from that.
    pub(in crate::node) fn offered(
        &mut self,
        blocks: Vec<CheckedBlock>,
        result: Result<Outcome, ChainError>,
    ) -> Result<(), StoreError> {
        let Some(Offer { source, fetch, peer }) = self.sync.offers.pop_front() else { return Ok(()) };
        let mut gone = false;
        let (change, refused) = match result {
            Ok(Outcome { change, invalid }) => {
                if let Some(invalid) = &invalid {
                    self.notice(Notice::InvalidBlock { id: invalid.id, reason: invalid.to_string() });
                }
                (change, invalid.is_some())
            }
            // Another process condemned the parent between the check and the write. Nothing came of it, and nobody is
            // to blame: its chain is looked at again, from what the store holds now.
            Err(ChainError::UnknownParent { .. }) => {
                gone = true;
                (None, false)
            }
            Err(ChainError::Store(error)) => return Err(error),
        };
        if let Some(peer) = peer.filter(|_| change.is_some()) {
            self.peers.proved_useful(peer);
        }
        if let Some(change) = change {
            self.tip_changed(change, blocks, source)?;
        }
        if let Some(current) = self.sync.fetch.as_mut().filter(|current| Some(current.number) == fetch) {
            current.buffered_bytes -= current.writing_bytes.take().unwrap_or(0);
            current.progress_at = self.now.monotonic;
            if refused || gone {
                self.end_fetch();
            } else {
                self.tell_progress();
            }
        }
        match peer {
            Some(peer) if gone => self.peers.hold(peer, self.now.monotonic + HEDGE_AFTER),
            None if gone => self.mining.invalidate(),
            _ => {}
        }
        if refused {
            match peer {
                Some(peer) => self.misbehaved(peer, "its chain breaks a rule on the ledger".to_owned()),
                None => self.mining.invalidate(),
            }
        }
        Ok(())
    }

    fn tell_progress(&mut self) {
        let Some(fetch) = &self.sync.fetch else { return };
        let Some((peer, claim)) =
            fetch.peer.and_then(|peer| self.peers.get(peer)).and_then(|peer| Some((peer, peer.claim()?)))
        else {
            return;
        };
        let far = claim.height.blocks_since(self.tip.height) > BATCH_BLOCKS as u64;
        if far && self.now.monotonic >= self.sync.last_told + Duration::from_secs(1) {
            let from = peer.target.clone();
            self.sync.last_told = self.now.monotonic;
            self.notice(Notice::CatchingUp { height: self.tip.height, claimed: claim.height, from });
        }
    }

    /// A peer's connections are gone: what it was asked has to be asked of others.
    pub(in crate::node) fn candidate_peer_gone(&mut self, id: PeerId) {
        self.sync.scans.remove(&id);
        let Some(fetch) = &mut self.sync.fetch else { return };
        for pending in &mut fetch.pending {
            if let BodyState::Asked { of, .. } = &mut pending.state {
                of.retain(|peer| *peer != id);
                if of.is_empty() {
                    pending.state = BodyState::Wanted;
                }
            }
        }
        if fetch.peer == Some(id) {
            fetch.peer = None;
            if !fetch.windows.is_empty() || self.holders_of_fetch().is_empty() {
                self.end_fetch();
            } else if let Some(fetch) = &mut self.sync.fetch {
                // Others go on with the headers that are here; who has more is found out afterwards.
                fetch.complete = true;
            }
        }
    }

    fn holders_of_fetch(&self) -> Vec<PeerId> {
        self.sync.fetch.as_ref().map(|fetch| self.holders(fetch)).unwrap_or_default()
    }

    /// How many headers wait for their bodies.
    #[cfg(test)]
    pub(in crate::node) fn pending_headers(&self) -> usize {
        self.sync.fetch.as_ref().map_or(0, |fetch| fetch.pending.len())
    }

    /// Whether a chain is being fetched, and gets on.
    pub(in crate::node) fn is_fetching_well(&self) -> bool {
        self.sync.fetch.as_ref().is_some_and(|fetch| fetch.is_moving(self.now.monotonic))
    }

    /// Takes over a better chain that a caller pushed, its headers checked, in the place of a fetch that
    /// does not get on.
    pub(in crate::node) fn adopt(&mut self, start: Cursor, blocks: Vec<Block>, pushed: Option<Pushed>) {
        self.end_fetch();
        let now = self.now.monotonic;
        let mut fetch = Fetch::new(self.sync.number(), None, start, now);
        (fetch.complete, fetch.whole_blocks, fetch.pushed) = (true, true, pushed);
        for block in blocks {
            let (id, bytes, parent_time) =
                (block.id(), encoded_bytes(&block), fetch.end.ancestors.parent.time);
            let number = self.sync.number();
            fetch.push(id, block.sealed_header());
            if let Some(pending) = fetch.pending.back_mut() {
                pending.state = BodyState::Checking { number, from: None, bytes };
            }
            fetch.came(bytes, now);
            let (block, parallelism) = (Box::new((&block).into()), Parallelism::OneThread);
            self.effects.push_back(Effect::Check(Job::Block { number, block, parent_time, parallelism }));
        }
        self.sync.fetch = Some(fetch);
    }
}
