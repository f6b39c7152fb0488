//! Blocks that break rule 13: each is marked, with what builds on it, and the chain stays what it was.

use super::*;
use crate::amount::Amount;
use crate::chain::{InvalidBlock, Outcome};
use crate::consensus::TransactionError;

/// Two coins more than Alice ever has.
const TOO_MUCH: u64 = 1002 * Amount::UNITS_PER_COIN;

/// Adds a block whose second payment overspends, and `after` more.
fn grow_invalid(branch: &mut Branch, miner: &Key, after: usize) -> InvalidBlock {
    let good = branch.pay(&bob(), carol().address(), 7, 0);
    let bad = branch.pay(&alice(), carol().address(), TOO_MUCH, 0);
    let balance = branch.ledger.account(&alice().address()).balance;
    let block = branch.grow_anyway(miner, vec![good, bad]);
    for _ in 0..after {
        branch.grow_anyway(miner, Vec::new());
    }
    InvalidBlock {
        id: block.id(),
        height: block.height(),
        index: 1,
        error: TransactionError::InsufficientFunds { balance, total: Amount::from_units(TOO_MUCH) },
    }
}

fn invalid_ids<S: Store>(chain: &Chain<S>, branch: &Branch) -> Vec<bool> {
    look(chain, |reader| branch.ids().iter().map(|id| reader.is_invalid(id)).collect())
}

fn assert_unknown_parent<S: Store>(chain: &Chain<S>, blocks: &[CheckedBlock]) {
    let parent = blocks[0].header().header.previous;
    let error = chain.connect(blocks).expect_err("the parent is invalid");
    assert!(matches!(error, ChainError::UnknownParent { parent: unknown } if unknown == parent));
}

fn the_middle_of_a_better_branch_is_invalid<S: Store>(chain: &Chain<S>) {
    let (mut main, mut rival) = (Branch::new(chain.rules()), Branch::new(chain.rules()));
    grow_busy(&mut main, &carol(), 5);
    connect(chain, &main.blocks);
    grow_busy(&mut rival, &bob(), 2);
    let invalid = grow_invalid(&mut rival, &bob(), 4);

    let outcome = chain.connect(&rival.blocks).unwrap();
    assert_eq!(outcome, Outcome { change: None, invalid: Some(invalid) });
    assert_follows(chain, &main);
    assert_eq!(invalid_ids(chain, &rival), [false, false, true, true, true, true, true]);
    for descendant in 3..7 {
        assert_unknown_parent(chain, &rival.blocks[descendant..]);
    }
    assert_follows(chain, &main);
}

#[test]
fn an_invalid_block_in_the_middle_of_a_better_branch_changes_nothing() {
    the_middle_of_a_better_branch_is_invalid(&chain(&rules()));
    let (chain, _directory) = durable_chain(&rules());
    the_middle_of_a_better_branch_is_invalid(&chain);
}

#[test]
fn the_valid_start_of_a_branch_counts_when_it_is_better_by_itself() {
    let rules = rules();
    let (chain, mut main, mut rival) = (chain(&rules), Branch::new(&rules), Branch::new(&rules));
    grow_busy(&mut main, &carol(), 2);
    connect(&chain, &main.blocks);
    grow_busy(&mut rival, &bob(), 3);
    let good = rival.clone();
    let invalid = grow_invalid(&mut rival, &bob(), 2);
    let outcome = chain.connect(&rival.blocks).unwrap();
    assert_change(outcome.change, &main, &good, 0);
    assert_eq!(outcome.invalid, Some(invalid));
    assert_follows(&chain, &good);
}

