//! Makes a data directory with a chain of many payments, to measure the programs on:
//!
//! ```text
//! cargo run --release --example make_chain -- DIRECTORY [PAYMENTS] [PAYMENTS_PER_BLOCK]
//! wallet --data-dir DIRECTORY --network DIRECTORY/network.toml list-addresses
//! ```
//!
//! Deterministic: the same arguments make the same chain. One test key, `alice`, pays a millionth of a coin
//! to an address of its own in every payment; real signatures, proof of work of one bit.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward};
use common::chain::Chain;
use common::consensus::{Ancestors, NothingKnown, check_body};
use common::files::{self, DataDirectory, Program};
use common::hash::{MerkleRoot, sha256};
use common::keys::PrivateKey;
use common::rules::Rules;
use common::settings::rules_to_toml;
use common::signature::RsaVerifier;
use common::store::LmdbStore;
use common::transaction::{Payment, TransactionVersion};

/// Known to everybody: worth nothing on any network but this one.
const TEST_KEY: &str = include_str!("../tests/vectors/keys/test-2048.pem");
/// Blocks written in one transaction of the store.
const BATCH: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("which directory?")?);
    let payments: u64 = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let per_block: u64 = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let key = PrivateKey::from_pem(TEST_KEY)?;
    let rules = Arc::new(Rules {
        name: "made".to_owned(),
        difficulty: 1,
        target_block_seconds: 0,
        max_block_bytes: 4 << 20,
        alloc: vec![(key.address(), Amount::from_coins(1_000_000))],
        ..Rules::default()
    });
    let data = DataDirectory::new(&directory);
    files::create_private_directory(&data.keys())?;
    files::replace(&data.keys().join("alice.pem"), key.to_pem().as_bytes())?;
    files::replace(&directory.join("network.toml"), rules_to_toml(&rules).as_bytes())?;
    let network = rules.network_id();
    let store = LmdbStore::open(&data.program(Program::Wallet, &rules.name, &network), &rules)?;
    let chain = Chain::new(rules.clone(), store);
    chain.watch(&[key.address()], false)?;

    let verifier = RsaVerifier::default();
    let (mut ancestors, mut batch, mut nonce) = (Ancestors::of_genesis_child(&rules), Vec::new(), 0);
    while nonce < payments {
        let count = per_block.min(payments - nonce);
        let signed = (nonce..nonce + count).map(|nonce| {
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
        });
        let reward =
            Reward { to: Address::from_bytes([7; 32]), amount: rules.block_reward, data: Vec::new() };
        let body = Body { reward, transactions: signed.collect() };
        let header = mine(&rules, &ancestors, body.merkle_root());
        let block = Block { header, seal: None, body };
        let checked = check_body(&rules, &network, ancestors.parent.time, block, &NothingKnown, &verifier)?;
        ancestors = ancestors.of_child(&header, checked.id());
        batch.push(checked);
        nonce += count;
        if batch.len() == BATCH || nonce == payments {
            chain.connect(&batch)?;
            batch.clear();
        }
    }
    Ok(())
}

/// A header with its work done.
fn mine(rules: &Rules, ancestors: &Ancestors, merkle_root: MerkleRoot) -> BlockHeader {
    let mut header = BlockHeader {
        version: 1,
        previous: ancestors.parent_id,
        merkle_root,
        time: ancestors.parent.time.plus_millis(5_000),
        bits: ancestors.next_bits(rules),
        height: ancestors.parent.height.next(),
        nonce: 0,
    };
    while !header.bits.to_target().is_met_by(&header.id()) {
        header.nonce += 1;
    }
    header
}
