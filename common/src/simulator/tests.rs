//! Three hundred histories; that they hold what they promise to hold; and that the simulator sees what is wrong.
//! `scripts/simulate` lives through as many as anybody has time for.

use super::report::{Question, answer};
use super::*;

/// So many seeds in one test: they run side by side.
const SEEDS: u64 = 100;

fn live_through(seeds: std::ops::Range<u64>) -> Counts {
    let mut counts = Counts::default();
    for seed in seeds {
        match run(seed, Size::Chance, None) {
            Ok(summary) => counts.add(&summary.counts),
            Err(failure) => panic!("{failure}"),
        }
    }
    counts
}

/// What takes somebody with hash power who breaks the rules, and luck: not to be seen in every hundred histories.
const RARE: [&str; 3] = ["forged_blocks", "latest_times", "earliest_times"];

/// Each kind of thing that can go wrong did, and the rules were broken in each way.
fn assert_eventful(counts: &Counts) {
    let is_rare = |name: &str| RARE.contains(&name);
    let quiet: Vec<_> =
        counts.numbers().into_iter().filter(|(name, number)| *number == 0 && !is_rare(name)).collect();
    assert_eq!(quiet, [], "this never happened");
    assert!(counts.deepest >= 3, "no reorganisation was deep: {:?}", counts.depths);
}

macro_rules! histories {
    ($($name:ident $number:literal)*) => {
        $(#[test]
        fn $name() {
            assert_eventful(&live_through($number * SEEDS..($number + 1) * SEEDS));
        })*
    };
}

histories! {
    histories_end_well_0 0
    histories_end_well_1 1
    histories_end_well_2 2
}

/// Seeds in which a miner makes invalid blocks, or blocks with the latest or the earliest times that pass.
#[test]
fn miners_break_rules_too() {
    let mut counts = Counts::default();
    for seed in [75, 79, 82, 88, 108, 163, 167, 201, 240, 298] {
        counts.add(&live_through(seed..seed + 1));
    }
    let rare: Vec<_> = counts.numbers().into_iter().filter(|(name, _)| RARE.contains(name)).collect();
    assert!(rare.len() == RARE.len() && rare.iter().all(|(_, number)| *number > 0), "{rare:?}");
}

#[test]
fn a_crowd_agrees() {
    let summary = run(0, Size::Machines(200), None).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(summary.machines, 200);
    assert!(summary.counts.agreed > 100, "{:?}", summary.counts);
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in (0..400).step_by(40) {
        let [first, second] = [(), ()].map(|()| run(seed, Size::Chance, None));
        assert_eq!(first, second);
        assert!(first.is_ok_and(|summary| summary.trace != 0));
    }
}

#[test]
fn a_disk_that_forgets_is_found_out() {
    let failures: Vec<_> = (0..10)
        .filter_map(|seed| run_on(seed, Size::Chance, None, |rules| Disk::forgetful(rules, 5)).err())
        .collect();
    assert_eq!(failures.len(), 10, "{failures:?}");
    let seen = ["the supply is", "the ledger is not the blocks'", "is inconsistent with the blocks"];
    // Elsewhere it is seen by what follows from it, such as a payment that can never be made.
    let at_once = failures.iter().filter(|failure| seen.iter().any(|seen| failure.what.contains(seen)));
    assert!(at_once.count() >= 8, "{failures:?}");
    for failure in failures {
        assert!(failure.to_string().contains(&format!("scripts/simulate --seed {}", failure.seed)));
    }
}

#[test]
fn a_small_network_forks_about_as_often_as_theory_says() {
    let question = Question {
        machines: 8,
        interval: Duration::from_secs(1),
        latency: Duration::from_millis(100),
        blocks: 400,
        echo_reaches: None,
        seed: 3,
    };
    let seen = answer(&question).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(seen.theory > 0.1, "{seen:?}");
    assert!((seen.forks / seen.theory - 1.0).abs() < 0.5, "{seen:?}");
    assert!(seen.median < seen.p99 && seen.height > 200, "{seen:?}");
}
