use std::fs;
use std::path::Path;

use common::amount::Amount;
use common::difficulty::Work;
use common::encoding::encode;
use common::hash::BlockId;
use common::rules::Rules;
use common::store::Store;
use common::store::memory::MemoryStore;
use common::time::Timestamp;
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
        locked.add(&payment.id(), payment).unwrap();
    }
    drop(locked);
    (root, outbox)
}

fn tip_at(height: u64) -> Tip {
    Tip { id: BlockId::ZERO, height: Height::new(height), work: Work::default(), time: Timestamp::default() }
}

fn file_names(directory: &Path) -> Vec<String> {
    files::names_in(directory).unwrap()
}

#[test]
fn what_is_added_is_found_again_and_a_missing_directory_is_empty() {
    let (_root, outbox) = outbox_of(&[payment(1, 0, 5, 0)]);
    let survey = outbox.survey(None).unwrap();
    assert_eq!(survey.unconfirmed.len(), 1);
    assert_eq!(survey.unconfirmed[0].transaction, payment(1, 0, 5, 0));
    assert_eq!((survey.unconfirmed[0].sender, survey.unconfirmed[0].state), (sender(1), State::Pending));
    assert!(Outbox::new("/nonexistent").survey(None).unwrap().unconfirmed.is_empty());
}

#[test]
fn the_next_nonce_is_the_lowest_that_nothing_alive_has() {
    let (_root, outbox) =
        outbox_of(&[payment(1, 3, 1, 0), payment(1, 4, 1, 0), payment(1, 6, 1, 0), payment(2, 5, 1, 0)]);
    let mut survey = outbox.survey(None).unwrap();
    for (ledger_nonce, next) in [(0, 0), (2, 2), (3, 5), (4, 5), (6, 7), (9, 9)] {
        assert_eq!(survey.next_nonce(&sender(1), ledger_nonce), next, "{ledger_nonce}");
    }
    for entry in survey.unconfirmed.iter_mut().filter(|entry| entry.transaction.payment.nonce == 3) {
        entry.state = State::Expired;
    }
    assert_eq!(survey.next_nonce(&sender(1), 3), 3, "an expired payment's nonce is free");
}

#[test]
fn pending_payments_take_up_amount_and_fee_of_their_sender_alone() {
    let (_root, outbox) = outbox_of(&[payment(1, 0, 5, 0), payment(1, 1, 2, 0), payment(2, 0, 1, 0)]);
    let survey = outbox.survey(None).unwrap();
    assert_eq!(survey.outgoing(&sender(1)), Amount::from_units(7_000_002));
    assert_eq!(survey.outgoing(&sender(3)), Amount::ZERO);
    assert_eq!(survey.incoming(&Address::from_bytes([9; 32])), Amount::from_coins(8));
}

#[test]
fn states_follow_from_the_ledger() {
    let rules = Rules::default();
    let store = MemoryStore::new(&rules);
    let spent = common::ledger::Account { balance: Amount::ZERO, nonce: 2 };
    store.write::<_, StoreError>(|writer| writer.put_account(&sender(1), spent)).unwrap();
    let (_root, outbox) = outbox_of(&[payment(1, 1, 1, 0), payment(1, 2, 1, 1)]);
    let survey = store.read(|ledger| outbox.survey(Some(ledger))).unwrap();
    let state =
        |nonce| survey.unconfirmed.iter().find(|e| e.transaction.payment.nonce == nonce).unwrap().state;
    assert_eq!((state(1), state(2)), (State::Conflicting, State::Pending));
}

#[test]
fn damaged_files_are_named_and_set_aside_and_foreign_ones_left_alone() {
    let (good, cut, swapped) = (payment(1, 0, 1, 0), payment(1, 1, 1, 0), payment(1, 2, 1, 0));
    let (_root, outbox) = outbox_of(&[good.clone(), cut.clone(), swapped.clone()]);
    fs::write(outbox.path(&cut.id()), &encode(&cut)[..100]).unwrap();
    fs::write(outbox.path(&swapped.id()), encode(&good)).unwrap();
    fs::write(outbox.directory.join("notes.txt"), "x").unwrap();
    let long = payment(1, 3, 1, 0).id();
    fs::write(outbox.path(&long), vec![0; MAX_DATAGRAM_BYTES + 1]).unwrap();

    let survey = outbox.survey(None).unwrap();
    assert_eq!(survey.unconfirmed.iter().map(|entry| entry.id).collect::<Vec<_>>(), [good.id()]);
    assert_eq!(survey.problems.len(), 3, "{:?}", survey.problems);
    for id in [cut.id(), swapped.id(), long] {
        assert!(survey.problems.iter().any(|problem| problem.contains(&id.to_string())));
        assert!(outbox.directory.join(format!("{id}.damaged")).exists());
    }
    let again = outbox.survey(None).unwrap();
    assert!(again.problems.is_empty() && again.unconfirmed.len() == 1);
    assert!(outbox.directory.join("notes.txt").exists());
}

#[test]
fn files_go_when_their_payment_is_too_deep_to_come_back() {
    let (old, expired) = (payment(1, 0, 1, 0), payment(1, 1, 1, 10));
    let (_root, outbox) = outbox_of(&[old.clone(), expired.clone()]);
    let mut survey = outbox.survey(None).unwrap();
    survey.unconfirmed.retain(|entry| entry.id == expired.id());
    survey.unconfirmed[0].state = State::Expired;
    survey.confirmed.push((old.id(), Height::new(5)));

    outbox.prune(&survey, &tip_at(4 + KEEP_BLOCKS)).unwrap();
    assert_eq!(file_names(&outbox.directory).len(), 3, "two payments and the lock");
    outbox.prune(&survey, &tip_at(5 + KEEP_BLOCKS)).unwrap();
    assert_eq!(file_names(&outbox.directory), [".lock".to_owned(), expired.id().to_string()]);
    outbox.prune(&survey, &tip_at(10 + KEEP_BLOCKS)).unwrap();
    assert_eq!(file_names(&outbox.directory), [".lock"]);
}
