//! The search for a nonce: each kernel beside what users would take instead, two threads beside one, and how
//! soon it stops.

use std::hint::black_box;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use common::address::Address;
use common::amount::Amount;
use common::block::{BlockHeader, Reward};
use common::difficulty::Target;
use common::encoding::encode;
use common::hash::{BlockId, MerkleRoot};
use common::node::Template;
use common::time::{Height, Timestamp};
use miner::search::{Kernel, Puzzle, Search, best_kernel, kernels};
use sha2::{Digest, Sha256};

use crate::Failure;
use crate::context::Context;
use crate::report::{Figure, Goal, median, number};

/// How long one look at a rate takes.
const LOOK: Duration = Duration::from_millis(300);
/// How long the search runs before it is looked at or stopped.
const WARM_UP: Duration = Duration::from_millis(50);
/// How often each rate is measured.
const RUNS: usize = 7;
/// How often the search is stopped.
const STOPS: usize = 40;
/// How long cpuminer is listened to.
const CPUMINER: Duration = Duration::from_secs(12);
/// Headers hashed between two looks at the clock.
const HEADERS_AT_A_TIME: u64 = 1 << 14;
/// SHA-256 of SHA-256: what cpuminer does for a nonce, in compressions.
const COMPRESSIONS: f64 = 2.0;

/// What each kernel is to reach, in millions a second.
const GOALS: [(&str, f64); 4] = [("AVX-512", 57.0), ("AVX2", 24.0), ("BMI2", 5.0), ("portable", 3.8)];

/// The figures.
pub fn measure(context: &mut Context) -> Result<Vec<Figure>, Failure> {
    let runs = context.repeat(RUNS);
    let kernels = kernels();
    let mut rates = vec![Vec::new(); kernels.len()];
    let mut sha2 = Vec::new();
    for run in 1..=runs {
        for (kernel, rates) in kernels.iter().zip(&mut rates) {
            rates.push(kernel_rate(kernel));
        }
        sha2.push(sha2_rate());
        context.progress(&format!(
            "kernels {run}/{runs}: {} does {:.1} MH/s",
            kernels[0].name,
            rates[0][run - 1]
        ));
    }
    let mut figures = Vec::new();
    for (kernel, rates) in kernels.iter().zip(&rates) {
        let figure = Figure::new(format!("search, {}, one thread", kernel.name), "MH/s", rates);
        let goal = GOALS.iter().find(|(name, _)| *name == kernel.name);
        figures.push(match goal {
            Some((_, least)) => figure.goal(Goal::AtLeast(*least)),
            None => figure,
        });
    }
    let name = format!("fastest search ({})", kernels[0].name);
    figures.push(
        Figure::new(&*name, "MH/s", &rates[0])
            .beside("sha2 over the whole header", &rates[0], &sha2)
            .goal(Goal::RatioAtLeast(37.0)),
    );
    figures.push(beside_cpuminer(context, &rates[0])?);
    figures.extend(threads(context)?);
    figures.push(stop(context)?);
    Ok(figures)
}

/// A header whose work nobody can do.
fn header() -> BlockHeader {
    BlockHeader {
        version: 1,
        previous: BlockId::from_bytes([1; 32]),
        merkle_root: MerkleRoot::from_bytes([2; 32]),
        time: Timestamp::from_millis(3),
        bits: Target::from_leading_zero_bits(224).to_compact(),
        height: Height::new(4),
        nonce: 0,
    }
}

/// Nonces in millions a second.
fn kernel_rate(kernel: &Kernel) -> f64 {
    let puzzle = Puzzle::new(&header());
    rate(|nonce| {
        black_box(kernel.search(black_box(&puzzle), nonce, kernel.batch));
        u64::from(kernel.batch)
    })
}

/// Whole headers in millions a second.
fn sha2_rate() -> f64 {
    let mut bytes = encode(&header());
    rate(|nonce| {
        for nonce in nonce..nonce + HEADERS_AT_A_TIME {
            bytes[BlockHeader::NONCE_OFFSET..].copy_from_slice(&nonce.to_le_bytes());
            black_box(Sha256::digest(&bytes));
        }
        HEADERS_AT_A_TIME
    })
}

/// How much is done in a microsecond by what does something from a number on, and says how much.
fn rate(mut something: impl FnMut(u64) -> u64) -> f64 {
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < LOOK {
        done += something(done);
    }
    done as f64 / begin.elapsed().as_secs_f64() / 1e6
}

