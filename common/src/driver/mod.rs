//! The one event loop: it gives a [`Node`] what happens, with the time, and carries out what it decides.
//! Both programs run it; what differs between them is their [`Program`].
//!
//! Five kinds of thread, so that none waits for another's work:
//! - the loop itself, which alone touches the node;
//! - a small tokio runtime with all sockets (`links`, `service`, the receivers below), which also decodes;
//! - one worker a core for signature checks (`workers`);
//! - one that connects checked blocks to the chain (`writer`);
//! - one that hears the signals to end, also when all others are gone (`ending`).
//!
//! They meet in two bounded queues (`queues`). What peers answer, and what workers and the writer finish, comes in by
//! the first, and waits for room; what is broadcast comes in by the second, and is dropped when there is none. Both have
//! their turns: whoever floods the network delays nobody's answers, and whoever asks much keeps no broadcast out.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use crate::chain::ChainError;
use crate::hash::NetworkId;
use crate::net::{
    AddressError, Addresses, BroadcastError, Broadcaster, ListenError, Listener, Receiver, ServerLimits,
};
use crate::node::{ConnectionId, Effect, Input, Node, Notice, Now, Template};
use crate::process::most_descriptors;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::transaction::Transaction;
use crate::wire::{Announcement, Datagram, DatagramError, Response};

mod ending;
pub(crate) mod limits;
mod links;
mod queues;
mod service;
mod workers;
mod writer;

use ending::stop_on_signals;
use limits::*;
use links::Links;
use queues::{Heard, Queues};
use service::ChainService;
use workers::Workers;
use writer::Writer;

/// Why a driver cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The system refuses threads or signals.
    #[error("the system refused to start the event loop: {0}")]
    System(#[from] io::Error),
    /// A broadcast address is not allowed.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A UDP port cannot be used.
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    /// The block server cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The store failed: the node must not go on.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread or task panicked that the node cannot do without.
    #[error("a defect of this program ended {part}; what is stored is intact")]
    Panicked {
        /// What it was doing.
        part: &'static str,
    },
}

/// Which sockets to open.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// Whether the local network may hear and reach this program.
    pub lan: bool,
    /// Where to broadcast to; empty: automatic.
    pub broadcast_addresses: Vec<Ipv4Addr>,
    /// UDP port of statuses.
    pub status_port: u16,
    /// UDP port of payments.
    pub transaction_port: u16,
    /// Whether to listen to payments.
    pub hear_transactions: bool,
    /// TCP port of the block server; `None`: there is none.
    pub block_server_port: Option<u16>,
    /// The most callers at once.
    pub max_connections: usize,
}

/// What a program wants of its driver.
#[derive(Debug)]
pub enum Command {
    /// Broadcast these payments, and submit them to named peers.
    Send(Vec<Transaction>),
    /// End the loop.
    Stop,
}

/// What a miner or a wallet does with its node. Called on the loop's thread; must not wait.
pub trait Program<S: Store> {
    /// Something happened that a user may want to know.
    fn notice(&mut self, node: &Node<S>, notice: Notice);

    /// Work on this block from now on; on none.
    fn mine(&mut self, _template: Option<Arc<Template>>) {}

    /// Called after every round of events and at the time it asked for: what to do now, and when to be
    /// called again at the latest.
    fn tick(&mut self, _node: &Node<S>, _now: Now) -> Result<(Vec<Command>, Option<Duration>), StoreError> {
        Ok((Vec::new(), None))
    }
}

/// Datagrams and callers that were dropped, and why.
#[derive(Debug, Default)]
pub struct Dropped {
    /// Not of this protocol, of another version, too long, or not decodable.
    pub malformed: AtomicU64,
    /// Of another network.
    pub foreign: AtomicU64,
    /// For want of room in the queue.
    pub overflow: AtomicU64,
    /// Callers of the block server that broke the protocol or its limits.
    pub callers: AtomicU64,
}

