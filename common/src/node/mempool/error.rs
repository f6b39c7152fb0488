//! Why a payment is not taken.

use crate::amount::Amount;
use crate::consensus::TransactionError;
use crate::node::limits::MAX_GAP_PER_SENDER;
use crate::wire::SubmitResult;

/// Why a transaction is not in the pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MempoolError {
    /// It is there already.
    #[error("it is known already")]
    Known,
    /// Its signature was found to be wrong before.
    #[error("its signature was found to be wrong before")]
    RefusedBefore,
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] TransactionError),
    /// Another one of its sender has its nonce.
    #[error("another payment of its sender with nonce {nonce} is waiting already")]
    Conflict {
        /// The nonce.
        nonce: u64,
    },
    /// Too many of its sender already wait for an earlier one.
    #[error("an earlier payment of its sender is missing, and {MAX_GAP_PER_SENDER} already wait for it")]
    TooManyGaps,
    /// Its sender has its share of the pool already.
    #[error(
        "its sender has {most} payments or {most_bytes} bytes waiting already, which is its share of the pool"
    )]
    SenderFull {
        /// How many one sender may have.
        most: usize,
        /// How many bytes of them.
        most_bytes: usize,
    },
    /// The pool is full of payments that pay as much for a byte, or more.
    #[error("the pool is full: to be taken it needs a fee of {least_fee} or more")]
    Full {
        /// The least fee with which it would have been taken.
        least_fee: Amount,
    },
    /// The pool is full, and what pays least there is an earlier payment of the same sender: no fee would help.
    #[error("the pool is full, and an earlier payment of its sender pays least of all there")]
    FullBehindOwn,
    /// The pool is full, and an earlier payment of its sender is missing: no fee would help.
    #[error("the pool is full, and an earlier payment of its sender is missing: send that one first")]
    FullBehindGap,
    /// Too many payments wait for their signature check, or there is no pool.
    #[error("too many payments wait to be checked; send it again later")]
    Busy,
}

impl MempoolError {
    /// The protocol's number for it.
    pub fn result(&self) -> SubmitResult {
        match self {
            Self::Known => SubmitResult::KNOWN,
            Self::RefusedBefore => SubmitResult::BAD_SIGNATURE,
            Self::Conflict { .. } => SubmitResult::CONFLICT,
            Self::TooManyGaps | Self::FullBehindGap => SubmitResult::NONCE_GAP,
            Self::SenderFull { .. } | Self::Full { .. } | Self::FullBehindOwn | Self::Busy => {
                SubmitResult::POOL_FULL
            }
            Self::Rule(error) => match error {
                TransactionError::BadSignature => SubmitResult::BAD_SIGNATURE,
                TransactionError::NonceTooLow { .. } => SubmitResult::NONCE_TOO_LOW,
                TransactionError::NonceGap { .. } => SubmitResult::NONCE_GAP,
                TransactionError::InsufficientFunds { .. } => SubmitResult::FUNDS,
                TransactionError::FeeTooLow { .. } => SubmitResult::FEE,
                TransactionError::Expired { .. } => SubmitResult::EXPIRED,
                _ => SubmitResult::FORM,
            },
        }
    }
}
