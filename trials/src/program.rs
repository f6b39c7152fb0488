//! The real programs on a network of their own: on this machine alone, with ports, data directories and a file
//! of rules that nobody else uses. The wallet's end-to-end tests and all trials start them here.
//!
//! What goes wrong here fails the test or the trial that asked for it, so these functions panic. A network that
//! is dropped while a thread panics keeps its directory, and says where it is.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::address::Address;
use common::amount::Amount;
use common::chain::{Audit, Chain};
use common::files::{DataDirectory, Program};
use common::key_store::KeyStore;
use common::rules::Rules;
use common::settings::rules_to_toml;
use common::signature::RsaVerifier;
use common::store::{LmdbStore, Store, Tip};
use tempfile::TempDir;

/// How long a test waits for anything. On a quiet machine all of it happens within seconds; on a busy one
/// with unoptimised programs nothing should take a minute.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often a test looks whether what it waits for has happened.
const GLANCE: Duration = Duration::from_millis(50);

/// A network that no other test is on.
pub struct Network {
    /// Its rules.
    pub rules: Arc<Rules>,
    /// Where its programs hear each other.
    pub ports: Ports,
    /// The homes, the rules and the logs. `None` only while it is dropped.
    directory: Option<TempDir>,
}

/// The UDP ports of a network.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Of statuses.
    pub status: u16,
    /// Of payments.
    pub transactions: u16,
}

impl Ports {
    /// Two that nobody used a moment ago. If somebody takes them all the same, it is another test's network,
    /// which ignores this one.
    pub fn free() -> Self {
        let free =
            || UdpSocket::bind("127.0.0.1:0").and_then(|socket| Ok((socket.local_addr()?.port(), socket)));
        let (first, second) = (free().expect("there are ports"), free().expect("there are ports"));
        Self { status: first.0, transactions: second.0 }
    }
}

impl Network {
    /// Blocks take 65,536 hashes: a few come in a second, whatever the machine.
    pub fn new() -> Self {
        Self::with_rules(Rules::default())
    }

    /// The same, but for what else these rules say.
    pub fn with_rules(rules: Rules) -> Self {
        Self::with_blocks(16, 200, rules)
    }

    /// One whose blocks take so many zero bits, at least so far apart, whatever the rules say of that.
    pub fn with_blocks(difficulty: u32, min_spacing_ms: u32, rules: Rules) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let rules = Rules { name, difficulty, target_block_seconds: 0, min_spacing_ms, ..rules };
        let directory = tempfile::tempdir().expect("there is room for temporary files");
        fs::write(directory.path().join("network.toml"), rules_to_toml(&rules)).expect("there is room");
        Self { rules: Arc::new(rules), ports: Ports::free(), directory: Some(directory) }
    }

    /// Where the homes, the rules and the logs are.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().expect("it is there until the network is dropped").path()
    }

    /// Leaves the directory where it is, also when nothing failed.
    pub fn keep(mut self) -> PathBuf {
        self.directory.take().expect("it is there until the network is dropped").keep()
    }

    /// The data directory of one user.
    pub fn home(&self, name: &str) -> Home<'_> {
        let root = self.directory().join(name);
        Home { network: self, root, ports: self.ports, environment: Vec::new(), launcher: Vec::new() }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take().filter(|_| std::thread::panicking()) {
            let kept = directory.keep();
            // A lost message is no reason for a second panic.
            let _ = writeln!(io::stderr(), "what the programs left is in {}", kept.display());
        }
    }
}

/// One of the programs, as it was built beside the one that runs now, or beside the directory of its tests.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the system says which program this is");
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let found =
        own.ancestors().skip(1).take(2).map(|directory| directory.join(&file)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!(
            "the program {name} is not built beside {}: run `cargo build --workspace` first",
            own.display()
        )
    })
}

/// The data directory of one user, and the ports that this user's programs use.
pub struct Home<'n> {
    network: &'n Network,
    /// The data directory.
    pub root: PathBuf,
    ports: Ports,
    /// More variables for the programs.
    environment: Vec<(String, OsString)>,
    /// The command that starts them, if they are not started as they are.
    launcher: Vec<String>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, or the signal that ended it.
    pub status: ExitStatus,
    /// Its results.
    pub stdout: String,
    /// Its notes or its log.
    pub stderr: String,
}

