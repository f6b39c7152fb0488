//! Where a program's data lies.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use super::FilesError;
use crate::hash::NetworkId;

/// The folder of the programs inside the platform's data directory.
const FOLDER: &str = "farthing";

/// Which program's store it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `miner`.
    Miner,
    /// `wallet`.
    Wallet,
}

/// Where a user's data lies. Keys belong to every network; what belongs to one lies apart, under the
/// network's name and the start of its id, because anybody may give another network the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirectory {
    root: PathBuf,
}

impl DataDirectory {
    /// The data directory that the user named.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder `farthing` in the platform's data directory (`$XDG_DATA_HOME` or `~/.local/share`, on
    /// Windows the roaming application data).
    pub fn default_location() -> Result<Self, FilesError> {
        let strategy = etcetera::choose_base_strategy().map_err(|_| FilesError::NoHomeDirectory)?;
        Ok(Self::new(strategy.data_dir().join(FOLDER)))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The keys, for [`crate::key_store::KeyStore`].
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The payments of this user on a network that may still change: `outbox/<network>`.
    pub fn outbox(&self, name: &str, network: &NetworkId) -> PathBuf {
        self.root.join("outbox").join(network_folder(name, network))
    }

    /// The store of a program for a network: `miner/<network>` or `wallet/<network>`.
    pub fn program(&self, program: Program, name: &str, network: &NetworkId) -> PathBuf {
        let folder = match program {
            Program::Miner => "miner",
            Program::Wallet => "wallet",
        };
        self.root.join(folder).join(network_folder(name, network))
    }

    /// The rules of the networks that were joined.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }
}

/// `<name>-<first 8 hex digits of the id>`. A network's name holds nothing that a path could be made of.
fn network_folder(name: &str, network: &NetworkId) -> String {
    format!("{name}-{}", network.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_network_lies_apart_also_from_its_namesakes() {
        let data = DataDirectory::new("/data");
        let (one, two) = (NetworkId::from_bytes([0x11; 32]), NetworkId::from_bytes([0x22; 32]));
        assert_eq!(data.outbox("lab", &one), Path::new("/data/outbox/lab-11111111"));
        assert_eq!(data.program(Program::Miner, "lab", &one), Path::new("/data/miner/lab-11111111"));
        assert_eq!(data.program(Program::Wallet, "lab", &two), Path::new("/data/wallet/lab-22222222"));
        assert_eq!(data.keys(), Path::new("/data/keys"));
    }
}
