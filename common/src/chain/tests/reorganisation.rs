//! Fork choice, and reorganisations of any depth.

use std::sync::Arc;

use super::*;
use crate::amount::Amount;
use crate::difficulty::Work;

/// Two branches of `depth` blocks with payments, after three blocks that they share; the second one loses
/// the tie between them.
fn rivals(rules: &Arc<Rules>, depth: u64) -> (Branch, Branch, Branch) {
    let mut shared = Branch::new(rules);
    grow_busy(&mut shared, &carol(), 3);
    let (mut a, mut b) = (shared.clone(), shared.clone());
    grow_busy(&mut a, &alice(), depth);
    grow_busy(&mut b, &bob(), depth);
    if b.tip() < a.tip() {
        std::mem::swap(&mut a, &mut b);
    }
    (shared, a, b)
}

/// To the second branch and back, whose blocks come one by one and in batches.
fn reorganise_both_ways<S: Store>(chain: &Chain<S>, depth: u64) {
    let (shared, mut a, mut b) = rivals(chain.rules(), depth);
    connect(chain, &shared.blocks);
    assert_change(connect(chain, &a.blocks[3..]), &shared, &a, 3);
    assert_follows(chain, &a);

    for blocks in b.blocks[3..].chunks(7) {
        assert_eq!(connect(chain, blocks), None, "the branch has no more work yet");
    }
    assert_follows(chain, &a);
    grow_busy(&mut b, &bob(), 1);
    assert_change(connect(chain, &b.blocks[3 + depth as usize..]), &a, &b, 3);
    assert_follows(chain, &b);

    grow_busy(&mut a, &alice(), 2);
    assert_change(connect(chain, &a.blocks[3 + depth as usize..]), &b, &a, 3);
    assert_follows(chain, &a);
}

#[test]
fn branches_of_1_20_and_200_blocks_are_exchanged_in_both_directions() {
    for depth in [1, 20, 200] {
        reorganise_both_ways(&chain(&rules()), depth);
    }
}

#[test]
fn branches_are_exchanged_in_a_database_too() {
    for depth in [1, 20] {
        let (chain, _directory) = durable_chain(&rules());
        reorganise_both_ways(&chain, depth);
    }
}

#[test]
fn a_whole_branch_at_once_is_the_same_as_block_by_block() {
    let rules = rules();
    let (shared, a, mut b) = rivals(&rules, 20);
    grow_busy(&mut b, &bob(), 5);
    let (at_once, one_by_one) = (chain(&rules), chain(&rules));
    for chain in [&at_once, &one_by_one] {
        connect(chain, &a.blocks);
    }
    assert_change(connect(&at_once, &b.blocks), &a, &b, shared.blocks.len());
    let changes: Vec<_> =
        b.blocks.iter().map(|block| connect(&one_by_one, std::slice::from_ref(block))).collect();
    let first = changes.iter().position(Option::is_some);
    assert_eq!(first, Some(23), "the 24th block of the branch is the first with more work");
    assert_follows(&at_once, &b);
    assert_follows(&one_by_one, &b);
}

#[test]
fn of_equal_work_the_smaller_id_wins_whichever_came_first() {
    let rules = rules();
    let mut rivals: Vec<Branch> = (1..=4)
        .map(|seed| {
            let mut branch = Branch::new(&rules);
            grow_idle(&mut branch, &Key::new(seed), 2);
            branch
        })
        .collect();
    rivals.sort_by_key(Branch::tip);
    for first in 0..4 {
        let chain = chain(&rules);
        for offset in 0..4 {
            connect(&chain, &rivals[(first + offset) % 4].blocks);
        }
        assert_follows(&chain, &rivals[0]);
    }
}

#[test]
fn work_decides_and_not_length() {
    // The retarget makes blocks that come fast harder than blocks that come late.
    let rules = Arc::new(Rules { target_block_seconds: 5, retarget_blocks: 5, ..easy_rules(&[]) });
    let (mut fast, mut slow) = (Branch::new(&rules), Branch::new(&rules));
    grow_idle(&mut fast, &alice(), 24);
    slow.pause_ms = 60_000;
    grow_idle(&mut slow, &bob(), 30);
    let chain = chain(&rules);
    connect(&chain, &slow.blocks);
    assert_change(connect(&chain, &fast.blocks), &slow, &fast, 0);
    let total = |branch: &Branch| {
        let targets = branch.blocks.iter().map(|block| block.header().header.bits.to_target());
        targets.fold(Work::ZERO, |sum, target| sum.plus(target.work()))
    };
    assert_eq!(chain.tip().unwrap().work, total(&fast));
    assert!(total(&fast) > total(&slow) && fast.height() < slow.height());
}

#[test]
fn a_double_spend_is_valid_on_each_branch_and_counts_on_one() {
    let rules = rules();
    let (mut to_bob, mut to_carol) = (Branch::new(&rules), Branch::new(&rules));
    let all = Amount::from_coins(1000).units();
    let (first, second) =
        (to_bob.pay(&alice(), bob().address(), all, 0), to_carol.pay(&alice(), carol().address(), all, 0));
    to_bob.grow(&Key::new(8), vec![first.clone()]);
    to_carol.grow(&Key::new(9), vec![second.clone()]);
    grow_idle(&mut to_carol, &Key::new(9), 1);

    let chain = chain(&rules);
    connect(&chain, &to_bob.blocks);
    assert_follows(&chain, &to_bob);
    connect(&chain, &to_carol.blocks);
    assert_follows(&chain, &to_carol);
    let find = |id| look(&chain, |reader| reader.find_transaction(&id));
    assert_eq!(find(first.id()), None, "it left with its block");
    assert!(find(second.id()).is_some());
    let held = |key: &Key| look(&chain, |reader| reader.account(&key.address())).balance;
    assert_eq!(
        (held(&alice()), held(&bob()), held(&carol())),
        (Amount::ZERO, Amount::from_coins(1000), Amount::from_coins(1000))
    );
}

#[test]
fn a_payment_may_be_in_both_branches_and_is_found_in_the_best() {
    let rules = rules();
    let (mut a, mut b) = (Branch::new(&rules), Branch::new(&rules));
    let payment = a.pay(&alice(), bob().address(), 5, 1);
    a.grow(&Key::new(8), vec![payment.clone()]);
    grow_idle(&mut b, &Key::new(9), 1);
    b.grow(&Key::new(9), vec![payment]);
    let chain = chain(&rules);
    connect(&chain, &a.blocks);
    assert_follows(&chain, &a);
    connect(&chain, &b.blocks);
    assert_follows(&chain, &b);
    grow_idle(&mut a, &Key::new(8), 2);
    connect(&chain, &a.blocks[1..]);
    assert_follows(&chain, &a);
}

#[test]
fn an_account_that_a_branch_created_is_gone_with_it() {
    let rules = rules();
    let (mut a, mut b) = (Branch::new(&rules), Branch::new(&rules));
    let payment = a.pay(&alice(), carol().address(), 5, 0);
    a.grow(&alice(), vec![payment]);
    let payment = a.pay(&carol(), alice().address(), 5, 0);
    a.grow(&alice(), vec![payment]);
    grow_idle(&mut b, &bob(), 3);
    let chain = chain(&rules);
    connect(&chain, &a.blocks);
    assert_eq!(look(&chain, |reader| reader.account(&carol().address())).nonce, 1);
    connect(&chain, &b.blocks);
    assert_follows(&chain, &b);
}
