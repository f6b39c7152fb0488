//! The room for bodies, with a node that is driven by hand: checks and writes end when the test says so.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::chain::Chain;
use crate::node::{Effect, Input, Job, LinkId, NodeConfig, Now};
use crate::rules::Rules;
use crate::store::{MemoryStore, Tip};
use crate::testing::{Branch, Key, StandIn, easy_rules};
use crate::wire::{Announcement, Hello, Request, Response, Status};

const MIB: usize = 1024 * 1024;

/// A wallet's node that has heard of one peer with all of a branch.
struct Hand {
    rules: Arc<Rules>,
    node: Node<MemoryStore>,
    branch: Branch,
    now: Duration,
    /// The connection on which blocks were asked for.
    link: Option<LinkId>,
    asked: Vec<BlockId>,
    jobs: VecDeque<Job>,
    offers: VecDeque<Vec<CheckedBlock>>,
}

impl Hand {
    fn new(blocks: usize) -> Self {
        let rules = Arc::new(easy_rules(&[]));
        let mut branch = Branch::new(&rules);
        (0..blocks).for_each(|_| drop(branch.grow(&Key::new(10), Vec::new())));
        let config = NodeConfig {
            instance: 1,
            seed: 1,
            agent: "test/1".to_owned(),
            block_server_port: 0,
            status_interval: Duration::from_secs(2),
            pool_interval: Duration::from_secs(10),
            named_peers: Vec::new(),
            pool: None,
            miner: None,
            reward_data: Vec::new(),
        };
        let chain = |rules: &Arc<Rules>| Chain::new(rules.clone(), MemoryStore::new(rules));
        let now = Duration::ZERO;
        let node = Node::new(chain(&rules), config, Arc::new(StandIn), clocks(&rules, now));
        let node = node.expect("a store in memory does not fail");
        let theirs = chain(&rules);
        theirs.connect(&branch.blocks).expect("a store in memory does not fail");
        let tip: Tip = theirs.tip().expect("a store in memory does not fail");
        let (link, asked) = (None, Vec::new());
        let (jobs, offers) = (VecDeque::new(), VecDeque::new());
        let mut hand = Self { rules, node, branch, now, link, asked, jobs, offers };
        let status =
            Status { instance: 2, height: tip.height, work: tip.work, tip: tip.id, block_server_port: 2607 };
        hand.give(Input::Announcement {
            from: Ipv4Addr::LOCALHOST.into(),
            announcement: Announcement::Status(status),
        });
        hand
    }

    fn give(&mut self, input: Input) {
        let now = clocks(&self.rules, self.now);
        self.node.handle(input, now).expect("a store in memory does not fail");
        self.carry_out();
    }

    fn tick(&mut self) {
        let now = clocks(&self.rules, self.now);
        self.node.tick(now).expect("a store in memory does not fail");
        self.carry_out();
    }

    /// Headers come at once, blocks when the test says so.
    fn carry_out(&mut self) {
        while let Some(effect) = self.node.next_effect() {
            match effect {
                Effect::Connect { link, .. } => {
                    let hello = Hello { instance: 2, ..self.node.hello(Timestamp::default()) };
                    self.give(Input::Connected { link, hello });
                }
                Effect::Send { link, request: Request::GetHeaders { .. } } => {
                    let headers = self.branch.blocks.iter().map(|block| block.header().clone()).collect();
                    self.give(Input::Response { link, response: Response::Headers(headers) });
                }
                Effect::Send { link, request: Request::GetBlocks { ids } } => {
                    self.link = Some(link);
                    self.asked.extend(ids);
                }
                Effect::Check(job) => self.jobs.push_back(job),
                Effect::Offer(blocks) => self.offers.push_back(blocks),
                _ => {}
            }
        }
    }

    /// The peer sends a block, counted from 0.
    fn send(&mut self, place: usize) {
        let link = self.link.expect("blocks were asked for");
        let block = self.branch.blocks[place].to_block();
        self.give(Input::Response { link, response: Response::Block((&block).into()) });
    }

    fn check(&mut self) {
        while let Some(job) = self.jobs.pop_front() {
            let checked = job.run(self.node.checker());
            self.give(Input::Checked(checked));
        }
    }

    fn write(&mut self) {
        let blocks = self.offers.pop_front().expect("blocks were handed out");
        let result = self.node.chain().connect(&blocks);
        self.give(Input::Offered { blocks, result });
    }

    fn fetch(&mut self) -> &mut Fetch {
        self.node.sync.fetch.as_mut().expect("a chain is being fetched")
    }
}

fn clocks(rules: &Rules, now: Duration) -> Now {
    Now { monotonic: now, wall: rules.genesis_time.plus_millis(24 * 3_600_000 + now.as_millis() as u64) }
}

#[test]
fn what_is_being_written_takes_its_room_once() {
    let start = Cursor { ancestors: Ancestors::of_genesis_child(&easy_rules(&[])), work: Work::ZERO };
    let mut fetch = Fetch::new(1, None, start, Duration::ZERO);
    assert_eq!(fetch.window(), MAX_BLOCKS_IN_FLIGHT);
    let room = MAX_BUFFERED_BYTES / MIB;
    (0..room - 8).for_each(|_| fetch.came(MIB, Duration::ZERO));
    // The window counts what waits, whether it is here or not: room for eight more.
    assert_eq!(fetch.window(), room);
    // Sixteen are being written and wait no longer: still room for eight.
    fetch.writing_bytes = Some(16 * MIB);
    assert_eq!(fetch.window(), room - 16);
    // They are written, and there is room for as many more.
    fetch.buffered_bytes -= fetch.writing_bytes.take().expect("it was put there");
    assert_eq!(fetch.window(), room);
    // No room at all, and then only what everything waits for.
    (0..24).for_each(|_| fetch.came(MIB, Duration::ZERO));
    assert_eq!(fetch.window(), 1);
}

#[test]
fn what_arrives_beyond_the_room_is_asked_for_again_when_there_is_some() {
    let mut hand = Hand::new(4);
    let ids = hand.branch.ids();
    assert_eq!(std::mem::take(&mut hand.asked), ids);
    hand.fetch().buffered_bytes = MAX_BUFFERED_BYTES;
    (0..3).for_each(|place| hand.send(place));
    // The first is what everything waits for. The others find no room, and are not asked for before they do.
    assert_eq!((hand.jobs.len(), hand.asked.len()), (1, 0));
    let first = hand.fetch().buffered_bytes - MAX_BUFFERED_BYTES;
    hand.fetch().buffered_bytes = first;
    hand.tick();
    assert_eq!(hand.asked, ids[1..3]);

    // The first is written while the others come. They wait until it is.
    hand.now += CONNECT_AFTER;
    hand.check();
    let fetch = hand.fetch();
    assert_eq!((fetch.buffered_bytes, fetch.writing_bytes), (first, Some(first)));
    for place in [3, 1, 2] {
        hand.send(place);
    }
    hand.now += CONNECT_AFTER;
    hand.check();
    assert_eq!(hand.offers.len(), 1);
    let all = hand.fetch().buffered_bytes;
    hand.write();
    let fetch = hand.fetch();
    assert_eq!((fetch.buffered_bytes, fetch.writing_bytes), (all - first, Some(all - first)));
    hand.write();
    assert_eq!(hand.node.tip().id, ids[3]);
    assert!(!hand.node.sync.is_busy());
}
