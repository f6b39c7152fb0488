//! Handing out checked blocks to be written, many at a time, and what follows when they are.

use std::time::Duration;

use super::{BodyState, Offer, body_bytes};
use crate::chain::{ChainError, Outcome};
use crate::consensus::CheckedBlock;
use crate::node::limits::*;
use crate::node::{Effect, Node, Notice, Source};
use crate::store::{Store, StoreError};

impl<S: Store> Node<S> {
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
}
