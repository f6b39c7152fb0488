//! The address of a peer as a user writes it.

use std::fmt;
use std::str::FromStr;

/// A host name or IP address, and a port: `node.example.org:2607`, `192.168.1.20:2607`, `[::1]:2607`.
///
/// Names are resolved when a connection is made, for their addresses may change while a program runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// Why a text is not a host and a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not HOST:PORT, such as 192.168.1.20:2607, or [2001:db8::1]:2607 for IPv6")]
pub struct ParseHostPortError {
    /// What was given.
    pub text: String,
}

impl FromStr for HostPort {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, ParseHostPortError> {
        parse(text).ok_or_else(|| ParseHostPortError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']')?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            inner
        }
        None => host,
    };
    let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let plausible = text.starts_with('[') || (!host.is_empty() && host.bytes().all(of_a_name));
    plausible.then(|| HostPort { host: host.to_owned(), port })
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_both_kinds_read_and_show_the_same() {
        for text in ["localhost:2607", "192.168.1.20:1", "[::1]:65535", "node.example.org:2607"] {
            assert_eq!(text.parse::<HostPort>().map(|peer| peer.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "host",
            "host:",
            ":1",
            "host:0",
            "host:65536",
            "::1:2607",
            "[::1]",
            "[host]:1",
            "[::1:1",
            "a b:1",
            "http://a:1",
            "a:1:2",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }
}
