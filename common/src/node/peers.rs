//! Whom this node knows, may call, and leaves alone.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::bans::{Bans, Calls};
use super::claims::Word;
use super::limits::*;
use super::links::{Link, LinkId, Purpose};
use super::load::Count;
use super::{Node, Notice};
use crate::hash::BlockId;
use crate::store::Store;
use crate::wire::{Hello, Status};

/// A peer, by a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PeerId(u64);

/// Where a peer's block server is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// An address that was heard.
    Address(SocketAddr),
    /// `HOST:PORT` as the user named it.
    Named(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Named(name) => name.fmt(f),
        }
    }
}

/// What is known of a peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) target: Target,
    pub(super) named: bool,
    /// What it says of its chain.
    pub(super) word: Word,
    heard_at: Duration,
    pub(super) ask: Link,
    pub(super) watch: Link,
    back_off: Duration,
    not_before: Duration,
    /// Its chain is not looked at before this: it has to wait for the clock, or for another.
    held_until: Duration,
    pub(super) greeted: bool,
    pub(super) clock_told: bool,
    pub(super) complained: bool,
    /// The tip up to which everything was pushed, and until when that is not tried again.
    pub(super) pushed: Option<(BlockId, Duration)>,
}

/// All peers, and which connection belongs to whom.
#[derive(Debug, Default)]
pub(super) struct Peers {
    pub(super) all: BTreeMap<PeerId, Peer>,
    by_address: HashMap<SocketAddr, PeerId>,
    pub(super) links: HashMap<LinkId, (PeerId, Purpose)>,
    next: u64,
    heard_anybody: bool,
    bans: Bans,
    calls: Calls,
}

impl Peers {
    pub(super) fn new(named: &[String]) -> Self {
        let mut peers = Self::default();
        for name in named {
            peers.add(Target::Named(name.clone()), true, Duration::ZERO);
        }
        peers
    }

    pub(super) fn heard_anybody(&self) -> bool {
        self.heard_anybody
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&mut self, target: Target, named: bool, now: Duration) -> PeerId {
        let id = PeerId(self.number());
        if let Target::Address(address) = target {
            self.by_address.insert(address, id);
        }
        self.all.insert(
            id,
            Peer {
                target,
                named,
                word: Word::default(),
                heard_at: now,
                ask: Link::default(),
                watch: Link::default(),
                back_off: Duration::ZERO,
                not_before: Duration::ZERO,
                held_until: Duration::ZERO,
                greeted: false,
                clock_told: false,
                complained: false,
                pushed: None,
            },
        );
        id
    }

    /// The peer at this address, added unless it is banned, if there is room or one to forget: of those that no
    /// connection exists with, the one not heard for longest, and rather one that was never reached or is banned. So
    /// a flood of invented addresses drives out its own. Where one IP address has its share already it makes room
    /// itself.
    pub(super) fn at(&mut self, address: SocketAddr, now: Duration) -> Option<PeerId> {
        if let Some(id) = self.by_address.get(&address) {
            return Some(*id);
        }
        if self.bans.holds(&address, now) {
            return None;
        }
        let there = |peer: &Peer| matches!(peer.target, Target::Address(it) if it.ip() == address.ip());
        let share_is_full = self.all.values().filter(|peer| there(peer)).count() >= MAX_PEERS_PER_ADDRESS;
        if share_is_full || self.all.len() >= MAX_PEERS {
            let idle = self.all.iter().filter(|(_, peer)| !peer.named && peer.ask.is_closed());
            let idle = idle.filter(|(_, peer)| !share_is_full || there(peer));
            let kept = |peer: &Peer| {
                peer.greeted && now < peer.heard_at + KEEP_GREETED && now + KEEP_GREETED > peer.not_before
            };
            let least = idle.min_by_key(|(_, peer)| (kept(peer), peer.heard_at)).map(|(id, _)| *id)?;
            self.remove(least);
        }
        Some(self.add(Target::Address(address), false, now))
    }

