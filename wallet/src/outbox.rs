//! The payments that this user made and that may still change: a file each, named by the transaction's id
//! and holding its encoding, so that the name proves the contents. Written by `wallet send` before anything
//! is broadcast, read by every command.
//!
//! Nothing about a payment's fate is written down: it follows from the ledger whenever it is asked for, so a
//! reorganisation needs no bookkeeping here. The chain's store may be deleted and fetched again; these files
//! cannot be, which is why they lie apart from it.

use std::path::PathBuf;

use common::address::Address;
use common::amount::Amount;
use common::encoding::decode;
use common::files::{self, FileLock, FilesError};
use common::hash::TransactionId;
use common::signature::{address_of, modulus_bits};
use common::store::{Read, StoreError, Tip};
use common::time::Height;
use common::transaction::Transaction;
use common::wire::MAX_DATAGRAM_BYTES;

use crate::error::WalletError;

/// How deep below the tip a payment has to lie until its file is removed. A reorganisation may be of any
/// depth, but one this deep takes a network that was split for over an hour, while every kept file costs each
/// `wallet send` a look-up of some microseconds.
pub const KEEP_BLOCKS: u64 = 1_000;
/// The lock that is held from choosing a nonce until the payment is written.
const LOCK_FILE: &str = ".lock";
/// What is put after the name of a file whose contents are not what its name says.
const SET_ASIDE: &str = ".damaged";

/// A directory of payments of one network.
#[derive(Clone, Debug)]
pub struct Outbox {
    directory: PathBuf,
}

/// The outbox while no other process adds to it.
pub struct LockedOutbox<'a> {
    outbox: &'a Outbox,
    _lock: FileLock,
}

/// All payments of the outbox, as one state of the ledger shows them.
#[derive(Debug, Default)]
pub struct Survey {
    /// Those in the best chain, and at which height.
    pub confirmed: Vec<(TransactionId, Height)>,
    /// Those that are not.
    pub unconfirmed: Vec<Unconfirmed>,
    /// Files that could not be used, a sentence each.
    pub problems: Vec<String>,
}

/// A payment that the best chain does not hold.
#[derive(Clone, Debug)]
pub struct Unconfirmed {
    /// Its id.
    pub id: TransactionId,
    /// The payment.
    pub transaction: Transaction,
    /// Whose it is.
    pub sender: Address,
    /// What may become of it.
    pub state: State,
}

/// What may become of a payment that the best chain does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A block may hold it.
    Pending,
    /// The chain holds another payment of the sender in its place.
    Conflicting,
    /// The last block that might have held it is past.
    Expired,
}

