//! The validity rules: one function each, named as the fact it asserts, with one error, in the order of
//! `PROTOCOL.md`, section 6. Miners and validators call the same ones.
//!
//! | rules | what they need to know | where |
//! | --- | --- | --- |
//! | 1 | the block tree | [`crate::chain`] |
//! | 2–8 | header, seal, parent and its parent, clock | [`check_header`], [`not_ahead_of_clock`] |
//! | 9–12, 13 in part | the body alone | [`check_encoded_body`], [`check_transaction`] |
//! | 13 | the parent's ledger | [`crate::ledger::apply`] |

mod body;
mod header;
mod transaction;

pub use body::{
    BodyError, CheckedBlock, KnownTransactions, NothingKnown, Parallelism, check_body, check_encoded_body,
    least_leaves,
};
pub use header::{Ancestors, HeaderError, check_header, earliest_time, not_ahead_of_clock};
pub use transaction::{
    CheckedTransaction, LedgerEntry, TransactionError, check_form, check_transaction, check_transactions,
    not_expired,
};

#[cfg(test)]
mod tests;
