//! Following the best chain: headers first, then bodies from several peers at once.
//!
//! A *candidate* is a chain that a peer says is better. While it is *scanned*, its headers are checked and
//! nothing is stored; memory is bounded, because a chain too long to hold is followed by its work alone
//! and the ids at which its windows end. Once its work beats this node's chain it is *fetched*: bodies are
//! asked for from everyone who may have them, checked on other threads, and connected in order, many in
//! one write of the store. A chain that was too long to hold has its headers fetched again, window by
//! window, each of which must end in the id that was remembered, so nobody can change it in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::jobs::Job;
use super::limits::*;
use super::peers::{Asked, PeerId, Purpose};
use super::{Effect, Node, Notice, Source};
use crate::block::{Block, Body, SealedHeader};
use crate::chain::{ChainError, MAX_HEADERS, Outcome, ancestors_of, locator};
use crate::consensus::{Ancestors, BodyError, CheckedBlock, HeaderError, check_header, not_ahead_of_clock};
use crate::difficulty::Work;
use crate::hash::BlockId;
use crate::store::{Store, StoreError, beats};
use crate::time::Timestamp;
use crate::transaction::Transaction;
use crate::wire::{CompactBlock, Request};

/// What is being followed.
#[derive(Default)]
pub(super) struct Sync {
    scans: BTreeMap<PeerId, Scan>,
    fetch: Option<Fetch>,
    last_told: Duration,
}

impl Sync {
    pub(super) fn is_busy(&self) -> bool {
        !self.scans.is_empty() || self.fetch.is_some()
    }
}

/// Where a run of headers has got to.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    ancestors: Ancestors,
    pub(super) work: Work,
}

impl Cursor {
    pub(super) fn id(&self) -> BlockId {
        self.ancestors.parent_id
    }

    pub(super) fn advance(&mut self, header: &SealedHeader, id: BlockId) {
        self.work = self.work.plus(header.header.bits.to_target().work());
        self.ancestors = self.ancestors.of_child(&header.header, id);
    }
}

/// A chain whose headers are being checked.
struct Scan {
    started_at: Duration,
    claimed_tip: BlockId,
    /// Where it leaves this node's tree, and how far it is checked; unknown before the first headers.
    from: Option<(Cursor, Cursor)>,
    /// Its checked headers, unless they are too many.
    held: Vec<(BlockId, SealedHeader)>,
    /// Where each window ended, once they are too many to hold.
    windows: Vec<Window>,
}

/// A run of headers that was checked and let go.
#[derive(Clone, Copy)]
struct Window {
    last: BlockId,
    count: usize,
}

/// The better chain that is being fetched.
struct Fetch {
    /// Who is asked for more headers; `None` when a caller pushed the blocks.
    peer: Option<PeerId>,
    /// How far its headers are checked.
    end: Cursor,
    /// Headers whose bodies are not connected yet, in order.
    pending: VecDeque<Pending>,
    /// Windows whose headers have to be fetched again.
    windows: VecDeque<Window>,
    headers_asked: bool,
    /// The peer has no more headers.
    complete: bool,
    /// Peers that said they lack one of the bodies.
    lacking: BTreeSet<PeerId>,
    buffered_bytes: usize,
    progress_at: Duration,
    /// When blocks were last connected.
    connected_at: Duration,
    /// Compact blocks led nowhere: ask for whole ones.
    whole_blocks: bool,
}

struct Pending {
    id: BlockId,
    header: SealedHeader,
    parent_time: Timestamp,
    failures: u32,
    state: BodyState,
}

/// What is known of a pending block's body.
enum BodyState {
    Wanted,
    Asked { of: Vec<PeerId>, at: Duration },
    Checking { from: Option<PeerId>, bytes: usize },
    Ready(Box<CheckedBlock>),
}

impl Fetch {
    /// The pending block with this id, found by its height.
    fn find(&mut self, height: u64, id: &BlockId) -> Option<&mut Pending> {
        let first = self.pending.front()?.header.header.height.get();
        let place = usize::try_from(height.checked_sub(first)?).ok()?;
        self.pending.get_mut(place).filter(|pending| pending.id == *id)
    }

