//! What a user is told when a command does not succeed: one sentence, perhaps a hint, and an exit code.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use common::address::Address;
use common::amount::Amount;
use common::failure::{DISK, Failure, REFUSED, USAGE};
use common::files::{self, FilesError, Program};
use common::hash::TransactionId;
use common::key_store::{Became, KeyName, KeyStoreError};
use common::keys::KeyError;
use common::rules::MAX_DATA_BYTES;
use common::text::count;

use crate::outbox::PaymentFileError;

/// Why a command does not succeed.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// What every program may fail at.
    #[error(transparent)]
    Failure(Failure),
    #[error("none of the keys in {} has the address {address}", directory.display())]
    UnknownAddress { address: Address, directory: PathBuf },
    #[error("{}", not_all_encrypted(refused, unusable, *of))]
    NotAllEncrypted {
        /// Those that could not be encrypted, or may not be.
        refused: Vec<(KeyName, KeyStoreError)>,
        /// Those of which nobody can say whether they are.
        unusable: Vec<(KeyName, KeyStoreError)>,
        /// How many were to be.
        of: usize,
    },
    /// Keys are made or rewritten, durably.
    #[error("{} {became}; only this could not be printed: {source}", each_of(keys))]
    KeysWritten { keys: Vec<KeyName>, became: Became, source: io::Error },
    #[error("{to} is not paid: the key in {} {error}", path.display())]
    NotPaid { to: KeyName, path: PathBuf, error: KeyError },
    #[error("the amount is 0: a payment moves at least 0.000001")]
    ZeroAmount,
    #[error("amount and fee together are more than {}, the most that can exist", Amount::MAX)]
    TotalOverflows,
    #[error("the fee is {got}; this network asks for at least {least}")]
    FeeTooLow { got: Amount, least: Amount },
    #[error("the data has {got} bytes; at most {MAX_DATA_BYTES} fit")]
    DataTooLong { got: usize },
    #[error("the payment would be valid until block {last}; a network has no blocks after {}", u32::MAX)]
    ValidTooLong { last: u64 },
    #[error("nothing is known of the network {network:?} yet")]
    NeverSynced { network: String },
    #[error("{sender} can spend {spendable} and this payment takes {needed}: {missing} are missing{}", taken_up(*balance, *pending, *payments))]
    InsufficientFunds {
        sender: KeyName,
        /// On the ledger.
        balance: Amount,
        /// What of it pending payments take up.
        pending: Amount,
        /// How many pending payments.
        payments: usize,
        spendable: Amount,
        /// Amount and fee.
        needed: Amount,
        missing: Amount,
    },
    #[error("no miner of the network {network:?} was heard within {} s", within.as_secs())]
    NobodyHeard { network: String, within: Duration },
    #[error("miners of the network {network:?} are heard, but none gave its chain within {} s", within.as_secs())]
    NoChainGiven { network: String, within: Duration },
    #[error("stopped before it was done")]
    Interrupted,
    #[error("the payment {id} is not confirmed: the chain holds another payment in its place")]
    PaymentConflicting { id: TransactionId },
    #[error("the payment {id} has expired: no block took it in time")]
    PaymentExpired { id: TransactionId },
    #[error("it is not certain that the payment {id} is made: {source}")]
    PaymentUncertain { id: TransactionId, source: FilesError },
    #[error("{sender} may have a payment on its way of which nobody knows how much it takes up: {source}")]
    PaymentUnknown { sender: KeyName, source: Box<PaymentFileError> },
    /// The rest of what was asked for is not done.
    #[error("the payment {id} is made; what was to be done after it is not: {source}")]
    PaymentMade { id: TransactionId, source: Box<WalletError> },
}

/// Keys as the subject of a sentence.
fn each_of(keys: &[KeyName]) -> String {
    let names = keys.iter().map(KeyName::as_str).collect::<Vec<_>>().join(", ");
    match keys {
        [_] => format!("the key {names}"),
        _ => format!("each of the keys {names}"),
    }
}

