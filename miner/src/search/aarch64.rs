//! The kernels for 64-bit ARM.

use std::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;
use std::mem::transmute;

use common::lanes::Neon;

use super::instructions::{self, Sha256Words};
use super::{Kernel, Puzzle, lanes};

/// Those that this machine can run, the fastest first.
pub fn kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    if is_aarch64_feature_detected!("sha2") {
        kernels.push(Kernel { name: "SHA2 instructions", batch: 4_096, search: sha2 });
    }
    kernels.push(Kernel { name: "NEON", batch: 1_024, search: neon });
    kernels
}

fn neon(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    // SAFETY: every processor of this kind has NEON.
    unsafe { lanes::search::<Neon>(puzzle, first, count) }
}

#[target_feature(enable = "sha2")]
fn sha2(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    // SAFETY: this function's own feature.
    unsafe { instructions::search::<Sha2>(puzzle, first, count) }
}

#[derive(Clone, Copy)]
struct Sha2(uint32x4_t);

/// ARM's order, from the lowest lane: `a` to `d` and `e` to `h`.
#[derive(Clone, Copy)]
struct State {
    abcd: uint32x4_t,
    efgh: uint32x4_t,
}

impl Sha256Words for Sha2 {
    type State = State;

    #[inline(always)]
    unsafe fn from_words(words: [u32; 4]) -> Self {
        // SAFETY: any bits are words of both types.
        Self(unsafe { transmute::<[u32; 4], uint32x4_t>(words) })
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { vaddq_u32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn next([w0, w1, w2, w3]: [Self; 4]) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { vsha256su1q_u32(vsha256su0q_u32(w0.0, w1.0), w2.0, w3.0) })
    }

    #[inline(always)]
    unsafe fn to_state([a, b, c, d, e, f, g, h]: [u32; 8]) -> State {
        // SAFETY: the caller's promise.
        unsafe { State { abcd: Self::from_words([a, b, c, d]).0, efgh: Self::from_words([e, f, g, h]).0 } }
    }

    #[inline(always)]
    unsafe fn four_rounds(State { abcd, efgh }: State, sums: Self) -> State {
        // SAFETY: the caller's promise.
        unsafe { State { abcd: vsha256hq_u32(abcd, efgh, sums.0), efgh: vsha256h2q_u32(efgh, abcd, sums.0) } }
    }

    #[inline(always)]
    unsafe fn first_word(state: State) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { vgetq_lane_u32::<0>(state.abcd) }
    }
}
