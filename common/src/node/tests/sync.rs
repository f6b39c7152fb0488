//! Following the best chain when everybody is honest.

use std::sync::Arc;

use super::super::*;
use super::harness::*;
use crate::chain::MAX_HEADERS;
use crate::rules::Rules;
use crate::testing::{Branch, Key, easy_rules};

fn rules() -> Arc<Rules> {
    Arc::new(easy_rules(&[&Key::new(1), &Key::new(2)]))
}

/// A branch of so many empty blocks of one miner.
fn branch(rules: &Arc<Rules>, miner: u64, blocks: usize) -> Branch {
    let (mut branch, miner) = (Branch::new(rules), Key::new(miner));
    for _ in 0..blocks {
        branch.grow(&miner, Vec::new());
    }
    branch
}

fn blamed(network: &Network, id: MachineId) -> usize {
    network.noticed(id, |notice| matches!(notice, Notice::PeerFailed { .. } | Notice::PeerMisbehaved { .. }))
}

#[test]
fn a_fresh_node_syncs_chains_of_any_length_from_one_peer() {
    let rules = rules();
    for (blocks, most) in [(1, seconds(4)), (3, seconds(4)), (5_000, seconds(60))] {
        let mut network = Network::new(&rules, 1);
        let branch = branch(&rules, 10, blocks);
        let full = network.add(Spec::with(&branch));
        let fresh = network.add(Spec { miner: None, ..Spec::default() });
        let took = network.run_until("the fresh node has the chain", |it| it.agree(&[full, fresh]));
        assert!(took <= most, "{blocks} blocks took {took:?}");
        assert_eq!(blamed(&network, fresh), 0);
        network.run_for(seconds(5));
        assert!(network.node(fresh).is_caught_up());
    }
}

#[test]
fn bodies_come_from_all_who_have_them() {
    let rules = rules();
    let mut network = Network::new(&rules, 2);
    let branch = branch(&rules, 10, 5_000);
    let full: Vec<_> = (0..3).map(|_| network.add(Spec::with(&branch))).collect();
    let fresh = network.add(Spec::wallet());
    network.run_until("the fresh node has the chain", |it| it.agree(&[full[0], fresh]));
    let served = |from| {
        network.sent(from, fresh).filter(|it| matches!(it, Message::Response(Response::Block(_)))).count()
    };
    let served: Vec<usize> = full.iter().map(|from| served(*from)).collect();
    assert!(served.iter().all(|count| *count > 500), "{served:?}");
    // Nobody was slow, so hardly anything was asked for twice.
    assert!(served.iter().sum::<usize>() <= 5_050, "{served:?}");
    assert_eq!(blamed(&network, fresh), 0);
}

#[test]
fn headers_never_pile_up_beyond_their_bound() {
    let rules = rules();
    let mut network = Network::new(&rules, 3);
    let branch = branch(&rules, 10, 9_000);
    let full = network.add(Spec::with(&branch));
    let fresh = network.add(Spec::wallet());
    network.jobs_take(millis(40));
    while !network.agree(&[full, fresh]) {
        network.run_for(millis(50));
        assert!(network.node(fresh).pending_headers() <= limits::MAX_PENDING_HEADERS);
        assert!(network.now < seconds(600), "stuck at {}", network.height(fresh));
    }
}

#[test]
fn the_halves_of_a_partition_reunite_on_the_heavier_one_and_lose_no_payment() {
    let rules = rules();
    let mut network = Network::new(&rules, 4);
    let lighter = network.add(Spec::default().mining_as(10));
    let heavier = network.add(Spec::default().mining_as(11));
    network.run_for(seconds(3));
    network.set_side(heavier, 1);
    let (alice, bob) = (Key::new(1), Key::new(2));
    let payments: Vec<_> = (0..3)
        .map(|nonce| alice.sign(&rules.network_id(), alice.payment(bob.address(), 5_000_000, nonce)))
        .collect();
    for payment in &payments {
        network.say_payment(lighter, payment);
        network.run_for(seconds(1));
        network.mine(lighter);
    }
    assert!(network.pool(lighter).is_empty());
    network.mine_many(lighter, 27);
    network.mine_many(heavier, 31);
    network.run_for(seconds(60));
    assert_eq!((network.height(lighter), network.height(heavier)), (30, 31));
    network.set_side(heavier, 0);
    network.run_until("the halves agree", |it| it.agree(&[lighter, heavier]));
    assert_eq!(network.height(lighter), 31);
    assert_eq!(network.pool(lighter).len(), 3);
    assert_eq!(network.noticed(lighter, |it| matches!(it, Notice::DeepReorganisation { depth: 30 })), 1);
    // The other side hears of them by the exchange of pools, and its next block holds them.
    network.run_until("the payments get about", |it| it.pool(heavier).len() == 3);
    network.run_for(seconds(2));
    network.mine(heavier);
    network.run_until("the halves agree", |it| it.agree(&[lighter, heavier]));
    assert_eq!(network.balance(lighter, &bob.address()), 1_015_000_000);
    assert!(network.pool(lighter).is_empty());
}

#[test]
fn of_equal_work_the_smaller_id_wins_everywhere() {
    let rules = rules();
    for seed in 0..4 {
        let mut network = Network::new(&rules, seed);
        let branches = [branch(&rules, 10 + seed, 30), branch(&rules, 20 + seed, 30)];
        let members: Vec<_> = branches.iter().map(|branch| network.add(Spec::with(branch))).collect();
        let fresh = network.add(Spec::wallet());
        let all = [members[0], members[1], fresh];
        let smaller = branches.iter().map(Branch::tip).min();
        network.run_until("all agree", |it| it.agree(&all));
        assert_eq!(Some(network.tip(fresh)), smaller);
    }
}

