//! Following the best chain: headers first, then bodies from several peers at once.
//!
//! A *candidate* is a chain that a peer says is better. While it is *scanned*, its headers are checked and
//! nothing is stored; memory is bounded, because a chain too long to hold is followed by its work alone
//! and the ids at which its windows end. Once its work beats this node's chain it is *fetched*: bodies are
//! asked for from everyone who may have them, checked on other threads, and connected in order, many in
//! one write of the store. A chain that was too long to hold has its headers fetched again, window by
//! window, each of which must end in the id that was remembered, so nobody can change it in between.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use super::jobs::Job;
use super::limits::*;
use super::peers::{Asked, Peer, PeerId, Purpose};
use super::push::Pushed;
use super::{Effect, Node, Notice, Source};
use crate::block::{Block, Body, SealedHeader};
use crate::chain::{ChainError, MAX_HEADERS, Outcome, ancestors_of, locator};
use crate::consensus::{Ancestors, BodyError, CheckedBlock, HeaderError, check_header, not_ahead_of_clock};
use crate::difficulty::Work;
use crate::hash::BlockId;
use crate::store::{Store, StoreError, beats};
use crate::time::Timestamp;
use crate::transaction::Transaction;
use crate::wire::{CompactBlock, Request, Status};

/// What is being followed.
#[derive(Default)]
pub(super) struct Sync {
    scans: BTreeMap<PeerId, Scan>,
    fetch: Option<Fetch>,
    last_told: Duration,
    /// The block that the user was last told to be ahead of the clock.
    told_waits: Option<BlockId>,
    /// Tells questions and jobs apart: an answer to one that is no longer of interest is no answer to the
    /// next.
    last_number: u64,
}

impl Sync {
    pub(super) fn is_busy(&self) -> bool {
        !self.scans.is_empty() || self.fetch.is_some()
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
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
    /// The question that it waits for.
    number: u64,
    started_at: Duration,
    /// What its peer said when it began.
    claim: Status,
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
    /// The question for more headers that is open.
    headers_asked: Option<u64>,
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
    /// What came since `measured_at`, and before that: see [`SLOW_AFTER`].
    measured_at: Duration,
    blocks_since: usize,
    bytes_since: usize,
    slow: bool,
    /// All bodies that came, for their average size.
    blocks_in_all: usize,
    bytes_in_all: usize,
    /// The caller who pushed the blocks and waits to hear what became of them.
    pushed: Option<Pushed>,
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
    Checking { number: u64, from: Option<PeerId>, bytes: usize },
    Ready(Box<CheckedBlock>),
}

impl Fetch {
    fn new(peer: Option<PeerId>, start: Cursor, now: Duration) -> Self {
        Self {
            peer,
            end: start,
            pending: VecDeque::new(),
            windows: VecDeque::new(),
            headers_asked: None,
            complete: false,
            lacking: BTreeSet::new(),
            buffered_bytes: 0,
            progress_at: now,
            connected_at: now,
            whole_blocks: false,
            measured_at: now,
            blocks_since: 0,
            bytes_since: 0,
            slow: false,
            blocks_in_all: 0,
            bytes_in_all: 0,
            pushed: None,
        }
    }

    /// Whether it gets on well enough for other chains to wait.
    fn is_moving(&self, now: Duration) -> bool {
        !self.slow && now < self.progress_at + HEDGE_AFTER
    }

    fn came(&mut self, bytes: usize, now: Duration) {
        self.progress_at = now;
        self.buffered_bytes += bytes;
        for (count, more) in [
            (&mut self.blocks_since, 1),
            (&mut self.blocks_in_all, 1),
            (&mut self.bytes_since, bytes),
            (&mut self.bytes_in_all, bytes),
        ] {
            *count += more;
        }
    }

    fn measure(&mut self, now: Duration) {
        if now >= self.measured_at + SLOW_AFTER {
            let much_to_do = self.pending.len() > SLOW_BLOCKS;
            self.slow = much_to_do && self.blocks_since < SLOW_BLOCKS && self.bytes_since < SLOW_BYTES;
            (self.measured_at, self.blocks_since, self.bytes_since) = (now, 0, 0);
        }
    }

