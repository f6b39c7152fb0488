//! The block that is worked on: what it holds, when there is none, and whose turn it is.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::*;
use super::harness::*;
use crate::address::Address;
use crate::amount::Amount;
use crate::block::EncodedBody;
use crate::consensus::{NothingKnown, check_body, check_header, check_transaction};
use crate::rules::Rules;
use crate::testing::{Branch, Key, StandIn, easy_rules, find_nonce};
use crate::time::Height;

/// The ancestor's network.
fn classic() -> Arc<Rules> {
    let rules = Rules {
        block_size: 5,
        block_interval_seconds: 30,
        allow_empty: false,
        ..easy_rules(&[&Key::new(1)])
    };
    rules.check().expect("the rules are within bounds");
    Arc::new(rules)
}

fn idle(network: &Network, id: MachineId) -> Option<Idle> {
    network.notices(id).iter().rev().find_map(|notice| match notice {
        Notice::Idle(idle) => Some(*idle),
        Notice::Mining { .. } => None,
        _ => None,
    })
}

fn pay(network: &mut Network, miner: MachineId, nonces: std::ops::Range<u64>) {
    let (rules, from) = (network.rules.clone(), Key::new(1));
    for nonce in nonces {
        let payment = from.payment(Key::new(2).address(), 1_000_000, nonce);
        network.say_payment(miner, &from.sign(&rules.network_id(), payment));
    }
}

#[test]
fn a_classic_miner_waits_for_five_leaves_or_thirty_seconds_and_says_so() {
    let rules = classic();
    let mut network = Network::new(&rules, 1);
    let miner = network.add(Spec::default());
    // The first block may hold the reward alone.
    network.mine(miner);
    assert_eq!(network.height(miner), 1);
    let nothing = Idle::WaitingForPayments { have: 0, need: 4, until: None };
    assert_eq!(idle(&network, miner), Some(nothing));
    assert!(network.template(miner).is_none());

    let parent_time = network.node(miner).tip().time;
    pay(&mut network, miner, 0..1);
    network.run_for(seconds(2));
    let until = Some(parent_time.plus_millis(30_000));
    assert_eq!(idle(&network, miner), Some(Idle::WaitingForPayments { have: 1, need: 4, until }));
    let waited = network.run_until("thirty seconds are enough", |it| it.template(miner).is_some());
    assert!(waited >= seconds(27) && waited <= seconds(30), "{waited:?}");
    network.mine(miner);
    assert_eq!(network.height(miner), 2);

    pay(&mut network, miner, 1..5);
    let waited = network.run_until("four payments are enough", |it| it.template(miner).is_some());
    assert!(waited < seconds(2), "{waited:?}");
    network.mine(miner);
    assert_eq!(network.height(miner), 3);

    // Nothing to pay, and nothing may be empty: it waits without end, and without a busy loop.
    network.run_for(seconds(100));
    assert!(network.template(miner).is_none());
    assert_eq!(idle(&network, miner), Some(Idle::WaitingForPayments { have: 0, need: 1, until: None }));
}

#[test]
fn a_new_payment_is_in_the_block_within_the_debounce() {
    let rules = Arc::new(easy_rules(&[&Key::new(1)]));
    let mut network = Network::new(&rules, 2);
    let miner = network.add(Spec::default());
    network.run_for(millis(1_100));
    pay(&mut network, miner, 0..3);
    let holds = |network: &Network| network.template(miner).map(|it| it.transactions.len());
    let took = network.run_until("the payments are worked on", |it| holds(it) == Some(3));
    assert!(took <= limits::TEMPLATE_DEBOUNCE, "{took:?}");
}

#[test]
fn the_block_in_hand_is_abandoned_at_once_when_a_better_chain_arrives() {
    let rules = Arc::new(easy_rules(&[]));
    let mut network = Network::new(&rules, 3);
    let miners = [network.add(Spec::default()), network.add(Spec::default().mining_as(901))];
    network.run_for(seconds(3));
    let stale = network.template(miners[1]).cloned().expect("there is always a block to work on");
    network.mine(miners[0]);
    network.run_until("both have it", |it| it.agree(&miners));
    let template = network.template(miners[1]).cloned().expect("there is always a block to work on");
    assert_eq!(template.header.previous, network.tip(miners[0]));
    // Its solution comes a moment too late and harms nobody.
    let mut header = stale.header;
    find_nonce(&mut header, true);
    network.give(miners[1], Input::Mined { template: stale, nonce: header.nonce, seal: None });
    assert!(network.agree(&miners));
}

