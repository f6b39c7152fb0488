//! The two built programs together, over real sockets and real databases: what a user does, what a crash or
//! an attacker does, and that the same ledger comes out everywhere.
//!
//! Every test has a network, ports and directories of its own, so all may run at once. They wait for what
//! they expect, up to a deadline (`trials::program::PATIENCE`), and never for a fixed time. Two variables make them
//! harder: `END_TO_END_KILLS`, how often a miner is killed (10), and `END_TO_END_BLOCKS_APART`, for how many
//! blocks one is cut off (20).
//!
//! They run the programs that were built beside them, which `cargo test --workspace` sees to.

#![cfg(target_os = "linux")]

mod announcements;
mod convergence;
mod crashes;
mod disk;
mod memory;
mod passphrases;
mod payments;
mod pipes;
mod regressions;
mod repair;
mod terminal;
