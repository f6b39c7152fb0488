//! Keys under passphrases: what users do with them, on terminals and without, and what crashes do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use common::amount::Amount;
use common::files;
use common::files::Program;
use common::key_store::{KeyStore, MAX_KEY_FILE_BYTES};
use common::keys::PrivateKey;
use common::passphrase::{Passphrase, Passphrases};
use common::rules::Rules;

use crate::crashes::random_moment;
use trials::program::{Home, Network, eventually, number};

const RIGHT: &str = "two words";

/// A file with a passphrase, readable by its owner alone.
fn file_with(home: &Home<'_>, name: &str, passphrase: &str) -> String {
    files::create_private_directory(&home.root).expect("there is room");
    let path = home.root.join(name);
    files::create_new(&path, format!("{passphrase}\n").as_bytes()).expect("there is room");
    path.to_str().expect("the path is text").to_owned()
}

fn key_file(home: &Home<'_>, key: &str) -> PathBuf {
    home.root.join("keys").join(format!("{key}.pem"))
}

fn is_encrypted(home: &Home<'_>, key: &str) -> bool {
    let store = KeyStore::new(home.root.join("keys"));
    store.is_encrypted(&key.parse().expect("it is a name")).expect("the file is whole")
}

#[test]
fn encrypted_keys_are_paid_mined_for_and_spent_from() {
    let network = Network::new();
    let home = network.home("alice");
    let (right, wrong) = (file_with(&home, "right", RIGHT), file_with(&home, "wrong", "two word"));
    home.wallet(&["new-address", "alice", "--encrypt", "--passphrase-file", &right]);
    home.wallet(&["new-address", "mining_rewards"]);
    home.wallet(&["encrypt", "mining_rewards", "--passphrase-file", &right]);
    assert!(is_encrypted(&home, "alice") && is_encrypted(&home, "mining_rewards"));

    // The miner is paid, and asks for nothing.
    let miner = home.start_miner(&[]);
    let sync = home.start_wallet(&["sync"]);
    home.wait_for_at_least(&home.address("mining_rewards"), Amount::from_coins(20));
    let pay =
        |file: &str| home.try_wallet(&["send", "mining_rewards", "4", "alice", "--passphrase-file", file]);
    let refused = pay(&wrong);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("stays locked: the passphrase is wrong"), "{refused:?}");
    let paid = pay(&right);
    assert!(paid.status.success(), "{paid:?}");
    home.wait_for_balance(&home.address("alice"), Amount::from_coins(4));
    for running in [miner, sync] {
        running.stop();
    }
    let history = home.wallet(&["history", "alice"]);
    assert!(history.contains("mining_rewards paid 4 to alice"), "{history}");

    // Damage is told from a wrong passphrase, and tells that before a passphrase is looked for.
    let path = key_file(&home, "alice");
    let text = fs::read_to_string(&path).expect("the key is there");
    let (start, end) = text.split_at(text.len() - 100);
    fs::write(&path, format!("{start}{}{}", if end.starts_with('A') { 'B' } else { 'A' }, &end[1..]))
        .expect("there is room");
    let damaged =
        home.try_wallet(&["send", "alice", "1", "mining_rewards", "--passphrase-file", "/nonexistent"]);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    assert!(damaged.stderr.contains("is damaged") && !damaged.stderr.contains("passphrase"), "{damaged:?}");
}

/// It told the owner of a key that OpenSSL had encrypted that the key was damaged, and to copy it back.
#[test]
fn verify_says_of_each_key_that_cannot_be_used_what_to_do_about_it() {
    let network = Network::new();
    let home = network.home("alice");
    for name in ["alice", "bob", "carol"] {
        home.wallet(&["new-address", name]);
    }
    fs::write(key_file(&home, "bob"), "no key").expect("there is room");
    fs::set_permissions(key_file(&home, "carol"), PermissionsExt::from_mode(0o644)).expect("it is ours");
    for ended in [home.try_wallet(&["verify"]), home.start_miner(&["verify"]).end()] {
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let told: Vec<&str> = ended.stderr.lines().collect();
        assert!(
            told[0].starts_with("unusable: ") && told[0].ends_with("restore it from a backup"),
            "{told:?}"
        );
        assert!(told[1].starts_with("unusable: ") && told[1].contains("chmod 600"), "{told:?}");
        assert!(told[2].starts_with("There is no chain in "), "{told:?}");
        assert!(told[3].starts_with("error: not every key in ") && told.len() == 4, "{told:?}");
    }
}

