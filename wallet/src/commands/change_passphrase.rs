//! `wallet change-passphrase NAME`: puts an encrypted key under another passphrase.

use common::key_store::{Became, KeyStore};
use common::passphrase::Passphrases;

use super::encrypt::tell_of_other_names;
use super::key_change::KeyChange;
use crate::error::WalletError;
use crate::output::Notes;
use crate::wallet::Party;

/// Encrypts a key anew, in place. The key is never on the disk without encryption.
pub fn change_passphrase(
    keys: &KeyStore,
    which: &Party,
    old: &Passphrases,
    new: &Passphrases,
    notes: &mut Notes,
) -> Result<KeyChange, WalletError> {
    let name = which.key(keys)?;
    let rewritten = keys.change_passphrase(&name, old, new)?;
    tell_of_other_names(&name, &rewritten, notes);
    let result = format!(
        "Key Name  {name}\nFile      {}, encrypted anew\nThe old passphrase opens copies of the file from before, \
         such as backups, and nothing else.",
        rewritten.path.display()
    );
    Ok(KeyChange::of(name, Became::ChangedPassphrase, result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Scene, ignore, no_passphrase, passphrase};

    #[test]
    fn the_new_passphrase_opens_the_key_and_the_old_one_does_not() {
        let scene = Scene::new();
        let (name, party) = ("alice".parse().unwrap(), "alice".parse().unwrap());
        let (old, new) = (passphrase("old"), passphrase("new"));
        scene.wallet.keys.encrypt(&name, &old).unwrap();
        let change = |old, new| change_passphrase(&scene.wallet.keys, &party, old, new, &mut ignore);
        let none = no_passphrase();
        assert!(change(&new, &none).is_err() && change(&old, &none).is_err());
        assert!(change(&old, &new).unwrap().result.contains("encrypted anew"));
        assert!(scene.wallet.keys.load(&name, 2048, &old).is_err());
        assert!(scene.wallet.keys.load(&name, 2048, &new).is_ok());
    }
}
