//! How errors and foreign text become lines for people. Called by the programs' edges, and by [`crate::driver`]
//! for the reasons why a connection ended.

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

/// An error as one sentence: its own, and after it what caused it, but for what the sentence says already.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
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
