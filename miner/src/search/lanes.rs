//! The search in lanes: nonces side by side, and of each no more is computed than what differs.
//!
//! Of the last chunk's 16 words a batch varies one, the low half of the nonce. So the rounds before it, and
//! the terms of the message schedule that do not depend on it, are the same for 2^32 nonces: [`Constants`].

use common::lanes::{K, Lanes, round, small_sigma0, small_sigma1};

use super::Puzzle;
use super::puzzle::Range;

/// The word that varies.
const VARIED: usize = Puzzle::NONCE[0];

/// Which of the schedule's words depend on the one that varies.
const DEPENDS: [bool; 64] = {
    let mut depends = [false; 64];
    depends[VARIED] = true;
    let mut i = 16;
    while i < 64 {
        depends[i] = depends[i - 16] || depends[i - 15] || depends[i - 7] || depends[i - 2];
        i += 1;
    }
    depends
};

/// What is the same for all nonces with one high half.
struct Constants {
    /// The state after the round of the word that varies, as it is when that word is 0.
    state: [u32; 8],
    /// Every word of the schedule, or the sum of its terms that are the same for all.
    words: [u32; 64],
}

impl Constants {
    fn new(puzzle: &Puzzle, nonce: u64) -> Self {
        let mut words = [0; 64];
        words[..16].copy_from_slice(&puzzle.tail_with(nonce));
        words[VARIED] = 0;
        for i in 16..64 {
            let term = |back: usize, value: fn(u32) -> u32| match DEPENDS[i - back] {
                true => 0,
                false => value(words[i - back]),
            };
            let terms = [term(16, |w| w), term(15, small_sigma0), term(7, |w| w), term(2, small_sigma1)];
            words[i] = terms.into_iter().fold(0, u32::wrapping_add);
        }
        let mut state = puzzle.midstate;
        for i in 0..=VARIED {
            round(&mut state, K[i], words[i]);
        }
        Self { state, words }
    }
}

/// Round `i` and its word, which takes the place of the one 16 before it.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn step<L: Lanes>(state: &mut [L; 8], words: &mut [L; 16], constants: &Constants, i: usize) {
    // SAFETY: the caller's promise.
    let splat = |word| unsafe { L::splat(word) };
    if !DEPENDS[i] {
        return round(state, K[i].wrapping_add(constants.words[i]), splat(0));
    }
    let all_depend = DEPENDS[i - 16] && DEPENDS[i - 15] && DEPENDS[i - 7] && DEPENDS[i - 2];
    let mut word = splat(if all_depend { 0 } else { constants.words[i] });
    if DEPENDS[i - 16] {
        word = word.plus(words[i % 16]);
    }
    if DEPENDS[i - 7] {
        word = word.plus(words[(i - 7) % 16]);
    }
    if DEPENDS[i - 15] {
        word = word.plus(small_sigma0(words[(i - 15) % 16]));
    }
    if DEPENDS[i - 2] {
        word = word.plus(small_sigma1(words[(i - 2) % 16]));
    }
    words[i % 16] = word;
    round(state, K[i], word);
}

/// The first word of the id, in each lane for its own low half of the nonce.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn first_words<L: Lanes>(puzzle: &Puzzle, constants: &Constants, low: L::Words) -> L {
    // SAFETY: the caller's promise.
    let varied = unsafe { L::from_words(low) };
    // SAFETY: the caller's promise.
    let mut state = constants.state.map(|word| unsafe { L::splat(word) });
    // A round adds its word to `a` and to `e`.
    state[0] = state[0].plus(varied);
    state[4] = state[4].plus(varied);
    // The other words are made before they are read, or never read.
    let mut words = [varied; 16];
    // Written out, because the compiler unrolls no loop as long as this; with the number known, what a round
    // does not need falls away.
    macro_rules! steps {
        ($($i:literal)*) => {$(
            // SAFETY: the caller's promise.
            unsafe { step(&mut state, &mut words, constants, $i) };
        )*};
    }
    steps!(7 8 9 10 11 12 13 14 15);
    steps!(16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    steps!(32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47);
    steps!(48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63);
    state[0].plus_word(puzzle.midstate[0])
}

/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn search_range<L: Lanes>(puzzle: &Puzzle, range: Range) -> Option<u64> {
    let constants = Constants::new(puzzle, range.first);
    let mut tried = 0;
    while tried < range.count {
        let mut low = L::Words::default();
        for (word, lane) in low.as_mut().iter_mut().zip(0..) {
            // The last batch may go beyond the range; what it finds there does not count.
            *word = (range.first as u32).wrapping_add(tried).wrapping_add(lane).swap_bytes();
        }
        // SAFETY: the caller's promise.
        let words = unsafe { first_words::<L>(puzzle, &constants, low) }.to_words();
        // All lanes are looked at together, without a jump for each.
        if words.as_ref().iter().fold(false, |some, word| some | (*word <= puzzle.most)) {
            for (word, lane) in words.as_ref().iter().zip(0..(range.count - tried)) {
                let nonce = range.first + u64::from(tried + lane);
                if *word <= puzzle.most && puzzle.is_solved_by(nonce) {
                    return Some(nonce);
                }
            }
        }
        tried = tried.saturating_add(L::COUNT as u32);
    }
    None
}

/// See [`super::Kernel`].
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub unsafe fn search<L: Lanes>(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    for range in Range::cut(first, count) {
        // SAFETY: the caller's promise.
        let hit = unsafe { search_range::<L>(puzzle, range) };
        if hit.is_some() {
            return hit;
        }
    }
    None
}
