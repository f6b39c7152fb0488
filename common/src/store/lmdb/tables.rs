//! The tables, their keys and their values. Integers in keys are big endian, so that byte order is their
//! order.
//!
//! Every block has a *sequence number*, in the order in which blocks came in: what is large or many is
//! keyed by it and so appended, which costs a tenth of putting it at a random place. As a key it has eight
//! bytes, everywhere else four. What belongs to a block is found by it; the block's id follows from its header.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | a name | magic, format (and again, with a checksum), network, tip |
//! | `block_runs` | number of a run | start of a block id, sequence number; many of them, sorted ([`Index`]) |
//! | `records` | sequence number | checksum, header, seal, work ([`encode_record`]) |
//! | `bodies` | sequence number | checksum, encoded body; none for genesis |
//! | `best_chain` | height | checksum, the sequence number of the block in the best chain |
//! | `ledger` | address | checksum, balance, nonce ([`SealedAccount`]) |
//! | `transaction_runs` | number of a run | transaction id, sequence number, index; many of them, sorted |
//! | `invalid` | block id | nothing |
//! | `watched` | address | nothing |
//! | `history` | address, height, index | checksum, encoded [`Activity`](super::super::Activity) |
//!
//! A checksum is over the value and what it belongs to: of a block its id, of anything else the key. So no bit of
//! either can change unnoticed ([`values`](super::values)). The entries of the two indexes have none: where one leads
//! there is a header, which says itself whether it is the one.
//!
//! The entries of `transaction_runs` are made when a block is put and stay whatever becomes of it: whether
//! they count is looked up in `best`.

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, DatabaseOpener, MdbError, RwTxn, WithoutTls};

use super::super::{BlockRecord, StoreError};
use super::environment::Environment;
use super::index::Index;
use super::values::{SealedAccount, encode_record, seal, seal_sequence, unseal};
use crate::address::Address;
use crate::hash::{BlockId, NetworkId, TransactionId};
use crate::ledger::Account;
use crate::rules::Rules;
use crate::time::Height;

/// The version of everything here. A change of it needs a new number, and a way to read the old ones.
pub(super) const FORMAT: u32 = 3;
const MAGIC: &[u8] = b"farthing store";

/// The table of what is true of the store as a whole.
const META: &str = "meta";
/// The table of the blocks' bodies.
pub(super) const BODIES: &str = "bodies";

/// The names in `meta`.
pub(super) const MAGIC_KEY: &[u8] = b"magic";
pub(super) const FORMAT_KEY: &[u8] = b"format";
/// The format once more, sealed with this name: one flipped bit makes no store one of a newer program, which none could
/// repair. Every later format has both.
pub(super) const FORMAT_COPY_KEY: &[u8] = b"format again";
pub(super) const NETWORK_KEY: &[u8] = b"network";
pub(super) const TIP_KEY: &[u8] = b"tip";

/// How many bytes of a block's id are in the index. The header tells apart those who share them: a second one
/// is not met by chance, and one more header to read if somebody makes it.
pub(super) const BLOCK_ID_START: usize = 8;

/// How many tables there are.
pub(super) const TABLE_COUNT: usize = 10;
/// How many older formats had that are none any more.
pub(super) const OLD_TABLE_COUNT: usize = 5;

/// A table of bytes by bytes.
pub(super) type Table<'e> = Database<'e, Bytes, Bytes>;

/// Handles of all tables.
pub(super) struct Tables {
    pub(super) meta: Table<'static>,
    pub(super) block_index: Index<{ size_of::<BlockEntry>() }>,
    pub(super) records: Table<'static>,
    pub(super) bodies: Table<'static>,
    pub(super) best: Table<'static>,
    pub(super) accounts: Table<'static>,
    pub(super) transactions: Index<{ size_of::<TransactionEntry>() }>,
    pub(super) invalid: Table<'static>,
    pub(super) watched: Table<'static>,
    pub(super) activity: Table<'static>,
}

/// The start of a block id, a sequence number.
pub(super) type BlockEntry = [u8; BLOCK_ID_START + 4];
/// A transaction id, a sequence number, an index. The id is whole, so that a look-up reads no body.
pub(super) type TransactionEntry = [u8; 40];
/// Address, height, index.
pub(super) type ActivityKey = [u8; 40];

/// The key of a height; `None` beyond the protocol's last.
pub(super) fn height_key(height: Height) -> Option<[u8; 4]> {
    u32::try_from(height.get()).ok().map(u32::to_be_bytes)
}

/// The key of a sequence number.
pub(super) fn sequence_key(sequence: u32) -> [u8; 8] {
    u64::from(sequence).to_be_bytes()
}

