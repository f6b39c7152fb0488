//! What strangers can make a node do and hold, for each limit the attack that it is there for.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::super::*;
use super::harness::*;
use crate::chain::{Chain, ChainError};
use crate::difficulty::Work;
use crate::rules::Rules;
use crate::store::MemoryStore;
use crate::testing::{Branch, Key, StandIn, easy_rules};
use crate::wire::CompactBlock;

fn rules() -> Arc<Rules> {
    Arc::new(easy_rules(&[&Key::new(1), &Key::new(2)]))
}

fn branch(rules: &Arc<Rules>, miner: u64, blocks: usize) -> Branch {
    let (mut branch, miner) = (Branch::new(rules), Key::new(miner));
    for _ in 0..blocks {
        branch.grow(&miner, Vec::new());
    }
    branch
}

/// A claim of more work than anybody has.
fn dream() -> Tip {
    let work = Work::from_be_bytes([1; 32]);
    Tip { id: BlockId::from_bytes([7; 32]), height: Height::new(1_000), work, time: Timestamp::default() }
}

/// Somebody else's block server.
enum Server {
    /// It follows the protocol.
    Honest(Chain<MemoryStore>),
    /// It answers every question with this.
    Liar(Box<Response>),
    /// It answers with what is no message.
    Broken,
}

/// One node, and servers at any address and port, all of which answer at once.
struct Solo {
    node: Node<MemoryStore>,
    now: Duration,
    servers: HashMap<SocketAddr, Server>,
    links: HashMap<LinkId, SocketAddr>,
    /// When which address was called.
    calls: Vec<(Duration, SocketAddr)>,
    notices: Vec<Notice>,
    /// How many of the next writes find that their parent is gone.
    lost_writes: usize,
}

impl Solo {
    fn new(rules: &Arc<Rules>) -> Self {
        let config = NodeConfig {
            instance: 1,
            seed: 5,
            agent: "test/1".to_owned(),
            block_server_port: PORT,
            status_interval: seconds(2),
            pool_interval: seconds(10),
            named_peers: Vec::new(),
            pool: Some(MempoolLimits::default()),
            miner: None,
            reward_data: Vec::new(),
        };
        let chain = Chain::new(rules.clone(), MemoryStore::new(rules));
        let node = Node::new(chain, config, Arc::new(StandIn), now_at(rules, Duration::ZERO));
        Self {
            node: node.expect("a store in memory does not fail"),
            now: Duration::ZERO,
            servers: HashMap::new(),
            links: HashMap::new(),
            calls: Vec::new(),
            notices: Vec::new(),
            lost_writes: 0,
        }
    }

    fn claim(&mut self, from: SocketAddr, tip: &Tip) {
        let status = Status { block_server_port: from.port(), ..status(77, tip) };
        self.give(Input::Announcement { from: from.ip(), announcement: Announcement::Status(status) });
    }

    fn give(&mut self, input: Input) {
        let now = now_at(self.node.chain().rules(), self.now);
        self.node.handle(input, now).expect("a store in memory does not fail");
        self.node.load().check().expect("all is within its limits");
        self.carry_out();
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.node.next_deadline().max(self.now + millis(1)).min(end);
            let now = now_at(self.node.chain().rules(), self.now);
            self.node.tick(now).expect("a store in memory does not fail");
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.node.next_effect() {
            match effect {
                Effect::Connect { link, target: Target::Address(address) } => self.connect(link, address),
                Effect::Send { link, request } => self.answer(link, &request),
                Effect::Check(job) => {
                    let checked = job.run(self.node.checker());
                    self.give(Input::Checked(checked));
                }
                Effect::Offer(blocks) => {
                    let parent = blocks[0].header().header.previous;
                    let result = match self.lost_writes {
                        0 => self.node.chain().connect(&blocks),
                        _ => Err(ChainError::UnknownParent { parent }),
                    };
                    self.lost_writes = self.lost_writes.saturating_sub(1);
                    self.give(Input::Offered { blocks, result });
                }
                Effect::Notice(notice) => self.notices.push(notice),
                _ => {}
            }
        }
    }

    fn connect(&mut self, link: LinkId, address: SocketAddr) {
        self.calls.push((self.now, address));
        let input = match self.servers.get(&address) {
            None => Input::Disconnected { link, reason: "connection refused".to_owned() },
            Some(_) => {
                self.links.insert(link, address);
                let hello = self.node.hello(Timestamp::default());
                Input::Connected { link, hello: Hello { instance: 78, ..hello } }
            }
        };
        self.give(input);
    }