/// Which keys have no passphrase, which may have one, and what is true of all others.
fn not_all_encrypted(
    refused: &[(KeyName, KeyStoreError)],
    unusable: &[(KeyName, KeyStoreError)],
    of: usize,
) -> String {
    let (uncertain, plain): (Vec<_>, Vec<_>) = refused.iter().partition(|(_, error)| is_uncertain(error));
    let names = |keys: &[&(KeyName, KeyStoreError)]| {
        keys.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    if !unusable.is_empty() {
        let is_left = if unusable.len() == 1 { "is left as it is" } else { "are left as they are" };
        let keys = count(unusable.len(), "key");
        let names = names(&unusable.iter().collect::<Vec<_>>());
        parts.push(format!("{keys} cannot be used, and {is_left}, encrypted or not: {names}"));
    }
    if !plain.is_empty() {
        parts.push(format!("{} of {of} keys could not be encrypted: {}", plain.len(), names(&plain)));
    }
    if !uncertain.is_empty() {
        parts.push(format!("it is not certain whether these are encrypted: {}", names(&uncertain)));
    }
    if plain.len() < of {
        let others = "spending from the others takes the passphrase from now on, and nobody can recover it";
        parts.push(others.to_owned());
    }
    parts.join("; ")
}

fn is_uncertain(error: &KeyStoreError) -> bool {
    matches!(error, KeyStoreError::Uncertain { .. })
}

/// What of a balance pending payments take up, as the rest of a sentence.
fn taken_up(balance: Amount, pending: Amount, payments: usize) -> String {
    match payments {
        0 => String::new(),
        _ => {
            let payments = count(payments, "pending payment");
            format!(" ({pending} of its balance of {balance} is taken up by {payments})")
        }
    }
}

impl<E> From<E> for WalletError
where
    Failure: From<E>,
{
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

impl WalletError {
    /// The same of something that fails when a payment is made: it must not look like a refusal.
    pub fn when_made(self, id: TransactionId) -> Self {
        match self {
            // These say what became of the payment.
            Self::PaymentConflicting { .. } | Self::PaymentExpired { .. } => self,
            error => Self::PaymentMade { id, source: error.into() },
        }
    }

    /// 2 when what the user gave is malformed or unknown, 3 when the disk failed, 1 for everything else that was
    /// refused or failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failure(failure) => failure.exit_code(),
            Self::UnknownAddress { .. }
            | Self::ZeroAmount
            | Self::TotalOverflows
            | Self::FeeTooLow { .. }
            | Self::DataTooLong { .. }
            | Self::ValidTooLong { .. } => USAGE,
            Self::PaymentUncertain { source, .. } if source.is_of_disk() => DISK,
            Self::NotAllEncrypted { refused, unusable, .. }
                if refused.iter().chain(unusable).any(|(_, error)| error.is_of_disk()) =>
            {
                DISK
            }
            Self::KeysWritten { source, .. } if files::is_of_disk(source) => DISK,
            Self::PaymentUnknown { source, .. } if source.is_of_disk() => DISK,
            Self::PaymentMade { source, .. } => source.exit_code(),
            Self::NotAllEncrypted { .. }
            | Self::KeysWritten { .. }
            | Self::NotPaid { .. }
            | Self::NeverSynced { .. }
            | Self::InsufficientFunds { .. }
            | Self::NobodyHeard { .. }
            | Self::NoChainGiven { .. }
            | Self::Interrupted
            | Self::PaymentConflicting { .. }
            | Self::PaymentExpired { .. }
            | Self::PaymentUnknown { .. }
            | Self::PaymentUncertain { .. } => REFUSED,
        }
    }

    /// What the user can do now, where the sentence does not say it; after that, what about the cause.
    pub fn hints(&self) -> impl Iterator<Item = &'static str> {
        let cause = match self {
            // That of a disk is to start again, which would be to pay again.
            Self::PaymentMade { source, .. } if source.exit_code() != DISK => source.hint(),
            _ => None,
        };
        self.hint().into_iter().chain(cause)
    }

    /// The first of [`Self::hints`].
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Failure(failure) => failure.hint(Program::Wallet),
            Self::UnknownAddress { .. } => {
                Some("`wallet list-addresses` shows the keys there are, `wallet new-address NAME` makes one")
            }
            Self::NotAllEncrypted { refused, .. } if refused.iter().any(|(_, error)| is_uncertain(error)) => {
                Some(
                    "keep the passphrase; when the disk can be written again, `wallet encrypt --all` encrypts those that are \
                 left",
                )
            }
            Self::NotAllEncrypted { .. } => {
                Some("once they can be, `wallet encrypt --all` encrypts those that are left")
            }
            Self::KeysWritten { became, .. } => Some(match became {
                Became::Made => {
                    "back up its file, and keep its passphrase if it has one; `wallet list-addresses` shows its address"
                }
                Became::Encrypted => {
                    "keep the passphrase: spending takes it from now on, and nobody can recover it"
                }
                Became::Decrypted => "from now on whoever has the file can spend, without a passphrase",
                Became::ChangedPassphrase => {
                    "keep the new passphrase: the old one does not open the key any more, and nobody can recover it"
                }
            }),
            Self::NotPaid { error: KeyError::TooSmall { .. }, .. } => Some(
                "nobody could spend on this network what it is paid; `wallet new-address NAME` makes a key that can",
            ),
            Self::NotPaid { error: KeyError::Damaged { .. }, .. } => {
                Some("nobody could spend what it is paid; `wallet new-address NAME` makes a key that can")
            }
            Self::PaymentUncertain { .. } => Some(
                "when the disk can be written again, see in `wallet history` whether it is there, before you pay again",
            ),
            Self::PaymentUnknown { .. } => Some(
                "see that the file can be read, put it back from a backup, or `wallet sync` until a block holds the \
                 payment; if you remove the file, the next payment takes its place, and one of the two is confirmed",
            ),
            Self::PaymentMade { .. } => Some(
                "do not pay again: `wallet sync` sends the payment until a block holds it, `wallet history` shows it",
            ),
            Self::PaymentConflicting { .. } | Self::PaymentExpired { .. } => Some(
                "a reorganisation of the newest blocks may still confirm it: before you pay again, see that `wallet \
                 history` says the same some blocks later, or you may pay twice",
            ),
            Self::NeverSynced { .. } => Some("run `wallet sync --once` to fetch the chain from a miner"),
            Self::NobodyHeard { .. } => Some(
                "start one with `miner`, on this machine or with --lan on both; ports and --network have to be the same, \
                 and --peer HOST:PORT reaches a miner that no broadcast does",
            ),
            Self::NoChainGiven { .. } => Some(
                "see that this machine's clock is right, and that a firewall lets the miners' block servers be reached; --peer \
                 HOST:PORT names one",
            ),
            Self::Interrupted => {
                Some("what was fetched is kept, and pending payments are sent again by `wallet sync`")
            }
            Self::InsufficientFunds { payments, .. } if *payments > 0 => Some(
                "`wallet history` shows the pending payments; what those made with --valid-for take up is free when they expire",
            ),
            Self::InsufficientFunds { .. } => {
                Some("`wallet sync --once` fetches what was received since the last sync")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use common::key_store::Became;

    use super::*;

    /// Whoever believed it and threw the passphrase away had lost the coins.
    #[test]
    fn of_keys_that_may_be_encrypted_it_is_not_said_that_they_are_not() {
        let uncertain = |name: &str| {
            let (name, source) = (name.parse::<KeyName>().unwrap(), std::io::ErrorKind::StorageFull.into());
            let source = FilesError::Uncertain { path: "key.pem".into(), source };
            (name.clone(), KeyStoreError::Uncertain { name, became: Became::Encrypted, source })
        };
        let plain = |name: &str| {
            let name: KeyName = name.parse().unwrap();
            (name, KeyStoreError::NoRoom { path: "key.pem".into() })
        };
        let told = |refused| WalletError::NotAllEncrypted { refused, unusable: Vec::new(), of: 2 };
        let all = told(vec![uncertain("alice"), uncertain("bob")]);
        let sentence = all.to_string();
        assert!(
            sentence.starts_with("it is not certain whether these are encrypted: alice, bob; "),
            "{sentence}"
        );
        assert!(sentence.ends_with("nobody can recover it"), "{sentence}");
        assert!(
            all.exit_code() == DISK && all.hint().is_some_and(|hint| hint.starts_with("keep the passphrase"))
        );
        let both = told(vec![plain("alice"), uncertain("bob")]).to_string();
        assert!(both.starts_with("1 of 2 keys could not be encrypted: alice; it is not certain"), "{both}");
        let none = told(vec![plain("alice"), plain("bob")]);
        assert_eq!(none.to_string(), "2 of 2 keys could not be encrypted: alice, bob");
        assert!(none.hint().is_some_and(|hint| hint.starts_with("once they can be")));
    }
}