#[test]
fn a_fork_too_long_to_hold_is_followed_by_its_windows() {
    let rules = rules();
    let mut network = Network::new(&rules, 5);
    let ours = branch(&rules, 10, 2 * MAX_HEADERS + 500);
    let theirs = branch(&rules, 11, 3 * MAX_HEADERS + 10);
    let node = network.add(Spec::with(&ours));
    let other = network.add(Spec::with(&theirs));
    network.run_until("the longer fork wins", |it| it.agree(&[node, other]));
    assert_eq!(network.tip(node), theirs.tip());
    // Its headers came twice: once for their work, once for their bodies.
    let headers: usize = network
        .sent(other, node)
        .map(|it| match it {
            Message::Response(Response::Headers(headers)) => headers.len(),
            _ => 0,
        })
        .sum();
    assert!(headers >= 6 * MAX_HEADERS, "{headers}");
    assert_eq!(blamed(&network, node), 0);
}

#[test]
fn a_peer_that_changes_a_long_fork_after_proving_it_is_found_out() {
    let rules = rules();
    let mut network = Network::new(&rules, 6);
    let ours = branch(&rules, 10, 2 * MAX_HEADERS + 500);
    let shown = chain_of(&rules, &branch(&rules, 11, 3 * MAX_HEADERS));
    let given = chain_of(&rules, &branch(&rules, 12, 3 * MAX_HEADERS));
    let node = network.add(Spec::with(&ours));
    let tip = shown.tip().expect("a store in memory does not fail");
    let mut asked = 0;
    let liar = network.add_puppet(Greeting::Hello, move |request| {
        asked += usize::from(matches!(request, Request::GetHeaders { .. }));
        Reply::Now(chain_answers(if asked <= 3 { &shown } else { &given }, request))
    });
    network.claim(liar, &tip);
    network.run_until("the liar is found out", |it| blamed(it, node) > 0);
    assert_eq!(network.tip(node), ours.tip());
    let bodies = network.sent(liar, node).filter(|it| matches!(it, Message::Response(Response::Block(_))));
    assert_eq!(bodies.count(), 0);
}

#[test]
fn a_wallet_follows_block_by_block() {
    let rules = rules();
    let mut network = Network::new(&rules, 7);
    let miner = network.add(Spec::default());
    let wallet = network.add(Spec::wallet());
    for _ in 0..5 {
        network.run_for(seconds(3));
        network.mine(miner);
        // The status goes out at once: nobody waits for the interval.
        let took = network.run_until("the wallet follows", |it| it.agree(&[miner, wallet]));
        assert!(took < millis(500), "{took:?}");
    }
    assert!(
        network.sent(wallet, miner).all(|it| !matches!(it, Message::Request(Request::GetCompact { .. })))
    );
}

#[test]
fn ten_miners_agree_after_mining_at_the_same_moments() {
    let rules = rules();
    let mut network = Network::new(&rules, 8);
    let miners: Vec<_> = (0..10).map(|i| network.add(Spec::default().mining_as(50 + i))).collect();
    network.run_for(seconds(3));
    for round in 0..10 {
        for miner in miners.iter().skip(round).take(3) {
            network.mine(*miner);
        }
        network.run_for(seconds(2));
    }
    network.run_until("all agree", |it| it.agree(&miners));
    let blame: usize = miners.iter().map(|miner| blamed(&network, *miner)).sum();
    assert_eq!(blame, 0, "{:?}", network.notices(miners[0]));
}

#[test]
fn wait_status_is_answered_by_a_new_tip_or_after_ten_seconds() {
    let rules = rules();
    let mut network = Network::new(&rules, 9);
    let miner = network.add(Spec::default());
    let old = network.tip(miner);
    let answer = network.answer(miner, Request::WaitStatus { tip: BlockId::ZERO });
    assert!(matches!(answer, Response::Status(status) if status.tip == old));
    assert_eq!(network.now, Duration::ZERO);

    let answer = network.answer(miner, Request::WaitStatus { tip: old });
    assert!(matches!(answer, Response::Status(status) if status.tip == old));
    assert_eq!(network.now, seconds(10));

    network.take_answers();
    network.ask(miner, Request::WaitStatus { tip: old });
    network.run_for(seconds(3));
    assert_eq!(network.take_answers(), []);
    let new = network.mine(miner);
    assert!(matches!(network.take_answers()[..], [Response::Status(status)] if status.tip == new));
}

#[test]
fn a_chain_is_caught_up_with_only_when_somebody_said_what_it_is() {
    let rules = rules();
    let mut network = Network::new(&rules, 10);
    let branch = branch(&rules, 10, 50);
    let full = network.add(Spec { broadcast: false, ..Spec::with(&branch) });
    let wallet = network.add(Spec { named: vec![full], broadcast: false, ..Spec::wallet() });
    while network.height(wallet) < 50 {
        assert!(!network.node(wallet).is_caught_up(), "at height {}", network.height(wallet));
        network.run_for(millis(1));
        assert!(network.now < seconds(60));
    }
    network.run_until("it has caught up", |it| it.node(wallet).is_caught_up());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let rules = rules();
        let mut network = Network::new(&rules, seed);
        let miners: Vec<_> = (0..3).map(|i| network.add(Spec::default().mining_as(50 + i))).collect();
        for round in 0..5 {
            network.run_for(seconds(1));
            network.mine(miners[round % 3]);
        }
        network.run_for(seconds(10));
        let order: Vec<_> =
            network.journal().traffic.iter().map(|traffic| (traffic.from, traffic.to)).collect();
        (order, network.tip(miners[0]))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}
