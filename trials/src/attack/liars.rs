//! Block servers that claim a better chain and then lie or stall: whoever follows the chain finds the honest one
//! all the same, and leaves the liars alone.

use std::time::Instant;

use common::files::Program;
use common::node::limits::FIRST_BAN;

use super::Figures;
use super::liar::{Liar, Lie, Truth};
use super::memory::frugal;
use super::reader::Reader;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use crate::crash::recording::Clock;
use crate::crash::scenes::mine_chain;
use crate::program::{Network, PATIENCE, eventually};

/// Blocks of the honest chain when it is met.
const BLOCKS: u64 = 40;
/// Blocks that have to be taken from the honest miner while the liars go on.
const MORE: u64 = 5;
/// Answers of peers that are being read, and bodies being fetched, in MiB (`LIMITS.md`).
const PEERS_MIB: u64 = 128 + 56;

pub fn run(scale: u32, seed: u64) -> Figures {
    let network = Network::new();
    let honest = frugal(network.home("honest"));
    mine_chain(&honest, BLOCKS);
    let mined_by = honest.address("mining_rewards");
    let quiet = honest.cut_off();
    let miner = quiet.start_miner(&["--no-mine"]);
    let quiet = Target::new(quiet, miner, Some(mined_by));
    let truth = Truth::of(quiet.place, network.rules.network_id());
    let liars: Vec<Liar> = (0_u32..)
        .zip(Lie::ALL)
        .map(|(number, lie)| Liar::start(lie, number, &network, &truth, seed + u64::from(number)))
        .collect();

    // A miner and a wallet that meet nobody but liars.
    let clock = Clock::new(network.directory().join("clock"));
    let following = clock.given_to(frugal(network.home("following")));
    let mut miner = following.start_miner(&["--no-mine"]);
    let mut reader = Reader::start(frugal(network.home("reading")));
    miner.wait_for("listening");
    for liar in &liars {
        eventually(&format!("both to call {liar}"), || (liar.calls() >= 2).then_some(()));
    }
    assert!(following.height(Program::Miner) <= BLOCKS && reader.home.height(Program::Wallet) <= BLOCKS);

    // An honest miner comes.
    drop(quiet);
    let started = Instant::now();
    let mut honest = Target::mining(honest, &[]);
    following.reach(Program::Miner, BLOCKS + MORE);
    let by_miner = started.elapsed();
    reader.home.reach(Program::Wallet, BLOCKS + MORE);
    let by_wallet = started.elapsed();
    let mut following = Target::new(following, miner, Some(mined_by)).with_clock(clock);
    following.serve_honest_caller();
    following.goes_on(MORE);
    let height = reader.home.height(Program::Wallet);
    reader.home.reach(Program::Wallet, height + MORE);
    // The liars go on as before.
    following.end_round();
    honest.end_round();
    reader.end_round();

    let told = |said: &str, liar: &Liar, what: &str, how_long: &str| {
        let what = format!("{liar}{what}: ");
        said.lines().any(|line| line.contains(&what) && line.contains(how_long))
    };
    let faulty = || liars.iter().filter(|liar| liar.lie.is_fault());
    for liar in faulty() {
        // Those that stall are waited for first, and the others have their turns beside them.
        eventually(&format!("{liar} ({:?}) to be banned", liar.lie), || {
            told(&following.said(), liar, " broke the protocol", "ignored for 60 s").then_some(())
        });
    }
    if scale == 1 {
        following.pass(FIRST_BAN);
    }
    for liar in faulty() {
        // It is called again after that, and left alone for longer: also those who have no better chain than others by
        // then, and so no opportunity for the same lie.
        eventually(&format!("{liar} ({:?}) to be left alone for longer", liar.lie), || {
            let said = following.said();
            let banned = told(&said, liar, " broke the protocol", "ignored for 2 min");
            (banned || told(&said, liar, "", "called again in 2 min")).then_some(())
        });
    }
    following.goes_on(MORE);
    following.end_round();
    honest.end_round();
    reader.end_round();
    following.figures.add("liars", liars.len() as u64);
    following.figures.add("calls of them", liars.iter().map(Liar::calls).sum());
    following.figures.add("chain found by the miner after, ms", by_miner.as_millis() as u64);
    following.figures.add("by the wallet after, ms", by_wallet.as_millis() as u64);
    assert!(by_wallet < PATIENCE, "it took {by_wallet:?}");
    reader.withstood(&honest.home, PEERS_MIB + EVERYTHING_ELSE_MIB, &mut following.figures);
    let (figures, _) = following.withstood(PEERS_MIB + EVERYTHING_ELSE_MIB);
    honest.withstood(EVERYTHING_ELSE_MIB);
    figures
}
