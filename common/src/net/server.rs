//! The block server: listens, counts its callers, and hands their requests to a [`Service`], which the
//! programs' drivers implement. What is said on one connection is in [`super::connection`].

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::callers::{Callers, Place};
use super::connection::{self, CloseReason};
use super::limits::*;
use crate::wire::{Hello, Request};

/// How much a server puts up with. The defaults are the constants above.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// The most connections.
    pub connections: usize,
    /// The most connections from one address.
    pub connections_per_address: usize,
    /// For the caller to take the server's hello and send its own.
    pub hello: Duration,
    /// From an answer's end to the next request's first byte.
    pub idle: Duration,
    /// From a request's first byte to its last.
    pub frame: Duration,
    /// For the service to find an answer.
    pub answer: Duration,
    /// For the caller to take a piece of an answer.
    pub write: Duration,
    /// Who asked nothing for this long gives way when there is no room.
    pub gives_way: Duration,
    /// Bytes of answers that callers have yet to take.
    pub answer_bytes: usize,
    /// Bytes of long requests that are on their way or being answered.
    pub request_bytes: usize,
}

impl ServerLimits {
    /// The usual ones for so many connections.
    pub fn of(connections: usize) -> Self {
        let connections_per_address = (connections / ADDRESS_SHARE).max(1);
        Self { connections, connections_per_address, ..Self::default() }
    }
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            connections_per_address: MAX_CONNECTIONS / ADDRESS_SHARE,
            hello: HELLO_WITHIN,
            idle: IDLE_WITHIN,
            frame: FRAME_WITHIN,
            answer: SERVICE_WITHIN,
            write: WRITE_WITHIN,
            gives_way: IDLE_GIVES_WAY,
            answer_bytes: MAX_ANSWER_BYTES,
            request_bytes: MAX_REQUEST_BYTES,
        }
    }
}

/// Names a connection; never used twice by one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Of this connection.
    pub id: ConnectionId,
    /// Where it comes from.
    pub address: SocketAddr,
}

/// Why a service gives a caller up: it asked for more than the protocol allows, or the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// The frames of an answer, made one by one as the caller takes them: each call appends the next one to the
/// bytes, or says that there is none left. They are made on a thread that may block, and between two of them
/// any time may pass: hold no lock and no read transaction from one call to the next.
pub type Frames = Box<dyn FnMut(&mut Vec<u8>) -> Option<Result<(), Fault>> + Send>;

/// What a service answers: frames as [`crate::wire::encode_frame`] and [`crate::wire::append_block_frame`] make
/// them.
pub enum Answer {
    /// One that is at hand.
    Frame(Vec<u8>),
    /// Any number, made on a thread that may block; for whatever reads the store. A fault ends the
    /// connection after the frames before it.
    Frames(Frames),
    /// None: the connection ends.
    Close(Fault),
}

impl Answer {
    /// From an iterator of frames.
    pub fn frames(mut frames: impl Iterator<Item = Result<Vec<u8>, Fault>> + Send + 'static) -> Self {
        Self::Frames(Box::new(move |bytes| {
            Some(frames.next()?.map(|frame| match bytes.is_empty() {
                true => *bytes = frame,
                false => bytes.extend_from_slice(&frame),
            }))
        }))
    }

    /// One frame, made on a thread that may block.
    pub fn blocking(frame: impl FnOnce() -> Result<Vec<u8>, Fault> + Send + 'static) -> Self {
        Self::frames(std::iter::once_with(frame))
    }
}

