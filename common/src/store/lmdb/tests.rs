//! What only LMDB has: files, a map that grows, other processes, and damage.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread;

use heed::EnvOpenOptions;
use heed::types::Bytes;
use tempfile::TempDir;

use super::super::tests::{connect, everything, read, write};
use super::super::{BlockRecord, Tip};
use super::tables::{FORMAT, FORMAT_COPY_KEY, FORMAT_KEY, MAGIC_KEY, Table};
use super::*;
use crate::amount::Amount;
use crate::encoding::encode;
use crate::ledger::Account;
use crate::testing::people::{address, block, payment, rules};
use crate::time::Height;

/// Room for the empty tables and little else.
const TINY_MAP_BYTES: usize = 256 << 10;
/// More than fits the tiny map, in blocks of [`large_block`].
const MANY: u8 = 20;

fn genesis() -> BlockRecord {
    BlockRecord::genesis(&rules())
}

/// A block of about 28 KB.
fn large_block(parent: &BlockRecord, miner: u8) -> crate::consensus::CheckedBlock {
    let nonce = parent.height().get() * 50;
    block(&rules(), parent, miner, (0..50).map(|number| payment(0, 1, 1, nonce + number)).collect())
}

/// Changes a table behind the store's back.
fn tamper(store: &LmdbStore, change: impl FnOnce(&Tables, &mut RwTxn)) {
    let (_map, mut txn) = store.0.environment.begin_write().unwrap();
    change(&store.0.tables, &mut txn);
    txn.commit().unwrap();
}

/// A database that another program might have made.
fn other_database(directory: &Path, fill: impl FnOnce(&heed::Env, heed::RwTxn)) {
    // SAFETY: nobody else uses the files.
    let env = unsafe { EnvOpenOptions::new().max_dbs(4).open(directory) }.unwrap();
    fill(&env, env.write_txn().unwrap());
    env.prepare_for_closing().wait();
}

/// What `open` and `open_existing` say, which must be the same.
fn refusal(directory: &Path, rules: &Rules) -> StoreError {
    let opened = LmdbStore::open(directory, rules).err().expect("the store is refused");
    let existing = LmdbStore::open_existing(directory, rules).err().expect("the store is refused");
    assert_eq!(opened.to_string(), existing.to_string());
    opened
}

#[test]
fn reopening_finds_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let mut blocks = Vec::new();
    let mut tip = genesis();
    for miner in 0..5 {
        blocks.push(block(&rules(), &tip, miner, vec![payment(0, 1, 1, u64::from(miner))]));
        tip = connect(&store, &tip, &blocks[usize::from(miner)]);
    }
    write(&store, |writer| {
        writer.watch(&address(3))?;
        writer.put_account(&address(3), Account { balance: Amount::from_coins(3), nonce: 9 })?;
        writer.mark_invalid(&blocks[4].id())
    });
    let before = read(&store, |reader| Ok(everything(reader, &blocks)));
    drop(store);
    let store = LmdbStore::open_existing(directory.path(), &rules()).unwrap().unwrap();
    assert_eq!(read(&store, |reader| Ok(everything(reader, &blocks))), before);
    assert!(store.size_on_disk().unwrap() > 0);
}

#[test]
fn opening_again_in_one_process_shares_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let one = LmdbStore::open(directory.path(), &rules()).unwrap();
    let two = LmdbStore::open(&directory.path().join("."), &rules()).unwrap();
    let tip = connect(&one, &genesis(), &block(&rules(), &genesis(), 0, vec![]));
    assert_eq!(read(&two, |reader| reader.tip()), Tip::from(&tip));
    let other = Rules { name: "other".to_owned(), ..rules() };
    assert!(matches!(refusal(directory.path(), &other), StoreError::OtherNetwork { .. }));
}

#[test]
fn open_existing_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    assert!(LmdbStore::open_existing(&missing, &rules()).unwrap().is_none());
    assert!(!missing.exists());
    assert!(LmdbStore::open_existing(directory.path(), &rules()).unwrap().is_none());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    // Killed before its first transaction, a store is as good as none.
    other_database(directory.path(), |_, _| ());
    assert!(LmdbStore::open_existing(directory.path(), &rules()).unwrap().is_none());
    LmdbStore::open(directory.path(), &rules()).unwrap();
    assert!(LmdbStore::open_existing(directory.path(), &rules()).unwrap().is_some());
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_look_into_a_new_store() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b");
    let _store = LmdbStore::open(&directory, &rules()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("data.mdb")), 0o600);
}

/// An unreadable directory was taken for one without a store, and `verify` said that there is no chain.
#[test]
fn a_store_that_cannot_be_looked_for_is_not_said_to_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for opened in [
        LmdbStore::open_existing(&file, &rules()).map(drop),
        LmdbStore::open_checked(&file, &rules()).map(drop),
        LmdbStore::exists(&file).map(drop),
    ] {
        let error = opened.expect_err("a file holds no store, nor none");
        assert!(matches!(&error, StoreError::Io { path, .. } if path.ends_with("file")), "{error}");
    }
    assert!(!LmdbStore::exists(&directory.path().join("missing")).unwrap());
}

#[test]
fn a_path_that_cannot_be_a_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = LmdbStore::open(&file, &rules()).err().unwrap();
    assert!(matches!(&error, StoreError::Io { path, .. } if path.ends_with("file")), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_foreign_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for content in ["short".to_owned(), "long ".repeat(5000)] {
        fs::write(directory.path().join("data.mdb"), &content).unwrap();
        assert!(matches!(refusal(directory.path(), &rules()), StoreError::Foreign { .. }));
        assert_eq!(fs::read_to_string(directory.path().join("data.mdb")).unwrap(), content);
    }
}

/// A pipe was waited at for ever.
#[test]
fn a_directory_or_a_pipe_in_place_of_the_database_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data.mdb");
    fs::create_dir(&file).unwrap();
    assert!(refusal(directory.path(), &rules()).to_string().ends_with("data.mdb: it is not a file"));
    fs::remove_dir(&file).unwrap();
    if Command::new("mkfifo").arg(&file).status().is_ok_and(|made| made.success()) {
        assert!(refusal(directory.path(), &rules()).to_string().ends_with("data.mdb: it is not a file"));
    }
}

