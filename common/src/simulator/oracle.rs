//! Which chains are valid, and what their ledgers come to: the rules again, slow and obvious, sharing as little
//! code with the product as they can. Every tip of an honest machine is held against it.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::address::Address;
use crate::block::{Block, BlockHeader, Reward};
use crate::encoding::encode;
use crate::hash::{BlockId, sha256};
use crate::ledger::{self, Account};
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::{Read, Store, StoreError, Tip};
use crate::testing::MapAccounts;
use crate::testing::model::Model;
use crate::time::{Height, Timestamp};

mod bits;

use bits::{Before, Natural, bits_after};

/// Every block that was ever part of an honest machine's best chain.
pub(crate) struct Oracle {
    rules: Arc<Rules>,
    verifier: Arc<dyn SignatureVerifier>,
    blocks: HashMap<BlockId, Known>,
}

/// A valid block.
struct Known {
    header: BlockHeader,
    grandparent_time: Option<Timestamp>,
    ledger: Rc<Model>,
}

impl Oracle {
    pub(crate) fn new(rules: &Arc<Rules>, verifier: Arc<dyn SignatureVerifier>) -> Self {
        let genesis = rules.genesis().header;
        let known = Known { header: genesis, grandparent_time: None, ledger: Rc::new(Model::genesis(rules)) };
        Self { rules: rules.clone(), verifier, blocks: HashMap::from([(genesis.id(), known)]) }
    }

    /// Whether a block was found to be valid.
    pub(crate) fn knows(&self, id: &BlockId) -> bool {
        self.blocks.contains_key(id)
    }

    /// The ledger after a valid block.
    pub(crate) fn ledger(&self, id: &BlockId) -> Option<&Model> {
        self.blocks.get(id).map(|known| &*known.ledger)
    }

    /// Holds a machine's store against the model: each block of its best chain, its ledger, its supply; and undoes
    /// and applies its last block once more. The store may be ahead of what its program was told is written.
    /// `latest_clock` is the latest time that the machine's clock ever showed.
    pub(crate) fn check(&mut self, store: &impl Store, latest_clock: Timestamp) -> Result<(), String> {
        store
            .read::<_, Problem>(|reader| self.check_snapshot(reader, latest_clock))
            .map_err(|problem| problem.0)
    }

    fn check_snapshot(&mut self, reader: &dyn Read, latest_clock: Timestamp) -> Result<(), Problem> {
        let tip = &reader.tip()?;
        let mut unknown = Vec::new();
        let mut id = tip.id;
        while !self.knows(&id) {
            let record = reader.record(&id)?.ok_or_else(|| Problem(format!("block {id} is not stored")))?;
            let body = reader.body(&id)?.ok_or_else(|| Problem(format!("block {id} has no body")))?;
            unknown.push(Block { header: record.header.header, seal: record.header.seal, body });
            id = record.header.header.previous;
        }
        for block in unknown.iter().rev() {
            let known = self
                .judge(block)
                .map_err(|rule| Problem(format!("block {} in the best chain: {rule}", block.id())))?;
            self.blocks.insert(block.id(), known);
        }
        let Some(known) = self.blocks.get(&tip.id) else { return Ok(()) };
        self.judge_time(&known.header, latest_clock).map_err(Problem)?;
        let height = known.header.height.get();
        let minted = i128::from(self.rules.block_reward.units()) * i128::from(height);
        let alloc: i128 = self.rules.alloc.iter().map(|(_, amount)| i128::from(amount.units())).sum();
        let mut accounts = Vec::new();
        reader.for_each_account(&mut |address, account| accounts.push((address, account)))?;
        let supply: i128 = accounts.iter().map(|(_, account)| i128::from(account.balance.units())).sum();
        if supply != alloc + minted {
            return Err(Problem(format!("the supply is {supply}, not {alloc} + {minted}")));
        }
        let expected = known.ledger.accounts();
        if accounts != expected {
            let wrong = accounts.iter().find(|entry| !expected.contains(entry));
            return Err(Problem(format!("the ledger is not the blocks': {wrong:?}")));
        }
        undo_and_apply(reader, tip, accounts)
    }

