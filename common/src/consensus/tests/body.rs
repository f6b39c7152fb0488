//! Rules 9 to 13, but for the ledger: Merkle root, size, leaves, reward, and every payment by itself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::Address;
use crate::amount::Amount;
use crate::block::{Block, EncodedBlock, EncodedBody};
use crate::consensus::{
    Ancestors, BodyError, CheckedBlock, CheckedTransaction, KnownTransactions, NothingKnown, Parallelism,
    TransactionError, check_body, check_encoded_body, check_transaction, least_leaves,
};
use crate::hash::TransactionId;
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::testing::{Key, StandIn, child, easy_rules, mine};
use crate::time::{Height, Timestamp};
use crate::transaction::{Payment, Transaction};

/// A block in the making, valid until something in it is broken. Its header commits to the body last.
struct Case {
    rules: Rules,
    block: Block,
    body_is_the_headers: bool,
    parent_time: Timestamp,
}

impl Case {
    /// Block 1, with so many payments of one coin each.
    fn with_payments(count: u64) -> Self {
        let rules = easy_rules(&[]);
        let ancestors = Ancestors::of_genesis_child(&rules);
        let transactions = (0..count).map(|nonce| signed(&rules, one_coin(nonce))).collect();
        let block = child(&rules, &ancestors, &Key::new(9), transactions);
        Self { parent_time: ancestors.parent.time, rules, block, body_is_the_headers: true }
    }

    fn check(&self) -> Result<(), BodyError> {
        self.check_knowing(&NothingKnown, &StandIn).map(|_| ())
    }

    fn check_knowing(
        &self,
        known: &dyn KnownTransactions,
        verifier: &dyn SignatureVerifier,
    ) -> Result<CheckedBlock, BodyError> {
        let mut block = self.block.clone();
        mine(&mut block);
        if !self.body_is_the_headers {
            block.body.reward.data.push(0);
        }
        let network = easy_rules(&[]).network_id();
        let check = |cores| {
            let block = EncodedBlock::from(&block);
            check_encoded_body(&self.rules, &network, self.parent_time, block, known, verifier, cores)
        };
        let result = check(Parallelism::OneThread);
        assert_eq!(check(Parallelism::AllCores), result, "threads change nothing");
        assert_eq!(check_body(&self.rules, &network, self.parent_time, block, known, verifier), result);
        result
    }

    /// The result after one change.
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Result<(), BodyError> {
        change(&mut self);
        self.check()
    }

    /// The result at another height and time, under changed rules.
    fn at(mut self, height: u64, millis: u64, change: fn(&mut Rules)) -> Result<(), BodyError> {
        self.block.header.height = Height::new(height);
        self.block.header.time = self.parent_time.plus_millis(millis);
        change(&mut self.rules);
        self.check()
    }
}

fn one_coin(nonce: u64) -> Payment {
    Key::new(1).payment(Key::new(2).address(), Amount::UNITS_PER_COIN, nonce)
}

fn signed(rules: &Rules, payment: Payment) -> Transaction {
    Key::new(1).sign(&rules.network_id(), payment)
}

#[test]
fn a_checked_block_is_the_block() {
    let case = Case::with_payments(3);
    let checked = case.check_knowing(&NothingKnown, &StandIn).unwrap();
    assert_eq!(checked.to_block(), case.block);
    assert_eq!((checked.id(), checked.height()), (case.block.id(), Height::new(1)));
    assert_eq!(checked.encoded_body(), crate::encoding::encode(&case.block.body));
    let stored = CheckedBlock::from_store(checked.header().clone(), EncodedBody::new(&case.block.body));
    assert_eq!(stored, checked, "what a store gives back is what was checked");
}

#[test]
fn rule_9_its_body_is_the_one_that_its_header_commits_to() {
    assert_eq!(Case::with_payments(2).check(), Ok(()));
    type Change = fn(&mut Block);
    let changes: [Change; 8] = [
        |block| block.body.reward.to = Key::new(8).address(),
        |block| block.body.reward.amount = Amount::ZERO,
        |block| block.body.reward.data.push(1),
        |block| block.body.transactions.swap(0, 1),
        |block| drop(block.body.transactions.pop()),
        |block| block.body.transactions.push(block.body.transactions[1].clone()),
        |block| block.body.transactions[1].payment.amount = Amount::from_coins(2),
        |block| block.body.transactions[1].signature[0] ^= 1,
    ];
    for change in changes {
        let Case { rules, mut block, parent_time, .. } = Case::with_payments(2);
        change(&mut block);
        let result = check_body(&rules, &rules.network_id(), parent_time, block, &NothingKnown, &StandIn);
        assert_eq!(result, Err(BodyError::MerkleRoot));
    }
}

