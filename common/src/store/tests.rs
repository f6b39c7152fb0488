//! One suite for both stores, and one against the other.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::testing::people::{PEOPLE, address, block, payment, record, rules};

/// So small that LMDB's map has to grow in many of the tests.
const TINY_MAP_BYTES: usize = 256 << 10;

/// Runs every test on both stores.
macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[test]
            fn $name() {
                super::$name(&super::MemoryStore::new(&super::rules()));
            })*
        }
        mod in_lmdb {
            $(#[test]
            fn $name() {
                let directory = tempfile::tempdir().unwrap();
                super::$name(&super::tiny_lmdb(directory.path()));
            })*
        }
    };
}

suite! {
    a_new_store_holds_genesis_and_what_it_allocates,
    a_block_is_in_the_tree_first_and_in_the_best_chain_when_it_extends_it,
    putting_a_block_again_changes_nothing,
    only_a_child_of_the_tip_that_is_in_the_tree_becomes_the_tip,
    genesis_cannot_be_retracted,
    default_accounts_are_not_kept,
    accounts_are_visited_in_order_also_by_the_writer_that_changes_them,
    a_transaction_is_found_where_the_best_chain_has_it,
    activity_is_listed_newest_first_and_removed_by_height,
    invalid_blocks_and_watched_addresses_are_remembered,
    watching_an_address_finds_what_the_chain_holds_of_it,
    a_write_that_fails_changes_nothing,
    clones_share_one_store,
}

fn tiny_lmdb(directory: &std::path::Path) -> LmdbStore {
    LmdbStore::open_with_map_size(directory, &rules(), TINY_MAP_BYTES).unwrap()
}

fn genesis() -> BlockRecord {
    BlockRecord::genesis(&rules())
}

/// Puts a block and makes it the tip.
pub(super) fn connect(store: &impl Store, parent: &BlockRecord, block: &CheckedBlock) -> BlockRecord {
    let record = record(parent, block);
    write(store, |writer| {
        writer.put_block(block, record.work)?;
        writer.extend_best(&record)
    });
    record
}

pub(super) fn write<T>(store: &impl Store, change: impl FnMut(&mut dyn Write) -> Result<T, StoreError>) -> T {
    store.write(change).unwrap()
}

pub(super) fn read<T>(store: &impl Store, look: impl FnOnce(&dyn Read) -> Result<T, StoreError>) -> T {
    store.read(look).unwrap()
}

fn coins(balance: u64, nonce: u64) -> Account {
    Account { balance: crate::amount::Amount::from_coins(balance), nonce }
}

fn all_accounts(reader: &dyn Read) -> Vec<(Address, Account)> {
    let mut accounts = Vec::new();
    reader.for_each_account(&mut |address, account| accounts.push((address, account))).unwrap();
    accounts
}

fn a_new_store_holds_genesis_and_what_it_allocates(store: &impl Store) {
    read(store, |reader| {
        assert_eq!(reader.tip()?, Tip::from(&genesis()));
        assert_eq!(reader.best_at(Height::GENESIS)?, Some(genesis().id()));
        assert_eq!(reader.best_at(Height::new(1))?, None);
        assert_eq!(reader.best_at(Height::new(u64::MAX))?, None);
        assert_eq!(reader.record(&genesis().id())?, Some(genesis()));
        assert_eq!(reader.encoded_body(&genesis().id())?, None);
        assert_eq!(reader.account(&address(0))?, coins(1000, 0));
        assert_eq!(reader.account(&address(PEOPLE))?, Account::default());
        assert_eq!(all_accounts(reader).len(), usize::from(PEOPLE));
        Ok(())
    });
}