    /// What is known of a block whose parent is valid, or which rule it breaks.
    fn judge(&self, block: &Block) -> Result<Known, String> {
        let (rules, header) = (&self.rules, &block.header);
        let parent = self.blocks.get(&header.previous).ok_or("its parent is not valid")?;
        let require = |holds: bool, rule: &str| if holds { Ok(()) } else { Err(rule.to_owned()) };
        require(header.version == 1, "its version is not 1")?;
        require(header.height.get() == parent.header.height.get() + 1, "its height is wrong")?;
        let before = Before {
            parent_height: parent.header.height.get(),
            parent_bits: parent.header.bits.to_bits(),
            parent_time_ms: parent.header.time.millis(),
            grandparent_time_ms: parent.grandparent_time.map(Timestamp::millis),
        };
        let bits = header.bits.to_bits();
        require(bits == bits_after(rules, &before), "its bits are wrong")?;
        let id = Natural::of_bytes(header.id().as_bytes());
        require(id.is_below(&Natural::of_bits(bits)), "its work was not done")?;
        let since_parent = header.time.millis().checked_sub(parent.header.time.millis());
        let since_parent = since_parent.ok_or("its time is before its parent's")?;
        require(since_parent >= rules.min_spacing_ms.into(), "it comes too soon after its parent")?;
        let body = &block.body;
        let leaves = 1 + body.transactions.len() as u64;
        let late = rules.block_interval_seconds > 0
            && since_parent >= u64::from(rules.block_interval_seconds) * 1_000;
        let least = if rules.allow_empty { 1 } else { 2 };
        let least = if late { least } else { least.max(u64::from(rules.block_size)) };
        // The first block always comes long after genesis, and needs no payments to pay with.
        require(leaves >= least || header.height.get() == 1, "it holds too little")?;
        require(encode(body).len() <= rules.max_block_bytes as usize, "it is too large")?;
        require(*header.merkle_root.as_bytes() == root_of(block), "its Merkle root is wrong")?;
        let fees: u128 = body.transactions.iter().map(|it| u128::from(it.payment.fee.units())).sum();
        let reward = fees + u128::from(rules.block_reward.units());
        require(u128::from(body.reward.amount.units()) == reward, "its reward is wrong")?;
        self.judge_seal(block, since_parent)?;
        let distinct: BTreeSet<_> = body.transactions.iter().map(encode).collect();
        require(distinct.len() == body.transactions.len(), "it holds a payment twice")?;
        for transaction in &body.transactions {
            let payment = &transaction.payment;
            let message = payment.signing_message(&rules.network_id());
            let signed = self.verifier.verify(&payment.public_key, &message, &transaction.signature);
            require(signed, "a payment is not signed by its sender")?;
            require(payment.public_key.len() * 8 >= rules.key_size as usize, "a key is too small")?;
            require(payment.fee >= rules.min_fee, "a fee is too low")?;
            let valid_until = u64::from(payment.valid_until);
            require(valid_until == 0 || header.height.get() <= valid_until, "a payment has expired")?;
            require(payment.amount.units() > 0, "a payment moves nothing")?;
        }
        let mut ledger = (*parent.ledger).clone();
        ledger.apply(body).map_err(|(index, error)| format!("payment {index}: {error}"))?;
        Ok(Known { header: *header, grandparent_time: Some(parent.header.time), ledger: Rc::new(ledger) })
    }

    /// Rule 8: when a machine took a tip, it was not too far ahead of that machine's clock. Times rise along a chain,
    /// so what is true of the tip is true of all below it.
    ///
    /// A header is held against the clock when it comes, and becomes part of the best chain some time later. Meanwhile
    /// the clock may have been set back, and the rule asks no block again. So this looks at the latest time that the
    /// clock ever showed: all that can be said, and exact on a machine whose clock was never set back.
    fn judge_time(&self, tip: &BlockHeader, latest_clock: Timestamp) -> Result<(), String> {
        let latest_ms = latest_clock.millis() + u64::from(self.rules.max_ahead_seconds) * 1_000;
        match tip.time.millis().checked_sub(latest_ms) {
            Some(ahead_ms @ 1..) if tip.height != Height::GENESIS => {
                Err(format!("its tip is {ahead_ms} ms further ahead of its clock than it may be"))
            }
            _ => Ok(()),
        }
    }

