//! Blocks over a connection that only one side can open: a node pushes its better chain to a named peer,
//! and takes in what callers push to it.

use super::limits::*;
use super::links::{Asked, Purpose};
use super::peers::{Peer, PeerId};
use super::sync::{Cursor, encoded_bytes};
use super::{ConnectionId, Effect, Node};
use crate::block::{Block, SealedHeader};
use crate::chain::locator;
use crate::consensus::HeaderError;
use crate::hash::BlockId;
use crate::store::{Store, StoreError, beats};
use crate::time::Height;
use crate::wire::{MAX_BLOCK_IDS, Request, Response, SubmitResult};

/// Blocks that a caller pushed and that do not add up to a better chain yet.
pub(super) struct Staged {
    start: Cursor,
    end: Cursor,
    blocks: Vec<Block>,
    bytes: usize,
}

impl Staged {
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A push that is answered when it is known what became of its blocks.
pub(super) struct Pushed {
    connection: ConnectionId,
    ids: Vec<BlockId>,
    /// So far: [`SubmitResult::WAITS`] for what is being checked.
    results: Vec<SubmitResult>,
}

impl<S: Store> Node<S> {
    // ── Taking in ───────────────────────────────────────────────────────────────────────────────────

    /// Takes in blocks that a caller pushes: their headers are checked at once, their bodies once they add
    /// up to a better chain. The caller is answered when that is done, so that he sends no more than can be
    /// taken in.
    pub(super) fn blocks_submitted(
        &mut self,
        connection: ConnectionId,
        blocks: Vec<Block>,
    ) -> Result<(), StoreError> {
        let ids: Vec<BlockId> = blocks.iter().map(Block::id).collect();
        let mut results = Vec::with_capacity(blocks.len());
        let mut staged = self.relay.staged.remove(&connection);
        for (place, block) in blocks.into_iter().enumerate() {
            let full = staged.as_ref().is_some_and(|staged| {
                staged.blocks.len() >= MAX_STAGED_BLOCKS || staged.bytes >= MAX_STAGED_BYTES
            });
            results.push(match results.last() {
                // Each is the parent of the next: nothing that follows can be taken, and looking at it costs.
                Some(&gap) if matches!(gap, SubmitResult::UNKNOWN_PARENT | SubmitResult::REFUSED) => gap,
                _ if full || place >= MAX_BLOCK_IDS => SubmitResult::POOL_FULL,
                _ => self.stage(&mut staged, block)?,
            });
        }
        let pushed = Pushed { connection, ids, results };
        match staged {
            Some(staged) if !self.is_fetching_well() && self.is_better(&staged) => {
                self.adopt(staged.start, staged.blocks, Some(pushed));
            }
            staged => {
                self.relay.staged.extend(staged.map(|staged| (connection, staged)));
                self.bound_staged();
                self.answer_push(pushed);
            }
        }
        Ok(())
    }

    fn is_better(&self, staged: &Staged) -> bool {
        self.beats_tip(staged.end.work, &staged.end.id())
    }

    /// Blocks that were pushed while another chain was being fetched have their turn.
    pub(super) fn adopt_staged(&mut self) {
        if self.is_fetching_well() {
            return;
        }
        let better = self.relay.staged.iter().find(|(_, staged)| self.is_better(staged));
        let better = better.map(|(connection, _)| *connection);
        if let Some(staged) = better.and_then(|connection| self.relay.staged.remove(&connection)) {
            self.adopt(staged.start, staged.blocks, None);
        }
    }

    /// How much callers have staged.
    #[cfg(test)]
    pub(super) fn staged_bytes(&self) -> usize {
        self.relay.staged.values().map(|staged| staged.bytes).sum()
    }

    /// Whoever takes most of the room that all callers share makes room.
    fn bound_staged(&mut self) {
        let mut bytes: usize = self.relay.staged.values().map(|staged| staged.bytes).sum();
        while bytes > MAX_STAGED_BYTES_IN_ALL {
            let largest = self.relay.staged.iter().max_by_key(|(id, staged)| (staged.bytes, **id));
            let Some(largest) = largest.map(|(connection, _)| *connection) else { return };
            bytes -= self.relay.staged.remove(&largest).map_or(0, |staged| staged.bytes);
        }
    }

    /// Tells a caller what became of the blocks that he pushed.
    pub(super) fn answer_push(&mut self, pushed: Pushed) {
        let Pushed { connection, ids, mut results } = pushed;
        for (id, result) in ids.iter().zip(&mut results).filter(|(_, it)| **it == SubmitResult::WAITS) {
            // A store that cannot be read ends the node at the next thing that it must read.
            let fate = self.chain.store().read::<_, StoreError>(|reader| {
                Ok(if reader.is_invalid(id)? {
                    SubmitResult::REFUSED
                } else if reader.record(id)?.is_some() {
                    SubmitResult::ACCEPTED
                } else {
                    SubmitResult::WAITS
                })
            });
            *result = fate.unwrap_or(SubmitResult::WAITS);
        }
        self.effects.push_back(Effect::Respond { connection, response: Response::Results(results) });
    }

