//! Crashes of every kind, and what must hold afterwards.
//!
//! - [`promises`] says what must hold;
//! - [`encryption`] says it of a key that is put under passphrases;
//! - [`kill`] kills the programs at any moment;
//! - [`power_loss`] cuts the power: `shim.c` and [`recording`] tell what the programs do to their files, and [`disk`]
//!   what a power cut may leave of it;
//! - [`io_errors`] lets the disk refuse: `faults.c` and [`faults`] choose at which call;
//! - [`pauses`] stops programs for a while, and lets their clocks jump;
//! - `scenes` and `older_format` make what the trials begin with.

pub mod disk;
pub mod encryption;
pub mod faults;
pub mod io_errors;
pub mod kill;
mod older_format;
pub mod pauses;
pub mod power_loss;
pub mod promises;
pub mod recording;
pub mod scenes;
