//! What every program may fail at, the exit code that it ends with then, and what its user can do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::chain::RepairError;
use crate::driver::DriverError;
use crate::files::{self, FilesError, Program};
use crate::key_store::{Became, KeyStoreError};
use crate::net::{AddressError, BroadcastError};
use crate::passphrase::PassphraseError;
use crate::process::TooFewDescriptors;
use crate::settings::SettingsError;
use crate::store::StoreError;

/// The exit code of an operation that was refused or failed.
pub const REFUSED: u8 = 1;
/// The exit code when what the user gave is malformed or unknown.
pub const USAGE: u8 = 2;
/// The exit code when the disk failed: full, not writable, broken.
pub const DISK: u8 = 3;
/// What a program's `--help` ends with.
pub const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 refused, failed or damaged; 2 a usage error; 3 the disk failed.";

/// Why a program cannot do what was asked, for reasons that all programs share.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Flags, variables, files of settings and rules.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Keys and their files.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// A passphrase that is asked for.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// Files and directories.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The chain's database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event loop.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// Too few files and sockets.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The sockets for broadcasts.
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    /// An address that was named.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A damaged chain could not be rebuilt.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// What was verified is damaged.
    #[error("{part} in {} is damaged", place.display())]
    Unsound {
        /// What of it.
        part: Part,
        /// Where it lies.
        place: PathBuf,
        /// Whether the disk kept some of it from being read.
        of_disk: bool,
    },
    /// Some keys cannot be used; what to do about each was said of each.
    #[error("not every key in {} can be used", place.display())]
    UnusableKeys {
        /// Where they lie.
        place: PathBuf,
        /// Whether the disk kept some of what was checked from being read.
        of_disk: bool,
    },
    /// A result, or a part of one, could not be printed.
    #[error("cannot print {what}: {source}")]
    Unprinted {
        /// What was to be printed.
        what: &'static str,
        /// What the system said of standard output.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried: a verb and its object.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// What may be found damaged as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The database of blocks.
    Chain,
    /// The same, where it is the disk that cannot read some of it.
    UnreadableChain,
    /// A payment that waits in the outbox.
    Payment,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain | Self::UnreadableChain => "the chain",
            Self::Payment => "a payment",
        })
    }
}

