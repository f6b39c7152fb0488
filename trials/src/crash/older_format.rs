//! Stores of older formats, which a newer program converts when it opens them.

use std::path::Path;

use common::chain::Chain;
use common::rules::Rules;
use common::store::{LmdbStore, Store, StoreError};
use common::time::Height;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions};

type Table<'e> = Database<'e, Bytes, Bytes>;

/// The format of what the programs write now.
pub const PRESENT: u32 = 3;
/// Tables of the store.
const TABLES: [&str; 7] =
    ["meta", "block_runs", "records", "transaction_runs", "best_chain", "ledger", "history"];
/// The length of a checksum.
const CHECKSUM_BYTES: usize = 4;

/// The file of a database.
const DATA_FILE: &str = "data.mdb";

fn open(directory: &Path) -> Env {
    // SAFETY: the programs do not run now, and nobody else uses the files.
    unsafe { EnvOpenOptions::new().max_dbs(16).open(directory) }.expect("the store is there")
}

/// All that a table holds.
fn entries(table: Table<'_>, txn: &heed::RoTxn<'_>) -> heed::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    table.iter(txn)?.map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
}

/// The format of a store; `None` where there is none.
pub fn format(directory: &Path) -> Option<u32> {
    if !directory.join(DATA_FILE).exists() {
        return None;
    }
    let env = open(directory);
    let txn = env.read_txn().expect("it can be read");
    let read = env.open_databases_and_commit(txn, |opener, txn| {
        let meta = opener.open_database::<Bytes, Bytes>(txn, Some("meta"))?;
        let format = meta.and_then(|meta| meta.get(txn, b"format").transpose()).transpose()?;
        let format = format.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        Ok::<_, heed::Error>(CommitOrAbort::<(), _>::Abort(format))
    });
    env.prepare_for_closing().wait();
    match read.expect("it can be read") {
        CommitOrAbort::Abort(format) => format,
        CommitOrAbort::Commit(()) => None,
    }
}

/// Makes of a store whose blocks are all in the best chain one of format 1 or 2, as older programs would have made it.
pub fn downgrade(directory: &Path, rules: &Rules, format: u32) {
    let ids = {
        let store = LmdbStore::open_existing(directory, rules).expect("it opens").expect("it is there");
        let chain = Chain::new(rules.clone().into(), store);
        let heights = 0..=chain.tip().expect("it is sound").height.get();
        let ids = chain.store().read(|reader| {
            heights
                .map(|height| reader.best_at(Height::new(height)))
                .collect::<Result<Option<Vec<_>>, StoreError>>()
        });
        ids.expect("it is sound").expect("it has every height")
    };
    let env = open(directory);
    let txn = env.write_txn().expect("nobody else writes");
    let done = env.create_databases_and_commit(txn, |opener, txn| {
        let [meta, block_runs, records, transaction_runs, best_chain, ledger, history] =
            TABLES.map(|name| -> Table<'_> {
                let table = opener.open_database(txn, Some(name)).expect("it can be read");
                table.expect("it is a table of the store")
            });
        // What has checksums before its values since format 3, and what it was called before.
        let best = opener.create_database::<Bytes, Bytes>(txn, Some("best"))?;
        let accounts = opener.create_database::<Bytes, Bytes>(txn, Some("accounts"))?;
        let activity = opener.create_database::<Bytes, Bytes>(txn, Some("activity"))?;
        for (now, old) in [(best_chain, best), (ledger, accounts), (history, activity)] {
            for (key, value) in entries(now, txn)? {
                old.put(txn, &key, &value[CHECKSUM_BYTES..])?;
            }
            now.clear(txn)?;
        }
        meta.put(txn, b"format", &format.to_be_bytes())?;
        if format == 2 {
            return Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(()));
        }
        assert_eq!(records.len(txn)?, ids.len() as u64, "a block is in no best chain");
        let blocks = opener.create_database::<Bytes, Bytes>(txn, Some("block_index"))?;
        let transactions = opener.create_database::<Bytes, Bytes>(txn, Some("transactions"))?;
        // Where all blocks are in the best chain, a block's sequence number is its height.
        for (height, id) in (0_u32..).zip(&ids) {
            best.put(txn, &height.to_be_bytes(), id.as_bytes())?;
            blocks.put(txn, id.as_bytes(), &u64::from(height).to_be_bytes())?;
        }
        let runs = entries(transaction_runs, txn)?;
        for entry in runs.iter().flat_map(|(_, run)| run.chunks(40)) {
            transactions.put(txn, &[&entry[..32], &[0; 4], &entry[32..]].concat(), &[])?;
        }
        transaction_runs.clear(txn)?;
        block_runs.clear(txn)?;
        Ok(CommitOrAbort::Commit(()))
    });
    done.expect("there is room");
    env.prepare_for_closing().wait();
}
