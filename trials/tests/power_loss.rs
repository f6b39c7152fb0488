//! Power cuts: both sides of every sync in each scenario, and some other states of the disk. `scripts/trials` looks at
//! many more.

#![cfg(target_os = "linux")]

use trials::crash::disk::Names;
use trials::crash::power_loss::{Figures, Scenario, takes_nameless_files};

/// When the names in directories are safe.
const NAMES: Names = Names::Posix;
/// What the tests begin with; `trials power-loss` takes any.
const SEED: u64 = 1;

/// What is new has no name until it is whole.
fn nothing_is_left(figures: Figures) {
    assert!(figures.leftovers == 0 || !takes_nameless_files(&std::env::temp_dir()), "{figures}");
}

#[test]
fn power_cuts_while_a_miner_mines_lose_no_block_that_it_told_of() {
    let figures = Scenario::Mining.run(NAMES, 100, SEED);
    assert!(figures.syncs >= 20, "each block is made safe before it is told of: {figures}");
}

#[test]
fn power_cuts_while_a_miner_syncs_leave_whole_blocks() {
    Scenario::Syncing.run(NAMES, 60, SEED);
}

#[test]
fn power_cuts_in_a_reorganisation_leave_the_one_branch_or_the_other() {
    Scenario::Reorganising.run(NAMES, 60, SEED);
}

#[test]
fn power_cuts_while_a_wallet_pays_lose_no_payment() {
    nothing_is_left(Scenario::Sending.run(NAMES, 100, SEED));
}

#[test]
fn power_cuts_while_a_wallet_makes_keys_lose_none_that_it_showed() {
    nothing_is_left(Scenario::Keys.run(NAMES, 60, SEED));
}

#[test]
fn power_cuts_while_a_wallet_encrypts_leave_the_old_file_or_the_new_and_no_plain_copy() {
    for names in [Names::Posix, Names::Journal] {
        let figures = Scenario::Encrypting.run(names, 20, SEED);
        assert!(figures.leftovers <= 2, "what was left at first, and one file more: {figures}");
    }
}

#[test]
fn power_cuts_while_a_store_is_converted_leave_the_old_or_the_new() {
    Scenario::Opening.run(NAMES, 60, SEED);
}
