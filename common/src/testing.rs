//! What the tests of every module build from: keys, payments, blocks and branches on easy rules.
//!
//! Everything follows from its arguments alone, so a failure repeats itself. Signatures are a cheap
//! stand-in and blocks take two hashes, so a test can afford thousands of both.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use crate::address::Address;
use crate::amount::Amount;
use crate::block::{Block, BlockHeader, Body, Reward, Seal, SealedHeader, seal_message};
use crate::consensus::{Ancestors, CheckedBlock, NothingKnown, check_body, check_header, earliest_time};
use crate::difficulty::Target;
use crate::hash::{BlockId, NetworkId, sha256};
use crate::ledger::{Account, Accounts};
use crate::rules::Rules;
use crate::signature::{SignatureVerifier, address_of};
use crate::time::Height;
use crate::transaction::{Payment, Transaction, TransactionVersion};

pub(crate) mod model;
pub(crate) mod people;

use model::Model;

/// Signatures that anybody can forge and nobody forges: SHA-256(modulus ‖ SHA-256(message)), repeated to the
/// modulus' length.
pub(crate) struct StandIn;

impl SignatureVerifier for StandIn {
    fn signer(&self, modulus: &[u8], digest: &[u8; 32], signature: &[u8]) -> Option<Address> {
        (signature == stand_in_signature(modulus, digest)).then(|| address_of(modulus))
    }
}

fn stand_in_signature(modulus: &[u8], digest: &[u8; 32]) -> Vec<u8> {
    sha256(&[modulus, digest]).repeat(modulus.len() / 32)
}

/// A key that signs for [`StandIn`]: a modulus of the right form whose factors nobody knows.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    modulus: Vec<u8>,
}

impl Key {
    /// The key of this number, of 2048 bits.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_bits(seed, 2048)
    }

    /// The key of this number, of so many bits.
    pub(crate) fn with_bits(seed: u64, bits: u32) -> Self {
        let hashes = (0..bits / 256).map(|i| sha256(&[b"modulus", &seed.to_le_bytes(), &i.to_le_bytes()]));
        let mut modulus: Vec<u8> = hashes.flatten().collect();
        let last = modulus.len() - 1;
        modulus[0] |= 0x80;
        modulus[last] |= 1;
        Self { modulus }
    }

    /// The modulus, big endian.
    pub(crate) fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Who is paid.
    pub(crate) fn address(&self) -> Address {
        address_of(&self.modulus)
    }

    /// An unsigned payment without a fee.
    pub(crate) fn payment(&self, to: Address, units: u64, nonce: u64) -> Payment {
        Payment {
            version: TransactionVersion::V1,
            to,
            amount: Amount::from_units(units),
            fee: Amount::ZERO,
            nonce,
            valid_until: 0,
            data: Vec::new(),
            public_key: self.modulus.clone(),
        }
    }

    /// The payment, signed by this key.
    pub(crate) fn sign(&self, network: &NetworkId, payment: Payment) -> Transaction {
        let signature = stand_in_signature(&self.modulus, &sha256(&[&payment.signing_message(network)]));
        Transaction { payment, signature }
    }

    /// A seal on the block with this id.
    pub(crate) fn seal(&self, id: &BlockId) -> Seal {
        Seal {
            public_key: self.modulus.clone(),
            signature: stand_in_signature(&self.modulus, &sha256(&[&seal_message(id)])),
        }
    }
}

/// Rules whose blocks take two hashes and whose difficulty never changes; `funded` keys hold 1000 coins
/// each from the start.
pub(crate) fn easy_rules(funded: &[&Key]) -> Rules {
    let mut alloc: Vec<_> = funded.iter().map(|key| (key.address(), Amount::from_coins(1000))).collect();
    alloc.sort_unstable();
    let rules = Rules { difficulty: 1, target_block_seconds: 0, alloc, ..Rules::default() };
    rules.check().expect("easy rules are within bounds");
    rules
}

/// A valid child of a block on a network without authorities, as early as it may be.
pub(crate) fn child(
    rules: &Rules,
    ancestors: &Ancestors,
    miner: &Key,
    transactions: Vec<Transaction>,
) -> Block {
    let fees = transactions.iter().map(|transaction| transaction.payment.fee);
    let amount = Amount::checked_sum(fees.chain([rules.block_reward])).expect("fees are small");
    let body = Body { reward: Reward { to: miner.address(), amount, data: Vec::new() }, transactions };
    let header = BlockHeader {
        version: 1,
        previous: ancestors.parent_id,
        merkle_root: body.merkle_root(),
        time: earliest_time(rules, &ancestors.parent, Some(&miner.address())).expect("miners may mine"),
        bits: ancestors.next_bits(rules),
        height: ancestors.parent.height.next(),
        nonce: 0,
    };
    let mut block = Block { header, seal: None, body };
    mine(&mut block);
    block
}

/// Commits the header to the body, and does the work that the header's bits ask for. A seal that was there
/// is void afterwards.
pub(crate) fn mine(block: &mut Block) {
    block.header.merkle_root = block.body.merkle_root();
    find_nonce(&mut block.header, true);
}

