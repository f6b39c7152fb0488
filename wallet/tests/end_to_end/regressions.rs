//! Failures of the systems that this project descends from, by their numbers: none may come back.

use std::net::{TcpStream, UdpSocket};

use common::amount::Amount;
use common::files::Program;
use common::rules::Rules;
use trials::program::{Ended, Network, eventually};

/// One packet with rubbish, or one payment that cannot be covered, killed the mining for good.
#[test]
fn regression_5_rubbish_does_not_stop_a_miner() {
    let network = Network::new();
    let home = network.home("miner");
    let mut miner = home.start_miner(&[]);
    home.reach(Program::Miner, 1);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("there are ports");
    socket.set_broadcast(true).expect("the system lets us broadcast");
    let header = [b"FRTH", &1_u16.to_le_bytes()[..], &network.rules.network_id().prefix()].concat();
    for port in [network.ports.status, network.ports.transactions] {
        for rubbish in [Vec::new(), vec![0xff; 1400], header.clone(), [&header[..], &[0xff; 900]].concat()] {
            // The system refuses some sizes; that is as good.
            let _ = socket.send_to(&rubbish, ("127.255.255.255", port));
        }
        for number in 0_u32..3 {
            let message = [&header[..], &number.to_le_bytes(), &[0xff; 600]].concat();
            socket.send_to(&message, ("127.255.255.255", port)).expect("the system sends it");
        }
    }
    let height = home.height(Program::Miner);
    home.reach(Program::Miner, height + 5);
    assert!(miner.is_running() && !miner.said().contains("panic"), "{}", miner.said());
}

/// One idle connection starved the block server.
#[test]
fn regression_6_idle_callers_do_not_mute_the_block_server() {
    let network = Network::new();
    let (home, other) = (network.home("miner"), network.home("wallet"));
    let mut miner = home.start_miner(&[]);
    miner.wait_for("blocks TCP ");
    let said = miner.said();
    let address = said.split("blocks TCP ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = address.expect("the miner says where it serves").to_owned();
    let _idle: Vec<_> = (0..20).map(|_| TcpStream::connect(&address).expect("the server listens")).collect();
    home.reach(Program::Miner, 5);
    other.wallet(&["sync", "--once"]);
    assert!(other.height(Program::Wallet) >= 5);
}

/// A truncated store was a traceback.
#[test]
fn regression_8_a_damaged_store_is_a_sentence() {
    let network = Network::new();
    let home = network.home("alice");
    let miner = home.start_miner(&[]);
    home.reach(Program::Miner, 5);
    home.wallet(&["sync", "--once"]);
    miner.stop();
    for program in [Program::Miner, Program::Wallet] {
        let file = home.store_directory(program).join("data.mdb");
        let whole = std::fs::read(&file).expect("the store is there");
        let unusable = [
            ("a byte is left", whole[..1].to_vec()),
            ("a page is left", whole[..4096].to_vec()),
            ("two pages are left", whole[..8192].to_vec()),
            ("rubbish", vec![0x5a; whole.len()]),
            ("a text", b"{\"blocks\": [".to_vec()),
        ];
        for (what, damaged) in unusable {
            std::fs::write(&file, damaged).expect("the store can be written");
            match program {
                Program::Miner => sentence(&home.start_miner(&["--no-mine"]).end(), what),
                Program::Wallet => {
                    sentence(&home.try_wallet(&["list-addresses"]), what);
                    sentence(&home.try_wallet(&["sync", "--once"]), what);
                }
            }
        }
        // Where only some pages are gone, it may be that none of them is needed; dying of it is not allowed.
        for length in [whole.len() / 3, whole.len() / 2, whole.len() - 4096] {
            std::fs::write(&file, &whole[..length]).expect("the store can be written");
            match program {
                Program::Miner => {
                    let mut miner = home.start_miner(&["--no-mine"]);
                    eventually("a word", || {
                        let said = miner.said();
                        (said.contains("error: ") || said.contains("the chain is at")).then_some(())
                    });
                    if miner.is_running() && !miner.said().contains("error: ") {
                        miner.kill();
                    } else {
                        sentence(&miner.end(), "a part is left");
                    }
                }
                Program::Wallet => {
                    let ended = home.try_wallet(&["list-addresses"]);
                    if !ended.status.success() {
                        sentence(&ended, "a part is left");
                    }
                }
            }
        }
        std::fs::write(&file, whole).expect("the store can be written");
        home.audit(program);
    }
}

/// Asserts that a program ended with a sentence, and with nothing else.
fn sentence(ended: &Ended, what: &str) {
    assert_eq!(ended.status.code(), Some(1), "{what}: {ended:?}");
    let said = ended.stderr.lines().any(|line| line.starts_with("error: "));
    assert!(said && !ended.stderr.contains("panicked"), "{what}: {ended:?}");
}

/// Ctrl-C left the miner running for 10 seconds; `new-address ../x` escaped the key directory.
#[test]
fn regression_10_ctrl_c_ends_a_program() {
    let network = Network::new();
    let home = network.home("alice");
    for signal in ["INT", "TERM"] {
        let miner = home.start_miner(&[]);
        let height = home.height(Program::Miner);
        home.reach(Program::Miner, height + 2);
        let mut sync = home.start_wallet(&["sync"]);
        eventually("the first blocks", || (home.height(Program::Wallet) > height).then_some(()));
        assert!(sync.is_running());
        for running in [miner, sync] {
            running.signal(signal);
            let ended = running.end();
            assert!(ended.status.success(), "after {signal}: {ended:?}");
        }
        home.audit(Program::Miner);
    }
}

#[test]
fn regression_10_a_name_cannot_leave_the_key_directory() {
    let network = Network::new();
    let home = network.home("alice");
    for name in ["../x", "a/b", "/tmp/x", "..", ".hidden", ""] {
        let ended = home.try_wallet(&["new-address", name]);
        assert_eq!(ended.status.code(), Some(2), "{name:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{name:?}: {ended:?}");
    }
    assert!(!home.root.exists(), "nothing was made");
}

/// Fewer payments than a block holds waited for ever, unexplained.
#[test]
fn regression_11_a_payment_does_not_wait_for_others_for_ever() {
    let network = Network::with_rules(Rules {
        block_size: 5,
        block_interval_seconds: 3,
        allow_empty: false,
        ..Rules::default()
    });
    let home = network.home("alice");
    home.wallet(&["new-address", "alice"]);
    let mut miner = home.start_miner(&[]);
    let _sync = home.start_wallet(&["sync"]);
    // The first block may hold the reward alone; from then on there is nothing to mine, and the miner says so.
    home.reach(Program::Miner, 1);
    miner.wait_for("payment");
    home.wait_for_at_least(&home.address("mining_rewards"), Amount::from_coins(10));
    home.wallet(&["send", "mining_rewards", "4", "alice"]);
    home.wait_for_balance(&home.address("alice"), Amount::from_coins(4));
    assert_eq!(home.height(Program::Miner), 2);
}
