//! One history: what a seed says there is, what goes wrong when, and what must be so in the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::byzantine::{self, Malice};
use super::disk::Disk;
use super::machine::{Machine, MachineId, Role, ip};
use super::random::Random;
use super::signer::Signer;
use super::world::{Event, Weather, World};
use super::{Summary, Verdict, Violation};
use crate::amount::Amount;
use crate::node::MempoolLimits;
use crate::rules::Rules;
use crate::signature::{RsaVerifier, SignatureVerifier};
use crate::store::{Store, StoreError, Tip};
use crate::testing::StandIn;
use crate::transaction::{Payment, Transaction, TransactionVersion};
use crate::wire::Announcement;

/// How often whoever pays sends again what is not confirmed.
const SEND_AGAIN: Duration = Duration::from_secs(10);
/// How often a machine that breaks the rules does something about it.
const STRIKE_EVERY: Duration = Duration::from_secs(4);
/// How long it may take, once nothing breaks any more, until everybody agrees and every payment is confirmed.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// How long everybody agrees, with nobody mining, before a history is over.
const REST: Duration = Duration::from_secs(120);
/// How often it is looked whether everybody agrees.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// One seed in so many has real signatures.
const REAL_SIGNATURES: u64 = 50;
/// One seed in so many has a thousand machines.
const CROWD: u64 = 5_000;

/// Something that a history has in store.
#[derive(Clone, Debug)]
pub(crate) enum Planned {
    Kill(MachineId),
    /// A program is killed in the middle of its next write, and started again some time later.
    KillInWrite(MachineId),
    Start(MachineId),
    /// A write soon fails, after so many changes.
    FailDisk(MachineId, u64),
    /// From now on a machine is on this side of a wall.
    Side(MachineId, u8),
    /// A clock is set, by so many milliseconds.
    Clock(MachineId, i64),
    /// A connection breaks.
    Cut(MachineId),
    /// A machine that breaks the rules does something.
    Strike(MachineId),
    /// Somebody pays.
    Pay(usize),
    /// Somebody sends again what is not confirmed.
    SendAgain(usize),
}

/// Somebody with money.
pub(crate) struct Payer {
    pub(super) key: Signer,
    /// From where the payments are sent.
    home: MachineId,
    /// Whether two payments are made where only one can be.
    cheats: bool,
    issued: Vec<Transaction>,
}

/// What a seed says.
struct Plan {
    machines: Vec<Role>,
    rules: Rules,
    weather: Weather,
    payers: Vec<Payer>,
    verifier: Arc<dyn SignatureVerifier>,
    /// How long things go wrong.
    time: Duration,
    /// How many things go wrong.
    faults: u64,
    payments: u64,
    status_interval: Duration,
}

/// How large histories are. The same seed is another history at another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As the seed has it: mostly a few machines, sometimes dozens, and rarely a thousand.
    Chance,
    /// So many machines.
    Machines(usize),
}

/// Lives through the history of a seed. `disk` makes the disks.
pub(super) fn live(
    seed: u64,
    size: Size,
    tell: Option<fn(Duration, &str)>,
    disk: impl Fn(&Rules) -> Disk,
) -> Result<Summary, (Violation, Duration)> {
    let mut random = Random::new(seed);
    let plan = Plan::new(seed, size, &mut random);
    let rules = Arc::new(plan.rules.clone());
    let mut world = World::new(rules, plan.verifier.clone(), plan.weather.clone(), random);
    world.tell = tell;
    world.status_interval = plan.status_interval;
    world.pool_interval = plan.status_interval * 5;
    for role in &plan.machines {
        world.add(role.clone(), disk(&plan.rules));
    }
    world.payers = plan.payers;
    let machines = world.machines.len();
    let lived = prepare(&mut world, plan.time, plan.faults, plan.payments)
        .and_then(|()| world.run_for(plan.time))
        .and_then(|()| settle(&mut world));
    match lived {
        Ok(()) => {
            let height = world.best_tip(promised(&world)).map_or(0, |tip| tip.height.get());
            Ok(Summary { machines, height, trace: world.trace, time: world.now, counts: world.counts })
        }
        Err(violation) => Err((violation, world.now)),
    }
}

