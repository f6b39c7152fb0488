//! A network in one process: nodes on stores in memory, and puppets that misbehave as told, joined by
//! message queues with random delays and driven by a virtual clock.
//!
//! Everything follows from the seed. Nothing waits: [`Network::run_until`] jumps from one event to the
//! next, however far apart. It also holds every node to what must be true at any time: its tip never gets
//! worse, it asks to be woken only in the future, it never has too much to say at once, and what it holds is within
//! its limits.

// What every test of a network speaks of.
pub(super) use crate::hash::{BlockId, TransactionId};
pub(super) use crate::time::Height;
pub(super) use crate::transaction::Transaction;
pub(super) use crate::wire::{Request, Response};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::*;
use crate::address::Address;
use crate::chain::Chain;
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::MemoryStore;
use crate::testing::{Branch, Key, StandIn};
use crate::wire::decode_frame;

/// Where every block server of the network listens.
pub(super) const PORT: u16 = 2607;
/// The connection of a caller who is no member.
const STRANGER: u64 = u64::MAX;
/// More effects than this after one input are a loop.
const MAX_EFFECTS: usize = 20_000;
/// How long [`Network::run_until`] may take of virtual time before the test fails.
const PATIENCE: Duration = Duration::from_secs(3_600);

pub(super) type TestNode = Node<MemoryStore>;

/// A node or a puppet, by its place in the network.
pub(super) type MemberId = usize;

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The stand-in verifier, which counts what it is asked.
#[derive(Default)]
pub(super) struct Counting(AtomicUsize);

impl Counting {
    pub(super) fn calls(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl SignatureVerifier for Counting {
    fn signer(&self, modulus: &[u8], digest: &[u8; 32], signature: &[u8]) -> Option<Address> {
        self.0.fetch_add(1, Ordering::Relaxed);
        StandIn.signer(modulus, digest, signature)
    }
}

/// What a node is like. The default is a miner that everybody hears.
#[derive(Clone)]
pub(super) struct Spec {
    /// Who mines, if it does.
    pub(super) miner: Option<Key>,
    pub(super) pool: Option<MempoolLimits>,
    pub(super) block_server: bool,
    /// Whether it hears what is broadcast, and is heard.
    pub(super) broadcast: bool,
    pub(super) named: Vec<MemberId>,
    /// The blocks that it has from the start.
    pub(super) blocks: Vec<CheckedBlock>,
    /// Its clock less everybody else's.
    pub(super) clock_ahead_ms: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            miner: Some(Key::new(900)),
            pool: Some(MempoolLimits::default()),
            block_server: true,
            broadcast: true,
            named: Vec::new(),
            blocks: Vec::new(),
            clock_ahead_ms: 0,
        }
    }
}

impl Spec {
    /// A miner with these blocks.
    pub(super) fn with(branch: &Branch) -> Self {
        Self { blocks: branch.blocks.clone(), ..Self::default() }
    }

    /// Follows the chain and no more.
    pub(super) fn wallet() -> Self {
        Self { miner: None, pool: None, block_server: false, ..Self::default() }
    }

    /// Pays its blocks to the key of this number.
    pub(super) fn mining_as(self, key: u64) -> Self {
        Self { miner: Some(Key::new(key)), ..self }
    }
}

/// What a puppet's block server does with a request.
pub(super) enum Reply {
    Now(Vec<Response>),
    After(Duration, Vec<Response>),
    /// One after the other, so far apart.
    Drip(Duration, Vec<Response>),
    Never,
    HangUp,
}

/// What a puppet's block server does with a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Greeting {
    Hello,
    Refuse,
    /// The call is never answered.
    Silence,
}

type Answers = Box<dyn FnMut(&Request) -> Reply>;

struct Puppet {
    greeting: Greeting,
    answers: Answers,
}

/// A node with its part of the driver's work.
pub(super) struct Member {
    actor: Actor,
    broadcast: bool,
    clock_ahead_ms: u64,
    miner: Option<Key>,
    pub(super) verifier: Arc<Counting>,
    /// What it works on.
    pub(super) template: Option<Arc<Template>>,
    pub(super) notices: Vec<(Duration, Notice)>,
    /// Which side of a partition it is on.
    side: u8,
}

#[expect(clippy::large_enum_variant, reason = "there are few of them")]
enum Actor {
    Node(TestNode),
    Puppet(Puppet),
}

