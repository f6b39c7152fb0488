//! Named peers: blocks and payments both ways over connections that only one side can open.

use std::sync::Arc;

use super::super::*;
use super::harness::*;
use crate::rules::Rules;
use crate::testing::{Branch, Key, easy_rules};
use crate::wire::SubmitResult;

fn rules() -> Arc<Rules> {
    Arc::new(easy_rules(&[&Key::new(1), &Key::new(2)]))
}

fn branch(rules: &Arc<Rules>, miner: u64, blocks: usize) -> Branch {
    let (mut branch, miner) = (Branch::new(rules), Key::new(miner));
    for _ in 0..blocks {
        branch.grow(&miner, Vec::new());
    }
    branch
}

/// A server that nobody hears, and a machine that was told its name and that cannot be called.
fn server_and_caller(network: &mut Network, server: Spec, caller: Spec) -> (MachineId, MachineId) {
    let server = network.add(Spec { broadcast: false, ..server });
    let caller = network.add(Spec { broadcast: false, block_server: false, named: vec![server], ..caller });
    (server, caller)
}

#[test]
fn new_blocks_flow_both_ways_at_once() {
    let mut network = Network::new(&rules(), 1);
    let (server, caller) = server_and_caller(&mut network, Spec::default(), Spec::default().mining_as(901));
    network.run_for(seconds(2));
    for round in 0..6 {
        network.mine(if round % 2 == 0 { server } else { caller });
        let took = network.run_until("both have it", |it| it.agree(&[server, caller]));
        assert!(took < seconds(1), "round {round} took {took:?}");
        network.run_for(seconds(3));
    }
    let blamed = |id| network.noticed(id, |it| matches!(it, Notice::PeerMisbehaved { .. }));
    assert_eq!((blamed(server), blamed(caller)), (0, 0));
}

#[test]
fn a_long_chain_is_pulled_and_a_long_chain_is_pushed() {
    let rules = rules();
    for (servers, callers) in [(200, 0), (0, 200), (200, 3), (3, 200), (0, 1), (1_000, 1_100)] {
        let mut network = Network::new(&rules, 2);
        let (server, caller) = server_and_caller(
            &mut network,
            Spec::with(&branch(&rules, 10, servers)),
            Spec::with(&branch(&rules, 11, callers)),
        );
        let took = network.run_until("both agree", |it| it.agree(&[server, caller]));
        assert_eq!(network.height(server), servers.max(callers) as u64);
        assert!(took < seconds(10), "{servers} and {callers} blocks took {took:?}");
    }
}

#[test]
fn a_push_waits_for_slow_checks_and_goes_on() {
    let rules = rules();
    let mut network = Network::new(&rules, 3);
    network.jobs_take(millis(1_500));
    let caller = Spec::with(&branch(&rules, 11, 200));
    let (server, caller) = server_and_caller(&mut network, Spec::default(), caller);
    let took = network.run_until("both agree", |it| it.agree(&[server, caller]));
    assert!(took < seconds(20), "{took:?}");
}

#[test]
fn payments_flow_both_ways() {
    let rules = rules();
    let mut network = Network::new(&rules, 4);
    let (server, caller) = server_and_caller(&mut network, Spec::default(), Spec::default().mining_as(901));
    network.run_for(seconds(2));
    let pay = |from: u64| {
        let from = Key::new(from);
        from.sign(&rules.network_id(), from.payment(Key::new(3).address(), 1, 0))
    };
    network.say_payment(caller, &pay(1));
    let took = network.run_until("the server has it", |it| it.pool(server).len() == 1);
    assert!(took < seconds(1), "{took:?}");
    network.say_payment(server, &pay(2));
    network.run_until("the caller has it", |it| it.pool(caller).len() == 2);
}

#[test]
fn a_wallet_s_payments_reach_every_named_peer_also_one_that_comes_up_later() {
    let rules = rules();
    let mut network = Network::new(&rules, 5);
    let servers: Vec<_> = (0..2).map(|_| network.add(Spec { broadcast: false, ..Spec::default() })).collect();
    let wallet = network.add(Spec { broadcast: false, named: servers.clone(), ..Spec::wallet() });
    network.set_side(servers[1], 1);
    network.run_for(seconds(2));
    let from = Key::new(1);
    let payment = from.sign(&rules.network_id(), from.payment(Key::new(3).address(), 1, 0));
    for _ in 0..3 {
        network.give(wallet, Input::Submit(vec![payment.clone()]));
        network.run_for(seconds(5));
    }
    assert_eq!(network.pool(servers[0]).len(), 1);
    network.set_side(servers[1], 0);
    network.run_until("the late one has it", |it| it.pool(servers[1]).len() == 1);
    // It was kept once, however often it was submitted.
    let sent = network.sent(wallet, servers[1]).find_map(|it| match it {
        Message::Request(Request::SubmitTransactions(transactions)) => Some(transactions.len()),
        _ => None,
    });
    assert_eq!(sent, Some(1));
}

#[test]
fn what_was_pushed_during_a_fetch_has_its_turn_afterwards() {
    let rules = rules();
    let mut network = Network::new(&rules, 6);
    let node = network.add(Spec::default());
    let (slow, better) = (branch(&rules, 10, 20), branch(&rules, 11, 30));
    let chain = chain_of(&rules, &slow);
    let tip = chain.tip().expect("a store in memory does not fail");
    let peer = network.add_puppet(Greeting::Hello, move |request| {
        let wait = if matches!(request, Request::GetBlocks { .. }) { seconds(1) } else { seconds(0) };
        Reply::After(wait, chain_answers(&chain, request))
    });
    network.claim(peer, &tip);
    network.run_for(millis(500));
    let blocks = better.blocks.iter().map(CheckedBlock::to_block).collect();
    let answer = network.answer(node, Request::SubmitBlocks(blocks));
    assert_eq!(answer, Response::Results(vec![SubmitResult::WAITS; 30]));
    network.run_until("the pushed chain is taken", |it| it.tip(node) == better.tip());
}

