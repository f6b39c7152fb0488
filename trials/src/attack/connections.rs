//! Callers of a block server that take places: they say nothing, or too little, or never read what they asked for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::address::Address;
use common::amount::Amount;
use common::rules::Rules;
use common::wire::Request;

use super::caller::{Caller, hello_bytes, own_hello, stranger};
use super::memory::frugal;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use super::{Figures, ROUNDS};
use crate::crash::recording::Clock;
use crate::program::{Network, PATIENCE};
use crate::random::Random;

/// Callers of each kind, all of one kind from one address.
const OF_EACH: u32 = 60;
/// Places of a block server (`LIMITS.md`).
const MAX_CONNECTIONS: usize = 256;
/// Allocations in the rules, so that an answer that tells them has 800 kB.
const ALLOC: usize = 20_000;
/// How often that answer is asked for, without reading any.
const UNREAD: usize = 20;
/// Long enough for everything that may last 30 s by `PROTOCOL.md`, section 7.
const LONG: Duration = Duration::from_secs(60);
/// Answers that callers have yet to take, and those being made, in MiB (`LIMITS.md`); and the buffers of callers.
const ANSWERS_MIB: u64 = 64 + 66 + 20;

pub fn run(scale: u32, seed: u64) -> Figures {
    let network = Network::with_rules(long_rules(&mut Random::new(seed)));
    let clock = Clock::new(network.directory().join("clock"));
    let home = clock.given_to(frugal(network.home("attacked")));
    let mut target = Target::mining(home, &[]).with_clock(clock);
    for round in 0..scale.div_ceil(10).max(ROUNDS) {
        let mut address = (0..).map(|number| stranger(100 * round + number));
        let mut address = || address.next().expect("there are many");
        let unread = unread(&target, address());
        let idle = callers(&target, address(), Caller::greeted);
        before_hello(&mut target, &mut address);
        one_address(&mut target, address());
        target.serves(5);
        full_house(&mut target, [address(), address()]);
        target.figures.add("greeted callers", (unread.len() + idle.len()) as u64);
        at_the_limits(&mut target, unread, idle, address(), scale > 1);
        target.end_round();
    }
    target.withstood(ANSWERS_MIB + EVERYTHING_ELSE_MIB).0
}

/// Rules that take many bytes to tell.
fn long_rules(random: &mut Random) -> Rules {
    let mut address = || Address::from_bytes(std::array::from_fn(|_| random.next_u64() as u8));
    let mut alloc: Vec<_> = (0..ALLOC).map(|_| (address(), Amount::from_units(1))).collect();
    alloc.sort_unstable();
    Rules { alloc, ..Rules::default() }
}

/// Some callers of one address; those that get no place are no callers.
fn callers(
    target: &Target<'_>,
    from: Ipv4Addr,
    call: fn(Ipv4Addr, SocketAddr) -> io::Result<Caller>,
) -> Vec<Caller> {
    (0..OF_EACH).filter_map(|_| call(from, target.place).ok()).collect()
}

/// Callers that ask for much and read nothing.
fn unread(target: &Target<'_>, from: Ipv4Addr) -> Vec<Caller> {
    let mut callers = callers(target, from, Caller::greeted);
    for caller in &mut callers {
        for _ in 0..UNREAD {
            // The server may have sent it away by now.
            let _ = caller.ask(&Request::GetRules);
        }
    }
    callers
}

/// Callers that never say hello, say half of it, or say it byte by byte: they get the server's hello, and have to go.
fn before_hello(target: &mut Target<'_>, address: &mut impl FnMut() -> Ipv4Addr) {
    let hello = hello_bytes(target.place, target.network());
    let silent = callers(target, address(), Caller::call);
    let mut half = callers(target, address(), Caller::call);
    let mut slow = callers(target, address(), Caller::call);
    let network = target.network();
    let own = half.iter_mut().find_map(|caller| caller.hello().ok()).expect("somebody is greeted");
    assert_eq!(own.network, network);
    let own = own_hello(&own);
    for caller in &mut half {
        let _ = caller.send(&own[..own.len() / 2]);
    }
    for byte in own.chunks(1).take(6) {
        for caller in &mut slow {
            let _ = caller.send(byte);
        }
        thread::sleep(Duration::from_secs(1));
    }
    let all = silent.into_iter().chain(half).chain(slow);
    for caller in all {
        let said = caller.until_closed(PATIENCE).expect("whoever says no hello has to go");
        assert!(said.len() <= hello, "{} bytes to a caller that said no hello", said.len());
        target.figures.add("callers without hello", 1);
        target.figures.add("bytes to them", said.len() as u64);
    }
}

/// More callers from one address than it has places: it takes its own, and nobody else's.
fn one_address(target: &mut Target<'_>, from: Ipv4Addr) {
    let callers: Vec<_> = (0..6).flat_map(|_| callers(target, from, Caller::call)).collect();
    target.serves(5);
    target.figures.add("callers of one address", callers.len() as u64);
}

/// Two addresses hold every place, all but one of which said hello, and one of them calls without a pause: whoever comes
/// from elsewhere is served.
fn full_house(target: &mut Target<'_>, from: [Ipv4Addr; 2]) {
    let held: Vec<Caller> = (0..MAX_CONNECTIONS - 1)
        .filter_map(|number| Caller::greeted(from[number % 2], target.place).ok())
        .collect();
    let (over, called) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = Caller::call(from[1], target.place);
                called.fetch_add(1, Ordering::Relaxed);
            }
        });
        target.serves(20);
        over.store(true, Ordering::Relaxed);
    });
    target.figures.add("greeted callers of two addresses", held.len() as u64);
    target.figures.add("calls beside them", called.into_inner());
}

/// What lasts longest: to send a frame, to read an answer, to ask nothing. That time passes, or does so by the miner's
/// clock alone.
fn at_the_limits(
    target: &mut Target<'_>,
    unread: Vec<Caller>,
    idle: Vec<Caller>,
    from: Ipv4Addr,
    really: bool,
) {
    let mut dripping = callers(target, from, Caller::greeted);
    for caller in &mut dripping {
        let _ = caller.send(&1_000_u32.to_le_bytes());
    }
    for _ in 0..LONG.as_secs() {
        for caller in &mut dripping {
            let _ = caller.send(&[1]);
        }
        if really {
            thread::sleep(Duration::from_secs(1));
        }
    }
    if !really {
        target.serves(5);
        target.pass(LONG);
        // By then it has noticed.
        target.serves(5);
    }
    let answers = UNREAD * target.home.network().rules.to_bytes().len();
    for caller in unread {
        let said = caller.until_closed(PATIENCE).expect("whoever reads nothing has to go");
        assert!(said.len() < answers, "all was sent to a caller that read nothing");
        target.figures.add("bytes unread", said.len() as u64);
    }
    for caller in idle.into_iter().chain(dripping) {
        let said = caller.until_closed(PATIENCE).expect("whoever asks nothing has to go");
        assert!(said.is_empty(), "{} bytes that nobody asked for", said.len());
    }
    target.serves(5);
}
