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

mod callers;
mod client;
mod greeting;
mod requests;

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

    async fn closed(&self, _caller: Caller, reason: CloseReason, _pause: Duration) {
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