    fn find_by_id(&mut self, id: &BlockId) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|pending| pending.id == *id)
    }

    fn push(&mut self, id: BlockId, header: SealedHeader) {
        let parent_time = self.end.ancestors.parent.time;
        self.end.advance(&header, id);
        self.pending.push_back(Pending { id, header, parent_time, failures: 0, state: BodyState::Wanted });
    }
}

impl<S: Store> Node<S> {
    pub(super) fn sync_deadline(&self) -> Option<Duration> {
        let fetch = self.sync.fetch.as_ref().map(|fetch| fetch.progress_at + HEDGE_AFTER);
        let ready = self.sync.fetch.as_ref().map(|fetch| fetch.connected_at + CONNECT_AFTER);
        let scans = self.sync.scans.values().map(|scan| scan.started_at + HEDGE_AFTER).min();
        // A deadline that has passed already was acted upon; the next regular tick is soon enough.
        [fetch, ready, scans].into_iter().flatten().filter(|deadline| *deadline > self.now.monotonic).min()
    }

    /// Whether a header may follow the tip, checked with all rules for headers.
    pub(super) fn check_next_header(
        &self,
        header: &SealedHeader,
    ) -> Result<Result<(), HeaderError>, StoreError> {
        let ancestors = self.chain.store().read(|reader| ancestors_of(reader, &header.header.previous))?;
        let Some(ancestors) = ancestors else { return Ok(Err(HeaderError::NotTheParent)) };
        let checked = check_header(self.rules(), &ancestors, header, &*self.checker.verifier);
        Ok(checked.and_then(|_| not_ahead_of_clock(self.rules(), &header.header, self.now.wall)))
    }

    pub(super) fn drive_sync(&mut self) -> Result<(), StoreError> {
        self.start_scans()?;
        self.connect_ready()?;
        self.ask_for_headers();
        self.ask_for_bodies();
        Ok(())
    }

    // ── Scanning ────────────────────────────────────────────────────────────────────────────────────

    /// Follows those who claim a better chain: one first, others when it makes no progress.
    fn start_scans(&mut self) -> Result<(), StoreError> {
        let now = self.now.monotonic;
        if self.sync.fetch.as_ref().is_some_and(|fetch| now < fetch.progress_at + HEDGE_AFTER) {
            return Ok(());
        }
        loop {
            if self.sync.scans.len() >= MAX_SCANS {
                return Ok(());
            }
            let Some((id, claim)) = self.best_unscanned_claim() else { return Ok(()) };
            self.open(id, Purpose::Ask);
            if !self.peers.get(id).is_some_and(|peer| peer.ask.is_open()) {
                // Being called, or nobody else may be called now: the next input comes back here.
                return Ok(());
            }
            let locator = self.chain.store().read(locator)?;
            let request = Request::GetHeaders { locator, limit: MAX_HEADERS as u32 };
            if !self.ask(id, Purpose::Ask, request, Asked::Headers) {
                return Ok(());
            }
            self.sync.scans.insert(
                id,
                Scan {
                    started_at: now,
                    claimed_tip: claim.tip,
                    from: None,
                    held: Vec::new(),
                    windows: Vec::new(),
                },
            );
        }
    }

    /// The best claim that is not followed yet, leaving out those who claim what is being followed
    /// already, unless that takes long.
    fn best_unscanned_claim(&self) -> Option<(PeerId, crate::wire::Status)> {
        let now = self.now.monotonic;
        let young = |scan: &&Scan| now < scan.started_at + HEDGE_AFTER;
        let followed: BTreeSet<BlockId> =
            self.sync.scans.values().filter(young).map(|scan| scan.claimed_tip).collect();
        let mut claims: Vec<_> = self
            .peers
            .all
            .iter()
            .filter(|(id, peer)| peer.may_be_called(now) && !self.sync.scans.contains_key(id))
            .filter(|(id, _)| self.sync.fetch.as_ref().is_none_or(|fetch| fetch.peer != Some(**id)))
            .filter_map(|(id, peer)| peer.claim.map(|claim| (*id, claim)))
            .filter(|(_, claim)| beats(claim.work, &claim.tip, self.tip.work, &self.tip.id))
            .filter(|(_, claim)| !followed.contains(&claim.tip))
            .collect();
        claims.sort_by_key(|(_, claim)| (claim.work, std::cmp::Reverse(claim.tip)));
        // Prefer somebody who can be asked at once: a claim of much work costs nothing to make.
        let open =
            claims.iter().rev().find(|(id, _)| self.peers.get(*id).is_some_and(|peer| peer.ask.is_open()));
        open.or(claims.last()).copied()
    }

