//! The programs that are measured: started with data directories and ports of their own, on this machine
//! alone, and ended when the measurement is over.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;

/// The ports of one network.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// UDP, of statuses.
    pub status: u16,
    /// UDP, of payments.
    pub transactions: u16,
}

impl Ports {
    /// Two that were free a moment ago.
    pub fn free() -> Result<Self, Failure> {
        let free = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let (first, second) = (free()?, free()?);
        Ok(Self { status: first.local_addr()?.port(), transactions: second.local_addr()?.port() })
    }
}

/// A TCP port that was free a moment ago.
pub fn free_tcp_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// One of the two programs, as it was built beside this one.
pub fn program(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is not there: run scripts/bench", path.display()).into())
    }
}

/// How to start one of the programs on a network: nothing of the user's own configuration matters.
pub fn command(name: &str, data: &Path, network: &Path, ports: Ports) -> Result<Command, Failure> {
    let mut command = Command::new(program(name)?);
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .arg("--data-dir")
        .arg(data)
        .arg("--network")
        .arg(network)
        .args(["--set", &format!("status_broadcast_port={}", ports.status)])
        .args(["--set", &format!("transaction_port={}", ports.transactions)]);
    Ok(command)
}

/// A miner that runs. Dropping it kills it.
pub struct Miner {
    child: Child,
    lines: Receiver<(Instant, String)>,
    seen: Vec<String>,
    /// When it was started.
    pub started: Instant,
    /// Where it serves blocks.
    pub place: SocketAddr,
}

impl Miner {
    /// Starts a miner with more flags; its log is read as it comes.
    pub fn start(data: &Path, network: &Path, ports: Ports, flags: &[&str]) -> Result<Self, Failure> {
        let port = free_tcp_port()?;
        let mut command = command("miner", data, network, ports)?;
        command
            .args(["--set", &format!("block_server_port={port}")])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let log = child.stderr.take().ok_or("the log is not there")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        let place = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { child, lines, seen: Vec::new(), started, place })
    }

    /// Its number in the system.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its log that this finds something in, and when it came.
    pub fn wait_for<T>(
        &mut self,
        at_most: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<(Instant, T), Failure> {
        let deadline = Instant::now() + at_most;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((when, line)) => {
                    let found = find(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return Ok((when, found));
                    }
                }
                Err(_) => return Err(format!("the miner did not say so:\n{}", self.last_lines()).into()),
            }
        }
    }

    /// The next line of its log, if there is one, and when it came.
    pub fn try_line(&mut self) -> Option<(Instant, String)> {
        let (when, line) = self.lines.try_recv().ok()?;
        self.seen.push(line.clone());
        Some((when, line))
    }

    /// What it said last, for sentences about failures.
    pub fn last_lines(&mut self) -> String {
        self.seen.extend(self.lines.try_iter().map(|(_, line)| line));
        self.seen[self.seen.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a program has kept cores busy, in seconds.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; then the 12th and 13th field are in hundredths of a second.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

/// The bytes that the files of a store take on disk.
pub fn bytes_on_disk(directory: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            bytes_on_disk(&entry.path())?
        } else {
            allocated(&entry.metadata()?)
        };
    }
    Ok(bytes)
}

#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}
