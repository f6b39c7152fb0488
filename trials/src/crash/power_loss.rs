//! Power cuts: a scenario is played once and recorded, and then looked at as if the power had been cut before,
//! within and after its operations. Whatever the disk may hold then ([`super::disk`]) must keep the promises for what was
//! told by then.
//!
//! Always looked at are both sides of every operation that makes something safe: just before it ends and just after, with
//! nothing of what was not safe and with all of it. That is every commit, so the programs need no failpoints. Of what
//! else a cut may leave, at any operation, chance chooses.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::encoding::{decode, encode};
use common::files::{DataDirectory, Program};
use common::key_store::KeyStore;
use common::rules::Rules;

use super::disk::{Cut, Disk, Left, Names, write_out};
use super::encryption::{self, Commands, Progress};
use super::older_format;
use super::promises::{Told, check};
use super::recording::{Operation, read, recorded};
use super::scenes::{copy, mine_chain, network, put_back};
use crate::program::{Home, Network, Running};
use crate::random::Random;

/// Where the recorded programs work, below the directory of the network: everything below it is recorded.
const DISK: &str = "disk";
/// The data directory there.
const HOME: &str = "home";
/// What was on the disk before.
const BEFORE: &str = "before";
/// What was done.
const RECORDING: &str = "recording";
/// The path that the recording has for the disk.
const ROOT: &str = "root";
/// The rules of the network.
const RULES: &str = "rules";
/// How often a key is rewritten: it is encrypted, gets another passphrase, is decrypted, and the first two again.
const ENCRYPTION_STEPS: usize = 5;
/// A leftover of the key that is encrypted.
const LEFTOVER: &str = ".alice.pem.0123456789abcdef.tmp";
/// How many operations before a power cut are shown.
const SHOWN: usize = 8;

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A miner starts in an empty directory and finds blocks.
    Mining,
    /// A miner starts in an empty directory and fetches a chain.
    Syncing,
    /// A miner leaves its branch for a better one.
    Reorganising,
    /// A wallet syncs, pays, and sees its payments confirmed.
    Sending,
    /// A wallet makes keys.
    Keys,
    /// A wallet puts a key under passphrases and takes it from under them.
    Encrypting,
    /// A miner opens a store of an older format.
    Opening,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Operations within which the power was cut.
    pub points: usize,
    /// Operations that make something safe, each of which was cut on both sides.
    pub syncs: usize,
    /// States of the disk.
    pub states: usize,
    /// The most files under temporary names in one of them.
    pub leftovers: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, syncs, states, leftovers } = self;
        write!(
            f,
            "{states} states of the disk at {points} operations, on both sides of all {syncs} syncs among them; \
             {leftovers} temporary files at most"
        )
    }
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.points += other.points;
        self.syncs += other.syncs;
        self.states += other.states;
        self.leftovers = self.leftovers.max(other.leftovers);
    }
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Mining,
        Self::Syncing,
        Self::Reorganising,
        Self::Sending,
        Self::Keys,
        Self::Encrypting,
        Self::Opening,
    ];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mining => "mining",
            Self::Syncing => "syncing",
            Self::Reorganising => "reorganising",
            Self::Sending => "sending",
            Self::Keys => "keys",
            Self::Encrypting => "encrypting",
            Self::Opening => "opening",
        }
    }

    /// Whose store it is about.
    fn program(self) -> Program {
        match self {
            Self::Sending | Self::Keys | Self::Encrypting => Program::Wallet,
            _ => Program::Miner,
        }
    }

    /// Plays it, and looks at the states of the disk on both sides of every sync and at about so many others; panics where
    /// a promise is broken.
    pub fn run(self, names: Names, states: usize, seed: u64) -> Figures {
        let network = network();
        self.record(&network);
        self.cut(network.directory(), names, states, seed)
    }

    /// Plays it, and leaves in the network's directory what [`Scenario::cut`] needs.
    fn record(self, network: &Network) {
        let directory = network.directory();
        let root = directory.join(DISK);
        assert_eq!(directory.canonicalize().ok().as_deref(), Some(directory), "a link leads to it");
        fs::create_dir(&root).expect("there is room");
        let peer = self.prepare(network, &network.home(&format!("{DISK}/{HOME}")));
        copy(&root, &directory.join(BEFORE)).expect("there is room");
        fs::write(directory.join(ROOT), root.as_os_str().as_encoded_bytes()).expect("there is room");
        fs::write(directory.join(RULES), encode(&*network.rules)).expect("there is room");
        let recording = directory.join(RECORDING);
        self.play(&recorded(network.home(&format!("{DISK}/{HOME}")), &root, &recording), peer.as_ref());
        drop(peer);

        // Whether all that matters was recorded.
        let mut disk = Disk::of(&directory.join(BEFORE), &root, Names::Posix).expect("it can be read");
        for operation in read(&recording) {
            disk.begin(&operation);
            disk.finish(&operation);
        }
        let now = Disk::of(&root, &root, Names::Posix).expect("it can be read");
        assert!(without_locks(disk.whole()) == without_locks(now.whole()), "something was not recorded");
    }

    /// Makes what it begins with, and a peer that runs meanwhile.
    fn prepare(self, network: &Network, home: &Home<'_>) -> Option<Peer> {
        let other = network.home("other");
        match self {
            Self::Mining | Self::Keys => return None,
            Self::Syncing => drop(mine_chain(&other, 50)),
            Self::Reorganising => {
                let fork = mine_chain(&other, 5);
                put_back(&other.root, &home.root);
                let branch = mine_chain(&home.cut_off(), fork.height.get() + 12);
                mine_chain(&other, branch.height.get() + 12);
            }
            Self::Sending => {
                mine_chain(&other, 5);
                put_back(&other.data().keys(), &home.data().keys());
                let mut miner = other.start_miner(&[]);
                miner.wait_for("mining");
                return Some(Peer { _miner: miner, height: 0 });
            }
            Self::Encrypting => {
                home.wallet(&["new-address", encryption::KEY]);
                // What a wallet left that was killed while it decrypted the key.
                let key = home.data().keys().join(format!("{}.pem", encryption::KEY));
                fs::copy(&key, key.with_file_name(LEFTOVER)).expect("there is room");
                return None;
            }
            Self::Opening => {
                mine_chain(home, 20);
                older_format::downgrade(&home.store_directory(Program::Miner), &network.rules, 1);
                return None;
            }
        }
        let height = other.height(Program::Miner);
        let mut miner = other.start_miner(&["--no-mine"]);
        miner.wait_for("listening");
        Some(Peer { _miner: miner, height })
    }

    fn play(self, home: &Home<'_>, peer: Option<&Peer>) {
        // Nothing here may look into the store meanwhile: that would write to its files unrecorded.
        let run = |arguments: &[&str], until: &str| {
            let mut miner = home.start_miner(arguments);
            miner.wait_for(until);
            miner.stop();
        };
        match self {
            Self::Mining => run(&[], "found block 20 ("),
            Self::Opening => run(&["--no-mine"], "listening"),
            Self::Syncing | Self::Reorganising => {
                let height = peer.map_or(0, |peer| peer.height);
                run(&["--no-mine"], &format!(" {height} (…"));
            }
            Self::Sending => {
                home.wallet(&["sync", "--once"]);
                for amount in ["0.1", "0.2", "0.3"] {
                    home.wallet(&["send", "mining_rewards", amount, "mining_rewards"]);
                }
                home.wallet(&["send", "mining_rewards", "0.4", "mining_rewards", "--wait"]);
            }
            Self::Encrypting => {
                let commands = Commands::with_files_in(home.network().directory());
                (0..ENCRYPTION_STEPS).for_each(|step| drop(home.wallet(&commands.after(step))));
            }
            Self::Keys => {
                ["alice", "bob", "carol"].iter().for_each(|name| drop(home.wallet(&["new-address", name])))
            }
        }
    }

    /// What was told before the recording began.
    fn told_before(self, before: &Path) -> Told {
        let keys = || KeyStore::new(DataDirectory::new(before.join(HOME)).keys());
        let encryption = (self == Self::Encrypting).then(|| Progress::new(&keys(), ENCRYPTION_STEPS));
        Told { encryption, ..Told::default() }
    }

    /// Looks at states of the disk after power cuts within what was recorded in a directory: those on both sides of every
    /// sync, and about so many others. The same arguments give the same states.
    pub fn cut(self, directory: &Path, names: Names, states: usize, seed: u64) -> Figures {
        let bytes = |name: &str| fs::read(directory.join(name)).expect("it is a directory of a recording");
        let root = PathBuf::from(String::from_utf8_lossy(&bytes(ROOT)).into_owned());
        let rules: Arc<Rules> = Arc::new(decode(&bytes(RULES)).expect("it is a recording of this version"));
        let operations = read(&directory.join(RECORDING));
        let before = || Disk::of(&directory.join(BEFORE), &root, names).expect("it can be read");

        let mut disk = before();
        let (mut points, mut syncs) = (1, 0);
        for operation in &operations {
            points += usize::from(disk.begin(operation));
            syncs += usize::from(disk.is_sync(operation));
            disk.finish(operation);
        }
        assert!(syncs > 0, "nothing was ever made safe, or it was not recorded");
        let mut scene = Scene {
            program: self.program(),
            rules,
            left: directory.join("left"),
            told: self.told_before(&directory.join(BEFORE)),
            stdout: String::new(),
            seen: HashSet::new(),
            figures: Figures { points, ..Figures::default() },
        };
        // What a replay finds there, a failure left.
        if scene.left.exists() {
            fs::remove_dir_all(&scene.left).expect("it can be removed");
        }
        let mut choices = Choices { random: Random::new(seed), points, states };
        let mut disk = before();
        for (place, operation) in operations.iter().enumerate() {
            if disk.begin(operation) {
                scene.look_at(&disk, choices.next(), &operations[..=place]);
            }
            if disk.is_sync(operation) {
                scene.look_at_ends(&disk, &operations[..=place]);
                disk.finish(operation);
                scene.look_at_ends(&disk, &operations[..=place]);
                scene.figures.syncs += 1;
            } else {
                disk.finish(operation);
            }
            scene.hear(operation);
        }
        scene.look_at(&disk, choices.next(), &operations);
        assert_eq!(scene.figures.syncs, syncs, "not every sync was cut on both sides");
        scene.figures
    }
}

