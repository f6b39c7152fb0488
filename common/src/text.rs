//! How errors, quantities and foreign text become lines for people. Called by the programs' edges, and by
//! [`crate::driver`] for the reasons why a connection ended.

use std::fmt::Display;
use std::io::Write;

/// Text that may come from a stranger, with everything that a terminal would act on written out: control
/// characters, escape sequences, and characters that turn the direction of writing.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' '..='~' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

/// The same of text of more than one line: its lines stay lines.
pub fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// An error as one sentence: its own, and after it what caused it, but for what the sentence says already.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// A number and what it counts: `1 payment`, `3 payments`, `no payments`.
pub fn count<N: Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    if number == N::from(0) {
        format!("no {what}s")
    } else if number == N::from(1) {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

/// A line of a terminal that says which block of how many is looked at. It is gone when this is dropped.
pub struct ProgressLine<'a> {
    terminal: Option<Box<dyn Write + 'a>>,
    /// The block of which it was last said.
    shown: u64,
}

/// After how many blocks the next is shown.
const SHOWN_EVERY: u64 = 100;

impl<'a> ProgressLine<'a> {
    /// On this terminal; `None`: nobody is watching.
    pub fn on(terminal: Option<Box<dyn Write + 'a>>) -> Self {
        Self { terminal, shown: 0 }
    }

    /// Shows that this block of so many is reached, unless one shortly before it was shown.
    pub fn show(&mut self, block: u64, of: u64) {
        if let Some(terminal) = &mut self.terminal
            && block >= self.shown.saturating_add(SHOWN_EVERY)
        {
            self.shown = block;
            // That nobody can read it is no reason to fail.
            let _ = write!(terminal, "\rblock {block} of {of} ").and_then(|()| terminal.flush());
        }
    }
}

impl Drop for ProgressLine<'_> {
    fn drop(&mut self) {
        if let Some(terminal) = &mut self.terminal
            && self.shown > 0
        {
            let _ = write!(terminal, "\r\x1b[K").and_then(|()| terminal.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        let evil = "a\x1b[2Jb\r\n\u{9b}c\u{202e}d\u{7f}é–";
        let shown = printable(evil);
        assert_eq!(shown, "a\\u{1b}[2Jb\\r\\n\\u{9b}c\\u{202e}d\\u{7f}é–");
        assert_eq!(printable("it's \"10\" \\ plain"), "it's \"10\" \\ plain");
        assert_eq!(printable_lines("│ a\x1b │\n│ b │\n"), "│ a\\u{1b} │\n│ b │");
    }

    #[test]
    fn what_is_counted_agrees_with_the_number() {
        assert_eq!(
            [0, 1, 2].map(|number| count(number, "payment")),
            ["no payments", "1 payment", "2 payments"]
        );
    }

    #[test]
    fn progress_is_shown_now_and_then_however_large_its_steps_and_leaves_no_trace() {
        let mut terminal = Vec::new();
        let mut line = ProgressLine::on(Some(Box::new(&mut terminal)));
        [1, 99, 100, 150, 456, 512].into_iter().for_each(|block| line.show(block, 600));
        drop(line);
        assert_eq!(terminal, b"\rblock 100 of 600 \rblock 456 of 600 \r\x1b[K");
        let mut untouched = Vec::new();
        ProgressLine::on(Some(Box::new(&mut untouched))).show(99, 99);
        assert_eq!(untouched, b"");
    }

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("the port is taken")]
        Silent { source: io::Error },
        #[error("the port is taken: {source}")]
        Complete { source: io::Error },
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = || io::Error::other("permission denied");
        for failure in [Failure::Silent { source: source() }, Failure::Complete { source: source() }] {
            assert_eq!(with_causes(&failure), "the port is taken: permission denied");
        }
    }
}
