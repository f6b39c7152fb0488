//! `wallet encrypt NAME`: puts a key under a passphrase.

use common::key_store::{KeyName, KeyStoreError, Rewritten};
use common::passphrase::Passphrases;
use common::store::Store;

use crate::error::WalletError;
use crate::output::Notes;
use crate::wallet::{Party, Wallet};

/// What everybody who encrypts a key should know. Part of the result, so that nothing hides it.
const REMEMBER_IT: &str = "Spending takes the passphrase from now on. Nobody can recover it: keep it where you will \
                           find it, apart from the file.\nCopies of the file from before, such as backups, are as \
                           they were.";

/// Encrypts a key in place; `None`: all that are not encrypted yet, with one passphrase.
pub fn encrypt<S: Store>(
    wallet: &Wallet<S>,
    which: Option<&Party>,
    passphrases: &Passphrases,
    notes: &mut Notes,
) -> Result<String, WalletError> {
    if let Some(party) = which {
        let name = wallet.key_of(party)?;
        let rewritten = wallet.keys.encrypt(&name, passphrases)?;
        tell_of_other_names(&name, &rewritten, notes);
        let path = rewritten.path.display();
        return Ok(format!("Key Name  {name}\nFile      {path}, encrypted\n{REMEMBER_IT}"));
    }
    let names = plain_keys(wallet, notes)?;
    // Also of keys that are encrypted already a readable copy may have been left.
    wallet.keys.tidy()?;
    if names.is_empty() {
        return Ok("There is no key here that is not encrypted.".to_owned());
    }
    let what = match &names[..] {
        [name] => name.to_string(),
        names => format!("{} keys", names.len()),
    };
    let passphrase = Passphrases::Known(passphrases.get_new(&what)?);
    match encrypt_each(wallet, &names, &passphrase, notes) {
        (_, None) => Ok(format!("{what} encrypted. {REMEMBER_IT}")),
        (encrypted, Some(refusal)) => {
            if encrypted > 0 {
                notes(REMEMBER_IT);
            }
            Err(refusal.into())
        }
    }
}

/// Encrypts these keys; one that is refused keeps none of the others from it. Gives how many are encrypted now, and the
/// last refusal; those before it are told of.
fn encrypt_each<S: Store>(
    wallet: &Wallet<S>,
    names: &[KeyName],
    passphrase: &Passphrases,
    notes: &mut Notes,
) -> (usize, Option<KeyStoreError>) {
    let (mut encrypted, mut refusal) = (0, None);
    for name in names {
        match wallet.keys.encrypt(name, passphrase) {
            Ok(rewritten) => {
                encrypted += 1;
                // At once, so that a failure of the next one leaves no doubt.
                notes(&format!("{name} is encrypted, in {}.", rewritten.path.display()));
                tell_of_other_names(name, &rewritten, notes);
            }
            Err(error) => {
                // What the disk or the directory refuses for one key it refuses for all.
                let is_of_all = matches!(error, KeyStoreError::Files(_));
                if let Some(earlier) = refusal.replace(error) {
                    notes(&format!("error: {earlier}"));
                }
                if is_of_all {
                    break;
                }
            }
        }
    }
    (encrypted, refusal)
}

/// The keys that are whole and not encrypted; of the others those that are not whole are told of.
fn plain_keys<S: Store>(wallet: &Wallet<S>, notes: &mut Notes) -> Result<Vec<KeyName>, WalletError> {
    let mut names = Vec::new();
    for key in wallet.keys.list()? {
        match wallet.keys.is_encrypted(&key.name) {
            Ok(true) => {}
            Ok(false) => names.push(key.name),
            Err(error) => notes(&format!("warning: {error}")),
        }
    }
    Ok(names)
}

