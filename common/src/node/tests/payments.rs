//! Payments between nodes: verified once, passed on once, answered by their number.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::*;
use super::harness::*;
use crate::amount::Amount;
use crate::rules::Rules;
use crate::testing::{Key, easy_rules};
use crate::transaction::Payment;
use crate::wire::SubmitResult;

fn rules() -> Arc<Rules> {
    Arc::new(easy_rules(&[&Key::new(1), &Key::new(2)]))
}

fn payment(rules: &Rules, from: u64, nonce: u64, change: impl FnOnce(&mut Payment)) -> Transaction {
    let from = Key::new(from);
    let mut payment = from.payment(Key::new(3).address(), 1_000_000, nonce);
    change(&mut payment);
    from.sign(&rules.network_id(), payment)
}

fn plain(rules: &Rules, from: u64, nonce: u64) -> Transaction {
    payment(rules, from, nonce, |_| {})
}

/// How often each transaction went from one machine to another, in whatever message.
fn carried(network: &Network, from: MachineId, to: MachineId) -> BTreeMap<TransactionId, usize> {
    let mut counts = BTreeMap::new();
    for message in network.sent(from, to) {
        let transactions = match message {
            Message::Response(Response::Transactions(transactions)) => transactions.clone(),
            Message::Response(Response::Block(block)) => block.to_block().body.transactions,
            Message::Request(Request::SubmitTransactions(transactions)) => transactions.clone(),
            _ => continue,
        };
        for transaction in transactions {
            *counts.entry(transaction.id()).or_default() += 1;
        }
    }
    counts
}

fn whole_blocks(network: &Network, from: MachineId, to: MachineId) -> usize {
    network.sent(from, to).filter(|it| matches!(it, Message::Response(Response::Block(_)))).count()
}

#[test]
fn a_new_block_reaches_other_miners_without_any_transaction_sent_twice() {
    let rules = rules();
    let mut network = Network::new(&rules, 1);
    let (miner, other) = (network.add(Spec::default()), network.add(Spec::default().mining_as(901)));
    network.run_for(seconds(3));
    let payments: Vec<_> = (0..5).map(|nonce| plain(&rules, 1, nonce)).collect();
    for (place, payment) in payments.iter().enumerate() {
        network.say_payment(miner, payment);
        if place != 3 {
            network.say_payment(other, payment);
        }
    }
    network.run_for(millis(500));
    network.mine(miner);
    let took = network.run_until("the other has the block", |it| it.agree(&[miner, other]));
    assert!(took < seconds(1), "{took:?}");
    assert_eq!(whole_blocks(&network, miner, other), 0);
    assert_eq!(carried(&network, miner, other), BTreeMap::from([(payments[3].id(), 1)]));
    // Each was verified once: those that were heard then, the missing one in the block.
    assert_eq!(network.verified(other), 5);
    assert_eq!(network.verified(miner), 5);
}

#[test]
fn a_block_of_payments_that_are_mostly_unknown_comes_whole() {
    let rules = rules();
    let mut network = Network::new(&rules, 2);
    let (miner, other) = (network.add(Spec::default()), network.add(Spec::default().mining_as(901)));
    network.run_for(seconds(3));
    (0..5).for_each(|nonce| network.say_payment(miner, &plain(&rules, 1, nonce)));
    network.run_for(millis(500));
    network.mine(miner);
    network.run_until("the other has the block", |it| it.agree(&[miner, other]));
    assert_eq!(whole_blocks(&network, miner, other), 1);
}

#[test]
fn a_peer_that_withholds_what_is_missing_of_a_compact_block_is_asked_for_all_of_it() {
    let rules = rules();
    let mut branch = crate::testing::Branch::new(&rules);
    let payments: Vec<_> = (0..5).map(|nonce| plain(&rules, 1, nonce)).collect();
    branch.grow(&Key::new(10), payments.clone());
    let chain = chain_of(&rules, &branch);
    let tip = chain.tip().expect("a store in memory does not fail");
    let mut network = Network::new(&rules, 3);
    let node = network.add(Spec::default());
    payments.iter().skip(1).for_each(|payment| network.say_payment(node, payment));
    let peer = network.add_puppet(Greeting::Hello, move |request| {
        Reply::Now(match request {
            Request::GetBlockTransactions { .. } => vec![Response::Transactions(Vec::new())],
            request => chain_answers(&chain, request),
        })
    });
    network.claim(peer, &tip);
    network.run_until("the node has the block", |it| it.tip(node) == tip.id);
    assert_eq!(whole_blocks(&network, peer, node), 1);
}

