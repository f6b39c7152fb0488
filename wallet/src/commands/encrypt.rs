//! `wallet encrypt NAME`: puts a key under a passphrase.

use common::key_store::{Became, KeyName, KeyStore, KeyStoreError, Rewritten};
use common::passphrase::Passphrases;
use common::text::count;

use super::key_change::KeyChange;
use crate::error::WalletError;
use crate::output::{Note, Notes};
use crate::wallet::Party;

/// What everybody who encrypts a key should know. Part of the result, so that nothing hides it.
const REMEMBER_IT: &str = "Spending takes the passphrase from now on. Nobody can recover it: keep it where you will \
                           find it, apart from the file.\nCopies of the file from before, such as backups, are as \
                           they were.";

/// Encrypts a key in place.
pub fn encrypt(
    keys: &KeyStore,
    which: &Party,
    passphrases: &Passphrases,
    notes: &mut Notes,
) -> Result<KeyChange, WalletError> {
    let name = which.key(keys)?;
    let rewritten = keys.encrypt(&name, passphrases)?;
    tell_of_other_names(&name, &rewritten, notes);
    let path = rewritten.path.display();
    let result = format!("Key Name  {name}\nFile      {path}, encrypted\n{REMEMBER_IT}");
    Ok(KeyChange::of(name, Became::Encrypted, result))
}

/// Encrypts all keys that are not encrypted yet, with one passphrase. One that is refused, or cannot be used, keeps none
/// of the others from it.
pub fn encrypt_all(
    keys: &KeyStore,
    passphrases: &Passphrases,
    notes: &mut Notes,
) -> Result<KeyChange, WalletError> {
    let Plain { names, unusable } = plain_keys(keys, notes)?;
    // Also of keys that are encrypted already a readable copy may have been left.
    let tidied = keys.tidy();
    if names.is_empty() {
        tidied?;
        if !unusable.is_empty() {
            return Err(WalletError::NotAllEncrypted { refused: Vec::new(), unusable, of: 0 });
        }
        let result = "There is no key here that is not encrypted.".to_owned();
        return Ok(KeyChange { keys: names, became: Became::Encrypted, result });
    }
    if let Err(error) = tidied {
        notes(Note::warning(format!("a readable copy of a key may be left: {error}")));
    }
    let what = match &names[..] {
        [name] => name.to_string(),
        names => count(names.len(), "key"),
    };
    let passphrase = Passphrases::Known(passphrases.get_new(&what)?);
    let mut refused = Vec::new();
    for name in &names {
        match keys.encrypt(name, &passphrase) {
            Ok(rewritten) => {
                // At once, so that a failure of the next one leaves no doubt.
                notes(Note::info(format!("{name} is encrypted, in {}.", rewritten.path.display())));
                tell_of_other_names(name, &rewritten, notes);
            }
            Err(error) if names.len() == 1 && unusable.is_empty() => return Err(error.into()),
            Err(error) => {
                notes(Note::error(&error));
                refused.push((name.clone(), error));
            }
        }
    }
    match refused.is_empty() && unusable.is_empty() {
        true => {
            let result = format!("{what} encrypted. {REMEMBER_IT}");
            Ok(KeyChange { keys: names, became: Became::Encrypted, result })
        }
        false => Err(WalletError::NotAllEncrypted { refused, unusable, of: names.len() }),
    }
}

/// What there is to encrypt.
struct Plain {
    /// The keys that are whole and not encrypted.
    names: Vec<KeyName>,
    /// Those of which nobody can say.
    unusable: Vec<(KeyName, KeyStoreError)>,
}

/// Keys that are not whole are told of.
fn plain_keys(keys: &KeyStore, notes: &mut Notes) -> Result<Plain, WalletError> {
    let mut plain = Plain { names: Vec::new(), unusable: Vec::new() };
    for key in keys.list()? {
        match keys.is_encrypted(&key.name) {
            Ok(true) => {}
            Ok(false) => plain.names.push(key.name),
            Err(error) => {
                notes(Note::error(&error));
                plain.unusable.push((key.name, error));
            }
        }
    }
    Ok(plain)
}

/// Other names of a file lead to what it was before.
pub fn tell_of_other_names(name: &KeyName, rewritten: &Rewritten, notes: &mut Notes) {
    if rewritten.other_names > 0 {
        let names = count(rewritten.other_names, "more name");
        notes(Note::warning(format!(
            "the old file of {name} has {names} elsewhere (hard links), where it can still be read"
        )));
    }
}

#[cfg(test)]
mod tests {
    use common::failure::Failure;
    use common::files::create_new;
    use common::key_store::MAX_KEY_FILE_BYTES;

    use super::*;
    use crate::commands::list_addresses::list_addresses;
    use crate::commands::send::{Request, send};
    use crate::commands::testing::{Scene, ignore, no_passphrase, passphrase};

    fn party(text: &str) -> Party {
        text.parse().unwrap()
    }

