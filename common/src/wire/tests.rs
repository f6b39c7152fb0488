//! The codecs, against `PROTOCOL.md`, section 7, and against whatever bytes a stranger may send.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{Block, BlockHeader, Body, Reward, Seal, SealedHeader};
use crate::difficulty::{CompactTarget, Work};
use crate::encoding::{DecodeError, decode, encode};
use crate::hash::{BlockId, MerkleRoot, NetworkId, TransactionId};
use crate::time::{Height, Timestamp};
use crate::transaction::{Payment, Transaction, TransactionVersion};

const NETWORK: NetworkId = NetworkId::from_bytes([7; 32]);

/// The largest payment that any rules allow.
fn longest_transaction() -> Transaction {
    let payment = Payment {
        version: TransactionVersion::V1,
        to: Address::from_bytes([1; 32]),
        amount: Amount::MAX,
        fee: Amount::MAX,
        nonce: u64::MAX,
        valid_until: u32::MAX,
        data: vec![2; crate::rules::MAX_DATA_BYTES],
        public_key: vec![3; crate::signature::MAX_MODULUS_BYTES],
    };
    Transaction { payment, signature: vec![4; crate::signature::MAX_MODULUS_BYTES] }
}

fn status() -> Status {
    Status {
        instance: 0x0102_0304_0506_0708,
        height: Height::new(9),
        work: Work::from_be_bytes([10; 32]),
        tip: BlockId::from_bytes([11; 32]),
        block_server_port: 2607,
    }
}

fn hello() -> Hello {
    Hello {
        magic: MAGIC,
        version: 1,
        min_version: 1,
        network: NETWORK,
        instance: 2,
        time: Timestamp::from_millis(3),
        block_server_port: 2607,
        features: Hello::SERVES_BODIES,
        agent: b"x/1".to_vec(),
    }
}

prop_compose! {
    fn any_header()(
        version: u32, previous: [u8; 32], merkle_root: [u8; 32], time: u64, bits: u32, height: u64, nonce: u64,
    ) -> BlockHeader {
        BlockHeader {
            version,
            previous: BlockId::from_bytes(previous),
            merkle_root: MerkleRoot::from_bytes(merkle_root),
            time: Timestamp::from_millis(time),
            bits: CompactTarget::from_bits(bits),
            height: Height::new(height),
            nonce,
        }
    }
}

prop_compose! {
    fn any_sealed_header()(
        header in any_header(),
        seal in option::of((any::<Vec<u8>>(), any::<Vec<u8>>())),
    ) -> SealedHeader {
        let seal = seal.map(|(public_key, signature)| Seal { public_key, signature });
        SealedHeader { header, seal }
    }
}

prop_compose! {
    fn any_transaction()(
        to: [u8; 32], amount: u64, fee: u64, nonce: u64, valid_until: u32,
        data in vec(any::<u8>(), 0..90), public_key in vec(any::<u8>(), 0..300), signature in vec(any::<u8>(), 0..300),
    ) -> Transaction {
        let payment = Payment {
            version: TransactionVersion::V1,
            to: Address::from_bytes(to),
            amount: Amount::from_units(amount),
            fee: Amount::from_units(fee),
            nonce,
            valid_until,
            data,
            public_key,
        };
        Transaction { payment, signature }
    }
}

prop_compose! {
    fn any_reward()(to: [u8; 32], amount: u64, data in vec(any::<u8>(), 0..90)) -> Reward {
        Reward { to: Address::from_bytes(to), amount: Amount::from_units(amount), data }
    }
}

prop_compose! {
    fn any_block()(
        sealed in any_sealed_header(), reward in any_reward(), transactions in vec(any_transaction(), 0..3),
    ) -> Block {
        Block { header: sealed.header, seal: sealed.seal, body: Body { reward, transactions } }
    }
}

