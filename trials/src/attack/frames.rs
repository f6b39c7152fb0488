//! Frames and requests that break the protocol, or ask for as much as it allows.

use std::net::Ipv4Addr;
use std::ops::RangeFrom;
use std::thread;

use common::chain::{MAX_HEADERS, MAX_LOCATOR};
use common::encoding::encode;
use common::files::Program;
use common::hash::{BlockId, NetworkId, TransactionId};
use common::rules::Rules;
use common::wire::{
    Hello, MAX_AGENT_BYTES, MAX_BLOCK_IDS, MAX_FRAME_BYTES, MAX_HELLO_FRAME_BYTES, MAX_TRANSACTION_IDS,
    Request, Response, encode_frame,
};

use super::caller::{Caller, hello_bytes, own_hello, stranger};
use super::honest::Client;
use super::memory::frugal;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use super::{Figures, ROUNDS};
use crate::program::{Network, PATIENCE};
use crate::random::Random;

/// Blocks of the chain that is asked for.
const BLOCKS: u64 = 100;
/// How often the whole chain is asked for on one connection, for the smallest scale and at most.
const WHOLE_CHAINS: usize = 100;
const MOST_WHOLE_CHAINS: usize = 1_000;
/// Callers that each send all but the last byte of the longest frame: many more than there is room for.
const LONG_FRAMES: u32 = 32;
/// Connections that a conversation is split on at a time.
const SPLIT_AT_A_TIME: usize = 60;
/// Requests of callers, and answers, in MiB (`LIMITS.md`).
const CALLERS_MIB: u64 = 128 + 20 + 64 + 66;

/// Every caller has an address of its own: after a broken rule the next one from there has to wait.
struct Addresses(RangeFrom<u32>);

impl Addresses {
    fn next(&mut self) -> Ipv4Addr {
        stranger(self.0.next().expect("there are many"))
    }
}

pub fn run(scale: u32, seed: u64) -> Figures {
    // Blocks that are found fast: the whole chain is to be something.
    let network = Network::with_blocks(8, 20, Rules::default());
    let mut target = Target::mining(frugal(network.home("attacked")), &[]);
    target.home.reach(Program::Miner, BLOCKS);
    let (mut addresses, mut random) = (Addresses(0..), Random::new(seed));
    let whole = (WHOLE_CHAINS * scale as usize).min(MOST_WHOLE_CHAINS);
    for round in 0..ROUNDS {
        hellos(&mut target, &mut addresses);
        lengths(&mut target, &mut addresses);
        announced_counts(&mut target, &mut addresses);
        at_the_limits(&target, &mut addresses);
        over_the_limits(&mut target, &mut addresses);
        unknown_requests(&target, &mut addresses);
        garbage(&mut target, &mut addresses, 20 * scale / ROUNDS, &mut random);
        split_and_glued(&mut target, &mut addresses, round as usize);
        for _ in 0..scale.min(10) {
            long_frames(&mut target, &mut addresses);
        }
        whole_chains(&mut target, &mut addresses, whole / ROUNDS as usize);
        target.serves(3);
        target.end_round();
    }
    target.withstood(CALLERS_MIB + EVERYTHING_ELSE_MIB).0
}

/// Says something instead of a hello: the server says its own, and nothing more.
fn instead_of_hello(target: &mut Target<'_>, addresses: &mut Addresses, say: impl Fn(&Hello) -> Vec<u8>) {
    let mut caller = Caller::call(addresses.next(), target.place).expect("there is room for a caller");
    let hello = caller.hello().expect("whoever calls is greeted");
    let _ = caller.send(&say(&hello));
    let said = caller.until_closed(PATIENCE).expect("whoever breaks the protocol is cut off");
    assert!(said.is_empty(), "{} bytes to a caller that said no hello", said.len());
    target.figures.add("callers without hello", 1);
}

fn hellos(target: &mut Target<'_>, addresses: &mut Addresses) {
    let changes: [fn(&mut Hello); 6] = [
        |hello| hello.magic = *b"HTTP",
        |hello| (hello.version, hello.min_version) = (0, 0),
        |hello| (hello.version, hello.min_version) = (9, 2),
        |hello| hello.network = NetworkId::from_bytes([7; 32]),
        |hello| hello.agent = vec![b'x'; MAX_AGENT_BYTES + 1],
        |hello| hello.agent = vec![0xff; 4 * MAX_HELLO_FRAME_BYTES],
    ];
    for change in changes {
        instead_of_hello(target, addresses, |theirs| {
            let mut hello = Hello { instance: 7, ..theirs.clone() };
            change(&mut hello);
            encode_frame(&hello)
        });
    }
    // One too many, one too few, and an agent of an exabyte.
    instead_of_hello(target, addresses, |theirs| frame(&[&encode(theirs)[..], &[0]].concat()));
    instead_of_hello(target, addresses, |theirs| frame(&encode(theirs)[1..]));
    instead_of_hello(target, addresses, |theirs| {
        let hello = encode(&Hello { agent: Vec::new(), ..theirs.clone() });
        frame(&[&hello[..hello.len() - 8], &(1_u64 << 60).to_le_bytes()].concat())
    });
    for length in [0, MAX_HELLO_FRAME_BYTES as u32 + 1, MAX_FRAME_BYTES as u32, u32::MAX] {
        instead_of_hello(target, addresses, |_| length.to_le_bytes().to_vec());
    }
}

