//! A wallet with two keys and a chain in memory, for the tests of the commands.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, BlockHeader, Body, Reward};
use common::chain::{Chain, ancestors_of};
use common::consensus::{NothingKnown, check_body, check_header, earliest_time};
use common::files::{create_new, create_private_directory};
use common::hash::BlockId;
use common::key_store::KeyStore;
use common::keys::PrivateKey;
use common::passphrase::{Passphrase, Passphrases};
use common::rules::Rules;
use common::signature::RsaVerifier;
use common::store::Store;
use common::store::memory::MemoryStore;
use common::time::{Height, Timestamp};
use common::transaction::{Payment, Transaction, TransactionVersion};
use tempfile::TempDir;

use super::send::{Request, Sent, send};
use crate::outbox::{Outbox, PaymentName};
use crate::output::Note;
use crate::wallet::Wallet;

pub struct Scene {
    pub wallet: Wallet<MemoryStore>,
    root: TempDir,
}

/// For tests that do not look at notes.
pub fn ignore(_: Note) {}

/// For keys that are not encrypted: asking for a passphrase fails.
pub fn no_passphrase() -> Passphrases {
    Passphrases::File("/nonexistent".into())
}

/// A passphrase that is known.
pub fn passphrase(text: &str) -> Passphrases {
    Passphrases::Known(Passphrase::new(text.as_bytes().to_vec().into()).unwrap())
}

/// Two keys, made once for all tests: that takes a while.
fn pems() -> &'static [String; 2] {
    static PEMS: OnceLock<[String; 2]> = OnceLock::new();
    PEMS.get_or_init(|| [(); 2].map(|()| PrivateKey::generate(2048).unwrap().to_pem().to_string()))
}

impl Scene {
    /// With the keys `alice` and `bob`, not watched yet, on a network whose blocks take two hashes.
    pub fn new() -> Self {
        let scene = Self::without_keys();
        create_private_directory(scene.wallet.keys.directory()).unwrap();
        for (name, pem) in ["alice", "bob"].iter().zip(pems()) {
            create_new(&scene.wallet.keys.path(&name.parse().unwrap()), pem.as_bytes()).unwrap();
        }
        scene
    }

    pub fn without_keys() -> Self {
        let rules = Arc::new(Rules { difficulty: 1, target_block_seconds: 0, ..Rules::default() });
        let root = tempfile::tempdir().unwrap();
        let wallet = Wallet {
            network: rules.network_id(),
            keys: KeyStore::new(root.path().join("keys")),
            outbox: Outbox::new(root.path().join("outbox")),
            chain: Some(Chain::new(rules.clone(), MemoryStore::new(&rules))),
            rules,
        };
        Self { wallet, root }
    }

    pub fn chain(&self) -> &Chain<MemoryStore> {
        self.wallet.chain.as_ref().unwrap()
    }

    pub fn address(&self, name: &str) -> Address {
        self.wallet.keys.find(&name.parse().unwrap()).unwrap()
    }

    pub fn balance(&self, name: &str) -> Amount {
        self.chain().store().read(|reader| reader.account(&self.address(name))).unwrap().balance
    }

    /// The time of the tip.
    pub fn now(&self) -> Timestamp {
        self.wallet.chain.as_ref().map_or(self.wallet.rules.genesis_time, |chain| chain.tip().unwrap().time)
    }

    pub fn time_at(&self, height: u64) -> Timestamp {
        let at = |reader: &dyn common::store::Read| {
            let id = reader.best_at(Height::new(height))?.unwrap();
            Ok::<_, common::store::StoreError>(reader.record(&id)?.unwrap().header.header.time)
        };
        self.chain().store().read(at).unwrap()
    }

    pub fn watch_all(&self) {
        self.chain().watch_fresh(&[self.address("alice"), self.address("bob")]).unwrap();
    }

    pub fn request(&self, from: &str, amount: &str, to: &str, fee: &str) -> Request {
        Request {
            from: from.parse().unwrap(),
            amount: amount.parse().unwrap(),
            to: to.parse().unwrap(),
            fee: Some(fee.parse().unwrap()),
            data: Vec::new(),
            valid_for: None,
            passphrases: no_passphrase(),
        }
    }

    pub fn send(&self, from: &str, amount: &str, to: &str, fee: &str) -> Sent {
        send(&self.wallet, &self.request(from, amount, to, fee), &mut ignore).unwrap()
    }

