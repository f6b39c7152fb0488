//! Signed payments and blocks of them, for the benchmarks. Deterministic.

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward};
use common::consensus::Ancestors;
use common::hash::sha256;
use common::keys::PrivateKey;
use common::rules::Rules;
use common::transaction::{Payment, Transaction, TransactionVersion};

/// How many payments a full block has here.
#[allow(dead_code, reason = "not every benchmark needs a full block")]
pub const PAYMENTS: u64 = 2_000;
/// Known to everybody: worth nothing.
const TEST_KEY: &str = include_str!("../../tests/vectors/keys/test-2048.pem");

/// The key that pays, of 2,048 bits.
pub fn key() -> PrivateKey {
    PrivateKey::from_pem(TEST_KEY).expect("the test key is a key")
}

/// Rules that allow the largest blocks.
pub fn rules() -> Rules {
    Rules { difficulty: 1, target_block_seconds: 0, max_block_bytes: 4 << 20, ..Rules::default() }
}

/// So many payments of one key.
pub fn payments(rules: &Rules, key: &PrivateKey, count: u64) -> Vec<Transaction> {
    let network = rules.network_id();
    (0..count)
        .map(|nonce| {
            let payment = Payment {
                version: TransactionVersion::V1,
                to: Address::from_bytes(sha256(&[b"receiver", &nonce.to_le_bytes()])),
                amount: Amount::from_units(1),
                fee: Amount::ZERO,
                nonce,
                valid_until: 0,
                data: Vec::new(),
                public_key: key.modulus().to_vec(),
            };
            key.sign_payment(payment, &network)
        })
        .collect()
}

#[allow(dead_code, reason = "not every benchmark needs a block")]
/// Block 1 with these payments. Its work is not done: nobody asks here.
pub fn block(rules: &Rules, transactions: Vec<Transaction>) -> Block {
    let ancestors = Ancestors::of_genesis_child(rules);
    let reward = Reward { to: Address::from_bytes([7; 32]), amount: rules.block_reward, data: Vec::new() };
    let body = Body { reward, transactions };
    let header = BlockHeader {
        version: 1,
        previous: ancestors.parent_id,
        merkle_root: body.merkle_root(),
        time: ancestors.parent.time.plus_millis(5_000),
        bits: ancestors.next_bits(rules),
        height: ancestors.parent.height.next(),
        nonce: 0,
    };
    Block { header, seal: None, body }
}
