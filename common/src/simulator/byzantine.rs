//! Machines that break the rules. Each runs the real program, whose view of the chain it uses, and changes what goes
//! out: what it says of its chain, what it answers, and which blocks it makes.

use std::sync::Arc;
use std::time::Duration;

use super::machine::{MachineId, PORT, ip};
use super::signer::Signer;
use super::world::{Reply, World};
use crate::amount::Amount;
use crate::block::{Block, BlockHeader, Body, EncodedBlock, EncodedBody, SealedHeader};
use crate::chain::ancestors_of;
use crate::consensus::Ancestors;
use crate::difficulty::{CompactTarget, Work};
use crate::hash::{BlockId, MerkleRoot};
use crate::node::Template;
use crate::store::{Store, StoreError, Tip};
use crate::testing::{Key, child, find_nonce};
use crate::time::Height;
use crate::transaction::{Payment, Transaction, TransactionVersion};
use crate::wire::{Announcement, Request, Response, Status};

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
    /// Makes blocks with the latest and the earliest times that pass.
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
        Malice::SelfishMining if !may_be_told(world, id, &status) => return None,
        Malice::LyingStatuses => dream(world, status),
        Malice::LowWork | Malice::NoWork | Malice::InvalidBlocks => claim(world, id, status),
        _ => status,
    };
    Some(Announcement::Status(status))
}

