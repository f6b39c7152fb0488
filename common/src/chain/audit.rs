//! Whether a store is what its blocks say: everything replayed from genesis, nothing believed.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::Chain;
use crate::address::Address;
use crate::block::{EncodedBlock, EncodedBody, SealedHeader};
use crate::consensus::{
    Ancestors, BodyError, CheckedBlock, HeaderError, NothingKnown, Parallelism, TransactionError,
    check_encoded_body, check_header,
};
use crate::difficulty::Work;
use crate::encoding::encode;
use crate::hash::{BlockId, NetworkId, TransactionId, sha256};
use crate::ledger::{self, Account, Accounts, LedgerError};
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::{self, Activity, Read, Store, StoreError, Tip};
use crate::time::Height;

/// What an audit went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The last block of the best chain.
    pub tip: Tip,
    /// How many payments its blocks hold.
    pub transactions: u64,
    /// How many addresses hold something or have sent something.
    pub accounts: u64,
}

/// Where a store is not what its blocks say.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum AuditError {
    #[error("block {height} of the best chain is missing")]
    MissingBlock { height: Height },
    #[error("block {height} ({id}) is not the child of the block below it")]
    NotAChild { height: Height, id: BlockId },
    #[error("block {height} ({id}): {error}")]
    Header { height: Height, id: BlockId, error: HeaderError },
    #[error("block {height} ({id}): {error}")]
    Body { height: Height, id: BlockId, error: BodyError },
    #[error("block {height} ({id}): transaction {index}: {error}")]
    Transaction { height: Height, id: BlockId, index: usize, error: TransactionError },
    #[error("block {height} ({id}) adds more to an account than can exist")]
    Overflow { height: Height, id: BlockId },
    #[error("the work of block {height} ({id}) is not the sum of its chain's")]
    Work { height: Height, id: BlockId },
    #[error("transaction {transaction} is not found where it stands, in block {height}")]
    TransactionPlace { height: Height, transaction: TransactionId },
    #[error("the tip {got} is not the last block of the best chain, {expected}")]
    TipIsNotLast { got: BlockId, expected: BlockId },
    #[error("there is a block above the tip, at height {height}")]
    AboveTip { height: Height },
    #[error("{address} has {} and sent {} payments; by the blocks it has {} and sent {}", got.balance, got.nonce, expected.balance, expected.nonce)]
    Account { address: Address, got: Account, expected: Account },
    #[error("the history of {address} is not what the blocks hold of it")]
    Activity { address: Address },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<S: Store> Chain<S> {
    /// Checks every block of the best chain by every rule but the clock's, from genesis on, applies it to a
    /// ledger of its own, and compares the outcome with what the store says: accounts, work, tip, and where
    /// transactions are found. Gives what it went through, or the first difference.
    ///
    /// Looks at one committed state, so a running program may go on writing meanwhile; on a long chain that
    /// costs it disk space, for the store reuses nothing that was replaced since. The ledger of its own is in
    /// memory: about 100 bytes an account.
    pub fn audit(&self, verifier: &dyn SignatureVerifier) -> Result<Audit, AuditError> {
        self.store.read(|reader| self.audit_state(reader, verifier, &mut |_, _| ()))
    }

    /// The same of one state of the store; `progress` is told which block of how many is looked at.
    pub(super) fn audit_state(
        &self,
        reader: &dyn Read,
        verifier: &dyn SignatureVerifier,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Audit, AuditError> {
        let watched = reader.watched()?;
        let mut activity: BTreeMap<_, _> =
            watched.iter().map(|address| (*address, Digest::default())).collect();
        for (address, entry) in store::allocated(&self.rules, &watched) {
            activity.entry(address).or_default().add(&entry);
        }
        let ledger = MapLedger::genesis(&self.rules);
        let (rules, network) = (&*self.rules, &self.network);
        Replay { reader, rules, network, verifier, progress, ledger, watched, activity }.run()
    }
}

/// The blocks of one state of a store, and the ledger that they come to.
struct Replay<'a> {
    reader: &'a dyn Read,
    rules: &'a Rules,
    network: &'a NetworkId,
    verifier: &'a dyn SignatureVerifier,
    progress: &'a mut dyn FnMut(u64, u64),
    ledger: MapLedger,
    watched: Vec<Address>,
    activity: BTreeMap<Address, Digest>,
}

/// What a history comes to, entry by entry: a long one need not be in memory to be compared with another.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Digest([u8; 32]);

impl Digest {
    fn add(&mut self, entry: &Activity) {
        self.0 = sha256(&[&self.0, &encode(entry)]);
    }
}

