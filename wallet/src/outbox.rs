//! The payments that this user made and that may still change: a file each, holding the transaction's
//! encoding. Written by `wallet send` before anything is broadcast, read by every command.
//!
//! Nothing about a payment's fate is written down: it follows from the ledger whenever it is asked for, so a
//! reorganisation needs no bookkeeping here. The chain's store may be deleted and fetched again; these files
//! cannot be, which is why they lie apart from it.
//!
//! A file is called `<sender>-<nonce>-<transaction id>`. The id proves the contents. Sender and nonce say
//! without opening the file whether the ledger is past it, so that ten thousand payments of the last hour
//! cost a command 50 ms and not seconds.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use common::address::Address;
use common::amount::Amount;
use common::encoding::{decode, encode};
use common::files::{self, FileLock, FilesError};
use common::hash::TransactionId;
use common::signature::address_of;
use common::store::{Read, StoreError};
use common::time::Height;
use common::transaction::Transaction;
use common::wire::MAX_DATAGRAM_BYTES;

use crate::error::WalletError;

/// How deep below the tip a payment has to lie until its file is removed. A reorganisation may be of any
/// depth, but one this deep takes a network that was split for over an hour, while every kept file costs each
/// command five microseconds.
pub const KEEP_BLOCKS: u64 = 1_000;
/// How many payments are found in the chain, at most, to see which of them lie so deep, each time that a payment is
/// made: more than one, so that the outbox shrinks.
const SETTLED_LOOK_UPS: usize = 64;
/// The lock that is held from choosing a nonce until the payment is written.
const LOCK_FILE: &str = ".lock";
/// In how many digits a nonce is written: every `u64` fits.
const NONCE_DIGITS: usize = 20;
/// What was put after the name of a damaged file when such files were set aside. The payment may still be on its way.
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
    /// Those whose nonce the ledger is past: the best chain holds them, or others in their place. By sender
    /// and nonce.
    pub past: Vec<PaymentName>,
    /// Those whose nonce is still to come.
    pub open: Vec<OpenPayment>,
    /// Those whose nonce is still to come, and whose files are of no use: they may be on their way all the same.
    pub unusable: Vec<PaymentFileError>,
}

/// What has become of a payment, as the outbox and one state of the ledger show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A block may still hold it.
    Pending,
    /// The best chain holds it.
    Confirmed(Height),
    /// The last block that might have held it is past.
    Expired,
    /// The best chain holds another payment of the sender in its place.
    Conflicting,
}

impl Fate {
    /// Of a payment that the chain, whose next block has this height, does not hold and has another in place of. One
    /// that expired first stays expired: the next one of its sender was given its place.
    pub fn of_replaced(transaction: &Transaction, next: Height) -> Self {
        if transaction.payment.may_be_in_block(next) { Self::Conflicting } else { Self::Expired }
    }
}

/// Why the file of a payment is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PaymentFileError {
    #[error("the payment {} in {} is damaged", name.id, path.display())]
    Damaged { name: PaymentName, path: PathBuf },
    #[error("the payment {} cannot be read: {source}", name.id)]
    Unreadable { name: PaymentName, source: FilesError },
}

impl PaymentFileError {
    /// Which payment, by its file's name.
    pub fn name(&self) -> &PaymentName {
        match self {
            Self::Damaged { name, .. } | Self::Unreadable { name, .. } => name,
        }
    }

    /// Whether the disk failed.
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.is_of_disk())
    }
}

/// What the name of a payment's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PaymentName {
    pub sender: Address,
    pub nonce: u64,
    pub id: TransactionId,
}

/// A payment whose nonce is still to come.
#[derive(Clone, Debug)]
pub struct OpenPayment {
    pub name: PaymentName,
    pub transaction: Transaction,
    /// The last block that might have held it is past; else it is pending.
    pub expired: bool,
}

