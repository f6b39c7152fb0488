//! Blocks for tests: well-formed, and checked but for what costs time. People are numbers; their keys are
//! no real keys, and every signature counts as theirs. Headers have no proof of work.

use crate::address::Address;
use crate::amount::Amount;
use crate::block::{Block, BlockHeader, Body, Reward};
use crate::consensus::{CheckedBlock, NothingKnown, check_body};
use crate::rules::Rules;
use crate::signature::{SignatureVerifier, address_of};
use crate::store::BlockRecord;
use crate::time::{Height, Timestamp};
use crate::transaction::{Payment, Transaction, TransactionVersion};

/// How many people hold money at genesis, from person 0 on.
pub(crate) const PEOPLE: u8 = 4;
/// What each of them holds then, in coins.
pub(crate) const COINS_AT_GENESIS: u64 = 1000;

/// Takes every signature for valid.
pub(crate) struct EverySignature;

impl SignatureVerifier for EverySignature {
    fn verify(&self, _: &[u8], _: &[u8], _: &[u8]) -> bool {
        true
    }
}

/// A network on which [`PEOPLE`] hold money.
pub(crate) fn rules() -> Rules {
    let mut alloc: Vec<_> =
        (0..PEOPLE).map(|person| (address(person), Amount::from_coins(COINS_AT_GENESIS))).collect();
    alloc.sort_unstable();
    Rules { name: "test".to_owned(), difficulty: 1, alloc, ..Rules::default() }
}

/// The public key of a person: in form an RSA modulus of 2048 bits.
pub(crate) fn modulus(person: u8) -> Vec<u8> {
    let mut modulus = vec![person; 256];
    modulus[0] = 0x80;
    modulus[255] = 1;
    modulus
}

/// The address of a person.
pub(crate) fn address(person: u8) -> Address {
    address_of(&modulus(person))
}

/// A payment of whole coins, without a fee.
pub(crate) fn payment(from: u8, to: u8, coins: u64, nonce: u64) -> Transaction {
    let payment = Payment {
        version: TransactionVersion::V1,
        to: address(to),
        amount: Amount::from_coins(coins),
        fee: Amount::ZERO,
        nonce,
        valid_until: 0,
        data: Vec::new(),
        public_key: modulus(from),
    };
    Transaction { payment, signature: vec![1; 256] }
}

/// A child of `parent`, a second younger. Children of one parent differ when their miners or their
/// transactions do.
pub(crate) fn block(
    rules: &Rules,
    parent: &BlockRecord,
    miner: u8,
    transactions: Vec<Transaction>,
) -> CheckedBlock {
    let parent_header = &parent.header.header;
    let body = Body {
        reward: Reward { to: address(miner), amount: rules.block_reward, data: Vec::new() },
        transactions,
    };
    let header = BlockHeader {
        version: 1,
        previous: parent.id(),
        merkle_root: body.merkle_root(),
        time: Timestamp::from_millis(parent_header.time.millis() + 1000),
        bits: parent_header.bits,
        height: Height::new(parent_header.height.get() + 1),
        nonce: 0,
    };
    let block = Block { header, seal: None, body };
    check_body(rules, &rules.network_id(), parent_header.time, block, &NothingKnown, &EverySignature)
        .expect("the block keeps the rules of a body")
}

/// What a block is in a tree that holds its parent.
pub(crate) fn record(parent: &BlockRecord, block: &CheckedBlock) -> BlockRecord {
    let header = block.header().clone();
    let work = parent.work.plus(header.header.bits.to_target().work());
    BlockRecord { header, work }
}
