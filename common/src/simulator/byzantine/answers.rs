//! What block servers that break the rules answer.

use std::time::Duration;

use super::Malice;
use crate::amount::Amount;
use crate::block::{EncodedBlock, EncodedBody};
use crate::hash::{BlockId, MerkleRoot};
use crate::simulator::machine::{Machine, MachineId};
use crate::simulator::world::{Reply, World};
use crate::wire::{Request, Response};

/// What a machine answers where an honest one would answer this.
pub(crate) fn answers(world: &mut World, id: MachineId, request: &Request, honest: Vec<Response>) -> Reply {
    let Some(malice) = world.machines[id].role.malice else { return Reply::Now(honest) };
    let chance = world.random.below(4);
    match (malice, request) {
        (Malice::WithheldBodies, Request::GetBlocks { .. } | Request::GetCompact { .. }) => {
            let has = |it: &Response| matches!(it, Response::Block(_) | Response::Compact(_));
            world.counts.withheld_bodies += u64::from(honest.iter().any(has));
            withhold(request, chance, honest)
        }
        (Malice::MutatedBodies, _) => {
            let mutated: Vec<_> = honest.iter().cloned().map(|it| mutate(it, chance)).collect();
            world.counts.mutated_answers += u64::from(mutated != honest);
            Reply::Now(mutated)
        }
        (Malice::Nonsense, _) if chance < 2 => {
            world.counts.nonsense += 1;
            Reply::Now(match chance {
                0 => vec![Response::Rules(vec![0; 100]); honest.len()],
                _ => honest.iter().cloned().chain([Response::NotFound([3; 32])]).collect(),
            })
        }
        (Malice::InvalidBlocks | Malice::NoWork | Malice::LowWork, _) => {
            Reply::Now(of_branch(world, id, request, honest))
        }
        _ => Reply::Now(honest),
    }
}

/// No bodies, in one way or another.
fn withhold(request: &Request, how: u64, honest: Vec<Response>) -> Reply {
    match (request, how) {
        (Request::GetBlocks { ids }, 0) => {
            Reply::Now(ids.iter().map(|id| Response::NotFound(*id.as_bytes())).collect())
        }
        (Request::GetBlocks { .. }, 1) => Reply::HangUp,
        (Request::GetBlocks { .. }, 2) => Reply::Drip(Duration::from_secs(9), honest),
        _ => Reply::Never,
    }
}

/// An answer with something wrong in it.
fn mutate(honest: Response, how: u64) -> Response {
    match honest {
        Response::Block(block) => {
            let mut body = block.body.to_body();
            match how {
                0 => body.reward.amount = Amount::from_units(body.reward.amount.units() ^ 1),
                1 => drop(body.transactions.pop()),
                // Trees that take an odd leaf twice cannot tell this body from the right one.
                2 => body.transactions.extend(body.transactions.last().cloned()),
                _ => body.reward.data.push(1),
            }
            Response::Block(EncodedBlock { header: block.header, body: EncodedBody::new(&body) })
        }
        Response::Compact(mut compact) => {
            compact.ids.reverse();
            compact.reward.data.push(how as u8);
            Response::Compact(compact)
        }
        Response::Transactions(mut transactions) => {
            if let Some(first) = transactions.first_mut() {
                first.signature[0] ^= 1;
            }
            Response::Transactions(transactions)
        }
        Response::Headers(mut headers) => {
            if let Some(last) = headers.last_mut().filter(|_| how == 0) {
                last.header.merkle_root = MerkleRoot::from_bytes([9; 32]);
            }
            Response::Headers(headers)
        }
        other => other,
    }
}

/// Answers as if the made-up branch were the best chain.
fn of_branch(world: &mut World, id: MachineId, request: &Request, honest: Vec<Response>) -> Vec<Response> {
    let Machine { role, mind, .. } = &world.machines[id];
    let Some(base) = mind.base.filter(|_| !mind.branch.is_empty()) else { return honest };
    let forged = |id: &BlockId| mind.branch.iter().position(|forged| forged.header.id() == *id);
    match request {
        Request::GetHeaders { locator, limit } => {
            let limit = (*limit as usize).min(crate::chain::MAX_HEADERS);
            let (mut headers, from) = match (locator.iter().find_map(forged), honest.first()) {
                (Some(known), _) => (Vec::new(), known + 1),
                (None, Some(Response::Headers(shared))) => {
                    let shared = shared.iter().filter(|it| it.header.height <= base.height);
                    (shared.take(limit).cloned().collect(), 0)
                }
                _ => return honest,
            };
            let shared = headers.len();
            let branch = mind.branch[from..].iter().map(|it| it.header.clone());
            headers.extend(branch.take(limit - shared));
            let count = (headers.len() - shared) as u64;
            match role.malice {
                Some(Malice::NoWork) => world.counts.headers_without_work += count,
                Some(Malice::LowWork) => world.counts.low_work_headers += count,
                _ => {}
            }
            vec![Response::Headers(headers)]
        }
        Request::GetBlocks { ids } => ids
            .iter()
            .zip(honest)
            .map(|(id, honest)| match forged(id).map(|place| &mind.branch[place].block) {
                Some(Some(block)) => Response::Block(block.clone()),
                Some(None) => Response::NotFound(*id.as_bytes()),
                None => honest,
            })
            .collect(),
        Request::GetCompact { id } if forged(id).is_some() => vec![Response::Unsupported(2)],
        _ => honest,
    }
}
