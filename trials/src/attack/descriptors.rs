//! More callers than the system lets a miner have open files.

use std::fs;

use super::Figures;
use super::caller::{Caller, stranger};
use super::honest::visit;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use crate::program::{Network, eventually};

/// How many files and sockets the miner may have open: little more than it needs for itself.
const FILES: u32 = 64;
/// Callers at a time, from some addresses.
const CALLERS: u32 = 200;
const ADDRESSES: u32 = 4;
/// Blocks that it has to find while it has no descriptor left.
const BLOCKS: u64 = 3;

pub fn run(scale: u32) -> Figures {
    let network = Network::new();
    let home = network.home("attacked");
    let miner = home.start_miner_with_files(FILES, &[]);
    let mut target = Target::new(home, miner, None);
    let (place, id) = (target.place, target.network());
    for _ in 0..scale {
        // Those for whom there is no descriptor wait in the system's queue, and so would everybody else.
        let call = |number| Caller::call(stranger(number % ADDRESSES), place).expect("the system takes the call");
        let callers: Vec<Caller> = (0..CALLERS).map(call).collect();
        eventually("all descriptors to be in use", || (files(target.pid()) >= FILES as usize).then_some(()));
        target.goes_on(BLOCKS);
        target.figures.add("connections", callers.len() as u64);
        drop(callers);
        let took = eventually("a caller to be served again", || visit(place, id).ok());
        target.figures.add("visits afterwards, ms", took.as_millis() as u64);
    }
    target.serve_honest_caller();
    target.serves(3);
    target.withstood(EVERYTHING_ELSE_MIB).0
}

/// How many files a program has open.
fn files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}
