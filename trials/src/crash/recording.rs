//! What programs did to the files below a directory and what they said, in their order: written down by `shim.c`,
//! which is preloaded into them, and read here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::program::Home;

/// The library to preload.
const SHIM: &str = env!("TRIALS_SHIM");

/// An open file: the process, and its number there.
pub type Descriptor = (u32, i32);

/// One thing that was done, and succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the system's call")]
pub enum Operation {
    Open {
        file: Descriptor,
        path: PathBuf,
        create: bool,
        truncate: bool,
        synchronous: bool,
        /// A new file without a name, in the directory `path`.
        nameless: bool,
    },
    Write {
        file: Descriptor,
        offset: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        file: Descriptor,
        length: u64,
    },
    Sync {
        file: Descriptor,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    /// A link to a file that is open, and may have had no name before.
    Name {
        file: Descriptor,
        path: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeDirectory {
        path: PathBuf,
    },
    RemoveDirectory {
        path: PathBuf,
    },
    Close {
        file: Descriptor,
    },
    /// To standard output (1) or standard error (2).
    Say {
        to: i32,
        bytes: Vec<u8>,
    },
    /// By a socket.
    Send {
        bytes: Vec<u8>,
    },
    /// A map that can be written, of which nothing more is seen.
    Map {
        file: Descriptor,
    },
}

/// The clock of programs, which may be changed while they run: the time of day, and what they measure time with.
#[derive(Clone, Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// One that is right, kept in a file.
    pub fn new(file: PathBuf) -> Self {
        fs::write(&file, [0; 16]).expect("there is room");
        Self { file }
    }

    /// Sets it so many milliseconds ahead; far back it stops at 1970.
    pub fn set_ahead(&self, ms: i64) {
        use std::io::Write;
        // In place: the programs have the file mapped.
        let file = fs::OpenOptions::new().write(true).open(&self.file);
        file.and_then(|mut file| file.write_all(&ms.to_ne_bytes())).expect("there is room");
    }

    /// Lets this time pass for the programs, at once: the time of day goes on as far as what they measure time with.
    pub fn pass(&self, time: Duration) {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().read(true).write(true).open(&self.file).expect("it is there");
        let more = i64::try_from(time.as_millis()).expect("it is no long time");
        for place in [0, 8] {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, place).expect("it was written");
            let ms = i64::from_ne_bytes(bytes) + more;
            file.write_all_at(&ms.to_ne_bytes(), place).expect("there is room");
        }
    }

    /// A home whose programs have this clock.
    pub fn given_to<'n>(&self, home: Home<'n>) -> Home<'n> {
        home.with_variable("LD_PRELOAD", SHIM).with_variable("TRIALS_CLOCK", &self.file)
    }
}

/// A home whose programs are recorded: all that they do below `root`, which must be its canonical path.
pub fn recorded<'n>(home: Home<'n>, root: &Path, log: &Path) -> Home<'n> {
    home.with_variable("LD_PRELOAD", SHIM).with_variable("TRIALS_ROOT", root).with_variable("TRIALS_LOG", log)
}

/// Reads a recording.
pub fn read(log: &Path) -> Vec<Operation> {
    let bytes = fs::read(log).expect("there is a recording");
    let (mut rest, mut operations) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let operation;
        (operation, rest) = next(rest).expect("the shim writes whole records");
        operations.push(operation);
    }
    operations
}

/// The first operation, and what follows it.
fn next(bytes: &[u8]) -> Option<(Operation, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<32>()?;
    let word = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| head[at + i]));
    let offset = u64::from_ne_bytes(std::array::from_fn(|i| head[16 + i]));
    let (first, rest) = rest.split_at_checked(word(24) as usize)?;
    let (second, rest) = rest.split_at_checked(word(28) as usize)?;
    let path = |bytes: &[u8]| PathBuf::from(String::from_utf8_lossy(bytes).into_owned());
    let file = (word(4), word(8) as i32);
    let is_set = |flag: u32| word(12) & flag != 0;
    let operation = match word(0) {
        1 => Operation::Open {
            file,
            path: path(first),
            create: is_set(1),
            truncate: is_set(2),
            synchronous: is_set(4),
            nameless: is_set(8),
        },
        2 => Operation::Write { file, offset, bytes: first.to_vec() },
        3 => Operation::Truncate { file, length: offset },
        4 => Operation::Sync { file },
        5 => Operation::Rename { from: path(first), to: path(second) },
        6 => Operation::Link { from: path(first), to: path(second) },
        7 => Operation::Unlink { path: path(first) },
        8 => Operation::MakeDirectory { path: path(first) },
        9 => Operation::RemoveDirectory { path: path(first) },
        10 => Operation::Close { file },
        11 => Operation::Say { to: file.1, bytes: first.to_vec() },
        12 => Operation::Send { bytes: first.to_vec() },
        13 => Operation::Map { file },
        14 => Operation::Name { file, path: path(first) },
        _ => return None,
    };
    Some((operation, rest))
}
