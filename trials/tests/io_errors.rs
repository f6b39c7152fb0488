//! Disks that refuse at some call; of a wallet, each at least once. `scripts/trials io-errors` lets every call fail in every way.

#![cfg(target_os = "linux")]

use trials::crash::io_errors::Scene;

/// What the tests begin with; `trials io-errors` takes any.
const SEED: u64 = 1;

#[test]
fn a_miner_whose_disk_refuses_ends_with_a_sentence_and_loses_no_block() {
    let figures = Scene::Mining.run(Some(21), SEED);
    assert!(figures.ended > 16, "{figures}");
}

#[test]
fn a_wallet_whose_disk_refuses_while_it_syncs_ends_with_a_sentence_and_goes_on_later() {
    let figures = Scene::Syncing.run(Some(18), SEED);
    assert!(figures.ended > 15, "{figures}");
}

#[test]
fn a_wallet_whose_disk_refuses_shows_no_key_that_is_not_safe() {
    let figures = Scene::Keys.run(Some(22), SEED);
    assert!(figures.ended > 8, "{figures}");
}

#[test]
fn a_wallet_whose_disk_refuses_makes_no_payment_that_it_does_not_tell_of() {
    let figures = Scene::Sending.run(Some(22), SEED);
    assert!(figures.ended > 16, "{figures}");
}

/// That a key was written anew and its directory could not be flushed was told as a plain refusal, with the hint that
/// what was there before is intact.
#[test]
fn a_wallet_whose_disk_refuses_says_whether_a_key_is_rewritten() {
    for scene in [Scene::Encrypting, Scene::ChangingPassphrase, Scene::Decrypting] {
        let figures = scene.run(Some(8), SEED);
        assert!(figures.ended > 4, "{figures}");
    }
}