/// Other names of a file lead to what it was before.
pub fn tell_of_other_names(name: &KeyName, rewritten: &Rewritten, notes: &mut Notes) {
    if rewritten.other_names > 0 {
        notes(&format!(
            "warning: the old file of {name} has {} more names (hard links) elsewhere, and can still be read by them",
            rewritten.other_names
        ));
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
        let shown =
            encrypt(&scene.wallet, Some(&party("alice")), &passphrase("two words"), &mut ignore).unwrap();
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

        let again =
            encrypt(&scene.wallet, Some(&party(&address)), &no_passphrase(), &mut ignore).unwrap_err();
        assert!(matches!(again, WalletError::Failure(Failure::Keys(KeyStoreError::EncryptedAlready { .. }))));
        assert!(again.hint().is_some_and(|hint| hint.contains("change-passphrase")));
    }

    #[test]
    fn all_keys_are_encrypted_with_one_passphrase_and_those_that_are_stay_as_they_are() {
        let scene = Scene::new();
        encrypt(&scene.wallet, Some(&party("bob")), &passphrase("other"), &mut ignore).unwrap();
        std::fs::write(scene.wallet.keys.directory().join("broken.pem"), "x").unwrap();
        let mut notes = Vec::new();
        let shown = encrypt(&scene.wallet, None, &passphrase("one"), &mut |note| notes.push(note.to_owned()))
            .unwrap();
        assert!(shown.starts_with("alice encrypted. Spending"), "{shown}");
        assert!(notes[0].starts_with("warning: ") && notes[0].contains("broken.pem"), "{notes:?}");
        assert!(notes[1].starts_with("alice is encrypted, in "), "{notes:?}");
        let opens = |name: &str, text| {
            scene.wallet.keys.load(&name.parse().unwrap(), 2048, &passphrase(text)).is_ok()
        };
        assert!(opens("alice", "one") && opens("bob", "other") && !opens("bob", "one"));
        let shown = encrypt(&scene.wallet, None, &no_passphrase(), &mut ignore).unwrap();
        assert!(shown.starts_with("There is no key"), "{shown}");
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
            encrypt(&scene.wallet, None, &passphrase("one"), &mut |note| notes.push(note.to_owned()))
                .unwrap_err();
        assert!(refused.to_string().contains("bob.pem would take more than"), "{refused}");
        let is_encrypted = |name: &str| scene.wallet.keys.is_encrypted(&name.parse().unwrap()).unwrap();
        assert_eq!(["Ann", "alice", "bob"].map(is_encrypted), [false, true, false]);
        assert!(notes[0].starts_with("alice is encrypted, in "), "{notes:?}");
        assert!(notes[1].starts_with("error: ") && notes[1].contains("Ann.pem would take"), "{notes:?}");
        assert!(notes[2].contains("Nobody can recover it"), "{notes:?}");
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn all_keys_include_what_was_left_of_those_that_are_encrypted_already() {
        let scene = Scene::new();
        encrypt(&scene.wallet, None, &passphrase("one"), &mut ignore).unwrap();
        let left = scene.wallet.keys.directory().join(".alice.pem.0123456789abcdef.tmp");
        std::fs::write(&left, "a plain copy, of a `wallet decrypt` that was killed").unwrap();
        let shown = encrypt(&scene.wallet, None, &no_passphrase(), &mut ignore).unwrap();
        assert!(shown.starts_with("There is no key"), "{shown}");
        assert!(!left.exists());
    }

    #[test]
    fn a_passphrase_that_cannot_be_had_changes_nothing() {
        let scene = Scene::new();
        for which in [Some(&party("alice")), None] {
            let error = encrypt(&scene.wallet, which, &no_passphrase(), &mut ignore).unwrap_err();
            assert_eq!(error.exit_code(), 1, "{error}");
        }
        assert!(!scene.wallet.keys.is_encrypted(&"alice".parse().unwrap()).unwrap());
        let unknown =
            encrypt(&scene.wallet, Some(&party("carol")), &no_passphrase(), &mut ignore).unwrap_err();
        assert_eq!(unknown.exit_code(), 2);
    }
}
