//! An honest caller, which asks for headers, blocks and the status again and again, and times the answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::hash::{BlockId, NetworkId};
use common::net::{ClientDeadlines, connect};
use common::node::limits::{ANSWER_DEADLINE, CONNECT_DEADLINE};
use common::text::with_causes;
use common::time::Timestamp;
use common::wire::{Hello, Request, Response};
use tokio::runtime::Runtime;

/// What the protocol promises (`PROTOCOL.md`, section 7), though this machine also runs the attack. Frames have the time
/// that every caller of this project gives them.
fn deadlines() -> ClientDeadlines {
    ClientDeadlines { connect: CONNECT_DEADLINE, answer: ANSWER_DEADLINE, ..ClientDeadlines::default() }
}

/// From one visit to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls from when it is made until it is asked how it fared.
pub struct Honest {
    over: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    thread: JoinHandle<Result<Duration, String>>,
}

impl Honest {
    /// Calls this server, on this network.
    pub fn start(place: SocketAddr, network: NetworkId) -> Self {
        let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (over.clone(), served.clone());
        let thread = thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                slowest = slowest.max(visit(place, network)?);
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
            Ok(slowest)
        });
        Self { over, served, thread }
    }

    /// How often it was served so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Whether it still calls, or was let down.
    pub fn is_content(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Stops calling. How often it was served, and what the slowest visit took; or how it was let down.
    pub fn end(self) -> Result<(u64, Duration), String> {
        self.over.store(true, Ordering::Relaxed);
        let slowest = self.thread.join().map_err(|_| "the honest caller panicked".to_owned())??;
        Ok((self.served.load(Ordering::Relaxed), slowest))
    }
}

/// Calls, asks for headers, a block and the status, and says how long that took.
pub fn visit(place: SocketAddr, network: NetworkId) -> Result<Duration, String> {
    let started = Instant::now();
    let client = Client::call(place, network);
    let mut client = client.map_err(|error| format!("{error} after {:?}", started.elapsed()))?;
    let headers = client.headers(16)?;
    let Some(first) = headers.first() else { return Err("there are no headers".to_owned()) };
    match client.ask(&Request::GetBlocks { ids: vec![first.id()] })? {
        Response::Block(block) if block.id() == first.id() => {}
        other => return Err(format!("{other:?} instead of a block")),
    }
    match client.ask(&Request::WaitStatus { tip: BlockId::ZERO })? {
        Response::Status(_) => Ok(started.elapsed()),
        other => Err(format!("{other:?} instead of a status")),
    }
}

/// A caller that keeps to the protocol, and expects the same.
pub struct Client {
    runtime: Runtime,
    session: common::net::Session,
}

impl Client {
    /// Calls a server.
    pub fn call(place: SocketAddr, network: NetworkId) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let own = |theirs: &Hello| Hello::of_caller(theirs, "honest", Timestamp::from_system_clock());
        let called = runtime.block_on(connect(place, Some(&network), own, deadlines()));
        let (session, _) = called.map_err(|error| with_causes(&error))?;
        Ok(Self { runtime, session })
    }

    /// Asks one thing.
    pub fn ask(&mut self, request: &Request) -> Result<Response, String> {
        let session = &mut self.session;
        let answer = self.runtime.block_on(async {
            session.send(request).await?;
            session.next().await
        });
        answer.map_err(|error| with_causes(&error))
    }

    /// The first headers of its chain.
    pub fn headers(&mut self, limit: u32) -> Result<Vec<common::block::SealedHeader>, String> {
        match self.ask(&Request::GetHeaders { locator: Vec::new(), limit })? {
            Response::Headers(headers) => Ok(headers),
            other => Err(format!("{other:?} instead of headers")),
        }
    }
}