prop_compose! {
    fn any_status()(
        instance: u64, height: u64, work: [u8; 32], tip: [u8; 32], block_server_port: u16,
    ) -> Status {
        Status {
            instance,
            height: Height::new(height),
            work: Work::from_be_bytes(work),
            tip: BlockId::from_bytes(tip),
            block_server_port,
        }
    }
}

prop_compose! {
    fn any_hello()(
        magic: [u8; 4], version: u16, min_version: u16, network: [u8; 32], instance: u64, time: u64,
        block_server_port: u16, features: u64, agent in vec(any::<u8>(), 0..=MAX_AGENT_BYTES),
    ) -> Hello {
        let (network, time) = (NetworkId::from_bytes(network), Timestamp::from_millis(time));
        Hello { magic, version, min_version, network, instance, time, block_server_port, features, agent }
    }
}

fn block_id() -> impl Strategy<Value = BlockId> {
    any::<[u8; 32]>().prop_map(BlockId::from_bytes)
}

fn transaction_id() -> impl Strategy<Value = TransactionId> {
    any::<[u8; 32]>().prop_map(TransactionId::from_bytes)
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (vec(block_id(), 0..5), any::<u32>())
            .prop_map(|(locator, limit)| Request::GetHeaders { locator, limit }),
        vec(block_id(), 0..5).prop_map(|ids| Request::GetBlocks { ids }),
        block_id().prop_map(|id| Request::GetCompact { id }),
        (block_id(), any::<Vec<u32>>())
            .prop_map(|(id, indices)| Request::GetBlockTransactions { id, indices }),
        option::of(transaction_id()).prop_map(|after| Request::GetPoolIds { after }),
        vec(transaction_id(), 0..5).prop_map(|ids| Request::GetTransactions { ids }),
        vec(any_transaction(), 0..3).prop_map(Request::SubmitTransactions),
        vec(any_block(), 0..3).prop_map(Request::SubmitBlocks),
        block_id().prop_map(|tip| Request::WaitStatus { tip }),
        transaction_id().prop_map(|transaction| Request::GetProof { transaction }),
        Just(Request::GetRules),
    ]
}

fn any_response() -> impl Strategy<Value = Response> {
    prop_oneof![
        vec(any_sealed_header(), 0..3).prop_map(Response::Headers),
        any_block().prop_map(|block| Response::Block((&block).into())),
        any::<[u8; 32]>().prop_map(Response::NotFound),
        (any_sealed_header(), any_reward(), vec(transaction_id(), 0..5))
            .prop_map(|(header, reward, ids)| Response::Compact(CompactBlock { header, reward, ids })),
        vec(any_transaction(), 0..3).prop_map(Response::Transactions),
        vec(transaction_id(), 0..5).prop_map(Response::PoolIds),
        vec(any::<u32>().prop_map(SubmitResult), 0..5).prop_map(Response::Results),
        any_status().prop_map(Response::Status),
        (any_sealed_header(), any::<u32>(), any::<u32>(), any::<Vec<[u8; 32]>>())
            .prop_map(|(header, index, count, path)| Response::Proof(Proof { header, index, count, path })),
        any::<Vec<u8>>().prop_map(Response::Rules),
        any::<u32>().prop_map(Response::Unsupported),
    ]
}

fn any_announcement() -> impl Strategy<Value = Announcement> {
    prop_oneof![
        any_status().prop_map(Announcement::Status),
        any_transaction().prop_map(Announcement::Transaction),
    ]
}

/// A value's encoding reads back, and neither a part of it nor more than it is one.
fn assert_exact<T>(value: &T) -> Result<(), TestCaseError>
where
    T: bincode::Encode + bincode::Decode<()> + PartialEq + std::fmt::Debug,
{
    let mut bytes = encode(value);
    prop_assert_eq!(&decode::<T>(&bytes).unwrap(), value);
    for length in 0..bytes.len() {
        prop_assert!(decode::<T>(&bytes[..length]).is_err(), "{} of {} bytes", length, bytes.len());
    }
    bytes.push(0);
    let one_too_many = matches!(decode::<T>(&bytes), Err(DecodeError::TrailingBytes { extra: 1 }));
    prop_assert!(one_too_many);
    Ok(())
}

