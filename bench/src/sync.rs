//! A fresh node fetches a whole chain from a serving one on the same machine, and checks all of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::files::Program;
use common::store::{LmdbStore, Read, Store, StoreError, Tip};

use crate::Failure;
use crate::client::Client;
use crate::context::Context;
use crate::generate::{Made, Spec};
use crate::process::{Miner, Ports, bytes_on_disk, cpu_seconds};
use crate::report::{Figure, Goal, median, number};
use crate::verify::{Look, RawVerify};
use trials::system::MemoryWatch;

/// The longest that a sync may take.
const AT_MOST: Duration = Duration::from_secs(300);
/// How often the fresh node's store is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Signatures of each key for the raw verify.
const RAW_EACH: u64 = 8;

/// What one sync took.
struct Synced {
    seconds: f64,
    server_mib: f64,
    client_mib: f64,
    store_bytes: u64,
    cpu_seconds: f64,
}

/// The figures.
pub fn measure(context: &mut Context) -> Result<Vec<Figure>, Failure> {
    let (large, small, many) = if context.quick {
        (Spec::of(20_000, 2_000), Spec::of(4_000, 2_000), Spec::of(1_000, 1))
    } else {
        (Spec::of(1_000_000, 2_000), Spec::of(100_000, 2_000), Spec::of(100_000, 1))
    };
    let mut figures = Vec::new();

    let made = context.chain(&small)?;
    let small_run = series(context, &made, context.repeat(5), "sync, small")?;
    let made = context.chain(&large)?;
    let large_run = series(context, &made, context.repeat(3), "sync, large")?;
    let payments = large.payments as f64;
    let rates = |run: &Series, spec: &Spec| -> Vec<f64> {
        run.synced.iter().map(|synced| spec.payments as f64 / synced.seconds).collect()
    };
    let rate = rates(&large_run, &large);
    figures.push(
        Figure::new(
            format!("sync of {} payments, blocks of {}", number(payments), large.per_block),
            "payments/s",
            &rate,
        )
        .beside("aws-lc-rs verifying alone", &rate, &large_run.raw_per_second())
        .goal(Goal::RatioAtLeast(0.8)),
    );
    let rate = rates(&small_run, &small);
    figures.push(
        Figure::new(format!("sync of {} payments", number(small.payments as f64)), "payments/s", &rate)
            .beside("aws-lc-rs verifying alone", &rate, &small_run.raw_per_second()),
    );
    // The cost is counted in raw verifications, so that the machine's mood does not matter.
    let costs = |run: &Series, spec: &Spec| -> Vec<f64> {
        let pairs = run.synced.iter().zip(&run.raw);
        pairs.map(|(synced, raw)| synced.seconds * raw.per_second / spec.payments as f64).collect()
    };
    let (of_large, of_small) = (costs(&large_run, &large), costs(&small_run, &small));
    figures.push(
        Figure::new("cost of a payment in the long chain", "verifications", &of_large)
            .beside(
                "in the short one",
                &[median(&of_large).unwrap_or(0.0)],
                &[median(&of_small).unwrap_or(0.0)],
            )
            .goal(Goal::RatioAtMost(1.1)),
    );
    let of = |pick: fn(&Synced) -> f64| -> Vec<f64> { large_run.synced.iter().map(pick).collect() };
    for (who, runs) in [("fetching", of(|run| run.client_mib)), ("serving", of(|run| run.server_mib))] {
        figures
            .push(Figure::new(format!("memory of the {who} side"), "MiB", &runs).goal(Goal::AtMost(200.0)));
    }
    let stores = of(|run| run.store_bytes as f64 / 1e6);
    let blocks = vec![made.block_bytes as f64 / 1e6; stores.len()];
    figures.push(
        Figure::new("store of the fresh node", "MB", &stores)
            .beside("its blocks", &stores, &blocks)
            .goal(Goal::RatioAtMost(1.3)),
    );
    let busy = of(|run| run.cpu_seconds * 1e6).iter().map(|micros| micros / payments).collect::<Vec<_>>();
    let raw: Vec<f64> = large_run.raw.iter().map(|look| look.cpu_micros).collect();
    figures.push(Figure::new("processor time of both sides for a payment", "µs", &busy).beside(
        "for a verification alone",
        &busy,
        &raw,
    ));

    let made = context.chain(&many)?;
    let run = series(context, &made, context.repeat(3), "sync of small blocks")?;
    let rate: Vec<f64> = run.synced.iter().map(|synced| many.blocks() as f64 / synced.seconds).collect();
    figures.push(
        Figure::new(
            format!("sync of {} blocks of one payment", number(many.blocks() as f64)),
            "blocks/s",
            &rate,
        )
        .goal(Goal::AtLeast(5_000.0)),
    );
    Ok(figures)
}

