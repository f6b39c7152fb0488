//! The world that machines live in: time, which jumps from one event to the next; a network that delays, loses and
//! doubles; connections that break; and what each machine's program decides, carried out.
//!
//! It stands in for `driver` and the operating system. Everything follows from the seed: events are ordered by time,
//! and by when they were scheduled.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::byzantine::{self, Mind};
use super::disk::Disk;
use super::machine::{Machine, MachineId, PORT, Role, at, ip, name};
use super::oracle::Oracle;
use super::random::Random;
use super::{Counts, Verdict, Violation};
use crate::chain::{Chain, ChainError};
use crate::net::limits::IDLE_GIVES_WAY;
use crate::node::{ConnectionId, Effect, Input, LinkId, Node, NodeConfig, Notice, Now, Target, serve};
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::{Store, StoreError, Tip};
use crate::wire::{Announcement, Hello, Request, Response, decode_frame};

/// More effects than this after one input are a loop.
const MAX_EFFECTS: usize = 50_000;
/// True time when a history begins, after genesis: a month, so that clocks may be wrong both ways.
const START_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// What the network, the disks and the processors are like.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// How long a message takes.
    pub(crate) latency: Range<Duration>,
    /// Datagrams lost, in a thousand.
    pub(crate) loss: u64,
    /// Datagrams that come twice, in a thousand.
    pub(crate) doubled: u64,
    /// How long signature checks take.
    pub(crate) checking: Range<Duration>,
    /// How long a write takes.
    pub(crate) writing: Range<Duration>,
    /// Bytes a second that a block server can send; `None`: any number.
    pub(crate) uplink: Option<u64>,
    /// The most callers that a block server takes.
    pub(crate) callers: usize,
    /// A status that others have sent already reaches this many machines, chosen by chance; see `report`.
    pub(crate) echo_reaches: Option<usize>,
}

/// Something on its way.
pub(super) enum Event {
    Wake(MachineId),
    /// For one run of a program only.
    Input(MachineId, u32, Box<Input>),
    Datagram(MachineId, IpAddr, Arc<Announcement>),
    Call {
        caller: MachineId,
        run: u32,
        link: LinkId,
        target: Target,
    },
    Greeted {
        connection: u64,
        hello: Box<Hello>,
    },
    Request {
        connection: u64,
        request: Box<Request>,
    },
    Response {
        connection: u64,
        response: Box<Response>,
    },
    /// The caller closed it.
    Closed {
        connection: u64,
    },
    /// The server closed it, or its program ended.
    HungUp {
        connection: u64,
        reason: &'static str,
    },
    /// The oldest write of a machine is done.
    Write(MachineId, u32),
    /// A search for a nonce succeeds.
    Found(MachineId, u64),
    /// Something that the history has in store.
    Planned(super::history::Planned),
}

struct Connection {
    caller: MachineId,
    link: LinkId,
    server: MachineId,
    /// Requests that wait for the one in service.
    waiting: VecDeque<Request>,
    in_service: bool,
    /// Something on it was lost: nothing comes through any more, and neither side is told.
    broken: bool,
    /// When what was sent last arrives, at the server and at the caller: nothing overtakes.
    last_up: Duration,
    last_down: Duration,
}

/// What a block server does with a request.
pub(super) enum Reply {
    Answer(Vec<Response>),
    /// One after the other, so far apart.
    Drip(Duration, Vec<Response>),
    Never,
    HangUp,
}

/// See the module.
pub(crate) struct World {
    pub(crate) rules: Arc<Rules>,
    pub(crate) now: Duration,
    pub(crate) machines: Vec<Machine>,
    pub(crate) weather: Weather,
    pub(crate) random: Random,
    pub(crate) counts: Counts,
    pub(crate) oracle: Oracle,
    /// Whether nonces are found.
    pub(crate) mining: bool,
    /// When each block first became the tip of each machine that has it, for reports.
    pub(crate) arrivals: Option<HashMap<crate::hash::BlockId, Vec<Duration>>>,
    pub(crate) payers: Vec<super::history::Payer>,
    pub(crate) status_interval: Duration,
    pub(crate) pool_interval: Duration,
    /// A fingerprint of all that happened.
    pub(crate) trace: u64,
    /// Whether what happens is printed.
    pub(crate) tell: Option<fn(Duration, &str)>,
    verifier: Arc<dyn SignatureVerifier>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    connections: HashMap<u64, Connection>,
}