    /// Forgets a peer that no connection exists with.
    pub(super) fn remove(&mut self, id: PeerId) {
        if let Some(Target::Address(address)) = self.all.remove(&id).map(|peer| peer.target) {
            self.by_address.remove(&address);
        }
    }

    pub(super) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.all.get(&id)
    }

    pub(super) fn link_mut(&mut self, id: PeerId, purpose: Purpose) -> Option<&mut Link> {
        let peer = self.all.get_mut(&id)?;
        Some(match purpose {
            Purpose::Ask => &mut peer.ask,
            Purpose::Watch => &mut peer.watch,
        })
    }

    /// A peer gave blocks that became the best chain: what it failed at before is forgotten.
    pub(super) fn proved_useful(&mut self, id: PeerId) {
        if let Some(peer) = self.all.get_mut(&id) {
            peer.back_off = Duration::ZERO;
            peer.word.trust();
        }
    }

    /// Something was heard of a peer.
    pub(super) fn heard(&mut self, id: PeerId, now: Duration) {
        if let Some(peer) = self.all.get_mut(&id) {
            peer.heard_at = now;
            self.heard_anybody = true;
        }
    }

    pub(super) fn word_mut(&mut self, id: PeerId) -> Option<&mut Word> {
        self.all.get_mut(&id).map(|peer| &mut peer.word)
    }

    /// A peer's chain is not looked at until then.
    pub(super) fn hold(&mut self, id: PeerId, until: Duration) {
        if let Some(peer) = self.all.get_mut(&id) {
            peer.held_until = until;
        }
    }

    /// Every peer's chain may be looked at again.
    pub(super) fn hold_nobody(&mut self) {
        self.all.values_mut().for_each(|peer| peer.held_until = Duration::ZERO);
    }

    /// What there was to push of this tip to a peer was pushed, or could not be: not again until then.
    pub(super) fn pushed(&mut self, id: PeerId, tip: BlockId, until: Duration) {
        if let Some(peer) = self.all.get_mut(&id) {
            peer.pushed = Some((tip, until));
        }
    }

    pub(super) fn named(&self) -> Vec<PeerId> {
        self.all.iter().filter(|(_, peer)| peer.named).map(|(id, _)| *id).collect()
    }

    /// Whether a peer may be called now as far as its IP address goes: see [`Calls`].
    pub(super) fn may_call_there(&self, peer: &Peer, now: Duration) -> bool {
        match peer.target {
            Target::Address(address) if !peer.greeted => self.calls.allow(address.ip(), now),
            _ => true,
        }
    }

    /// A peer is called now.
    pub(super) fn called(&mut self, id: PeerId, now: Duration) {
        if let Some(peer) = self.all.get(&id).filter(|peer| !peer.greeted)
            && let Target::Address(address) = peer.target
        {
            self.calls.made(address.ip(), now);
        }
    }

    /// How many connections are being opened to peers that were heard.
    pub(super) fn calls(&self) -> usize {
        self.all.values().filter(|peer| !peer.named && peer.ask.is_opening()).count()
    }

    pub(super) fn outbound(&self) -> usize {
        self.all.values().filter(|peer| !peer.named && !peer.ask.is_closed()).count()
    }

    pub(super) fn counts(&self) -> [Count; 7] {
        let named = self.all.values().filter(|peer| peer.named).count();
        let links = || self.all.values().flat_map(|peer| [&peer.ask, &peer.watch]);
        let questions = links().map(|link| link.asked.len()).max().unwrap_or(0);
        [
            Count::new("peers", self.all.len(), MAX_PEERS.max(named)),
            Count::new("bans", self.bans.len(), MAX_BANS),
            Count::new("addresses called", self.calls.len(), MAX_CALLED_ADDRESSES),
            Count::new("connections to heard peers", self.outbound(), MAX_OUTBOUND),
            Count::new("connections to all peers", self.links.len(), MAX_OUTBOUND + 2 * named),
            Count::new("calls to heard peers", self.calls(), MAX_OUTBOUND),
            Count::new("questions on one connection", questions, MAX_QUESTIONS),
        ]
    }

    /// The connection to a heard peer that has had nothing to do for longest.
    pub(super) fn idlest(&self) -> Option<LinkId> {
        let idle = self.all.values().filter(|peer| !peer.named && peer.ask.is_idle());
        idle.min_by_key(|peer| peer.ask.active_at).and_then(|peer| peer.ask.id)
    }
}