/// Whatever were built meanwhile would be thrown away as soon as the tip changes.
#[test]
fn while_blocks_are_written_no_template_is_handed_out_and_one_is_as_soon_as_they_are() {
    let rules = Arc::new(easy_rules(&[&Key::new(1)]));
    let mut network = Network::new(&rules, 8);
    let miners = [network.add(Spec::default()), network.add(Spec::default().mining_as(901))];
    let template =
        |network: &Network| network.template(miners[0]).cloned().expect("there is always a block to work on");
    let old = template(&network);
    network.run_for(seconds(3));
    let stale = template(&network);
    assert!(!Arc::ptr_eq(&old, &stale), "it is renewed while nothing is written");

    // A block of its own, with a payment that is worth a new template in hand.
    pay(&mut network, miners[0], 0..1);
    network.run_for(millis(1));
    network.jobs_take(seconds(5));
    let own = network.mine(miners[0]);
    network.run_for(millis(4_900));
    assert!(Arc::ptr_eq(&stale, &template(&network)));
    assert_eq!(network.height(miners[0]), 0);
    network.run_for(millis(100));
    assert_eq!(network.tip(miners[0]), own);
    let next = template(&network);
    assert_eq!((next.header.previous, next.transactions.len()), (own, 1));

    // One from a peer: its check takes as long as its writing, and only this keeps templates back.
    network.run_until("the other has it", |it| it.agree(&miners));
    let theirs = network.mine(miners[1]);
    network.run_until("the other has written it", |it| it.tip(miners[1]) == theirs);
    network.run_for(seconds(7));
    let stale = template(&network);
    network.run_for(seconds(3) - millis(100));
    assert_eq!(network.tip(miners[0]), own);
    assert!(Arc::ptr_eq(&stale, &template(&network)));
    network.run_for(millis(300));
    assert_eq!(network.tip(miners[0]), theirs);
    assert_eq!(template(&network).header.previous, theirs);
}

#[test]
fn authorities_mine_in_turns_and_the_next_takes_over_from_one_that_is_away() {
    let keys: Vec<Key> = (60..63).map(Key::new).collect();
    let rules = Rules {
        authorities: keys.iter().map(Key::address).collect(),
        authority_timeout_seconds: 10,
        max_ahead_seconds: 5,
        ..easy_rules(&[])
    };
    rules.check().expect("the rules are within bounds");
    let rules = Arc::new(rules);
    let mut network = Network::new(&rules, 4);
    let members: Vec<_> = (60..63).map(|key| network.add(Spec::default().mining_as(key))).collect();
    let outsider = network.add(Spec::default().mining_as(77));
    assert_eq!(idle(&network, outsider), Some(Idle::NoAuthority));
    // Genesis is a month old: everybody's turn has come. Height 1 belongs to the second.
    network.run_for(seconds(3));
    network.mine(members[1]);
    network.run_until("all have it", |it| it.agree(&members));
    let at_work = |network: &Network| -> Vec<usize> {
        (0..3).filter(|i| network.template(members[*i]).is_some()).collect()
    };
    // A block's time may be made up to the spacing ahead, a turn is waited for.
    network.run_for(seconds(1));
    assert_eq!(at_work(&network), [2]);
    assert!(matches!(idle(&network, members[0]), Some(Idle::NotOurTurn { .. })));
    // The third is away: after ten seconds the first may, after twenty the second.
    network.run_for(seconds(10));
    assert_eq!(at_work(&network), [0, 2]);
    network.mine(members[0]);
    network.run_until("all have it", |it| it.agree(&[members[0], members[1], members[2], outsider]));
    assert_eq!(network.height(outsider), 2);
    network.run_for(seconds(1));
    assert_eq!(at_work(&network), [0]);
}

/// Blocks found faster than their spacing used to run ahead of the clock by as much as others take.
#[test]
fn a_fast_miner_waits_for_the_clock_and_mines_on_behind_one_whose_clock_is_ahead() {
    let rules = Arc::new(easy_rules(&[]));
    let spacing = u64::from(rules.min_spacing_ms);
    let mut network = Network::new(&rules, 6);
    let miner = network.add(Spec::default());
    network.mine_many(miner, 40);
    let ahead = network.node(miner).tip().time.millis_since(network.now_of(0).wall);
    assert!(ahead <= 2 * spacing, "{ahead} ms");

    let hasty = network.add(Spec { clock_ahead_ms: 60_000, ..Spec::default().mining_as(21) });
    network.run_until("both agree", |it| it.agree(&[miner, hasty]));
    network.mine_many(hasty, 1);
    network.run_until("both agree", |it| it.agree(&[miner, hasty]));
    network.run_for(seconds(1));
    let template = network.template(miner).expect("nobody makes it stand still");
    assert!(template.header.time.millis_since(network.now_of(0).wall) > 50_000);
}

