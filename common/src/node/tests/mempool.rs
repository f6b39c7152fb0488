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
    assert_eq!(world.pay(5, 0, 10), Err(MempoolError::Full { least_fee: Amount::from_units(11) }));
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
    assert_eq!(world.pay(4, 0, 10), Err(MempoolError::Full { least_fee: Amount::from_units(11) }));
    assert_eq!(world.pay(4, 0, 20), Ok(()));
    assert_eq!((world.pool.len(), world.pool.bytes()), (3, 3 * size));
}

#[test]
fn one_sender_fills_at_most_a_quarter() {
    let mut world = World::new(MempoolLimits { transactions: 20, bytes: 1 << 20 });
    for nonce in 0..5 {
        assert_eq!(world.pay(1, nonce, 50), Ok(()));
    }
    let refused = Err(MempoolError::SenderFull { most: 5, most_bytes: 1 << 18 });
    assert_eq!(world.pay(1, 5, 5_000), refused);
    assert_eq!(world.pay(2, 0, 0), Ok(()));
}

#[test]
fn one_sender_fills_at_most_a_quarter_of_the_bytes() {
    let size = World::new(MempoolLimits::default()).checked(1, 0, |_| {}).encoded_bytes();
    let mut world = World::new(MempoolLimits { transactions: 1_000, bytes: 8 * size });
    assert_eq!(world.pay(1, 0, 0), Ok(()));
    assert_eq!(world.pay(1, 1, 0), Ok(()));
    let most_bytes = 2 * size;
    assert_eq!(world.pay(1, 2, 9), Err(MempoolError::SenderFull { most: 250, most_bytes }));
    assert_eq!(world.pay(2, 0, 0), Ok(()));
}

/// In a small pool a share full of payments that waited for one kept out that one, and so stayed for ever.
#[test]
fn a_sender_whose_share_is_full_of_those_aside_can_still_send_the_missing_one() {
    let mut world = World::new(MempoolLimits { transactions: 20, bytes: 1 << 20 });
    for nonce in 1..=5 {
        assert_eq!(world.pay(1, nonce, 50), Ok(()));
    }
    let refused = Err(MempoolError::SenderFull { most: 5, most_bytes: 1 << 18 });
    assert_eq!(world.pay(1, 7, 50), refused);
    // The last of those that wait goes.
    assert_eq!(world.pay(1, 0, 0), Ok(()));
    assert_eq!(world.select(1 << 20), [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]);
    assert_eq!(world.pay(1, 5, 50), refused, "none of them is aside any more");
    assert_eq!(world.pool.take_gone(), [], "nobody paid more");
}

#[test]
fn the_same_holds_of_a_share_that_is_full_by_its_bytes() {
    let size = World::new(MempoolLimits::default()).checked(1, 0, |_| {}).encoded_bytes();
    let mut world = World::new(MempoolLimits { transactions: 1_000, bytes: 12 * size });
    for nonce in 1..=3 {
        assert_eq!(world.pay(1, nonce, 50), Ok(()));
    }
    let long = world.checked(1, 0, |payment| payment.data = vec![0; 80]);
    assert_eq!(world.add(&long), Ok(()));
    assert_eq!(world.select(1 << 20), [(1, 0), (1, 1)], "one is not enough for a longer one");
}

#[test]
fn the_least_fee_that_is_named_is_enough_and_one_less_is_not() {
    let mut random = 7_u64;
    for _ in 0..200 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (cheap, data) = (random >> 44, (random >> 20) as usize % 81);
        let mut world = World::new(MempoolLimits { transactions: 1, bytes: 1 << 20 });
        assert_eq!(world.pay(1, 0, cheap), Ok(()));
        let of = |world: &World, fee| {
            world.checked(2, 0, |payment| {
                payment.fee = Amount::from_units(fee);
                payment.data = vec![1; data];
            })
        };
        let first = of(&world, 0);
        let Err(MempoolError::Full { least_fee }) = world.add(&first) else { panic!("there is no room") };
        let (less, enough) = (of(&world, least_fee.units() - 1), of(&world, least_fee.units()));
        assert_eq!(world.add(&less), Err(MempoolError::Full { least_fee }), "{cheap} {data}");
        assert_eq!(world.add(&enough), Ok(()), "{cheap} {data}");
        assert_eq!(world.pool.take_gone().len(), 1);
    }
}

/// It used to take its own predecessor's place, and then left the pool with it: one payment less for nothing.
#[test]
fn nobody_drives_out_his_own_earlier_payment_and_so_himself() {
    let mut world = World::new(MempoolLimits { transactions: 8, bytes: 1 << 20 });
    for (from, fee) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
        assert_eq!(world.pay(from, 0, fee), Ok(()));
    }
    for from in 5..8 {
        assert_eq!(world.pay(from, 0, 50), Ok(()));
    }
    assert_eq!(world.pay(4, 1, 50), Ok(()));
    assert_eq!(world.pay(1, 1, 5_000), Err(MempoolError::FullBehindOwn));
    assert_eq!((world.pool.len(), world.pool.take_gone()), (8, Vec::new()));
}

#[test]
fn nothing_gives_way_for_a_payment_that_would_not_fit_all_the_same() {
    let small = World::new(MempoolLimits::default()).checked(1, 0, |_| {}).encoded_bytes();
    let mut world = World::new(MempoolLimits { transactions: 100, bytes: 4 * small });
    for (from, fee) in [(1, 1), (2, 900), (3, 900), (4, 900)] {
        assert_eq!(world.pay(from, 0, fee), Ok(()));
    }
    // It pays more than the cheapest, whose place is too small for it, and less than the next.
    let long = world.checked(5, 0, |payment| {
        payment.fee = Amount::from_units(500);
        payment.data = vec![0; 80];
    });
    assert!(matches!(world.add(&long), Err(MempoolError::Full { least_fee }) if least_fee.units() > 900));
    assert_eq!((world.pool.len(), world.pool.take_gone()), (4, Vec::new()));
}

