//! Where a program listens and where its broadcasts go. The first touch is safe: out of the box everything
//! stays on this machine, whatever its interfaces are; only the user's `lan` opens it. Used by
//! [`super::Receiver`], [`super::Broadcaster`] and whoever binds the block server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use if_addrs::{IfAddr, Interface};
use tokio::time::sleep;

use super::limits::INTERFACES_FRESH_FOR;

/// What every program on a Linux host hears that is bound to it, or to all addresses.
const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
/// Where loopback broadcast is not delivered: a group of the range for private use (RFC 2365), joined and
/// sent to on the loopback interface alone, with a time to live of 0.
const LOOPBACK_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 70, 82);
/// From this prefix length on a network has no broadcast address (RFC 3021).
const FIRST_PREFIX_WITHOUT_BROADCAST: u8 = 31;

/// Why addresses cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A configured broadcast address would leave the machine, and the user has not allowed that.
    #[error("broadcast address {address} is outside this machine, which only `lan` allows")]
    OutsideThisMachine {
        /// As configured.
        address: Ipv4Addr,
    },
}

/// Which addresses to listen on and to send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    lan: bool,
    loopback: Loopback,
    configured: Vec<Ipv4Addr>,
}

/// What reaches every program of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loopback {
    Broadcast,
    Multicast,
}

/// How this system reaches every program on it. Linux delivers broadcast on its loopback interface; the
/// BSDs, macOS and Windows do not.
fn loopback_of_this_system() -> Loopback {
    if cfg!(any(target_os = "linux", target_os = "android")) {
        Loopback::Broadcast
    } else {
        Loopback::Multicast
    }
}

impl Addresses {
    /// This machine alone; with `lan`, the networks of all its interfaces too. `broadcast_addresses`, where
    /// there are any, are sent to instead of the interfaces' own; without `lan` they have to be loopback
    /// addresses.
    pub fn new(lan: bool, broadcast_addresses: Vec<Ipv4Addr>) -> Result<Self, AddressError> {
        match broadcast_addresses.iter().find(|address| !lan && !address.is_loopback()) {
            Some(&address) => Err(AddressError::OutsideThisMachine { address }),
            None => Ok(Self { lan, loopback: loopback_of_this_system(), configured: broadcast_addresses }),
        }
    }

    /// This machine alone.
    pub fn this_machine() -> Self {
        Self { lan: false, loopback: loopback_of_this_system(), configured: Vec::new() }
    }

    /// Whether programs on other machines are heard and spoken to.
    pub fn is_lan(&self) -> bool {
        self.lan
    }

    /// Where the block server listens, and where broadcasts are sent from. A socket bound to 127.0.0.1 can
    /// neither be reached from outside nor send there: the system sees to it.
    pub fn host(&self) -> Ipv4Addr {
        if self.lan { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST }
    }

    /// Where a receiver of broadcasts is bound. Bound to the loopback broadcast address it hears exactly
    /// what is sent there, and no other machine can send there: routers and hosts drop 127.0.0.0/8 that
    /// comes in by a wire (RFC 1122, 3.2.1.3).
    pub(super) fn receiver(&self) -> Ipv4Addr {
        match self.loopback {
            _ if self.lan => Ipv4Addr::UNSPECIFIED,
            Loopback::Broadcast => LOOPBACK_BROADCAST,
            // Windows binds no socket to a group; a receiver drops what does not come from this machine.
            Loopback::Multicast if cfg!(windows) => Ipv4Addr::LOCALHOST,
            Loopback::Multicast => LOOPBACK_GROUP,
        }
    }

    /// The group that sockets have to join, or send to by the loopback interface.
    pub(super) fn group(&self) -> Option<Ipv4Addr> {
        (self.loopback == Loopback::Multicast).then_some(LOOPBACK_GROUP)
    }

    /// Where a broadcast goes, given the interfaces that there are now: first to this machine's own
    /// programs, then, with `lan`, to the configured addresses or the broadcast address of every IPv4
    /// interface. No address comes twice.
    pub(super) fn targets(&self, interfaces: &[Interface]) -> Vec<Ipv4Addr> {
        let own = self.group().unwrap_or(LOOPBACK_BROADCAST);
        let mut others = self.configured.clone();
        if self.lan && others.is_empty() {
            others.extend(interfaces.iter().filter_map(broadcast_address));
        }
        let mut targets = vec![own];
        for address in others {
            if !targets.contains(&address) {
                targets.push(address);
            }
        }
        targets
    }

    /// Whether [`Self::targets`] depend on the interfaces.
    pub(super) fn follows_interfaces(&self) -> bool {
        self.lan && self.configured.is_empty()
    }
}

/// The broadcast address of an interface's IPv4 network; `None` where there is none: loopback, tunnels,
/// networks of one or two addresses, IPv6.
fn broadcast_address(interface: &Interface) -> Option<Ipv4Addr> {
    let IfAddr::V4(network) = &interface.addr else { return None };
    if network.is_loopback() || interface.is_p2p() || network.prefixlen >= FIRST_PREFIX_WITHOUT_BROADCAST {
        return None;
    }
    // An address may have been given to an interface without naming its broadcast address. The C library of Linux
    // then gives the address itself in its place.
    let named = network.broadcast.filter(|address| !address.is_unspecified() && *address != network.ip);
    Some(named.unwrap_or(Ipv4Addr::from_bits(network.ip.to_bits() | !network.netmask.to_bits())))
}

/// Waits until this machine no longer has an address. Connections from there are not told: they would wait for
/// answers that cannot come until a deadline passes.
pub async fn address_gone(address: SocketAddr) {
    while is_own(address) {
        sleep(INTERFACES_FRESH_FOR).await;
    }
}

