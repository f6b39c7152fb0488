//! Asking for a passphrase on the user's terminal, without an echo.
//!
//! The terminal is `/dev/tty`: standard input may be a file, and standard output a pipe. While a line is typed,
//! the terminal makes no signals of keys, so that Ctrl-C is a byte like any other, which ends the question in good
//! order: the terminal is restored, and the caller returns. The usual crate for this, `rpassword`, raises SIGINT
//! before it restores the terminal (7.5), and leaves copies of the passphrase in memory as its buffer grows.

use zeroize::{Zeroize, Zeroizing};

#[cfg(not(unix))]
pub use elsewhere::{ask, tell};
#[cfg(unix)]
pub use unix::{ask, tell};

use super::{MAX_PASSPHRASE_BYTES, Passphrase, PassphraseError};

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const CTRL_W: u8 = 0x17;
const CTRL_BACKSLASH: u8 = 0x1c;
const ESCAPE: u8 = 0x1b;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];

/// A line while it is typed.
struct Line {
    /// Never grows beyond its capacity.
    typed: Zeroizing<Vec<u8>>,
    /// Whether more was typed than a passphrase can have.
    too_long: bool,
    /// Where in a key's escape sequence we are, such as an arrow's.
    escape: Escape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    Outside,
    Begun,
    Inside,
}

/// What a byte means for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    GoesOn,
    Ends,
    Interrupted,
}