    /// Headers of a candidate, being scanned or fetched.
    pub(super) fn headers_came(&mut self, id: PeerId, headers: Vec<SealedHeader>) -> Result<(), StoreError> {
        if headers.len() > MAX_HEADERS {
            self.misbehaved(id, "it sent more headers than were asked for".to_owned());
            return Ok(());
        }
        if let Some(scan) = self.sync.scans.remove(&id) {
            return self.scanned(id, scan, headers);
        }
        match self.sync.fetch.take() {
            Some(fetch) if fetch.peer == Some(id) => self.fetched_headers(id, fetch, headers),
            other => {
                self.sync.fetch = other;
                Ok(())
            }
        }
    }

    fn scanned(&mut self, id: PeerId, mut scan: Scan, headers: Vec<SealedHeader>) -> Result<(), StoreError> {
        let last_window = headers.len() < MAX_HEADERS;
        let mut new = VecDeque::from(headers);
        if scan.from.is_none() {
            // What the tree already holds needs no second look.
            let Some(first) = new.front() else { return self.nothing_better(id, &scan) };
            let Some(mut start) = self.cursor_at(&first.header.previous)? else {
                self.misbehaved(id, "its headers do not begin where they were asked to".to_owned());
                return Ok(());
            };
            while let Some(header) = new.front().filter(|header| header.header.previous == start.id()) {
                let Some(known) = self.cursor_at(&header.id())? else { break };
                start = known;
                new.pop_front();
            }
            scan.from = Some((start, start));
        }
        let Some((start, mut end)) = scan.from else { return Ok(()) };
        let (mut count, mut waits) = (0, false);
        for header in new {
            match self.check_candidate_header(&end, &header)? {
                Ok(block_id) => {
                    end.advance(&header, block_id);
                    count += 1;
                    if scan.windows.is_empty() {
                        scan.held.push((block_id, header));
                    }
                }
                Err(HeaderError::AheadOfClock { ahead_ms }) => {
                    self.notice(Notice::BlockWaits { id: header.id(), ahead_ms });
                    waits = true;
                    break;
                }
                Err(error) => {
                    self.misbehaved(id, format!("its block {} breaks a rule: {error}", header.header.height));
                    return Ok(());
                }
            }
        }
        scan.from = Some((start, end));
        if beats(end.work, &end.id(), self.tip.work, &self.tip.id) {
            if !scan.windows.is_empty() {
                scan.windows.push(Window { last: end.id(), count });
            }
            self.start_fetch(id, scan, last_window || waits);
            return Ok(());
        }
        if last_window || waits {
            return self.nothing_better(id, &scan);
        }
        if !scan.windows.is_empty() {
            scan.windows.push(Window { last: end.id(), count });
        } else if scan.held.len() >= MAX_HELD_HEADERS {
            let windows = scan.held.chunks(MAX_HEADERS);
            scan.windows = windows
                .filter_map(|window| Some(Window { last: window.last()?.0, count: window.len() }))
                .collect();
            scan.held = Vec::new();
        }
        let request = Request::GetHeaders { locator: vec![end.id()], limit: MAX_HEADERS as u32 };
        if self.ask(id, Purpose::Ask, request, Asked::Headers) {
            self.sync.scans.insert(id, scan);
        }
        Ok(())
    }

    /// A peer has no better chain after all. If its headers have less work than it claimed, it is left
    /// alone for a while, longer each time; if this node's chain grew meanwhile, nobody is to blame.
    fn nothing_better(&mut self, id: PeerId, scan: &Scan) -> Result<(), StoreError> {
        let proved = scan.from.map_or(Work::ZERO, |(_, end)| end.work);
        let claimed = self.peers.get(id).and_then(|peer| peer.claim).map_or(Work::ZERO, |claim| claim.work);
        if proved < claimed {
            self.failed(id, "it announced a better chain and did not have one".to_owned());
        }
        Ok(())
    }

