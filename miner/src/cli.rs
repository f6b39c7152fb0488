//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use common::failure::EXIT_CODES;
use common::settings::CommonFlags;

/// Hears payments, mines blocks, and serves the chain, until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "miner", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    flags: CommonFlags,
    #[command(flatten)]
    mining: MiningFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Mining")]
struct MiningFlags {
    /// Mine with N threads; 0: one fewer than there are cores, at least one
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,

    /// Do not mine: check, keep and serve the chain only
    #[arg(long)]
    no_mine: bool,

    /// Where blocks are sealed with an encrypted key (networks with authorities): take its passphrase from the
    /// first line of FILE, which has to be yours alone, and do not ask for it
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What the miner does instead of mining.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the rules in force and the network's id, as a file for --network
    Rules,
    /// Listen for networks and list those that are heard; --join keeps the rules of one
    Networks {
        /// Fetch the rules of this network and keep them, for --network NAME
        #[arg(long, value_name = "NAME|ID")]
        join: Option<String>,

        /// How long to listen
        #[arg(long, value_name = "N", default_value_t = 6,
              value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
    /// Check everything that is kept on the disk: pages and keys, every block's work and contents, and the best
    /// chain's signatures and accounts
    Verify {
        /// If the chain is damaged, rebuild it from what is sound; the damaged one is kept aside
        #[arg(long)]
        repair: bool,
    },
    /// Measure how fast this machine mines, and how long a block takes it
    Bench,
}

impl Cli {
    /// The command line, or what is wrong with it.
    pub fn parse_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(arguments)?;
        let of_mining =
            [("--no-mine", cli.mining.no_mine), ("--passphrase-file", cli.mining.passphrase_file.is_some())];
        match of_mining.into_iter().find(|(_, given)| *given && cli.command.is_some()) {
            Some((flag, _)) => {
                let sentence =
                    format!("{flag} is about mining, and changes nothing of what a subcommand does");
                Err(Self::command().error(ErrorKind::ArgumentConflict, sentence))
            }
            None => Ok(cli),
        }
    }

    /// The flags as parameters, where the passphrase of an encrypted key is, and what to do; `None` is to mine.
    pub fn into_parts(mut self) -> (CommonFlags, Option<PathBuf>, Option<Command>) {
        if let Some(threads) = self.mining.threads {
            self.flags.add("--threads", "threads", threads);
        }
        if self.mining.no_mine {
            self.flags.add("--no-mine", "mine", false);
        }
        (self.flags, self.mining.passphrase_file, self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::parse_from(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_number_of_threads_may_stand_before_or_after_a_subcommand() {
        for line in ["miner --threads 8", "miner --threads 8 bench", "miner bench --threads 8"] {
            assert_eq!(parse(line).unwrap().mining.threads, Some(8), "{line}");
        }
    }

    #[test]
    fn flags_of_mining_are_refused_where_nothing_is_mined() {
        for flag in ["--no-mine", "--passphrase-file file"] {
            parse(&format!("miner {flag}")).unwrap();
            for line in [format!("miner {flag} bench"), format!("miner rules {flag}")] {
                let refused = parse(&line).unwrap_err();
                assert!(
                    refused.use_stderr() && refused.to_string().contains(flag.split(' ').next().unwrap())
                );
            }
        }
    }
}
