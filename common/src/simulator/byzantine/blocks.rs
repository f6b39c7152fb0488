//! Blocks that break a rule, and branches of them.

use super::payments::{payment, stranger};
use super::{Forged, Malice, Mind, tells_now};
use crate::amount::Amount;
use crate::block::{Block, BlockHeader, Body, EncodedBlock, EncodedBody, SealedHeader};
use crate::chain::ancestors_of;
use crate::consensus::Ancestors;
use crate::difficulty::{CompactTarget, Work};
use crate::hash::MerkleRoot;
use crate::node::Template;
use crate::simulator::machine::MachineId;
use crate::simulator::world::World;
use crate::store::{Store, StoreError, Tip};
use crate::testing::{Key, child, find_nonce};
use crate::time::Height;

/// A machine found a nonce for a template. Says whether it does something else with it than an honest one.
pub(crate) fn finds(world: &mut World, id: MachineId, template: &Template) -> bool {
    match world.machines[id].role.malice {
        Some(Malice::InvalidBlocks) => {}
        Some(Malice::TimeWarp) => {
            count_warp(world, id, template);
            return false;
        }
        _ => return false,
    }
    let Some(base) = world.machines[id].node.as_ref().map(|node| *node.tip()) else { return true };
    if base.id != template.header.previous {
        return true;
    }
    let now = world.now_of(id).wall;
    let mut block = Block {
        header: template.header,
        seal: None,
        body: Body {
            reward: template.reward.clone(),
            transactions: template.transactions.iter().map(|it| it.transaction().clone()).collect(),
        },
    };
    let (mut does_the_work, mut commits) = (true, true);
    match world.random.below(10) {
        0 => block.body.reward.amount = Amount::from_units(block.body.reward.amount.units() + 1),
        1 => {
            block.header.merkle_root = MerkleRoot::from_bytes([7; 32]);
            commits = false;
        }
        2 => does_the_work = false,
        3 => block.header.bits = CompactTarget::from_bits(block.header.bits.to_bits() - 1),
        4 => block.header.time = template.parent_time,
        5 => block.header.height = block.header.height.next(),
        6 => match block.body.transactions.last().cloned() {
            Some(last) => block.body.transactions.push(last),
            None => block.header.version = 2,
        },
        7 => {
            let unfunded = stranger(world);
            block.body.transactions.push(payment(world, &unfunded, 1_000_000, 0));
        }
        8 => {
            let stranger = stranger(world);
            let mut unsigned = payment(world, &stranger, 1, 0);
            unsigned.signature[0] ^= 1;
            block.body.transactions.push(unsigned);
        }
        _ => {
            // Not invalid, but not to be taken before its time comes.
            let ahead = 2_000 * u64::from(world.rules.max_ahead_seconds);
            block.header.time = now.plus_millis(ahead);
        }
    }
    if commits {
        block.header.merkle_root = block.body.merkle_root();
    }
    find_nonce(&mut block.header, does_the_work);
    if world.rules.has_authorities() {
        block.seal = world.machines[id].role.miner.as_ref().map(|key| key.seal(&block.header.id()));
    }
    world.counts.forged_blocks += 1;
    let header = block.sealed_header();
    let block = EncodedBlock { header: header.clone(), body: EncodedBody::new(&block.body) };
    let mind = &mut world.machines[id].mind;
    mind.base = Some(base);
    mind.branch = vec![Forged { header, block: Some(block) }];
    tells_now(world, id);
    true
}

/// Counts a block to which its finder's wrong clock gives the latest time that passes, or the earliest.
fn count_warp(world: &mut World, id: MachineId, template: &Template) {
    let time = template.header.time;
    // The clock of the first machine is right.
    let ahead_ms = time.millis_since(world.now_of(0).wall);
    let is_late = ahead_ms > u64::from(world.rules.max_ahead_seconds) * 500;
    let is_early = world.machines[id].role.clock_offset_ms < 0
        && time == template.parent_time.plus_millis(world.rules.min_spacing_ms.into());
    world.counts.latest_times += u64::from(is_late);
    world.counts.earliest_times += u64::from(is_early);
}

/// Headers on its own chain whose work was not done.
pub(super) fn make_branch_without_work(world: &mut World, id: MachineId, tip: Tip) {
    let count = 1 + world.random.below(20);
    let mut branch = Vec::new();
    let (mut previous, mut height, mut time) = (tip.id, tip.height, tip.time);
    let ancestors = world.machines[id].disk.read::<_, StoreError>(|reader| ancestors_of(reader, &tip.id));
    let Ok(Some(ancestors)) = ancestors else { return };
    let bits = ancestors.next_bits(&world.rules);
    for _ in 0..count {
        (height, time) = (height.next(), time.plus_millis(u64::from(world.rules.min_spacing_ms)));
        let merkle_root = MerkleRoot::from_bytes([5; 32]);
        let mut header = BlockHeader { version: 1, previous, merkle_root, time, bits, height, nonce: 0 };
        find_nonce(&mut header, false);
        previous = header.id();
        branch.push(Forged { header: SealedHeader { header, seal: None }, block: None });
    }
    world.machines[id].mind = Mind { base: Some(tip), branch, ..Mind::default() };
}

/// Adds to a branch off genesis that never has as much work as the others' chain.
pub(super) fn grow_low_branch(world: &mut World, id: MachineId, tip: Tip) {
    if world.rules.has_authorities() {
        return;
    }
    let rules = world.rules.clone();
    let miner = Key::new(7_000 + id as u64);
    let genesis =
        Tip { id: rules.genesis().id(), height: Height::GENESIS, work: Work::ZERO, time: rules.genesis_time };
    let mind = &mut world.machines[id].mind;
    mind.base = Some(genesis);
    let mut ancestors = Ancestors::of_genesis_child(&rules);
    let mut work = Work::ZERO;
    for forged in &mind.branch {
        let header = &forged.header.header;
        work = work.plus(header.bits.to_target().work());
        ancestors = ancestors.of_child(header, header.id());
    }
    let most = 3_000;
    while mind.branch.len() < most {
        // Long after its parent, so that it stays easy.
        let mut block = child(&rules, &ancestors, &miner, Vec::new());
        block.header.time = block.header.time.plus_millis(u64::from(rules.target_block_seconds) * 2_000);
        let after = work.plus(block.header.bits.to_target().work());
        if after.plus(block.header.bits.to_target().work()) >= tip.work {
            break;
        }
        work = after;
        find_nonce(&mut block.header, true);
        ancestors = ancestors.of_child(&block.header, block.header.id());
        let header = block.sealed_header();
        let encoded = EncodedBlock { header: header.clone(), body: EncodedBody::new(&block.body) };
        mind.branch.push(Forged { header, block: Some(encoded) });
    }
}
