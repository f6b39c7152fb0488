//! Eight lanes with AVX2, sixteen with AVX-512.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::Lanes;

/// Eight lanes: AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(__m256i);

/// Sixteen lanes: AVX-512F. It has an instruction to rotate, and one for any function of three bits.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(__m512i);

macro_rules! impl_lanes {
    ($name:ident, $vector:ident, $count:literal, $splat:ident, $add:ident, $xor:ident, $and:ident,
     $shift_right:ident, |$x:ident, $bits:ident| $rotate:expr $(, $own:item)?) => {
        impl Lanes for $name {
            type Words = [u32; $count];
            const COUNT: usize = $count;

            #[inline(always)]
            unsafe fn from_words(words: [u32; $count]) -> Self {
                // SAFETY: any bits are words of both types.
                Self(unsafe { transmute::<[u32; $count], $vector>(words) })
            }

            #[inline(always)]
            unsafe fn splat(word: u32) -> Self {
                // SAFETY: the caller has made sure of the instructions.
                Self(unsafe { $splat(word.cast_signed()) })
            }

            #[inline(always)]
            fn to_words(self) -> [u32; $count] {
                // SAFETY: any bits are words of both types.
                unsafe { transmute::<$vector, [u32; $count]>(self.0) }
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                // SAFETY: a value shows that the instructions are there.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            fn plus_word(self, word: u32) -> Self {
                // SAFETY: a value shows that the instructions are there.
                self.plus(unsafe { Self::splat(word) })
            }

            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                // SAFETY: a value shows that the instructions are there.
                Self(unsafe { $xor(self.0, other.0) })
            }

            #[inline(always)]
            fn and(self, other: Self) -> Self {
                // SAFETY: a value shows that the instructions are there.
                Self(unsafe { $and(self.0, other.0) })
            }

            #[inline(always)]
            fn rotate_right(self, bits: u32) -> Self {
                let ($x, $bits) = (self.0, bits.cast_signed());
                // SAFETY: a value shows that the instructions are there.
                Self(unsafe { $rotate })
            }

            #[inline(always)]
            fn shift_right(self, bits: u32) -> Self {
                // SAFETY: a value shows that the instructions are there.
                Self(unsafe { $shift_right(self.0, $splat(bits.cast_signed())) })
            }

            $($own)?
        }
    };
}

impl_lanes!(
    Avx2,
    __m256i,
    8,
    _mm256_set1_epi32,
    _mm256_add_epi32,
    _mm256_xor_si256,
    _mm256_and_si256,
    _mm256_srlv_epi32,
    |x, bits| _mm256_or_si256(
        _mm256_srlv_epi32(x, _mm256_set1_epi32(bits)),
        _mm256_sllv_epi32(x, _mm256_set1_epi32(32 - bits)),
    )
);
impl_lanes!(
    Avx512,
    __m512i,
    16,
    _mm512_set1_epi32,
    _mm512_add_epi32,
    _mm512_xor_si512,
    _mm512_and_si512,
    _mm512_srlv_epi32,
    |x, bits| _mm512_rorv_epi32(x, _mm512_set1_epi32(bits)),
    #[inline(always)]
    fn majority(x: Self, y: Self, z: Self) -> Self {
        // The truth table of two ones or three, from 0b111 down to 0b000.
        const TWO_OR_MORE: i32 = 0b1110_1000;
        // SAFETY: a value shows that the instructions are there.
        Self(unsafe { _mm512_ternarylogic_epi32::<TWO_OR_MORE>(x.0, y.0, z.0) })
    }
);
