//! Machines that break the rules. Each runs the real program, whose view of the chain it uses, and changes what goes
//! out: what it says of its chain, what it answers (`answers`), which blocks it makes (`blocks`), and which payments
//! (`payments`).

use std::sync::Arc;

use super::machine::{MachineId, PORT, ip};
use super::world::World;
use crate::block::{EncodedBlock, SealedHeader};
use crate::difficulty::Work;
use crate::hash::BlockId;
use crate::store::Tip;
use crate::time::Height;
use crate::wire::{Announcement, Status};

mod answers;
mod blocks;
mod payments;

pub(super) use answers::answers;
pub(super) use blocks::finds;
use blocks::{grow_low_branch, make_branch_without_work};
use payments::spam;

/// How a machine breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Malice {
    /// Claims chains that nobody has, in its own name and in others'.
    LyingStatuses,
    /// Gives headers and keeps the bodies to itself.
    WithheldBodies,
    /// Gives bodies that are not those of their headers.
    MutatedBodies,
    /// Does the work for blocks that break a rule.
    InvalidBlocks,
    /// Gives headers whose work was not done.
    NoWork,
    /// Gives many headers that come to less work than it claims.
    LowWork,
    /// Keeps what it finds to itself until others are about to catch up.
    SelfishMining,
    /// Makes blocks with the latest and the earliest times that pass. Without hash power its clock is wrong, no more.
    TimeWarp,
    /// Answers with something else than was asked for.
    Nonsense,
    /// Floods everybody with payments that cannot be.
    Spam,
}

impl Malice {
    pub(crate) const ALL: [Self; 10] = [
        Self::LyingStatuses,
        Self::WithheldBodies,
        Self::MutatedBodies,
        Self::InvalidBlocks,
        Self::NoWork,
        Self::LowWork,
        Self::SelfishMining,
        Self::TimeWarp,
        Self::Nonsense,
        Self::Spam,
    ];

    /// Whether it takes the work of mining.
    pub(crate) fn mines(self) -> bool {
        matches!(self, Self::InvalidBlocks | Self::SelfishMining)
    }
}

/// What a machine that breaks the rules keeps in mind.
#[derive(Default)]
pub(crate) struct Mind {
    /// Where its made-up branch leaves its own best chain.
    base: Option<Tip>,
    branch: Vec<Forged>,
    /// The most work that it heard of.
    rival: Work,
}

struct Forged {
    header: SealedHeader,
    block: Option<EncodedBlock>,
}

/// A machine hears something.
pub(super) fn overhears(world: &mut World, id: MachineId, announcement: &Announcement) {
    if world.machines[id].role.malice != Some(Malice::SelfishMining) {
        return;
    }
    let Announcement::Status(status) = announcement else { return };
    let machine = &mut world.machines[id];
    if machine.mind.rival >= status.work {
        return;
    }
    machine.mind.rival = status.work;
    // The others are about to catch up: now its own are worth telling.
    let Some(status) = machine.node.as_ref().map(|node| node.status()) else { return };
    if may_be_told(world, id, &status) {
        world.counts.told_late += 1;
        world.broadcast(id, ip(id), &Arc::new(Announcement::Status(status)));
    }
}

/// Whether whoever hides his blocks would lose them by hiding them longer: the others' chain has no less work than
/// his without its last block.
fn may_be_told(world: &World, id: MachineId, status: &Status) -> bool {
    let block = world.machines[id].template.as_ref().map(|it| it.header.bits.to_target().work());
    world.machines[id].mind.rival.plus(block.unwrap_or_default()) >= status.work
}

/// What a machine says where an honest one would say this.
pub(super) fn says(world: &mut World, id: MachineId, honest: Announcement) -> Option<Announcement> {
    let Some(malice) = world.machines[id].role.malice else { return Some(honest) };
    let Announcement::Status(status) = honest else { return Some(honest) };
    let status = match malice {
        Malice::SelfishMining if !may_be_told(world, id, &status) => {
            world.counts.hidden_tips += 1;
            return None;
        }
        Malice::LyingStatuses => dream(world, status),
        Malice::LowWork | Malice::NoWork | Malice::InvalidBlocks => claim(world, id, status),
        _ => status,
    };
    Some(Announcement::Status(status))
}

/// A chain that nobody has.
fn dream(world: &mut World, honest: Status) -> Status {
    world.counts.lies += 1;
    let number = world.random.number();
    let height = match number % 3 {
        0 => honest.height,
        1 => Height::new(honest.height.get() + 1 + number % 10_000),
        _ => Height::MAX,
    };
    let mut work = honest.work.to_be_bytes();
    work[(number >> 8) as usize % 32] ^= (number >> 16) as u8;
    let tip = BlockId::from_bytes(crate::hash::sha256(&[&number.to_le_bytes()]));
    Status { height, work: Work::from_be_bytes(work), tip, ..honest }
}

/// The made-up branch, if there is one.
fn claim(world: &World, id: MachineId, honest: Status) -> Status {
    let mind = &world.machines[id].mind;
    let (Some(base), Some(last)) = (mind.base, mind.branch.last()) else { return honest };
    let work = match world.machines[id].role.malice {
        // More than it is.
        Some(Malice::LowWork) => Work::from_be_bytes([1; 32]),
        _ => mind
            .branch
            .iter()
            .fold(base.work, |work, forged| work.plus(forged.header.header.bits.to_target().work())),
    };
    Status { height: last.header.header.height, work, tip: last.header.id(), ..honest }
}

/// A machine tells of its branch without waiting for the next status.
fn tells_now(world: &mut World, id: MachineId) {
    let Some(honest) = world.machines[id].node.as_ref().map(|node| node.status()) else { return };
    let status = claim(world, id, honest);
    world.broadcast(id, ip(id), &Arc::new(Announcement::Status(status)));
}

/// What a machine does to others from time to time.
pub(super) fn strikes(world: &mut World, id: MachineId) {
    let Some(tip) = world.machines[id].node.as_ref().map(|node| *node.tip()) else { return };
    match world.machines[id].role.malice {
        Some(Malice::LyingStatuses) => {
            // In the name of somebody who knows nothing of it, of somebody who is not there, and of nobody at all.
            for from in [world.random.index(world.machines.len()), 200_000 + world.random.index(50_000)] {
                let honest = Status {
                    instance: world.random.number(),
                    height: tip.height,
                    work: tip.work,
                    tip: tip.id,
                    block_server_port: PORT,
                };
                let status = dream(world, honest);
                world.broadcast(id, ip(from), &Arc::new(Announcement::Status(status)));
            }
        }
        Some(Malice::NoWork) => {
            make_branch_without_work(world, id, tip);
            tells_now(world, id);
        }
        Some(Malice::LowWork) => {
            grow_low_branch(world, id, tip);
            tells_now(world, id);
        }
        Some(Malice::TimeWarp) => {
            // As far ahead as others take its blocks, or as far behind as it takes theirs: its own then have the earliest
            // time that there may be after a parent.
            let most = i64::from(world.rules.max_ahead_seconds) * 1_000 - 500;
            world.machines[id].role.clock_offset_ms = if world.random.happens(500) { most } else { -most };
        }
        Some(Malice::Spam) => spam(world, id),
        _ => {}
    }
}