/// Some syncs of one chain.
struct Series {
    synced: Vec<Synced>,
    /// What the library alone verifies a second, around each.
    raw: Vec<Look>,
}

impl Series {
    fn raw_per_second(&self) -> Vec<f64> {
        self.raw.iter().map(|look| look.per_second).collect()
    }
}

fn series(context: &Context, made: &Made, runs: usize, what: &str) -> Result<Series, Failure> {
    let raw_verify = RawVerify::new(&made.people, RAW_EACH);
    let mut series = Series { synced: Vec::new(), raw: Vec::new() };
    let mut before = raw_verify.look(&made.people)?;
    for run in 1..=runs {
        let synced = sync(made)?;
        let after = raw_verify.look(&made.people)?;
        context.progress(&format!(
            "{what} {run}/{runs}: {:.2} s; aws-lc-rs alone verifies {} a second before, {} after; {:.0} MiB \
             fetching, {:.0} MiB serving",
            synced.seconds,
            number(before.per_second),
            number(after.per_second),
            synced.client_mib,
            synced.server_mib,
        ));
        series.raw.push(before.mean(after));
        series.synced.push(synced);
        before = after;
    }
    Ok(series)
}

fn sync(made: &Made) -> Result<Synced, Failure> {
    let network = made.network_file();
    let server = Miner::start(&made.directory, &network, Ports::free()?, &["--no-mine"])?;
    drop(Client::call(server.place, Duration::from_secs(10))?);
    let server_memory = MemoryWatch::start(server.pid());
    let fresh = tempfile::tempdir_in(made.directory.parent().unwrap_or(&made.directory))?;
    let peer = server.place.to_string();
    let (server_cpu, flags) = (cpu_seconds(server.pid()), ["--no-mine", "--peer", &peer]);
    let mut client = Miner::start(fresh.path(), &network, Ports::free()?, &flags)?;
    let client_memory = MemoryWatch::start(client.pid());
    let directory = made.people.store_directory(fresh.path(), Program::Miner);

    let mut store = None;
    let done = loop {
        if store.is_none() {
            store = LmdbStore::open_existing(&directory, &made.people.rules)?;
        }
        if let Some(store) = &store
            && tip(store)?.id == made.tip.id
        {
            break Instant::now();
        }
        if client.started.elapsed() > AT_MOST {
            return Err(format!("the sync did not come to its end:\n{}", client.last_lines()).into());
        }
        sleep(LOOK_EVERY);
    };
    let cpu = |pid, before: Option<f64>| cpu_seconds(pid).zip(before).map_or(0.0, |(now, then)| now - then);
    let cpu_seconds = cpu(client.pid(), Some(0.0)) + cpu(server.pid(), server_cpu);
    Ok(Synced {
        seconds: (done - client.started).as_secs_f64(),
        server_mib: server_memory.most_mib(),
        client_mib: client_memory.most_mib(),
        store_bytes: bytes_on_disk(&directory)?,
        cpu_seconds,
    })
}

/// The tip that a store has now.
pub fn tip(store: &LmdbStore) -> Result<Tip, StoreError> {
    store.read(|reader: &dyn Read| reader.tip())
}