#[test]
fn a_payment_is_verified_once_however_often_it_is_heard() {
    let rules = rules();
    let mut network = Network::new(&rules, 4);
    let (a, b) = (network.add(Spec::default()), network.add(Spec::default().mining_as(901)));
    network.run_for(seconds(3));
    let heard = plain(&rules, 1, 0);
    (0..5).for_each(|_| network.say_payment(a, &heard));
    // Another way, after it was verified, and to the other miner by the exchange of pools.
    network.run_for(seconds(1));
    network.say_payment(a, &heard);
    let answer = network.answer(a, Request::SubmitTransactions(vec![heard.clone()]));
    assert_eq!(answer, Response::Results(vec![SubmitResult::KNOWN]));
    network.run_until("the pools are alike", |it| it.pool(b).len() == 1);
    network.mine(b);
    network.run_until("both have the block", |it| it.agree(&[a, b]));
    network.say_payment(a, &heard);
    network.run_for(seconds(30));
    assert_eq!(network.verified(a), 1);
    assert_eq!(network.verified(b), 1);
}

#[test]
fn of_payments_that_are_heard_at_one_go_each_is_verified_once() {
    let rules = rules();
    let mut network = Network::new(&rules, 11);
    let node = network.add(Spec::default());
    let [first, second, other] = [plain(&rules, 1, 0), plain(&rules, 1, 1), plain(&rules, 2, 0)];
    let mut forged = other.clone();
    forged.signature[5] ^= 1;
    let heard = [&second, &first, &second, &forged, &other, &first, &forged].map(Transaction::clone);
    // Again while the first round waits for its check, and again after it.
    for _ in 0..2 {
        network.say_payments(node, &heard);
    }
    network.run_for(seconds(1));
    network.say_payments(node, &heard);
    network.run_for(seconds(1));
    assert_eq!(network.verified(node), 4);
    assert_eq!(network.pool(node).len(), 3);
    assert_eq!(network.noticed(node, |it| matches!(it, Notice::PaymentAccepted { .. })), 3);
    assert_eq!(network.noticed(node, |it| matches!(it, Notice::PaymentRefused { .. })), 1);
    // Twice in one submission: each place has its answer.
    let answer = network.answer(node, Request::SubmitTransactions(vec![plain(&rules, 2, 1); 2]));
    assert_eq!(answer, Response::Results(vec![SubmitResult::ACCEPTED, SubmitResult::KNOWN]));
    assert_eq!(network.verified(node), 5);
}

#[test]
fn a_payment_that_a_reorganisation_moves_to_another_block_is_not_verified_again() {
    let rules = rules();
    let mut network = Network::new(&rules, 5);
    let (a, b) = (network.add(Spec::default()), network.add(Spec::default().mining_as(901)));
    network.run_for(seconds(3));
    for member in [a, b] {
        network.say_payment(member, &plain(&rules, 1, 0));
    }
    network.run_for(seconds(1));
    network.set_side(b, 1);
    network.mine(a);
    network.mine_many(b, 2);
    network.set_side(b, 0);
    network.run_until("both agree", |it| it.agree(&[a, b]));
    assert_eq!(network.height(a), 2);
    assert_eq!(network.verified(a), 1);
}

#[test]
fn a_bad_signature_is_refused_once_and_then_for_free() {
    let rules = rules();
    let mut network = Network::new(&rules, 6);
    let node = network.add(Spec::default());
    let mut forged = plain(&rules, 1, 0);
    forged.signature[5] ^= 1;
    for _ in 0..3 {
        let answer = network.answer(node, Request::SubmitTransactions(vec![forged.clone()]));
        assert_eq!(answer, Response::Results(vec![SubmitResult::BAD_SIGNATURE]));
    }
    assert_eq!(network.verified(node), 1);
    // The real one is another transaction.
    let answer = network.answer(node, Request::SubmitTransactions(vec![plain(&rules, 1, 0)]));
    assert_eq!(answer, Response::Results(vec![SubmitResult::ACCEPTED]));
}

