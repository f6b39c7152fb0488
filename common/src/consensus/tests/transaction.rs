//! The rules of a payment by itself; those on the ledger are tested in [`crate::ledger`].

use std::sync::Arc;

use crate::amount::Amount;
use crate::consensus::{TransactionError, check_form, check_transaction, check_transactions, not_expired};
use crate::hash::NetworkId;
use crate::rules::Rules;
use crate::testing::{Key, StandIn, easy_rules};
use crate::time::Height;
use crate::transaction::{Payment, Transaction};

fn rules() -> Rules {
    Rules { min_fee: Amount::from_units(5), ..easy_rules(&[]) }
}

fn payment() -> Payment {
    Payment { fee: Amount::from_units(5), ..Key::new(1).payment(Key::new(2).address(), 10, 0) }
}

/// The result for a payment that is changed before it is signed.
fn with(change: impl FnOnce(&mut Payment)) -> Result<(), TransactionError> {
    let mut payment = payment();
    change(&mut payment);
    check(&rules(), Key::new(1).sign(&rules().network_id(), payment))
}

/// The result for a payment that is changed after it was signed.
fn tampered(change: impl FnOnce(&mut Transaction)) -> Result<(), TransactionError> {
    let mut transaction = Key::new(1).sign(&rules().network_id(), payment());
    change(&mut transaction);
    check(&rules(), transaction)
}

fn check(rules: &Rules, transaction: Transaction) -> Result<(), TransactionError> {
    check_transaction(rules, &rules.network_id(), transaction, &StandIn).map(|_| ())
}

#[test]
fn a_checked_payment_knows_its_id_its_sender_and_its_size() {
    let transaction = Key::new(1).sign(&rules().network_id(), payment());
    let checked = check_transaction(&rules(), &rules().network_id(), transaction.clone(), &StandIn).unwrap();
    assert_eq!(checked.id(), transaction.id());
    assert_eq!(checked.sender(), Key::new(1).address());
    assert_eq!(checked.encoded_bytes(), crate::encoding::encode(&transaction).len());
    assert_eq!(checked.transaction(), &transaction);
}

#[test]
fn its_data_is_short() {
    assert_eq!(with(|payment| payment.data = vec![7; 80]), Ok(()));
    assert_eq!(with(|payment| payment.data = vec![7; 81]), Err(TransactionError::DataTooLong { got: 81 }));
}

#[test]
fn it_pays_something() {
    assert_eq!(with(|payment| payment.amount = Amount::from_units(1)), Ok(()));
    assert_eq!(with(|payment| payment.amount = Amount::ZERO), Err(TransactionError::ZeroAmount));
}

#[test]
fn amount_and_fee_do_not_overflow() {
    assert_eq!(with(|payment| payment.amount = Amount::from_units(u64::MAX - 5)), Ok(()));
    let result = with(|payment| payment.amount = Amount::from_units(u64::MAX - 4));
    assert_eq!(result, Err(TransactionError::TotalOverflows));
}

#[test]
fn its_public_key_is_an_odd_modulus_of_a_known_size() {
    let refused: [fn(&mut Vec<u8>); 7] = [
        Vec::clear,
        |key| key[255] ^= 1,
        |key| key[0] ^= 0x80,
        |key| key.insert(0, 0),
        |key| key.truncate(255),
        |key| key.truncate(128),
        |key| key.resize(1024, 0xff),
    ];
    for change in refused {
        assert_eq!(with(|payment| change(&mut payment.public_key)), Err(TransactionError::PublicKeyForm));
    }
}

#[test]
fn its_key_has_at_least_key_size_bits() {
    let signed_by = |bits, least| {
        let rules = Rules { key_size: least, ..rules() };
        let key = Key::with_bits(1, bits);
        let payment = Payment { public_key: key.modulus().to_vec(), ..payment() };
        check(&rules, key.sign(&rules.network_id(), payment))
    };
    for (got, least) in [(2048, 2048), (3072, 2048), (3072, 3072), (4096, 3072), (4096, 4096)] {
        assert_eq!(signed_by(got, least), Ok(()), "{got} of {least}");
    }
    for (got, least) in [(2048, 3072), (2048, 4096), (3072, 4096)] {
        assert_eq!(signed_by(got, least), Err(TransactionError::KeyTooSmall { got, least }));
    }
}

