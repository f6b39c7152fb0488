//! What a block server answers from the chain alone: a function of a store's snapshot and the request, so
//! that blocks are served without the node being asked.

use std::borrow::Cow;

use crate::block::EncodedBody;
use crate::chain::{MAX_HEADERS, MAX_LOCATOR, headers_after};
use crate::hash::{BlockId, TransactionId};
use crate::merkle;
use crate::rules::Rules;
use crate::store::{BlockRecord, Read, StoreError};
use crate::wire::{
    CompactBlock, MAX_BLOCK_IDS, MAX_TRANSACTION_IDS, Proof, Request, Response, append_block_frame,
    encode_frame,
};

/// Why a request gets no answer: the caller broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it asked for {got} {what}; at most {most} are allowed")]
pub struct RequestTooLarge {
    /// Of what.
    pub what: &'static str,
    /// How many.
    pub got: usize,
    /// How many are allowed.
    pub most: usize,
}

/// Checks the lengths of a request's lists.
pub fn check_request(request: &Request) -> Result<(), RequestTooLarge> {
    let (what, got, most) = match request {
        Request::GetHeaders { locator, .. } => ("locator entries", locator.len(), MAX_LOCATOR),
        Request::GetBlocks { ids } => ("blocks", ids.len(), MAX_BLOCK_IDS),
        Request::GetBlockTransactions { indices, .. } => ("transactions", indices.len(), MAX_TRANSACTION_IDS),
        Request::GetTransactions { ids } => ("transactions", ids.len(), MAX_TRANSACTION_IDS),
        _ => return Ok(()),
    };
    if got <= most { Ok(()) } else { Err(RequestTooLarge { what, got, most }) }
}

/// Whether [`answer`] knows the answer to a request; the others are for [`super::Node`].
pub fn is_about_chain(request: &Request) -> bool {
    matches!(
        request,
        Request::GetHeaders { .. }
            | Request::GetBlocks { .. }
            | Request::GetCompact { .. }
            | Request::GetBlockTransactions { .. }
            | Request::GetProof { .. }
            | Request::GetRules
    )
}

/// The encoded frame that answers a request about the chain; for `GetBlocks` only the first of them, see
/// [`block`]. `None` when the request is not about the chain.
pub fn answer(reader: &dyn Read, rules: &Rules, request: &Request) -> Result<Option<Vec<u8>>, StoreError> {
    let response = match request {
        Request::GetHeaders { locator, limit } => {
            Response::Headers(headers_after(reader, locator, (*limit as usize).min(MAX_HEADERS))?)
        }
        Request::GetBlocks { ids } => {
            let Some(id) = ids.first() else { return Ok(None) };
            let mut frame = Vec::new();
            block(reader, id, &mut frame)?;
            return Ok(Some(frame));
        }
        Request::GetCompact { id } => compact(reader, id)?,
        Request::GetBlockTransactions { id, indices } => block_transactions(reader, id, indices)?,
        Request::GetProof { transaction } => proof(reader, transaction)?,
        Request::GetRules => Response::Rules(rules.to_bytes()),
        _ => return Ok(None),
    };
    Ok(Some(encode_frame(&response)))
}

/// Appends the encoded frame with this block, or that says that it is not here.
pub fn block(reader: &dyn Read, id: &BlockId, to: &mut Vec<u8>) -> Result<(), StoreError> {
    match whole(reader, id)? {
        Some((record, body)) => append_block_frame(&record.header, &body, to),
        None => to.extend(encode_frame(&Response::NotFound(*id.as_bytes()))),
    }
    Ok(())
}

/// What is kept of a block, and its encoded body.
type Whole<'r> = (BlockRecord, Cow<'r, [u8]>);

/// A block with its body. To make sure that one is not here is dear, and done once.
fn whole<'r>(reader: &'r dyn Read, id: &BlockId) -> Result<Option<Whole<'r>>, StoreError> {
    let Some(record) = reader.record(id)? else { return Ok(None) };
    Ok(reader.encoded_body(id)?.map(|body| (record, body)))
}

fn compact(reader: &dyn Read, id: &BlockId) -> Result<Response, StoreError> {
    let Some((record, body)) = whole(reader, id)? else {
        return Ok(Response::NotFound(*id.as_bytes()));
    };
    let body = EncodedBody::decode(body.into_owned())?;
    let ids = body.leaves().iter().skip(1).map(|leaf| TransactionId::from_bytes(*leaf)).collect();
    Ok(Response::Compact(CompactBlock { header: record.header, reward: body.reward().clone(), ids }))
}

fn block_transactions(reader: &dyn Read, id: &BlockId, indices: &[u32]) -> Result<Response, StoreError> {
    let Some(mut body) = reader.body(id)? else { return Ok(Response::NotFound(*id.as_bytes())) };
    let mut wanted = Vec::with_capacity(indices.len());
    let mut next = 0;
    for index in indices.iter().map(|index| *index as usize) {
        // Ascending, so that none is sent twice: an answer is never larger than the block.
        if index < next || index >= body.transactions.len() {
            return Ok(Response::NotFound(*id.as_bytes()));
        }
        next = index + 1;
        wanted.push(index);
    }
    let mut position = 0;
    let mut wanted = wanted.into_iter().peekable();
    body.transactions.retain(|_| {
        let keep = wanted.next_if_eq(&position).is_some();
        position += 1;
        keep
    });
    Ok(Response::Transactions(body.transactions))
}

fn proof(reader: &dyn Read, id: &TransactionId) -> Result<Response, StoreError> {
    let not_found = Response::NotFound(*id.as_bytes());
    let Some(place) = reader.find_transaction(id)? else { return Ok(not_found) };
    let (Some(record), Some(body)) = (reader.record(&place.block)?, reader.encoded_body(&place.block)?)
    else {
        return Ok(not_found);
    };
    let leaves = EncodedBody::decode(body.into_owned())?.leaves().into_owned();
    let index = place.index + 1;
    let path = merkle::path(&leaves, index as usize)
        .ok_or_else(|| StoreError::damaged("the transaction index is wrong"))?;
    Ok(Response::Proof(Proof { header: record.header, index, count: leaves.len() as u32, path }))
}