/// Whatever decodes is the one encoding of what it decodes to.
fn assert_canonical<T>(bytes: &[u8]) -> Result<(), TestCaseError>
where
    T: bincode::Encode + bincode::Decode<()>,
{
    if let Ok(value) = decode::<T>(bytes) {
        prop_assert_eq!(encode(&value), bytes);
    }
    Ok(())
}

/// Every decoder of this module, over the same bytes.
fn decode_everything(bytes: &[u8]) -> Result<(), TestCaseError> {
    assert_canonical::<Request>(bytes)?;
    assert_canonical::<Response>(bytes)?;
    assert_canonical::<Hello>(bytes)?;
    assert_canonical::<Datagram>(bytes)?;
    let _ = Incoming::decode(bytes);
    let _ = Hello::from_frame(bytes);
    let _ = decode_frame::<Response>(bytes);
    let _ = Datagram::decode(bytes);
    if let Ok(announcement) = Datagram::announcement_of(bytes, &NETWORK) {
        prop_assert_eq!(Datagram::new(&NETWORK, announcement).to_bytes(), bytes);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_read_back_exactly(request in any_request()) {
        assert_exact(&request)?;
        prop_assert_eq!(Incoming::decode(&encode(&request)).unwrap(), Incoming::Known(request));
    }

    #[test]
    fn responses_read_back_exactly(response in any_response()) {
        assert_exact(&response)?;
    }

    #[test]
    fn hellos_read_back_exactly(hello in any_hello()) {
        assert_exact(&hello)?;
        let frame = encode_frame(&hello);
        prop_assert!(frame.len() - 4 <= MAX_HELLO_FRAME_BYTES);
        prop_assert_eq!(Hello::from_frame(&frame[4..]).unwrap(), hello);
    }

    #[test]
    fn announcements_read_back_exactly(announcement in any_announcement()) {
        let datagram = Datagram::new(&NETWORK, announcement);
        assert_exact(&datagram)?;
        let bytes = datagram.to_bytes();
        prop_assert!(bytes.len() <= MAX_DATAGRAM_BYTES);
        prop_assert_eq!(Datagram::announcement_of(&bytes, &NETWORK).unwrap(), datagram.announcement);
    }

    #[test]
    fn a_frame_is_its_length_and_its_message(response in any_response()) {
        let frame = encode_frame(&response);
        let (length, message) = frame.split_first_chunk::<4>().unwrap();
        prop_assert_eq!(u32::from_le_bytes(*length) as usize, message.len());
        prop_assert_eq!(decode_frame::<Response>(message).unwrap(), response);
    }

    #[test]
    fn a_stored_block_is_framed_as_it_would_be_encoded(block in any_block()) {
        let mut frames = vec![7; 3];
        append_block_frame(&block.sealed_header(), &encode(&block.body), &mut frames);
        let response = Response::Block((&block).into());
        prop_assert_eq!(&frames[3..], encode_frame(&response));
        prop_assert_eq!(Response::from_frame(frames[7..].to_vec()).unwrap(), response);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..1_500)) {
        decode_everything(&bytes)?;
    }

    #[test]
    fn any_bytes_after_a_good_beginning_are_decoded_or_refused(
        variant in 0_u32..14,
        rest in vec(prop_oneof![3 => Just(0), 1 => Just(1), 1 => any::<u8>()], 0..600),
    ) {
        let variant = variant.to_le_bytes();
        decode_everything(&[&variant[..], &rest].concat())?;
        let head = [&MAGIC[..], &VERSION.to_le_bytes(), &NETWORK.prefix()].concat();
        decode_everything(&[&head[..], &variant, &rest].concat())?;
    }

    #[test]
    fn any_damage_is_decoded_or_refused(
        response in any_response(),
        request in any_request(),
        announcement in any_announcement(),
        (place, byte) in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let datagram = Datagram::new(&NETWORK, announcement).to_bytes();
        for mut bytes in [encode(&response), encode(&request), datagram] {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            decode_everything(&bytes)?;
        }
    }
}

