//! Trials of the real programs for as long as one likes. `scripts/trials` builds and runs it.

use std::io::{self, Write};
use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tries to break the programs, and says how to repeat what did.
#[derive(Debug, Parser)]
#[command(name = "trials", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill the programs at random moments, and look at what they leave
    #[cfg(target_os = "linux")]
    Kill(kill::Flags),
    /// Cut the power within everything that the programs write, and look at what the disk may hold then
    #[cfg(target_os = "linux")]
    PowerLoss(power_loss::Flags),
    /// Let the disk refuse at every call that changes a file, and look at what the programs say and leave
    #[cfg(target_os = "linux")]
    IoErrors(io_errors::Flags),
    /// Stop a miner for longer than all deadlines, and let clocks jump
    #[cfg(target_os = "linux")]
    Pauses(pauses::Flags),
    /// Cut, heal, leave and join networks of namespaces, as root: use `scripts/lab`, which also cleans up
    #[cfg(target_os = "linux")]
    Lab(lab::Flags),
    /// Attack a miner and a wallet over the network: floods, broken messages, lying and stalling peers
    #[cfg(target_os = "linux")]
    Attack(attack::Flags),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        #[cfg(target_os = "linux")]
        Command::Kill(flags) => kill::run(&flags),
        #[cfg(target_os = "linux")]
        Command::PowerLoss(flags) => power_loss::run(&flags),
        #[cfg(target_os = "linux")]
        Command::IoErrors(flags) => io_errors::run(&flags),
        #[cfg(target_os = "linux")]
        Command::Pauses(flags) => pauses::run(&flags),
        #[cfg(target_os = "linux")]
        Command::Lab(flags) => lab::run(&flags),
        #[cfg(target_os = "linux")]
        Command::Attack(flags) => attack::run(&flags),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line for whoever watches.
fn say(line: &str) {
    // Nobody may be watching.
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Runs a trial; where it fails, says how to repeat it.
fn attempt<T>(again: &str, trial: impl FnOnce() -> T + std::panic::UnwindSafe) -> Option<T> {
    let outcome = catch_unwind(trial);
    if outcome.is_err() {
        say(&format!("FAILED; to repeat it: scripts/trials {again}"));
    }
    outcome.ok()
}

#[cfg(target_os = "linux")]
mod kill {
    use clap::Args;
    use trials::crash::kill::{Figures, Kind};
    use trials::random::Random;

    use super::{attempt, say};

    /// So many kills share a network.
    const KILLS_A_RUN: u32 = 20;

    #[derive(Debug, Args)]
    pub struct Flags {
        /// How often
        #[arg(long, default_value_t = 1_000)]
        times: u32,
        /// What all moments follow from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One kind only: mining, syncing, reorganising, sending, keys, encrypting, opening
        #[arg(long, value_parser = kind)]
        kind: Option<Kind>,
    }

    fn kind(name: &str) -> Result<Kind, String> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| "there is no such kind".to_owned())
    }

    /// Says whether all of it held.
    pub fn run(flags: &Flags) -> bool {
        let kinds = flags.kind.map_or(Kind::ALL.to_vec(), |kind| vec![kind]);
        let (mut left, mut failed) = (flags.times, 0);
        let mut sums = vec![Figures::default(); kinds.len()];
        let seeds = Random::new(flags.seed);
        for number in 0_u64.. {
            if left == 0 {
                break;
            }
            let (place, times) = (number as usize % kinds.len(), left.min(KILLS_A_RUN));
            let kind = kinds[place];
            // The first run of one kind has the seed that was given, so that one run can be repeated.
            let seed = if number == 0 { flags.seed } else { seeds.branch(number).next_u64() };
            left -= times;
            let again = format!("kill --kind {} --times {times} --seed {seed}", kind.name());
            match attempt(&again, || kind.run(times, seed)) {
                Some(figures) => {
                    sums[place] += figures;
                    say(&format!("{}: {figures}; {left} kills to go", kind.name()));
                }
                None => failed += 1,
            }
        }
        for (kind, sum) in kinds.iter().zip(&sums) {
            say(&format!("{:13} {sum}", kind.name()));
        }
        let total = sums.into_iter().fold(Figures::default(), |mut total, sum| {
            total += sum;
            total
        });
        say(&format!("{:13} {total}; {failed} runs failed", "all"));
        failed == 0
    }
}

