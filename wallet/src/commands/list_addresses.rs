//! `wallet list-addresses`: every key with what it holds.

use common::address::Address;
use common::key_store::{KeyName, ListedKey};
use common::ledger::Account;
use common::store::Store;
use common::time::Timestamp;
use tabled::Tabled;

use crate::error::WalletError;
use crate::output::{Note, Notes, difference, table};
use crate::wallet::Wallet;

/// What stands in place of an unknown amount.
const UNKNOWN: &str = "?";

#[derive(Tabled)]
struct Row {
    #[tabled(rename = "Key Name")]
    name: String,
    #[tabled(rename = "Balance")]
    balance: String,
    #[tabled(rename = "Pending")]
    pending: String,
    #[tabled(rename = "Address")]
    address: String,
}

/// A key, as far as it is of use.
struct Listed {
    name: KeyName,
    /// Unless the file is unusable.
    address: Option<Address>,
    /// The network asks for more bits: what the key is paid there nobody can spend.
    is_too_small: bool,
}

impl Listed {
    /// Says what is wrong with the key.
    fn of(key: ListedKey, least_bits: u32, notes: &mut Notes) -> Self {
        let ListedKey { name, address, bits } = key;
        let address = address.inspect_err(|error| notes(Note::warning(error))).ok();
        let too_small = bits.filter(|bits| *bits < least_bits);
        if let Some(bits) = too_small {
            notes(Note::warning(format!(
                "the key {name} has {bits} bits, and this network asks for {least_bits}: nobody could spend what it is \
                 paid here, and `wallet new-address NAME` makes a key that can"
            )));
        }
        Self { name, address, is_too_small: too_small.is_some() }
    }
}

/// A table of all keys, and the state of the chain that it is based on. Pending is what this wallet's own
/// unconfirmed payments will add and take, fees included. Costs a few look-ups a key, whatever the length of
/// the chain.
pub fn list_addresses<S: Store>(
    wallet: &Wallet<S>,
    now: Timestamp,
    notes: &mut Notes,
) -> Result<String, WalletError> {
    let keys: Vec<Listed> =
        wallet.keys.list()?.into_iter().map(|key| Listed::of(key, wallet.rules.key_size, notes)).collect();
    let (survey, (tip, accounts)) = wallet.survey(notes, |ledger, _| {
        let Some(ledger) = ledger else { return Ok((None, vec![None; keys.len()])) };
        let account = |key: &Listed| key.address.map(|address| ledger.account(&address)).transpose();
        let accounts: Vec<Option<Account>> = keys.iter().map(account).collect::<Result<_, _>>()?;
        Ok((Some(ledger.tip()?), accounts))
    })?;
    if keys.is_empty() {
        notes(Note::info(format!("There are no keys in {} yet.", wallet.keys.directory().display())));
        notes(Note::hint("make one with `wallet new-address NAME`"));
        return Ok(wallet.based_on(tip.as_ref(), now));
    }
    let rows: Vec<Row> = keys
        .into_iter()
        .zip(accounts)
        .map(|(key, account)| Row {
            name: key.name.to_string(),
            balance: account.map_or_else(|| UNKNOWN.to_owned(), |account| account.balance.to_string()),
            pending: key.address.map_or_else(
                || UNKNOWN.to_owned(),
                |address| difference(survey.incoming(&address), survey.outgoing(&address)),
            ),
            address: match key.address {
                None => "the file is unusable, see above".to_owned(),
                Some(_) if key.is_too_small => "not for this network, see above".to_owned(),
                Some(address) => address.to_string(),
            },
        })
        .collect();
    Ok(format!("{}\n{}", table(&rows), wallet.based_on(tip.as_ref(), now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{Scene, ignore};

    fn row_of<'a>(shown: &'a str, name: &str) -> Vec<&'a str> {
        let line = shown.lines().find(|line| line.contains(name)).expect("the key is listed");
        line.split('│').map(str::trim).filter(|cell| !cell.is_empty()).collect()
    }

    #[test]
    fn balances_pending_payments_and_the_state_of_the_chain_are_shown() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        scene.send("alice", "4", "bob", "0.5");
        let now = scene.now().plus_millis(90_000);
        let shown = list_addresses(&scene.wallet, now, &mut ignore).unwrap();
        assert_eq!(row_of(&shown, "alice"), ["alice", "10", "-4.5", &scene.address("alice").to_string()]);
        assert_eq!(row_of(&shown, "bob"), ["bob", "0", "+4", &scene.address("bob").to_string()]);
        assert!(
            shown.contains("Key Name") && shown.ends_with("at height 1, whose block is 90 s old."),
            "{shown}"
        );

        scene.mine_for("bob");
        let shown = list_addresses(&scene.wallet, scene.now(), &mut ignore).unwrap();
        assert_eq!(row_of(&shown, "alice")[1..3], ["5.5", "0"]);
        assert_eq!(row_of(&shown, "bob")[1..3], ["14.5", "0"]);
    }

    #[test]
    fn a_wallet_that_never_synced_says_so_and_an_unusable_key_is_listed() {
        let mut scene = Scene::new();
        scene.wallet.chain = None;
        std::fs::write(scene.wallet.keys.directory().join("broken.pem"), "x").unwrap();
        let mut notes = Vec::new();
        let shown =
            list_addresses(&scene.wallet, scene.now(), &mut |note| notes.push(note.to_string())).unwrap();
        assert_eq!(row_of(&shown, "alice")[1..3], ["?", "0"]);
        assert_eq!(row_of(&shown, "broken")[1..3], ["?", "?"]);
        assert!(shown.contains("never synced: run `wallet sync`"), "{shown}");
        assert!(notes[0].contains("broken.pem is not a PEM file"), "{notes:?}");
    }

    #[test]
    fn without_keys_it_says_how_to_make_one() {
        let scene = Scene::without_keys();
        let mut notes = Vec::new();
        list_addresses(&scene.wallet, scene.now(), &mut |note| notes.push(note.to_string())).unwrap();
        assert!(notes.iter().any(|note| note.contains("wallet new-address NAME")), "{notes:?}");
    }
}
