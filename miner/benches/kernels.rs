//! How fast each kernel of this machine searches, beside the `sha2` crate hashing the whole header each time.

use std::hint::black_box;

use common::block::BlockHeader;
use common::difficulty::Target;
use common::encoding::encode;
use common::hash::{BlockId, MerkleRoot};
use common::time::{Height, Timestamp};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use miner::search::{Puzzle, kernels};
use sha2::{Digest, Sha256};

/// A header that nobody can solve.
fn header() -> BlockHeader {
    BlockHeader {
        version: 1,
        previous: BlockId::from_bytes([1; 32]),
        merkle_root: MerkleRoot::from_bytes([2; 32]),
        time: Timestamp::from_millis(3),
        bits: Target::from_leading_zero_bits(255).to_compact(),
        height: Height::new(4),
        nonce: 0,
    }
}

fn search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search");
    let puzzle = Puzzle::new(&header());
    for kernel in kernels() {
        group.throughput(Throughput::Elements(kernel.batch.into()));
        let mut nonce = 0;
        group.bench_function(kernel.name, |bencher| {
            bencher.iter(|| {
                nonce += u64::from(kernel.batch);
                kernel.search(black_box(&puzzle), nonce, kernel.batch)
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    let mut header = encode(&header());
    group.bench_function("sha2, whole header", |bencher| {
        let mut nonce = 0_u64;
        bencher.iter(|| {
            nonce += 1;
            header[BlockHeader::NONCE_OFFSET..].copy_from_slice(&nonce.to_le_bytes());
            Sha256::digest(black_box(&header))
        });
    });
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
