//! Signature checks: the work that is handed to other threads. A job is a value that knows all it needs,
//! so that a driver runs it on any thread and a simulation on the spot.

use std::sync::Arc;

use super::mempool::PoolIndex;
use crate::block::EncodedBlock;
use crate::consensus::{
    BodyError, CheckedBlock, CheckedTransaction, Parallelism, TransactionError, check_encoded_body,
    check_transactions,
};
use crate::hash::{BlockId, NetworkId, TransactionId};
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::time::Timestamp;
use crate::transaction::Transaction;

/// What every check needs, and never changes.
#[derive(Clone)]
pub struct Checker {
    /// The network's rules.
    pub rules: Arc<Rules>,
    /// The network's id.
    pub network: NetworkId,
    /// Decides about signatures.
    pub verifier: Arc<dyn SignatureVerifier>,
    /// What need not be checked again.
    pub pool: PoolIndex,
}

/// Something to check.
#[derive(Debug)]
pub enum Job {
    /// Payments on their way to the pool.
    Transactions(Vec<(TransactionId, Transaction)>),
    /// A block whose header was checked.
    Block {
        /// Told apart from other checks of the same block by this.
        number: u64,
        /// The block.
        block: Box<EncodedBlock>,
        /// Its parent's time.
        parent_time: Timestamp,
        /// Whether it is the only one to check.
        parallelism: Parallelism,
    },
}

/// What came of a [`Job`].
#[derive(Debug)]
pub enum Checked {
    /// One for each transaction.
    Transactions(Vec<(TransactionId, Result<Arc<CheckedTransaction>, TransactionError>)>),
    /// The block, or what is wrong with it.
    Block {
        /// That of the job.
        number: u64,
        /// Its id.
        id: BlockId,
        /// The checked block, without its ledger rules.
        result: Box<Result<CheckedBlock, BodyError>>,
    },
}

impl Job {
    /// Does the work; takes about 20 µs a signature of 2,048 bits.
    pub fn run(self, checker: &Checker) -> Checked {
        match self {
            Self::Transactions(transactions) => {
                let Checker { rules, network, verifier, .. } = checker;
                let checked = check_transactions(rules, network, transactions, &**verifier);
                Checked::Transactions(checked)
            }
            Self::Block { number, block, parent_time, parallelism } => {
                let id = block.id();
                let result = checker.block(*block, parent_time, parallelism);
                Checked::Block { number, id, result: Box::new(result) }
            }
        }
    }
}

impl Checker {
    /// Checks all of a block that needs no ledger.
    pub fn block(
        &self,
        block: EncodedBlock,
        parent_time: Timestamp,
        parallelism: Parallelism,
    ) -> Result<CheckedBlock, BodyError> {
        let Self { rules, network, verifier, pool } = self;
        check_encoded_body(rules, network, parent_time, block, pool, &**verifier, parallelism)
    }
}