#[cfg(target_os = "linux")]
mod power_loss {
    use std::path::PathBuf;

    use clap::Args;
    use trials::crash::disk::Names;
    use trials::crash::power_loss::{Figures, Scenario};
    use trials::random::Random;

    use super::{attempt, say};

    /// So many states are looked at in one recording of a scenario.
    const STATES_A_RECORDING: usize = 500;

    #[derive(Debug, Args)]
    pub struct Flags {
        /// How many states of the disk that chance chooses, besides those on both sides of every sync
        #[arg(long, default_value_t = 6_000)]
        runs: usize,
        /// What the choice of states follows from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One scenario only: mining, syncing, reorganising, sending, keys, encrypting, opening
        #[arg(long, value_parser = scenario)]
        scenario: Option<Scenario>,
        /// When names in directories are safe: posix (when the directory is synced) or journal (with anything that is
        /// synced, as on ext4)
        #[arg(long, value_parser = names, default_value = "posix")]
        names: Names,
        /// The directory that a failure left: the same recording again
        #[arg(long, value_name = "DIR", requires = "scenario")]
        replay: Option<PathBuf>,
    }

    fn scenario(name: &str) -> Result<Scenario, String> {
        let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| "there is no such scenario".to_owned())
    }

    fn names(text: &str) -> Result<Names, String> {
        match text {
            "posix" => Ok(Names::Posix),
            "journal" => Ok(Names::Journal),
            _ => Err("it is posix or journal".to_owned()),
        }
    }

    /// Says whether all of it held.
    pub fn run(flags: &Flags) -> bool {
        let scenarios = flags.scenario.map_or(Scenario::ALL.to_vec(), |scenario| vec![scenario]);
        let (mut left, mut failed, seeds) = (flags.runs, 0, Random::new(flags.seed));
        let mut sum = Figures::default();
        for number in 0_u64.. {
            if left == 0 {
                break;
            }
            let scenario = scenarios[number as usize % scenarios.len()];
            let states = if flags.replay.is_some() { left } else { left.min(STATES_A_RECORDING) };
            let seed = if number == 0 { flags.seed } else { seeds.branch(number).next_u64() };
            left -= states;
            let names = if flags.names == Names::Posix { "posix" } else { "journal" };
            let again = format!(
                "power-loss --scenario {} --names {names} --runs {states} --seed {seed} --replay (that directory)",
                scenario.name()
            );
            let replay = flags.replay.clone();
            let trial = move || match replay {
                Some(directory) => scenario.cut(&directory, flags.names, states, seed),
                None => scenario.run(flags.names, states, seed),
            };
            match attempt(&again, trial) {
                Some(figures) => {
                    sum += figures;
                    say(&format!("{}: {figures}; {left} states to go", scenario.name()));
                }
                None => failed += 1,
            }
        }
        say(&format!("{sum}; {failed} recordings failed"));
        failed == 0
    }
}

#[cfg(target_os = "linux")]
mod io_errors {
    use clap::Args;
    use trials::crash::faults::{Fault, Refusal};
    use trials::crash::io_errors::{Figures, Scene};

    use super::{attempt, say};

    #[derive(Debug, Args)]
    pub struct Flags {
        /// How many calls fail in each scene, spread over it; without this every one does, in every way
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        times: Option<u32>,
        /// What the choice of calls follows from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One scene only: mining, syncing, keys, sending, encrypting, changing-passphrase, decrypting
        #[arg(long, value_parser = scene)]
        scene: Option<Scene>,
        /// One call only, counted from 1
        #[arg(long, value_name = "CALL", requires = "scene")]
        at: Option<u64>,
        /// What that call fails with: EIO, ENOSPC, EDQUOT, EROFS
        #[arg(long, value_parser = refusal, default_value = "EIO", requires = "at")]
        error: Refusal,
        /// Let all later calls fail, too
        #[arg(long, requires = "at")]
        lasting: bool,
    }

