//! A miner on a disk that is full, not writable, or damaged. The disk is a small file system in memory, which takes
//! the rights of root to mount; without them the tests say so and pass.

#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "not every test needs all of it")]
mod harness;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::files::{DataDirectory, Program};
use common::hash::BlockId;
use common::rules::Rules;
use common::settings::rules_to_toml;
use common::store::{LmdbStore, Store, StoreError};
use common::time::Height;
use common::wire::Request;

use harness::{Miner, Ports, ask, output, status, status_beyond};

/// Rules under which many blocks a second are found, whatever the machine, and the chain grows fast.
fn busy(name: &str) -> Rules {
    Rules {
        name: name.to_owned(),
        difficulty: 8,
        target_block_seconds: 0,
        min_spacing_ms: 1,
        ..Rules::default()
    }
}

/// Waits until a store has so many blocks.
fn reach(store: &Path, rules: &Rules, blocks: u64) {
    let deadline = std::time::Instant::now() + harness::AT_MOST;
    let height = || {
        let store = LmdbStore::open_existing(store, rules).unwrap()?;
        let tip = store.read(|reader| reader.tip());
        Some(tip.unwrap().height.get())
    };
    while height().is_none_or(|height| height < blocks) {
        assert!(std::time::Instant::now() < deadline, "it does not mine");
        std::thread::yield_now();
    }
}

/// A file system in memory, of so many KiB. Dropping it unmounts it.
struct Disk {
    place: tempfile::TempDir,
}

impl Disk {
    /// `None`, and a word about it, where nothing may be mounted.
    fn mount(kibibytes: u64) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let size = format!("size={kibibytes}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            let _ = writeln!(std::io::stderr(), "skipped: a file system cannot be mounted here");
            return None;
        }
        Some(Self { place })
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let mounted = Command::new("mount").args(["-o", &options]).arg(self.path()).output().unwrap();
        assert!(mounted.status.success(), "{mounted:?}");
    }

    /// Takes up all the room that is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

struct Scene {
    disk: Disk,
    rules: Rules,
    network: PathBuf,
    ports: Ports,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new(name: &str, kibibytes: u64) -> Option<Self> {
        let (disk, directory) = (Disk::mount(kibibytes)?, tempfile::tempdir().unwrap());
        let (rules, network) = (busy(name), directory.path().join("network.toml"));
        fs::write(&network, rules_to_toml(&rules)).unwrap();
        Some(Self { disk, rules, network, ports: Ports::free(), _directory: directory })
    }

    fn start(&self, flags: &[&str]) -> Miner {
        Miner::start(self.disk.path(), &self.network, &self.ports, flags)
    }

    /// Runs `miner verify`: its exit code, and all that it says.
    fn verify(&self, flags: &[&str]) -> (Option<i32>, String) {
        let [data, network] = [self.disk.path(), &self.network].map(|path| path.to_str().unwrap());
        let output = output(&[&["--data-dir", data, "--network", network, "verify"], flags].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout) + &text(output.stderr))
    }

    fn store(&self) -> PathBuf {
        let data = DataDirectory::new(self.disk.path());
        data.program(Program::Miner, &self.rules.name, &self.rules.network_id())
    }
}