/// Whether this machine has an address, as far as can be told.
fn is_own(address: SocketAddr) -> bool {
    let mut any_port = address;
    any_port.set_port(0);
    // A machine can bind no address but its own.
    let bound = UdpSocket::bind(any_port);
    !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

#[cfg(all(test, unix))]
mod tests {
    use if_addrs::{IfOperStatus, Ifv4Addr, Ifv6Addr};

    use super::*;

    fn interface(ip: [u8; 4], prefixlen: u8, broadcast: Option<[u8; 4]>) -> Interface {
        let netmask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefixlen)).unwrap_or(0));
        let broadcast = broadcast.map(Ipv4Addr::from);
        with(IfAddr::V4(Ifv4Addr { ip: ip.into(), netmask, prefixlen, broadcast }), false)
    }

    fn with(addr: IfAddr, is_p2p: bool) -> Interface {
        Interface { name: "x0".into(), addr, index: None, oper_status: IfOperStatus::Up, is_p2p }
    }

    fn lan(loopback: Loopback, configured: &[[u8; 4]]) -> Addresses {
        Addresses { lan: true, loopback, configured: configured.iter().map(|&a| a.into()).collect() }
    }

    #[test]
    fn out_of_the_box_nothing_leaves_this_machine_whatever_its_interfaces() {
        let addresses = Addresses::new(false, Vec::new()).unwrap();
        assert_eq!(addresses, Addresses::this_machine());
        let interfaces = [interface([192, 168, 1, 7], 24, Some([192, 168, 1, 255]))];
        for target in addresses.targets(&interfaces) {
            assert!(target == LOOPBACK_BROADCAST || target == LOOPBACK_GROUP, "{target}");
        }
        assert_eq!(addresses.host(), Ipv4Addr::LOCALHOST);
        assert!(!addresses.receiver().is_unspecified());
        assert!(!addresses.follows_interfaces());
    }

    #[test]
    fn without_lan_a_configured_address_has_to_be_on_this_machine() {
        let outside = Ipv4Addr::new(192, 168, 1, 255);
        let refused = Err(AddressError::OutsideThisMachine { address: outside });
        assert_eq!(Addresses::new(false, vec![LOOPBACK_BROADCAST, outside]), refused);
        assert!(Addresses::new(false, vec![LOOPBACK_BROADCAST]).is_ok());
        assert!(Addresses::new(true, vec![outside]).is_ok());
    }

    #[test]
    fn lan_sends_to_this_machine_and_to_the_broadcast_address_of_every_interface_once() {
        let addresses = lan(Loopback::Broadcast, &[]);
        let interfaces = [
            interface([127, 0, 0, 1], 8, None),
            interface([192, 168, 1, 7], 24, Some([192, 168, 1, 255])),
            interface([192, 168, 1, 8], 24, Some([192, 168, 1, 255])),
            interface([10, 1, 2, 3], 20, None),
        ];
        let expected = [LOOPBACK_BROADCAST, [192, 168, 1, 255].into(), [10, 1, 15, 255].into()];
        assert_eq!(addresses.targets(&interfaces), expected);
        assert_eq!(addresses.receiver(), Ipv4Addr::UNSPECIFIED);
        assert_eq!(addresses.host(), Ipv4Addr::UNSPECIFIED);
        assert!(addresses.follows_interfaces());
    }

    #[test]
    fn interfaces_without_a_broadcast_address_are_passed_over() {
        let v6 = Ifv6Addr {
            ip: "fe80::1".parse().unwrap(),
            netmask: "ffff:ffff:ffff:ffff::".parse().unwrap(),
            prefixlen: 64,
            broadcast: None,
        };
        let tunnel = interface([10, 8, 0, 2], 24, None);
        for interface in [
            with(IfAddr::V6(v6), false),
            with(tunnel.addr, true),
            interface([10, 0, 0, 1], 31, None),
            interface([10, 0, 0, 1], 32, None),
        ] {
            assert_eq!(broadcast_address(&interface), None, "{interface:?}");
        }
    }

    /// `ip address add 10.0.0.1/30 dev eth0` names none; getifaddrs then gives 10.0.0.1 with glibc.
    #[test]
    fn a_broadcast_address_that_was_not_named_is_computed() {
        for unnamed in [None, Some([0, 0, 0, 0]), Some([10, 0, 0, 1])] {
            let interface = interface([10, 0, 0, 1], 30, unnamed);
            assert_eq!(broadcast_address(&interface), Some([10, 0, 0, 3].into()), "{unnamed:?}");
        }
    }

    #[tokio::test]
    async fn only_an_address_that_this_machine_has_is_not_gone() {
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 2607));
        assert!(is_own(own));
        // A documentation address (RFC 5737): nobody's.
        address_gone(SocketAddr::from(([192, 0, 2, 1], 2607))).await;
    }

    #[test]
    fn configured_addresses_replace_those_of_the_interfaces() {
        let addresses = lan(Loopback::Broadcast, &[[10, 9, 255, 255], [127, 255, 255, 255]]);
        let interfaces = [interface([192, 168, 1, 7], 24, None)];
        assert_eq!(addresses.targets(&interfaces), [LOOPBACK_BROADCAST, [10, 9, 255, 255].into()]);
    }

    #[test]
    fn without_loopback_broadcast_a_group_takes_its_place() {
        let here = Addresses { lan: false, loopback: Loopback::Multicast, configured: Vec::new() };
        assert_eq!((here.targets(&[]), here.receiver()), (vec![LOOPBACK_GROUP], LOOPBACK_GROUP));
        let open = lan(Loopback::Multicast, &[]);
        assert_eq!((open.group(), open.receiver()), (Some(LOOPBACK_GROUP), Ipv4Addr::UNSPECIFIED));
    }
}
