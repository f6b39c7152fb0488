//! Block servers that claim a better chain and then lie or stall: whoever follows the chain finds the honest one
//! all the same, and leaves the liars alone.

use std::time::Instant;

use common::files::Program;

use super::Figures;
use super::liar::{Liar, Lie, Truth};
use super::target::{EVERYTHING_ELSE_MIB, Target};
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
    let honest = network.home("honest");
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
    let (following, reading) = (network.home("following"), network.home("reading"));
    let mut miner = following.start_miner(&["--no-mine"]);
    let wallet = reading.start_wallet(&["sync", "--verbose"]);
    miner.wait_for("listening");
    for liar in &liars {
        eventually(&format!("both to call {liar}"), || (liar.calls() >= 2).then_some(()));
    }
    assert!(following.height(Program::Miner) <= BLOCKS && reading.height(Program::Wallet) <= BLOCKS);

    // An honest miner comes.
    drop(quiet);
    let started = Instant::now();
    let honest = Target::mining(honest, &[]);
    following.reach(Program::Miner, BLOCKS + MORE);
    let by_miner = started.elapsed();
    reading.reach(Program::Wallet, BLOCKS + MORE);
    let by_wallet = started.elapsed();
    let mut following = Target::new(following, miner, Some(mined_by));
    following.serve_honest_caller();
    following.goes_on(MORE);
    let height = reading.height(Program::Wallet);
    reading.reach(Program::Wallet, height + MORE);

    for liar in liars.iter().filter(|liar| liar.lie.is_fault()) {
        let told = |what: &str, how_long: &str| {
            let (said, what) = (following.said(), format!("{liar}{what}: "));
            said.lines().any(|line| line.contains(&what) && line.contains(how_long))
        };
        // Those that stall are waited for first, and the others have their turns beside them.
        eventually(&format!("{liar} ({:?}) to be banned", liar.lie), || {
            told(" broke the protocol", "ignored for 60 s").then_some(())
        });
        if scale > 1 {
            // It is called again after that, and left alone for longer: also those who have no better chain than
            // others by then, and so no opportunity for the same lie.
            let longer =
                || told(" broke the protocol", "ignored for 2 min") || told("", "called again in 2 min");
            eventually(&format!("{liar} ({:?}) to be left alone for longer", liar.lie), || {
                longer().then_some(())
            });
        }
    }
    wallet.stop();
    following.figures.add("liars", liars.len() as u64);
    following.figures.add("calls of them", liars.iter().map(Liar::calls).sum());
    following.figures.add("chain found by the miner after, ms", by_miner.as_millis() as u64);
    following.figures.add("by the wallet after, ms", by_wallet.as_millis() as u64);
    assert!(by_wallet < PATIENCE, "it took {by_wallet:?}");
    reading.audit(Program::Wallet);
    let (figures, _) = following.withstood(PEERS_MIB + EVERYTHING_ELSE_MIB);
    honest.withstood(EVERYTHING_ELSE_MIB);
    figures
}