#[test]
fn a_database_of_another_program_is_foreign() {
    let one_table = |name: &'static str| {
        move |env: &heed::Env, txn: heed::RwTxn| {
            env.create_databases_and_commit(txn, |opener, txn| {
                let table = opener.create_database::<Bytes, Bytes>(txn, Some(name))?;
                table.put(txn, b"key", b"value")?;
                Ok::<_, heed::Error>(heed::CommitOrAbort::<_, ()>::Commit(()))
            })
            .unwrap();
        }
    };
    // Tables with other names, one with a name of ours, and a plain value under it.
    for fill in [one_table("theirs"), one_table("meta")] {
        let directory = tempfile::tempdir().unwrap();
        other_database(directory.path(), fill);
        assert!(matches!(refusal(directory.path(), &rules()), StoreError::Foreign { .. }));
    }
    let directory = tempfile::tempdir().unwrap();
    other_database(directory.path(), |env, txn| {
        env.create_databases_and_commit(txn, |opener, txn| {
            opener.create_database::<Bytes, Bytes>(txn, None)?.put(txn, b"meta", b"value")?;
            Ok::<_, heed::Error>(heed::CommitOrAbort::<_, ()>::Commit(()))
        })
        .unwrap();
    });
    assert!(matches!(refusal(directory.path(), &rules()), StoreError::Foreign { .. }));
}

/// Makes a store what an older version of the program would have made of the same blocks.
fn make_older(directory: &Path, format: u32) {
    // SAFETY: nobody else uses the files.
    let env = unsafe { EnvOpenOptions::new().max_dbs(16).open(directory) }.unwrap();
    let converted = env.create_databases_and_commit(env.write_txn().unwrap(), |opener, txn| {
        let now = ["meta", "block_runs", "records", "best_chain", "ledger", "transaction_runs", "history"];
        let [meta, block_runs, records, best, accounts, transaction_runs, activity] =
            now.map(|name| opener.open_database::<Bytes, Bytes>(txn, Some(name)).unwrap().unwrap());
        let all = |txn: &heed::RwTxn, table: Table| -> Vec<(Vec<u8>, Vec<u8>)> {
            table
                .iter(txn)
                .unwrap()
                .map(Result::unwrap)
                .map(|(key, value)| (key.to_vec(), value.to_vec()))
                .collect()
        };
        let old = [convert::BEST_2, convert::ACCOUNTS_2, convert::ACTIVITY_2];
        let old = old.map(|name| opener.create_database::<Bytes, Bytes>(txn, Some(name)).unwrap());
        for (table, old) in [best, accounts, activity].into_iter().zip(old) {
            for (key, value) in all(txn, table) {
                old.put(txn, &key, &value[values::CHECKSUM_BYTES..])?;
            }
            table.clear(txn)?;
        }
        meta.put(txn, FORMAT_KEY, &format.to_be_bytes())?;
        meta.delete(txn, FORMAT_COPY_KEY)?;
        if format == 2 {
            return Ok::<_, heed::Error>(heed::CommitOrAbort::<_, ()>::Commit(()));
        }
        let blocks = opener.create_database::<Bytes, Bytes>(txn, Some(convert::BLOCKS_1))?;
        let transactions = opener.create_database::<Bytes, Bytes>(txn, Some(convert::TRANSACTIONS_1))?;
        let [best, accounts, _] = old;
        let mut ids = Vec::new();
        for (sequence, sealed) in all(txn, records) {
            let record = values::decode_record(&sealed[values::CHECKSUM_BYTES..]).unwrap();
            let long = [encode(&record.header), record.work.to_be_bytes().to_vec()].concat();
            records.put(txn, &sequence, &values::seal(record.id().as_bytes(), &long))?;
            blocks.put(txn, record.id().as_bytes(), &sequence)?;
            ids.push(record.id());
        }
        for (height, sequence) in all(txn, best) {
            let sequence = u32::from_be_bytes(sequence.try_into().unwrap());
            best.put(txn, &height, ids[sequence as usize].as_bytes())?;
        }
        for (address, account) in all(txn, accounts) {
            accounts.put(txn, &address, &encode(&values::decode_account(&account).unwrap()))?;
        }
        for entry in all(txn, transaction_runs).iter().flat_map(|(_, run)| run.chunks(40)) {
            transactions.put(txn, &[&entry[..32], &[0; 4], &entry[32..]].concat(), &[])?;
        }
        transaction_runs.clear(txn)?;
        block_runs.clear(txn)?;
        Ok(heed::CommitOrAbort::Commit(()))
    });
    converted.unwrap();
    env.prepare_for_closing().wait();
}

#[test]
fn a_store_of_an_older_format_is_converted_when_it_is_opened_and_goes_on() {
    for (format, create) in [(1, false), (1, true), (2, false), (2, true)] {
        let directory = tempfile::tempdir().unwrap();
        let (mut blocks, mut tip) = (Vec::new(), genesis());
        let store = LmdbStore::open(directory.path(), &rules()).unwrap();
        // Not of the best chain: the others' sequence numbers are not their heights.
        let rival = block(&rules(), &tip, MANY, vec![]);
        let rival_work = crate::testing::people::record(&tip, &rival).work;
        write(&store, |writer| {
            writer.put_account(&address(3), Account { balance: Amount::from_coins(3), nonce: 9 })?;
            writer.watch(&address(1))?;
            for (_, entry) in super::super::entries(&rival, &[address(MANY)]) {
                writer.put_activity(&address(1), &entry)?;
            }
            writer.put_block(&rival, rival_work)
        });
        for miner in 0..MANY {
            blocks.push(large_block(&tip, miner));
            tip = connect(&store, &tip, &blocks[usize::from(miner)]);
        }
        blocks.push(rival);
        let before = read(&store, |reader| Ok(everything(reader, &blocks)));
        drop(store);
        make_older(directory.path(), format);
        let other = Rules { name: "other".to_owned(), ..rules() };
        assert!(matches!(refusal(directory.path(), &other), StoreError::OtherNetwork { .. }));
        let store = if create {
            LmdbStore::open_with_map_size(directory.path(), &rules(), TINY_MAP_BYTES).unwrap()
        } else {
            LmdbStore::open_existing(directory.path(), &rules()).unwrap().unwrap()
        };
        assert_eq!(read(&store, |reader| Ok(everything(reader, &blocks))), before);
        blocks.push(large_block(&tip, 0));
        connect(&store, &tip, blocks.last().unwrap());
        let after = read(&store, |reader| Ok(everything(reader, &blocks)));
        drop(store);
        let store = LmdbStore::open(directory.path(), &rules()).unwrap();
        assert_eq!(read(&store, |reader| Ok(everything(reader, &blocks))), after);
    }
}

