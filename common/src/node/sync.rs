//! Following the best chain: headers first, then bodies from several peers at once.
//!
//! A *candidate* is a chain that a peer says is better. While it is *scanned*, its headers are checked and
//! nothing is stored; memory is bounded, because a chain too long to hold is followed by its work alone
//! and the ids at which its windows end. Once its work beats this node's chain it is *fetched*: bodies are
//! asked for from everyone who may have them, checked on other threads, and connected in order, many in
//! one write of the store, on yet another thread. A chain that was too long to hold has its headers fetched
//! again, window by window, each of which must end in the id that was remembered, so nobody can change it in
//! between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::claims::Claim;
use super::limits::*;
use super::load::Count;
use super::peers::PeerId;
use super::push::Pushed;
use super::{Node, Source};
use crate::block::{Block, SealedHeader};
use crate::chain::{MAX_HEADERS, ancestors_of};
use crate::consensus::{Ancestors, CheckedBlock, HeaderError, check_header, not_ahead_of_clock};
use crate::difficulty::Work;
use crate::hash::BlockId;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::wire::MAX_FRAME_BYTES;

mod bodies;
mod connect;
mod fetch;
mod scan;
#[cfg(test)]
mod tests;

/// What is being followed.
#[derive(Default)]
pub(super) struct Sync {
    scans: BTreeMap<PeerId, Scan>,
    fetch: Option<Fetch>,
    /// What is being written, in the order in which it was offered.
    offers: VecDeque<Offer>,
    last_told: Duration,
    /// The block that the user was last told to be ahead of the clock.
    told_waits: Option<BlockId>,
    /// Tells questions and jobs apart: an answer to one that is no longer of interest is no answer to the
    /// next.
    last_number: u64,
}

impl Sync {
    pub(super) fn is_busy(&self) -> bool {
        !self.scans.is_empty() || self.fetch.is_some() || self.is_writing()
    }

    /// Whether blocks are on their way into the chain: the tip may change at any moment.
    pub(super) fn is_writing(&self) -> bool {
        !self.offers.is_empty()
    }

    pub(super) fn counts(&self) -> [Count; 8] {
        let sum = |of: fn(&Scan) -> usize| self.scans.values().map(of).sum::<usize>();
        let fetch = self.fetch.as_ref();
        let of_fetch = |of: fn(&Fetch) -> usize| fetch.map_or(0, of);
        [
            Count::new("scans", self.scans.len(), MAX_SCANS),
            Count::new("headers without enough work", sum(|it| it.held.len()), MAX_SCANS * MAX_HELD_HEADERS),
            Count::new("windows without enough work", sum(|it| it.windows.len()), MAX_SCANS * MAX_WINDOWS),
            Count::new("windows of the fetch", of_fetch(|it| it.windows.len()), MAX_WINDOWS),
            // What a scan held, and the window that proved it.
            Count::new(
                "headers of the fetch",
                of_fetch(|it| it.pending.len()),
                (MAX_HELD_HEADERS + MAX_HEADERS).max(MAX_PENDING_HEADERS).max(MAX_STAGED_BLOCKS),
            ),
            // The block that everything waits for is taken even when there is no room.
            Count::new(
                "bytes of the fetch",
                of_fetch(|it| it.buffered_bytes),
                MAX_BUFFERED_BYTES + MAX_FRAME_BYTES,
            ),
            Count::new("peers that lack a body", of_fetch(|it| it.lacking.len()), MAX_PEERS),
            // Of blocks that are mined here there is one at a time, and one more.
            Count::new("batches being written", self.offers.len(), MAX_OFFERS + 2),
        ]
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
    /// What its peer was said to have when it began.
    claim: Claim,
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

/// Blocks that were handed out to be connected to the chain.
pub(super) struct Offer {
    source: Source,
    /// The fetch that they are of; none when they were mined here.
    fetch: Option<u64>,
    /// Who answers for them.
    peer: Option<PeerId>,
}

impl Offer {
    pub(super) fn mined() -> Self {
        Self { source: Source::Mined, fetch: None, peer: None }
    }
}

/// The better chain that is being fetched.
struct Fetch {
    /// Tells it from other fetches.
    number: u64,
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
    /// Of the bodies that came and are not connected yet, those being written included.
    buffered_bytes: usize,
    /// Of those being written; `None`: none are.
    writing_bytes: Option<usize>,
    progress_at: Duration,
    /// When blocks were last handed out to be connected.
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
    /// The size of the body that came last.
    latest_bytes: usize,
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
    Ready { block: Box<CheckedBlock>, bytes: usize },
}

impl Fetch {
    fn new(number: u64, peer: Option<PeerId>, start: Cursor, now: Duration) -> Self {
        Self {
            number,
            peer,
            end: start,
            pending: VecDeque::new(),
            windows: VecDeque::new(),
            headers_asked: None,
            complete: false,
            lacking: BTreeSet::new(),
            buffered_bytes: 0,
            writing_bytes: None,
            progress_at: now,
            connected_at: now,
            whole_blocks: false,
            measured_at: now,
            blocks_since: 0,
            bytes_since: 0,
            slow: false,
            blocks_in_all: 0,
            bytes_in_all: 0,
            latest_bytes: 0,
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
        self.latest_bytes = bytes;
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
        let average = self.bytes_in_all.checked_div(self.blocks_in_all).unwrap_or(0);
        // Blocks may grow along the chain: what finds no room has come for nothing.
        let usual = average.max(self.latest_bytes).max(1);
        let room = MAX_BUFFERED_BYTES.saturating_sub(self.writing_bytes.unwrap_or(0));
        (room / usual).clamp(1, MAX_BLOCKS_IN_FLIGHT)
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
        let doubted = self.peers.all.values().filter_map(|peer| peer.word.to_be_asked_at()).min();
        // A deadline that has passed already was acted upon; the next regular tick is soon enough.
        [fetch, ready, scans, doubted]
            .into_iter()
            .flatten()
            .filter(|deadline| *deadline > self.now.monotonic)
            .min()
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
        self.connect_ready();
        self.look_after_fetch();
        self.adopt_staged();
        self.start_scans()?;
        self.ask_for_headers();
        self.ask_for_bodies();
        Ok(())
    }

    /// The place in the tree of a block that is known.
    pub(super) fn cursor_at(&self, id: &BlockId) -> Result<Option<Cursor>, StoreError> {
        self.chain.store().read(|reader| {
            let Some(record) = reader.record(id)? else { return Ok(None) };
            let ancestors = ancestors_of(reader, id)?.ok_or_else(|| StoreError::missing(id))?;
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
}

/// Whether a peer that was asked for the headers after `end` has left that chain meanwhile: it then answers
/// from genesis on.
fn left(end: &Cursor, first: Option<&SealedHeader>) -> bool {
    first.is_some_and(|first| first.header.previous != end.id())
}

fn body_bytes(pending: &Pending) -> usize {
    match &pending.state {
        BodyState::Checking { bytes, .. } | BodyState::Ready { bytes, .. } => *bytes,
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
