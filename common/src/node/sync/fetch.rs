//! Following the headers of a chain that has proved its work, while its bodies are fetched and connected.

use super::{BodyState, Cursor, Fetch, Pending, Scan, encoded_bytes, left};
use crate::block::{Block, SealedHeader};
use crate::chain::MAX_HEADERS;
use crate::consensus::{HeaderError, Parallelism};
use crate::node::jobs::Job;
use crate::node::limits::*;
use crate::node::links::{Asked, Purpose};
use crate::node::peers::PeerId;
use crate::node::push::Pushed;
use crate::node::{Effect, Node};
use crate::store::{Store, StoreError};
use crate::wire::Request;

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
    pub(super) fn end_fetch(&mut self) {
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