/// Whether what is written in a directory can be without a name until it is whole.
pub fn takes_nameless_files(directory: &Path) -> bool {
    use rustix::fs::{Mode, OFlags, open};
    open(directory, OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR).is_ok()
}

/// Who mines or serves meanwhile.
struct Peer {
    _miner: Running,
    /// Of its chain, if that does not grow.
    height: u64,
}

/// Which power cuts are looked at by chance.
struct Choices {
    random: Random,
    points: usize,
    states: usize,
}

impl Choices {
    /// Those of the next point: about as many at each.
    fn next(&mut self) -> Vec<Cut> {
        let (whole, rest) = (self.states / self.points, self.states % self.points);
        let more = (self.random.below(self.points as u64) as usize) < rest;
        (0..whole + usize::from(more)).map(|_| self.cut()).collect()
    }

    fn cut(&mut self) -> Cut {
        match self.random.below(8) {
            0 => Cut::Nothing,
            1 => Cut::All,
            2 => Cut::NamesAndLengths,
            3 => Cut::Contents,
            _ => Cut::Some(self.random.next_u64()),
        }
    }
}

/// What was told by a moment of the recording, and where states are laid out.
struct Scene {
    program: Program,
    rules: Arc<Rules>,
    left: PathBuf,
    told: Told,
    stdout: String,
    /// The states that were looked at since something was told last: the same one need not be looked at again.
    seen: HashSet<u64>,
    figures: Figures,
}

