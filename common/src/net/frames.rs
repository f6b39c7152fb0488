//! Frames over a stream, with their limits: what [`super::server`] and [`super::client`] have in common.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout, timeout_at};

use super::limits::{FIRST_ROOM_BYTES, READ_BUFFER_BYTES};

/// Why a connection ended while a frame was read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum TransferError {
    #[error("the other side closed the connection")]
    Closed,
    #[error("the other side closed the connection in the middle of a frame")]
    Cut,
    #[error("a frame of {got} bytes was announced; at most {most} are allowed here")]
    TooLong { got: usize, most: usize },
    #[error("no frame began in time")]
    Idle,
    #[error("a frame that had begun was not whole within {:.1} s", within.as_secs_f32())]
    SlowSender { within: Duration },
    #[error("the other side did not read what was sent to it within {:.1} s", within.as_secs_f32())]
    SlowReader { within: Duration },
    #[error("the connection broke")]
    Broken(#[from] io::Error),
}

impl TransferError {
    /// Whether a server that ends a call so broke the protocol. One that is slow, or was killed in the middle of a
    /// frame, did not.
    pub(super) fn is_fault_of_server(&self) -> bool {
        matches!(self, Self::TooLong { .. })
    }
}

/// Cuts frames from a stream. A wait that is cancelled loses nothing: what has arrived is kept, and so is
/// the time since when.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: BufReader<R>,
    /// Of the frame being read, once its four bytes are there.
    length: Option<usize>,
    /// Of the length, or of the frame.
    arrived: Vec<u8>,
    /// When the first byte of the frame being read arrived.
    begun: Option<Instant>,
    /// The length of the longest frame so far.
    longest: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Of a stream that begins with a frame.
    pub fn new(source: R) -> Self {
        let source = BufReader::with_capacity(READ_BUFFER_BYTES, source);
        Self { source, length: None, arrived: Vec::new(), begun: None, longest: 0 }
    }

    /// The bytes of the next frame, without its length. It is at most `most` bytes long, begins by
    /// `begins_by`, and is whole `whole_within` after it began.
    pub async fn next(
        &mut self,
        most: usize,
        begins_by: Instant,
        whole_within: Duration,
    ) -> Result<Vec<u8>, TransferError> {
        timeout_at(begins_by, self.begin()).await.map_err(|_| TransferError::Idle)??;
        self.finish(most, whole_within).await
    }

    /// Waits until the first byte of a frame is there.
    pub(super) async fn begin(&mut self) -> Result<(), TransferError> {
        if self.begun.is_none() {
            if self.source.fill_buf().await?.is_empty() {
                return Err(TransferError::Closed);
            }
            self.begun = Some(Instant::now());
        }
        Ok(())
    }

    /// The rest of a frame that has begun.
    async fn finish(&mut self, most: usize, within: Duration) -> Result<Vec<u8>, TransferError> {
        let deadline = self.begun.unwrap_or_else(Instant::now) + within;
        let frame = timeout_at(deadline, self.collect(most)).await;
        let frame = frame.map_err(|_| TransferError::SlowSender { within })??;
        self.begun = None;
        Ok(frame)
    }

    /// The length of a frame that has begun; [`Self::next`] gives the frame.
    pub(super) async fn announced(&mut self, most: usize, within: Duration) -> Result<usize, TransferError> {
        let deadline = self.begun.unwrap_or_else(Instant::now) + within;
        let length = timeout_at(deadline, self.announce(most)).await;
        length.map_err(|_| TransferError::SlowSender { within })?
    }

    async fn announce(&mut self, most: usize) -> Result<usize, TransferError> {
        loop {
            if let Some(length) = self.length {
                return Ok(length);
            }
            if let Some(length) = self.arrived.first_chunk::<4>() {
                let length = u32::from_le_bytes(*length) as usize;
                if length > most {
                    return Err(TransferError::TooLong { got: length, most });
                }
                self.length = Some(length);
                self.arrived.clear();
                return Ok(length);
            }
            self.arrived.reserve_exact(4);
            let missing = (4 - self.arrived.len()) as u64;
            if (&mut self.source).take(missing).read_buf(&mut self.arrived).await? == 0 {
                return Err(TransferError::Cut);
            }
        }
    }

    async fn collect(&mut self, most: usize) -> Result<Vec<u8>, TransferError> {
        let length = self.announce(most).await?;
        while self.arrived.len() < length {
            let missing = length - self.arrived.len();
            let room = self.arrived.len().max(FIRST_ROOM_BYTES).max(self.longest);
            self.arrived.reserve_exact(missing.min(room));
            if (&mut self.source).take(missing as u64).read_buf(&mut self.arrived).await? == 0 {
                return Err(TransferError::Cut);
            }
        }
        self.length = None;
        self.longest = self.longest.max(length);
        Ok(std::mem::take(&mut self.arrived))
    }
}