/// A chain that nobody has.
fn dream(world: &mut World, honest: Status) -> Status {
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

/// A machine found a nonce for a template. Says whether it does something else with it than an honest one.
pub(super) fn finds(world: &mut World, id: MachineId, template: &Template) -> bool {
    if world.machines[id].role.malice != Some(Malice::InvalidBlocks) {
        return false;
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
    world.counts.forged += 1;
    let header = block.sealed_header();
    let block = EncodedBlock { header: header.clone(), body: EncodedBody::new(&block.body) };
    let mind = &mut world.machines[id].mind;
    mind.base = Some(base);
    mind.branch = vec![Forged { header, block: Some(block) }];
    tells_now(world, id);
    true
}

/// A machine tells of its branch without waiting for the next status.
fn tells_now(world: &mut World, id: MachineId) {
    let Some(honest) = world.machines[id].node.as_ref().map(|node| node.status()) else { return };
    let status = claim(world, id, honest);
    world.broadcast(id, ip(id), &Arc::new(Announcement::Status(status)));
}

/// What a machine answers where an honest one would answer this.
pub(super) fn answers(world: &mut World, id: MachineId, request: &Request, honest: Vec<Response>) -> Reply {
    let Some(malice) = world.machines[id].role.malice else { return Reply::Now(honest) };
    let chance = world.random.below(4);
    match (malice, request) {
        (Malice::WithheldBodies, Request::GetBlocks { ids }) => match chance {
            0 => Reply::Now(ids.iter().map(|id| Response::NotFound(*id.as_bytes())).collect()),
            1 => Reply::HangUp,
            2 => Reply::Drip(Duration::from_secs(9), honest),
            _ => Reply::Never,
        },
        (Malice::WithheldBodies, Request::GetCompact { .. }) => Reply::Never,
        (Malice::MutatedBodies, _) => Reply::Now(honest.into_iter().map(|it| mutate(it, chance)).collect()),
        (Malice::Nonsense, _) if chance < 2 => Reply::Now(match chance {
            0 => vec![Response::Rules(vec![0; 100]); honest.len()],
            _ => honest.iter().cloned().chain([Response::NotFound([3; 32])]).collect(),
        }),
        (Malice::InvalidBlocks | Malice::NoWork | Malice::LowWork, _) => {
            Reply::Now(of_branch(world, id, request, honest))
        }
        _ => Reply::Now(honest),
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
fn of_branch(world: &World, id: MachineId, request: &Request, honest: Vec<Response>) -> Vec<Response> {
    let mind = &world.machines[id].mind;
    let Some(base) = mind.base.filter(|_| !mind.branch.is_empty()) else { return honest };
    let forged = |id: &BlockId| mind.branch.iter().position(|forged| forged.header.id() == *id);
    match request {
        Request::GetHeaders { locator, limit } => {
            let limit = (*limit as usize).min(crate::chain::MAX_HEADERS);
            if let Some(known) = locator.iter().find_map(forged) {
                return vec![headers(mind.branch[known + 1..].iter().map(|it| &it.header).take(limit))];
            }
            let Some(Response::Headers(shared)) = honest.first() else { return honest };
            let shared = shared.iter().filter(|it| it.header.height <= base.height);
            let branch = mind.branch.iter().map(|it| &it.header);
            vec![headers(shared.chain(branch).take(limit))]
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

fn headers<'a>(headers: impl Iterator<Item = &'a SealedHeader>) -> Response {
    Response::Headers(headers.cloned().collect())
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
                world.counts.lies += 1;
                world.broadcast(id, ip(from), &Arc::new(Announcement::Status(status)));
            }
        }
        Some(Malice::NoWork) => {
            let count = 1 + world.random.below(20);
            let mut branch = Vec::new();
            let (mut previous, mut height, mut time) = (tip.id, tip.height, tip.time);
            let ancestors =
                world.machines[id].disk.read::<_, StoreError>(|reader| ancestors_of(reader, &tip.id));
            let Ok(Some(ancestors)) = ancestors else { return };
            let bits = ancestors.next_bits(&world.rules);
            for _ in 0..count {
                (height, time) = (height.next(), time.plus_millis(u64::from(world.rules.min_spacing_ms)));
                let merkle_root = MerkleRoot::from_bytes([5; 32]);
                let mut header =
                    BlockHeader { version: 1, previous, merkle_root, time, bits, height, nonce: 0 };
                find_nonce(&mut header, false);
                previous = header.id();
                branch.push(Forged { header: SealedHeader { header, seal: None }, block: None });
            }
            world.machines[id].mind = Mind { base: Some(tip), branch, rival: Work::ZERO };
            tells_now(world, id);
        }
        Some(Malice::LowWork) => {
            grow_low_branch(world, id, tip);
            tells_now(world, id);
        }
        Some(Malice::TimeWarp) => {
            let latest = i64::from(world.rules.max_ahead_seconds) * 1_000 - 500;
            let earliest = -20 * 24 * 3_600 * 1_000;
            let offset = if world.random.happens(500) { latest } else { earliest };
            world.machines[id].role.clock_offset_ms = offset;
        }
        Some(Malice::Spam) => spam(world, id),
        _ => {}
    }
}

/// Adds to a branch off genesis that never has as much work as the others' chain.
fn grow_low_branch(world: &mut World, id: MachineId, tip: Tip) {
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
    world.counts.forged += 1;
}

/// Payments that cannot be: of nobody's money, badly signed, far ahead of their turn, or all of it again.
fn spam(world: &mut World, id: MachineId) {
    let stranger = stranger(world);
    let bad = {
        let mut payment = payment(world, &stranger, 5, 0);
        payment.signature[3] ^= 0x40;
        payment
    };
    let unfunded = payment(world, &stranger, 1_000, 0);
    let nonce = 1_000 + world.random.below(1_000_000);
    let ahead = payment(world, &stranger, 1, nonce);
    let stolen = payment_of_the_rich(world);
    for transaction in [bad, unfunded.clone(), ahead, stolen, unfunded] {
        world.counts.spam += 1;
        world.broadcast(id, ip(id), &Arc::new(Announcement::Transaction(transaction)));
    }
}

/// A payment in the name of somebody who has money, which he did not sign.
fn payment_of_the_rich(world: &mut World) -> Transaction {
    let victim = world.payers[world.random.index(world.payers.len())].key.clone();
    let nonce = world.random.below(4);
    let mut payment = payment(world, &victim, 1, nonce);
    payment.signature.reverse();
    payment
}

/// Somebody who has nothing.
fn stranger(world: &mut World) -> Signer {
    Signer::stand_in(1_000_000 + world.random.below(1_000_000))
}

fn payment(world: &World, from: &Signer, units: u64, nonce: u64) -> Transaction {
    let payment = Payment {
        version: TransactionVersion::V1,
        to: from.address(),
        amount: Amount::from_units(units),
        fee: world.rules.min_fee,
        nonce,
        valid_until: 0,
        data: Vec::new(),
        public_key: Vec::new(),
    };
    from.sign(&world.rules.network_id(), payment)
}