fn a_block_is_in_the_tree_first_and_in_the_best_chain_when_it_extends_it(store: &impl Store) {
    let first = block(&rules(), &genesis(), 0, vec![payment(0, 1, 5, 0)]);
    let put = record(&genesis(), &first);
    write(store, |writer| writer.put_block(&first, put.work));
    read(store, |reader| {
        assert_eq!(reader.tip()?, Tip::from(&genesis()));
        assert_eq!(reader.record(&first.id())?, Some(put.clone()));
        assert_eq!(reader.encoded_body(&first.id())?.as_deref(), Some(first.encoded_body()));
        assert_eq!(reader.checked_block(&first.id())?, Some(first.clone()));
        assert!(!reader.is_best(&put)?);
        Ok(())
    });
    write(store, |writer| writer.extend_best(&put));
    read(store, |reader| {
        assert_eq!(reader.tip()?, Tip::from(&put));
        assert_eq!(reader.best_at(Height::new(1))?, Some(first.id()));
        assert!(reader.is_best(&put)?);
        Ok(())
    });
    write(store, |writer| writer.retract_best());
    read(store, |reader| {
        assert_eq!(reader.tip()?, Tip::from(&genesis()));
        assert_eq!(reader.best_at(Height::new(1))?, None);
        assert_eq!(reader.record(&first.id())?, Some(put.clone()));
        Ok(())
    });
}

fn putting_a_block_again_changes_nothing(store: &impl Store) {
    let first = block(&rules(), &genesis(), 0, vec![payment(0, 1, 5, 0)]);
    let put = connect(store, &genesis(), &first);
    write(store, |writer| writer.put_block(&first, Work::ZERO));
    read(store, |reader| {
        assert_eq!(reader.record(&first.id())?, Some(put.clone()));
        assert_eq!(reader.tip()?, Tip::from(&put));
        Ok(())
    });
}

fn only_a_child_of_the_tip_that_is_in_the_tree_becomes_the_tip(store: &impl Store) {
    let first = block(&rules(), &genesis(), 0, vec![]);
    let missing = store.write(|writer| writer.extend_best(&record(&genesis(), &first)));
    assert!(matches!(missing, Err(StoreError::Damaged { .. })), "{missing:?}");
    let first = connect(store, &genesis(), &first);
    let sibling = block(&rules(), &genesis(), 1, vec![]);
    let no_child = store.write(|writer| {
        writer.put_block(&sibling, Work::ZERO)?;
        writer.extend_best(&record(&genesis(), &sibling))
    });
    assert!(matches!(no_child, Err(StoreError::Damaged { .. })), "{no_child:?}");
    assert_eq!(read(store, |reader| reader.tip()), Tip::from(&first));
}

fn genesis_cannot_be_retracted(store: &impl Store) {
    let retracted = store.write(|writer| writer.retract_best());
    assert!(matches!(retracted, Err(StoreError::Damaged { .. })), "{retracted:?}");
}

fn default_accounts_are_not_kept(store: &impl Store) {
    write(store, |writer| writer.put_account(&address(9), coins(1, 2)));
    assert_eq!(read(store, |reader| reader.account(&address(9))), coins(1, 2));
    write(store, |writer| {
        writer.put_account(&address(9), Account::default())?;
        writer.put_account(&address(8), Account::default())?;
        assert_eq!(writer.account(&address(9))?, Account::default());
        assert_eq!(all_accounts(writer).len(), usize::from(PEOPLE));
        Ok(())
    });
    assert_eq!(read(store, |reader| Ok(all_accounts(reader).len())), usize::from(PEOPLE));
}

fn accounts_are_visited_in_order_also_by_the_writer_that_changes_them(store: &impl Store) {
    let mut expected: BTreeMap<Address, Account> = rules()
        .alloc
        .into_iter()
        .map(|(address, balance)| (address, Account { balance, nonce: 0 }))
        .collect();
    for person in 2..12 {
        expected.insert(address(person), coins(u64::from(person), 1));
    }
    expected.remove(&address(1));
    let expected: Vec<_> = expected.into_iter().collect();
    write(store, |writer| {
        for person in 2..12 {
            writer.put_account(&address(person), coins(u64::from(person), 1))?;
        }
        writer.put_account(&address(1), Account::default())?;
        assert_eq!(all_accounts(writer), expected);
        Ok(())
    });
    assert_eq!(read(store, |reader| Ok(all_accounts(reader))), expected);
}

