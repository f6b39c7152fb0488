//! For tests that need blocks without caring whose: people are numbers, and pay whole coins.

use super::{Key, check, child, easy_rules};
use crate::address::Address;
use crate::amount::Amount;
use crate::consensus::{Ancestors, CheckedBlock};
use crate::rules::Rules;
use crate::store::BlockRecord;
use crate::transaction::Transaction;

/// How many people hold money at genesis, from person 0 on: a thousand coins each.
pub(crate) const PEOPLE: u8 = 4;

fn key(person: u8) -> Key {
    Key::new(person.into())
}

/// A network on which [`PEOPLE`] hold money.
pub(crate) fn rules() -> Rules {
    let people: Vec<Key> = (0..PEOPLE).map(key).collect();
    easy_rules(&people.iter().collect::<Vec<_>>())
}

/// The address of a person.
pub(crate) fn address(person: u8) -> Address {
    key(person).address()
}

/// A payment of whole coins, without a fee, on the network of [`rules`].
pub(crate) fn payment(from: u8, to: u8, coins: u64, nonce: u64) -> Transaction {
    let payment = key(from).payment(address(to), Amount::from_coins(coins).units(), nonce);
    key(from).sign(&rules().network_id(), payment)
}

/// A child of `parent`. Children of one parent differ when their miners or their transactions do. Whether their
/// payments can be covered is not asked.
pub(crate) fn block(
    rules: &Rules,
    parent: &BlockRecord,
    miner: u8,
    transactions: Vec<Transaction>,
) -> CheckedBlock {
    let (parent, parent_id) = (parent.header.header, parent.id());
    // The difficulty never changes here, so nobody needs the grandparent's time.
    let ancestors = Ancestors { parent, parent_id, grandparent_time: None };
    let block = child(rules, &ancestors, &key(miner), transactions);
    check(rules, &ancestors, block).expect("the block is well made")
}

/// What a block is in a tree that holds its parent.
pub(crate) fn record(parent: &BlockRecord, block: &CheckedBlock) -> BlockRecord {
    let header = block.header().clone();
    let work = parent.work.plus(header.header.bits.to_target().work());
    BlockRecord { header, work }
}