/// What waits for a missing payment never has to pay its fee, however high: it used to hold its place by it.
#[test]
fn in_a_full_pool_those_aside_give_way_first_and_none_is_taken() {
    let mut world = World::new(MempoolLimits { transactions: 8, bytes: 1 << 20 });
    for (from, fee) in [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)] {
        assert_eq!(world.pay(from, 0, fee), Ok(()));
    }
    for (from, nonce, fee) in [(6, 2, 90_000), (6, 3, 80_000), (7, 1, 70_000)] {
        assert_eq!(world.pay(from, nonce, fee), Ok(()));
    }
    // The one aside with the least fee goes, then the next; only then is a fee of any use.
    assert_eq!(world.pay(1, 1, 1), Ok(()));
    assert_eq!(world.pay(2, 1, 1), Ok(()));
    let gone =
        |world: &mut World| world.pool.take_gone().iter().map(|(_, fee)| fee.units()).collect::<Vec<_>>();
    assert_eq!(gone(&mut world), [70_000, 80_000]);
    assert_eq!(world.pay(7, 1, 90_000), Err(MempoolError::Full { least_fee: Amount::from_units(90_001) }));
    assert_eq!(world.pay(3, 1, 1), Ok(()));
    assert_eq!(gone(&mut world), [90_000]);
    assert_eq!(world.pay(7, 1, 900_000_000), Err(MempoolError::FullBehindGap));
    assert_eq!(world.pay(7, 0, 1), Err(MempoolError::Full { least_fee: Amount::from_units(2) }));
    assert_eq!(world.select(1 << 20).len(), 8);
}

#[test]
fn those_aside_keep_their_places_once_the_missing_one_has_come() {
    let mut world = World::new(MempoolLimits { transactions: 8, bytes: 1 << 20 });
    for (from, nonce, fee) in [(1, 1, 70), (2, 1, 70), (1, 0, 70), (3, 0, 5), (4, 0, 5), (5, 0, 5), (6, 0, 5)]
    {
        assert_eq!(world.pay(from, nonce, fee), Ok(()));
    }
    // A block brings the one that sender 2 lacks.
    world.set(2, 1_000 * COIN, 1);
    for from in [7, 0] {
        assert_eq!(world.pay(from, 0, 50), Ok(()));
    }
    assert!(world.pool.take_gone().iter().all(|(_, fee)| fee.units() == 5));
    assert_eq!(world.select(1 << 20)[..3], [(2, 1), (1, 0), (1, 1)]);
    // It is undone again: the payment that follows it is aside, and gives way first.
    world.set(2, 1_000 * COIN, 0);
    assert_eq!(world.pay(7, 1, 50), Ok(()));
    assert!(world.pool.take_gone().iter().all(|(_, fee)| fee.units() == 70));
}

#[test]
fn whatever_happens_what_the_pool_keeps_of_its_payments_agrees() {
    let mut world = World::new(MempoolLimits { transactions: 60, bytes: 50 * 700 });
    let mut random = 5_u64;
    let (mut taken, mut refused) = (0, 0);
    for step in 0..20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (from, nonce, fee) = ((random >> 33) % 8, (random >> 40) % 8, (random >> 44) % 50);
        let account = world.accounts.get(&Key::new(from).address());
        if (random >> 59) == 0 {
            // The account moves on, or back; now and then its money is nearly gone.
            let balance = if (random >> 50).is_multiple_of(4) { 3 * COIN } else { 1_000 * COIN };
            world.set(from, balance, (account.nonce + nonce).saturating_sub(4));
        } else if (random >> 57) == 5 {
            world.next_height = world.next_height.next();
            world.set(from, 1_000 * COIN, account.nonce);
        } else {
            let until = world.next_height.get() as u32 + fee as u32 % 5;
            let payment = world.checked(from, account.nonce + nonce, |payment| {
                payment.fee = Amount::from_units(fee);
                payment.valid_until = if fee.is_multiple_of(3) { until } else { 0 };
            });
            match world.add(&payment) {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
        }
        world.pool.take_gone();
        if step % 7 == 0 {
            world.pool.audit(|address| world.accounts.get(address));
        }
    }
    assert!(taken > 1_000 && refused > 1_000, "{taken} {refused}");
}

#[test]
fn whatever_comes_into_a_full_pool_no_gap_is_made_and_no_bound_is_passed() {
    let limits = MempoolLimits { transactions: 40, bytes: 30 * 700 };
    let mut world = World::new(limits);
    let (mut random, mut next) = (11_u64, [0_u64; 8]);
    for _ in 0..3_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (from, fee) = ((random >> 33) % 8, (random >> 40) % 1_000);
        if world.pay(from, next[from as usize], fee).is_ok() {
            next[from as usize] += 1;
        }
        // What gave way is its sender's last, so that none that waits is behind a gap.
        for (id, _) in world.pool.take_gone() {
            assert!(world.pool.get(&id).is_none());
        }
        for sender in 0..8 {
            let waits = world.pool.select(1 << 20, |address| world.accounts.get(address));
            let of_sender =
                waits.iter().filter(|it| it.sender() == Key::new(sender).address()).count() as u64;
            next[sender as usize] = of_sender;
        }
        let selected: u64 = next.iter().sum();
        assert_eq!(selected, world.pool.len() as u64, "some wait behind a gap");
        assert!(world.pool.len() <= limits.transactions && world.pool.bytes() <= limits.bytes);
    }
    assert!(world.pool.len() > 20);
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