impl<'n> Home<'n> {
    /// The same directory, out of earshot of the others.
    pub fn cut_off(&self) -> Home<'n> {
        Home {
            network: self.network,
            root: self.root.clone(),
            ports: Ports::free(),
            environment: self.environment.clone(),
            launcher: self.launcher.clone(),
        }
    }

    /// The same, its programs being started by this command, which is to become the program: `ip netns exec NAME`.
    pub fn started_by(mut self, launcher: &[&str]) -> Self {
        self.launcher = launcher.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The same, with one more variable in the environment of its programs.
    pub fn with_variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs `wallet` to its end, whatever that is.
    pub fn try_wallet(&self, arguments: &[&str]) -> Ended {
        self.start_wallet(arguments).end()
    }

    /// Runs `wallet` to its successful end, and gives what it printed.
    pub fn wallet(&self, arguments: &[&str]) -> String {
        let ended = self.try_wallet(arguments);
        assert!(ended.status.success(), "wallet {arguments:?}: {ended:?}");
        ended.stdout
    }

    /// Starts `wallet`.
    pub fn start_wallet(&self, arguments: &[&str]) -> Running {
        self.start(&program("wallet"), arguments)
    }

    /// Starts `wallet` or `miner`, its results going into a pipe that nobody reads any more.
    pub fn start_unread(&self, name: &str, arguments: &[&str]) -> Running {
        let (reader, writer) = io::pipe().expect("there are pipes");
        drop(reader);
        self.start_with_stdout(&program(name), arguments, Some(writer.into()))
    }

    /// Starts `wallet`, its results going into a pipe that is full, from which nobody reads as long as the other end
    /// lives.
    pub fn start_stalled(&self, arguments: &[&str]) -> (Running, io::PipeReader) {
        let (reader, writer) = io::pipe().expect("there are pipes");
        let mut filler = writer.try_clone().expect("there is a number for it");
        std::thread::spawn(move || while filler.write_all(&[b'\n'; 4096]).is_ok() {});
        (self.start_with_stdout(&program("wallet"), arguments, Some(writer.into())), reader)
    }

    /// Starts `wallet`, its results going where there is no room.
    pub fn start_without_room(&self, arguments: &[&str]) -> Running {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there is such a device");
        self.start_with_stdout(&program("wallet"), arguments, Some(full.into()))
    }

    /// Runs `wallet` or `miner` to its end where there is no terminal to ask anything on, also if these tests were
    /// started on one. `None`, and a sentence, where `setsid` is not installed.
    pub fn without_terminal(&self, name: &str, arguments: &[&str]) -> Option<Ended> {
        let program = program(name);
        let program = program.to_str().expect("the path is text");
        installed("setsid")
            .then(|| self.start(Path::new("setsid"), &[&["--wait", program], arguments].concat()).end())
    }

    /// Starts a shell command on a terminal of its own, `$WALLET` being the wallet. `None`, and a sentence, where
    /// `script` is not installed.
    pub fn on_terminal(&self, shell: &str) -> Option<OnTerminal> {
        if !installed("script") {
            return None;
        }
        let mut command = self.prepare(Path::new("script"));
        command
            .args(["--quiet", "--flush", "--return", "--command", shell, "/dev/null"])
            .env("WALLET", program("wallet"))
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("script starts");
        let (mut output, said) =
            (child.stdout.take().expect("it is a pipe"), Arc::new(Mutex::new(Vec::new())));
        let heard = said.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                heard.lock().expect("nobody panics while holding it").extend_from_slice(&bytes[..count]);
            }
        });
        Some(OnTerminal { child, said, reader: Some(reader), seen: 0 })
    }

    /// Starts `miner`, with one thread.
    pub fn start_miner(&self, arguments: &[&str]) -> Running {
        self.start(&program("miner"), &[&["--threads", "1"], arguments].concat())
    }

    /// The same; the system lets it have so many files and sockets open and no more.
    pub fn start_miner_with_files(&self, files: u32, arguments: &[&str]) -> Running {
        let script = format!("ulimit -n {files}; exec \"$0\" --threads 1 \"$@\"");
        let miner = program("miner");
        let miner = miner.to_str().expect("the path is text");
        self.start(Path::new("sh"), &[&["-c", &script, miner], arguments].concat())
    }

    fn start(&self, program: &Path, arguments: &[&str]) -> Running {
        self.start_with_stdout(program, arguments, None)
    }

    /// Starts a program, its results going there, or to a file.
    fn start_with_stdout(&self, program: &Path, arguments: &[&str], results: Option<Stdio>) -> Running {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = self.network.directory();
        let log = |kind: &str| {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let [home, name] = [&self.root, program]
                .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            directory.join(format!("{number}-{home}-{name}.{kind}"))
        };
        let (stdout, stderr) = (log("out"), log("err"));
        let mut command = self.prepare(program);
        let file = File::create(&stdout).expect("there is room for logs");
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(results.unwrap_or(file.into()))
            .stderr(File::create(&stderr).expect("there is room for logs"));
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Running { child, stdout, stderr }
    }

    /// A program with the environment of this home.
    fn prepare(&self, program: &Path) -> Command {
        let directory = self.network.directory();
        let mut command = match self.launcher.split_first() {
            Some((launcher, arguments)) => {
                let mut command = Command::new(launcher);
                command.args(arguments).arg(program);
                command
            }
            None => Command::new(program),
        };
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("FARTHING_") {
                command.env_remove(variable);
            }
        }
        let Ports { status, transactions } = self.ports;
        command
            .env("XDG_CONFIG_HOME", directory.join("config"))
            .env("FARTHING_NETWORK", directory.join("network.toml"))
            .env("FARTHING_DATA_DIR", &self.root)
            .env("FARTHING_STATUS_BROADCAST_PORT", status.to_string())
            .env("FARTHING_TRANSACTION_PORT", transactions.to_string())
            .env("FARTHING_BLOCK_SERVER_PORT", "0")
            .env("FARTHING_STATUS_BROADCAST_INTERVAL_MS", "300")
            .env("FARTHING_TRANSACTION_BROADCAST_INTERVAL_MS", "500")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The data directory, with the places in it.
    pub fn data(&self) -> DataDirectory {
        DataDirectory::new(&self.root)
    }

    /// The network that it is on.
    pub fn network(&self) -> &'n Network {
        self.network
    }

    /// Where a program's store lies.
    pub fn store_directory(&self, program: Program) -> PathBuf {
        let rules = &self.network.rules;
        self.data().program(program, &rules.name, &rules.network_id())
    }

    /// A program's chain, opened from its store; `None` before there is a store.
    pub fn chain(&self, program: Program) -> Option<Chain<LmdbStore>> {
        let store = LmdbStore::open_existing(&self.store_directory(program), &self.network.rules);
        store.expect("the store opens").map(|store| Chain::new(self.network.rules.clone(), store))
    }

    /// The tip that a program's store has now; `None` before there is a store.
    pub fn tip(&self, program: Program) -> Option<Tip> {
        self.chain(program).map(|chain| chain.tip().expect("the store is sound"))
    }

    /// The height that a program's store has now.
    pub fn height(&self, program: Program) -> u64 {
        self.tip(program).map_or(0, |tip| tip.height.get())
    }

    /// Waits until a program's store has this height.
    pub fn reach(&self, program: Program, height: u64) {
        eventually(&format!("height {height} in {}", self.root.display()), || {
            (self.height(program) >= height).then_some(())
        });
    }

    /// Replays a program's chain from genesis.
    pub fn audit(&self, program: Program) -> Audit {
        let chain = self.chain(program).expect("there is a store");
        chain
            .audit(&RsaVerifier::default())
            .unwrap_or_else(|error| panic!("{}: {error}", self.root.display()))
    }

    /// The address of a key.
    pub fn address(&self, key: &str) -> Address {
        KeyStore::new(self.data().keys()).find(&key.parse().expect("it is a name")).expect("the key is there")
    }

    /// What an address has by the chain of the wallet here.
    pub fn balance(&self, address: &Address) -> Amount {
        self.chain(Program::Wallet).map_or(Amount::ZERO, |chain| {
            let account = chain.store().read(|reader| reader.account(address));
            account.expect("the store is sound").balance
        })
    }

    /// Waits until an address has this much by the chain of the wallet here.
    pub fn wait_for_balance(&self, address: &Address, balance: Amount) {
        eventually(&format!("a balance of {balance} in {}", self.root.display()), || {
            (self.balance(address) == balance).then_some(())
        });
    }

    /// Waits until an address has at least this much by the chain of the wallet here.
    pub fn wait_for_at_least(&self, address: &Address, balance: Amount) {
        eventually(&format!("{balance} or more in {}", self.root.display()), || {
            (self.balance(address) >= balance).then_some(())
        });
    }
}