#[test]
fn every_message_has_the_number_that_the_protocol_gives_it() {
    let id = BlockId::ZERO;
    let requests = [
        Request::GetHeaders { locator: Vec::new(), limit: 0 },
        Request::GetBlocks { ids: Vec::new() },
        Request::GetCompact { id },
        Request::GetBlockTransactions { id, indices: Vec::new() },
        Request::GetPoolIds { after: None },
        Request::GetTransactions { ids: Vec::new() },
        Request::SubmitTransactions(Vec::new()),
        Request::SubmitBlocks(Vec::new()),
        Request::WaitStatus { tip: id },
        Request::GetProof { transaction: TransactionId::ZERO },
        Request::GetRules,
    ];
    for (number, request) in (0_u32..).zip(requests) {
        assert_eq!(encode(&request)[..4], number.to_le_bytes(), "{request:?}");
    }
    let responses = [
        Response::Headers(Vec::new()),
        Response::NotFound([0; 32]),
        Response::Transactions(Vec::new()),
        Response::PoolIds(Vec::new()),
        Response::Results(Vec::new()),
        Response::Status(status()),
        Response::Rules(Vec::new()),
        Response::Unsupported(0),
    ];
    for (number, response) in [0_u32, 2, 4, 5, 6, 7, 9, 10].into_iter().zip(responses) {
        assert_eq!(encode(&response)[..4], number.to_le_bytes(), "{response:?}");
    }
}

