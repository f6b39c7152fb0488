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
     $shift_right:ident, |$x:ident, $bits:ident| $rotate:expr $(, $own:item)*) => {
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

            $($own)*
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
    },
    #[inline(always)]
    unsafe fn from_chunks<const COUNT: usize>(chunks: &[&[u8; 64]; COUNT]) -> [Self; 16] {
        // SAFETY: the caller's promise; a chunk has the 64 bytes that are read, and lanes that have none stay
        // empty.
        unsafe {
            let mut rows = [_mm512_setzero_si512(); 16];
            for (row, chunk) in rows.iter_mut().zip(chunks) {
                *row = from_big_endian(_mm512_loadu_si512(chunk.as_ptr().cast()));
            }
            transpose(rows).map(Self)
        }
    }
);

/// Turns the bytes of every word around.
///
/// # Safety
/// The processor has AVX-512F.
#[inline(always)]
unsafe fn from_big_endian(words: __m512i) -> __m512i {
    // Bits of the second where the first has ones, of the third where it has zeros.
    const SELECT: i32 = 0b1100_1010;
    // SAFETY: the caller's promise.
    unsafe {
        let second_and_fourth = _mm512_set1_epi32(0x00ff_00ff);
        let (left, right) = (_mm512_rol_epi32::<8>(words), _mm512_ror_epi32::<8>(words));
        _mm512_ternarylogic_epi32::<SELECT>(second_and_fourth, left, right)
    }
}

/// Rows of 16 words to columns: first within the four words of each quarter, then the quarters.
///
/// # Safety
/// The processor has AVX-512F.
#[inline(always)]
unsafe fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    // The even quarters of two registers, and the odd ones.
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    // SAFETY: the caller's promise.
    unsafe {
        let mut fours = rows;
        for rows in fours.as_chunks_mut::<4>().0 {
            let [a, b, c, d] = *rows;
            let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            *rows = [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ab_high, cd_high),
                _mm512_unpackhi_epi64(ab_high, cd_high),
            ];
        }
        // Quarter q of `fours[4 * r + c]` now holds column 4 * q + c of the rows 4 * r to 4 * r + 3.
        let mut columns = [_mm512_setzero_si512(); 16];
        for c in 0..4 {
            let [first, second, third, fourth] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
            let even = _mm512_shuffle_i32x4::<EVEN>(first, second);
            let odd = _mm512_shuffle_i32x4::<ODD>(first, second);
            let even_after = _mm512_shuffle_i32x4::<EVEN>(third, fourth);
            let odd_after = _mm512_shuffle_i32x4::<ODD>(third, fourth);
            columns[c] = _mm512_shuffle_i32x4::<EVEN>(even, even_after);
            columns[4 + c] = _mm512_shuffle_i32x4::<EVEN>(odd, odd_after);
            columns[8 + c] = _mm512_shuffle_i32x4::<ODD>(even, even_after);
            columns[12 + c] = _mm512_shuffle_i32x4::<ODD>(odd, odd_after);
        }
        columns
    }
}