#[test]
fn a_newer_format_another_magic_and_another_network_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    drop(LmdbStore::open(directory.path(), &rules()).unwrap());
    let other = Rules { name: "other".to_owned(), ..rules() };
    let error = refusal(directory.path(), &other);
    let StoreError::OtherNetwork { got, expected, .. } = error else { panic!("{error}") };
    assert_eq!((got, expected), (rules().network_id(), other.network_id()));

    let newer = (FORMAT + 1).to_be_bytes();
    tamper(&LmdbStore::open(directory.path(), &rules()).unwrap(), |tables, txn| {
        tables.meta.put(txn, FORMAT_KEY, &newer).unwrap();
        tables.meta.put(txn, FORMAT_COPY_KEY, &values::seal(FORMAT_COPY_KEY, &newer)).unwrap();
    });
    let error = refusal(directory.path(), &other);
    assert!(matches!(error, StoreError::Newer { got: 4, known: 3, .. }), "{error}");

    // One bit makes 1 or 2 of 3, and no older store has no genesis.
    for older in 0..FORMAT {
        let directory = tempfile::tempdir().unwrap();
        tamper(&LmdbStore::open(directory.path(), &rules()).unwrap(), |tables, txn| {
            tables.meta.put(txn, FORMAT_KEY, &older.to_be_bytes()).unwrap();
        });
        assert!(matches!(refusal(directory.path(), &rules()), StoreError::Damaged { .. }), "{older}");
    }

    let directory = tempfile::tempdir().unwrap();
    tamper(&LmdbStore::open(directory.path(), &rules()).unwrap(), |tables, txn| {
        tables.meta.put(txn, MAGIC_KEY, b"other store").unwrap();
    });
    assert!(matches!(refusal(directory.path(), &rules()), StoreError::Foreign { .. }));
}

/// Most of them made it one of a newer program, which no repair was offered for.
#[test]
fn a_flipped_bit_of_the_format_is_damage_and_never_a_newer_store() {
    for bit in 0..32 {
        let directory = tempfile::tempdir().unwrap();
        tamper(&LmdbStore::open(directory.path(), &rules()).unwrap(), |tables, txn| {
            tables.meta.put(txn, FORMAT_KEY, &(FORMAT ^ 1 << bit).to_be_bytes()).unwrap();
        });
        assert!(matches!(refusal(directory.path(), &rules()), StoreError::Damaged { .. }), "bit {bit}");
    }
    // Of the copy alone, only whoever looks at everything minds.
    let sealed = values::seal(FORMAT_COPY_KEY, &FORMAT.to_be_bytes());
    for bit in 0..sealed.len() * 8 {
        let mut damaged = sealed.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let directory = tempfile::tempdir().unwrap();
        let store = LmdbStore::open(directory.path(), &rules()).unwrap();
        tamper(&store, |tables, txn| tables.meta.put(txn, FORMAT_COPY_KEY, &damaged).unwrap());
        let checked = read(&store, |reader| Ok(reader.check_tables()));
        assert!(checked.is_err_and(|damages| damages.len() == 1), "bit {bit}");
    }
}

#[test]
fn a_store_that_says_its_format_once_says_it_twice_when_it_is_opened_to_be_written() {
    let directory = tempfile::tempdir().unwrap();
    tamper(&LmdbStore::open(directory.path(), &rules()).unwrap(), |tables, txn| {
        assert!(tables.meta.delete(txn, FORMAT_COPY_KEY).unwrap());
    });
    let copy = |store: LmdbStore| {
        let (_map, txn) = store.0.environment.begin_read().unwrap();
        store.0.tables.meta.get(&txn, FORMAT_COPY_KEY).unwrap().and_then(tables::format_in_copy)
    };
    assert_eq!(copy(LmdbStore::open_existing(directory.path(), &rules()).unwrap().unwrap()), None);
    assert_eq!(copy(LmdbStore::open(directory.path(), &rules()).unwrap()), Some(FORMAT));
}

#[test]
fn a_large_allocation_makes_the_map_grow_at_creation() {
    let mut rules = rules();
    rules.alloc = (0..20_000_u32)
        .map(|number| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            (crate::address::Address::from_bytes(bytes), Amount::from_coins(1))
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open_with_map_size(directory.path(), &rules, TINY_MAP_BYTES).unwrap();
    let mut count = 0;
    read(&store, |reader| reader.for_each_account(&mut |_, _| count += 1));
    assert_eq!(count, 20_000);
    assert!(store.0.environment.map_bytes() > TINY_MAP_BYTES);
}

#[test]
fn a_full_map_grows_and_the_write_is_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open_with_map_size(directory.path(), &rules(), TINY_MAP_BYTES).unwrap();
    let runs = Cell::new(0);
    let tip = write(&store, |writer| {
        runs.set(runs.get() + 1);
        let mut tip = genesis();
        for miner in 0..MANY {
            let block = large_block(&tip, miner);
            tip = crate::testing::people::record(&tip, &block);
            writer.put_block(&block, tip.work)?;
            writer.extend_best(&tip)?;
        }
        Ok(tip)
    });
    assert!(runs.get() > 1);
    assert!(store.0.environment.map_bytes() > TINY_MAP_BYTES);
    assert_eq!(read(&store, |reader| reader.tip()), Tip::from(&tip));
}

