//! Calls a block server. The caller sends nothing until it has read a hello that it can go on from; then
//! requests go out by one half of the session while answers come in, in the same order, by the other. Used
//! by the programs' drivers for every miner that they follow, and for peers named by hand.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::frames::{FrameReader, TransferError, write_within};
use super::limits::*;
use crate::encoding::DecodeError;
use crate::hash::NetworkId;
use crate::wire::{
    Hello, HelloError, MAX_FRAME_BYTES, MAX_HELLO_FRAME_BYTES, Request, Response, encode_frame,
};

/// How long a caller waits. The defaults are the constants above.
#[derive(Clone, Debug)]
pub struct ClientDeadlines {
    /// For the connection and both hellos together.
    pub connect: Duration,
    /// From a request, or the frame before, to the first byte of the next frame.
    pub answer: Duration,
    /// From a frame's first byte to its last.
    pub frame: Duration,
    /// For the server to take a request.
    pub write: Duration,
}

impl Default for ClientDeadlines {
    fn default() -> Self {
        Self { connect: CONNECT_WITHIN, answer: ANSWER_WITHIN, frame: FRAME_WITHIN, write: WRITE_WITHIN }
    }
}

/// Why a call did not become a session.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum ConnectError {
    #[error("{peer:?} is no HOST:PORT that can be found")]
    NotFound { peer: String, source: io::Error },
    #[error("{peer:?} was not found within {:.1} s", within.as_secs_f32())]
    NotFoundInTime { peer: String, within: Duration },
    #[error("nothing answers at {address}")]
    Unreachable { address: SocketAddr, source: io::Error },
    #[error("{address} did not say hello within {:.1} s", within.as_secs_f32())]
    NoHello { address: SocketAddr, within: Duration },
    #[error("the hello of {address} does not decode")]
    MalformedHello { address: SocketAddr, source: DecodeError },
    #[error("{address} cannot be talked to: {source}")]
    Hello { address: SocketAddr, source: HelloError },
    #[error("the call to {address} failed: {source}")]
    Transfer { address: SocketAddr, source: TransferError },
}

/// Why a session is over. No further request or answer is to be expected after any of these.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum SessionError {
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error("an answer does not decode")]
    MalformedAnswer(#[source] DecodeError),
    #[error("an answer came that nobody asked for")]
    Unasked,
    #[error("everything that was asked is answered, and nothing more will be asked")]
    Finished,
}

impl ConnectError {
    /// Whether whoever answered broke the protocol, rather than being gone, slow, or somewhere else by now.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::MalformedHello { .. } => true,
            Self::Hello { source, .. } => matches!(source, HelloError::Magic | HelloError::Agent),
            Self::Transfer { source, .. } => source.is_fault_of_server(),
            _ => false,
        }
    }
}

impl SessionError {
    /// Whether the server broke the protocol, rather than being gone or slow.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::MalformedAnswer(_) | Self::Unasked => true,
            Self::Transfer(error) => error.is_fault_of_server(),
            Self::Finished => false,
        }
    }
}

/// The addresses of a peer named by hand as HOST:PORT, the preferred first. At least one.
pub async fn resolve(peer: &str, within: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    let not_found = |source| ConnectError::NotFound { peer: peer.into(), source };
    let found = timeout(within, lookup_host(peer)).await;
    let found = found.map_err(|_| ConnectError::NotFoundInTime { peer: peer.into(), within })?;
    let mut addresses: Vec<SocketAddr> = found.map_err(not_found)?.collect();
    if addresses.is_empty() {
        return Err(not_found(io::ErrorKind::NotFound.into()));
    }
    // Block servers listen on IPv4.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

/// Calls a server, checks its hello and answers it with what `own_hello` makes of it.
///
/// With a `network` the server has to be on it. Without, any will do: whoever comes for a network's rules
/// learns its id from the hello, checks the rules against it, and says that id in its own hello.
pub async fn connect(
    address: SocketAddr,
    network: Option<&NetworkId>,
    own_hello: impl FnOnce(&Hello) -> Hello,
    deadlines: ClientDeadlines,
) -> Result<(Session, Hello), ConnectError> {
    let within = deadlines.connect;
    let call = call(address, network, own_hello, deadlines);
    timeout(within, call).await.map_err(|_| ConnectError::NoHello { address, within })?
}

/// Connects to the first of a peer's addresses where it answers ([`connect`]). Each has an equal share of the time that
/// is left for connecting, so that one that swallows what is sent to it keeps nobody from the next.
pub async fn connect_to_any(
    addresses: &[SocketAddr],
    network: &NetworkId,
    own_hello: impl Fn(&Hello) -> Hello,
    deadlines: ClientDeadlines,
) -> Result<(Session, Hello), ConnectError> {
    let until = Instant::now() + deadlines.connect;
    let mut last = None;
    for (number, address) in addresses.iter().enumerate() {
        let shares = u32::try_from(addresses.len() - number).unwrap_or(u32::MAX);
        let connect_within = until.saturating_duration_since(Instant::now()) / shares;
        let deadlines = ClientDeadlines { connect: connect_within, ..deadlines.clone() };
        match connect(*address, Some(network), &own_hello, deadlines).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        let peer = "a peer without an address".to_owned();
        ConnectError::NotFound { peer, source: io::ErrorKind::NotFound.into() }
    }))
}

