//! Chains of many payments, to measure the programs on: deterministic, from a seed.
//!
//! Some senders pay one unit at a time, half of the payments to each other and half to many other addresses.
//! One payment in a hundred concerns `alice`, whose key is a real one that the wallets get: she receives nine
//! of ten of those, and makes the tenth. Blocks have one bit of work.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward};
use common::chain::Chain;
use common::consensus::{Ancestors, CheckedBlock, NothingKnown, check_body};
use common::files::{self, DataDirectory, Program};
use common::hash::{MerkleRoot, NetworkId, sha256};
use common::keys::PrivateKey;
use common::rules::Rules;
use common::settings::rules_to_toml;
use common::signature::{SignatureVerifier, address_of};
use common::store::{LmdbStore, Tip};
use common::transaction::{Payment, Transaction, TransactionVersion};

use crate::Failure;
use trials::random::Random;
use trials::weak_keys::WeakKey;

/// Known to everybody: worth nothing on any network but this one.
const TEST_KEY: &str = include_str!("../../common/tests/vectors/keys/test-2048.pem");
/// What the wallets call it.
pub const ALICE: &str = "alice";
/// One payment in so many concerns alice.
pub const ALICE_EVERY: u64 = 100;
/// Of these, one in so many she makes herself: a real signature costs fifty times a weak one.
const ALICE_PAYS_EVERY: u64 = 10;
/// Payments that are signed, and written in one transaction of the store, at a time.
const PAYMENTS_AT_A_TIME: u64 = 20_000;
/// The same for blocks.
const BLOCKS_AT_A_TIME: u64 = 2_000;
/// The time from block to block. Short, so that a long chain does not reach the present.
const BLOCK_MS: u64 = 1_000;
/// The room in a block: about 6,900 payments.
const MAX_BLOCK_BYTES: u32 = 4 << 20;

/// Which chain to make.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Spec {
    /// How many payments it holds, up to 10,000,000 or so
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub payments: u64,
    /// How many payments a block holds
    #[arg(long, value_name = "N", default_value_t = 2_000,
          value_parser = clap::value_parser!(u64).range(1..=6_500))]
    pub per_block: u64,
    /// How many keys pay
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(1..=65_000))]
    pub senders: u64,
    /// How many addresses are paid besides them
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub receivers: u64,
    /// Another seed makes other keys and payments
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

impl Spec {
    /// A chain of so many payments, the rest as usual.
    pub fn of(payments: u64, per_block: u64) -> Self {
        Self { payments, per_block, senders: 1_000, receivers: 100_000, seed: 1 }
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> u64 {
        self.payments.div_ceil(self.per_block)
    }

    /// A name for its directory.
    fn name(&self) -> String {
        let Self { payments, per_block, senders, receivers, seed } = self;
        format!("{payments}-by-{per_block}-from-{senders}-to-{receivers}-seed-{seed}")
    }
}

/// The people of a made network.
pub struct People {
    /// Those who pay.
    pub senders: Vec<WeakKey>,
    /// Their addresses.
    pub addresses: Vec<Address>,
    /// The key that wallets have.
    pub alice: PrivateKey,
    /// The network's rules: everybody has money from the start.
    pub rules: Arc<Rules>,
    /// Their id.
    pub network: NetworkId,
}

impl People {
    /// The keys of this seed, on rules that these differences apply to.
    pub fn new(senders: u64, seed: u64, differ: impl FnOnce(&mut Rules)) -> Result<Self, Failure> {
        let random = Random::new(seed);
        let numbers: Vec<u64> = (0..senders).collect();
        let senders = on_all_cores(&numbers, |number| WeakKey::generate(&mut random.branch(*number)));
        let addresses: Vec<Address> = senders.iter().map(|key| address_of(key.modulus())).collect();
        let alice = PrivateKey::from_pem(TEST_KEY)?;
        let mut alloc: Vec<(Address, Amount)> =
            addresses.iter().map(|address| (*address, Amount::from_coins(1_000))).collect();
        alloc.push((alice.address(), Amount::from_coins(1_000_000)));
        alloc.sort_unstable();
        let mut rules = Rules {
            name: "made".to_owned(),
            difficulty: 1,
            target_block_seconds: 0,
            max_block_bytes: MAX_BLOCK_BYTES,
            alloc,
            ..Rules::default()
        };
        differ(&mut rules);
        rules.check()?;
        let network = rules.network_id();
        Ok(Self { senders, addresses, alice, rules: Arc::new(rules), network })
    }

