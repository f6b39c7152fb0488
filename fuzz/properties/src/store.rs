//! A store whose tables hold what no program wrote: everything that reads it gives an answer or an error, and no answer
//! is one for which others would be taken for liars, or take this node for one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward, SealedHeader};
use common::chain::{Chain, ancestors_of, headers_after, locator};
use common::consensus::{Ancestors, CheckedBlock, NothingKnown, check_body, check_header, earliest_time};
use common::hash::{TransactionId, sha256};
use common::rules::Rules;
use common::signature::address_of;
use common::store::{LmdbStore, Read, Store, StoreError};
use common::time::Height;
use common::transaction::{Payment, Transaction, TransactionVersion};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, EnvFlags, EnvOpenOptions, RwTxn};
use tempfile::TempDir;

use crate::allocation::within;
use crate::data::EverySecond;
use crate::{read, try_out};

/// Every table of a store, of all formats.
const TABLES: [&str; 15] = [
    "meta",
    "block_runs",
    "records",
    "bodies",
    "best_chain",
    "ledger",
    "transaction_runs",
    "invalid",
    "watched",
    "history",
    "block_index",
    "transactions",
    "best",
    "accounts",
    "activity",
];
/// Those in which a value is sealed with its key, and not with a block's id.
const SEALED_WITH_KEYS: [&str; 3] = ["best_chain", "ledger", "history"];

/// How many blocks the store has before anything is done to it.
const BLOCKS: u64 = 4;

/// One store of a thread: it is put back, damaged and opened again and again.
struct Scene {
    rules: Arc<Rules>,
    blocks: Vec<CheckedBlock>,
    /// One that the store does not have.
    next: CheckedBlock,
    directory: TempDir,
    /// The data file as it was.
    pristine: Vec<u8>,
}

thread_local! {
    static SCENE: Scene = Scene::new().expect("a store can be made in a temporary directory");
}

/// The bytes are changes of tables, one after the other, made to a sound store before it is opened.
pub fn store(bytes: &[u8]) {
    SCENE.with(|scene| {
        scene.damage(bytes).expect("LMDB takes whatever fits");
        // A store of a few pages, of which everything is read once or twice.
        within((16 << 20) + 256 * bytes.len(), || scene.look());
    });
}

impl Scene {
    fn new() -> Result<Self, StoreError> {
        let key = modulus();
        let alloc = vec![(address_of(&key), Amount::from_coins(1000))];
        let rules = Rules { difficulty: 1, target_block_seconds: 0, alloc, ..Rules::default() };
        let mut ancestors = Ancestors::of_genesis_child(&rules);
        let mut blocks = Vec::new();
        for nonce in 0..=BLOCKS {
            let block = child(&rules, &ancestors, vec![payment(nonce)]);
            ancestors = ancestors.of_child(&block.header().header, block.id());
            blocks.push(block);
        }
        let next = blocks.pop().expect("one more");

        let (rules, directory) = (Arc::new(rules), temporary_directory());
        let chain = Chain::new(rules.clone(), LmdbStore::open(directory.path(), &rules)?);
        chain.watch_fresh(&[address_of(&key)])?;
        assert!(chain.connect(&blocks).is_ok_and(|outcome| outcome.change.is_some()));
        drop(chain);
        let pristine = fs::read(data_file(directory.path())).expect("the file was just written");
        Ok(Self { rules, blocks, next, directory, pristine })
    }

    /// Puts the store back, and makes the changes to it that the bytes say.
    fn damage(&self, bytes: &[u8]) -> heed::Result<()> {
        fs::write(data_file(self.directory.path()), &self.pristine)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(64 << 20).max_dbs(TABLES.len() as u32);
        // SAFETY: nobody else uses the files, and it does not matter whether they survive a loss of power.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(self.directory.path()) }?;
        let done = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
            let mut rest = bytes;
            while let Some(change) = Change::next(&mut rest) {
                let table: Database<Bytes, Bytes> = opener.create_database(txn, Some(change.table))?;
                // What LMDB refuses (an empty key, say) nobody can have written.
                let _ = change.apply(table, txn);
            }
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(()))
        });
        done?;
        env.prepare_for_closing().wait();
        Ok(())
    }

    /// Opens the store, reads all of it in every way, and writes.
    fn look(&self) {
        let opened = read(LmdbStore::open(self.directory.path(), &self.rules));
        if let Some(store) = opened {
            let chain = Chain::new(self.rules.clone(), store);
            try_out(chain.tip());
            try_out(chain.store().read(|reader| self.ask(reader)));
            try_out(chain.audit(&EverySecond));
            try_out(chain.watch(&[Address::default()]));
            try_out(chain.connect(std::slice::from_ref(&self.next)));
            try_out(chain.store().write(|writer| {
                writer.put_block(&self.next, Default::default())?;
                writer.retract_best()?;
                writer.remove_activity(&address_of(&modulus()), Height::new(BLOCKS))
            }));
            try_out(chain.tip());
        }
    }

    /// What decides about the children of a block.
    fn ancestors(&self, of: &CheckedBlock) -> Ancestors {
        let below = self.blocks.iter().take_while(|block| block.height() <= of.height());
        let genesis = Ancestors::of_genesis_child(&self.rules);
        let ancestors =
            below.fold(genesis, |known, block| known.of_child(&block.header().header, block.id()));
        if of.id() == ancestors.parent_id {
            ancestors
        } else {
            ancestors.of_child(&of.header().header, of.id())
        }
    }

    fn ask(&self, reader: &dyn Read) -> Result<(), StoreError> {
        let known = self.blocks.iter().chain([&self.next]);
        for block in known {
            try_out(reader.record(&block.id()));
            try_out(reader.body(&block.id()));
            if let Some(Some(stored)) = read(reader.checked_block(&block.id())) {
                assert_eq!(stored.header().id(), block.id(), "a header is found by its id or not at all");
            }
            try_out(reader.is_invalid(&block.id()));
            if let Some(Some(ancestors)) = read(ancestors_of(reader, &block.id())) {
                assert_eq!(ancestors, self.ancestors(block), "what a child must be does not change");
            }
            let headers = read(headers_after(reader, &[block.id()], 9)).unwrap_or_default();
            let is_child = |two: &[SealedHeader]| two[1].header.previous == two[0].id();
            assert!(headers.windows(2).all(is_child), "what is served has no hole");
            for entry in block.entries() {
                try_out(reader.find_transaction(&entry.id()));
            }
        }
        try_out(reader.find_transaction(&TransactionId::ZERO));
        for height in [0, 1, BLOCKS, u64::from(u32::MAX), u64::MAX] {
            try_out(reader.best_at(Height::new(height)));
        }
        try_out(locator(reader));
        for address in read(reader.watched()).unwrap_or_default().iter().take(9) {
            try_out(reader.activity(address, 9));
        }
        try_out(reader.account(&address_of(&modulus())));
        try_out(reader.for_each_account(&mut |_, account| {
            let _ = account.balance.checked_add(Amount::MAX);
        }));
        Ok(())
    }
}