#[test]
fn a_full_map_is_noticed_whatever_the_closure_makes_of_the_error() {
    struct Other;
    impl From<StoreError> for Other {
        fn from(_: StoreError) -> Self {
            Self
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open_with_map_size(directory.path(), &rules(), TINY_MAP_BYTES).unwrap();
    let first = block(&rules(), &genesis(), 0, (0..1000).map(|nonce| payment(0, 1, 1, nonce)).collect());
    let work = crate::testing::people::record(&genesis(), &first).work;
    let result = store.write(|writer| writer.put_block(&first, work).map_err(|_| Other));
    assert!(result.is_ok());
    let found = read(&store, |reader| reader.checked_block(&first.id()));
    assert_eq!(found, Some(first));
}

#[test]
fn threads_read_and_write_while_the_map_grows() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open_with_map_size(directory.path(), &rules(), TINY_MAP_BYTES).unwrap();
    thread::scope(|scope| {
        for writer in 0..4_u8 {
            let store = store.clone();
            scope.spawn(move || {
                let mut parent = genesis();
                for _ in 0..6 {
                    let block = large_block(&parent, writer);
                    parent = crate::testing::people::record(&parent, &block);
                    write(&store, |writer| writer.put_block(&block, parent.work));
                    assert_eq!(read(&store, |reader| reader.checked_block(&block.id())), Some(block));
                }
            });
        }
    });
    assert!(store.0.environment.map_bytes() > TINY_MAP_BYTES);
}

#[test]
fn a_map_that_cannot_grow_is_an_error_and_then_nothing_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open_with_map_size(directory.path(), &rules(), TINY_MAP_BYTES).unwrap();
    let environment = &store.0.environment;
    // The address space ends before a map of 2^63 bytes.
    let refused = (0..64).find_map(|_| environment.grow(environment.map_bytes()).err());
    assert!(matches!(refused, Some(StoreError::Io { .. })), "{refused:?}");
    let looked = store.read(|reader| reader.tip());
    assert!(matches!(looked, Err(StoreError::Database(_))), "{looked:?}");
    let written = store.write(|writer| writer.tip());
    assert!(matches!(written, Err(StoreError::Database(_))), "{written:?}");
    drop(store);
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    assert_eq!(read(&store, |reader| reader.tip()), Tip::from(&genesis()));
}

#[test]
fn a_reader_sees_one_state_while_a_writer_commits() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let (begin, begun) = mpsc::channel();
    thread::scope(|scope| {
        let writer = store.clone();
        let written = scope.spawn(move || {
            begun.recv().unwrap();
            connect(&writer, &genesis(), &block(&rules(), &genesis(), 0, vec![]))
        });
        let tip = read(&store, |reader| {
            assert_eq!(reader.tip()?, Tip::from(&genesis()));
            begin.send(()).unwrap();
            let tip = written.join().unwrap();
            assert_eq!(reader.tip()?, Tip::from(&genesis()));
            assert_eq!(reader.best_at(Height::new(1))?, None);
            Ok(tip)
        });
        assert_eq!(read(&store, |reader| reader.tip()), Tip::from(&tip));
    });
}

/// Found by a fuzzer: the search for what an address did began again and again.
#[test]
fn a_tip_that_is_not_in_the_best_chain_is_damage_to_who_begins_to_watch() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    connect(&store, &genesis(), &block(&rules(), &genesis(), 1, vec![]));
    tamper(&store, |tables, txn| assert!(tables.best.delete(txn, &1_u32.to_be_bytes()).unwrap()));
    let watched = super::super::watch(&store, &rules(), &[address(1)]);
    assert!(matches!(watched, Err(StoreError::Damaged { .. })));
}

/// Found by a fuzzer: it was undefined behaviour, and the block stayed without a body.
#[test]
fn a_body_of_a_block_that_was_not_put_yet_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    for key in [&u64::MAX.to_be_bytes()[..], &[1]] {
        tamper(&store, |tables, txn| tables.bodies.put(txn, key, b"body").unwrap());
        let block = block(&rules(), &genesis(), 1, vec![]);
        let refused = store.write(|writer| writer.put_block(&block, genesis().work));
        assert!(matches!(refused, Err(StoreError::Damaged { .. })));
        assert_eq!(read(&store, |reader| reader.record(&block.id())), None);
        tamper(&store, |tables, txn| assert!(tables.bodies.delete(txn, key).unwrap()));
    }
}

#[test]
fn a_damaged_body_or_header_is_named_and_never_returned() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let first = block(&rules(), &genesis(), 0, vec![payment(0, 1, 5, 0)]);
    let put = connect(&store, &genesis(), &first);
    let flip = |table: fn(&Tables) -> Table<'static>, at: usize| {
        tamper(&store, |tables, txn| {
            let key = 1_u64.to_be_bytes();
            let mut value = table(tables).get(txn, &key).unwrap().unwrap().to_vec();
            value[at] ^= 1;
            table(tables).put(txn, &key, &value).unwrap();
        });
    };
    for at in [0, 4, 100] {
        flip(|tables| tables.bodies, at);
        let error = store.read(|reader| reader.encoded_body(&first.id()).map(drop)).unwrap_err();
        let said = error.to_string();
        assert!(
            matches!(error, StoreError::Damaged { .. }) && said.contains(&first.id().to_string()),
            "{said}"
        );
        flip(|tables| tables.bodies, at);
    }
    for at in [0, 4, 100, 101] {
        flip(|tables| tables.records, at);
        let error = store.read(|reader| reader.record(&first.id())).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        flip(|tables| tables.records, at);
    }
    assert_eq!(read(&store, |reader| reader.record(&first.id())), Some(put));
    assert_eq!(read(&store, |reader| reader.checked_block(&first.id())), Some(first));
}