    #[test]
    fn an_encrypted_key_is_listed_and_paid_without_its_passphrase_and_spent_with_it() {
        let mut scene = Scene::new();
        let address = scene.address("alice").to_string();
        let shown = encrypt(&scene.wallet.keys, &party("alice"), &passphrase("two words"), &mut ignore)
            .unwrap()
            .result;
        assert!(shown.contains("alice.pem, encrypted") && shown.contains("Nobody can recover it"), "{shown}");
        scene.mine_for("alice");
        let listed = list_addresses(&scene.wallet, scene.now(), &mut ignore).unwrap();
        assert!(listed.contains(&address) && listed.contains("│ 10 "), "{listed}");

        let request = scene.request("alice", "4", "bob", "0");
        let with = |passphrases| Request { passphrases, ..request.clone() };
        for (passphrases, expected) in [
            (no_passphrase(), "the passphrase cannot be taken from its file: cannot read /nonexistent"),
            (passphrase("two word"), "alice.pem stays locked: the passphrase is wrong"),
        ] {
            let error = send(&scene.wallet, &with(passphrases), &mut ignore).unwrap_err();
            assert!(error.to_string().contains(expected) && error.exit_code() == 1, "{error}");
            assert_eq!(scene.pending(), 0);
        }
        send(&scene.wallet, &with(passphrase("two words")), &mut ignore).unwrap();
        // By its address as well.
        let request = Request { from: party(&address), ..with(passphrase("two words")) };
        send(&scene.wallet, &request, &mut ignore).unwrap();
        assert_eq!(scene.pending(), 2);

        let again = encrypt(&scene.wallet.keys, &party(&address), &no_passphrase(), &mut ignore).unwrap_err();
        assert!(matches!(again, WalletError::Failure(Failure::Keys(KeyStoreError::EncryptedAlready { .. }))));
        assert!(again.hint().is_some_and(|hint| hint.contains("change-passphrase")));
    }

    #[test]
    fn all_keys_are_encrypted_with_one_passphrase_and_those_that_are_stay_as_they_are() {
        let scene = Scene::new();
        encrypt(&scene.wallet.keys, &party("bob"), &passphrase("other"), &mut ignore).unwrap();
        let mut notes = Vec::new();
        let shown =
            encrypt_all(&scene.wallet.keys, &passphrase("one"), &mut |note| notes.push(note.to_string()))
                .unwrap()
                .result;
        assert!(shown.starts_with("alice encrypted. Spending"), "{shown}");
        assert!(notes[0].starts_with("alice is encrypted, in ") && notes.len() == 1, "{notes:?}");
        let opens = |name: &str, text| {
            scene.wallet.keys.load(&name.parse().unwrap(), 2048, &passphrase(text)).is_ok()
        };
        assert!(opens("alice", "one") && opens("bob", "other") && !opens("bob", "one"));
        let shown = encrypt_all(&scene.wallet.keys, &no_passphrase(), &mut ignore).unwrap().result;
        assert!(shown.starts_with("There is no key"), "{shown}");
    }

    /// Of a key that could not be read it was said that there is none that is not encrypted, and all was well.
    #[test]
    fn nobody_is_told_that_all_keys_are_encrypted_where_one_cannot_be_used() {
        let scene = Scene::new();
        let keys = &scene.wallet.keys;
        std::fs::write(keys.directory().join("broken.pem"), "x").unwrap();
        encrypt(keys, &party("bob"), &passphrase("other"), &mut ignore).unwrap();
        let others = "; spending from the others takes the passphrase from now on, and nobody can recover it";
        for (passphrases, others) in [(passphrase("one"), others), (no_passphrase(), "")] {
            let mut notes = Vec::new();
            let refused =
                encrypt_all(keys, &passphrases, &mut |note| notes.push(note.to_string())).unwrap_err();
            let sentence = "1 key cannot be used, and is left as it is, encrypted or not: broken";
            assert_eq!(refused.to_string(), format!("{sentence}{others}"));
            assert_eq!(refused.exit_code(), 1);
            assert!(notes[0].starts_with("error: ") && notes[0].contains("broken.pem"), "{notes:?}");
            assert!(keys.is_encrypted(&"alice".parse().unwrap()).unwrap(), "it is in nobody's way");
        }
        // What the disk refuses is told from what is no key.
        #[cfg(target_os = "linux")]
        {
            let link = keys.directory().join("elsewhere.pem");
            // Reading it is an input or output error.
            std::os::unix::fs::symlink("/proc/self/mem", link).unwrap();
            let refused = encrypt_all(keys, &no_passphrase(), &mut ignore).unwrap_err();
            assert!(refused.to_string().starts_with("2 keys cannot be used, and are left"), "{refused}");
            assert_eq!(refused.exit_code(), 3, "{refused}");
        }
    }

