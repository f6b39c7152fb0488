//! What the programs print, and what a terminal would make of it.

use trials::program::{Ended, Network};

/// Clears the screen, names the window, rings, and turns the direction of writing.
const EVIL: &str = "a\u{1b}[2J\u{1b}]0;b\u{7}\u{9b}31m\u{202e}c";

fn is_harmless(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!text.contains(obeyed), "{ended:?}");
    }
}

/// Clap quoted it as it was.
#[test]
fn nothing_that_was_typed_plays_with_the_terminal() {
    let network = Network::new();
    let home = network.home("alice");
    for ended in [
        home.try_wallet(&[EVIL]),
        home.try_wallet(&["history", "--limit", EVIL]),
        home.try_wallet(&["send", "alice", EVIL, "bob"]),
        home.try_wallet(&["send", "alice", "1", EVIL]),
        home.start_miner(&[EVIL]).end(),
        home.start_miner(&["networks", "--seconds", EVIL]).end(),
        home.try_wallet(&["history", "--set", EVIL]),
        home.try_wallet(&["history", "--network", EVIL]),
        home.start_miner(&["rules", "--config", EVIL]).end(),
    ] {
        is_harmless(&ended);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.starts_with("error: ") && ended.stdout.is_empty(), "{ended:?}");
    }
    // What is said of nothing at all, and what was asked for, goes where it did.
    let nothing = home.try_wallet(&[]);
    assert!(nothing.stderr.contains("Usage: wallet") && nothing.stdout.is_empty(), "{nothing:?}");
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
    for asked in [home.try_wallet(&["--help"]), home.start_miner(&["--version"]).end()] {
        assert!(asked.status.success() && asked.stderr.is_empty() && !asked.stdout.is_empty(), "{asked:?}");
    }
}

/// Paths in results were printed as they were: that of the data directory, and what a link leads to.
#[test]
fn no_path_in_a_result_plays_with_the_terminal() {
    let network = Network::new();
    let home = network.home(EVIL);
    let passphrase = network.directory().join("passphrase");
    common::files::create_new(&passphrase, b"two words").expect("there is room");
    let passphrase = passphrase.to_str().expect("the path is text");
    for command in
        [&["new-address", "alice"][..], &["encrypt", "alice", "--passphrase-file", passphrase], &["verify"]]
    {
        let ended = home.try_wallet(command);
        assert!(ended.status.success() && ended.stdout.contains("a\\u{1b}[2J"), "{ended:?}");
        is_harmless(&ended);
    }
    let verified = home.start_miner(&["verify"]).end();
    assert!(verified.status.success() && verified.stdout.lines().count() > 1, "{verified:?}");
    is_harmless(&verified);
}
