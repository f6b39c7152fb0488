//! What users do with the two programs.

use std::net::{TcpListener, UdpSocket};

use common::amount::Amount;
use common::files::Program;
use trials::program::{Ended, Home, Network, Running, eventually};

/// Alice's miner has found some blocks, and her wallet follows it.
fn alice_with_coins<'n>(network: &'n Network) -> (Home<'n>, Running, Running) {
    let alice = network.home("alice");
    alice.wallet(&["new-address", "alice"]);
    let miner = alice.start_miner(&[]);
    let sync = alice.start_wallet(&["sync"]);
    eventually("the key of the miner", || alice.root.join("keys/mining_rewards.pem").exists().then_some(()));
    alice.wait_for_at_least(&alice.address("mining_rewards"), Amount::from_coins(30));
    (alice, miner, sync)
}

#[test]
fn a_payment_goes_from_one_wallet_to_the_other() {
    let network = Network::new();
    let (alice, mut miner, mut sync) = alice_with_coins(&network);
    let bob = network.home("bob");
    bob.wallet(&["new-address", "bob"]);
    let address = bob.address("bob");
    let mut bobs_sync = bob.start_wallet(&["sync"]);

    let id = alice.wallet(&["send", "mining_rewards", "10", &address.to_string(), "--data", "for lunch"]);
    let id = id.trim();
    assert_eq!(id.len(), 64, "{id}");
    bob.wait_for_balance(&address, Amount::from_coins(10));
    eventually("the confirmation in Bob's history", || {
        let history = bob.wallet(&["history", "bob"]);
        (history.contains(id) && history.contains("for lunch")).then_some(())
    });
    eventually("the confirmation in Alice's history", || {
        let history = alice.wallet(&["history", "mining_rewards"]);
        (history.contains(id) && !history.contains("pending")).then_some(())
    });
    let table = bob.wallet(&["list-addresses"]);
    assert!(table.contains("bob") && table.contains("10") && table.contains(&address.to_string()), "{table}");

    for running in [&mut miner, &mut sync, &mut bobs_sync] {
        assert!(running.is_running());
    }
    for running in [miner, sync, bobs_sync] {
        running.stop();
    }
    alice.audit(Program::Miner);
    alice.audit(Program::Wallet);
    bob.audit(Program::Wallet);
}

#[test]
fn sends_in_a_row_all_confirm() {
    let network = Network::new();
    let (alice, _miner, _sync) = alice_with_coins(&network);
    for _ in 0..3 {
        alice.wallet(&["send", "mining_rewards", "4", "alice"]);
    }
    alice.wait_for_balance(&alice.address("alice"), Amount::from_coins(12));
}

#[test]
fn sending_can_wait_for_the_confirmation() {
    let network = Network::new();
    let (alice, _miner, _sync) = alice_with_coins(&network);
    alice.wallet(&["send", "mining_rewards", "4", "alice", "--wait"]);
    assert_eq!(alice.balance(&alice.address("alice")), Amount::from_coins(4));
}

/// What it said of a failure after it was that of a refusal: without the id, and with the hint to start again.
#[test]
fn a_payment_that_is_made_never_looks_refused() {
    let network = Network::new();
    let (alice, _miner, sync) = alice_with_coins(&network);
    sync.stop();
    let payment = ["send", "mining_rewards", "1", "alice"];
    let says_that_it_is_made = |ended: &Ended, paid: usize| {
        let (error, hint) = ended.stderr.split_once("\nhint: ").expect("it says what to do");
        let error = error.rsplit("error: the payment ").next().expect("it says what is wrong");
        assert!(error.contains(" is made; what was to be done after it is not: "), "{ended:?}");
        assert!(hint.starts_with("do not pay again"), "{ended:?}");
        let history = alice.wallet(&["history", "alice"]);
        assert!(history.contains(&error[..64]) && history.matches("pending").count() == paid, "{history}");
    };
    let unprinted = alice.cut_off().start_without_room(&payment).end();
    assert_eq!(unprinted.status.code(), Some(3), "{unprinted:?}");
    says_that_it_is_made(&unprinted, 1);
    assert!(!unprinted.stderr.contains("start again"), "{unprinted:?}");

    // Somebody else has the port on which it would wait for blocks.
    let away = alice.cut_off();
    let taken = UdpSocket::bind("0.0.0.0:0").expect("there are ports");
    let port = taken.local_addr().expect("it is bound").port();
    let setting = format!("status_broadcast_port={port}");
    let unfollowed = away.try_wallet(&[&payment[..], &["--wait", "--set", &setting]].concat());
    assert_eq!(unfollowed.status.code(), Some(1), "{unfollowed:?}");
    says_that_it_is_made(&unfollowed, 2);
    assert!(unfollowed.stderr.contains("\nhint: another port: "), "{unfollowed:?}");
}

