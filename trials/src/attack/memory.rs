//! The memory of a program that is attacked: it has an upper bound, and an attack that goes on makes it no larger.
//!
//! What is measured is what the system counts. So that this is what the program holds, and not what the allocator keeps
//! of what was freed, [`frugal`] programs give it back: the allocator of glibc has heaps for many threads otherwise,
//! which fill up one after the other for a long time.

use super::Figures;
use crate::program::Home;
use crate::system::{MemoryWatch, anonymous_bytes};

/// What the allocator may keep besides what is in use, in MiB.
const SLACK_MIB: u64 = 32;
/// By how much more one round of an attack may take at most than an equal one before it, in MiB: by chance one more of
/// the longest requests is decoded at a time (`REQUEST_TAKES` in `LIMITS.md`).
const PEAK_MIB: u64 = 24;
/// By how much more may be left of it at its end, when no such request is: this is what an attack that goes on adds up.
const LEFT_MIB: u64 = 4;

/// A home whose programs give back what they free.
pub fn frugal(home: Home<'_>) -> Home<'_> {
    home.with_variable("MALLOC_ARENA_MAX", "1")
        .with_variable("MALLOC_MMAP_THRESHOLD_", "65536")
        .with_variable("MALLOC_TRIM_THRESHOLD_", "131072")
}

/// The memory of one program, round by round.
pub struct Memory {
    pid: u32,
    watch: MemoryWatch,
    before: u64,
    /// What a bounded memory of what was seen may take up slowly, round by round, in MiB.
    remembers_mib: u64,
    /// The most in each round, and what was left at its end.
    rounds: Vec<(u64, u64)>,
}

impl Memory {
    /// Of a program that runs, before the attack.
    pub fn of(pid: u32) -> Self {
        let before = anonymous_bytes(pid).expect("it runs");
        Self { pid, watch: MemoryWatch::start(pid), before, remembers_mib: 0, rounds: Vec::new() }
    }

    /// It remembers something of each thing that comes, in as much room as `LIMITS.md` says, which one round need not
    /// fill.
    pub fn remembers(&mut self, mib: u64) {
        self.remembers_mib = mib;
    }

    /// A round of the attack is over; all of them are equal.
    pub fn end_round(&mut self) {
        let now = anonymous_bytes(self.pid).expect("it runs");
        self.rounds.push((self.watch.take_most_bytes().max(now), now));
    }

    /// The attack is over: asserts that the last round took no more than the first, and that strangers could make the
    /// program hold no more than this.
    pub fn withstood(&self, most_mib: u64, figures: &mut Figures, names: [&'static str; 3]) {
        let [first, .., last] = self.rounds[..] else { panic!("there is nothing to compare with") };
        let most = self.rounds.iter().map(|(most, _)| *most).fold(self.watch.most_bytes(), u64::max);
        for (name, bytes) in names.into_iter().zip([first.0, last.0, most]) {
            figures.add(name, bytes >> 10);
        }
        let remembers = self.remembers_mib << 20;
        assert!(
            last.0 <= first.0 + (PEAK_MIB << 20) + remembers
                && last.1 <= first.1 + (LEFT_MIB << 20) + remembers,
            "its memory grows while the attack goes on: {:?} bytes at most and at the end of equal rounds",
            self.rounds,
        );
        let grown_mib = most.saturating_sub(self.before) >> 20;
        assert!(grown_mib <= most_mib + SLACK_MIB, "its memory grew by {grown_mib} MiB");
    }
}
