//! A running miner, its log as it comes, and its block server. Everything that is waited for is an event
//! with a deadline that only a failing test reaches.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::hash::{BlockId, NetworkId};
use common::net::{Addresses, Broadcaster, ClientDeadlines, connect};
use common::time::Timestamp;
use common::wire::{Announcement, Datagram, Hello, Request, Response, Status};

/// The longest that a test waits for anything.
pub const AT_MOST: Duration = Duration::from_secs(120);

/// UDP ports that nobody else uses.
pub struct Ports {
    status: u16,
    transactions: u16,
}

impl Ports {
    /// Two that were free a moment ago.
    pub fn free() -> Self {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [status, transactions] = sockets.each_ref().map(|socket| socket.local_addr().unwrap().port());
        Self { status, transactions }
    }

    /// The flags that choose them, any block server port, and short waits.
    pub fn flags(&self) -> Vec<String> {
        let settings = [
            format!("status_broadcast_port={}", self.status),
            format!("transaction_port={}", self.transactions),
            "block_server_port=0".to_owned(),
            "status_broadcast_interval_ms=100".to_owned(),
        ];
        settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect()
    }
}

/// Does something while these statuses are broadcast in the network's name, over and over.
pub fn while_announcing<T>(
    network: &NetworkId,
    statuses: &[Status],
    ports: &Ports,
    act: impl FnOnce() -> T,
) -> T {
    let datagrams = statuses.iter().map(|&status| Datagram::new(network, Announcement::Status(status)));
    let datagrams: Vec<_> = datagrams.map(|datagram| datagram.to_bytes()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut broadcaster = Broadcaster::open(Addresses::this_machine()).unwrap();
                let mut ticks = tokio::time::interval(Duration::from_millis(20));
                while !done.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    for datagram in &datagrams {
                        broadcaster.send(datagram, ports.status).await;
                    }
                }
            });
        });
        let result = act();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// A file with the rules of a network of this name.
pub fn network_of(directory: &tempfile::TempDir, name: &str, rules: &str) -> PathBuf {
    let path = directory.path().join(format!("{name}.toml"));
    std::fs::write(&path, format!("name = \"{name}\"\n{rules}")).unwrap();
    path
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_miner"));
    // Nothing of the user's own configuration is to matter here.
    command.env_clear().env("HOME", "/nonexistent").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs the miner to its end.
pub fn output(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

/// A miner that runs. Dropping it kills it.
pub struct Miner {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    block_server: Option<SocketAddr>,
}

impl Miner {
    /// Starts one, with one thread.
    pub fn start(data: &Path, network: &Path, ports: &Ports, flags: &[&str]) -> Self {
        let mut child = Self::spawn(data, network, ports, flags, Stdio::piped());
        let (sender, lines) = channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, seen: Vec::new(), block_server: None }
    }

    /// Starts one whose log goes elsewhere.
    pub fn start_with_log(data: &Path, network: &Path, ports: &Ports, log: Stdio) -> Self {
        let child = Self::spawn(data, network, ports, &[], log);
        Self { child, lines: channel().1, seen: Vec::new(), block_server: None }
    }

    fn spawn(data: &Path, network: &Path, ports: &Ports, flags: &[&str], log: Stdio) -> Child {
        let mut command = command();
        command.args(["--threads", "1", "--data-dir"]).arg(data).arg("--network").arg(network);
        command.args(ports.flags()).args(flags).stderr(log).spawn().unwrap()
    }

    /// The next line of its log that holds this.
    pub fn wait_for(&mut self, text: &str) -> String {
        self.wait_for_either(text, text)
    }

    /// The next line of its log that holds one of these.
    pub fn wait_for_either(&mut self, text: &str, other: &str) -> String {
        let deadline = Instant::now() + AT_MOST;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) || line.contains(other) {
                        return line;
                    }
                }
                Err(_) => panic!("{text:?} is not in the log:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Where it serves blocks.
    pub fn block_server(&mut self) -> SocketAddr {
        if let Some(place) = self.block_server {
            return place;
        }
        let line = match self.seen.iter().find(|line| line.contains("blocks TCP")) {
            Some(line) => line.clone(),
            None => self.wait_for("blocks TCP"),
        };
        let place = line.rsplit(' ').next().unwrap().parse().unwrap();
        *self.block_server.insert(place)
    }

    /// The id of its network.
    pub fn network_id(&mut self) -> NetworkId {
        let place = self.block_server();
        call(place, None).0.network
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + AT_MOST;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.seen.join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls a block server, and asks it something.
fn call(place: SocketAddr, request: Option<Request>) -> (Hello, Option<Response>) {
    let own_hello = |theirs: &Hello| Hello::of_caller(theirs, "test", Timestamp::from_system_clock());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut session, hello) = connect(place, None, own_hello, ClientDeadlines::default()).await.unwrap();
        let Some(request) = request else { return (hello, None) };
        session.send(&request).await.unwrap();
        (hello, Some(session.next().await.unwrap()))
    })
}

/// Asks a block server something.
pub fn ask(place: SocketAddr, request: Request) -> Response {
    call(place, Some(request)).1.unwrap()
}

/// What a miner says of its chain as soon as its tip is another than this, or after ten seconds.
pub fn status_beyond(place: SocketAddr, tip: BlockId) -> Status {
    match ask(place, Request::WaitStatus { tip }) {
        Response::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

/// What a miner says of its chain now.
pub fn status(place: SocketAddr) -> Status {
    status_beyond(place, BlockId::ZERO)
}
