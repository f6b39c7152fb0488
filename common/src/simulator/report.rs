//! How a network behaves as it grows: how often its chain forks, how deep it is reorganised, and how long a block
//! takes to everybody, beside what theory says.
//!
//! All machines are honest miners of equal power, on the broadcast, with clocks that are right, and blocks hold their
//! reward alone. While a block is on its way for a time `d` on average, others still work on its parent, so that
//! another is found meanwhile with probability 1 − e^(−d / interval).
//!
//! One thing is simplified: in a crowd, a status that repeats what others have said already reaches
//! [`ECHO_REACHES`] machines chosen by chance and not all of them, or as few as a question says. A machine hears the
//! same news that often anyhow.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::disk::Disk;
use super::machine::Role;
use super::random::Random;
use super::signer::Signer;
use super::world::{Weather, World};
use super::{Failure, Size};
use crate::hash::BlockId;
use crate::node::MempoolLimits;
use crate::rules::Rules;
use crate::testing::StandIn;

/// Above this many machines, a status that repeats what is known does not reach everybody.
const CROWD: usize = 300;
/// See the module.
pub const ECHO_REACHES: usize = 100;
/// Nothing is lost here, and nobody joins: whoever has a new tip says so at once, and what is repeated between two
/// blocks is no news.
const STATUS_INTERVAL: Duration = Duration::from_secs(60);
/// What the line of a block server carries: 100 Mbit a second.
const UPLINK: u64 = 12_500_000;
/// Half of the callers that a block server takes by default.
const CALLERS: usize = 128;

/// A network to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// How many machines.
    pub machines: usize,
    /// How long a block takes to be found, on average.
    pub interval: Duration,
    /// How long a message takes, on average: from half of it to half as much again.
    pub latency: Duration,
    /// How many blocks are waited for.
    pub blocks: u64,
    /// How many machines a status reaches that repeats what others have said; `None`: all, and [`ECHO_REACHES`] in a
    /// crowd. The fewer, the less there is to simulate.
    pub echo_reaches: Option<usize>,
    /// Of chance.
    pub seed: u64,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The blocks of the best chain.
    pub height: u64,
    /// All blocks that were found.
    pub found: u64,
    /// The share of them that is not in the best chain.
    pub forks: f64,
    /// What theory says of that, with the mean time that a block takes to a machine.
    pub theory: f64,
    /// Reorganisations of a machine, a block of the best chain.
    pub reorganisations: f64,
    /// The deepest of them, in blocks.
    pub deepest: usize,
    /// The mean time from a block's first arrival, at its finder, to its arrival at a machine.
    pub mean: Duration,
    /// Half of all arrivals are sooner.
    pub median: Duration,
    /// 99 of 100 are.
    pub p99: Duration,
    /// The time until the last machine has a block, in the median of all blocks.
    pub last: Duration,
}

/// Watches a network for so many blocks.
pub fn answer(question: &Question) -> Result<Answer, Failure> {
    let Question { machines, interval, latency, blocks, echo_reaches, seed } = *question;
    let rules = Rules {
        difficulty: 1,
        target_block_seconds: 0,
        // However fast blocks are found, their times are not ahead of the clock.
        min_spacing_ms: 1,
        ..Rules::default()
    };
    let work = rules.genesis().header.bits.to_target().work().to_f64();
    let crowd = machines > CROWD;
    let weather = Weather {
        latency: latency / 2..latency * 3 / 2,
        loss: 0,
        doubled: 0,
        checking: Duration::from_millis(1)..Duration::from_millis(2),
        writing: Duration::from_millis(3)..Duration::from_millis(6),
        uplink: Some(UPLINK),
        callers: CALLERS,
        echo_reaches: echo_reaches.or(crowd.then_some(ECHO_REACHES)),
    };
    let mut world = World::new(Arc::new(rules.clone()), Arc::new(StandIn), weather, Random::new(seed));
    world.arrivals = Some(HashMap::new());
    world.status_interval = STATUS_INTERVAL;
    let failed = |at, what| Failure { seed, size: Size::Machines(machines), at, what };
    for id in 0..machines {
        world.add(
            Role {
                miner: Some(Signer::stand_in(900_000 + id as u64)),
                hash_rate: work / interval.as_secs_f64() / machines as f64,
                pool: Some(MempoolLimits::default()),
                serves_blocks: true,
                broadcast: true,
                ..Role::default()
            },
            Disk::new(&rules),
        );
        world.start(id).map_err(|violation| failed(world.now, violation.0))?;
    }
    while world.counts.found < blocks {
        world.run_for(interval).map_err(|violation| failed(world.now, violation.0))?;
    }
    world.mining = false;
    world.run_for(Duration::from_secs(120)).map_err(|violation| failed(world.now, violation.0))?;
    Ok(seen(&world, question))
}

fn seen(world: &World, question: &Question) -> Answer {
    let arrivals = world.arrivals.as_ref();
    let machines = question.machines;
    // Blocks that everybody has: those of the best chain, and no others that matter.
    let everywhere: Vec<(&BlockId, &Vec<Duration>)> =
        arrivals.into_iter().flatten().filter(|(_, times)| times.len() >= machines).collect();
    let mut all: Vec<Duration> = Vec::new();
    let mut lasts: Vec<Duration> = Vec::new();
    for (_, times) in &everywhere {
        let first = times.iter().min().copied().unwrap_or_default();
        let since: Vec<Duration> = times.iter().map(|time| *time - first).collect();
        lasts.extend(since.iter().max());
        all.extend(since);
    }
    all.sort_unstable();
    lasts.sort_unstable();
    let at = |times: &[Duration], share: f64| {
        times.get(((times.len().saturating_sub(1)) as f64 * share) as usize).copied().unwrap_or_default()
    };
    let height = world.best_tip(0..machines).map_or(0, |tip| tip.height.get());
    let found = world.counts.found;
    let mean = all.iter().sum::<Duration>() / (all.len().max(1) as u32);
    let undone: u64 = world.counts.depths.values().sum();
    Answer {
        height,
        found,
        forks: 1.0 - height as f64 / found.max(1) as f64,
        theory: 1.0 - (-mean.as_secs_f64() / question.interval.as_secs_f64()).exp(),
        reorganisations: undone as f64 / machines as f64 / height.max(1) as f64,
        deepest: world.counts.deepest,
        mean,
        median: at(&all, 0.5),
        p99: at(&all, 0.99),
        last: at(&lasts, 0.5),
    }
}
