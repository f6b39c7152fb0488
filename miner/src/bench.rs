//! `miner bench`: how fast this machine searches, with each kernel that it can run, and how long a block
//! takes it. Nothing is sent or written, and of the chain only its tip is read.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::address::Address;
use common::amount::Amount;
use common::block::{BlockHeader, Reward};
use common::chain::ancestors_of;
use common::consensus::Ancestors;
use common::difficulty::{CompactTarget, Target};
use common::failure::Failure;
use common::files::Program;
use common::hash::{BlockId, MerkleRoot};
use common::node::Template;
use common::rules::Rules;
use common::settings::{Loaded, Settings};
use common::store::{LmdbStore, Store};
use common::text::count;
use common::time::{Height, Timestamp};
use miner::search::{Kernel, Puzzle, Search, best_kernel, kernels};
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Style};
use tabled::{Table, Tabled};

use crate::error::MinerError;
use crate::words;

/// A measurement is the best of so many: other programs make a search slower, and nothing makes it faster.
const ATTEMPTS: usize = 5;
/// How long an attempt takes.
const ATTEMPT: Duration = Duration::from_millis(100);

#[derive(Tabled)]
#[tabled(rename_all = "Upper Title Case")]
struct Row {
    kernel: &'static str,
    #[tabled(rename = "MH/s")]
    rate: String,
    #[tabled(rename = "Times Portable")]
    ratio: String,
    used: &'static str,
}

/// A table of the kernels, and two sentences on what they come to.
pub fn bench(Loaded { settings, rules, .. }: &Loaded) -> Result<String, MinerError> {
    let bits = next_bits(settings, rules)?;
    let (kernels, best) = (kernels(), best_kernel());
    let mut rates = Vec::with_capacity(kernels.len());
    for kernel in &kernels {
        show_progress(&format!("measuring {} …", kernel.name));
        rates.push(rate_of(kernel));
    }
    show_progress("measuring all threads …");
    let threads = settings.mining_threads();
    let (rate, stop) = rate_of_search(threads, best)
        .map_err(|source| Failure::System { action: "start the search threads", source })?;
    show_progress("");

    // The portable one is the last.
    let portable = rates.last().copied().unwrap_or(f64::NAN);
    let rows = kernels.iter().zip(&rates).map(|(kernel, rate)| Row {
        kernel: kernel.name,
        rate: format!("{:.2}", rate / 1e6),
        ratio: format!("{:.1}", rate / portable),
        used: if kernel.name == best.name { "yes" } else { "" },
    });
    let numbers = Modify::new(Columns::new(1..3)).with(Alignment::right());
    let table = Table::new(rows).with(Style::sharp()).with(numbers).to_string();
    let expected = words::seconds(words::expected_hashes(bits) / rate);
    Ok(format!(
        "{table}\nmining with {}: {}; stopped within {:.2} ms\na block at the present difficulty of {}, {}, takes \
         {expected} on average, alone",
        count(threads, "thread"),
        words::hash_rate(rate),
        stop.as_secs_f64() * 1e3,
        rules.name,
        words::difficulty(bits),
    ))
}

/// What the network's next block has to meet, as far as this machine knows its chain.
fn next_bits(settings: &Settings, rules: &Rules) -> Result<CompactTarget, MinerError> {
    let directory = settings.data_dir.program(Program::Miner, &rules.name, &rules.network_id());
    let ancestors = match LmdbStore::open_existing(&directory, rules)? {
        Some(store) => store.read(|reader| ancestors_of(reader, &reader.tip()?.id))?,
        None => None,
    };
    Ok(ancestors.unwrap_or_else(|| Ancestors::of_genesis_child(rules)).next_bits(rules))
}

/// A header that nobody can solve.
fn header() -> BlockHeader {
    BlockHeader {
        version: 1,
        previous: BlockId::ZERO,
        merkle_root: MerkleRoot::ZERO,
        time: Timestamp::default(),
        bits: Target::from_leading_zero_bits(255).to_compact(),
        height: Height::default(),
        nonce: 0,
    }
}

/// Hashes in a second, on this thread.
fn rate_of(kernel: &Kernel) -> f64 {
    let (puzzle, mut nonce) = (Puzzle::new(&header()), 0_u64);
    best_of_attempts(|| {
        let (started, first) = (Instant::now(), nonce);
        while started.elapsed() < ATTEMPT {
            kernel.search(&puzzle, nonce, kernel.batch);
            nonce += u64::from(kernel.batch);
        }
        (nonce - first) as f64 / started.elapsed().as_secs_f64()
    })
}

/// Hashes in a second of so many threads, and the longest that they took to stop.
fn rate_of_search(threads: usize, kernel: Kernel) -> io::Result<(f64, Duration)> {
    let reward = Reward { to: Address::default(), amount: Amount::ZERO, data: Vec::new() };
    let template = Arc::new(Template {
        header: header(),
        reward,
        transactions: Vec::new(),
        parent_time: Timestamp::default(),
    });
    let (mut best, mut longest_stop) = (0.0_f64, Duration::ZERO);
    for _ in 0..ATTEMPTS {
        let search = Search::start(threads, kernel, Arc::new(|_, _| {}))?;
        let started = Instant::now();
        search.work_on(Some(template.clone()));
        thread::sleep(ATTEMPT);
        best = best.max(search.hashes() as f64 / started.elapsed().as_secs_f64());
        let stopped = Instant::now();
        drop(search);
        longest_stop = longest_stop.max(stopped.elapsed());
    }
    Ok((best, longest_stop))
}

fn best_of_attempts(mut attempt: impl FnMut() -> f64) -> f64 {
    (0..ATTEMPTS).map(|_| attempt()).fold(0.0, f64::max)
}

/// Shows what is being done, in the place of what was before, where somebody may be watching.
fn show_progress(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // That nobody can read it is no reason to fail.
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}
