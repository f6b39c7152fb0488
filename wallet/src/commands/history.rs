//! `wallet history [NAME]`: what was paid, received and mined. Oldest first, like a log: what is pending
//! stands at the end, next to the prompt.

use std::collections::{BTreeMap, BTreeSet};

use common::address::Address;
use common::hash::TransactionId;
use common::key_store::{KeyName, KeyStore, ListedKey};
use common::store::{Activity, Read, Store, StoreError, Tip};
use common::text::count;
use common::time::Height;
use common::transaction::Transaction;

use crate::error::WalletError;
use crate::outbox::{Fate, OpenPayment, PaymentName, Survey};
use crate::output::{Note, Notes, data, moment};
use crate::wallet::{Party, Wallet};

/// The addresses of this wallet by name.
type Names = BTreeMap<Address, KeyName>;

/// The newest `limit` confirmed payments, and all unconfirmed ones, of one key or of all.
pub fn history<S: Store>(
    wallet: &Wallet<S>,
    which: Option<&Party>,
    limit: usize,
    notes: &mut Notes,
) -> Result<String, WalletError> {
    let keys = wallet.keys.list()?;
    // Named are all keys, those of the other side too.
    let whole = |key: &ListedKey| Some((*key.address.as_ref().ok()?, key.name.clone()));
    let names: Names = keys.iter().filter_map(whole).collect();
    let addresses: BTreeSet<Address> = match which {
        Some(party) => [address_of(party, keys, &wallet.keys)?].into(),
        None => {
            keys.iter().filter_map(|key| key.address.as_ref().err()).for_each(|it| notes(Note::warning(it)));
            names.keys().copied().collect()
        }
    };
    watch(wallet, &addresses, notes)?;

    let (survey, seen) = wallet.survey(notes, |ledger, survey| match ledger {
        Some(ledger) => Seen::of(ledger, survey, &addresses, limit.saturating_add(1)),
        None => Ok(Seen::default()),
    })?;
    let Seen { tip, mut confirmed, replaced } = seen;
    let mut replaced_payments = Vec::new();
    for name in &replaced {
        match wallet.outbox.read(name) {
            Ok(transaction) => replaced_payments.extend(transaction.map(|transaction| (name, transaction))),
            Err(error) => notes(Note::warning(error)),
        }
    }
    let concerns = |entry: &&OpenPayment| {
        addresses.contains(&entry.name.sender) || addresses.contains(&entry.transaction.payment.to)
    };
    let (pending, expired): (Vec<&OpenPayment>, Vec<&OpenPayment>) =
        survey.open.iter().filter(concerns).partition(|entry| !entry.expired);

    match &tip {
        None => notes(Note::info(
            "Never synced: only payments made here are known; run `wallet sync` for the others.",
        )),
        Some(_) if confirmed.len() > limit => {
            confirmed.drain(..confirmed.len() - limit);
            notes(Note::info(format!("Older payments are not shown: --limit shows more than {limit}.")));
        }
        Some(_) => {}
    }
    let next = tip.as_ref().map_or(Height::GENESIS, |tip| tip.height.next());
    let unconfirmed =
        |entry: &&OpenPayment| unconfirmed_entry(&entry.name, &entry.transaction, entry.fate(), &names);
    let replaced = replaced_payments.iter().map(|(name, transaction)| {
        unconfirmed_entry(name, transaction, Fate::of_replaced(transaction, next), &names)
    });
    let entries: Vec<String> = confirmed
        .iter()
        .map(|entry| confirmed_entry(entry, next, &names))
        .chain(replaced)
        .chain(expired.iter().map(unconfirmed))
        .chain(pending.iter().map(unconfirmed))
        .collect();
    if entries.is_empty() {
        notes(Note::info("No payments yet."));
    }
    Ok(entries.join("\n"))
}

/// What one state of the ledger says.
#[derive(Default)]
struct Seen {
    tip: Option<Tip>,
    /// The newest activity of the addresses together, oldest first.
    confirmed: Vec<Activity>,
    /// Payments in whose place the chain holds others, or nothing any more, as far back as `confirmed` goes.
    replaced: Vec<PaymentName>,
}