/// What comes to the loop and is waited for.
enum Event {
    Input(Input),
    /// Another thread has found out why the loop must end.
    Failed(DriverError),
    /// A caller's request, and where its answer goes.
    Request {
        input: Input,
        connection: ConnectionId,
        answer: oneshot::Sender<Response>,
    },
}

/// A way into the loop for a program's own threads, such as those that search for a nonce.
#[derive(Clone)]
pub struct Inputs(mpsc::Sender<Event>);

impl Inputs {
    /// Hands an input to the node, waiting for room; says whether the loop still runs. Not for the loop's
    /// own thread.
    pub fn send(&self, input: Input) -> bool {
        self.0.blocking_send(Event::Input(input)).is_ok()
    }
}

/// Open sockets, ready to run a node.
pub struct Driver {
    runtime: Runtime,
    started: Instant,
    sockets: Sockets,
    addresses: Addresses,
    receivers: Vec<Receiver>,
    broadcaster: Broadcaster,
    listener: Option<Listener>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    dropped: Arc<Dropped>,
    stop: (watch::Sender<bool>, watch::Receiver<bool>),
}

impl Driver {
    /// Opens the sockets, and listens for Ctrl-C and SIGTERM from now on.
    pub fn open(sockets: Sockets) -> Result<Self, DriverError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SOCKET_THREADS)
            .thread_name("sockets")
            .enable_all()
            .build()?;
        let addresses = Addresses::new(sockets.lan, sockets.broadcast_addresses.clone())?;
        let (receivers, broadcaster, listener) = runtime.block_on(async {
            let mut receivers = vec![Receiver::bind(&addresses, sockets.status_port)?];
            if sockets.hear_transactions {
                receivers.push(Receiver::bind(&addresses, sockets.transaction_port)?);
            }
            let listener = match sockets.block_server_port {
                Some(port) => Some(Listener::bind(addresses.host(), port).await?),
                None => None,
            };
            Ok::<_, DriverError>((receivers, Broadcaster::open(addresses.clone())?, listener))
        })?;
        let stop = watch::channel(false);
        stop_on_signals(stop.0.clone())?;
        Ok(Self {
            started: Instant::now(),
            events: mpsc::channel(MAX_ANSWERS),
            dropped: Arc::default(),
            runtime,
            sockets,
            addresses,
            receivers,
            broadcaster,
            listener,
            stop,
        })
    }

    /// The port that the block server listens on; 0: there is none.
    pub fn block_server_port(&self) -> u16 {
        self.listener.as_ref().map_or(0, Listener::port)
    }

    /// How many callers the block server takes at once: fewer than the settings say where the system allows too few
    /// open files.
    pub fn most_callers(&self) -> usize {
        most_callers(self.sockets.max_connections, most_descriptors())
    }

    /// The address that the block server listens on.
    pub fn host(&self) -> Ipv4Addr {
        self.addresses.host()
    }

    /// A way into the loop.
    pub fn inputs(&self) -> Inputs {
        Inputs(self.events.0.clone())
    }

    /// What has been dropped so far.
    pub fn dropped(&self) -> Arc<Dropped> {
        self.dropped.clone()
    }

    /// The time now.
    pub fn now(&self) -> Now {
        now(self.started)
    }

    /// Runs the node until the program, Ctrl-C or SIGTERM ends it, or its store fails.
    pub fn run<S: Store>(self, node: Node<S>, program: &mut impl Program<S>) -> Result<(), DriverError> {
        let Self {
            runtime, started, sockets, receivers, broadcaster, listener, events, dropped, stop, ..
        } = self;
        let (events, inbox) = events;
        let network = node.chain().network();
        let (heard_to, heard) = mpsc::channel(MAX_HEARD);
        let (statuses_to, statuses) = mpsc::channel(MAX_HEARD_STATUSES);
        let mut queues = Queues::new(inbox, Heard { statuses, payments: heard });
        let (datagrams, to_send) = mpsc::channel(MAX_TO_SEND);
        let guard = runtime.enter();
        // The first hears statuses, the second payments.
        for (receiver, heard) in receivers.into_iter().zip([&statuses_to, &heard_to]) {
            let receiving = receive(receiver, network, heard.clone(), dropped.clone());
            spawn_vital(&events, "the reading of datagrams", receiving);
        }
        spawn_vital(&events, "the sending of datagrams", broadcast(broadcaster, to_send));
        let server = listener.map(|listener| {
            let limits = ServerLimits::of(most_callers(sockets.max_connections, most_descriptors()));
            listener.serve(Arc::new(ChainService::new(&node, events.clone(), dropped.clone())), limits)
        });
        drop(guard);
        let workers = Workers::start(node.checker().clone(), events.clone())?;
        let writer = Writer::start(node.chain().clone(), events.clone())?;
        let links = Links::new(runtime.handle().clone(), events, &node);
        let mut event_loop = Loop {
            node,
            program,
            started,
            sockets,
            network,
            links,
            workers,
            writer,
            datagrams,
            answers: HashMap::new(),
        };
        // A runtime of its own for the loop's timer; nothing else runs on this thread.
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let result = timer.block_on(event_loop.run(&mut queues, stop.1));
        let Loop { node, links, workers, writer, .. } = event_loop;
        drop((node, links, workers));
        let Queues { mut inbox, .. } = queues;
        inbox.close();
        let written = writer.finish(LONGEST_FAREWELL).map_err(DriverError::from);
        let unheard = std::iter::from_fn(|| inbox.try_recv().ok()).find_map(why_to_end).map_or(Ok(()), Err);
        if let Some(server) = server {
            // A caller that is slow to take its answer is not waited for.
            let stop = async { tokio::time::timeout(LONGEST_FAREWELL, server.stop()).await };
            let _ = runtime.block_on(stop);
        }
        runtime.shutdown_timeout(LONGEST_FAREWELL);
        result.and(unheard).and(written)
    }
}