#[test]
fn its_signature_is_as_long_as_its_key() {
    for got in [0, 255, 257, 512] {
        let result = tampered(|transaction| transaction.signature.resize(got, 0));
        assert_eq!(result, Err(TransactionError::SignatureLength { got, expected: 256 }));
    }
}

#[test]
fn its_fee_is_at_least_the_least() {
    assert_eq!(with(|payment| payment.fee = Amount::from_units(5)), Ok(()));
    let (got, least) = (Amount::from_units(4), Amount::from_units(5));
    assert_eq!(with(|payment| payment.fee = got), Err(TransactionError::FeeTooLow { got, least }));
}

#[test]
fn its_signature_is_its_senders_and_covers_every_field() {
    let changes: [fn(&mut Transaction); 8] = [
        |transaction| transaction.signature[0] ^= 1,
        |transaction| transaction.payment.to = Key::new(3).address(),
        |transaction| transaction.payment.amount = Amount::from_units(11),
        |transaction| transaction.payment.fee = Amount::from_units(6),
        |transaction| transaction.payment.nonce = 1,
        |transaction| transaction.payment.valid_until = 1,
        |transaction| transaction.payment.data = vec![0],
        |transaction| transaction.payment.public_key = Key::new(3).modulus().to_vec(),
    ];
    for change in changes {
        assert_eq!(tampered(change), Err(TransactionError::BadSignature));
    }
}

#[test]
fn its_signature_is_worthless_on_another_network() {
    let transaction = Key::new(1).sign(&NetworkId::from_bytes([7; 32]), payment());
    assert_eq!(check(&rules(), transaction), Err(TransactionError::BadSignature));
}

#[test]
fn it_may_be_in_blocks_up_to_its_last() {
    let at = |valid_until, height| {
        not_expired(valid_until, Height::new(height))
            .map_err(|error| {
                assert_eq!(error, TransactionError::Expired { valid_until, height: Height::new(height) })
            })
            .is_ok()
    };
    assert!(at(0, 1) && at(0, u32::MAX.into()), "0 is any height");
    assert!(at(7, 1) && at(7, 7) && !at(7, 8));
    assert!(at(u32::MAX, u32::MAX.into()), "the last height there is");
}

#[test]
fn what_is_cheap_is_checked_before_the_signature() {
    let mut transaction = Key::new(1).sign(&rules().network_id(), payment());
    transaction.signature[0] ^= 1;
    assert_eq!(
        check_form(&rules(), &transaction.borrowed()),
        Ok(()),
        "a form says nothing about the signature"
    );
    transaction.payment.fee = Amount::ZERO;
    assert!(matches!(check(&rules(), transaction), Err(TransactionError::FeeTooLow { .. })));
}

#[test]
fn many_payments_are_checked_as_each_by_itself() {
    let (rules, network) = (rules(), rules().network_id());
    let mut transactions = Vec::new();
    for number in 0..100_u64 {
        let key = Key::with_bits(number % 7, [2048, 3072, 4096][number as usize % 3]);
        let mut payment = Payment { fee: Amount::from_units(5), ..key.payment(key.address(), 10, number) };
        payment.data = vec![1; number as usize];
        let mut transaction = key.sign(&network, payment);
        match number % 5 {
            0 => transaction.signature[3] ^= 1,
            1 => transaction.payment.fee = Amount::from_units(number % 10),
            _ => {}
        }
        transactions.push(transaction);
    }
    for count in [0, 1, 2, 40, 100] {
        let some: Vec<_> = transactions[..count].iter().map(|one| (one.id(), one.clone())).collect();
        let by_itself = |(id, one): &(_, Transaction)| {
            (*id, check_transaction(&rules, &network, one.clone(), &StandIn).map(Arc::new))
        };
        let expected: Vec<_> = some.iter().map(by_itself).collect();
        assert_eq!(check_transactions(&rules, &network, some, &StandIn), expected);
        let valid = expected.iter().filter(|(_, result)| result.is_ok()).count();
        assert!(count < 40 || (1..count).contains(&valid), "some of each kind");
    }
}
