//! The pool by itself, on accounts in a map.

use std::sync::Arc;

use super::super::mempool::{Mempool, MempoolError, MempoolLimits};
use crate::address::Address;
use crate::amount::Amount;
use crate::consensus::{CheckedTransaction, KnownTransactions, TransactionError, check_transaction};
use crate::ledger::Account;
use crate::node::limits::{MAX_GAP_PER_SENDER, MAX_RECENT};
use crate::rules::Rules;
use crate::testing::{Key, MapAccounts, StandIn, easy_rules};
use crate::time::Height;
use crate::transaction::Payment;

const COIN: u64 = 1_000_000;

/// A pool with the accounts that it is told of.
struct World {
    rules: Rules,
    pool: Mempool,
    accounts: MapAccounts,
    next_height: Height,
}

impl World {
    fn new(limits: MempoolLimits) -> Self {
        let keys: Vec<Key> = (0..8).map(Key::new).collect();
        let rules = easy_rules(&keys.iter().collect::<Vec<_>>());
        let accounts = MapAccounts::genesis(&rules);
        Self { rules, pool: Mempool::new(limits), accounts, next_height: Height::new(1) }
    }

    fn checked(&self, from: u64, nonce: u64, change: impl FnOnce(&mut Payment)) -> Arc<CheckedTransaction> {
        let from = Key::new(from);
        let mut payment = from.payment(Key::new(99).address(), COIN, nonce);
        change(&mut payment);
        let signed = from.sign(&self.rules.network_id(), payment);
        let checked = check_transaction(&self.rules, &self.rules.network_id(), signed, &StandIn);
        Arc::new(checked.expect("the payment is well made"))
    }

    fn add(&mut self, transaction: &Arc<CheckedTransaction>) -> Result<(), MempoolError> {
        let account = self.accounts.get(&transaction.sender());
        self.pool.insert(transaction.clone(), self.next_height, account)
    }

    fn pay(&mut self, from: u64, nonce: u64, fee: u64) -> Result<(), MempoolError> {
        let transaction = self.checked(from, nonce, |payment| payment.fee = Amount::from_units(fee));
        self.add(&transaction)
    }

    /// The selected ones, as sender and nonce.
    fn select(&self, max_bytes: usize) -> Vec<(u64, u64)> {
        let number = |address: Address| (0..8).find(|n| Key::new(*n).address() == address).unwrap_or(99);
        let selected = self.pool.select(max_bytes, |address| self.accounts.get(address));
        selected.iter().map(|it| (number(it.sender()), it.payment().nonce)).collect()
    }

    /// What an account is from now on.
    fn set(&mut self, key: u64, balance: u64, nonce: u64) {
        use crate::ledger::Accounts;
        let (address, balance) = (Key::new(key).address(), Amount::from_units(balance));
        let _ = self.accounts.set_account(&address, Account { balance, nonce });
        let accounts = self.accounts.clone();
        self.pool.tip_changed([address], self.next_height, |address| accounts.get(address));
    }
}

fn funds(result: Result<(), MempoolError>) -> bool {
    matches!(result, Err(MempoolError::Rule(TransactionError::InsufficientFunds { .. })))
}