/// Writes all of `bytes` before the time is over.
pub(super) async fn write_within<W: AsyncWrite + Unpin>(
    to: &mut W,
    bytes: &[u8],
    within: Duration,
) -> Result<(), TransferError> {
    match timeout(within, to.write_all(bytes)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(TransferError::SlowReader { within }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::wire::MAX_FRAME_BYTES;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(30);

    fn soon() -> Instant {
        Instant::now() + LONG
    }

    #[tokio::test]
    async fn frames_are_cut_wherever_the_stream_is() {
        let (mut to, from) = duplex(3);
        let writer = tokio::spawn(async move {
            to.write_all(&[2, 0, 0, 0, 7, 8, 0, 0, 0, 0, 1, 0, 0, 0, 9]).await.unwrap();
        });
        let mut reader = FrameReader::new(from);
        for expected in [&[7, 8][..], &[], &[9]] {
            assert_eq!(reader.next(2, soon(), LONG).await.unwrap(), expected);
        }
        assert!(matches!(reader.next(2, soon(), LONG).await, Err(TransferError::Closed)));
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_is_refused_before_any_room_is_made_for_it() {
        let (mut to, from) = duplex(64);
        to.write_all(&(MAX_FRAME_BYTES as u32 + 1).to_le_bytes()).await.unwrap();
        let mut reader = FrameReader::new(from);
        let refused = reader.next(MAX_FRAME_BYTES, soon(), LONG).await;
        assert!(matches!(refused, Err(TransferError::TooLong { got: 8_388_609, most: 8_388_608 })));
        assert!(reader.arrived.capacity() <= FIRST_ROOM_BYTES);
    }

    #[tokio::test]
    async fn room_grows_with_what_arrives_and_not_with_what_is_announced() {
        let (mut to, from) = duplex(64);
        to.write_all(&(MAX_FRAME_BYTES as u32).to_le_bytes()).await.unwrap();
        to.write_all(&[1; 50]).await.unwrap();
        let mut reader = FrameReader::new(from);
        let cut_off = reader.next(MAX_FRAME_BYTES, soon(), SHORT).await;
        assert!(matches!(cut_off, Err(TransferError::SlowSender { within: SHORT })));
        assert_eq!(reader.arrived.len(), 50);
        assert!(reader.arrived.capacity() <= 2 * FIRST_ROOM_BYTES);
    }

    #[tokio::test]
    async fn whoever_has_sent_a_long_frame_gets_as_much_room_at_once_for_the_next() {
        const LENGTH: usize = 1 << 20;
        let (mut to, from) = duplex(2 * LENGTH);
        let mut reader = FrameReader::new(from);
        // A stranger's first frame, and one that it announces after a small one: little room.
        to.write_all(&[1, 0, 0, 0, 7]).await.unwrap();
        assert_eq!(reader.next(MAX_FRAME_BYTES, soon(), LONG).await.unwrap(), [7]);
        to.write_all(&(LENGTH as u32).to_le_bytes()).await.unwrap();
        to.write_all(&[1; 50]).await.unwrap();
        assert!(timeout(SHORT, reader.next(MAX_FRAME_BYTES, soon(), LONG)).await.is_err());
        assert!(reader.arrived.capacity() <= 2 * FIRST_ROOM_BYTES);
        to.write_all(&vec![1; LENGTH - 50]).await.unwrap();
        assert_eq!(reader.next(MAX_FRAME_BYTES, soon(), LONG).await.unwrap().len(), LENGTH);
        // The next: as much as it has sent, not as much as it announces.
        to.write_all(&(MAX_FRAME_BYTES as u32).to_le_bytes()).await.unwrap();
        to.write_all(&[1; 50]).await.unwrap();
        assert!(timeout(SHORT, reader.next(MAX_FRAME_BYTES, soon(), LONG)).await.is_err());
        assert_eq!(reader.arrived.len(), 50);
        assert!((LENGTH..=LENGTH + FIRST_ROOM_BYTES).contains(&reader.arrived.capacity()));
    }

    #[tokio::test]
    async fn silence_and_a_stream_that_ends_inside_a_frame_are_told_apart() {
        let (mut to, from) = duplex(64);
        let mut reader = FrameReader::new(from);
        let silence = reader.next(9, Instant::now() + SHORT, LONG).await;
        assert!(matches!(silence, Err(TransferError::Idle)));
        to.write_all(&[3, 0, 0, 0, 1]).await.unwrap();
        drop(to);
        assert!(matches!(reader.next(9, soon(), LONG).await, Err(TransferError::Cut)));
    }

    #[tokio::test]
    async fn a_cancelled_wait_loses_neither_bytes_nor_the_deadline() {
        let (mut to, from) = duplex(64);
        let mut reader = FrameReader::new(from);
        for part in [&[3, 0][..], &[0, 0, 1], &[2]] {
            to.write_all(part).await.unwrap();
            assert!(timeout(SHORT, reader.next(9, soon(), LONG)).await.is_err());
        }
        let (length, begun) = (reader.arrived.len(), reader.begun.unwrap());
        assert!(length == 2 && begun.elapsed() >= 2 * SHORT);
        let late = reader.next(9, soon(), SHORT).await;
        assert!(matches!(late, Err(TransferError::SlowSender { .. })));
        to.write_all(&[3]).await.unwrap();
        assert_eq!(reader.next(9, soon(), LONG).await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn whoever_does_not_read_is_given_up() {
        let (mut to, from) = duplex(64);
        let stuck = write_within(&mut to, &[0; 65], SHORT).await;
        assert!(matches!(stuck, Err(TransferError::SlowReader { within: SHORT })));
        drop(from);
        assert!(matches!(write_within(&mut to, &[0], LONG).await, Err(TransferError::Broken(_))));
    }
}
