//! The Merkle root of 2,000 leaves, beside `sha2` hashing as many pairs.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use common::hash::sha256;
use common::merkle::root;

const LEAVES: u64 = 2_000;

fn merkle(c: &mut Criterion) {
    let leaves: Vec<[u8; 32]> = (0..LEAVES).map(|number| sha256(&[&number.to_le_bytes()])).collect();
    let mut group = c.benchmark_group("merkle");
    group.throughput(Throughput::Elements(LEAVES));
    group.bench_function("root", |b| b.iter(|| root(black_box(&leaves))));
    // A tree has a pair less than leaves.
    group.bench_function("sha2 of the pairs", |b| {
        b.iter(|| leaves.windows(2).fold(0, |sum, pair| sum ^ sha256(&[&[1], &pair[0], &pair[1]])[0]));
    });
    group.finish();
}

criterion_group!(benches, merkle);
criterion_main!(benches);