impl Replay<'_> {
    fn run(mut self) -> Result<Audit, AuditError> {
        let tip = self.reader.tip()?;
        let mut last = self.rules.genesis().id();
        let mut ancestors = Ancestors::of_genesis_child(self.rules);
        let (mut work, mut transactions) = (Work::ZERO, 0);
        if self.reader.best_at(Height::GENESIS)? != Some(last) {
            return Err(AuditError::MissingBlock { height: Height::GENESIS });
        }
        for height in (1..=tip.height.get()).map(Height::new) {
            (self.progress)(height.get(), tip.height.get());
            let id = self.reader.best_at(height)?.ok_or(AuditError::MissingBlock { height })?;
            let record = self.reader.record(&id)?.ok_or(AuditError::MissingBlock { height })?;
            let header = record.header.header;
            if header.previous != last || record.id() != id {
                return Err(AuditError::NotAChild { height, id });
            }
            check_header(self.rules, &ancestors, &record.header, self.verifier)
                .map_err(|error| AuditError::Header { height, id, error })?;
            work = work.plus(header.bits.to_target().work());
            if record.work != work {
                return Err(AuditError::Work { height, id });
            }
            let block = self.body(&ancestors, record.header, id)?;
            self.apply(&block)?;
            transactions += block.entries().len() as u64;
            ancestors = ancestors.of_child(&header, id);
            last = id;
        }
        if (tip.id, tip.work) != (last, work) {
            return Err(AuditError::TipIsNotLast { got: tip.id, expected: last });
        }
        if self.reader.best_at(tip.height.next())?.is_some() {
            return Err(AuditError::AboveTip { height: tip.height.next() });
        }
        for (address, expected) in &self.activity {
            let mut got = Digest::default();
            self.reader.for_each_activity(address, &mut |entry| got.add(&entry))?;
            if got != *expected {
                return Err(AuditError::Activity { address: *address });
            }
        }
        let accounts = self.compare_accounts()?;
        Ok(Audit { tip, transactions, accounts })
    }

    /// A block whose header was checked, with its body checked too.
    fn body(
        &self,
        ancestors: &Ancestors,
        header: SealedHeader,
        id: BlockId,
    ) -> Result<CheckedBlock, AuditError> {
        let (height, time) = (header.header.height, ancestors.parent.time);
        let body = self.reader.encoded_body(&id)?.ok_or(AuditError::MissingBlock { height })?;
        let body = EncodedBody::decode(body.into_owned()).map_err(StoreError::from)?;
        let (block, cores) = (EncodedBlock { header, body }, Parallelism::AllCores);
        check_encoded_body(self.rules, self.network, time, block, &NothingKnown, self.verifier, cores)
            .map_err(|error| AuditError::Body { height, id, error })
    }

    fn apply(&mut self, block: &CheckedBlock) -> Result<(), AuditError> {
        let (height, id) = (block.height(), block.id());
        ledger::apply(&mut self.ledger, block).map_err(|error| match error {
            LedgerError::Transaction { index, error } => AuditError::Transaction { height, id, index, error },
            LedgerError::Inconsistent { .. } => AuditError::Overflow { height, id },
            LedgerError::Accounts(never) => match never {},
        })?;
        for (address, entry) in store::entries(block, &self.watched) {
            self.activity.entry(address).or_default().add(&entry);
        }
        for (index, transaction) in block.entries().iter().enumerate() {
            let found = self.reader.find_transaction(&transaction.id())?;
            if found
                .is_none_or(|place| (place.block, place.height, place.index as usize) != (id, height, index))
            {
                return Err(AuditError::TransactionPlace { height, transaction: transaction.id() });
            }
        }
        Ok(())
    }

    /// Every account of the store is the ledger's, and the ledger has no more; gives how many there are.
    fn compare_accounts(self) -> Result<u64, AuditError> {
        let (mut expected, mut count, mut different) = (self.ledger.0, 0, None);
        self.reader.for_each_account(&mut |address, got| {
            let account = expected.remove(&address).unwrap_or_default();
            count += 1;
            if got != account && different.is_none() {
                different = Some(AuditError::Account { address, got, expected: account });
            }
        })?;
        if let Some((address, account)) = expected.pop_first() {
            let missing = AuditError::Account { address, got: Account::default(), expected: account };
            different = different.or(Some(missing));
        }
        different.map_or(Ok(count), Err)
    }
}

/// A ledger in memory. It holds no default accounts, as a store holds none.
struct MapLedger(BTreeMap<Address, Account>);

impl MapLedger {
    fn genesis(rules: &Rules) -> Self {
        let alloc = rules.alloc.iter().filter(|(_, balance)| !balance.is_zero());
        Self(alloc.map(|(address, balance)| (*address, Account { balance: *balance, nonce: 0 })).collect())
    }
}

impl Accounts for MapLedger {
    type Error = Infallible;

    fn account(&self, address: &Address) -> Result<Account, Infallible> {
        Ok(self.0.get(address).copied().unwrap_or_default())
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