/// What an account holds was believed whatever it was, and so an honest block could seem to break a rule.
#[test]
fn a_damaged_account_or_entry_of_the_best_chain_or_the_history_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let first = block(&rules(), &genesis(), 1, vec![payment(0, 1, 5, 0)]);
    connect(&store, &genesis(), &first);
    write(&store, |writer| {
        writer.put_account(&address(3), Account { balance: Amount::from_coins(3), nonce: 9 })?;
        let mut entries = super::super::entries(&first, &[address(1)]).into_iter();
        entries.try_for_each(|(address, entry)| writer.put_activity(&address, &entry))
    });
    // Of each table every bit of an entry, and what is asked for then.
    type Of = fn(&Tables) -> Table<'static>;
    type Ask = fn(&dyn Read) -> Result<(), StoreError>;
    let tables: [(Of, Ask); 4] = [
        (|tables| tables.accounts, |reader| reader.account(&address(3)).map(drop)),
        (|tables| tables.accounts, |reader| reader.for_each_account(&mut |_, _| ())),
        (|tables| tables.best, |reader| reader.best_at(Height::new(1)).map(drop)),
        (|tables| tables.activity, |reader| reader.activity(&address(1), 9).map(drop)),
    ];
    for (table, ask) in tables {
        read(&store, ask);
        let (key, sound) = {
            let (_map, txn) = store.0.environment.begin_read().unwrap();
            let of = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
            let table = table(&store.0.tables);
            let account = table.get(&txn, address(3).as_bytes()).unwrap();
            let account = account.map(|value| (address(3).as_bytes().to_vec(), value.to_vec()));
            account.or_else(|| table.last(&txn).unwrap().map(of)).unwrap()
        };
        for bit in 0..sound.len() * 8 {
            let mut value = sound.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            tamper(&store, |tables, txn| table(tables).put(txn, &key, &value).unwrap());
            let error = store.read(ask).expect_err("a bit is flipped");
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        }
        tamper(&store, |tables, txn| table(tables).put(txn, &key, &sound).unwrap());
        read(&store, ask);
    }
}

/// An account whose address changed is not found; where it should be there is one that is not what was written.
#[test]
fn an_account_whose_address_is_damaged_is_not_taken_for_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let account = Account { balance: Amount::from_coins(3), nonce: 9 };
    write(&store, |writer| (0..9).try_for_each(|person| writer.put_account(&address(person), account)));
    drop(store);
    let file = directory.path().join("data.mdb");
    let sound = fs::read(&file).unwrap();
    let (of, mut not_found) = (address(3), 0);
    for bit in (0..256).step_by(5) {
        let mut bytes = sound.clone();
        for place in 0..bytes.len() - 32 {
            if bytes[place..].starts_with(of.as_bytes()) {
                bytes[place + bit / 8] ^= 1 << (bit % 8);
            }
        }
        fs::write(&file, &bytes).unwrap();
        let asked = LmdbStore::open_existing(directory.path(), &rules())
            .and_then(|store| store.unwrap().read(|reader| reader.account(&of)));
        assert!(matches!(asked, Err(StoreError::Damaged { .. })), "bit {bit}: {asked:?}");
        not_found += u32::from(asked.unwrap_err().to_string().contains("checksum"));
    }
    assert!(not_found > 40, "the order of keys seldom shows it: {not_found}");
}

/// What was paid to an address whose entry in the history is filed under another was passed over in silence.
#[test]
fn an_entry_of_the_history_whose_address_is_damaged_is_not_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let first = block(&rules(), &genesis(), 1, Vec::new());
    connect(&store, &genesis(), &first);
    write(&store, |writer| {
        let mut entries = super::super::entries(&first, &[address(1)]).into_iter();
        entries.try_for_each(|(address, entry)| writer.put_activity(&address, &entry))
    });
    let (key, value) = {
        let (_map, txn) = store.0.environment.begin_read().unwrap();
        let (key, value) = store.0.tables.activity.last(&txn).unwrap().unwrap();
        (key.to_vec(), value.to_vec())
    };
    for bit in 0..256 {
        let mut damaged = key.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let renamed = |from: &[u8], to: &[u8]| {
            tamper(&store, |tables, txn| {
                tables.activity.delete(txn, from).unwrap();
                tables.activity.put(txn, to, &value).unwrap();
            });
        };
        renamed(&key, &damaged);
        let asked = store.read(|reader| reader.activity(&address(1), 9));
        assert!(matches!(asked, Err(StoreError::Damaged { .. })), "bit {bit}: {asked:?}");
        renamed(&damaged, &key);
    }
    assert_eq!(read(&store, |reader| reader.activity(&address(1), 9)).len(), 1);
}

#[test]
fn blocks_whose_ids_begin_alike_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let first = block(&rules(), &genesis(), 0, vec![payment(0, 1, 5, 0)]);
    let first_record = connect(&store, &genesis(), &first);
    let mut missing = *first.id().as_bytes();
    missing[31] ^= 1;
    read(&store, |reader| {
        assert_eq!(reader.record(&first.id())?, Some(first_record));
        assert_eq!(reader.checked_block(&first.id())?, Some(first));
        let missing = crate::hash::BlockId::from_bytes(missing);
        assert_eq!(reader.record(&missing)?, None);
        assert_eq!(reader.encoded_body(&missing)?, None);
        Ok(())
    });
}

