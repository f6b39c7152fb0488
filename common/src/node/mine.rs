//! When the block that is worked on is renewed.

use std::sync::Arc;
use std::time::Duration;

use super::limits::{TEMPLATE_DEBOUNCE, TEMPLATE_REFRESH};
use super::template::{self, Idle, Template};
use super::{Effect, Node, Notice};
use crate::hash::BlockId;
use crate::store::{Store, StoreError};

/// What is being worked on.
#[derive(Default)]
pub(super) struct Mining {
    /// The template that was handed out last, and on which tip.
    current: Option<(Option<Arc<Template>>, BlockId)>,
    /// What the user was told last, so that nothing is said twice.
    told: Option<Told>,
    refresh_at: Duration,
    /// A payment came in: the template is worth renewing from then on.
    dirty_at: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Mining(BlockId),
    Idle(Idle),
}

impl Mining {
    /// The template no longer fits the chain.
    pub(super) fn invalidate(&mut self) {
        self.current = None;
    }

    /// A payment could be added to the template.
    pub(super) fn payment_arrived(&mut self, now: Duration) {
        self.dirty_at.get_or_insert(now + TEMPLATE_DEBOUNCE);
    }
}

impl<S: Store> Node<S> {
    pub(super) fn mining_deadline(&self) -> Option<Duration> {
        // Whoever has no pool mines nothing, see `drive_mining`.
        self.config.miner.filter(|_| self.pool.is_some() && !self.sync.is_writing())?;
        let dirty_at = self.mining.dirty_at.unwrap_or(Duration::MAX);
        Some(self.mining.refresh_at.min(dirty_at))
    }

    pub(super) fn drive_mining(&mut self) -> Result<(), StoreError> {
        let (Some(miner), Some(pool)) = (self.config.miner, &self.pool) else { return Ok(()) };
        if self.sync.is_writing() {
            // The tip is about to change: what is built now would be thrown away.
            return Ok(());
        }
        let now = self.now.monotonic;
        let fresh = self.mining.current.as_ref().is_some_and(|(_, tip)| *tip == self.tip.id);
        let due =
            self.mining.refresh_at <= now || self.mining.dirty_at.is_some_and(|dirty_at| dirty_at <= now);
        if fresh && !due {
            return Ok(());
        }
        let built = self.chain.store().read(|reader| {
            if reader.tip()?.id != self.tip.id {
                let what =
                    "its newest block is not the one that was written last: another program changed it";
                return Err(StoreError::damaged(what));
            }
            template::build(reader, self.chain.rules(), pool, miner, &self.config.reward_data, self.now.wall)
        })?;
        let changes_in = built.as_ref().err().and_then(|idle| idle.until());
        let changes_in = changes_in.map(|until| Duration::from_millis(until.millis_since(self.now.wall)));
        self.mining.refresh_at = now + changes_in.unwrap_or(TEMPLATE_REFRESH).min(TEMPLATE_REFRESH);
        self.mining.dirty_at = None;
        let (template, told) = match built {
            Ok(template) => (Some(Arc::new(template)), Told::Mining(self.tip.id)),
            Err(idle) => (None, Told::Idle(idle)),
        };
        let changed = match (self.mining.told, told) {
            // Its number changes with every look at the clock.
            (Some(Told::Idle(Idle::ClockBehind { .. })), Told::Idle(Idle::ClockBehind { .. })) => false,
            // Over in a moment.
            (_, Told::Idle(Idle::TooSoon { .. })) => false,
            (before, now) => before != Some(now),
        };
        let still_idle = template.is_none() && matches!(&self.mining.current, Some((None, _)));
        if !still_idle {
            self.effects.push_back(Effect::Mine(template.clone()));
        }
        if changed {
            self.mining.told = Some(told);
            self.notice(match (&template, told) {
                (_, Told::Idle(idle)) => Notice::Idle(idle),
                (template, Told::Mining(_)) => Notice::Mining {
                    height: self.tip.height.next(),
                    payments: template.as_ref().map_or(0, |template| template.transactions.len()),
                },
            });
        }
        self.mining.current = Some((template, self.tip.id));
        Ok(())
    }
}
