//! The pool follows the chain: what a block holds leaves it, and comes back with the block's end.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::address::Address;
use crate::chain::TipChange;
use crate::consensus::CheckedBlock;
use crate::node::Node;
use crate::store::{Store, StoreError};

impl<S: Store> Node<S> {
    /// The best chain changed. What mining needs of that is done at once; taking out of the pool what is in
    /// the chain now, which costs more than all the rest, when the news is out: before the next input or tick.
    pub(in crate::node) fn pool_changes(
        &mut self,
        change: TipChange,
        given: Vec<CheckedBlock>,
    ) -> Result<(), StoreError> {
        let Some(pool) = &mut self.pool else { return Ok(()) };
        if pool.is_empty() && change.reverted.is_empty() {
            return Ok(());
        }
        pool.expire(change.new.height.next());
        let is_urgent = !change.reverted.is_empty();
        self.relay.unfollowed.push((change, given));
        // Payments that came out of the chain may be in the next block.
        if is_urgent { self.pool_follows() } else { Ok(()) }
    }

    /// Whether the pool has yet to follow a change of the chain.
    pub(in crate::node) fn pool_is_behind(&self) -> bool {
        !self.relay.unfollowed.is_empty()
    }

    /// How many payments of the pool wait for a block still, if those of these blocks no longer do.
    pub(in crate::node) fn waiting_after(&self, blocks: &[CheckedBlock]) -> usize {
        let Some(pool) = &self.pool else { return 0 };
        let done = blocks.iter().flat_map(CheckedBlock::entries).filter(|it| pool.get(&it.id()).is_some());
        pool.len() - done.count()
    }

    /// Brings the pool in line with the best chain.
    pub(in crate::node) fn pool_follows(&mut self) -> Result<(), StoreError> {
        for (change, given) in std::mem::take(&mut self.relay.unfollowed) {
            self.pool_follows_change(&change, &given)?;
        }
        self.tell_who_gave_way();
        Ok(())
    }

    fn pool_follows_change(&mut self, change: &TipChange, given: &[CheckedBlock]) -> Result<(), StoreError> {
        let (Some(pool), mining) = (&mut self.pool, &mut self.mining) else { return Ok(()) };
        let next_height = change.new.height.next();
        // One look at the store for all of it.
        self.chain.store().read::<_, StoreError>(|reader| {
            let mut affected = BTreeSet::new();
            let mut note = |block: &CheckedBlock| {
                affected.insert(block.reward().to);
                for entry in block.entries() {
                    affected.extend([entry.sender(), entry.to()]);
                }
            };
            for id in change.reverted.iter().chain(&change.connected) {
                match given.iter().find(|block| block.id() == *id) {
                    Some(block) => note(block),
                    None => reader.checked_block(id)?.iter().for_each(&mut note),
                }
            }
            let account_of = |address: &Address| reader.account(address).unwrap_or_default();
            pool.tip_changed(affected, next_height, account_of);
            // What a block took out of the pool comes back with the block's end, where it still is valid.
            for id in change.reverted.iter().rev() {
                let Some(block) = reader.checked_block(id)? else { continue };
                for transaction in block.transactions() {
                    let sender = account_of(&transaction.sender());
                    if pool.insert(Arc::new(transaction), next_height, sender).is_ok() {
                        mining.payment_arrived(self.now.monotonic);
                    }
                }
            }
            Ok(())
        })
    }
}
