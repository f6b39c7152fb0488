//! How messages are cut from a TCP stream: a `u32` length, little endian, and that many bytes.

use bincode::{Decode, Encode};

use crate::encoding::{DecodeError, decode, encode_into};

/// The longest frame: two of the largest blocks that any rules allow.
pub const MAX_FRAME_BYTES: usize = 8 * 1024 * 1024;
/// The longest frame until hellos are exchanged: a stranger gets no more room than a greeting takes.
pub const MAX_HELLO_FRAME_BYTES: usize = 1024;
/// The variant number of [`super::Response::Block`].
pub(super) const BLOCK_VARIANT: u32 = 1;

/// Why a frame is no message.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum FrameError {
    #[error("a frame of {got} bytes; at most {most} are allowed")]
    TooLong { got: usize, most: usize },
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A message with its length before it, ready to send.
pub fn encode_frame<T: Encode>(message: &T) -> Vec<u8> {
    let mut frame = vec![0; 4];
    encode_into(message, &mut frame);
    with_length(frame)
}

/// The frame of a [`super::Response::Block`] from a block's encoding as it is stored: serving a block
/// decodes nothing.
pub fn block_frame(encoded_block: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(8 + encoded_block.len());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&BLOCK_VARIANT.to_le_bytes());
    frame.extend_from_slice(encoded_block);
    with_length(frame)
}

/// The message in a frame's bytes, its length taken off.
pub fn decode_frame<T: Decode<()>>(bytes: &[u8]) -> Result<T, FrameError> {
    Ok(decode(bytes)?)
}

fn with_length(mut frame: Vec<u8>) -> Vec<u8> {
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}
