//! Checking payments, beside the RSA verification alone.

mod common;

use std::hint::black_box;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use ::common::block::Block;
use ::common::consensus::{NothingKnown, check_body, check_transaction};
use ::common::encoding::{decode, encode};
use ::common::signature::RsaVerifier;

fn verification(c: &mut Criterion) {
    let (rules, key) = (common::rules(), common::key());
    let network = rules.network_id();
    let payments = common::payments(&rules, &key, 2_000);
    let one = payments[0].clone();
    let message = one.payment.signing_message(&network);
    let components = RsaPublicKeyComponents { n: key.modulus(), e: &[1, 0, 1][..] };
    let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).unwrap();

    let mut group = c.benchmark_group("one payment");
    group.bench_function("parse key", |b| {
        b.iter(|| components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).unwrap())
    });
    group.bench_function("aws-lc parsed key", |b| {
        b.iter(|| parsed.verify_sig(black_box(&message), &one.signature).unwrap())
    });
    group.bench_function("aws-lc n,e", |b| {
        b.iter(|| {
            components.verify(&RSA_PKCS1_2048_8192_SHA256, black_box(&message), &one.signature).unwrap()
        })
    });
    group.bench_function("check_transaction", |b| {
        b.iter_batched(
            || one.clone(),
            |one| check_transaction(&rules, &network, one, &RsaVerifier::default()).unwrap(),
            BatchSize::SmallInput,
        )
    });
    group.finish();
    let mut group = c.benchmark_group("2000 payments");
    group.throughput(Throughput::Elements(2000)).sample_size(20);
    let block = common::block(&rules, payments);
    let parent_time = rules.genesis().header.time;
    let bytes = encode(&block);
    group.bench_function("decode", |b| b.iter(|| decode::<Block>(&bytes).unwrap()));
    group.bench_function("encode", |b| b.iter(|| encode(&block)));
    group.bench_function("merkle_root", |b| b.iter(|| block.body.merkle_root()));
    group.bench_function("check_body", |b| {
        b.iter_batched(
            || block.clone(),
            |block| check_body(&rules, &network, parent_time, block, &NothingKnown, &RsaVerifier::default()).unwrap(),
            BatchSize::LargeInput,
        )
    });
}

criterion_group!(benches, verification);
criterion_main!(benches);