    fn stage(&self, staged: &mut Option<Staged>, block: Block) -> Result<SubmitResult, StoreError> {
        let (id, header) = (block.id(), block.sealed_header());
        if self.cursor_at(&id)?.is_some() {
            return Ok(SubmitResult::KNOWN);
        }
        if staged
            .as_ref()
            .is_some_and(|staged| staged.blocks.iter().any(|known| known.header == block.header))
        {
            return Ok(SubmitResult::WAITS);
        }
        let continues = staged.as_ref().is_some_and(|staged| staged.end.id() == header.header.previous);
        if !continues {
            let Some(start) = self.cursor_at(&header.header.previous)? else {
                return Ok(SubmitResult::UNKNOWN_PARENT);
            };
            *staged = Some(Staged { start, end: start, blocks: Vec::new(), bytes: 0 });
        }
        let Some(staged) = staged else { return Ok(SubmitResult::UNKNOWN_PARENT) };
        match self.check_candidate_header(&staged.end, &header)? {
            Ok(id) => {
                staged.end.advance(&header, id);
                staged.bytes += encoded_bytes(&block);
                staged.blocks.push(block);
                Ok(SubmitResult::WAITS)
            }
            Err(HeaderError::AheadOfClock { .. }) => Ok(SubmitResult::WAITS),
            Err(_) => Ok(SubmitResult::REFUSED),
        }
    }

    // ── Pushing ─────────────────────────────────────────────────────────────────────────────────────

    /// Finds named peers whose chain is worse than this node's and begins to push.
    pub(super) fn drive_push(&mut self) -> Result<(), StoreError> {
        let busy = |asked: &Asked| matches!(asked, Asked::ForkWithPeer | Asked::Pushed { .. });
        let now = self.now.monotonic;
        let done = |(tip, until): (BlockId, _)| tip == self.tip.id && now < until;
        let behind: Vec<PeerId> = self
            .peers
            .all
            .iter()
            .filter(|(_, peer)| peer.named && !peer.pushed.is_some_and(done) && !peer.ask.is_asked(busy))
            .filter(|(_, peer)| {
                peer.claim().is_some_and(|claim| beats(self.tip.work, &self.tip.id, claim.work, &claim.tip))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in behind {
            self.open(id, Purpose::Ask);
            if self.peers.get(id).is_some_and(|peer| peer.ask.is_open()) {
                let locator = self.chain.store().read(locator)?;
                self.ask(id, Purpose::Ask, Request::GetHeaders { locator, limit: 1 }, Asked::ForkWithPeer);
            }
        }
        Ok(())
    }

    /// A named peer's first header after the last shared block; none when its whole chain is shared.
    pub(super) fn fork_with_peer(&mut self, id: PeerId, headers: &[SealedHeader]) -> Result<(), StoreError> {
        let claimed = self.peers.get(id).and_then(Peer::claim).map(|claim| claim.tip);
        let fork = headers.first().map(|header| header.header.previous).or(claimed).unwrap_or(BlockId::ZERO);
        let shared = self.chain.store().read::<_, StoreError>(|reader| {
            let Some(record) = reader.record(&fork)? else { return Ok(None) };
            Ok(reader.is_best(&record)?.then_some(record.height()))
        })?;
        match shared {
            Some(height) => self.push_after(id, height),
            None => {
                // One of the two chains has changed meanwhile.
                self.peers.pushed(id, self.tip.id, self.now.monotonic + PUSH_RETRY);
                Ok(())
            }
        }
    }

    fn push_after(&mut self, id: PeerId, height: Height) -> Result<(), StoreError> {
        let blocks = self.chain.store().read::<_, StoreError>(|reader| {
            let (mut blocks, mut bytes, mut height) = (Vec::new(), 0, height.next());
            while blocks.len() < PUSH_BLOCKS {
                let Some(block_id) = reader.best_at(height)? else { break };
                let (Some(record), Some(body)) = (reader.record(&block_id)?, reader.body(&block_id)?) else {
                    break;
                };
                let block = Block { header: record.header.header, seal: record.header.seal, body };
                bytes += encoded_bytes(&block);
                if !blocks.is_empty() && bytes > PUSH_BYTES {
                    break;
                }
                blocks.push(block);
                height = height.next();
            }
            Ok(blocks)
        })?;
        let last: Option<(u64, BlockId)> = blocks.last().map(|block| (block.header.height.get(), block.id()));
        match last {
            Some((up_to, _)) => {
                self.ask(id, Purpose::Ask, Request::SubmitBlocks(blocks), Asked::Pushed { up_to });
            }
            None => self.peers.pushed(id, self.tip.id, self.now.monotonic + PUSH_RETRY),
        }
        Ok(())
    }

    pub(super) fn push_answered(
        &mut self,
        id: PeerId,
        up_to: u64,
        results: &[SubmitResult],
    ) -> Result<(), StoreError> {
        let taken = |result: &SubmitResult| {
            matches!(*result, SubmitResult::ACCEPTED | SubmitResult::KNOWN | SubmitResult::WAITS)
        };
        if results.iter().all(taken) && up_to < self.tip.height.get() {
            return self.push_after(id, Height::new(up_to));
        }
        // All is there, or it does not want it, or not now.
        let later =
            |result: &SubmitResult| matches!(*result, SubmitResult::UNKNOWN_PARENT | SubmitResult::POOL_FULL);
        let pause = if results.iter().any(later) { PUSH_RETRY } else { PUSH_AGAIN };
        self.peers.pushed(id, self.tip.id, self.now.monotonic + pause);
        Ok(())
    }
}
