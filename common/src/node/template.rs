//! The block that a miner works on, and why it sometimes has none.

use std::sync::Arc;

use super::mempool::Mempool;
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{BlockHeader, EncodedBlock, EncodedBody, Reward, Seal, SealedHeader};
use crate::chain::ancestors_of;
use crate::consensus::{CheckedTransaction, earliest_time, least_leaves};
use crate::encoding::encode;
use crate::merkle;
use crate::rules::Rules;
use crate::store::{Read, StoreError};
use crate::time::Timestamp;

/// A block that lacks its nonce, and its seal where the network has authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// With the nonce 0.
    pub header: BlockHeader,
    /// What the miner is paid.
    pub reward: Reward,
    /// In order.
    pub transactions: Vec<Arc<CheckedTransaction>>,
    /// The time of the parent.
    pub parent_time: Timestamp,
}

impl Template {
    /// The block with this nonce and seal.
    pub fn to_block(&self, nonce: u64, seal: Option<Seal>) -> EncodedBlock {
        EncodedBlock {
            header: SealedHeader { header: BlockHeader { nonce, ..self.header }, seal },
            body: EncodedBody::from_checked(&self.reward, &self.transactions),
        }
    }
}

/// A miner that finds blocks faster than their spacing waits for the clock when it is up to this far behind,
/// so that blocks do not run ahead of it. Behind somebody whose clock is further ahead it mines on: he must
/// not be able to make everybody else stand still.
const WAIT_FOR_CLOCK_MS: u64 = 2_000;

/// Why there is no block to mine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// A block needs more payments, or time to pass.
    WaitingForPayments {
        /// How many are waiting.
        have: usize,
        /// How many a block needs now.
        need: usize,
        /// When fewer will do, if ever.
        until: Option<Timestamp>,
    },
    /// It is another authority's turn.
    NotOurTurn {
        /// When this one's comes.
        until: Timestamp,
    },
    /// The tip is as far ahead of the clock as blocks can be whose miner is faster than the spacing.
    TooSoon {
        /// When the clock has caught up.
        until: Timestamp,
    },
    /// The mining key is not among the network's authorities.
    NoAuthority,
    /// The tip is so far ahead of the clock that others would not take a child of it.
    ClockBehind {
        /// By how much.
        behind_ms: u64,
    },
    /// The last height that the protocol has is reached.
    ChainIsFull,
}

impl Idle {
    /// When it ends by the clock alone, if it does.
    pub fn until(&self) -> Option<Timestamp> {
        match *self {
            Self::WaitingForPayments { until, .. } => until,
            Self::NotOurTurn { until } | Self::TooSoon { until } => Some(until),
            Self::NoAuthority | Self::ClockBehind { .. } | Self::ChainIsFull => None,
        }
    }
}

/// The next block on the best chain, or why there is none.
pub fn build(
    reader: &dyn Read,
    rules: &Rules,
    pool: &Mempool,
    miner: Address,
    data: &[u8],
    now: Timestamp,
) -> Result<Result<Template, Idle>, StoreError> {
    let tip = reader.tip()?;
    let ancestors =
        ancestors_of(reader, &tip.id)?.ok_or_else(|| StoreError::damaged("the tip is not in the tree"))?;
    let height = tip.height.next();
    if height > crate::time::Height::MAX {
        return Ok(Err(Idle::ChainIsFull));
    }
    let Some(earliest) = earliest_time(rules, &ancestors.parent, Some(&miner)) else {
        return Ok(Err(Idle::NoAuthority));
    };
    // A turn is waited for in real time; one spacing may be made up by the header's time.
    if rules.has_authorities() && now < earliest {
        return Ok(Err(Idle::NotOurTurn { until: earliest }));
    }
    let (early_ms, spacing_ms) = (earliest.millis_since(now), u64::from(rules.min_spacing_ms));
    if early_ms > spacing_ms && early_ms <= spacing_ms + WAIT_FOR_CLOCK_MS {
        let until = Timestamp::from_millis(earliest.millis() - spacing_ms);
        return Ok(Err(Idle::TooSoon { until }));
    }
    let time = now.max(earliest);
    if time.millis_since(now) > u64::from(rules.max_ahead_seconds) * 1000 {
        return Ok(Err(Idle::ClockBehind { behind_ms: time.millis_since(now) }));
    }
    // The reward, with the most its fixed fields take, and the count of transactions come on top.
    let room = (rules.max_block_bytes as usize).saturating_sub(56 + data.len());
    let account_of = |address: &Address| reader.account(address).unwrap_or_default();
    let transactions = pool.select(room, account_of);
    let since_parent = time.millis_since(ancestors.parent.time);
    let need = least_leaves(rules, height, since_parent) as usize;
    if 1 + transactions.len() < need {
        let interval_ms = u64::from(rules.block_interval_seconds) * 1000;
        let fewer_later =
            interval_ms > since_parent && 1 + transactions.len() >= rules.least_leaves() as usize;
        let until = fewer_later.then(|| ancestors.parent.time.plus_millis(interval_ms));
        return Ok(Err(Idle::WaitingForPayments { have: transactions.len(), need: need - 1, until }));
    }
    let fees = transactions.iter().map(|transaction| transaction.payment().fee);
    let amount = Amount::checked_sum(fees.chain([rules.block_reward]))
        .ok_or_else(|| StoreError::damaged("fees add up to more than can exist"))?;
    let reward = Reward { to: miner, amount, data: data.to_vec() };
    let leaves: Vec<[u8; 32]> = std::iter::once(merkle::leaf(&encode(&reward)))
        .chain(transactions.iter().map(|transaction| *transaction.id().as_bytes()))
        .collect();
    let header = BlockHeader {
        version: 1,
        previous: tip.id,
        merkle_root: merkle::root(&leaves),
        time,
        bits: ancestors.next_bits(rules),
        height,
        nonce: 0,
    };
    Ok(Ok(Template { header, reward, transactions, parent_time: ancestors.parent.time }))
}
