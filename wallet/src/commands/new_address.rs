//! `wallet new-address NAME`: makes a key.

use common::key_store::KeyName;
use common::passphrase::Passphrases;
use common::store::Store;

use crate::error::WalletError;
use crate::output::Notes;
use crate::wallet::Wallet;

/// What everybody who makes a key should know. Part of the result, so that nothing hides it.
const BACK_IT_UP: &str =
    "This file is the money: whoever has it can spend, and without it nobody can. Back it up.";

/// The same for a key under a passphrase.
const BACK_BOTH_UP: &str = "This file and its passphrase are the money: without either nobody can spend. Back the \
                            file up, and keep the passphrase elsewhere.";

/// Makes a key of the size that the network asks for, under a passphrase if there is one to ask for. Nothing that
/// exists is overwritten.
pub fn new_address<S: Store>(
    wallet: &Wallet<S>,
    name: &KeyName,
    passphrases: Option<&Passphrases>,
    notes: &mut Notes,
) -> Result<String, WalletError> {
    let bits = wallet.rules.key_size;
    let ((key, path), advice) = match passphrases {
        None => (wallet.keys.create(name, bits)?, BACK_IT_UP),
        Some(passphrases) => (wallet.keys.create_encrypted(name, bits, passphrases)?, BACK_BOTH_UP),
    };
    // From here on the key exists. If the store fails, the next sync or history makes up for it.
    let watched = wallet.chain.as_ref().map(|chain| chain.watch_fresh(&[key.address()]));
    if let Some(Err(error)) = watched {
        notes(&format!("warning: the history of {name} is not kept yet: {error}"));
    }
    Ok(format!("Key Name  {name}\nAddress   {}\nFile      {}\n{advice}", key.address(), path.display()))
}

#[cfg(test)]
mod tests {
    use common::failure::Failure;
    use common::key_store::KeyStoreError;

    use super::*;
    use crate::commands::testing::{Scene, ignore, passphrase};

    #[test]
    fn a_new_key_is_shown_and_watched_and_never_replaced() {
        let scene = Scene::new();
        let name: KeyName = "carol".parse().unwrap();
        let shown = new_address(&scene.wallet, &name, None, &mut ignore).unwrap();
        let address = scene.wallet.keys.find(&name).unwrap();
        let path = scene.wallet.keys.path(&name);
        let expected = format!("Key Name  carol\nAddress   {address}\nFile      {}\n", path.display());
        assert!(shown.starts_with(&expected) && shown.ends_with("Back it up."), "{shown}");
        let chain = scene.wallet.chain.as_ref().unwrap();
        assert!(chain.store().read(|reader| reader.watched()).unwrap().contains(&address));

        let again = new_address(&scene.wallet, &name, None, &mut ignore).unwrap_err();
        assert!(matches!(again, WalletError::Failure(Failure::Keys(KeyStoreError::Exists { .. }))));
        assert_eq!(again.exit_code(), 1);
        assert_eq!(scene.wallet.keys.find(&name).unwrap(), address);
    }

    #[test]
    fn a_new_key_may_be_encrypted_from_the_start() {
        let scene = Scene::new();
        let name: KeyName = "carol".parse().unwrap();
        let shown = new_address(&scene.wallet, &name, Some(&passphrase("two words")), &mut ignore).unwrap();
        assert!(shown.contains("keep the passphrase elsewhere"), "{shown}");
        assert!(scene.wallet.keys.is_encrypted(&name).unwrap());
        let address = scene.wallet.keys.find(&name).unwrap();
        let chain = scene.wallet.chain.as_ref().unwrap();
        assert!(chain.store().read(|reader| reader.watched()).unwrap().contains(&address));
    }
}
