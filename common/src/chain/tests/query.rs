//! Locators, and the headers that answer them.

use std::borrow::Cow;
use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::address::Address;
use crate::chain::{MAX_HEADERS, MAX_LOCATOR, ancestors_of, headers_after, locator};
use crate::consensus::Ancestors;
use crate::hash::TransactionId;
use crate::ledger::Account;
use crate::store::{Activity, BlockRecord, Tip, TransactionPlace};

fn idle(rules: &Arc<Rules>, blocks: u64) -> (Chain<MemoryStore>, Branch) {
    let (chain, mut branch) = (chain(rules), Branch::new(rules));
    grow_idle(&mut branch, &carol(), blocks);
    connect(&chain, &branch.blocks);
    (chain, branch)
}

/// The heights that a chain's locator names.
fn located(chain: &Chain<MemoryStore>) -> Vec<u64> {
    look(chain, |reader| {
        let ids = locator(reader)?;
        let height = |id| Ok(reader.record(id)?.expect("a locator names known blocks").height().get());
        ids.iter().map(height).collect()
    })
}

#[test]
fn a_locator_is_the_ten_newest_then_doubling_steps_then_genesis() {
    let expected: [(u64, &[u64]); 6] = [
        (0, &[0]),
        (1, &[1, 0]),
        (9, &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (10, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (20, &[20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 9, 5, 0]),
        (100, &[100, 99, 98, 97, 96, 95, 94, 93, 92, 91, 89, 85, 77, 61, 29, 0]),
    ];
    for (height, heights) in expected {
        assert_eq!(located(&idle(&rules(), height).0), heights, "of a chain of {height}");
    }
}

#[test]
fn a_locator_of_the_longest_chain_is_within_its_limit() {
    let longest = Tall { tip: Height::MAX, is_whole: true, looks: Cell::new(0) };
    let ids = locator(&longest).unwrap();
    assert_eq!(ids.len(), 10 + 31, "ten, then steps of 2, 4, 8 … to genesis");
    assert!(ids.len() <= MAX_LOCATOR);
}

#[test]
fn a_locator_of_a_store_with_nothing_below_its_tip_is_soon_made() {
    for tip in [1 << 60, u64::MAX].map(Height::new) {
        let hollow = Tall { tip, is_whole: false, looks: Cell::new(0) };
        assert_eq!(locator(&hollow).unwrap(), []);
        assert!(hollow.looks.get() <= 10 + 64, "{}", hollow.looks.get());
    }
}

/// A chain that is only as tall as it says.
struct Tall {
    tip: Height,
    /// Whether it has a block for every height, or none at all.
    is_whole: bool,
    looks: Cell<u32>,
}

impl Read for Tall {
    fn tip(&self) -> Result<Tip, StoreError> {
        let genesis = Tip::from(&BlockRecord::genesis(&rules()));
        Ok(Tip { height: self.tip, ..genesis })
    }

    fn best_at(&self, _: Height) -> Result<Option<BlockId>, StoreError> {
        self.looks.set(self.looks.get() + 1);
        assert!(self.looks.get() < 1_000, "it would look for ever");
        Ok(self.is_whole.then_some(BlockId::ZERO))
    }

    fn record(&self, _: &BlockId) -> Result<Option<BlockRecord>, StoreError> {
        unreachable!()
    }

    fn encoded_body(&self, _: &BlockId) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        unreachable!()
    }

    fn account(&self, _: &Address) -> Result<Account, StoreError> {
        unreachable!()
    }

    fn find_transaction(&self, _: &TransactionId) -> Result<Option<TransactionPlace>, StoreError> {
        unreachable!()
    }

    fn is_invalid(&self, _: &BlockId) -> Result<bool, StoreError> {
        unreachable!()
    }

    fn watched(&self) -> Result<Vec<Address>, StoreError> {
        unreachable!()
    }

    fn activity(&self, _: &Address, _: usize) -> Result<Vec<Activity>, StoreError> {
        unreachable!()
    }

    fn for_each_account(&self, _: &mut dyn FnMut(Address, Account)) -> Result<(), StoreError> {
        unreachable!()
    }
}

#[test]
fn headers_follow_the_first_id_of_the_locator_that_is_on_the_best_chain() {
    let rules = rules();
    let (chain, branch) = idle(&rules, 12);
    let mut stray = Branch::new(&rules);
    grow_idle(&mut stray, &alice(), 3);
    connect(&chain, &stray.blocks);
    let after = |locator: &[BlockId], limit| {
        let headers = look(&chain, |reader| headers_after(reader, locator, limit));
        headers.iter().map(|header| header.header.height.get()).collect::<Vec<_>>()
    };
    let (ids, all) = (branch.ids(), (1..=12).collect::<Vec<u64>>());
    assert_eq!(after(&[], 100), all, "after genesis where nothing is shared");
    assert_eq!(after(&[BlockId::ZERO], 100), all);
    assert_eq!(after(&[ids[11]], 100), []);
    assert_eq!(after(&[ids[9], ids[2]], 100), [11, 12]);
    assert_eq!(after(&[stray.tip(), ids[9]], 100), [11, 12], "known, but not on the best chain");
    assert_eq!(after(&[stray.tip()], 100), all);
    assert_eq!(after(&[ids[2]], 4), [4, 5, 6, 7]);
    assert_eq!(after(&[ids[2]], 0), []);
    assert_eq!(after(&[ids[2]], usize::MAX).len(), 9);
}

#[test]
fn no_answer_has_more_than_the_most_headers() {
    let (chain, branch) = idle(&rules(), MAX_HEADERS as u64 + 1);
    let headers = look(&chain, |reader| headers_after(reader, &[], usize::MAX));
    assert_eq!(headers.len(), MAX_HEADERS);
    assert_eq!(headers.last().map(|header| header.id()), Some(branch.ids()[MAX_HEADERS - 1]));
}

#[test]
fn the_ancestors_of_a_child_are_those_that_its_miner_had() {
    let rules = Arc::new(Rules { target_block_seconds: 5, retarget_blocks: 5, ..easy_rules(&[]) });
    let (chain, branch) = idle(&rules, 5);
    let of = |id| look(&chain, |reader| ancestors_of(reader, &id));
    let mut expected = Ancestors::of_genesis_child(&rules);
    assert_eq!(of(rules.genesis().id()), Some(expected));
    for block in &branch.blocks {
        assert_eq!(block.header().header.bits, expected.next_bits(&rules));
        expected = expected.of_child(&block.header().header, block.id());
        assert_eq!(of(block.id()), Some(expected));
    }
    assert_eq!(of(BlockId::ZERO), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whoever answers a locator finds the newest shared block to within half the distance to it.
    #[test]
    fn a_locator_finds_where_two_chains_part(shared in 0_u64..150, ours in 0_u64..150, theirs in 0_u64..60) {
        let rules = rules();
        let (we, they) = (chain(&rules), chain(&rules));
        let mut our_branch = Branch::new(&rules);
        grow_idle(&mut our_branch, &carol(), shared);
        let mut their_branch = our_branch.clone();
        grow_idle(&mut our_branch, &alice(), ours);
        grow_idle(&mut their_branch, &bob(), theirs);
        connect(&we, &our_branch.blocks);
        connect(&they, &their_branch.blocks);

        let locator = look(&we, locator);
        let headers = look(&they, |reader| headers_after(reader, &locator, MAX_HEADERS));
        let expected = their_branch.ids();
        let start = expected.len() - headers.len();
        let ids: Vec<_> = headers.iter().map(|header| header.id()).collect();
        prop_assert_eq!(&ids[..], &expected[start..], "contiguous, and up to the tip");
        // With no blocks of their own they have nothing to tell but what we know.
        let distance = our_branch.height().get() - (start as u64).min(shared);
        prop_assert!(start as u64 <= shared, "no block that we lack is left out");
        prop_assert!(2 * (shared - start as u64) <= distance, "found {start} where {shared} are shared");
    }
}
