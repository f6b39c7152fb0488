//! Announcements: UDP broadcast to every program of a network. Nothing is ever answered here, so nobody
//! can use a program to flood somebody else. Used by the programs' drivers, which keep the receiving loop
//! free of work: a socket's buffer holds what comes while signatures are checked elsewhere.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep};

use super::Addresses;
use super::limits::{INTERFACES_FRESH_FOR, PAUSE_AFTER_ERROR, RECEIVE_BUFFER_BYTES};
use crate::wire::MAX_DATAGRAM_BYTES;

/// What goes wrong with broadcasts. Only binding is a reason to give up: all else is dropped, counted
/// perhaps, and the next datagram may be fine.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum BroadcastError {
    #[error("cannot receive broadcasts at UDP {at}: is a program there that does not share the port?")]
    Bind { at: SocketAddr, source: io::Error },
    #[error("cannot open a socket to broadcast from {from}")]
    Open { from: Ipv4Addr, source: io::Error },
    #[error("a datagram from {from} is longer than {MAX_DATAGRAM_BYTES} bytes")]
    ReceivedTooLong { from: SocketAddr },
    #[error("a datagram came from {from}, outside this machine, which only `lan` allows")]
    FromOutside { from: SocketAddr },
    #[error("receiving a broadcast failed")]
    Receive { source: io::Error },
    #[error("a datagram to send has {got} bytes; at most {MAX_DATAGRAM_BYTES} are allowed")]
    TooLong { got: usize },
    #[error("cannot broadcast to {to}")]
    Send { to: SocketAddr, source: io::Error },
    #[error("cannot list the network interfaces; those known before are used")]
    Interfaces { source: io::Error },
}

/// Hears the announcements made to one port, together with every other program on it.
#[derive(Debug)]
pub struct Receiver {
    socket: UdpSocket,
    only_this_machine: bool,
    buffer: [u8; MAX_DATAGRAM_BYTES + 1],
}

impl Receiver {
    /// Listens at a port (0: a free one), which other programs may share. Within a tokio runtime.
    pub fn bind(addresses: &Addresses, port: u16) -> Result<Self, BroadcastError> {
        let at = SocketAddr::from((addresses.receiver(), port));
        let socket =
            bind_shared(at, addresses.group()).map_err(|source| BroadcastError::Bind { at, source })?;
        Ok(Self { socket, only_this_machine: !addresses.is_lan(), buffer: [0; MAX_DATAGRAM_BYTES + 1] })
    }

    /// The port it listens at.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// The next datagram and where it comes from. No error ends the receiver: the caller counts it and asks
    /// again. Cancelling the wait loses nothing.
    pub async fn receive(&mut self) -> Result<(&[u8], SocketAddr), BroadcastError> {
        let (length, from) = loop {
            match self.socket.recv_from(&mut self.buffer).await {
                Ok(received) => break received,
                // Some systems report here that an earlier datagram of this socket found nobody, or that one was too
                // long: of no concern to the next.
                Err(error) if is_about_another_datagram(&error) => {}
                Err(source) => {
                    sleep(PAUSE_AFTER_ERROR).await;
                    return Err(BroadcastError::Receive { source });
                }
            }
        };
        if length > MAX_DATAGRAM_BYTES {
            return Err(BroadcastError::ReceivedTooLong { from });
        }
        if self.only_this_machine && !from.ip().is_loopback() {
            return Err(BroadcastError::FromOutside { from });
        }
        Ok((&self.buffer[..length], from))
    }
}

/// Makes announcements.
#[derive(Debug)]
pub struct Broadcaster {
    socket: UdpSocket,
    addresses: Addresses,
    targets: Vec<Ipv4Addr>,
    fresh_until: Instant,
}

impl Broadcaster {
    /// A socket to broadcast from. Within a tokio runtime.
    pub fn open(addresses: Addresses) -> Result<Self, BroadcastError> {
        let from = addresses.host();
        let socket = bind_sender(from, addresses.group().is_some())
            .map_err(|source| BroadcastError::Open { from, source })?;
        let targets = addresses.targets(&[]);
        Ok(Self { socket, addresses, targets, fresh_until: Instant::now() })
    }

    /// Sends a datagram to this port everywhere, and gives what failed: an interface that has just gone does
    /// not keep the others from being sent to.
    pub async fn send(&mut self, datagram: &[u8], port: u16) -> Vec<BroadcastError> {
        if datagram.len() > MAX_DATAGRAM_BYTES {
            return vec![BroadcastError::TooLong { got: datagram.len() }];
        }
        let mut failures: Vec<_> = self.refresh_targets().err().into_iter().collect();
        for target in &self.targets {
            let to = SocketAddr::from((*target, port));
            if let Err(source) = self.socket.send_to(datagram, to).await {
                failures.push(BroadcastError::Send { to, source });
            }
        }
        failures
    }

