//! What it costs to connect blocks: the ledger, the store's tables and the commit, on a disk. Signatures are not
//! verified here.
//!
//! Most of the time of a commit goes to the disk: compare runs on one machine only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward};
use common::chain::Chain;
use common::consensus::{CheckedBlock, NothingKnown, check_body};
use common::hash::sha256;
use common::rules::Rules;
use common::signature::{SignatureVerifier, address_of};
use common::store::{LmdbStore, Store, StoreError};
use common::time::Timestamp;
use common::transaction::{Payment, Transaction, TransactionVersion};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const SENDERS: u64 = 1_000;
const OTHER_RECEIVERS: u64 = 100_000;

/// Finds every signature valid.
struct Trusting;

impl SignatureVerifier for Trusting {
    fn verify(&self, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        true
    }
}

/// A chain on a disk, and what it takes to make more blocks of it.
struct Growing {
    rules: Arc<Rules>,
    chain: Chain<LmdbStore>,
    senders: Vec<(Vec<u8>, Address)>,
    parent: BlockHeader,
    payments: u64,
    _directory: TempDir,
}

fn address(number: u64) -> Address {
    Address::from_bytes(sha256(&[&number.to_le_bytes()]))
}

/// 256 bytes that look random and may be a modulus.
fn bytes(number: u64) -> Vec<u8> {
    let hash = |part: u8| sha256(&[&number.to_le_bytes(), &[part]]);
    let mut bytes: Vec<u8> = (0..8).flat_map(hash).collect();
    bytes[0] |= 0x80;
    bytes[255] |= 1;
    bytes
}

impl Growing {
    fn new() -> Self {
        let keys = (0..SENDERS).map(bytes);
        let senders: Vec<_> = keys.map(|key| (key.clone(), address_of(&key))).collect();
        let mut alloc: Vec<_> =
            senders.iter().map(|(_, address)| (*address, Amount::from_coins(1_000_000))).collect();
        alloc.sort_unstable();
        let rules = Arc::new(Rules {
            difficulty: 1,
            target_block_seconds: 0,
            alloc,
            max_block_bytes: 4 << 20,
            ..Rules::default()
        });
        let directory = tempfile::tempdir().expect("the system has room for a temporary directory");
        let store = LmdbStore::open(directory.path(), &rules).expect("a new directory can be opened");
        let chain = Chain::new(rules.clone(), store);
        let parent = rules.genesis().header;
        Self { rules, chain, senders, parent, payments: 0, _directory: directory }
    }

    /// The next payment: from each sender in turn, to a sender or to somebody else.
    fn payment(&mut self) -> Transaction {
        let number = self.payments;
        self.payments += 1;
        let random = u64::from_le_bytes(sha256(&[&number.to_le_bytes()])[..8].try_into().expect("8 of 32"));
        let to = match random % 2 {
            0 => self.senders[(random / 2 % SENDERS) as usize].1,
            _ => address(random / 2 % OTHER_RECEIVERS),
        };
        let payment = Payment {
            version: TransactionVersion::V1,
            to,
            amount: Amount::from_units(1 + random % 1000),
            fee: self.rules.min_fee,
            nonce: number / SENDERS,
            valid_until: 0,
            data: Vec::new(),
            public_key: self.senders[(number % SENDERS) as usize].0.clone(),
        };
        Transaction { payment, signature: bytes(SENDERS + number) }
    }

    fn block(&mut self, payments: usize) -> CheckedBlock {
        let transactions: Vec<_> = (0..payments).map(|_| self.payment()).collect();
        let fees = transactions.iter().map(|transaction| transaction.payment.fee);
        let amount = Amount::checked_sum(fees.chain([self.rules.block_reward])).expect("fees are small");
        let body = Body { reward: Reward { to: address(0), amount, data: Vec::new() }, transactions };
        let parent_time = self.parent.time;
        let header = BlockHeader {
            previous: self.parent.id(),
            merkle_root: body.merkle_root(),
            // Late enough for a block of any size.
            time: Timestamp::from_millis(parent_time.millis() + 100_000_000),
            height: self.parent.height.next(),
            ..self.parent
        };
        self.parent = header;
        let block = Block { header, seal: None, body };
        let network = self.rules.network_id();
        check_body(&self.rules, &network, parent_time, block, &NothingKnown, &Trusting)
            .expect("the body keeps the rules")
    }

    /// How long it takes to connect so many blocks, which are made before.
    fn connect(&mut self, blocks: usize, payments: usize) -> Duration {
        let batch: Vec<_> = (0..blocks).map(|_| self.block(payments)).collect();
        let start = Instant::now();
        let outcome = self.chain.connect(&batch).expect("the store works");
        let took = start.elapsed();
        assert_eq!(outcome.change.map(|change| change.new.id), Some(self.parent.id()));
        took
    }
}

fn connect(c: &mut Criterion) {
    let mut group = c.benchmark_group("store/connect");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (name, blocks, payments) in [("6 blocks of 2000", 6, 2000), ("128 blocks of 1", 128, 1)] {
        let mut growing = Growing::new();
        group.throughput(Throughput::Elements((blocks * payments) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| growing.connect(blocks, payments)).sum());
        });
    }
}

fn find_transaction(c: &mut Criterion) {
    let mut growing = Growing::new();
    let batch: Vec<_> = (0..50).map(|_| growing.block(2000)).collect();
    batch.chunks(6).for_each(|blocks| {
        growing.chain.connect(blocks).expect("the store works");
    });
    let mut ids = batch.iter().flat_map(CheckedBlock::transactions).map(|checked| checked.id()).cycle();
    c.bench_function("store/find one of 100000 transactions", |bencher| {
        bencher.iter(|| {
            let id = ids.next().expect("there are some");
            let found = growing.chain.store().read(|reader| reader.find_transaction(&id));
            found.unwrap_or_else(|error: StoreError| panic!("{error}"))
        });
    });
}

criterion_group!(benches, connect, find_transaction);
criterion_main!(benches);
