//! The log: one line an event on standard error, with the time of day. Everything passes through
//! [`printable`], so that nothing that a stranger sent can play with the terminal.
//!
//! Whoever reads the log may stop reading: a pager that shows its first page, a terminal after Ctrl-S. A thread of its
//! own waits for him then, and the miner goes on; of what he misses he is told the number of lines.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use common::rate_limit::cut;
use common::text::printable;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::limits::{LONGEST_WAIT, MAX_WAITING_LINES};
use crate::words;

/// What is on its way to standard error.
enum Waiting {
    Line(Vec<u8>),
    /// Whoever waits is told when all before this is written.
    Flush(SyncSender<()>),
}

/// How often to look for room.
const GLANCE: Duration = Duration::from_millis(5);

static WAITING: OnceLock<SyncSender<Waiting>> = OnceLock::new();
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Sends what the program says from now on to standard error. Colours are for terminals, and only where the
/// user has not asked for none (<https://no-color.org>).
pub fn start(level: LevelFilter) {
    let (sender, waiting) = sync_channel(MAX_WAITING_LINES);
    // Where the system gives no thread, each line is written by whoever says it.
    if thread::Builder::new().name("log".to_owned()).spawn(|| write(waiting)).is_ok() {
        let _ = WAITING.set(sender);
    }
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| Lines)
        // A log that cannot be written, on a disk that is full, is no reason to stop: this would say so on the
        // same stream, and panic when that fails too.
        .log_internal_errors(false)
        .event_format(Look { colours })
        .init();
}

/// Writes a line to standard error, after all that was said before. That nobody can read it is no reason to fail.
pub fn say(line: &str) {
    let line = format!("{line}\n").into_bytes();
    match WAITING.get() {
        Some(waiting) => drop(wait_for_room(waiting, Waiting::Line(line))),
        None => drop(io::stderr().write_all(&line)),
    }
}

/// Waits until all is written that was said, but for a reader who does not read.
pub fn flush() {
    let (done, written) = sync_channel(1);
    let Some(waiting) = WAITING.get() else { return };
    if wait_for_room(waiting, Waiting::Flush(done)) {
        let _ = written.recv_timeout(LONGEST_WAIT);
    }
}

/// Whether there was room in time.
fn wait_for_room(waiting: &SyncSender<Waiting>, mut item: Waiting) -> bool {
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        match waiting.try_send(item) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) if Instant::now() < deadline => item = back,
            Err(_) => return false,
        }
        thread::sleep(GLANCE);
    }
}

/// Takes whole lines, as events are formatted.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match WAITING.get() {
            None => io::stderr().write_all(line)?,
            Some(waiting) if waiting.try_send(Waiting::Line(line.to_vec())).is_err() => {
                LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what waits, for as long as the program runs.
fn write(waiting: Receiver<Waiting>) {
    let put = |line: &[u8]| {
        // A disk that is full, or a reader who is gone, is no reason to stop.
        let _ = io::stderr().write_all(line);
    };
    let tell_left_out = || match LEFT_OUT.swap(0, Ordering::Relaxed) {
        0 => {}
        lines => {
            let time = words::time_of_day_now();
            put(format!("{time} {lines} lines are left out: nobody read them in time\n").as_bytes());
        }
    };
    loop {
        let next = match waiting.try_recv() {
            Err(TryRecvError::Empty) => {
                tell_left_out();
                waiting.recv().ok()
            }
            next => next.ok(),
        };
        match next {
            None => return,
            Some(Waiting::Line(line)) => put(&line),
            Some(Waiting::Flush(done)) => {
                tell_left_out();
                let _ = done.send(());
            }
        }
    }
}

/// How a line looks: `12:34:56 message`, with `warning: ` or `error: ` where it is one.
struct Look {
    colours: bool,
}

impl<S, N> FormatEvent<S, N> for Look
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = Message::default();
        event.record(&mut message);
        let (colour, label) = match *event.metadata().level() {
            Level::ERROR => ("\x1b[31m", "error: "),
            Level::WARN => ("\x1b[33m", "warning: "),
            Level::INFO => ("", ""),
            _ => ("\x1b[2m", ""),
        };
        let (time, text) = (words::time_of_day_now(), printable(cut(&message.0)));
        if self.colours {
            writeln!(writer, "\x1b[2m{time}\x1b[0m {colour}{label}{text}\x1b[0m")
        } else {
            writeln!(writer, "{time} {label}{text}")
        }
    }
}

/// The text of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
