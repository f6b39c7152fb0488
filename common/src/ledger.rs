//! Accounts, and what a block does to them (`PROTOCOL.md`, sections 4 and 5).
//!
//! Applying a block is exact arithmetic, so undoing it needs no saved data: the same steps the other way
//! round, last transaction first, give the ledger from before. A property test holds the two together.

use bincode::{Decode, Encode};

use crate::address::Address;
use crate::amount::Amount;
use crate::block::Reward;
use crate::consensus::{CheckedBlock, CheckedTransaction, TransactionError};

/// What an address holds. An address that never appeared holds the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Account {
    /// What it can spend.
    pub balance: Amount,
    /// How many transactions it has sent.
    pub nonce: u64,
}

/// Where accounts are kept: a store's transaction, or a map in tests.
pub trait Accounts {
    /// What reading or writing can fail with.
    type Error;

    /// The account of an address; the default when it never appeared.
    fn account(&self, address: &Address) -> Result<Account, Self::Error>;

    /// Replaces an account. The default account and an absent one are the same.
    fn set_account(&mut self, address: &Address, account: Account) -> Result<(), Self::Error>;
}

/// Why a block cannot be applied or undone.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError<E> {
    /// A transaction breaks a rule on this ledger.
    #[error("transaction {index}: {error}")]
    Transaction {
        /// Which transaction of the block, from 0.
        index: usize,
        /// The rule.
        error: TransactionError,
    },
    /// The ledger does not hold what the block must have left in it: it is damaged.
    #[error("the ledger of {address} is inconsistent with the blocks: the data is damaged")]
    Inconsistent {
        /// Whose account.
        address: Address,
    },
    /// The accounts could not be read or written.
    #[error(transparent)]
    Accounts(E),
}

/// Applies a block's transactions in order, then credits its reward. On an error the accounts are left
/// half changed: the caller discards them.
pub fn apply<A: Accounts>(accounts: &mut A, block: &CheckedBlock) -> Result<(), LedgerError<A::Error>> {
    for (index, transaction) in block.transactions().iter().enumerate() {
        apply_transaction(accounts, transaction).map_err(|error| match error {
            LedgerError::Transaction { error, .. } => LedgerError::Transaction { index, error },
            other => other,
        })?;
    }
    credit(accounts, &block.reward().to, block.reward().amount)
}

/// Undoes [`apply`].
pub fn undo<A: Accounts>(accounts: &mut A, block: &CheckedBlock) -> Result<(), LedgerError<A::Error>> {
    let Reward { to, amount, .. } = block.reward();
    debit(accounts, to, *amount)?;
    for transaction in block.transactions().iter().rev() {
        undo_transaction(accounts, transaction)?;
    }
    Ok(())
}

/// Whether a transaction is valid on this account of its sender, and the account after it.
pub fn charge(sender: Account, transaction: &CheckedTransaction) -> Result<Account, TransactionError> {
    let payment = transaction.payment();
    if payment.nonce < sender.nonce {
        return Err(TransactionError::NonceTooLow { got: payment.nonce, next: sender.nonce });
    }
    if payment.nonce > sender.nonce {
        return Err(TransactionError::NonceGap { got: payment.nonce, next: sender.nonce });
    }
    let total = payment.total().ok_or(TransactionError::TotalOverflows)?;
    let balance = sender
        .balance
        .checked_sub(total)
        .ok_or(TransactionError::InsufficientFunds { balance: sender.balance, total })?;
    Ok(Account { balance, nonce: sender.nonce + 1 })
}

fn apply_transaction<A: Accounts>(
    accounts: &mut A,
    transaction: &CheckedTransaction,
) -> Result<(), LedgerError<A::Error>> {
    let sender = accounts.account(&transaction.sender()).map_err(LedgerError::Accounts)?;
    let charged =
        charge(sender, transaction).map_err(|error| LedgerError::Transaction { index: 0, error })?;
    accounts.set_account(&transaction.sender(), charged).map_err(LedgerError::Accounts)?;
    credit(accounts, &transaction.payment().to, transaction.payment().amount)
}

fn undo_transaction<A: Accounts>(
    accounts: &mut A,
    transaction: &CheckedTransaction,
) -> Result<(), LedgerError<A::Error>> {
    let payment = transaction.payment();
    debit(accounts, &payment.to, payment.amount)?;
    let address = transaction.sender();
    let sender = accounts.account(&address).map_err(LedgerError::Accounts)?;
    let restored = payment
        .total()
        .and_then(|total| sender.balance.checked_add(total))
        .zip(sender.nonce.checked_sub(1).filter(|nonce| *nonce == payment.nonce))
        .map(|(balance, nonce)| Account { balance, nonce })
        .ok_or(LedgerError::Inconsistent { address })?;
    accounts.set_account(&address, restored).map_err(LedgerError::Accounts)
}

fn credit<A: Accounts>(accounts: &mut A, to: &Address, amount: Amount) -> Result<(), LedgerError<A::Error>> {
    let account = accounts.account(to).map_err(LedgerError::Accounts)?;
    let balance = account.balance.checked_add(amount).ok_or(LedgerError::Inconsistent { address: *to })?;
    accounts.set_account(to, Account { balance, ..account }).map_err(LedgerError::Accounts)
}

fn debit<A: Accounts>(accounts: &mut A, from: &Address, amount: Amount) -> Result<(), LedgerError<A::Error>> {
    let account = accounts.account(from).map_err(LedgerError::Accounts)?;
    let balance = account.balance.checked_sub(amount).ok_or(LedgerError::Inconsistent { address: *from })?;
    accounts.set_account(from, Account { balance, ..account }).map_err(LedgerError::Accounts)
}
