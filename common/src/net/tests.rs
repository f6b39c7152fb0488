//! Server and client together, over real sockets on 127.0.0.1, each test on ports of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{Block, BlockHeader, Body, Reward};
use crate::difficulty::CompactTarget;
use crate::hash::{BlockId, MerkleRoot, NetworkId, TransactionId};
use crate::time::{Height, Timestamp};
use crate::transaction::{Payment, Transaction, TransactionVersion};
use crate::wire::{
    Hello, HelloError, MAGIC, MAX_BLOCK_IDS, MAX_FRAME_BYTES, MAX_HELLO_FRAME_BYTES, MIN_VERSION, Request,
    Response, VERSION, encode_frame,
};

const NETWORK: NetworkId = NetworkId::from_bytes([7; 32]);
const OTHER_NETWORK: NetworkId = NetworkId::from_bytes([8; 32]);
/// A deadline that a test waits for, and that nothing in the test has to meet.
const SHORT: Duration = Duration::from_millis(60);
/// One that a test waits for, while others in it have to meet it, on however busy a machine.
const FAIR: Duration = Duration::from_millis(600);
/// A deadline that no test reaches unless it fails.
const LONG: Duration = Duration::from_secs(20);

fn hello_of(network: NetworkId) -> Hello {
    Hello {
        magic: MAGIC,
        version: VERSION,
        min_version: MIN_VERSION,
        network,
        instance: 1,
        time: Timestamp::from_millis(2),
        block_server_port: 0,
        features: Hello::SERVES_BODIES,
        agent: b"test/1".to_vec(),
    }
}

/// A block of 1.2 kB whose header names the id that it was asked by.
fn block_for(id: BlockId) -> Block {
    let payment = Payment {
        version: TransactionVersion::V1,
        to: Address::from_bytes([1; 32]),
        amount: Amount::from_units(1),
        fee: Amount::ZERO,
        nonce: 0,
        valid_until: 0,
        data: Vec::new(),
        public_key: vec![0xff; 512],
    };
    Block {
        header: BlockHeader {
            version: 1,
            previous: id,
            merkle_root: MerkleRoot::ZERO,
            time: Timestamp::from_millis(0),
            bits: CompactTarget::from_bits(0),
            height: Height::new(1),
            nonce: 0,
        },
        seal: None,
        body: Body {
            reward: Reward { to: Address::from_bytes([2; 32]), amount: Amount::ZERO, data: Vec::new() },
            transactions: vec![Transaction { payment, signature: vec![3; 512] }],
        },
    }
}

/// Answers each kind of request in a way of its own.
struct TestService {
    opened: mpsc::UnboundedSender<Hello>,
    closed: mpsc::UnboundedSender<CloseReason>,
    frames_made: Arc<AtomicUsize>,
}

impl Service for TestService {
    fn hello(&self) -> Hello {
        hello_of(NETWORK)
    }

    fn opened(&self, _caller: Caller, hello: &Hello) {
        let _ = self.opened.send(hello.clone());
    }

    async fn answer(&self, _caller: Caller, request: Request) -> Answer {
        match request {
            Request::GetRules => Answer::Frame(encode_frame(&Response::Rules(vec![1, 2, 3]))),
            Request::GetBlocks { ids } => Answer::frames(
                ids.into_iter().map(|id| Ok(encode_frame(&Response::Block((&block_for(id)).into())))),
            ),
            Request::GetHeaders { .. } => {
                Answer::blocking(|| Ok(encode_frame(&Response::Headers(Vec::new()))))
            }
            Request::GetPoolIds { .. } => {
                let made = self.frames_made.clone();
                let page = encode_frame(&Response::PoolIds(vec![TransactionId::ZERO; 32_768]));
                Answer::frames(std::iter::repeat_with(move || {
                    made.fetch_add(1, Ordering::Relaxed);
                    Ok(page.clone())
                }))
            }
            Request::WaitStatus { .. } => std::future::pending().await,
            Request::GetProof { .. } => Answer::Close(Fault("asked too much".into())),
            Request::GetCompact { id } => {
                let first = encode_frame(&Response::NotFound(*id.as_bytes()));
                Answer::frames([Ok(first), Err(Fault("the store failed".into()))].into_iter())
            }
            _ => Answer::blocking(|| panic!("a defect, as this test wants it")),
        }
    }

    fn closed(&self, _caller: Caller, reason: CloseReason, _pause: Duration) {
        let _ = self.closed.send(reason);
    }
}