/// What answers the callers of a [`Server`]. Its methods are called from many connections at once.
pub trait Service: Send + Sync + 'static {
    /// What the server says to a caller first.
    fn hello(&self) -> Hello;

    /// A caller of this network has introduced itself.
    fn opened(&self, _caller: Caller, _hello: &Hello) {}

    /// Answers one request. The caller's next one is not read before this answer is sent; so every answer
    /// may take its time, within [`ServerLimits::answer`]. The limits that the protocol sets to a request's
    /// lists are the service's to check.
    fn answer(&self, caller: Caller, request: Request) -> impl Future<Output = Answer> + Send;

    /// A connection has ended, or was turned away. Called once for each caller. Where that was for a broken rule, the
    /// next caller from its IP address has to wait for `pause` first. May take its time, but for those who were
    /// turned away: while as many as there are places wait for it, nobody new is accepted.
    fn closed(
        &self,
        _caller: Caller,
        _reason: CloseReason,
        _pause: Duration,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Why no server can listen.
#[derive(Debug, thiserror::Error)]
#[error("the block server cannot listen at {at}")]
pub struct ListenError {
    /// Where it was to listen.
    pub at: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

/// A bound block server, not yet serving: its port is known, for hellos and statuses to name.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens at a port of [`super::Addresses::host`], or at a free one when another program has taken it;
    /// [`Self::port`] tells. Fails when the port may not be used at all.
    pub async fn bind(host: Ipv4Addr, port: u16) -> Result<Self, ListenError> {
        let wanted = SocketAddr::from((host, port));
        let bound = match TcpListener::bind(wanted).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((host, 0)).await,
            bound => bound,
        };
        let with_address = bound.and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = with_address.map_err(|source| ListenError { at: wanted, source })?;
        Ok(Self { socket, address })
    }

    /// The port it listens at, wanted or free.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Begins to serve, on tasks of the tokio runtime that this is called in.
    pub fn serve(self, service: Arc<impl Service>, limits: ServerLimits) -> Server {
        let (stop, stopped) = watch::channel(());
        let address = self.address;
        let accepting = tokio::spawn(accept(self.socket, service, limits, stopped));
        Server { address, stop, accepting }
    }
}

/// A serving block server. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection, and comes back when they are closed. That takes no longer than
    /// the service's own callbacks: every wait of a connection ends at once.
    pub async fn stop(self) {
        drop(self.stop);
        // It fails only when a callback has panicked; the connections are closed then, too.
        let _ = self.accepting.await;
    }
}

/// The server's only loop, until it is told to stop.
async fn accept<S: Service>(
    socket: TcpListener,
    service: Arc<S>,
    limits: ServerLimits,
    mut stopped: watch::Receiver<()>,
) {
    // Those that have a place, and as many that have left theirs and of whom the service has yet to be told.
    let most_tasks = limits.connections.saturating_mul(2);
    let callers = Arc::new(Callers::new(limits));
    let mut tasks = JoinSet::new();
    let mut called = 0;
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            // By itself, or by a panic of the service.
            Some(_) = tasks.join_next() => {}
            accepted = socket.accept(), if tasks.len() < most_tasks => match accepted {
                Err(_) => sleep(PAUSE_AFTER_ACCEPT_ERROR).await,
                Ok((stream, address)) => {
                    called += 1;
                    let caller = Caller { id: ConnectionId(called), address };
                    match callers.admit(caller) {
                        Ok(place) => {
                            let attended =
                                attend(stream, caller, service.clone(), callers.clone(), place, stopped.clone());
                            tasks.spawn(attended);
                        }
                        Err(reason) => {
                            drop(stream);
                            service.closed(caller, reason, Duration::ZERO).await;
                        }
                    }
                }
            },
        }
    }
    drop(socket);
    while tasks.join_next().await.is_some() {}
}

/// One connection, until it ends, has to give way, or the server stops.
async fn attend<S: Service>(
    stream: TcpStream,
    caller: Caller,
    service: Arc<S>,
    callers: Arc<Callers>,
    place: Place,
    mut stopped: watch::Receiver<()>,
) {
    let ip = caller.address.ip();
    let served = async {
        sleep(callers.pause(ip, Instant::now())).await;
        connection::serve(stream, caller, &*service, &callers, &place).await
    };
    let reason = tokio::select! {
        biased;
        _ = stopped.changed() => CloseReason::ServerStopped,
        () = place.must_leave() => CloseReason::GaveWay,
        reason = served => reason,
    };
    drop(place);
    let pause = if reason.is_fault() { callers.at_fault(ip, Instant::now()) } else { Duration::ZERO };
    service.closed(caller, reason, pause).await;
}