/// cpuminer hashes twice for a nonce, so it is compared by compressions.
fn beside_cpuminer(context: &Context, own: &[f64]) -> Result<Figure, Failure> {
    let name = "compressions, beside pooler's cpuminer";
    let Some(theirs) = cpuminer_rate(context)? else {
        let missing = Figure::missing(name, "M/s", "cpuminer is not installed");
        return Ok(missing.goal(Goal::RatioAtLeast(2.4)));
    };
    let compressions = [theirs * COMPRESSIONS];
    Ok(Figure::new(name, "M/s", own)
        .beside("minerd -a sha256d", &[median(own).unwrap_or(0.0)], &compressions)
        .goal(Goal::RatioAtLeast(2.4)))
}

/// What cpuminer says of itself, in millions of double hashes a second; `None`: it is not installed.
fn cpuminer_rate(context: &Context) -> Result<Option<f64>, Failure> {
    let mut command = Command::new("minerd");
    command.args(["--benchmark", "-a", "sha256d", "-t", "1"]).stdin(Stdio::null()).stdout(Stdio::null());
    let Ok(mut child) = command.stderr(Stdio::piped()).spawn() else { return Ok(None) };
    sleep(CPUMINER);
    child.kill()?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    child.wait()?;
    let rates: Vec<f64> = said.lines().filter_map(cpuminer_rate_in).collect();
    context.progress(&format!(
        "cpuminer says {} M/s",
        rates.last().map_or("nothing".to_owned(), |rate| number(*rate))
    ));
    Ok(median(&rates))
}

/// The rate in a line such as `[…] thread 0: 54634856 hashes, 10925 khash/s`.
fn cpuminer_rate_in(line: &str) -> Option<f64> {
    let (_, rate) = line.contains("hashes").then(|| line.rsplit_once(", "))??;
    let (number, unit) = rate.split_once(' ')?;
    let factor = match unit.trim() {
        "khash/s" => 1e-3,
        "Mhash/s" => 1.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Two threads beside one, and beside two loops that do nothing but count.
fn threads(context: &Context) -> Result<Vec<Figure>, Failure> {
    let (mut searches, mut loops) = (Vec::new(), Vec::new());
    for _ in 0..context.repeat(RUNS) {
        loops.push(busy_loops(2)? / busy_loops(1)?);
        searches.push(search_rate(2)? / search_rate(1)?);
    }
    context.progress(&format!(
        "two search threads do {:.2} times one, two plain loops {:.2}",
        median(&searches).unwrap_or(0.0),
        median(&loops).unwrap_or(0.0)
    ));
    Ok(vec![
        Figure::new("search on two threads by one", "times", &searches)
            .beside("two plain loops by one", &searches, &loops)
            .goal(Goal::AtLeast(1.9)),
    ])
}

/// What so many threads count to together, in millions a second.
fn busy_loops(threads: usize) -> Result<f64, Failure> {
    let count = || {
        rate(|from| {
            let to = from + HEADERS_AT_A_TIME;
            (from..to).for_each(|number| {
                black_box(number);
            });
            HEADERS_AT_A_TIME
        })
    };
    thread::scope(|scope| {
        let counting: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        let rates = counting.into_iter().map(|thread| thread.join().map_err(|_| "a loop panicked".into()));
        rates.sum()
    })
}

fn start_search(threads: usize) -> Result<Search, Failure> {
    let found = Arc::new(|_: Arc<Template>, _: u64| ());
    let search = Search::start(threads, best_kernel(), found)?;
    let reward = Reward { to: Address::default(), amount: Amount::ZERO, data: Vec::new() };
    let parent_time = Timestamp::default();
    let template = Template { header: header(), reward, transactions: Vec::new(), parent_time };
    search.work_on(Some(Arc::new(template)));
    sleep(WARM_UP);
    Ok(search)
}

/// Hashes a second.
fn search_rate(threads: usize) -> Result<f64, Failure> {
    let search = start_search(threads)?;
    let (begin, before) = (Instant::now(), search.hashes());
    sleep(LOOK);
    Ok((search.hashes() - before) as f64 / begin.elapsed().as_secs_f64())
}

/// From the order to stop to all threads having ended.
fn stop(context: &Context) -> Result<Figure, Failure> {
    let threads = thread::available_parallelism()?.get();
    let mut took = Vec::new();
    for _ in 0..context.repeat(STOPS) {
        let search = start_search(threads)?;
        let begin = Instant::now();
        drop(search);
        took.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Figure::new(format!("stop of the search on {threads} threads"), "ms", &took).goal(Goal::AtMost(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuminers_lines_are_read() {
        let line = "[2026-11-21 10:00:00] thread 0: 54634856 hashes, 10925 khash/s";
        assert_eq!(cpuminer_rate_in(line), Some(10.925));
        assert_eq!(cpuminer_rate_in("[2026-11-21 10:00:00] 1 miner threads started"), None);
    }
}
