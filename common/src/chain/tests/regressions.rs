//! Failure 9 of the systems before this one: forks that never resolve, ledgers that a reorganisation
//! corrupts, and payments that are lost with their block.

use super::*;

/// Two nodes on branches of these lengths, each of which is then told of the other's.
fn meet(ours: u64, theirs: u64) -> (Branch, Chain<MemoryStore>, Chain<MemoryStore>) {
    let rules = rules();
    let mut shared = Branch::new(&rules);
    grow_busy(&mut shared, &carol(), 3);
    let (mut a, mut b) = (shared.clone(), shared);
    grow_busy(&mut a, &alice(), ours);
    grow_busy(&mut b, &bob(), theirs);
    let (we, they) = (chain(&rules), chain(&rules));
    connect(&we, &a.blocks);
    connect(&they, &b.blocks);
    connect(&we, &b.blocks);
    connect(&they, &a.blocks);
    let best = if ours == theirs { a.tip() < b.tip() } else { ours > theirs };
    (if best { a } else { b }, we, they)
}

#[test]
fn regression_9_forks_of_any_depth_resolve() {
    for (ours, theirs) in [(21, 22), (22, 21), (50, 49), (120, 121)] {
        let (best, we, they) = meet(ours, theirs);
        assert_follows(&we, &best);
        assert_follows(&they, &best);
    }
}

#[test]
fn regression_9_rivals_of_equal_length_meet() {
    for depth in [1, 2, 3, 30] {
        let (best, we, they) = meet(depth, depth);
        assert_follows(&we, &best);
        assert_follows(&they, &best);
    }
}

#[test]
fn regression_9_a_reorganisation_of_one_block_leaves_the_ledger_exact() {
    let rules = rules();
    let (chain, mut shared) = (chain(&rules), Branch::new(&rules));
    for _ in 0..10 {
        let (mut orphan, mut longer) = (shared.clone(), shared.clone());
        grow_busy(&mut orphan, &alice(), 1);
        grow_busy(&mut longer, &bob(), 2);
        connect(&chain, &orphan.blocks);
        assert_follows(&chain, &orphan);
        assert_change(connect(&chain, &longer.blocks), &orphan, &longer, shared.blocks.len());
        assert_follows(&chain, &longer);
        shared = longer;
    }
}

#[test]
fn regression_9_the_payments_of_orphaned_blocks_are_told_to_the_caller() {
    let rules = rules();
    let (chain, mut a, mut b) = (chain(&rules), Branch::new(&rules), Branch::new(&rules));
    grow_busy(&mut a, &alice(), 3);
    grow_idle(&mut b, &bob(), 4);
    connect(&chain, &a.blocks);
    let change = connect(&chain, &b.blocks).expect("more work");
    let orphaned: Vec<_> = change
        .reverted
        .iter()
        .rev()
        .flat_map(|id| {
            look(&chain, |reader| reader.checked_block(id))
                .expect("its body is kept")
                .to_block()
                .body
                .transactions
        })
        .collect();
    assert_eq!(orphaned.len(), 6);
    // In the order in which they were made they are all valid again, in the next block here.
    let again = b.grow(&bob(), orphaned);
    connect(&chain, &[again]);
    assert_follows(&chain, &b);
}