/// What the index has of a block's id.
pub(super) fn block_id_start(id: &BlockId) -> &[u8] {
    &id.as_bytes()[..BLOCK_ID_START]
}

pub(super) fn block_entry(id: &BlockId, sequence: u32) -> BlockEntry {
    let mut entry = [0; size_of::<BlockEntry>()];
    entry[..BLOCK_ID_START].copy_from_slice(block_id_start(id));
    entry[BLOCK_ID_START..].copy_from_slice(&sequence.to_be_bytes());
    entry
}

/// The sequence number in a [`block_entry`].
pub(super) fn block_in(entry: &BlockEntry) -> u32 {
    let [.., a, b, c, d] = *entry;
    u32::from_be_bytes([a, b, c, d])
}

pub(super) fn transaction_entry(id: &TransactionId, sequence: u32, index: u32) -> TransactionEntry {
    let mut entry = [0; 40];
    entry[..32].copy_from_slice(id.as_bytes());
    entry[32..36].copy_from_slice(&sequence.to_be_bytes());
    entry[36..].copy_from_slice(&index.to_be_bytes());
    entry
}

/// The sequence number and the index in a [`transaction_entry`].
pub(super) fn place_in(entry: &TransactionEntry) -> (u32, u32) {
    let [.., a, b, c, d, e, f, g, h] = *entry;
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

pub(super) fn activity_key(address: &Address, height: [u8; 4], index: u32) -> ActivityKey {
    let mut key = [0; 40];
    key[..32].copy_from_slice(address.as_bytes());
    key[32..36].copy_from_slice(&height);
    key[36..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Exactly so many bytes, or the sentence that names what should have had them.
pub(super) fn exactly<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::damaged(format!("{what} has {} bytes, not {N}", bytes.len())))
}

/// Refuses a store of another network.
pub(super) fn same_network(path: &Path, got: NetworkId, expected: NetworkId) -> Result<(), StoreError> {
    if got == expected {
        Ok(())
    } else {
        Err(StoreError::OtherNetwork { path: path.display().to_string(), got, expected })
    }
}

/// Runs `open` for the name of every table.
fn each<'e, E>(
    mut open: impl FnMut(&'static str) -> Result<Table<'e>, E>,
) -> Result<[Table<'e>; TABLE_COUNT], E> {
    Ok([
        open(META)?,
        open("block_runs")?,
        open("records")?,
        open(BODIES)?,
        open("best_chain")?,
        open("ledger")?,
        open("transaction_runs")?,
        open("invalid")?,
        open("watched")?,
        open("history")?,
    ])
}

/// What a database holds.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A store of the network in an older format.
    Older,
    /// A store of the network in the present format.
    Store(Tables),
}

impl Tables {
    /// Opens the tables of a store of this network. Reads the version and nothing else, and does not wait
    /// for who writes.
    pub(super) fn open(environment: &Environment, rules: &Rules) -> Result<Found, StoreError> {
        let path = environment.directory();
        let foreign = || StoreError::Foreign { path: path.display().to_string() };
        let (_map, txn) = environment.begin_read()?;
        let opened = environment.env().open_databases_and_commit(txn, |opener, txn| {
            let meta = match opener.open_database::<Bytes, Bytes>(txn, Some(META)) {
                Err(heed::Error::Mdb(MdbError::Incompatible)) => return Err(foreign()),
                found => found?,
            };
            let Some(meta) = meta else {
                let names = opener.open_database::<Bytes, Bytes>(txn, None)?;
                let empty = names.map(|names| names.is_empty(txn)).transpose()?.unwrap_or(true);
                return if empty { Ok(CommitOrAbort::Abort(Found::Nothing)) } else { Err(foreign()) };
            };
            if meta.get(txn, MAGIC_KEY)? != Some(MAGIC) {
                return Err(foreign());
            }
            let value = |key| Ok::<_, StoreError>(meta.get(txn, key)?.unwrap_or_default());
            let got = u32::from_be_bytes(exactly(value(FORMAT_KEY)?, "its format")?);
            if got > FORMAT && meta.get(txn, FORMAT_COPY_KEY)?.and_then(format_in_copy) == Some(got) {
                return Err(StoreError::Newer { path: path.display().to_string(), got, known: FORMAT });
            }
            let network = NetworkId::from_bytes(exactly(value(NETWORK_KEY)?, "its network")?);
            same_network(path, network, rules.network_id())?;
            match got {
                FORMAT => (),
                1 | 2 => return Ok(CommitOrAbort::Abort(Found::Older)),
                _ => return Err(StoreError::damaged(format!("no store has format {got}"))),
            }
            each(|name| {
                let missing = || StoreError::damaged(format!("its table {name} is missing"));
                opener.open_database(txn, Some(name))?.ok_or_else(missing)
            })
            .map(CommitOrAbort::Commit)
        })?;
        Ok(match opened {
            CommitOrAbort::Commit(tables) => Found::Store(Self::new(tables)),
            CommitOrAbort::Abort(found) => found,
        })
    }

