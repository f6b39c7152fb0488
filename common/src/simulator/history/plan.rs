//! What a seed says.

use std::sync::Arc;
use std::time::Duration;

use super::{Payer, Size};
use crate::amount::Amount;
use crate::node::MempoolLimits;
use crate::rules::Rules;
use crate::signature::{RsaVerifier, SignatureVerifier};
use crate::simulator::byzantine::Malice;
use crate::simulator::machine::{MachineId, Role};
use crate::simulator::random::Random;
use crate::simulator::report::ECHO_REACHES;
use crate::simulator::signer::Signer;
use crate::simulator::world::Weather;
use crate::testing::StandIn;

/// One seed in so many has real signatures.
const REAL_SIGNATURES: u64 = 50;
/// One seed in so many has a thousand machines.
const CROWD: u64 = 5_000;

/// What a seed says.
pub(super) struct Plan {
    pub(super) machines: Vec<Role>,
    pub(super) rules: Rules,
    pub(super) weather: Weather,
    pub(super) payers: Vec<Payer>,
    pub(super) verifier: Arc<dyn SignatureVerifier>,
    /// How long things go wrong.
    pub(super) time: Duration,
    /// How many things go wrong.
    pub(super) faults: u64,
    pub(super) payments: u64,
    pub(super) status_interval: Duration,
}

impl Plan {
    pub(super) fn new(seed: u64, size: Size, random: &mut Random) -> Self {
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
        let crowd = count >= 200;
        let weather = Weather {
            latency: latency / 4..latency,
            loss: if random.happens(500) { random.below(300) } else { 0 },
            doubled: random.below(100),
            checking: Duration::ZERO..Duration::from_millis(random.below(60)),
            writing: Duration::ZERO..Duration::from_millis(1 + random.below(300)),
            uplink: random.happens(200).then(|| 20_000 + random.below(1_000_000)),
            callers: if random.happens(200) { 4 + count / 2 } else { 128 },
            echo_reaches: crowd.then_some(ECHO_REACHES),
        };
        let interval = Duration::from_millis(2_000 + random.below(8_000));
        let machines = some_machines(random, &rules, count, miners, interval);
        let payers = keys.into_iter().enumerate().map(|(place, key)| Payer {
            key,
            home: random.index(count),
            cheats: place == 0 && random.happens(300),
            issued: Vec::new(),
        });
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
pub(super) fn some_offset(random: &mut Random, rules: &Rules) -> i64 {
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
