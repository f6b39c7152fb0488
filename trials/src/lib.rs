//! What tries to break the programs: the real `miner` and the real `wallet`, on this machine alone.
//!
//! [`program`] starts them. A trial asserts, as a test does, and panics where a promise is broken; the tests of
//! this crate run each a little, and the program `trials` for as long as one likes.

#[cfg(target_os = "linux")]
pub mod attack;
#[cfg(target_os = "linux")]
pub mod crash;
pub mod ear;
#[cfg(target_os = "linux")]
pub mod lab;
pub mod program;
pub mod random;
pub mod system;
pub mod weak_keys;