/// A flipped bit in its entry made a block one that nobody had heard of: honest headers then had the wrong target or
/// began nowhere, and those that were served had a hole. Others were banned for it, or banned this node.
#[test]
fn a_block_that_the_index_hides_is_damage_to_who_asks_for_headers_or_ancestors() {
    use crate::chain::{MAX_HEADERS, ancestors_of, headers_after};
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let (mut tip, mut ids, mut headers) = (genesis(), vec![genesis().id()], Vec::new());
    for miner in 0..9 {
        tip = connect(&store, &tip, &block(&rules(), &tip, miner, vec![]));
        ids.push(tip.id());
        headers.push(tip.header.clone());
    }
    let ancestors: Vec<_> =
        ids.iter().map(|id| read(&store, |reader| ancestors_of(reader, id)).unwrap()).collect();
    let (runs, entry) = {
        let (_map, txn) = store.0.environment.begin_read().unwrap();
        let runs = store.0.tables.block_index.table.iter(&txn).unwrap().map(Result::unwrap);
        let runs: Vec<_> = runs.map(|(key, run)| (key.to_vec(), run.to_vec())).collect();
        (runs, tables::block_entry(&ids[4], 4))
    };
    let place = |run: &[u8]| run.chunks(entry.len()).position(|other| other == entry);
    let (key, sound) = runs.iter().find(|(_, run)| place(run).is_some()).unwrap();
    let start = place(sound).unwrap() * entry.len();
    let mut damages: Vec<_> = (0..entry.len() * 8)
        .map(|bit| {
            let mut run = sound.clone();
            run[start + bit / 8] ^= 1 << (bit % 8);
            run
        })
        .collect();
    // A run that ends before it.
    damages.push(sound[..start].to_vec());
    for (number, run) in damages.iter().enumerate() {
        tamper(&store, |tables, txn| tables.block_index.table.put(txn, key, run).unwrap());
        let is_damage = |error: StoreError| assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        is_damage(store.read(|reader| reader.record(&ids[4])).unwrap_err());
        is_damage(store.read(|reader| ancestors_of(reader, &ids[5])).unwrap_err());
        is_damage(store.read(|reader| headers_after(reader, &[ids[4]], MAX_HEADERS)).unwrap_err());
        for (id, ancestors) in ids.iter().zip(&ancestors) {
            match store.read(|reader| ancestors_of(reader, id)) {
                Ok(got) => assert_eq!(got.as_ref(), Some(ancestors), "damage {number}"),
                Err(error) => is_damage(error),
            }
        }
        // Nothing of the index is needed for these.
        let all = read(&store, |reader| headers_after(reader, &[], MAX_HEADERS));
        assert_eq!(all, headers, "damage {number}");
    }
    tamper(&store, |tables, txn| tables.block_index.table.put(txn, key, sound).unwrap());
    assert_eq!(read(&store, |reader| reader.record(&crate::hash::BlockId::ZERO)), None);
}

/// A block that is there without its body was said to be genesis.
#[test]
fn a_body_that_is_missing_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let first = block(&rules(), &genesis(), 0, vec![]);
    connect(&store, &genesis(), &first);
    assert_eq!(read(&store, |reader| reader.body(&genesis().id())), None);
    tamper(&store, |tables, txn| assert!(tables.bodies.delete(txn, &1_u64.to_be_bytes()).unwrap()));
    let asked = store.read(|reader| reader.body(&first.id()));
    assert!(matches!(asked, Err(StoreError::Damaged { .. })), "{asked:?}");
}

/// Says to [`in_another_process`] which store it has to do with, and what to do.
const CHILD_STORE: &str = "FARTHING_TEST_CHILD_STORE";
const CHILD_DIES: &str = "FARTHING_TEST_CHILD_DIES";

/// Not a test of its own: what the two tests below run in a process of its own, on their store.
#[test]
fn in_another_process() {
    let Some(directory) = std::env::var_os(CHILD_STORE) else { return };
    let store = LmdbStore::open_with_map_size(Path::new(&directory), &rules(), TINY_MAP_BYTES).unwrap();
    let mut tip = genesis();
    for miner in 0..MANY {
        tip = connect(&store, &tip, &large_block(&tip, miner));
    }
    if std::env::var_os(CHILD_DIES).is_some() {
        write(&store, |writer| {
            writer.retract_best()?;
            std::process::abort()
        })
    }
}

/// The program of these tests, to run one of them in a process of its own, on this store.
fn another_process(test: &str, directory: &Path) -> Command {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("{module}::{test}"), "--exact"]).env(CHILD_STORE, directory);
    command
}

/// Not a test of its own: somebody opens a store while another takes its place.
#[test]
fn opening_in_another_process() {
    let Some(directory) = std::env::var_os(CHILD_STORE) else { return };
    let store = LmdbStore::open(Path::new(&directory), &rules()).unwrap();
    let tip = read(&store, |reader| reader.tip().and_then(|tip| reader.record(&tip.id))).unwrap();
    connect(&store, &tip, &block(&rules(), &tip, 1, vec![]));
}

/// Who met the lock of the one that puts a rebuilt store into its place opened the new file with what LMDB's lock file
/// said of the old one: which of its two states is the newest, for one.
#[cfg(target_os = "linux")]
#[test]
fn who_opens_a_store_while_another_takes_its_place_finds_that_one() {
    let make = |blocks| {
        let directory = tempfile::tempdir().unwrap();
        let store = LmdbStore::open(directory.path(), &rules()).unwrap();
        let tip =
            (0..blocks).fold(genesis(), |tip, _| connect(&store, &tip, &block(&rules(), &tip, 1, vec![])));
        (directory, tip.height())
    };
    for blocks in [2, 3] {
        let ((directory, _), (new, height)) = (make(9), make(blocks));
        let turn = swap::turn(directory.path()).unwrap();
        let lock = swap::lock(directory.path()).unwrap();
        let mut opening = another_process("opening_in_another_process", directory.path()).spawn().unwrap();
        let waits = format!(" {} ", opening.id());
        let is_waiting =
            |locks: String| locks.lines().any(|lock| lock.contains("->") && lock.contains(&waits));
        while !is_waiting(fs::read_to_string("/proc/locks").unwrap()) {
            assert!(opening.try_wait().unwrap().is_none(), "it did not wait");
            thread::yield_now();
        }
        fs::rename(new.path().join("data.mdb"), directory.path().join("data.mdb")).unwrap();
        drop(lock);
        drop(turn);
        assert!(opening.wait().unwrap().success());
        let store = LmdbStore::open_checked(directory.path(), &rules()).unwrap().unwrap();
        assert_eq!(read(&store, |reader| reader.tip()).height, height.next());
    }
}