    /// Writes down the format a second time where a program did not that knew of one place only.
    pub(super) fn write_format_again(&self, environment: &Environment) -> Result<(), StoreError> {
        let is_there = {
            let (_map, txn) = environment.begin_read()?;
            self.meta.get(&txn, FORMAT_COPY_KEY)?.is_some()
        };
        if is_there {
            return Ok(());
        }
        in_one_write(environment, |opener, txn| {
            let meta = opener.create_database(txn, Some(META))?;
            put_format(meta, txn).map(CommitOrAbort::Commit)
        })
    }

    /// Makes an empty database a store: in one transaction the tables, the version, genesis and what it
    /// allocates. Does nothing when another process was faster.
    pub(super) fn create(environment: &Environment, rules: &Rules) -> Result<(), StoreError> {
        in_one_write(environment, |opener, txn| {
            let names = opener.open_database::<Bytes, Bytes>(txn, None)?;
            if names.is_some_and(|names| names.is_empty(txn).is_ok_and(|empty| !empty)) {
                return Ok(CommitOrAbort::Abort(()));
            }
            let tables = create_each(opener, txn)?;
            fill(&tables, txn, rules).map(CommitOrAbort::Commit)
        })
    }
}

/// Writes down the format, twice.
pub(super) fn put_format(meta: Table, txn: &mut RwTxn) -> heed::Result<()> {
    meta.put(txn, FORMAT_KEY, &FORMAT.to_be_bytes())?;
    meta.put(txn, FORMAT_COPY_KEY, &seal(FORMAT_COPY_KEY, &FORMAT.to_be_bytes()))
}

/// The format that a sealed copy says.
pub(super) fn format_in_copy(sealed: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(unseal(FORMAT_COPY_KEY, sealed)?.try_into().ok()?))
}

/// Creates the tables that are not there yet.
pub(super) fn create_each<'e>(
    opener: &DatabaseOpener<'e, WithoutTls>,
    txn: &mut RwTxn<'e>,
) -> heed::Result<[Table<'e>; TABLE_COUNT]> {
    each(|name| opener.create_database(txn, Some(name)))
}

/// Makes or changes tables in one write, as often as it takes until the map has room for all of it.
pub(super) fn in_one_write(
    environment: &Environment,
    change: impl for<'e> Fn(
        &DatabaseOpener<'e, WithoutTls>,
        &mut RwTxn<'e>,
    ) -> heed::Result<CommitOrAbort<(), ()>>,
) -> Result<(), StoreError> {
    loop {
        let full_bytes = {
            let (_map, txn) = environment.begin_write()?;
            match environment.env().create_databases_and_commit(txn, &change) {
                Ok(_) => return Ok(()),
                Err(heed::Error::Mdb(MdbError::MapFull)) => environment.map_bytes(),
                Err(error) => return Err(environment.write_failed(error)),
            }
        };
        environment.grow(full_bytes)?;
    }
}

/// Writes the version, genesis and what it allocates.
fn fill(tables: &[Table; TABLE_COUNT], txn: &mut RwTxn, rules: &Rules) -> heed::Result<()> {
    let [meta, block_index, records, _, best, accounts, ..] = tables;
    let genesis = BlockRecord::genesis(rules);
    let id = genesis.id();
    meta.put(txn, MAGIC_KEY, MAGIC)?;
    put_format(*meta, txn)?;
    meta.put(txn, NETWORK_KEY, rules.network_id().as_bytes())?;
    meta.put(txn, TIP_KEY, id.as_bytes())?;
    block_index.put(txn, &0_u32.to_be_bytes(), &block_entry(&id, 0))?;
    records.put(txn, &sequence_key(0), &seal(id.as_bytes(), &encode_record(&genesis)))?;
    best.put(txn, &[0; 4], &seal_sequence(&[0; 4], 0))?;
    for (address, balance) in rules.alloc.iter().filter(|(_, balance)| !balance.is_zero()) {
        let sealed = SealedAccount::new(address, &Account { balance: *balance, nonce: 0 });
        accounts.put(txn, address.as_bytes(), sealed.as_bytes())?;
    }
    Ok(())
}

impl Tables {
    fn new(tables: [Table<'static>; TABLE_COUNT]) -> Self {
        let [meta, block_index, records, bodies, best, accounts, transactions, invalid, watched, activity] =
            tables;
        let (block_index, transactions) = (Index::new(block_index), Index::new(transactions));
        Self { meta, block_index, records, bodies, best, accounts, transactions, invalid, watched, activity }
    }
}