#[test]
fn an_invalid_block_that_was_stored_unseen_is_found_when_its_branch_gets_better() {
    let rules = rules();
    let (chain, mut main, mut rival) = (chain(&rules), Branch::new(&rules), Branch::new(&rules));
    grow_busy(&mut main, &carol(), 4);
    connect(&chain, &main.blocks);
    let invalid = grow_invalid(&mut rival, &bob(), 4);
    assert_eq!(chain.connect(&rival.blocks[..3]).unwrap(), Outcome::default(), "nobody has looked yet");
    let outcome = chain.connect(&rival.blocks[3..]).unwrap();
    assert_eq!(outcome, Outcome { change: None, invalid: Some(invalid) });
    assert_eq!(invalid_ids(&chain, &rival), [true; 5]);
    // The tree holds them still, and takes no more children of them.
    assert!(look(&chain, |reader| reader.record(&rival.ids()[1])).is_some());
    assert_unknown_parent(&chain, &rival.blocks[2..3]);
    assert_follows(&chain, &main);
}

#[test]
fn of_two_branches_on_an_invalid_block_neither_is_followed() {
    let rules = rules();
    let (chain, mut main, mut first) = (chain(&rules), Branch::new(&rules), Branch::new(&rules));
    grow_busy(&mut main, &carol(), 4);
    connect(&chain, &main.blocks);
    let invalid = grow_invalid(&mut first, &bob(), 1);
    let mut second = first.clone();
    for _ in 0..3 {
        first.grow_anyway(&bob(), Vec::new());
        second.grow_anyway(&alice(), Vec::new());
    }
    assert_eq!(chain.connect(&second.blocks[..3]).unwrap(), Outcome::default());
    assert_eq!(chain.connect(&first.blocks).unwrap().invalid, Some(invalid.clone()));
    // Of the second branch the chain knows only the start, and that its grandparent is invalid.
    let outcome = chain.connect(&second.blocks[3..]).unwrap();
    assert_eq!(outcome, Outcome { change: None, invalid: Some(invalid) });
    assert_eq!(invalid_ids(&chain, &second), [true; 5]);
    assert_follows(&chain, &main);
}

#[test]
fn an_invalid_block_is_still_invalid_when_it_is_offered_again() {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    let genesis = branch.clone();
    let invalid = grow_invalid(&mut branch, &bob(), 0);
    for _ in 0..2 {
        let outcome = chain.connect(&branch.blocks).unwrap();
        assert_eq!(outcome, Outcome { change: None, invalid: Some(invalid.clone()) });
        assert_follows(&chain, &genesis);
    }
}

#[test]
fn a_good_branch_goes_on_where_a_bad_one_was_refused() {
    let rules = rules();
    let (chain, mut good) = (chain(&rules), Branch::new(&rules));
    grow_busy(&mut good, &carol(), 2);
    let mut bad = good.clone();
    grow_invalid(&mut bad, &carol(), 3);
    assert!(chain.connect(&bad.blocks).unwrap().invalid.is_some());
    assert_follows(&chain, &good);
    let before = good.clone();
    grow_busy(&mut good, &carol(), 1);
    assert_change(connect(&chain, &good.blocks[2..]), &before, &good, 2);
    assert_follows(&chain, &good);
}

#[test]
fn the_reason_names_each_rule_on_the_ledger() {
    let rules = rules();
    let genesis = Branch::new(&rules);
    let used = genesis.pay(&alice(), bob().address(), 1, 0);
    let early = {
        let mut later = genesis.clone();
        later.grow(&carol(), vec![used.clone()]);
        later.pay(&alice(), bob().address(), 1, 0)
    };
    for (payments, error) in [
        (vec![used.clone(), used], TransactionError::NonceTooLow { got: 0, next: 1 }),
        (
            vec![genesis.pay(&bob(), alice().address(), 1, 0), early],
            TransactionError::NonceGap { got: 1, next: 0 },
        ),
    ] {
        let mut branch = genesis.clone();
        branch.grow_anyway(&carol(), payments);
        let invalid = chain(&rules).connect(&branch.blocks).unwrap().invalid.expect("a rule is broken");
        assert_eq!((invalid.index, invalid.error), (1, error));
    }
}
