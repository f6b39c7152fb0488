//! Whom this node leaves alone for a long time, and how often it calls addresses that nobody ever answered at.
//!
//! A ban is of one IP address *and port*. Several programs may run on one machine, and behind one router: a port
//! that lies must not have the honest one beside it banned, and it could, for anybody can send a status in a
//! neighbour's name. Whoever moves to a new port begins anew, and is bounded by what strangers at one address may
//! cost: [`MAX_PEERS_PER_ADDRESS`] and [`Calls`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::limits::*;

/// The peers that broke a rule lately.
#[derive(Debug, Default)]
pub(super) struct Bans(BTreeMap<SocketAddr, Ban>);

#[derive(Clone, Copy, Debug)]
struct Ban {
    until: Duration,
    length: Duration,
}

impl Bans {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a peer is to be left alone now.
    pub(super) fn holds(&self, address: &SocketAddr, now: Duration) -> bool {
        self.0.get(address).is_some_and(|ban| now < ban.until)
    }

    /// A peer broke a rule; says for how long it is banned. Each ban is twice as long as the one before, and for
    /// every time that the peer was good for as long as it had been banned, half.
    pub(super) fn add(&mut self, address: SocketAddr, now: Duration) -> Duration {
        let length = self.0.get(&address).map_or(FIRST_BAN, |last| {
            let good = now.saturating_sub(last.until);
            let halvings = (good.as_secs() / last.length.as_secs().max(1)).min(31) as u32;
            (last.length * 2 / (1 << halvings)).clamp(FIRST_BAN, LONGEST_BAN)
        });
        if self.0.len() >= MAX_BANS && !self.0.contains_key(&address) {
            // The one that ends first, or ended longest ago.
            let first = self.0.iter().min_by_key(|(_, ban)| ban.until).map(|(address, _)| *address);
            first.and_then(|address| self.0.remove(&address));
        }
        self.0.insert(address, Ban { until: now + length, length });
        length
    }
}

/// The calls to ports that were never reached, by IP address: a status is a hundred bytes that anybody can send in
/// anybody's name, and must not make a room full of nodes knock at somebody's door without end.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<IpAddr, Minute>);

#[derive(Clone, Copy, Debug)]
struct Minute {
    began: Duration,
    made: u32,
    allowed: u32,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one more call to a port of this address that was never reached is allowed now. This machine may
    /// always call itself: there is nobody to harm, and every program on it has the same address.
    pub(super) fn allow(&self, address: IpAddr, now: Duration) -> bool {
        let minute = self.0.get(&address).map(|minute| minute.at(now));
        let has_room = self.0.len() < MAX_CALLED_ADDRESSES || self.0.values().any(|it| it.is_over(now));
        address.is_loopback() || minute.map_or(has_room, |minute| minute.made < minute.allowed)
    }

    /// Such a call is made.
    pub(super) fn made(&mut self, address: IpAddr, now: Duration) {
        if address.is_loopback() {
            return;
        }
        if self.0.len() >= MAX_CALLED_ADDRESSES && !self.0.contains_key(&address) {
            self.0.retain(|_, minute| !minute.is_over(now));
        }
        let minute = self.0.get(&address).map_or(Minute::new(now), |minute| minute.at(now));
        self.0.insert(address, Minute { made: minute.made + 1, ..minute });
    }
}

impl Minute {
    fn new(now: Duration) -> Self {
        Self { began: now, made: 0, allowed: STRANGER_CALLS_A_MINUTE }
    }

    fn is_over(&self, now: Duration) -> bool {
        now >= self.began + MINUTE
    }

    /// How it stands now: after a minute in which all calls were used the next allows half as many, after any other
    /// twice as many, up to the usual number.
    fn at(self, now: Duration) -> Self {
        if !self.is_over(now) {
            return self;
        }
        let minutes = now.saturating_sub(self.began).as_secs() / MINUTE.as_secs();
        let used_up = self.made >= self.allowed;
        let after_this = if used_up { self.allowed / 2 } else { self.allowed.saturating_mul(2) };
        let quiet = (minutes - 1).min(16) as u32;
        let allowed = after_this.max(LEAST_STRANGER_CALLS_A_MINUTE).saturating_mul(1 << quiet);
        Self { began: now, made: 0, allowed: allowed.min(STRANGER_CALLS_A_MINUTE) }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn bans_double_up_to_a_day_and_shrink_with_good_behaviour() {
        let (mut bans, mut now) = (Bans::default(), Duration::ZERO);
        let mut lengths = Vec::new();
        for _ in 0..13 {
            let length = bans.add(address(1), now);
            assert!(bans.holds(&address(1), now) && !bans.holds(&address(2), now));
            now += length;
            assert!(!bans.holds(&address(1), now));
            lengths.push(length);
        }
        assert_eq!(lengths[..3], [FIRST_BAN, 2 * FIRST_BAN, 4 * FIRST_BAN]);
        assert_eq!(lengths[11..], [LONGEST_BAN, LONGEST_BAN]);
        // Good for as long as it was banned: no longer than the last time.
        assert_eq!(bans.add(address(1), now + LONGEST_BAN), LONGEST_BAN);
        now += 2 * LONGEST_BAN;
        assert_eq!(bans.add(address(1), now + 3 * LONGEST_BAN), LONGEST_BAN / 4);
        now += 4 * LONGEST_BAN;
        assert_eq!(bans.add(address(1), now + 30 * LONGEST_BAN), FIRST_BAN);
    }

    #[test]
    fn a_bounded_number_of_bans_is_remembered_the_longest() {
        let mut bans = Bans::default();
        for _ in 0..3 {
            bans.add(address(1), Duration::ZERO);
        }
        for port in 2..2 * MAX_BANS as u16 {
            bans.add(address(port), Duration::from_secs(1));
        }
        assert_eq!(bans.len(), MAX_BANS);
        assert!(bans.holds(&address(1), FIRST_BAN));
    }

    #[test]
    fn an_address_where_nobody_answers_is_called_ever_less_often() {
        let victim = IpAddr::from([10, 0, 0, 9]);
        let mut calls = Calls::default();
        let made_in = |calls: &mut Calls, minute: u64| {
            let mut made = 0;
            for tenth in 0..600 {
                let now = Duration::from_secs(60 * minute) + Duration::from_millis(100 * tenth);
                if calls.allow(victim, now) {
                    calls.made(victim, now);
                    made += 1;
                }
            }
            made
        };
        let made: Vec<u32> = (0..6).map(|minute| made_in(&mut calls, minute)).collect();
        assert_eq!(made, [60, 30, 15, 7, 4, 4]);
        // After a quiet hour it is as it was.
        assert_eq!(made_in(&mut calls, 66), STRANGER_CALLS_A_MINUTE);
    }

    #[test]
    fn a_bounded_number_of_addresses_is_called_in_a_minute_and_this_machine_always() {
        let mut calls = Calls::default();
        let of = |number: u32| IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let called = (0..10_000).filter(|number| {
            let allowed = calls.allow(of(*number), Duration::ZERO);
            if allowed {
                calls.made(of(*number), Duration::ZERO);
            }
            allowed
        });
        assert_eq!(called.count(), MAX_CALLED_ADDRESSES);
        assert!(calls.allow(IpAddr::from([127, 0, 0, 1]), Duration::ZERO));
        assert!(calls.allow(of(9_999), MINUTE));
        calls.made(of(9_999), MINUTE);
        assert_eq!(calls.len(), 1);
    }
}