impl Outbox {
    /// The payments in this directory, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Keeps other processes from adding payments until the result is dropped.
    pub fn lock(&self) -> Result<LockedOutbox<'_>, FilesError> {
        files::create_private_directory(&self.directory)?;
        Ok(LockedOutbox { outbox: self, _lock: FileLock::acquire(&self.directory.join(LOCK_FILE))? })
    }

    /// Every payment with its state on this ledger; without a ledger (never synced) all are pending. A damaged
    /// file is set aside and named among the problems.
    pub fn survey(&self, ledger: Option<&dyn Read>) -> Result<Survey, WalletError> {
        let mut survey = Survey::default();
        for name in files::names_in(&self.directory)? {
            let Ok(id) = name.parse() else { continue };
            // Only what the chain does not hold has to be read.
            if let Some(place) = ledger.map(|ledger| ledger.find_transaction(&id)).transpose()?.flatten() {
                survey.confirmed.push((id, place.height));
                continue;
            }
            match self.read(&id) {
                Ok(Some(transaction)) => {
                    let sender = address_of(&transaction.payment.public_key);
                    let state = match ledger {
                        Some(ledger) => state_of(ledger, &transaction, &sender)?,
                        None => State::Pending,
                    };
                    survey.unconfirmed.push(Unconfirmed { id, transaction, sender, state });
                }
                Ok(None) => {}
                Err(problem) => survey.problems.push(problem),
            }
        }
        Ok(survey)
    }

    /// Removes the payments whose fate is sealed: [`KEEP_BLOCKS`] below the tip, or expired for as long.
    pub fn prune(&self, survey: &Survey, tip: &Tip) -> Result<(), FilesError> {
        let deep = |height: Height| tip.height.blocks_since(height) >= KEEP_BLOCKS;
        let confirmed = survey.confirmed.iter().filter(|(_, height)| deep(*height)).map(|(id, _)| *id);
        let expired = survey.unconfirmed.iter().filter(|entry| {
            entry.state == State::Expired && deep(Height::new(entry.transaction.payment.valid_until.into()))
        });
        for id in confirmed.chain(expired.map(|entry| entry.id)) {
            files::remove(&self.path(&id))?;
        }
        Ok(())
    }

    fn path(&self, id: &TransactionId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// The payment of a file; `None` when it is gone, which another process may have seen to. A damaged file
    /// is set aside; the error is the sentence about it.
    fn read(&self, id: &TransactionId) -> Result<Option<Transaction>, String> {
        let path = self.path(id);
        let bytes = match files::read(&path, MAX_DATAGRAM_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(FilesError::TooLarge { .. }) => Vec::new(),
            Err(error) => return Err(format!("a pending payment is left out: {error}")),
        };
        let transaction = decode::<Transaction>(&bytes).ok();
        let whole = |transaction: &Transaction| {
            Transaction::id_of_encoding(&bytes) == *id
                && modulus_bits(&transaction.payment.public_key).is_some()
        };
        if let Some(transaction) = transaction.filter(whole) {
            return Ok(Some(transaction));
        }
        let aside = self.directory.join(format!("{id}{SET_ASIDE}"));
        let what = format!("the pending payment {id} is damaged and left out");
        match files::rename(&path, &aside) {
            Ok(()) => Err(format!("{what}; its file is now {}", aside.display())),
            Err(error) => Err(format!("{what}: {error}")),
        }
    }
}

impl LockedOutbox<'_> {
    /// Writes a payment; when this returns no crash can lose it.
    pub fn add(&self, id: &TransactionId, transaction: &Transaction) -> Result<(), FilesError> {
        files::create_new(&self.outbox.path(id), &common::encoding::encode(transaction))
    }
}

/// What may become of a payment that the best chain does not hold. Expiry comes first: what takes the place
/// of an expired payment is no conflict.
fn state_of(ledger: &dyn Read, transaction: &Transaction, sender: &Address) -> Result<State, StoreError> {
    let payment = &transaction.payment;
    Ok(if !payment.may_be_in_block(ledger.tip()?.height.next()) {
        State::Expired
    } else if payment.nonce < ledger.account(sender)?.nonce {
        State::Conflicting
    } else {
        State::Pending
    })
}

impl Survey {
    /// The payments that a block may still hold.
    pub fn pending(&self) -> impl Iterator<Item = &Unconfirmed> {
        self.unconfirmed.iter().filter(|entry| entry.state == State::Pending)
    }

    /// The pending payments of one sender.
    pub fn pending_from(&self, sender: &Address) -> impl Iterator<Item = &Unconfirmed> {
        self.pending().filter(move |entry| entry.sender == *sender)
    }

    /// What the pending payments of a sender take up, fees included.
    pub fn outgoing(&self, sender: &Address) -> Amount {
        self.pending_from(sender).filter_map(|entry| entry.transaction.payment.total()).sum()
    }

    /// What pending payments of this user bring to an address.
    pub fn incoming(&self, to: &Address) -> Amount {
        let payments = self.pending().map(|entry| &entry.transaction.payment);
        payments.filter(|payment| payment.to == *to).map(|payment| payment.amount).sum()
    }

    /// The lowest nonce that a new payment of this sender can have: not used up on the ledger, where the next
    /// is `ledger_nonce`, nor by a pending payment. A gap that an expired one left is filled first, for those
    /// after it wait for that.
    pub fn next_nonce(&self, sender: &Address, ledger_nonce: u64) -> u64 {
        let mut taken: Vec<u64> =
            self.pending_from(sender).map(|entry| entry.transaction.payment.nonce).collect();
        taken.sort_unstable();
        taken.iter().fold(ledger_nonce, |next, nonce| if *nonce == next { next + 1 } else { next })
    }
}

#[cfg(test)]
mod tests;
