//! The rules of a transaction by itself. Those that need the ledger are in [`crate::ledger::charge`].

use std::sync::Arc;

use crate::address::Address;
use crate::amount::Amount;
use crate::encoding::encode;
use crate::hash::{NetworkId, TransactionId, sha256, sha256_many};
use crate::merkle;
use crate::rules::{MAX_DATA_BYTES, Rules};
use crate::signature::{SignatureVerifier, addresses_of, modulus_bits};
use crate::time::Height;
use crate::transaction::{Payment, Transaction, TransactionRef, encode_each, signing_prefix};

/// Which rule a transaction breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum TransactionError {
    #[error("its data has {got} bytes; at most {MAX_DATA_BYTES} are allowed")]
    DataTooLong { got: usize },
    #[error("it pays nothing")]
    ZeroAmount,
    #[error("amount and fee together are more than can exist")]
    TotalOverflows,
    #[error("its public key is not an odd modulus of 2048, 3072 or 4096 bits")]
    PublicKeyForm,
    #[error("its key has {got} bits; this network asks for {least}")]
    KeyTooSmall { got: u32, least: u32 },
    #[error("its signature has {got} bytes; its key makes signatures of {expected}")]
    SignatureLength { got: usize, expected: usize },
    #[error("its fee is {got}; this network asks for {least}")]
    FeeTooLow { got: Amount, least: Amount },
    #[error("it was valid until block {valid_until}, and this would be block {height}")]
    Expired { valid_until: u32, height: Height },
    #[error("its signature is not its sender's")]
    BadSignature,
    #[error(
        "its nonce is {got}, and the sender's next is {next}: it, or another in its place, is in the chain"
    )]
    NonceTooLow { got: u64, next: u64 },
    #[error("its nonce is {got}, and the sender's next is {next}: an earlier payment is missing")]
    NonceGap { got: u64, next: u64 },
    #[error("its sender has {balance}, and it takes {total}")]
    InsufficientFunds { balance: Amount, total: Amount },
}

/// What the ledger needs to know of a transaction that keeps every rule that does not depend on ledger or
/// height: its form is right and its signature is its sender's. Only the checks below make one, so nothing
/// unchecked reaches a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    id: TransactionId,
    sender: Address,
    to: Address,
    amount: Amount,
    fee: Amount,
    nonce: u64,
    valid_until: u32,
}

impl LedgerEntry {
    fn new(transaction: &TransactionRef, id: [u8; 32], sender: Address) -> Self {
        let TransactionRef { to, amount, fee, nonce, valid_until, .. } = *transaction;
        Self { id: TransactionId::from_bytes(id), sender, to, amount, fee, nonce, valid_until }
    }

    /// The transaction's id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// The address of its public key.
    pub fn sender(&self) -> Address {
        self.sender
    }

    /// Who is paid.
    pub fn to(&self) -> Address {
        self.to
    }

    /// What the receiver gains.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// What the miner gains.
    pub fn fee(&self) -> Amount {
        self.fee
    }

    /// How many transactions of the sender have to be in the chain before it.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The last height that may hold it; 0: any.
    pub fn valid_until(&self) -> u32 {
        self.valid_until
    }

    /// What the sender loses, or `None` when the sum overflows.
    pub fn total(&self) -> Option<Amount> {
        self.amount.checked_add(self.fee)
    }
}

/// A transaction that keeps every rule that does not depend on ledger or height, whole: as it waits in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTransaction {
    transaction: Transaction,
    entry: LedgerEntry,
}

impl CheckedTransaction {
    /// The transaction itself.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// What the ledger needs of it.
    pub fn entry(&self) -> &LedgerEntry {
        &self.entry
    }

    /// What was signed.
    pub fn payment(&self) -> &Payment {
        &self.transaction.payment
    }

    /// Its id.
    pub fn id(&self) -> TransactionId {
        self.entry.id
    }

    /// The address of its public key.
    pub fn sender(&self) -> Address {
        self.entry.sender
    }

    /// The length of its encoding.
    pub fn encoded_bytes(&self) -> usize {
        self.transaction.encoded_bytes()
    }

    pub(super) fn new(transaction: Transaction, entry: LedgerEntry) -> Self {
        Self { transaction, entry }
    }
}

/// For what is read back from a store, which only holds what was checked before it was written. `ids` are the
/// hashes of the transactions.
pub(super) fn entries_from_store(transactions: &[TransactionRef], ids: &[[u8; 32]]) -> Vec<LedgerEntry> {
    let senders = addresses_of(transactions.iter().map(|it| it.public_key));
    let numbered = transactions.iter().zip(ids).zip(senders);
    numbered.map(|((transaction, id), sender)| LedgerEntry::new(transaction, *id, sender)).collect()
}

/// Checks everything but height and ledger, the signature last because it costs most.
pub fn check_transaction(
    rules: &Rules,
    network: &NetworkId,
    transaction: Transaction,
    verifier: &dyn SignatureVerifier,
) -> Result<CheckedTransaction, TransactionError> {
    let borrowed = transaction.borrowed();
    check_form(rules, &borrowed)?;
    let encoding = encode(&transaction);
    let message = &encoding[..borrowed.payment_bytes()];
    let digest = sha256(&[&signing_prefix(network), message]);
    let sender = signature_is_the_senders(&borrowed, &digest, verifier)?;
    let entry = LedgerEntry::new(&borrowed, merkle::leaf(&encoding), sender);
    Ok(CheckedTransaction::new(transaction, entry))
}