impl Plan {
    fn new(seed: u64, size: Size, random: &mut Random) -> Self {
        let real = seed % REAL_SIGNATURES == REAL_SIGNATURES - 1;
        let count = match size {
            Size::Machines(count) => count,
            Size::Chance if seed % CROWD == CROWD - 1 => 1_000,
            Size::Chance => match random.below(100) {
                0..60 => 2 + random.index(6),
                60..92 => 8 + random.index(12),
                92..99 => 20 + random.index(20),
                _ => 40 + random.index(60),
            },
        };
        let keys: Vec<Signer> =
            if real { Signer::published() } else { (0..3 + random.below(4)).map(Signer::stand_in).collect() };
        let miners = (2 + random.index(6)).min(count);
        // Real keys are too slow to seal with, and there are only three.
        let authorities = !real && random.below(100) < 15;
        let rules = some_rules(random, &keys, authorities.then_some(miners));
        let latency = Duration::from_millis(1 + random.below(150));
        let weather = Weather {
            latency: latency / 4..latency,
            loss: if random.happens(500) { random.below(300) } else { 0 },
            doubled: random.below(100),
            checking: Duration::ZERO..Duration::from_millis(random.below(60)),
            writing: Duration::ZERO..Duration::from_millis(1 + random.below(300)),
            uplink: random.happens(200).then(|| 20_000 + random.below(1_000_000)),
            callers: if random.happens(200) { 4 + count / 2 } else { 128 },
            echo_reaches: None,
        };
        let interval = Duration::from_millis(2_000 + random.below(8_000));
        let machines = some_machines(random, &rules, count, miners, interval);
        let payers = keys.into_iter().enumerate().map(|(place, key)| Payer {
            key,
            home: random.index(count),
            cheats: place == 0 && random.happens(300),
            issued: Vec::new(),
        });
        let crowd = count >= 200;
        Self {
            payers: payers.collect(),
            machines,
            weather,
            verifier: if real { Arc::new(RsaVerifier::default()) } else { Arc::new(StandIn) },
            time: Duration::from_secs(if crowd { 20 } else { 60 + random.below(180) }),
            faults: if crowd { 40 } else { random.below(40) },
            payments: random.below(60),
            status_interval: Duration::from_secs(if crowd { 20 } else { 1 + random.below(4) }),
            rules,
        }
    }
}

fn some_rules(random: &mut Random, funded: &[Signer], authorities: Option<usize>) -> Rules {
    let mut alloc: Vec<_> = funded.iter().map(|key| (key.address(), Amount::from_coins(1_000))).collect();
    alloc.sort_unstable();
    let retargets = authorities.is_none() && random.happens(300);
    let fills_blocks = !retargets && random.happens(200);
    let max_ahead_seconds = 5 + random.below(60) as u32;
    let rules = Rules {
        difficulty: if retargets { 1 + random.below(6) as u32 } else { 1 },
        target_block_seconds: if retargets { 2 + random.below(8) as u32 } else { 0 },
        retarget_blocks: 5 + random.below(40) as u32,
        min_spacing_ms: 1 + random.below(1_000) as u32,
        max_ahead_seconds,
        block_size: if fills_blocks { 2 + random.below(3) as u32 } else { 1 },
        block_interval_seconds: if fills_blocks { 5 } else { 0 },
        allow_empty: !fills_blocks || random.happens(500),
        min_fee: Amount::from_units(random.below(3) * 500),
        authorities: authorities
            .map_or_else(Vec::new, |count| (0..count).map(|id| miner_of(id).address()).collect()),
        authority_timeout_seconds: max_ahead_seconds + 1 + random.below(5) as u32,
        alloc,
        ..Rules::default()
    };
    rules.check().expect("the rules of a history are within bounds");
    rules
}

fn miner_of(id: MachineId) -> Signer {
    Signer::stand_in(900_000 + id as u64)
}

fn some_machines(
    random: &mut Random,
    rules: &Rules,
    count: usize,
    miners: usize,
    interval: Duration,
) -> Vec<Role> {
    // Together they find a block every `interval`, at the least difficulty.
    let work = rules.genesis().header.bits.to_target().work().to_f64();
    let shares: Vec<f64> = (0..miners).map(|_| 1.0 + random.below(4) as f64).collect();
    let in_all: f64 = shares.iter().sum();
    let mut of_cheats = 0.0;
    (0..count)
        .map(|id| {
            let share = shares.get(id).copied().unwrap_or(0.0);
            // Whoever breaks the rules has less than a third of the hash power.
            let may_be_bad = id > 0 && of_cheats + share < in_all * 0.3;
            let malice = (may_be_bad && random.happens(if share > 0.0 { 400 } else { 200 })).then(|| {
                of_cheats += share;
                // Some ways to break the rules take the work.
                let ways: Vec<Malice> =
                    Malice::ALL.into_iter().filter(|it| share > 0.0 || !it.mines()).collect();
                ways[random.index(ways.len())]
            });
            let mines = id < miners;
            let alone = mines && id > 0 && malice.is_none() && random.happens(150);
            Role {
                miner: mines.then(|| miner_of(id)),
                hash_rate: share / in_all * work / interval.as_secs_f64(),
                pool: (mines || random.happens(500)).then(MempoolLimits::default),
                serves_blocks: mines || malice.is_some() || random.happens(500),
                broadcast: !alone,
                named: if alone || random.happens(50) { vec![random.index(id.max(1))] } else { Vec::new() },
                malice,
                // Somebody must be able to mine in the end.
                clock_offset_ms: if id == 0 { 0 } else { some_offset(random, rules) },
            }
        })
        .collect()
}

