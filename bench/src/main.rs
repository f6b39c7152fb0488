//! Measures the whole product: every figure beside what limits it, in the same run. `scripts/bench` builds
//! and runs it; `BENCHMARKS.md` explains the figures.
//!
//! - `generate` makes chains of many payments, signed with `trials::weak_keys`;
//! - `sync` and its siblings measure, each a part of the product;
//! - `process` and `client` run the programs and talk to them;
//! - `report` prints the table.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};

mod admission;
mod client;
mod context;
mod generate;
mod mining;
mod process;
mod relay;
mod report;
mod start;
mod sync;
mod verify;

use context::Context;
use generate::Spec;
use report::Figure;

/// Why something could not be measured: a sentence is all that anybody needs.
type Failure = Box<dyn Error + Send + Sync>;

/// Measures the programs, and makes the chains that this needs.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure all of it, or the parts that are named; print a table, and write bench.json
    Run {
        /// Which parts
        parts: Vec<Part>,
        /// Less of everything, to see whether it works: the figures mean little
        #[arg(long)]
        quick: bool,
        /// Where bench.json and the made chains go
        #[arg(long, value_name = "DIR", default_value = "target")]
        target: PathBuf,
    },
    /// Make a data directory with a chain of many payments
    MakeChain {
        /// The data directory; the network's rules will be in network.toml there
        directory: PathBuf,
        #[command(flatten)]
        spec: Spec,
    },
}

/// The parts of the product that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The search for a nonce
    Mining,
    /// A fresh node fetches a chain and checks it
    Sync,
    /// Payments by UDP into a node's pool
    Admission,
    /// From the start of a program to its answer
    Start,
    /// From a block that one miner finds to the other mining on it
    Relay,
}

impl Part {
    fn measure(self, context: &mut Context) -> Result<Vec<Figure>, Failure> {
        match self {
            Self::Mining => mining::measure(context),
            Self::Sync => sync::measure(context),
            Self::Admission => admission::measure(context),
            Self::Start => start::measure(context),
            Self::Relay => relay::measure(context),
        }
    }
}

fn main() -> ExitCode {
    match answer(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::MakeChain { directory, spec } => {
            if directory.exists() {
                return Err(format!("{} exists already: name a new directory", directory.display()).into());
            }
            let say = |line: &str| writeln!(io::stderr(), "{line}");
            let made = generate::make_chain(&directory, &spec, &mut |line| {
                let _ = say(line);
            })?;
            say(&format!("block {} ({}) is the last one", made.tip.height, made.tip.id))?;
            Ok(())
        }
        Command::Run { parts, quick, target } => {
            let parts = if parts.is_empty() { Part::value_variants().to_vec() } else { parts };
            let directory = target.join("bench");
            std::fs::create_dir_all(&directory)?;
            let mut context = Context { quick, directory, started: Instant::now() };
            let (mut figures, mut failed) = (Vec::new(), false);
            for part in parts {
                match part.measure(&mut context) {
                    Ok(measured) => figures.extend(measured),
                    Err(error) => {
                        failed = true;
                        context.progress(&format!("error: {part:?} is not measured: {error}"));
                    }
                }
            }
            report::publish(&figures, &target.join("bench.json"))?;
            if failed { Err("not everything could be measured, see above".into()) } else { Ok(()) }
        }
    }
}
