//! Blocks over a connection that only one side can open: a node pushes its better chain to a named peer,
//! and takes in what callers push to it.

use super::limits::*;
use super::peers::{Asked, PeerId, Purpose};
use super::sync::{Cursor, encoded_bytes};
use super::{ConnectionId, Node};
use crate::block::{Block, SealedHeader};
use crate::chain::locator;
use crate::consensus::HeaderError;
use crate::hash::BlockId;
use crate::store::{Store, StoreError, beats};
use crate::time::Height;
use crate::wire::{MAX_BLOCK_IDS, Request, SubmitResult};

/// Blocks that a caller pushed and that do not add up to a better chain yet.
pub(super) struct Staged {
    start: Cursor,
    end: Cursor,
    blocks: Vec<Block>,
    bytes: usize,
}

impl<S: Store> Node<S> {
    // ── Taking in ───────────────────────────────────────────────────────────────────────────────────

    /// What becomes of blocks that a caller pushes: headers are checked at once, bodies later.
    pub(super) fn blocks_submitted(
        &mut self,
        connection: ConnectionId,
        blocks: Vec<Block>,
    ) -> Result<Vec<SubmitResult>, StoreError> {
        let mut results = Vec::with_capacity(blocks.len());
        let mut staged = self.relay.staged.remove(&connection);
        for (place, block) in blocks.into_iter().enumerate() {
            let full = staged.as_ref().is_some_and(|staged| {
                staged.blocks.len() >= MAX_STAGED_BLOCKS || staged.bytes >= MAX_STAGED_BYTES
            });
            results.push(if full || place >= MAX_BLOCK_IDS {
                SubmitResult::POOL_FULL
            } else {
                self.stage(&mut staged, block)?
            });
        }
        let better =
            staged.filter(|staged| beats(staged.end.work, &staged.end.id(), self.tip.work, &self.tip.id));
        match better {
            Some(staged) if !self.is_fetching() => {
                for result in results.iter_mut().filter(|result| **result == SubmitResult::WAITS) {
                    *result = SubmitResult::ACCEPTED;
                }
                self.adopt_pushed(staged.start, staged.blocks);
            }
            staged => self.relay.staged.extend(staged.map(|staged| (connection, staged))),
        }
        Ok(results)
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
        let behind: Vec<PeerId> = self
            .peers
            .all
            .iter()
            .filter(|(_, peer)| peer.named && peer.pushed != Some(self.tip.id) && !peer.ask.is_asked(busy))
            .filter(|(_, peer)| {
                peer.claim.is_some_and(|claim| beats(self.tip.work, &self.tip.id, claim.work, &claim.tip))
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
        let claimed = self.peers.get(id).and_then(|peer| peer.claim).map(|claim| claim.tip);
        let Some(fork) = headers.first().map(|header| header.header.previous).or(claimed) else {
            return Ok(());
        };
        let shared = self.chain.store().read::<_, StoreError>(|reader| {
            let Some(record) = reader.record(&fork)? else { return Ok(None) };
            Ok(reader.is_best(&record)?.then_some(record.height()))
        })?;
        match shared {
            Some(height) => self.push_after(id, height),
            None => Ok(()),
        }
    }

    fn push_after(&mut self, id: PeerId, height: Height) -> Result<(), StoreError> {
        let blocks = self.chain.store().read::<_, StoreError>(|reader| {
            let (mut blocks, mut bytes, mut height) = (Vec::new(), 0, height.next());
            while blocks.len() < PUSH_BLOCKS && bytes < PUSH_BYTES {
                let Some(block_id) = reader.best_at(height)? else { break };
                let (Some(record), Some(body)) = (reader.record(&block_id)?, reader.body(&block_id)?) else {
                    break;
                };
                let block = Block { header: record.header.header, seal: record.header.seal, body };
                bytes += encoded_bytes(&block);
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
            None => self.peers.pushed(id, self.tip.id),
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
        // All is there, or it does not want it: nothing more until this node's tip changes.
        self.peers.pushed(id, self.tip.id);
        Ok(())
    }
}
