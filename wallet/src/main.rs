//! The farthing wallet: keys, payments, and a verified copy of the chain.
//!
//! [`cli`] says what can be asked, [`commands`] answer it from a [`wallet::Wallet`], and here the answer is
//! printed or turned into a sentence and an exit code.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use common::hash::NetworkId;
use common::net::{Addresses, Broadcaster};
use common::settings::{Loaded, Settings, environment};
use common::text::with_causes;
use common::time::Timestamp;
use common::transaction::Transaction;
use common::wire::{Announcement, Datagram};
use tracing::level_filters::LevelFilter;

mod cli;
mod commands;
mod error;
mod outbox;
mod output;
mod wallet;

use cli::{Cli, Command};
use commands::send::Request;
use commands::sync::Until;
use error::WalletError;
use output::{Notes, print_note, print_result};
use wallet::Wallet;

/// The exit code for a command line that cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // An argument that is malformed has a sentence of its own, which says all there is to say.
        Err(error) if error.kind() == ErrorKind::ValueValidation && error.source().is_some() => {
            if let Some(source) = error.source() {
                print_note(&format!("error: {source}"));
            }
            return ExitCode::from(USAGE);
        }
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_note(&format!("error: {}", with_causes(&error)));
            if let Some(hint) = error.hint() {
                print_note(&format!("hint: {hint}"));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), WalletError> {
    let parameters = cli.flags.load(environment())?;
    let Loaded { settings, rules, .. } = &parameters;
    let quiet = settings.log < LevelFilter::INFO;
    let mut notes = |note: &str| {
        if !quiet || note.starts_with("warning: ") {
            print_note(note);
        }
    };
    let now = Timestamp::from_system_clock();
    let open = || Wallet::open(&settings.data_dir, rules.clone());
    let result = match cli.command {
        Command::NewAddress { key } => commands::new_address::new_address(&open()?, &key, &mut notes)?,
        Command::ListAddresses => commands::list_addresses::list_addresses(&open()?, now, &mut notes)?,
        Command::History { key, limit } => {
            commands::history::history(&open()?, key.as_ref(), limit, &mut notes)?
        }
        Command::Send { from, amount, to, fee, data, valid_for, wait } => {
            let data = data.unwrap_or_default().into_bytes();
            let request = Request { from, amount, to, fee, data, valid_for };
            let wallet = open()?;
            let sent = commands::send::send(&wallet, &request, &mut notes)?;
            broadcast(settings, &wallet.network, sent.transaction, &mut notes);
            print(&sent.id.to_string())?;
            match wait {
                true => commands::sync::follow(&parameters, Until::Confirmed(sent.id), &mut notes)?,
                false => return Ok(()),
            }
        }
        Command::Sync { once } => {
            let until = if once { Until::CaughtUp } else { Until::Interrupted };
            commands::sync::follow(&parameters, until, &mut notes)?
        }
    };
    print(&result)
}

fn print(result: &str) -> Result<(), WalletError> {
    print_result(result).map_err(|source| WalletError::System { action: "print the result", source })
}

/// Broadcasts a payment once. It is in the outbox, so that a failure costs no more than time.
fn broadcast(settings: &Settings, network: &NetworkId, transaction: Transaction, notes: &mut Notes) {
    let datagram = Datagram::new(network, Announcement::Transaction(transaction)).to_bytes();
    let attempt = || -> Result<(), Box<dyn Error>> {
        let addresses = Addresses::new(settings.lan, settings.broadcast_addresses.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let failures = Broadcaster::open(addresses)?.send(&datagram, settings.transaction_port).await;
            failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.into()))
        })
    };
    if let Err(error) = attempt() {
        let error = with_causes(&*error);
        notes(&format!("warning: {error}; `wallet sync` broadcasts the payment again"));
    }
}
