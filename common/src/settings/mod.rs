//! Parameters: the rules of a network and the settings of this node, from files, environment and flags.
//!
//! Both programs flatten [`CommonFlags`] into their command line and call [`CommonFlags::load`]. Parameters
//! live in one flat namespace, listed and explained in `config/default.toml` ([`DEFAULT_TOML`]). They come in
//! layers, the later beating the earlier: built-in defaults, the network's file, the user's file, `FARTHING_…`
//! variables, flags. But a network keeps its own name against one that was written in an earlier layer than the one that
//! chose the network. The `config` crate merges them; every value remembers where it was written, so that an
//! error can say so.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::files::{self, DataDirectory, FilesError};
use crate::rules::RulesError;

mod flags;
mod host_port;
mod layer;
mod networks;
mod parameters;
mod rules_file;
#[cfg(test)]
mod tests;
mod values;

pub use flags::{CommonFlags, Loaded, Note, environment};
pub use host_port::{HostPort, ParseHostPortError};
pub use networks::{BUILT_IN_NETWORKS, keep_network, kept_networks, load_network};
pub use rules_file::{rules_from_toml, rules_to_toml};

use layer::Layer;
use values::Values;

/// `config/default.toml`: every parameter with its default and what it means.
pub const DEFAULT_TOML: &str = include_str!("../../../config/default.toml");

/// How one node runs: what is no rule of its network. Each field is explained in `config/default.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What `--network` named: a built-in network, a kept one, or a file.
    pub network: String,
    /// Where everything is kept.
    pub data_dir: DataDirectory,
    /// Whether the local network may hear and reach this node.
    pub lan: bool,
    /// Where datagrams are broadcast to; empty: automatic.
    pub broadcast_addresses: Vec<Ipv4Addr>,
    /// Nodes to keep a connection with.
    pub peers: Vec<HostPort>,
    /// UDP port of statuses.
    pub status_broadcast_port: u16,
    /// TCP port of the block server; 0: any free one.
    pub block_server_port: u16,
    /// UDP port of payments.
    pub transaction_port: u16,
    /// Time between two statuses.
    pub status_broadcast_interval: Duration,
    /// Time before an unconfirmed payment is broadcast again.
    pub transaction_broadcast_interval: Duration,
    /// Whether the miner mines.
    pub mine: bool,
    /// As configured; 0: automatic. See [`Settings::mining_threads`].
    pub threads: usize,
    /// The most connections that the block server serves at once.
    pub max_connections: usize,
    /// The most payments in the mempool.
    pub mempool_max_transactions: usize,
    /// The most bytes of payments in the mempool.
    pub mempool_max_bytes: usize,
    /// What is logged.
    pub log: LevelFilter,
}

impl Settings {
    /// How many threads mine: as configured, or one fewer than there are cores, at least one.
    pub fn mining_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get).saturating_sub(1).max(1),
            threads => threads,
        }
    }

    /// What the text of a user's file, in TOML, makes of the defaults; `place` is what errors call it. Which
    /// directory the data lies in is up to the file: no other is known here.
    pub fn from_toml(text: &str, place: &str) -> Result<Self, SettingsError> {
        let values = Values::merge([&networks::defaults()?, &Layer::from_toml(text, place)?])?;
        Self::from_values(&values, None)
    }

    /// From merged values. `platform_data_dir` takes the place of an empty `data_dir`.
    fn from_values(values: &Values, platform_data_dir: Option<DataDirectory>) -> Result<Self, SettingsError> {
        let settings = Self {
            network: values.text("network")?,
            data_dir: values
                .path("data_dir")?
                .map(DataDirectory::new)
                .or(platform_data_dir)
                .ok_or(SettingsError::NoDataDirectory)?,
            lan: values.switch("lan")?,
            broadcast_addresses: values
                .list("broadcast_addresses", "an IPv4 address such as 192.168.1.255")?,
            peers: values.list("peers", "HOST:PORT such as 192.168.1.20:2607")?,
            status_broadcast_port: values.number("status_broadcast_port", 1..=65_535)?,
            block_server_port: values.number("block_server_port", 0..=65_535)?,
            transaction_port: values.number("transaction_port", 1..=65_535)?,
            status_broadcast_interval: values.millis("status_broadcast_interval_ms", 100..=600_000)?,
            transaction_broadcast_interval: values
                .millis("transaction_broadcast_interval_ms", 500..=300_000)?,
            mine: values.switch("mine")?,
            threads: values.number("threads", 0..=1024)?,
            max_connections: values.number("max_connections", 1..=10_000)?,
            mempool_max_transactions: values.number("mempool_max_transactions", 1..=1_000_000)?,
            mempool_max_bytes: values.number("mempool_max_bytes", 1 << 20..=1 << 30)?,
            log: values.one_of(
                "log",
                &[
                    ("error", LevelFilter::ERROR),
                    ("warn", LevelFilter::WARN),
                    ("info", LevelFilter::INFO),
                    ("debug", LevelFilter::DEBUG),
                    ("trace", LevelFilter::TRACE),
                ],
            )?,
        };
        settings.ports_differ(values)?;
        settings.broadcasts_stay_where_they_may(values)?;
        Ok(settings)
    }

    fn ports_differ(&self, values: &Values) -> Result<(), SettingsError> {
        if self.status_broadcast_port == self.transaction_port {
            let places = values.places_of_changes(&["status_broadcast_port", "transaction_port"]);
            return Err(SettingsError::SamePort { port: self.transaction_port, places });
        }
        Ok(())
    }

    fn broadcasts_stay_where_they_may(&self, values: &Values) -> Result<(), SettingsError> {
        match self.broadcast_addresses.iter().find(|address| !self.lan && !address.is_loopback()) {
            Some(&address) => {
                Err(SettingsError::BroadcastNeedsLan { place: values.place("broadcast_addresses"), address })
            }
            None => Ok(()),
        }
    }
}