#[test]
fn without_a_terminal_a_command_says_what_to_do() {
    let network = Network::new();
    let home = network.home("alice");
    let right = file_with(&home, "right", RIGHT);
    home.wallet(&["new-address", "alice"]);
    for (arguments, expected) in [
        (&["encrypt", "alice"][..], "there is no terminal to ask for it"),
        (&["encrypt", "alice", "--passphrase-file", "/nonexistent"], "cannot read /nonexistent"),
        (&["decrypt", "alice", "--passphrase-file", &right], "the key alice is not encrypted"),
    ] {
        let Some(ended) = home.without_terminal("wallet", arguments) else { return };
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
        assert_eq!(
            ended.stderr.contains("hint: --passphrase-file FILE"),
            expected.contains("terminal"),
            "{ended:?}"
        );
        assert!(!is_encrypted(&home, "alice"));
    }
    // Of the two that one command takes, the hint names the flag of the one that is missing.
    home.wallet(&["encrypt", "alice", "--passphrase-file", &right]);
    let change = ["change-passphrase", "alice"];
    for (given, hint) in [
        (&["--new-passphrase-file", &right], "hint: --passphrase-file FILE"),
        (&["--passphrase-file", &right], "hint: --new-passphrase-file FILE"),
    ] {
        let Some(ended) = home.without_terminal("wallet", &[&change[..], given].concat()) else { return };
        assert!(ended.stderr.contains("there is no terminal") && ended.stderr.contains(hint), "{ended:?}");
    }
    home.wallet(&["decrypt", "alice", "--passphrase-file", &right]);
    fs::set_permissions(&right, PermissionsExt::from_mode(0o644)).expect("it is ours");
    let refused = home.try_wallet(&["encrypt", "alice", "--passphrase-file", &right]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("can be read by others") && refused.stderr.contains("chmod 600"),
        "{refused:?}"
    );
}

/// Whatever is wrong with the chain: they did nothing, for they opened it first.
#[test]
fn what_is_done_to_keys_needs_no_chain() {
    let network = Network::new();
    let home = network.home("alice");
    let right = file_with(&home, "right", RIGHT);
    let store = home.store_directory(Program::Wallet);
    files::create_directory(&store).expect("there is room");
    fs::write(store.join("data.mdb"), [0x5a; 65_536]).expect("there is room");
    let made = home.try_wallet(&["new-address", "alice"]);
    assert!(made.status.success() && made.stdout.contains("alice.pem"), "{made:?}");
    assert!(made.stderr.starts_with("warning: the history of alice is not kept yet: "), "{made:?}");
    let passphrase = ["--passphrase-file", &right];
    for (command, encrypted) in [
        (&["encrypt", "alice"][..], true),
        (&["change-passphrase", "alice", "--new-passphrase-file", &right], true),
        (&["decrypt", "alice"], false),
        (&["encrypt", "--all"], true),
    ] {
        home.wallet(&[command, &passphrase].concat());
        assert_eq!(is_encrypted(&home, "alice"), encrypted);
    }
    assert_eq!(home.try_wallet(&["list-addresses"]).status.code(), Some(1));
}

