//! A disk that remembers what is not safe on it yet, and says what a power cut may leave.
//!
//! What was synced is there. Of the rest any part may be there or not: every sector of a file has any of the
//! contents that it had since it was last synced; a file has any of its lengths since then; a directory has or
//! has not each entry that was made, renamed or removed, where a rename is whole or not at all. What was never
//! written and is within the length reads as zeros.
//!
//! A file that is synced while it has no name is there with its contents if its name happens to be. Once a directory is
//! synced for that name, though, the contents may be lost: file systems that keep a log of what is synced (btrfs) write
//! nothing of a file without a name, and of one with a new name that alone. Only to sync the file again makes it safe.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::recording::{Descriptor, Operation};
use crate::random::Random;

/// What disks write whole, or not at all.
const SECTOR_BYTES: usize = 512;
/// How many of them systems write together, mostly.
const SECTORS_A_PAGE: usize = 8;
/// What may be anything after a power cut, for it is of no use to a later process: LMDB's table of readers.
const LOCK_FILE: &str = "lock.mdb";

/// When the names in directories are safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// When their own directory is synced: POSIX promises no more.
    Posix,
    /// When anything is synced after the name was made: journalling file systems such as ext4 write what they
    /// know of names in its order, and with any file that is synced.
    Journal,
}

/// How much of what is not safe a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// The names, and the lengths of files without their contents.
    NamesAndLengths,
    /// The contents, and no names.
    Contents,
    /// What this seed says.
    Some(u64),
}

/// Files and directories as a power cut leaves them.
pub type Left = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// See the module.
pub struct Disk {
    root: PathBuf,
    names: Names,
    files: Vec<File>,
    /// The names in each directory, as programs see them; the first directory is the root.
    now: Vec<NamesIn>,
    /// Those that are safe.
    safe: Vec<NamesIn>,
    open: HashMap<Descriptor, (Node, bool)>,
    /// What happened to names and is not safe, in its order.
    changes: Vec<Change>,
}

/// A file or directory, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory(usize),
}

#[derive(Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
    /// The contents that a sector had since it was last safe, the newest last.
    sectors: BTreeMap<usize, Vec<[u8; SECTOR_BYTES]>>,
    /// The lengths that it had since the last that is safe.
    lengths: Vec<usize>,
    name: Name,
}

/// Whether a file has a name. Each file was synced since it has had this much of one, or was not synced at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    /// From the beginning, or it was synced since it has one.
    #[default]
    Had,
    /// It never had one.
    None,
    /// It had none when it was synced last, and has one now.
    New,
}

/// What is in a directory.
type NamesIn = BTreeMap<String, Node>;

/// A name that was made or removed; a rename is both.
#[derive(Clone, Debug)]
struct Change {
    removed: Option<(usize, String)>,
    made: Option<(usize, String, Node)>,
}

impl Disk {
    /// The disk with what is in a directory, all of it safe; recordings call that directory `root`.
    pub fn of(directory: &Path, root: &Path, names: Names) -> io::Result<Self> {
        let mut disk = Self {
            root: root.to_owned(),
            names,
            files: Vec::new(),
            now: vec![NamesIn::new()],
            safe: vec![NamesIn::new()],
            open: HashMap::new(),
            changes: Vec::new(),
        };
        disk.read(directory, 0)?;
        Ok(disk)
    }

