//! Programs that are killed at random moments: a few kills of each kind. `scripts/trials` does many more.

#![cfg(target_os = "linux")]

use trials::crash::kill::Kind;

/// What the tests begin with; `trials kill` takes any.
const SEED: u64 = 1;

#[test]
fn a_miner_killed_while_it_mines_loses_no_block_that_it_told_of() {
    Kind::Mining.run(10, SEED);
}

#[test]
fn a_program_killed_while_it_syncs_goes_on_from_a_whole_block() {
    Kind::Syncing.run(10, SEED);
}

#[test]
fn a_miner_killed_in_a_reorganisation_is_on_the_one_branch_or_the_other() {
    Kind::Reorganising.run(8, SEED);
}

#[test]
fn a_wallet_killed_while_it_pays_loses_no_payment_and_uses_no_nonce_twice() {
    Kind::Sending.run(10, SEED);
}

#[test]
fn a_wallet_killed_while_it_makes_a_key_shows_none_that_is_lost() {
    Kind::Keys.run(6, SEED);
}

#[test]
fn a_wallet_killed_while_it_encrypts_leaves_the_old_file_or_the_new() {
    Kind::Encrypting.run(10, SEED);
}

#[test]
fn a_store_of_an_older_format_survives_kills_while_it_is_converted() {
    Kind::Opening.run(8, SEED);
}