#[test]
fn a_sender_s_payments_go_in_nonce_order_whatever_their_fees() {
    let mut world = World::new(MempoolLimits::default());
    for (nonce, fee) in [(2, 900), (0, 1), (1, 500)] {
        assert_eq!(world.pay(1, nonce, fee), Ok(()));
    }
    assert_eq!(world.select(1 << 20), [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn across_senders_the_higher_fee_goes_first_and_then_the_older() {
    let mut world = World::new(MempoolLimits::default());
    for (from, fee) in [(1, 10), (2, 30), (3, 20), (4, 20)] {
        assert_eq!(world.pay(from, 0, fee), Ok(()));
    }
    assert_eq!(world.select(1 << 20), [(2, 0), (3, 0), (4, 0), (1, 0)]);
}

#[test]
fn what_comes_after_a_gap_is_kept_aside_and_released_when_the_gap_is_filled() {
    let mut world = World::new(MempoolLimits::default());
    assert_eq!(world.pay(1, 2, 0), Ok(()));
    assert_eq!(world.pay(1, 1, 0), Ok(()));
    assert_eq!(world.select(1 << 20), []);
    assert_eq!(world.pay(1, 0, 0), Ok(()));
    assert_eq!(world.select(1 << 20), [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn only_so_many_are_kept_aside() {
    let mut world = World::new(MempoolLimits::default());
    for nonce in 1..=MAX_GAP_PER_SENDER as u64 {
        assert_eq!(world.pay(1, nonce, 0), Ok(()));
    }
    assert_eq!(world.pay(1, 1_000, 0), Err(MempoolError::TooManyGaps));
    // The missing one is always welcome.
    assert_eq!(world.pay(1, 0, 0), Ok(()));
    assert_eq!(world.select(1 << 20).len(), MAX_GAP_PER_SENDER + 1);
    // Another sender is none the worse for it.
    assert_eq!(world.pay(2, 7, 0), Ok(()));
}

#[test]
fn a_second_payment_with_a_nonce_is_a_conflict_and_a_second_copy_is_known() {
    let mut world = World::new(MempoolLimits::default());
    assert_eq!(world.pay(1, 0, 5), Ok(()));
    assert_eq!(world.pay(1, 0, 5), Err(MempoolError::Known));
    assert_eq!(world.pay(1, 0, 900), Err(MempoolError::Conflict { nonce: 0 }));
}

#[test]
fn all_that_waits_of_a_sender_has_to_be_covered_by_its_balance() {
    let mut world = World::new(MempoolLimits::default());
    let of = |world: &World, nonce, coins: u64| {
        world.checked(1, nonce, |payment| payment.amount = Amount::from_units(coins * COIN))
    };
    let (first, second) = (of(&world, 0, 600), of(&world, 1, 400));
    assert_eq!(world.add(&first), Ok(()));
    assert_eq!(world.add(&second), Ok(()));
    let third = of(&world, 2, 1);
    assert!(funds(world.add(&third)));
    // Also when what is missing lies in between, and when a fee alone is too much.
    world.set(1, 600 * COIN, 0);
    assert_eq!(world.select(1 << 20), [(1, 0)]);
    let fee = world.checked(1, 1, |payment| {
        (payment.amount, payment.fee) = (Amount::from_units(1), Amount::from_units(1));
    });
    assert!(funds(world.add(&fee)));
}

#[test]
fn a_payment_leaves_when_its_account_cannot_make_it_any_more() {
    let mut world = World::new(MempoolLimits::default());
    for nonce in 0..4 {
        assert_eq!(world.pay(1, nonce, 0), Ok(()));
    }
    // Two are in a block; of the rest the money is enough for one.
    world.set(1, COIN, 2);
    assert_eq!(world.select(1 << 20), [(1, 2)]);
    assert_eq!(world.pool.len(), 1);
}

#[test]
fn a_payment_leaves_when_its_last_block_has_passed() {
    let mut world = World::new(MempoolLimits::default());
    let until = |world: &World, height| world.checked(1, 0, |payment| payment.valid_until = height);
    let (short, long) = (until(&world, 4), world.checked(2, 0, |payment| payment.valid_until = 5));
    assert_eq!(world.add(&short), Ok(()));
    assert_eq!(world.add(&long), Ok(()));
    world.next_height = Height::new(4);
    world.set(3, 0, 0);
    assert_eq!(world.pool.len(), 2);
    world.next_height = Height::new(5);
    world.set(3, 0, 0);
    assert_eq!(world.select(1 << 20), [(2, 0)]);
    let late = world.add(&short);
    assert!(matches!(late, Err(MempoolError::Rule(TransactionError::Expired { valid_until: 4, .. }))));
}

#[test]
fn a_full_pool_takes_only_what_pays_more_and_drops_what_pays_least_with_all_after_it() {
    let mut world = World::new(MempoolLimits { transactions: 8, bytes: 1 << 20 });
    for (from, fee) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
        assert_eq!(world.pay(from, 0, fee), Ok(()));
        assert_eq!(world.pay(from, 1, 100 + fee), Ok(()));
    }
    assert_eq!(world.pay(5, 0, 10), Err(MempoolError::Full));
    assert_eq!(world.pay(5, 0, 11), Ok(()));
    // Sender 1's cheap payment went, and its dearer one cannot go without it.
    assert_eq!(world.pool.len(), 7);
    assert!(world.select(1 << 20).iter().all(|(from, _)| *from != 1));
}

#[test]
fn bytes_are_bounded_too() {
    let size = World::new(MempoolLimits::default()).checked(1, 0, |_| {}).encoded_bytes();
    let mut world = World::new(MempoolLimits { transactions: 100, bytes: 3 * size });
    for from in 1..=3 {
        assert_eq!(world.pay(from, 0, 10), Ok(()));
    }
    assert_eq!(world.pay(4, 0, 10), Err(MempoolError::Full));
    assert_eq!(world.pay(4, 0, 20), Ok(()));
    assert_eq!((world.pool.len(), world.pool.bytes()), (3, 3 * size));
}

#[test]
fn one_sender_fills_at_most_a_quarter() {
    let mut world = World::new(MempoolLimits { transactions: 20, bytes: 1 << 20 });
    for nonce in 0..5 {
        assert_eq!(world.pay(1, nonce, 50), Ok(()));
    }
    assert_eq!(world.pay(1, 5, 5_000), Err(MempoolError::Full));
    assert_eq!(world.pay(2, 0, 0), Ok(()));
}

#[test]
fn selection_fills_a_block_and_never_more() {
    let mut world = World::new(MempoolLimits::default());
    let size = world.checked(1, 0, |_| {}).encoded_bytes();
    for from in 1..=4 {
        for nonce in 0..3 {
            assert_eq!(world.pay(from, nonce, 10 * from), Ok(()));
        }
    }
    assert_eq!(world.select(5 * size + size - 1), [(4, 0), (4, 1), (4, 2), (3, 0), (3, 1)]);
    assert_eq!(world.select(size - 1), []);
}

#[test]
fn a_verified_payment_is_remembered_for_a_while_after_it_left_and_not_for_ever() {
    let mut world = World::new(MempoolLimits::default());
    let first = world.checked(1, 0, |_| {});
    assert_eq!(world.add(&first), Ok(()));
    world.set(1, 1_000 * COIN, 1);
    assert!(world.pool.is_empty());
    let index = world.pool.index().clone();
    assert!(index.known(&first.id()).is_some());
    // It comes and goes: only its last stay counts.
    for round in 0..MAX_RECENT as u64 {
        world.set(2, 1_000 * COIN, 0);
        let payment = world.checked(2, 0, |payment| payment.amount = Amount::from_units(round + 1));
        assert_eq!(world.add(&payment), Ok(()));
        assert!(index.known(&payment.id()).is_some());
        world.set(2, 1_000 * COIN, 1);
    }
    assert!(index.known(&first.id()).is_none());
}
