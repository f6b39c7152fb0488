//! What arrives from strangers: datagrams, and the messages in frames.

use common::encoding::{DecodeError, MAX_DECODE_BYTES, decode_limited, encode};
use common::hash::NetworkId;
use common::wire::{
    Announcement, Datagram, DatagramError, Hello, Incoming, MAGIC, MAX_DATAGRAM_BYTES, MAX_HELLO_FRAME_BYTES,
    Request, Response, VERSION, append_block_frame, encode_frame,
};

use crate::allocation::within;
use crate::data::{SLACK_BYTES, most_bytes};
use crate::{read, show};

/// A datagram as it arrives; and, so that a fuzzer need not find them, these bytes after magic, version and
/// network.
pub fn datagram(bytes: &[u8]) {
    one_datagram(bytes);
    one_datagram(&[&MAGIC[..], &VERSION.to_le_bytes(), &[7; 8], bytes].concat());
}

fn one_datagram(bytes: &[u8]) {
    let decoded = within(3 * MAX_DATAGRAM_BYTES, || Datagram::decode(bytes));
    let Some(datagram) = read(decoded) else {
        let (ours, _) = networks(bytes);
        return show(&Datagram::announcement_of(bytes, &ours).expect_err("it does not decode"));
    };
    assert!(bytes.len() <= MAX_DATAGRAM_BYTES);
    assert_eq!(datagram.to_bytes(), bytes);
    let (ours, other) = networks(bytes);
    let announcement = Datagram::announcement_of(bytes, &ours).expect("it is of this network");
    assert_eq!(announcement, datagram.announcement);
    let refused = Datagram::announcement_of(bytes, &other);
    assert!(matches!(refused, Err(DatagramError::OtherNetwork { prefix }) if prefix == datagram.network));
    assert_eq!(Datagram::new(&ours, announcement.clone()), datagram);
    if let Announcement::Transaction(transaction) = announcement {
        crate::data::agree_on_transaction(&transaction, &bytes[18..]);
    }
}

/// The network that a datagram is of, if it is one, and another.
fn networks(bytes: &[u8]) -> (NetworkId, NetworkId) {
    let mut id = [0; 32];
    let prefix = bytes.get(6..14).unwrap_or_default();
    id[..prefix.len()].copy_from_slice(prefix);
    let ours = NetworkId::from_bytes(id);
    id[7] ^= 1;
    (ours, NetworkId::from_bytes(id))
}

/// What the frames of a connection hold, their lengths taken off: read as each kind of message.
pub fn message(bytes: &[u8]) {
    hello(bytes);
    request(bytes);
    response(bytes);
}

fn hello(bytes: &[u8]) {
    if bytes.len() > MAX_HELLO_FRAME_BYTES {
        return;
    }
    let Some(hello) = read(within(3 * MAX_HELLO_FRAME_BYTES, || Hello::from_frame(bytes))) else { return };
    assert_eq!(encode_frame(&hello)[4..], *bytes);
    let of_protocol = hello.check_protocol();
    assert_eq!(hello.check(&hello.network), of_protocol);
    if read(of_protocol).is_some() {
        assert!(hello.check(&NetworkId::from_bytes(hello.network.as_bytes().map(|byte| !byte))).is_err());
        let answer = Hello::of_caller(&hello, "", hello.time);
        assert_eq!(answer.check(&hello.network), Ok(()));
    }
}

fn request(bytes: &[u8]) {
    let directly = decode_limited::<Request, MAX_DECODE_BYTES>(bytes);
    match (read(within(most_bytes(bytes), || Incoming::decode(bytes))), directly) {
        (Some(Incoming::Known(request)), Ok(same)) => {
            assert_eq!(request, same);
            assert_eq!(encode_frame(&request)[4..], *bytes);
            assert!(request.answer_frames() <= 1 + bytes.len() / 32);
        }
        (Some(Incoming::Unknown(number)), Err(_)) => assert_eq!(bytes[..4], number.to_le_bytes()),
        (None, Err(_)) => {}
        (incoming, directly) => panic!("{incoming:?} {directly:?}"),
    }
}

fn response(bytes: &[u8]) {
    let owned = bytes.to_vec();
    let directly: Result<Response, DecodeError> = decode_limited::<Response, MAX_DECODE_BYTES>(bytes);
    match (read(within(most_bytes(bytes), || Response::from_frame(owned))), directly) {
        (Some(response), Ok(same)) => {
            assert_eq!(response, same);
            let frame = encode_frame(&response);
            assert_eq!(frame[4..], *bytes);
            assert_eq!(frame[..4], (bytes.len() as u32).to_le_bytes());
            if let Response::Block(block) = &response {
                let mut appended = vec![9; SLACK_BYTES % 7];
                append_block_frame(&block.header, block.body.bytes(), &mut appended);
                assert_eq!(appended[SLACK_BYTES % 7..], frame);
                assert_eq!(encode(block), bytes[4..]);
            }
        }
        (None, Err(_)) => {}
        (response, directly) => panic!("{response:?} {directly:?}"),
    }
}
