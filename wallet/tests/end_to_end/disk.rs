//! Commands on a disk that is full or not writable: what they acknowledge is there, what they refuse is not, and
//! what was there before stays. The disk is a small file system in memory, which takes the rights of root to mount;
//! without them the test says so and passes.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use common::amount::Amount;
use common::files::Program;

use trials::program::{Ended, Home, Network};

fn mount(place: &Path, options: &str) -> bool {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place).output();
    mounted.is_ok_and(|output| output.status.success())
}

/// Unmounts what is mounted there.
struct Mounted<'p>(&'p Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).output();
    }
}

fn disk_failed(ended: &Ended, why: &str) {
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    assert!(ended.stderr.contains(why) && ended.stderr.contains("hint: make room"), "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

fn names(home: &Home, folder: &str) -> Vec<String> {
    let mut names = common::files::names_in(&home.root.join(folder)).expect("it can be read");
    names.retain(|name| name != ".lock");
    names
}

#[test]
fn on_a_full_or_read_only_disk_commands_change_nothing_and_say_why() {
    let network = Network::new();
    let home = network.home("alice");
    fs::create_dir(&home.root).expect("there is room");
    if !mount(&home.root, "size=4096k") {
        let _ = writeln!(std::io::stderr(), "skipped: a file system cannot be mounted here");
        return;
    }
    let _mounted = Mounted(&home.root);
    let miner = home.start_miner(&[]);
    home.reach(Program::Miner, 2);
    home.wallet(&["sync", "--once"]);
    miner.stop();
    home.wallet(&["send", "mining_rewards", "1", "mining_rewards"]);
    let outbox = names(&home, "outbox").pop().expect("there is a payment");
    let outbox = format!("outbox/{outbox}");
    let (keys, payments) = (names(&home, "keys"), names(&home, &outbox));
    assert_eq!((keys.len(), payments.len()), (1, 1));
    let unchanged = || {
        assert_eq!((names(&home, "keys"), names(&home, &outbox)), (keys.clone(), payments.clone()));
    };

    let ballast = home.root.join("ballast");
    let mut file = fs::File::create(&ballast).expect("there is room");
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    disk_failed(&home.try_wallet(&["new-address", "bob"]), "of 4.0 MiB are free");
    disk_failed(&home.try_wallet(&["send", "mining_rewards", "1", "mining_rewards"]), "of 4.0 MiB are free");
    unchanged();
    assert!(home.wallet(&["list-addresses"]).contains("mining_rewards"));
    assert!(home.wallet(&["verify"]).contains("sound: 1 payment,"));
    fs::remove_file(ballast).expect("it is there");

    let remount = |options: &str| {
        let mounted = Command::new("mount").args(["-o", options]).arg(&home.root).output();
        assert!(mounted.is_ok_and(|output| output.status.success()));
    };
    remount("remount,ro");
    for command in
        [&["new-address", "bob"][..], &["send", "mining_rewards", "1", "mining_rewards"], &["sync"]]
    {
        disk_failed(&home.try_wallet(command), "Read-only file system");
    }
    unchanged();
    remount("remount,rw");

    home.wallet(&["new-address", "bob"]);
    home.wallet(&["send", "mining_rewards", "3", "bob"]);
    assert_eq!((names(&home, "keys").len(), names(&home, &outbox).len()), (2, 2));
    let _miner = home.start_miner(&[]);
    let _sync = home.start_wallet(&["sync"]);
    home.wait_for_balance(&home.address("bob"), Amount::from_coins(3));
}