    /// How many of the next blocks may be asked for, so that what comes finds room.
    fn window(&self) -> usize {
        if self.buffered_bytes >= MAX_BUFFERED_BYTES {
            // Only the block that everything waits for is of use.
            return 1;
        }
        let average = self.bytes_in_all.checked_div(self.blocks_in_all).unwrap_or(0).max(1);
        (MAX_BUFFERED_BYTES / average).clamp(1, MAX_BLOCKS_IN_FLIGHT)
    }

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
        let fetch = self.sync.fetch.as_ref();
        let ready = fetch.map(|fetch| fetch.connected_at + CONNECT_AFTER);
        let fetch = fetch.map(|fetch| fetch.progress_at + HEDGE_AFTER);
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
        self.connect_ready()?;
        self.look_after_fetch();
        self.adopt_staged();
        self.start_scans()?;
        self.ask_for_headers();
        self.ask_for_bodies();
        Ok(())
    }

    // ── Scanning ────────────────────────────────────────────────────────────────────────────────────

    /// Follows those who claim a better chain: one first, others when it makes no progress.
    fn start_scans(&mut self) -> Result<(), StoreError> {
        let now = self.now.monotonic;
        if self.is_fetching_well() {
            return Ok(());
        }
        while self.sync.scans.len() < MAX_SCANS {
            let claims = self.unfollowed_claims(|peer| peer.ask.is_open());
            let best = claims.into_iter().max_by_key(|(_, claim)| (claim.work, Reverse(claim.tip)));
            let Some((id, claim)) = best else { break };
            let locator = self.chain.store().read(locator)?;
            let request = Request::GetHeaders { locator, limit: MAX_HEADERS as u32 };
            let number = self.sync.number();
            if !self.ask(id, Purpose::Ask, request, Asked::Headers(number)) {
                break;
            }
            let (held, windows) = (Vec::new(), Vec::new());
            self.sync.scans.insert(id, Scan { number, started_at: now, claim, from: None, held, windows });
        }
        self.call_claimants();
        Ok(())
    }

    /// Opens connections to some who claim a better chain. A claim costs nothing to make, so neither its
    /// work nor how many there are decides who is called first: those reached before have every other
    /// turn, and chance decides among the rest.
    fn call_claimants(&mut self) {
        while self.peers.calls() < MAX_CALLS {
            let closed = self.unfollowed_claims(|peer| peer.ask.is_closed());
            let greeted = |(id, _): &(PeerId, Status)| self.peers.get(*id).is_some_and(|peer| peer.greeted);
            let known: Vec<_> = closed.iter().copied().filter(greeted).collect();
            let choice = self.random();
            let from = if known.is_empty() || choice.is_multiple_of(2) { closed } else { known };
            let Some((id, _)) = from.get((choice >> 1) as usize % from.len().max(1)) else { return };
            self.open(*id, Purpose::Ask);
            if self.peers.get(*id).is_none_or(|peer| peer.ask.is_closed()) {
                // All connections are in use.
                return;
            }
        }
    }

    /// Claims of a better chain that are not followed yet, leaving out those of a chain that is being
    /// followed already, unless that takes long.
    fn unfollowed_claims(&self, of: impl Fn(&Peer) -> bool) -> Vec<(PeerId, Status)> {
        let now = self.now.monotonic;
        let young = self.sync.scans.values().filter(|scan| now < scan.started_at + HEDGE_AFTER);
        let called =
            self.peers.all.values().filter(|peer| peer.ask.is_opening_for_less_than(CALL_HEDGE_AFTER, now));
        let mut followed: HashSet<BlockId> = young.map(|scan| scan.claim.tip).collect();
        followed.extend(called.filter_map(|peer| peer.claim).map(|claim| claim.tip));
        let fetched_from = self.sync.fetch.as_ref().and_then(|fetch| fetch.peer);
        self.peers
            .all
            .iter()
            .filter(|(_, peer)| of(peer) && peer.may_be_scanned(now))
            .filter(|(id, _)| !self.sync.scans.contains_key(id) && fetched_from != Some(**id))
            .filter_map(|(id, peer)| peer.claim.map(|claim| (*id, claim)))
            .filter(|(_, claim)| beats(claim.work, &claim.tip, self.tip.work, &self.tip.id))
            .filter(|(_, claim)| !followed.contains(&claim.tip))
            .collect()
    }

