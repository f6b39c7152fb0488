//! Whom this node knows, calls and leaves alone; and what was asked on each connection.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::bans::{Bans, Calls};
use super::limits::*;
use super::load::Count;
use super::relay::Submission;
use super::{Effect, Node, Notice};
use crate::hash::BlockId;
use crate::store::{Store, StoreError, beats};
use crate::time::Timestamp;
use crate::wire::{CompactBlock, Hello, Request, Response, Status};

/// A connection that this node opened, by a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

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

/// What a connection is for. A server answers in order, so what is waited for gets a line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Anything that is answered at once.
    Ask,
    /// `WaitStatus` of a named peer.
    Watch,
}

/// What was asked, until its answer has come.
#[derive(Debug)]
pub(super) enum Asked {
    /// Headers, for the candidate that asked with this number.
    Headers(u64),
    /// Where a named peer's chain leaves this one.
    ForkWithPeer,
    /// These blocks, one answer each.
    Blocks(VecDeque<BlockId>),
    /// A block with its transactions named only.
    Compact(BlockId),
    /// The transactions of a compact block that are not in the pool.
    Missing { compact: Box<CompactBlock>, indices: Vec<u32> },
    /// A page of the pool's ids.
    PoolIds,
    /// Transactions of the pool.
    Transactions,
    /// The next status.
    Status,
    /// Payments of the user, or of this pool.
    Submitted(Submission),
    /// Blocks up to this height.
    Pushed { up_to: u64 },
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Closed,
    Opening {
        until: Duration,
    },
    Open,
}

/// One connection to a peer, open or not.
#[derive(Debug, Default)]
pub(super) struct Link {
    id: Option<LinkId>,
    state: State,
    asked: VecDeque<Asked>,
    /// When something last came in, or was asked after a silence.
    active_at: Duration,
}

impl Link {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening { .. })
    }

    /// Whether it is being opened, and that since less than `time` ago.
    pub(super) fn is_opening_for_less_than(&self, time: Duration, now: Duration) -> bool {
        matches!(self.state, State::Opening { until } if now + CONNECT_DEADLINE < until + time)
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether it is open and nothing is asked on it.
    fn is_idle(&self) -> bool {
        self.is_open() && self.asked.is_empty()
    }

    /// How many requests for blocks are under way.
    pub(super) fn block_requests(&self) -> usize {
        self.asked
            .iter()
            .filter(|asked| matches!(asked, Asked::Blocks(_) | Asked::Compact(_) | Asked::Missing { .. }))
            .count()
    }

    /// How many requests that give payments are under way.
    pub(super) fn submissions(&self) -> usize {
        self.asked.iter().filter(|asked| matches!(asked, Asked::Submitted(_))).count()
    }

    /// Whether something of this kind is under way.
    pub(super) fn is_asked(&self, kind: impl Fn(&Asked) -> bool) -> bool {
        self.asked.iter().any(kind)
    }
}

/// What is known of a peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) target: Target,
    pub(super) named: bool,
    /// What it last said of its chain.
    pub(super) claim: Option<Status>,
    heard_at: Duration,
    pub(super) ask: Link,
    pub(super) watch: Link,
    back_off: Duration,
    not_before: Duration,
    /// Its chain is not looked at before this: it has to wait for the clock, or for another.
    held_until: Duration,
    pub(super) greeted: bool,
    clock_told: bool,
    complained: bool,
    /// The tip up to which everything was pushed, and until when that is not tried again.
    pub(super) pushed: Option<(BlockId, Duration)>,
}

