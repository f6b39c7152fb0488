//! Payments by UDP into a node that does not mine: how fast they get into its pool, what becomes of a burst,
//! and what it costs to refuse what need not be looked at.

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::address::Address;
use common::amount::Amount;
use common::hash::{NetworkId, TransactionId};
use common::net::{Addresses, Broadcaster};
use common::transaction::{Payment, Transaction, TransactionVersion};
use common::wire::{Announcement, Datagram, Request, Response};
use tokio::runtime::Runtime;

use crate::Failure;
use crate::client::Client;
use crate::context::Context;
use crate::generate::{Draft, Party, People};
use crate::process::{Miner, Ports, cpu_seconds};
use crate::report::{Figure, Goal, number};
use crate::verify::{Look, RawVerify};
use trials::random::Random;
use trials::system::UdpSocketState;

/// Who pays.
const SENDERS: u64 = 1_000;
/// Payments that keep a node busy for a second.
const STEADY: u64 = 60_000;
/// Payments of a burst.
const BURST: u64 = 20_000;
/// How often the copies of a burst come.
const COPIES: usize = 5;
/// How soon an unconfirmed payment is broadcast again, by default.
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest that anything may take.
const AT_MOST: Duration = Duration::from_secs(60);
/// How often the pool is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes that may wait in the node's socket while it is not to lose anything: a third of the smallest buffer
/// that a system gives.
const MOST_WAITING_BYTES: u64 = 64 << 10;
/// How long to wait for the node to empty its socket before looking again; looking costs more than sending.
const SOON: Duration = Duration::from_micros(200);
/// Datagrams sent between two looks at what waits there.
const AT_A_TIME: usize = 64;
/// Payments that may be on their way into the pool while the node is kept busy: enough for a quarter of a second,
/// and few enough that none is turned away.
const ON_THEIR_WAY: usize = 16_000;
/// Ids from this first byte on are a sample.
const SAMPLE_FROM: u8 = 0xf0;
/// One in so many.
const IN_SAMPLE: usize = 16;