    /// Headers of a candidate, being scanned or fetched; of none, when the question is an old one.
    pub(super) fn headers_came(
        &mut self,
        id: PeerId,
        number: u64,
        headers: Vec<SealedHeader>,
    ) -> Result<(), StoreError> {
        if headers.len() > MAX_HEADERS {
            self.misbehaved(id, "it sent more headers than were asked for".to_owned());
            return Ok(());
        }
        if self.sync.scans.get(&id).is_some_and(|scan| scan.number == number)
            && let Some(scan) = self.sync.scans.remove(&id)
        {
            return self.scanned(id, scan, headers);
        }
        match self.sync.fetch.take_if(|fetch| fetch.headers_asked == Some(number)) {
            Some(fetch) => self.fetched_headers(id, fetch, headers),
            None => Ok(()),
        }
    }

    fn scanned(&mut self, id: PeerId, mut scan: Scan, headers: Vec<SealedHeader>) -> Result<(), StoreError> {
        let last_window = headers.len() < MAX_HEADERS;
        let mut new = VecDeque::from(headers);
        if scan.held.is_empty() && scan.windows.is_empty() {
            // What the tree already holds needs no second look.
            let start = match (scan.from, new.front()) {
                (Some((_, end)), _) => Some(end),
                (None, Some(first)) => self.cursor_at(&first.header.previous)?,
                (None, None) => return self.nothing_better(id, &scan),
            };
            let Some(mut start) = start else {
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
        if left(&end, new.front()) {
            self.failed(id, "its chain changed while it was looked at".to_owned());
            return Ok(());
        }
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
                    self.waits(id, header.id(), ahead_ms);
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
        if waits {
            // Nobody's fault, and it may be better in a while.
            return Ok(());
        }
        if last_window {
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
        scan.number = self.sync.number();
        if self.ask(id, Purpose::Ask, request, Asked::Headers(scan.number)) {
            self.sync.scans.insert(id, scan);
        }
        Ok(())
    }

    /// A peer has no better chain after all. If its headers are worse than what it claimed, it is left
    /// alone for a while, longer each time; if this node's chain grew meanwhile, nobody is to blame.
    fn nothing_better(&mut self, id: PeerId, scan: &Scan) -> Result<(), StoreError> {
        let claim = &scan.claim;
        self.peers.forget_claim(id, claim);
        let lied = scan.from.is_none_or(|(_, end)| beats(claim.work, &claim.tip, end.work, &end.id()));
        if lied {
            self.failed(id, "it announced a better chain and did not have one".to_owned());
        }
        Ok(())
    }

    /// A peer's chain goes on with a block from the future: it is looked at again when its time has come.
    fn waits(&mut self, id: PeerId, block: BlockId, ahead_ms: u64) {
        let allowed_ms = u64::from(self.rules().max_ahead_seconds) * 1000;
        let wait = Duration::from_millis(ahead_ms.saturating_sub(allowed_ms)).min(LONGEST_HOLD);
        self.peers.hold(id, self.now.monotonic + wait);
        if self.sync.told_waits.replace(block) != Some(block) {
            self.notice(Notice::BlockWaits { id: block, ahead_ms });
        }
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
        let mut fetch = Fetch::new(Some(id), start, now);
        fetch.windows = scan.windows.into();
        fetch.complete = complete && !lean;
        for (block_id, header) in scan.held {
            fetch.push(block_id, header);
        }
        // Others who were followed to the same end are of use for bodies, not for headers.
        self.sync.scans.retain(|_, other| other.claim.tip != scan.claim.tip);
        self.sync.fetch = Some(fetch);
    }

    /// Ends the fetch, if there is one, whatever it has got to.
    fn end_fetch(&mut self) {
        if let Some(pushed) = self.sync.fetch.take().and_then(|fetch| fetch.pushed) {
            self.answer_push(pushed);
        }
    }

    /// Sees to it that no fetch lasts without end.
    fn look_after_fetch(&mut self) {
        let now = self.now.monotonic;
        let Some(fetch) = &mut self.sync.fetch else { return };
        fetch.measure(now);
        let (peer, forgotten) = (fetch.peer, now >= fetch.progress_at + FETCH_PATIENCE);
        let under_way =
            |pending: &Pending| matches!(pending.state, BodyState::Checking { .. } | BodyState::Ready(_));
        let nobody_has_it =
            peer.is_none() && !fetch.pending.iter().any(under_way) && self.holders_of_fetch().is_empty();
        if forgotten || nobody_has_it {
            self.end_fetch();
            if let Some(peer) = peer {
                self.failed(peer, "its chain could not be fetched".to_owned());
            }
        }
    }

    fn fetched_headers(
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

    fn ask_for_headers(&mut self) {
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
    fn ask_for_bodies(&mut self) {
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
        let better = |claim: Status| beats(claim.work, &claim.tip, self.tip.work, &self.tip.id);
        let others = self.peers.all.iter().filter(|(id, peer)| {
            peer.may_be_called(self.now.monotonic)
                && Some(**id) != fetch.peer
                && peer.claim.is_some_and(better)
        });
        let (reached, unknown): (Vec<_>, Vec<_>) = others.partition(|(_, peer)| peer.greeted);
        holders.extend(reached.into_iter().chain(unknown).map(|(id, _)| *id));
        holders.retain(|id| !fetch.lacking.contains(id));
        holders
    }

    pub(super) fn block_came(&mut self, from: PeerId, id: BlockId, block: Block) {
        let bytes = encoded_bytes(&block);
        let now = self.now.monotonic;
        let number = self.sync.number();
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
        pending.state = BodyState::Checking { number, from: Some(from), bytes };
        // The header that was checked counts, not the one that came with the body.
        let block =
            Block { header: pending.header.header, seal: pending.header.seal.clone(), body: block.body };
        let parent_time = pending.parent_time;
        fetch.came(bytes, now);
        self.effects.push_back(Effect::Check(Job::Block { number, block: Box::new(block), parent_time }));
    }

    /// A peer does not have a block that was asked of it. That is no fault, but for the one that announced
    /// the chain.
    pub(super) fn block_not_found(&mut self, from: PeerId, id: &BlockId) {
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

    pub(super) fn fetch_whole(&mut self, from: PeerId, id: BlockId) {
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
            Ok(block) => pending.state = BodyState::Ready(Box::new(block)),
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
                // Not the block's fault: somebody sent another body.
                pending.state = BodyState::Wanted;
                pending.failures += 1;
                let given_up = pending.failures > MAX_BODY_FAILURES;
                fetch.buffered_bytes -= bytes;
                fetch.whole_blocks = true;
                if given_up || from.is_none() {
                    self.end_fetch();
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
                    self.end_fetch();
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
            let before = self.tip.id;
            let invalid = self.connect(&blocks, source)?;
            if let Some(peer) = peer.filter(|_| self.tip.id != before) {
                self.peers.proved_useful(peer);
            }
            if invalid {
                self.end_fetch();
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
    pub(super) fn pending_headers(&self) -> usize {
        self.sync.fetch.as_ref().map_or(0, |fetch| fetch.pending.len())
    }

    /// Whether a chain is being fetched, and gets on.
    pub(super) fn is_fetching_well(&self) -> bool {
        self.sync.fetch.as_ref().is_some_and(|fetch| fetch.is_moving(self.now.monotonic))
    }

    /// Takes over a better chain that a caller pushed, its headers checked, in the place of a fetch that
    /// does not get on.
    pub(super) fn adopt(&mut self, start: Cursor, blocks: Vec<Block>, pushed: Option<Pushed>) {
        self.end_fetch();
        let now = self.now.monotonic;
        let mut fetch = Fetch::new(None, start, now);
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
            self.effects.push_back(Effect::Check(Job::Block { number, block: Box::new(block), parent_time }));
        }
        self.sync.fetch = Some(fetch);
    }
}

/// Whether a peer that was asked for the headers after `end` has left that chain meanwhile: it then answers
/// from genesis on.
fn left(end: &Cursor, first: Option<&SealedHeader>) -> bool {
    first.is_some_and(|first| first.header.previous != end.id())
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