/// It was printed after all peers had their say, each of which may take seconds.
#[test]
fn the_id_of_a_payment_is_printed_before_it_is_announced() {
    let network = Network::new();
    let (alice, _miner, _sync) = alice_with_coins(&network);
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
    let peer = listener.local_addr().expect("it is bound").to_string();
    let sending = alice.start_wallet(&["send", "mining_rewards", "1", "alice", "--peer", &peer]);
    listener.set_nonblocking(true).expect("a socket can be asked");
    let (caller, _) = eventually("the call of the peer", || listener.accept().ok());
    let said = sending.said();
    assert!(said.lines().any(|line| line.len() == 64), "{said}");
    drop(caller);
    assert!(sending.end().status.success());
}

/// Only `sync` told of it.
#[test]
fn whoever_pays_on_a_network_of_his_own_is_told_so() {
    let network = Network::new();
    let home = network.home("alice");
    home.wallet(&["new-address", "alice"]);
    let sent = home.try_wallet(&["send", "alice", "1", "alice", "--set", "min_fee=0.5"]);
    let told: Vec<&str> = sent.stderr.lines().collect();
    assert!(told[0].starts_with("this is not the network "), "{told:?}");
    assert!(told[0].ends_with(" for a rule differs: min_fee (--set)"), "{told:?}");
    assert!(told[1].starts_with("error: nothing is known of the network "), "{told:?}");
}

#[test]
fn without_a_running_sync_once_is_enough() {
    let network = Network::new();
    let (alice, _miner, sync) = alice_with_coins(&network);
    sync.stop();
    let bob = network.home("bob");
    bob.wallet(&["new-address", "bob"]);
    alice.wallet(&["send", "mining_rewards", "4", &bob.address("bob").to_string()]);
    eventually("the payment", || {
        bob.wallet(&["sync", "--once"]);
        (bob.balance(&bob.address("bob")) == Amount::from_coins(4)).then_some(())
    });
}

#[test]
fn commands_run_beside_a_sync_and_each_other() {
    let network = Network::new();
    let (alice, _miner, mut sync) = alice_with_coins(&network);
    std::thread::scope(|scope| {
        for command in [&["list-addresses"][..], &["history"], &["send", "mining_rewards", "1", "alice"]] {
            let alice = &alice;
            scope.spawn(move || (0..8).for_each(|_| drop(alice.wallet(command))));
        }
        scope.spawn(|| {
            (0..3).for_each(|number| drop(alice.wallet(&["new-address", &format!("key-{number}")])))
        });
    });
    alice.wait_for_balance(&alice.address("alice"), Amount::from_coins(8));
    assert!(sync.is_running());
    sync.stop();
    alice.audit(Program::Wallet);
}

#[test]
fn a_second_miner_in_a_data_directory_is_refused_until_the_first_is_gone() {
    let network = Network::new();
    let home = network.home("alice");
    let first = home.start_miner(&["--no-mine"]);
    eventually("the store of the first", || home.tip(Program::Miner));
    let second = home.start_miner(&["--no-mine"]).end();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(second.stderr.contains("another miner"), "{second:?}");
    first.kill();
    let mut third = home.start_miner(&["--no-mine"]);
    third.wait_for("listening");
    third.stop();
}