impl Outbox {
    /// The payments in this directory, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Keeps other processes from adding payments until the result is dropped.
    pub fn lock(&self) -> Result<LockedOutbox<'_>, FilesError> {
        files::create_private_directory(&self.directory)?;
        let lock = FileLock::acquire(&self.directory.join(LOCK_FILE))?;
        // Of those who were killed while they wrote a payment.
        files::remove_leftovers_in(&self.directory)?;
        Ok(LockedOutbox { outbox: self, _lock: lock })
    }

    /// Every payment as this ledger shows it; without a ledger (never synced) all are pending. Nothing is changed.
    pub fn survey(&self, ledger: Option<&dyn Read>) -> Result<Survey, WalletError> {
        let mut survey = Survey::default();
        let next_height = ledger.map(|ledger| ledger.tip()).transpose()?.map(|tip| tip.height.next());
        let file_names = files::names_in(&self.directory)?;
        // Sorted, so the payments of one sender stand together: what is dear is done once for each.
        let mut current: Option<(&str, Address, u64)> = None;
        for file_name in &file_names {
            let set_aside = file_name.strip_suffix(SET_ASIDE);
            let Some((text, nonce, id)) = split(set_aside.unwrap_or(file_name)) else { continue };
            let (sender, next_nonce) = match current {
                Some((known, sender, next_nonce)) if known == text => (sender, next_nonce),
                _ => {
                    let Some(sender) = parse_sender(text) else { continue };
                    let account = ledger.map(|ledger| ledger.account(&sender)).transpose()?;
                    (sender, account.unwrap_or_default().nonce)
                }
            };
            current = Some((text, sender, next_nonce));
            let name = PaymentName { sender, nonce, id };
            let is_past = nonce < next_nonce;
            if set_aside.is_some() {
                let path = self.directory.join(file_name);
                survey.unusable.extend((!is_past).then_some(PaymentFileError::Damaged { name, path }));
                continue;
            }
            if is_past {
                survey.past.push(name);
                continue;
            }
            match self.read(&name) {
                Ok(Some(transaction)) => {
                    let expired = next_height.is_some_and(|next| !transaction.payment.may_be_in_block(next));
                    survey.open.push(OpenPayment { name, transaction, expired });
                }
                Ok(None) => {}
                Err(error) => survey.unusable.push(error),
            }
        }
        Ok(survey)
    }

    /// What has become of every payment of a survey. Each one that is past is looked up: a reorganisation of any depth
    /// may have moved it, or put another in its place.
    pub fn fates(
        &self,
        survey: &Survey,
        ledger: &dyn Read,
    ) -> Result<HashMap<PaymentName, Fate>, StoreError> {
        let next = ledger.tip()?.height.next();
        let open = survey.open.iter().map(|entry| (entry.name, entry.fate()));
        let mut fates: HashMap<PaymentName, Fate> = open.collect();
        for name in &survey.past {
            let fate = match ledger.find_transaction(&name.id)? {
                Some(place) => Fate::Confirmed(place.height),
                None => {
                    not_in_history(name, ledger)?;
                    let read = self.read(name).ok().flatten();
                    read.map_or(Fate::Conflicting, |transaction| Fate::of_replaced(&transaction, next))
                }
            };
            fates.insert(*name, fate);
        }
        Ok(fates)
    }

    /// Payments of a survey whose fate is sealed, so that their files may be removed: [`KEEP_BLOCKS`] below the tip,
    /// or expired for as long. Perhaps not all: the rest are found by later calls.
    pub fn settled(&self, survey: &Survey, ledger: &dyn Read) -> Result<Vec<PaymentName>, StoreError> {
        let tip = ledger.tip()?.height;
        let deep = |height: Height| tip.blocks_since(height) >= KEEP_BLOCKS;
        let long_expired = |transaction: &Transaction| {
            let valid_until = transaction.payment.valid_until;
            valid_until > 0 && deep(Height::new(valid_until.into()))
        };
        let open = survey.open.iter().filter(|entry| long_expired(&entry.transaction));
        let mut settled: Vec<_> = open.map(|entry| entry.name).collect();
        // The chain holds the payments of one sender in the order of their nonces.
        let mut found = 0;
        for of_one_sender in survey.past.chunk_by(|one, other| one.sender == other.sender) {
            for name in of_one_sender {
                if found == SETTLED_LOOK_UPS {
                    return Ok(settled);
                }
                match ledger.find_transaction(&name.id)? {
                    Some(place) => {
                        found += 1;
                        if !deep(place.height) {
                            break;
                        }
                        settled.push(*name);
                    }
                    // Another has its place. Of one that never expires the user is to see that. These are few, and
                    // do not count: all of them are passed here each time.
                    None => {
                        let read = self.read(name).ok().flatten();
                        settled.extend(read.filter(long_expired).map(|_| *name));
                    }
                }
            }
        }
        Ok(settled)
    }

    /// The payment of a file; `None` when it is gone, which another process may have seen to.
    pub fn read(&self, name: &PaymentName) -> Result<Option<Transaction>, PaymentFileError> {
        let path = self.path(name);
        let bytes = match files::read(&path, MAX_DATAGRAM_BYTES as u64) {
            Ok(bytes) => bytes,
            // A link that leads nowhere is no sign that nothing was sent.
            Err(error) if error.is_not_found() && path.symlink_metadata().is_err() => return Ok(None),
            Err(FilesError::TooLarge { .. }) => Vec::new(),
            Err(source) => return Err(PaymentFileError::Unreadable { name: *name, source }),
        };
        let transaction = decode::<Transaction>(&bytes).ok();
        match transaction.filter(|transaction| PaymentName::of(transaction) == *name) {
            Some(transaction) => Ok(Some(transaction)),
            None => Err(PaymentFileError::Damaged { name: *name, path }),
        }
    }

    /// Removes the files of payments; those that are gone already are passed over.
    pub fn remove(&self, payments: &[PaymentName]) -> Result<(), FilesError> {
        payments.iter().try_for_each(|name| files::remove(&self.path(name)))
    }

    /// The file of a payment.
    pub fn path(&self, name: &PaymentName) -> PathBuf {
        self.directory.join(name.to_string())
    }
}