    fn scene(name: &str) -> Result<Scene, String> {
        let found = Scene::ALL.into_iter().find(|scene| scene.name() == name);
        found.ok_or_else(|| "there is no such scene".to_owned())
    }

    fn refusal(name: &str) -> Result<Refusal, String> {
        let found = Refusal::ALL.into_iter().find(|refusal| refusal.name() == name);
        found.ok_or_else(|| "it is EIO, ENOSPC, EDQUOT or EROFS".to_owned())
    }

    /// Says whether all of it held.
    pub fn run(flags: &Flags) -> bool {
        let Flags { times, seed, at, error: refusal, lasting, .. } = *flags;
        let (mut sum, mut failed) = (Figures::default(), 0);
        for scene in flags.scene.map_or(Scene::ALL.to_vec(), |scene| vec![scene]) {
            let number = times.map_or_else(String::new, |times| format!(" --times {times}"));
            let again = format!("io-errors --scene {}{number} --seed {seed}", scene.name());
            let trial = || match at {
                Some(first) => scene.run_one(Fault { first, lasting, refusal }),
                None => scene.run(times, seed),
            };
            match attempt(&again, trial) {
                Some(figures) => {
                    say(&format!("{:8} {figures}", scene.name()));
                    sum += figures;
                }
                None => failed += 1,
            }
        }
        say(&format!("{:8} {sum}; {failed} scenes failed", "all"));
        failed == 0
    }
}

#[cfg(target_os = "linux")]
mod pauses {
    use std::time::Duration;

    use clap::Args;
    use trials::crash::pauses::{self, Passing};

    use super::{attempt, say};

    #[derive(Debug, Args)]
    pub struct Flags {
        /// For how long a miner is suspended; the longest deadline is 30
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    }

    /// Says whether all of it held.
    pub fn run(flags: &Flags) -> bool {
        let seconds = flags.seconds;
        let again = format!("pauses --seconds {seconds}");
        let held = [
            attempt(&again, || pauses::suspend(Duration::from_secs(seconds), Passing::Really)),
            attempt(&again, pauses::clock_jumps_of_one),
            attempt(&again, || pauses::clock_jumps_of_one_of_two(&[1, -1])),
        ];
        let failed = held.iter().filter(|held| held.is_none()).count();
        say(&format!("suspended for {seconds} s, and five jumps of clocks; {failed} of three trials failed"));
        failed == 0
    }
}

#[cfg(target_os = "linux")]
mod lab {
    use clap::Args;
    use trials::lab;

    use super::say;

    #[derive(Debug, Args)]
    pub struct Flags {
        /// What the names of all namespaces begin with
        #[arg(long)]
        prefix: String,
        /// Keep stores and logs
        #[arg(long)]
        keep: bool,
    }

    /// Panics where something does not hold: `scripts/lab` says the rest.
    pub fn run(flags: &Flags) -> bool {
        lab::run(&flags.prefix, flags.keep, &mut |line| say(line));
        true
    }
}

#[cfg(target_os = "linux")]
mod attack {
    use clap::Args;
    use trials::attack::Attack;

    use super::{attempt, say};

    #[derive(Debug, Args)]
    pub struct Flags {
        /// How many times as hard as the tests do; with 50, a million datagrams
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        scale: u32,
        /// What all that is random follows from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// One only: datagrams, statuses, payments, connections, descriptors, frames, requests, liars
        #[arg(long, value_parser = attack)]
        only: Option<Attack>,
    }

    fn attack(name: &str) -> Result<Attack, String> {
        let found = Attack::ALL.into_iter().find(|attack| attack.name() == name);
        found.ok_or_else(|| "there is no such attack".to_owned())
    }

    /// Says whether all of it held.
    pub fn run(flags: &Flags) -> bool {
        let Flags { scale, seed, only } = *flags;
        let mut failed = 0;
        for attack in only.map_or(Attack::ALL.to_vec(), |attack| vec![attack]) {
            let again = format!("attack --only {} --scale {scale} --seed {seed}", attack.name());
            match attempt(&again, || attack.run(scale, seed)) {
                Some(figures) => say(&format!("{:11} {figures}", attack.name())),
                None => failed += 1,
            }
        }
        say(&format!("{failed} attacks achieved something"));
        failed == 0
    }
}