fn a_transaction_is_found_where_the_best_chain_has_it(store: &impl Store) {
    let (both, one) = (payment(0, 1, 5, 0), payment(1, 2, 5, 0));
    // The same payment stands in two branches, at other heights and other places.
    let first = block(&rules(), &genesis(), 0, vec![one.clone(), both.clone()]);
    let other = block(&rules(), &genesis(), 1, vec![]);
    let other_record = record(&genesis(), &other);
    let second = block(&rules(), &other_record, 1, vec![both.clone()]);
    let place = |block: &CheckedBlock, index| {
        Some(TransactionPlace { block: block.id(), height: block.height(), index })
    };
    let first_record = record(&genesis(), &first);
    write(store, |writer| {
        writer.put_block(&first, first_record.work)?;
        assert_eq!(writer.find_transaction(&both.id())?, None);
        writer.extend_best(&first_record)?;
        assert_eq!(writer.find_transaction(&both.id())?, place(&first, 1));
        Ok(())
    });
    read(store, |reader| {
        assert_eq!(reader.find_transaction(&both.id())?, place(&first, 1));
        assert_eq!(reader.find_transaction(&one.id())?, place(&first, 0));
        Ok(())
    });
    write(store, |writer| {
        writer.retract_best()?;
        assert_eq!(writer.find_transaction(&both.id())?, None);
        let second_record = record(&other_record, &second);
        for (block, record) in [(&other, &other_record), (&second, &second_record)] {
            writer.put_block(block, record.work)?;
            writer.extend_best(record)?;
        }
        assert_eq!(writer.find_transaction(&both.id())?, place(&second, 0));
        Ok(())
    });
    read(store, |reader| {
        assert_eq!(reader.find_transaction(&both.id())?, place(&second, 0));
        assert_eq!(reader.find_transaction(&one.id())?, None);
        let mut alike = *both.id().as_bytes();
        alike[31] ^= 1;
        assert_eq!(reader.find_transaction(&TransactionId::from_bytes(alike))?, None);
        Ok(())
    });
}

fn entry(height: u64, index: u32) -> Activity {
    Activity {
        height: Height::new(height),
        index,
        time: Timestamp::from_millis(height),
        transaction: None,
        from: None,
        to: address(0),
        amount: crate::amount::Amount::from_coins(1),
        fee: crate::amount::Amount::ZERO,
        data: vec![index as u8],
    }
}

fn activity_is_listed_newest_first_and_removed_by_height(store: &impl Store) {
    let places = [(1, 0), (256, 1), (2, 300), (256, 0), (2, 2)];
    write(store, |writer| {
        places
            .iter()
            .try_for_each(|(height, index)| writer.put_activity(&address(0), &entry(*height, *index)))?;
        writer.put_activity(&address(1), &entry(2, 7))
    });
    let listed = |limit| {
        let entries = read(store, |reader| reader.activity(&address(0), limit));
        entries.iter().map(|entry| (entry.height.get(), entry.index)).collect::<Vec<_>>()
    };
    assert_eq!(listed(usize::MAX), [(256, 1), (256, 0), (2, 300), (2, 2), (1, 0)]);
    assert_eq!(listed(3), [(256, 1), (256, 0), (2, 300)]);
    assert_eq!(listed(0), []);
    write(store, |writer| writer.remove_activity(&address(0), Height::new(2)));
    assert_eq!(listed(usize::MAX), [(256, 1), (256, 0), (1, 0)]);
    assert_eq!(read(store, |reader| reader.activity(&address(1), 9)), [entry(2, 7)]);
}

fn invalid_blocks_and_watched_addresses_are_remembered(store: &impl Store) {
    let (bad, good) = (BlockId::from_bytes([7; 32]), BlockId::from_bytes([8; 32]));
    write(store, |writer| {
        writer.mark_invalid(&bad)?;
        writer.mark_invalid(&bad)?;
        [3, 1, 3].iter().try_for_each(|person| writer.watch(&address(*person)))
    });
    read(store, |reader| {
        assert!(reader.is_invalid(&bad)?);
        assert!(!reader.is_invalid(&good)?);
        let mut expected = vec![address(3), address(1)];
        expected.sort_unstable();
        assert_eq!(reader.watched()?, expected);
        Ok(())
    });
}

fn watching_an_address_finds_what_the_chain_holds_of_it(store: &impl Store) {
    let mined = connect(store, &genesis(), &block(&rules(), &genesis(), 7, vec![]));
    connect(store, &mined, &block(&rules(), &mined, 8, vec![payment(0, 7, 3, 0)]));
    super::watch(store, &rules(), &[address(7), address(0)]).unwrap();
    let seen = |person| {
        let entries = read(store, |reader| reader.activity(&address(person), usize::MAX));
        let directions = entries.iter().map(|entry| entry.direction(&address(person)));
        directions.zip(entries.iter().map(|entry| entry.height.get())).collect::<Vec<_>>()
    };
    assert_eq!(seen(7), [(Direction::Received, 2), (Direction::Mined, 1)]);
    assert_eq!(seen(0), [(Direction::Sent, 2), (Direction::Allocated, 0)]);
}

