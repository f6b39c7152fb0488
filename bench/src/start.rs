//! How long the programs take from their start to what they were started for, on a chain of a million
//! payments that is in the system's cache.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::files::{DataDirectory, Program};

use crate::Failure;
use crate::client::Client;
use crate::context::Context;
use crate::generate::{ALICE, ALICE_EVERY, Made, Spec, copy_directory};
use crate::process::{Miner, Ports, command};
use crate::report::{Figure, Goal, number};

/// The longest that anything may take.
const AT_MOST: Duration = Duration::from_secs(30);
/// How often a command is run.
const RUNS: usize = 20;
/// How often a miner is started.
const STARTS: usize = 10;
/// What is paid in each `wallet send`.
const AMOUNT: &str = "0.000001";

/// The figures.
pub fn measure(context: &mut Context) -> Result<Vec<Figure>, Failure> {
    let payments = if context.quick { 20_000 } else { 1_000_000 };
    let made = context.chain(&Spec::of(payments, 2_000))?;
    let mut figures = miners(context, &made)?;
    figures.extend(wallets(context, &made, payments / ALICE_EVERY)?);
    Ok(figures)
}

/// Beside a neighbour that has the same chain: a miner that hears nobody waits some seconds for others before
/// it mines, whatever its speed.
fn miners(context: &Context, made: &Made) -> Result<Vec<Figure>, Failure> {
    let homes = [(); 2].map(|()| tempfile::tempdir_in(&context.directory));
    let [neighbour_home, home] = homes;
    let (neighbour_home, home) = (neighbour_home?, home?);
    for home in [&neighbour_home, &home] {
        let store = |root: &Path| made.people.store_directory(root, Program::Miner);
        copy_directory(&store(&made.directory), &store(home.path()))?;
    }
    let network = made.network_file();
    let neighbour = Miner::start(neighbour_home.path(), &network, Ports::free()?, &["--no-mine"])?;
    drop(Client::call(neighbour.place, AT_MOST)?);
    let peer = neighbour.place.to_string();
    let (mut answers, mut mines) = (Vec::new(), Vec::new());
    // The first start makes a key.
    for run in 0..=context.repeat(STARTS) {
        let flags = ["--threads", "1", "--peer", &peer];
        let mut miner = Miner::start(home.path(), &network, Ports::free()?, &flags)?;
        drop(Client::call(miner.place, AT_MOST)?);
        let answered = miner.started.elapsed();
        let (when, ()) = miner.wait_for(AT_MOST, |line| line.contains(": mining ").then_some(()))?;
        if run > 0 {
            answers.push(answered.as_secs_f64() * 1e3);
            mines.push((when - miner.started).as_secs_f64() * 1e3);
        }
    }
    context.progress(&format!("a miner was started {} times", answers.len()));
    Ok(vec![
        Figure::new("start of a miner to its first answer", "ms", &answers).goal(Goal::AtMost(200.0)),
        Figure::new("start of a miner to mining", "ms", &mines).goal(Goal::AtMost(200.0)),
    ])
}

fn wallets(context: &Context, made: &Made, entries: u64) -> Result<Vec<Figure>, Failure> {
    let ports = Ports::free()?;
    let stranger = made.people.addresses[0].to_string();
    let run = |arguments: &[&str]| -> Result<f64, Failure> {
        let mut wallet = command("wallet", &made.directory, &made.network_file(), ports)?;
        wallet.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let status = wallet.status()?;
        let took = begin.elapsed().as_secs_f64() * 1e3;
        if status.success() { Ok(took) } else { Err(format!("wallet {arguments:?} failed: {status}").into()) }
    };
    let (limit, history) =
        (entries.to_string(), format!("wallet history of {} entries", number(entries as f64)));
    let commands: [(&str, f64, &[&str]); 3] = [
        ("wallet list-addresses", 10.0, &["list-addresses"]),
        ("wallet send", 20.0, &["send", ALICE, AMOUNT, &stranger]),
        (&history, 50.0, &["history", ALICE, "--limit", &limit]),
    ];
    let (runs, mut figures) = (context.repeat(RUNS), Vec::new());
    for (name, most_ms, arguments) in commands {
        run(arguments)?;
        let (mut times, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            floors.push(run(&["--version"])?);
            times.push(run(arguments)?);
        }
        context.progress(&format!("{name} ran {runs} times"));
        figures.push(
            Figure::new(name, "ms", &times)
                .beside("wallet --version", &times, &floors)
                .goal(Goal::AtMost(most_ms)),
        );
    }
    // What was sent stays out of the next run.
    let outbox = DataDirectory::new(&made.directory).outbox(&made.people.rules.name, &made.people.network);
    fs::remove_dir_all(outbox)?;
    Ok(figures)
}