    /// The place in the tree of a block that is known.
    pub(super) fn cursor_at(&self, id: &BlockId) -> Result<Option<Cursor>, StoreError> {
        self.chain.store().read(|reader| {
            let (Some(record), Some(ancestors)) = (reader.record(id)?, ancestors_of(reader, id)?) else {
                return Ok(None);
            };
            Ok((!reader.is_invalid(id)?).then_some(Cursor { ancestors, work: record.work }))
        })
    }

    pub(super) fn check_candidate_header(
        &self,
        end: &Cursor,
        header: &SealedHeader,
    ) -> Result<Result<BlockId, HeaderError>, StoreError> {
        let id = match check_header(self.rules(), &end.ancestors, header, &*self.checker.verifier) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        if self.chain.store().read(|reader| reader.is_invalid(&id))? {
            return Ok(Err(HeaderError::KnownInvalid));
        }
        Ok(not_ahead_of_clock(self.rules(), &header.header, self.now.wall).map(|()| id))
    }

    // ── Fetching ────────────────────────────────────────────────────────────────────────────────────

    fn start_fetch(&mut self, id: PeerId, scan: Scan, complete: bool) {
        let Some((start, end)) = scan.from else { return };
        if let Some(fetch) = &self.sync.fetch {
            // One chain at a time; the one under way gives way only when it stands still.
            let moving = self.now.monotonic < fetch.progress_at + HEDGE_AFTER;
            if moving || fetch.end.work > end.work {
                return;
            }
        }
        self.peers.proved_useful(id);
        let lean = !scan.windows.is_empty();
        let mut fetch = Fetch {
            peer: Some(id),
            end: start,
            pending: VecDeque::new(),
            windows: scan.windows.into(),
            headers_asked: false,
            complete: complete && !lean,
            lacking: BTreeSet::new(),
            buffered_bytes: 0,
            progress_at: self.now.monotonic,
            connected_at: self.now.monotonic,
            whole_blocks: false,
        };
        for (block_id, header) in scan.held {
            fetch.push(block_id, header);
        }
        // Others who were followed to the same end are of use for bodies, not for headers.
        self.sync.scans.retain(|_, other| other.claimed_tip != scan.claimed_tip);
        self.sync.fetch = Some(fetch);
    }

