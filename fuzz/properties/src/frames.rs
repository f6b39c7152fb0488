//! A stream of bytes, cut into frames however it arrives.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::net::{FrameReader, TransferError};
use common::wire::{Hello, Incoming, MAX_FRAME_BYTES, MAX_HELLO_FRAME_BYTES, decode_frame};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::allocation::within;
use crate::try_out;

/// Longer than any fuzzer looks at one input: here no deadline passes.
const LONG: Duration = Duration::from_secs(3600);

/// A stream that arrives in pieces, then ends.
struct Pieces<'a> {
    stream: &'a [u8],
    /// How long the next pieces are; 0: nothing is there yet. After the last, all the rest comes at once.
    lengths: VecDeque<u8>,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = match self.lengths.pop_front() {
            Some(0) => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            length => length.map_or(usize::MAX, usize::from),
        };
        let (piece, rest) = self.stream.split_at(length.min(to.remaining()).min(self.stream.len()));
        to.put_slice(piece);
        self.stream = rest;
        Poll::Ready(Ok(()))
    }
}

/// The first byte says how many of the next ones are the lengths of the pieces in which the rest arrives. All
/// that is waited for is given up once whenever nothing is there: nothing may be lost by it.
pub fn frame(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else { return };
    let (lengths, stream) = rest.split_at(rest.len().min(usize::from(*count)));
    let pieces = Pieces { stream, lengths: lengths.iter().copied().collect() };
    // Only the pieces above cost memory before anything has arrived.
    let most = 8 * stream.len() + 160 * 1024;
    let (frames, end) = within(most, || cut(pieces));
    let (expected, expected_end) = model(stream);
    assert_eq!(frames, expected);
    assert_eq!(kind(&end), expected_end);
    crate::show(&end);
    for (number, frame) in frames.iter().enumerate() {
        match number {
            0 => try_out(decode_frame::<Hello>(frame)),
            _ => try_out(Incoming::decode(frame)),
        }
    }
}

/// As [`FrameReader`] does.
fn cut(pieces: Pieces) -> (Vec<Vec<u8>>, TransferError) {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a clock");
    }
    RUNTIME.with(|runtime| {
        let _entered = runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        let mut reader = FrameReader::new(pieces);
        let mut frames = Vec::new();
        loop {
            let next = pin!(reader.next(most_of(frames.len()), Instant::now() + LONG, LONG));
            match next.poll(&mut context) {
                Poll::Ready(Ok(frame)) => frames.push(frame),
                Poll::Ready(Err(end)) => return (frames, end),
                Poll::Pending => {}
            }
        }
    })
}

/// A stranger's first frame is short.
fn most_of(number: usize) -> usize {
    if number == 0 { MAX_HELLO_FRAME_BYTES } else { MAX_FRAME_BYTES }
}

/// The same of a stream that is there as a whole.
fn model(mut stream: &[u8]) -> (Vec<Vec<u8>>, &'static str) {
    let mut frames = Vec::new();
    loop {
        if stream.is_empty() {
            return (frames, "closed");
        }
        let Some((length, rest)) = stream.split_first_chunk::<4>() else { return (frames, "cut") };
        let length = u32::from_le_bytes(*length) as usize;
        if length > most_of(frames.len()) {
            return (frames, "too long");
        }
        let Some((frame, rest)) = rest.split_at_checked(length) else { return (frames, "cut") };
        frames.push(frame.to_vec());
        stream = rest;
    }
}

fn kind(end: &TransferError) -> &'static str {
    match end {
        TransferError::Closed => "closed",
        TransferError::Cut => "cut",
        TransferError::TooLong { .. } => "too long",
        _ => "another",
    }
}
