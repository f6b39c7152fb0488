//! Rebuilds a damaged store from the blocks in it that are sound.
//!
//! Only blocks are taken over: they prove themselves. They are looked for in the bytes of the file, so it does not
//! matter what was damaged, and go through the same checks as those that a peer sends. Accounts, indexes and the
//! activity of watched addresses follow from them. What builds on a block that is lost cannot be checked without
//! it; it is left out, and comes back with the missing block from other miners.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Chain, ChainError, ancestors_of};
use crate::address::Address;
use crate::block::EncodedBlock;
use crate::consensus::{NothingKnown, Parallelism, check_encoded_body, check_header};
use crate::difficulty::Work;
use crate::files::FilesError;
use crate::hash::{BlockId, NetworkId};
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::lmdb::{Salvage, Swap, SwapError};
use crate::store::{LmdbStore, Store, StoreError, Tip};

/// Blocks that are written at a time, at most, and their bytes: enough that flushing costs little.
const BLOCKS_AT_A_TIME: usize = 256;
/// See [`BLOCKS_AT_A_TIME`].
const BYTES_AT_A_TIME: usize = 16 << 20;

/// What came of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The last block of the best chain now.
    pub tip: Tip,
    /// How many blocks were taken over, genesis not counted.
    pub blocks: u64,
    /// How many headers were found whose blocks could not be taken over.
    pub left_out: u64,
    /// Where the damaged database is now.
    pub aside: PathBuf,
}

/// Why a store is not repaired. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// There is none.
    #[error("there is no store in {path}", path = path.display())]
    Missing {
        /// Where none is.
        path: PathBuf,
    },
    /// It is in use, or files cannot be written.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// The new store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RepairError {
    /// Whether the disk failed, and not what is on it.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Swap(SwapError::Files(error)) => error.is_of_disk(),
            Self::Store(error) => error.is_of_disk(),
            _ => false,
        }
    }
}

impl From<ChainError> for RepairError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Store(error) => Self::Store(error),
            unknown => Self::Store(StoreError::damaged(unknown.to_string())),
        }
    }
}

/// Rebuilds the store in a directory, which nobody may have open, and keeps the damaged database aside. Nothing
/// outside of the directory is touched. The activity of the addresses in `watched` is kept. `progress` is told how
/// many blocks of how many are done.
pub fn repair(
    directory: &Path,
    rules: &Arc<Rules>,
    watched: &[Address],
    verifier: &dyn SignatureVerifier,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Repaired, RepairError> {
    let missing = || RepairError::Missing { path: directory.to_owned() };
    if !LmdbStore::exists(directory)? {
        return Err(missing());
    }
    let swap = Swap::begin(directory)?;
    let salvage = Salvage::scan(directory).map_err(|error| unreadable(directory, error))?;
    let salvage = salvage.ok_or_else(missing)?;
    let store = LmdbStore::open(&swap.new_directory(), rules)?;
    let chain = Chain::new(rules.clone(), store);
    let (network, genesis) = (rules.network_id(), rules.genesis().id());
    let mut rebuild = Rebuild {
        salvage,
        chain: &chain,
        rules,
        network,
        verifier,
        done: HashSet::from([genesis]),
        bad: HashSet::new(),
    };
    let tips = rebuild.by_work();
    let total = tips.len() as u64;
    for tip in &tips {
        rebuild.take_branch(*tip, &mut |done| progress(done, total))?;
    }
    let blocks = rebuild.done.len() as u64 - 1;
    chain.watch(watched, false)?;
    let tip = chain.tip()?;
    // Closed, so that whoever opens it finds a file that nobody holds.
    drop(rebuild);
    drop(chain);
    Ok(Repaired { tip, blocks, left_out: total.saturating_sub(blocks), aside: swap.finish()? })
}

fn unreadable(directory: &Path, source: std::io::Error) -> RepairError {
    StoreError::from(FilesError::Io { action: "read the chain in", path: directory.to_owned(), source })
        .into()
}

struct Rebuild<'a> {
    salvage: Salvage,
    chain: &'a Chain<LmdbStore>,
    rules: &'a Rules,
    network: NetworkId,
    verifier: &'a dyn SignatureVerifier,
    /// Blocks that are in the new store.
    done: HashSet<BlockId>,
    /// Blocks that cannot be, for they or those below are lost or break a rule.
    bad: HashSet<BlockId>,
}

