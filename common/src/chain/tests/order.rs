//! The same blocks in any order give the same chain: random trees, delivered in random order and batches.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::amount::Amount;
use crate::difficulty::Work;
use crate::store::beats;

/// How a random tree gets its next block.
#[derive(Clone, Debug)]
struct Sprout {
    parent: Index,
    miner: u64,
    pause_ms: u64,
    /// Whom each key pays how much, if it pays.
    payments: [Option<(u64, u64)>; 3],
    overspends: bool,
}

fn sprout() -> impl Strategy<Value = Sprout> {
    let payment = || prop::option::of((0..4_u64, 1..Amount::UNITS_PER_COIN));
    let pause_ms = prop_oneof![Just(0), 0..20_000_u64];
    let payments = [payment(), payment(), payment()];
    (any::<Index>(), 0..4_u64, pause_ms, payments, prop::bool::weighted(0.06)).prop_map(
        |(parent, miner, pause_ms, payments, overspends)| Sprout {
            parent,
            miner,
            pause_ms,
            payments,
            overspends,
        },
    )
}

/// How the blocks of a tree are delivered: which next, and whether the batch goes on.
type Delivery = Vec<(Index, bool)>;

/// A block of the tree, and the branch that ends with it.
struct Node {
    parent: usize,
    branch: Branch,
    work: Work,
    is_valid: bool,
}

/// Genesis, and a node a sprout.
fn tree(rules: &Arc<Rules>, sprouts: &[Sprout]) -> Vec<Node> {
    let genesis = Node { parent: 0, branch: Branch::new(rules), work: Work::ZERO, is_valid: true };
    let mut nodes = vec![genesis];
    for sprout in sprouts {
        // Nearly always on one of the last few blocks, so that branches become long.
        let recent = nodes.len().saturating_sub(5);
        let parent = recent + sprout.parent.index(nodes.len() - recent);
        let mut branch = nodes[parent].branch.clone();
        branch.pause_ms = sprout.pause_ms;
        let miner = Key::new(sprout.miner);
        let is_valid = nodes[parent].is_valid && !sprout.overspends;
        let block = if is_valid {
            let payments = sprout.payments.iter().zip(0..).filter_map(|(payment, from)| {
                payment.map(|(to, units)| branch.pay(&Key::new(from), Key::new(to).address(), units, 1))
            });
            let payments = payments.collect();
            branch.grow(&miner, payments)
        } else {
            let payment = branch.pay(&Key::new(0), miner.address(), i64::MAX as u64, 0);
            branch.grow_anyway(&miner, vec![payment])
        };
        let work = nodes[parent].work.plus(block.header().header.bits.to_target().work());
        if nodes.iter().all(|node| node.branch.tip() != block.id()) {
            nodes.push(Node { parent, branch, work, is_valid });
        }
    }
    nodes
}

/// Offers every block once, each after its parent, and compares the chain with the best of the valid
/// blocks offered so far after every batch.
fn deliver<S: Store>(chain: &Chain<S>, nodes: &[Node], delivery: &Delivery) {
    let mut offered = HashSet::from([0]);
    let mut best = 0;
    let mut choices = delivery.iter().cycle();
    while offered.len() < nodes.len() {
        let mut batch = Vec::<usize>::new();
        for (choice, goes_on) in choices.by_ref() {
            let is_next = |node: &usize| match batch.last() {
                Some(last) => nodes[*node].parent == *last,
                None => offered.contains(&nodes[*node].parent),
            };
            let next: Vec<usize> =
                (1..nodes.len()).filter(|node| !offered.contains(node)).filter(is_next).collect();
            if next.is_empty() {
                break;
            }
            batch.push(next[choice.index(next.len())]);
            if !goes_on {
                break;
            }
        }
        let before = best;
        for node in &batch {
            offered.insert(*node);
            let (new, old) = (&nodes[*node], &nodes[best]);
            if new.is_valid && beats(new.work, &new.branch.tip(), old.work, &old.branch.tip()) {
                best = *node;
            }
        }
        let blocks: Vec<_> =
            batch.iter().filter_map(|node| nodes[*node].branch.blocks.last().cloned()).collect();
        let all_valid = batch.iter().all(|node| nodes[*node].is_valid);
        match chain.connect(&blocks) {
            Ok(outcome) => {
                assert!(!all_valid || outcome.invalid.is_none(), "no valid block is refused");
                if best == before {
                    assert_eq!(outcome.change, None);
                } else {
                    let (old, new) = (&nodes[before].branch, &nodes[best].branch);
                    let shared = old.ids().iter().zip(new.ids()).take_while(|(a, b)| **a == *b).count();
                    assert_change(outcome.change, old, new, shared);
                }
            }
            Err(ChainError::UnknownParent { .. }) => {
                assert!(!nodes[nodes[batch[0]].parent].is_valid, "no valid parent is unknown");
            }
            Err(other) => panic!("{other}"),
        }
        let tip = chain.tip().unwrap();
        assert_eq!((tip.id, tip.work), (nodes[best].branch.tip(), nodes[best].work));
    }
    assert_follows(chain, &nodes[best].branch);
    // Only what is invalid is ever marked.
    for node in nodes.iter().filter(|node| node.is_valid) {
        assert!(!look(chain, |reader| reader.is_invalid(&node.branch.tip())));
    }
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop::collection::vec((any::<Index>(), prop::bool::weighted(0.6)), 40)
}

/// Three keys with money, and blocks that get harder when they come fast: branches differ in work.
fn retarget_rules() -> Arc<Rules> {
    let rules = easy_rules(&[&Key::new(0), &Key::new(1), &Key::new(2)]);
    Arc::new(Rules { target_block_seconds: 5, retarget_blocks: 5, ..rules })
}

/// The same without a retarget: many branches have equal work.
fn fixed_rules() -> Arc<Rules> {
    Arc::new(Rules { target_block_seconds: 0, ..(*retarget_rules()).clone() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_chain_is_the_best_valid_branch_in_whatever_order_blocks_arrive(
        sprouts in prop::collection::vec(sprout(), 1..25),
        deliveries in prop::collection::vec(delivery(), 2),
        fixed in any::<bool>(),
    ) {
        let rules = if fixed { fixed_rules() } else { retarget_rules() };
        let nodes = tree(&rules, &sprouts);
        for delivery in &deliveries {
            deliver(&chain(&rules), &nodes, delivery);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn a_chain_in_a_database_is_the_best_valid_branch_too(
        sprouts in prop::collection::vec(sprout(), 10..25),
        delivery in delivery(),
    ) {
        let nodes = tree(&fixed_rules(), &sprouts);
        let (chain, _directory) = durable_chain(&fixed_rules());
        deliver(&chain, &nodes, &delivery);
    }
}
