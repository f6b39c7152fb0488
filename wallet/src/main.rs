//! The farthing wallet: keys, payments, and a verified copy of the chain.
//!
//! [`cli`] says what can be asked, [`commands`] answer it from a [`wallet::Wallet`], and here the answer is
//! printed or turned into a sentence and an exit code.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use common::failure::{Failure, USAGE, unreadable_hint};
use common::files::Program;
use common::hash::TransactionId;
use common::key_store::KeyStore;
use common::passphrase::Passphrases;
use common::process::{enough_descriptors, hide_memory, meet_disk_signals, say_when_the_map_fails};
use common::settings::{Loaded, Note as Surprise, environment};
use common::store::StoreError;
use common::text::with_causes;
use common::time::Timestamp;
use tracing::level_filters::LevelFilter;

mod announce;
mod cli;
mod commands;
mod error;
mod outbox;
mod output;
mod wallet;

use cli::{Cli, Command};
use commands::key_change::KeyChange;
use commands::send::Request;
use commands::sync::Until;
use error::WalletError;
use output::{Note, Notes, print_line, print_note, print_result};
use wallet::{Wallet, open_chain};

/// What this program calls itself to peers.
const AGENT: &str = concat!("farthing-wallet/", env!("CARGO_PKG_VERSION"));

fn main() -> ExitCode {
    hide_memory();
    meet_disk_signals(unreadable_hint(Program::Wallet));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the version: nothing of that was typed.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            match cli::says_all(&error) {
                Some(sentence) => print_note(&Note::error(sentence)),
                // It quotes what was typed.
                None => error.render().to_string().lines().for_each(print_line),
            }
            return ExitCode::from(USAGE);
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_note(&Note::error(with_causes(&error)));
            error.hints().for_each(|hint| print_note(&Note::hint(hint)));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), WalletError> {
    enough_descriptors()?;
    let parameters = cli.flags.load(environment())?;
    let Loaded { settings, rules, .. } = &parameters;
    let quiet = settings.log < LevelFilter::INFO;
    let mut notes = |note: Note| {
        if !quiet || note.is_trouble() {
            print_note(&note);
        }
    };
    let now = Timestamp::from_system_clock();
    let keys = KeyStore::new(settings.data_dir.keys());
    let open = || Wallet::open(&settings.data_dir, rules.clone());
    let result = match cli.command {
        Command::NewAddress { key, encrypt, passphrase_file } => {
            let passphrases = encrypt.then(|| Passphrases::from_flag(passphrase_file));
            let (bits, chain) = (rules.key_size, || open_chain(&settings.data_dir, &Arc::new(rules.clone())));
            let made = commands::new_address::new_address(
                &keys,
                bits,
                &key,
                passphrases.as_ref(),
                chain,
                &mut notes,
            )?;
            return print_change(made);
        }
        Command::ListAddresses => commands::list_addresses::list_addresses(&open()?, now, &mut notes)?,
        Command::History { key, limit } => {
            commands::history::history(&open()?, key.as_ref(), limit, &mut notes)?
        }
        Command::Encrypt { key, all: _, passphrase_file } => {
            let passphrases = Passphrases::from_flag(passphrase_file);
            return print_change(match key {
                Some(key) => commands::encrypt::encrypt(&keys, &key, &passphrases, &mut notes)?,
                None => commands::encrypt::encrypt_all(&keys, &passphrases, &mut notes)?,
            });
        }
        Command::Decrypt { key, passphrase_file } => {
            let passphrases = Passphrases::from_flag(passphrase_file);
            return print_change(commands::decrypt::decrypt(&keys, &key, &passphrases)?);
        }
        Command::ChangePassphrase { key, passphrase_file, new_passphrase_file } => {
            let [old, new] = [passphrase_file, new_passphrase_file].map(Passphrases::from_flag);
            let changed =
                commands::change_passphrase::change_passphrase(&keys, &key, &old, &new, &mut notes)?;
            return print_change(changed);
        }
        Command::Send { from, amount, to, fee, data, valid_for, wait, passphrase_file } => {
            let data = data.unwrap_or_default().into_bytes();
            let passphrases = Passphrases::from_flag(passphrase_file);
            let request = Request { from, amount, to, fee, data, valid_for, passphrases };
            tell_surprises(&parameters.notes, &mut notes);
            let wallet = open()?;
            let sent = commands::send::send(&wallet, &request, &mut notes)?;
            let id = sent.id;
            // Before it is announced: that takes seconds, in which this program may be killed.
            remember_when_the_map_fails(&parameters, id);
            let printed = print(&id.to_string());
            announce::announce(settings, &wallet.network, sent.transaction, &mut notes);
            let waited = printed.and_then(|()| match wait {
                true => commands::sync::follow(&parameters, Until::Confirmed(id), &mut notes)
                    .and_then(|result| print(&result)),
                false => Ok(()),
            });
            return waited.map_err(|error| error.when_made(id));
        }
        Command::Verify { repair } => commands::verify::verify(&parameters, repair)?,
        Command::Sync { once } => {
            tell_surprises(&parameters.notes, &mut notes);
            let until = if once { Until::CaughtUp } else { Until::Interrupted };
            commands::sync::follow(&parameters, until, &mut notes)?
        }
    };
    print(&result)
}

/// A payment is made. That the disk fails to read the chain from now on must not look like a refusal either, and where
/// the chain is mapped no error comes by here.
fn remember_when_the_map_fails(Loaded { settings, rules, .. }: &Loaded, id: TransactionId) {
    let directory = settings.data_dir.program(Program::Wallet, &rules.name, &rules.network_id());
    let error = WalletError::from(StoreError::failed_under_the_map(&directory)).when_made(id);
    say_when_the_map_fails(&error, error.hint().unwrap_or_default());
}

/// Tells of what may surprise those who join the network, or pay on it.
fn tell_surprises(surprises: &[Surprise], notes: &mut Notes) {
    for surprise in surprises {
        notes(match surprise {
            Surprise::CommonName { .. } => Note::warning(surprise),
            Surprise::RulesChanged { .. } => Note::info(surprise),
        });
    }
}

fn print(result: &str) -> Result<(), WalletError> {
    let printed = print_result(result).map(|_| ());
    printed.map_err(|source| Failure::Unprinted { what: "the result", source }.into())
}

fn print_change(change: KeyChange) -> Result<(), WalletError> {
    print_result(&change.result).map(|_| ()).map_err(|source| change.unprinted(source))
}