impl Seen {
    /// At least `limit` entries of activity where there are so many. A payment between two of the addresses
    /// comes once.
    fn of(
        ledger: &dyn Read,
        survey: &Survey,
        addresses: &BTreeSet<Address>,
        limit: usize,
    ) -> Result<Self, StoreError> {
        let (mut entries, mut replaced) = (BTreeMap::new(), Vec::new());
        for address in addresses {
            let newest = ledger.activity(address, limit)?;
            let sent: BTreeSet<TransactionId> = newest
                .iter()
                .filter(|entry| entry.from == Some(*address))
                .filter_map(|entry| entry.transaction)
                .collect();
            // The newest of them has the nonce before the account's next, and so on down without a gap.
            let first_nonce = ledger.account(address)?.nonce.saturating_sub(sent.len() as u64);
            replaced.extend(survey.past.iter().filter(|name| {
                name.sender == *address && name.nonce >= first_nonce && !sent.contains(&name.id)
            }));
            // At genesis several addresses share one place.
            entries.extend(newest.into_iter().map(|entry| ((entry.height, entry.index, entry.to), entry)));
        }
        let surplus = entries.len().saturating_sub(limit);
        let confirmed = entries.into_values().skip(surplus).collect();
        Ok(Self { tip: Some(ledger.tip()?), confirmed, replaced })
    }
}

/// The address of the one of these keys that the user means.
fn address_of(party: &Party, listed: Vec<ListedKey>, keys: &KeyStore) -> Result<Address, WalletError> {
    let is_meant = |key: &ListedKey| match party {
        Party::Name(name) => key.name == *name,
        Party::Address(address) => key.address.as_ref().is_ok_and(|known| known == address),
    };
    match (listed.into_iter().find(is_meant), party) {
        (Some(key), _) => Ok(key.address?),
        // It says that there is none.
        (None, Party::Name(name)) => Ok(keys.find(name)?),
        (None, Party::Address(address)) => {
            Err(WalletError::UnknownAddress { address: *address, directory: keys.directory().to_owned() })
        }
    }
}

/// Has the chain keep the activity of keys that came into the wallet by another way than `new-address`.
fn watch<S: Store>(
    wallet: &Wallet<S>,
    addresses: &BTreeSet<Address>,
    notes: &mut Notes,
) -> Result<(), WalletError> {
    let Some(chain) = &wallet.chain else { return Ok(()) };
    let watched = chain.store().read(|reader| reader.watched())?;
    let new: Vec<Address> = addresses.iter().filter(|address| !watched.contains(address)).copied().collect();
    if !new.is_empty() {
        notes(Note::info("Searching the chain for the payments of keys that are new to it …"));
        chain.watch(&new)?;
    }
    Ok(())
}

/// An entry of the chain: where it stands, what it is, and what else it says.
fn confirmed_entry(entry: &Activity, next: Height, names: &Names) -> String {
    let to = party(&entry.to, names);
    let what = match &entry.from {
        Some(from) => paid(from, &entry.to, names, &entry.amount.to_string(), &entry.fee.to_string()),
        None if entry.height == Height::GENESIS => format!("{to} has {} from the start", entry.amount),
        None => format!("{to} mined {}", entry.amount),
    };
    let confirmations = count(next.blocks_since(entry.height), "confirmation");
    let place = format!("block {}, {confirmations}, {}", entry.height, moment(entry.time));
    let id = entry.transaction.map(|id| id.to_string());
    lines(&place, &what, &entry.data, id.as_deref())
}

fn unconfirmed_entry(name: &PaymentName, transaction: &Transaction, fate: Fate, names: &Names) -> String {
    let payment = &transaction.payment;
    let place = match fate {
        Fate::Pending if payment.valid_until == 0 => "pending".to_owned(),
        Fate::Pending => format!("pending, until block {}", payment.valid_until),
        Fate::Confirmed(height) => format!("block {height}"),
        Fate::Expired => format!("expired: no block up to {} held it", payment.valid_until),
        Fate::Conflicting => "conflicting: the chain holds another payment in its place".to_owned(),
    };
    let (amount, fee) = (payment.amount.to_string(), payment.fee.to_string());
    let what = paid(&name.sender, &payment.to, names, &amount, &fee);
    lines(&place, &what, &payment.data, Some(&name.id.to_string()))
}

/// `alice paid 10 to ADDRESS, fee 0`: an address that is no key of this wallet gets a line of its own, so that
/// it fits whole.
fn paid(from: &Address, to: &Address, names: &Names, amount: &str, fee: &str) -> String {
    match (names.get(from), names.get(to)) {
        (Some(from), Some(to)) => format!("{from} paid {amount} to {to}, fee {fee}"),
        (Some(from), None) => format!("{from} paid {amount}, fee {fee}, to\n  {to}"),
        (None, Some(to)) => format!("{to} received {amount}, fee {fee}, from\n  {from}"),
        (None, None) => format!("{amount}, fee {fee}, from\n  {from} to\n  {to}"),
    }
}

