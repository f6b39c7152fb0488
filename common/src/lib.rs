//! What a farthing wallet and a farthing miner share.
//!
//! The layers point one way, each using only those above it:
//!
//! 1. values: [`amount`], [`hash`], [`time`], [`address`], [`encoding`]; [`lanes`], SHA-256 of many messages
//!    side by side;
//! 2. data: [`transaction`], [`block`], [`merkle`], [`rules`], [`difficulty`], [`signature`], [`keys`];
//! 3. validity: [`consensus`], then [`ledger`];
//! 4. state: [`files`], [`store`], [`chain`];
//! 5. the network: [`wire`] (bytes), [`node`] (decisions, without sockets or clocks), [`net`] (sockets),
//!    [`driver`] (the event loop that joins the two);
//! 6. for the programs' edges: [`settings`], [`passphrase`], [`key_store`], [`process`], [`text`], [`failure`],
//!    [`verification`].
//!
//! What every byte means is written in [`protocol`].
//!
//! Nothing here exits. Nothing prints but the question for a passphrase on a terminal, which a program asks for by
//! [`passphrase`]. Clocks are read by [`net`] and [`driver`] alone, and by [`time::Timestamp::from_system_clock`] for
//! whoever calls it.

pub mod address;
pub mod amount;
pub mod block;
pub mod chain;
pub mod consensus;
pub mod difficulty;
pub mod driver;
pub mod encoding;
pub mod failure;
pub mod files;
pub mod hash;
pub mod key_store;
pub mod keys;
pub mod lanes;
pub mod ledger;
pub mod merkle;
pub mod net;
pub mod node;
pub mod passphrase;
#[doc = include_str!("../PROTOCOL.md")]
pub mod protocol {}
pub mod process;
pub mod rate_limit;
pub mod rules;
pub mod settings;
pub mod signature;
#[cfg(any(test, feature = "simulator"))]
pub mod simulator;
pub mod store;
#[cfg(any(test, feature = "simulator"))]
#[cfg_attr(not(test), allow(dead_code, reason = "the simulator needs a part of what the tests need"))]
pub(crate) mod testing;
pub mod text;
pub mod time;
pub mod transaction;
pub mod verification;
pub mod wire;