#[test]
fn a_hello_is_laid_out_as_the_protocol_says() {
    let mut expected = b"FRTH\x01\x00\x01\x00".to_vec();
    expected.extend([7; 32]);
    expected.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0x2f, 0x0a]);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([3, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend(b"x/1");
    assert_eq!(encode(&hello()), expected);
}

#[test]
fn a_status_datagram_is_laid_out_as_the_protocol_says() {
    let mut expected = b"FRTH\x01\x00".to_vec();
    expected.extend([7; 8]);
    expected.extend([0; 4]);
    expected.extend([8, 7, 6, 5, 4, 3, 2, 1]);
    expected.extend([9, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([10; 32]);
    expected.extend([11; 32]);
    expected.extend([0x2f, 0x0a]);
    assert_eq!(Datagram::new(&NETWORK, Announcement::Status(status())).to_bytes(), expected);
}

#[test]
fn the_longest_payment_fits_one_datagram() {
    let bytes = Datagram::new(&NETWORK, Announcement::Transaction(longest_transaction())).to_bytes();
    assert!(bytes.len() <= MAX_DATAGRAM_BYTES, "{}", bytes.len());
}

#[test]
fn the_longest_answers_fit_one_frame() {
    let transactions = vec![longest_transaction(); MAX_TRANSACTION_IDS];
    let ids = vec![TransactionId::ZERO; MAX_POOL_IDS];
    for response in [Response::Transactions(transactions), Response::PoolIds(ids)] {
        let frame = encode_frame(&response);
        assert!(frame.len() - 4 <= MAX_FRAME_BYTES);
        assert_eq!(decode_frame::<Response>(&frame[4..]).unwrap(), response);
    }
}

#[test]
fn datagrams_are_refused_for_what_is_wrong_with_them() {
    let good = Datagram::new(&NETWORK, Announcement::Status(status())).to_bytes();
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Datagram::announcement_of(&bytes, &NETWORK).unwrap_err()
    };
    assert!(matches!(refusal(&|bytes| bytes.truncate(13)), DatagramError::Magic));
    assert!(matches!(refusal(&|bytes| bytes.clear()), DatagramError::Magic));
    assert!(matches!(refusal(&|bytes| bytes[0] = b'f'), DatagramError::Magic));
    assert!(matches!(refusal(&|bytes| bytes[4] = 2), DatagramError::Version { got: 2 }));
    assert!(matches!(refusal(&|bytes| bytes[6] = 8), DatagramError::OtherNetwork { .. }));
    assert!(matches!(refusal(&|bytes| bytes[14] = 2), DatagramError::Decode(DecodeError::Malformed(_))));
    assert!(matches!(
        refusal(&|bytes| bytes.push(0)),
        DatagramError::Decode(DecodeError::TrailingBytes { extra: 1 })
    ));
    let too_long = refusal(&|bytes| bytes.resize(MAX_DATAGRAM_BYTES + 1, 0));
    assert!(matches!(too_long, DatagramError::TooLong { got: 1_233 }));
}

#[test]
fn hellos_are_refused_for_what_is_wrong_with_them() {
    let refusal = |change: &dyn Fn(&mut Hello)| {
        let mut changed = hello();
        change(&mut changed);
        changed.check(&NETWORK).unwrap_err()
    };
    assert_eq!(hello().check(&NETWORK), Ok(()));
    assert_eq!(refusal(&|hello| hello.magic = *b"HTTP"), HelloError::Magic);
    assert_eq!(refusal(&|hello| hello.version = 0), HelloError::Version { min: 1, max: 0 });
    let newer = |hello: &mut Hello| (hello.min_version, hello.version) = (2, 3);
    assert_eq!(refusal(&newer), HelloError::Version { min: 2, max: 3 });
    assert_eq!(refusal(&|hello| hello.agent = vec![b'x'; 65]), HelloError::Agent);
    let network = NetworkId::from_bytes([8; 32]);
    assert_eq!(refusal(&|hello| hello.network = network), HelloError::OtherNetwork { network });
    // A later version that still understands this one is welcome, and so is any network where none is asked.
    assert_eq!(Hello { version: 9, ..hello() }.check(&NETWORK), Ok(()));
    assert_eq!(Hello { network, ..hello() }.check_protocol(), Ok(()));
}

#[test]
fn announced_lengths_beyond_the_limits_are_refused() {
    for length in [u64::MAX, 1 << 40, 1 << 20] {
        // GetBlocks, SubmitBlocks, and the agent of a hello: a list announced and not sent.
        for variant in [1_u32, 7] {
            let bytes = [&variant.to_le_bytes()[..], &length.to_le_bytes()].concat();
            assert!(matches!(Incoming::decode(&bytes), Err(DecodeError::Malformed(_))));
        }
        let mut bytes = encode(&hello());
        let end = bytes.len() - 3;
        bytes[end - 8..end].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(Hello::from_frame(&bytes), Err(DecodeError::Malformed(_))));
    }
}

#[test]
fn requests_of_later_versions_are_told_from_malformed_ones() {
    assert_eq!(Incoming::decode(&[11, 0, 0, 0]).unwrap(), Incoming::Unknown(11));
    assert_eq!(Incoming::decode(&[0xff; 40]).unwrap(), Incoming::Unknown(u32::MAX));
    for malformed in [&[][..], &[10, 0, 0], &[10, 0, 0, 0, 0], &[4, 0, 0, 0, 2]] {
        assert!(Incoming::decode(malformed).is_err(), "{malformed:?}");
    }
    assert!(decode_frame::<Response>(&[11, 0, 0, 0]).is_err());
    assert!(decode::<Announcement>(&[2, 0, 0, 0]).is_err());
}

#[test]
fn a_request_tells_how_many_frames_answer_it() {
    let ids = vec![BlockId::ZERO; 3];
    assert_eq!(Request::GetBlocks { ids }.answer_frames(), 3);
    assert_eq!(Request::GetRules.answer_frames(), 1);
}