/// Searches for a nonce with which the header's work is `done`, or is not.
pub(crate) fn find_nonce(header: &mut BlockHeader, done: bool) {
    let target = header.bits.to_target();
    assert!(target > Target::from_leading_zero_bits(20), "tests mine at low difficulty only");
    header.nonce = 0;
    while target.is_met_by(&header.id()) != done {
        header.nonce += 1;
    }
}

/// A chain in the making, with the ledger that the model computes for it. Clone it to fork it.
#[derive(Clone)]
pub(crate) struct Branch {
    rules: Arc<Rules>,
    network: NetworkId,
    ancestors: Ancestors,
    /// The blocks after genesis.
    pub(crate) blocks: Vec<CheckedBlock>,
    /// The ledger after them.
    pub(crate) ledger: Model,
    /// How much later than it must a block comes.
    pub(crate) pause_ms: u64,
}

impl Branch {
    /// Genesis alone.
    pub(crate) fn new(rules: &Arc<Rules>) -> Self {
        Self {
            network: rules.network_id(),
            ancestors: Ancestors::of_genesis_child(rules),
            blocks: Vec::new(),
            ledger: Model::genesis(rules),
            rules: rules.clone(),
            pause_ms: 0,
        }
    }

    /// The id of the last block.
    pub(crate) fn tip(&self) -> BlockId {
        self.ancestors.parent_id
    }

    /// How many blocks come after genesis.
    pub(crate) fn height(&self) -> Height {
        self.ancestors.parent.height
    }

    /// The ids of the blocks after genesis.
    pub(crate) fn ids(&self) -> Vec<BlockId> {
        self.blocks.iter().map(CheckedBlock::id).collect()
    }

    /// A signed payment with the sender's next nonce on this branch.
    pub(crate) fn pay(&self, from: &Key, to: Address, units: u64, fee: u64) -> Transaction {
        let nonce = self.ledger.account(&from.address()).nonce;
        let payment = Payment { fee: Amount::from_units(fee), ..from.payment(to, units, nonce) };
        from.sign(&self.network, payment)
    }

    /// Adds a block that is valid by every rule, those on the ledger included.
    pub(crate) fn grow(&mut self, miner: &Key, transactions: Vec<Transaction>) -> CheckedBlock {
        let block = self.grow_anyway(miner, transactions);
        let applied = self.ledger.apply(&block.to_block().body);
        applied.expect("what a branch grows by is valid");
        block
    }

    /// Adds a block that keeps every rule but, perhaps, those on the ledger, which stays as it was.
    pub(crate) fn grow_anyway(&mut self, miner: &Key, transactions: Vec<Transaction>) -> CheckedBlock {
        let mut block = child(&self.rules, &self.ancestors, miner, transactions);
        block.header.time = block.header.time.plus_millis(self.pause_ms);
        mine(&mut block);
        let sealed = block.sealed_header();
        let checked = check(&self.rules, &self.ancestors, block).expect("the block is well made");
        self.ancestors = self.ancestors.of_child(&sealed.header, sealed.id());
        self.blocks.push(checked.clone());
        checked
    }
}

/// Which of the two checks without a ledger refused a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Rules 2 to 7.
    Header(crate::consensus::HeaderError),
    /// Rules 9 to 13.
    Body(crate::consensus::BodyError),
}

/// Every check that needs no ledger and no clock, as a node makes them.
pub(crate) fn check(rules: &Rules, ancestors: &Ancestors, block: Block) -> Result<CheckedBlock, Refusal> {
    let header: SealedHeader = block.sealed_header();
    check_header(rules, ancestors, &header, &StandIn).map_err(Refusal::Header)?;
    let (network, parent_time) = (rules.network_id(), ancestors.parent.time);
    check_body(rules, &network, parent_time, block, &NothingKnown, &StandIn).map_err(Refusal::Body)
}

/// Accounts in a map, as [`crate::ledger`] changes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MapAccounts(BTreeMap<Address, Account>);

impl MapAccounts {
    /// What genesis allocates.
    pub(crate) fn genesis(rules: &Rules) -> Self {
        let account = |balance| Account { balance, nonce: 0 };
        Self(rules.alloc.iter().map(|(address, balance)| (*address, account(*balance))).collect())
    }

    /// Every account but the default ones, addresses ascending.
    pub(crate) fn accounts(&self) -> Vec<(Address, Account)> {
        self.0.iter().map(|(address, account)| (*address, *account)).collect()
    }

    /// What an address holds.
    pub(crate) fn get(&self, address: &Address) -> Account {
        self.0.get(address).copied().unwrap_or_default()
    }
}

impl FromIterator<(Address, Account)> for MapAccounts {
    fn from_iter<I: IntoIterator<Item = (Address, Account)>>(accounts: I) -> Self {
        Self(accounts.into_iter().collect())
    }
}

impl Accounts for MapAccounts {
    type Error = Infallible;

    fn account(&self, address: &Address) -> Result<Account, Infallible> {
        Ok(self.get(address))
    }

    fn set_account(&mut self, address: &Address, account: Account) -> Result<(), Infallible> {
        if account == Account::default() {
            self.0.remove(address);
        } else {
            self.0.insert(*address, account);
        }
        Ok(())
    }
}