#[test]
fn what_becomes_of_pushed_blocks_is_said_one_by_one() {
    let rules = rules();
    let mut network = Network::new(&rules, 7);
    let ours = branch(&rules, 10, 5);
    let node = network.add(Spec { miner: None, ..Spec::with(&ours) });
    let push = |network: &mut Network, blocks: &[CheckedBlock]| {
        let blocks = blocks.iter().map(CheckedBlock::to_block).collect();
        match network.answer(node, Request::SubmitBlocks(blocks)) {
            Response::Results(results) => results,
            other => panic!("a push is answered with {other:?}"),
        }
    };
    assert_eq!(push(&mut network, &ours.blocks[3..]), [SubmitResult::KNOWN; 2]);
    let better = branch(&rules, 11, 7);
    assert_eq!(push(&mut network, &better.blocks[2..4]), [SubmitResult::UNKNOWN_PARENT; 2]);
    // What comes after a gap is not looked at, whatever it is: one could make a node look at much for nothing.
    let gap = [&better.blocks[3], &better.blocks[0]].map(|block| block.to_block());
    let answer = network.answer(node, Request::SubmitBlocks(gap.into()));
    assert_eq!(answer, Response::Results(vec![SubmitResult::UNKNOWN_PARENT; 2]));
    assert_eq!(push(&mut network, &better.blocks[..4]), [SubmitResult::WAITS; 4]);
    assert_eq!(push(&mut network, &better.blocks[4..]), [SubmitResult::ACCEPTED; 3]);
    assert_eq!(network.tip(node), better.tip());

    // A block without work, and one that is invalid on the ledger.
    let mut lazy = better.clone().grow(&Key::new(12), Vec::new()).to_block();
    crate::testing::find_nonce(&mut lazy.header, false);
    let answer = network.answer(node, Request::SubmitBlocks(vec![lazy]));
    assert_eq!(answer, Response::Results(vec![SubmitResult::REFUSED]));
    let mut bad = better.clone();
    let too_much = bad.pay(&Key::new(1), Key::new(2).address(), 2_000_000_000, 0);
    bad.grow_anyway(&Key::new(13), vec![too_much]);
    assert_eq!(push(&mut network, &bad.blocks[7..]), [SubmitResult::REFUSED]);
    assert_eq!(network.tip(node), better.tip());

    // A body that is not its header's says nothing about the block: it may come again.
    let good = better.clone().grow(&Key::new(14), Vec::new());
    let mut swapped = good.to_block();
    swapped.body.reward.data = vec![1];
    let answer = network.answer(node, Request::SubmitBlocks(vec![swapped]));
    assert_eq!(answer, Response::Results(vec![SubmitResult::WAITS]));
    assert_eq!(push(&mut network, &[good]), [SubmitResult::ACCEPTED]);
}

#[test]
fn what_callers_stage_is_bounded_in_all() {
    let rules = rules();
    let mut network = Network::new(&rules, 8);
    let node = network.add(Spec { miner: None, ..Spec::with(&branch(&rules, 10, 20)) });
    // One header's work, shown over and over with bodies that were never looked at.
    let mut block = branch(&rules, 11, 1).blocks[0].to_block();
    let from = Key::new(1);
    let payment = from.payment(Key::new(2).address(), 1, 0);
    block.body.transactions = vec![from.sign(&rules.network_id(), payment); 20_000];
    for caller in 0..12 {
        let request = Request::SubmitBlocks(vec![block.clone()]);
        network.give(node, Input::Request { connection: ConnectionId(caller), request });
        assert!(network.node(node).staged_bytes() <= limits::MAX_STAGED_BYTES_IN_ALL);
    }
    assert!(network.node(node).staged_bytes() > 0);
    (0..12).for_each(|it| network.give(node, Input::CallerGone { connection: ConnectionId(it) }));
    assert_eq!(network.node(node).staged_bytes(), 0);
}

#[test]
fn a_named_peer_that_answers_a_wait_at_once_makes_nobody_spin() {
    let rules = rules();
    let mut network = Network::new(&rules, 9);
    let chain = chain_of(&rules, &branch(&rules, 10, 0));
    let tip = chain.tip().expect("a store in memory does not fail");
    let hasty = network.add_puppet(Greeting::Hello, move |request| {
        Reply::Now(match request {
            Request::WaitStatus { .. } => vec![Response::Status(status(1_000, &tip))],
            request => chain_answers(&chain, request),
        })
    });
    let node = network.add(Spec { named: vec![hasty], ..Spec::wallet() });
    network.run_for(seconds(10));
    let asked = network.sent(node, hasty).count();
    assert!((50..=110).contains(&asked), "asked {asked} times in ten seconds");
}

#[test]
fn a_node_that_was_told_its_own_name_calls_itself_once() {
    let mut network = Network::new(&rules(), 10);
    let node = network.add(Spec { named: vec![0], ..Spec::default() });
    network.run_for(seconds(100));
    assert_eq!(network.outbound(node), 0);
    assert_eq!(network.noticed(node, |it| matches!(it, Notice::PeerFound { .. })), 0);
}