    fn answer(&mut self, link: LinkId, request: &Request) {
        let responses = match self.links.get(&link).and_then(|address| self.servers.get(address)) {
            Some(Server::Honest(chain)) if serve::is_about_chain(request) => chain_answers(chain, request),
            Some(Server::Honest(_)) => vec![Response::PoolIds(Vec::new())],
            Some(Server::Liar(response)) => vec![(**response).clone()],
            Some(Server::Broken) => {
                return self
                    .give(Input::PeerAtFault { link, reason: "an answer does not decode".to_owned() });
            }
            None => Vec::new(),
        };
        for response in responses {
            self.give(Input::Response { link, response });
        }
    }

    /// For how long a server was banned each time.
    fn bans(&self, address: SocketAddr) -> Vec<Duration> {
        let of = |notice: &Notice| match notice {
            Notice::PeerMisbehaved { target, pause, .. } => {
                (*target == Target::Address(address)).then_some(*pause)
            }
            _ => None,
        };
        self.notices.iter().filter_map(of).collect()
    }

    fn calls_to(&self, address: SocketAddr) -> usize {
        self.calls.iter().filter(|(_, called)| *called == address).count()
    }
}

fn now_at(rules: &Rules, monotonic: Duration) -> Now {
    let month_ms = 30 * 24 * 3_600 * 1_000;
    Now { monotonic, wall: rules.genesis_time.plus_millis(month_ms + monotonic.as_millis() as u64) }
}

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 9, 9, last], port))
}

fn tip_of(chain: &Chain<MemoryStore>) -> Tip {
    chain.tip().expect("a store in memory does not fail")
}

// ── Statuses ────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn statuses_in_a_victims_name_make_nobody_call_it_without_end() {
    let rules = rules();
    let mut solo = Solo::new(&rules);
    let mut port = 1_000;
    for _ in 0..10 * 60 {
        for _ in 0..20 {
            port = if port == u16::MAX { 1_000 } else { port + 1 };
            solo.claim(at(1, port), &dream());
        }
        solo.run_for(seconds(1));
    }
    let mut by_minute = BTreeMap::new();
    for (when, called) in &solo.calls {
        assert_eq!(called.ip(), at(1, 0).ip());
        *by_minute.entry(when.as_secs() / 60).or_insert(0_u32) += 1;
    }
    let most = limits::STRANGER_CALLS_A_MINUTE;
    assert!(by_minute.values().all(|calls| *calls <= most + most / 2), "{by_minute:?}");
    // It gets ever less.
    assert!(by_minute[&8] <= 2 * limits::LEAST_STRANGER_CALLS_A_MINUTE, "{by_minute:?}");
    // An honest one elsewhere is found meanwhile.
    let chain = chain_of(&rules, &branch(&rules, 10, 5));
    let claim = tip_of(&chain);
    solo.servers.insert(at(2, PORT), Server::Honest(chain));
    solo.claim(at(2, PORT), &claim);
    solo.run_for(seconds(5));
    assert_eq!(solo.node.tip().height, Height::new(5));
}

#[test]
fn one_address_with_any_number_of_ports_leaves_room_for_others() {
    let rules = rules();
    let mut solo = Solo::new(&rules);
    for last in 2..102 {
        solo.claim(at(last, PORT), &Tip { work: Work::ZERO, ..dream() });
    }
    for port in 1..=10_000 {
        solo.claim(at(1, port), &dream());
    }
    assert_eq!(solo.node.load().of("peers"), Some(100 + limits::MAX_PEERS_PER_ADDRESS));
    assert_eq!(solo.node.load().check(), Ok(()));
}

#[test]
fn on_this_machine_invented_ports_do_not_hide_the_honest_one() {
    let rules = rules();
    let chain = chain_of(&rules, &branch(&rules, 10, 5));
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut solo = Solo::new(&rules);
    for port in 10_000..20_000 {
        solo.claim(local(port), &dream());
    }
    let claim = tip_of(&chain);
    solo.servers.insert(local(PORT), Server::Honest(chain));
    for second in 0.. {
        assert!(second < 30, "the honest one is not found");
        solo.claim(local(PORT), &claim);
        (0..100).for_each(|it| solo.claim(local(30_000 + 100 * second + it), &dream()));
        solo.run_for(seconds(1));
        if solo.node.tip().id == claim.id {
            break;
        }
    }
}

