use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;

use super::service::fault;
use super::*;
use crate::address::Address;
use crate::block::EncodedBlock;
use crate::chain::Chain;
use crate::consensus::Parallelism;
use crate::node::{Checker, Job, MempoolLimits, NodeConfig};
use crate::rules::Rules;
use crate::signature::SignatureVerifier;
use crate::store::{MemoryStore, Read, Write};
use crate::testing::{Branch, Key, StandIn, easy_rules};
use crate::time::Height;

/// How long a test waits for what must come; it comes at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// On free ports of this machine.
fn sockets() -> Sockets {
    Sockets {
        lan: false,
        broadcast_addresses: Vec::new(),
        status_port: 0,
        transaction_port: 0,
        hear_transactions: true,
        block_server_port: Some(0),
        max_connections: 4,
    }
}

/// Why these sockets cannot be opened.
fn refusal(sockets: Sockets) -> DriverError {
    Driver::open(sockets).err().expect("they cannot be opened")
}

fn node(rules: &Arc<Rules>, verifier: impl SignatureVerifier + 'static, now: Now) -> Node<MemoryStore> {
    let config = NodeConfig {
        instance: 1,
        seed: 1,
        agent: "test".to_owned(),
        block_server_port: 0,
        status_interval: Duration::from_secs(1),
        pool_interval: Duration::from_secs(1),
        named_peers: Vec::new(),
        pool: Some(MempoolLimits::default()),
        miner: None,
        reward_data: Vec::new(),
    };
    let chain = Chain::new(rules.clone(), MemoryStore::new(rules));
    Node::new(chain, config, Arc::new(verifier), now).expect("the store is in memory")
}

/// A program that ends its driver at this time.
struct Until(Duration);

impl<S: Store> Program<S> for Until {
    fn notice(&mut self, _: &Node<S>, _: Notice) {}

    fn tick(&mut self, _: &Node<S>, now: Now) -> Result<(Vec<Command>, Option<Duration>), StoreError> {
        let commands = if now.monotonic >= self.0 { vec![Command::Stop] } else { Vec::new() };
        Ok((commands, Some(self.0)))
    }
}

/// A verifier with a defect.
struct Defective;

impl SignatureVerifier for Defective {
    fn signer(&self, _: &[u8], _: &[u8; 32], _: &[u8]) -> Option<Address> {
        panic!("a defect, as this test wants it")
    }
}

/// A store whose writes have a defect.
#[derive(Clone)]
struct DefectiveStore(MemoryStore);

impl Store for DefectiveStore {
    fn read<T, E: From<StoreError>>(&self, look: impl FnOnce(&dyn Read) -> Result<T, E>) -> Result<T, E> {
        self.0.read(look)
    }

    fn write<T, E: From<StoreError>>(&self, _: impl FnMut(&mut dyn Write) -> Result<T, E>) -> Result<T, E> {
        panic!("a defect, as this test wants it")
    }
}

/// A block with one payment, and a checker with this verifier.
fn block_and_checker(verifier: impl SignatureVerifier + 'static) -> (Branch, Checker) {
    let (alice, bob) = (Key::new(1), Key::new(2));
    let rules = Arc::new(easy_rules(&[&alice]));
    let mut branch = Branch::new(&rules);
    let payment = branch.pay(&alice, bob.address(), 1, 1);
    branch.grow(&bob, vec![payment]);
    let network = rules.network_id();
    let checker = Checker { rules, network, verifier: Arc::new(verifier), pool: Default::default() };
    (branch, checker)
}

fn job(branch: &Branch, checker: &Checker, number: u64) -> Job {
    let block = Box::new(EncodedBlock::from(&branch.blocks[0].to_block()));
    let parent_time = checker.rules.genesis_time;
    Job::Block { number, block, parent_time, parallelism: Parallelism::OneThread }
}

#[test]
fn callers_leave_descriptors_for_all_else() {
    assert_eq!(most_callers(256, None), 256);
    assert_eq!(most_callers(256, Some(1_024)), 256);
    assert_eq!(most_callers(10_000, Some(1_024)), 1_024 - OWN_DESCRIPTORS);
    assert_eq!(most_callers(256, Some(96)), 32);
    assert_eq!(most_callers(256, Some(10)), 1);
}

#[tokio::test]
async fn a_flood_of_statuses_takes_neither_room_nor_turns_from_payments() {
    let (statuses_to, statuses) = mpsc::channel(MAX_HEARD_STATUSES);
    let (payments_to, payments) = mpsc::channel(MAX_HEARD);
    let mut heard = Heard { statuses, payments };
    let from = IpAddr::from(Ipv4Addr::LOCALHOST);
    let input = |number: u8| Input::ForeignNetwork { from, prefix: [number; 8] };
    while statuses_to.try_send(input(0)).is_ok() {}
    (0..10).for_each(|_| payments_to.try_send(input(1)).expect("payments have room of their own"));
    let mut batch = Vec::new();
    heard.next(&mut batch).await;
    let payments = batch.iter().filter(|it| matches!(it, Input::ForeignNetwork { prefix: [1, ..], .. }));
    assert_eq!(payments.count(), 10);
    assert!(batch.len() <= HEARD_AT_A_TIME + 11, "{}", batch.len());
}