#[test]
fn a_full_disk_ends_mining_with_a_sentence_and_mining_goes_on_when_there_is_room() {
    let Some(scene) = Scene::new("full", 2_048) else { return };
    let mut miner = scene.start(&[]);
    miner.wait_for("found block 10 ");
    let ballast = scene.disk.fill();
    let told = miner.wait_for("error: ");
    assert!(told.contains("cannot write the chain in") && told.contains("of 2.0 MiB are free"), "{told}");
    assert!(told.contains(scene.store().to_str().unwrap()), "{told}");
    assert!(miner.wait_for("hint: ").contains("make room"));
    assert_eq!(miner.exit_code(), Some(3));
    // On the full disk it does not start again, and the store can still be verified.
    let (code, told) = scene.verify(&[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("is sound"), "{told}");
    fs::remove_file(ballast).unwrap();
    let mut miner = scene.start(&[]);
    assert!(!miner.wait_for("the chain is").contains("empty"));
    miner.wait_for("found block");
    miner.signal("TERM");
    assert_eq!(miner.exit_code(), Some(0));
    assert_eq!(scene.verify(&[]).0, Some(0));
}

#[test]
fn a_disk_without_room_for_a_key_makes_none_and_says_so() {
    let Some(scene) = Scene::new("empty", 2_048) else { return };
    scene.disk.fill();
    let mut miner = scene.start(&[]);
    let told = miner.wait_for("error: ");
    assert!(told.contains(scene.disk.path().to_str().unwrap()) && told.contains("are free"), "{told}");
    assert_eq!(miner.exit_code(), Some(3));
    let keys = fs::read_dir(scene.disk.path().join("keys")).into_iter().flatten();
    // The lock of whoever makes one is empty, and stays.
    let left: Vec<_> = keys.map(|entry| entry.unwrap().file_name()).filter(|name| name != ".lock").collect();
    assert!(left.is_empty(), "no part of a key is left: {left:?}");
}

/// Where there was room for the directory, but not for the database's locks, the system ended it (SIGBUS).
#[test]
fn a_first_start_on_a_disk_of_any_size_begins_or_ends_with_a_sentence() {
    for pages in 1.. {
        let Some(scene) = Scene::new("small", pages * 4) else { return };
        let mut miner = scene.start(&["--no-mine"]);
        let told = miner.wait_for_either("error: ", "listening: ");
        if told.contains("listening: ") {
            assert!(pages > 10, "a store was made in {pages} pages");
            return;
        }
        assert!(told.contains(scene.disk.path().to_str().unwrap()) && told.contains("are free"), "{told}");
        assert!(miner.wait_for("hint: ").contains("make room"));
        assert_eq!(miner.exit_code(), Some(3), "{pages} pages");
    }
}

/// The system ended it (SIGBUS), and nobody knew why.
#[test]
fn a_store_that_cannot_be_read_any_more_while_it_is_used_ends_the_miner_with_a_sentence() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let (rules, network) = (busy("cut"), directory.path().join("network.toml"));
    fs::write(&network, rules_to_toml(&rules)).unwrap();
    let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
    miner.wait_for("found block 5 ");
    miner.signal("TERM");
    assert_eq!(miner.exit_code(), Some(0));
    let data = DataDirectory::new(directory.path());
    let store = data.program(Program::Miner, &rules.name, &rules.network_id());
    let mut miner = Miner::start(directory.path(), &network, &ports, &["--no-mine"]);
    let place = miner.block_server();
    // To the system it is the same as a disk that fails: a page of the map has nothing behind it.
    fs::OpenOptions::new().write(true).open(store.join("data.mdb")).unwrap().set_len(0).unwrap();
    // The caller is hung up on, which `ask` does not expect.
    let ids = vec![BlockId::from_bytes([7; 32])];
    assert!(std::thread::spawn(move || ask(place, Request::GetBlocks { ids })).join().is_err());
    let told = miner.wait_for("error: ");
    assert!(told.contains("cannot read the chain in") && told.contains("the disk failed"), "{told}");
    assert!(told.contains(store.to_str().unwrap()), "{told}");
    assert!(miner.wait_for("hint: ").contains("miner verify --repair"));
    assert_eq!(miner.exit_code(), Some(3));
    // The same signal from somebody else ends it as it ends any program.
    let mut miner = Miner::start(directory.path(), &network, &ports, &["--no-mine"]);
    miner.wait_for("listening: ");
    miner.signal("BUS");
    assert_eq!(miner.exit_code(), None);
}

