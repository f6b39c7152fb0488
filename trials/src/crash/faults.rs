//! Disks that refuse: `faults.c` is preloaded into programs and lets calls fail that change the files below a
//! directory. Which, and with what, is said here.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::program::Home;

/// The library to preload.
const SHIM: &str = env!("TRIALS_FAULTS");

/// What a disk may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// EIO: it is broken.
    Broken,
    /// ENOSPC: it is full.
    Full,
    /// EDQUOT: it has no more room for this user.
    OverQuota,
    /// EROFS: it may not be written. That is what many a system makes of a broken one.
    ReadOnly,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Broken, Self::Full, Self::OverQuota, Self::ReadOnly];

    /// As the system calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "EIO",
            Self::Full => "ENOSPC",
            Self::OverQuota => "EDQUOT",
            Self::ReadOnly => "EROFS",
        }
    }

    /// What the system says of it.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Broken => "Input/output error",
            Self::Full => "No space left on device",
            Self::OverQuota => "Disk quota exceeded",
            Self::ReadOnly => "Read-only file system",
        }
    }

    /// Whether it is for want of room.
    pub fn is_about_room(self) -> bool {
        matches!(self, Self::Full | Self::OverQuota)
    }

    fn number(self) -> i32 {
        match self {
            Self::Broken => Errno::IO,
            Self::Full => Errno::NOSPC,
            Self::OverQuota => Errno::DQUOT,
            Self::ReadOnly => Errno::ROFS,
        }
        .raw_os_error()
    }
}

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first, counted from 1.
    pub first: u64,
    /// Whether all later ones fail, too.
    pub lasting: bool,
    /// What they fail with.
    pub refusal: Refusal,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from_then_on = if self.lasting { " from then on" } else { "" };
        write!(f, "{} at call {}{from_then_on}", self.refusal.name(), self.first)
    }
}

/// What a call does that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It writes into a file.
    Write,
    /// It waits until a file or a directory is safe on the disk.
    Sync,
    /// It changes a file's length.
    Lengthen,
    /// It makes a file or a directory.
    Create,
    /// It gives a file a name.
    Name,
    /// It removes a name.
    Remove,
    /// It makes a file without a name, or gives it one: there is another way to do that.
    Nameless,
}

/// A file that tells programs which of their calls fail, and is told how many they make.
#[derive(Clone, Debug)]
pub struct Plan {
    file: PathBuf,
}

impl Plan {
    /// One after which nothing fails, kept in a file.
    pub fn new(file: PathBuf) -> Self {
        let plan = Self { file };
        plan.set(None);
        plan
    }

    /// What fails in the programs that are started from now on, all their calls counted together.
    pub fn set(&self, fault: Option<Fault>) {
        let first = fault.map_or(0, |fault| fault.first);
        let count = if fault.is_some_and(|fault| fault.lasting) { u64::MAX } else { 1 };
        let error = fault.map_or(0, |fault| fault.refusal.number());
        let (failed, calls) = (0_i32, 0_u64);
        let bytes = [
            &first.to_ne_bytes()[..],
            &count.to_ne_bytes(),
            &error.to_ne_bytes(),
            &failed.to_ne_bytes(),
            &calls.to_ne_bytes(),
        ];
        fs::write(&self.file, bytes.concat()).expect("there is room");
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        u64::from_ne_bytes(self.bytes(24))
    }

    /// What the first call that failed was to do; `None`: none has failed.
    pub fn failed(&self) -> Option<Call> {
        use Call::*;
        let calls = [Write, Sync, Lengthen, Create, Name, Remove, Nameless];
        let number = i32::from_ne_bytes(self.bytes(20));
        (number > 0).then(|| calls[number as usize - 1])
    }

    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let bytes = fs::read(&self.file).expect("it was written");
        bytes[at..][..N].try_into().expect("it is as long as it was made")
    }

    /// A home whose programs have this disk below `root`, which must be its canonical path.
    pub fn given_to<'n>(&self, home: Home<'n>, root: &Path) -> Home<'n> {
        home.with_variable("LD_PRELOAD", SHIM)
            .with_variable("FAULTS_ROOT", root)
            .with_variable("FAULTS_PLAN", &self.file)
    }
}
