use std::fs;

use common::amount::Amount;
use common::encoding::encode;
use common::ledger::Account;
use common::rules::Rules;
use common::store::memory::MemoryStore;
use common::store::{Activity, Store};
use common::transaction::{Payment, TransactionVersion};
use tempfile::TempDir;

use super::*;

/// A payment whose signature is nobody's: the outbox holds what was signed and checks no signature again.
fn payment(sender: u8, nonce: u64, coins: u64, valid_until: u32) -> Transaction {
    let mut public_key = vec![sender; 256];
    public_key[0] |= 0x80;
    public_key[255] |= 1;
    let payment = Payment {
        version: TransactionVersion::V1,
        to: Address::from_bytes([9; 32]),
        amount: Amount::from_coins(coins),
        fee: Amount::from_units(1),
        nonce,
        valid_until,
        data: Vec::new(),
        public_key,
    };
    Transaction { payment, signature: vec![sender; 256] }
}

fn sender(sender: u8) -> Address {
    address_of(&payment(sender, 0, 0, 0).payment.public_key)
}

fn outbox_of(payments: &[Transaction]) -> (TempDir, Outbox) {
    let root = tempfile::tempdir().unwrap();
    let outbox = Outbox::new(root.path().join("outbox/net"));
    let locked = outbox.lock().unwrap();
    for payment in payments {
        locked.add(payment).unwrap();
    }
    drop(locked);
    (root, outbox)
}

#[test]
fn what_is_added_is_found_again_and_a_missing_directory_is_empty() {
    let (_root, outbox) = outbox_of(&[payment(1, 0, 5, 0)]);
    let survey = outbox.survey(None).unwrap();
    assert_eq!(survey.open.len(), 1);
    assert_eq!(survey.open[0].transaction, payment(1, 0, 5, 0));
    assert_eq!((survey.open[0].name.sender, survey.open[0].expired), (sender(1), false));
    assert!(Outbox::new("/nonexistent").survey(None).unwrap().open.is_empty());
}

#[test]
fn whoever_adds_a_payment_removes_what_others_left_that_were_killed() {
    let (_root, outbox) = outbox_of(&[payment(1, 0, 5, 0)]);
    let name = PaymentName::of(&payment(1, 1, 5, 0));
    let left = outbox.path(&name).with_file_name(format!(".{name}.0123456789abcdef.tmp"));
    fs::write(&left, "half a payment").unwrap();
    assert_eq!(outbox.survey(None).unwrap().open.len(), 1, "nobody reads it");
    drop(outbox.lock().unwrap());
    assert!(!left.exists());
    assert_eq!(outbox.survey(None).unwrap().open.len(), 1);
}

#[test]
fn the_next_nonce_is_the_lowest_that_nothing_alive_has() {
    let (_root, outbox) =
        outbox_of(&[payment(1, 3, 1, 0), payment(1, 4, 1, 0), payment(1, 6, 1, 0), payment(2, 5, 1, 0)]);
    let mut survey = outbox.survey(None).unwrap();
    for (ledger_nonce, next) in [(0, 0), (2, 2), (3, 5), (4, 5), (6, 7), (9, 9)] {
        assert_eq!(survey.next_nonce(&sender(1), ledger_nonce), next, "{ledger_nonce}");
    }
    for entry in survey.open.iter_mut().filter(|entry| entry.name.nonce == 3) {
        entry.expired = true;
    }
    assert_eq!(survey.next_nonce(&sender(1), 3), 3, "an expired payment's nonce is free");
}

/// They used to wait for ever, and nobody said why.
#[test]
fn payments_behind_an_expired_one_are_found_until_another_takes_its_place() {
    let (_directory, outbox) = outbox_of(&[payment(1, 3, 1, 9), payment(1, 4, 1, 0), payment(1, 5, 1, 0)]);
    let mut survey = outbox.survey(None).unwrap();
    assert!(survey.blocked().is_empty());
    for entry in survey.open.iter_mut().filter(|entry| entry.name.nonce == 3) {
        entry.expired = true;
    }
    let blocked = survey.blocked();
    assert_eq!(blocked.iter().map(|(name, behind)| (name.nonce, *behind)).collect::<Vec<_>>(), [(3, 2)]);
    let taken = payment(1, 3, 2, 0);
    let (name, transaction) = (PaymentName::of(&taken), taken);
    survey.open.push(OpenPayment { name, transaction, expired: false });
    assert!(survey.blocked().is_empty());
}

#[test]
fn pending_payments_take_up_amount_and_fee_of_their_sender_alone() {
    let (_root, outbox) = outbox_of(&[payment(1, 0, 5, 0), payment(1, 1, 2, 0), payment(2, 0, 1, 0)]);
    let survey = outbox.survey(None).unwrap();
    assert_eq!(survey.outgoing(&sender(1)), Amount::from_units(7_000_002));
    assert_eq!(survey.outgoing(&sender(3)), Amount::ZERO);
    assert_eq!(survey.incoming(&Address::from_bytes([9; 32])), Amount::from_coins(8));
}

