//! Four lanes with NEON, which every 64-bit ARM processor has.

use std::arch::aarch64::*;
use std::mem::transmute;

use super::Lanes;

/// Four lanes: NEON.
#[derive(Clone, Copy, Debug)]
pub struct Neon(uint32x4_t);

/// Shifts left by so many bits, or right where there is a minus.
#[inline(always)]
fn shift(x: uint32x4_t, bits: i32) -> uint32x4_t {
    // SAFETY: every processor of this kind has NEON.
    unsafe { vshlq_u32(x, vdupq_n_s32(bits)) }
}

impl Lanes for Neon {
    type Words = [u32; 4];
    const COUNT: usize = 4;

    #[inline(always)]
    unsafe fn from_words(words: [u32; 4]) -> Self {
        // SAFETY: any bits are words of both types.
        Self(unsafe { transmute::<[u32; 4], uint32x4_t>(words) })
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: every processor of this kind has NEON.
        Self(unsafe { vdupq_n_u32(word) })
    }

    #[inline(always)]
    fn to_words(self) -> [u32; 4] {
        // SAFETY: any bits are words of both types.
        unsafe { transmute::<uint32x4_t, [u32; 4]>(self.0) }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        // SAFETY: every processor of this kind has NEON.
        Self(unsafe { vaddq_u32(self.0, other.0) })
    }

    #[inline(always)]
    fn plus_word(self, word: u32) -> Self {
        // SAFETY: every processor of this kind has NEON.
        self.plus(unsafe { Self::splat(word) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: every processor of this kind has NEON.
        Self(unsafe { veorq_u32(self.0, other.0) })
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: every processor of this kind has NEON.
        Self(unsafe { vandq_u32(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate_right(self, bits: u32) -> Self {
        let bits = bits.cast_signed();
        // SAFETY: every processor of this kind has NEON.
        Self(unsafe { vorrq_u32(shift(self.0, -bits), shift(self.0, 32 - bits)) })
    }

    #[inline(always)]
    fn shift_right(self, bits: u32) -> Self {
        Self(shift(self.0, -bits.cast_signed()))
    }
}
