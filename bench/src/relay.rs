//! From the moment that one miner finds a block to the other mining on it: both search on this machine with
//! one thread each, and tell in their logs what they do.

use std::fmt::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::encoding::encode;
use common::transaction::Transaction;
use common::wire::{Request, Response, SubmitResult};

use crate::Failure;
use crate::client::Client;
use crate::context::Context;
use crate::generate::{Draft, Party, People};
use crate::process::{Miner, Ports};
use crate::report::{Figure, Goal};

/// Payments in a block.
const IN_BLOCK: usize = 2_000;
/// Who pays.
const SENDERS: u64 = 100;
/// Payments submitted in one request.
const IN_REQUEST: usize = 1_000;
/// How long two miners together are to search for a block: long enough for new payments to come in between.
const BLOCK_SECONDS: f64 = 1.2;
/// Leading zero bits while the hash rate is being measured.
const TRIAL_BITS: u32 = 22;
/// The longest that anything may take.
const AT_MOST: Duration = Duration::from_secs(60);
/// How often the logs are looked at; their lines have their times already.
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// Blocks whose way is measured.
const BLOCKS: usize = 15;

/// The figures.
pub fn measure(context: &mut Context) -> Result<Vec<Figure>, Failure> {
    let rate = hash_rate(context)?;
    let bits = (rate * 2.0 * BLOCK_SECONDS).log2().round().clamp(1.0, 60.0) as u32;
    context.progress(&format!("a thread does {:.1} MH/s: {bits} bits of work a block", rate / 1e6));
    let blocks = context.repeat(BLOCKS);
    let known = series(context, bits, blocks, true)?;
    let unknown = series(context, bits, blocks, false)?;
    Ok(vec![
        Figure::new("relay of a block of 2,000 known payments", "ms", &known).goal(Goal::AtMost(10.0)),
        Figure::new("relay of a block of 2,000 unknown payments", "ms", &unknown).goal(Goal::AtMost(100.0)),
    ])
}

/// Hashes a second of one thread, as a miner says it of a block that it found.
fn hash_rate(context: &Context) -> Result<f64, Failure> {
    let home = tempfile::tempdir_in(&context.directory)?;
    let people = People::new(1, 1, |rules| rules.difficulty = TRIAL_BITS)?;
    let network = people.settle_in(home.path())?;
    let flags = ["--threads", "1", "--set", "status_broadcast_interval_ms=100"];
    let mut miner = Miner::start(home.path(), &network, Ports::free()?, &flags)?;
    let mut rate = 0.0;
    for _ in 0..5 {
        rate = miner.wait_for(AT_MOST, rate_in)?.1;
    }
    Ok(rate)
}

