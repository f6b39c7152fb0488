//! Rebuilds a damaged store from the blocks in it that are sound.
//!
//! Only blocks are taken over: they prove themselves. They are looked for in the bytes of the file, so it does not
//! matter what was damaged, and go through the same checks as those that a peer sends. Accounts, indexes and the
//! activity of watched addresses follow from them. What builds on a block that is lost cannot be checked without
//! it; it is left out, and comes back with the missing block from other miners.
//!
//! In memory a repair takes some 170 bytes for each block that it finds, 1 GB for six million, and a batch of blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Chain, ChainError, ancestors_of};
use crate::address::Address;
use crate::block::EncodedBlock;
use crate::consensus::{
    Ancestors, CheckedBlock, NothingKnown, Parallelism, check_encoded_body, check_header,
};
use crate::difficulty::Work;
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

/// Why a store is not repaired. It is as it was, unless the sentence says otherwise.
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
            Self::Swap(error) => error.is_of_disk(),
            Self::Store(error) => error.is_of_disk(),
            Self::Missing { .. } => false,
        }
    }
}

/// Rebuilds the store in a directory, which nobody may have open, and keeps the damaged database aside; where it fails,
/// nothing is left of the new one. Nothing outside of the directory is touched. The activity of the addresses in
/// `watched` is kept. `progress` is told how many blocks of how many are done.
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
    let salvage = Salvage::scan(directory).map_err(|source| StoreError::unreadable(directory, source))?;
    let salvage = salvage.ok_or_else(missing)?;
    let store = LmdbStore::open(&swap.new_directory(), rules)?;
    let chain = Chain::new(rules.clone(), store);
    let (network, genesis) = (rules.network_id(), rules.genesis().id());
    let mut rebuild = Rebuild {
        fates: vec![Fate::Open; salvage.headers().len()],
        salvage,
        chain: &chain,
        rules,
        network,
        genesis,
        verifier,
        kept: 0,
    };
    let tips = rebuild.by_work();
    let total = tips.len() as u64;
    for tip in tips {
        rebuild.take_branch(tip as usize, &mut |done| progress(done, total))?;
    }
    let blocks = rebuild.kept;
    chain.watch(watched)?;
    let tip = chain.tip()?;
    // Closed, so that whoever opens it finds a file that nobody holds.
    drop(rebuild);
    drop(chain);
    Ok(Repaired { tip, blocks, left_out: total.saturating_sub(blocks), aside: swap.finish()? })
}

/// What became of a header that was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing yet.
    Open,
    /// Its block is in the new store.
    Kept,
    /// Its block cannot be, for it or one below is lost or breaks a rule.
    Bad,
}

struct Rebuild<'a> {
    salvage: Salvage,
    chain: &'a Chain<LmdbStore>,
    rules: &'a Rules,
    network: NetworkId,
    genesis: BlockId,
    verifier: &'a dyn SignatureVerifier,
    /// By the position of a header among those found.
    fates: Vec<Fate>,
    /// How many are [`Fate::Kept`].
    kept: u64,
}

