//! SHA-256 (FIPS 180-4) of many messages side by side: the same steps, on words that hold one word of every
//! message. Mining tries 16 nonces at a time like this, and checking a block hashes 16 payments.
//!
//! [`compress`] is all of SHA-256's compression function, in the standard's own terms, for whatever words
//! there are: a plain `u32` hashes one message, `Avx512` sixteen.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub use aarch64::Neon;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

/// A word of 32 bits in each of some lanes; an operation does the same in every lane, and no lane sees
/// another.
///
/// A type may use instructions that not every processor has. To call the two functions that make a value out
/// of nothing is therefore `unsafe`; who has a value can only have got it where the instructions are. Use
/// these types inside functions with their `#[target_feature]`: what is inlined there becomes single
/// instructions, and elsewhere it is slow.
pub trait Lanes: Copy {
    /// A word for every lane: `[u32; N]`.
    type Words: AsRef<[u32]> + AsMut<[u32]> + Copy + Default;
    /// How many lanes there are.
    const COUNT: usize;

    /// The lanes with these words.
    ///
    /// # Safety
    /// The processor has the type's instructions.
    unsafe fn from_words(words: Self::Words) -> Self;

    /// The same word in every lane.
    ///
    /// # Safety
    /// The processor has the type's instructions.
    unsafe fn splat(word: u32) -> Self;

    /// The 16 words of a chunk in every lane, from the bytes of each lane's: big-endian numbers, of which the
    /// first words come together, then the second ones, and so on.
    ///
    /// # Safety
    /// The processor has the type's instructions.
    #[inline(always)]
    unsafe fn from_chunks<const COUNT: usize>(chunks: &[&[u8; 64]; COUNT]) -> [Self; 16] {
        let mut words = [Self::Words::default(); 16];
        for (lane, chunk) in chunks.iter().enumerate() {
            for (words, bytes) in words.iter_mut().zip(chunk.as_chunks().0) {
                words.as_mut()[lane] = u32::from_be_bytes(*bytes);
            }
        }
        // SAFETY: the caller's promise.
        words.map(|words| unsafe { Self::from_words(words) })
    }

    /// The word of every lane.
    fn to_words(self) -> Self::Words;

    /// Sum, modulo 2^32.
    fn plus(self, other: Self) -> Self;

    /// Sum with the same word in every lane.
    fn plus_word(self, word: u32) -> Self;

    /// Bitwise exclusive or.
    fn xor(self, other: Self) -> Self;

    /// Bitwise and.
    fn and(self, other: Self) -> Self;

    /// Rotates right, by 1 to 31 bits.
    fn rotate_right(self, bits: u32) -> Self;

    /// Shifts right, by 1 to 31 bits.
    fn shift_right(self, bits: u32) -> Self;

    /// Maj (section 4.1.2): the bits that two or three of them agree on. The next round's `y` and `z` are this
    /// one's `x` and `y`, so their difference is computed once for both.
    #[inline(always)]
    fn majority(x: Self, y: Self, z: Self) -> Self {
        x.xor(y).and(y.xor(z)).xor(y)
    }
}

/// One lane, for every processor.
impl Lanes for u32 {
    type Words = [u32; 1];
    const COUNT: usize = 1;

    #[inline(always)]
    unsafe fn from_words([word]: [u32; 1]) -> Self {
        word
    }

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        word
    }

    #[inline(always)]
    fn to_words(self) -> [u32; 1] {
        [self]
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn plus_word(self, word: u32) -> Self {
        self.wrapping_add(word)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self & other
    }

    #[inline(always)]
    fn rotate_right(self, bits: u32) -> Self {
        u32::rotate_right(self, bits)
    }

    #[inline(always)]
    fn shift_right(self, bits: u32) -> Self {
        self >> bits
    }
}

/// The state before the first chunk (section 5.3.3).
pub const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The constants of the 64 rounds (section 4.2.2).
#[rustfmt::skip]
pub const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// Σ0 (section 4.1.2), of a round's `a`.
#[inline(always)]
pub fn big_sigma0<L: Lanes>(x: L) -> L {
    x.rotate_right(2).xor(x.rotate_right(13)).xor(x.rotate_right(22))
}

/// Σ1, of a round's `e`.
#[inline(always)]
pub fn big_sigma1<L: Lanes>(x: L) -> L {
    x.rotate_right(6).xor(x.rotate_right(11)).xor(x.rotate_right(25))
}

/// σ0, of the word 15 before the one that is made.
#[inline(always)]
pub fn small_sigma0<L: Lanes>(x: L) -> L {
    x.rotate_right(7).xor(x.rotate_right(18)).xor(x.shift_right(3))
}

/// σ1, of the word 2 before the one that is made.
#[inline(always)]
pub fn small_sigma1<L: Lanes>(x: L) -> L {
    x.rotate_right(17).xor(x.rotate_right(19)).xor(x.shift_right(10))
}

/// Ch: the bits of `y` where `x` has ones, those of `z` where it has zeros.
#[inline(always)]
pub fn choose<L: Lanes>(x: L, y: L, z: L) -> L {
    y.xor(z).and(x).xor(z)
}

/// One of the 64 rounds (section 6.2.2, step 3), with its constant and the word of the message.
#[inline(always)]
pub fn round<L: Lanes>(state: &mut [L; 8], constant: u32, word: L) {
    let [a, b, c, d, e, f, g, h] = *state;
    let t1 = h.plus_word(constant).plus(word).plus(choose(e, f, g)).plus(big_sigma1(e));
    let t2 = L::majority(a, b, c).plus(big_sigma0(a));
    *state = [t1.plus(t2), a, b, c, d.plus(t1), e, f, g];
}

/// Calls a macro with the numbers 0 to 15. The rounds are written out with it, because a loop over lanes is
/// not unrolled by the compiler, and runs at half the speed.
macro_rules! sixteen_times {
    ($step:ident) => {
        $step!(0);
        $step!(1);
        $step!(2);
        $step!(3);
        $step!(4);
        $step!(5);
        $step!(6);
        $step!(7);
        $step!(8);
        $step!(9);
        $step!(10);
        $step!(11);
        $step!(12);
        $step!(13);
        $step!(14);
        $step!(15);
    };
}

/// Takes a chunk of 16 words into the state (section 6.2.2). The words of a chunk are big-endian numbers.
#[inline(always)]
pub fn compress<L: Lanes>(state: &mut [L; 8], chunk: &[L; 16]) {
    // Of the schedule's 64 words only the last 16 are needed.
    let (mut words, mut now) = (*chunk, *state);
    macro_rules! first_round {
        ($i:expr) => {
            round(&mut now, K[$i], words[$i]);
        };
    }
    sixteen_times!(first_round);
    macro_rules! later_rounds {
        ($from:expr) => {
            macro_rules! later_round {
                ($i:expr) => {
                    words[$i] = words[$i]
                        .plus(words[($i + 9) % 16])
                        .plus(small_sigma0(words[($i + 1) % 16]))
                        .plus(small_sigma1(words[($i + 14) % 16]));
                    round(&mut now, K[$from + $i], words[$i]);
                };
            }
            sixteen_times!(later_round);
        };
    }
    later_rounds!(16);
    later_rounds!(32);
    later_rounds!(48);
    for (word, now) in state.iter_mut().zip(now) {
        *word = word.plus(now);
    }
}