#[test]
fn a_body_or_a_seal_of_another_block_says_nothing_about_the_block() {
    let zero = Amount::ZERO;
    let other_seal =
        BodyError::RewardNotToSealer { got: Key::new(1).address(), sealer: Key::new(2).address() };
    for error in [BodyError::MerkleRoot, other_seal] {
        assert!(!error.condemns_block(), "{error}");
    }
    for error in [
        BodyError::TooLarge { got: 2, most: 1 },
        BodyError::TooFewLeaves { got: 1, least: 2 },
        BodyError::RewardAmount { got: zero, expected: zero },
        BodyError::FeesOverflow,
        BodyError::RewardData(TransactionError::ZeroAmount),
        BodyError::Transaction { index: 0, error: TransactionError::BadSignature },
    ] {
        assert!(error.condemns_block(), "{error}");
    }
}

#[test]
fn rule_10_it_fits_to_the_byte() {
    // A payment takes 600 bytes without data; the reward and the number of payments take 56.
    let filled = |spare_data: usize| {
        let mut case = Case::with_payments(109);
        case.rules.max_block_bytes = 64 << 10;
        let payment = Payment { data: vec![7; 80], ..one_coin(108) };
        case.block.body.transactions[108] = signed(&easy_rules(&[]), payment);
        case.block.body.reward.data = vec![7; spare_data];
        case.check()
    };
    assert_eq!(filled(0), Ok(()));
    assert_eq!(filled(1), Err(BodyError::TooLarge { got: (64 << 10) + 1, most: 64 << 10 }));
}

#[test]
fn rule_11_it_holds_as_many_leaves_as_block_size_asks_for() {
    let with = |payments| Case::with_payments(payments).at(2, 250, |rules| rules.block_size = 3);
    assert_eq!(with(1), Err(BodyError::TooFewLeaves { got: 2, least: 3 }));
    assert_eq!(with(2), Ok(()));
    assert_eq!(with(3), Ok(()));
}

#[test]
fn rule_11_the_reward_alone_is_enough_where_empty_blocks_are_allowed() {
    assert_eq!(Case::with_payments(0).at(2, 250, |_| ()), Ok(()));
    let result = Case::with_payments(0).at(2, 250, |rules| rules.allow_empty = false);
    assert_eq!(result, Err(BodyError::TooFewLeaves { got: 1, least: 2 }));
    assert_eq!(Case::with_payments(1).at(2, 250, |rules| rules.allow_empty = false), Ok(()));
}

#[test]
fn rule_11_the_first_block_may_hold_the_reward_alone() {
    let result = Case::with_payments(0).at(1, 250, |rules| {
        (rules.allow_empty, rules.block_size) = (false, 5);
    });
    assert_eq!(result, Ok(()));
}

#[test]
fn rule_11_a_block_that_comes_an_interval_after_its_parent_may_be_smaller() {
    fn waiting(rules: &mut Rules) {
        (rules.block_size, rules.block_interval_seconds) = (5, 30);
    }
    let late = |payments, millis| Case::with_payments(payments).at(2, millis, waiting);
    assert_eq!(late(0, 29_999), Err(BodyError::TooFewLeaves { got: 1, least: 5 }));
    assert_eq!(late(0, 30_000), Ok(()));

    let late = |payments| {
        Case::with_payments(payments).at(2, 30_000, |rules| {
            waiting(rules);
            rules.allow_empty = false;
        })
    };
    assert_eq!(late(0), Err(BodyError::TooFewLeaves { got: 1, least: 2 }));
    assert_eq!(late(1), Ok(()));
}

#[test]
fn rule_11_without_an_interval_no_wait_is_long_enough() {
    let rules = Rules { block_size: 5, ..easy_rules(&[]) };
    assert_eq!(least_leaves(&rules, Height::new(2), u64::MAX), 5);
}

