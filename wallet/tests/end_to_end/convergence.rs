//! Miners that come, go, and lose sight of each other end up with one chain.

use common::amount::Amount;
use common::files::Program;
use trials::program::{Home, Network, eventually, number};

fn agree(homes: &[&Home<'_>]) {
    eventually("the miners to agree", || {
        let tips: Vec<_> = homes.iter().map(|home| home.tip(Program::Miner)).collect();
        (tips[0].is_some_and(|tip| tip.height.get() > 0) && tips.iter().all(|tip| *tip == tips[0]))
            .then_some(())
    });
}

#[test]
fn three_miners_started_one_after_the_other_converge_also_when_one_was_cut_off() {
    let apart = number("END_TO_END_BLOCKS_APART", 20);
    let network = Network::new();
    let [first, second, third] = ["first", "second", "third"].map(|name| network.home(name));
    let _first_miner = first.start_miner(&[]);
    first.reach(Program::Miner, 5);
    let _second_miner = second.start_miner(&[]);
    agree(&[&first, &second]);
    let third_miner = third.start_miner(&[]);
    agree(&[&first, &second, &third]);

    // The third goes on alone, and so do the others.
    third_miner.stop();
    let fork = first.height(Program::Miner).min(third.height(Program::Miner));
    let away = third.cut_off();
    let third_miner = away.start_miner(&[]);
    away.reach(Program::Miner, fork + apart);
    first.reach(Program::Miner, fork + apart);
    assert_ne!(first.tip(Program::Miner), third.tip(Program::Miner));

    third_miner.stop();
    let third_miner = third.start_miner(&[]);
    agree(&[&first, &second, &third]);
    third_miner.stop();
    third.audit(Program::Miner);
    first.audit(Program::Miner);
}

/// Two broadcast domains: only one side knows the other's address, and everything passes both ways.
#[test]
fn blocks_and_payments_go_both_ways_over_a_named_peer() {
    let network = Network::new();
    let (here, there) = (network.home("here"), network.home("there").cut_off());
    let [alice, bob] = [(&here, "alice"), (&there, "bob")].map(|(home, name)| {
        home.wallet(&["new-address", name]);
        home.address(name)
    });
    let mut here_miner = here.start_miner(&[]);
    here_miner.wait_for("blocks TCP ");
    let said = here_miner.said();
    let (_, address) = said.split_once("blocks TCP ").expect("it was just said");
    let address = address.split_whitespace().next().expect("an address follows");
    here.reach(Program::Miner, 3);
    let _there_miner = there.start_miner(&["--peer", address]);
    agree(&[&here, &there]);

    let _syncs = [here.start_wallet(&["sync"]), there.start_wallet(&["sync"])];
    here.wait_for_at_least(&here.address("mining_rewards"), Amount::from_coins(30));
    here.wallet(&["send", "mining_rewards", "20", &bob.to_string()]);
    there.wait_for_balance(&bob, Amount::from_coins(20));
    // Both mine: a reorganisation may take it out again for a moment.
    let pay = ["send", "bob", "4", &alice.to_string()];
    eventually("bob to have something to pay with", || there.try_wallet(&pay).status.success().then_some(()));
    here.wait_for_balance(&alice, Amount::from_coins(4));
    there.wait_for_at_least(&there.address("mining_rewards"), Amount::from_coins(10));
    agree(&[&here, &there]);
}

#[test]
fn regression_9_a_payment_of_the_branch_that_loses_is_not_lost() {
    let network = Network::new();
    let (majority, alice) = (network.home("majority"), network.home("alice").cut_off());
    let majority_miner = majority.start_miner(&[]);
    alice.wallet(&["new-address", "alice"]);
    let miner = alice.start_miner(&[]);
    let sync = alice.start_wallet(&["sync"]);
    eventually("the key of the miner", || alice.root.join("keys/mining_rewards.pem").exists().then_some(()));
    let rewards = alice.address("mining_rewards");
    alice.wait_for_at_least(&rewards, Amount::from_coins(20));

    // Money that exists on both branches: the majority mines for the same key.
    std::fs::copy(alice.root.join("keys/mining_rewards.pem"), majority.root.join("keys/shared.pem"))
        .expect("the key is there");
    majority_miner.stop();
    std::fs::rename(majority.root.join("keys/shared.pem"), majority.root.join("keys/mining_rewards.pem"))
        .expect("the key is there");
    let _majority_miner = majority.start_miner(&[]);
    alice.wallet(&["send", "mining_rewards", "1", "alice"]);
    alice.wait_for_balance(&alice.address("alice"), Amount::from_coins(1));
    miner.stop();
    sync.stop();
    let lost = alice.height(Program::Wallet);
    let start = majority.height(Program::Miner);
    majority.reach(Program::Miner, lost.max(start) + 15);

    // Back within earshot, Alice's wallet sees her branch lose, and pays again on the other.
    let alice = network.home("alice");
    let _sync = alice.start_wallet(&["sync"]);
    eventually("the longer chain", || (alice.height(Program::Wallet) > lost).then_some(()));
    alice.wait_for_balance(&alice.address("alice"), Amount::from_coins(1));
    alice.audit(Program::Wallet);
}
