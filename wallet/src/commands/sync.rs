//! `wallet sync`, and what `wallet send --wait` does after sending: following the network.

use common::hash::TransactionId;
use common::settings::Loaded;

use crate::error::WalletError;
use crate::output::Notes;

/// What following the network ends with, besides Ctrl-C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Nothing: `wallet sync`.
    Interrupted,
    /// Everything that the network has is here: `wallet sync --once`.
    CaughtUp,
    /// A block of the best chain holds this payment: `wallet send --wait`.
    Confirmed(TransactionId),
}

/// Follows the network.
pub fn follow(_parameters: &Loaded, until: Until, _notes: &mut Notes) -> Result<String, WalletError> {
    Err(WalletError::NotYet {
        what: match until {
            Until::Interrupted | Until::CaughtUp => "sync",
            Until::Confirmed(_) => "send --wait",
        },
    })
}
