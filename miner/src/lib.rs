//! The part of the miner that its benchmarks measure too: the search for a nonce. All else is the program's.

pub mod search;