    fn refresh_targets(&mut self) -> Result<(), BroadcastError> {
        if !self.addresses.follows_interfaces() || Instant::now() < self.fresh_until {
            return Ok(());
        }
        self.fresh_until = Instant::now() + INTERFACES_FRESH_FOR;
        let interfaces = if_addrs::get_if_addrs().map_err(|source| BroadcastError::Interfaces { source })?;
        self.targets = self.addresses.targets(&interfaces);
        Ok(())
    }
}

/// SO_REUSEADDR lets every program on the port hear every broadcast. SO_REUSEPORT would not do: a system
/// lets only sockets share that all set the same of the two.
fn bind_shared(at: SocketAddr, group: Option<Ipv4Addr>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    // A wish: where less is granted, or the wish is refused, a burst loses more, and is asked for again.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.bind(&at.into())?;
    if let Some(group) = group {
        socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
    }
    into_tokio(socket)
}

fn bind_sender(from: Ipv4Addr, to_group: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    if to_group {
        socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
        socket.set_multicast_ttl_v4(0)?;
        socket.set_multicast_loop_v4(true)?;
    }
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    into_tokio(socket)
}

fn into_tokio(socket: Socket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// What Windows says of a datagram longer than the buffer, where others cut it.
const WSAEMSGSIZE: i32 = 10_040;

fn is_about_another_datagram(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    let is_too_long = cfg!(windows) && error.raw_os_error() == Some(WSAEMSGSIZE);
    is_too_long
        || matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn hear(receiver: &mut Receiver) -> Result<Vec<u8>, BroadcastError> {
        let heard = tokio::time::timeout(Duration::from_secs(5), receiver.receive()).await;
        let (bytes, from) = heard.expect("a broadcast on this machine arrives within 5 s")?;
        assert!(from.ip().is_loopback());
        Ok(bytes.to_vec())
    }

    #[tokio::test]
    async fn every_receiver_on_a_port_hears_one_broadcast() {
        let addresses = Addresses::this_machine();
        let mut first = Receiver::bind(&addresses, 0).unwrap();
        let port = first.port().unwrap();
        let mut second = Receiver::bind(&addresses, port).unwrap();
        let mut third = Receiver::bind(&addresses, port).unwrap();
        let mut broadcaster = Broadcaster::open(addresses).unwrap();
        assert!(broadcaster.send(b"one for all", port).await.is_empty());
        for receiver in [&mut first, &mut second, &mut third] {
            assert_eq!(hear(receiver).await.unwrap(), b"one for all");
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn a_receiver_for_this_machine_hears_the_loopback_broadcast_and_nothing_else() {
        let addresses = Addresses::this_machine();
        let mut receiver = Receiver::bind(&addresses, 0).unwrap();
        let port = receiver.port().unwrap();
        assert_eq!(receiver.socket.local_addr().unwrap().ip(), Ipv4Addr::new(127, 255, 255, 255));
        let mut broadcaster = Broadcaster::open(addresses).unwrap();
        // Sent first, to the host itself: were it heard, it would be heard first.
        broadcaster.socket.send_to(b"to one", (Ipv4Addr::LOCALHOST, port)).await.unwrap();
        assert!(broadcaster.send(b"to all", port).await.is_empty());
        assert_eq!(hear(&mut receiver).await.unwrap(), b"to all");
    }

    #[tokio::test]
    async fn datagrams_that_are_too_long_are_noticed_and_end_nothing() {
        let addresses = Addresses::this_machine();
        let mut receiver = Receiver::bind(&addresses, 0).unwrap();
        let port = receiver.port().unwrap();
        let mut broadcaster = Broadcaster::open(addresses).unwrap();
        let target = (broadcaster.targets[0], port);
        for length in [MAX_DATAGRAM_BYTES + 1, 9_000] {
            broadcaster.socket.send_to(&vec![7; length], target).await.unwrap();
            let refused = hear(&mut receiver).await;
            assert!(matches!(refused, Err(BroadcastError::ReceivedTooLong { .. })), "{refused:?}");
        }
        let failures = broadcaster.send(&[7; MAX_DATAGRAM_BYTES + 1], port).await;
        assert!(matches!(failures[..], [BroadcastError::TooLong { got: 1_233 }]), "{failures:?}");
        for length in [0, MAX_DATAGRAM_BYTES] {
            assert!(broadcaster.send(&vec![7; length], port).await.is_empty());
            assert_eq!(hear(&mut receiver).await.unwrap(), vec![7; length]);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_reported_and_the_rest_is_sent() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = receiver.local_addr().unwrap().port();
        let mut broadcaster = Broadcaster::open(Addresses::this_machine()).unwrap();
        broadcaster.socket.set_broadcast(false).unwrap();
        broadcaster.targets = vec![Ipv4Addr::new(127, 255, 255, 255), Ipv4Addr::LOCALHOST];
        let failures = broadcaster.send(b"still heard", port).await;
        assert!(matches!(failures[..], [BroadcastError::Send { .. }]), "{failures:?}");
        let mut buffer = [0; 32];
        let (length, _) = receiver.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"still heard");
    }
}