/// In memory where the system has such a place: what a disk takes to sync would be most of the time.
fn temporary_directory() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).expect("a directory can be made for a while")
}

fn data_file(directory: &Path) -> PathBuf {
    directory.join("data.mdb")
}

/// What is done to one table.
struct Change<'a> {
    table: &'static str,
    action: Action,
    /// A key of its own, or else the number of one that is there.
    key: Result<&'a [u8], usize>,
    value: &'a [u8],
}

enum Action {
    Delete,
    Put,
    /// With the checksum that belongs to a record of these bytes, or to the key.
    PutSealed,
    /// Over the start of what is there.
    Overwrite,
}

impl<'a> Change<'a> {
    /// The change that the bytes begin with: table, action, key, value; the last two with their lengths.
    fn next(bytes: &mut &'a [u8]) -> Option<Self> {
        let ([table, action, key], rest) = bytes.split_first_chunk()?;
        let (key, rest) = match key {
            0..128 => (Err(usize::from(*key)), rest),
            _ => rest.split_at_checked(usize::from(*key - 128)).map(|(key, rest)| (Ok(key), rest))?,
        };
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        *bytes = rest;
        let action = match action % 4 {
            0 => Action::Delete,
            1 => Action::Put,
            2 => Action::PutSealed,
            _ => Action::Overwrite,
        };
        Some(Self { table: TABLES[usize::from(*table) % TABLES.len()], action, key, value })
    }

    fn apply(&self, table: Database<Bytes, Bytes>, txn: &mut RwTxn) -> heed::Result<()> {
        let key = match self.key {
            Ok(key) => key.to_vec(),
            Err(number) => match table.iter(txn)?.nth(number) {
                Some(entry) => entry?.0.to_vec(),
                None => return Ok(()),
            },
        };
        match self.action {
            Action::Delete => table.delete(txn, &key).map(|_| ()),
            Action::Put => table.put(txn, &key, self.value),
            Action::PutSealed => {
                let header = &self.value[..self.value.len().min(BlockHeader::ENCODED_BYTES)];
                let mut of = if SEALED_WITH_KEYS.contains(&self.table) {
                    key.clone()
                } else {
                    sha256(&[header]).to_vec()
                };
                of.extend_from_slice(self.value);
                table.put(txn, &key, &[&crc32fast::hash(&of).to_be_bytes()[..], self.value].concat())
            }
            Action::Overwrite => {
                let mut value = table.get(txn, &key)?.unwrap_or_default().to_vec();
                value.iter_mut().zip(self.value).for_each(|(byte, new)| *byte = *new);
                table.put(txn, &key, &value)
            }
        }
    }
}

// ----- a small sound chain, signed for `EverySecond`

fn modulus() -> Vec<u8> {
    let mut modulus = sha256(&[b"a key"]).repeat(8);
    (modulus[0], modulus[255]) = (0x80, 1);
    modulus
}

fn payment(nonce: u64) -> Transaction {
    let payment = Payment {
        version: TransactionVersion::V1,
        to: Address::from_bytes([nonce as u8; 32]),
        amount: Amount::from_coins(1),
        fee: Amount::ZERO,
        nonce,
        valid_until: 0,
        data: Vec::new(),
        public_key: modulus(),
    };
    Transaction { payment, signature: vec![0; 256] }
}

fn child(rules: &Rules, ancestors: &Ancestors, transactions: Vec<Transaction>) -> CheckedBlock {
    let reward = Reward { to: Address::default(), amount: rules.block_reward, data: Vec::new() };
    let body = Body { reward, transactions };
    let header = BlockHeader {
        version: 1,
        previous: ancestors.parent_id,
        merkle_root: body.merkle_root(),
        time: earliest_time(rules, &ancestors.parent, None).expect("anybody may make a block"),
        bits: ancestors.next_bits(rules),
        height: ancestors.parent.height.next(),
        nonce: 0,
    };
    let sealed = |nonce| SealedHeader { header: BlockHeader { nonce, ..header }, seal: None };
    let works = |nonce: &u64| check_header(rules, ancestors, &sealed(*nonce), &EverySecond).is_ok();
    let SealedHeader { header, seal } = sealed((0..).find(works).expect("every second nonce does"));
    let block = Block { header, seal, body };
    let (network, time) = (rules.network_id(), ancestors.parent.time);
    check_body(rules, &network, time, block, &NothingKnown, &EverySecond).expect("a valid block")
}