fn a_write_that_fails_changes_nothing(store: &impl Store) {
    let first = block(&rules(), &genesis(), 0, vec![payment(0, 1, 5, 0)]);
    let put = connect(store, &genesis(), &first);
    write(store, |writer| {
        writer.watch(&address(1))?;
        writer.put_activity(&address(1), &entry(1, 1))
    });
    let blocks = vec![first.clone(), block(&rules(), &put, 1, vec![payment(0, 1, 5, 1)])];
    let before = read(store, |reader| Ok(everything(reader, &blocks)));
    let failed: Result<(), StoreError> = store.write(|writer| {
        let second = record(&put, &blocks[1]);
        writer.put_block(&blocks[1], second.work)?;
        writer.extend_best(&second)?;
        writer.retract_best()?;
        writer.retract_best()?;
        writer.put_account(&address(0), Account::default())?;
        writer.put_account(&address(9), coins(1, 1))?;
        writer.mark_invalid(&put.id())?;
        writer.watch(&address(2))?;
        writer.remove_activity(&address(1), Height::new(1))?;
        writer.put_activity(&address(2), &entry(2, 2))?;
        assert_ne!(everything(writer, &blocks), before);
        Err(StoreError::damaged("only this once"))
    });
    assert!(failed.is_err());
    assert_eq!(read(store, |reader| Ok(everything(reader, &blocks))), before);
}

fn clones_share_one_store(store: &impl Store) {
    let put = connect(&store.clone(), &genesis(), &block(&rules(), &genesis(), 0, vec![]));
    assert_eq!(read(store, |reader| reader.tip()), Tip::from(&put));
}

/// All that can be read of a store, given the blocks that may be in it.
#[derive(Debug, PartialEq)]
pub(super) struct Everything {
    tip: Tip,
    best: Vec<Option<BlockId>>,
    blocks: Vec<(Option<BlockRecord>, Option<Vec<u8>>, bool)>,
    places: Vec<Option<TransactionPlace>>,
    accounts: Vec<(Address, Account)>,
    account_of: Vec<Account>,
    watched: Vec<Address>,
    activity: Vec<[Vec<Activity>; 2]>,
}

pub(super) fn everything(reader: &dyn Read, blocks: &[CheckedBlock]) -> Everything {
    let tip = reader.tip().unwrap();
    let transactions = blocks.iter().flat_map(CheckedBlock::transactions);
    let people = || (0..2 * PEOPLE).map(address);
    Everything {
        tip,
        best: (0..tip.height.get() + 2).map(|height| reader.best_at(Height::new(height)).unwrap()).collect(),
        blocks: blocks
            .iter()
            .map(CheckedBlock::id)
            .map(|id| {
                let (record, body) = (reader.record(&id).unwrap(), reader.encoded_body(&id).unwrap());
                (record, body.map(Cow::into_owned), reader.is_invalid(&id).unwrap())
            })
            .collect(),
        places: transactions.map(|transaction| reader.find_transaction(&transaction.id()).unwrap()).collect(),
        accounts: all_accounts(reader),
        account_of: people().map(|address| reader.account(&address).unwrap()).collect(),
        watched: reader.watched().unwrap(),
        activity: people()
            .map(|address| {
                let all = reader.activity(&address, usize::MAX).unwrap();
                let mut oldest_first = Vec::new();
                reader.for_each_activity(&address, &mut |entry| oldest_first.push(entry)).unwrap();
                assert!(oldest_first.iter().rev().eq(&all));
                [reader.activity(&address, 1).unwrap(), all]
            })
            .collect(),
    }
}

/// Something to do to a store. Blocks are numbers of a fixed tree.
#[derive(Clone, Debug)]
enum Action {
    Put(usize),
    Extend(usize),
    Retract,
    Account(u8, Account),
    Invalid(usize),
    Watch(u8),
    Activity(u8, u64, u32),
    Forget(u8, u64),
}

