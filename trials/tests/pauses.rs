//! Programs that stand still for a while, and clocks that jump.

#![cfg(target_os = "linux")]

use std::time::Duration;

use trials::crash::pauses::{self, Passing};

#[test]
fn a_miner_that_was_suspended_catches_up_and_nobody_is_banned() {
    pauses::suspend(Duration::from_secs(60), Passing::ByTheirClocks);
}

#[test]
fn a_miner_whose_clock_jumps_goes_on_or_says_why_not() {
    pauses::clock_jumps_of_one();
}

#[test]
fn a_miner_whose_clock_was_an_hour_ahead_comes_back_to_the_others() {
    pauses::clock_jumps_of_one_of_two(&[1]);
}