// ── Bans ────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_liar_is_banned_ever_longer_also_when_it_was_forgotten_and_its_neighbour_is_not() {
    let rules = rules();
    let chain = chain_of(&rules, &branch(&rules, 10, 5));
    let claim = tip_of(&chain);
    let mut solo = Solo::new(&rules);
    let (liar, honest) = (at(1, 1), at(1, 2));
    solo.servers.insert(liar, Server::Liar(Box::new(Response::Rules(Vec::new()))));
    solo.servers.insert(honest, Server::Honest(chain));
    for minute in 0..12 * 60 {
        solo.claim(liar, &dream());
        if minute > 60 {
            solo.claim(honest, &claim);
        }
        // A flood that drives the liar out of what is known of peers.
        for number in 0..if minute % 30 == 0 { 300_u16 } else { 0 } {
            let [high, low] = number.to_be_bytes();
            solo.claim(SocketAddr::from(([10, 1, high, low], PORT)), &Tip { work: Work::ZERO, ..dream() });
        }
        solo.run_for(seconds(60));
    }
    let bans = solo.bans(liar);
    let doubled: Vec<Duration> = (0..bans.len() as u32).map(|it| limits::FIRST_BAN * 2_u32.pow(it)).collect();
    assert!((6..=10).contains(&bans.len()), "{bans:?}");
    assert_eq!(bans, doubled);
    assert!(solo.calls_to(liar) <= bans.len() + 1, "{}", solo.calls_to(liar));
    assert_eq!(solo.bans(honest), []);
    assert_eq!(solo.node.tip().id, claim.id);
}

#[test]
fn a_server_that_sends_what_is_no_message_is_banned() {
    let rules = rules();
    let mut solo = Solo::new(&rules);
    let liar = at(1, 1);
    solo.servers.insert(liar, Server::Broken);
    for _ in 0..10 {
        solo.claim(liar, &dream());
        solo.run_for(limits::FIRST_BAN);
    }
    let bans: Vec<Duration> = (0..4).map(|it| limits::FIRST_BAN * 2_u32.pow(it)).collect();
    assert_eq!(solo.bans(liar)[..3], bans[..3]);
    assert!(solo.calls_to(liar) <= 4, "{}", solo.calls_to(liar));
}

#[test]
fn a_parent_that_another_process_condemned_is_nobodys_fault() {
    let rules = rules();
    let chain = chain_of(&rules, &branch(&rules, 10, 5));
    let claim = tip_of(&chain);
    let mut solo = Solo::new(&rules);
    solo.lost_writes = 1;
    solo.servers.insert(at(1, PORT), Server::Honest(chain));
    solo.claim(at(1, PORT), &claim);
    solo.run_for(seconds(1));
    assert_eq!(solo.lost_writes, 0);
    assert_eq!(solo.node.tip().height, Height::GENESIS);
    solo.run_for(seconds(5));
    assert_eq!(solo.node.tip().id, claim.id, "it is tried again, without a new status");
    let blamed = |it: &&Notice| matches!(it, Notice::PeerFailed { .. } | Notice::PeerMisbehaved { .. });
    assert_eq!(solo.notices.iter().filter(blamed).count(), 0, "{:?}", solo.notices);
}

#[test]
fn a_compact_block_of_more_payments_than_a_block_can_hold_is_a_fault() {
    let rules = rules();
    let block = branch(&rules, 10, 1).blocks[0].clone();
    let chain = chain_of(&rules, &branch(&rules, 10, 1));
    let claim = tip_of(&chain);
    let mut network = Network::new(&rules, 31);
    let liar = network.add_puppet(Greeting::Hello, move |request| {
        let (header, reward) = (block.header().clone(), block.reward().clone());
        Reply::Now(match request {
            Request::GetCompact { .. } => {
                let ids = vec![TransactionId::ZERO; 200_000];
                vec![Response::Compact(CompactBlock { header, reward, ids })]
            }
            request => chain_answers(&chain, request),
        })
    });
    let node = network.add(Spec { miner: None, ..Spec::default() });
    network.claim(liar, &claim);
    network.run_for(seconds(2));
    let named_too_many =
        |it: &Notice| matches!(it, Notice::PeerMisbehaved { reason, .. } if reason.contains("more payments"));
    assert_eq!(network.noticed(node, named_too_many), 1);
}