/// [`check_transaction`] of each, hashing many at once. The ids are those of the transactions.
pub fn check_transactions(
    rules: &Rules,
    network: &NetworkId,
    transactions: Vec<(TransactionId, Transaction)>,
    verifier: &dyn SignatureVerifier,
) -> Vec<(TransactionId, Result<Arc<CheckedTransaction>, TransactionError>)> {
    let encodings = encode_each(transactions.iter().map(|(_, transaction)| transaction));
    let unchecked = transactions.iter().zip(encodings.iter()).map(|((id, transaction), encoding)| {
        Unchecked { transaction: transaction.borrowed(), encoding, id: *id.as_bytes() }
    });
    let unchecked: Vec<_> = unchecked.collect();
    let entries: Vec<_> = check_each(rules, network, &unchecked, verifier).collect();
    let checked = transactions.into_iter().zip(entries).map(|((id, transaction), entry)| {
        (id, entry.map(|entry| Arc::new(CheckedTransaction::new(transaction, entry))))
    });
    checked.collect()
}

/// A transaction with its encoding and its id.
pub(super) struct Unchecked<'a> {
    pub(super) transaction: TransactionRef<'a>,
    pub(super) encoding: &'a [u8],
    pub(super) id: [u8; 32],
}

/// [`check_transaction`] of each. The forms of all are checked first; signatures one by one, as the results
/// are asked for.
pub(super) fn check_each<'a>(
    rules: &Rules,
    network: &NetworkId,
    transactions: &'a [Unchecked<'a>],
    verifier: &'a dyn SignatureVerifier,
) -> impl Iterator<Item = Result<LedgerEntry, TransactionError>> + use<'a> {
    let forms: Vec<_> = transactions.iter().map(|it| check_form(rules, &it.transaction)).collect();
    let well_formed = transactions.iter().zip(&forms).filter(|(_, form)| form.is_ok());
    let messages = well_formed.map(|(it, _)| &it.encoding[..it.transaction.payment_bytes()]);
    let mut digests = sha256_many(&signing_prefix(network), &messages.collect::<Vec<_>>()).into_iter();
    transactions.iter().zip(forms).map(move |(Unchecked { transaction, id, .. }, form)| {
        form?;
        let digest = digests.next().expect("every well-formed payment was hashed");
        let sender = signature_is_the_senders(transaction, &digest, verifier)?;
        Ok(LedgerEntry::new(transaction, *id, sender))
    })
}

/// Every rule that costs next to nothing to check.
pub fn check_form(rules: &Rules, transaction: &TransactionRef) -> Result<(), TransactionError> {
    data_fits(transaction.data)?;
    amount_is_not_zero(transaction)?;
    total_does_not_overflow(transaction)?;
    key_is_large_enough(rules, transaction.public_key)?;
    signature_has_length_of_key(transaction.public_key, transaction.signature)?;
    fee_is_enough(rules, transaction)
}

/// `valid_until` is 0 or not below the height.
pub fn not_expired(valid_until: u32, height: Height) -> Result<(), TransactionError> {
    if valid_until == 0 || height.get() <= u64::from(valid_until) {
        Ok(())
    } else {
        Err(TransactionError::Expired { valid_until, height })
    }
}

pub(super) fn data_fits(data: &[u8]) -> Result<(), TransactionError> {
    if data.len() <= MAX_DATA_BYTES { Ok(()) } else { Err(TransactionError::DataTooLong { got: data.len() }) }
}

fn amount_is_not_zero(payment: &TransactionRef) -> Result<(), TransactionError> {
    if payment.amount.is_zero() { Err(TransactionError::ZeroAmount) } else { Ok(()) }
}

fn total_does_not_overflow(payment: &TransactionRef) -> Result<(), TransactionError> {
    payment.total().map(|_| ()).ok_or(TransactionError::TotalOverflows)
}

fn key_is_large_enough(rules: &Rules, modulus: &[u8]) -> Result<(), TransactionError> {
    match modulus_bits(modulus) {
        None => Err(TransactionError::PublicKeyForm),
        Some(got) if got < rules.key_size => {
            Err(TransactionError::KeyTooSmall { got, least: rules.key_size })
        }
        Some(_) => Ok(()),
    }
}

fn signature_has_length_of_key(modulus: &[u8], signature: &[u8]) -> Result<(), TransactionError> {
    if signature.len() == modulus.len() {
        Ok(())
    } else {
        Err(TransactionError::SignatureLength { got: signature.len(), expected: modulus.len() })
    }
}

fn fee_is_enough(rules: &Rules, payment: &TransactionRef) -> Result<(), TransactionError> {
    if payment.fee >= rules.min_fee {
        Ok(())
    } else {
        Err(TransactionError::FeeTooLow { got: payment.fee, least: rules.min_fee })
    }
}

/// Gives the sender. The digest is that of what was to be signed.
fn signature_is_the_senders(
    transaction: &TransactionRef,
    digest: &[u8; 32],
    verifier: &dyn SignatureVerifier,
) -> Result<Address, TransactionError> {
    let TransactionRef { public_key, signature, .. } = transaction;
    verifier.signer(public_key, digest, signature).ok_or(TransactionError::BadSignature)
}
