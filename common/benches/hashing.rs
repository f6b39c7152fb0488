//! SHA-256 of the Merkle leaves of payments: many at once, beside `sha2` one by one.

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use ::common::encoding::encode;
use ::common::hash::{sha256, sha256_many};

fn hashing(c: &mut Criterion) {
    let rules = common::rules();
    let payments = common::payments(&rules, &common::key(), common::PAYMENTS);
    let encodings: Vec<Vec<u8>> = payments.iter().map(encode).collect();
    let messages: Vec<&[u8]> = encodings.iter().map(Vec::as_slice).collect();
    let mut group = c.benchmark_group("hashing");
    for count in [1, 8, 16, 64, 2_000] {
        let messages = &messages[..count];
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("many", count), messages, |b, messages| {
            b.iter(|| sha256_many(&[0], black_box(messages)));
        });
        group.bench_with_input(BenchmarkId::new("sha2", count), messages, |b, messages| {
            b.iter(|| -> Vec<_> { messages.iter().map(|message| sha256(&[&[0], message])).collect() });
        });
    }
    group.finish();
}

criterion_group!(benches, hashing);
criterion_main!(benches);
