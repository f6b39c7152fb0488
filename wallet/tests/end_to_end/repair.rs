//! `wallet verify` beside what a disk may do: it tells of everything, and `--repair` loses nothing that cannot be had
//! again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::amount::Amount;
use common::files::{Program, names_in};
use common::store::Store;
use common::time::Height;
use trials::program::{Home, Network, Running, eventually};

/// A wallet that has fetched so many blocks from a miner, and made a payment that nobody has heard of.
fn with_a_pending_payment<'n>(network: &'n Network, blocks: u64) -> (Home<'n>, Home<'n>, Running) {
    let (theirs, home) = (network.home("theirs"), network.home("alice"));
    let miner = theirs.start_miner(&[]);
    eventually("the key of the miner", || theirs.root.join("keys/mining_rewards.pem").exists().then_some(()));
    home.wallet(&["new-address", "alice"]);
    fs::copy(theirs.root.join("keys/mining_rewards.pem"), home.root.join("keys/carol.pem"))
        .expect("there is room");
    theirs.reach(Program::Miner, blocks);
    home.wallet(&["sync", "--once"]);
    // Where nobody hears it.
    home.cut_off().wallet(&["send", "carol", "1", "alice", "--data", "for lunch"]);
    (home, theirs, miner)
}

/// Every file there, by its name.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = names_in(directory).expect("it can be read").into_iter();
    names.map(|name| (name.clone(), fs::read(directory.join(name)).expect("it can be read"))).collect()
}

fn outbox(home: &Home<'_>) -> PathBuf {
    let rules = &home.network().rules;
    home.data().outbox(&rules.name, &rules.network_id())
}

/// Damages the block of this height: the id of its parent, which its header names, wherever the wallet's database has
/// it.
fn damage(home: &Home<'_>, height: u64) {
    let chain = home.chain(Program::Wallet).expect("there is a store");
    let parent = chain.store().read(|reader| reader.best_at(Height::new(height - 1)));
    drop(chain);
    let parent = parent.expect("the store is sound").expect("the chain is as long");
    let file = home.store_directory(Program::Wallet).join("data.mdb");
    let mut bytes = fs::read(&file).expect("it can be read");
    let ids = bytes.windows(32).enumerate().filter(|(_, window)| *window == parent.as_bytes());
    let places: Vec<usize> = ids.map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "the block is in the file");
    places.iter().for_each(|place| bytes[place + 3] ^= 0x10);
    fs::write(&file, bytes).expect("there is room");
}

#[test]
fn a_damaged_chain_is_found_repaired_and_fetched_again_and_keys_and_payments_stay_as_they_are() {
    let network = Network::new();
    let (home, theirs, miner) = with_a_pending_payment(&network, 12);
    let kept = || (contents(&home.root.join("keys")), contents(&outbox(&home)));
    let before = kept();
    let height = home.height(Program::Wallet);
    damage(&home, 7);

    let found = home.try_wallet(&["verify"]);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(found.stderr.contains("damaged: ") && found.stdout.is_empty(), "{found:?}");
    assert!(found.stderr.contains("hint: `wallet verify --repair`"), "{found:?}");
    let repaired = home.try_wallet(&["verify", "--repair"]);
    assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");
    assert!(repaired.stdout.starts_with("Repaired: "), "{repaired:?}");
    assert!(repaired.stdout.contains("Outbox     sound: 1 payment,"), "{repaired:?}");
    assert!(home.height(Program::Wallet) < 7 && height >= 12, "what is damaged is not kept");
    assert_eq!(kept(), before);

    // In its own time: it also sends the payment, which may get into a block of the miner at once.
    miner.stop();
    let miner = theirs.start_miner(&["--no-mine"]);
    let tip = theirs.tip(Program::Miner).expect("there is a chain");
    home.wallet(&["sync", "--once"]);
    assert_eq!(home.tip(Program::Wallet), Some(tip));
    assert_eq!(kept(), before);
    home.audit(Program::Wallet);
    let earned = theirs.chain(Program::Miner).expect("there is a chain");
    let account = |home: &Home<'_>, name: &str| home.balance(&home.address(name));
    let carol = theirs.address("mining_rewards");
    let theirs_say = earned.store().read(|reader| reader.account(&carol)).expect("it is sound").balance;
    assert_eq!((account(&home, "carol"), account(&home, "alice").is_zero()), (theirs_say, true));
    assert!(home.wallet(&["verify"]).contains("sound: 1 payment,"));
    miner.stop();

    // And the payment is what it was: a block takes it.
    let miner = theirs.start_miner(&[]);
    let sync = home.start_wallet(&["sync"]);
    home.wait_for_balance(&home.address("alice"), Amount::from_coins(1));
    for running in [miner, sync] {
        running.stop();
    }
}

/// They were not looked at: a user who gave the directory up, for the chain can be had again, lost them.
#[test]
fn payments_are_checked_also_beside_a_damaged_chain() {
    let network = Network::new();
    let (home, _theirs, miner) = with_a_pending_payment(&network, 5);
    miner.stop();
    damage(&home, 3);
    let sound = home.try_wallet(&["verify"]);
    assert_eq!(sound.status.code(), Some(1), "{sound:?}");
    assert!(sound.stderr.contains("\nOutbox     sound: 1 payment,"), "{sound:?}");
    let (directory, before) = (outbox(&home), contents(&outbox(&home)));
    let payment = before.keys().find(|name| *name != ".lock").expect("there is one");
    fs::write(directory.join(payment), "no payment").expect("there is room");
    let damaged = home.try_wallet(&["verify"]);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    let told = format!("{} is damaged", directory.join(payment).display());
    let lines: Vec<&str> = damaged.stderr.lines().filter(|line| line.starts_with("damaged: ")).collect();
    assert!(lines.len() >= 2 && lines.iter().any(|line| line.ends_with(&told)), "{damaged:?}");
    assert!(damaged.stderr.contains("\nerror: the chain in "), "{damaged:?}");
}

/// They were said to be damaged, with the exit code of that.
#[test]
fn what_the_disk_keeps_from_being_read_is_told_from_what_is_damaged() {
    let network = Network::new();
    let home = network.home("alice");
    home.wallet(&["new-address", "alice"]);
    // Reading it is an input or output error.
    let broken = Path::new("/proc/self/mem");
    let key = home.root.join("keys/broken.pem");
    std::os::unix::fs::symlink(broken, &key).expect("there is room");
    for ended in [home.try_wallet(&["verify"]), home.start_miner(&["verify"]).end()] {
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        assert!(ended.stderr.contains("error: not every key in "), "{ended:?}");
        assert!(ended.stderr.contains("hint: let what cannot be read be read"), "{ended:?}");
    }
    fs::remove_file(key).expect("it is there");
    let name = format!("{}-{:020}-{}", home.address("alice"), 0, "ab".repeat(32));
    fs::create_dir_all(outbox(&home)).expect("there is room");
    std::os::unix::fs::symlink(broken, outbox(&home).join(name)).expect("there is room");
    let ended = home.try_wallet(&["verify"]);
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(
        ended.stderr.contains("error: a payment in ") && ended.stderr.contains("unusable: "),
        "{ended:?}"
    );
}