/// The index of transactions has no checksums, the history has. Who is told that another has the place of a payment pays
/// again, so a payment that the one does not know must not be in the other.
fn not_in_history(name: &PaymentName, ledger: &dyn Read) -> Result<(), StoreError> {
    let mut is_there = false;
    ledger.for_each_activity(&name.sender, &mut |entry| is_there |= entry.transaction == Some(name.id))?;
    match is_there {
        false => Ok(()),
        true => Err(StoreError::damaged(format!("the index of payments does not know {}", name.id))),
    }
}

impl LockedOutbox<'_> {
    /// Writes a payment; when this returns no crash can lose it. When it fails there is no such payment, or the error
    /// says that there may be.
    pub fn add(&self, transaction: &Transaction) -> Result<TransactionId, WalletError> {
        let name = PaymentName::of(transaction);
        let path = self.outbox.path(&name);
        files::create_new(&path, &encode(transaction)).map_err(|error| match error {
            FilesError::Uncertain { .. } => WalletError::PaymentUncertain { id: name.id, source: error },
            error => error.into(),
        })?;
        Ok(name.id)
    }
}

impl PaymentName {
    /// The name of a payment's file.
    pub fn of(transaction: &Transaction) -> Self {
        let payment = &transaction.payment;
        Self { sender: address_of(&payment.public_key), nonce: payment.nonce, id: transaction.id() }
    }
}

/// The parts of a payment's file name, if it is one and written as [`PaymentName`] writes it.
fn split(file_name: &str) -> Option<(&str, u64, TransactionId)> {
    let (sender, rest) = file_name.split_once('-')?;
    let (nonce, id) = rest.split_once('-')?;
    let canonical = nonce.len() == NONCE_DIGITS
        && nonce.bytes().all(|byte| byte.is_ascii_digit())
        && !id.bytes().any(|byte| byte.is_ascii_uppercase());
    if canonical { Some((sender, nonce.parse().ok()?, id.parse().ok()?)) } else { None }
}

/// The address of a file name, if it is written as addresses are.
fn parse_sender(text: &str) -> Option<Address> {
    text.parse().ok().filter(|sender: &Address| sender.to_string() == text)
}

impl fmt::Display for PaymentName {
    /// Names sort by sender, then nonce.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:0NONCE_DIGITS$}-{}", self.sender, self.nonce, self.id)
    }
}

impl OpenPayment {
    /// What has become of it.
    pub fn fate(&self) -> Fate {
        if self.expired { Fate::Expired } else { Fate::Pending }
    }
}

impl Survey {
    /// The payments that a block may still hold.
    pub fn pending(&self) -> impl Iterator<Item = &OpenPayment> {
        self.open.iter().filter(|entry| !entry.expired)
    }

    /// The pending payments of one sender.
    pub fn pending_from(&self, sender: &Address) -> impl Iterator<Item = &OpenPayment> {
        self.pending().filter(move |entry| entry.name.sender == *sender)
    }

    /// Takes out why a payment of this sender cannot be read, of which nobody knows then what it takes up, and whether
    /// its nonce is free.
    pub fn take_unknown_from(&mut self, sender: &Address) -> Option<PaymentFileError> {
        // Of one that was put back, what was set aside may still be there.
        let is_known = |name: &PaymentName| self.open.iter().any(|entry| entry.name == *name);
        let is_unknown = |name: &PaymentName| name.sender == *sender && !is_known(name);
        let place = self.unusable.iter().position(|error| is_unknown(error.name()))?;
        Some(self.unusable.swap_remove(place))
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
        let mut taken: Vec<u64> = self.pending_from(sender).map(|entry| entry.name.nonce).collect();
        taken.sort_unstable();
        taken.iter().fold(ledger_nonce, |next, nonce| if *nonce == next { next + 1 } else { next })
    }

    /// Expired payments that nothing has taken the place of, and how many later payments of their sender wait
    /// for that: no block may hold those before.
    pub fn blocked(&self) -> Vec<(PaymentName, usize)> {
        let expired = self.open.iter().filter(|entry| entry.expired).map(|entry| entry.name);
        expired
            .filter_map(|name| {
                let nonces = || self.pending_from(&name.sender).map(|entry| entry.name.nonce);
                let behind = nonces().filter(|nonce| *nonce > name.nonce).count();
                (behind > 0 && nonces().all(|nonce| nonce != name.nonce)).then_some((name, behind))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