/// How wrong a clock is: mostly a little, sometimes minutes, an hour, or since 1970.
fn some_offset(random: &mut Random, rules: &Rules) -> i64 {
    let seconds = |seconds: i64| seconds * 1_000;
    let sign = if random.happens(500) { 1 } else { -1 };
    match random.below(100) {
        0..70 => sign * random.below(1_500) as i64,
        70..88 => sign * random.below(u64::from(rules.max_ahead_seconds) * 900) as i64,
        88..94 => sign * seconds(60 + random.below(600) as i64),
        94..98 => sign * seconds(3_600),
        _ => i64::MIN / 2,
    }
}

/// Starts everything, and decides what goes wrong when.
fn prepare(world: &mut World, time: Duration, faults: u64, payments: u64) -> Verdict {
    let count = world.machines.len();
    for id in 0..count {
        // Not all at once: some join later.
        let late = world.random.happens(200);
        let at =
            world.random.between(&(Duration::ZERO..if late { time / 2 } else { Duration::from_secs(1) }));
        world.schedule(at, Event::Planned(Planned::Start(id)));
        if !world.machines[id].is_honest() {
            world.schedule(at + Duration::from_secs(1), Event::Planned(Planned::Strike(id)));
        }
    }
    for _ in 0..faults {
        let at = world.random.between(&(Duration::ZERO..time));
        // Everything has happened when the history settles.
        let over = (at + world.random.between(&(Duration::from_millis(100)..time / 3))).min(time);
        let id = world.random.index(count);
        let planned = match world.random.below(10) {
            0..4 => {
                world.schedule(over, Event::Planned(Planned::Start(id)));
                if world.random.happens(600) { Planned::KillInWrite(id) } else { Planned::Kill(id) }
            }
            4..6 => {
                // A wall around some, for a while.
                let side = 1 + world.random.below(2) as u8;
                for _ in 0..1 + world.random.index(count) {
                    let other = world.random.index(count);
                    world.schedule(at, Event::Planned(Planned::Side(other, side)));
                    world.schedule(over, Event::Planned(Planned::Side(other, 0)));
                }
                Planned::Side(id, side)
            }
            6 => {
                let offset = some_offset(&mut world.random, &world.rules.clone());
                // Set right by NTP some time later, more or less.
                let right = world.random.below(200) as i64;
                world.schedule(over, Event::Planned(Planned::Clock(id, right)));
                Planned::Clock(id, offset)
            }
            7 => Planned::FailDisk(id, world.random.below(20)),
            _ => Planned::Cut(id),
        };
        world.schedule(at, Event::Planned(planned));
    }
    for _ in 0..payments {
        let at = world.random.between(&(Duration::ZERO..time));
        let payer = world.random.index(world.payers.len());
        world.schedule(at, Event::Planned(Planned::Pay(payer)));
    }
    for payer in 0..world.payers.len() {
        world.schedule(SEND_AGAIN, Event::Planned(Planned::SendAgain(payer)));
    }
    Ok(())
}

/// What was planned happens.
pub(super) fn happens(world: &mut World, planned: Planned) -> Verdict {
    match planned {
        Planned::Kill(id) => world.kill(id)?,
        Planned::KillInWrite(id) => world.machines[id].killed_in_next_write = true,
        Planned::Start(id) => world.start(id)?,
        Planned::FailDisk(id, changes) => world.machines[id].disk.fail_after(changes),
        Planned::Side(id, side) => {
            world.counts.moved += 1;
            world.note(|| format!("machine {id} is on side {side}"));
            world.machines[id].side = side;
        }
        Planned::Clock(id, offset_ms) => {
            if id > 0 && world.machines[id].is_honest() {
                world.counts.clocks_set += 1;
                world.note(|| format!("the clock of machine {id} is {offset_ms} ms ahead"));
                world.machines[id].role.clock_offset_ms = offset_ms;
            }
        }
        Planned::Cut(id) => world.cut(id),
        Planned::Strike(id) => {
            byzantine::strikes(world, id);
            let next = world.now + world.random.between(&(STRIKE_EVERY / 2..STRIKE_EVERY * 2));
            world.schedule(next, Event::Planned(Planned::Strike(id)));
        }
        Planned::Pay(payer) => pay(world, payer),
        Planned::SendAgain(payer) => {
            send_again(world, payer);
            world.schedule(world.now + SEND_AGAIN, Event::Planned(Planned::SendAgain(payer)));
        }
    }
    Ok(())
}

