//! The kernels: what hashes, in several ways with the same answers, and which of them this machine can run.

use std::fmt;

use super::{Puzzle, lanes};

/// A way to search, which this machine can run.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// What it uses of the processor.
    pub name: &'static str,
    /// Nonces between two looks at whether there is something else to work on: a few tenths of a millisecond
    /// on a slow machine, and still nothing beside the hashing.
    pub batch: u32,
    /// May be called where the processor has what the name says. A kernel comes into being nowhere else.
    pub(super) search: unsafe fn(&Puzzle, u64, u32) -> Option<u64>,
}

impl Kernel {
    /// Tries so many nonces from `first` on, in ascending order (after the last comes 0), and gives the first
    /// that solves the puzzle.
    pub fn search(&self, puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
        // SAFETY: the processor has what it takes, see the field.
        unsafe { (self.search)(puzzle, first, count) }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All that this machine can run, the fastest first. The last, in plain Rust, runs everywhere.
pub fn kernels() -> Vec<Kernel> {
    #[cfg(target_arch = "x86_64")]
    let mut kernels = super::x86::kernels();
    #[cfg(target_arch = "aarch64")]
    let mut kernels = super::aarch64::kernels();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let mut kernels = Vec::new();
    kernels.push(Kernel { name: "portable", batch: 512, search: portable });
    kernels
}

/// The fastest for this machine.
pub fn best_kernel() -> Kernel {
    kernels()[0]
}

fn portable(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    // SAFETY: one lane needs no special instructions.
    unsafe { lanes::search::<u32>(puzzle, first, count) }
}