fn action() -> impl Strategy<Value = Action> {
    let (person, height, number) = (0..2 * PEOPLE, 0_u64..4, 0_usize..TREE_BLOCKS);
    prop_oneof![
        6 => number.clone().prop_map(Action::Put),
        6 => number.clone().prop_map(Action::Extend),
        3 => Just(Action::Retract),
        3 => (person.clone(), 0_u64..3, 0_u64..2)
            .prop_map(|(person, balance, nonce)| Action::Account(person, coins(balance, nonce))),
        1 => number.prop_map(Action::Invalid),
        1 => person.clone().prop_map(Action::Watch),
        3 => (person.clone(), height.clone(), 0_u32..3)
            .prop_map(|(person, height, index)| Action::Activity(person, height, index)),
        2 => (person, height).prop_map(|(person, height)| Action::Forget(person, height)),
    ]
}

const TREE_BLOCKS: usize = 7;

/// Two blocks on genesis, two on each of them, one on the last: with shared and repeated transactions.
fn tree() -> (Vec<CheckedBlock>, Vec<BlockRecord>) {
    let (mut blocks, mut records) = (Vec::<CheckedBlock>::new(), Vec::<BlockRecord>::new());
    for (number, parent) in [None, None, Some(0), Some(0), Some(1), Some(1), Some(5)].into_iter().enumerate()
    {
        let parent = parent.map_or_else(genesis, |parent: usize| records[parent].clone());
        let nonce = parent.height().get();
        let transactions = vec![payment(0, 1, 1, nonce), payment(1, 2, number as u64 / 2 + 1, nonce)];
        let block = block(&rules(), &parent, number as u8, transactions);
        records.push(record(&parent, &block));
        blocks.push(block);
    }
    (blocks, records)
}

fn act(
    writer: &mut dyn Write,
    action: &Action,
    blocks: &[CheckedBlock],
    records: &[BlockRecord],
) -> Result<(), StoreError> {
    match action {
        Action::Put(number) => writer.put_block(&blocks[*number], records[*number].work),
        Action::Extend(number) => writer.extend_best(&records[*number]),
        Action::Retract => writer.retract_best(),
        Action::Account(person, account) => writer.put_account(&address(*person), *account),
        Action::Invalid(number) => writer.mark_invalid(&blocks[*number].id()),
        Action::Watch(person) => writer.watch(&address(*person)),
        Action::Activity(person, height, index) => {
            writer.put_activity(&address(*person), &entry(*height, *index))
        }
        Action::Forget(person, height) => writer.remove_activity(&address(*person), Height::new(*height)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn both_stores_do_the_same(
        writes in prop::collection::vec((prop::collection::vec(action(), 1..16), any::<bool>()), 1..8)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (lmdb, memory) = (tiny_lmdb(directory.path()), MemoryStore::new(&rules()));
        let (blocks, records) = tree();
        for (actions, succeeds) in writes {
            // What a writer sees after every action, and what is left when it fails or succeeds.
            let run = |writer: &mut dyn Write| {
                let mut seen = Vec::new();
                for action in &actions {
                    let worked = act(writer, action, &blocks, &records).is_ok();
                    seen.push((worked, everything(writer, &blocks)));
                }
                if succeeds { Ok(seen) } else { Err(Failed::OnPurpose(seen)) }
            };
            let (lmdb_saw, memory_saw) = (lmdb.write(run), memory.write(run));
            prop_assert_eq!(lmdb_saw, memory_saw);
            let lmdb_left = read(&lmdb, |reader| Ok(everything(reader, &blocks)));
            let memory_left = read(&memory, |reader| Ok(everything(reader, &blocks)));
            prop_assert_eq!(lmdb_left, memory_left);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Failed {
    OnPurpose(Vec<(bool, Everything)>),
    Store(String),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// A sound chain was to be repaired, and a good disk to be replaced.
#[test]
fn what_a_program_may_not_open_or_hold_is_not_what_the_disk_cannot_read() {
    let error = |number| StoreError::unreadable("chain".as_ref(), std::io::Error::from_raw_os_error(number));
    // Linux' numbers for ENOENT, ENOMEM, EACCES, ENFILE, EMFILE; and EIO.
    #[cfg(target_os = "linux")]
    for number in [2, 12, 13, 23, 24] {
        assert!(matches!(error(number), StoreError::Io { .. }), "{number}");
    }
    assert!(matches!(error(5), StoreError::Unreadable { .. }));
}