/// It was said that what was stored before is intact: whoever believed it threw the new passphrase away.
#[test]
fn a_key_that_was_rewritten_never_looks_refused() {
    let network = Network::new();
    let home = network.home("alice");
    let [first, second] = ["first", "second"].map(|text| file_with(&home, text, text));
    let load = |key: &str, text: &str| {
        let known = Passphrase::new(text.as_bytes().to_vec().into()).expect("it is neither empty nor long");
        let store = KeyStore::new(home.root.join("keys"));
        store.load(&key.parse().expect("it is a name"), 2048, &Passphrases::Known(known))
    };
    for (command, done, advice) in [
        (&["new-address", "alice"][..], "the key alice is made", "back up its file"),
        (
            &["new-address", "bob", "--encrypt", "--passphrase-file", &first],
            "the key bob is made",
            "keep its passphrase",
        ),
        (
            &["encrypt", "alice", "--passphrase-file", &first],
            "the key alice is encrypted",
            "keep the passphrase",
        ),
        (
            &["change-passphrase", "alice", "--passphrase-file", &first, "--new-passphrase-file", &second],
            "the key alice has its new passphrase",
            "keep the new passphrase",
        ),
        (&["decrypt", "alice", "--passphrase-file", &second], "the key alice is decrypted", "can spend"),
        (&["decrypt", "bob", "--passphrase-file", &first], "the key bob is decrypted", "can spend"),
        (
            &["encrypt", "--all", "--passphrase-file", &second],
            "each of the keys alice, bob is encrypted",
            "keep the passphrase",
        ),
    ] {
        let ended = home.start_without_room(command).end();
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        let error = format!("error: {done}; only this could not be printed: No space left");
        assert!(ended.stderr.lines().any(|line| line.starts_with(&error)), "{command:?}: {ended:?}");
        let hint = ended.stderr.lines().find(|line| line.starts_with("hint: ")).expect("there is one");
        assert!(hint.contains(advice) && !hint.contains("intact"), "{command:?}: {ended:?}");
        let is_as_said = match done.rsplit(' ').next() {
            Some("passphrase") => load("alice", "second").is_ok(),
            Some("encrypted") => is_encrypted(&home, "alice"),
            Some("decrypted") => !is_encrypted(&home, "alice"),
            _ => home.root.join("keys/alice.pem").exists(),
        };
        assert!(is_as_said, "{command:?}");
    }
    assert!(load("bob", "second").is_ok() && load("alice", "second").is_ok());
    // Where nothing was done, nothing is said to be.
    for command in [&["encrypt", "--all"][..], &["list-addresses"]] {
        let ended = home.start_without_room(command).end();
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
        assert!(ended.stderr.contains("error: cannot print the result: No space left"), "{ended:?}");
        assert!(
            ended.stderr.contains("hint: see that there is room where standard output goes"),
            "{ended:?}"
        );
    }
}

/// They were notes, which `--quiet` hides.
#[test]
fn a_key_that_is_not_encrypted_is_told_of_also_quietly() {
    let network = Network::new();
    let home = network.home("alice");
    let right = file_with(&home, "right", RIGHT);
    for name in ["alice", "bob", "carol"] {
        home.wallet(&["new-address", name]);
    }
    for name in ["alice", "carol"] {
        // With so much beside it the key does not fit into its file once it is encrypted.
        let mut crowded = fs::read(key_file(&home, name)).expect("the key is there");
        crowded.resize(MAX_KEY_FILE_BYTES as usize, b'\n');
        fs::write(key_file(&home, name), crowded).expect("there is room");
    }
    let ended = home.try_wallet(&["encrypt", "--all", "--quiet", "--passphrase-file", &right]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told: Vec<&str> = ended.stderr.lines().collect();
    let [alice, carol, all, hint] = told[..] else { panic!("{told:?}") };
    assert!(alice.starts_with("error: ") && alice.contains("alice.pem would take more"), "{told:?}");
    assert!(carol.starts_with("error: ") && carol.contains("carol.pem would take more"), "{told:?}");
    assert!(all.starts_with("error: 2 of 3 keys could not be encrypted: alice, carol; "), "{told:?}");
    assert!(all.ends_with("nobody can recover it") && hint.starts_with("hint: "), "{told:?}");
    assert!(is_encrypted(&home, "bob"));
}

#[test]
fn on_a_terminal_passphrases_are_asked_for_and_not_shown() {
    let network = Network::new();
    let home = network.home("alice");
    home.wallet(&["new-address", "alice"]);
    let Some(mut terminal) = home.on_terminal("\"$WALLET\" encrypt alice > /dev/null") else { return };
    for (question, answer) in [
        ("New passphrase for alice: ", "two words"),
        ("The same again: ", "two wirds"),
        ("The two differ.", ""),
        ("New passphrase for alice: ", "two wordz\u{7f}s"),
        ("The same again: ", "two words"),
    ] {
        terminal.wait_for(question);
        if !answer.is_empty() {
            terminal.types(&format!("{answer}\n"));
        }
    }
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("two w"), "{shown}");
    assert!(is_encrypted(&home, "alice"));

    let mut terminal = home.on_terminal("\"$WALLET\" decrypt alice").expect("it was there before");
    for (question, answer) in [
        ("Passphrase of alice: ", "wrong\n"),
        ("This is not its passphrase.", ""),
        ("Passphrase of alice: ", "two words\n"),
        ("alice.pem, not encrypted", ""),
    ] {
        terminal.wait_for(question);
        terminal.types(answer);
    }
    assert_eq!(terminal.end().0, Some(0));
    assert!(!is_encrypted(&home, "alice"));
}