/// A message on a connection, as it was sent.
pub(super) struct Traffic {
    pub(super) from: MemberId,
    pub(super) to: MemberId,
    pub(super) message: Message,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "tests match on what is inside")]
pub(super) enum Message {
    Request(Request),
    Response(Response),
}

struct Connection {
    caller: MemberId,
    link: LinkId,
    server: MemberId,
    /// Requests that wait for the one in service.
    waiting: VecDeque<Request>,
    in_service: bool,
    /// Something on it was lost: nothing comes through any more, and neither side is told.
    broken: bool,
    /// When what was sent last arrives, at the server and at the caller: nothing overtakes.
    last_up: Duration,
    last_down: Duration,
}

enum Event {
    Input(MemberId, Box<Input>),
    Call {
        caller: MemberId,
        link: LinkId,
        target: Target,
    },
    Request {
        connection: u64,
        request: Request,
    },
    Response {
        connection: u64,
        response: Box<Response>,
    },
    /// The caller closed it.
    Closed {
        connection: u64,
    },
    /// The server closed it.
    HangUp {
        connection: u64,
    },
}

/// See the module.
pub(super) struct Network {
    pub(super) rules: Arc<Rules>,
    pub(super) now: Duration,
    members: Vec<Member>,
    connections: BTreeMap<u64, Connection>,
    links: HashMap<(MemberId, LinkId), u64>,
    queue: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    random: u64,
    /// How long a message takes.
    pub(super) delay: Range<Duration>,
    /// How long a job takes.
    pub(super) job_time: Duration,
    pub(super) traffic: Vec<Traffic>,
    /// What nodes answered callers that are no members, see [`Network::ask`].
    pub(super) answers: Vec<Response>,
}

impl Network {
    pub(super) fn new(rules: &Arc<Rules>, seed: u64) -> Self {
        Self {
            rules: rules.clone(),
            now: Duration::ZERO,
            members: Vec::new(),
            connections: BTreeMap::new(),
            links: HashMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            random: seed,
            delay: millis(1)..millis(20),
            job_time: Duration::ZERO,
            traffic: Vec::new(),
            answers: Vec::new(),
        }
    }

