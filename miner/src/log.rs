//! The log: one line an event on standard error, with the time of day. Everything passes through
//! [`printable`], so that nothing that a stranger sent can play with the terminal.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::time::Duration;

use common::text::printable;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::limits::{LINES_A_PERIOD, LONGEST_LINE, LONGEST_PERIOD, PERIOD};
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

/// The beginning of a line that is too long.
fn cut(text: &str) -> &str {
    text.char_indices().nth(LONGEST_LINE).map_or(text, |(end, _)| &text[..end])
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

/// Bounds the lines of one kind.
#[derive(Debug)]
pub struct Bounded {
    since: Duration,
    period: Duration,
    shown: u64,
    hidden: u64,
}

impl Default for Bounded {
    fn default() -> Self {
        Self { since: Duration::ZERO, period: PERIOD, shown: 0, hidden: 0 }
    }
}

impl Bounded {
    /// Whether there is room for one more line. `now` is the time since the program started.
    pub fn admits(&mut self, now: Duration) -> bool {
        if now >= self.since + self.period && self.hidden == 0 {
            *self = Self { since: now, ..Self::default() };
        }
        let admits = self.shown < LINES_A_PERIOD;
        *(if admits { &mut self.shown } else { &mut self.hidden }) += 1;
        admits
    }

    /// How many lines were left out in the period that has just ended; said once.
    pub fn left_out(&mut self, now: Duration) -> Option<u64> {
        if self.hidden == 0 || now < self.since + self.period {
            return None;
        }
        let hidden = self.hidden;
        let period = (2 * self.period).min(LONGEST_PERIOD);
        *self = Self { since: now, period, ..Self::default() };
        Some(hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_counted_and_over_after_the_period() {
        let mut lines = Bounded::default();
        let now = Duration::from_secs(100);
        let admitted = (0..1_000).filter(|_| lines.admits(now)).count() as u64;
        assert_eq!(admitted, LINES_A_PERIOD);
        assert_eq!(lines.left_out(now), None, "the period is not over");
        assert_eq!(lines.left_out(now + PERIOD), Some(1_000 - LINES_A_PERIOD));
        assert_eq!(lines.left_out(now + PERIOD), None);
        assert!(lines.admits(now + PERIOD));
    }

    #[test]
    fn a_flood_that_lasts_fills_no_disk() {
        let mut lines = Bounded::default();
        let mut said = 0;
        for second in 0..86_400 {
            let now = Duration::from_secs(second);
            said += lines.left_out(now).iter().count();
            said += (0..100).filter(|_| lines.admits(now)).count();
        }
        assert!(said < 3_200, "{said} lines in a day");
        // And it is over when the flood is: after one quiet period all is shown again.
        let now = Duration::from_secs(86_400) + LONGEST_PERIOD;
        lines.left_out(now);
        let now = now + LONGEST_PERIOD;
        assert!((0..10).all(|it| lines.admits(now + it * PERIOD)));
        assert_eq!(lines.period, PERIOD);
    }

    #[test]
    fn a_line_has_an_end() {
        let long = "é".repeat(1_000_000);
        assert_eq!(cut(&long).chars().count(), LONGEST_LINE);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn what_is_rare_is_never_cut_off() {
        let mut lines = Bounded::default();
        assert!((0..1_000).all(|second| lines.admits(Duration::from_secs(second))));
    }
}