#[test]
fn ctrl_c_at_the_question_restores_the_terminal_and_changes_nothing() {
    let network = Network::new();
    let home = network.home("alice");
    home.wallet(&["new-address", "alice"]);
    let before = fs::read(key_file(&home, "alice")).expect("the key is there");
    for keys in ["\u{3}", "two words\u{3}", "two words\n\u{3}", "\u{4}"] {
        let shell = "stty -g; \"$WALLET\" encrypt alice; echo \"ended $?\"; stty -g";
        let Some(mut terminal) = home.on_terminal(shell) else { return };
        terminal.wait_for("New passphrase for alice: ");
        terminal.types(keys);
        terminal.wait_for("ended 1");
        let (_, shown) = terminal.end();
        assert!(shown.contains("error: no passphrase was given; nothing was changed"), "{shown}");
        let modes: Vec<&str> = shown.lines().filter(|line| line.matches(':').count() > 10).collect();
        assert_eq!(modes.len(), 2, "{shown}");
        assert_eq!(modes[0], modes[1], "the terminal is not as it was");
        assert_eq!(fs::read(key_file(&home, "alice")).expect("the key is there"), before);
    }
}

#[test]
fn a_wallet_that_is_killed_while_it_encrypts_leaves_the_old_file_or_the_new_one() {
    let network = Network::new();
    let home = network.home("alice");
    let right = file_with(&home, "right", RIGHT);
    home.wallet(&["new-address", "alice"]);
    let address = home.address("alice");
    let store = KeyStore::new(home.root.join("keys"));
    let passphrase = Passphrase::new(RIGHT.as_bytes().to_vec().into()).expect("it is neither empty nor long");
    for _ in 0..number("END_TO_END_KILLS", 10) {
        let command = if is_encrypted(&home, "alice") { "decrypt" } else { "encrypt" };
        let running = home.start_wallet(&[command, "alice", "--passphrase-file", &right]);
        random_moment(std::time::Duration::from_millis(1_200));
        running.kill();
        let key = store.load(
            &"alice".parse().expect("it is a name"),
            2048,
            &Passphrases::Known(passphrase.clone()),
        );
        assert_eq!(key.expect("the key is whole").address(), address);
    }
    if is_encrypted(&home, "alice") {
        home.wallet(&["decrypt", "alice", "--passphrase-file", &right]);
    }
    home.wallet(&["encrypt", "alice", "--passphrase-file", &right]);
    let names = files::names_in(store.directory()).expect("the directory is there");
    assert_eq!(names, [".lock", "alice.pem"], "something was left behind");
    assert!(is_encrypted(&home, "alice"));
}

#[test]
fn a_miner_that_seals_blocks_takes_the_passphrase_of_its_key() {
    let key = PrivateKey::generate(2048).expect("a key can be made");
    let rules = Rules {
        authorities: vec![key.address()],
        max_ahead_seconds: 10,
        authority_timeout_seconds: 15,
        ..Rules::default()
    };
    let network = Network::with_rules(rules);
    let home = network.home("authority");
    let right = file_with(&home, "right", RIGHT);
    let passphrase = Passphrase::new(RIGHT.as_bytes().to_vec().into()).expect("it is neither empty nor long");
    files::create_private_directory(&home.root.join("keys")).expect("there is room");
    let text = key.to_encrypted_pem(&passphrase).expect("it can be encrypted");
    files::create_new(&key_file(&home, "mining_rewards"), text.as_bytes()).expect("there is room");
    if let Some(ended) = home.without_terminal("miner", &["--threads", "1"]) {
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("there is no terminal to ask for it"), "{ended:?}");
        assert!(ended.stderr.contains("hint: on this network blocks are sealed"), "{ended:?}");
    }
    let miner = home.start_miner(&["--passphrase-file", &right]);
    home.reach(Program::Miner, 2);
    miner.stop();
    // To follow takes none.
    let mut follower = home.start_miner(&["--no-mine"]);
    follower.wait_for("not mining");
    follower.stop();
    eventually("the chain", || home.tip(Program::Miner));
}
