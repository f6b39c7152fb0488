//! What the system says of programs and their sockets. On Linux alone; elsewhere it says nothing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the memory of a program is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);

/// Watches how much memory of its own (RssAnon) a program has, until it is dropped or asked.
pub struct MemoryWatch {
    most_bytes: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Starts to watch.
    pub fn start(pid: u32) -> Self {
        let (most_bytes, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (most, end) = (most_bytes.clone(), over.clone());
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                most.fetch_max(anonymous_bytes(pid).unwrap_or(0), Ordering::Relaxed);
                thread::sleep(SAMPLE_EVERY);
            }
        });
        Self { most_bytes, over, thread: Some(thread) }
    }

    /// The most so far, or since it was taken.
    pub fn most_bytes(&self) -> u64 {
        self.most_bytes.load(Ordering::Relaxed)
    }

    /// The most since this was asked last, or since it watches.
    pub fn take_most_bytes(&self) -> u64 {
        self.most_bytes.swap(0, Ordering::Relaxed)
    }

    /// The most so far, in MiB.
    pub fn most_mib(&self) -> f64 {
        self.most_bytes() as f64 / f64::from(1 << 20)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How much memory of its own a program has now.
pub fn anonymous_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// What the kernel says of a socket that hears broadcasts.
#[derive(Clone, Copy, Debug, Default)]
pub struct UdpSocketState {
    /// What has come and was not taken yet.
    pub waiting_bytes: u64,
    /// Datagrams for which there was no room.
    pub dropped: u64,
}

impl UdpSocketState {
    /// Of the UDP sockets on this port: what the one has that is worst off.
    pub fn at(port: u16) -> Option<Self> {
        Self::in_table(&fs::read_to_string("/proc/net/udp").ok()?, port)
    }

    fn in_table(table: &str, port: u16) -> Option<Self> {
        let all = table.lines().filter_map(|line| Self::in_line(line, port));
        all.reduce(|one, other| Self {
            waiting_bytes: one.waiting_bytes.max(other.waiting_bytes),
            dropped: one.dropped.max(other.dropped),
        })
    }

    /// A line of `/proc/net/udp`: slot, local address, remote address, state, queues, …, drops.
    fn in_line(line: &str, port: u16) -> Option<Self> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.split_once(':')?;
        if u16::from_str_radix(local_port, 16).ok()? != port {
            return None;
        }
        let (_, waiting) = fields.get(4)?.split_once(':')?;
        let waiting_bytes = u64::from_str_radix(waiting, 16).ok()?;
        Some(Self { waiting_bytes, dropped: fields.last()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let line = "  374: FFFFFF7F:0A30 00000000:0000 07 00000000:00000A00 00:00000000 00000000     0        0 21 2 0000000000000000 17";
        let socket = UdpSocketState::in_line(line, 2608).unwrap();
        assert_eq!((socket.waiting_bytes, socket.dropped), (2_560, 17));
        assert!(UdpSocketState::in_line(line, 2606).is_none());
        let table = [line, &line.replace("0A00", "0100").replace(" 17", " 18")].join("\n");
        let worst = UdpSocketState::in_table(&table, 2608).unwrap();
        assert_eq!((worst.waiting_bytes, worst.dropped), (2_560, 18));
        assert!(UdpSocketState::in_line("  sl  local_address rem_address", 2608).is_none());
    }
}