    /// Writes what the programs need to know into a data directory: `network.toml`, and alice's key.
    pub fn settle_in(&self, directory: &Path) -> Result<PathBuf, Failure> {
        let data = DataDirectory::new(directory);
        files::create_private_directory(&data.keys())?;
        files::replace(&data.keys().join(format!("{ALICE}.pem")), self.alice.to_pem().as_bytes())?;
        let network = directory.join("network.toml");
        files::replace(&network, rules_to_toml(&self.rules).as_bytes())?;
        Ok(network)
    }

    /// Where a program keeps this network's chain in a data directory.
    pub fn store_directory(&self, directory: &Path, program: Program) -> PathBuf {
        DataDirectory::new(directory).program(program, &self.rules.name, &self.network)
    }

    /// Signs drafts on all cores.
    pub fn sign(&self, drafts: &[Draft]) -> Vec<Transaction> {
        on_all_cores(drafts, |draft| {
            let payment = Payment {
                version: TransactionVersion::V1,
                to: draft.to,
                amount: Amount::from_units(1),
                fee: Amount::ZERO,
                nonce: draft.nonce,
                valid_until: 0,
                data: Vec::new(),
                public_key: Vec::new(),
            };
            match draft.from {
                Party::Sender(number) => self.senders[number].sign_payment(payment, &self.network),
                Party::Alice => self.alice.sign_payment(payment, &self.network),
            }
        })
    }
}

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// One of the weak keys.
    Sender(usize),
    /// The real key.
    Alice,
}

/// A payment before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who pays.
    pub from: Party,
    /// Whom.
    pub to: Address,
    /// The sender's running number.
    pub nonce: u64,
}

/// Draws the payments of a chain, in order.
struct Drafts<'p> {
    people: &'p People,
    receivers: u64,
    random: Random,
    nonces: BTreeMap<Party, u64>,
    drawn: u64,
}

impl<'p> Drafts<'p> {
    fn new(people: &'p People, spec: &Spec) -> Self {
        let random = Random::new(!spec.seed);
        Self { people, receivers: spec.receivers, random, nonces: BTreeMap::new(), drawn: 0 }
    }

    fn next(&mut self) -> Draft {
        self.drawn += 1;
        let senders = self.people.senders.len() as u64;
        let alices = self.drawn.is_multiple_of(ALICE_EVERY);
        let pays = alices && (self.drawn / ALICE_EVERY).is_multiple_of(ALICE_PAYS_EVERY);
        let from = if pays { Party::Alice } else { Party::Sender(self.random.below(senders) as usize) };
        let to = if alices && !pays {
            self.people.alice.address()
        } else if self.random.below(2) == 0 {
            self.people.addresses[self.random.below(senders) as usize]
        } else {
            let number = self.random.below(self.receivers);
            Address::from_bytes(sha256(&[b"receiver", &number.to_le_bytes()]))
        };
        let nonce = self.nonces.entry(from).or_default();
        *nonce += 1;
        Draft { from, to, nonce: *nonce - 1 }
    }
}

/// A chain that was made: a data directory whose wallet has it, and whose miner has it.
pub struct Made {
    /// The data directory, with `network.toml` in it.
    pub directory: PathBuf,
    /// Who lives there.
    pub people: People,
    /// Its last block.
    pub tip: Tip,
    /// The bytes of all blocks as they are sent.
    pub block_bytes: u64,
}

impl Made {
    /// The network's rules as a file.
    pub fn network_file(&self) -> PathBuf {
        self.directory.join("network.toml")
    }
}