impl Rebuild<'_> {
    /// All blocks but genesis, those first that most work leads to: so the best chain is written in one go.
    fn by_work(&self) -> Vec<BlockId> {
        let mut blocks: Vec<_> = self
            .salvage
            .records()
            .filter(|(id, _)| !self.done.contains(id))
            .map(|(id, record)| (record.height(), id))
            .collect();
        blocks.sort_unstable();
        let mut work: HashMap<BlockId, Work> =
            self.done.iter().map(|genesis| (*genesis, Work::ZERO)).collect();
        let mut sorted = Vec::with_capacity(blocks.len());
        for (_, id) in blocks {
            let Some(record) = self.salvage.record(&id) else { continue };
            let header = record.header.header;
            // Of a block whose parents are lost, nothing is known: it comes last.
            let total = work.get(&header.previous).map(|work| work.plus(header.bits.to_target().work()));
            work.extend(total.map(|total| (id, total)));
            sorted.push((total, std::cmp::Reverse(id)));
        }
        sorted.sort_unstable_by(|one, other| other.cmp(one));
        sorted.into_iter().map(|(_, id)| id.0).collect()
    }

    /// Takes over a block and all below that are not in the new store yet, as far as they are sound.
    fn take_branch(&mut self, tip: BlockId, progress: &mut dyn FnMut(u64)) -> Result<(), RepairError> {
        let (mut branch, mut next) = (Vec::new(), tip);
        while !self.done.contains(&next) {
            branch.push(next);
            match self.salvage.record(&next).filter(|_| !self.bad.contains(&next)) {
                Some(record) => next = record.header.header.previous,
                None => {
                    self.bad.extend(branch);
                    return Ok(());
                }
            }
        }
        branch.reverse();
        let mut rest = &branch[..];
        while let Some(first) = rest.first() {
            let parent = self.salvage.record(first).map(|record| record.header.header.previous);
            let parent = parent.unwrap_or(next);
            let mut ancestors = self.chain.store().read(|reader| ancestors_of(reader, &parent))?;
            let (mut batch, mut bytes) = (Vec::new(), 0);
            for id in rest.iter().take(BLOCKS_AT_A_TIME) {
                let Some((known, header)) =
                    ancestors.zip(self.salvage.record(id).map(|record| record.header.clone()))
                else {
                    break;
                };
                let Some(body) = self.salvage.body(id) else { break };
                if check_header(self.rules, &known, &header, self.verifier).is_err() {
                    break;
                }
                ancestors = Some(known.of_child(&header.header, *id));
                let (block, cores) = (EncodedBlock { header, body }, Parallelism::AllCores);
                let time = known.parent.time;
                let checked = check_encoded_body(
                    self.rules,
                    &self.network,
                    time,
                    block,
                    &NothingKnown,
                    self.verifier,
                    cores,
                );
                let Ok(checked) = checked else { break };
                bytes += checked.encoded_body().len();
                batch.push(checked);
                if bytes > BYTES_AT_A_TIME {
                    break;
                }
            }
            let outcome = self.chain.connect(&batch)?;
            // What comes before an invalid block counts; whether it was kept depends on the work that it has.
            let kept = match &outcome.invalid {
                Some(invalid) => batch.iter().position(|block| block.id() == invalid.id).unwrap_or(0),
                None => batch.len(),
            };
            self.done.extend(batch[..kept].iter().map(|block| block.id()));
            progress(self.done.len() as u64 - 1);
            if kept == 0 || outcome.invalid.is_some() {
                self.bad.extend(&rest[kept..]);
                return Ok(());
            }
            rest = &rest[kept..];
        }
        Ok(())
    }
}