/// It mined on, and announced what nobody would find on the disk.
#[test]
fn a_store_that_is_taken_away_while_it_is_used_ends_the_miner_with_a_sentence() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let (rules, network) = (busy("away"), directory.path().join("network.toml"));
    fs::write(&network, rules_to_toml(&rules)).unwrap();
    let data = DataDirectory::new(directory.path());
    let file = data.program(Program::Miner, &rules.name, &rules.network_id()).join("data.mdb");
    let take_away = |file: &Path| fs::rename(file, file.with_extension("away")).unwrap();
    let replace = |file: &Path| {
        fs::copy(file.with_extension("away"), file.with_extension("copy")).unwrap();
        fs::rename(file.with_extension("copy"), file).unwrap();
    };
    let acts: [&dyn Fn(&Path); 2] = [&take_away, &replace];
    for act in acts {
        let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
        miner.wait_for("found block");
        act(&file);
        let told = miner.wait_for("error: ");
        assert!(told.contains("was removed or replaced while it was in use"), "{told}");
        assert!(miner.wait_for("hint: ").contains("start again"));
        assert_eq!(miner.exit_code(), Some(3));
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_a_sentence_with_an_exit_code_of_its_own() {
    let Some(scene) = Scene::new("read-only", 2_048) else { return };
    let mut miner = scene.start(&[]);
    miner.wait_for("found block 3 ");
    miner.signal("TERM");
    assert_eq!(miner.exit_code(), Some(0));
    scene.disk.remount("ro");
    let mut miner = scene.start(&[]);
    let told = miner.wait_for("error: ");
    assert!(told.contains("Read-only file system"), "{told}");
    assert_eq!(miner.exit_code(), Some(3));
    scene.disk.remount("rw");
    scene.start(&[]).wait_for("found block");
}

/// A pager that showed its first page, or Ctrl-S in a terminal, stopped everything, and then only kill -9 helped.
#[test]
fn a_log_that_nobody_reads_on_stops_neither_mining_nor_the_end_of_it() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let (rules, network) = (busy("stalled"), directory.path().join("network.toml"));
    fs::write(&network, rules_to_toml(&rules)).unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    std::thread::spawn(move || while filler.write_all(&[b'\n'; 4096]).is_ok() {});
    let mut miner = Miner::start_with_log(directory.path(), &network, &ports, writer.into());
    let data = DataDirectory::new(directory.path());
    reach(&data.program(Program::Miner, &rules.name, &rules.network_id()), &rules, 50);
    miner.signal("TERM");
    assert_eq!(miner.exit_code(), Some(0));
}

/// What was said on a full disk by a library, about the log that could not be written, was a panic.
#[test]
fn a_log_that_cannot_be_written_does_not_end_mining() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let (rules, network) = (busy("mute"), directory.path().join("network.toml"));
    fs::write(&network, rules_to_toml(&rules)).unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut miner = Miner::start_with_log(directory.path(), &network, &ports, full.into());
    let data = DataDirectory::new(directory.path());
    let store = data.program(Program::Miner, &rules.name, &rules.network_id());
    reach(&store, &rules, 3);
    miner.signal("TERM");
    assert_eq!(miner.exit_code(), Some(0));
}

