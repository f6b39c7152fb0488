//! Blocks of many payments for the benchmarks of ledger and store. Their signatures are none: what is measured
//! comes after the signatures were checked.

use std::sync::Arc;

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward};
use common::consensus::{Ancestors, CheckedBlock, NothingKnown, check_body};
use common::hash::sha256;
use common::rules::Rules;
use common::signature::{SignatureVerifier, address_of};
use common::transaction::{Payment, Transaction, TransactionVersion};

/// Payments in a block.
pub const PAYMENTS: u64 = 2_000;
/// Who pays.
const SENDERS: u64 = 1_000;
/// Who is paid.
const RECEIVERS: u64 = 100_000;

/// Takes every signature for right.
struct Trusting;

impl SignatureVerifier for Trusting {
    fn signer(&self, modulus: &[u8], _: &[u8; 32], _: &[u8]) -> Option<Address> {
        Some(address_of(modulus))
    }
}

/// A chain in the making.
pub struct Blocks {
    pub rules: Arc<Rules>,
    moduli: Vec<Vec<u8>>,
    ancestors: Ancestors,
    made: u64,
}

impl Blocks {
    /// Nothing but genesis, where all senders have money.
    pub fn new() -> Self {
        let moduli: Vec<Vec<u8>> = (0..SENDERS).map(modulus).collect();
        let mut alloc: Vec<_> =
            moduli.iter().map(|modulus| (address_of(modulus), Amount::from_coins(1_000))).collect();
        alloc.sort_unstable();
        let rules = Rules {
            name: "bench".to_owned(),
            difficulty: 1,
            target_block_seconds: 0,
            max_block_bytes: 4 << 20,
            alloc,
            ..Rules::default()
        };
        Self { ancestors: Ancestors::of_genesis_child(&rules), rules: Arc::new(rules), moduli, made: 0 }
    }

    /// The next block. The senders take turns; whom they pay is spread over all receivers.
    pub fn next(&mut self) -> CheckedBlock {
        let transactions = (0..PAYMENTS).map(|_| self.payment()).collect();
        let reward =
            Reward { to: Address::from_bytes([7; 32]), amount: self.rules.block_reward, data: Vec::new() };
        let body = Body { reward, transactions };
        let parent = self.ancestors.parent;
        let mut header = BlockHeader {
            version: 1,
            previous: self.ancestors.parent_id,
            merkle_root: body.merkle_root(),
            time: parent.time.plus_millis(1_000),
            bits: self.ancestors.next_bits(&self.rules),
            height: parent.height.next(),
            nonce: 0,
        };
        while !header.bits.to_target().is_met_by(&header.id()) {
            header.nonce += 1;
        }
        let block = Block { header, seal: None, body };
        let network = self.rules.network_id();
        let checked = check_body(&self.rules, &network, parent.time, block, &NothingKnown, &Trusting)
            .expect("the block is well made");
        self.ancestors = self.ancestors.of_child(&header, checked.id());
        checked
    }

    fn payment(&mut self) -> Transaction {
        let number = self.made;
        self.made += 1;
        let receiver = u64::from_le_bytes(*sha256(&[&number.to_le_bytes()]).first_chunk().expect("32 bytes"));
        let payment = Payment {
            version: TransactionVersion::V1,
            to: Address::from_bytes(sha256(&[b"receiver", &(receiver % RECEIVERS).to_le_bytes()])),
            amount: Amount::from_units(1),
            fee: Amount::ZERO,
            nonce: number / SENDERS,
            valid_until: 0,
            data: Vec::new(),
            public_key: self.moduli[(number % SENDERS) as usize].clone(),
        };
        Transaction { payment, signature: vec![1; 256] }
    }
}

/// A modulus of the right form that nobody has the factors of.
fn modulus(number: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0_u8..8).flat_map(|part| sha256(&[b"modulus", &number.to_le_bytes(), &[part]])).collect();
    bytes[0] |= 0x80;
    bytes[255] |= 1;
    bytes
}
