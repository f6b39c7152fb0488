use std::fs;
use std::sync::{Barrier, OnceLock};

use tempfile::TempDir;

use super::lock::LOCK_FILE;
use super::*;

fn store() -> (TempDir, KeyStore) {
    let root = tempfile::tempdir().unwrap();
    let store = KeyStore::new(root.path().join("keys"));
    (root, store)
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

/// For keys that need no passphrase: asking would fail.
fn nobody() -> Passphrases {
    Passphrases::File("/nonexistent".into())
}

fn passphrase(text: &str) -> Passphrases {
    Passphrases::Known(Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap())
}

/// A store with the key `alice`, made once for all tests.
fn store_with_alice() -> (TempDir, KeyStore) {
    static PEM: OnceLock<String> = OnceLock::new();
    let pem = PEM.get_or_init(|| PrivateKey::generate(2048).unwrap().to_pem().to_string());
    let (root, store) = store();
    files::create_private_directory(store.directory()).unwrap();
    files::create_new(&store.path(&name("alice")), pem.as_bytes()).unwrap();
    (root, store)
}

fn contents(store: &KeyStore, key: &str) -> String {
    fs::read_to_string(store.path(&name(key))).unwrap()
}

fn is_wrong_passphrase(error: &KeyStoreError) -> bool {
    matches!(error, KeyStoreError::Key { error: KeyError::WrongPassphrase { checked: true }, .. })
}

#[test]
fn regression_10_no_path_can_be_smuggled_into_a_name() {
    let long = "a".repeat(33);
    for text in
        ["../x", "..", ".", ".hidden", "", "a/b", "/etc/x", "a\\b", "a b", "a\0", "a\n", "é", long.as_str()]
    {
        assert!(text.parse::<KeyName>().is_err(), "{text:?}");
    }
    for text in ["a", "mining_rewards", "A-1.b", "a..b", &long[..32]] {
        assert_eq!(name(text).as_str(), text);
    }
}

#[test]
fn a_created_key_is_private_found_and_loaded() {
    let (_root, store) = store();
    assert!(store.list().unwrap().is_empty());
    let (key, path) = store.create(&name("alice"), 2048).unwrap();
    assert_eq!(path, store.directory().join("alice.pem"));
    assert_eq!(store.find(&name("alice")).unwrap(), key.address());
    assert_eq!(store.load(&name("alice"), 2048, &nobody()).unwrap().address(), key.address());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(store.directory()), mode(&path)), (0o700, 0o600));
    }

    let before = fs::read(&path).unwrap();
    assert!(matches!(store.create(&name("alice"), 2048), Err(KeyStoreError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(matches!(store.load(&name("bob"), 2048, &nobody()), Err(KeyStoreError::Unknown { .. })));
    assert!(matches!(
        store.load(&name("alice"), 3072, &nobody()),
        Err(KeyStoreError::Key { error: KeyError::TooSmall { got: 2048, least: 3072 }, .. })
    ));
}

#[test]
fn of_two_that_create_one_name_exactly_one_wins() {
    let (_root, store) = store();
    let (start, bob) = (Barrier::new(2), name("bob"));
    let create = || {
        start.wait();
        store.create(&bob, 2048).map(|(key, _)| key.address())
    };
    let (one, other) = std::thread::scope(|scope| {
        let thread = scope.spawn(create);
        (create(), thread.join().unwrap())
    });
    let winner = match (one, other) {
        (Ok(address), Err(KeyStoreError::Exists { .. }))
        | (Err(KeyStoreError::Exists { .. }), Ok(address)) => address,
        both => panic!("{both:?}"),
    };
    assert_eq!(store.find(&bob).unwrap(), winner);
}

#[test]
fn damaged_files_are_listed_with_what_is_wrong_and_others_are_passed_over() {
    let (_root, store) = store();
    let (key, path) = store.create(&name("good"), 2048).unwrap();
    let copy = fs::read(&path).unwrap();
    let put = |file: &str, contents: &[u8]| fs::write(store.directory().join(file), contents).unwrap();
    put("damaged.pem", &copy[..copy.len() / 2]);
    put("Large.pem", &vec![b' '; MAX_KEY_FILE_BYTES as usize + 1]);
    put("binary.pem", &[0xff; 100]);
    put("notes.txt", b"");
    put(".good.pem.0123456789abcdef.tmp", &copy);
    put(".hidden.pem", &copy);
    fs::create_dir(store.directory().join("directory.pem")).unwrap();

    let list = store.list().unwrap();
    let names: Vec<_> = list.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["Large", "binary", "damaged", "directory", "good"]);
    let list: Vec<_> = list.into_iter().map(|key| key.address).collect();
    let [large, binary, damaged, directory, good] = list.try_into().unwrap();
    assert!(matches!(large, Err(KeyStoreError::Files(FilesError::TooLarge { .. }))));
    assert!(matches!(binary, Err(KeyStoreError::Key { error: KeyError::NotPem { .. }, .. })));
    assert!(matches!(damaged, Err(KeyStoreError::Key { error: KeyError::NotPem { .. }, .. })));
    assert!(matches!(directory, Err(KeyStoreError::Files(FilesError::NotAFile { .. }))));
    assert_eq!(good.unwrap(), key.address());
}

#[test]
#[cfg(unix)]
fn a_key_that_others_can_read_is_not_signed_with() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let (_root, store) = store();
    let (key, path) = store.create(&name("alice"), 2048).unwrap();
    symlink(&path, store.path(&name("link"))).unwrap();
    symlink("nowhere", store.path(&name("broken"))).unwrap();
    assert_eq!(store.load(&name("link"), 2048, &nobody()).unwrap().address(), key.address());
    let broken = store.load(&name("broken"), 2048, &nobody()).unwrap_err();
    assert!(matches!(broken, KeyStoreError::Files(FilesError::Io { .. })));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    for key_name in ["alice", "link"] {
        let error = store.load(&name(key_name), 2048, &nobody()).unwrap_err();
        assert!(matches!(error, KeyStoreError::ReadableByOthers { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 600 "), "{error}");
    }
    assert_eq!(store.find(&name("alice")).unwrap(), key.address());
}

#[test]
fn a_key_is_encrypted_in_place_gets_another_passphrase_and_is_decrypted() {
    let (_root, store) = store_with_alice();
    let (alice, plain) = (name("alice"), contents(&store, "alice"));
    let address = store.find(&alice).unwrap();
    let rewritten = store.encrypt(&alice, &passphrase("first")).unwrap();
    assert_eq!(rewritten, Rewritten { path: store.path(&alice).canonicalize().unwrap(), other_names: 0 });
    let encrypted = contents(&store, "alice");
    assert!(!encrypted.contains("BEGIN PRIVATE KEY"), "{encrypted}");
    assert!(store.is_encrypted(&alice).unwrap());
    // What needs no private key asks for no passphrase.
    assert_eq!(store.find(&alice).unwrap(), address);
    assert_eq!(store.public_key(&alice, 2048).unwrap().address(), address);
    assert_eq!(store.list().unwrap()[0].address.as_ref().unwrap(), &address);
    assert_eq!(store.load(&alice, 2048, &passphrase("first")).unwrap().address(), address);
    assert!(matches!(store.load(&alice, 2048, &nobody()), Err(KeyStoreError::Passphrase(_))));
    let wrong = store.load(&alice, 2048, &passphrase("second")).unwrap_err();
    assert!(is_wrong_passphrase(&wrong) && wrong.to_string().ends_with("the passphrase is wrong"), "{wrong}");
    assert!(matches!(
        store.encrypt(&alice, &passphrase("second")),
        Err(KeyStoreError::EncryptedAlready { .. })
    ));

    let (first, second) = (passphrase("first"), passphrase("second"));
    assert!(is_wrong_passphrase(&store.change_passphrase(&alice, &second, &second).unwrap_err()));
    assert_eq!(contents(&store, "alice"), encrypted);
    store.change_passphrase(&alice, &first, &second).unwrap();
    assert!(is_wrong_passphrase(&store.decrypt(&alice, &first).unwrap_err()));
    assert!(store.is_encrypted(&alice).unwrap());
    store.decrypt(&alice, &second).unwrap();
    assert_eq!(contents(&store, "alice"), plain);
    for outcome in [store.decrypt(&alice, &nobody()), store.change_passphrase(&alice, &nobody(), &nobody())] {
        assert!(matches!(outcome, Err(KeyStoreError::NotEncrypted { .. })));
    }
    assert_eq!(files::names_in(store.directory()).unwrap(), [LOCK_FILE, "alice.pem"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(store.path(&alice)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_key_can_be_encrypted_from_its_first_moment() {
    let (_root, store) = store();
    let (key, path) = store.create_encrypted(&name("alice"), 2048, &passphrase("first")).unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("BEGIN ENCRYPTED PRIVATE KEY"));
    assert_eq!(store.load(&name("alice"), 2048, &passphrase("first")).unwrap().address(), key.address());
    // Nobody is asked for the passphrase of a key that exists, or that is too small.
    assert!(matches!(
        store.create_encrypted(&name("alice"), 2048, &nobody()),
        Err(KeyStoreError::Exists { .. })
    ));
    let too_small = KeyError::TooSmall { got: 2048, least: 3072 };
    for error in [
        store.load(&name("alice"), 3072, &nobody()).map(drop),
        store.public_key(&name("alice"), 3072).map(drop),
    ] {
        assert!(matches!(error, Err(KeyStoreError::Key { error, .. }) if error == too_small));
    }
}

#[test]
fn nobody_is_asked_for_the_passphrase_of_a_damaged_file() {
    let (_root, store) = store_with_alice();
    let alice = name("alice");
    store.encrypt(&alice, &passphrase("first")).unwrap();
    let text = contents(&store, "alice");
    let place = text.len() - 100;
    let other = if text.as_bytes()[place] == b'A' { "B" } else { "A" };
    fs::write(store.path(&alice), text[..place].to_owned() + other + &text[place + 1..]).unwrap();
    let damaged = store.load(&alice, 2048, &nobody()).unwrap_err();
    assert!(matches!(&damaged, KeyStoreError::Key { error: KeyError::Damaged { .. }, .. }), "{damaged}");
    assert!(damaged.to_string().contains("restore it from a backup"), "{damaged}");
    assert!(matches!(store.decrypt(&alice, &nobody()), Err(KeyStoreError::Key { .. })));
    assert!(matches!(store.list().unwrap()[0].address, Err(KeyStoreError::Key { .. })));
}

#[test]
fn nothing_is_changed_where_there_is_nothing_to_change_or_no_passphrase() {
    let (_root, store) = store();
    let alice = name("alice");
    for outcome in [
        store.encrypt(&alice, &nobody()),
        store.decrypt(&alice, &nobody()),
        store.change_passphrase(&alice, &nobody(), &nobody()),
    ] {
        assert!(matches!(outcome, Err(KeyStoreError::Unknown { .. })));
    }
    assert!(!store.directory().exists(), "a directory was made");

    let (_root, store) = store_with_alice();
    let before = contents(&store, "alice");
    assert!(matches!(store.encrypt(&alice, &nobody()), Err(KeyStoreError::Passphrase(_))));
    assert_eq!(contents(&store, "alice"), before);
}

/// Does something to a key while its passphrase is asked for: it comes through a pipe, which is opened for reading
/// at that moment.
#[cfg(unix)]
fn meanwhile<T: Send>(
    store: &KeyStore,
    command: impl FnOnce(&Passphrases) -> T + Send,
    other: impl FnOnce(),
) -> T {
    let pipe = store.directory().with_file_name("pipe");
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status();
    assert!(made.expect("there is a `mkfifo`").success());
    let outcome = std::thread::scope(|scope| {
        let passphrases = Passphrases::File(pipe.clone());
        let thread = scope.spawn(move || command(&passphrases));
        let mut answer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        other();
        std::io::Write::write_all(&mut answer, b"late\n").unwrap();
        drop(answer);
        thread.join().unwrap()
    });
    fs::remove_file(&pipe).unwrap();
    outcome
}

#[test]
#[cfg(unix)]
fn a_key_that_changes_while_a_passphrase_is_asked_for_is_left_as_it_is() {
    let (root, store) = store_with_alice();
    let (alice, path) = (name("alice"), store.path(&name("alice")));
    let (early, plain) = (passphrase("early"), contents(&store, "alice"));
    let other = PrivateKey::generate(2048).unwrap();
    let is_changed = |outcome: Result<Rewritten, KeyStoreError>| {
        let error = outcome.unwrap_err();
        assert!(matches!(error, KeyStoreError::Changed { .. }), "{error}");
    };
    // A backup is put back.
    is_changed(meanwhile(
        &store,
        |late| store.encrypt(&alice, late),
        || fs::write(&path, &**other.to_pem()).unwrap(),
    ));
    assert_eq!(contents(&store, "alice"), *other.to_pem());

    // It becomes a link to another key, which is not to be lost.
    fs::write(&path, &plain).unwrap();
    let elsewhere = root.path().join("elsewhere.pem");
    files::create_new(&elsewhere, other.to_pem().as_bytes()).unwrap();
    is_changed(meanwhile(
        &store,
        |late| store.encrypt(&alice, late),
        || {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        },
    ));
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), *other.to_pem());

    // It is removed.
    fs::remove_file(&path).unwrap();
    fs::write(&path, &plain).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let gone = meanwhile(&store, |late| store.encrypt(&alice, late), || fs::remove_file(&path).unwrap());
    assert!(matches!(gone, Err(KeyStoreError::Files(error)) if error.is_not_found()));
    assert!(!path.exists());

    // Another wallet is faster; it does not wait for somebody who thinks of a passphrase.
    files::create_new(&path, plain.as_bytes()).unwrap();
    is_changed(meanwhile(
        &store,
        |late| store.encrypt(&alice, late),
        || drop(store.encrypt(&alice, &early).unwrap()),
    ));
    let (bob, second) = (name("bob"), passphrase("second"));
    is_changed(meanwhile(
        &store,
        |late| store.change_passphrase(&alice, &early, late),
        || {
            store.change_passphrase(&alice, &early, &second).unwrap();
            store.create(&bob, 2048).unwrap();
        },
    ));
    assert!(store.load(&alice, 2048, &second).is_ok() && store.load(&bob, 2048, &nobody()).is_ok());
}

#[test]
fn a_key_is_not_rewritten_to_more_than_is_read() {
    let (_root, store) = store_with_alice();
    let (alice, path) = (name("alice"), store.path(&name("alice")));
    let plain = contents(&store, "alice");
    let note = |bytes: usize| "x".repeat(bytes - plain.len() - 1) + "\n" + &plain;
    fs::write(&path, note(MAX_KEY_FILE_BYTES as usize)).unwrap();
    let error = store.encrypt(&alice, &passphrase("x")).unwrap_err();
    assert!(matches!(error, KeyStoreError::NoRoom { .. }), "{error}");
    assert!(store.load(&alice, 2048, &nobody()).is_ok());
    fs::write(&path, note(MAX_KEY_FILE_BYTES as usize - 2048)).unwrap();
    store.encrypt(&alice, &passphrase("x")).unwrap();
    assert!(store.load(&alice, 2048, &passphrase("x")).is_ok());
}

#[test]
fn no_plain_copy_of_an_encrypted_key_is_left() {
    let (root, store) = store_with_alice();
    let alice = name("alice");
    // What a `new-address` or `decrypt` that was killed leaves behind, as a copy and as another name.
    let path = store.path(&alice);
    fs::copy(&path, path.with_file_name(".alice.pem.0123456789abcdef.tmp")).unwrap();
    fs::hard_link(&path, path.with_file_name(".alice.pem.fedcba9876543210.tmp")).unwrap();
    assert_eq!(store.encrypt(&alice, &passphrase("x")).unwrap().other_names, 0);
    assert_eq!(files::names_in(store.directory()).unwrap(), [LOCK_FILE, "alice.pem"]);
    // A `decrypt` that was killed before its end: the key is encrypted still, and the copy is not.
    fs::write(path.with_file_name(".alice.pem.0123456789abcdef.tmp"), "a plain copy").unwrap();
    let again = store.encrypt(&alice, &passphrase("x"));
    assert!(matches!(again, Err(KeyStoreError::EncryptedAlready { .. })));
    assert_eq!(files::names_in(store.directory()).unwrap(), [LOCK_FILE, "alice.pem"]);
    store.decrypt(&alice, &passphrase("x")).unwrap();
    fs::hard_link(&path, root.path().join("backup")).unwrap();
    assert_eq!(store.encrypt(&alice, &passphrase("x")).unwrap().other_names, 1, "the user has to be told");
}

#[test]
#[cfg(unix)]
fn whatever_writes_a_key_removes_what_others_left_also_where_links_lead() {
    let (root, store) = store_with_alice();
    let (alice, x) = (name("alice"), passphrase("x"));
    let elsewhere = root.path().join("elsewhere.pem");
    fs::rename(store.path(&alice), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, store.path(&alice)).unwrap();
    std::os::unix::fs::symlink("nowhere", store.path(&name("broken"))).unwrap();
    // Of somebody else's: it is beside a file that no key here leads to.
    let other = root.path().join(".other.pem.0123456789abcdef.tmp");
    let left = [
        store.directory().join(".bob.pem.0123456789abcdef.tmp"),
        root.path().join(".elsewhere.pem.0123456789abcdef.tmp"),
    ];
    let leave = || left.iter().chain([&other]).for_each(|path| fs::write(path, "a plain copy").unwrap());
    let all_gone = || assert!(other.exists() && left.iter().all(|path| !path.exists()));
    type Command<'c> = &'c dyn Fn() -> bool;
    let commands: [Command<'_>; 7] = [
        &|| store.create(&name("carol"), 2048).is_ok(),
        &|| store.create_encrypted(&name("dave"), 2048, &x).is_ok(),
        &|| store.encrypt(&alice, &x).is_ok(),
        &|| matches!(store.encrypt(&alice, &x), Err(KeyStoreError::EncryptedAlready { .. })),
        &|| store.change_passphrase(&alice, &x, &x).is_ok(),
        &|| store.decrypt(&alice, &x).is_ok(),
        &|| store.tidy().is_ok(),
    ];
    for command in commands {
        leave();
        assert!(command());
        all_gone();
    }
    // Where nothing was left nothing is written, not even a lock.
    let empty = KeyStore::new(root.path().join("empty"));
    empty.tidy().unwrap();
    assert!(!empty.directory().exists());
}

#[test]
#[cfg(unix)]
fn a_link_to_a_key_stays_one_and_what_it_leads_to_is_encrypted() {
    let (root, store) = store_with_alice();
    let elsewhere = root.path().join("elsewhere.pem");
    fs::rename(store.path(&name("alice")), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, store.path(&name("alice"))).unwrap();
    let rewritten = store.encrypt(&name("alice"), &passphrase("x")).unwrap();
    assert_eq!(rewritten.path, elsewhere.canonicalize().unwrap());
    assert!(store.path(&name("alice")).symlink_metadata().unwrap().is_symlink());
    assert!(!fs::read_to_string(&elsewhere).unwrap().contains("BEGIN PRIVATE KEY"));
}

#[test]
fn a_damaged_key_is_not_fit_to_be_paid() {
    let (_root, store) = store_with_alice();
    let text = contents(&store, "alice");
    assert!(store.public_key(&name("alice"), 2048).is_ok());
    // Another character in the middle of the private numbers.
    let place = text.len() - 700;
    let other = if text.as_bytes()[place] == b'A' { "B" } else { "A" };
    fs::write(store.path(&name("alice")), text[..place].to_owned() + other + &text[place + 1..]).unwrap();
    assert!(matches!(store.public_key(&name("alice"), 2048), Err(KeyStoreError::Key { .. })));
}