/// A server and what it tells its service.
struct TestServer {
    server: Server,
    opened: mpsc::UnboundedReceiver<Hello>,
    closed: mpsc::UnboundedReceiver<CloseReason>,
    frames_made: Arc<AtomicUsize>,
}

impl TestServer {
    /// On a free port of 127.0.0.1, with deadlines that no test reaches but for those that `limits` sets.
    async fn start(limits: impl FnOnce(&mut ServerLimits)) -> Self {
        let mut all = ServerLimits {
            hello: LONG,
            idle: LONG,
            frame: LONG,
            answer: LONG,
            write: LONG,
            ..ServerLimits::default()
        };
        limits(&mut all);
        let (opened, hear_opened) = mpsc::unbounded_channel();
        let (closed, hear_closed) = mpsc::unbounded_channel();
        let frames_made = Arc::new(AtomicUsize::new(0));
        let service = TestService { opened, closed, frames_made: frames_made.clone() };
        let listener = Listener::bind(Addresses::this_machine().host(), 0).await.unwrap();
        let server = listener.serve(Arc::new(service), all);
        Self { server, opened: hear_opened, closed: hear_closed, frames_made }
    }

    async fn connect(&self) -> Result<Session, ConnectError> {
        self.connect_patiently(patient()).await
    }

    async fn connect_patiently(&self, deadlines: ClientDeadlines) -> Result<Session, ConnectError> {
        let own = |_: &Hello| hello_of(NETWORK);
        Ok(connect(self.server.address(), Some(&NETWORK), own, deadlines).await?.0)
    }

    /// A caller that says what a test wants it to, after the hellos.
    async fn connect_raw(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.address()).await.unwrap();
        read_frame(&mut stream).await;
        stream.write_all(&encode_frame(&hello_of(NETWORK))).await.unwrap();
        stream
    }

    /// Why the next connection to end ended.
    async fn closed(&mut self) -> CloseReason {
        timeout(LONG, self.closed.recv()).await.expect("a connection ends").expect("the service lives")
    }
}

fn patient() -> ClientDeadlines {
    ClientDeadlines { connect: LONG, answer: LONG, frame: LONG, write: LONG }
}

async fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u32_le().await.unwrap();
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.unwrap();
    frame
}

/// Whether the other side has ended the connection, politely or not.
async fn is_ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let ended = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the connection ends");
    ended.is_err() || rest.is_empty()
}

async fn assert_serves(session: &mut Session) {
    session.send(&Request::GetRules).await.unwrap();
    assert_eq!(session.next().await.unwrap(), Response::Rules(vec![1, 2, 3]));
}

/// A server that has accepted one caller, to say what a test wants it to.
async fn caller_of_raw_server(deadlines: ClientDeadlines, greeting: &[u8]) -> (TcpStream, CallOutcome) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let own = |_: &Hello| hello_of(NETWORK);
    let call = connect(address, Some(&NETWORK), own, deadlines);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(greeting).await.unwrap();
        stream
    };
    let (stream, outcome) = tokio::join!(serve, call);
    (stream, outcome.map(|(session, _)| session))
}

type CallOutcome = Result<Session, ConnectError>;

#[tokio::test]
async fn hellos_are_exchanged_and_requests_answered() {
    let mut server = TestServer::start(|_| {}).await;
    let own = |theirs: &Hello| Hello { instance: theirs.instance + 41, ..hello_of(NETWORK) };
    let address = server.server.address();
    let (mut session, hello) = connect(address, Some(&NETWORK), own, patient()).await.unwrap();
    assert_eq!(hello, hello_of(NETWORK));
    assert_serves(&mut session).await;
    assert_eq!(server.opened.recv().await.unwrap().instance, 42);
    drop(session);
    assert!(matches!(server.closed().await, CloseReason::Transfer(TransferError::Closed)));
}

#[tokio::test]
async fn requests_in_flight_are_answered_in_order() {
    let server = TestServer::start(|_| {}).await;
    let (mut requests, mut responses) = server.connect().await.unwrap().split();
    let ids = [BlockId::from_bytes([1; 32]), BlockId::from_bytes([2; 32])];
    requests.send(&Request::GetBlocks { ids: ids.to_vec() }).await.unwrap();
    requests.send(&Request::GetHeaders { locator: Vec::new(), limit: 0 }).await.unwrap();
    requests.send(&Request::GetBlocks { ids: Vec::new() }).await.unwrap();
    requests.send(&Request::GetRules).await.unwrap();
    drop(requests);
    for expected in [
        Response::Block((&block_for(ids[0])).into()),
        Response::Block((&block_for(ids[1])).into()),
        Response::Headers(Vec::new()),
        Response::Rules(vec![1, 2, 3]),
    ] {
        assert_eq!(responses.next().await.unwrap(), expected);
    }
    assert!(matches!(responses.next().await, Err(SessionError::Finished)));
}

