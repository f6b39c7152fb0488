//! Passphrases, and where they come from: a terminal, or the first line of a file. Called by the programs'
//! edges and by [`crate::key_store`], which asks only when a key turns out to need one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::files::{FilesError, refuse_if_readable_by_others};

mod terminal;

/// The longest passphrase: more than anybody types.
pub const MAX_PASSPHRASE_BYTES: usize = 1024;
/// How often a terminal is asked for the same passphrase.
pub const ATTEMPTS: usize = 3;

/// A passphrase. It is overwritten with zeros when it is dropped, and never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// From its bytes.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        match bytes.len() {
            0 => Err(PassphraseError::Empty),
            1..=MAX_PASSPHRASE_BYTES => Ok(Self(bytes)),
            _ => Err(PassphraseError::TooLong),
        }
    }

    /// Its bytes: UTF-8 where it was typed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// Nothing was typed, or the first line of the file is empty.
    #[error("the passphrase is empty")]
    Empty,
    /// Longer than any that is used.
    #[error("the passphrase has more than {MAX_PASSPHRASE_BYTES} bytes")]
    TooLong,
    /// It was asked for twice, and the answers differed each time.
    #[error("the passphrase was not typed twice in the same way")]
    Differ,
    /// There is nobody to ask.
    #[error("a passphrase is needed, and there is no terminal to ask for it")]
    NoTerminal,
    /// Ctrl-C, Ctrl-D or the end of the terminal.
    #[error("no passphrase was given; nothing was changed")]
    Interrupted,
    /// The terminal failed.
    #[error("cannot ask for a passphrase on the terminal: {0}")]
    Terminal(#[source] io::Error),
    /// The file cannot be read, or others can read it too.
    #[error("the passphrase cannot be taken from its file: {0}")]
    File(#[from] FilesError),
}

/// Where passphrases come from.
#[derive(Clone, Debug)]
pub enum Passphrases {
    /// The user's terminal, whatever standard input and output are.
    Terminal,
    /// The first line of a file.
    File(PathBuf),
    /// One that is known already.
    Known(Passphrase),
}

impl Passphrases {
    /// The file that was named; else the terminal.
    pub fn from_flag(file: Option<PathBuf>) -> Self {
        file.map_or(Self::Terminal, Self::File)
    }

    /// How many answers there are to hope for.
    pub fn attempts(&self) -> usize {
        match self {
            Self::Terminal => ATTEMPTS,
            Self::File(_) | Self::Known(_) => 1,
        }
    }

    /// The passphrase that opens `what`.
    pub fn get(&self, what: &str) -> Result<Passphrase, PassphraseError> {
        match self {
            Self::Terminal => terminal::ask(&format!("Passphrase of {what}: ")),
            Self::File(path) => first_line_of(path),
            Self::Known(passphrase) => Ok(passphrase.clone()),
        }
    }

    /// A passphrase that `what` shall have. On a terminal it has to be typed twice in the same way.
    pub fn get_new(&self, what: &str) -> Result<Passphrase, PassphraseError> {
        let Self::Terminal = self else { return self.get(what) };
        for _ in 0..ATTEMPTS {
            let first = terminal::ask(&format!("New passphrase for {what}: "))?;
            let second = terminal::ask("The same again: ")?;
            if first.as_bytes() == second.as_bytes() {
                return Ok(first);
            }
            terminal::tell("The two differ.");
        }
        Err(PassphraseError::Differ)
    }

    /// Says that an answer was wrong, if somebody is there to give another.
    pub fn tell_wrong(&self) {
        if let Self::Terminal = self {
            terminal::tell("This is not its passphrase.");
        }
    }
}

/// A file may be a pipe or a device, such as what a shell makes of `<(pass show farthing)`; one that lies on a
/// disk has to be the owner's alone, as the keys have to be.
fn first_line_of(path: &Path) -> Result<Passphrase, PassphraseError> {
    let failed = |source| FilesError::Io { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    refuse_if_readable_by_others(&file, path)?;
    // The whole capacity at once, so that growing never leaves a copy behind. Room for the line's end.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_BYTES + 2));
    let mut byte = Zeroizing::new([0]);
    while line.len() < line.capacity() {
        match file.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error).into()),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Passphrase::new(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(contents: &[u8], mode: u32) -> Result<Vec<u8>, PassphraseError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        std::fs::write(&path, contents).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let passphrases = Passphrases::from_flag(Some(path));
        let both = (passphrases.get("alice")?, passphrases.get_new("alice")?);
        assert_eq!(both.0.as_bytes(), both.1.as_bytes());
        Ok(both.0.as_bytes().to_vec())
    }

    #[test]
    fn the_first_line_of_a_file_is_the_passphrase_and_the_rest_is_not() {
        for contents in ["two words", "two words\n", "two words\r\n", "two words\nand more\n"] {
            assert_eq!(of_file(contents.as_bytes(), 0o600).unwrap(), b"two words");
        }
        assert_eq!(of_file(b" \xff \n", 0o400).unwrap(), b" \xff ", "nothing is trimmed or translated");
        let longest = vec![b'x'; MAX_PASSPHRASE_BYTES];
        assert_eq!(of_file(&[&longest[..], b"\r\n"].concat(), 0o600).unwrap(), longest);
    }

    #[test]
    fn files_without_a_passphrase_are_refused() {
        for contents in ["", "\n", "\r\n", "\nsecond line"] {
            assert!(matches!(of_file(contents.as_bytes(), 0o600), Err(PassphraseError::Empty)));
        }
        for extra in [1, 2, 100] {
            let long = vec![b'x'; MAX_PASSPHRASE_BYTES + extra];
            assert!(matches!(of_file(&long, 0o600), Err(PassphraseError::TooLong)));
        }
        let missing = Passphrases::File("/nonexistent/passphrase".into()).get("alice").unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/passphrase"), "{missing}");
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            Passphrases::File(directory.path().to_owned()).get("alice"),
            Err(PassphraseError::File(_))
        ));
    }

    #[test]
    #[cfg(unix)]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o644, 0o640, 0o604] {
            let error = of_file(b"two words\n", mode).unwrap_err();
            assert!(matches!(
                error,
                PassphraseError::File(FilesError::ReadableByOthers { mode: got, .. }) if got == mode
            ));
            assert!(error.to_string().contains("chmod 600 "), "{error}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_is_as_good_as_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").args(["-m", "644"]).arg(&path).status();
        assert!(made.expect("there is a `mkfifo`").success());
        std::thread::scope(|scope| {
            scope.spawn(|| std::fs::write(&path, "two words\n").unwrap());
            assert_eq!(Passphrases::File(path.clone()).get("alice").unwrap().as_bytes(), b"two words");
        });
    }

    #[test]
    fn a_passphrase_is_never_shown() {
        let passphrase = Passphrase::new(Zeroizing::new(b"two words".to_vec())).unwrap();
        let shown =
            format!("{passphrase:?} {:?} {:#?}", Passphrases::Known(passphrase.clone()), [&passphrase]);
        assert!(!shown.contains("two") && !shown.contains("116"), "{shown}");
    }
}