impl Scene {
    /// Takes in what was said or sent.
    fn hear(&mut self, operation: &Operation) {
        match operation {
            Operation::Say { to: 1, bytes } => {
                // A result may come in several parts.
                self.stdout += &String::from_utf8_lossy(bytes);
                self.told.result(&self.stdout);
                self.seen.clear();
            }
            Operation::Say { bytes, .. } => {
                self.told.log(&String::from_utf8_lossy(bytes));
                self.seen.clear();
            }
            Operation::Send { bytes } => {
                let network = self.rules.network_id();
                self.told.datagram(&network, bytes).unwrap_or_else(|broken| panic!("{broken}"));
                self.seen.clear();
            }
            _ => {}
        }
    }

    /// Checks the promises where nothing is left of what is not safe, and where all of it is.
    fn look_at_ends(&mut self, disk: &Disk, operations: &[Operation]) {
        self.look_at(disk, [Cut::Nothing, Cut::All], operations);
    }

    /// Checks the promises after the power cuts of one point; the last of `operations` has begun.
    fn look_at(&mut self, disk: &Disk, cuts: impl IntoIterator<Item = Cut>, operations: &[Operation]) {
        for cut in cuts {
            let left = disk.after(cut);
            let mut hasher = DefaultHasher::new();
            left.hash(&mut hasher);
            if !self.seen.insert(hasher.finish()) {
                continue;
            }
            fs::create_dir(&self.left).expect("what was looked at before is gone");
            write_out(&left, &self.left).expect("there is room");
            let data = DataDirectory::new(self.left.join(HOME));
            let found = check(&data, self.program, &self.rules, &self.told).unwrap_or_else(|broken| {
                let last = &operations[operations.len().saturating_sub(SHOWN)..];
                panic!(
                    "{broken}\nafter a power cut at operation {} that leaves {cut:?}:\n{}\nthe last operations:\n{}",
                    operations.len(),
                    summary(&left),
                    last.iter().map(described).collect::<Vec<_>>().join("\n"),
                )
            });
            self.figures.leftovers = self.figures.leftovers.max(found.leftovers);
            fs::remove_dir_all(&self.left).expect("it can be removed");
            self.figures.states += 1;
        }
    }
}

/// LMDB writes its lock file through a map.
fn without_locks(mut left: Left) -> Left {
    left.retain(|path, _| path.file_name().is_none_or(|name| name != "lock.mdb"));
    left
}

/// What is on a disk, a line each.
fn summary(left: &Left) -> String {
    let line = |(path, contents): (&PathBuf, &Option<Vec<u8>>)| match contents {
        Some(bytes) => format!("  {} ({} bytes)", path.display(), bytes.len()),
        None => format!("  {}/", path.display()),
    };
    left.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// An operation without the bytes that it moves.
fn described(operation: &Operation) -> String {
    let text = match operation {
        Operation::Write { file, offset, bytes } => {
            format!("Write {file:?} {} bytes at {offset}", bytes.len())
        }
        Operation::Send { bytes } => format!("Send {} bytes", bytes.len()),
        Operation::Say { to, bytes } => format!("Say to {to}: {}", String::from_utf8_lossy(bytes).trim_end()),
        other => format!("{other:?}"),
    };
    format!("  {text}")
}
