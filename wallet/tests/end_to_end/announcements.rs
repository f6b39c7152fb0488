//! What users are told, and who hears of their payments.

use common::amount::Amount;
use trials::program::{Network, eventually};

/// A payment reaches a named peer that no broadcast does, without a sync that runs.
#[test]
fn a_payment_is_submitted_to_named_peers() {
    let network = Network::new();
    let alice = network.home("alice");
    alice.wallet(&["new-address", "alice"]);
    let mut miner = alice.start_miner(&[]);
    miner.wait_for("blocks TCP ");
    let said = miner.said();
    let peer = said.split("blocks TCP ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let peer = peer.expect("the miner says where it serves").to_owned();
    eventually("money", || {
        alice.wallet(&["sync", "--once"]);
        (alice.balance(&alice.address("mining_rewards")) >= Amount::from_coins(20)).then_some(())
    });
    let away = alice.cut_off();
    let sent = away.try_wallet(&["send", "mining_rewards", "3", "alice", "--peer", &peer]);
    assert!(sent.status.success() && !sent.stderr.contains("warning"), "{sent:?}");
    alice.wallet(&["sync", "--once"]);
    eventually("the payment", || {
        alice.wallet(&["sync", "--once"]);
        (!alice.wallet(&["history"]).contains("pending")).then_some(())
    });
    // Who cannot be reached is named, and the payment is kept.
    drop(miner);
    let sent = away.try_wallet(&["send", "mining_rewards", "3", "alice", "--peer", &peer]);
    assert!(sent.status.success() && sent.stderr.contains(&peer), "{sent:?}");
    assert!(away.wallet(&["history"]).contains("pending"));
}

#[test]
fn who_follows_the_network_is_told_what_may_surprise_and_with_verbose_every_block() {
    let network = Network::new();
    let home = network.home("alice");
    let _miner = home.start_miner(&[]);
    let mut sync = home.start_wallet(&["sync", "--verbose"]);
    sync.wait_for("payments in what came");
    let mut other = home.start_wallet(&["sync", "--set", "difficulty=17"]);
    other.wait_for("this is not the network");
    // It may not have come as far as to listen for Ctrl-C.
    other.kill();
    sync.stop();
}