/// Says something after the hellos that breaks the protocol: it is not answered, and the caller is cut off.
fn broken(target: &mut Target<'_>, addresses: &mut Addresses, bytes: &[u8]) {
    let mut caller = Caller::greeted(addresses.next(), target.place).expect("there is room for a caller");
    let _ = caller.send(bytes);
    let said = caller.until_closed(PATIENCE).expect("whoever breaks the protocol is cut off");
    assert!(said.is_empty(), "it is answered: {said:?}");
    target.figures.add("callers cut off", 1);
}

fn lengths(target: &mut Target<'_>, addresses: &mut Addresses) {
    broken(target, addresses, &frame(&[]));
    for length in [MAX_FRAME_BYTES as u32 + 1, u32::MAX / 2, u32::MAX] {
        broken(target, addresses, &length.to_le_bytes());
    }
}

/// Lists inside of requests that announce billions.
fn announced_counts(target: &mut Target<'_>, addresses: &mut Addresses) {
    for count in [1_u64 << 24, u64::from(u32::MAX), 1 << 60, u64::MAX] {
        // The requests that begin with a list.
        for variant in [0_u32, 1, 5, 6, 7] {
            for tail in [0, 32, 4_000] {
                let request = [&variant.to_le_bytes()[..], &count.to_le_bytes(), &vec![0; tail]].concat();
                broken(target, addresses, &frame(&request));
            }
        }
        // A payment with so many bytes of data.
        let head =
            [&6_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &[0; 64], &count.to_le_bytes(), &[0; 600]];
        broken(target, addresses, &frame(&head.concat()));
    }
}

fn at_the_limits(target: &Target<'_>, addresses: &mut Addresses) {
    let mut caller = Caller::greeted(addresses.next(), target.place).expect("there is room for a caller");
    let mut answer = |request: Request| {
        caller.ask(&request).expect("the server listens");
        let answers: Vec<_> =
            (0..request.answer_frames()).map(|_| caller.frame().expect("it is answered")).collect();
        answers.into_iter().map(|frame| Response::from_frame(frame).expect("it decodes")).collect::<Vec<_>>()
    };
    let unknown = BlockId::from_bytes([7; 32]);
    let headers = answer(Request::GetHeaders { locator: vec![unknown; MAX_LOCATOR], limit: u32::MAX });
    assert!(
        matches!(&headers[..], [Response::Headers(headers)] if (5..=MAX_HEADERS).contains(&headers.len()))
    );
    let blocks = answer(Request::GetBlocks { ids: vec![unknown; MAX_BLOCK_IDS] });
    assert!(
        blocks.iter().all(|block| matches!(block, Response::NotFound(_))) && blocks.len() == MAX_BLOCK_IDS
    );
    let ids = vec![TransactionId::ZERO; MAX_TRANSACTION_IDS];
    assert_eq!(answer(Request::GetTransactions { ids }), [Response::Transactions(Vec::new())]);
    assert_eq!(answer(Request::SubmitTransactions(Vec::new())), [Response::Results(Vec::new())]);
    assert_eq!(answer(Request::GetBlocks { ids: Vec::new() }), []);
}

fn over_the_limits(target: &mut Target<'_>, addresses: &mut Addresses) {
    let unknown = BlockId::from_bytes([7; 32]);
    for request in [
        Request::GetHeaders { locator: vec![unknown; MAX_LOCATOR + 1], limit: 1 },
        Request::GetBlocks { ids: vec![unknown; MAX_BLOCK_IDS + 1] },
        Request::GetBlockTransactions { id: unknown, indices: vec![0; MAX_TRANSACTION_IDS + 1] },
        Request::GetTransactions { ids: vec![TransactionId::ZERO; MAX_TRANSACTION_IDS + 1] },
        Request::GetTransactions { ids: vec![TransactionId::ZERO; 262_000] },
    ] {
        broken(target, addresses, &encode_frame(&request));
    }
}

/// Requests of later versions are no fault, however they go on.
fn unknown_requests(target: &Target<'_>, addresses: &mut Addresses) {
    let mut caller = Caller::greeted(addresses.next(), target.place).expect("there is room for a caller");
    for number in [11, 12, 1 << 31, u32::MAX] {
        for tail in [0, 1, 100_000] {
            let request = [&number.to_le_bytes()[..], &vec![0xff; tail]].concat();
            caller.send(&frame(&request)).expect("the server listens");
            let answer = Response::from_frame(caller.frame().expect("it is answered")).expect("it decodes");
            assert_eq!(answer, Response::Unsupported(number));
        }
    }
}

