//! Results that go into a pipe whose reader has gone (`| head`): that is no failure, and nobody works on for it.

use common::files::Program;
use trials::program::Network;

/// `wallet sync | head` ran on.
#[test]
fn sync_ends_when_nobody_reads_what_it_prints() {
    let network = Network::new();
    let home = network.home("alice");
    let miner = home.start_miner(&[]);
    // The wallet has the miner's key, and prints a line for each of its blocks.
    home.reach(Program::Miner, 1);
    let ended = home.start_unread("wallet", &["sync"]).end();
    assert!(ended.status.success() && !ended.stderr.contains("error"), "{ended:?}");
    // What ends by itself does what it was asked for.
    let height = home.height(Program::Miner);
    let ended = home.start_unread("wallet", &["sync", "--once"]).end();
    assert!(ended.status.success() && home.height(Program::Wallet) >= height, "{ended:?}");
    let payment = ["send", "mining_rewards", "1", "mining_rewards", "--wait"];
    let ended = home.start_unread("wallet", &payment).end();
    assert!(ended.status.success() && !ended.stderr.contains("error"), "{ended:?}");
    let history = home.wallet(&["history", "--limit", "1000"]);
    assert!(history.contains("paid") && !history.contains("pending"), "{history}");
    miner.stop();
}

/// Only kill -9 ended it.
#[test]
fn sync_can_be_ended_when_its_reader_has_stopped_reading() {
    let network = Network::new();
    let home = network.home("alice");
    let miner = home.start_miner(&[]);
    home.reach(Program::Miner, 2);
    // What ends by itself waits for its reader with the last line, when nothing hears signals any more.
    for command in [&["sync"][..], &["sync", "--once"]] {
        let (sync, _reader) = home.start_stalled(command);
        home.reach(Program::Wallet, 1);
        sync.signal("INT");
        let ended = sync.end();
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        std::fs::remove_dir_all(home.store_directory(Program::Wallet)).expect("it is there");
    }
    miner.stop();
}

/// It was an empty line, which a script counts.
#[test]
fn where_there_is_nothing_to_list_nothing_is_printed() {
    let network = Network::new();
    let home = network.home("alice");
    for (ended, sentence) in [
        (home.try_wallet(&["history"]), "No payments yet."),
        (home.start_miner(&["networks", "--seconds", "1"]).end(), "no network was heard: "),
    ] {
        assert!(ended.status.success() && ended.stdout.is_empty(), "{ended:?}");
        assert!(ended.stderr.lines().any(|line| line.starts_with(sentence)), "{ended:?}");
    }
}

#[test]
fn commands_whose_result_nobody_reads_succeed() {
    let network = Network::new();
    let home = network.home("alice");
    for (program, arguments) in [
        ("wallet", &["new-address", "alice"][..]),
        ("wallet", &["list-addresses"]),
        ("wallet", &["history"]),
        ("wallet", &["verify"]),
        ("wallet", &["--help"]),
        ("miner", &["rules"]),
        ("miner", &["verify"]),
        ("miner", &["networks", "--seconds", "1"]),
    ] {
        let ended = home.start_unread(program, arguments).end();
        assert!(
            ended.status.success() && !ended.stderr.contains("error"),
            "{program} {arguments:?}: {ended:?}"
        );
    }
    assert!(home.wallet(&["list-addresses"]).contains("alice"));
}