impl Line {
    fn new() -> Self {
        Self {
            typed: Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_BYTES)),
            too_long: false,
            escape: Escape::Outside,
        }
    }

    fn push(&mut self, byte: u8) -> Progress {
        match (self.escape, byte) {
            // What ends a line or the question does so anywhere.
            (_, b'\n' | b'\r') => return Progress::Ends,
            (_, CTRL_C | CTRL_BACKSLASH) => return Progress::Interrupted,
            (Escape::Outside, CTRL_D) if self.typed.is_empty() => return Progress::Interrupted,
            (Escape::Outside, ESCAPE) => self.escape = Escape::Begun,
            (Escape::Begun, b'[' | b'O') => self.escape = Escape::Inside,
            (Escape::Begun, _) | (Escape::Inside, 0x40..=0x7e) => self.escape = Escape::Outside,
            (Escape::Inside, _) => {}
            (Escape::Outside, CTRL_U | CTRL_W) => self.clear(),
            (Escape::Outside, byte) if BACKSPACE.contains(&byte) => self.remove_last(),
            (Escape::Outside, 0..0x20) => {}
            (Escape::Outside, byte) if self.typed.len() < MAX_PASSPHRASE_BYTES => self.typed.push(byte),
            (Escape::Outside, _) => self.too_long = true,
        }
        Progress::GoesOn
    }

    fn clear(&mut self) {
        self.typed.zeroize();
        self.too_long = false;
    }

    /// Removes a character, which may be of several bytes in UTF-8.
    fn remove_last(&mut self) {
        while let Some(byte) = self.typed.pop() {
            if byte & 0xc0 != 0x80 {
                break;
            }
        }
    }

    fn into_passphrase(self) -> Result<Passphrase, PassphraseError> {
        if self.too_long { Err(PassphraseError::TooLong) } else { Passphrase::new(self.typed) }
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::{File, OpenOptions};
    use std::io::{self, Read, Write};

    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

    use super::{Line, Passphrase, PassphraseError, Progress, Zeroizing};

    const TERMINAL: &str = "/dev/tty";

    /// A terminal that shows nothing of what is typed, and is as it was before when this is dropped.
    struct Silent<'t> {
        terminal: &'t File,
        before: Termios,
    }

    impl<'t> Silent<'t> {
        fn new(terminal: &'t File) -> io::Result<Self> {
            let before = tcgetattr(terminal)?;
            let mut modes = before.clone();
            modes.local_modes &=
                !(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(terminal, OptionalActions::Now, &modes)?;
            Ok(Self { terminal, before })
        }
    }

    impl Drop for Silent<'_> {
        fn drop(&mut self) {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
        }
    }

    /// Asks for a passphrase.
    pub fn ask(question: &str) -> Result<Passphrase, PassphraseError> {
        let mut options = OpenOptions::new();
        let terminal =
            options.read(true).write(true).open(TERMINAL).map_err(|_| PassphraseError::NoTerminal)?;
        let answer = {
            // First silence, then the question: nobody who answers it is shown typing.
            let _silent = Silent::new(&terminal).map_err(PassphraseError::Terminal)?;
            (&terminal).write_all(question.as_bytes()).map_err(PassphraseError::Terminal)?;
            let answer = read_line(&terminal);
            // The line's end was not shown either.
            (&terminal).write_all(b"\n").map_err(PassphraseError::Terminal)?;
            answer?
        };
        answer.into_passphrase()
    }

    fn read_line(mut terminal: &File) -> Result<Line, PassphraseError> {
        let (mut line, mut byte) = (Line::new(), Zeroizing::new([0]));
        loop {
            let progress = match terminal.read(&mut *byte) {
                // The terminal was closed.
                Ok(0) => Progress::Interrupted,
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Progress::GoesOn,
                Err(error) => return Err(PassphraseError::Terminal(error)),
            };
            match progress {
                Progress::GoesOn => {}
                Progress::Ends => return Ok(line),
                Progress::Interrupted => return Err(PassphraseError::Interrupted),
            }
        }
    }

    /// Says something between two questions. That nobody can read it is no reason to fail.
    pub fn tell(sentence: &str) {
        if let Ok(mut terminal) = OpenOptions::new().write(true).open(TERMINAL) {
            let _ = writeln!(terminal, "{sentence}");
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use super::{Passphrase, PassphraseError};

    /// Nobody knows how to ask without an echo here: the file has to do.
    pub fn ask(_: &str) -> Result<Passphrase, PassphraseError> {
        Err(PassphraseError::NoTerminal)
    }

    pub fn tell(_: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line comes to if these bytes are typed, and how it ends.
    fn typed(bytes: &[u8]) -> (Vec<u8>, Progress) {
        let mut line = Line::new();
        let capacity = line.typed.capacity();
        for byte in bytes {
            let progress = line.push(*byte);
            assert_eq!(line.typed.capacity(), capacity, "the buffer grew and left a copy behind");
            if progress != Progress::GoesOn {
                return (line.typed.to_vec(), progress);
            }
        }
        (line.typed.to_vec(), Progress::GoesOn)
    }

    #[test]
    fn a_line_ends_with_enter_and_keys_edit_it() {
        for (bytes, expected) in [
            (&b"two words\n"[..], &b"two words"[..]),
            (b"two words\r", b"two words"),
            (b"twx\x7fo\n", b"two"),
            (b"tw\x08\x08\x08\x08two\n", b"two"),
            ("grüß\x7f\x7fün\n".as_bytes(), "grün".as_bytes()),
            (b"wrong\x15right\n", b"right"),
            (b"wrong\x17right\n", b"right"),
            (b"a\x1b[A\x1bOB\x1b[3~\x1bfb\n", b"ab"),
            (b"a\tb\x1a\0c\n", b"abc"),
            (b"a\x04b\n", b"ab"),
            (b"\n", b""),
        ] {
            assert_eq!(typed(bytes), (expected.to_vec(), Progress::Ends), "{bytes:?}");
        }
    }

    #[test]
    fn ctrl_c_ends_the_question_wherever_it_comes() {
        for bytes in [&b"\x03"[..], b"abc\x03", b"\x1c", b"\x04", b"a\x7f\x04", b"\x1b[\x03"] {
            assert_eq!(typed(bytes).1, Progress::Interrupted, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_not_cut() {
        let mut line = Line::new();
        let push = |line: &mut Line, count: usize| {
            for _ in 0..count {
                assert_eq!(line.push(b'x'), Progress::GoesOn);
            }
        };
        push(&mut line, MAX_PASSPHRASE_BYTES + 1);
        assert!(matches!(line.into_passphrase(), Err(PassphraseError::TooLong)));
        let mut line = Line::new();
        push(&mut line, MAX_PASSPHRASE_BYTES + 1);
        line.push(CTRL_U);
        push(&mut line, MAX_PASSPHRASE_BYTES);
        assert_eq!(line.into_passphrase().unwrap().as_bytes().len(), MAX_PASSPHRASE_BYTES);
        assert!(matches!(Line::new().into_passphrase(), Err(PassphraseError::Empty)));
    }
}
