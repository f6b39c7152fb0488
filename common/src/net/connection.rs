//! What is said on one connection of the block server, in order: the server's hello, the caller's, then
//! requests and answers until somebody has enough. Run by [`super::server`].

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::callers::{Callers, Doing, Place};
use super::frames::{FrameReader, TransferError, write_within};
use super::limits::{FIRST_ROOM_BYTES, PIECE_BYTES, REQUEST_TAKES};
use super::server::{Answer, Caller, Fault, Frames, ServerLimits, Service};
use crate::encoding::DecodeError;
use crate::wire::{
    Hello, HelloError, Incoming, MAX_FRAME_BYTES, MAX_HELLO_FRAME_BYTES, Response, encode_frame,
};

/// Why a connection of the block server ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum CloseReason {
    #[error("the server stopped")]
    ServerStopped,
    #[error("there are {most} connections already")]
    TooManyConnections { most: usize },
    #[error("there are {most} connections from {address} already")]
    TooManyOfOneAddress { address: IpAddr, most: usize },
    #[error("it gave way to others")]
    GaveWay,
    #[error("the caller did not say hello within {:.1} s", within.as_secs_f32())]
    NoHello { within: Duration },
    #[error("the caller's hello does not decode")]
    MalformedHello(#[source] DecodeError),
    #[error("the caller was refused: {0}")]
    Hello(#[from] HelloError),
    #[error("a request does not decode")]
    MalformedRequest(#[source] DecodeError),
    #[error("no answer was found within {:.1} s", within.as_secs_f32())]
    NoAnswer { within: Duration },
    #[error("making an answer panicked")]
    AnswerPanicked,
    #[error("the service gave the caller up: {0}")]
    Fault(#[from] Fault),
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

impl CloseReason {
    /// Whether the caller broke the protocol or a limit, rather than having had enough, or the server.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::ServerStopped | Self::GaveWay | Self::NoAnswer { .. } | Self::AnswerPanicked => false,
            // Nothing is wrong with calling when many do.
            Self::TooManyConnections { .. } | Self::TooManyOfOneAddress { .. } => false,
            Self::Transfer(error) => {
                !matches!(error, TransferError::Closed | TransferError::Idle | TransferError::Broken(_))
            }
            _ => true,
        }
    }
}

/// Serves one caller to the end, which is returned.
pub(super) async fn serve<S: Service>(
    mut stream: TcpStream,
    caller: Caller,
    service: &S,
    callers: &Callers,
    place: &Place,
) -> CloseReason {
    match converse(&mut stream, caller, service, callers, place).await {
        Err(reason) => reason,
        Ok(never) => match never {},
    }
}

async fn converse<S: Service>(
    stream: &mut TcpStream,
    caller: Caller,
    service: &S,
    callers: &Callers,
    place: &Place,
) -> Result<Infallible, CloseReason> {
    let limits = callers.limits();
    // Answers are written whole; waiting to fill a packet would only delay them.
    stream.set_nodelay(true).map_err(TransferError::from)?;
    let (from, mut to) = stream.split();
    let mut from = FrameReader::new(from);

    let within = limits.hello;
    let greeting = greet(&mut from, &mut to, service.hello(), limits);
    let hello = timeout(within, greeting).await.map_err(|_| CloseReason::NoHello { within })??;
    service.opened(caller, &hello);

    loop {
        place.set(Doing::Idle);
        let idle_until = Instant::now() + limits.idle;
        timeout_at(idle_until, from.begin()).await.map_err(|_| TransferError::Idle)??;
        let announced = from.announced(MAX_FRAME_BYTES, limits.frame).await?;
        // A short one takes no more than every connection has anyway.
        let asking = if announced > FIRST_ROOM_BYTES { announced * REQUEST_TAKES } else { 0 };
        place.set(Doing::Asking(asking));
        let frame = from.next(MAX_FRAME_BYTES, idle_until, limits.frame).await?;
        let incoming = Incoming::decode(&frame).map_err(CloseReason::MalformedRequest)?;
        drop(frame);
        let answer = match incoming {
            Incoming::Known(request) => {
                let within = limits.answer;
                let answer = timeout(within, service.answer(caller, request)).await;
                answer.map_err(|_| CloseReason::NoAnswer { within })?
            }
            Incoming::Unknown(number) => Answer::Frame(encode_frame(&Response::Unsupported(number))),
        };
        match answer {
            Answer::Frame(frame) => {
                place.set(Doing::Taking(frame.len()));
                write_within(&mut to, &frame, limits.write).await?;
            }
            Answer::Frames(frames) => write_frames(&mut to, frames, callers, place).await?,
            Answer::Close(fault) => return Err(fault.into()),
        }
    }
}

/// Says hello and hears the caller's. A stranger who has come for the rules says the server's network back
/// to it.
async fn greet<R: AsyncRead + Unpin>(
    from: &mut FrameReader<R>,
    to: &mut WriteHalf<'_>,
    own: Hello,
    limits: &ServerLimits,
) -> Result<Hello, CloseReason> {
    let network = own.network;
    write_within(to, &encode_frame(&own), limits.write).await?;
    let frame = from.next(MAX_HELLO_FRAME_BYTES, Instant::now() + limits.idle, limits.frame).await?;
    let hello = Hello::from_frame(&frame).map_err(CloseReason::MalformedHello)?;
    hello.check(&network)?;
    Ok(hello)
}

/// Writes an answer piece by piece, making each only when the one before is written. All are made in the same
/// bytes: fresh memory for every block would cost more than copying it.
async fn write_frames(
    to: &mut WriteHalf<'_>,
    mut frames: Frames,
    callers: &Callers,
    place: &Place,
) -> Result<(), CloseReason> {
    let mut bytes = Vec::new();
    loop {
        // It is never closed; were it, a piece too many at a time would be made.
        let turn = callers.turns.clone().acquire_owned().await;
        let making = spawn_blocking(move || {
            // Until the piece is made, whether or not its caller is still there.
            let _turn = turn;
            bytes.clear();
            let end = make_piece(&mut frames, &mut bytes);
            (frames, bytes, end)
        });
        let (rest, made, end) = making.await.map_err(|_| CloseReason::AnswerPanicked)?;
        place.set(Doing::Taking(made.capacity()));
        write_within(to, &made, callers.limits().write).await?;
        if let Some(end) = end {
            return Ok(end?);
        }
        (frames, bytes) = (rest, made);
    }
}

/// Makes some frames of an answer; says how it ended, if it did.
fn make_piece(frames: &mut Frames, bytes: &mut Vec<u8>) -> Option<Result<(), Fault>> {
    while bytes.len() < PIECE_BYTES {
        match frames(bytes) {
            Some(Ok(())) => {}
            Some(Err(fault)) => return Some(Err(fault)),
            None => return Some(Ok(())),
        }
    }
    None
}
