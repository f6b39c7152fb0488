//! Looking at the chains of those who claim a better one: headers only, until one has proved its work.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::{Scan, Window, left};
use crate::block::SealedHeader;
use crate::chain::{MAX_HEADERS, locator};
use crate::consensus::HeaderError;
use crate::hash::BlockId;
use crate::node::claims::Claim;
use crate::node::limits::*;
use crate::node::links::{Asked, Purpose};
use crate::node::peers::{Peer, PeerId};
use crate::node::{Node, Notice};
use crate::store::{Store, StoreError, beats};
use crate::wire::Request;

impl<S: Store> Node<S> {
    /// Follows those who claim a better chain: one first, others when it makes no progress.
    pub(super) fn start_scans(&mut self) -> Result<(), StoreError> {
        let now = self.now.monotonic;
        if self.is_fetching_well() {
            return Ok(());
        }
        self.ask_doubted();
        while self.sync.scans.len() < MAX_SCANS {
            let claims = self.unfollowed_claims(|peer| peer.ask.is_open());
            let best =
                claims.into_iter().max_by_key(|(_, Claim { status, .. })| (status.work, Reverse(status.tip)));
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

    /// Opens connections to some who claim a better chain, or of whom that is said. It costs nothing to say, so
    /// neither its work nor how many there are decides who is called first: those reached before have every other
    /// turn, and chance decides among the rest.
    fn call_claimants(&mut self) {
        while self.peers.calls() < MAX_CALLS {
            let now = self.now.monotonic;
            let may_call = |peer: &Peer| peer.ask.is_closed() && self.peers.may_call_there(peer, now);
            let doubted = self.peers.all.iter().filter(|(_, peer)| {
                peer.word.is_to_be_asked(now) && peer.may_be_called(now) && may_call(peer)
            });
            let mut closed: Vec<PeerId> = doubted.map(|(id, _)| *id).collect();
            closed.extend(self.unfollowed_claims(may_call).into_iter().map(|(id, _)| id));
            let greeted = |id: &PeerId| self.peers.get(*id).is_some_and(|peer| peer.greeted);
            let known: Vec<_> = closed.iter().copied().filter(greeted).collect();
            let choice = self.random();
            let from = if known.is_empty() || choice.is_multiple_of(2) { closed } else { known };
            let Some(id) = from.get((choice >> 1) as usize % from.len().max(1)) else { return };
            self.open(*id, Purpose::Ask);
            if self.peers.get(*id).is_none_or(|peer| peer.ask.is_closed()) {
                // All connections are in use.
                return;
            }
        }
    }

    /// Claims of a better chain that are not followed yet, leaving out those of a chain that is being
    /// followed already, unless that takes long.
    fn unfollowed_claims(&self, of: impl Fn(&Peer) -> bool) -> Vec<(PeerId, Claim)> {
        let now = self.now.monotonic;
        let young = self.sync.scans.values().filter(|scan| now < scan.started_at + HEDGE_AFTER);
        let called =
            self.peers.all.values().filter(|peer| peer.ask.is_opening_for_less_than(CALL_HEDGE_AFTER, now));
        let mut followed: HashSet<BlockId> = young.map(|scan| scan.claim.status.tip).collect();
        followed.extend(called.filter_map(Peer::claim).map(|claim| claim.tip));
        let fetched_from = self.sync.fetch.as_ref().and_then(|fetch| fetch.peer);
        // What is cheap to tell comes first: a crowd says something all the time.
        let better = self.peers.all.iter().filter(|(_, peer)| {
            peer.claim().is_some_and(|claim| self.beats_tip(claim.work, &claim.tip))
                && peer.may_be_scanned(now)
        });
        better
            .filter(|(id, _)| !self.sync.scans.contains_key(id) && fetched_from != Some(**id))
            .filter(|(_, peer)| of(peer))
            .filter_map(|(id, peer)| peer.word.claim().map(|claim| (*id, claim)))
            .filter(|(_, claim)| !followed.contains(&claim.status.tip))
            .collect()
    }

    /// Headers of a candidate, being scanned or fetched; of none, when the question is an old one.
    pub(in crate::node) fn headers_came(
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
        if self.beats_tip(end.work, &end.id()) {
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
        if scan.windows.len() >= MAX_WINDOWS {
            self.failed(id, "its chain is too long to be followed".to_owned());
            return Ok(());
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

    /// A peer has no better chain after all. If its headers are worse than what it claimed itself, it is left
    /// alone for a while, longer each time; if that was only said in its name, it is asked what is true; if this
    /// node's chain grew meanwhile, nobody is to blame.
    fn nothing_better(&mut self, id: PeerId, scan: &Scan) -> Result<(), StoreError> {
        let Claim { status, own_word } = &scan.claim;
        let short = scan.from.is_none_or(|(_, end)| beats(status.work, &status.tip, end.work, &end.id()));
        // Another process may have put its blocks into the same store meanwhile.
        let is_wrong = short && self.cursor_at(&status.tip)?.is_none();
        let Some(word) = self.peers.word_mut(id) else { return Ok(()) };
        word.forget(status);
        if is_wrong && *own_word {
            self.failed(id, "it announced a better chain and did not have one".to_owned());
        } else if is_wrong {
            word.doubt();
        }
        Ok(())
    }

    /// A peer's chain goes on with a block from the future: it is looked at again when its time has come.
    pub(super) fn waits(&mut self, id: PeerId, block: BlockId, ahead_ms: u64) {
        let allowed_ms = u64::from(self.rules().max_ahead_seconds) * 1000;
        let wait = Duration::from_millis(ahead_ms.saturating_sub(allowed_ms)).min(LONGEST_HOLD);
        self.peers.hold(id, self.now.monotonic + wait);
        if self.sync.told_waits.replace(block) != Some(block) {
            self.notice(Notice::BlockWaits { id: block, ahead_ms });
        }
    }
}
