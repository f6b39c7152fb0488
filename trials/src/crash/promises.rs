//! What must hold in a data directory after any crash: the store opens and is what its blocks say, and nothing
//! that a program told anybody of is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::address::Address;
use common::chain::Chain;
use common::difficulty::Work;
use common::encoding::decode;
use common::files::{DataDirectory, Program, names_in};
use common::hash::{BlockId, NetworkId, TransactionId};
use common::key_store::{KeyName, KeyStore};
use common::passphrase::Passphrases;
use common::rules::Rules;
use common::signature::{RsaVerifier, address_of};
use common::store::{LmdbStore, Store, StoreError, Tip};
use common::transaction::Transaction;
use common::wire::{Announcement, Datagram};

use super::encryption::{self, Progress};

/// What the programs of one data directory have told somebody, on paper or by a network.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The highest block that a log or a result named. Difficulty never changes here, so more work is more
    /// height, and no reorganisation goes down.
    pub height: u64,
    /// The most work that a status claimed.
    pub work: Option<Work>,
    /// The tips that statuses named.
    pub tips: BTreeSet<BlockId>,
    /// The keys that a miner says it made.
    pub made: BTreeSet<KeyName>,
    /// The keys that were shown.
    pub keys: BTreeMap<KeyName, Address>,
    /// The payments whose ids were printed, or that were broadcast.
    pub payments: BTreeSet<TransactionId>,
    /// By sender and nonce, the payments that were broadcast.
    pub broadcast: BTreeMap<(Address, u64), TransactionId>,
    /// What is done to the one key that is encrypted, if there is one.
    pub encryption: Option<Progress>,
}

impl Told {
    /// A miner's log, or what a wallet says beside its results.
    pub fn log(&mut self, text: &str) {
        for line in text.lines() {
            let made = line.split_once("made the key ").and_then(|(_, rest)| rest.split(' ').next());
            self.made.extend(made.and_then(|name| name.parse().ok()));
            // `found block 7 (…0a1b2c3d) in …`, `block 7 (…0a1b2c3d) from …`, `5 blocks up to 7 (…0a1b2c3d) from …`
            let Some((before, _)) = line.split_once(" (…") else { continue };
            let height = before.rsplit(' ').next().and_then(|word| word.parse().ok());
            self.height = self.height.max(height.unwrap_or(0));
        }
    }

    /// What a wallet's command printed as its result.
    pub fn result(&mut self, text: &str) {
        let mut last_name = None;
        for line in text.lines() {
            // A line that a kill cut off names nothing.
            if let Some(name) = line.strip_prefix("Key Name") {
                last_name = name.trim().parse::<KeyName>().ok();
            } else if let Some(address) = line.strip_prefix("Address") {
                let shown = last_name.take().zip(address.trim().parse().ok());
                self.keys.extend(shown);
            } else if let Some((height, _)) =
                line.strip_prefix("The chain is at height").and_then(|rest| rest.split_once(','))
            {
                self.height = self.height.max(height.trim().parse().unwrap_or(0));
            }
        }
        if let Some(progress) = &mut self.encryption {
            progress.hear(text);
        }
        self.payments.extend(text.lines().filter_map(|line| line.parse::<TransactionId>().ok()));
    }

    /// What was broadcast, if it is of this network. Says what breaks a promise at once: two payments with one
    /// nonce.
    pub fn datagram(&mut self, network: &NetworkId, bytes: &[u8]) -> Result<(), String> {
        match Datagram::announcement_of(bytes, network) {
            Ok(Announcement::Status(status)) => {
                self.work = self.work.max(Some(status.work));
                self.tips.insert(status.tip);
            }
            Ok(Announcement::Transaction(transaction)) => {
                let (id, payment) = (transaction.id(), &transaction.payment);
                self.payments.insert(id);
                let place = (address_of(&payment.public_key), payment.nonce);
                let other = self.broadcast.insert(place, id).filter(|other| *other != id);
                if let Some(other) = other {
                    return Err(format!("{id} and {other} were broadcast with one nonce, {}", payment.nonce));
                }
            }
            Err(_) => {}
        }
        Ok(())
    }
}

/// What a data directory holds after a crash.
#[derive(Clone, Debug)]
pub struct Found {
    /// The tip of the chain; `None` without a store.
    pub tip: Option<Tip>,
    /// How many files were left under temporary names.
    pub leftovers: usize,
}

/// Goes through a data directory in which no program runs, and says which promise is broken. The store is
/// opened as its program does, which creates it if need be.
pub fn check(
    data: &DataDirectory,
    program: Program,
    rules: &Arc<Rules>,
    told: &Told,
) -> Result<Found, String> {
    keys(data, rules, told)?;
    let directory = data.program(program, &rules.name, &rules.network_id());
    let store = LmdbStore::open_existing(&directory, rules)
        .map_err(|error| format!("the store does not open: {error}"))?;
    let chain = store.map(|store| Chain::new(rules.clone(), store));
    payments(data, rules, chain.as_ref(), told)?;
    let tip = match &chain {
        Some(chain) => Some(sound(chain, told)?),
        None if told.height > 0 || told.work.is_some_and(|work| work > Work::ZERO) => {
            return Err(format!("the store is gone; height {} was told", told.height));
        }
        None => None,
    };
    drop(chain);
    // Whoever opens it next can go on.
    let store = LmdbStore::open(&directory, rules)
        .map_err(|error| format!("the store does not open again: {error}"))?;
    let somebody = Address::from_bytes([7; 32]);
    let written = Chain::new(rules.clone(), store).watch_fresh(&[somebody]);
    written.map_err(|error| format!("the store cannot be written: {error}"))?;
    let leftovers =
        leftovers(data.root()).map_err(|error| format!("the data directory cannot be read: {error}"))?;
    Ok(Found { tip, leftovers })
}

