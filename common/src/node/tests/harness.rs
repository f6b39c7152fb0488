//! Scenes: small networks whose every step is written by hand, in the simulator's world.
//!
//! A [`Network`] is a [`World`] without loss, where checks and writes take no time unless a scene says otherwise, and
//! where what is found, said and asked is up to the scene. What the world holds machines to after every step it
//! holds them to here; what is wrong is a panic. Some machines are puppets: block servers that do as they are told.

// What every scene speaks of.
pub(super) use crate::hash::{BlockId, TransactionId};
pub(super) use crate::simulator::journal::Message;
pub(super) use crate::simulator::machine::{MachineId, PORT, ip};
pub(super) use crate::simulator::puppet::Greeting;
pub(super) use crate::simulator::world::Reply;
pub(super) use crate::time::Height;
pub(super) use crate::transaction::Transaction;
pub(super) use crate::wire::{Request, Response};

use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::*;
use crate::address::Address;
use crate::chain::Chain;
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::simulator::Violation;
use crate::simulator::disk::Disk;
use crate::simulator::journal::{Journal, STRANGER};
use crate::simulator::machine::Role;
use crate::simulator::puppet::Puppet;
use crate::simulator::random::Random;
use crate::simulator::signer::Signer;
use crate::simulator::world;
use crate::simulator::world::{Event, Weather, World};
use crate::store::MemoryStore;
use crate::testing::{Branch, Key, StandIn};

/// How long [`Network::run_until`] may take of virtual time before the test fails.
const PATIENCE: Duration = Duration::from_secs(3_600);

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The stand-in verifier, which counts what it is asked.
#[derive(Default)]
struct Counting(AtomicUsize);

impl SignatureVerifier for Counting {
    fn signer(&self, modulus: &[u8], digest: &[u8; 32], signature: &[u8]) -> Option<Address> {
        self.0.fetch_add(1, Ordering::Relaxed);
        StandIn.signer(modulus, digest, signature)
    }
}

/// What a machine is like. The default is a miner that everybody hears.
#[derive(Clone)]
pub(super) struct Spec {
    /// Who mines, if it does.
    pub(super) miner: Option<Key>,
    pub(super) pool: Option<MempoolLimits>,
    pub(super) block_server: bool,
    /// Whether it hears what is broadcast, and is heard.
    pub(super) broadcast: bool,
    pub(super) named: Vec<MachineId>,
    /// The blocks that it has from the start.
    pub(super) blocks: Vec<CheckedBlock>,
    /// Its clock less everybody else's.
    pub(super) clock_ahead_ms: i64,
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

    /// It finds no block unless the scene says so.
    fn role(self) -> Role {
        Role {
            miner: self.miner.map(Signer::StandIn),
            pool: self.pool,
            serves_blocks: self.block_server,
            broadcast: self.broadcast,
            named: self.named,
            clock_offset_ms: self.clock_ahead_ms,
            ..Role::default()
        }
    }
}

/// See the module.
pub(super) struct Network {
    world: World,
    /// Who checks each machine's signatures.
    verifiers: Vec<Arc<Counting>>,
}

impl Deref for Network {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Network {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Network {
    pub(super) fn new(rules: &Arc<Rules>, seed: u64) -> Self {
        let weather = Weather {
            latency: millis(1)..millis(20),
            loss: 0,
            doubled: 0,
            checking: Duration::ZERO..Duration::ZERO,
            writing: Duration::ZERO..Duration::ZERO,
            uplink: None,
            callers: usize::MAX,
            echo_reaches: None,
        };
        let mut world = World::new(rules.clone(), Arc::new(StandIn), weather, Random::new(seed));
        world.journal = Some(Journal::default());
        Self { world, verifiers: Vec::new() }
    }

    /// From now on every check takes so long, and every write until its program is told of it.
    pub(super) fn jobs_take(&mut self, time: Duration) {
        self.weather.checking = time..time;
        // The news takes a quarter as long.
        self.weather.writing = time * 4 / 5..time * 4 / 5;
    }