/// The rate in a line such as `… found block 3 (…) in 0.2 s: …, 17.5 MH/s`.
fn rate_in(line: &str) -> Option<f64> {
    let (_, rate) = line.contains("found block").then(|| line.rsplit_once(", "))??;
    let (number, unit) = rate.split_once(' ')?;
    let factor = match unit {
        "H/s" => 1.0,
        "kH/s" => 1e3,
        "MH/s" => 1e6,
        "GH/s" => 1e9,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Two miners, and their payments.
struct Pair {
    people: People,
    miners: [Miner; 2],
    clients: [Client; 2],
    /// Whether the second one is told of payments.
    both_know: bool,
    made: u64,
    _homes: [tempfile::TempDir; 2],
}

impl Pair {
    fn start(directory: &Path, bits: u32, both_know: bool) -> Result<Self, Failure> {
        let homes = [tempfile::tempdir_in(directory)?, tempfile::tempdir_in(directory)?];
        let payment_bytes = encode(&payments(&People::new(1, 1, |_| ())?, 0, 1)[0]).len();
        let people = People::new(SENDERS, 1, |rules| {
            rules.difficulty = bits;
            // Half a payment more than there is to be room for, for the reward.
            rules.max_block_bytes = (IN_BLOCK * payment_bytes + payment_bytes / 2) as u32;
        })?;
        let (ports, mut flags) = (Ports::free()?, vec!["--threads", "1", "--set", "log=debug"]);
        let start = |home: &tempfile::TempDir, ports, flags: &[&str]| {
            Miner::start(home.path(), &people.settle_in(home.path())?, ports, flags)
        };
        let first = start(&homes[0], ports, &flags)?;
        // One that keeps no payments knows none, however they reach it.
        if !both_know {
            flags.extend(["--set", "mempool_max_transactions=1"]);
        }
        let second = start(&homes[1], ports, &flags)?;
        let clients = [Client::call(first.place, AT_MOST)?, Client::call(second.place, AT_MOST)?];
        Ok(Self { people, miners: [first, second], clients, both_know, made: 0, _homes: homes })
    }

    /// Puts a block's worth of new payments into the pools.
    fn pay(&mut self) -> Result<(), Failure> {
        let payments = payments(&self.people, self.made, IN_BLOCK as u64);
        self.made += IN_BLOCK as u64;
        let informed = if self.both_know { 2 } else { 1 };
        for client in &mut self.clients[..informed] {
            for chunk in payments.chunks(IN_REQUEST) {
                let answer = client.ask(&Request::SubmitTransactions(chunk.to_vec()))?;
                let taken = |result: &SubmitResult| {
                    matches!(
                        *result,
                        SubmitResult::ACCEPTED | SubmitResult::KNOWN | SubmitResult::NONCE_TOO_LOW
                    )
                };
                match answer {
                    Response::Results(results) if results.iter().all(taken) => {}
                    other => {
                        let mut text = format!("{other:?}");
                        text.truncate(200);
                        return Err(format!("the payments were not taken: {text}").into());
                    }
                }
            }
        }
        Ok(())
    }

    /// The next line of either log, who wrote it, and when.
    fn next_line(&mut self) -> Result<(usize, Instant, String), Failure> {
        let deadline = Instant::now() + AT_MOST;
        loop {
            for (who, miner) in self.miners.iter_mut().enumerate() {
                if let Some((when, line)) = miner.try_line() {
                    return Ok((who, when, line));
                }
            }
            if Instant::now() > deadline {
                let mut said = "no block is found any more:".to_owned();
                for miner in &mut self.miners {
                    let _ = write!(said, "\n{}", miner.last_lines());
                }
                return Err(said.into());
            }
            sleep(LOOK_EVERY);
        }
    }
}

/// The payments with these numbers: the senders take turns.
fn payments(people: &People, first: u64, count: u64) -> Vec<Transaction> {
    let senders = people.senders.len() as u64;
    let draft = |number| Draft {
        from: Party::Sender((number % senders) as usize),
        to: people.alice.address(),
        nonce: number / senders,
    };
    people.sign(&(first..first + count).map(draft).collect::<Vec<_>>())
}

/// A block on its way.
struct OnItsWay {
    finder: usize,
    height: u64,
    found: Instant,
    is_full: bool,
}

/// How long each of some full blocks took, in milliseconds.
fn series(context: &Context, bits: u32, blocks: usize, both_know: bool) -> Result<Vec<f64>, Failure> {
    let mut pair = Pair::start(&context.directory, bits, both_know)?;
    // Two blocks' worth: what one block leaves is there before the next, and the newest payments, which may not
    // have reached both, are never in it.
    pair.pay()?;
    pair.pay()?;
    let (mut took, mut block, mut mined) = (Vec::new(), None::<OnItsWay>, 0);
    while took.len() < blocks {
        let (who, when, line) = pair.next_line()?;
        if let Some(height) = number_after(&line, " found a nonce for block ") {
            block = Some(OnItsWay { finder: who, height, found: when, is_full: false });
        } else if let Some(payments) = payments_in(&line) {
            mined += payments;
            let is_full = payments == IN_BLOCK as u64;
            block.iter_mut().filter(|way| way.finder == who).for_each(|way| way.is_full = is_full);
        } else if let Some(height) = number_after(&line, " mining block ")
            && let Some(way) = block.take_if(|way| way.finder != who && way.height + 1 == height)
            && way.is_full
        {
            let ms = (when - way.found).as_secs_f64() * 1e3;
            took.push(ms);
            let payments = if both_know { "known" } else { "unknown" };
            context.progress(&format!("relay of {payments} payments {}/{blocks}: {ms:.1} ms", took.len()));
        }
        // Not while a block is on its way.
        while block.is_none() && pair.made < mined + 2 * IN_BLOCK as u64 {
            pair.pay()?;
        }
    }
    Ok(took)
}

/// How many payments there are in the block of a line such as `… found block 3 (…) in 0.2 s: 2000 payments, …`.
fn payments_in(line: &str) -> Option<u64> {
    let (_, after) = line.split_once(" found block ")?;
    let (number, _) = after.split_once(": ")?.1.split_once(" payment")?;
    if number == "no" { Some(0) } else { number.parse().ok() }
}

fn number_after(line: &str, words: &str) -> Option<u64> {
    let (_, rest) = line.split_once(words)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_read_as_it_is_written() {
        let line = "10:18:54 found block 3 (…0964f025) in 0.23 s: no payments, 10 earned; difficulty 24.0 bits, 17.46 MH/s";
        assert_eq!(rate_in(line), Some(17_460_000.0));
        assert_eq!(rate_in("10:18:54 mining with 1 thread"), None);
        assert_eq!(payments_in(line), Some(0));
        assert_eq!(payments_in(&line.replace("no payments", "2000 payments")), Some(2_000));
        assert_eq!(payments_in("10:18:54 mining block 12 with no payments"), None);
        assert_eq!(number_after("10:18:54 mining block 12 with no payments", " mining block "), Some(12));
        assert_eq!(number_after(line, " mining block "), None);
    }
}
