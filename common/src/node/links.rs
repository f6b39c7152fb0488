//! Connections to peers: what was asked on each, who answers for it, and until when.

use std::collections::VecDeque;
use std::time::Duration;

use super::limits::*;
use super::peers::PeerId;
use super::relay::Submission;
use super::{Effect, Node, Notice};
use crate::hash::BlockId;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::wire::{CompactBlock, Hello, Request, Response};

/// A connection that this node opened, by a number that is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

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
    pub(super) id: Option<LinkId>,
    state: State,
    pub(super) asked: VecDeque<Asked>,
    /// When something last came in, or was asked after a silence.
    pub(super) active_at: Duration,
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
    pub(super) fn is_idle(&self) -> bool {
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

impl<S: Store> Node<S> {
    /// Opens a connection unless there is one, or the peer is to be left alone, or too many are in use.
    pub(super) fn open(&mut self, id: PeerId, purpose: Purpose) {
        let now = self.now.monotonic;
        let Some(peer) = self.peers.get(id) else { return };
        let link = peer.link(purpose);
        if !link.is_closed() || !peer.may_be_called(now) || !self.peers.may_call_there(peer, now) {
            return;
        }
        let (named, target) = (peer.named, peer.target.clone());
        if !named && self.peers.outbound() >= MAX_OUTBOUND {
            match self.peers.idlest() {
                Some(idle) => self.close(idle),
                None => return,
            }
        }
        self.peers.called(id, now);
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
            self.peers.remove(id);
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

    pub(super) fn close_all(&mut self, id: PeerId) {
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
                let tip = peer.claim().map_or(BlockId::ZERO, |claim| claim.tip);
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