/// Says that everything is signed by whom it says: the generator has just done so.
struct JustSigned;

impl SignatureVerifier for JustSigned {
    fn signer(&self, modulus: &[u8], _: &[u8; 32], _: &[u8]) -> Option<Address> {
        Some(address_of(modulus))
    }
}

/// The chain in a folder of `root`: that of an earlier run, or else it is made now.
pub fn keep_chain(root: &Path, spec: &Spec, progress: &mut dyn FnMut(&str)) -> Result<Made, Failure> {
    let directory = root.join(spec.name());
    let complete = directory.join("complete");
    let people = People::new(spec.senders, spec.seed, |_| ())?;
    if let Ok(text) = fs::read_to_string(&complete)
        && let Ok(block_bytes) = text.trim().parse()
        && let Ok(Some(store)) =
            LmdbStore::open_existing(&people.store_directory(&directory, Program::Miner), &people.rules)
        && let Ok(tip) = Chain::new(people.rules.clone(), store).tip()
        && tip.height.get() == spec.blocks()
    {
        return Ok(Made { directory, people, tip, block_bytes });
    }
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let made = make(&directory, spec, people, progress)?;
    fs::write(complete, made.block_bytes.to_string())?;
    Ok(made)
}

/// Makes a chain in a directory, which becomes a data directory.
pub fn make_chain(directory: &Path, spec: &Spec, progress: &mut dyn FnMut(&str)) -> Result<Made, Failure> {
    make(directory, spec, People::new(spec.senders, spec.seed, |_| ())?, progress)
}

fn make(
    directory: &Path,
    spec: &Spec,
    people: People,
    progress: &mut dyn FnMut(&str),
) -> Result<Made, Failure> {
    people.settle_in(directory)?;
    let wallet = people.store_directory(directory, Program::Wallet);
    let chain = Chain::new(people.rules.clone(), LmdbStore::open(&wallet, &people.rules)?);
    chain.watch(&[people.alice.address()])?;
    let block_bytes = thread::scope(|scope| {
        // While one batch is written the next is signed, and no more than one waits.
        let (sender, signed) = mpsc::sync_channel(1);
        let people = &people;
        scope.spawn(move || sign_in_batches(people, spec, &sender));
        write_blocks(&chain, people, spec, &signed, progress)
    })?;
    let tip = chain.tip()?;
    drop(chain);
    copy_directory(&wallet, &people.store_directory(directory, Program::Miner))?;
    Ok(Made { directory: directory.to_owned(), people, tip, block_bytes })
}

fn sign_in_batches(people: &People, spec: &Spec, signed: &mpsc::SyncSender<Vec<Vec<Transaction>>>) {
    let mut drafts = Drafts::new(people, spec);
    let blocks = (PAYMENTS_AT_A_TIME / spec.per_block).clamp(1, BLOCKS_AT_A_TIME);
    while drafts.drawn < spec.payments {
        let count = (blocks * spec.per_block).min(spec.payments - drafts.drawn);
        let batch: Vec<Draft> = (0..count).map(|_| drafts.next()).collect();
        let mut transactions = people.sign(&batch).into_iter();
        let blocks = (0..count.div_ceil(spec.per_block))
            .map(|_| transactions.by_ref().take(spec.per_block as usize).collect())
            .collect();
        if signed.send(blocks).is_err() {
            return;
        }
    }
}