impl Failure {
    /// [`DISK`] when the disk failed, [`USAGE`] when what the user gave is malformed or unknown, [`REFUSED`] for
    /// everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            _ if self.is_of_disk() => DISK,
            Self::Settings(error) if error.is_about_input() => USAGE,
            Self::Keys(KeyStoreError::Unknown { .. }) => USAGE,
            _ => REFUSED,
        }
    }

    /// The same; the disk failed also if it kept something else from being read.
    pub fn or_of_disk(mut self, also: bool) -> Self {
        if let Self::Unsound { of_disk, .. } | Self::UnusableKeys { of_disk, .. } = &mut self {
            *of_disk |= also;
        }
        self
    }

    fn is_of_disk(&self) -> bool {
        match self {
            Self::Files(error) => error.is_of_disk(),
            Self::Keys(error) => error.is_of_disk(),
            Self::Store(error) | Self::Driver(DriverError::Store(error)) => error.is_of_disk(),
            Self::Repair(error) => error.is_of_disk(),
            Self::Settings(error) => error.is_of_disk(),
            Self::Unsound { of_disk, .. } | Self::UnusableKeys { of_disk, .. } => *of_disk,
            Self::Unprinted { source, .. } => files::is_of_disk(source),
            _ => false,
        }
    }

    /// What the user of this program can do now, where the sentence does not say it.
    pub fn hint(&self, program: Program) -> Option<&'static str> {
        Some(match (self, program) {
            (Self::Settings(SettingsError::UnknownNetwork { .. }), _) => {
                "`miner networks` lists the networks that are heard, `miner networks --join NAME` keeps one"
            }
            (
                Self::Keys(KeyStoreError::Passphrase(PassphraseError::NoTerminal))
                | Self::Passphrase(PassphraseError::NoTerminal),
                program,
            ) => match program {
                Program::Miner => {
                    "on this network blocks are sealed with the key; --passphrase-file FILE takes its passphrase from \
                     the first line of a file that is yours alone, and --no-mine needs none"
                }
                Program::Wallet => {
                    "--passphrase-file FILE takes it from the first line of a file that is yours alone"
                }
            },
            (Self::Keys(KeyStoreError::NewPassphrase(PassphraseError::NoTerminal)), _) => {
                "--new-passphrase-file FILE takes it from the first line of a file that is yours alone"
            }
            (Self::Keys(KeyStoreError::Unknown { .. }), _) => {
                "`wallet list-addresses` shows the keys there are, `wallet new-address NAME` makes one"
            }
            (Self::Keys(KeyStoreError::EncryptedAlready { .. }), _) => {
                "`wallet change-passphrase NAME` puts it under another passphrase"
            }
            (Self::Keys(KeyStoreError::NotEncrypted { .. }), _) => {
                "`wallet encrypt NAME` puts it under a passphrase"
            }
            (Self::Keys(KeyStoreError::Uncertain { became, .. }), _) => match became {
                Became::Made => {
                    "when the disk can be written again, `wallet list-addresses` shows whether the key is there"
                }
                Became::Encrypted => {
                    "keep its passphrase; when the disk can be written again, `wallet encrypt NAME` encrypts it, or says \
                     that it is encrypted"
                }
                Became::Decrypted => {
                    "keep its passphrase; when the disk can be written again, `wallet decrypt NAME` decrypts it, or says \
                     that it is not encrypted"
                }
                Became::ChangedPassphrase => {
                    "keep both passphrases, for one of them opens it; when the disk can be written again, `wallet \
                     change-passphrase NAME` takes that one"
                }
            },
            (
                Self::Store(StoreError::Damaged { .. } | StoreError::Foreign { .. })
                | Self::Driver(DriverError::Store(StoreError::Damaged { .. }))
                | Self::Unsound { part: Part::Chain, .. },
                program,
            ) => match program {
                Program::Miner => {
                    "`miner verify --repair` rebuilds the chain from what is sound; the rest comes from other \
                     miners, and keys and payments are in other folders"
                }
                Program::Wallet => {
                    "`wallet verify --repair` rebuilds the chain from what is sound; `wallet sync` fetches the rest, \
                     and keys and payments are in other folders"
                }
            },
            (
                Self::Store(StoreError::Unreadable { .. })
                | Self::Driver(DriverError::Store(StoreError::Unreadable { .. }))
                | Self::Unsound { part: Part::UnreadableChain, .. },
                program,
            ) => unreadable_hint(program),
            (
                Self::Store(StoreError::Gone { .. })
                | Self::Driver(DriverError::Store(StoreError::Gone { .. })),
                _,
            ) => {
                "put its folder back, or start again and fetch the chain from other miners; end the programs before you \
                 move their files"
            }
            (Self::Settings(SettingsError::Unreadable { .. }), _) => {
                "let this user read it, or name another file with --config or --network"
            }
            (Self::Unsound { .. }, _) => {
                "let it be read, or put it back from a backup; what you do not need any more can be removed"
            }
            (Self::UnusableKeys { of_disk: true, .. }, _) => {
                "let what cannot be read be read, or put it back from a backup: the disk may be failing"
            }
            (Self::UnusableKeys { .. }, _) => return None,
            // What is stored lies elsewhere, and nobody knows here whether anything was.
            (Self::Unprinted { .. }, _) => {
                "see that there is room where standard output goes, or let it go elsewhere"
            }
            _ if self.is_of_disk() => files::DISK_HINT,
            (
                Self::Driver(DriverError::Broadcast(BroadcastError::Bind { .. }))
                | Self::Broadcast(BroadcastError::Bind { .. }),
                program,
            ) => match program {
                Program::Miner => {
                    "other ports: --set status_broadcast_port=… and --set transaction_port=…, the same on all \
                     machines of the network"
                }
                Program::Wallet => {
                    "another port: --set status_broadcast_port=…, the same on all machines of the network"
                }
            },
            (Self::Driver(DriverError::Listen(_)), _) => {
                "another port for blocks: --set block_server_port=…, or 0 for any that is free"
            }
            _ => return None,
        })
    }
}