/// Somebody makes a payment, which is in his outbox from then on.
fn pay(world: &mut World, payer: usize) {
    let to = world.payers[world.random.index(world.payers.len())].key.address();
    let (amount, fee) = (1 + world.random.below(40_000_000), world.random.below(5_000));
    let expires = world.random.happens(100).then(|| {
        world.best_tip(promised(world)).map_or(0, |tip| tip.height.get()) as u32
            + 1
            + world.random.below(8) as u32
    });
    let (network, min_fee) = (world.rules.network_id(), world.rules.min_fee);
    let payer = &mut world.payers[payer];
    let nonce = payer.issued.last().map_or(0, |last| last.payment.nonce + 1);
    let payment = Payment {
        version: TransactionVersion::V1,
        to,
        amount: Amount::from_units(amount),
        fee: Amount::from_units(min_fee.units() + fee),
        nonce,
        valid_until: expires.unwrap_or(0),
        data: Vec::new(),
        public_key: Vec::new(),
    };
    let transaction = payer.key.sign(&network, payment.clone());
    payer.issued.push(transaction.clone());
    let (home, key) = (payer.home, payer.cheats.then(|| payer.key.clone()));
    world.counts.payments += 1;
    announce(world, home, &transaction);
    if let Some(key) = key {
        // The same money to somebody else, told to others.
        let payment = Payment { to: key.address(), ..payment };
        let other = Arc::new(Announcement::Transaction(key.sign(&network, payment)));
        world.counts.double_spends += 1;
        for to in 0..world.machines.len() {
            if world.random.happens(500) {
                world.datagram(home, to, ip(home), &other);
            }
        }
    }
}

/// A payment is broadcast by a wallet on this machine, which hears it too.
fn announce(world: &mut World, home: MachineId, transaction: &Transaction) {
    let announcement = Arc::new(Announcement::Transaction(transaction.clone()));
    for to in 0..world.machines.len() {
        if to == home {
            world.schedule(world.now, Event::Datagram(home, ip(home), announcement.clone()));
        } else {
            world.datagram(home, to, ip(home), &announcement);
        }
    }
}

fn send_again(world: &mut World, payer: usize) {
    let Some(ledger) = world.best_tip(promised(world)).and_then(|tip| world.oracle.ledger(&tip.id)) else {
        return;
    };
    let payer = &world.payers[payer];
    let confirmed = ledger.account(&payer.key.address()).nonce;
    let pending: Vec<_> = payer.issued.iter().filter(|it| it.payment.nonce >= confirmed).cloned().collect();
    let home = payer.home;
    pending.iter().for_each(|transaction| announce(world, home, transaction));
}

/// Nothing breaks any more: everybody must come to agree, and stay so.
fn settle(world: &mut World) -> Verdict {
    world.weather.loss = world.weather.loss.min(100);
    for id in 0..world.machines.len() {
        world.machines[id].side = 0;
        world.machines[id].disk.mend();
        world.machines[id].killed_in_next_write = false;
        world.start(id)?;
        if skewed(world, id) {
            // Its blocks would lie in the future for hours.
            world.machines[id].role.hash_rate = 0.0;
            world.machines[id].searching = false;
        }
    }
    let end = world.now + PATIENCE;
    loop {
        world.mining = true;
        while let Some(what) = disagreement(world).or_else(|| unconfirmed(world)) {
            go_on(world, end, &what)?;
            if is_kept_back(world) {
                pay(world, 0);
            }
        }
        // Somebody may still have kept a better chain to himself: then payments may have to be confirmed again.
        world.mining = false;
        let mut agreed_since = world.now;
        while world.now < agreed_since + REST {
            if let Some(what) = disagreement(world) {
                // A rival that its finder gave only to some who serve no blocks: the next block settles it.
                if is_kept_back(world) {
                    pay(world, 0);
                    break;
                }
                agreed_since = world.now + LOOK_EVERY;
                go_on(world, end, &what)?;
            } else {
                world.run_for(LOOK_EVERY)?;
            }
        }
        if disagreement(world).is_none() && unconfirmed(world).is_none() {
            return same_ledgers(world);
        }
    }
}

