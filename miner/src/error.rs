//! What a user is told when the miner cannot do what was asked: one sentence, perhaps a hint, and an exit
//! code.

use std::io;
use std::path::PathBuf;

use common::chain::RepairError;
use common::driver::DriverError;
use common::files::{self, FilesError};
use common::key_store::KeyStoreError;
use common::net::{AddressError, BroadcastError};
use common::passphrase::PassphraseError;
use common::settings::SettingsError;
use common::store::StoreError;

use crate::networks::NetworksError;

/// The exit code of an operation that was refused or failed.
const REFUSED: u8 = 1;
/// The exit code when what the user gave is malformed or unknown.
const USAGE: u8 = 2;
/// The exit code when the disk failed: full, not writable, broken.
const DISK: u8 = 3;
/// What to do about a store that is damaged.
const REPAIR: &str = "`miner verify --repair` rebuilds the chain from what is sound; the rest comes from other \
                      miners, and keys and payments are in other folders";

/// Why the miner cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MinerError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("another miner is running on the network {network:?} in {}", directory.display())]
    AlreadyRunning { network: String, directory: PathBuf },
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    #[error(transparent)]
    Networks(#[from] NetworksError),
    #[error("{what} in {} is damaged", place.display())]
    Unsound { what: &'static str, place: PathBuf },
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error("a defect of this program ended a thread that searches; what is stored is intact")]
    SearchPanicked,
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
}

impl MinerError {
    /// 2 when what the user gave is malformed or unknown, 3 when the disk failed, 1 for everything else that was
    /// refused or failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            _ if self.is_of_disk() => DISK,
            Self::Settings(error) if error.is_about_input() => USAGE,
            Self::Networks(NetworksError::Malformed { .. }) => USAGE,
            _ => REFUSED,
        }
    }

    fn is_of_disk(&self) -> bool {
        match self {
            Self::Files(error) | Self::Keys(KeyStoreError::Files(error)) => error.is_of_disk(),
            Self::Store(error) | Self::Driver(DriverError::Store(error)) => error.is_of_disk(),
            Self::Repair(error) => error.is_of_disk(),
            Self::System { source, .. } => files::is_of_disk(source),
            _ => false,
        }
    }

    /// What the user can do now, where the sentence does not say it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Settings(SettingsError::UnknownNetwork { .. }) => {
                "`miner networks` lists the networks that are heard, `miner networks --join NAME` keeps one"
            }
            Self::Keys(KeyStoreError::Passphrase(PassphraseError::NoTerminal)) => {
                "on this network blocks are sealed with the key; --passphrase-file FILE takes its passphrase from \
                 the first line of a file that is yours alone, and --no-mine needs none"
            }
            Self::AlreadyRunning { .. } => "give a second miner a directory of its own with --data-dir",
            Self::Store(StoreError::Damaged { .. } | StoreError::Foreign { .. })
            | Self::Driver(DriverError::Store(StoreError::Damaged { .. }))
            | Self::Unsound { what: "the chain", .. } => REPAIR,
            Self::Unsound { .. } => "copy it back from where you have a copy of it",
            _ if self.is_of_disk() => files::DISK_HINT,
            Self::Driver(DriverError::Broadcast(BroadcastError::Bind { .. }))
            | Self::Broadcast(BroadcastError::Bind { .. }) => {
                "other ports: --set status_broadcast_port=… and --set transaction_port=…, the same on all \
                 machines of the network"
            }
            Self::Driver(DriverError::Listen(_)) => {
                "another port for blocks: --set block_server_port=…, or 0 for any that is free"
            }
            Self::Networks(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
