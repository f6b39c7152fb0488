//! Connecting blocks of payments to a store on the disk, and reading it.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use common::address::Address;
use common::chain::Chain;
use common::consensus::CheckedBlock;
use common::hash::sha256;
use common::store::{LmdbStore, Store, StoreError};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod blocks;

use blocks::{Blocks, PAYMENTS};

/// Blocks of the chain that is measured on; when all are connected a new store begins.
const BLOCKS: usize = 50;

fn new_chain(blocks: &Blocks) -> (tempfile::TempDir, Chain<LmdbStore>) {
    let directory = tempfile::tempdir().expect("there is room for temporary files");
    let store = LmdbStore::open(directory.path(), &blocks.rules).expect("the store opens");
    (directory, Chain::new(blocks.rules.clone(), store))
}

fn store(criterion: &mut Criterion) {
    let mut blocks = Blocks::new();
    let made: Vec<CheckedBlock> = (0..BLOCKS).map(|_| blocks.next()).collect();

    let mut group = criterion.benchmark_group("store");
    group.sample_size(20).throughput(Throughput::Elements(PAYMENTS));
    for (name, at_a_time) in [("connect a block", 1), ("connect a block, ten at a time", 10)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let (mut connected, mut took) = (0, Duration::ZERO);
                while connected < count {
                    let (_directory, chain) = new_chain(&blocks);
                    for batch in made.chunks(at_a_time) {
                        if connected >= count {
                            break;
                        }
                        let begin = Instant::now();
                        chain.connect(batch).expect("the blocks are valid");
                        took += begin.elapsed();
                        connected += batch.len() as u64;
                    }
                }
                // Whole batches: perhaps more than was asked for.
                took.mul_f64(count as f64 / connected as f64)
            });
        });
    }
    group.finish();

    let (_directory, chain) = new_chain(&blocks);
    chain.connect(&made).expect("the blocks are valid");
    let mut number = 0_u64;
    let mut group = criterion.benchmark_group("store");
    group.bench_function("read an account", |bencher| {
        bencher.iter(|| {
            number += 1;
            let address = Address::from_bytes(sha256(&[b"receiver", &(number % 100_000).to_le_bytes()]));
            chain
                .store()
                .read::<_, StoreError>(|reader| reader.account(&address))
                .expect("the store is sound")
        });
    });
    group.throughput(Throughput::Elements(PAYMENTS));
    group.bench_function("read a body", |bencher| {
        bencher.iter(|| {
            number += 1;
            let id = made[number as usize % BLOCKS].id();
            // Copied, as it is for whoever keeps it: it lies in the store only while that is being read.
            chain
                .store()
                .read::<_, StoreError>(|reader| Ok(reader.encoded_body(&id)?.map(Cow::into_owned)))
                .expect("the store is sound")
        });
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