/// Whether a program of the system is there; says so if it is not.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        writeln!(std::io::stderr(), "skipped: {program} is not installed")
            .expect("there is a standard error");
    }
    found.is_ok()
}

/// A shell command on a terminal of its own. It is killed when this is dropped.
pub struct OnTerminal {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    /// How much of what was said was waited for before.
    seen: usize,
}

impl OnTerminal {
    /// All that the terminal has shown.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().expect("nobody panics while holding it")).into_owned()
    }

    /// Waits until the terminal shows this, after what was waited for before.
    pub fn wait_for(&mut self, text: &str) {
        self.seen += eventually(&format!("{text:?} on the terminal"), || {
            let said = self.said();
            assert!(said.len() >= self.seen, "only text that is ASCII is said here");
            said[self.seen..].find(text).map(|place| place + text.len())
        });
    }

    /// Types this.
    pub fn types(&mut self, keys: &str) {
        let terminal = self.child.stdin.as_mut().expect("it is a pipe");
        terminal.write_all(keys.as_bytes()).and_then(|()| terminal.flush()).expect("the terminal is there");
    }

    /// Waits for the end; gives the exit code, and all that the terminal has shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = eventually("the end on the terminal", || self.child.try_wait().expect("it was started"));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it does not panic");
        }
        (status.code(), self.said())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // It may have ended, and been waited for, before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that was started. It is killed when this is dropped.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// What it has said so far that is no result: a miner's log, a wallet's notes.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).expect("the log is there")).into_owned()
            + &String::from_utf8_lossy(&fs::read(&self.stdout).expect("the log is there"))
    }

    /// Waits until it has said this.
    pub fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(text) {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                // What it said last may have come after the look above.
                assert!(self.said().contains(text), "{status} before {text:?}: {}", self.said());
                return;
            }
            assert!(Instant::now() < deadline, "waited for {text:?} in vain: {}", self.said());
            std::thread::sleep(GLANCE);
        }
    }

    /// Where a miner serves blocks, once it does.
    pub fn block_server(&mut self) -> SocketAddr {
        self.wait_for("the chain is");
        let said = self.said();
        let line =
            said.lines().find(|line| line.contains("blocks TCP")).expect("it is said before the chain is");
        let place = line.rsplit(' ').next().and_then(|place| place.parse().ok());
        place.unwrap_or_else(|| panic!("no address ends {line:?}"))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it was started").is_none()
    }

    /// Its number in the system.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as `kill -9` does, and gives what it had said by then.
    pub fn kill(mut self) -> Ended {
        self.child.kill().expect("it was started");
        self.end()
    }

    /// Sends it a signal: `INT` is what Ctrl-C sends.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(sent.expect("there is a `kill`").success(), "it had ended: {}", self.said());
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(self) {
        self.signal("INT");
        let ended = self.end();
        assert!(ended.status.success(), "{ended:?}");
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                let read =
                    |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("it is there")).into_owned();
                return Ended { status, stdout: read(&self.stdout), stderr: read(&self.stderr) };
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, and been waited for, before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s for {what} in vain", PATIENCE.as_secs());
        std::thread::sleep(GLANCE);
    }
}

/// A number that whoever runs the tests may set.
pub fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{variable}={value} is no number")))
}
