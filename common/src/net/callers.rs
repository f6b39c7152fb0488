//! Who is connected to a block server, what each makes it hold, and who gives way when that is too much.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::connection::CloseReason;
use super::limits::*;
use super::server::{Caller, ConnectionId, ServerLimits};

/// All callers of a server.
pub(super) struct Callers {
    limits: ServerLimits,
    state: Mutex<State>,
    /// A turn to make a piece of an answer; whoever has waited longest is next.
    pub(super) turns: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    open: HashMap<ConnectionId, Entry>,
    faults: HashMap<IpAddr, Faults>,
}

/// What a caller is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It has not said hello yet.
    Arriving,
    /// It asks nothing.
    Idle,
    /// It sends a request of this many bytes, or is being answered.
    Asking(usize),
    /// It takes this many bytes of an answer.
    Taking(usize),
}

impl Doing {
    fn request(self) -> usize {
        if let Self::Asking(bytes) = self { bytes } else { 0 }
    }

    fn answer(self) -> usize {
        if let Self::Taking(bytes) = self { bytes } else { 0 }
    }
}

struct Entry {
    address: IpAddr,
    doing: Doing,
    since: Instant,
    leave: Arc<Notify>,
}

/// The rules that callers from one IP address broke lately.
struct Faults {
    count: u32,
    at: Instant,
}

