//! The search with a processor's instructions for SHA-256, which do four rounds, or make four words of the
//! message schedule, at a time.

use common::lanes::K;

use super::Puzzle;
use super::puzzle::Range;

/// Nonces that are tried at once: an instruction takes several cycles to give its result, in which another
/// nonce's can begin.
pub const STREAMS: usize = 2;

/// Four words, and the instructions of a processor that take them.
///
/// # Safety
/// All functions want a processor that has the instructions.
pub trait Sha256Words: Copy {
    /// SHA-256's eight words of state, in the order of the instructions.
    type State: Copy;

    /// From four words.
    unsafe fn from_words(words: [u32; 4]) -> Self;

    /// Sums, modulo 2^32.
    unsafe fn plus(self, other: Self) -> Self;

    /// The four words of the schedule that come after these sixteen.
    unsafe fn next(sixteen: [Self; 4]) -> Self;

    /// From the words `a` to `h`.
    unsafe fn to_state(words: [u32; 8]) -> Self::State;

    /// The state after four rounds, with the sums of their words and constants.
    unsafe fn four_rounds(state: Self::State, sums: Self) -> Self::State;

    /// The word `a`.
    unsafe fn first_word(state: Self::State) -> u32;
}

/// Four of the rounds' constants.
///
/// # Safety
/// The processor has the instructions of `W`.
#[inline(always)]
unsafe fn constants<W: Sha256Words>(group: usize) -> W {
    // SAFETY: the caller's promise.
    unsafe { W::from_words([K[4 * group], K[4 * group + 1], K[4 * group + 2], K[4 * group + 3]]) }
}

/// What is the same for all nonces with one high half.
struct Constants<W: Sha256Words> {
    /// The state after the first four rounds.
    state: W::State,
    /// The words 4 to 7, two of which are the nonce.
    with_nonce: [u32; 4],
    /// The words 8 to 19, four at a time.
    words: [W; 3],
    /// Their sums with their rounds' constants.
    sums: [W; 3],
}

impl<W: Sha256Words> Constants<W> {
    /// # Safety
    /// The processor has the instructions of `W`.
    #[inline(always)]
    unsafe fn new(puzzle: &Puzzle, nonce: u64) -> Self {
        let tail = puzzle.tail_with(nonce);
        let four = |group: usize| std::array::from_fn(|i| tail[4 * group + i]);
        // SAFETY: the caller's promise.
        unsafe {
            let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|group| W::from_words(four(group)));
            // The word 6, which varies, has no part in these.
            let w4 = W::next([w0, w1, w2, w3]);
            let state = W::four_rounds(W::to_state(puzzle.midstate), w0.plus(constants(0)));
            let sums = [w2.plus(constants(2)), w3.plus(constants(3)), w4.plus(constants(4))];
            Self { state, with_nonce: four(1), words: [w2, w3, w4], sums }
        }
    }
}

/// The first word of the ids for these low halves of the nonce.
///
/// # Safety
/// The processor has the instructions of `W`.
#[inline(always)]
unsafe fn first_words<W: Sha256Words>(
    puzzle: &Puzzle,
    same: &Constants<W>,
    low: [u32; STREAMS],
) -> [u32; STREAMS] {
    let mut states = [same.state; STREAMS];
    let [w4, w5, _, w7] = same.with_nonce;
    // SAFETY: the caller's promise.
    unsafe {
        // The last sixteen words, four at a time.
        let mut words = low.map(|low| {
            let varied = W::from_words([w4, w5, low, w7]);
            [same.words[2], varied, same.words[0], same.words[1]]
        });
        for (state, words) in states.iter_mut().zip(&words) {
            *state = W::four_rounds(*state, words[1].plus(constants(1)));
        }
        for sums in same.sums {
            for state in &mut states {
                *state = W::four_rounds(*state, sums);
            }
        }
        macro_rules! groups {
            ($($i:literal)*) => {$(
                for (state, words) in states.iter_mut().zip(&mut words) {
                    words[$i % 4] = W::next([
                        words[$i % 4],
                        words[($i + 1) % 4],
                        words[($i + 2) % 4],
                        words[($i + 3) % 4],
                    ]);
                    *state = W::four_rounds(*state, words[$i % 4].plus(constants($i)));
                }
            )*};
        }
        groups!(5 6 7 8 9 10 11 12 13 14 15);
        states.map(|state| W::first_word(state).wrapping_add(puzzle.midstate[0]))
    }
}

/// # Safety
/// The processor has the instructions of `W`.
#[inline(always)]
unsafe fn search_range<W: Sha256Words>(puzzle: &Puzzle, Range { first, count }: Range) -> Option<u64> {
    // SAFETY: the caller's promise.
    let same = unsafe { Constants::<W>::new(puzzle, first) };
    let mut tried = 0;
    while tried < count {
        // The last ones may go beyond the range; what they find there does not count.
        let nonces: [u64; STREAMS] = std::array::from_fn(|i| first + u64::from(tried) + i as u64);
        let low = nonces.map(|nonce| (nonce as u32).swap_bytes());
        // SAFETY: the caller's promise.
        let words = unsafe { first_words::<W>(puzzle, &same, low) };
        for (word, nonce) in words.into_iter().zip(nonces) {
            if word <= puzzle.most && nonce - first < u64::from(count) && puzzle.is_solved_by(nonce) {
                return Some(nonce);
            }
        }
        tried = tried.saturating_add(STREAMS as u32);
    }
    None
}

/// See [`super::Kernel`].
///
/// # Safety
/// The processor has the instructions of `W`.
#[inline(always)]
pub unsafe fn search<W: Sha256Words>(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    for range in Range::cut(first, count) {
        // SAFETY: the caller's promise.
        let hit = unsafe { search_range::<W>(puzzle, range) };
        if hit.is_some() {
            return hit;
        }
    }
    None
}