    fn read(&mut self, path: &Path, directory: usize) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let node = if entry.file_type()?.is_dir() {
                let node = self.new_directory();
                let Node::Directory(place) = node else { continue };
                self.read(&entry.path(), place)?;
                node
            } else {
                let now = fs::read(entry.path())?;
                self.files.push(File { safe: now.clone(), now, ..File::default() });
                Node::File(self.files.len() - 1)
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            self.now[directory].insert(name.clone(), node);
            self.safe[directory].insert(name, node);
        }
        Ok(())
    }

    fn new_directory(&mut self) -> Node {
        self.now.push(NamesIn::new());
        self.safe.push(NamesIn::new());
        Node::Directory(self.now.len() - 1)
    }

    /// Does what can be seen at once: nothing that it changes is safe yet. Says whether a cut may leave more
    /// after it than before.
    pub fn begin(&mut self, operation: &Operation) -> bool {
        match operation {
            Operation::Open { file, nameless: true, synchronous, .. } => {
                self.files.push(File { name: Name::None, ..File::default() });
                self.open.insert(*file, (Node::File(self.files.len() - 1), *synchronous));
                false
            }
            Operation::Open { file, path, create, truncate, synchronous, .. } => {
                let (node, is_new) = match self.find(path) {
                    Some(node) => (node, false),
                    None => {
                        assert!(create, "{} was opened, and nobody made it", path.display());
                        self.files.push(File::default());
                        let node = Node::File(self.files.len() - 1);
                        self.change(None, Some((path, node)));
                        (node, true)
                    }
                };
                self.open.insert(*file, (node, *synchronous));
                if let (true, Node::File(place)) = (*truncate, node) {
                    self.files[place].set_length(0);
                }
                is_new || *truncate
            }
            Operation::Write { file, offset, bytes } => {
                self.file(file).write(*offset as usize, bytes);
                true
            }
            Operation::Truncate { file, length } => {
                self.file(file).set_length(*length as usize);
                true
            }
            Operation::Sync { .. } => true,
            Operation::Rename { from, to } => {
                let node = self.find(from).expect("what is renamed is there");
                self.change(Some(from), Some((to, node)));
                true
            }
            Operation::Link { from, to } => {
                let node = self.find(from).expect("what is linked is there");
                self.change(None, Some((to, node)));
                true
            }
            Operation::Name { file, path } => {
                let node = self.open[file].0;
                let name = &mut self.file(file).name;
                if *name == Name::None {
                    *name = Name::New;
                }
                self.change(None, Some((path, node)));
                true
            }
            Operation::Unlink { path } | Operation::RemoveDirectory { path } => {
                self.change(Some(path), None);
                true
            }
            Operation::MakeDirectory { path } => {
                let node = self.new_directory();
                self.change(None, Some((path, node)));
                true
            }
            Operation::Map { file } => {
                let node = self.open[file].0;
                let named = self
                    .everything()
                    .into_iter()
                    .any(|(path, other)| other == node && path.file_name() == Some(OsStr::new(LOCK_FILE)));
                assert!(named, "a file is written through a map, which is not recorded");
                false
            }
            Operation::Close { .. } | Operation::Say { .. } | Operation::Send { .. } => false,
        }
    }

    /// Whether an operation makes something safe.
    pub fn is_sync(&self, operation: &Operation) -> bool {
        match operation {
            Operation::Sync { .. } => true,
            Operation::Write { file, .. } => self.open[file].1,
            _ => false,
        }
    }

    /// Makes safe what is safe when the operation, which has begun, is over.
    pub fn finish(&mut self, operation: &Operation) {
        match operation {
            Operation::Write { file, offset, bytes } => {
                if let (Node::File(place), true) = self.open[file] {
                    self.files[place].sync_range(*offset as usize, bytes.len());
                }
            }
            Operation::Sync { file } => {
                let node = self.open[file].0;
                if let Node::File(place) = node {
                    self.files[place].sync();
                }
                let changes = std::mem::take(&mut self.changes);
                for change in changes {
                    let concerns = |directory: Option<usize>| {
                        directory.is_some_and(|directory| Node::Directory(directory) == node)
                    };
                    let safe = self.names == Names::Journal
                        || concerns(change.removed.as_ref().map(|(directory, _)| *directory))
                        || concerns(change.made.as_ref().map(|(directory, ..)| *directory));
                    if safe {
                        if let (Node::Directory(_), Some((.., Node::File(place)))) = (node, &change.made) {
                            self.files[*place].log_name();
                        }
                        apply(&change, &mut self.safe);
                    } else {
                        self.changes.push(change);
                    }
                }
            }
            Operation::Close { file } => {
                self.open.remove(file);
            }
            _ => {}
        }
    }

    fn file(&mut self, file: &Descriptor) -> &mut File {
        match self.open[file].0 {
            Node::File(place) => &mut self.files[place],
            Node::Directory(_) => panic!("a directory is written to"),
        }
    }

    fn find(&self, path: &Path) -> Option<Node> {
        let mut node = Node::Directory(0);
        for part in path.strip_prefix(&self.root).expect("only what is below the root is recorded") {
            let Node::Directory(place) = node else { return None };
            node = *self.now[place].get(part.to_str()?)?;
        }
        Some(node)
    }

    /// The directory and the name of a path whose parent is there.
    fn place(&self, path: &Path) -> (usize, String) {
        let Some(Node::Directory(parent)) = path.parent().and_then(|parent| self.find(parent)) else {
            panic!("{} has no parent", path.display())
        };
        (parent, path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    fn change(&mut self, removed: Option<&Path>, made: Option<(&PathBuf, Node)>) {
        let removed = removed.map(|path| self.place(path));
        let made = made.map(|(path, node)| {
            let (directory, name) = self.place(path);
            (directory, name, node)
        });
        let change = Change { removed, made };
        apply(&change, &mut self.now);
        self.changes.push(change);
    }

    /// Everything by its path, as the programs see it.
    fn everything(&self) -> Vec<(PathBuf, Node)> {
        let mut found = Vec::new();
        walk(&self.now, 0, Path::new(""), &mut found);
        found
    }

    /// What is on the disk now if no power is cut, for comparison.
    pub fn whole(&self) -> Left {
        let left = |(path, node)| match node {
            Node::File(place) => (path, Some(self.files[place].now.clone())),
            Node::Directory(_) => (path, None),
        };
        self.everything().into_iter().map(left).collect()
    }

    /// What a power cut at this moment leaves.
    pub fn after(&self, cut: Cut) -> Left {
        let mut random = Random::new(if let Cut::Some(seed) = cut { seed } else { 0 });
        // How likely each change is to be kept: of few or of most.
        let keeps = [1, 2, 3][random.below(3) as usize];
        let prefix = random.below(2) == 0;
        let kept = random.below(self.changes.len() as u64 + 1) as usize;
        let mut all = self.safe.clone();
        for (place, change) in self.changes.iter().enumerate() {
            let keep = match cut {
                Cut::Nothing | Cut::Contents => false,
                Cut::All | Cut::NamesAndLengths => true,
                // A journal keeps what happened first.
                Cut::Some(_) if prefix || self.names == Names::Journal => place < kept,
                Cut::Some(_) => random.below(4) < keeps,
            };
            // What a change was made to may not be there.
            let possible =
                change.removed.as_ref().is_none_or(|(directory, name)| all[*directory].contains_key(name));
            if keep && possible {
                apply(change, &mut all);
            }
        }
        let mut found = Vec::new();
        walk(&all, 0, Path::new(""), &mut found);
        found
            .into_iter()
            .map(|(path, node)| match node {
                Node::File(_) if path.file_name() == Some(OsStr::new(LOCK_FILE)) => {
                    (path, Some(vec![0xa5; 8192]))
                }
                Node::File(place) => (path, Some(self.files[place].after(cut, &mut random))),
                Node::Directory(_) => (path, None),
            })
            .collect()
    }
}

/// Does a change to the names of the directories that it is about.
fn apply(change: &Change, names: &mut [NamesIn]) {
    if let Some((directory, name)) = &change.removed {
        names[*directory].remove(name);
    }
    if let Some((directory, name, node)) = &change.made {
        names[*directory].insert(name.clone(), *node);
    }
}

fn walk(all: &[NamesIn], directory: usize, path: &Path, found: &mut Vec<(PathBuf, Node)>) {
    for (name, node) in &all[directory] {
        let path = path.join(name);
        found.push((path.clone(), *node));
        if let Node::Directory(place) = node {
            walk(all, *place, &path, found);
        }
    }
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.now.len() {
            self.now.resize(end, 0);
            self.lengths.push(end);
        }
        self.now[offset..end].copy_from_slice(bytes);
        self.touch(offset, end);
    }

    fn set_length(&mut self, length: usize) {
        let before = self.now.len();
        self.now.resize(length, 0);
        self.lengths.push(length);
        // What was cut off is not seen again when the file grows.
        self.touch(length.min(before), before);
    }

    /// Notes what the sectors of a range hold now.
    fn touch(&mut self, start: usize, end: usize) {
        for number in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let sector = self.sector(number);
            self.sectors.entry(number).or_default().push(sector);
        }
    }

    fn sector(&self, number: usize) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        let start = (number * SECTOR_BYTES).min(self.now.len());
        let bytes = &self.now[start..self.now.len().min(start + SECTOR_BYTES)];
        sector[..bytes.len()].copy_from_slice(bytes);
        sector
    }

    fn sync(&mut self) {
        self.safe.resize(self.now.len(), 0);
        for number in std::mem::take(&mut self.sectors).into_keys() {
            self.make_safe(number);
        }
        self.lengths.clear();
        if self.name == Name::New {
            self.name = Name::Had;
        }
    }

    /// A directory is synced for its name: what was synced before it had one need not be there.
    fn log_name(&mut self) {
        if self.name == Name::New {
            self.safe.clear();
            self.lengths.push(self.now.len());
            self.touch(0, self.now.len());
        }
    }

    /// Makes safe what was written in a range, and as much of the length as that takes.
    fn sync_range(&mut self, offset: usize, length: usize) {
        let end = offset + length;
        if self.safe.len() < end {
            self.safe.resize(end, 0);
        }
        self.lengths.retain(|length| *length > end);
        for number in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.sectors.remove(&number);
            self.make_safe(number);
        }
    }

    fn make_safe(&mut self, number: usize) {
        let sector = self.sector(number);
        put(&mut self.safe, number, &sector);
    }

    fn after(&self, cut: Cut, random: &mut Random) -> Vec<u8> {
        let choices = self.lengths.len() as u64 + 1;
        let length = match cut {
            Cut::Nothing => 0,
            Cut::All | Cut::NamesAndLengths | Cut::Contents => choices - 1,
            Cut::Some(_) => random.below(choices),
        };
        let length = match length {
            0 => self.safe.len(),
            place => self.lengths[place as usize - 1],
        };
        let mut left = self.safe.clone();
        left.resize(length, 0);
        let group = [1, SECTORS_A_PAGE, usize::MAX][random.below(3) as usize];
        let mut chosen: Option<(usize, u64)> = None;
        for (number, contents) in &self.sectors {
            let version = match cut {
                Cut::Nothing | Cut::NamesAndLengths => 0,
                Cut::All | Cut::Contents => contents.len(),
                Cut::Some(_) => {
                    let page = number / group;
                    let (_, choice) = match chosen {
                        Some(same) if same.0 == page => same,
                        _ => *chosen.insert((page, random.next_u64())),
                    };
                    (choice % (contents.len() as u64 + 1)) as usize
                }
            };
            if let Some(sector) = version.checked_sub(1).map(|place| &contents[place]) {
                put(&mut left, *number, sector);
            }
        }
        left
    }
}

