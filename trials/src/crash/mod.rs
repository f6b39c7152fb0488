//! Crashes of every kind, and what must hold afterwards.
//!
//! - [`promises`] says what must hold;
//! - [`kill`] kills the programs at any moment.

mod format_1;
pub mod kill;
pub mod promises;