    // ── Machines ────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn add(&mut self, mut spec: Spec) -> MachineId {
        let disk = Disk::new(&self.rules);
        connect(&Chain::new(self.rules.clone(), disk.clone()), &std::mem::take(&mut spec.blocks));
        let verifier = Arc::new(Counting::default());
        self.verifiers.push(verifier.clone());
        self.verifier = verifier;
        let id = self.world.add(spec.role(), disk);
        must(self.start(id));
        id
    }

    /// A block server that is no program.
    pub(super) fn add_puppet(
        &mut self,
        greeting: Greeting,
        answers: impl FnMut(&Request) -> Reply + 'static,
    ) -> MachineId {
        let disk = Disk::new(&self.rules);
        let id = self.world.add(Role::default(), disk);
        self.machines[id].puppet = Some(Puppet { greeting, answers: Box::new(answers) });
        self.verifiers.push(Arc::default());
        id
    }

    pub(super) fn node(&self, id: MachineId) -> &Node<Disk> {
        self.machines[id].node.as_ref().unwrap_or_else(|| panic!("machine {id} runs no program"))
    }

    /// What a machine works on.
    pub(super) fn template(&self, id: MachineId) -> Option<&Arc<Template>> {
        self.machines[id].template.as_ref()
    }

    pub(super) fn tip(&self, id: MachineId) -> BlockId {
        self.node(id).tip().id
    }

    pub(super) fn height(&self, id: MachineId) -> u64 {
        self.node(id).tip().height.get()
    }

    pub(super) fn pool(&self, id: MachineId) -> &Mempool {
        self.node(id).pool().expect("the node keeps a pool")
    }

    pub(super) fn balance(&self, id: MachineId, address: &Address) -> u64 {
        let account = self.node(id).chain().store().read::<_, StoreError>(|reader| reader.account(address));
        account.expect("a store in memory does not fail").balance.units()
    }

    /// Whether all of these have the same tip.
    pub(super) fn agree(&self, machines: &[MachineId]) -> bool {
        machines.iter().all(|id| self.tip(*id) == self.tip(machines[0]))
    }

    /// Connections that a machine is opening or has open.
    pub(super) fn outbound(&self, id: MachineId) -> usize {
        self.machines[id].links.len()
    }

    /// How many signatures a machine has checked.
    pub(super) fn verified(&self, id: MachineId) -> usize {
        self.verifiers[id].0.load(Ordering::Relaxed)
    }

    /// From now on nothing passes between machines of different sides.
    pub(super) fn set_side(&mut self, id: MachineId, side: u8) {
        self.machines[id].side = side;
    }

    // ── Looking back ────────────────────────────────────────────────────────────────────────────────

    pub(super) fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("scenes keep a journal")
    }

