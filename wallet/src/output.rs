//! What commands print, and how amounts, times and foreign text look. Standard output is for the result,
//! standard error for everything else.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use common::amount::Amount;
use common::text::{printable, printable_lines};
use common::time::Timestamp;
use tabled::settings::Style;
use tabled::tables::ExtendedTable;
use tabled::{Table, Tabled};

/// Where a command says what is no part of its result: a sentence each, shown at once.
pub type Notes<'a> = dyn FnMut(Note) + 'a;

/// A sentence that is no part of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    severity: Severity,
    text: String,
}

/// How much a note matters, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Info,
    Hint,
    Warning,
    Error,
}

impl Note {
    /// What happens.
    pub fn info(text: impl fmt::Display) -> Self {
        Self { severity: Severity::Info, text: text.to_string() }
    }

    /// What can be done about what was said before.
    pub fn hint(text: impl fmt::Display) -> Self {
        Self { severity: Severity::Hint, text: text.to_string() }
    }

    /// What is wrong, although what was asked for is done.
    pub fn warning(text: impl fmt::Display) -> Self {
        Self { severity: Severity::Warning, text: text.to_string() }
    }

    /// What is not done.
    pub fn error(text: impl fmt::Display) -> Self {
        Self { severity: Severity::Error, text: text.to_string() }
    }

    /// Whether it is said also to those who want to hear of trouble only.
    pub fn is_trouble(&self) -> bool {
        self.severity >= Severity::Warning
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.severity {
            Severity::Info => "",
            Severity::Hint => "hint: ",
            Severity::Warning => "warning: ",
            Severity::Error => "error: ",
        };
        write!(f, "{prefix}{}", self.text)
    }
}

/// Whether anybody reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Somebody may.
    There,
    /// The other end of the pipe is closed.
    Gone,
}

/// Prints a result, or a part of one, in which nothing plays with the terminal: a path may hold anything. Whoever stops
/// reading it (`| head`) has seen enough: that is no failure. Of nothing not even a line is printed.
pub fn print_result(text: &str) -> io::Result<Audience> {
    if text.is_empty() {
        return Ok(Audience::There);
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", printable_lines(text.trim_end())).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Audience::Gone),
        written => written.map(|()| Audience::There),
    }
}

/// Prints a note to standard error.
pub fn print_note(note: &Note) {
    print_line(&note.to_string());
}

/// Prints a line to standard error; what a stranger put into it cannot play with the terminal. That nobody can
/// read it is no reason to fail.
pub fn print_line(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Rows as a table; on a terminal that is too narrow for it each row as a list of its own, so that nothing is
/// ever cut.
pub fn table<T: Tabled>(rows: &[T]) -> String {
    let text = Table::new(rows).with(Style::sharp()).to_string();
    match terminal_columns() {
        Some(columns) if text.lines().any(|line| line.chars().count() > columns) => {
            ExtendedTable::new(rows).to_string()
        }
        _ => text,
    }
}

/// The width of the terminal that standard output goes to, if it is one.
fn terminal_columns() -> Option<usize> {
    let size = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    size.map(|(width, _)| width.0.into())
}

/// What `plus` and `minus` come to together: `-3.5`, `0`, `+10`.
pub fn difference(plus: Amount, minus: Amount) -> String {
    match (plus.checked_sub(minus), minus.checked_sub(plus)) {
        (Some(more), _) if !more.is_zero() => format!("+{more}"),
        (_, Some(less)) if !less.is_zero() => format!("-{less}"),
        _ => "0".to_owned(),
    }
}

/// A stretch of time in its largest unit: `3 s`, `12 min`, `5 h`, `40 days`.
pub fn duration(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A moment as `2026-11-21 09:30:00 UTC`.
pub fn moment(time: Timestamp) -> String {
    let seconds = time.millis() / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The calendar repeats every 400 years of 146,097 days. Counted from 1 March of the year 0, the leap day
    // is the last of its year, and months have 153 days in every five.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month_of_year) =
        (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month_of_year <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year}-{month_of_year:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Free data as it can be shown without harm: text between quotes, with everything escaped that a terminal
/// might obey or hide; bytes that are no text as hexadecimal digits.
pub fn data(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("0x{digits}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_a_sign_unless_they_are_nothing() {
        let coins = Amount::from_coins;
        assert_eq!(difference(coins(3), coins(1)), "+2");
        assert_eq!(difference(Amount::from_units(500_000), coins(4)), "-3.5");
        assert_eq!(difference(coins(1), coins(1)), "0");
    }

    #[test]
    fn whoever_wants_to_hear_of_trouble_only_hears_of_all_of_it() {
        let notes = [Note::info("a"), Note::hint("a"), Note::warning("a"), Note::error("a")];
        assert_eq!(notes.each_ref().map(Note::to_string), ["a", "hint: a", "warning: a", "error: a"]);
        assert_eq!(notes.map(|note| note.is_trouble()), [false, false, true, true]);
    }

    #[test]
    fn moments_follow_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_767_225_600, "2026-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(moment(Timestamp::from_millis(seconds * 1_000)), text);
        }
        moment(Timestamp::from_millis(u64::MAX));
    }

    #[test]
    fn durations_have_one_unit() {
        let shown = [5, 119, 120, 7_200, 172_800].map(|seconds| duration(seconds * 1_000 + 999));
        assert_eq!(shown, ["5 s", "119 s", "2 min", "2 h", "2 days"]);
    }

    #[test]
    fn data_cannot_command_the_terminal() {
        assert_eq!(data("for lunch, grüße".as_bytes()), "\"for lunch, grüße\"");
        for hostile in
            ["\x1b[2J", "\x1b]0;title\x07", "a\rb", "a\nb", "\u{9b}31m", "\u{202e}evil", "\u{200b}", "\u{7f}"]
        {
            let shown = data(hostile.as_bytes());
            assert!(shown.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{shown}");
        }
        assert_eq!(data(&[0xff, 0x1b]), "0xff1b");
    }
}
