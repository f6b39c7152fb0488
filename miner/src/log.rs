//! The log: one line an event on standard error, with the time of day. Everything passes through
//! [`printable`], so that nothing that a stranger sent can play with the terminal.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};

use common::rate_limit::cut;
use common::text::printable;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::words;

/// Sends what the program says from now on to standard error. Colours are for terminals, and only where the
/// user has not asked for none (<https://no-color.org>).
pub fn start(level: LevelFilter) {
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        // A log that cannot be written, on a disk that is full, is no reason to stop: this would say so on the
        // same stream, and panic when that fails too.
        .log_internal_errors(false)
        .event_format(Lines { colours })
        .init();
}

/// How a line looks: `12:34:56 message`, with `warning: ` or `error: ` where it is one.
struct Lines {
    colours: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
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
