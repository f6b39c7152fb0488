//! More callers than the system lets a miner have open files: it keeps some for itself, so that an honest caller is
//! served; and where there is none left all the same, it goes on mining, and serves when there are some again.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::caller::{Caller, stranger};
use super::honest::visit;
use super::memory::frugal;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use super::{Figures, ROUNDS};
use crate::program::{Network, eventually};

/// How many files and sockets the miner may have open: 32 callers, and what it needs for itself.
const FILES: u32 = 96;
/// Callers at a time, from some addresses: fewer than wait in the system's queue.
const CALLERS: u32 = 100;
const ADDRESSES: u32 = 4;
/// Blocks that it has to find meanwhile.
const BLOCKS: u64 = 3;

pub fn run(scale: u32) -> Figures {
    let network = Network::new();
    let home = frugal(network.home("attacked"));
    let miner = home.start_miner_with_files(FILES, &[]);
    let mut target = Target::new(home, miner, None);
    target.serve_honest_caller();
    let place = target.place;
    let flood = || -> Vec<Caller> {
        let call =
            |number| Caller::call(stranger(number % ADDRESSES), place).expect("the system takes the call");
        (0..CALLERS).map(call).collect()
    };
    let mut most_files = 0;
    for _ in 0..ROUNDS {
        for _ in 0..scale {
            let callers = flood();
            target.goes_on(BLOCKS);
            target.serves(3);
            most_files = most_files.max(files(target.pid()));
            target.figures.add("connections", callers.len() as u64);
        }
        target.dismiss_honest_caller();
        for _ in 0..scale.min(10) {
            // Now there are none left at all: who is not accepted waits in the system's queue, and so do the honest.
            let now = files(target.pid());
            allow(target.pid(), now as u64);
            let callers = flood();
            target.goes_on(BLOCKS);
            target.figures.add("connections", callers.len() as u64);
            drop(callers);
            allow(target.pid(), FILES.into());
            let took = eventually("a caller to be served again", || visit(place, target.network()).ok());
            target.figures.add("visits afterwards, ms", took.as_millis() as u64);
        }
        target.serve_honest_caller();
        target.serves(3);
        target.end_round();
    }
    target.figures.add("most files open", most_files as u64);
    target.withstood(EVERYTHING_ELSE_MIB).0
}

/// How many files a program has open.
fn files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// Sets how many files a program may have open.
fn allow(pid: u32, files: u64) {
    let pid = Pid::from_raw(pid as i32).expect("no program has the number 0");
    // The upper limit stays, or it could not be raised again.
    let limit = Rlimit { current: Some(files), maximum: Some(FILES.into()) };
    prlimit(Some(pid), Resource::Nofile, limit).expect("it is this user's program");
}
