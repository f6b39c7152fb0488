//! `wallet decrypt NAME`: takes the passphrase off a key.

use common::key_store::{Became, KeyStore};
use common::passphrase::Passphrases;

use super::key_change::KeyChange;
use crate::error::WalletError;
use crate::wallet::Party;

/// Decrypts a key in place.
pub fn decrypt(keys: &KeyStore, which: &Party, passphrases: &Passphrases) -> Result<KeyChange, WalletError> {
    let name = which.key(keys)?;
    let rewritten = keys.decrypt(&name, passphrases)?;
    let result = format!(
        "Key Name  {name}\nFile      {}, not encrypted\nWhoever has this file can spend.",
        rewritten.path.display()
    );
    Ok(KeyChange::of(name, Became::Decrypted, result))
}

#[cfg(test)]
mod tests {
    use common::failure::Failure;
    use common::key_store::KeyStoreError;

    use super::*;
    use crate::commands::testing::{Scene, no_passphrase, passphrase};

    #[test]
    fn a_decrypted_key_is_what_it_was_and_a_plain_one_is_refused() {
        let scene = Scene::new();
        let (name, party) = ("alice".parse().unwrap(), "alice".parse().unwrap());
        let before = std::fs::read(scene.wallet.keys.path(&name)).unwrap();
        let refused = decrypt(&scene.wallet.keys, &party, &no_passphrase()).unwrap_err();
        assert!(matches!(refused, WalletError::Failure(Failure::Keys(KeyStoreError::NotEncrypted { .. }))));
        assert!(refused.hint().is_some_and(|hint| hint.contains("wallet encrypt")));
        scene.wallet.keys.encrypt(&name, &passphrase("two words")).unwrap();
        assert!(decrypt(&scene.wallet.keys, &party, &passphrase("two")).is_err());
        let shown = decrypt(&scene.wallet.keys, &party, &passphrase("two words")).unwrap().result;
        assert!(shown.contains("not encrypted"), "{shown}");
        assert_eq!(std::fs::read(scene.wallet.keys.path(&name)).unwrap(), before);
    }
}