    #[test]
    fn a_key_that_is_refused_keeps_none_of_the_others_from_being_encrypted() {
        let scene = Scene::new();
        // With so much beside them these two do not fit into their files once they are encrypted.
        let path = |name: &str| scene.wallet.keys.path(&name.parse().unwrap());
        let mut crowded = std::fs::read(path("bob")).unwrap();
        crowded.resize(MAX_KEY_FILE_BYTES as usize, b'\n');
        std::fs::write(path("bob"), &crowded).unwrap();
        create_new(&path("Ann"), &crowded).unwrap();
        let mut notes = Vec::new();
        let refused =
            encrypt_all(&scene.wallet.keys, &passphrase("one"), &mut |note| notes.push(note.to_string()))
                .unwrap_err();
        let sentence = "2 of 3 keys could not be encrypted: Ann, bob; ";
        assert!(refused.to_string().starts_with(sentence), "{refused}");
        assert!(
            refused.to_string().contains("nobody can recover it") && refused.exit_code() == 1,
            "{refused}"
        );
        let is_encrypted = |name: &str| scene.wallet.keys.is_encrypted(&name.parse().unwrap()).unwrap();
        assert_eq!(["Ann", "alice", "bob"].map(is_encrypted), [false, true, false]);
        assert!(notes[0].starts_with("error: ") && notes[0].contains("Ann.pem would take"), "{notes:?}");
        assert!(notes[1].starts_with("alice is encrypted, in "), "{notes:?}");
        assert!(notes[2].starts_with("error: ") && notes[2].contains("bob.pem would take"), "{notes:?}");
        assert_eq!(notes.len(), 3);
    }

    /// What a disk refuses for one key it need not refuse for the others: it used to end with the first.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_cannot_be_written_keeps_none_of_the_others_from_being_encrypted() {
        let scene = Scene::new();
        let path = |name: &str| scene.wallet.keys.path(&name.parse().unwrap());
        // A link to a file that is open, and has no name any more: it can be read, and not replaced.
        let mut nameless = tempfile::tempfile().unwrap();
        nameless.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::io::Write::write_all(&mut nameless, &std::fs::read(path("bob")).unwrap()).unwrap();
        let target = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&nameless));
        std::os::unix::fs::symlink(target, path("Ann")).unwrap();
        let mut notes = Vec::new();
        let refused =
            encrypt_all(&scene.wallet.keys, &passphrase("one"), &mut |note| notes.push(note.to_string()))
                .unwrap_err();
        assert!(refused.to_string().starts_with("1 of 3 keys could not be encrypted: Ann; "), "{refused}");
        let is_encrypted = |name: &str| scene.wallet.keys.is_encrypted(&name.parse().unwrap()).unwrap();
        assert_eq!(["Ann", "alice", "bob"].map(is_encrypted), [false, true, true]);
        assert!(notes[0].starts_with("error: cannot look at "), "{notes:?}");
    }

    #[test]
    fn all_keys_include_what_was_left_of_those_that_are_encrypted_already() {
        let scene = Scene::new();
        encrypt_all(&scene.wallet.keys, &passphrase("one"), &mut ignore).unwrap();
        let left = scene.wallet.keys.directory().join(".alice.pem.0123456789abcdef.tmp");
        std::fs::write(&left, "a plain copy, of a `wallet decrypt` that was killed").unwrap();
        let shown = encrypt_all(&scene.wallet.keys, &no_passphrase(), &mut ignore).unwrap().result;
        assert!(shown.starts_with("There is no key"), "{shown}");
        assert!(!left.exists());
    }

    #[test]
    #[cfg(unix)]
    fn other_names_of_the_old_file_are_told_of() {
        let scene = Scene::new();
        let path = scene.wallet.keys.path(&"alice".parse().unwrap());
        std::fs::hard_link(&path, path.with_extension("copy")).unwrap();
        let mut notes = Vec::new();
        let keys = &scene.wallet.keys;
        encrypt(keys, &party("alice"), &passphrase("x"), &mut |note| notes.push(note.to_string())).unwrap();
        assert_eq!(
            notes,
            [
                "warning: the old file of alice has 1 more name elsewhere (hard links), where it can still be read"
            ]
        );
    }

    #[test]
    fn a_passphrase_that_cannot_be_had_changes_nothing() {
        let scene = Scene::new();
        let keys = &scene.wallet.keys;
        let contents =
            || ["alice", "bob"].map(|name| std::fs::read(keys.path(&name.parse().unwrap())).unwrap());
        let before = (contents(), common::files::names_in(keys.directory()).unwrap());
        for error in [
            encrypt(keys, &party("alice"), &no_passphrase(), &mut ignore).unwrap_err(),
            encrypt_all(keys, &no_passphrase(), &mut ignore).unwrap_err(),
        ] {
            assert_eq!(error.exit_code(), 1, "{error}");
        }
        let mut names = common::files::names_in(keys.directory()).unwrap();
        names.retain(|name| name != ".lock");
        assert_eq!((contents(), names), before);
        let unknown =
            encrypt(&scene.wallet.keys, &party("carol"), &no_passphrase(), &mut ignore).unwrap_err();
        assert_eq!(unknown.exit_code(), 2);
    }
}
