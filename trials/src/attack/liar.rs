//! A block server that lies or stalls, and says by broadcast that it has the best chain.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::block::{EncodedBlock, EncodedBody, SealedHeader};
use common::chain::MAX_HEADERS;
use common::difficulty::Work;
use common::hash::{BlockId, NetworkId};
use common::time::{Height, Timestamp};
use common::wire::{
    Announcement, Datagram, Hello, Incoming, MAGIC, MAX_FRAME_BYTES, MIN_VERSION, Request, Response, Status,
    VERSION, encode_frame,
};

use super::caller::stranger;
use super::honest::Client;
use super::udp::Source;
use crate::program::Network;
use crate::random::Random;

/// How often a liar says how good its chain is.
const STATUS_EVERY: Duration = Duration::from_millis(300);
/// How long one goes on that drips or never answers: longer than anybody may wait for it.
const STALL: Duration = Duration::from_secs(600);

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It accepts calls and says nothing.
    Silent,
    /// It says hello, and never answers.
    NoAnswer,
    /// It closes the connection when something is asked.
    HangsUp,
    /// It sends the right headers, a byte a second.
    Drips,
    /// Its headers have no work.
    NoWork,
    /// Its headers are good, its blocks are others than the ones asked for.
    OtherBlocks,
    /// Its headers are good, its blocks have others' bodies.
    OtherBodies,
    /// Its answers are random bytes.
    Garbage,
    /// Its answers are longer than any frame may be.
    TooLong,
    /// It answers with what was not asked for.
    OffTheSubject,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Silent,
        Self::NoAnswer,
        Self::HangsUp,
        Self::Drips,
        Self::NoWork,
        Self::OtherBlocks,
        Self::OtherBodies,
        Self::Garbage,
        Self::TooLong,
        Self::OffTheSubject,
    ];

    /// Whether it breaks the protocol; the others are only slow, or gone.
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Silent | Self::NoAnswer | Self::HangsUp | Self::Drips)
    }
}

/// An honest chain, for liars to begin with.
pub struct Truth {
    headers: Vec<SealedHeader>,
    blocks: HashMap<BlockId, EncodedBlock>,
}

impl Truth {
    /// The chain of an honest server.
    pub fn of(place: SocketAddr, network: NetworkId) -> Arc<Self> {
        let mut client = Client::call(place, network).expect("an honest caller is served");
        let headers = client.headers(MAX_HEADERS as u32).expect("an honest caller is served");
        let block = |header: &SealedHeader| match client.ask(&Request::GetBlocks { ids: vec![header.id()] }) {
            Ok(Response::Block(block)) => (block.id(), block),
            other => panic!("{other:?} instead of a block"),
        };
        let blocks = headers.iter().map(block).collect();
        Arc::new(Self { headers, blocks })
    }
}

/// A server that runs, until it is dropped.
pub struct Liar {
    /// What it does.
    pub lie: Lie,
    address: SocketAddr,
    calls: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Liar {
    /// Starts one at an address of its own.
    pub fn start(lie: Lie, number: u32, network: &Network, truth: &Arc<Truth>, seed: u64) -> Self {
        let listener = TcpListener::bind((stranger(number), 0)).expect("all of 127.0.0.0/8 is this machine");
        let address = listener.local_addr().expect("it is bound");
        let (calls, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut random = Random::new(seed);
        let tip = BlockId::from_bytes(std::array::from_fn(|_| random.next_u64() as u8));
        let status = Status {
            instance: random.next_u64(),
            height: Height::new(1_000_000),
            work: Work::from_be_bytes([1; 32]),
            tip,
            block_server_port: address.port(),
        };
        let id = network.rules.network_id();
        let datagram = Datagram::new(&id, Announcement::Status(status)).to_bytes();
        let (source, port, stop) = (Source::at(stranger(number)), network.ports.status, over.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                source.send(&datagram, port);
                thread::sleep(STATUS_EVERY);
            }
            source.heard_nothing();
        });
        let conversation = Conversation { lie, network: id, status, truth: truth.clone(), random };
        let count = calls.clone();
        // These threads end with the process, and with whoever calls.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let conversation = conversation.clone();
                thread::spawn(move || conversation.hold(stream));
            }
        });
        Self { lie, address, calls, over }
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Conversation {
    lie: Lie,
    network: NetworkId,
    status: Status,
    truth: Arc<Truth>,
    random: Random,
}