#[test]
fn what_becomes_of_submitted_payments_is_said_one_by_one() {
    let rules =
        Arc::new(Rules { min_fee: Amount::from_units(5), ..easy_rules(&[&Key::new(1), &Key::new(2)]) });
    let mut network = Network::new(&rules, 7);
    let pool = MempoolLimits { transactions: 8, bytes: 1 << 20 };
    let node = network.add(Spec { pool: Some(pool), ..Spec::default() });
    let make = |from, nonce, change: fn(&mut Payment)| {
        payment(&rules, from, nonce, |payment| {
            payment.fee = Amount::from_units(5);
            change(payment);
        })
    };
    // A first block, so that there is something to be too late for.
    network.say_payment(node, &make(1, 0, |_| {}));
    network.run_for(seconds(1));
    network.mine(node);
    let fine = make(1, 1, |_| {});
    let mut forged = make(2, 0, |_| {});
    forged.signature[0] ^= 1;
    let cases = [
        (fine.clone(), SubmitResult::ACCEPTED),
        (fine, SubmitResult::KNOWN),
        (forged, SubmitResult::BAD_SIGNATURE),
        (make(1, 0, |_| {}), SubmitResult::NONCE_TOO_LOW),
        (make(2, 0, |payment| payment.amount = Amount::from_coins(1_001)), SubmitResult::FUNDS),
        (make(7, 0, |_| {}), SubmitResult::FUNDS),
        (make(2, 0, |payment| payment.fee = Amount::from_units(4)), SubmitResult::FEE),
        (make(2, 0, |payment| payment.data = vec![0; 81]), SubmitResult::FORM),
        (make(2, 0, |payment| payment.amount = Amount::ZERO), SubmitResult::FORM),
        (make(2, 0, |payment| payment.valid_until = 1), SubmitResult::EXPIRED),
        (make(1, 1, |payment| payment.amount = Amount::from_units(7)), SubmitResult::CONFLICT),
        (make(1, 3, |_| {}), SubmitResult::ACCEPTED),
        (make(1, 4, |_| {}), SubmitResult::POOL_FULL),
    ];
    let (transactions, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    for (transaction, expected) in transactions.iter().zip(&expected) {
        let answer = network.answer(node, Request::SubmitTransactions(vec![transaction.clone()]));
        assert_eq!(answer, Response::Results(vec![*expected]), "{transaction:?}");
    }
    // All at once, and again: what was taken is known, the others stay what they are.
    let again: Vec<_> = expected
        .iter()
        .map(|it| if *it == SubmitResult::ACCEPTED { SubmitResult::KNOWN } else { *it })
        .collect();
    let answer = network.answer(node, Request::SubmitTransactions(transactions));
    assert_eq!(answer, Response::Results(again));
    assert_eq!(network.answer(node, Request::SubmitTransactions(Vec::new())), Response::Results(Vec::new()));
}

#[test]
fn too_many_after_a_gap_are_refused_by_their_number() {
    let rules = rules();
    let mut network = Network::new(&rules, 8);
    let node = network.add(Spec::default());
    let after_gap: Vec<_> = (1..=65).map(|nonce| plain(&rules, 1, nonce)).collect();
    let Response::Results(results) = network.answer(node, Request::SubmitTransactions(after_gap)) else {
        panic!("a submission is answered with results");
    };
    assert_eq!(results[..64], [SubmitResult::ACCEPTED; 64]);
    assert_eq!(results[64], SubmitResult::NONCE_GAP);
}

#[test]
fn pools_are_exchanged_with_miners_that_were_never_called_before() {
    let rules = rules();
    let mut network = Network::new(&rules, 9);
    let miners: Vec<_> = (0..6).map(|i| network.add(Spec::default().mining_as(50 + i))).collect();
    network.run_for(seconds(3));
    network.say_payment(miners[0], &plain(&rules, 1, 0));
    let took =
        network.run_until("all have the payment", |it| miners.iter().all(|id| it.pool(*id).len() == 1));
    assert!(took < seconds(120), "{took:?}");
}

#[test]
fn a_pool_of_many_pages_is_exchanged_without_gaps() {
    let rules = rules();
    let mut network = Network::new(&rules, 10);
    let a = network.add(Spec::default());
    for from in 1..=2 {
        for nonce in 0..1_500 {
            let small = payment(&rules, from, nonce, |payment| payment.amount = Amount::from_units(1));
            network.say_payment(a, &small);
        }
    }
    network.run_for(seconds(1));
    assert_eq!(network.pool(a).len(), 3_000);
    let b = network.add(Spec::default().mining_as(901));
    // What comes after a gap is bounded, so an exchange in order of ids takes more than one round.
    network.run_until("the pools are alike", |it| it.pool(b).len() == 3_000);
}

#[test]
fn of_what_a_caller_submits_no_more_is_looked_at_than_anybody_sends() {
    let rules = rules();
    let mut network = Network::new(&rules, 71);
    let node = network.add(Spec::default());
    let nothing = Key::new(1).payment(Key::new(2).address(), 0, 0);
    let payments = vec![Transaction { payment: nothing, signature: Vec::new() }; 2 * limits::MAX_SUBMITTED];
    let answer = network.answer(node, Request::SubmitTransactions(payments));
    let Response::Results(results) = answer else { panic!("it is answered with {answer:?}") };
    let (looked_at, rest) = results.split_at(limits::MAX_SUBMITTED);
    assert!(looked_at.iter().all(|result| *result == SubmitResult::FORM));
    assert_eq!(rest, [SubmitResult::POOL_FULL; limits::MAX_SUBMITTED]);
}

/// One payment, asked for four thousand times in one request, was five megabytes.
#[test]
fn a_payment_that_is_asked_for_twice_is_answered_once() {
    let rules = rules();
    let mut network = Network::new(&rules, 72);
    let node = network.add(Spec::default());
    let from = Key::new(1);
    let payment = from.sign(&rules.network_id(), from.payment(Key::new(3).address(), 1, 0));
    network.say_payment(node, &payment);
    network.run_until("it is in the pool", |it| it.pool(node).len() == 1);
    let answer = network.answer(node, Request::GetTransactions { ids: vec![payment.id(); 3] });
    assert_eq!(answer, Response::Transactions(vec![payment]));
}
