use std::fs;
use std::sync::Barrier;

use tempfile::TempDir;

use super::*;

fn store() -> (TempDir, KeyStore) {
    let root = tempfile::tempdir().unwrap();
    let store = KeyStore::new(root.path().join("keys"));
    (root, store)
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
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
    assert_eq!(store.load(&name("alice"), 2048).unwrap().address(), key.address());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(store.directory()), mode(&path)), (0o700, 0o600));
    }

    let before = fs::read(&path).unwrap();
    assert!(matches!(store.create(&name("alice"), 2048), Err(KeyStoreError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(matches!(store.load(&name("bob"), 2048), Err(KeyStoreError::Unknown { .. })));
    assert!(matches!(
        store.load(&name("alice"), 3072),
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
    assert_eq!(store.load(&name("link"), 2048).unwrap().address(), key.address());
    let broken = store.load(&name("broken"), 2048).unwrap_err();
    assert!(matches!(broken, KeyStoreError::Files(FilesError::Io { .. })));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    for key_name in ["alice", "link"] {
        let error = store.load(&name(key_name), 2048).unwrap_err();
        assert!(matches!(error, KeyStoreError::ReadableByOthers { mode: 0o640, .. }));
        assert!(error.to_string().contains("chmod 600 "), "{error}");
    }
    assert_eq!(store.find(&name("alice")).unwrap(), key.address());
}
