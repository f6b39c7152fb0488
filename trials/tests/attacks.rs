//! A hostile client against the real programs: a little of each attack. `scripts/trials` does much more.

#![cfg(target_os = "linux")]

use trials::attack::Attack;

/// What the tests begin with; `trials attack` takes any.
const SEED: u64 = 1;

#[test]
fn random_and_damaged_datagrams_achieve_nothing() {
    Attack::Datagrams.run(1, SEED);
}

#[test]
fn invented_statuses_hide_no_honest_miner_and_send_nobody_to_a_victim() {
    Attack::Statuses.run(1, SEED);
}

#[test]
fn floods_of_payments_keep_no_honest_one_out() {
    Attack::Payments.run(1, SEED);
}

#[test]
fn callers_that_say_or_read_nothing_take_nobodys_place() {
    Attack::Connections.run(1, SEED);
}

#[test]
fn a_miner_without_free_descriptors_mines_and_serves_again_when_there_are_some() {
    Attack::Descriptors.run(1, SEED);
}

#[test]
fn frames_that_break_the_protocol_or_ask_for_all_of_it_achieve_nothing() {
    Attack::Frames.run(1, SEED);
}

#[test]
fn requests_that_cost_much_to_answer_make_nobody_deaf_or_large() {
    Attack::Requests.run(1, SEED);
}

#[test]
fn block_servers_that_lie_and_stall_are_banned_and_the_honest_chain_is_found() {
    Attack::Liars.run(1, SEED);
}