async fn call(
    address: SocketAddr,
    network: Option<&NetworkId>,
    own_hello: impl FnOnce(&Hello) -> Hello,
    deadlines: ClientDeadlines,
) -> Result<(Session, Hello), ConnectError> {
    let broken = |source| ConnectError::Transfer { address, source };
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|source| ConnectError::Unreachable { address, source })?;
    stream.set_nodelay(true).map_err(|error| broken(error.into()))?;
    let own_address = stream.local_addr().map_err(|error| broken(error.into()))?;
    let (from, mut to) = stream.into_split();
    let mut from = FrameReader::new(from);

    let begins_by = Instant::now() + deadlines.answer;
    let frame = from.next(MAX_HELLO_FRAME_BYTES, begins_by, deadlines.frame).await.map_err(broken)?;
    let hello =
        Hello::from_frame(&frame).map_err(|source| ConnectError::MalformedHello { address, source })?;
    let checked = network.map_or_else(|| hello.check_protocol(), |network| hello.check(network));
    checked.map_err(|source| ConnectError::Hello { address, source })?;
    write_within(&mut to, &encode_frame(&own_hello(&hello)), deadlines.write).await.map_err(broken)?;

    let (asked, heard) = watch::channel(0);
    let requests = RequestSender { to, asked, write_within: deadlines.write };
    let responses = ResponseReceiver { from, asked: heard, answered: 0, waiting_since: None, deadlines };
    Ok((Session { requests, responses, own_address }, hello))
}

/// A connection on which hellos are exchanged. Whoever has several requests in flight uses the halves from
/// two tasks, so that neither side waits for the other to read.
#[derive(Debug)]
pub struct Session {
    /// Where requests go out.
    pub requests: RequestSender,
    /// Where answers come in.
    pub responses: ResponseReceiver,
    /// This machine's end of the connection.
    pub own_address: SocketAddr,
}

impl Session {
    /// Sends a request. See [`RequestSender::send`].
    pub async fn send(&mut self, request: &Request) -> Result<(), SessionError> {
        self.requests.send(request).await
    }

    /// The next frame of the answers. See [`ResponseReceiver::next`].
    pub async fn next(&mut self) -> Result<Response, SessionError> {
        self.responses.next().await
    }

    /// The two halves. The connection ends when both are dropped; the server hears of the first at once.
    pub fn split(self) -> (RequestSender, ResponseReceiver) {
        (self.requests, self.responses)
    }
}

/// The half of a session that asks.
#[derive(Debug)]
pub struct RequestSender {
    to: OwnedWriteHalf,
    /// How many frames the requests sent so far are answered with.
    asked: watch::Sender<u64>,
    write_within: Duration,
}

impl RequestSender {
    /// Sends a request; it is answered after those before it. How many are in flight is the caller's to
    /// limit: a server takes no more from the connection while it answers. Cancelled half way, it leaves
    /// the session good for nothing.
    pub async fn send(&mut self, request: &Request) -> Result<(), SessionError> {
        self.asked.send_modify(|asked| *asked += request.answer_frames() as u64);
        Ok(write_within(&mut self.to, &encode_frame(request), self.write_within).await?)
    }
}

/// The half of a session that hears the answers.
#[derive(Debug)]
pub struct ResponseReceiver {
    from: FrameReader<OwnedReadHalf>,
    asked: watch::Receiver<u64>,
    /// How many frames of answers have come.
    answered: u64,
    /// Since when the next frame is due, while there is one.
    waiting_since: Option<Instant>,
    deadlines: ClientDeadlines,
}

impl ResponseReceiver {
    /// The next frame of the answers, decoded: one for each request, but one for each id of a `GetBlocks`.
    /// While nothing is in flight it waits without a deadline. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Result<Response, SessionError> {
        Response::from_frame(self.next_frame().await?).map_err(SessionError::MalformedAnswer)
    }

    /// Like [`Self::next`], for whoever decodes large answers on a thread of its own.
    pub async fn next_frame(&mut self) -> Result<Vec<u8>, SessionError> {
        self.until_asked().await?;
        let due = *self.waiting_since.get_or_insert_with(Instant::now) + self.deadlines.answer;
        let frame = self.from.next(MAX_FRAME_BYTES, due, self.deadlines.frame).await?;
        self.answered += 1;
        self.waiting_since = None;
        Ok(frame)
    }

    /// Waits until an answer is due. A server that says something before is none to trust; one that goes is
    /// noticed.
    async fn until_asked(&mut self) -> Result<(), SessionError> {
        while *self.asked.borrow_and_update() <= self.answered {
            tokio::select! {
                biased;
                asked = self.asked.changed() => asked.map_err(|_| SessionError::Finished)?,
                begun = self.from.begin() => {
                    begun?;
                    // What has begun may be the answer to what was asked in this moment.
                    if *self.asked.borrow() <= self.answered {
                        return Err(SessionError::Unasked);
                    }
                }
            }
        }
        Ok(())
    }
}
