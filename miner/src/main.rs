//! The farthing miner: it hears payments, mines blocks, and serves the chain.
//!
//! [`cli`] says what can be asked; [`run`] is what happens without a subcommand, [`networks`], [`bench`] and
//! [`verify`] answer the subcommands of these names. Here a failure becomes a sentence and an exit code.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use common::failure::{Failure, USAGE, unreadable_hint};
use common::files::Program;
use common::passphrase::Passphrases;
use common::process::{enough_descriptors, meet_disk_signals};
use common::settings::{Loaded, environment, rules_to_toml};
use common::text::{printable, printable_lines, with_causes};

mod bench;
mod cli;
mod error;
mod journal;
mod limits;
mod log;
mod networks;
mod program;
mod run;
mod verify;
mod words;

use cli::{Cli, Command};
use error::MinerError;

fn main() -> ExitCode {
    meet_disk_signals(unreadable_hint(Program::Miner));
    let cli = match Cli::parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and the version: nothing of that was typed.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            let value =
                (error.kind() == ErrorKind::ValueValidation).then(|| error.get(ContextKind::InvalidArg));
            match (value.flatten(), error.source()) {
                // Of a malformed value nothing more is to be said than which and why.
                (Some(flag), Some(reason)) => complain(&format!("error: {flag}: {reason}")),
                // It quotes what was typed.
                _ => error.render().to_string().lines().for_each(complain),
            }
            return ExitCode::from(USAGE);
        }
    };
    let outcome = answer(cli);
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {}", with_causes(&error)));
            if let Some(hint) = error.hint() {
                complain(&format!("hint: {hint}"));
            }
            ExitCode::from(error.exit_code())
        }
    };
    log::flush();
    code
}

fn answer(cli: Cli) -> Result<(), MinerError> {
    enough_descriptors()?;
    let (flags, passphrase_file, command) = cli.into_parts();
    let parameters = flags.load(environment())?;
    match command {
        None => run::run(parameters, &Passphrases::from_flag(passphrase_file)),
        Some(Command::Verify { repair }) => print(&verify::verify(&parameters, repair)?),
        Some(Command::Bench) => print(&bench::bench(&parameters)?),
        Some(Command::Rules) => print(&rules(&parameters)),
        Some(Command::Networks { join: None, seconds }) => {
            print(&networks::list(&parameters.settings, seconds)?)
        }
        Some(Command::Networks { join: Some(wanted), seconds }) => {
            print(&networks::join(&parameters.settings, seconds, &wanted)?)
        }
    }
}

/// The rules in force as a file for `--network`.
fn rules(Loaded { rules, .. }: &Loaded) -> String {
    format!("# The rules of the network {}\n{}", rules.network_id(), rules_to_toml(rules))
}

/// Prints a result, in which nothing plays with the terminal: a path may hold anything. Whoever stops reading it
/// (`| head`) has seen enough.
fn print(text: &str) -> Result<(), MinerError> {
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", printable_lines(text.trim_end())).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| Failure::Unprinted { what: "the result", source }.into()),
    }
}

/// Prints a line to standard error. That nobody can read it is no reason to fail.
fn complain(line: &str) {
    log::say(&printable(line));
}