/// Callers that asked without a pause kept every status and payment out.
#[tokio::test]
async fn a_flood_of_requests_keeps_no_broadcast_out() {
    let (events, inbox) = mpsc::channel(MAX_ANSWERS);
    let (statuses_to, statuses) = mpsc::channel(1);
    let (_payments_to, payments) = mpsc::channel(1);
    let mut queues = Queues::new(inbox, Heard { statuses, payments });
    let mut batch = Vec::new();
    let request = || Event::Input(Input::CallerGone { connection: ConnectionId(1) });
    while events.try_send(request()).is_ok() {}
    let status = || Input::ForeignNetwork { from: IpAddr::from(Ipv4Addr::LOCALHOST), prefix: [1; 8] };
    for turn in 0..3 {
        statuses_to.try_send(status()).expect("the last was taken");
        for _ in 0..ANSWERS_AT_A_TIME {
            assert!(queues.next(&mut batch).await.is_some(), "{turn}");
        }
        assert!(queues.next(&mut batch).await.is_none(), "{turn}");
        assert_eq!(batch.drain(..).count(), 1);
    }
    // Where nothing was broadcast, no turn is wasted on it.
    for _ in 0..2 * ANSWERS_AT_A_TIME {
        assert!(queues.next(&mut batch).await.is_some());
    }
}

#[test]
fn a_port_for_broadcasts_that_somebody_does_not_share_is_named() {
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for sockets in
        [Sockets { status_port: port, ..sockets() }, Sockets { transaction_port: port, ..sockets() }]
    {
        let error = refusal(sockets);
        assert!(matches!(error, DriverError::Broadcast(BroadcastError::Bind { .. })), "{error}");
        assert!(error.to_string().contains(&format!(":{port}: is a program there")), "{error}");
    }
    drop(taken);
    Driver::open(Sockets { status_port: port, ..sockets() }).unwrap();
}

#[test]
fn two_programs_share_the_ports_for_broadcasts_and_the_second_serves_blocks_elsewhere() {
    let one = Driver::open(sockets()).unwrap();
    let [status_port, transaction_port] = [0, 1].map(|number| one.receivers[number].port().unwrap());
    let block_server_port = Some(one.block_server_port());
    let other = Driver::open(Sockets { status_port, transaction_port, block_server_port, ..sockets() });
    let other = other.unwrap();
    assert_ne!(other.block_server_port(), one.block_server_port());
    assert_ne!(other.block_server_port(), 0);
    let without = Driver::open(Sockets { block_server_port: None, ..sockets() }).unwrap();
    assert_eq!(without.block_server_port(), 0);
}

#[test]
fn broadcast_addresses_that_are_not_allowed_are_refused() {
    let sockets = Sockets { broadcast_addresses: vec![Ipv4Addr::new(192, 0, 2, 255)], ..sockets() };
    assert!(matches!(refusal(sockets), DriverError::Address(_)));
}

#[test]
fn who_hands_in_inputs_is_told_that_the_loop_has_ended() {
    let driver = Driver::open(sockets()).unwrap();
    let (inputs, now) = (driver.inputs(), driver.now());
    let (rules, many) = (Arc::new(easy_rules(&[])), inputs.clone());
    // More than the queue holds: it waits for room, and not for ever.
    let connection = ConnectionId(1);
    let handing_in = thread::spawn(move || while many.send(Input::CallerGone { connection }) {});
    driver.run(node(&rules, StandIn, now), &mut Until(Duration::ZERO)).unwrap();
    handing_in.join().unwrap();
    assert!(!inputs.send(Input::CallerGone { connection }));
}

/// It was waited for an answer that never came.
#[test]
fn a_check_that_panics_ends_the_loop_with_an_error() {
    let driver = Driver::open(sockets()).unwrap();
    let (inputs, now) = (driver.inputs(), driver.now());
    let (alice, bob) = (Key::new(1), Key::new(2));
    let rules = Arc::new(easy_rules(&[&alice]));
    let payment = Branch::new(&rules).pay(&alice, bob.address(), 1, 1);
    let announcement = Announcement::Transaction(payment);
    let from = IpAddr::from(Ipv4Addr::LOCALHOST);
    assert!(inputs.send(Input::Announcement { from, announcement }));
    let outcome = driver.run(node(&rules, Defective, now), &mut Until(PATIENCE));
    let error = outcome.expect_err("the check panicked");
    assert!(matches!(error, DriverError::Panicked { .. }), "{error}");
    assert!(error.to_string().contains("a defect of this program ended a check"), "{error}");
}