impl Rebuild<'_> {
    /// The positions of all blocks but genesis, those first that most work leads to: so the best chain is written in
    /// one go.
    fn by_work(&self) -> Vec<u32> {
        let headers = self.salvage.headers();
        let is_first = |position: usize| position == 0 || headers[position - 1].id != headers[position].id;
        let mut sorted: Vec<_> = (0..headers.len())
            .filter(|position| is_first(*position) && headers[*position].id != self.genesis)
            .filter_map(|position| u32::try_from(position).ok())
            .collect();
        sorted.sort_unstable_by_key(|position| (headers[*position as usize].height, *position));
        // Of a block whose parents are lost nothing is known: it has none, and comes last.
        let mut work = vec![Work::ZERO; headers.len()];
        for position in &sorted {
            let found = &headers[*position as usize];
            let parent = self.salvage.position(&found.previous).map(|parent| work[parent]);
            let parent = if found.previous == self.genesis {
                Some(Work::ZERO)
            } else {
                parent.filter(|it| *it > Work::ZERO)
            };
            if let Some(parent) = parent {
                work[*position as usize] = parent.plus(found.bits.to_target().work());
            }
        }
        sorted.sort_unstable_by_key(|position| (std::cmp::Reverse(work[*position as usize]), *position));
        sorted
    }

    /// Takes over a block and all below that are not in the new store yet, as far as they are sound.
    fn take_branch(&mut self, tip: usize, progress: &mut dyn FnMut(u64)) -> Result<(), RepairError> {
        let branch = self.branch(tip);
        let mut rest = &branch[..];
        while !rest.is_empty() {
            let batch = self.batch(rest)?;
            let kept = self.connect(&batch)?;
            self.kept += kept as u64;
            rest[..kept].iter().for_each(|position| self.fates[*position] = Fate::Kept);
            rest = &rest[kept..];
            progress(self.kept);
            if kept == 0 || kept < batch.len() {
                rest.iter().for_each(|position| self.fates[*position] = Fate::Bad);
                break;
            }
        }
        Ok(())
    }

    /// The positions of a block and all below that are not in the new store yet, the lowest first; none when something
    /// below is lost.
    fn branch(&mut self, tip: usize) -> Vec<usize> {
        let (mut branch, mut next) = (Vec::new(), Some(tip));
        loop {
            match next.map(|position| (position, self.fates[position])) {
                Some((_, Fate::Kept)) => break,
                Some((position, Fate::Open)) => {
                    branch.push(position);
                    let previous = self.salvage.headers()[position].previous;
                    if previous == self.genesis {
                        break;
                    }
                    next = self.salvage.position(&previous);
                }
                Some((_, Fate::Bad)) | None => {
                    branch.drain(..).for_each(|position| self.fates[position] = Fate::Bad);
                    break;
                }
            }
        }
        branch.reverse();
        branch
    }

    /// The next blocks of a branch, as many as are written at a time, or up to one that is lost or breaks a rule.
    fn batch(&mut self, rest: &[usize]) -> Result<Vec<CheckedBlock>, RepairError> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let parent =
            rest.first().map(|first| self.salvage.headers()[*first].previous).unwrap_or(self.genesis);
        let mut ancestors = self.chain.store().read(|reader| ancestors_of(reader, &parent))?;
        for position in rest.iter().take(BLOCKS_AT_A_TIME) {
            let Some(block) = ancestors.and_then(|known| self.block(*position, &known)) else { break };
            ancestors = ancestors.map(|known| known.of_child(&block.header().header, block.id()));
            bytes += block.encoded_body().len();
            batch.push(block);
            if bytes > BYTES_AT_A_TIME {
                break;
            }
        }
        Ok(batch)
    }

    /// A block, if it is whole and breaks no rule but perhaps one on the ledger.
    fn block(&mut self, position: usize, known: &Ancestors) -> Option<CheckedBlock> {
        let header = self.salvage.header(position)?;
        check_header(self.rules, known, &header, self.verifier).ok()?;
        let body = self.salvage.body(position)?;
        let (block, time, cores) = (EncodedBlock { header, body }, known.parent.time, Parallelism::AllCores);
        let (rules, network) = (self.rules, &self.network);
        check_encoded_body(rules, network, time, block, &NothingKnown, self.verifier, cores).ok()
    }

    /// Writes blocks to the new store. Gives how many of them are kept: those before one that breaks a rule.
    fn connect(&mut self, batch: &[CheckedBlock]) -> Result<usize, RepairError> {
        let invalid = match self.chain.connect(batch) {
            Ok(outcome) => outcome.invalid,
            Err(ChainError::UnknownParent { .. }) => return Ok(0),
            Err(ChainError::Store(error)) => return Err(error.into()),
        };
        let Some(invalid) = invalid else { return Ok(batch.len()) };
        let within = batch.iter().position(|block| block.id() == invalid.id);
        if within.is_none() {
            self.take_back(batch)?;
        }
        Ok(within.unwrap_or(0))
    }

    /// Counts the blocks below these no longer as far as they are condemned: they were kept unseen, while their branch
    /// had less work than the best chain.
    fn take_back(&mut self, batch: &[CheckedBlock]) -> Result<(), RepairError> {
        let mut next = batch.first().map(|block| block.header().header.previous);
        while let Some(position) = next.and_then(|id| self.salvage.position(&id)) {
            let found = self.salvage.headers()[position];
            if !self.chain.store().read(|reader| reader.is_invalid(&found.id))? {
                break;
            }
            if self.fates[position] == Fate::Kept {
                self.kept -= 1;
            }
            self.fates[position] = Fate::Bad;
            next = Some(found.previous);
        }
        Ok(())
    }
}