    fn judge_seal(&self, block: &Block, since_parent_ms: u64) -> Result<(), String> {
        let authorities = &self.rules.authorities;
        let (seal, count) = match (&block.seal, authorities.len()) {
            (None, 0) => return Ok(()),
            (Some(seal), count) if count > 0 => (seal, count),
            _ => return Err("a seal is there that should not, or is not that should".to_owned()),
        };
        let sealer = crate::signature::address_of(&seal.public_key);
        let place = authorities.iter().position(|it| *it == sealer).ok_or("no authority sealed it")?;
        // Counted up from the leader of this height until its sealer has its turn.
        let (mut turn, mut passed) = ((block.header.height.get() as usize) % count, 0);
        while turn != place {
            turn = (turn + 1) % count;
            passed += 1;
        }
        if since_parent_ms < passed * u64::from(self.rules.authority_timeout_seconds) * 1_000 {
            return Err("it was not its sealer's turn".to_owned());
        }
        let message = crate::block::seal_message(&block.id());
        if !self.verifier.verify(&seal.public_key, &message, &seal.signature) {
            return Err("its seal is not its sealer's".to_owned());
        }
        if block.body.reward.to != sealer {
            return Err("its reward is not its sealer's".to_owned());
        }
        Ok(())
    }
}

/// What a look at a store found.
struct Problem(String);

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self(format!("the store cannot be read: {error}"))
    }
}

/// The tree of RFC 6962 as the RFC defines it, by recursion.
fn root_of(block: &Block) -> [u8; 32] {
    fn leaf(bytes: &[u8]) -> [u8; 32] {
        sha256(&[&[0], bytes])
    }
    fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => sha256(&[]),
            [one] => *one,
            _ => {
                let mut split = 1;
                while split * 2 < leaves.len() {
                    split *= 2;
                }
                sha256(&[&[1], &root(&leaves[..split]), &root(&leaves[split..])])
            }
        }
    }
    let reward: &Reward = &block.body.reward;
    let mut leaves = vec![leaf(&encode(reward))];
    leaves.extend(block.body.transactions.iter().map(|transaction| leaf(&encode(transaction))));
    root(&leaves)
}

/// Undoing the last block and applying it again changes nothing.
fn undo_and_apply(reader: &dyn Read, tip: &Tip, accounts: Vec<(Address, Account)>) -> Result<(), Problem> {
    let Some(block) = reader.checked_block(&tip.id)? else { return Ok(()) };
    let before: MapAccounts = accounts.into_iter().collect();
    let mut after = before.clone();
    ledger::undo(&mut after, &block).map_err(|error| Problem(format!("undoing the tip: {error}")))?;
    if after == before {
        return Err(Problem("undoing the tip changed nothing".to_owned()));
    }
    ledger::apply(&mut after, &block).map_err(|error| Problem(format!("applying the tip: {error}")))?;
    if after != before {
        return Err(Problem("undoing and applying the tip changed the ledger".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::simulator::disk::Disk;
    use crate::testing::{Branch, Key, StandIn, easy_rules};

    #[test]
    fn a_tip_that_was_ahead_of_every_clock_of_its_machine_is_found_out() {
        let miner = Key::new(1);
        let rules = Arc::new(easy_rules(&[&miner]));
        let mut branch = Branch::new(&rules);
        let blocks = [branch.grow(&miner, Vec::new()), branch.grow(&miner, Vec::new())];
        let (disk, mut oracle) = (Disk::new(&rules), Oracle::new(&rules, Arc::new(StandIn)));
        let long_ago = Timestamp::from_millis(0);
        assert_eq!(oracle.check(&disk, long_ago), Ok(()), "genesis is nobody's");
        Chain::new(rules.clone(), disk.clone()).connect(&blocks).unwrap();
        let tip_ms = blocks[1].header().header.time.millis();
        let least_ms = tip_ms - u64::from(rules.max_ahead_seconds) * 1_000;
        assert_eq!(oracle.check(&disk, Timestamp::from_millis(least_ms)), Ok(()));
        let wrong = oracle.check(&disk, Timestamp::from_millis(least_ms - 1)).unwrap_err();
        assert_eq!(wrong, "its tip is 1 ms further ahead of its clock than it may be");
    }
}
