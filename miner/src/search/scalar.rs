//! The portable kernel: one nonce at a time, by the `sha2` crate's compression function, which uses the
//! processor's SHA instructions where it has them.

use sha2::block_api::compress256;

use super::Puzzle;

/// SHA-256's initial state (FIPS 180-4, section 5.3.3).
pub(super) const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// See [`super::Kernel`].
pub(super) fn search(puzzle: &Puzzle, first: u64, count: u32) -> Option<u64> {
    let mut tail = puzzle.tail;
    for tried in 0..u64::from(count) {
        let nonce = first.wrapping_add(tried);
        tail[Puzzle::NONCE_OFFSET..Puzzle::NONCE_OFFSET + 8].copy_from_slice(&nonce.to_le_bytes());
        let mut state = puzzle.midstate;
        compress256(&mut state, std::slice::from_ref(&tail));
        if puzzle.is_solved_by(&state) {
            return Some(nonce);
        }
    }
    None
}
