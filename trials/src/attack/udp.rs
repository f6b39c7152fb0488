//! Datagrams from addresses of this machine, no faster than they are taken in.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::program::PATIENCE;
use crate::system::UdpSocketState;

/// Where programs hear what is for this machine alone.
const EVERYBODY: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
/// Datagrams sent between two looks at what waits.
const AT_A_TIME: u64 = 64;
/// Bytes that may wait in the target's socket while more is sent: a third of the smallest buffer that a system gives.
const MOST_WAITING_BYTES: u64 = 64 << 10;
/// How soon to look again.
const SOON: Duration = Duration::from_micros(200);

/// Where datagrams come from.
pub struct Source(UdpSocket);

impl Source {
    /// A socket at one of this machine's addresses.
    pub fn at(address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((address, 0)).expect("all of 127.0.0.0/8 is this machine");
        socket.set_broadcast(true).expect("the loopback interface has broadcasts");
        Self(socket)
    }

    /// Sends to every program on a port.
    pub fn send(&self, datagram: &[u8], port: u16) {
        self.0.send_to(datagram, SocketAddr::from((EVERYBODY, port))).expect("a datagram can be sent");
    }

    /// Asserts that nothing was ever sent to it.
    pub fn heard_nothing(&self) {
        self.0.set_nonblocking(true).expect("a socket can be read without waiting");
        let heard = self.0.recv_from(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(heard, Err(io::ErrorKind::WouldBlock), "UDP is never answered");
    }
}

/// A port that somebody listens at, and what was sent there.
pub struct Flood {
    port: u16,
    dropped_before: u64,
    /// How many datagrams were sent.
    pub sent: u64,
}

impl Flood {
    /// Begins with nothing sent.
    pub fn to(port: u16) -> Self {
        let dropped_before = UdpSocketState::at(port).expect("somebody listens there").dropped;
        Self { port, dropped_before, sent: 0 }
    }

    /// Sends one, when there is room for it.
    pub fn send(&mut self, from: &Source, datagram: &[u8]) {
        if self.sent.is_multiple_of(AT_A_TIME) {
            self.wait_for_room(MOST_WAITING_BYTES);
        }
        from.send(datagram, self.port);
        self.sent += 1;
    }

    /// Waits until everything was taken in; says how many there was no room for.
    pub fn end(&self) -> u64 {
        self.wait_for_room(0);
        UdpSocketState::at(self.port).expect("somebody listens there").dropped - self.dropped_before
    }

    fn wait_for_room(&self, most: u64) {
        let deadline = Instant::now() + PATIENCE;
        while UdpSocketState::at(self.port).expect("somebody listens there").waiting_bytes > most {
            assert!(Instant::now() < deadline, "what came at UDP {} is not taken in", self.port);
            sleep(SOON);
        }
    }
}