impl Conversation {
    /// Talks until the other side has enough.
    fn hold(mut self, mut stream: TcpStream) {
        // However it ends is as good as any other way.
        let _ = self.talk(&mut stream);
    }

    fn talk(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if self.lie == Lie::Silent {
            return read_to_end(stream);
        }
        stream.write_all(&encode_frame(&Hello {
            magic: MAGIC,
            version: VERSION,
            min_version: MIN_VERSION,
            network: self.network,
            instance: self.status.instance,
            time: Timestamp::from_system_clock(),
            block_server_port: self.status.block_server_port,
            features: Hello::SERVES_BODIES,
            agent: b"liar".to_vec(),
        }))?;
        read_frame(stream)?;
        loop {
            let request = read_frame(stream)?;
            let Ok(Incoming::Known(request)) = Incoming::decode(&request) else { return Ok(()) };
            match self.lie {
                Lie::Silent | Lie::NoAnswer => return read_to_end(stream),
                Lie::HangsUp => return Ok(()),
                Lie::Garbage => {
                    let bytes: Vec<u8> = (0..200).map(|_| self.random.next_u64() as u8 | 0x80).collect();
                    stream.write_all(&200_u32.to_le_bytes())?;
                    stream.write_all(&bytes)?;
                }
                Lie::TooLong => {
                    stream.write_all(&(MAX_FRAME_BYTES as u32 + 1).to_le_bytes())?;
                    stream.write_all(&[0; 1_000])?;
                }
                Lie::OffTheSubject => stream.write_all(&encode_frame(&Response::Rules(vec![0; 50])))?,
                Lie::Drips => {
                    let frame = self.answer(&request).concat();
                    for byte in frame.chunks(1).take(STALL.as_secs() as usize) {
                        stream.write_all(byte)?;
                        thread::sleep(Duration::from_secs(1));
                    }
                    return Ok(());
                }
                Lie::NoWork | Lie::OtherBlocks | Lie::OtherBodies => {
                    for frame in self.answer(&request) {
                        stream.write_all(&frame)?;
                    }
                }
            }
        }
    }

    /// The frames that answer a request, as far as the lie goes.
    fn answer(&self, request: &Request) -> Vec<Vec<u8>> {
        let truth = &self.truth;
        match request {
            Request::GetHeaders { locator, .. } => {
                let known = truth.headers.iter().rposition(|header| locator.contains(&header.id()));
                let mut headers = truth.headers[known.map_or(0, |known| known + 1)..].to_vec();
                if self.lie == Lie::NoWork {
                    headers = vec![without_work(truth.headers[0].clone())];
                }
                vec![encode_frame(&Response::Headers(headers))]
            }
            Request::GetBlocks { ids } => ids.iter().map(|id| encode_frame(&self.block(id))).collect(),
            Request::GetCompact { .. } => vec![encode_frame(&Response::Unsupported(2))],
            _ => vec![encode_frame(&Response::Status(self.status))],
        }
    }

    /// Any block but the right one.
    fn block(&self, id: &BlockId) -> Response {
        let truth = &self.truth;
        let Some(right) = truth.blocks.get(id) else { return Response::NotFound(*id.as_bytes()) };
        let other = truth.headers.iter().map(SealedHeader::id).find(|other| other != id);
        let other = &truth.blocks[&other.expect("the chain is longer than one block")];
        Response::Block(match self.lie {
            Lie::OtherBodies => {
                let mut body = right.body.to_body();
                body.reward.data = b"mine".to_vec();
                EncodedBlock { header: right.header.clone(), body: EncodedBody::new(&body) }
            }
            _ => other.clone(),
        })
    }
}

/// The same header with a nonce that no work was done for.
fn without_work(mut header: SealedHeader) -> SealedHeader {
    header.header.nonce = 0;
    while header.header.bits.to_target().is_met_by(&header.header.id()) {
        header.header.nonce += 1;
    }
    header
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; (u32::from_le_bytes(length) as usize).min(MAX_FRAME_BYTES)];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn read_to_end(stream: &mut TcpStream) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(|_| ())
}
