//! `wallet history [NAME]`: what was paid, received and mined. Oldest first, like a log: what is pending
//! stands at the end, next to the prompt.

use std::collections::{BTreeMap, BTreeSet};

use common::address::Address;
use common::key_store::KeyName;
use common::store::{Activity, Read, Store, StoreError, Tip};
use common::time::Height;

use crate::error::WalletError;
use crate::outbox::{State, Unconfirmed};
use crate::output::{Notes, data, moment};
use crate::wallet::Wallet;

/// The addresses of this wallet by name.
type Names = BTreeMap<Address, KeyName>;

/// The newest `limit` confirmed payments, and all unconfirmed ones, of one key or of all.
pub fn history<S: Store>(
    wallet: &Wallet<S>,
    name: Option<&KeyName>,
    limit: usize,
    notes: &mut Notes,
) -> Result<String, WalletError> {
    let own = match name {
        Some(name) => vec![(name.clone(), wallet.keys.find(name)?)],
        None => whole(wallet.addresses(notes)?),
    };
    let addresses: BTreeSet<Address> = own.iter().map(|(_, address)| *address).collect();
    // Named are all keys, those of the other side too.
    let names: Names =
        whole(wallet.addresses(&mut |_| ())?).into_iter().map(|(name, address)| (address, name)).collect();
    watch(wallet, &addresses, notes)?;

    let (survey, (tip, mut confirmed)) = wallet.survey(notes, |ledger, _| {
        let Some(ledger) = ledger else { return Ok((None, Vec::new())) };
        Ok((Some(ledger.tip()?), activity_of(ledger, &addresses, limit.saturating_add(1))?))
    })?;
    let concerns = |entry: &&Unconfirmed| {
        addresses.contains(&entry.sender) || addresses.contains(&entry.transaction.payment.to)
    };
    let mut unconfirmed: Vec<&Unconfirmed> = survey.unconfirmed.iter().filter(concerns).collect();
    unconfirmed
        .sort_by_key(|entry| (entry.state == State::Pending, entry.sender, entry.transaction.payment.nonce));

    match &tip {
        None => notes("Never synced: only payments made here are known; run `wallet sync` for the others."),
        Some(_) if confirmed.len() > limit => {
            confirmed.drain(..confirmed.len() - limit);
            notes(&format!("Older payments are not shown: --limit shows more than {limit}."));
        }
        Some(_) => {}
    }
    if confirmed.is_empty() && unconfirmed.is_empty() {
        notes("No payments yet.");
    }
    let blocks = confirmed.iter().map(|entry| confirmed_entry(entry, tip.as_ref(), &names));
    let rest = unconfirmed.iter().map(|entry| unconfirmed_entry(entry, &names));
    Ok(blocks.chain(rest).collect::<Vec<_>>().join("\n"))
}

fn whole(keys: Vec<(KeyName, Option<Address>)>) -> Vec<(KeyName, Address)> {
    keys.into_iter().filter_map(|(name, address)| Some((name, address?))).collect()
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
        notes("Searching the chain for the payments of keys that are new to it …");
        chain.watch(&new, false)?;
    }
    Ok(())
}

/// The newest activity of several addresses together, oldest first; at least `limit` entries where there are
/// so many. A payment between two of the addresses comes once.
fn activity_of(
    ledger: &dyn Read,
    addresses: &BTreeSet<Address>,
    limit: usize,
) -> Result<Vec<Activity>, StoreError> {
    let mut entries = BTreeMap::new();
    for address in addresses {
        for entry in ledger.activity(address, limit)? {
            // At genesis several addresses share one place.
            entries.insert((entry.height, entry.index, entry.to), entry);
        }
    }
    let surplus = entries.len().saturating_sub(limit);
    Ok(entries.into_values().skip(surplus).collect())
}

/// An entry of the chain: where it stands, what it is, and what else it says.
fn confirmed_entry(entry: &Activity, tip: Option<&Tip>, names: &Names) -> String {
    let to = party(&entry.to, names);
    let what = match &entry.from {
        Some(from) => paid(from, &entry.to, names, &entry.amount.to_string(), &entry.fee.to_string()),
        None if entry.height == Height::GENESIS => format!("{to} has {} from the start", entry.amount),
        None => format!("{to} mined {}", entry.amount),
    };
    let confirmations = tip.map_or(0, |tip| tip.height.next().blocks_since(entry.height));
    let place = match confirmations {
        1 => format!("block {}, 1 confirmation, {}", entry.height, moment(entry.time)),
        _ => format!("block {}, {confirmations} confirmations, {}", entry.height, moment(entry.time)),
    };
    let id = entry.transaction.map(|id| id.to_string());
    lines(&place, &what, &entry.data, id.as_deref())
}

fn unconfirmed_entry(entry: &Unconfirmed, names: &Names) -> String {
    let payment = &entry.transaction.payment;
    let place = match entry.state {
        State::Pending if payment.valid_until == 0 => "pending".to_owned(),
        State::Pending => format!("pending, until block {}", payment.valid_until),
        State::Expired => format!("expired: no block up to {} held it", payment.valid_until),
        State::Conflicting => "conflicting: the chain holds another payment in its place".to_owned(),
    };
    let (amount, fee) = (payment.amount.to_string(), payment.fee.to_string());
    let what = paid(&entry.sender, &payment.to, names, &amount, &fee);
    lines(&place, &what, &payment.data, Some(&entry.id.to_string()))
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
        let mut notes = Vec::new();
        let short = history(&scene.wallet, None, 1, &mut |note| notes.push(note.to_owned())).unwrap();
        assert!(short.starts_with("block 2, 1 confirmation") && short.contains("bob mined"), "{short}");
        assert!(!short.contains("alice"), "{short}");
        assert!(notes[0].contains("--limit"), "{notes:?}");
    }

    #[test]
    fn a_key_that_was_copied_in_is_searched_for() {
        let mut scene = Scene::new();
        scene.mine_for("alice");
        let mut notes = Vec::new();
        let shown = history(&scene.wallet, None, 100, &mut |note| notes.push(note.to_owned())).unwrap();
        assert!(shown.contains("alice mined 10"), "{shown}");
        assert!(notes[0].contains("Searching the chain"), "{notes:?}");
        let mut notes = Vec::new();
        history(&scene.wallet, None, 100, &mut |note| notes.push(note.to_owned())).unwrap();
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