#[tokio::test]
async fn regression_7_a_chain_of_300_kilobytes_arrives_whole() {
    let server = TestServer::start(|_| {}).await;
    let mut session = server.connect().await.unwrap();
    let ids: Vec<_> = (0..MAX_BLOCK_IDS).map(|n| BlockId::from_bytes([n as u8; 32])).collect();
    session.send(&Request::GetBlocks { ids: ids.clone() }).await.unwrap();
    let mut received_bytes = 0;
    for id in ids {
        let frame = session.responses.next_frame().await.unwrap();
        received_bytes += frame.len();
        let expected = encode_frame(&Response::Block((&block_for(id)).into()));
        assert_eq!(frame, expected[4..]);
    }
    assert!(received_bytes > 300_000, "{received_bytes}");
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn a_caller_says_nothing_to_a_server_of_another_network() {
    let greeting = encode_frame(&hello_of(OTHER_NETWORK));
    let (mut server, outcome) = caller_of_raw_server(patient(), &greeting).await;
    let refused = HelloError::OtherNetwork { network: OTHER_NETWORK };
    assert!(matches!(outcome, Err(ConnectError::Hello { source, .. }) if source == refused));
    let mut said = Vec::new();
    server.read_to_end(&mut said).await.unwrap();
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_caller_of_another_network_hears_the_servers_hello_and_no_more() {
    let mut server = TestServer::start(|_| {}).await;
    let mut stream = TcpStream::connect(server.server.address()).await.unwrap();
    assert_eq!(Hello::from_frame(&read_frame(&mut stream).await).unwrap(), hello_of(NETWORK));
    let mut said = encode_frame(&hello_of(OTHER_NETWORK));
    said.extend(encode_frame(&Request::GetRules));
    stream.write_all(&said).await.unwrap();
    assert!(is_ended(&mut stream).await);
    let reason = server.closed().await;
    let expected = HelloError::OtherNetwork { network: OTHER_NETWORK };
    assert!(matches!(&reason, CloseReason::Hello(error) if *error == expected), "{reason}");
    assert!(server.opened.try_recv().is_err());
}

#[tokio::test]
async fn a_stranger_who_comes_for_the_rules_gets_them() {
    let server = TestServer::start(|_| {}).await;
    let own = |theirs: &Hello| hello_of(theirs.network);
    let (mut session, hello) = connect(server.server.address(), None, own, patient()).await.unwrap();
    assert_eq!(hello.network, NETWORK);
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn hellos_that_are_none_are_refused_on_both_sides() {
    let mut server = TestServer::start(|_| {}).await;
    let mut not_farthing = hello_of(NETWORK);
    not_farthing.magic = *b"HTTP";
    let mut too_long = hello_of(NETWORK);
    too_long.agent = vec![b'x'; MAX_HELLO_FRAME_BYTES];
    for (greeting, expected) in [
        (encode_frame(&not_farthing), "no farthing program"),
        (encode_frame(&too_long), "at most 1024"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "at most 1024"),
        (vec![3, 0, 0, 0, 1, 2, 3], "does not decode"),
    ] {
        let mut stream = TcpStream::connect(server.server.address()).await.unwrap();
        read_frame(&mut stream).await;
        stream.write_all(&greeting).await.unwrap();
        assert!(is_ended(&mut stream).await);
        let reason = server.closed().await.to_string();
        assert!(reason.contains(expected), "{reason}");
        let (_, outcome) = caller_of_raw_server(patient(), &greeting).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn regression_6_a_black_hole_ends_at_its_deadline_and_holds_up_nobody() {
    // It is never accepted: the system completes the connection, and then nothing comes.
    let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = black_hole.local_addr().unwrap();
    let server = TestServer::start(|_| {}).await;
    let deadlines = ClientDeadlines { connect: SHORT, ..patient() };
    let begun = Instant::now();
    let own = |_: &Hello| hello_of(NETWORK);
    let into_the_dark = tokio::spawn(async move { connect(address, Some(&NETWORK), own, deadlines).await });
    let mut session = server.connect().await.unwrap();
    assert_serves(&mut session).await;
    let outcome = into_the_dark.await.unwrap();
    assert!(matches!(outcome, Err(ConnectError::NoHello { within: SHORT, .. })));
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn regression_6_idle_callers_starve_nobody_and_are_dropped() {
    let mut server = TestServer::start(|limits| limits.hello = FAIR).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(server.server.address()).await.unwrap());
    }
    let mut session = server.connect().await.unwrap();
    assert_serves(&mut session).await;
    for _ in 0..silent.len() {
        assert!(matches!(server.closed().await, CloseReason::NoHello { within: FAIR }));
    }
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn callers_that_ask_nothing_or_ask_it_slowly_are_dropped() {
    let mut server = TestServer::start(|limits| limits.idle = SHORT).await;
    let mut idle = server.connect_raw().await;
    assert!(matches!(server.closed().await, CloseReason::Transfer(TransferError::Idle)));
    assert!(is_ended(&mut idle).await);

    let mut server = TestServer::start(|limits| limits.frame = SHORT).await;
    let mut slow = server.connect_raw().await;
    slow.write_all(&[4, 0, 0, 0, 10, 0]).await.unwrap();
    let reason = server.closed().await;
    assert!(matches!(reason, CloseReason::Transfer(TransferError::SlowSender { within: SHORT })));
    assert!(is_ended(&mut slow).await);
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_dropped_and_little_is_made_for_it() {
    let mut server = TestServer::start(|limits| limits.write = SHORT).await;
    let mut deaf = server.connect_raw().await;
    deaf.write_all(&encode_frame(&Request::GetPoolIds { after: None })).await.unwrap();
    let mut other = server.connect().await.unwrap();
    assert_serves(&mut other).await;
    let reason = server.closed().await;
    assert!(matches!(reason, CloseReason::Transfer(TransferError::SlowReader { within: SHORT })));
    // The answer is endless, in pages of 1 MiB: no more of it was made than the system's buffers took.
    let made = server.frames_made.load(Ordering::Relaxed);
    assert!(made < 64, "{made}");
    assert_serves(&mut other).await;
}

#[tokio::test]
async fn connections_are_limited_in_all_and_by_address_and_room_comes_back() {
    let mut server = TestServer::start(|limits| limits.connections = 2).await;
    let first = server.connect().await.unwrap();
    let mut second = server.connect().await.unwrap();
    assert!(server.connect().await.is_err());
    assert!(matches!(server.closed().await, CloseReason::TooManyConnections { most: 2 }));
    drop(first);
    assert!(matches!(server.closed().await, CloseReason::Transfer(TransferError::Closed)));
    let mut third = server.connect().await.unwrap();
    assert_serves(&mut second).await;
    assert_serves(&mut third).await;

    let mut server = TestServer::start(|limits| limits.connections_per_address = 1).await;
    let _first = server.connect().await.unwrap();
    assert!(server.connect().await.is_err());
    assert!(matches!(server.closed().await, CloseReason::TooManyOfOneAddress { most: 1, .. }));
}

#[tokio::test]
async fn a_flood_of_silent_callers_keeps_nobody_out() {
    let mut server = TestServer::start(|limits| limits.connections = 8).await;
    let mut polite = server.connect().await.unwrap();
    assert_serves(&mut polite).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.server.address()).await.unwrap());
        assert_serves(&mut polite).await;
    }
    let mut late = server.connect().await.unwrap();
    assert_serves(&mut late).await;
    for _ in 0..44 {
        assert!(matches!(server.closed().await, CloseReason::GaveWay));
    }
    assert_serves(&mut polite).await;
}

#[tokio::test]
async fn before_a_hello_nothing_is_sent_but_the_servers_own() {
    let server = TestServer::start(|_| {}).await;
    let own = encode_frame(&hello_of(NETWORK));
    for said in [vec![], vec![0; 4], vec![0xff; 4_096], encode_frame(&Request::GetRules).repeat(100)] {
        let mut stream = TcpStream::connect(server.server.address()).await.unwrap();
        // It may be cut off before it has said all.
        let _ = stream.write_all(&said).await;
        let mut heard = Vec::new();
        let mut part = [0; 1_024];
        // Cut off with bytes unread, the system may say so by an error.
        while heard.len() < own.len() || !said.is_empty() {
            match timeout(LONG, stream.read(&mut part)).await.expect("the connection ends") {
                Ok(0) | Err(_) => break,
                Ok(count) => heard.extend_from_slice(&part[..count]),
            }
        }
        assert!(own.starts_with(&heard) || heard == own, "{} bytes", heard.len());
    }
}

#[tokio::test]
async fn a_thousand_requests_are_answered_in_order_while_others_are_served() {
    let server = TestServer::start(|_| {}).await;
    let (mut requests, mut responses) = server.connect().await.unwrap().split();
    let ids: Vec<BlockId> = (0..8).map(|n| BlockId::from_bytes([n; 32])).collect();
    let asked = Request::GetBlocks { ids: ids.clone() };
    let asking = tokio::spawn(async move {
        for _ in 0..1_000 {
            requests.send(&asked).await.unwrap();
        }
        requests
    });
    let mut other = server.connect().await.unwrap();
    for _ in 0..100 {
        // Nothing is read of the thousand meanwhile: the server waits with them, and with nothing else.
        assert_serves(&mut other).await;
    }
    for _ in 0..1_000 {
        for id in &ids {
            let expected = encode_frame(&Response::Block((&block_for(*id)).into()));
            assert_eq!(responses.next_frame().await.unwrap(), expected[4..]);
        }
    }
    asking.await.unwrap();
}

#[tokio::test]
async fn callers_that_take_no_answers_give_way_when_all_together_hold_too_much() {
    const MIB: usize = 1 << 20;
    let mut server = TestServer::start(|limits| limits.answer_bytes = 5 * MIB).await;
    let mut other = server.connect().await.unwrap();
    let mut deaf = Vec::new();
    for _ in 0..12 {
        let mut stream = server.connect_raw().await;
        stream.write_all(&encode_frame(&Request::GetPoolIds { after: None })).await.unwrap();
        deaf.push(stream);
    }
    // Each is stuck with a page of a mebibyte, and a little.
    for _ in 0..8 {
        assert!(matches!(server.closed().await, CloseReason::GaveWay));
    }
    assert_serves(&mut other).await;
}

#[tokio::test]
async fn long_requests_that_never_end_give_way_to_others() {
    const MIB: usize = 1 << 20;
    let mut server = TestServer::start(|limits| limits.request_bytes = 20 * MIB).await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut stream = server.connect_raw().await;
        stream.write_all(&(MAX_FRAME_BYTES as u32).to_le_bytes()).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..3 {
        assert!(matches!(server.closed().await, CloseReason::GaveWay));
    }
    let mut session = server.connect().await.unwrap();
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn after_broken_rules_the_same_address_is_slowed_down_and_served() {
    let mut server = TestServer::start(|_| {}).await;
    for _ in 0..3 {
        let mut stream = server.connect_raw().await;
        stream.write_all(&[5, 0, 0, 0, 10, 0, 0, 0, 99]).await.unwrap();
        assert!(matches!(server.closed().await, CloseReason::MalformedRequest(_)));
    }
    let begun = Instant::now();
    let mut session = server.connect().await.unwrap();
    assert!(begun.elapsed() >= limits::FIRST_PAUSE);
    assert_serves(&mut session).await;
}

#[tokio::test]
async fn a_frame_beyond_the_limit_or_a_malformed_request_ends_the_connection() {
    let mut server = TestServer::start(|_| {}).await;
    let mut stream = server.connect_raw().await;
    stream.write_all(&(MAX_FRAME_BYTES as u32 + 1).to_le_bytes()).await.unwrap();
    let reason = server.closed().await;
    let CloseReason::Transfer(TransferError::TooLong { got, .. }) = reason else { panic!("{reason}") };
    assert_eq!(got, MAX_FRAME_BYTES + 1);
    assert!(is_ended(&mut stream).await);

    let mut stream = server.connect_raw().await;
    stream.write_all(&[5, 0, 0, 0, 10, 0, 0, 0, 99]).await.unwrap();
    assert!(matches!(server.closed().await, CloseReason::MalformedRequest(_)));
    assert!(is_ended(&mut stream).await);
}

#[tokio::test]
async fn a_request_of_a_later_version_is_unsupported_and_no_fault() {
    let server = TestServer::start(|_| {}).await;
    let mut stream = server.connect_raw().await;
    stream.write_all(&[6, 0, 0, 0, 77, 0, 0, 0, 1, 2]).await.unwrap();
    stream.write_all(&encode_frame(&Request::GetRules)).await.unwrap();
    for expected in [Response::Unsupported(77), Response::Rules(vec![1, 2, 3])] {
        assert_eq!(read_frame(&mut stream).await, encode_frame(&expected)[4..]);
    }
}

#[tokio::test]
async fn a_service_can_give_a_caller_up_and_its_defects_end_one_connection_only() {
    let mut server = TestServer::start(|limits| limits.answer = SHORT).await;
    let mut other = server.connect().await.unwrap();
    let transaction = TransactionId::ZERO;
    let id = BlockId::ZERO;
    for (request, frames, expected) in [
        (Request::GetProof { transaction }, 0, "asked too much"),
        (Request::GetCompact { id }, 1, "the store failed"),
        (Request::GetTransactions { ids: Vec::new() }, 0, "panicked"),
        (Request::WaitStatus { tip: id }, 0, "no answer was found"),
    ] {
        let mut session = server.connect().await.unwrap();
        session.send(&request).await.unwrap();
        for _ in 0..frames {
            session.next().await.unwrap();
        }
        assert!(matches!(session.next().await, Err(SessionError::Transfer(_))));
        let reason = server.closed().await.to_string();
        assert!(reason.contains(expected), "{reason}");
        assert_serves(&mut other).await;
    }
}

#[tokio::test]
async fn a_taken_port_moves_to_a_free_one() {
    let host = Addresses::this_machine().host();
    let first = Listener::bind(host, 0).await.unwrap();
    let second = Listener::bind(host, first.port()).await.unwrap();
    assert_ne!(second.port(), first.port());
    assert_ne!(second.port(), 0);
}

#[tokio::test]
async fn stopping_closes_every_connection_and_the_port_at_once() {
    for by_dropping in [false, true] {
        let mut server = TestServer::start(|_| {}).await;
        let address = server.server.address();
        let mut silent = TcpStream::connect(address).await.unwrap();
        read_frame(&mut silent).await;
        let mut waiting = server.connect().await.unwrap();
        waiting.send(&Request::WaitStatus { tip: BlockId::ZERO }).await.unwrap();
        let mut deaf = server.connect_raw().await;
        deaf.write_all(&encode_frame(&Request::GetPoolIds { after: None })).await.unwrap();
        let mut idle = server.connect().await.unwrap();
        assert_serves(&mut idle).await;
        let begun = Instant::now();
        if by_dropping {
            drop(server.server);
        } else {
            server.server.stop().await;
        }
        for _ in 0..4 {
            let reason = timeout(LONG, server.closed.recv()).await.unwrap().unwrap();
            assert!(matches!(reason, CloseReason::ServerStopped));
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(is_ended(&mut silent).await);
        assert!(matches!(waiting.next().await, Err(SessionError::Transfer(_))));
        assert!(matches!(idle.next().await, Err(SessionError::Transfer(_))));
        let own = |_: &Hello| hello_of(NETWORK);
        assert!(connect(address, None, own, patient()).await.is_err());
    }
}

#[tokio::test]
async fn an_answer_has_a_deadline_and_silence_without_a_request_has_none() {
    let server = TestServer::start(|_| {}).await;
    let deadlines = ClientDeadlines { answer: FAIR, ..patient() };
    let mut session = server.connect_patiently(deadlines).await.unwrap();
    assert!(timeout(FAIR + SHORT, session.next()).await.is_err());
    assert_serves(&mut session).await;
    session.send(&Request::WaitStatus { tip: BlockId::ZERO }).await.unwrap();
    // However often the wait is cancelled and begun again, the deadline stays.
    let begun = Instant::now();
    let late = loop {
        if let Ok(outcome) = timeout(SHORT, session.next()).await {
            break outcome;
        }
        assert!(begun.elapsed() < LONG);
    };
    assert!(matches!(late, Err(SessionError::Transfer(TransferError::Idle))));
}

#[tokio::test]
async fn a_server_that_speaks_unasked_or_goes_is_noticed() {
    let mut greeting = encode_frame(&hello_of(NETWORK));
    let (server, outcome) = caller_of_raw_server(patient(), &greeting).await;
    let mut session = outcome.unwrap();
    drop(server);
    assert!(matches!(session.next().await, Err(SessionError::Transfer(_))));

    greeting.extend(encode_frame(&Response::Headers(Vec::new())));
    let (_server, outcome) = caller_of_raw_server(patient(), &greeting).await;
    assert!(matches!(outcome.unwrap().next().await, Err(SessionError::Unasked)));
}

#[tokio::test]
async fn peers_are_found_by_address_and_nonsense_is_named() {
    let found = resolve("127.0.0.1:2607", LONG).await.unwrap();
    assert_eq!(found, ["127.0.0.1:2607".parse().unwrap()]);
    let error = resolve("no port", LONG).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotFound { peer, .. } if peer == "no port"));
}
