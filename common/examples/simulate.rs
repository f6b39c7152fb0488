//! `scripts/simulate`: lives through histories of whole networks, one seed after the other.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use common::simulator::report::{Question, answer};
use common::simulator::{Counts, Failure, Size, run};

/// Lives through histories of whole networks in one process: machines, a network, clocks, disks and chance, with
/// everything that can go wrong. The same seed is the same history.
#[derive(Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0, value_name = "SEED")]
    from: u64,
    /// One seed alone, and what happens in it.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// So many machines in each, instead of what the seed says; of a report, only its networks of so many.
    #[arg(long, value_name = "COUNT")]
    machines: Option<usize>,
    /// Say nothing of what happens in the one seed.
    #[arg(long, requires = "seed")]
    quiet: bool,
    /// Instead: how a network behaves as it grows, as a table for SCALE.md.
    #[arg(long)]
    report: bool,
    /// One of the report's tables only: 1 to 4.
    #[arg(long, requires = "report", value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=4))]
    table: Option<u8>,
    /// The report without its largest networks.
    #[arg(long, requires = "report")]
    quick: bool,
    /// In each network of the report so many blocks, instead of what its tables have.
    #[arg(long, requires = "report", conflicts_with = "quick", value_name = "COUNT")]
    blocks: Option<u64>,
    /// So many seeds at a time; one a core if not said.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> io::Result<ExitCode> {
    let options = Options::parse();
    let size = options.machines.map_or(Size::Chance, Size::Machines);
    if options.report {
        return report(&options);
    }
    match options.seed {
        Some(seed) => one(seed, size, options.quiet),
        None => many(&options, size),
    }
}

fn tell(at: Duration, what: &str) {
    // A reader that has gone away wants to see no more.
    let _ = writeln!(io::stdout(), "{:10.3} s  {what}", at.as_secs_f64());
}

fn one(seed: u64, size: Size, quiet: bool) -> io::Result<ExitCode> {
    match run(seed, size, (!quiet).then_some(tell as fn(Duration, &str))) {
        Ok(summary) => {
            writeln!(io::stdout(), "{summary:#?}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            writeln!(io::stderr(), "{failure}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What all seeds come to.
#[derive(Default)]
struct Totals {
    done: u64,
    machines: usize,
    blocks: u64,
    lived: Duration,
    counts: Counts,
    failures: Vec<Failure>,
}

fn many(options: &Options, size: Size) -> io::Result<ExitCode> {
    let started = Instant::now();
    let threads =
        options.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, |cores| cores.get()));
    let (next, totals) = (AtomicU64::new(options.from), Mutex::new(Totals::default()));
    let end = options.from + options.seeds;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let result = run(seed, size, None);
                    let Ok(mut totals) = totals.lock() else { return };
                    totals.done += 1;
                    match result {
                        Ok(summary) => {
                            totals.machines += summary.machines;
                            totals.blocks += summary.height;
                            totals.lived += summary.time;
                            totals.counts.add(&summary.counts);
                        }
                        Err(failure) => {
                            let _ = writeln!(io::stderr(), "{failure}");
                            totals.failures.push(failure);
                        }
                    }
                    if totals.done.is_multiple_of(100) {
                        let rate = totals.done as f64 / started.elapsed().as_secs_f64();
                        let _ = writeln!(
                            io::stderr(),
                            "{} of {} seeds, {rate:.1} a second",
                            totals.done,
                            options.seeds
                        );
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let out = &mut io::stdout();
    for (name, number) in totals.counts.numbers() {
        writeln!(out, "{:>20} {number}", name.replace('_', " "))?;
    }
    writeln!(out, "{:>20} {} blocks", "deepest", totals.counts.deepest)?;
    writeln!(
        out,
        "{} seeds with {} machines, {} blocks and {:.1} days of their time in {:.0} s: {} failed",
        totals.done,
        totals.machines,
        totals.blocks,
        totals.lived.as_secs_f64() / 86_400.0,
        started.elapsed().as_secs_f64(),
        totals.failures.len()
    )?;
    Ok(if totals.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The networks that the report looks at: machines, seconds between blocks, milliseconds of latency, blocks.
const QUESTIONS: [&[(usize, f64, u64, u64)]; 4] = [
    // As it grows.
    &[
        (10, 15.0, 5, 2_000),
        (30, 15.0, 5, 2_000),
        (100, 15.0, 5, 510),
        (300, 15.0, 5, 30),
        (1_000, 15.0, 5, 20),
        (3_000, 15.0, 5, 10),
        (10_000, 15.0, 5, 6),
    ],
    // As blocks come faster.
    &[
        (30, 60.0, 20, 1_000),
        (30, 15.0, 20, 2_000),
        (30, 5.0, 20, 2_000),
        (30, 1.0, 20, 2_000),
        (30, 0.3, 20, 2_000),
    ],
    // As the way gets longer.
    &[
        (30, 5.0, 1, 2_000),
        (30, 5.0, 10, 2_000),
        (30, 5.0, 50, 2_000),
        (30, 5.0, 200, 2_000),
        (30, 5.0, 1_000, 2_000),
    ],
    // As it grows and blocks come so fast that rivals are many, see [`FEW_ECHOES`].
    &[(10, 1.0, 5, 2_000), (30, 1.0, 5, 2_000), (100, 1.0, 5, 1_000), (300, 1.0, 5, 600)],
];

const LAST_TABLE: u8 = QUESTIONS.len() as u8;
/// In that one, a status that repeats what others have said reaches this many machines: with more of them its larger
/// networks take too long for as many blocks as it takes to tell a share.
const FEW_ECHOES: usize = 20;

/// Of how many blocks a share is told.
const ENOUGH_BLOCKS: u64 = 500;

/// From how many machines on a network is left out of the quick report.
const LARGE: usize = 1_000;

fn report(options: &Options) -> io::Result<ExitCode> {
    let out = &mut io::stdout();
    let is_asked = |number| options.table.is_none_or(|table| table == number);
    for (number, questions) in (1..).zip(QUESTIONS).filter(|(number, _)| is_asked(*number)) {
        writeln!(
            out,
            "| machines | interval s | latency ms | blocks found | forks % | theory % | deepest | median ms | p99 ms | last ms |"
        )?;
        writeln!(out, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        for &(machines, interval, latency, blocks) in questions {
            if options.machines.map_or(options.quick && machines >= LARGE, |only| only != machines) {
                continue;
            }
            let question = Question {
                machines,
                interval: Duration::from_secs_f64(interval),
                latency: Duration::from_millis(latency),
                blocks: options.blocks.unwrap_or(if options.quick { blocks / 10 } else { blocks }),
                echo_reaches: (number == LAST_TABLE).then_some(FEW_ECHOES),
                seed: 1,
            };
            let seen = match answer(&question) {
                Ok(seen) => seen,
                Err(failure) => {
                    writeln!(io::stderr(), "{failure}")?;
                    return Ok(ExitCode::FAILURE);
                }
            };
            let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
            // So few blocks say how long they take to everybody, and not how often two are found at a time.
            let percent = |share: f64| match seen.found {
                0..ENOUGH_BLOCKS => "–".to_owned(),
                _ => format!("{:.2}", 100.0 * share),
            };
            writeln!(
                out,
                "| {machines} | {interval} | {latency} | {} | {} | {:.2} | {} | {:.0} | {:.0} | {:.0} |",
                seen.found,
                percent(seen.forks),
                100.0 * seen.theory,
                seen.deepest,
                ms(seen.median),
                ms(seen.p99),
                ms(seen.last),
            )?;
        }
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}