/// Why parameters cannot be used. A sentence begins with the place where the value was written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant says what it and its fields are")]
pub enum SettingsError {
    #[error("{place}: {key:?} is not a parameter{}", did_you_mean(nearest.as_deref()))]
    UnknownKey { place: String, key: String, nearest: Option<String> },
    #[error("{place}: {key} is {value}; it must be {expected}")]
    Malformed { place: String, key: String, value: String, expected: String },
    #[error(
        "{place}: {key} is a setting of a node, not a rule of a network: it belongs in your own file (--config), in {variable} or in --set",
        variable = parameters::variable_of(key)
    )]
    SettingInNetworkFile { place: String, key: String },
    #[error("{place} is not TOML: {message}")]
    NotToml { place: String, message: String },
    #[error("--set {text:?} is not KEY=VALUE, such as --set threads=2")]
    NotKeyValue { text: String },
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is longer than {max} bytes: it cannot be a file of parameters", path.display())]
    TooLong { path: PathBuf, max: u64 },
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("{name:?} is not a network: there are {}, and it is not the path of a file", known.join(", "))]
    UnknownNetwork { name: String, known: Vec<String> },
    #[error(
        "the name {name:?} is that of a built-in network with other rules: keep this one as a file of your own and give its path to --network"
    )]
    NameOfBuiltIn { name: String },
    #[error("{} holds another network with this name: move that file away first", path.display())]
    NameTaken { path: PathBuf },
    #[error("{}{error}", before_sentence(places))]
    Rules { error: RulesError, places: Vec<String> },
    #[error(
        "{}status_broadcast_port and transaction_port are both {port}; they must differ: what arrives at one is not looked for at the other",
        before_sentence(places)
    )]
    SamePort { port: u16, places: Vec<String> },
    #[error(
        "{place}: broadcast_addresses holds {address}, which is outside of this machine: that needs lan = true (or --lan)"
    )]
    BroadcastNeedsLan { place: String, address: Ipv4Addr },
    #[error(
        "this system names no home directory to keep data in: name a directory with --data-dir or FARTHING_DATA_DIR"
    )]
    NoDataDirectory,
    #[error("the layers of parameters cannot be merged: {0}")]
    Merge(#[from] config::ConfigError),
}

impl SettingsError {
    /// Whether the disk failed, and not what was asked: a file that is there and cannot be read, for one.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Files(error) => error.is_of_disk(),
            Self::Unreadable { source, .. } => files::is_of_disk(source),
            _ => false,
        }
    }

    /// Whether what the user gave is malformed or unknown, rather than something that was refused or failed:
    /// the programs' edges choose their exit code by it.
    pub fn is_about_input(&self) -> bool {
        !matches!(
            self,
            Self::Files(_) | Self::NameOfBuiltIn { .. } | Self::NameTaken { .. } | Self::NoDataDirectory
        )
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; config/default.toml lists them all".to_owned(),
        |name| format!("; did you mean {name}?"),
    )
}

fn before_sentence(places: &[String]) -> String {
    if places.is_empty() { String::new() } else { format!("{}: ", places.join(" and ")) }
}
