//! The bytes between programs: datagrams, frames, messages, and their limits (`PROTOCOL.md`, section 7).
//! Types and codecs only; who sends what and when is decided in [`crate::node`], sockets are in
//! [`crate::net`].

mod datagram;
mod frame;
mod message;
#[cfg(test)]
mod tests;

pub use datagram::{Announcement, Datagram, DatagramError, MAX_DATAGRAM_BYTES, Status};
pub use frame::{
    FrameError, MAX_FRAME_BYTES, MAX_HELLO_FRAME_BYTES, append_block_frame, decode_frame, encode_frame,
};
pub use message::{
    CompactBlock, Hello, HelloError, Incoming, MAX_AGENT_BYTES, MAX_BLOCK_IDS, MAX_POOL_IDS,
    MAX_TRANSACTION_IDS, Proof, Request, Response, SubmitResult,
};

/// What every datagram and every hello begins with.
pub const MAGIC: [u8; 4] = *b"FRTH";
/// The version of the protocol that this program speaks.
pub const VERSION: u16 = 1;
/// The oldest version that it understands.
pub const MIN_VERSION: u16 = 1;