/// All peers, and which connection belongs to whom.
#[derive(Debug, Default)]
pub(super) struct Peers {
    pub(super) all: BTreeMap<PeerId, Peer>,
    links: HashMap<LinkId, (PeerId, Purpose)>,
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

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&mut self, target: Target, named: bool, now: Duration) -> PeerId {
        let id = PeerId(self.number());
        self.all.insert(
            id,
            Peer {
                target,
                named,
                claim: None,
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
    fn at(&mut self, address: SocketAddr, now: Duration) -> Option<PeerId> {
        let target = Target::Address(address);
        if let Some((id, _)) = self.all.iter().find(|(_, peer)| peer.target == target) {
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
            self.all.remove(&least);
        }
        Some(self.add(target, false, now))
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
        }
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

    /// A claim turned out to be no better chain, or a lie: only a new one is looked at.
    pub(super) fn forget_claim(&mut self, id: PeerId, claim: &Status) {
        if let Some(peer) = self.all.get_mut(&id).filter(|peer| peer.claim.as_ref() == Some(claim)) {
            peer.claim = None;
        }
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

    /// How many connections are being opened to peers that were heard.
    pub(super) fn calls(&self) -> usize {
        self.all.values().filter(|peer| !peer.named && peer.ask.is_opening()).count()
    }

    fn outbound(&self) -> usize {
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
    fn idlest(&self) -> Option<LinkId> {
        let idle = self.all.values().filter(|peer| !peer.named && peer.ask.is_idle());
        idle.min_by_key(|peer| peer.ask.active_at).and_then(|peer| peer.ask.id)
    }
}

impl Peer {
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
    pub(super) fn heard_status(&mut self, from: IpAddr, status: Status) {
        if status.instance == self.config.instance || status.block_server_port == 0 {
            return;
        }
        let now = self.now.monotonic;
        let Some(id) = self.peers.at(SocketAddr::new(from, status.block_server_port), now) else { return };
        self.claimed(id, status);
    }

    /// A peer says what chain it has.
    pub(super) fn claimed(&mut self, id: PeerId, status: Status) {
        let now = self.now.monotonic;
        if let Some(peer) = self.peers.all.get_mut(&id) {
            peer.heard_at = now;
            peer.claim = Some(status);
            self.peers.heard_anybody = true;
        }
    }

    /// Whether somebody has a chain that is not better than this node's.
    pub(super) fn somebody_agrees(&self) -> bool {
        let mut claims = self.peers.all.values().filter_map(|peer| peer.claim);
        claims.any(|claim| !beats(claim.work, &claim.tip, self.tip.work, &self.tip.id))
    }

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

    /// The peer with the best chain of those that claim a better one than this node's and may be called.
    pub(super) fn best_claim(&self) -> Option<(PeerId, Status)> {
        let claims = self.peers.all.iter().filter(|(_, peer)| peer.may_be_scanned(self.now.monotonic));
        claims
            .filter_map(|(id, peer)| peer.claim.map(|claim| (*id, claim)))
            .filter(|(_, claim)| beats(claim.work, &claim.tip, self.tip.work, &self.tip.id))
            .max_by(|(_, a), (_, b)| {
                (a.work, std::cmp::Reverse(a.tip)).cmp(&(b.work, std::cmp::Reverse(b.tip)))
            })
    }

    /// Opens a connection unless there is one, or the peer is to be left alone, or too many are in use.
    pub(super) fn open(&mut self, id: PeerId, purpose: Purpose) {
        let now = self.now.monotonic;
        let Some(peer) = self.peers.all.get(&id) else { return };
        let (named, target, may_be_called) = (peer.named, peer.target.clone(), peer.may_be_called(now));
        let closed = self.peers.link_mut(id, purpose).is_some_and(|link| link.is_closed());
        if !closed || !may_be_called {
            return;
        }
        let stranger = self.peers.all.get(&id).filter(|peer| !peer.greeted).map(|peer| &peer.target);
        let stranger = stranger.and_then(|target| match target {
            Target::Address(address) => Some(address.ip()),
            Target::Named(_) => None,
        });
        if stranger.is_some_and(|address| !self.peers.calls.allow(address, now)) {
            return;
        }
        if !named && self.peers.outbound() >= MAX_OUTBOUND {
            match self.peers.idlest() {
                Some(idle) => self.close(idle),
                None => return,
            }
        }
        if let Some(address) = stranger {
            self.peers.calls.made(address, now);
        }
        let number = LinkId(self.peers.number());
        let Some(link) = self.peers.link_mut(id, purpose) else { return };
        *link = Link {
            id: Some(number),
            state: State::Opening { until: now + CONNECT_DEADLINE },
            asked: VecDeque::new(),
            active_at: now,
        };
        self.peers.links.insert(number, (id, purpose));
        self.effects.push_back(Effect::Connect { link: number, target });
    }

    /// Asks a peer something on its open connection; says whether it could.
    pub(super) fn ask(&mut self, id: PeerId, purpose: Purpose, request: Request, asked: Asked) -> bool {
        let now = self.now.monotonic;
        let Some(link) = self.peers.link_mut(id, purpose).filter(|link| link.is_open()) else { return false };
        let Some(number) = link.id.filter(|_| link.asked.len() < MAX_QUESTIONS) else { return false };
        if link.asked.is_empty() {
            link.active_at = now;
        }
        link.asked.push_back(asked);
        self.effects.push_back(Effect::Send { link: number, request });
        true
    }

    pub(super) fn connected(&mut self, number: LinkId, hello: &Hello) {
        let Some((id, purpose)) = self.peers.links.get(&number).copied() else { return };
        let (now, wall) = (self.now.monotonic, self.now.wall);
        let to_itself = hello.instance == self.config.instance;
        let Some(link) = self.peers.link_mut(id, purpose) else { return };
        link.state = State::Open;
        link.active_at = now;
        if to_itself {
            // Its own address among the named peers: never again.
            self.close_all(id);
            self.peers.all.remove(&id);
            return;
        }
        let Some(peer) = self.peers.all.get_mut(&id) else { return };
        peer.complained = false;
        let target = peer.target.clone();
        let offset_ms = clock_offset_ms(hello.time, wall);
        let tell_clock =
            offset_ms.unsigned_abs() > CLOCK_DIFFERENCE_MS && !std::mem::replace(&mut peer.clock_told, true);
        let tell_found = !std::mem::replace(&mut peer.greeted, true);
        if tell_found {
            let agent = String::from_utf8_lossy(&hello.agent).into_owned();
            self.notice(Notice::PeerFound { target: target.clone(), agent });
        }
        if tell_clock {
            self.notice(Notice::ClockDiffers { target, offset_ms });
        }
    }

    pub(super) fn disconnected(&mut self, number: LinkId, reason: String) {
        let Some((id, purpose)) = self.peers.links.get(&number).copied() else { return };
        let now = self.now.monotonic;
        let link = self.peers.link_mut(id, purpose);
        let quiet = link.is_some_and(|link| link.is_idle() && link.active_at + QUIET_CONNECTION <= now);
        self.forget_link(number);
        if !quiet {
            self.failed(id, reason);
        }
    }

    /// What a peer sent is no message of the protocol.
    pub(super) fn peer_at_fault(&mut self, number: LinkId, reason: String) {
        let Some((id, _)) = self.peers.links.get(&number).copied() else { return };
        self.forget_link(number);
        self.misbehaved(id, reason);
    }

    /// An answer came: it belongs to the oldest question of its connection.
    pub(super) fn response(&mut self, number: LinkId, response: Response) -> Result<(), StoreError> {
        let Some((id, purpose)) = self.peers.links.get(&number).copied() else { return Ok(()) };
        let now = self.now.monotonic;
        let Some(link) = self.peers.link_mut(id, purpose) else { return Ok(()) };
        link.active_at = now;
        let Some(asked) = link.asked.pop_front() else {
            self.misbehaved(id, "it answered what was not asked".to_owned());
            return Ok(());
        };
        match (asked, response) {
            (Asked::Headers(number), Response::Headers(headers)) => self.headers_came(id, number, headers)?,
            (Asked::ForkWithPeer, Response::Headers(headers)) => self.fork_with_peer(id, &headers)?,
            (Asked::Blocks(mut ids), response @ (Response::Block(_) | Response::NotFound(_))) => {
                let expected = ids.pop_front();
                if !ids.is_empty()
                    && let Some(link) = self.peers.link_mut(id, purpose)
                {
                    link.asked.push_front(Asked::Blocks(ids));
                }
                match (response, expected) {
                    (Response::Block(block), Some(expected)) if block.id() == expected => {
                        self.block_came(id, expected, block);
                    }
                    (Response::NotFound(not_found), Some(expected)) if not_found == *expected.as_bytes() => {
                        self.block_not_found(id, &expected);
                    }
                    _ => self.misbehaved(id, "it sent another block than the one asked for".to_owned()),
                }
            }
            (Asked::Compact(block), Response::Compact(compact)) => self.compact_came(id, block, compact)?,
            (Asked::Compact(block), Response::NotFound(_)) => self.block_not_found(id, &block),
            (Asked::Missing { compact, indices }, Response::Transactions(transactions)) => {
                self.missing_came(id, *compact, &indices, transactions);
            }
            (Asked::Missing { compact, .. }, Response::NotFound(_)) => {
                self.block_not_found(id, &compact.header.id())
            }
            (Asked::PoolIds, Response::PoolIds(ids)) => self.pool_ids_came(id, ids),
            (Asked::Transactions, Response::Transactions(transactions)) => {
                self.pool_transactions_came(id, transactions)?;
            }
            (Asked::Status, Response::Status(status)) => self.claimed(id, status),
            (Asked::Submitted(submission), Response::Results(results)) => {
                self.submission_answered(id, submission, &results)
            }
            (Asked::Pushed { up_to }, Response::Results(results)) => {
                self.push_answered(id, up_to, &results)?
            }
            (Asked::Compact(block), Response::Unsupported(_)) => self.fetch_whole(id, block),
            (Asked::PoolIds | Asked::Transactions | Asked::Submitted(_), Response::Unsupported(_)) => {}
            (_, Response::Unsupported(number)) => {
                self.failed(id, format!("it does not support request {number}"));
            }
            _ => self.misbehaved(id, "its answer does not fit the question".to_owned()),
        }
        Ok(())
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
        peer.claim = None;
        let first = !std::mem::replace(&mut peer.complained, true);
        let target = peer.target.clone();
        self.close_all(id);
        self.candidate_peer_gone(id);
        Some((target, pause, first))
    }

    fn close_all(&mut self, id: PeerId) {
        let links = self.peers.all.get(&id).map(|peer| [peer.ask.id, peer.watch.id]);
        for link in links.into_iter().flatten().flatten() {
            self.close(link);
        }
    }

    fn close(&mut self, number: LinkId) {
        if self.forget_link(number) {
            self.effects.push_back(Effect::Disconnect { link: number });
        }
    }

    /// Forgets a connection and what was asked on it; says whether it was known.
    fn forget_link(&mut self, number: LinkId) -> bool {
        let Some((id, purpose)) = self.peers.links.remove(&number) else { return false };
        if purpose == Purpose::Ask {
            self.relay.forget_exchange(id);
        }
        if let Some(link) = self.peers.link_mut(id, purpose) {
            for asked in std::mem::take(link).asked {
                if let Asked::Submitted(submission) = asked {
                    self.relay.submission_failed(id, submission);
                }
            }
        }
        true
    }

    pub(super) fn peers_deadline(&self) -> Option<Duration> {
        let links = self
            .peers
            .all
            .values()
            .flat_map(|peer| [(&peer.ask, Purpose::Ask), (&peer.watch, Purpose::Watch)]);
        let ends = links.filter_map(|(link, purpose)| link_deadline(link, purpose));
        let idle_watches = self.peers.all.values().filter(|peer| peer.named && peer.watch.is_idle());
        ends.chain(idle_watches.map(|peer| peer.watch.active_at + WATCH_SPACING)).min()
    }

    /// Ends what took too long or is no longer needed, and keeps up the connections with named peers.
    pub(super) fn drive_peers(&mut self) {
        let now = self.now.monotonic;
        let mut late = Vec::new();
        for (id, peer) in &self.peers.all {
            for (link, purpose) in [(&peer.ask, Purpose::Ask), (&peer.watch, Purpose::Watch)] {
                if link_deadline(link, purpose).is_some_and(|deadline| deadline <= now) {
                    late.push((*id, link.id, link.is_open() && link.asked.is_empty()));
                }
            }
        }
        for (id, number, idle) in late {
            match number {
                Some(number) if idle => self.close(number),
                _ => self.failed(id, "it took too long to answer".to_owned()),
            }
        }
        for id in self.peers.named() {
            self.open(id, Purpose::Watch);
            let Some(peer) = self.peers.get(id) else { continue };
            if peer.watch.is_idle() && peer.watch.active_at + WATCH_SPACING <= now {
                let tip = peer.claim.map_or(BlockId::ZERO, |claim| claim.tip);
                self.ask(id, Purpose::Watch, Request::WaitStatus { tip }, Asked::Status);
            }
        }
    }
}

/// When a connection has taken too long for what it is at.
fn link_deadline(link: &Link, purpose: Purpose) -> Option<Duration> {
    match link.state {
        State::Closed => None,
        State::Opening { until } => Some(until),
        State::Open if link.asked.is_empty() => Some(link.active_at + IDLE_CONNECTION),
        State::Open => Some(
            link.active_at
                + match purpose {
                    Purpose::Ask => ANSWER_DEADLINE,
                    Purpose::Watch => WAIT_STATUS_DEADLINE,
                },
        ),
    }
}

/// Their clock less ours in milliseconds; of what a stranger may claim, the farthest that a number can say.
fn clock_offset_ms(theirs: Timestamp, ours: Timestamp) -> i64 {
    let offset = i128::from(theirs.millis()) - i128::from(ours.millis());
    i64::try_from(offset).unwrap_or(if offset > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_that_a_stranger_claims_overflows() {
        let at = Timestamp::from_millis;
        assert_eq!(clock_offset_ms(at(5), at(8)), -3);
        assert_eq!(clock_offset_ms(at(u64::MAX), at(0)), i64::MAX);
        assert_eq!(clock_offset_ms(at(0), at(u64::MAX)), i64::MIN);
        assert_eq!(clock_offset_ms(at(1 << 63), at(1_800_000_000_000)), i64::MAX - 1_800_000_000_000 + 1);
    }
}
