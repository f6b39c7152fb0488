//! The rules of a transaction by itself. Those that need the ledger are in [`crate::ledger::charge`].

use crate::address::Address;
use crate::amount::Amount;
use crate::encoding::{encode, encode_into};
use crate::hash::{NetworkId, TransactionId, sha256, sha256_many};
use crate::merkle;
use crate::rules::{MAX_DATA_BYTES, Rules};
use crate::signature::{SignatureVerifier, addresses_of, modulus_bits};
use crate::time::Height;
use crate::transaction::{Payment, Transaction, signing_prefix};

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

/// A transaction that keeps every rule that does not depend on ledger or height: its form is right and its
/// signature is its sender's. Only the checks below make one, so nothing unchecked reaches a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTransaction {
    transaction: Transaction,
    id: TransactionId,
    sender: Address,
    encoded_bytes: usize,
}

impl CheckedTransaction {
    /// The transaction itself.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// What was signed.
    pub fn payment(&self) -> &Payment {
        &self.transaction.payment
    }

    /// Its id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// The address of its public key.
    pub fn sender(&self) -> Address {
        self.sender
    }

    /// The length of its encoding.
    pub fn encoded_bytes(&self) -> usize {
        self.encoded_bytes
    }

    /// For what is read back from a store, which only holds what was checked before it was written. Takes the
    /// ids of the transactions, which are hashes of their encodings.
    pub(super) fn all_from_store(transactions: Vec<Transaction>, ids: &[[u8; 32]]) -> Vec<Self> {
        let senders = addresses_of(transactions.iter().map(|it| &it.payment.public_key[..]));
        let numbered = transactions.into_iter().zip(ids).zip(senders);
        numbered.map(|((transaction, id), sender)| Self::new(transaction, *id, sender)).collect()
    }

    fn new(transaction: Transaction, id: [u8; 32], sender: Address) -> Self {
        let encoded_bytes = transaction.encoded_bytes();
        Self { transaction, id: TransactionId::from_bytes(id), sender, encoded_bytes }
    }
}

/// Checks everything but height and ledger, the signature last because it costs most.
pub fn check_transaction(
    rules: &Rules,
    network: &NetworkId,
    transaction: Transaction,
    verifier: &dyn SignatureVerifier,
) -> Result<CheckedTransaction, TransactionError> {
    check_form(rules, &transaction)?;
    let encoding = encode(&transaction);
    let message = &encoding[..transaction.payment.encoded_bytes()];
    let digest = sha256(&[&signing_prefix(network), message]);
    let sender = signature_is_the_senders(&transaction, &digest, verifier)?;
    Ok(CheckedTransaction::new(transaction, merkle::leaf(&encoding), sender))
}

/// [`check_transaction`] of each, hashing many at once.
pub fn check_transactions(
    rules: &Rules,
    network: &NetworkId,
    transactions: Vec<Transaction>,
    verifier: &dyn SignatureVerifier,
) -> Vec<Result<CheckedTransaction, TransactionError>> {
    let mut bytes = Vec::with_capacity(transactions.iter().map(Transaction::encoded_bytes).sum());
    transactions.iter().for_each(|transaction| encode_into(transaction, &mut bytes));
    let mut rest = &bytes[..];
    let encodings = transactions.iter().map(|transaction| {
        let (encoding, after) = rest.split_at(transaction.encoded_bytes());
        rest = after;
        encoding
    });
    let encodings: Vec<&[u8]> = encodings.collect();
    let ids = merkle::leaves(&encodings);
    let unchecked = transactions.into_iter().zip(&encodings).zip(ids);
    let unchecked = unchecked.map(|((transaction, encoding), id)| Unchecked { transaction, encoding, id });
    check_each(rules, network, unchecked.collect(), verifier).collect()
}

/// A transaction with its encoding and its id.
pub(super) struct Unchecked<'a> {
    pub(super) transaction: Transaction,
    pub(super) encoding: &'a [u8],
    pub(super) id: [u8; 32],
}

/// [`check_transaction`] of each. The forms of all are checked first; signatures one by one, as the results
/// are asked for.
pub(super) fn check_each<'a>(
    rules: &Rules,
    network: &NetworkId,
    transactions: Vec<Unchecked<'a>>,
    verifier: &'a dyn SignatureVerifier,
) -> impl Iterator<Item = Result<CheckedTransaction, TransactionError>> + use<'a> {
    let forms: Vec<_> = transactions.iter().map(|it| check_form(rules, &it.transaction)).collect();
    let well_formed = transactions.iter().zip(&forms).filter(|(_, form)| form.is_ok());
    let messages = well_formed.map(|(it, _)| &it.encoding[..it.transaction.payment.encoded_bytes()]);
    let mut digests = sha256_many(&signing_prefix(network), &messages.collect::<Vec<_>>()).into_iter();
    transactions.into_iter().zip(forms).map(move |(Unchecked { transaction, id, .. }, form)| {
        form?;
        let digest = digests.next().expect("every well-formed payment was hashed");
        let sender = signature_is_the_senders(&transaction, &digest, verifier)?;
        Ok(CheckedTransaction::new(transaction, id, sender))
    })
}

/// Every rule that costs next to nothing to check.
pub fn check_form(rules: &Rules, transaction: &Transaction) -> Result<(), TransactionError> {
    let payment = &transaction.payment;
    data_fits(&payment.data)?;
    amount_is_not_zero(payment)?;
    total_does_not_overflow(payment)?;
    key_is_large_enough(rules, &payment.public_key)?;
    signature_has_length_of_key(&payment.public_key, &transaction.signature)?;
    fee_is_enough(rules, payment)
}

/// `valid_until` is 0 or not below the height.
pub fn not_expired(payment: &Payment, height: Height) -> Result<(), TransactionError> {
    if payment.may_be_in_block(height) {
        Ok(())
    } else {
        Err(TransactionError::Expired { valid_until: payment.valid_until, height })
    }
}

pub(super) fn data_fits(data: &[u8]) -> Result<(), TransactionError> {
    if data.len() <= MAX_DATA_BYTES { Ok(()) } else { Err(TransactionError::DataTooLong { got: data.len() }) }
}

fn amount_is_not_zero(payment: &Payment) -> Result<(), TransactionError> {
    if payment.amount.is_zero() { Err(TransactionError::ZeroAmount) } else { Ok(()) }
}

fn total_does_not_overflow(payment: &Payment) -> Result<(), TransactionError> {
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

fn fee_is_enough(rules: &Rules, payment: &Payment) -> Result<(), TransactionError> {
    if payment.fee >= rules.min_fee {
        Ok(())
    } else {
        Err(TransactionError::FeeTooLow { got: payment.fee, least: rules.min_fee })
    }
}

/// Gives the sender. The digest is that of what was to be signed.
fn signature_is_the_senders(
    transaction: &Transaction,
    digest: &[u8; 32],
    verifier: &dyn SignatureVerifier,
) -> Result<Address, TransactionError> {
    let Transaction { payment, signature } = transaction;
    verifier.signer(&payment.public_key, digest, signature).ok_or(TransactionError::BadSignature)
}