impl Faults {
    fn left(&self, now: Instant) -> u32 {
        let forgiven = now.saturating_duration_since(self.at).as_secs() / FORGIVE_AFTER.as_secs();
        self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

/// A caller's place. Dropping it makes room.
pub(super) struct Place {
    callers: Arc<Callers>,
    id: ConnectionId,
    leave: Arc<Notify>,
}

impl Callers {
    pub(super) fn new(limits: ServerLimits) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let turns = (cores / 2).clamp(1, MAX_ANSWERS_MADE);
        Self { limits, state: Mutex::default(), turns: Arc::new(Semaphore::new(turns)) }
    }

    pub(super) fn limits(&self) -> &ServerLimits {
        &self.limits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a new caller a place: a free one, or that of somebody who gives way.
    pub(super) fn admit(self: &Arc<Self>, caller: Caller) -> Result<Place, CloseReason> {
        let mut state = self.state();
        let address = caller.address.ip();
        let of_address = state.open.values().filter(|entry| entry.address == address).count();
        let share_is_full = of_address >= self.limits.connections_per_address;
        if share_is_full || state.open.len() >= self.limits.connections {
            match state.who_gives_way(address, share_is_full, self.limits.gives_way) {
                Some(id) => state.send_away(id),
                None if share_is_full => {
                    let most = self.limits.connections_per_address;
                    return Err(CloseReason::TooManyOfOneAddress { address, most });
                }
                None => return Err(CloseReason::TooManyConnections { most: self.limits.connections }),
            }
        }
        let leave = Arc::new(Notify::new());
        let entry = Entry { address, doing: Doing::Arriving, since: Instant::now(), leave: leave.clone() };
        state.open.insert(caller.id, entry);
        Ok(Place { callers: self.clone(), id: caller.id, leave })
    }

    /// How long a caller from there has to wait for the server's hello.
    pub(super) fn pause(&self, address: IpAddr, now: Instant) -> Duration {
        let left = self.state().faults.get(&address).map_or(0, |faults| faults.left(now));
        match left {
            0 => Duration::ZERO,
            left => (FIRST_PAUSE * (1 << (left - 1).min(16))).min(LONGEST_PAUSE),
        }
    }

    /// A caller from there broke the protocol; says how long the next one has to wait.
    pub(super) fn at_fault(&self, address: IpAddr, now: Instant) -> Duration {
        let mut state = self.state();
        if state.faults.len() >= MAX_PAUSED_ADDRESSES && !state.faults.contains_key(&address) {
            let oldest = state.faults.iter().min_by_key(|(_, faults)| faults.at).map(|(it, _)| *it);
            oldest.and_then(|oldest| state.faults.remove(&oldest));
        }
        let count = state.faults.get(&address).map_or(0, |faults| faults.left(now)) + 1;
        // What is above the longest pause is not counted: it would only take longer to forgive.
        state.faults.insert(address, Faults { count: count.min(6), at: now });
        drop(state);
        self.pause(address, now)
    }
}

impl State {
    /// Who has to go for a new caller from this address: of those that have not said hello one of the address with
    /// most callers, the oldest, else whoever has asked nothing for longest; of the same address where that has its
    /// share already. Where one address has more than a new one would, and all are busy, one of its own.
    ///
    /// Were it the oldest of all addresses, or one of an address with fewer callers, a few addresses that call fast
    /// would send everybody else away before a hello can have come.
    fn who_gives_way(&self, address: IpAddr, only_there: bool, after: Duration) -> Option<ConnectionId> {
        let now = Instant::now();
        let there = || self.open.iter().filter(move |(_, entry)| !only_there || entry.address == address);
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for entry in self.open.values() {
            *counts.entry(entry.address).or_default() += 1;
        }
        let own = counts.get(&address).copied().unwrap_or(0);
        let may_go = |it: &Entry| it.address == address || counts[&it.address] > own;
        let arriving = there().filter(|(_, it)| it.doing == Doing::Arriving && may_go(it));
        let arriving = arriving.min_by_key(|(id, it)| (Reverse(counts[&it.address]), it.since, **id));
        let idle = there()
            .filter(|(_, it)| it.doing == Doing::Idle && now.saturating_duration_since(it.since) >= after);
        let quiet = arriving.or_else(|| idle.min_by_key(|(id, it)| (it.since, **id))).map(|(id, _)| *id);
        if quiet.is_some() || only_there {
            return quiet;
        }
        let (largest, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let of_largest = self.open.iter().filter(|(_, entry)| entry.address == largest);
        let oldest = of_largest.min_by_key(|(id, entry)| (entry.since, **id)).map(|(id, _)| *id);
        oldest.filter(|_| count > own + 1)
    }

    fn send_away(&mut self, id: ConnectionId) {
        if let Some(entry) = self.open.remove(&id) {
            entry.leave.notify_one();
        }
    }

    /// Sends callers away until all together hold no more than this: of the address that holds most, whoever has been
    /// at it for longest. So whoever announces much from one address sends away nobody but himself.
    fn bound(&mut self, most: usize, held: fn(Doing) -> usize) {
        loop {
            let mut of_address: HashMap<IpAddr, usize> = HashMap::new();
            for entry in self.open.values() {
                *of_address.entry(entry.address).or_default() += held(entry.doing);
            }
            if of_address.values().sum::<usize>() <= most {
                return;
            }
            let holding = self.open.iter().filter(|(_, entry)| held(entry.doing) > 0);
            let goes = holding.min_by_key(|(id, it)| (Reverse(of_address[&it.address]), it.since, **id));
            let Some(id) = goes.map(|(id, _)| *id) else { return };
            self.send_away(id);
        }
    }
}

impl Place {
    /// What the caller is at from now on.
    pub(super) fn set(&self, doing: Doing) {
        let mut state = self.callers.state();
        let Some(entry) = state.open.get_mut(&self.id) else { return };
        (entry.doing, entry.since) = (doing, Instant::now());
        if doing.answer() > 0 {
            state.bound(self.callers.limits.answer_bytes, Doing::answer);
        }
        if doing.request() > 0 {
            state.bound(self.callers.limits.request_bytes, Doing::request);
        }
    }

    /// Comes back when the caller has to give way to others.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.callers.state().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn callers(change: impl FnOnce(&mut ServerLimits)) -> Arc<Callers> {
        let mut limits =
            ServerLimits { connections: 4, connections_per_address: 2, ..ServerLimits::default() };
        change(&mut limits);
        Arc::new(Callers::new(limits))
    }

    fn call(callers: &Arc<Callers>, id: u64, host: u8) -> Result<Place, CloseReason> {
        let address = SocketAddr::from(([10, 0, 0, host], 1_000 + id as u16));
        callers.admit(Caller { id: ConnectionId(id), address })
    }

    async fn is_sent_away(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.must_leave()).await.is_ok()
    }

    #[tokio::test]
    async fn one_address_has_its_share_and_whoever_said_no_hello_gives_way_first() {
        let callers = callers(|_| {});
        let silent = call(&callers, 1, 1).unwrap();
        let polite = call(&callers, 2, 1).unwrap();
        polite.set(Doing::Idle);
        let third = call(&callers, 3, 1).unwrap();
        assert!(is_sent_away(&silent).await && !is_sent_away(&polite).await);
        third.set(Doing::Asking(0));
        // Neither may go: one was idle for a moment only, and one asks.
        assert!(matches!(call(&callers, 4, 1), Err(CloseReason::TooManyOfOneAddress { most: 2, .. })));
        assert!(!is_sent_away(&polite).await && !is_sent_away(&third).await);
        // Others have their room all the same.
        let other = call(&callers, 5, 2).unwrap();
        assert!(!is_sent_away(&other).await);
    }

    #[tokio::test]
    async fn whoever_announces_much_from_one_address_sends_away_himself_and_nobody_else() {
        let callers = callers(|limits| {
            (limits.connections, limits.connections_per_address, limits.request_bytes) = (8, 4, 100);
        });
        let honest = call(&callers, 1, 1).unwrap();
        honest.set(Doing::Asking(30));
        let liars: Vec<Place> = (2..5).map(|id| call(&callers, id, 2).unwrap()).collect();
        liars.iter().for_each(|liar| liar.set(Doing::Asking(30)));
        assert!(is_sent_away(&liars[0]).await && !is_sent_away(&liars[1]).await);
        assert!(!is_sent_away(&honest).await);
    }

    #[tokio::test]
    async fn whoever_calls_fast_from_few_addresses_sends_nobody_else_away_before_a_hello_can_have_come() {
        let callers = callers(|limits| (limits.connections, limits.connections_per_address) = (8, 5));
        let honest = call(&callers, 1, 1).unwrap();
        let flood: Vec<Place> = (2..100).map(|id| call(&callers, id, 2 + (id % 2) as u8).unwrap()).collect();
        assert!(!is_sent_away(&honest).await);
        // Who had no place before is no worse off.
        let late = call(&callers, 100, 9).unwrap();
        let more: Vec<Place> = (101..200).map(|id| call(&callers, id, 2 + (id % 2) as u8).unwrap()).collect();
        assert!(!is_sent_away(&honest).await && !is_sent_away(&late).await);
        assert_eq!(callers.state().open.len(), 8);
        drop((flood, more));
    }

    #[tokio::test]
    async fn whoever_has_many_callers_that_said_hello_sends_no_newcomer_away() {
        let callers = callers(|limits| (limits.connections, limits.connections_per_address) = (8, 4));
        let greeted: Vec<Place> = (1..=7).map(|id| call(&callers, id, 1 + (id % 2) as u8).unwrap()).collect();
        greeted.iter().for_each(|place| place.set(Doing::Asking(0)));
        let honest = call(&callers, 8, 9).unwrap();
        for id in 9..50 {
            // The one that has three has room for another, and there is none.
            assert!(matches!(call(&callers, id, 1), Err(CloseReason::TooManyConnections { .. })));
        }
        assert!(!is_sent_away(&honest).await);
    }

    #[tokio::test]
    async fn a_full_server_sends_away_the_longest_idle_and_then_one_of_who_has_most() {
        let callers = callers(|limits| {
            limits.connections_per_address = 3;
            limits.gives_way = Duration::ZERO;
        });
        let of_one: Vec<Place> = (1..=3).map(|id| call(&callers, id, 1).unwrap()).collect();
        let other = call(&callers, 4, 2).unwrap();
        of_one.iter().chain([&other]).for_each(|place| place.set(Doing::Asking(0)));
        other.set(Doing::Idle);
        let fifth = call(&callers, 5, 3).unwrap();
        assert!(is_sent_away(&other).await);
        fifth.set(Doing::Asking(0));
        // All are busy: a new address is worth more than a third connection of another.
        let sixth = call(&callers, 6, 4).unwrap();
        sixth.set(Doing::Asking(0));
        assert!(is_sent_away(&of_one[0]).await && !is_sent_away(&of_one[1]).await);
        // Two against none is worth it once more; who has one already has no claim to another.
        assert!(matches!(call(&callers, 7, 3), Err(CloseReason::TooManyConnections { most: 4 })));
    }

    #[tokio::test]
    async fn bytes_of_all_are_bounded_by_who_takes_longest() {
        let callers = callers(|limits| (limits.answer_bytes, limits.request_bytes) = (100, 50));
        let places: Vec<Place> = (1..=3).map(|id| call(&callers, id, id as u8).unwrap()).collect();
        for place in &places {
            place.set(Doing::Taking(40));
        }
        assert!(is_sent_away(&places[0]).await);
        assert!(!is_sent_away(&places[1]).await && !is_sent_away(&places[2]).await);
        places[1].set(Doing::Asking(30));
        places[2].set(Doing::Asking(30));
        assert!(is_sent_away(&places[1]).await && !is_sent_away(&places[2]).await);
    }

    #[tokio::test]
    async fn who_breaks_rules_slows_his_address_down_a_little_and_no_other() {
        let (callers, now) = (callers(|_| {}), Instant::now());
        let (liar, honest) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let pauses: Vec<Duration> = (0..8).map(|_| callers.at_fault(liar, now)).collect();
        assert_eq!(pauses[..3], [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]);
        assert_eq!(pauses[7], LONGEST_PAUSE);
        assert_eq!(callers.pause(honest, now), Duration::ZERO);
        assert_eq!(callers.pause(liar, now + 5 * FORGIVE_AFTER), FIRST_PAUSE);
        assert_eq!(callers.pause(liar, now + 6 * FORGIVE_AFTER), Duration::ZERO);
        for host in 0..2 * MAX_PAUSED_ADDRESSES as u32 {
            callers.at_fault(IpAddr::from(host.to_be_bytes()), now);
        }
        assert_eq!(callers.state().faults.len(), MAX_PAUSED_ADDRESSES);
    }
}
