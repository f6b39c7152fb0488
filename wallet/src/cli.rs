//! The command line.

use std::error::Error;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use common::amount::{Amount, ParseAmountError};
use common::failure::EXIT_CODES;
use common::key_store::{KeyName, ParseKeyNameError};
use common::settings::CommonFlags;

use crate::wallet::{ParsePartyError, Party};

/// How many confirmed payments `wallet history` shows unless told otherwise: some screens full.
const HISTORY_LIMIT: &str = "100";

/// Keys, payments, and a verified copy of the chain.
#[derive(Debug, Parser)]
#[command(name = "wallet", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub flags: CommonFlags,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key, and with it an address that can be paid
    NewAddress {
        /// What to call it: 1–32 of A–Z a–z 0–9 . _ -, not starting with a dot
        #[arg(value_name = "NAME")]
        key: KeyName,
        /// Put it under a passphrase, without which nobody can spend from it
        #[arg(long)]
        encrypt: bool,
        /// Take the passphrase from the first line of FILE, which has to be yours alone, and do not ask for it
        #[arg(long, value_name = "FILE", requires = "encrypt")]
        passphrase_file: Option<PathBuf>,
    },
    /// Show all keys with their balances, pending payments and addresses
    ListAddresses,
    /// Pay somebody
    Send {
        /// Who pays: the name of a key, or its address
        from: Party,
        /// How much: coins with up to six decimals
        #[arg(allow_hyphen_values = true)]
        amount: Amount,
        /// Who is paid: the name of a key, or an address
        to: Party,
        /// What the miner gets; without it the least that the network asks for
        #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
        fee: Option<Amount>,
        /// A note of up to 80 bytes, which everybody can read
        #[arg(long, value_name = "TEXT")]
        data: Option<String>,
        /// Give up when none of the next BLOCKS blocks holds the payment
        #[arg(long, value_name = "BLOCKS", value_parser = clap::value_parser!(u32).range(1..))]
        valid_for: Option<u32>,
        /// Wait until a block holds the payment
        #[arg(long)]
        wait: bool,
        /// Take the passphrase of an encrypted key from the first line of FILE, which has to be yours alone, and
        /// do not ask for it
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Follow the network: fetch and verify its chain, and tell what happens to the keys here
    Sync {
        /// End when everything that the network has is here
        #[arg(long)]
        once: bool,
    },
    /// Check everything that is kept on the disk: keys, payments, and every part of the chain
    Verify {
        /// If the chain is damaged, rebuild it from what is sound; the damaged one is kept aside
        #[arg(long)]
        repair: bool,
    },
    /// Show what was paid, received and mined, oldest first
    History {
        /// Only of this key: its name, or its address
        #[arg(value_name = "NAME")]
        key: Option<Party>,
        /// The most confirmed payments to show: the newest
        #[arg(long, value_name = "NUMBER", default_value = HISTORY_LIMIT)]
        limit: usize,
    },
    /// Put a key under a passphrase, without which nobody can spend from it
    ///
    /// Balances and history are shown, the chain is followed and rewards are received without the passphrase.
    /// Nobody can recover it: whoever forgets it has lost the coins. Copies of the file that were made before stay
    /// as they are.
    #[command(group = clap::ArgGroup::new("which").args(["key", "all"]).required(true))]
    Encrypt {
        /// Which key: its name, or its address
        #[arg(value_name = "NAME")]
        key: Option<Party>,
        /// All keys that are not encrypted yet, with one passphrase
        #[arg(long)]
        all: bool,
        /// Take the passphrase from the first line of FILE, which has to be yours alone, and do not ask for it
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Take the passphrase off a key: whoever gets its file can spend again
    Decrypt {
        /// Which key: its name, or its address
        #[arg(value_name = "NAME")]
        key: Party,
        /// Take the passphrase from the first line of FILE, which has to be yours alone, and do not ask for it
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Put an encrypted key under another passphrase
    ChangePassphrase {
        /// Which key: its name, or its address
        #[arg(value_name = "NAME")]
        key: Party,
        /// Take the present passphrase from the first line of FILE, which has to be yours alone
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Take the new passphrase from the first line of FILE, which has to be yours alone
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
}

/// The sentence about a malformed argument whose type has one that says all there is to say: what was given, and
/// what would be right. `None`: what clap says is better.
pub fn says_all(error: &clap::Error) -> Option<String> {
    let source = error.source()?;
    let complete =
        source.is::<ParseAmountError>() || source.is::<ParseKeyNameError>() || source.is::<ParsePartyError>();
    complete.then(|| source.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn malformed_arguments_are_refused_by_what_they_are() {
        let sentence = |arguments: &[&str]| {
            let error = Cli::try_parse_from([&["wallet"], arguments].concat()).expect_err("it is malformed");
            says_all(&error).unwrap_or_else(|| error.to_string())
        };
        assert!(sentence(&["new-address", "../x"]).starts_with("\"../x\" is not a name for a key"));
        assert!(sentence(&["send", "a", "-5", "b"]).starts_with("\"-5\" is not an amount"));
        assert!(sentence(&["send", "a", "1e3", "b"]).starts_with("\"1e3\" is not an amount"));
        assert!(sentence(&["send", "a/b", "1", "b"]).starts_with("\"a/b\" is neither an address"));
        assert!(sentence(&["send", "a", "1", "b", "--fee", "x"]).starts_with("\"x\" is not an amount"));
        let mistyped = "Ab".repeat(32);
        assert!(sentence(&["send", "a", "1", &mistyped]).contains("typing error"));
        assert!(sentence(&["encrypt"]).contains("<NAME|--all>"));
        assert!(sentence(&["encrypt", "alice", "--all"]).contains("cannot be used with"));
        assert!(sentence(&["new-address", "a", "--passphrase-file", "f"]).contains("--encrypt"));
        assert!(sentence(&["history", "--limit", "many"]).contains("'many' for '--limit <NUMBER>'"));
        assert!(
            sentence(&["send", "a", "1", "b", "--valid-for", "0"]).contains("'0' for '--valid-for <BLOCKS>'")
        );
    }
}
