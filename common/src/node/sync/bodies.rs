//! Asking for the bodies of the chain that is being fetched, from several peers at once, and taking them.

use super::{BodyState, Fetch};
use crate::block::{EncodedBlock, EncodedBody};
use crate::consensus::{BodyError, CheckedBlock, Parallelism};
use crate::hash::BlockId;
use crate::node::jobs::Job;
use crate::node::limits::*;
use crate::node::links::{Asked, Purpose};
use crate::node::peers::PeerId;
use crate::node::{Effect, Node, Notice};
use crate::store::{Store, StoreError};
use crate::transaction::Transaction;
use crate::wire::{CompactBlock, Request};

impl<S: Store> Node<S> {
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
    pub(super) fn holders(&self, fetch: &Fetch) -> Vec<PeerId> {
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
}