fn write_blocks(
    chain: &Chain<LmdbStore>,
    people: &People,
    spec: &Spec,
    signed: &mpsc::Receiver<Vec<Vec<Transaction>>>,
    progress: &mut dyn FnMut(&str),
) -> Result<u64, Failure> {
    let rules = &people.rules;
    let (mut ancestors, mut block_bytes, mut written) = (Ancestors::of_genesis_child(rules), 0, 0_u64);
    for batch in signed {
        let mut blocks: Vec<CheckedBlock> = Vec::with_capacity(batch.len());
        for transactions in batch {
            written += transactions.len() as u64;
            let block = next_block(rules, &ancestors, transactions);
            let header = block.header;
            let parent_time = ancestors.parent.time;
            let checked = check_body(rules, &people.network, parent_time, block, &NothingKnown, &JustSigned)?;
            ancestors = ancestors.of_child(&header, checked.id());
            // The header, and one byte that says that there is no seal.
            block_bytes += (BlockHeader::ENCODED_BYTES + 1 + checked.encoded_body().len()) as u64;
            blocks.push(checked);
        }
        if let Some(invalid) = chain.connect(&blocks)?.invalid {
            return Err(invalid.into());
        }
        progress(&format!("{written} of {} payments", spec.payments));
    }
    Ok(block_bytes)
}

/// A valid block with its work done.
pub fn next_block(rules: &Rules, ancestors: &Ancestors, transactions: Vec<Transaction>) -> Block {
    let reward = Reward { to: Address::from_bytes([7; 32]), amount: rules.block_reward, data: Vec::new() };
    let body = Body { reward, transactions };
    let header = mine(rules, ancestors, body.merkle_root());
    Block { header, seal: None, body }
}

fn mine(rules: &Rules, ancestors: &Ancestors, merkle_root: MerkleRoot) -> BlockHeader {
    let mut header = BlockHeader {
        version: 1,
        previous: ancestors.parent_id,
        merkle_root,
        time: ancestors.parent.time.plus_millis(BLOCK_MS),
        bits: ancestors.next_bits(rules),
        height: ancestors.parent.height.next(),
        nonce: 0,
    };
    while !header.bits.to_target().is_met_by(&header.id()) {
        header.nonce += 1;
    }
    header
}

/// Maps on as many threads as there are cores, keeping the order.
pub fn on_all_cores<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (share, map) = (items.len().div_ceil(threads).max(1), &map);
    thread::scope(|scope| {
        let parts: Vec<_> = items
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(map).collect::<Vec<R>>()))
            .collect();
        let join = |part: thread::ScopedJoinHandle<'_, Vec<R>>| {
            part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        parts.into_iter().flat_map(join).collect()
    })
}

/// Copies a store that nobody has open; its lock file is nobody's business.
pub fn copy_directory(from: &Path, to: &Path) -> Result<(), Failure> {
    files::create_private_directory(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &to.join(entry.file_name()))?;
        } else if entry.file_name() != "lock.mdb" {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use common::signature::RsaVerifier;

    use super::*;

    fn verifier() -> RsaVerifier {
        Default::default()
    }

    fn spec() -> Spec {
        Spec { payments: 1_050, per_block: 100, senders: 5, receivers: 10, seed: 3 }
    }

    fn chain_of(directory: &Path, people: &People, program: Program) -> Chain<LmdbStore> {
        let store = LmdbStore::open(&people.store_directory(directory, program), &people.rules).unwrap();
        Chain::new(people.rules.clone(), store)
    }

    #[test]
    fn a_made_chain_is_valid_to_the_last_signature_and_the_same_every_time() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = make_chain(first.path(), &spec(), &mut |_| ()).unwrap();
        assert_eq!(made.tip.height.get(), 11);
        for program in [Program::Wallet, Program::Miner] {
            let chain = chain_of(first.path(), &made.people, program);
            chain.audit(&verifier()).unwrap();
            assert_eq!(chain.tip().unwrap(), made.tip);
        }
        assert_eq!(make_chain(second.path(), &spec(), &mut |_| ()).unwrap().tip, made.tip);
    }

    #[test]
    fn a_chain_is_kept_for_the_next_run() {
        let root = tempfile::tempdir().unwrap();
        let mut said = 0;
        let made = keep_chain(root.path(), &spec(), &mut |_| said += 1).unwrap();
        assert!(said > 0);
        let kept = keep_chain(root.path(), &spec(), &mut |_| panic!("it is there")).unwrap();
        assert_eq!((kept.tip, kept.block_bytes), (made.tip, made.block_bytes));
    }
}