struct Scheduled {
    at: Duration,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl World {
    pub(crate) fn new(
        rules: Arc<Rules>,
        verifier: Arc<dyn SignatureVerifier>,
        weather: Weather,
        random: Random,
    ) -> Self {
        Self {
            now: Duration::ZERO,
            machines: Vec::new(),
            weather,
            random,
            counts: Counts::default(),
            oracle: Oracle::new(&rules, verifier.clone()),
            mining: true,
            arrivals: None,
            payers: Vec::new(),
            status_interval: Duration::from_secs(2),
            pool_interval: Duration::from_secs(10),
            trace: 0,
            tell: None,
            verifier,
            queue: BinaryHeap::new(),
            sequence: 0,
            connections: HashMap::new(),
            rules,
        }
    }

    // ── Machines ────────────────────────────────────────────────────────────────────────────────────

    /// A new machine, switched off.
    pub(crate) fn add(&mut self, role: Role, disk: Disk) -> MachineId {
        let tip = disk.read::<_, StoreError>(|reader| reader.tip()).expect("a new disk can be read");
        self.machines.push(Machine {
            role,
            disk,
            node: None,
            run: 0,
            template: None,
            search: 0,
            searching: false,
            writes: VecDeque::new(),
            killed_in_next_write: false,
            acknowledged: tip,
            side: 0,
            links: Default::default(),
            callers: Default::default(),
            wake_at: Duration::MAX,
            line_free_at: Duration::ZERO,
            mind: Mind::default(),
        });
        self.machines.len() - 1
    }

    /// Starts a machine's program, unless it runs.
    pub(crate) fn start(&mut self, id: MachineId) -> Verdict {
        if self.machines[id].node.is_some() {
            return Ok(());
        }
        let now = self.now_of(id);
        let seed = self.random.number();
        let machine = &mut self.machines[id];
        machine.disk.mend();
        machine.run += 1;
        let role = &machine.role;
        let config = NodeConfig {
            instance: u64::from(machine.run) << 32 | (id as u64 + 1),
            seed,
            agent: format!("machine/{id}"),
            block_server_port: if role.serves_blocks { PORT } else { 0 },
            status_interval: self.status_interval,
            pool_interval: self.pool_interval,
            named_peers: role.named.iter().map(|id| name(*id)).collect(),
            pool: role.pool,
            miner: role.miner.as_ref().map(|key| key.address()),
            reward_data: Vec::new(),
        };
        let chain = Chain::new(self.rules.clone(), machine.disk.clone());
        let node = Node::new(chain, config, self.verifier.clone(), now)
            .map_err(|error| Violation(format!("machine {id} cannot start: {error}")))?;
        let tip = *node.tip();
        if machine.acknowledged.is_better_than(&tip) {
            return Err(Violation(format!(
                "machine {id} comes back with {tip:?} and had {:?}",
                machine.acknowledged
            )));
        }
        machine.node = Some(node);
        self.note(|| format!("machine {id} starts at height {}: {}", tip.height, self.machines[id].role));
        self.after(id, None)
    }

    /// Ends a machine's program at once; what it was writing may or may not be written.
    pub(crate) fn kill(&mut self, id: MachineId) -> Verdict {
        if self.machines[id].node.is_none() {
            return Ok(());
        }
        self.note(|| format!("machine {id} is killed"));
        self.counts.kills += 1;
        if let Some(blocks) = self.machines[id].writes.pop_front() {
            self.cut_short(id, &blocks)?;
        }
        self.gone(id);
        Ok(())
    }

    /// A write that is under way when the power goes: all of it or nothing.
    fn cut_short(&mut self, id: MachineId, blocks: &[crate::consensus::CheckedBlock]) -> Verdict {
        let changes = self.random.below(4 * blocks.len() as u64 + 4);
        let machine = &self.machines[id];
        let Some(node) = &machine.node else { return Ok(()) };
        let before = snapshot(&machine.disk);
        machine.disk.fail_after(changes);
        let result = node.chain().connect(blocks);
        machine.disk.mend();
        if result.is_err() {
            self.counts.cut_writes += 1;
            if snapshot(&self.machines[id].disk) != before {
                return Err(Violation(format!("a write of machine {id} that failed left something behind")));
            }
        } else {
            self.counts.whole_writes += 1;
        }
        Ok(())
    }

    /// The program of a machine has ended: whoever spoke with it finds out.
    fn gone(&mut self, id: MachineId) {
        let machine = &mut self.machines[id];
        machine.node = None;
        machine.template = None;
        machine.searching = false;
        machine.writes.clear();
        machine.wake_at = Duration::MAX;
        let callers = std::mem::take(&mut machine.callers);
        let links = std::mem::take(&mut machine.links);
        for connection in callers {
            self.after_latency(Event::HungUp { connection, reason: "connection reset by peer" });
        }
        for connection in links.into_values().filter(|connection| *connection != 0) {
            self.after_latency(Event::Closed { connection });
        }
    }

    /// The clocks of a machine.
    pub(crate) fn now_of(&self, id: MachineId) -> Now {
        let true_ms = self.rules.genesis_time.millis() + START_MS + self.now.as_millis() as u64;
        let wall = true_ms.saturating_add_signed(self.machines[id].role.clock_offset_ms);
        Now { monotonic: self.now, wall: crate::time::Timestamp::from_millis(wall) }
    }

    /// What is being looked at is told, where somebody listens.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(tell) = self.tell {
            tell(self.now, &what());
        }
    }

    /// The best tip of these machines' programs.
    pub(crate) fn best_tip(&self, of: impl IntoIterator<Item = MachineId>) -> Option<Tip> {
        let tips = of.into_iter().filter_map(|id| self.machines[id].node.as_ref().map(|node| *node.tip()));
        tips.reduce(|best, tip| if tip.is_better_than(&best) { tip } else { best })
    }

    // ── Time ────────────────────────────────────────────────────────────────────────────────────────

    /// Lets everything go on for so long.
    pub(crate) fn run_for(&mut self, time: Duration) -> Verdict {
        let end = self.now + time;
        while self.queue.peek().is_some_and(|Reverse(next)| next.at <= end) {
            let Some(Reverse(Scheduled { at, event, .. })) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            self.happen(event)?;
        }
        self.now = end;
        Ok(())
    }

    pub(super) fn schedule(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at, sequence: self.sequence, event }));
    }

    fn after_latency(&mut self, event: Event) {
        let at = self.now + self.latency();
        self.schedule(at, event);
    }

    fn latency(&mut self) -> Duration {
        self.random.between(&self.weather.latency)
    }

    fn fingerprint(&mut self, kind: u64, whom: u64) {
        let now = self.now.as_nanos() as u64;
        for number in [now, kind, whom] {
            self.trace = (self.trace ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
    }

    fn happen(&mut self, event: Event) -> Verdict {
        self.counts.events += 1;
        match event {
            Event::Wake(id) => {
                if self.now >= self.machines[id].wake_at {
                    self.machines[id].wake_at = Duration::MAX;
                    self.fingerprint(1, id as u64);
                    self.tick(id)?;
                }
                Ok(())
            }
            Event::Input(id, run, input) => {
                if self.machines[id].run == run {
                    self.give(id, *input)
                } else {
                    Ok(())
                }
            }
            Event::Datagram(id, from, announcement) => {
                self.counts.datagrams += 1;
                byzantine::overhears(self, id, &announcement);
                self.give(id, Input::Announcement { from, announcement: (*announcement).clone() })
            }
            Event::Call { caller, run, link, target } => self.call(caller, run, link, &target),
            Event::Greeted { connection, hello } => match self.connections.get(&connection) {
                Some(open) => {
                    let (caller, link) = (open.caller, open.link);
                    self.give(caller, Input::Connected { link, hello: *hello })
                }
                None => Ok(()),
            },
            Event::Request { connection, request } => {
                if let Some(open) = self.connections.get_mut(&connection) {
                    open.waiting.push_back(*request);
                    self.serve_next(connection)?;
                }
                Ok(())
            }
            Event::Response { connection, response } => match self.connections.get(&connection) {
                Some(open) => {
                    let (caller, link) = (open.caller, open.link);
                    self.give(caller, Input::Response { link, response: *response })
                }
                None => Ok(()),
            },
            Event::Closed { connection } => match self.connections.remove(&connection) {
                Some(open) => {
                    self.machines[open.server].callers.remove(&connection);
                    let connection = ConnectionId(connection);
                    self.give(open.server, Input::CallerGone { connection })
                }
                None => Ok(()),
            },
            Event::HungUp { connection, reason } => match self.connections.remove(&connection) {
                Some(open) => {
                    self.machines[open.server].callers.remove(&connection);
                    if self.machines[open.caller].links.remove(&open.link).is_some() {
                        let input = Input::Disconnected { link: open.link, reason: reason.to_owned() };
                        self.give(open.caller, input)?;
                    }
                    self.give(open.server, Input::CallerGone { connection: ConnectionId(connection) })
                }
                None => Ok(()),
            },
            Event::Write(id, run) if self.machines[id].run == run => self.write(id),
            Event::Write(..) => Ok(()),
            Event::Found(id, search) => self.found(id, search),
            Event::Planned(planned) => super::history::happens(self, planned),
        }
    }

    // ── Programs ────────────────────────────────────────────────────────────────────────────────────

    /// Hands a machine's program an input, if it runs.
    pub(super) fn give(&mut self, id: MachineId, input: Input) -> Verdict {
        let now = self.now_of(id);
        self.fingerprint(kind_of(&input), id as u64);
        let Some(node) = &mut self.machines[id].node else { return Ok(()) };
        let before = *node.tip();
        match node.handle(input, now) {
            Ok(()) => self.after(id, Some(before)),
            Err(error) => self.store_failed(id, &error),
        }
    }

    fn tick(&mut self, id: MachineId) -> Verdict {
        let now = self.now_of(id);
        let Some(node) = &mut self.machines[id].node else { return Ok(()) };
        let before = *node.tip();
        if let Err(error) = node.tick(now) {
            return self.store_failed(id, &error);
        }
        if node.next_deadline() <= now.monotonic {
            return Err(Violation(format!("machine {id} wants to be woken in the past: a busy loop")));
        }
        self.after(id, Some(before))
    }

    /// A program ends when its disk fails. It must have a reason.
    fn store_failed(&mut self, id: MachineId, error: &StoreError) -> Verdict {
        if !matches!(error, StoreError::Io { .. }) {
            return Err(Violation(format!("machine {id}: {error}")));
        }
        self.note(|| format!("machine {id} ends: {error}"));
        self.counts.failed_disks += 1;
        self.gone(id);
        let back = self.now + Duration::from_secs(5);
        self.schedule(back, Event::Planned(super::history::Planned::Start(id)));
        Ok(())
    }

    /// After a program did something: carries it out, and holds it against what must always be true.
    fn after(&mut self, id: MachineId, before: Option<Tip>) -> Verdict {
        self.carry_out(id)?;
        self.check(id, before)?;
        let now = self.now;
        let machine = &mut self.machines[id];
        let Some(node) = &machine.node else { return Ok(()) };
        let deadline = node.next_deadline();
        if deadline <= now {
            // What it put off until its news are out.
            return self.tick(id);
        }
        if deadline < machine.wake_at {
            machine.wake_at = deadline;
            self.schedule(deadline, Event::Wake(id));
        }
        Ok(())
    }

    /// What must be true of a machine at any time.
    fn check(&mut self, id: MachineId, before: Option<Tip>) -> Verdict {
        let machine = &self.machines[id];
        let Some(node) = &machine.node else { return Ok(()) };
        node.load().check().map_err(|beyond| Violation(format!("machine {id} holds {beyond}")))?;
        let tip = *node.tip();
        if before == Some(tip) {
            return Ok(());
        }
        if let Some(before) = before.filter(|before| !tip.is_better_than(before)) {
            return Err(Violation(format!("machine {id} went back from {before:?} to {tip:?}")));
        }
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.entry(tip.id).or_default().push(self.now);
        }
        if machine.is_honest() {
            let checked = self.oracle.check(&machine.disk);
            checked
                .map_err(|problem| Violation(format!("machine {id} at height {}: {problem}", tip.height)))?;
        }
        Ok(())
    }

    /// Does what a program decided.
    fn carry_out(&mut self, id: MachineId) -> Verdict {
        for count in 0.. {
            if count >= MAX_EFFECTS {
                return Err(Violation(format!("machine {id} never stops")));
            }
            let now = self.now;
            let Some(effect) = self.machines[id].node.as_mut().and_then(Node::next_effect) else { break };
            let run = self.machines[id].run;
            match effect {
                Effect::Broadcast(announcement) => {
                    if let Some(announcement) = byzantine::says(self, id, announcement) {
                        self.broadcast(id, ip(id), &Arc::new(announcement));
                    }
                }
                Effect::Connect { link, target } => {
                    self.machines[id].links.insert(link, 0);
                    self.counts.calls += 1;
                    self.after_latency(Event::Call { caller: id, run, link, target });
                }
                Effect::Send { link, request } => self.send(id, link, request),
                Effect::Disconnect { link } => {
                    let connection = self.machines[id].links.remove(&link).unwrap_or(0);
                    if let Some(open) = self.connections.get(&connection) {
                        let at = open.last_up.max(now);
                        self.schedule(at, Event::Closed { connection });
                    }
                }
                Effect::Respond { connection: ConnectionId(connection), response } => {
                    if let Some(open) = self.connections.get_mut(&connection) {
                        if !std::mem::take(&mut open.in_service) {
                            return Err(Violation(format!("machine {id} answers what nobody asked")));
                        }
                        self.respond(connection, response, 0);
                        self.serve_next(connection)?;
                    }
                }
                Effect::Check(job) => {
                    let Some(node) = &self.machines[id].node else { break };
                    let checked = job.run(node.checker());
                    let at = now + self.random.between(&self.weather.checking);
                    self.schedule(at, Event::Input(id, run, Box::new(Input::Checked(checked))));
                }
                Effect::Offer(blocks) => {
                    self.machines[id].writes.push_back(blocks);
                    if self.machines[id].writes.len() == 1 {
                        self.begin_write(id);
                    }
                }
                Effect::Mine(template) => {
                    self.machines[id].template = template;
                    self.search(id);
                }
                Effect::Notice(notice) => self.noticed(id, &notice)?,
            }
        }
        Ok(())
    }

    fn noticed(&mut self, id: MachineId, notice: &Notice) -> Verdict {
        match notice {
            Notice::TipChanged { change, .. } if self.machines[id].is_honest() => {
                self.counts.tips += 1;
                let depth = change.reverted.len();
                if depth > 0 {
                    self.counts.reorganisations += 1;
                    self.counts.deepest = self.counts.deepest.max(depth);
                    *self.counts.depths.entry(depth).or_default() += 1;
                }
                self.note(|| {
                    let Tip { id: tip, height, time, .. } = change.new;
                    let early_ms = time.millis_since(self.now_of(0).wall);
                    format!(
                        "machine {id} is at height {height}, {} ({depth} undone, {early_ms} ms early)",
                        tip.short()
                    )
                });
            }
            Notice::PeerMisbehaved { target, reason, .. } => {
                self.note(|| format!("machine {id} bans {target}: {reason}"));
                self.counts.bans += 1;
                let banned = at(target).and_then(|banned| self.machines.get(banned));
                if self.machines[id].is_honest() && banned.is_some_and(Machine::is_honest) {
                    return Err(Violation(format!("machine {id} bans the honest {target}: {reason}")));
                }
            }
            Notice::InvalidBlock { id: block, reason } => {
                self.note(|| format!("machine {id} finds {block} invalid: {reason}"));
                self.counts.invalid_blocks += 1;
                if self.machines[id].is_honest() && self.oracle.knows(block) {
                    return Err(Violation(format!(
                        "machine {id} condemns the valid block {block}: {reason}"
                    )));
                }
            }
            Notice::BlockWaits { .. } => self.counts.waiting_blocks += 1,
            Notice::PaymentRefused { .. } => self.counts.refused_payments += 1,
            Notice::PeerFailed { target, reason, .. } => {
                self.note(|| format!("machine {id} leaves {target} alone: {reason}"));
            }
            Notice::Idle(idle) => self.note(|| format!("machine {id} does not mine: {idle:?}")),
            _ => {}
        }
        Ok(())
    }

    // ── The disk ────────────────────────────────────────────────────────────────────────────────────

    fn begin_write(&mut self, id: MachineId) {
        if std::mem::take(&mut self.machines[id].killed_in_next_write) {
            self.schedule(self.now, Event::Planned(super::history::Planned::Kill(id)));
        }
        let at = self.now + self.random.between(&self.weather.writing);
        let run = self.machines[id].run;
        self.schedule(at, Event::Write(id, run));
    }

    fn write(&mut self, id: MachineId) -> Verdict {
        let machine = &mut self.machines[id];
        let Some(node) = &machine.node else { return Ok(()) };
        let Some(blocks) = machine.writes.pop_front() else { return Ok(()) };
        let before = machine.disk.is_about_to_fail().then(|| snapshot(&machine.disk));
        let result = node.chain().connect(&blocks);
        self.counts.writes += 1;
        if let Err(ChainError::Store(_)) = &result
            && before.is_some_and(|before| snapshot(&machine.disk) != before)
        {
            return Err(Violation(format!("a write of machine {id} that failed left something behind")));
        }
        if let Ok(outcome) = &result
            && let Some(change) = &outcome.change
        {
            machine.acknowledged = change.new;
        }
        if !machine.writes.is_empty() {
            self.begin_write(id);
        }
        // The program may be killed between the write and the news of it.
        let at = self.now + self.random.between(&self.weather.writing) / 4;
        let run = self.machines[id].run;
        self.schedule(at, Event::Input(id, run, Box::new(Input::Offered { blocks, result })));
        Ok(())
    }

    // ── Mining ──────────────────────────────────────────────────────────────────────────────────────

    /// Searches for a nonce of what there is to work on, unless that is being done. How long it takes does not
    /// depend on how long it took already, so a new block of the same difficulty changes nothing.
    fn search(&mut self, id: MachineId) {
        let machine = &mut self.machines[id];
        let Some(template) = &machine.template else { return };
        let rate = machine.role.hash_rate;
        if machine.searching || rate <= 0.0 {
            return;
        }
        machine.searching = true;
        machine.search += 1;
        let search = machine.search;
        let mean = Duration::from_secs_f64(template.header.bits.to_target().work().to_f64() / rate);
        let wait = self.random.waiting_time(mean);
        self.note(|| format!("machine {id} needs {wait:.1?} for its next block, {mean:.1?} on average"));
        self.schedule(self.now + wait, Event::Found(id, search));
    }

    fn found(&mut self, id: MachineId, search: u64) -> Verdict {
        let machine = &mut self.machines[id];
        if machine.search != search || !machine.searching {
            return Ok(());
        }
        machine.searching = false;
        let template = machine.template.clone();
        if let Some(template) = template.filter(|_| self.mining)
            && !byzantine::finds(self, id, &template)
        {
            let mut header = template.header;
            crate::testing::find_nonce(&mut header, true);
            let miner = self.machines[id].role.miner.as_ref();
            let seal = miner.filter(|_| self.rules.has_authorities()).map(|key| key.seal(&header.id()));
            self.counts.found += 1;
            self.give(id, Input::Mined { template, nonce: header.nonce, seal })?;
        }
        self.search(id);
        Ok(())
    }

    // ── The network ─────────────────────────────────────────────────────────────────────────────────

    /// Whether two machines can reach each other now.
    pub(super) fn reach(&self, a: MachineId, b: MachineId) -> bool {
        self.machines[a].side == self.machines[b].side
    }

    /// A machine sends a datagram to everybody, perhaps in another's name.
    pub(super) fn broadcast(&mut self, sender: MachineId, from: IpAddr, announcement: &Arc<Announcement>) {
        if !self.machines[sender].role.broadcast {
            return;
        }
        match self.weather.echo_reaches {
            Some(reaches) if reaches < self.machines.len() && self.is_echo(announcement) => {
                for _ in 0..reaches {
                    let to = self.random.index(self.machines.len());
                    self.datagram(sender, to, from, announcement);
                }
            }
            _ => (0..self.machines.len()).for_each(|to| self.datagram(sender, to, from, announcement)),
        }
    }

    /// Whether a status tells of a tip that is not only its sender's.
    fn is_echo(&self, announcement: &Announcement) -> bool {
        let Announcement::Status(status) = announcement else { return false };
        let arrived = self.arrivals.as_ref().and_then(|arrivals| arrivals.get(&status.tip));
        arrived.is_none_or(|machines| machines.len() > 1)
    }

    /// A datagram on its way to one machine, if it gets there.
    pub(super) fn datagram(
        &mut self,
        sender: MachineId,
        to: MachineId,
        from: IpAddr,
        announcement: &Arc<Announcement>,
    ) {
        if to == sender || !self.machines[to].role.broadcast || !self.reach(sender, to) {
            return;
        }
        let times = 1 + u32::from(self.random.happens(self.weather.doubled));
        for _ in 0..times {
            if self.random.happens(self.weather.loss) {
                self.counts.lost_datagrams += 1;
            } else {
                self.after_latency(Event::Datagram(to, from, announcement.clone()));
            }
        }
    }

    /// A call arrives, or does not.
    fn call(&mut self, caller: MachineId, run: u32, link: LinkId, target: &Target) -> Verdict {
        if self.machines[caller].run != run || !self.machines[caller].links.contains_key(&link) {
            return Ok(());
        }
        let server = at(target).filter(|id| *id < self.machines.len());
        let Some(server) = server.filter(|server| self.reach(caller, *server)) else { return Ok(()) };
        let wall = self.now_of(server).wall;
        let full =
            self.machines[server].callers.len() >= self.weather.callers && !self.somebody_gives_way(server);
        let Some(hello) = self.machines[server].node.as_ref().map(|node| node.hello(wall)).filter(|_| !full)
        else {
            self.machines[caller].links.remove(&link);
            self.counts.refused_calls += 1;
            let reason = "connection refused".to_owned();
            let input = Input::Disconnected { link, reason };
            self.after_latency(Event::Input(caller, run, Box::new(input)));
            return Ok(());
        };
        let Some(callers_hello) =
            self.machines[caller].node.as_ref().map(|node| node.hello(self.now_of(caller).wall))
        else {
            return Ok(());
        };
        self.sequence += 1;
        let id = self.sequence;
        self.machines[caller].links.insert(link, id);
        self.machines[server].callers.insert(id);
        let arrives = self.now + self.latency();
        self.connections.insert(
            id,
            Connection {
                caller,
                link,
                server,
                waiting: VecDeque::new(),
                in_service: false,
                broken: false,
                last_up: self.now,
                last_down: arrives,
            },
        );
        let from = SocketAddr::new(ip(caller), 40_000);
        self.schedule(arrives, Event::Greeted { connection: id, hello: Box::new(hello) });
        self.give(server, Input::Caller { from, hello: callers_hello })
    }

    /// Whether a caller of a full block server that has had nothing to ask for long gives way to a new one.
    fn somebody_gives_way(&mut self, server: MachineId) -> bool {
        let callers = self.machines[server].callers.iter();
        let idle = callers.filter_map(|id| {
            let open = self.connections.get(id).filter(|open| open.waiting.is_empty() && !open.in_service)?;
            Some((open.last_up.max(open.last_down), *id))
        });
        let Some((since, connection)) = idle.min().filter(|(since, _)| *since + IDLE_GIVES_WAY <= self.now)
        else {
            return false;
        };
        self.note(|| format!("machine {server} sends somebody away who is idle since {since:.1?}"));
        self.machines[server].callers.remove(&connection);
        self.schedule(self.now, Event::HungUp { connection, reason: "the peer hung up" });
        true
    }

    /// Ends one of a machine's calls, as a switch that is turned off would.
    pub(super) fn cut(&mut self, id: MachineId) {
        let open: Vec<u64> = self.machines[id].links.values().copied().filter(|link| *link != 0).collect();
        if let Some(connection) = open.get(self.random.index(open.len())).copied() {
            self.counts.cut_connections += 1;
            self.schedule(self.now, Event::HungUp { connection, reason: "connection reset by peer" });
        }
    }

    /// Serves the oldest request of a connection, unless one is in service.
    fn serve_next(&mut self, id: u64) -> Verdict {
        while let Some(open) = self.connections.get_mut(&id).filter(|open| !open.in_service) {
            let Some(request) = open.waiting.pop_front() else { return Ok(()) };
            let server = open.server;
            let Some(node) = &self.machines[server].node else { return Ok(()) };
            if !serve::is_about_chain(&request) {
                open.in_service = true;
                self.give(server, Input::Request { connection: ConnectionId(id), request })?;
                continue;
            }
            let answers = chain_answers(node.chain(), &request)?;
            match byzantine::answers(self, server, &request, answers) {
                Reply::Answer(responses) => {
                    for (response, bytes) in responses.into_iter().map(|response| {
                        let bytes = bytes_of(&response);
                        (response, bytes)
                    }) {
                        self.respond(id, response, bytes);
                    }
                }
                Reply::Drip(time, responses) => {
                    for response in responses {
                        if let Some(open) = self.connections.get_mut(&id) {
                            open.last_down = open.last_down.max(self.now) + time;
                        }
                        self.respond(id, response, 0);
                    }
                }
                Reply::Never => {}
                Reply::HangUp => {
                    let reason = "the peer hung up";
                    self.schedule(self.now, Event::HungUp { connection: id, reason });
                }
            }
        }
        Ok(())
    }

    fn respond(&mut self, id: u64, response: Response, bytes: u64) {
        let latency = self.latency();
        let Some(open) = self.connections.get_mut(&id) else { return };
        let line = &mut self.machines[open.server].line_free_at;
        if let Some(uplink) = self.weather.uplink {
            *line = (*line).max(self.now) + Duration::from_secs_f64(bytes as f64 / uplink as f64);
        }
        let at = (self.now.max(*line) + latency).max(open.last_down);
        open.last_down = at;
        if self.carries(id) {
            self.counts.answers += 1;
            self.schedule(at, Event::Response { connection: id, response: Box::new(response) });
        }
    }

    fn send(&mut self, id: MachineId, link: LinkId, request: Request) {
        let Some(connection) = self.machines[id].links.get(&link).copied() else { return };
        let latency = self.latency();
        let Some(open) = self.connections.get_mut(&connection) else { return };
        let at = (self.now + latency).max(open.last_up);
        open.last_up = at;
        if self.carries(connection) {
            self.schedule(at, Event::Request { connection, request: Box::new(request) });
        }
    }

    /// Whether what is sent on a connection arrives; it is broken for good when something does not.
    fn carries(&mut self, connection: u64) -> bool {
        let Some(open) = self.connections.get(&connection) else { return false };
        let carries = !open.broken && self.reach(open.caller, open.server);
        if let Some(open) = self.connections.get_mut(&connection) {
            open.broken = !carries;
        }
        carries
    }
}