    // ── Members ─────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn add(&mut self, spec: Spec) -> MemberId {
        let id = self.members.len();
        let chain = Chain::new(self.rules.clone(), MemoryStore::new(&self.rules));
        for blocks in spec.blocks.chunks(500) {
            let outcome = chain.connect(blocks).expect("a store in memory does not fail");
            assert_eq!(outcome.invalid, None);
        }
        let config = NodeConfig {
            instance: id as u64 + 1,
            seed: self.random(),
            agent: format!("test/{id}"),
            block_server_port: if spec.block_server { PORT } else { 0 },
            status_interval: seconds(2),
            pool_interval: seconds(10),
            named_peers: spec.named.iter().map(|id| name(*id)).collect(),
            pool: spec.pool,
            miner: spec.miner.as_ref().map(Key::address),
            reward_data: Vec::new(),
        };
        let verifier = Arc::new(Counting::default());
        let now = self.now_of(spec.clock_ahead_ms);
        let node = Node::new(chain, config, verifier.clone(), now).expect("a store in memory does not fail");
        self.members.push(Member {
            actor: Actor::Node(node),
            broadcast: spec.broadcast,
            clock_ahead_ms: spec.clock_ahead_ms,
            miner: spec.miner,
            verifier,
            template: None,
            notices: Vec::new(),
            side: 0,
        });
        self.carry_out(id);
        id
    }

    /// A block server that is no node.
    pub(super) fn add_puppet(
        &mut self,
        greeting: Greeting,
        answers: impl FnMut(&Request) -> Reply + 'static,
    ) -> MemberId {
        let puppet = Puppet { greeting, answers: Box::new(answers) };
        self.members.push(Member {
            actor: Actor::Puppet(puppet),
            broadcast: false,
            clock_ahead_ms: 0,
            miner: None,
            verifier: Arc::default(),
            template: None,
            notices: Vec::new(),
            side: 0,
        });
        self.members.len() - 1
    }

    pub(super) fn member(&self, id: MemberId) -> &Member {
        &self.members[id]
    }

    pub(super) fn node(&self, id: MemberId) -> &TestNode {
        match &self.members[id].actor {
            Actor::Node(node) => node,
            Actor::Puppet(_) => panic!("member {id} is a puppet"),
        }
    }

    fn node_mut(&mut self, id: MemberId) -> Option<&mut TestNode> {
        match &mut self.members[id].actor {
            Actor::Node(node) => Some(node),
            Actor::Puppet(_) => None,
        }
    }

    pub(super) fn tip(&self, id: MemberId) -> BlockId {
        self.node(id).tip().id
    }

    pub(super) fn height(&self, id: MemberId) -> u64 {
        self.node(id).tip().height.get()
    }

    pub(super) fn pool(&self, id: MemberId) -> &Mempool {
        self.node(id).pool().expect("the node keeps a pool")
    }

    pub(super) fn balance(&self, id: MemberId, address: &Address) -> u64 {
        let account = self.node(id).chain().store().read::<_, StoreError>(|reader| reader.account(address));
        account.expect("a store in memory does not fail").balance.units()
    }

    /// Whether all of these have the same tip.
    pub(super) fn agree(&self, members: &[MemberId]) -> bool {
        members.iter().all(|id| self.tip(*id) == self.tip(members[0]))
    }

    /// Connections that a member is opening or has open.
    pub(super) fn outbound(&self, id: MemberId) -> usize {
        self.links.keys().filter(|(caller, _)| *caller == id).count()
    }

    pub(super) fn noticed(&self, id: MemberId, what: impl Fn(&Notice) -> bool) -> usize {
        self.members[id].notices.iter().filter(|(_, notice)| what(notice)).count()
    }

    /// What one member sent another.
    pub(super) fn sent(&self, from: MemberId, to: MemberId) -> impl Iterator<Item = &Message> {
        self.traffic
            .iter()
            .filter(move |traffic| traffic.from == from && traffic.to == to)
            .map(|traffic| &traffic.message)
    }

    /// A member's clock is set.
    pub(super) fn set_clock_ahead_ms(&mut self, id: MemberId, clock_ahead_ms: u64) {
        self.members[id].clock_ahead_ms = clock_ahead_ms;
    }

    /// From now on nothing passes between members of different sides.
    pub(super) fn set_side(&mut self, id: MemberId, side: u8) {
        self.members[id].side = side;
    }

    // ── Doing things ────────────────────────────────────────────────────────────────────────────────

    /// Solves what a miner works on at the moment, at once.
    pub(super) fn mine(&mut self, id: MemberId) -> BlockId {
        let template = self.members[id].template.clone().expect("the miner has something to work on");
        let mut header = template.header;
        crate::testing::find_nonce(&mut header, true);
        let seal = self
            .rules
            .has_authorities()
            .then(|| self.members[id].miner.as_ref().expect("a miner has a key").seal(&header.id()));
        self.give(id, Input::Mined { template, nonce: header.nonce, seal });
        header.id()
    }

    /// A server closes all its connections.
    pub(super) fn hang_up(&mut self, server: MemberId) {
        let open = self.connections.iter().filter(|(_, open)| open.server == server);
        for connection in open.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.schedule(self.now, Event::HangUp { connection });
        }
    }

    /// The same so many times, each as soon as there is something to work on.
    pub(super) fn mine_many(&mut self, id: MemberId, blocks: usize) {
        for _ in 0..blocks {
            self.run_until("there is something to work on", |it| it.member(id).template.is_some());
            self.mine(id);
        }
    }

    /// Somebody at a block server says what chain it has.
    pub(super) fn say_status(&mut self, from: IpAddr, status: Status) {
        for id in 0..self.members.len() {
            let announcement = Announcement::Status(status);
            self.give(id, Input::Announcement { from, announcement });
        }
    }

    /// A puppet says that it has this chain.
    pub(super) fn claim(&mut self, puppet: MemberId, tip: &Tip) {
        self.say_status(ip(puppet), status(1_000 + puppet as u64, tip));
    }

    /// A payment is broadcast by nobody in particular.
    pub(super) fn say_payment(&mut self, id: MemberId, transaction: &Transaction) {
        self.say_payments(id, std::slice::from_ref(transaction));
    }

    /// Payments are broadcast so fast that the node takes them in at one go.
    pub(super) fn say_payments(&mut self, id: MemberId, transactions: &[Transaction]) {
        let inputs = transactions.iter().map(|transaction| Input::Announcement {
            from: Ipv4Addr::LOCALHOST.into(),
            announcement: Announcement::Transaction(transaction.clone()),
        });
        self.give_many(id, inputs);
    }

    /// Somebody who is no member asks a node something; the answer comes to [`Network::answers`].
    pub(super) fn ask(&mut self, id: MemberId, request: Request) {
        self.give(id, Input::Request { connection: ConnectionId(STRANGER), request });
    }

    /// Asks, and waits for the answer.
    pub(super) fn answer(&mut self, id: MemberId, request: Request) -> Response {
        self.answers.clear();
        self.ask(id, request);
        self.run_until("the question is answered", |network| !network.answers.is_empty());
        self.answers.remove(0)
    }

    /// Hands a node an input now.
    pub(super) fn give(&mut self, id: MemberId, input: Input) {
        self.give_many(id, [input]);
    }

    /// Hands a node several inputs at a time.
    pub(super) fn give_many(&mut self, id: MemberId, inputs: impl IntoIterator<Item = Input>) {
        let now = self.now_of(self.members[id].clock_ahead_ms);
        let Some(node) = self.node_mut(id) else { return };
        let before = *node.tip();
        node.handle_many(inputs, now).expect("a store in memory does not fail");
        let after = *node.tip();
        assert!(before == after || after.is_better_than(&before), "member {id} went back to a worse tip");
        if let Err(beyond) = node.load().check() {
            panic!("member {id} holds {beyond}");
        }
        self.carry_out(id);
        // What it put off until its news are out.
        if self.node_mut(id).is_some_and(|node| node.next_deadline() <= now.monotonic) {
            self.tick(id);
        }
    }

    fn tick(&mut self, id: MemberId) {
        let now = self.now_of(self.members[id].clock_ahead_ms);
        let Some(node) = self.node_mut(id) else { return };
        node.tick(now).expect("a store in memory does not fail");
        let deadline = node.next_deadline();
        assert!(deadline > now.monotonic, "member {id} wants to be woken in the past: a busy loop");
        self.carry_out(id);
    }

    // ── Time ────────────────────────────────────────────────────────────────────────────────────────

    /// Lets the network go on until something is so; says how long it took.
    pub(super) fn run_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Duration {
        let started = self.now;
        while !is_so(self) {
            assert!(self.now < started + PATIENCE, "it never came about that {what}");
            self.step(started + PATIENCE);
        }
        self.now - started
    }

    /// Lets the network go on for so long.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    fn step(&mut self, end: Duration) {
        let deadlines = self.members.iter().enumerate().filter_map(|(id, member)| match &member.actor {
            Actor::Node(node) => Some((node.next_deadline(), id)),
            Actor::Puppet(_) => None,
        });
        let deadline = deadlines.min();
        let event = self.queue.keys().next().map(|(at, _)| *at);
        match (deadline, event) {
            (deadline, Some(at)) if at <= end && deadline.is_none_or(|(deadline, _)| at <= deadline) => {
                self.now = self.now.max(at);
                if let Some((_, event)) = self.queue.pop_first() {
                    self.happen(event);
                }
            }
            (Some((deadline, id)), _) if deadline <= end => {
                self.now = self.now.max(deadline);
                self.tick(id);
            }
            _ => self.now = end,
        }
    }

    pub(super) fn now_of(&self, clock_ahead_ms: u64) -> Now {
        let month_ms = 30 * 24 * 3_600 * 1_000;
        let since_start_ms = self.now.as_millis() as u64 + clock_ahead_ms;
        Now { monotonic: self.now, wall: self.rules.genesis_time.plus_millis(month_ms + since_start_ms) }
    }

    /// SplitMix64.
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn some_delay(&mut self) -> Duration {
        let span = (self.delay.end - self.delay.start).as_micros().max(1) as u64;
        self.delay.start + Duration::from_micros(self.random() % span)
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    // ── What happens ────────────────────────────────────────────────────────────────────────────────

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(id, input) => self.give(id, *input),
            Event::Call { caller, link, target } => self.call(caller, link, &target),
            Event::Request { connection, request } => {
                if let Some(open) = self.connections.get_mut(&connection) {
                    open.waiting.push_back(request);
                    self.serve_next(connection);
                }
            }
            Event::Response { connection, response } => {
                if let Some(open) = self.connections.get(&connection) {
                    let (caller, link) = (open.caller, open.link);
                    self.give(caller, Input::Response { link, response: *response });
                }
            }
            Event::Closed { connection } => {
                if let Some(open) = self.connections.remove(&connection) {
                    let connection = ConnectionId(connection);
                    self.give(open.server, Input::CallerGone { connection });
                }
            }
            Event::HangUp { connection } => {
                if let Some(open) = self.connections.remove(&connection) {
                    self.links.remove(&(open.caller, open.link));
                    let (link, reason) = (open.link, "the peer hung up".to_owned());
                    self.give(open.caller, Input::Disconnected { link, reason });
                    self.give(open.server, Input::CallerGone { connection: ConnectionId(connection) });
                }
            }
        }
    }

    /// A call arrives, or does not.
    fn call(&mut self, caller: MemberId, link: LinkId, target: &Target) {
        if !self.links.contains_key(&(caller, link)) {
            return;
        }
        let server = self.at(target).filter(|server| self.reach(caller, *server));
        let Some(server) = server else { return };
        let wall = self.now_of(self.members[server].clock_ahead_ms).wall;
        let hello = match &self.members[server].actor {
            Actor::Node(node) => node.hello(wall),
            Actor::Puppet(puppet) => match puppet.greeting {
                Greeting::Silence => return,
                Greeting::Refuse => {
                    self.links.remove(&(caller, link));
                    let reason = "connection refused".to_owned();
                    return self.give(caller, Input::Disconnected { link, reason });
                }
                Greeting::Hello => Hello {
                    instance: 1_000 + server as u64,
                    block_server_port: PORT,
                    ..self.node(caller).hello(wall)
                },
            },
        };
        self.sequence += 1;
        let id = self.sequence;
        self.links.insert((caller, link), id);
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
                last_down: self.now,
            },
        );
        let callers_hello = self.node(caller).hello(wall);
        let from = SocketAddr::new(ip(caller), 40_000);
        self.give(server, Input::Caller { from, hello: callers_hello });
        self.give(caller, Input::Connected { link, hello });
    }

    /// Serves the oldest request of a connection, unless one is in service.
    fn serve_next(&mut self, id: u64) {
        while let Some(open) = self.connections.get_mut(&id).filter(|open| !open.in_service) {
            let Some(request) = open.waiting.pop_front() else { return };
            let server = open.server;
            let reply = match &mut self.members[server].actor {
                Actor::Puppet(puppet) => (puppet.answers)(&request),
                Actor::Node(node) if serve::is_about_chain(&request) => {
                    Reply::Now(chain_answers(node.chain(), &request))
                }
                Actor::Node(_) => {
                    open.in_service = true;
                    self.give(server, Input::Request { connection: ConnectionId(id), request });
                    continue;
                }
            };
            match reply {
                Reply::Now(responses) => responses.into_iter().for_each(|it| self.respond(id, it)),
                Reply::After(time, responses) => {
                    self.hold_back(id, time);
                    responses.into_iter().for_each(|it| self.respond(id, it));
                }
                Reply::Drip(time, responses) => {
                    for response in responses {
                        self.hold_back(id, time);
                        self.respond(id, response);
                    }
                }
                Reply::Never => {}
                Reply::HangUp => self.schedule(self.now, Event::HangUp { connection: id }),
            }
        }
    }

    /// What is answered next on a connection comes so much later than what was answered before.
    fn hold_back(&mut self, id: u64, time: Duration) {
        if let Some(open) = self.connections.get_mut(&id) {
            open.last_down = open.last_down.max(self.now) + time;
        }
    }

    fn respond(&mut self, id: u64, response: Response) {
        let delay = self.some_delay();
        let Some(open) = self.connections.get_mut(&id) else { return };
        let at = (self.now + delay).max(open.last_down);
        open.last_down = at;
        let (from, to) = (open.server, open.caller);
        if self.carries(id) {
            self.traffic.push(Traffic { from, to, message: Message::Response(response.clone()) });
            self.schedule(at, Event::Response { connection: id, response: Box::new(response) });
        }
    }

    /// Does what a node decided.
    fn carry_out(&mut self, id: MemberId) {
        for count in 0.. {
            assert!(count < MAX_EFFECTS, "member {id} never stops");
            let Some(effect) = self.node_mut(id).and_then(TestNode::next_effect) else { return };
            match effect {
                Effect::Broadcast(announcement) => self.broadcast(id, &announcement),
                Effect::Connect { link, target } => {
                    self.links.insert((id, link), 0);
                    let at = self.now + self.some_delay();
                    self.schedule(at, Event::Call { caller: id, link, target });
                }
                Effect::Send { link, request } => self.send(id, link, request),
                Effect::Disconnect { link } => {
                    let connection = self.links.remove(&(id, link)).unwrap_or(0);
                    if let Some(open) = self.connections.get(&connection) {
                        let at = open.last_up.max(self.now);
                        self.schedule(at, Event::Closed { connection });
                    }
                }
                Effect::Respond { connection: ConnectionId(connection), response } => {
                    if let Some(open) = self.connections.get_mut(&connection) {
                        assert!(std::mem::take(&mut open.in_service), "an answer that nobody waits for");
                        self.respond(connection, response);
                        self.serve_next(connection);
                    } else if connection == STRANGER {
                        self.answers.push(response);
                    }
                }
                Effect::Check(job) => {
                    let Some(node) = self.node_mut(id) else { return };
                    let checked = job.run(node.checker());
                    let at = self.now + self.job_time;
                    self.schedule(at, Event::Input(id, Box::new(Input::Checked(checked))));
                }
                Effect::Offer(blocks) => {
                    let Some(node) = self.node_mut(id) else { return };
                    // Written at once and told later, as it is where another thread writes.
                    let result = node.chain().connect(&blocks);
                    let input = Input::Offered { blocks, result };
                    match self.job_time {
                        Duration::ZERO => self.give(id, input),
                        time => self.schedule(self.now + time, Event::Input(id, Box::new(input))),
                    }
                }
                Effect::Mine(template) => self.members[id].template = template,
                Effect::Notice(notice) => self.members[id].notices.push((self.now, notice)),
            }
        }
    }

    fn send(&mut self, id: MemberId, link: LinkId, request: Request) {
        let Some(connection) = self.links.get(&(id, link)).copied() else { return };
        let delay = self.some_delay();
        let Some(open) = self.connections.get_mut(&connection) else { return };
        let at = (self.now + delay).max(open.last_up);
        open.last_up = at;
        let to = open.server;
        if self.carries(connection) {
            self.traffic.push(Traffic { from: id, to, message: Message::Request(request.clone()) });
            self.schedule(at, Event::Request { connection, request });
        }
    }

    fn broadcast(&mut self, from: MemberId, announcement: &Announcement) {
        if !self.members[from].broadcast {
            return;
        }
        for to in 0..self.members.len() {
            if to != from && self.members[to].broadcast && self.reach(from, to) {
                let input = Input::Announcement { from: ip(from), announcement: announcement.clone() };
                let at = self.now + self.some_delay();
                self.schedule(at, Event::Input(to, Box::new(input)));
            }
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

    fn reach(&self, a: MemberId, b: MemberId) -> bool {
        self.members[a].side == self.members[b].side
    }

    fn at(&self, target: &Target) -> Option<MemberId> {
        (0..self.members.len()).find(|id| match target {
            Target::Address(address) => *address == SocketAddr::new(ip(*id), PORT),
            Target::Named(named) => *named == name(*id),
        })
    }
}

/// The address of a member.
pub(super) fn ip(id: MemberId) -> IpAddr {
    Ipv4Addr::new(10, 0, (id >> 8) as u8, (id & 0xff) as u8).into()
}

fn name(id: MemberId) -> String {
    format!("member-{id}:{PORT}")
}

/// What is broadcast by whoever has this tip.
pub(super) fn status(instance: u64, tip: &Tip) -> Status {
    Status { instance, height: tip.height, work: tip.work, tip: tip.id, block_server_port: PORT }
}

/// What an honest block server answers from its chain.
pub(super) fn chain_answers(chain: &Chain<MemoryStore>, request: &Request) -> Vec<Response> {
    let frames: Vec<Vec<u8>> = match request {
        Request::GetBlocks { ids } => ids
            .iter()
            .map(|id| {
                let mut frame = Vec::new();
                let served = chain.store().read(|reader| serve::block(reader, id, &mut frame));
                served.expect("a store in memory does not fail");
                frame
            })
            .collect(),
        request => chain
            .store()
            .read(|reader| serve::answer(reader, chain.rules(), request))
            .expect("a store in memory does not fail")
            .into_iter()
            .collect(),
    };
    frames.iter().map(|frame| decode_frame(&frame[4..]).expect("what is served decodes")).collect()
}

/// The chain that holds a branch.
pub(super) fn chain_of(rules: &Arc<Rules>, branch: &Branch) -> Chain<MemoryStore> {
    let chain = Chain::new(rules.clone(), MemoryStore::new(rules));
    for blocks in branch.blocks.chunks(500) {
        chain.connect(blocks).expect("a store in memory does not fail");
    }
    chain
}