fn party(address: &Address, names: &Names) -> String {
    names.get(address).map_or_else(|| address.to_string(), KeyName::to_string)
}

fn lines(place: &str, what: &str, note: &[u8], id: Option<&str>) -> String {
    let mut text = format!("{place}\n  {what}");
    if !note.is_empty() {
        text.push_str(&format!("\n  data {}", data(note)));
    }
    if let Some(id) = id {
        text.push_str(&format!("\n  transaction {id}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::send::{Request, send};
    use crate::commands::testing::{Scene, ignore};

    #[test]
    fn payments_are_shown_oldest_first_with_depth_fee_data_and_the_pending_ones_last() {
        let mut scene = Scene::new();
        scene.watch_all();
        scene.mine_for("alice");
        let request =
            Request { data: b"\x1b[2J lunch".to_vec(), ..scene.request("alice", "4", "bob", "0.5") };
        let first = send(&scene.wallet, &request, &mut ignore).unwrap();
        scene.mine_for("bob");
        let stranger: Address = "11".repeat(32).parse().unwrap();
        let second = scene.send("bob", "1", &stranger.to_string(), "0");

        let shown = history(&scene.wallet, None, 100, &mut ignore).unwrap();
        let expected = format!(
            "block 1, 2 confirmations, {}\n  alice mined 10\n\
             block 2, 1 confirmation, {}\n  alice paid 4 to bob, fee 0.5\n  data \"\\u{{1b}}[2J lunch\"\n  transaction {}\n\
             block 2, 1 confirmation, {}\n  bob mined 10.5\n\
             pending\n  bob paid 1, fee 0, to\n  {stranger}\n  transaction {}",
            moment(scene.time_at(1)),
            moment(scene.time_at(2)),
            first.id,
            moment(scene.time_at(2)),
            second.id
        );
        assert_eq!(shown, expected);
        assert!(!shown.contains('\x1b'));

        let of_alice = history(&scene.wallet, Some(&"alice".parse().unwrap()), 100, &mut ignore).unwrap();
        assert!(of_alice.contains("alice paid 4 to bob") && !of_alice.contains("bob mined"), "{of_alice}");
        let address = scene.address("alice").to_string();
        assert_eq!(
            history(&scene.wallet, Some(&address.parse().unwrap()), 100, &mut ignore).unwrap(),
            of_alice
        );
        for unknown in ["carol", &stranger.to_string()] {
            let refused =
                history(&scene.wallet, Some(&unknown.parse().unwrap()), 100, &mut ignore).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{refused}");
        }
        let mut notes = Vec::new();
        let short = history(&scene.wallet, None, 1, &mut |note| notes.push(note.to_string())).unwrap();
        assert!(short.starts_with("block 2, 1 confirmation") && short.contains("bob mined"), "{short}");
        assert!(!short.contains("alice"), "{short}");
        assert!(notes[0].contains("--limit"), "{notes:?}");
    }

    #[test]
    fn a_key_that_was_copied_in_is_searched_for() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let mut notes = Vec::new();
        let shown = history(&scene.wallet, None, 100, &mut |note| notes.push(note.to_string())).unwrap();
        assert!(shown.contains("alice mined 10"), "{shown}");
        assert!(notes[0].contains("Searching the chain"), "{notes:?}");
        let mut notes = Vec::new();
        history(&scene.wallet, None, 100, &mut |note| notes.push(note.to_string())).unwrap();
        assert!(notes.is_empty(), "it is searched once: {notes:?}");
    }

    #[test]
    fn conflicting_and_expired_payments_say_so() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        scene.send("alice", "1", "bob", "0");
        let first = scene.forget_outbox();
        scene.send("alice", "2", "bob", "0");
        scene.mine_for("bob");
        scene.restore_outbox(&first);
        let request = Request { valid_for: Some(1), ..scene.request("alice", "1", "bob", "0") };
        send(&scene.wallet, &request, &mut ignore).unwrap();
        scene.mine_empty();
        let shown = history(&scene.wallet, None, 100, &mut ignore).unwrap();
        assert!(
            shown.contains("conflicting: the chain holds another payment in its place\n  alice paid 1"),
            "{shown}"
        );
        assert!(shown.contains("expired: no block up to 3 held it"), "{shown}");
    }
}
