//! What must hold of farthing for any bytes at all. One function a kind of input, called by the fuzzers in
//! `fuzz/fuzz_targets` and, with the inputs that they found worth keeping, by `tests/corpus.rs`.
//!
//! Each panics when its property does not hold. They have in common:
//!
//! - nothing that is read makes the program panic, neither does showing the error;
//! - what was read is written as the very bytes that it was read from, or, where several texts mean the same,
//!   is read again from what is shown;
//! - all ways to read a thing accept the same bytes and agree on all of it;
//! - reading takes memory in proportion to what is there, whatever is announced in it ([`allocation`]).

pub mod allocation;
mod data;
mod frames;
mod messages;
mod pem;
mod rules;
mod store;
mod text;

use common::text::{printable, with_causes};

pub use data::{block, header, transaction};
pub use frames::frame;
pub use messages::{datagram, message};
pub use pem::{encrypted_pem, pem};
pub use rules::{rules, settings};
pub use store::store;
pub use text::text;

/// A property of any bytes.
pub type Property = fn(&[u8]);

/// Every property, by the name of its fuzz target and of its directory in `fuzz/corpus`.
pub const ALL: [(&str, Property); 12] = [
    ("block", block),
    ("datagram", datagram),
    ("encrypted_pem", encrypted_pem),
    ("frame", frame),
    ("header", header),
    ("message", message),
    ("pem", pem),
    ("rules", rules),
    ("settings", settings),
    ("store", store),
    ("text", text),
    ("transaction", transaction),
];

/// Shows an error in each of the ways that the programs do.
fn show(error: &dyn std::error::Error) {
    let shown = printable(&with_causes(error));
    assert!(!shown.is_empty() && !shown.chars().any(char::is_control), "{shown:?}");
    drop(format!("{error:?}"));
}

/// What was read, or nothing when it was refused with a sentence.
fn read<T, E: std::error::Error>(result: Result<T, E>) -> Option<T> {
    result.inspect_err(|error| show(error)).ok()
}

/// Shows the error of something whose answer may be anything.
fn try_out<T, E: std::error::Error>(result: Result<T, E>) {
    let _ = read(result);
}