    /// How many payments are pending.
    pub fn pending(&self) -> usize {
        let survey = self.wallet.survey(&mut ignore, |_, _| Ok(())).unwrap().0;
        survey.pending().count()
    }

    /// A block with all pending payments, whose reward this key gets.
    pub fn mine_for(&mut self, name: &str) {
        let survey = self.wallet.survey(&mut ignore, |_, _| Ok(())).unwrap().0;
        let mut transactions: Vec<_> = survey.pending().map(|entry| entry.transaction.clone()).collect();
        transactions.sort_by_key(|transaction| transaction.payment.nonce);
        self.mine(self.address(name), transactions);
    }

    /// A block without payments, whose reward somebody else gets.
    pub fn mine_empty(&mut self) {
        self.mine_with(Vec::new());
    }

    /// A block with these payments, whose reward somebody else gets.
    pub fn mine_with(&mut self, transactions: Vec<Transaction>) {
        self.mine(Address::from_bytes([0xee; 32]), transactions);
    }

    /// Replaces the newest block by two without payments.
    pub fn reorganise(&mut self) {
        let tip = self.chain().tip().unwrap();
        let record = self.chain().store().read(|reader| reader.record(&tip.id)).unwrap().unwrap();
        let somebody = Address::from_bytes([0xee; 32]);
        let first = self.mine_on(record.header.header.previous, somebody, Vec::new());
        let second = self.mine_on(first, somebody, Vec::new());
        assert_eq!(self.chain().tip().unwrap().id, second);
    }

    fn mine(&mut self, to: Address, transactions: Vec<Transaction>) {
        let id = self.mine_on(self.chain().tip().unwrap().id, to, transactions);
        assert_eq!(self.chain().tip().unwrap().id, id);
    }

    fn mine_on(&self, parent: BlockId, to: Address, transactions: Vec<Transaction>) -> BlockId {
        let (rules, chain) = (&self.wallet.rules, self.chain());
        let ancestors = chain.store().read(|reader| ancestors_of(reader, &parent)).unwrap().unwrap();
        let fees = transactions.iter().map(|transaction| transaction.payment.fee);
        let amount = Amount::checked_sum(fees.chain([rules.block_reward])).unwrap();
        let body = Body { reward: Reward { to, amount, data: Vec::new() }, transactions };
        let header = BlockHeader {
            version: 1,
            previous: parent,
            merkle_root: body.merkle_root(),
            time: earliest_time(rules, &ancestors.parent, None).unwrap(),
            bits: ancestors.next_bits(rules),
            height: ancestors.parent.height.next(),
            nonce: 0,
        };
        let mut block = Block { header, seal: None, body };
        while check_header(rules, &ancestors, &block.sealed_header(), &RsaVerifier::default()).is_err() {
            block.header.nonce += 1;
        }
        let (network, parent_time) = (&self.wallet.network, ancestors.parent.time);
        let checked =
            check_body(rules, network, parent_time, block, &NothingKnown, &RsaVerifier::default()).unwrap();
        chain.connect(std::slice::from_ref(&checked)).unwrap();
        checked.id()
    }

    /// Puts a payment into the outbox that another copy of the wallet might have made.
    pub fn keep(&self, from: &str, nonce: u64, units: u64, valid_until: u32) -> PaymentName {
        let key = self.wallet.keys.load(&from.parse().unwrap(), 2048, &no_passphrase()).unwrap();
        let payment = Payment {
            version: TransactionVersion::V1,
            to: self.address("bob"),
            amount: Amount::from_units(units),
            fee: Amount::ZERO,
            nonce,
            valid_until,
            data: Vec::new(),
            public_key: key.modulus().to_vec(),
        };
        let transaction = key.sign_payment(payment, &self.wallet.network);
        self.wallet.outbox.lock().unwrap().add(&transaction).unwrap();
        PaymentName::of(&transaction)
    }

    /// Where payments are kept, once there is one.
    pub fn outbox_directory(&self) -> PathBuf {
        self.root.path().join("outbox")
    }

    /// Moves the outbox away, as if another copy of the wallet held it.
    pub fn forget_outbox(&self) -> PathBuf {
        let away = self.root.path().join("away");
        std::fs::rename(self.root.path().join("outbox"), &away).unwrap();
        away
    }

    pub fn restore_outbox(&self, away: &PathBuf) {
        for file in std::fs::read_dir(away).unwrap() {
            let file = file.unwrap();
            std::fs::rename(file.path(), self.root.path().join("outbox").join(file.file_name())).unwrap();
        }
    }
}