/// Every key that was shown is there, and every key that is there is whole.
fn keys(data: &DataDirectory, rules: &Rules, told: &Told) -> Result<(), String> {
    let store = KeyStore::new(data.keys());
    if let Some(progress) = &told.encryption {
        progress.check(&store)?;
    }
    let is_other = |name: &KeyName| told.encryption.is_none() || name.as_str() != encryption::KEY;
    // None of the others is encrypted.
    let nobody = Passphrases::File(PathBuf::new());
    for (name, address) in told.keys.iter().filter(|(name, _)| is_other(name)) {
        match store.load(name, rules.key_size, &nobody) {
            Ok(key) if key.address() == *address => {}
            Ok(key) => return Err(format!("the key {name} was shown as {address} and is {}", key.address())),
            Err(error) => return Err(format!("the key {name} was shown: {error}")),
        }
    }
    for name in &told.made {
        store
            .load(name, rules.key_size, &nobody)
            .map_err(|error| format!("the key {name} was made: {error}"))?;
    }
    let listed = store.list().map_err(|error| error.to_string())?;
    for key in listed.iter().filter(|key| is_other(&key.name)) {
        store
            .load(&key.name, rules.key_size, &nobody)
            .map_err(|error| format!("a key is there in part: {error}"))?;
    }
    Ok(())
}

/// Every payment that was told of is in the outbox or in the chain, every file of the outbox is whole, and no
/// nonce is used twice.
fn payments(
    data: &DataDirectory,
    rules: &Rules,
    chain: Option<&Chain<LmdbStore>>,
    told: &Told,
) -> Result<(), String> {
    let outbox = data.outbox(&rules.name, &rules.network_id());
    let mut nonces = told.broadcast.clone();
    let mut kept = BTreeSet::new();
    for name in names_in(&outbox).map_err(|error| error.to_string())? {
        if name.starts_with('.') {
            continue;
        }
        let bytes = fs::read(outbox.join(&name)).map_err(|error| format!("{name}: {error}"))?;
        let transaction: Transaction = decode(&bytes)
            .map_err(|error| format!("the outbox holds a part of a payment: {name}: {error}"))?;
        let (id, nonce) = (transaction.id(), transaction.payment.nonce);
        if !name.ends_with(&id.to_string()) {
            return Err(format!("{name} holds the payment {id}"));
        }
        kept.insert(id);
        let place = (address_of(&transaction.payment.public_key), nonce);
        if let Some(other) = nonces.insert(place, id).filter(|other| *other != id) {
            return Err(format!("{id} and {other} have one nonce, {nonce}"));
        }
    }
    for id in told.payments.difference(&kept) {
        let in_chain = chain.is_some_and(|chain| {
            chain
                .store()
                .read(|reader| Ok::<_, StoreError>(reader.find_transaction(id)?.is_some()))
                .unwrap_or(false)
        });
        if !in_chain {
            return Err(format!("the payment {id} was told of, and is lost"));
        }
    }
    Ok(())
}

/// The store is what its blocks say, and not older than what was told; gives its tip.
fn sound(chain: &Chain<LmdbStore>, told: &Told) -> Result<Tip, String> {
    let tip =
        chain.audit(&RsaVerifier::default()).map_err(|error| format!("the store is wrong: {error}"))?.tip;
    if tip.height.get() < told.height || told.work.is_some_and(|work| tip.work < work) {
        return Err(format!("the tip is at height {}; more was told: {told:?}", tip.height));
    }
    let lost = chain.store().read(|reader| {
        let is_there = |id: &BlockId| Ok::<_, StoreError>(reader.record(id)?.is_some());
        told.tips.iter().map(|id| Ok((id, is_there(id)?))).collect::<Result<Vec<_>, StoreError>>()
    });
    match lost.map_err(|error| error.to_string())?.into_iter().find(|(_, is_there)| !is_there) {
        Some((id, _)) => Err(format!("block {id} was told of, and is lost")),
        None => Ok(tip),
    }
}

/// How many files under temporary names there are.
fn leftovers(directory: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            count += leftovers(&entry.path())?;
        } else if name.starts_with('.') && name.ends_with(".tmp") {
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_is_understood() {
        let mut told = Told::default();
        told.log("12:00:00 found block 7 (…0a1b2c3d) in 0.1 s: no payments\n12:00:00 mining block 99 with 1 payment\n");
        assert_eq!(told.height, 7);
        told.log(
            "12:00:01 5 blocks up to 12 (…0a1b2c3d) from 127.0.0.1:1: no payments\n12:00:02 block 11 (…0a",
        );
        assert_eq!(told.height, 12);
        told.log("12:00:03 made the key mining_rewards in /x: whoever has this file has the coins\n");
        assert_eq!(told.made.iter().map(KeyName::as_str).collect::<Vec<_>>(), ["mining_rewards"]);
        told.result("The chain is at height 30, 2 s old.\n");
        assert_eq!(told.height, 30);
        let id = "ab".repeat(32);
        told.result(&format!("{id}\n"));
        assert_eq!(told.payments.iter().map(ToString::to_string).collect::<Vec<_>>(), [id]);
        let address = Address::from_bytes([0xab; 32]);
        told.result(&format!("Key Name  bob\nAddress   {address}\nFile      /x\n"));
        told.result("Key Name  carol\nAddress   ab");
        assert_eq!(told.keys.keys().map(KeyName::as_str).collect::<Vec<_>>(), ["bob"]);
        // A recording has the results of several commands after each other.
        told.result(&format!("Key Name  bob\nAddress   {address}\nKey Name  dave\nAddress   {address}\n"));
        assert_eq!(told.keys.len(), 2);
        assert!(told.keys.values().all(|shown| *shown == address));
    }
}