// ── Signatures ──────────────────────────────────────────────────────────────────────────────────────────

/// Payments that need a look at their signature to be told from good ones.
fn garbage(rules: &Rules, count: usize) -> Vec<Transaction> {
    let from = Key::new(1);
    let mut forged = from.sign(&rules.network_id(), from.payment(Key::new(9).address(), 1, 0));
    (0..count as u64)
        .map(|number| {
            forged.signature[..8].copy_from_slice(&number.to_le_bytes());
            forged.clone()
        })
        .collect()
}

#[test]
fn a_flood_of_bad_signatures_starves_neither_blocks_nor_honest_payments() {
    let rules = rules();
    let mut network = Network::new(&rules, 32);
    network.jobs_take(millis(5));
    let node = network.add(Spec { miner: None, ..Spec::default() });
    let miner = network.add(Spec::default());
    network.run_for(seconds(3));
    let forger = IpAddr::from([10, 66, 66, 66]);
    let flood = garbage(&rules, limits::MAX_UNVERIFIED + 1_000);
    let say = |from, payment: &Transaction| Input::Announcement {
        from,
        announcement: Announcement::Transaction(payment.clone()),
    };
    network.give_many(node, flood.iter().map(|payment| say(forger, payment)));
    let unverified = network.node(node).load().of("unverified payments").unwrap_or(0);
    assert!(unverified > limits::MAX_UNVERIFIED - 1_000, "{unverified}");

    // The flood takes more than a second of this node's time to check.
    let honest = Key::new(2);
    let payment = honest.sign(&rules.network_id(), honest.payment(honest.address(), 1, 0));
    network.give(node, say(IpAddr::from([10, 7, 7, 7]), &payment));
    let took =
        network.run_until("the honest payment is taken", |it| it.pool(node).get(&payment.id()).is_some());
    assert!(took <= 2 * millis(5), "{took:?}");
    network.mine(miner);
    let took = network.run_until("the block is taken", |it| it.agree(&[node, miner]));
    assert!(took < millis(500), "{took:?}");
    let waits = network.node(node).load().of("unverified payments").unwrap_or(0);
    assert!(waits > 0, "the flood was over before the block came: the test shows nothing");
}

#[test]
fn whoever_has_no_money_costs_no_signature_check() {
    let rules = rules();
    let mut network = Network::new(&rules, 33);
    let node = network.add(Spec::default());
    for key in 1_000..1_100 {
        let poor = Key::new(key);
        let payment = poor.sign(&rules.network_id(), poor.payment(Key::new(1).address(), 1, 0));
        network.say_payment(node, &payment);
    }
    network.run_for(seconds(1));
    assert_eq!(network.verified(node), 0);
    assert_eq!(network.pool(node).len(), 0);
}

// ── The pool ────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_user_hears_which_payment_gave_way_and_a_sender_which_fee_would_do() {
    let rules = Arc::new(easy_rules(&(1..=6).map(Key::new).collect::<Vec<_>>().iter().collect::<Vec<_>>()));
    let mut network = Network::new(&rules, 34);
    let pool = MempoolLimits { transactions: 4, bytes: 1 << 20 };
    let node = network.add(Spec { pool: Some(pool), miner: None, ..Spec::default() });
    let pay = |from: u64, fee: u64| {
        let from = Key::new(from);
        let mut payment = from.payment(Key::new(9).address(), 1, 0);
        payment.fee = crate::amount::Amount::from_units(fee);
        from.sign(&rules.network_id(), payment)
    };
    for from in 1..=4 {
        network.say_payment(node, &pay(from, 10 * from));
    }
    network.run_for(seconds(1));
    network.say_payment(node, &pay(5, 10));
    network.run_for(seconds(1));
    let refused = |it: &Notice| match it {
        Notice::PaymentRefused { reason: MempoolError::Full { least_fee }, .. } => least_fee.units() == 11,
        _ => false,
    };
    assert_eq!(network.noticed(node, refused), 1, "{:?}", network.notices(node));
    network.say_payment(node, &pay(6, 11));
    network.run_for(seconds(1));
    let gave_way = |it: &Notice| match it {
        Notice::PaymentGaveWay { id, fee } => *id == pay(1, 10).id() && fee.units() == 10,
        _ => false,
    };
    assert_eq!(network.noticed(node, gave_way), 1);
    assert!(network.pool(node).get(&pay(6, 11).id()).is_some());
}
