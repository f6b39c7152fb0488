//! What a user is told when the miner cannot do what was asked: one sentence, perhaps a hint, and an exit
//! code.

use std::path::PathBuf;

use common::failure::{Failure, REFUSED, USAGE};
use common::files::Program;

use crate::networks::NetworksError;

/// Why the miner cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MinerError {
    /// What every program may fail at.
    #[error(transparent)]
    Failure(Failure),
    #[error("another miner is running on the network {network:?} in {}", directory.display())]
    AlreadyRunning { network: String, directory: PathBuf },
    #[error("the store in {} is in use: end the miner, or the repair, that uses it first", directory.display())]
    InUse { directory: PathBuf },
    #[error(transparent)]
    Networks(#[from] NetworksError),
    #[error("a defect of this program ended a thread that searches; what is stored is intact")]
    SearchPanicked,
}

impl<E> From<E> for MinerError
where
    Failure: From<E>,
{
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

impl MinerError {
    /// 2 when what the user gave is malformed or unknown, 3 when the disk failed, 1 for everything else that was
    /// refused or failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failure(failure) => failure.exit_code(),
            Self::Networks(NetworksError::Malformed { .. }) => USAGE,
            _ => REFUSED,
        }
    }

    /// What the user can do now, where the sentence does not say it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failure(failure) => failure.hint(Program::Miner).map(str::to_owned),
            Self::AlreadyRunning { .. } => {
                Some("give a second miner a directory of its own with --data-dir".to_owned())
            }
            Self::Networks(error) => error.hint().map(str::to_owned),
            Self::InUse { .. } | Self::SearchPanicked => None,
        }
    }
}
