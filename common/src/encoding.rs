//! The one encoding of everything that is sent, hashed, signed or stored (`PROTOCOL.md`, section 1):
//! bincode, fixed-size integers, little endian. Decoding is total: bounded, and exact to the last byte.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::{BorrowDecode, Decode, Encode};

/// The most that any decoder may allocate for one value. It bounds the lengths *announced* inside a value
/// (an attacker's nine bytes can announce an exabyte); what was received is bounded by the frame before.
pub const MAX_DECODE_BYTES: usize = 16 * 1024 * 1024;

/// Why bytes are not the encoding of a value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Too short, an unknown variant, a bad tag, or an announced length beyond the limit.
    #[error("malformed: {0}")]
    Malformed(bincode::error::DecodeError),
    /// The value ended before the bytes did.
    #[error("{extra} bytes too many after the value")]
    TrailingBytes {
        /// How many bytes were left over.
        extra: usize,
    },
}

fn config<const LIMIT: usize>() -> Configuration<LittleEndian, Fixint, Limit<LIMIT>> {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// The encoding of `value`.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes);
    bytes
}

/// Appends the encoding of `value` to `bytes`.
pub fn encode_into<T: Encode>(value: &T, bytes: &mut Vec<u8>) {
    let unlimited = bincode::config::standard().with_fixed_int_encoding();
    bincode::encode_into_std_write(value, bytes, unlimited)
        .expect("writing to a Vec cannot fail, and no type of the protocol refuses to be encoded");
}

/// Reads exactly one value from exactly these bytes, allocating no more than a multiple of their length, and at
/// most [`MAX_DECODE_BYTES`].
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    whole(bytes, decode_start(bytes)?)
}

/// Like [`decode`], for places where a smaller allocation bound is known (a datagram, a first frame).
pub fn decode_limited<T: Decode<()>, const LIMIT: usize>(bytes: &[u8]) -> Result<T, DecodeError> {
    whole(bytes, start_limited::<T, LIMIT>(bytes)?)
}

/// The value, if it took all of the bytes.
fn whole<T>(bytes: &[u8], (value, used): (T, usize)) -> Result<T, DecodeError> {
    match bytes.len() - used {
        0 => Ok(value),
        extra => Err(DecodeError::TrailingBytes { extra }),
    }
}

/// The value that the bytes begin with, and how many of them it takes.
///
/// A value takes room for what it announces before that is read. What is announced may therefore be so many times
/// what is there as no value of the protocol comes to: in memory none takes more than about four times its encoding.
/// Limits are constants for bincode, so there are a few to choose from.
pub fn decode_start<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    const KIB: usize = 1024;
    match bytes.len().div_ceil(KIB) {
        0..=1 => start_limited::<T, { 8 * KIB }>(bytes),
        2..=16 => start_limited::<T, { 128 * KIB }>(bytes),
        17..=256 => start_limited::<T, { 2048 * KIB }>(bytes),
        _ => start_limited::<T, MAX_DECODE_BYTES>(bytes),
    }
}

fn start_limited<T: Decode<()>, const LIMIT: usize>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    bincode::decode_from_slice(bytes, config::<LIMIT>()).map_err(DecodeError::Malformed)
}

/// Like [`decode_start`], of a value that refers to the bytes and owns nothing.
pub fn borrow_decode_start<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<(T, usize), DecodeError> {
    bincode::borrow_decode_from_slice(bytes, config::<MAX_DECODE_BYTES>()).map_err(DecodeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_fixed_size_little_endian_and_lengths_are_u64() {
        assert_eq!(encode(&0x0102_0304_u32), [4, 3, 2, 1]);
        assert_eq!(encode(&vec![7_u8, 8]), [2, 0, 0, 0, 0, 0, 0, 0, 7, 8]);
        assert_eq!(encode(&[7_u8, 8]), [7, 8]);
        assert_eq!(encode(&Some(true)), [1, 1]);
    }

    #[test]
    fn trailing_bytes_bad_tags_and_absurd_lengths_are_errors() {
        assert!(matches!(decode::<u8>(&[1, 2]), Err(DecodeError::TrailingBytes { extra: 1 })));
        assert!(matches!(decode::<bool>(&[2]), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode::<Option<u8>>(&[2, 0]), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode::<Vec<u8>>(&[0xff; 9]), Err(DecodeError::Malformed(_))));
        assert!(matches!(decode::<Vec<u64>>(&[0, 0, 0, 0, 1, 0, 0, 0]), Err(DecodeError::Malformed(_))));
    }

    /// What announces more than a multiple of what is there is refused before room is made for it.
    #[test]
    fn few_bytes_that_announce_many_are_refused_before_any_room_is_made_for_them() {
        for (there, announced) in [(60, 8_193_u64), (16_000, 131_073), (200_000, 2_097_153)] {
            let mut bytes = announced.to_le_bytes().to_vec();
            bytes.resize(there, 0);
            let refused = decode::<Vec<u8>>(&bytes);
            let limit = bincode::error::DecodeError::LimitExceeded;
            assert_eq!(refused.unwrap_err().to_string(), format!("malformed: {limit}"), "{there}");
        }
    }

    /// Of all that the protocol has, this takes most room for its bytes.
    #[test]
    fn no_value_is_refused_for_the_room_that_it_takes() {
        let lengths = [0, 1, 10, 101, 102, 103, 1_637, 1_638, 26_213, 26_214, 50_000];
        // Miri would take an hour for the long ones.
        for &length in if cfg!(miri) { &lengths[..6] } else { &lengths } {
            let extensions = vec![(7_u16, Vec::<u8>::new()); length];
            let bytes = encode(&extensions);
            assert_eq!(decode::<Vec<(u16, Vec<u8>)>>(&bytes).unwrap(), extensions);
        }
    }
}