#[test]
fn a_tip_far_ahead_of_the_clock_is_not_built_upon_and_that_is_said_once() {
    let rules = Arc::new(Rules { min_spacing_ms: 60_000, ..easy_rules(&[]) });
    let mut network = Network::new(&rules, 5);
    let miner = network.add(Spec::default());
    while network.template(miner).is_some() {
        network.mine(miner);
    }
    network.run_for(seconds(20));
    let said = network.noticed(miner, |it| matches!(it, Notice::Idle(Idle::ClockBehind { .. })));
    assert_eq!(said, 1);
    network.run_for(seconds(60));
    assert!(network.template(miner).is_some());
}

#[derive(Clone, Debug)]
struct Wish {
    from: u64,
    to: u64,
    nonce: u64,
    coins: u64,
    fee: u64,
    data: usize,
    valid_until: u32,
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let wish = (0..6_u64, 0..8_u64, 0..30_u64, 1..400_u64, 0..50_u64, 0..=80_usize, 0..4_u32).prop_map(
        |(from, to, nonce, coins, fee, data, valid_until)| Wish {
            from,
            to,
            nonce,
            coins,
            fee,
            data,
            valid_until,
        },
    );
    proptest::collection::vec(wish, 0..250)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_in_the_pool_the_template_is_a_valid_block(wishes in wishes(), data in 0..=80_usize) {
        let keys: Vec<Key> = (0..6).map(Key::new).collect();
        let rules = Rules { max_block_bytes: 64 << 10, ..easy_rules(&keys.iter().collect::<Vec<_>>()) };
        let rules = Arc::new(rules);
        let mut branch = Branch::new(&rules);
        branch.grow(&Key::new(5), Vec::new());
        let chain = chain_of(&rules, &branch);
        let account = |address: &Address| {
            let account = chain.store().read::<_, StoreError>(|reader| reader.account(address));
            account.expect("a store in memory does not fail")
        };
        let mut pool = Mempool::new(MempoolLimits { transactions: 600, bytes: 1 << 20 });
        for wish in wishes {
            let from = Key::new(wish.from);
            let mut payment = from.payment(Key::new(wish.to).address(), wish.coins * 1_000_000, wish.nonce);
            payment.fee = Amount::from_units(wish.fee);
            payment.data = vec![7; wish.data];
            payment.valid_until = wish.valid_until;
            let signed = from.sign(&rules.network_id(), payment);
            let checked = check_transaction(&rules, &rules.network_id(), signed, &StandIn);
            let checked = Arc::new(checked.expect("the payment is well made"));
            let _ = pool.insert(checked.clone(), Height::new(2), account(&checked.sender()));
        }
        let now = branch.blocks[0].header().header.time.plus_millis(10_000);
        let data = vec![1; data];
        let template = chain
            .store()
            .read(|reader| template::build(reader, &rules, &pool, keys[0].address(), &data, now))
            .expect("a store in memory does not fail")
            .expect("a block may be empty");
        let mut header = template.header;
        find_nonce(&mut header, true);
        let block = template.to_block(header.nonce, None);
        let ancestors = chain
            .store()
            .read(|reader| crate::chain::ancestors_of(reader, &branch.tip()))
            .expect("a store in memory does not fail")
            .expect("the tip is in the tree");
        check_header(&rules, &ancestors, &block.header, &StandIn).expect("the header is valid");
        let hashed = EncodedBody::new(&block.body.to_body());
        prop_assert_eq!(block.body.leaves(), hashed.leaves(), "what is known of them is what they are");
        let checked = check_body(
            &rules, &rules.network_id(), template.parent_time, block.to_block(), &NothingKnown, &StandIn,
        );
        let checked = checked.expect("the body is valid");
        prop_assert!(checked.encoded_body().len() <= 64 << 10);
        let outcome = chain.connect(&[checked]).expect("a store in memory does not fail");
        prop_assert_eq!(outcome.invalid, None);
        prop_assert!(outcome.change.is_some());
    }
}
