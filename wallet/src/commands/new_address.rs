//! `wallet new-address NAME`: makes a key.

use common::chain::Chain;
use common::key_store::{Became, KeyName, KeyStore};
use common::passphrase::Passphrases;
use common::store::{Store, StoreError};

use super::key_change::KeyChange;
use crate::error::WalletError;
use crate::output::{Note, Notes};

/// What everybody who makes a key should know. Part of the result, so that nothing hides it.
const BACK_IT_UP: &str =
    "This file is the money: whoever has it can spend, and without it nobody can. Back it up.";

/// The same for a key under a passphrase.
const BACK_BOTH_UP: &str = "This file and its passphrase are the money: without either nobody can spend. Back the \
                            file up, and keep the passphrase elsewhere.";

/// Makes a key of the size that the network asks for, under a passphrase if there is one to ask for. Nothing that
/// exists is overwritten.
///
/// The chain is opened only when the key is made, and is to keep its history from its first block.
pub fn new_address<S: Store>(
    keys: &KeyStore,
    bits: u32,
    name: &KeyName,
    passphrases: Option<&Passphrases>,
    open_chain: impl FnOnce() -> Result<Option<Chain<S>>, StoreError>,
    notes: &mut Notes,
) -> Result<KeyChange, WalletError> {
    let ((key, path), advice) = match passphrases {
        None => (keys.create(name, bits)?, BACK_IT_UP),
        Some(passphrases) => (keys.create_encrypted(name, bits, passphrases)?, BACK_BOTH_UP),
    };
    // From here on the key exists. If the store fails, the next sync or history makes up for it.
    let watched = open_chain().and_then(|chain| match chain {
        Some(chain) => chain.watch_fresh(&[key.address()]),
        None => Ok(()),
    });
    if let Err(error) = watched {
        notes(Note::warning(format!("the history of {name} is not kept yet: {error}")));
    }
    let result =
        format!("Key Name  {name}\nAddress   {}\nFile      {}\n{advice}", key.address(), path.display());
    Ok(KeyChange::of(name.clone(), Became::Made, result))
}

#[cfg(test)]
mod tests {
    use common::failure::Failure;
    use common::key_store::KeyStoreError;
    use common::store::memory::MemoryStore;

    use super::*;
    use crate::commands::testing::{Scene, ignore, passphrase};

    fn make(
        scene: &Scene,
        name: &KeyName,
        passphrases: Option<&Passphrases>,
        notes: &mut Notes,
    ) -> Result<KeyChange, WalletError> {
        let chain = || Ok(scene.wallet.chain.clone());
        new_address(&scene.wallet.keys, 2048, name, passphrases, chain, notes)
    }

    /// A damaged chain was a reason to make no key.
    #[test]
    fn a_key_is_made_also_where_the_chain_cannot_be_opened() {
        let scene = Scene::new();
        let name: KeyName = "carol".parse().unwrap();
        let damaged = || Err::<Option<Chain<MemoryStore>>, _>(StoreError::damaged("a page is missing"));
        let mut notes = Vec::new();
        let mut note = |note: Note| notes.push(note.to_string());
        let shown = new_address(&scene.wallet.keys, 2048, &name, None, damaged, &mut note).unwrap().result;
        assert!(shown.contains(&scene.address("carol").to_string()), "{shown}");
        assert!(notes[0].starts_with("warning: the history of carol is not kept yet: "), "{notes:?}");
    }

    #[test]
    fn a_new_key_is_shown_and_watched_and_never_replaced() {
        let scene = Scene::new();
        let name: KeyName = "carol".parse().unwrap();
        let shown = make(&scene, &name, None, &mut ignore).unwrap().result;
        let address = scene.wallet.keys.find(&name).unwrap();
        let path = scene.wallet.keys.path(&name);
        let expected = format!("Key Name  carol\nAddress   {address}\nFile      {}\n", path.display());
        assert!(shown.starts_with(&expected) && shown.ends_with("Back it up."), "{shown}");
        let chain = scene.wallet.chain.as_ref().unwrap();
        assert!(chain.store().read(|reader| reader.watched()).unwrap().contains(&address));

        let again = make(&scene, &name, None, &mut ignore).unwrap_err();
        assert!(matches!(again, WalletError::Failure(Failure::Keys(KeyStoreError::Exists { .. }))));
        assert_eq!(again.exit_code(), 1);
        assert_eq!(scene.wallet.keys.find(&name).unwrap(), address);
    }

    #[test]
    fn a_new_key_may_be_encrypted_from_the_start() {
        let scene = Scene::new();
        let name: KeyName = "carol".parse().unwrap();
        let shown = make(&scene, &name, Some(&passphrase("two words")), &mut ignore).unwrap().result;
        assert!(shown.contains("keep the passphrase elsewhere"), "{shown}");
        assert!(scene.wallet.keys.is_encrypted(&name).unwrap());
        let address = scene.wallet.keys.find(&name).unwrap();
        let chain = scene.wallet.chain.as_ref().unwrap();
        assert!(chain.store().read(|reader| reader.watched()).unwrap().contains(&address));
    }
}
