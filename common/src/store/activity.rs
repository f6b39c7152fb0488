//! What happened to the addresses that a wallet watches, kept beside the ledger in the same transaction,
//! so that a history is one range of a B-tree and never a search through the chain.

use bincode::{Decode, Encode};

use super::{Read, Store, StoreError, Tip, Write};
use crate::address::Address;
use crate::amount::Amount;
use crate::consensus::CheckedBlock;
use crate::hash::TransactionId;
use crate::rules::Rules;
use crate::time::{Height, Timestamp};

/// Blocks that are searched in one reading transaction: some milliseconds, so that old pages are soon free.
const SEARCHED_AT_A_TIME: u64 = 500;

/// One event in the best chain that concerns a watched address.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Activity {
    /// The block's height; 0 for an allocation of genesis.
    pub height: Height,
    /// The position among the block's transactions; their number for the reward.
    pub index: u32,
    /// The block's time.
    pub time: Timestamp,
    /// The transaction; `None` for a reward or an allocation.
    pub transaction: Option<TransactionId>,
    /// The paying address; `None` for a reward or an allocation.
    pub from: Option<Address>,
    /// The receiving address.
    pub to: Address,
    /// What the receiver gained.
    pub amount: Amount,
    /// What the sender paid to the miner.
    pub fee: Amount,
    /// The transaction's or the reward's free data.
    pub data: Vec<u8>,
}

/// Which way money went, seen from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It was paid by the address to another.
    Sent,
    /// It was received from another address.
    Received,
    /// It was paid by the address to itself.
    ToItself,
    /// It is the reward of a block that the address mined.
    Mined,
    /// It was there from the start.
    Allocated,
}

impl Activity {
    /// Which way money went, seen from `address`.
    pub fn direction(&self, address: &Address) -> Direction {
        match self.from {
            Some(from) if from == *address && self.to == *address => Direction::ToItself,
            Some(from) if from == *address => Direction::Sent,
            Some(_) => Direction::Received,
            None if self.height == Height::GENESIS => Direction::Allocated,
            None => Direction::Mined,
        }
    }
}

/// The entries that a block makes for these addresses.
pub(crate) fn entries(block: &CheckedBlock, watched: &[Address]) -> Vec<(Address, Activity)> {
    let (height, time) = (block.height(), block.header().header.time);
    let mut entries = Vec::new();
    for (index, entry) in block.entries().iter().enumerate() {
        let (sender, to) = (entry.sender(), entry.to());
        for address in watched.iter().filter(|address| **address == sender || **address == to) {
            entries.push((
                *address,
                Activity {
                    height,
                    index: index as u32,
                    time,
                    transaction: Some(entry.id()),
                    from: Some(sender),
                    to,
                    amount: entry.amount(),
                    fee: entry.fee(),
                    data: block.body().transaction(index).data.to_vec(),
                },
            ));
        }
    }
    let reward = block.reward();
    if watched.contains(&reward.to) {
        entries.push((
            reward.to,
            Activity {
                height,
                index: block.entries().len() as u32,
                time,
                transaction: None,
                from: None,
                to: reward.to,
                amount: reward.amount,
                fee: Amount::ZERO,
                data: reward.data.clone(),
            },
        ));
    }
    entries
}

/// Records what a block that joins the best chain does to the watched addresses.
pub(crate) fn record(
    writer: &mut dyn Write,
    block: &CheckedBlock,
    watched: &[Address],
) -> Result<(), StoreError> {
    for (address, entry) in entries(block, watched) {
        writer.put_activity(&address, &entry)?;
    }
    Ok(())
}

/// Removes what [`record`] recorded of a block that leaves the best chain.
pub(crate) fn forget(
    writer: &mut dyn Write,
    block: &CheckedBlock,
    watched: &[Address],
) -> Result<(), StoreError> {
    for (address, entry) in entries(block, watched) {
        writer.remove_activity(&address, entry.height)?;
    }
    Ok(())
}

/// Watches addresses that were made just now, so that no block can hold them and the chain need not be searched.
/// Addresses that are watched already are passed over.
pub(crate) fn watch_fresh(store: &impl Store, addresses: &[Address]) -> Result<(), StoreError> {
    let new = unwatched(store, addresses)?;
    if new.is_empty() {
        return Ok(());
    }
    store.write(|writer| new.iter().try_for_each(|address| writer.watch(address)))
}