/// A ledger on which so many payments of `sender(1)` were made.
fn ledger_past(nonce: u64) -> MemoryStore {
    let store = MemoryStore::new(&Rules::default());
    let spent = Account { balance: Amount::ZERO, nonce };
    store.write::<_, StoreError>(|writer| writer.put_account(&sender(1), spent)).unwrap();
    store
}

/// It was said to have been replaced by another, and whoever believed that paid again.
#[test]
fn a_payment_that_the_index_hides_and_the_history_has_is_not_said_to_be_replaced() {
    let mine = payment(1, 0, 5, 0);
    let (_root, outbox) = outbox_of(std::slice::from_ref(&mine));
    let (store, name) = (ledger_past(1), PaymentName::of(&mine));
    let fate = || {
        store.read(|ledger| {
            let survey = outbox.survey(Some(ledger)).unwrap();
            outbox.fates(&survey, ledger).map(|fates| fates[&name])
        })
    };
    assert_eq!(fate().unwrap(), Fate::Conflicting);
    let entry = Activity {
        height: Height::new(1),
        index: 0,
        time: Rules::default().genesis_time,
        transaction: Some(name.id),
        from: Some(name.sender),
        to: mine.payment.to,
        amount: mine.payment.amount,
        fee: mine.payment.fee,
        data: Vec::new(),
    };
    let put = store.write(|writer| writer.put_activity(&name.sender, &entry));
    put.unwrap();
    assert!(matches!(fate(), Err(StoreError::Damaged { .. })));
}

#[test]
fn states_follow_from_the_ledger() {
    let (past, next, other) = (payment(1, 1, 1, 0), payment(1, 2, 1, 1), payment(2, 0, 1, 0));
    let (_root, outbox) = outbox_of(&[past.clone(), next.clone(), other.clone()]);
    let survey = ledger_past(2).read(|ledger| outbox.survey(Some(ledger))).unwrap();
    assert_eq!(survey.past, [PaymentName::of(&past)]);
    let mut open: Vec<_> = survey.open.iter().map(|entry| (entry.name.id, entry.expired)).collect();
    let mut expected = [(next.id(), false), (other.id(), false)];
    open.sort_unstable();
    expected.sort_unstable();
    assert_eq!(open, expected);
    assert_eq!(outbox.survey(None).unwrap().open.len(), 3, "without a ledger all are pending");
}

#[test]
fn damaged_files_are_named_each_time_and_stay_and_foreign_ones_are_passed_over() {
    let (good, cut, swapped, long) =
        (payment(1, 0, 1, 0), payment(1, 1, 1, 0), payment(1, 2, 1, 0), payment(1, 3, 1, 0));
    let (_root, outbox) = outbox_of(&[good.clone(), cut.clone(), swapped.clone(), long.clone()]);
    let path = |payment: &Transaction| outbox.path(&PaymentName::of(payment));
    fs::write(path(&cut), &encode(&cut)[..100]).unwrap();
    fs::write(path(&swapped), encode(&good)).unwrap();
    fs::write(path(&long), vec![0; MAX_DATAGRAM_BYTES + 1]).unwrap();
    for foreign in ["notes.txt", "a-1-b", "a-1-b.damaged", &good.id().to_string()] {
        fs::write(outbox.directory.join(foreign), "x").unwrap();
    }
    let before = files::names_in(&outbox.directory).unwrap();
    for _ in 0..2 {
        let survey = outbox.survey(None).unwrap();
        assert_eq!(survey.open.iter().map(|entry| entry.name.id).collect::<Vec<_>>(), [good.id()]);
        let damaged: Vec<_> = survey.unusable.iter().map(|error| error.name().id).collect();
        assert_eq!(damaged, [&cut, &swapped, &long].map(Transaction::id));
        assert_eq!(files::names_in(&outbox.directory).unwrap(), before);
    }
}

#[test]
fn a_payment_that_was_set_aside_is_unknown_until_it_is_put_back_or_past() {
    let (lost, back) = (payment(1, 1, 1, 0), payment(2, 1, 1, 0));
    let (_root, outbox) = outbox_of(&[lost.clone(), back.clone()]);
    for payment in [&lost, &back] {
        let path = outbox.path(&PaymentName::of(payment));
        fs::rename(&path, path.with_extension("damaged")).unwrap();
    }
    outbox.lock().unwrap().add(&back).unwrap();
    let mut survey = outbox.survey(None).unwrap();
    assert_eq!(survey.unusable.len(), 2);
    assert!(survey.take_unknown_from(&sender(2)).is_none());
    assert_eq!(survey.take_unknown_from(&sender(1)).unwrap().name().id, lost.id());
    let survey = ledger_past(2).read(|ledger| outbox.survey(Some(ledger))).unwrap();
    assert!(survey.past.is_empty() && survey.unusable.len() == 1);
}