impl Peer {
    pub(super) fn link(&self, purpose: Purpose) -> &Link {
        match purpose {
            Purpose::Ask => &self.ask,
            Purpose::Watch => &self.watch,
        }
    }

    /// What chain it is said to have.
    pub(super) fn claim(&self) -> Option<Status> {
        self.word.claim().map(|claim| claim.status)
    }

    /// Whether it may be called now.
    pub(super) fn may_be_called(&self, now: Duration) -> bool {
        self.not_before <= now
    }

    /// Whether its chain may be looked at now.
    pub(super) fn may_be_scanned(&self, now: Duration) -> bool {
        self.may_be_called(now) && self.held_until <= now
    }
}

impl<S: Store> Node<S> {
    /// How many peers are known.
    #[cfg(test)]
    pub(super) fn known_peers(&self) -> usize {
        self.peers.all.len()
    }

    /// A caller with a block server of its own is a peer as good as one that was heard.
    pub(super) fn heard_caller(&mut self, from: SocketAddr, hello: &Hello) {
        if hello.instance != self.config.instance && hello.block_server_port != 0 {
            self.peers.at(SocketAddr::new(from.ip(), hello.block_server_port), self.now.monotonic);
        }
    }

    /// Drops a peer's connections and leaves it alone for a while: it could not be reached, was too slow,
    /// or had nothing better after all. No fault.
    pub(super) fn failed(&mut self, id: PeerId, reason: String) {
        if let Some((target, pause, first)) = self.pause(id, FIRST_BACK_OFF)
            && first
        {
            self.notice(Notice::PeerFailed { target, reason, pause });
        }
    }

    /// A peer broke the protocol: it is banned, and the user is told. A peer that the user named is only left alone
    /// for a moment.
    pub(super) fn misbehaved(&mut self, id: PeerId, reason: String) {
        let now = self.now.monotonic;
        let ban = match self.peers.all.get(&id).map(|peer| &peer.target) {
            Some(Target::Address(address)) => self.peers.bans.add(*address, now),
            _ => FIRST_BAN,
        };
        if let Some((target, pause, _)) = self.pause(id, ban) {
            self.notice(Notice::PeerMisbehaved { target, reason, pause });
        }
    }

    /// Closes everything with a peer and doubles its pause, which is at least `least`, unless it was good
    /// for longer than any pause lasts. Says whether this is the first time since it last answered.
    fn pause(&mut self, id: PeerId, least: Duration) -> Option<(Target, Duration, bool)> {
        let now = self.now.monotonic;
        let peer = self.peers.all.get_mut(&id)?;
        if now > peer.not_before + LONGEST_BACK_OFF {
            peer.back_off = Duration::ZERO;
        }
        let longest = if peer.named { LONGEST_NAMED_BACK_OFF } else { LONGEST_BACK_OFF };
        peer.back_off = (peer.back_off * 2).max(least).min(longest);
        let pause = if peer.named { peer.back_off } else { peer.back_off.max(least) };
        peer.not_before = now + pause;
        peer.word.forget_all();
        let first = !std::mem::replace(&mut peer.complained, true);
        let target = peer.target.clone();
        self.close_all(id);
        self.candidate_peer_gone(id);
        Some((target, pause, first))
    }
}
