//! The kernels for x86-64.

use std::arch::x86_64::*;
use std::mem::transmute;

use common::lanes::{Avx2, Avx512};

use super::instructions::{self, Sha256Words};
use super::{Kernel, Puzzle, lanes};

/// Those that this machine can run, the fastest first: each wants every feature that its function enables, also where
/// no processor has the one without the other, for a hypervisor may hide any of them.
pub fn kernels() -> Vec<Kernel> {
    let mut kernels = Vec::new();
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
        kernels.push(Kernel { name: "AVX-512", batch: 8_192, search: avx512 });
    }
    if is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
    {
        kernels.push(Kernel { name: "SHA extensions", batch: 4_096, search: sha });
    }
    if is_x86_feature_detected!("avx2") {
        kernels.push(Kernel { name: "AVX2", batch: 4_096, search: avx2 });
    }
    if is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") {
        kernels.push(Kernel { name: "BMI2", batch: 512, search: bmi2 });
    }
    kernels
}

#[target_feature(enable = "avx512f,avx512bw")]
fn avx512(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    // SAFETY: this function's own features.
    unsafe { lanes::search::<Avx512>(puzzle, first, count) }
}

#[target_feature(enable = "avx2")]
fn avx2(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    // SAFETY: this function's own feature.
    unsafe { lanes::search::<Avx2>(puzzle, first, count) }
}

/// Rotations that leave their operand as it was, and so need no copies of it (BMI2), and "and not" in one (BMI1).
#[target_feature(enable = "bmi1,bmi2")]
fn bmi2(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    // SAFETY: one lane needs no special instructions.
    unsafe { lanes::search::<u32>(puzzle, first, count) }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn sha(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    // SAFETY: this function's own features.
    unsafe { instructions::search::<ShaExtensions>(puzzle, first, count) }
}

#[derive(Clone, Copy)]
struct ShaExtensions(__m128i);

/// Intel's order, from the lowest lane: `f`, `e`, `b`, `a` and `h`, `g`, `d`, `c`.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

impl Sha256Words for ShaExtensions {
    type State = State;

    #[inline(always)]
    unsafe fn from_words(words: [u32; 4]) -> Self {
        // SAFETY: any bits are words of both types.
        Self(unsafe { transmute::<[u32; 4], __m128i>(words) })
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { _mm_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn next([w0, w1, w2, w3]: [Self; 4]) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let sums = _mm_add_epi32(_mm_sha256msg1_epu32(w0.0, w1.0), _mm_alignr_epi8(w3.0, w2.0, 4));
            Self(_mm_sha256msg2_epu32(sums, w3.0))
        }
    }

    #[inline(always)]
    unsafe fn to_state([a, b, c, d, e, f, g, h]: [u32; 8]) -> State {
        // SAFETY: the caller's promise.
        unsafe { State { abef: Self::from_words([f, e, b, a]).0, cdgh: Self::from_words([h, g, d, c]).0 } }
    }

    #[inline(always)]
    unsafe fn four_rounds(State { abef, cdgh }: State, sums: Self) -> State {
        // Two rounds make of `a`, `b`, `e` and `f` the next `c`, `d`, `g` and `h`.
        // SAFETY: the caller's promise.
        unsafe {
            let after_two = _mm_sha256rnds2_epu32(cdgh, abef, sums.0);
            let last_sums = _mm_shuffle_epi32(sums.0, 0b1110);
            State { abef: _mm_sha256rnds2_epu32(abef, after_two, last_sums), cdgh: after_two }
        }
    }

    #[inline(always)]
    unsafe fn first_word(state: State) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { _mm_extract_epi32(state.abef, 3) }.cast_unsigned()
    }
}
