//! Whether a store on a disk is sound, from its first page to the last account, and what `verify` says about it.
//!
//! What is checked, and by what:
//! - that the disk can read all of it, before LMDB maps it;
//! - every page that LMDB would follow, by its structure, before LMDB reads any;
//! - headers, bodies and payments, on the best chain or not, by checksum, id, Merkle root and proof of work: a block
//!   proves itself;
//! - the best chain by every rule but the clock's, signatures included, from genesis on;
//! - indexes, accounts and the activity of watched addresses against what the blocks come to.
//!
//! What nothing can prove is which blocks were found invalid, and which addresses are watched and have no activity:
//! a wrong one of these costs a check, or is put right by the next command.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::{Audit, AuditError, Chain};
use crate::files::size;
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::{LmdbStore, Store, StoreError, TableCounts};

/// What was found to be sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The best chain and the ledger.
    pub audit: Audit,
    /// What else is kept.
    pub tables: TableCounts,
    /// The bytes that the store takes on the disk.
    pub bytes: u64,
}

/// Why a store is not verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is damaged; a sentence about each damage that was found.
    #[error("the store is damaged: {}", .0.join("; "))]
    Damaged(Vec<String>),
    /// The disk cannot read some of it; a sentence about each part of it.
    #[error("the store cannot be read: {}", .0.join("; "))]
    Unreadable(Vec<String>),
    /// It cannot be looked at.
    #[error(transparent)]
    Store(StoreError),
}

impl VerifyError {
    fn damaged(what: &impl ToString) -> Self {
        Self::Damaged(vec![what.to_string()])
    }
}

impl From<StoreError> for VerifyError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { what } => Self::Damaged(vec![what]),
            // In a directory that is named after a network, nothing else belongs.
            StoreError::Foreign { .. } | StoreError::OtherNetwork { .. } => Self::damaged(&error),
            // What the disk cannot read is gone: the rest can be saved.
            StoreError::Unreadable { .. } => Self::Unreadable(vec![error.to_string()]),
            error => Self::Store(error),
        }
    }
}

impl From<AuditError> for VerifyError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error) => error.into(),
            error => Self::damaged(&error),
        }
    }
}

/// Verifies the store in a directory; `None`: there is none. Looks at one committed state, so programs may go on using
/// the store. Changes nothing that the store says; opening it may, as for any other command: an older format is
/// converted, a file that a power cut left half made is made empty, one that was cut short by free pages gets its
/// length back. `progress` is told which block of how many is looked at.
pub fn verify(
    directory: &Path,
    rules: &Arc<Rules>,
    verifier: &dyn SignatureVerifier,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Verified>, VerifyError> {
    let unreadable = LmdbStore::unreadable_pages(directory)?;
    if !unreadable.is_empty() {
        return Err(VerifyError::Unreadable(sentences(&unreadable)));
    }
    let Some(store) = LmdbStore::open_checked(directory, rules)? else { return Ok(None) };
    let bytes = store.size_on_disk()?;
    let chain = Chain::new(rules.clone(), store);
    chain.store().read(|reader| {
        let tables = reader.check_tables().map_err(VerifyError::Damaged)?;
        let audit = chain.audit_state(reader, verifier, progress)?;
        Ok(Some(Verified { audit, tables, bytes }))
    })
}

/// The most sentences about pages that cannot be read.
const MOST_UNREADABLE: usize = 20;

/// Which pages the disk cannot read.
fn sentences(unreadable: &[Range<u64>]) -> Vec<String> {
    let sentence = |Range { start, end }: &Range<u64>| match end - start {
        1 => format!("the disk cannot read page {start}"),
        _ => format!("the disk cannot read pages {start} to {}", end - 1),
    };
    let mut sentences: Vec<_> = unreadable.iter().take(MOST_UNREADABLE).map(sentence).collect();
    if unreadable.len() > MOST_UNREADABLE {
        sentences.push("nor others".to_owned());
    }
    sentences
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { audit: Audit { tip, transactions, accounts }, tables, bytes } = self;
        let side = tables.blocks.saturating_sub(tip.height.next().get());
        writeln!(f, "Pages      sound: {}", size(*bytes))?;
        writeln!(
            f,
            "Blocks     sound: {} up to height {}, {side} on other branches",
            tables.blocks, tip.height
        )?;
        writeln!(f, "Payments   sound: {transactions}, each with its signature")?;
        writeln!(f, "Accounts   sound: {accounts}, as the blocks come to")?;
        write!(
            f,
            "Indexes    sound: {} transactions, {} entries of history",
            tables.transactions, tables.activity
        )
    }
}