/// What was written to a store meanwhile would be lost with it.
#[test]
fn a_store_that_was_changed_meanwhile_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    drop(LmdbStore::open(directory.path(), &rules()).unwrap());
    let begun = Swap::begin(directory.path()).unwrap();
    drop(LmdbStore::open(&begun.new_directory(), &rules()).unwrap());
    let data = directory.path().join("data.mdb");
    let length = data.metadata().unwrap().len();
    fs::File::options().write(true).open(&data).unwrap().set_len(length + 4096).unwrap();
    let changed = fs::read(&data).unwrap();
    assert!(matches!(begun.finish(), Err(SwapError::Changed { path }) if path == directory.path()));
    assert!(fs::read(&data).unwrap() == changed);

    // Nor one that is as long as it was.
    let begun = Swap::begin(directory.path()).unwrap();
    drop(LmdbStore::open(&begun.new_directory(), &rules()).unwrap());
    let modified = data.metadata().unwrap().modified().unwrap() + std::time::Duration::from_millis(10);
    fs::File::options().write(true).open(&data).unwrap().set_modified(modified).unwrap();
    assert!(matches!(begun.finish(), Err(SwapError::Changed { .. })));
    assert!(fs::read(&data).unwrap() == changed);
}

fn run_in_another_process(directory: &TempDir, dies: bool) -> ExitStatus {
    let mut command = another_process("in_another_process", directory.path());
    if dies {
        command.env(CHILD_DIES, "1");
    }
    command.output().unwrap().status
}

#[test]
fn the_growth_of_another_process_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open_with_map_size(directory.path(), &rules(), TINY_MAP_BYTES).unwrap();
    assert!(run_in_another_process(&directory, false).success());
    assert_eq!(store.0.environment.map_bytes(), TINY_MAP_BYTES);
    let tip = read(&store, |reader| reader.tip());
    assert_eq!(tip.height, Height::new(u64::from(MANY)));
    assert!(store.0.environment.map_bytes() > TINY_MAP_BYTES);
    write(&store, |writer| writer.retract_best());
}

#[test]
fn a_process_that_dies_in_a_write_leaves_the_state_before_it_and_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open_with_map_size(directory.path(), &rules(), TINY_MAP_BYTES).unwrap();
    assert!(!run_in_another_process(&directory, true).success());
    // A writer follows the growth too.
    write(&store, |writer| {
        assert_eq!(writer.tip()?.height, Height::new(u64::from(MANY)));
        writer.retract_best()
    });
    drop(store);
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    assert_eq!(read(&store, |reader| reader.tip()).height, Height::new(u64::from(MANY) - 1));
}

/// A store with a damaged page that only a look at one block's body meets; gives the body's block, too.
fn store_with_a_damaged_body() -> (TempDir, crate::hash::BlockId) {
    let directory = tempfile::tempdir().unwrap();
    let block = large_block(&genesis(), 1);
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    connect(&store, &genesis(), &block);
    drop(store);
    let file = directory.path().join("data.mdb");
    let mut bytes = fs::read(&file).unwrap();
    let start = &block.encoded_body()[..64];
    let place = bytes.windows(start.len()).position(|window| window == start).unwrap();
    // What LMDB says of the page, how many there are of it for one.
    bytes[place / 4096 * 4096..][..16].fill(0x5a);
    fs::write(&file, &bytes).unwrap();
    (directory, block.id())
}

#[test]
fn bodies_are_checked_before_one_is_read_and_before_anything_is_written_and_not_for_less() {
    let (directory, id) = store_with_a_damaged_body();
    let file = directory.path().join("data.mdb");
    let before = fs::read(&file).unwrap();
    let store = LmdbStore::open_existing(directory.path(), &rules()).unwrap().unwrap();
    assert_eq!(read(&store, |reader| reader.tip()).height, Height::new(1));
    for _ in 0..2 {
        let refused = store.read(|reader| reader.body(&id)).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
        let refused = store.write(|writer| writer.watch(&address(1))).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    }
    drop(store);
    assert!(fs::read(&file).unwrap() == before);
}

/// `wallet send --wait` looks something up first, and follows the network then, which writes.
#[test]
fn a_store_that_was_opened_without_a_check_is_checked_when_it_is_opened_with_one() {
    let (directory, _) = store_with_a_damaged_body();
    let looked_into = LmdbStore::open_existing(directory.path(), &rules()).unwrap().unwrap();
    for opened in [
        LmdbStore::open(directory.path(), &rules()).map(Some),
        LmdbStore::open_checked(directory.path(), &rules()),
    ] {
        assert!(matches!(opened, Err(StoreError::Damaged { .. })));
    }
    drop(looked_into);
}

#[test]
fn a_store_that_was_opened_to_be_looked_into_and_is_sound_can_be_written_to() {
    let directory = tempfile::tempdir().unwrap();
    drop(LmdbStore::open(directory.path(), &rules()).unwrap());
    let store = LmdbStore::open_existing(directory.path(), &rules()).unwrap().unwrap();
    write(&store, |writer| writer.watch(&address(1)));
    assert_eq!(read(&store, |reader| reader.watched()), [address(1)]);
}