#[test]
fn rule_12_its_reward_is_block_reward_and_fees_exactly() {
    let paying_fees = |extra: i64| {
        let mut case = Case::with_payments(0);
        for (nonce, fee) in [(0, 30), (1, 12)] {
            let payment = Payment { fee: Amount::from_units(fee), ..one_coin(nonce) };
            case.block.body.transactions.push(signed(&case.rules, payment));
        }
        case.block.body.reward.amount = Amount::from_units(10_000_042_u64.wrapping_add_signed(extra));
        case.check()
    };
    let expected = Amount::from_units(10_000_042);
    assert_eq!(paying_fees(0), Ok(()));
    for extra in [-1, 1, -42, -10_000_042] {
        let got = Amount::from_units(expected.units().wrapping_add_signed(extra));
        assert_eq!(paying_fees(extra), Err(BodyError::RewardAmount { got, expected }));
    }
}

#[test]
fn rule_12_its_fees_do_not_overflow() {
    let result = Case::with_payments(0).with(|case| {
        // Each alone is within bounds; the second makes the sum go round.
        for nonce in [0, 1] {
            let payment = Payment { fee: Amount::from_units(1 << 63), ..one_coin(nonce) };
            case.block.body.transactions.push(signed(&case.rules, payment));
        }
    });
    assert_eq!(result, Err(BodyError::FeesOverflow));
}

#[test]
fn rule_12_its_rewards_data_is_short() {
    let with = |bytes| Case::with_payments(0).with(|case| case.block.body.reward.data = vec![7; bytes]);
    assert_eq!(with(80), Ok(()));
    assert_eq!(with(81), Err(BodyError::RewardData(TransactionError::DataTooLong { got: 81 })));
}

#[test]
fn rule_12_its_reward_goes_to_its_sealer() {
    let sealed_by = |sealer: &Key| {
        let sealer = sealer.clone();
        Case::with_payments(0).with(|case| case.block.seal = Some(sealer.seal(&case.block.id())))
    };
    let (miner, other) = (Key::new(9), Key::new(8));
    assert_eq!(sealed_by(&miner), Ok(()));
    let error = BodyError::RewardNotToSealer { got: miner.address(), sealer: other.address() };
    assert_eq!(sealed_by(&other), Err(error));
}

#[test]
fn rule_13_every_payment_is_valid_by_itself() {
    for index in [0, 1, 2] {
        let result = Case::with_payments(3).with(|case| {
            case.block.body.transactions[index].signature[0] ^= 1;
        });
        assert_eq!(result, Err(BodyError::Transaction { index, error: TransactionError::BadSignature }));
    }
}

/// Large bodies are checked on all cores: the answer is the same as one by one.
#[test]
fn of_many_payments_the_order_is_kept_and_the_first_wrong_one_is_named() {
    for count in [63, 64, 65, 150] {
        let case = Case::with_payments(count);
        let checked = case.check_knowing(&NothingKnown, &StandIn).unwrap();
        assert_eq!(checked.to_block().body, case.block.body);
        let last = count as usize - 1;
        for wrong in [[0, last], [last / 2, last / 2 + 1], [last - 1, last]] {
            let result = Case::with_payments(count).with(|case| {
                wrong.iter().for_each(|place| case.block.body.transactions[*place].signature[0] ^= 1);
            });
            let error = TransactionError::BadSignature;
            assert_eq!(result, Err(BodyError::Transaction { index: wrong[0], error }));
        }
    }
}

#[test]
fn rule_13_no_payment_is_expired_at_the_blocks_height() {
    let at = |height| {
        let mut case = Case::with_payments(1);
        let payment = Payment { valid_until: 7, ..one_coin(1) };
        case.block.body.transactions.push(signed(&case.rules, payment));
        case.at(height, 250, |_| ())
    };
    assert_eq!(at(7), Ok(()));
    let error = TransactionError::Expired { valid_until: 7, height: Height::new(8) };
    assert_eq!(at(8), Err(BodyError::Transaction { index: 1, error }));
}