/// What an honest block server answers from its chain.
pub(super) fn chain_answers(chain: &Chain<Disk>, request: &Request) -> Result<Vec<Response>, Violation> {
    let failed = |error: StoreError| Violation(format!("a request cannot be served: {error}"));
    let frames: Vec<Vec<u8>> = match request {
        Request::GetBlocks { ids } => {
            let mut frames = Vec::with_capacity(ids.len());
            for id in ids {
                let mut frame = Vec::new();
                chain.store().read(|reader| serve::block(reader, id, &mut frame)).map_err(failed)?;
                frames.push(frame);
            }
            frames
        }
        request => {
            let answer = chain.store().read(|reader| serve::answer(reader, chain.rules(), request));
            answer.map_err(failed)?.into_iter().collect()
        }
    };
    let decoded = frames.iter().map(|frame| decode_frame(&frame[4..]));
    decoded.collect::<Result<_, _>>().map_err(|error| Violation(format!("an answer is malformed: {error}")))
}

/// About how many bytes an answer takes on the line.
fn bytes_of(response: &Response) -> u64 {
    let bytes = match response {
        Response::Block(block) => 200 + block.body.bytes().len(),
        Response::Headers(headers) => 20 + 97 * headers.len(),
        Response::Compact(compact) => 200 + 32 * compact.ids.len(),
        Response::Transactions(transactions) => 700 * transactions.len(),
        _ => 40,
    };
    bytes as u64
}

/// What a disk holds, as far as a failed write could change it.
fn snapshot(disk: &Disk) -> (Option<Tip>, Vec<(crate::address::Address, crate::ledger::Account)>) {
    let mut accounts = Vec::new();
    let tip = disk.read::<_, StoreError>(|reader| {
        reader.for_each_account(&mut |address, account| accounts.push((address, account)))?;
        reader.tip()
    });
    (tip.ok(), accounts)
}

fn kind_of(input: &Input) -> u64 {
    match input {
        Input::Announcement { .. } => 10,
        Input::ForeignNetwork { .. } => 11,
        Input::Connected { .. } => 12,
        Input::Disconnected { .. } => 13,
        Input::Response { .. } => 14,
        Input::Caller { .. } => 15,
        Input::Request { .. } => 16,
        Input::CallerGone { .. } => 17,
        Input::Checked(_) => 18,
        Input::Offered { .. } => 19,
        Input::Mined { .. } => 20,
        Input::Submit(_) => 21,
        Input::CallerAtFault { .. } => 22,
        Input::PeerAtFault { .. } => 23,
    }
}