#[test]
fn a_damaged_store_is_found_named_and_repaired_and_what_is_lost_is_mined_on() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let (rules, network) = (busy("damage"), directory.path().join("network.toml"));
    fs::write(&network, rules_to_toml(&rules)).unwrap();
    let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
    let place = miner.block_server();
    let mut seen = status(place);
    while seen.height.get() < 30 {
        seen = status_beyond(place, seen.tip);
    }
    miner.signal("TERM");
    assert_eq!(miner.exit_code(), Some(0));
    let [data, network_file] = [directory.path(), &network].map(|path| path.to_str().unwrap());
    let verify = |flags: &[&str]| {
        let output = output(&[&["--data-dir", data, "--network", network_file, "verify"], flags].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, told, _) = verify(&[]);
    assert!(code == Some(0) && told.contains("Keys       sound: 1"), "{told}");
    let data_directory = DataDirectory::new(directory.path());
    let store = data_directory.program(Program::Miner, &rules.name, &rules.network_id());
    let height = {
        let store = LmdbStore::open_existing(&store, &rules).unwrap().unwrap();
        store.read(|reader| reader.tip()).unwrap().height
    };
    let file = store.join("data.mdb");
    // The page that says what this is, and of which network, is lost; no block is.
    let mut bytes = fs::read(&file).unwrap();
    let says_it = |page: &&mut [u8]| page.windows(14).any(|bytes| bytes == b"farthing store");
    bytes.chunks_mut(4096).filter(says_it).for_each(|page| page.fill(0));
    fs::write(&file, &bytes).unwrap();
    let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
    assert!(miner.wait_for("error: ").contains("damaged"));
    assert!(miner.wait_for("hint: ").contains("miner verify --repair"));
    assert_eq!(miner.exit_code(), Some(1));
    let (code, told, why) = verify(&[]);
    assert!(code == Some(1) && told.is_empty() && why.contains("damaged: "), "{told}{why}");
    assert!(why.contains("hint: `miner verify --repair`"), "{why}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "to verify changes nothing");
    let (code, told, why) = verify(&["--repair"]);
    assert_eq!(code, Some(0), "{told}{why}");
    let all = format!("Repaired: {height} blocks kept, up to height {height}");
    assert!(told.contains(&all) && told.contains("is sound"), "{told}");
    assert_eq!(fs::read(store.join("data.mdb.damaged-1")).unwrap(), bytes, "what was damaged is kept");
    assert_eq!(verify(&[]).0, Some(0));
    let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
    miner.wait_for("found block");
}

/// What the block server met was told to the caller, and to nobody else.
#[test]
fn a_damaged_block_that_somebody_asks_for_is_not_served_and_ends_the_miner_with_a_hint() {
    let (directory, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let (rules, network) = (busy("serve"), directory.path().join("network.toml"));
    fs::write(&network, rules_to_toml(&rules)).unwrap();
    let mut miner = Miner::start(directory.path(), &network, &ports, &[]);
    miner.wait_for("found block 5 ");
    miner.signal("TERM");
    assert_eq!(miner.exit_code(), Some(0));
    let directory_of_store =
        DataDirectory::new(directory.path()).program(Program::Miner, &rules.name, &rules.network_id());
    let (id, body) = {
        let store = LmdbStore::open_existing(&directory_of_store, &rules).unwrap().unwrap();
        let body = store.read(|reader| {
            let id = reader.best_at(Height::new(2))?.unwrap();
            Ok::<_, StoreError>((id, reader.encoded_body(&id)?.unwrap().into_owned()))
        });
        body.unwrap()
    };
    let checksum_and_body = {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(id.as_bytes());
        hasher.update(&body);
        [&hasher.finalize().to_be_bytes()[..], &body].concat()
    };
    let file = directory_of_store.join("data.mdb");
    let mut bytes = fs::read(&file).unwrap();
    let length = checksum_and_body.len();
    let places: Vec<usize> =
        (0..bytes.len() - length).filter(|place| bytes[*place..][..length] == checksum_and_body).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|place| bytes[place + 20] ^= 1);
    fs::write(&file, &bytes).unwrap();
    let mut miner = Miner::start(directory.path(), &network, &ports, &["--no-mine"]);
    let place = miner.block_server();
    // The caller is hung up on, which `ask` does not expect.
    let asked = std::thread::spawn(move || ask(place, Request::GetBlocks { ids: vec![id] })).join();
    assert!(asked.is_err());
    assert!(miner.wait_for("error: ").contains("does not match its checksum"));
    assert!(miner.wait_for("hint: ").contains("miner verify --repair"));
    assert_eq!(miner.exit_code(), Some(1));
}
