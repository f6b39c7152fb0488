//! What others are told of the best chain: locators and runs of headers.

use crate::block::SealedHeader;
use crate::consensus::Ancestors;
use crate::hash::BlockId;
use crate::store::{Read, StoreError};
use crate::time::Height;

/// The most ids in a locator: ten newest, 32 doubling steps, genesis, and room to spare.
pub const MAX_LOCATOR: usize = 64;
/// The most headers in one answer: 194 KB without seals, 2.3 MB with the largest.
pub const MAX_HEADERS: usize = 2000;

/// The ten newest ids of the best chain, then ever doubling steps back, then genesis: whoever reads it
/// finds the newest block that both chains share to within half the distance.
pub fn locator(reader: &dyn Read) -> Result<Vec<BlockId>, StoreError> {
    let (mut ids, mut height, mut step) = (Vec::new(), reader.tip()?.height.get(), 1_u64);
    // By number and not by what is found: a damaged store may have a tip of any height, and nothing below it.
    for number in 1.. {
        ids.extend(reader.best_at(Height::new(height))?);
        if height == 0 {
            break;
        }
        if number >= 10 {
            step = step.saturating_mul(2);
        }
        height = height.saturating_sub(step);
    }
    Ok(ids)
}

/// The headers of the best chain after the first of `locator` that is on it, or after genesis: at most
/// `limit`, and never more than [`MAX_HEADERS`].
pub fn headers_after(
    reader: &dyn Read,
    locator: &[BlockId],
    limit: usize,
) -> Result<Vec<SealedHeader>, StoreError> {
    let mut shared = None;
    for id in locator {
        if let Some(record) = reader.record(id)?
            && reader.is_best(&record)?
        {
            shared = Some((*id, record.height()));
            break;
        }
    }
    let genesis = || Ok::<_, StoreError>(reader.best_at(Height::GENESIS)?.map(|id| (id, Height::GENESIS)));
    let Some((mut last, height)) = shared.map_or_else(genesis, |shared| Ok(Some(shared)))? else {
        return Err(StoreError::damaged("the best chain has no genesis"));
    };
    let mut headers = Vec::new();
    let mut height = height.next();
    while headers.len() < limit.min(MAX_HEADERS) {
        let Some(record) = reader.best_record_at(height)? else { break };
        // Whoever is served what is no chain has to take this node for a liar.
        if record.header.header.previous != last {
            return Err(StoreError::damaged(format!(
                "block {height} is not the child of the block below it"
            )));
        }
        last = record.id();
        headers.push(record.header);
        height = height.next();
    }
    Ok(headers)
}

/// What decides whether a child of this block, which is in the tree, is valid. `None` when it is not in
/// the tree.
pub fn ancestors_of(reader: &dyn Read, parent: &BlockId) -> Result<Option<Ancestors>, StoreError> {
    let Some(record) = reader.record(parent)? else { return Ok(None) };
    let header = record.header.header;
    let grandparent_time = match header.height {
        Height::GENESIS => None,
        _ => {
            let grandparent = reader.record(&header.previous)?;
            let grandparent = grandparent.ok_or_else(|| StoreError::missing(&header.previous))?;
            Some(grandparent.header.header.time)
        }
    };
    Ok(Some(Ancestors { parent: header, parent_id: *parent, grandparent_time }))
}
