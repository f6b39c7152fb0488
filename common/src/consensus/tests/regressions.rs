//! What the systems before this one got wrong, by the number of the failure: each must be impossible here.
//! Failure 9, on forks, is among the tests of [`crate::chain`].

use crate::address::Address;
use crate::amount::Amount;
use crate::consensus::{
    Ancestors, BodyError, CheckedBlock, HeaderError, TransactionError, check_header, check_transaction,
};
use crate::difficulty::{CompactTarget, Target};
use crate::encoding::decode;
use crate::hash::{BlockId, NetworkId};
use crate::ledger::{self, LedgerError};
use crate::rules::Rules;
use crate::testing::{
    Branch, Key, MapAccounts, Refusal, StandIn, check, child, easy_rules, find_nonce, mine,
};
use crate::time::Timestamp;
use crate::transaction::{Payment, Transaction};

fn mallory() -> Key {
    Key::new(666)
}

fn alice() -> Key {
    Key::new(1)
}

fn rules() -> Rules {
    easy_rules(&[&alice()])
}

fn signature_error(transaction: Transaction) -> Option<TransactionError> {
    check_transaction(&rules(), &rules().network_id(), transaction, &StandIn).err()
}

/// What comes of one block with these payments, on the accounts that genesis allocates.
fn apply(transactions: Vec<Transaction>) -> Result<MapAccounts, TransactionError> {
    let rules = rules();
    let ancestors = Ancestors::of_genesis_child(&rules);
    let block = child(&rules, &ancestors, &Key::new(9), transactions);
    let block = check(&rules, &ancestors, block).expect("the block keeps the rules without a ledger");
    let mut accounts = MapAccounts::genesis(&rules);
    match ledger::apply(&mut accounts, &block) {
        Ok(()) => Ok(accounts),
        Err(LedgerError::Transaction { error, .. }) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn regression_1_nobody_spends_the_coins_of_another() {
    let network = rules().network_id();
    let payment = alice().payment(mallory().address(), 1_000_000, 0);
    // With Alice's key and Mallory's signature, it is not signed; with Mallory's key, Mallory is the sender.
    let forged = mallory().sign(&network, payment.clone());
    assert_eq!(signature_error(forged), Some(TransactionError::BadSignature));
    let own = mallory().sign(&network, Payment { public_key: mallory().modulus().to_vec(), ..payment });
    assert!(matches!(apply(vec![own]), Err(TransactionError::InsufficientFunds { .. })));
}

#[test]
fn regression_1_an_address_covers_every_byte_of_the_key() {
    let address = alice().address();
    for place in 0..alice().modulus().len() {
        let mut other = alice().modulus().to_vec();
        other[place] ^= 2;
        assert_ne!(crate::signature::address_of(&other), address, "byte {place}");
    }
}

#[test]
fn regression_2_amounts_are_never_negative_nor_no_number() {
    for text in ["-1", "-0.5", "NaN", "nan", "inf", "-inf", "1e9", ""] {
        assert!(text.parse::<Amount>().is_err(), "{text:?}");
    }
    // The bytes of -1 are those of a sum that nobody has.
    let huge: Amount = decode(&(-1_i64).to_le_bytes()).unwrap();
    let payment = Payment { amount: huge, ..alice().payment(mallory().address(), 0, 0) };
    let transaction = alice().sign(&rules().network_id(), payment);
    assert!(matches!(apply(vec![transaction]), Err(TransactionError::InsufficientFunds { .. })));
}

#[test]
fn regression_2_paying_oneself_mints_nothing() {
    let payment = Payment { fee: Amount::from_coins(1), ..alice().payment(alice().address(), 5_000_000, 0) };
    let accounts = apply(vec![alice().sign(&rules().network_id(), payment)]).unwrap();
    assert_eq!(accounts.get(&alice().address()).balance, Amount::from_coins(999), "the fee is gone");
    assert_eq!(accounts.get(&Key::new(9).address()).balance, Amount::from_coins(11), "to the miner");
}

#[test]
fn regression_2_nothing_comes_from_nothing() {
    let payment = mallory().payment(mallory().address(), 1, 0);
    let result = apply(vec![mallory().sign(&rules().network_id(), payment)]);
    let (balance, total) = (Amount::ZERO, Amount::from_units(1));
    assert_eq!(result, Err(TransactionError::InsufficientFunds { balance, total }));
}

#[test]
fn regression_3_a_payment_is_made_once() {
    let network = rules().network_id();
    let payment = alice().sign(&network, alice().payment(mallory().address(), 5, 0));
    let twice = apply(vec![payment.clone(), payment.clone()]);
    assert_eq!(twice, Err(TransactionError::NonceTooLow { got: 0, next: 1 }));

    // Nor does any change give it another id: one bit anywhere, and it does not decode or is not signed.
    let encoding = crate::encoding::encode(&payment);
    for bit in 0..encoding.len() * 8 {
        let mut other = encoding.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        if let Ok(transaction) = decode::<Transaction>(&other) {
            assert!(signature_error(transaction).is_some(), "bit {bit}");
        }
    }
}

#[test]
fn regression_3_a_payment_of_one_network_is_worthless_on_another() {
    let payment = alice().payment(mallory().address(), 5, 0);
    let elsewhere = alice().sign(&NetworkId::from_bytes([1; 32]), payment);
    assert_eq!(signature_error(elsewhere), Some(TransactionError::BadSignature));
}

#[test]
fn regression_4_an_old_block_mined_again_alone_rewrites_nothing() {
    let rules = std::sync::Arc::new(rules());
    let mut honest = Branch::new(&rules);
    for _ in 0..3 {
        honest.grow(&alice(), Vec::new());
    }
    let mut rewritten = honest.blocks[0].to_block();
    rewritten.body.reward.to = mallory().address();
    mine(&mut rewritten);
    let mut ancestors = Ancestors::of_genesis_child(&rules);
    ancestors = ancestors.of_child(&rewritten.header, rewritten.id());
    let result = check_header(&rules, &ancestors, honest.blocks[1].header(), &StandIn);
    assert_eq!(result, Err(HeaderError::NotTheParent), "what came after it does not follow it any more");
}

#[test]
fn regression_4_empty_rewardless_and_bloated_blocks_are_refused() {
    let mut rules = rules();
    let ancestors = Ancestors::of_genesis_child(&rules);
    let mut rewardless = child(&rules, &ancestors, &mallory(), Vec::new());
    rewardless.body.reward.amount = Amount::ZERO;
    mine(&mut rewardless);
    assert!(matches!(
        check(&rules, &ancestors, rewardless),
        Err(Refusal::Body(BodyError::RewardAmount { .. }))
    ));

    rules.max_block_bytes = 64 << 10;
    let network = rules.network_id();
    let ancestors = Ancestors::of_genesis_child(&rules);
    let payments =
        (0..500).map(|nonce| alice().sign(&network, alice().payment(Address::default(), 1, nonce)));
    let bloated = child(&rules, &ancestors, &mallory(), payments.collect());
    assert!(matches!(check(&rules, &ancestors, bloated), Err(Refusal::Body(BodyError::TooLarge { .. }))));

    rules.allow_empty = false;
    let ancestors = Ancestors::of_genesis_child(&rules);
    let first = child(&rules, &ancestors, &mallory(), Vec::new());
    let ancestors = ancestors.of_child(&first.header, first.id());
    let empty = child(&rules, &ancestors, &mallory(), Vec::new());
    assert!(matches!(check(&rules, &ancestors, empty), Err(Refusal::Body(BodyError::TooFewLeaves { .. }))));
}

#[test]
fn regression_4_blocks_without_work_or_of_another_genesis_are_refused() {
    let (ours, theirs) = (rules(), easy_rules(&[&mallory()]));
    let foreign = child(&theirs, &Ancestors::of_genesis_child(&theirs), &mallory(), Vec::new());
    let ancestors = Ancestors::of_genesis_child(&ours);
    let refused = Err(Refusal::Header(HeaderError::NotTheParent));
    assert_eq!(check(&ours, &ancestors, foreign), refused);

    let mut lazy = child(&ours, &ancestors, &mallory(), Vec::new());
    find_nonce(&mut lazy.header, false);
    let refused = Err(Refusal::Header(HeaderError::InsufficientWork));
    assert_eq!(check(&ours, &ancestors, lazy.clone()), refused);

    // Nor can a block choose how little work is enough.
    lazy.header.bits = CompactTarget::from_bits(0x2200_ffff);
    assert!(matches!(check(&ours, &ancestors, lazy), Err(Refusal::Header(HeaderError::Bits { .. }))));
}

#[test]
fn regression_4_the_id_depends_on_every_field_and_the_work_on_the_reward() {
    let rules = rules();
    let block = child(&rules, &Ancestors::of_genesis_child(&rules), &alice(), Vec::new());
    let changes: [fn(&mut crate::block::BlockHeader); 7] = [
        |header| header.version = 2,
        |header| header.previous = BlockId::ZERO,
        |header| header.merkle_root = crate::hash::MerkleRoot::ZERO,
        |header| header.time = Timestamp::from_millis(0),
        |header| header.bits = Target::from_leading_zero_bits(2).to_compact(),
        |header| header.height = crate::time::Height::GENESIS,
        |header| header.nonce += 1,
    ];
    for change in changes {
        let mut other = block.header;
        change(&mut other);
        assert_ne!(other.id(), block.id());
    }
    let mut other = block.body.clone();
    other.reward.to = mallory().address();
    assert_ne!(other.merkle_root(), block.header.merkle_root);
}

#[test]
fn regression_4_receivers_check_the_authority() {
    let rules = Rules {
        authorities: vec![alice().address()],
        max_ahead_seconds: 9,
        authority_timeout_seconds: 10,
        ..rules()
    };
    let ancestors = Ancestors::of_genesis_child(&rules);
    let made_by = |key: &Key, claims: &Key| -> Result<CheckedBlock, Refusal> {
        let mut block = child(&rules, &ancestors, &alice(), Vec::new());
        let mut seal = key.seal(&block.id());
        seal.public_key = claims.modulus().to_vec();
        block.seal = Some(seal);
        check(&rules, &ancestors, block)
    };
    assert!(made_by(&alice(), &alice()).is_ok());
    let address = mallory().address();
    let refused = Err(Refusal::Header(HeaderError::NotAnAuthority { address }));
    assert_eq!(made_by(&mallory(), &mallory()), refused);
    assert_eq!(made_by(&mallory(), &alice()), Err(Refusal::Header(HeaderError::BadSeal)));
}

#[test]
fn regression_4_a_block_with_a_bad_signature_is_never_checked() {
    let rules = rules();
    let ancestors = Ancestors::of_genesis_child(&rules);
    let forged = mallory().sign(&rules.network_id(), alice().payment(mallory().address(), 5, 0));
    let block = child(&rules, &ancestors, &mallory(), vec![forged]);
    let error = BodyError::Transaction { index: 0, error: TransactionError::BadSignature };
    assert_eq!(check(&rules, &ancestors, block), Err(Refusal::Body(error)));
}
