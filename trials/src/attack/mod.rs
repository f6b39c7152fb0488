//! A hostile client, written for the purpose, against the real programs: over real sockets, on this machine alone.
//!
//! Each [`Attack`] has a network of its own and a target, which answers for what holds whatever anybody
//! does: an honest caller is served all the while, the chain only grows by what honest miners find, memory stays
//! within what `LIMITS.md` says and is flat, the log has an end, and the program goes on and ends as it should. Where
//! broadcasts are part of the attack, a wallet hears them, too. The rest of what an attack must not
//! achieve is asserted where it is made.

use std::fmt;

mod caller;
mod connections;
mod datagrams;
mod descriptors;
mod frames;
mod honest;
mod liar;
mod liars;
mod log_lines;
mod memory;
mod payments;
mod reader;
mod requests;
mod statuses;
mod target;
mod udp;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Random and damaged datagrams.
    Datagrams,
    /// Statuses that are invented, also in a victim's name.
    Statuses,
    /// Floods of payments, good and bad.
    Payments,
    /// Callers that say nothing, little, or read nothing.
    Connections,
    /// More callers than the system lets a program have files.
    Descriptors,
    /// Frames and requests that break the protocol, or ask for as much as it allows.
    Frames,
    /// Requests that cost little to make and much to answer.
    Requests,
    /// Block servers that lie and stall.
    Liars,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Datagrams,
        Self::Statuses,
        Self::Payments,
        Self::Connections,
        Self::Descriptors,
        Self::Frames,
        Self::Requests,
        Self::Liars,
    ];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Datagrams => "datagrams",
            Self::Statuses => "statuses",
            Self::Payments => "payments",
            Self::Connections => "connections",
            Self::Descriptors => "descriptors",
            Self::Frames => "frames",
            Self::Requests => "requests",
            Self::Liars => "liars",
        }
    }

    /// Attacks, so many times as hard as the tests do; panics where a promise is broken.
    pub fn run(self, scale: u32, seed: u64) -> Figures {
        assert!(scale > 0, "nothing would be tried");
        match self {
            Self::Datagrams => datagrams::run(scale, seed),
            Self::Statuses => statuses::run(scale, seed),
            Self::Payments => payments::run(scale, seed),
            Self::Connections => connections::run(scale, seed),
            Self::Descriptors => descriptors::run(scale),
            Self::Frames => frames::run(scale, seed),
            Self::Requests => requests::run(scale, seed),
            Self::Liars => liars::run(scale, seed),
        }
    }
}

/// Every attack has at least so many equal parts, so that the last can be compared with the first.
const ROUNDS: u32 = 2;

/// What an attack came to.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<(&'static str, u64)>);

impl Figures {
    /// So many more of something.
    fn add(&mut self, what: &'static str, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((what, count)),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (what, count)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{what} {count}")?;
        }
        Ok(())
    }
}