/// What the user of this program can do when its disk cannot read the chain.
pub fn unreadable_hint(program: Program) -> &'static str {
    match program {
        Program::Miner => {
            "the disk fails: copy your keys to another; `miner verify --repair` rebuilds the chain from what can still \
             be read, and the rest comes from other miners"
        }
        Program::Wallet => {
            "the disk fails: copy your keys and the outbox to another; `wallet verify --repair` rebuilds the chain from \
             what can still be read, and `wallet sync` fetches the rest"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was said to make room in the data directory, in which what was stored before is intact.
    #[test]
    fn what_cannot_be_printed_has_nothing_to_do_with_the_data_directory() {
        let failure = Failure::Unprinted { what: "the result", source: io::ErrorKind::StorageFull.into() };
        assert_eq!(failure.exit_code(), DISK);
        for program in [Program::Miner, Program::Wallet] {
            let hint = failure.hint(program).unwrap();
            assert!(hint.contains("standard output") && !hint.contains("--data-dir"), "{hint}");
            assert!(!hint.contains("intact") && !hint.contains("again"), "{hint}");
        }
    }

    #[test]
    fn a_disk_that_kept_anything_from_being_read_has_its_exit_code_whatever_else_is_wrong() {
        let damaged = Failure::Unsound { part: Part::Chain, place: "chain".into(), of_disk: false };
        assert_eq!(damaged.exit_code(), REFUSED);
        let both = damaged.or_of_disk(false).or_of_disk(true).or_of_disk(false);
        assert_eq!(both.exit_code(), DISK);
        assert!(both.hint(Program::Wallet).unwrap().starts_with("`wallet verify --repair`"));
    }

    /// A system that allows no sockets was taken for a disk that allows no files.
    #[test]
    fn what_the_system_refuses_beside_files_is_not_the_disk() {
        let source = io::ErrorKind::PermissionDenied.into();
        let failure = Failure::System { action: "open a socket", source };
        assert_eq!(failure.exit_code(), REFUSED);
        assert_eq!(failure.hint(Program::Miner), None);
    }

    /// It was told to make room, and that all was intact.
    #[test]
    fn who_cannot_read_the_chain_is_told_of_the_repair_and_not_to_make_room() {
        let source = io::Error::from_raw_os_error(5);
        let failure = Failure::from(StoreError::Unreadable { path: "chain".to_owned(), source });
        assert_eq!(failure.exit_code(), DISK);
        for (program, command) in
            [(Program::Miner, "miner verify --repair"), (Program::Wallet, "wallet verify --repair")]
        {
            let hint = failure.hint(program).unwrap();
            assert!(hint.contains(command) && !hint.contains("intact") && !hint.contains("room"), "{hint}");
        }
    }

    #[test]
    fn a_key_whose_file_is_written_and_not_safe_is_never_called_what_it_was() {
        for (became, sentence, advice) in [
            (Became::Made, "the key alice is made", "`wallet list-addresses`"),
            (Became::Encrypted, "the key alice is encrypted", "keep its passphrase"),
            (Became::Decrypted, "the key alice is decrypted", "keep its passphrase"),
            (Became::ChangedPassphrase, "the key alice has its new passphrase", "keep both passphrases"),
        ] {
            let source = io::ErrorKind::StorageFull.into();
            let source = FilesError::Uncertain { path: "alice.pem".into(), source };
            let name = "alice".parse().unwrap();
            let failure = Failure::from(KeyStoreError::Uncertain { name, became, source });
            assert!(
                failure.to_string().starts_with(&format!("it is not certain that {sentence}: alice.pem"))
            );
            assert_eq!(failure.exit_code(), DISK);
            let hint = failure.hint(Program::Wallet).unwrap();
            assert!(hint.contains(advice) && !hint.contains("intact"), "{hint}");
        }
    }
}
