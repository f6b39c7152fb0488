//! The rules of a transaction by itself. Those that need the ledger are in [`crate::ledger::charge`].

use crate::address::Address;
use crate::amount::Amount;
use crate::encoding::encode;
use crate::hash::{NetworkId, TransactionId};
use crate::rules::{MAX_DATA_BYTES, Rules};
use crate::signature::{SignatureVerifier, address_of, modulus_bits};
use crate::time::Height;
use crate::transaction::{Payment, Transaction};

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
/// signature is its sender's. Only [`check_transaction`] makes one, so nothing unchecked reaches a ledger.
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

    /// For what is read back from a store, which only holds what was checked before it was written.
    pub(crate) fn from_store(transaction: Transaction) -> Self {
        let encoding = encode(&transaction);
        Self {
            id: Transaction::id_of_encoding(&encoding),
            sender: address_of(&transaction.payment.public_key),
            encoded_bytes: encoding.len(),
            transaction,
        }
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
    signature_is_the_senders(network, &transaction, verifier)?;
    Ok(CheckedTransaction::from_store(transaction))
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

fn signature_is_the_senders(
    network: &NetworkId,
    transaction: &Transaction,
    verifier: &dyn SignatureVerifier,
) -> Result<(), TransactionError> {
    let message = transaction.payment.signing_message(network);
    if verifier.verify(&transaction.payment.public_key, &message, &transaction.signature) {
        Ok(())
    } else {
        Err(TransactionError::BadSignature)
    }
}