/// Lets everything go on for a moment, unless it has gone on for too long.
fn go_on(world: &mut World, end: Duration, what: &str) -> Verdict {
    if world.now > end {
        return Err(Violation(format!("{} s after the last fault: {what}", PATIENCE.as_secs())));
    }
    world.note(|| format!("not yet: {what}"));
    world.run_for(LOOK_EVERY)
}

/// Whether a machine's clock is so wrong that nothing is promised to it.
fn skewed(world: &World, id: MachineId) -> bool {
    let most_ms = u64::from(world.rules.max_ahead_seconds) * 1_000;
    world.machines[id].role.clock_offset_ms.unsigned_abs() >= most_ms
}

/// The honest machines that are promised to agree.
fn promised(world: &World) -> Vec<MachineId> {
    (0..world.machines.len())
        .filter(|id| world.machines[*id].is_honest() && !skewed(world, *id) && reachable(world, *id))
        .collect()
}

/// Whether a machine can know of the others: it hears them, or calls somebody who can, who is honest and passes on
/// at once what he hears.
fn reachable(world: &World, id: MachineId) -> bool {
    let role = &world.machines[id].role;
    // Machines call only those that are there before them: this ends.
    let passes_on =
        |it: &MachineId| world.machines[*it].is_honest() && !skewed(world, *it) && reachable(world, *it);
    role.broadcast || role.named.iter().any(|it| *it < id && passes_on(it))
}

/// Whether nobody honest who has the best tip can give it to others.
fn is_kept_back(world: &World) -> bool {
    let best = world.best_tip(promised(world));
    let gives = |machine: &Machine| {
        let has = machine.node.as_ref().is_some_and(|node| Some(*node.tip()) == best);
        machine.is_honest() && machine.role.serves_blocks && has
    };
    !world.machines.iter().any(gives)
}

/// Who does not have the tip of the others, if anybody.
fn disagreement(world: &World) -> Option<String> {
    let tip_of = |id: &MachineId| world.machines[*id].node.as_ref().map(|node| *node.tip());
    let promised = promised(world);
    let tips: Vec<(MachineId, Option<Tip>)> = promised.iter().map(|id| (*id, tip_of(id))).collect();
    let (first, other) = (tips.first()?, tips.iter().find(|(_, tip)| tip.is_none() || *tip != tips[0].1)?);
    Some(format!("machines {} and {} do not agree: {:?} and {:?}", first.0, other.0, first.1, other.1))
}

/// An honest payment that is not in the chain and has no reason not to be.
fn unconfirmed(world: &World) -> Option<String> {
    let tip = world.best_tip(promised(world))?;
    let ledger = world.oracle.ledger(&tip.id)?;
    for payer in world.payers.iter().filter(|payer| !payer.cheats) {
        let account = ledger.account(&payer.key.address());
        let Some(next) = payer.issued.iter().find(|it| it.payment.nonce == account.nonce) else { continue };
        let payment = &next.payment;
        let expired = payment.valid_until != 0 && u64::from(payment.valid_until) <= tip.height.get();
        let cost = u128::from(payment.amount.units()) + u128::from(payment.fee.units());
        // Those after it wait for it: one reason is enough for all.
        if !expired && cost <= u128::from(account.balance.units()) {
            let (nonce, from) = (payment.nonce, payer.key.address());
            return Some(format!("payment {nonce} of {from} is not confirmed at height {}", tip.height));
        }
    }
    None
}

/// Everybody who agrees on the tip has the same ledger, and what it confirms is what was signed.
fn same_ledgers(world: &mut World) -> Verdict {
    let mut ledgers = BTreeSet::new();
    for id in promised(world) {
        let mut ledger = Vec::new();
        let read = world.machines[id].disk.read::<_, StoreError>(|reader| {
            reader.for_each_account(&mut |address, account| {
                ledger.push((address, account.balance, account.nonce));
            })
        });
        read.map_err(|error| Violation(format!("machine {id}: {error}")))?;
        ledgers.insert(ledger);
    }
    if ledgers.len() > 1 {
        return Err(Violation("two machines with the same tip have different ledgers".to_owned()));
    }
    world.counts.agreed += promised(world).len() as u64;
    Ok(())
}