/// The node would go on without ever hearing anything.
#[tokio::test]
async fn a_task_that_panics_without_which_the_node_is_deaf_ends_the_loop() {
    let (events, mut inbox) = mpsc::channel(1);
    spawn_vital(&events, "a task that ends well", async {});
    spawn_vital(&events, "a task", async { panic!("a defect, as this test wants it") });
    drop(events);
    let event = inbox.recv().await;
    assert!(matches!(event, Some(Event::Failed(DriverError::Panicked { part: "a task" }))));
    assert!(inbox.recv().await.is_none());
}

#[test]
fn every_check_is_answered_also_after_some_have_panicked() {
    let (results, mut answers) = mpsc::channel(MAX_ANSWERS);
    let (branch, checker) = block_and_checker(Defective);
    let workers = Workers::start(checker.clone(), results.clone()).unwrap();
    // More than there are threads, whatever the machine.
    let many = 4 * thread::available_parallelism().map_or(1, usize::from) as u64;
    (0..many).for_each(|number| workers.check(job(&branch, &checker, number)));
    for _ in 0..many {
        let answer = answers.blocking_recv();
        assert!(matches!(answer, Some(Event::Failed(DriverError::Panicked { .. }))));
    }
    let sound = Checker { verifier: Arc::new(StandIn), ..checker };
    let workers = Workers::start(sound.clone(), results).unwrap();
    workers.check(job(&branch, &sound, 7));
    let answer = answers.blocking_recv();
    assert!(matches!(answer, Some(Event::Input(Input::Checked(_)))));
}

#[test]
fn every_write_is_answered_also_after_one_has_panicked() {
    let (results, mut answers) = mpsc::channel(MAX_ANSWERS);
    let (branch, checker) = block_and_checker(StandIn);
    let rules = checker.rules;
    let chain = Chain::new(rules.clone(), DefectiveStore(MemoryStore::new(&rules)));
    let writer = Writer::start(chain, results).unwrap();
    for _ in 0..3 {
        writer.offer(branch.blocks.clone());
        let answer = answers.blocking_recv();
        let Some(Event::Input(Input::Offered { result: Err(error), .. })) = answer else {
            panic!("the write panicked, and that is the answer")
        };
        assert!(error.to_string().contains("a defect of this program"), "{error}");
    }
    writer.finish(PATIENCE).unwrap();
}

/// A disk that failed at the last block, while the program was being stopped, was passed over.
#[test]
fn a_last_write_that_fails_is_told_of_though_nobody_takes_its_answer() {
    let (results, answers) = mpsc::channel(1);
    let (branch, checker) = block_and_checker(StandIn);
    let rules = checker.rules;
    let chain = Chain::new(rules.clone(), DefectiveStore(MemoryStore::new(&rules)));
    let writer = Writer::start(chain, results).unwrap();
    drop(answers);
    writer.offer(branch.blocks.clone());
    assert!(matches!(writer.finish(PATIENCE), Err(StoreError::Database(_))));
}

#[test]
fn a_failure_that_waits_in_the_queue_when_the_loop_ends_is_told_of() {
    let driver = Driver::open(sockets()).unwrap();
    let (inputs, now) = (driver.inputs(), driver.now());
    let result = Err(StoreError::damaged("a page").into());
    assert!(inputs.send(Input::Offered { blocks: Vec::new(), result }));
    let outcome = driver.run(node(&Arc::new(easy_rules(&[])), StandIn, now), &mut Until(Duration::ZERO));
    assert!(matches!(outcome, Err(DriverError::Store(StoreError::Damaged { .. }))));
}

#[test]
fn what_was_offered_before_the_end_is_written_though_nobody_takes_the_answer() {
    let (results, mut answers) = mpsc::channel(1);
    let (branch, checker) = block_and_checker(StandIn);
    let rules = checker.rules;
    let chain = Chain::new(rules.clone(), MemoryStore::new(&rules));
    let writer = Writer::start(chain.clone(), results.clone()).unwrap();
    // No room for an answer, as when the loop ends in the middle of a flood.
    let connection = ConnectionId(1);
    results.try_send(Event::Input(Input::CallerGone { connection })).expect("there is room for one");
    (0..3).for_each(|_| writer.offer(branch.blocks.clone()));
    let (done, ended) = channel();
    let finishing = thread::spawn(move || {
        answers.close();
        writer.finish(PATIENCE).unwrap();
        done.send(()).expect("it is waited for");
    });
    ended.recv_timeout(PATIENCE).expect("it ends");
    finishing.join().unwrap();
    assert_eq!(chain.tip().unwrap().height, Height::new(1));
}

#[test]
fn what_ends_the_loop_is_a_store_that_failed_and_no_other_fault_of_a_caller() {
    let (events, mut inbox) = mpsc::channel(1);
    fault(&events, StoreError::Database("a defect".into()));
    assert!(inbox.try_recv().is_err());
    fault(&events, StoreError::damaged("a page"));
    // The loop hears of one; that there is no room for a second keeps nobody waiting.
    fault(&events, StoreError::damaged("another"));
    let event = inbox.try_recv();
    assert!(
        matches!(event, Ok(Event::Failed(DriverError::Store(StoreError::Damaged { what }))) if what == "a page")
    );
}
