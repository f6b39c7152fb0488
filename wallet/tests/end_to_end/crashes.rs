//! Programs that are killed at any moment leave a store whose ledger is what its blocks come to.

use std::time::{Duration, Instant};

use common::amount::Amount;
use common::files::Program;
use trials::program::{Network, eventually, number};

/// A random number below this one; no generator is needed to choose moments.
fn below(bound: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() % bound
}

/// Lets a random moment pass: that is what the test is about.
pub fn random_moment(longest: Duration) {
    let until = Instant::now() + Duration::from_millis(below(longest.as_millis() as u64));
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_miner_that_is_killed_restarts_with_the_ledger_of_its_blocks() {
    let network = Network::new();
    let (victim, other) = (network.home("victim"), network.home("other"));
    other.wallet(&["new-address", "somebody"]);
    let _other_miner = other.start_miner(&[]);
    let _sync = other.start_wallet(&["sync"]);
    eventually("the key of the miner", || other.root.join("keys/mining_rewards.pem").exists().then_some(()));
    other.wait_for_at_least(&other.address("mining_rewards"), Amount::from_coins(20));

    let mut height = 0;
    for kill in 0..number("END_TO_END_KILLS", 10) {
        // Mining and syncing take turns: now and then it comes back without what it had.
        if kill % 4 == 3 {
            std::fs::remove_dir_all(victim.store_directory(Program::Miner)).expect("the store is there");
            height = 0;
        }
        other.wallet(&["send", "mining_rewards", "0.5", "somebody"]);
        let mut miner = victim.start_miner(&[]);
        eventually("the store", || victim.tip(Program::Miner).filter(|tip| tip.height.get() >= height));
        random_moment(Duration::from_millis(1_500));
        assert!(miner.is_running(), "it ended by itself: {}", miner.said());
        miner.kill();
        let audit = victim.audit(Program::Miner);
        assert!(audit.tip.height.get() >= height, "committed blocks are gone");
        height = audit.tip.height.get();
    }
    let miner = victim.start_miner(&[]);
    eventually("the two miners to agree", || {
        let tip = victim.tip(Program::Miner)?;
        (tip.height.get() > height && other.tip(Program::Miner) == Some(tip)).then_some(())
    });
    miner.stop();
    assert!(victim.audit(Program::Miner).transactions > 0, "there were payments to get wrong");
}

#[test]
fn a_wallet_that_is_killed_while_it_syncs_goes_on_with_the_ledger_of_its_blocks() {
    let network = Network::new();
    let (miner, wallet) = (network.home("miner"), network.home("wallet"));
    let _miner = miner.start_miner(&[]);
    miner.reach(Program::Miner, 20);
    for _ in 0..5 {
        let sync = wallet.start_wallet(&["sync"]);
        eventually("the store", || wallet.tip(Program::Wallet));
        random_moment(Duration::from_millis(600));
        sync.kill();
        wallet.audit(Program::Wallet);
    }
    wallet.wallet(&["sync", "--once"]);
    assert!(wallet.audit(Program::Wallet).tip.height.get() >= 20);
}