    /// What a program told its user.
    pub(super) fn notices(&self, id: MachineId) -> &[Notice] {
        self.journal().notices.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn noticed(&self, id: MachineId, what: impl Fn(&Notice) -> bool) -> usize {
        self.notices(id).iter().filter(|notice| what(notice)).count()
    }

    /// What one machine sent another.
    pub(super) fn sent(&self, from: MachineId, to: MachineId) -> impl Iterator<Item = &Message> {
        let between = self.journal().traffic.iter().filter(move |it| it.from == from && it.to == to);
        between.map(|traffic| &traffic.message)
    }

    // ── Doing things ────────────────────────────────────────────────────────────────────────────────

    /// Solves what a miner works on at the moment, at once.
    pub(super) fn mine(&mut self, id: MachineId) -> BlockId {
        let template = self.template(id).cloned().expect("the miner has something to work on");
        let block = must(self.solve(id, template));
        // Where writing takes no time, it is its tip now.
        self.run_for(Duration::ZERO);
        block
    }

    /// The same so many times, each as soon as there is something to work on.
    pub(super) fn mine_many(&mut self, id: MachineId, blocks: usize) {
        for _ in 0..blocks {
            self.run_until("there is something to work on", |it| it.template(id).is_some());
            self.mine(id);
        }
    }

    /// A server closes all its connections.
    pub(super) fn hang_up(&mut self, server: MachineId) {
        for connection in self.machines[server].callers.clone() {
            let now = self.now;
            self.schedule(now, Event::HungUp { connection, reason: "the peer hung up" });
        }
    }

    /// Somebody at a block server says what chain it has.
    pub(super) fn say_status(&mut self, from: IpAddr, status: Status) {
        for id in 0..self.machines.len() {
            let announcement = Announcement::Status(status);
            self.give(id, Input::Announcement { from, announcement });
        }
    }

    /// A puppet says that it has this chain.
    pub(super) fn claim(&mut self, puppet: MachineId, tip: &Tip) {
        self.say_status(ip(puppet), status(1_000 + puppet as u64, tip));
    }

    /// A payment is broadcast by nobody in particular.
    pub(super) fn say_payment(&mut self, id: MachineId, transaction: &Transaction) {
        self.say_payments(id, std::slice::from_ref(transaction));
    }

    /// Payments are broadcast so fast that the program takes them in at one go.
    pub(super) fn say_payments(&mut self, id: MachineId, transactions: &[Transaction]) {
        let inputs = transactions.iter().map(|transaction| Input::Announcement {
            from: Ipv4Addr::LOCALHOST.into(),
            announcement: Announcement::Transaction(transaction.clone()),
        });
        self.give_many(id, inputs);
    }

    /// Somebody who is no machine asks a program something.
    pub(super) fn ask(&mut self, id: MachineId, request: Request) {
        self.give(id, Input::Request { connection: STRANGER, request });
    }

    /// What it answered since this was last looked at.
    pub(super) fn take_answers(&mut self) -> Vec<Response> {
        self.world.journal.as_mut().map(|journal| std::mem::take(&mut journal.answers)).unwrap_or_default()
    }

    /// Asks, and waits for the answer.
    pub(super) fn answer(&mut self, id: MachineId, request: Request) -> Response {
        self.take_answers();
        self.ask(id, request);
        self.run_until("the question is answered", |it| !it.journal().answers.is_empty());
        self.take_answers().remove(0)
    }

    /// Hands a program an input now.
    pub(super) fn give(&mut self, id: MachineId, input: Input) {
        must(self.world.give(id, input));
    }

    /// Hands a program several inputs at a time.
    pub(super) fn give_many(&mut self, id: MachineId, inputs: impl IntoIterator<Item = Input>) {
        must(self.world.give_many(id, Vec::from_iter(inputs)));
    }

    // ── Time ────────────────────────────────────────────────────────────────────────────────────────

    /// Lets the network go on until something is so; says how long it took.
    pub(super) fn run_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Duration {
        let started = self.now;
        while !is_so(self) {
            assert!(self.now < started + PATIENCE, "it never came about that {what}");
            must(self.step(started + PATIENCE));
        }
        self.now - started
    }

    /// Lets the network go on for so long.
    pub(super) fn run_for(&mut self, time: Duration) {
        must(self.world.run_for(time));
    }
}

#[test]
#[should_panic(expected = "the supply is")]
fn scenes_are_held_against_the_oracle() {
    let rules = Arc::new(crate::testing::easy_rules(&[]));
    let mut network = Network::new(&rules, 1);
    let role = Spec { miner: Some(Key::new(1)), ..Spec::default() }.role();
    let forgetful = World::add(&mut network, role, Disk::forgetful(&rules, 1));
    must(network.start(forgetful));
    network.mine(forgetful);
}

/// What must never be so fails the test.
#[track_caller]
fn must<T>(result: Result<T, Violation>) -> T {
    result.unwrap_or_else(|Violation(what)| panic!("{what}"))
}

/// What is broadcast by whoever has this tip.
pub(super) fn status(instance: u64, tip: &Tip) -> Status {
    Status { instance, height: tip.height, work: tip.work, tip: tip.id, block_server_port: PORT }
}

/// What an honest block server answers from its chain.
pub(super) fn chain_answers(chain: &Chain<MemoryStore>, request: &Request) -> Vec<Response> {
    must(world::chain_answers(chain, request))
}

/// The chain that holds a branch.
pub(super) fn chain_of(rules: &Arc<Rules>, branch: &Branch) -> Chain<MemoryStore> {
    let chain = Chain::new(rules.clone(), MemoryStore::new(rules));
    connect(&chain, &branch.blocks);
    chain
}

fn connect(chain: &Chain<impl Store>, blocks: &[CheckedBlock]) {
    for blocks in blocks.chunks(500) {
        let outcome = chain.connect(blocks).expect("a store in memory does not fail");
        assert_eq!(outcome.invalid, None);
    }
}