/// Writes a sector, as far as the bytes go.
fn put(bytes: &mut [u8], number: usize, sector: &[u8; SECTOR_BYTES]) {
    let start = (number * SECTOR_BYTES).min(bytes.len());
    let end = bytes.len().min(start + SECTOR_BYTES);
    bytes[start..end].copy_from_slice(&sector[..end - start]);
}

/// Makes the files and directories in an empty directory, for their owner alone.
pub fn write_out(left: &Left, root: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    for (path, contents) in left {
        let path = root.join(path);
        match contents {
            None => fs::DirBuilder::new().mode(0o700).create(path)?,
            Some(bytes) => {
                let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                io::Write::write_all(&mut file?, bytes)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Descriptor = (1, 3);
    const DIRECTORY: Descriptor = (1, 4);

    /// What may be on an empty disk after power cuts, when these operations are over.
    fn after(operations: &[Operation], names: Names) -> Vec<Left> {
        let empty = tempfile::tempdir().unwrap();
        let mut disk = Disk::of(empty.path(), Path::new("/disk"), names).unwrap();
        for operation in operations {
            disk.begin(operation);
            disk.finish(operation);
        }
        let fixed = [Cut::Nothing, Cut::All, Cut::NamesAndLengths, Cut::Contents];
        fixed.into_iter().chain((0..20).map(Cut::Some)).map(|cut| disk.after(cut)).collect()
    }

    #[test]
    fn a_file_without_a_name_is_lost_until_its_name_is_safe_and_is_whole_if_it_was_synced() {
        let root = PathBuf::from("/disk");
        let open = |file, path, nameless| Operation::Open {
            file,
            path,
            create: false,
            truncate: false,
            synchronous: false,
            nameless,
        };
        let write = Operation::Write { file: FILE, offset: 0, bytes: b"contents".to_vec() };
        let sync = Operation::Sync { file: FILE };
        let name = Operation::Name { file: FILE, path: root.join("file") };
        let sync_directory = [open(DIRECTORY, root.clone(), false), Operation::Sync { file: DIRECTORY }];
        let whole: Left = [(PathBuf::from("file"), Some(b"contents".to_vec()))].into();
        for names in [Names::Posix, Names::Journal] {
            let mut operations = vec![open(FILE, root.clone(), true), write.clone()];
            assert!(after(&operations, names).iter().all(Left::is_empty));
            operations.push(sync.clone());
            assert!(after(&operations, names).iter().all(Left::is_empty));
            operations.push(name.clone());
            let states = after(&operations, names);
            assert!(states.iter().all(|left| left.is_empty() || *left == whole));
            assert!(states.iter().any(Left::is_empty) && states.contains(&whole));
            operations.push(sync.clone());
            operations.extend(sync_directory.clone());
            assert!(after(&operations, names).iter().all(|left| *left == whole));
            // Whoever forgets to sync the file before it has its name, or when it has, may find anything in it.
            let is_in_part = |left: &Left| left.len() == 1 && *left != whole;
            let [open, write, _, name, ..] = &operations[..] else { unreachable!() };
            assert!(after(&[open.clone(), write.clone(), name.clone()], names).iter().any(is_in_part));
            operations.remove(4);
            assert!(after(&operations, names).iter().any(is_in_part));
        }
    }
}