#[test]
fn of_two_broken_rules_the_earlier_one_is_reported() {
    type Break = fn(&mut Case);
    let rules: [(&str, Break); 7] = [
        ("MerkleRoot", |case| case.body_is_the_headers = false),
        ("TooLarge", |case| case.rules.max_block_bytes = 1),
        ("TooFewLeaves", |case| {
            case.block.header.height = Height::new(2);
            case.rules.block_size = 9;
        }),
        ("RewardData", |case| case.block.body.reward.data = vec![0; 81]),
        ("RewardAmount", |case| case.block.body.reward.amount = Amount::ZERO),
        ("RewardNotToSealer", |case| case.block.seal = Some(Key::new(8).seal(&case.block.id()))),
        ("Transaction", |case| case.block.body.transactions[0].signature.fill(0)),
    ];
    for (i, (name, first)) in rules.iter().enumerate() {
        for (_, second) in &rules[i..] {
            let mut case = Case::with_payments(1);
            first(&mut case);
            second(&mut case);
            let variant = format!("{:?}", case.check().expect_err("two rules are broken"));
            assert_eq!(variant.split([' ', '{', '(']).next(), Some(*name));
        }
    }
}

/// What a mempool would know.
struct Pool(HashMap<TransactionId, Arc<CheckedTransaction>>);

impl KnownTransactions for Pool {
    fn known(&self, id: &TransactionId) -> Option<Arc<CheckedTransaction>> {
        self.0.get(id).cloned()
    }
}

/// Refuses every signature.
struct Never;

impl SignatureVerifier for Never {
    fn signer(&self, _: &[u8], _: &[u8; 32], _: &[u8]) -> Option<Address> {
        None
    }
}

#[test]
fn a_known_payment_is_not_verified_again_and_an_altered_one_is_not_known() {
    let mut case = Case::with_payments(2);
    let check = |transaction: &Transaction| {
        let rules = easy_rules(&[]);
        Arc::new(check_transaction(&rules, &rules.network_id(), transaction.clone(), &StandIn).unwrap())
    };
    let checked = case.block.body.transactions.iter().map(check);
    let pool = Pool(checked.map(|transaction| (transaction.id(), transaction)).collect());
    assert!(case.check_knowing(&pool, &Never).is_ok());

    case.block.body.transactions[1].signature[7] ^= 1;
    let error = BodyError::Transaction { index: 1, error: TransactionError::BadSignature };
    assert_eq!(case.check_knowing(&pool, &Never), Err(error));
}

#[test]
fn a_known_payment_expires_all_the_same() {
    let mut case = Case::with_payments(0);
    let transaction = signed(&case.rules, Payment { valid_until: 7, ..one_coin(0) });
    let checked = {
        let network = easy_rules(&[]).network_id();
        Arc::new(check_transaction(&case.rules, &network, transaction.clone(), &StandIn).unwrap())
    };
    let pool = Pool(HashMap::from([(checked.id(), checked)]));
    case.block.body.transactions = vec![transaction];
    case.block.header.height = Height::new(8);
    let error = TransactionError::Expired { valid_until: 7, height: Height::new(8) };
    assert_eq!(case.check_knowing(&pool, &StandIn), Err(BodyError::Transaction { index: 0, error }));
}

#[test]
fn the_first_wrong_payment_is_reported_whatever_is_wrong_with_it() {
    #[derive(Clone, Copy)]
    struct Wrong {
        late: bool,
        forged: bool,
    }
    let kinds = [(false, false), (true, false), (false, true), (true, true)];
    let kinds = kinds.map(|(late, forged)| Wrong { late, forged });
    for choice in 0..4_usize.pow(3) {
        let drawn = [choice % 4, choice / 4 % 4, choice / 16].map(|kind| kinds[kind]);
        let mut case = Case::with_payments(0);
        case.block.header.height = Height::new(8);
        for (nonce, Wrong { late, forged }) in (0..).zip(drawn) {
            let valid_until = if late { 7 } else { 8 };
            let mut transaction = signed(&case.rules, Payment { valid_until, ..one_coin(nonce) });
            transaction.signature[3] ^= u8::from(forged);
            case.block.body.transactions.push(transaction);
        }
        let first = drawn.iter().position(|wrong| wrong.late || wrong.forged);
        let expected = first.map(|index| {
            let expired = TransactionError::Expired { valid_until: 7, height: Height::new(8) };
            let error = if drawn[index].forged { TransactionError::BadSignature } else { expired };
            BodyError::Transaction { index, error }
        });
        assert_eq!(case.check().err(), expected, "choice {choice}");
    }
}
