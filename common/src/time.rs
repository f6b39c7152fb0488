//! Moments and heights: the two numbers that are most easily taken for each other.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bincode::{Decode, Encode};

/// A moment, in milliseconds since 1970 UTC. Nodes are told the time; only program edges read a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since 1970 UTC.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970 UTC.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// What the system's clock says. Only drivers call this.
    pub fn from_system_clock() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// This moment and `millis` more, at most the end of time.
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// How many milliseconds this lies after `earlier`; 0 when it does not.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How many blocks above genesis a block is: genesis has height 0, its child 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Height(u64);

impl Height {
    /// Genesis.
    pub const GENESIS: Self = Self(0);
    /// The last height that the protocol has: 2^32 − 1.
    pub const MAX: Self = Self(u32::MAX as u64);

    /// From a number of blocks.
    pub const fn new(height: u64) -> Self {
        Self(height)
    }

    /// As a number of blocks.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The height of a child block. Saturates; `Height::MAX` bounds what is valid.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The height of the parent, or `None` for genesis.
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// How many blocks this lies above `lower`; 0 when it does not.
    pub const fn blocks_since(self, lower: Self) -> u64 {
        self.0.saturating_sub(lower.0)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
