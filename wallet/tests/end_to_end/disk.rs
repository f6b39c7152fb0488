//! Commands on a disk that is full or not writable: what they acknowledge is there, what they refuse is not, and
//! what was there before stays. The disk is a small file system in memory, which takes the rights of root to mount;
//! without them the test says so and passes.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use common::amount::Amount;
use common::files::Program;

use trials::program::{Ended, Home, Network, eventually};

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

/// What cannot be rewritten kept others from it, and of a plain copy that could not be removed nothing was said.
#[test]
fn keys_that_links_lead_to_on_a_read_only_disk_are_told_of_and_the_others_encrypted() {
    let network = Network::new();
    let home = network.home("alice");
    for name in ["alice", "bob", "carol"] {
        home.wallet(&["new-address", name]);
    }
    let passphrase = network.directory().join("passphrase");
    common::files::create_new(&passphrase, b"two words").expect("there is room");
    let passphrase = passphrase.to_str().expect("the path is text");
    let place = network.directory().join("elsewhere");
    fs::create_dir(&place).expect("there is room");
    if !mount(&place, "size=4096k") {
        let _ = writeln!(std::io::stderr(), "skipped: a file system cannot be mounted here");
        return;
    }
    let _mounted = Mounted(&place);
    let key = |name: &str| home.root.join(format!("keys/{name}.pem"));
    home.wallet(&["encrypt", "bob", "--passphrase-file", passphrase]);
    for name in ["alice", "bob"] {
        let file = place.join(name);
        fs::copy(key(name), &file).expect("there is room");
        fs::remove_file(key(name)).expect("it is there");
        std::os::unix::fs::symlink(&file, key(name)).expect("there is room");
    }
    let left = place.join(".bob.0123456789abcdef.tmp");
    fs::write(&left, "a plain copy, of a `wallet decrypt` that was killed").expect("there is room");
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&place).output();
    assert!(remounted.is_ok_and(|output| output.status.success()));

    let all = ["encrypt", "--all", "--quiet", "--passphrase-file", passphrase];
    let ended = home.try_wallet(&all);
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    let told: Vec<&str> = ended.stderr.lines().collect();
    assert!(told[0].starts_with("warning: a readable copy of a key may be left: "), "{told:?}");
    assert!(told[0].contains(".bob.0123456789abcdef.tmp"), "{told:?}");
    assert!(told[1].starts_with("error: ") && told[1].contains("Read-only file system"), "{told:?}");
    assert!(told[2].starts_with("error: 1 of 2 keys could not be encrypted: alice; "), "{told:?}");
    let carol = fs::read_to_string(key("carol")).expect("it is there");
    assert!(carol.contains("ENCRYPTED PRIVATE KEY"), "{carol}");
    // Where nothing is left to encrypt, it is all that there is to say.
    fs::remove_file(key("alice")).expect("it is there");
    for command in [&all[..], &["encrypt", "bob", "--passphrase-file", passphrase]] {
        let ended = home.try_wallet(command);
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        assert!(ended.stderr.starts_with("error: cannot remove "), "{ended:?}");
        assert!(ended.stderr.contains(".bob.0123456789abcdef.tmp") && ended.stdout.is_empty(), "{ended:?}");
    }
}

/// It ended with the chain's failure alone, as if nothing had been paid, and once by a panic when the payment was made.
#[test]
fn what_fails_under_a_payment_that_is_made_does_not_look_like_a_refusal() {
    let network = Network::new();
    let home = network.home("alice");
    let miner = home.start_miner(&[]);
    home.reach(Program::Miner, 2);
    home.wallet(&["sync", "--once"]);
    miner.stop();
    let send = ["send", "mining_rewards", "1", "mining_rewards", "--wait"];

    let limited = network.home("alice").started_by(&["sh", "-c", "ulimit -n 20; exec \"$0\" \"$@\""]);
    let ended = limited.try_wallet(&send);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("error: the system allows 20 open files"), "{ended:?}");
    assert!(!home.root.join("outbox").exists(), "nothing is paid before all that it takes is there");

    let sending = home.start_wallet(&send);
    let is_id = |line: &str| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = eventually("its id", || sending.said().lines().find(|line| is_id(line)).map(str::to_owned));
    // To the system it is the same as a disk that fails: a page of the map has nothing behind it.
    let file = home.store_directory(Program::Wallet).join("data.mdb");
    fs::OpenOptions::new().write(true).open(file).expect("it is there").set_len(0).expect("it is a file");
    let _miner = home.start_miner(&[]);
    let ended = sending.end();
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    let made = format!(
        "error: the payment {id} is made; what was to be done after it is not: cannot read the chain"
    );
    assert!(ended.stderr.contains(&made) && ended.stderr.contains("\nhint: do not pay again"), "{ended:?}");
}

/// The system ended both: the database's locks found no room (SIGBUS), and a file was to be larger than it may be
/// (SIGXFSZ).
#[test]
fn a_first_sync_without_room_for_a_store_says_so() {
    let network = Network::new();
    let limited = network.home("limited").started_by(&["sh", "-c", "ulimit -f 8; exec \"$0\" \"$@\""]);
    disk_failed(&limited.try_wallet(&["sync"]), "File too large");

    let home = network.home("full");
    fs::create_dir(&home.root).expect("there is room");
    if !mount(&home.root, "size=64k") {
        let _ = writeln!(std::io::stderr(), "skipped: a file system cannot be mounted here");
        return;
    }
    let _mounted = Mounted(&home.root);
    let mut ballast = fs::File::create(home.root.join("ballast")).expect("there is room");
    while ballast.write_all(&[0; 4096]).is_ok() {}
    disk_failed(&home.try_wallet(&["sync"]), "0 B of 64 KiB are free");
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