/// The figures.
pub fn measure(context: &mut Context) -> Result<Vec<Figure>, Failure> {
    let people = People::new(SENDERS, 1, |_| ())?;
    let raw_verify = RawVerify::new(&people, 8);
    let (steady, burst) = if context.quick { (4_000, 2_000) } else { (STEADY, BURST) };
    let mut figures = Vec::new();

    let payments = Payments::new(&people, steady);
    let (mut rates, mut busy, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = raw_verify.look(&people)?;
    for run in 1..=context.repeat(5) {
        let mut node = Node::start(context, &people)?;
        let cpu = node.cpu_seconds()?;
        let took = node.admit_all(&payments)?;
        busy.push((node.cpu_seconds()? - cpu) * 1e6 / steady as f64);
        let after = raw_verify.look(&people)?;
        rates.push(steady as f64 / took.as_secs_f64());
        raw.push(before.mean(after));
        before = after;
        context.progress(&format!(
            "admission {run}: {} payments/s, raw verify {}/s",
            number(rates[run - 1]),
            number(raw[run - 1].per_second)
        ));
    }
    let raw_rates: Vec<f64> = raw.iter().map(|look| look.per_second).collect();
    figures.push(
        Figure::new("admission of payments by UDP", "payments/s", &rates)
            .beside("aws-lc-rs verifying alone", &rates, &raw_rates)
            .goal(Goal::RatioAtLeast(0.7)),
    );

    let raw_micros: Vec<f64> = raw.iter().map(|look| look.cpu_micros).collect();
    figures.push(Figure::new("processor time to admit a payment", "µs", &busy).beside(
        "for a verification alone",
        &busy,
        &raw_micros,
    ));

    let payments = Payments::new(&people, burst);
    let (mut dropped, mut lost, mut complete) = (Vec::new(), Vec::new(), Vec::new());
    let (runs, mut refused) = (context.repeat(3), Vec::new());
    for run in 1..=runs {
        let mut node = Node::start(context, &people)?;
        let burst = node.take_burst(&payments)?;
        context.progress(&format!(
            "burst {run}: the kernel dropped {}, the node lost {}; all there after {:.1} s",
            burst.dropped,
            burst.lost,
            burst.complete.as_secs_f64()
        ));
        dropped.push(burst.dropped as f64);
        lost.push(burst.lost as f64);
        complete.push(burst.complete.as_secs_f64());
        if run == runs {
            refused = refusals(context, &mut node, &payments, &raw)?;
        }
    }
    let name = |what: &str| format!("burst of {} payments: {what}", number(burst as f64));
    figures.extend([
        Figure::new(name("dropped by the kernel"), "payments", &dropped),
        Figure::new(name("lost of what was delivered"), "payments", &lost).goal(Goal::AtMost(0.0)),
        Figure::new(name("all in the pool after"), "s", &complete)
            .goal(Goal::AtMost(2.0 * INTERVAL.as_secs_f64())),
    ]);
    figures.extend(refused);
    Ok(figures)
}

/// What it costs to refuse copies of what is in the pool, and payments of somebody who has nothing.
fn refusals(
    context: &Context,
    node: &mut Node,
    known: &Payments,
    raw: &[Look],
) -> Result<Vec<Figure>, Failure> {
    let strangers = Payments::unfunded(&node.network, known.datagrams.len());
    let check_micros: Vec<f64> = raw.iter().map(|look| look.cpu_micros).collect();
    let mut figures = Vec::new();
    for (what, payments) in [("a copy", known), ("a payment without funds", &strangers)] {
        let (mut cost, mut rate) = (Vec::new(), Vec::new());
        for _ in 0..COPIES {
            let (cpu, begin) = (node.cpu_seconds()?, Instant::now());
            for datagram in payments.datagrams.chunks(AT_A_TIME) {
                node.send_when_there_is_room(datagram)?;
            }
            node.wait_until_taken_in()?;
            let count = payments.datagrams.len() as f64;
            rate.push(count / begin.elapsed().as_secs_f64());
            cost.push((node.cpu_seconds()? - cpu) * 1e6 / count);
        }
        context.progress(&format!("{what} is refused {} times a second", number(rate[0])));
        figures.push(Figure::new(format!("refusing {what}"), "datagrams/s", &rate));
        figures.push(
            Figure::new(format!("processor time to refuse {what}"), "µs", &cost)
                .beside("a signature check", &cost, &check_micros)
                .goal(Goal::RatioAtMost(1.0)),
        );
    }
    Ok(figures)
}

/// Signed payments, ready to be sent.
struct Payments {
    datagrams: Vec<Vec<u8>>,
    /// Which of them are in the sample that is looked for while many are on their way.
    in_sample: Vec<bool>,
}

impl Payments {
    /// The senders take turns, so that each one's payments come in order and far apart.
    fn new(people: &People, count: u64) -> Self {
        let senders = people.senders.len() as u64;
        let draft = |number| Draft {
            from: Party::Sender((number % senders) as usize),
            to: people.alice.address(),
            nonce: number / senders,
        };
        let signed = people.sign(&(0..count).map(draft).collect::<Vec<_>>());
        let is_in_sample = |transaction: &Transaction| transaction.id().as_bytes()[0] >= SAMPLE_FROM;
        let in_sample = signed.iter().map(is_in_sample).collect();
        let datagram = |transaction| Datagram::new(&people.network, Announcement::Transaction(transaction));
        let datagrams = signed.into_iter().map(|transaction| datagram(transaction).to_bytes()).collect();
        Self { datagrams, in_sample }
    }

    /// Of keys that nobody has, with signatures that nobody made: their accounts are empty.
    fn unfunded(network: &NetworkId, count: usize) -> Self {
        let mut random = Random::new(7);
        let mut bytes = || -> Vec<u8> { (0..32).flat_map(|_| random.next_u64().to_be_bytes()).collect() };
        let mut datagram = |_| {
            let (mut public_key, signature) = (bytes(), bytes());
            public_key[0] |= 0x80;
            public_key[255] |= 1;
            let payment = Payment {
                version: TransactionVersion::V1,
                to: Address::from_bytes([7; 32]),
                amount: Amount::from_units(1),
                fee: Amount::ZERO,
                nonce: 0,
                valid_until: 0,
                data: Vec::new(),
                public_key,
            };
            let transaction = Transaction { payment, signature };
            Datagram::new(network, Announcement::Transaction(transaction)).to_bytes()
        };
        Self { datagrams: (0..count).map(&mut datagram).collect(), in_sample: Vec::new() }
    }
}

/// What became of a burst.
struct Burst {
    dropped: u64,
    lost: u64,
    complete: Duration,
}

/// A node that does not mine, and who sends to it.
struct Node {
    miner: Miner,
    client: Client,
    runtime: Runtime,
    broadcaster: Broadcaster,
    network: NetworkId,
    port: u16,
    _home: tempfile::TempDir,
}

impl Node {
    fn start(context: &Context, people: &People) -> Result<Self, Failure> {
        let home = tempfile::tempdir_in(&context.directory)?;
        let (network, ports) = (people.settle_in(home.path())?, Ports::free()?);
        let room = ["--set", "mempool_max_transactions=100000", "--set", "mempool_max_bytes=134217728"];
        let flags = [&["--no-mine"][..], &room].concat();
        let miner = Miner::start(home.path(), &network, ports, &flags)?;
        let client = Client::call(miner.place, AT_MOST)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let broadcaster = {
            let _guard = runtime.enter();
            Broadcaster::open(Addresses::this_machine())?
        };
        let (network, port) = (people.network, ports.transactions);
        Ok(Self { miner, client, runtime, broadcaster, network, port, _home: home })
    }

    fn cpu_seconds(&self) -> Result<f64, Failure> {
        cpu_seconds(self.miner.pid()).ok_or_else(|| "the system does not say how busy a program is".into())
    }

    /// Sends at full speed.
    fn send(&mut self, datagrams: &[Vec<u8>]) -> Result<(), Failure> {
        let (broadcaster, port) = (&mut self.broadcaster, self.port);
        self.runtime.block_on(async {
            for datagram in datagrams {
                if let Some(failure) = broadcaster.send(datagram, port).await.into_iter().next() {
                    return Err(failure.into());
                }
            }
            Ok(())
        })
    }

    /// Sends no faster than the node empties its socket.
    fn send_when_there_is_room(&mut self, datagrams: &[Vec<u8>]) -> Result<(), Failure> {
        while socket(self.port)?.waiting_bytes > MOST_WAITING_BYTES {
            sleep(SOON);
        }
        self.send(datagrams)
    }

    /// Returns when the socket is empty and the node has answered a caller since: what it heard before is
    /// dealt with, but for checks that are under way.
    fn wait_until_taken_in(&mut self) -> Result<(), Failure> {
        while socket(self.port)?.waiting_bytes > 0 {
            sleep(SOON);
        }
        self.pool(Some(SAMPLE_FROM)).map(|_| ())
    }

    /// Sends payments as fast as they are taken in, and gives the time until all of them are in the pool.
    fn admit_all(&mut self, payments: &Payments) -> Result<Duration, Failure> {
        let (begin, mut sent_of_sample) = (Instant::now(), 0);
        let batches = payments.datagrams.chunks(ON_THEIR_WAY / 4);
        for (datagrams, in_sample) in batches.zip(payments.in_sample.chunks(ON_THEIR_WAY / 4)) {
            for datagrams in datagrams.chunks(AT_A_TIME) {
                self.send_when_there_is_room(datagrams)?;
            }
            sent_of_sample += in_sample.iter().filter(|it| **it).count();
            self.wait_for_sample(sent_of_sample.saturating_sub(ON_THEIR_WAY / IN_SAMPLE), begin, payments)?;
        }
        self.wait_for_sample(sent_of_sample, begin, payments)?;
        while self.pool(None)? < payments.datagrams.len() {
            self.not_for_ever(begin, payments)?;
        }
        Ok(begin.elapsed())
    }

    /// Waits until so many payments of the sample are in the pool.
    fn wait_for_sample(&mut self, count: usize, begin: Instant, payments: &Payments) -> Result<(), Failure> {
        while self.pool(Some(SAMPLE_FROM))? < count {
            self.not_for_ever(begin, payments)?;
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn not_for_ever(&mut self, begin: Instant, payments: &Payments) -> Result<(), Failure> {
        if begin.elapsed() < AT_MOST {
            return Ok(());
        }
        let (there, dropped) = (self.pool(None)?, socket(self.port)?.dropped);
        let (all, log) = (payments.datagrams.len(), self.miner.last_lines());
        Err(format!("only {there} of {all} payments got in; the kernel dropped {dropped}:\n{log}").into())
    }

    /// A burst, and every interval the same again, as whoever made them would, until all are in the pool.
    fn take_burst(&mut self, payments: &Payments) -> Result<Burst, Failure> {
        let (begin, all) = (Instant::now(), payments.datagrams.len() as u64);
        self.send(&payments.datagrams)?;
        let dropped = socket(self.port)?.dropped;
        let mut there = 0;
        while there < all - dropped && begin.elapsed() < INTERVAL {
            sleep(LOOK_EVERY);
            there = self.pool(None)? as u64;
        }
        let lost = (all - dropped).saturating_sub(there);
        let mut again_at = INTERVAL;
        while there < all {
            if begin.elapsed() >= again_at {
                again_at += INTERVAL;
                self.send(&payments.datagrams)?;
            }
            self.not_for_ever(begin, payments)?;
            sleep(LOOK_EVERY);
            there = self.pool(None)? as u64;
        }
        Ok(Burst { dropped, lost, complete: begin.elapsed() })
    }

    /// How many payments the pool holds, or how many whose ids begin with this byte or a larger one.
    fn pool(&mut self, from: Option<u8>) -> Result<usize, Failure> {
        let before = |first: u8| {
            let mut bytes = [0xff; 32];
            bytes[0] = first - 1;
            TransactionId::from_bytes(bytes)
        };
        let (mut after, mut count) = (from.map(before), 0);
        loop {
            match self.client.ask(&Request::GetPoolIds { after })? {
                Response::PoolIds(ids) if ids.is_empty() => return Ok(count),
                Response::PoolIds(ids) => {
                    count += ids.len();
                    after = ids.last().copied();
                }
                other => return Err(format!("the node does not say what it has: {other:?}").into()),
            }
        }
    }
}

/// The UDP socket on this port.
fn socket(port: u16) -> Result<UdpSocketState, Failure> {
    UdpSocketState::at(port).ok_or_else(|| "the system does not say what waits in a socket".into())
}
