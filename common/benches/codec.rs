//! Encoding and decoding a block of 2,000 payments.

mod common;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use ::common::block::{Block, EncodedBlock};
use ::common::encoding::{decode, encode};

fn codec(c: &mut Criterion) {
    let rules = common::rules();
    let block = common::block(&rules, common::payments(&rules, &common::key(), common::PAYMENTS));
    let bytes = encode(&block);
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(common::PAYMENTS));
    group.bench_function("encode", |b| b.iter(|| encode(black_box(&block))));
    group.bench_function("decode", |b| b.iter(|| decode::<Block>(black_box(&bytes)).unwrap()));
    group.bench_function("decode, keeping the body's encoding", |b| {
        b.iter_batched(
            || bytes.clone(),
            |bytes| EncodedBlock::decode(bytes, 0).unwrap(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
