//! What peers say of their chains, and how far they are believed.
//!
//! A status in a datagram may come from anybody, in anybody's name. So it is looked into and no more: what turns out to
//! be wrong is not held against the peer it names. From then on that peer is asked itself, on a connection, whenever
//! something is said in its name, until its blocks have become part of the best chain; and only for what it says there
//! it has to answer. Otherwise a hundred bytes now and then would make everybody leave an honest machine alone.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Node;
use super::limits::STATUS_SPACING;
use super::links::{Asked, Purpose};
use super::peers::{Peer, PeerId};
use crate::difficulty::Work;
use crate::hash::BlockId;
use crate::store::{Store, beats};
use crate::wire::{Request, Status};

/// What chain a peer is said to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) status: Status,
    /// It said so itself, on a connection.
    pub(super) own_word: bool,
}

/// What is known of a peer's chain by word alone.
#[derive(Debug, Default)]
pub(super) struct Word {
    claim: Option<Claim>,
    /// Something that was said in its name turned out to be wrong.
    doubted: bool,
    /// Something was said in its name since it was asked.
    rumoured: bool,
    /// It is not asked before this.
    ask_from: Duration,
}

impl Word {
    pub(super) fn claim(&self) -> Option<Claim> {
        self.claim
    }

    /// A datagram says this in its name. A chain only gets better: what is less is not believed before what was said
    /// earlier has been looked into, or nobody would find the time to.
    fn hear(&mut self, status: Status) {
        let claim = self.claim.map(|claim| claim.status);
        let is_better = claim.is_none_or(|claim| beats(status.work, &status.tip, claim.work, &claim.tip));
        if is_better && self.doubted {
            self.rumoured = true;
        } else if is_better {
            self.claim = Some(Claim { status, own_word: false });
        }
    }

    /// What was said in its name was wrong.
    pub(super) fn doubt(&mut self) {
        (self.doubted, self.rumoured) = (true, true);
    }

    /// Its blocks became part of the best chain.
    pub(super) fn trust(&mut self) {
        (self.doubted, self.rumoured) = (false, false);
    }

    /// A claim turned out to be no better chain, or a lie: only a new one is looked at.
    pub(super) fn forget(&mut self, status: &Status) {
        self.claim.take_if(|claim| claim.status == *status);
    }

    /// It is left alone for a while: only what is said afterwards counts.
    pub(super) fn forget_all(&mut self) {
        (self.claim, self.rumoured) = (None, false);
    }

    /// Whether the peer has to be asked what is true.
    pub(super) fn is_to_be_asked(&self, now: Duration) -> bool {
        self.rumoured && self.ask_from <= now
    }

    /// When it has to be asked.
    pub(super) fn to_be_asked_at(&self) -> Option<Duration> {
        self.rumoured.then_some(self.ask_from)
    }

    fn asked(&mut self, now: Duration) {
        (self.rumoured, self.ask_from) = (false, now + STATUS_SPACING);
    }
}

impl<S: Store> Node<S> {
    /// A datagram says what chain the block server there has.
    pub(super) fn heard_status(&mut self, from: IpAddr, status: Status) {
        if status.instance == self.config.instance || status.block_server_port == 0 {
            return;
        }
        let now = self.now.monotonic;
        let Some(id) = self.peers.at(SocketAddr::new(from, status.block_server_port), now) else { return };
        self.peers.heard(id, now);
        self.peers.word_mut(id).into_iter().for_each(|word| word.hear(status));
    }

    /// A peer says on a connection what chain it has.
    pub(super) fn claimed(&mut self, id: PeerId, status: Status) {
        self.peers.heard(id, self.now.monotonic);
        let claim = Some(Claim { status, own_word: true });
        self.peers.word_mut(id).into_iter().for_each(|word| word.claim = claim);
    }

    /// Asks doubted peers in whose name something was said, as far as they are connected.
    pub(super) fn ask_doubted(&mut self) {
        let now = self.now.monotonic;
        let to_ask = |peer: &Peer| peer.ask.is_open() && peer.word.is_to_be_asked(now);
        let doubted: Vec<PeerId> =
            self.peers.all.iter().filter(|(_, it)| to_ask(it)).map(|(id, _)| *id).collect();
        for id in doubted {
            // Nobody has this tip, so it is answered at once.
            let request = Request::WaitStatus { tip: BlockId::ZERO };
            if self.ask(id, Purpose::Ask, request, Asked::Status) {
                self.peers.word_mut(id).into_iter().for_each(|word| word.asked(now));
            }
        }
    }

    /// Whether a chain with this work and this tip is better than this node's.
    pub(super) fn beats_tip(&self, work: Work, tip: &BlockId) -> bool {
        beats(work, tip, self.tip.work, &self.tip.id)
    }

    /// Whether somebody has a chain that is not better than this node's.
    pub(super) fn somebody_agrees(&self) -> bool {
        self.peers.all.values().filter_map(Peer::claim).any(|claim| !self.beats_tip(claim.work, &claim.tip))
    }

    /// The peer with the best chain of those that claim a better one than this node's and may be called.
    pub(super) fn best_claim(&self) -> Option<(PeerId, Status)> {
        let claims = self.peers.all.iter().filter(|(_, peer)| peer.may_be_scanned(self.now.monotonic));
        claims
            .filter_map(|(id, peer)| peer.claim().map(|claim| (*id, claim)))
            .filter(|(_, claim)| self.beats_tip(claim.work, &claim.tip))
            .max_by_key(|(_, claim)| (claim.work, Reverse(claim.tip)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Height;

    const NOW: Duration = Duration::from_secs(7);

    fn status(height: u64) -> Status {
        let one = crate::difficulty::Target::from_leading_zero_bits(8).work();
        let work = (0..height).fold(Work::ZERO, |work, _| work.plus(one));
        Status { instance: 1, height: Height::new(height), work, tip: BlockId::ZERO, block_server_port: 1 }
    }

    fn heights(word: &Word) -> Option<(u64, bool)> {
        word.claim().map(|claim| (claim.status.height.get(), claim.own_word))
    }

    #[test]
    fn what_is_heard_replaces_only_what_is_less() {
        let mut word = Word::default();
        word.hear(status(5));
        word.hear(status(3));
        assert_eq!(heights(&word), Some((5, false)));
        word.hear(status(6));
        assert_eq!(heights(&word), Some((6, false)));
        // Once it was looked into, anything is news again.
        word.forget(&status(5));
        assert_eq!(heights(&word), Some((6, false)));
        word.forget(&status(6));
        word.hear(status(3));
        assert_eq!(heights(&word), Some((3, false)));
    }

    #[test]
    fn a_doubted_peer_is_asked_at_most_once_in_a_while_and_only_its_own_word_counts() {
        let mut word = Word::default();
        word.doubt();
        assert!(word.is_to_be_asked(NOW));
        word.asked(NOW);
        assert_eq!(word.to_be_asked_at(), None);
        word.hear(status(9));
        assert_eq!((heights(&word), word.to_be_asked_at()), (None, Some(NOW + STATUS_SPACING)));
        assert!(!word.is_to_be_asked(NOW) && word.is_to_be_asked(NOW + STATUS_SPACING));
        word.trust();
        assert!(!word.is_to_be_asked(NOW + STATUS_SPACING));
        word.hear(status(4));
        assert_eq!(heights(&word), Some((4, false)));
    }
}
