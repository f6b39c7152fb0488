//! The chain against branches whose ledger the model computed: whatever blocks come in whatever order, the
//! chain is the best branch among them and nothing else.

use std::sync::Arc;

use crate::chain::{Chain, ChainError, TipChange};
use crate::consensus::CheckedBlock;
use crate::hash::BlockId;
use crate::rules::Rules;
use crate::store::lmdb::LmdbStore;
use crate::store::memory::MemoryStore;
use crate::store::{Read, Store, StoreError};
use crate::testing::{Branch, Key, easy_rules};
use crate::time::Height;

mod activity;
mod audit;
mod damage;
mod invalid;
mod order;
mod query;
mod regressions;
mod reorganisation;

fn alice() -> Key {
    Key::new(1)
}

fn bob() -> Key {
    Key::new(2)
}

fn carol() -> Key {
    Key::new(3)
}

/// Easy rules on which Alice and Bob hold 1000 coins each, and Carol nothing.
fn rules() -> Arc<Rules> {
    Arc::new(easy_rules(&[&alice(), &bob()]))
}

fn chain(rules: &Arc<Rules>) -> Chain<MemoryStore> {
    Chain::new(rules.clone(), MemoryStore::new(rules))
}

/// A chain in a database, and the directory that has to outlive it.
fn durable_chain(rules: &Arc<Rules>) -> (Chain<LmdbStore>, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("the system has room for a temporary directory");
    let store = LmdbStore::open(directory.path(), rules).expect("a new directory can be opened");
    (Chain::new(rules.clone(), store), directory)
}

/// Offers blocks that are all valid, and gives how the tip changed.
fn connect<S: Store>(chain: &Chain<S>, blocks: &[CheckedBlock]) -> Option<TipChange> {
    let outcome = chain.connect(blocks).expect("the parents are known");
    assert_eq!(outcome.invalid, None);
    outcome.change
}

/// What a read of the store gives.
fn look<S: Store, T>(chain: &Chain<S>, read: impl FnOnce(&dyn Read) -> Result<T, StoreError>) -> T {
    chain.store().read(read).expect("the store is sound")
}

/// Asserts that the best chain is this branch: its blocks, its payments and its ledger, and no others.
fn assert_follows<S: Store>(chain: &Chain<S>, branch: &Branch) {
    let tip = chain.tip().expect("the store is sound");
    assert_eq!((tip.id, tip.height), (branch.tip(), branch.height()));
    look(chain, |reader| {
        for block in &branch.blocks {
            assert_eq!(reader.best_at(block.height())?, Some(block.id()));
            for (index, entry) in block.entries().iter().enumerate() {
                let place = reader.find_transaction(&entry.id())?.expect("the payment is in the chain");
                let expected = (block.id(), block.height(), index as u32);
                assert_eq!((place.block, place.height, place.index), expected);
            }
        }
        assert_eq!(reader.best_at(branch.height().next())?, None, "nothing comes after the tip");
        let mut accounts = Vec::new();
        reader.for_each_account(&mut |address, account| accounts.push((address, account)))?;
        assert_eq!(accounts, branch.ledger.accounts());
        Ok(())
    });
}

/// Asserts that the change was from one branch to another, which share their first `shared` blocks.
fn assert_change(change: Option<TipChange>, old: &Branch, new: &Branch, shared: usize) {
    let change = change.expect("the tip changed");
    assert_eq!((change.old.id, change.old.height), (old.tip(), old.height()));
    assert_eq!((change.new.id, change.new.height), (new.tip(), new.height()));
    let mut reverted = old.ids().split_off(shared);
    reverted.reverse();
    assert_eq!(change.reverted, reverted);
    assert_eq!(change.connected, new.ids().split_off(shared));
}

/// Adds blocks in which everybody pays everybody, with fees.
fn grow_busy(branch: &mut Branch, miner: &Key, blocks: u64) {
    for i in 0..blocks {
        let payments = vec![
            branch.pay(&alice(), bob().address(), 1_000 + i, 3),
            branch.pay(&bob(), carol().address(), 500 + i, i),
        ];
        branch.grow(miner, payments);
    }
}

/// Adds blocks without payments.
fn grow_idle(branch: &mut Branch, miner: &Key, blocks: u64) {
    for _ in 0..blocks {
        branch.grow(miner, Vec::new());
    }
}

#[test]
fn a_new_chain_is_genesis_and_what_it_allocates() {
    let rules = rules();
    let (durable, _directory) = durable_chain(&rules);
    assert_follows(&durable, &Branch::new(&rules));
    assert_follows(&chain(&rules), &Branch::new(&rules));
    assert_eq!(chain(&rules).network(), rules.network_id());
}

#[test]
fn no_blocks_change_nothing_and_known_blocks_change_nothing_again() {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    assert_eq!(connect(&chain, &[]), None);
    grow_busy(&mut branch, &carol(), 5);
    assert_change(connect(&chain, &branch.blocks), &Branch::new(&rules), &branch, 0);
    for known in [&branch.blocks[..], &branch.blocks[4..], &branch.blocks[..2], &branch.blocks[1..3]] {
        assert_eq!(connect(&chain, known), None);
        assert_follows(&chain, &branch);
    }
    // Known blocks with new ones after them: only the new ones join.
    let before = branch.clone();
    grow_busy(&mut branch, &carol(), 2);
    assert_change(connect(&chain, &branch.blocks[3..]), &before, &branch, 5);
    assert_follows(&chain, &branch);
}

#[test]
fn blocks_whose_parent_is_unknown_are_refused_and_leave_no_trace() {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    grow_busy(&mut branch, &carol(), 4);
    let refused = |blocks: &[CheckedBlock], expected: BlockId| {
        let error = chain.connect(blocks).expect_err("a parent is missing");
        assert!(matches!(error, ChainError::UnknownParent { parent } if parent == expected));
    };
    let ids = branch.ids();
    refused(&branch.blocks[1..], ids[0]);
    // A gap within a batch: nothing of it is kept.
    refused(&[branch.blocks[0].clone(), branch.blocks[2].clone()], ids[1]);
    assert_eq!(look(&chain, |reader| reader.record(&ids[0])), None);
    assert_follows(&chain, &Branch::new(&rules));
}

#[test]
fn a_chain_in_a_database_is_there_when_it_is_opened_again() {
    let rules = rules();
    let directory = tempfile::tempdir().unwrap();
    let mut branch = Branch::new(&rules);
    for _ in 0..3 {
        grow_busy(&mut branch, &carol(), 2);
        let chain = Chain::new(rules.clone(), LmdbStore::open(directory.path(), &rules).unwrap());
        connect(&chain, &branch.blocks[branch.blocks.len() - 2..]);
        assert_follows(&chain, &branch);
    }
}

#[test]
fn heights_of_the_best_chain_are_those_of_its_blocks() {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    grow_idle(&mut branch, &carol(), 3);
    connect(&chain, &branch.blocks);
    let at = |height| look(&chain, |reader| reader.best_at(Height::new(height)));
    assert_eq!(at(0), Some(rules.genesis().id()));
    assert_eq!((at(3), at(4), at(u64::MAX)), (Some(branch.tip()), None, None));
}
