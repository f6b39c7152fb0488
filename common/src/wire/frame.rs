//! How messages are cut from a TCP stream: a `u32` length, little endian, and that many bytes.

use bincode::{Decode, Encode};

use crate::block::SealedHeader;
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
    set_length(&mut frame);
    frame
}

/// Appends the frame of a [`super::Response::Block`], with the body's encoding as it is stored: serving a
/// block decodes nothing.
pub fn append_block_frame(header: &SealedHeader, encoded_body: &[u8], to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    encode_into(&BLOCK_VARIANT, to);
    encode_into(header, to);
    to.extend_from_slice(encoded_body);
    set_length(&mut to[start..]);
}

/// The message in a frame's bytes, its length taken off.
pub fn decode_frame<T: Decode<()>>(bytes: &[u8]) -> Result<T, FrameError> {
    Ok(decode(bytes)?)
}

/// A frame begins with the length of the rest.
fn set_length(frame: &mut [u8]) {
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_le_bytes());
}
