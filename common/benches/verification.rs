//! Checking payments, beside the RSA verification alone, which no program can do without.

mod common;

use std::hint::black_box;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use ::common::block::EncodedBlock;
use ::common::consensus::{
    NothingKnown, Parallelism, check_encoded_body, check_transaction, check_transactions,
};
use ::common::encoding::encode;
use ::common::signature::RsaVerifier;

/// The most payments in one job of a node.
const JOB: usize = 64;

fn one_payment(c: &mut Criterion) {
    let (rules, key) = (common::rules(), common::key());
    let network = rules.network_id();
    let payment = common::payments(&rules, &key, 1).remove(0);
    let message = payment.payment.signing_message(&network);
    let components = RsaPublicKeyComponents { n: key.modulus(), e: &[1, 0, 1][..] };
    let parsed = components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).unwrap();

    let mut group = c.benchmark_group("one payment");
    group.throughput(Throughput::Elements(1));
    group.bench_function("aws-lc, parsed key", |b| {
        b.iter(|| parsed.verify_sig(black_box(&message), &payment.signature).unwrap());
    });
    group.bench_function("aws-lc, key from its numbers", |b| {
        let verify = |message| components.verify(&RSA_PKCS1_2048_8192_SHA256, message, &payment.signature);
        b.iter(|| verify(black_box(&message)).unwrap());
    });
    let warm = RsaVerifier::default();
    group.bench_function("check_transaction, known key", |b| {
        b.iter_batched(
            || payment.clone(),
            |payment| check_transaction(&rules, &network, payment, &warm).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("check_transaction, new key", |b| {
        b.iter_batched(
            || (payment.clone(), RsaVerifier::default()),
            |(payment, cold)| check_transaction(&rules, &network, payment, &cold).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn many_payments(c: &mut Criterion) {
    let (rules, key) = (common::rules(), common::key());
    let network = rules.network_id();
    let payments = common::payments(&rules, &key, common::PAYMENTS);
    let verifier = RsaVerifier::default();

    let mut group = c.benchmark_group("many payments");
    group.sample_size(20).throughput(Throughput::Elements(JOB as u64));
    group.bench_function("check_transactions", |b| {
        b.iter_batched(
            || payments[..JOB].iter().map(|payment| (payment.id(), payment.clone())).collect(),
            |some| check_transactions(&rules, &network, some, &verifier),
            BatchSize::SmallInput,
        );
    });
    group.throughput(Throughput::Elements(common::PAYMENTS));
    let parent_time = rules.genesis().header.time;
    let bytes = encode(&common::block(&rules, payments));
    for (name, cores) in
        [("a block, one thread", Parallelism::OneThread), ("a block, all cores", Parallelism::AllCores)]
    {
        group.bench_function(name, |b| {
            b.iter_batched(
                || EncodedBlock::decode(bytes.clone(), 0).unwrap(),
                |block| {
                    let known = &NothingKnown;
                    check_encoded_body(&rules, &network, parent_time, block, known, &verifier, cores).unwrap()
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, one_payment, many_payments);
criterion_main!(benches);
