//! Programs that stand still for a while, and clocks that jump.

use std::time::{Duration, Instant};

use common::files::Program;
use common::time::Timestamp;

use super::recording::Clock;
use super::scenes::network;
use crate::program::{Home, Running, eventually};

/// So many blocks show that mining goes on.
const A_FEW: u64 = 5;
/// An hour, in milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// What a miner says of blocks that it found in a period of its log that is over.
const LEFT_OUT: &str = " more lines about blocks found here";
/// What a miner says when its clock is behind the chain.
const CLOCK_IS_BEHIND: &str = "ahead of this machine's clock, and others take none more than";

/// How a pause comes to be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// It is.
    Really,
    /// Both miners are made to believe it: their clocks are set ahead at once, also what they measure time with.
    ByTheirClocks,
}

/// Stops one of two miners (SIGSTOP) until the other has gone on and this time has passed, then lets it go on: it
/// catches up, and neither takes the other for a liar.
pub fn suspend(at_least: Duration, passing: Passing) {
    let network = network();
    let clock = Clock::new(network.directory().join("clock"));
    let (one, other) = (clock.given_to(network.home("one")), clock.given_to(network.home("other")));
    let mut going_on = one.start_miner(&[]);
    one.reach(Program::Miner, A_FEW);
    let mut suspended = other.start_miner(&[]);
    other.reach(Program::Miner, A_FEW);
    suspended.signal("STOP");
    let started = Instant::now();
    let height = one.height(Program::Miner);
    one.reach(Program::Miner, height + 20 * A_FEW);
    if passing == Passing::ByTheirClocks {
        // Whoever goes on finds that all its deadlines are over, and the other will. That time passes shows in the log,
        // which had no room for all the blocks.
        clock.pass(at_least);
        goes_on(&one);
        eventually("the time to pass", || going_on.said().contains(LEFT_OUT).then_some(()));
    }
    while passing == Passing::Really && started.elapsed() < at_least {
        let height = one.height(Program::Miner);
        one.reach(Program::Miner, height + A_FEW);
    }
    let meanwhile = one.height(Program::Miner);
    suspended.signal("CONT");
    agree(&one, &other, meanwhile);
    for miner in [&mut going_on, &mut suspended] {
        in_order(miner);
    }
    suspended.stop();
    going_on.stop();
    one.audit(Program::Miner);
    other.audit(Program::Miner);
}

/// Sets the clock of a lone miner an hour back, to 1970 and an hour ahead, and right again each time: it goes on, or
/// says why not and goes on when the clock is right.
pub fn clock_jumps_of_one() {
    let network = network();
    let clock = Clock::new(network.directory().join("clock"));
    let home = clock.given_to(network.home("miner"));
    let mut miner = home.start_miner(&[]);
    goes_on(&home);
    let to_1970 = -i64::try_from(Timestamp::from_system_clock().millis()).expect("it is no distant future");
    for ahead in [-HOUR_MS, to_1970] {
        let said = times(&miner, CLOCK_IS_BEHIND);
        clock.set_ahead(ahead);
        eventually("why it waits", || (times(&miner, CLOCK_IS_BEHIND) > said).then_some(()));
        clock.set_ahead(0);
        goes_on(&home);
    }
    clock.set_ahead(HOUR_MS);
    goes_on(&home);
    // The chain is an hour ahead now.
    let said = times(&miner, CLOCK_IS_BEHIND);
    clock.set_ahead(0);
    eventually("why it waits", || (times(&miner, CLOCK_IS_BEHIND) > said).then_some(()));
    clock.set_ahead(HOUR_MS);
    goes_on(&home);
    in_order(&mut miner);
    miner.stop();
    home.audit(Program::Miner);
}

/// Sets the clock of one of two miners so many hours ahead, each in turn, and right again: the other goes on without
/// its blocks, and is followed in the end; neither takes the other for a liar. After a clock that was behind that
/// takes half a minute, for which a chain that seemed to be ahead is left alone.
pub fn clock_jumps_of_one_of_two(hours: &[i64]) {
    let network = network();
    let clock = Clock::new(network.directory().join("clock"));
    let (right, wrong) = (network.home("right"), clock.given_to(network.home("wrong")));
    let mut right_miner = right.start_miner(&[]);
    goes_on(&right);
    let mut wrong_miner = wrong.start_miner(&[]);
    wrong.reach(Program::Miner, A_FEW);
    for ahead in hours {
        clock.set_ahead(ahead * HOUR_MS);
        goes_on(&right);
        clock.set_ahead(0);
        let height = right.height(Program::Miner).max(wrong.height(Program::Miner));
        agree(&right, &wrong, height);
    }
    for miner in [&mut right_miner, &mut wrong_miner] {
        in_order(miner);
    }
    wrong_miner.stop();
    right_miner.stop();
    right.audit(Program::Miner);
    wrong.audit(Program::Miner);
}

/// Waits until a miner has found or taken a few blocks more.
fn goes_on(home: &Home<'_>) {
    let height = home.height(Program::Miner);
    home.reach(Program::Miner, height + A_FEW);
}

/// Waits until two miners have one chain, longer than this.
fn agree(one: &Home<'_>, other: &Home<'_>, height: u64) {
    eventually("the miners to agree", || {
        let tip = one.tip(Program::Miner)?;
        (tip.height.get() > height && other.tip(Program::Miner) == Some(tip)).then_some(())
    });
}

/// How often a program has said something.
fn times(program: &Running, text: &str) -> usize {
    program.said().matches(text).count()
}

/// Asserts that a miner runs, and has banned nobody.
fn in_order(miner: &mut Running) {
    let said = miner.said();
    assert!(miner.is_running() && !said.contains("panicked"), "{said}");
    assert!(!said.contains("broke the protocol"), "{said}");
}