/// Frames of random bytes, and random bytes without frames.
fn garbage(target: &mut Target<'_>, addresses: &mut Addresses, count: u32, random: &mut Random) {
    for number in 0..count {
        let length = 1 + random.below(2_000) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        if number % 2 == 0 {
            // A request that there is; what it says is not one.
            let variant = [0_u8, 1, 2, 3, 5, 6, 7, 8, 9, 10][random.below(10) as usize];
            bytes.splice(0..1.min(length), [variant, 0, 0, 0]);
            bytes = frame(&[&bytes[..], &[0xff; 40]].concat());
        } else {
            bytes.splice(0..0, [0xff; 4]);
        }
        broken(target, addresses, &bytes);
    }
}

/// One conversation, cut in two at every byte that has its turn in this round, and all in one: the answers are the same.
fn split_and_glued(target: &mut Target<'_>, addresses: &mut Addresses, round: usize) {
    let mut client = Client::call(target.place, target.network()).expect("an honest caller is served");
    let headers = client.headers(5).expect("an honest caller is served");
    let ids = headers.iter().map(|header| header.id()).collect();
    let requests = [
        encode_frame(&Request::GetHeaders { locator: Vec::new(), limit: 5 }),
        encode_frame(&Request::GetBlocks { ids }),
        encode_frame(&Request::GetProof { transaction: TransactionId::ZERO }),
        frame(&77_u32.to_le_bytes()),
        encode_frame(&Request::GetRules),
    ];
    let say = |hello: &Hello| [own_hello(hello), requests.concat()].concat();
    let answers = 5 + headers.len() - 1;
    let hear = |caller: &mut Caller| -> Vec<Vec<u8>> {
        (0..answers).map(|_| caller.frame().expect("it is answered")).collect()
    };
    let call = |addresses: &mut Addresses| {
        let mut caller = Caller::call(addresses.next(), target.place).expect("there is room for a caller");
        let words = say(&caller.hello().expect("whoever calls is greeted"));
        (caller, words)
    };
    let (mut glued, words) = call(addresses);
    glued.send(&words).expect("the server listens");
    let expected = hear(&mut glued);
    let (mut bytes, words) = call(addresses);
    words.chunks(1).for_each(|byte| bytes.send(byte).expect("the server listens"));
    assert_eq!(hear(&mut bytes), expected);
    let places: Vec<usize> = (1 + round..words.len()).step_by(ROUNDS as usize).collect();
    for places in places.chunks(SPLIT_AT_A_TIME) {
        let mut callers: Vec<_> = places.iter().map(|_| call(addresses)).collect();
        for ((caller, words), place) in callers.iter_mut().zip(places) {
            caller.send(&words[..*place]).expect("the server listens");
        }
        // By now most of the first parts have been read.
        for ((caller, words), place) in callers.iter_mut().zip(places) {
            caller.send(&words[*place..]).expect("the server listens");
            assert_eq!(hear(caller), expected, "split at {place}");
        }
    }
    target.figures.add("conversations split", places.len() as u64);
}

/// Many of the longest frames at a time, all but their last byte: there is room for some.
fn long_frames(target: &mut Target<'_>, addresses: &mut Addresses) {
    let bytes = vec![0; MAX_FRAME_BYTES - 1];
    let mut callers = Vec::new();
    for _ in 0..LONG_FRAMES {
        let mut caller = Caller::greeted(addresses.next(), target.place).expect("there is room for a caller");
        let sent = caller.send(&(MAX_FRAME_BYTES as u32).to_le_bytes()).and_then(|()| caller.send(&bytes));
        target.figures.add("long frames", u64::from(sent.is_ok()));
        callers.push(caller);
    }
    target.serves(2);
}

/// Asks for the whole chain again and again, on two connections: one reads as fast as it can, one never.
fn whole_chains(target: &mut Target<'_>, addresses: &mut Addresses, times: usize) {
    let mut client = Client::call(target.place, target.network()).expect("an honest caller is served");
    let headers = client.headers(MAX_BLOCK_IDS as u32).expect("an honest caller is served");
    let ids: Vec<BlockId> = headers.iter().map(|header| header.id()).collect();
    let requests = [
        Request::GetHeaders { locator: Vec::new(), limit: u32::MAX },
        Request::GetBlocks { ids },
        Request::WaitStatus { tip: BlockId::ZERO },
    ];
    let hello = hello_bytes(target.place, target.network()) as u64;
    for request in requests {
        let mut reading =
            Caller::greeted(addresses.next(), target.place).expect("there is room for a caller");
        let mut writing = reading.try_clone().expect("a socket has two ends");
        let mut deaf = Caller::greeted(addresses.next(), target.place).expect("there is room for a caller");
        let frames = times * request.answer_frames();
        let bytes = thread::scope(|scope| {
            scope.spawn(|| (0..times).for_each(|_| writing.ask(&request).expect("the server listens")));
            scope.spawn(|| (0..times).try_for_each(|_| deaf.ask_within(&request, PATIENCE / 30)));
            (0..frames).map(|_| 4 + reading.frame().expect("it is answered").len() as u64).sum::<u64>()
        });
        target.figures.add("whole-chain requests", times as u64);
        target.figures.add("bytes of answers", bytes + hello);
        target.serves(1);
    }
}

/// A frame with these bytes.
fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}