    fn fetched_headers(
        &mut self,
        id: PeerId,
        mut fetch: Fetch,
        headers: Vec<SealedHeader>,
    ) -> Result<(), StoreError> {
        fetch.headers_asked = false;
        let expected = fetch.windows.pop_front();
        let wanted = expected.map_or(MAX_HEADERS, |window| window.count);
        fetch.complete = headers.len() < wanted || (expected.is_none() && headers.is_empty());
        for header in headers {
            match self.check_candidate_header(&fetch.end, &header)? {
                Ok(block_id) => fetch.push(block_id, header),
                Err(HeaderError::AheadOfClock { ahead_ms }) => {
                    self.notice(Notice::BlockWaits { id: header.id(), ahead_ms });
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

    fn ask_for_headers(&mut self) {
        let Some(fetch) = &self.sync.fetch else { return };
        let Some(peer) = fetch.peer else { return };
        if fetch.headers_asked || fetch.complete || fetch.pending.len() + MAX_HEADERS > MAX_PENDING_HEADERS {
            return;
        }
        let limit = fetch.windows.front().map_or(MAX_HEADERS, |window| window.count) as u32;
        let request = Request::GetHeaders { locator: vec![fetch.end.id()], limit };
        if self.ask(peer, Purpose::Ask, request, Asked::Headers)
            && let Some(fetch) = &mut self.sync.fetch
        {
            fetch.headers_asked = true;
        }
    }

    /// Asks for the bodies that come next, of everyone who may have them.
    fn ask_for_bodies(&mut self) {
        let now = self.now.monotonic;
        let Some(fetch) = &self.sync.fetch else { return };
        let many = fetch.pending.len() > 2 * BLOCKS_PER_REQUEST;
        let holders = self.holders(fetch);
        if many {
            // More peers are worth a call when there is a lot to fetch.
            for id in holders.iter().take(4) {
                self.open(*id, Purpose::Ask);
            }
        }
        loop {
            let Some(fetch) = &mut self.sync.fetch else { return };
            // With the buffer full, only the block that everything waits for is of use.
            let full = fetch.buffered_bytes >= MAX_BUFFERED_BYTES;
            let window = if full { 1 } else { MAX_BLOCKS_IN_FLIGHT };
            // Whoever has the least to do; a block that somebody sits on is asked of a second peer.
            let free = holders
                .iter()
                .filter_map(|id| {
                    Some((*id, self.peers.get(*id).filter(|peer| peer.ask.is_open())?.ask.block_requests()))
                })
                .filter(|(_, requests)| *requests < REQUESTS_PER_PEER)
                .min_by_key(|(_, requests)| *requests);
            let Some((peer, _)) = free else { return };
            let wanted = |pending: &Pending| match &pending.state {
                BodyState::Wanted => true,
                BodyState::Asked { of, at } => now >= *at + HEDGE_AFTER && !of.contains(&peer),
                _ => false,
            };
            let ids: Vec<BlockId> = fetch
                .pending
                .iter()
                .take(window)
                .filter(|pending| wanted(pending))
                .take(BLOCKS_PER_REQUEST)
                .map(|pending| pending.id)
                .collect();
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

    /// Who may have the bodies: whoever gave the headers, and those who claim at least this node's work.
    fn holders(&self, fetch: &Fetch) -> Vec<PeerId> {
        let mut holders: Vec<PeerId> = fetch.peer.into_iter().collect();
        let others = self.peers.all.iter().filter(|(id, peer)| {
            peer.may_be_called(self.now.monotonic)
                && Some(**id) != fetch.peer
                && peer.claim.is_some_and(|claim| claim.work > self.tip.work)
        });
        holders.extend(others.map(|(id, _)| *id));
        holders.retain(|id| !fetch.lacking.contains(id));
        holders
    }

    pub(super) fn block_came(&mut self, from: PeerId, id: BlockId, block: Block) {
        let bytes = encoded_bytes(&block);
        let now = self.now.monotonic;
        let Some(fetch) = &mut self.sync.fetch else { return };
        let full = fetch.buffered_bytes + bytes > MAX_BUFFERED_BYTES;
        let is_next = fetch.pending.front().is_some_and(|pending| pending.id == id);
        let Some(pending) = fetch.find(block.header.height.get(), &id) else { return };
        if !matches!(pending.state, BodyState::Asked { .. } | BodyState::Wanted) {
            return;
        }
        if full && !is_next {
            pending.state = BodyState::Wanted;
            return;
        }
        pending.state = BodyState::Checking { from: Some(from), bytes };
        // The header that was checked counts, not the one that came with the body.
        let block =
            Block { header: pending.header.header, seal: pending.header.seal.clone(), body: block.body };
        let parent_time = pending.parent_time;
        fetch.buffered_bytes += bytes;
        fetch.progress_at = now;
        self.effects.push_back(Effect::Check(Job::Block { block: Box::new(block), parent_time }));
    }

    pub(super) fn block_not_found(&mut self, from: PeerId, id: &BlockId) {
        let Some(fetch) = &mut self.sync.fetch else { return };
        fetch.lacking.insert(from);
        let given_up = fetch.find_by_id(id).is_some_and(|pending| {
            pending.state = BodyState::Wanted;
            pending.failures += 1;
            pending.failures > MAX_BODY_FAILURES
        });
        let source = fetch.peer;
        if given_up || source == Some(from) {
            // Whoever announced a chain has its bodies, or has left it.
            self.sync.fetch = None;
            if let Some(source) = source {
                self.failed(source, "it no longer has the chain that it announced".to_owned());
            }
        }
    }

    /// A block of which only the missing transactions have to be fetched.
    pub(super) fn compact_came(
        &mut self,
        from: PeerId,
        id: BlockId,
        compact: CompactBlock,
    ) -> Result<(), StoreError> {
        if compact.header.id() != id {
            self.misbehaved(from, "it sent another block than the one asked for".to_owned());
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

    pub(super) fn missing_came(
        &mut self,
        from: PeerId,
        compact: CompactBlock,
        indices: &[u32],
        transactions: Vec<Transaction>,
    ) {
        let id = compact.header.id();
        let mut missing = indices.iter().zip(transactions).peekable();
        let Some(pool) = &self.pool else { return };
        let mut whole = Vec::with_capacity(compact.ids.len());
        for (index, transaction_id) in compact.ids.iter().enumerate() {
            let sent = missing
                .next_if(|(missing, _)| **missing as usize == index)
                .map(|(_, transaction)| transaction);
            whole.extend(sent.or_else(|| pool.get(transaction_id).map(|known| known.transaction().clone())));
        }
        if whole.len() != compact.ids.len() {
            // The pool changed meanwhile, or the answer was short.
            self.fetch_whole(from, id);
            return;
        }
        let header = compact.header;
        let body = Body { reward: compact.reward, transactions: whole };
        self.block_came(from, id, Block { header: header.header, seal: header.seal, body });
    }

    fn fetch_whole(&mut self, from: PeerId, id: BlockId) {
        let Some(fetch) = &mut self.sync.fetch else { return };
        fetch.whole_blocks = true;
        let now = self.now.monotonic;
        if let Some(pending) = fetch.find_by_id(&id) {
            pending.state = BodyState::Asked { of: vec![from], at: now };
            self.ask(from, Purpose::Ask, Request::GetBlocks { ids: vec![id] }, Asked::Blocks([id].into()));
        }
    }

    pub(super) fn block_checked(
        &mut self,
        id: BlockId,
        result: Result<CheckedBlock, BodyError>,
    ) -> Result<(), StoreError> {
        let Some(fetch) = &mut self.sync.fetch else { return Ok(()) };
        let peer = fetch.peer;
        let Some(pending) = fetch.find_by_id(&id) else { return Ok(()) };
        let BodyState::Checking { from, bytes } = pending.state else { return Ok(()) };
        match result {
            Ok(block) => pending.state = BodyState::Ready(Box::new(block)),
            Err(error) if error.condemns_block() => {
                let place = fetch.pending.iter().position(|pending| pending.id == id).unwrap_or(0);
                let condemned: Vec<BlockId> =
                    fetch.pending.iter().skip(place).map(|pending| pending.id).collect();
                self.chain
                    .store()
                    .write(|writer| condemned.iter().try_for_each(|id| writer.mark_invalid(id)))?;
                self.notice(Notice::InvalidBlock { id, reason: error.to_string() });
                self.sync.fetch = None;
                if let Some(peer) = peer {
                    self.misbehaved(peer, format!("its block {} is invalid: {error}", id.short()));
                }
            }
            Err(error) => {
                // Not the block's fault: somebody sent another body.
                pending.state = BodyState::Wanted;
                pending.failures += 1;
                fetch.buffered_bytes -= bytes;
                fetch.whole_blocks = true;
                let given_up = pending_failures(fetch, &id) > MAX_BODY_FAILURES;
                if given_up || from.is_none() {
                    self.sync.fetch = None;
                }
                if let Some(from) = from {
                    self.misbehaved(from, format!("it sent a wrong body: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Connects the checked blocks at the front: at once at the tip, many together while catching up.
    fn connect_ready(&mut self) -> Result<(), StoreError> {
        loop {
            let Some(fetch) = &mut self.sync.fetch else { return Ok(()) };
            let ready = fetch
                .pending
                .iter()
                .take_while(|pending| matches!(pending.state, BodyState::Ready(_)))
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
                    self.sync.fetch = None;
                }
                return Ok(());
            }
            let mut blocks = Vec::with_capacity(count);
            for pending in fetch.pending.drain(..count) {
                if let BodyState::Ready(block) = pending.state {
                    blocks.push(*block);
                }
            }
            fetch.buffered_bytes = fetch.pending.iter().map(body_bytes).sum();
            fetch.progress_at = self.now.monotonic;
            fetch.connected_at = self.now.monotonic;
            let peer = fetch.peer;
            let source = match peer.and_then(|peer| self.peers.get(peer)) {
                Some(peer) => Source::Peer(peer.target.clone()),
                None => Source::Caller,
            };
            let invalid = self.connect(&blocks, source)?;
            if invalid {
                self.sync.fetch = None;
                if let Some(peer) = peer {
                    self.misbehaved(peer, "its chain breaks a rule on the ledger".to_owned());
                }
                return Ok(());
            }
            self.tell_progress();
        }
    }

    /// Offers checked blocks to the chain; says whether one of them was invalid.
    pub(super) fn connect(&mut self, blocks: &[CheckedBlock], source: Source) -> Result<bool, StoreError> {
        let Outcome { change, invalid } = match self.chain.connect(blocks) {
            Ok(outcome) => outcome,
            // Another process condemned or replaced the parent meanwhile: nothing came of it.
            Err(ChainError::UnknownParent { .. }) => return Ok(true),
            Err(ChainError::Store(error)) => return Err(error),
        };
        if let Some(change) = change {
            self.tip_changed(change, blocks, source)?;
        }
        if let Some(invalid) = &invalid {
            self.notice(Notice::InvalidBlock { id: invalid.id, reason: invalid.to_string() });
        }
        Ok(invalid.is_some())
    }

    fn tell_progress(&mut self) {
        let Some(fetch) = &self.sync.fetch else { return };
        let Some((peer, claim)) =
            fetch.peer.and_then(|peer| self.peers.get(peer)).and_then(|peer| Some((peer, peer.claim?)))
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
    pub(super) fn candidate_peer_gone(&mut self, id: PeerId) {
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
                self.sync.fetch = None;
            } else if let Some(fetch) = &mut self.sync.fetch {
                // Others go on with the headers that are here; who has more is found out afterwards.
                fetch.complete = true;
            }
        }
    }

    fn holders_of_fetch(&self) -> Vec<PeerId> {
        self.sync.fetch.as_ref().map(|fetch| self.holders(fetch)).unwrap_or_default()
    }

    /// Whether a chain is being fetched.
    pub(super) fn is_fetching(&self) -> bool {
        self.sync.fetch.is_some()
    }

    /// Takes over a better chain that a caller pushed, its headers checked, when none is being fetched.
    pub(super) fn adopt_pushed(&mut self, start: Cursor, blocks: Vec<Block>) {
        let mut fetch = Fetch {
            peer: None,
            end: start,
            pending: VecDeque::new(),
            windows: VecDeque::new(),
            headers_asked: false,
            complete: true,
            lacking: BTreeSet::new(),
            buffered_bytes: 0,
            progress_at: self.now.monotonic,
            connected_at: self.now.monotonic,
            whole_blocks: true,
        };
        for block in blocks {
            let (id, bytes, parent_time) =
                (block.id(), encoded_bytes(&block), fetch.end.ancestors.parent.time);
            fetch.push(id, block.sealed_header());
            if let Some(pending) = fetch.pending.back_mut() {
                pending.state = BodyState::Checking { from: None, bytes };
            }
            fetch.buffered_bytes += bytes;
            self.effects.push_back(Effect::Check(Job::Block { block: Box::new(block), parent_time }));
        }
        self.sync.fetch = Some(fetch);
    }
}

fn pending_failures(fetch: &mut Fetch, id: &BlockId) -> u32 {
    fetch.find_by_id(id).map_or(0, |pending| pending.failures)
}

fn body_bytes(pending: &Pending) -> usize {
    match &pending.state {
        BodyState::Checking { bytes, .. } => *bytes,
        BodyState::Ready(block) => block.encoded_body().len(),
        _ => 0,
    }
}

/// About how much memory a block's body takes.
pub(super) fn encoded_bytes(block: &Block) -> usize {
    let transactions = block.body.transactions.iter();
    let data = transactions.map(|transaction| {
        150 + transaction.payment.data.len()
            + transaction.payment.public_key.len()
            + transaction.signature.len()
    });
    200 + data.sum::<usize>()
}