/// Watches addresses and records what the best chain already holds of them. Addresses that are watched already
/// are passed over.
///
/// A long chain takes seconds to search. That is done by reading, a slice at a time; the write that makes use
/// of it lasts for moments and keeps nobody waiting. What is found is in memory until then: some 300 bytes, and the
/// free data, for each payment of these addresses.
pub(crate) fn watch(store: &impl Store, rules: &Rules, addresses: &[Address]) -> Result<(), StoreError> {
    let new = unwatched(store, addresses)?;
    if new.is_empty() {
        return Ok(());
    }
    loop {
        let tip = store.read(best_tip)?;
        if let Some(found) = search(store, &tip, &new)?
            && store.write(|writer| begin_to_watch(writer, rules, &new, &tip, &found))?
        {
            return Ok(());
        }
        // A reorganisation came in between: from the start.
    }
}

/// Those of the addresses that are not watched yet.
fn unwatched(store: &impl Store, addresses: &[Address]) -> Result<Vec<Address>, StoreError> {
    let watched = store.read(|reader| reader.watched())?;
    Ok(addresses.iter().filter(|address| !watched.contains(address)).copied().collect())
}

/// The tip, if it is the last block of the best chain. Where it is not the store is damaged, and no search of the
/// chain would ever come to its end.
fn best_tip(reader: &dyn Read) -> Result<Tip, StoreError> {
    let tip = reader.tip()?;
    match reader.best_at(tip.height)? {
        Some(id) if id == tip.id => Ok(tip),
        _ => Err(StoreError::damaged(format!("the tip {} is not in the best chain", tip.id))),
    }
}

/// What the chain that ends in `tip` holds of these addresses; `None` when it is no longer the best.
fn search(
    store: &impl Store,
    tip: &Tip,
    addresses: &[Address],
) -> Result<Option<Vec<(Address, Activity)>>, StoreError> {
    let (mut found, mut next) = (Vec::new(), 1);
    while next <= tip.height.get() {
        let last = tip.height.get().min(next + SEARCHED_AT_A_TIME - 1);
        let slice = store.read(|reader| {
            if reader.best_at(tip.height)? != Some(tip.id) {
                return Ok(None);
            }
            let mut slice = Vec::new();
            for height in next..=last {
                slice.extend(entries(&best_block(reader, height)?, addresses));
            }
            Ok::<_, StoreError>(Some(slice))
        })?;
        let Some(slice) = slice else { return Ok(None) };
        found.extend(slice);
        next = last + 1;
    }
    Ok(Some(found))
}

/// Records what was found up to `searched`, and what came on top of it since; says whether that block still is
/// in the best chain. If not, nothing is changed.
fn begin_to_watch(
    writer: &mut dyn Write,
    rules: &Rules,
    addresses: &[Address],
    searched: &Tip,
    found: &[(Address, Activity)],
) -> Result<bool, StoreError> {
    if writer.best_at(searched.height)? != Some(searched.id) {
        return Ok(false);
    }
    for address in addresses {
        writer.watch(address)?;
    }
    for (address, entry) in allocated(rules, addresses) {
        writer.put_activity(&address, &entry)?;
    }
    for (address, entry) in found {
        writer.put_activity(address, entry)?;
    }
    for height in searched.height.next().get()..=writer.tip()?.height.get() {
        let block = best_block(&*writer, height)?;
        record(writer, &block, addresses)?;
    }
    Ok(true)
}

/// What genesis allocates to these addresses.
pub(crate) fn allocated(rules: &Rules, addresses: &[Address]) -> Vec<(Address, Activity)> {
    let alloc = rules.alloc.iter().filter(|(address, _)| addresses.contains(address));
    let entry = |(address, amount): &(Address, Amount)| Activity {
        height: Height::GENESIS,
        index: 0,
        time: rules.genesis_time,
        transaction: None,
        from: None,
        to: *address,
        amount: *amount,
        fee: Amount::ZERO,
        data: Vec::new(),
    };
    alloc.map(|allocation| (allocation.0, entry(allocation))).collect()
}

fn best_block<R: Read + ?Sized>(reader: &R, height: u64) -> Result<CheckedBlock, StoreError> {
    let missing = || StoreError::damaged(format!("block {height} of the best chain is missing"));
    let id = reader.best_at(Height::new(height))?.ok_or_else(missing)?;
    reader.checked_block(&id)?.ok_or_else(missing)
}
