//! The failures of this project's ancestors that concern the node, by their numbers.

use std::sync::Arc;

use super::super::*;
use super::harness::*;
use crate::difficulty::Work;
use crate::hash::BlockId;
use crate::rules::Rules;
use crate::testing::{Branch, Key, easy_rules, find_nonce};
use crate::wire::SubmitResult;

fn rules() -> Arc<Rules> {
    Arc::new(easy_rules(&[&Key::new(1)]))
}

/// One packet with a malformed key, or one overspending payment, killed the ancestor's mining for good.
#[test]
fn failure_5_no_payment_stops_the_mining() {
    let rules = rules();
    let mut network = Network::new(&rules, 1);
    let miner = network.add(Spec::default());
    let from = Key::new(1);
    let sign = |change: fn(&mut crate::transaction::Payment)| {
        let mut payment = from.payment(Key::new(2).address(), 600_000_000, 0);
        change(&mut payment);
        from.sign(&rules.network_id(), payment)
    };
    let mut malformed = sign(|_| {});
    malformed.payment.public_key = vec![0; 3];
    let mut no_signature = sign(|_| {});
    no_signature.signature.clear();
    let overspending = sign(|payment| payment.amount = crate::amount::Amount::from_coins(5_000));
    // An honest user who sends twice: either fits, both do not.
    let (first, second) = (sign(|_| {}), sign(|payment| payment.nonce = 1));
    for payment in [malformed, no_signature, overspending, first.clone(), second] {
        network.say_payment(miner, &payment);
    }
    network.run_for(seconds(2));
    for _ in 0..3 {
        network.mine(miner);
        network.run_for(seconds(1));
    }
    assert_eq!(network.height(miner), 3);
    assert_eq!(network.balance(miner, &Key::new(2).address()), 600_000_000);
    assert!(network.pool(miner).is_empty());
    assert!(network.template(miner).is_some());
}

/// A status that pointed at a black hole muted the ancestor's block server for 15 s, an idle connection
/// starved it.
#[test]
fn failure_6_black_holes_and_idle_callers_mute_nobody() {
    let rules = rules();
    let mut network = Network::new(&rules, 2);
    let mut branch = Branch::new(&rules);
    (0..20).for_each(|_| drop(branch.grow(&Key::new(10), Vec::new())));
    let miner = network.add(Spec::with(&branch));
    let holes: Vec<_> = (0..50).map(|_| network.add_puppet(Greeting::Silence, |_| Reply::Never)).collect();
    for (place, hole) in holes.iter().enumerate() {
        let mut tip = *network.node(miner).tip();
        tip.work = Work::from_be_bytes([1 + place as u8; 32]);
        tip.id = BlockId::from_bytes([place as u8; 32]);
        network.claim(*hole, &tip);
    }
    // Callers that wait hold up nobody who asks.
    let tip = network.tip(miner);
    for caller in 0..300 {
        let request = Request::WaitStatus { tip };
        network.give(miner, Input::Request { connection: ConnectionId(caller), request });
    }
    let asked_at = network.now;
    let answer = network.answer(miner, Request::GetPoolIds { after: None });
    assert_eq!((answer, network.now), (Response::PoolIds(Vec::new()), asked_at));
    let fresh = network.add(Spec::wallet());
    let took = network.run_until("the fresh node has the chain", |it| it.agree(&[miner, fresh]));
    assert!(took < seconds(4), "{took:?}");
}

/// One lying status and one easy block wiped ten blocks of the ancestor's history.
#[test]
fn failure_6_a_lying_status_and_an_easy_block_wipe_nothing() {
    let rules = rules();
    let mut network = Network::new(&rules, 3);
    let mut branch = Branch::new(&rules);
    (0..10).for_each(|_| drop(branch.grow(&Key::new(10), Vec::new())));
    let node = network.add(Spec::with(&branch));
    let mut easy = Branch::new(&rules).grow(&Key::new(11), Vec::new()).to_block();
    find_nonce(&mut easy.header, false);
    let header = easy.sealed_header();
    let block = easy.clone();
    let liar = network.add_puppet(Greeting::Hello, move |request| {
        Reply::Now(vec![match request {
            Request::GetHeaders { .. } => Response::Headers(vec![header.clone()]),
            _ => Response::Block((&block).into()),
        }])
    });
    let mut tip = *network.node(node).tip();
    (tip.id, tip.work) = (easy.id(), Work::from_be_bytes([255; 32]));
    for _ in 0..30 {
        network.claim(liar, &tip);
        network.run_for(seconds(2));
    }
    let answer = network.answer(node, Request::SubmitBlocks(vec![easy]));
    assert_eq!(answer, Response::Results(vec![SubmitResult::REFUSED]));
    assert_eq!(network.tip(node), branch.tip());
}

/// Fewer payments than a block takes waited for ever in the ancestor, unexplained.
#[test]
fn failure_11_a_lone_payment_is_mined_after_the_interval_and_the_wait_is_explained() {
    let rules = Rules {
        block_size: 5,
        block_interval_seconds: 30,
        allow_empty: false,
        ..easy_rules(&[&Key::new(1)])
    };
    let rules = Arc::new(rules);
    let mut network = Network::new(&rules, 4);
    let miner = network.add(Spec::default());
    network.mine(miner);
    let from = Key::new(1);
    let payment = from.sign(&rules.network_id(), from.payment(Key::new(2).address(), 1, 0));
    network.say_payment(miner, &payment);
    network.run_for(seconds(2));
    let explained = network.noticed(miner, |it| {
        matches!(it, Notice::Idle(Idle::WaitingForPayments { have: 1, need: 4, until: Some(_) }))
    });
    assert_eq!(explained, 1);
    let took = network.run_until("there is a block to work on", |it| it.template(miner).is_some());
    assert!(took <= seconds(30), "{took:?}");
    network.mine(miner);
    assert_eq!(network.balance(miner, &Key::new(2).address()), 1);
}
