//! Stores of the first format, which a newer program converts when it opens them.

use std::path::Path;

use common::chain::Chain;
use common::rules::Rules;
use common::store::{LmdbStore, Store, StoreError};
use common::time::Height;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions};

type Table<'e> = Database<'e, Bytes, Bytes>;

/// The file of a database.
const DATA_FILE: &str = "data.mdb";

fn open(directory: &Path) -> Env {
    // SAFETY: the programs do not run now, and nobody else uses the files.
    unsafe { EnvOpenOptions::new().max_dbs(16).open(directory) }.expect("the store is there")
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

/// Makes of a store whose blocks are all in the best chain what version 0.1.0 of the programs would have made.
pub fn downgrade(directory: &Path, rules: &Rules) {
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
        let [meta, block_runs, records, best_chain, transaction_runs, ledger, history] =
            ["meta", "block_runs", "records", "best_chain", "transaction_runs", "ledger", "history"].map(
                |name| -> Table<'_> {
                    opener
                        .open_database(txn, Some(name))
                        .expect("it can be read")
                        .expect("it is a table of the store")
                },
            );
        assert_eq!(records.len(txn)?, ids.len() as u64, "a block is in no best chain");
        let [best, accounts, activity] = ["best", "accounts", "activity"]
            .map(|name| -> Table<'_> { opener.create_database(txn, Some(name)).expect("there is room") });
        let blocks = opener.create_database::<Bytes, Bytes>(txn, Some("block_index"))?;
        let transactions = opener.create_database::<Bytes, Bytes>(txn, Some("transactions"))?;
        // Where all blocks are in the best chain, a block's sequence number is its height.
        for (height, id) in (0_u32..).zip(&ids) {
            best.put(txn, &height.to_be_bytes(), id.as_bytes())?;
            blocks.put(txn, id.as_bytes(), &u64::from(height).to_be_bytes())?;
        }
        let runs: Vec<Vec<u8>> =
            transaction_runs.iter(txn)?.map(|run| Ok(run?.1.to_vec())).collect::<heed::Result<_>>()?;
        for entry in runs.iter().flat_map(|run| run.chunks(40)) {
            transactions.put(txn, &[&entry[..32], &[0; 4], &entry[32..]].concat(), &[])?;
        }
        // Without their checksums of four bytes.
        for (sealed, plain) in [(ledger, accounts), (history, activity)] {
            let entries: Vec<(Vec<u8>, Vec<u8>)> = sealed
                .iter(txn)?
                .map(|entry| entry.map(|(key, value)| (key.to_vec(), value[4..].to_vec())))
                .collect::<heed::Result<_>>()?;
            entries.iter().try_for_each(|(key, value)| plain.put(txn, key, value))?;
            sealed.clear(txn)?;
        }
        best_chain.clear(txn)?;
        transaction_runs.clear(txn)?;
        block_runs.clear(txn)?;
        meta.put(txn, b"format", &1_u32.to_be_bytes())?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(()))
    });
    done.expect("there is room");
    env.prepare_for_closing().wait();
}