/// Why the loop would have ended if it had come to this.
fn why_to_end(event: Event) -> Option<DriverError> {
    match event {
        Event::Failed(error) => Some(error),
        Event::Input(Input::Offered { result: Err(ChainError::Store(error)), .. }) => Some(error.into()),
        _ => None,
    }
}

/// How many callers there may be at once: as many as are wanted, if there are descriptors for them.
fn most_callers(wanted: usize, descriptors: Option<usize>) -> usize {
    let most = descriptors.map_or(usize::MAX, |most| most.saturating_sub(OWN_DESCRIPTORS));
    wanted.min(most).max(1)
}

fn now(started: Instant) -> Now {
    Now { monotonic: started.elapsed(), wall: Timestamp::from_system_clock() }
}

struct Loop<'a, S, P> {
    node: Node<S>,
    program: &'a mut P,
    started: Instant,
    sockets: Sockets,
    network: NetworkId,
    links: Links,
    workers: Workers,
    writer: Writer,
    datagrams: mpsc::Sender<(Vec<u8>, u16)>,
    /// Where the answers to callers go.
    answers: HashMap<ConnectionId, oneshot::Sender<Response>>,
}

impl<S: Store, P: Program<S>> Loop<'_, S, P> {
    async fn run(&mut self, queues: &mut Queues, mut stop: watch::Receiver<bool>) -> Result<(), DriverError> {
        let (mut wake, mut batch) = (None, Vec::with_capacity(2 * HEARD_AT_A_TIME));
        loop {
            self.carry_out();
            let (commands, next) = self.program.tick(&self.node, now(self.started))?;
            for command in commands {
                match command {
                    Command::Stop => return Ok(()),
                    Command::Send(transactions) => self.send(transactions)?,
                }
            }
            if let Some(next) = next {
                wake = Some(next);
            }
            let deadline = wake.into_iter().chain([self.node.next_deadline()]).min().unwrap_or_default();
            let deadline = tokio::time::Instant::from_std(self.started + deadline);
            tokio::select! {
                biased;
                _ = stop.changed() => return Ok(()),
                next = queues.next(&mut batch) => match next {
                    Some(event) => self.take(event)?,
                    None if batch.is_empty() => return Ok(()),
                    None => self.node.handle_many(batch.drain(..), now(self.started))?,
                },
                () = sleep_until(deadline) => {
                    wake = None;
                    self.node.tick(now(self.started))?;
                }
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), DriverError> {
        let input = match event {
            Event::Input(input) => input,
            Event::Failed(error) => return Err(error),
            Event::Request { input, connection, answer } => {
                self.answers.insert(connection, answer);
                input
            }
        };
        if let Input::CallerGone { connection } = &input {
            self.answers.remove(connection);
        }
        Ok(self.node.handle(input, now(self.started))?)
    }

    /// Does what the node decided.
    fn carry_out(&mut self) {
        while let Some(effect) = self.node.next_effect() {
            match effect {
                Effect::Broadcast(announcement) => self.broadcast(announcement),
                Effect::Connect { link, target } => self.links.connect(link, target),
                Effect::Send { link, request } => self.links.send(link, request),
                Effect::Disconnect { link } => self.links.disconnect(link),
                Effect::Respond { connection, response } => {
                    if let Some(answer) = self.answers.remove(&connection) {
                        // The caller may be gone; then nobody wants the answer.
                        let _ = answer.send(response);
                    }
                }
                Effect::Check(job) => self.workers.check(job),
                Effect::Offer(blocks) => self.writer.offer(blocks),
                Effect::Mine(template) => self.program.mine(template),
                Effect::Notice(notice) => self.program.notice(&self.node, notice),
            }
        }
    }

    fn send(&mut self, transactions: Vec<Transaction>) -> Result<(), DriverError> {
        for transaction in &transactions {
            self.broadcast(Announcement::Transaction(transaction.clone()));
        }
        Ok(self.node.handle(Input::Submit(transactions), now(self.started))?)
    }

    fn broadcast(&self, announcement: Announcement) {
        let port = match announcement {
            Announcement::Status(_) => self.sockets.status_port,
            Announcement::Transaction(_) => self.sockets.transaction_port,
        };
        let bytes = Datagram::new(&self.network, announcement).to_bytes();
        // Everything that is broadcast is broadcast again: one that finds no room is no loss.
        let _ = self.datagrams.try_send((bytes, port));
    }
}

/// Starts a task without which the node would be deaf or mute, and nobody would know: that it panics ends the loop with
/// an error. The tasks of connections need none of this: the node has a deadline for whatever it asks of a peer.
fn spawn_vital(
    events: &mpsc::Sender<Event>,
    part: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let (events, task) = (events.clone(), tokio::spawn(task));
    tokio::spawn(async move {
        if task.await.is_err_and(|ended| ended.is_panic()) {
            // A loop that has ended need not be told.
            let _ = events.send(Event::Failed(DriverError::Panicked { part })).await;
        }
    });
}

/// Moves datagrams from a socket to the loop, and decodes them on the way.
async fn receive(
    mut receiver: Receiver,
    network: NetworkId,
    heard: mpsc::Sender<Input>,
    dropped: Arc<Dropped>,
) {
    loop {
        let input = match receiver.receive().await {
            Err(_) => {
                dropped.malformed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Ok((bytes, from)) => match Datagram::announcement_of(bytes, &network) {
                Ok(announcement) => Input::Announcement { from: SocketAddr::ip(&from), announcement },
                Err(DatagramError::OtherNetwork { prefix }) => {
                    dropped.foreign.fetch_add(1, Ordering::Relaxed);
                    Input::ForeignNetwork { from: from.ip(), prefix }
                }
                Err(_) => {
                    dropped.malformed.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            },
        };
        match heard.try_send(input) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                dropped.overflow.fetch_add(1, Ordering::Relaxed);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

async fn broadcast(mut broadcaster: Broadcaster, mut to_send: mpsc::Receiver<(Vec<u8>, u16)>) {
    while let Some((datagram, port)) = to_send.recv().await {
        // An interface that is down now may be up at the next interval.
        let _ = broadcaster.send(&datagram, port).await;
    }
}

#[cfg(test)]
mod tests;