/// Above 64 MiB nothing was checked for commands that only look: a search that a damaged page led astray found no
/// account, and not all that was paid.
#[test]
fn a_large_store_whose_branch_page_is_damaged_tells_no_lie_about_an_account_or_the_history() {
    use std::os::unix::fs::FileExt;
    const PEOPLE: u32 = 600;
    let person =
        |number: u32| crate::address::Address::from_bytes(crate::hash::sha256(&[&number.to_be_bytes()]));
    let account = |number: u32| Account { balance: Amount::from_units(u64::from(number) + 1), nonce: 9 };
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    let first = block(&rules(), &genesis(), 1, Vec::new());
    connect(&store, &genesis(), &first);
    write(&store, |writer| {
        let (_, entry) = super::super::entries(&first, &[address(1)]).remove(0);
        for number in 0..PEOPLE {
            writer.put_account(&person(number), account(number))?;
            writer.put_activity(&address(1), &super::super::Activity { index: number, ..entry.clone() })?;
        }
        Ok(())
    });
    drop(store);
    let path = directory.path().join("data.mdb");
    let bytes = fs::read(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(65 << 20).unwrap();
    let (mut lies, mut found, mut branches) = (0, 0, 0);
    for (number, page) in bytes.chunks(4096).enumerate().skip(2) {
        let is_branch = page[..8] == (number as u64).to_ne_bytes() && page[10..12] == [1, 0];
        if !is_branch {
            continue;
        }
        branches += 1;
        // Its nodes are at its end: the bits of the keys are most of them.
        let upper = usize::from(u16::from_ne_bytes([page[14], page[15]]));
        for place in (upper..page.len()).step_by((page.len() - upper) / 60 + 1) {
            for bit in [0, 7] {
                file.write_all_at(&[page[place] ^ 1 << bit], (number * 4096 + place) as u64).unwrap();
                let looked = LmdbStore::open_existing(directory.path(), &rules()).and_then(|store| {
                    store.unwrap().read(|reader| {
                        for number in 0..PEOPLE {
                            lies += u32::from(reader.account(&person(number))? != account(number));
                        }
                        lies += u32::from(reader.activity(&address(1), usize::MAX)?.len() != PEOPLE as usize);
                        Ok(())
                    })
                });
                match looked {
                    Ok(()) => {}
                    Err(StoreError::Damaged { .. }) => found += 1,
                    Err(error) => panic!("{error}"),
                }
                file.write_all_at(&page[place..=place], (number * 4096 + place) as u64).unwrap();
            }
        }
    }
    assert_eq!(lies, 0);
    assert!(branches >= 2 && found > 50, "{branches} pages, {found} found");
}

/// A disk that failed to make something safe may say the next time that it is, although it was lost.
#[test]
fn nothing_is_written_after_the_disk_has_refused_a_write() {
    let (no_room, broken) = (28, 5);
    // The last is an error without a number of the system's.
    for (refusal, number) in [
        (std::io::Error::from_raw_os_error(no_room), no_room),
        (std::io::Error::from_raw_os_error(broken), broken),
        (std::io::ErrorKind::Other.into(), broken),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let store = LmdbStore::open(directory.path(), &rules()).unwrap();
        store.0.environment.write_failed(heed::Error::Io(refusal));
        let refused = store.write(|writer| writer.watch(&address(1))).unwrap_err();
        assert!(refused.is_of_disk());
        let StoreError::Io { source, .. } = refused else { panic!("{refused}") };
        assert_eq!(source.raw_os_error(), Some(number));
        assert_eq!(read(&store, |reader| reader.watched()), []);
        drop(store);
        let store = LmdbStore::open(directory.path(), &rules()).unwrap();
        write(&store, |writer| writer.watch(&address(1)));
    }
}

/// Not a test of its own: a disk that refuses to write, and then would not any more.
#[cfg(target_os = "linux")]
#[test]
fn on_a_disk_that_refuses() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(directory) = std::env::var_os(CHILD_STORE) else { return };
    let store = LmdbStore::open(Path::new(&directory), &rules()).unwrap();
    let tip = connect(&store, &genesis(), &block(&rules(), &genesis(), 1, vec![]));
    let limit = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(store.size_on_disk().unwrap()), ..limit }).unwrap();
    let grow = |store: &LmdbStore| {
        let mut parent = tip.clone();
        store.write(|writer| {
            for miner in 0..MANY {
                let block = large_block(&parent, miner);
                parent = crate::testing::people::record(&parent, &block);
                writer.put_block(&block, parent.work)?;
            }
            Ok::<_, StoreError>(())
        })
    };
    let number = |refused: Result<(), StoreError>| match refused.unwrap_err() {
        StoreError::Io { source, .. } => source.raw_os_error().unwrap(),
        error => panic!("{error}"),
    };
    let first = number(grow(&store));
    setrlimit(Resource::Fsize, limit).unwrap();
    for _ in 0..2 {
        assert_eq!(number(store.write(|writer| writer.watch(&address(1)))), first, "it is not tried again");
    }
    assert_eq!(read(&store, |reader| Ok((reader.tip()?, reader.watched()?))), (Tip::from(&tip), vec![]));
    drop(store);
    let store = LmdbStore::open(Path::new(&directory), &rules()).unwrap();
    grow(&store).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn after_a_write_that_the_system_refused_a_store_takes_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let child = another_process("on_a_disk_that_refuses", directory.path());
    // The system would end whoever writes beyond the limit with a signal.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(child.get_program()).args(child.get_args());
    let output = command.env(CHILD_STORE, directory.path()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What it says of the write that failed first is what is wrong; what follows, may follow from it.
#[test]
fn it_is_the_first_refusal_that_a_store_tells_of() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    for number in [28, 5] {
        store.0.environment.write_failed(heed::Error::Io(std::io::Error::from_raw_os_error(number)));
    }
    let refused = store.write(|writer| writer.watch(&address(1))).unwrap_err();
    assert!(matches!(refused, StoreError::Io { source, .. } if source.raw_os_error() == Some(28)));
}

/// After twenty sentences it ended, as if nothing else were damaged.
#[test]
fn a_check_that_names_not_all_damage_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = LmdbStore::open(directory.path(), &rules()).unwrap();
    for (damaged, sentences) in [(20, 20), (21, 21), (30, 21)] {
        tamper(&store, |tables, txn| {
            tables.invalid.clear(txn).unwrap();
            (0..damaged).for_each(|number| tables.invalid.put(txn, &[number; 32], b"value").unwrap());
        });
        let damages = read(&store, |reader| Ok(reader.check_tables())).unwrap_err();
        assert_eq!(damages.len(), sentences);
        assert_eq!(damages[sentences - 1] == "and more is damaged", damaged > 20, "{damages:?}");
    }
}
