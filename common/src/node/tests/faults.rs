//! Peers that stall, lie and break rules: the honest one wins meanwhile, and is never blamed.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::super::*;
use super::harness::*;
use crate::block::{BlockHeader, SealedHeader};
use crate::chain::Chain;
use crate::consensus::CheckedBlock;
use crate::difficulty::{CompactTarget, Work};
use crate::rules::Rules;
use crate::store::MemoryStore;
use crate::testing::{Branch, Key, easy_rules, find_nonce};
use crate::wire::CompactBlock;

/// How many blocks the honest miner has.
const HONEST: usize = 40;

pub(super) fn rules() -> Arc<Rules> {
    Arc::new(easy_rules(&[&Key::new(1)]))
}

pub(super) fn branch(rules: &Arc<Rules>, miner: u64, blocks: usize) -> Branch {
    let (mut branch, miner) = (Branch::new(rules), Key::new(miner));
    for _ in 0..blocks {
        branch.grow(&miner, Vec::new());
    }
    branch
}

pub(super) fn tip_of(chain: &Chain<MemoryStore>) -> Tip {
    chain.tip().expect("a store in memory does not fail")
}

/// A claim of more work than anybody has.
pub(super) fn dream(height: u64) -> Tip {
    let work = Work::from_be_bytes([1; 32]);
    Tip { id: BlockId::from_bytes([7; 32]), height: Height::new(height), work, time: Timestamp::default() }
}

/// A fresh node that hears a liar and an honest miner.
struct Contest {
    network: Network,
    node: MachineId,
    liar: MachineId,
    honest: MachineId,
    claim: Tip,
}

impl Contest {
    fn new(
        rules: &Arc<Rules>,
        claim: Tip,
        greeting: Greeting,
        answers: impl FnMut(&Request) -> Reply + 'static,
    ) -> Self {
        let mut network = Network::new(rules, 11);
        let honest = network.add(Spec::with(&branch(rules, 10, HONEST)));
        let liar = network.add_puppet(greeting, answers);
        let node = network.add(Spec { miner: None, ..Spec::default() });
        // The liar is heard first.
        network.claim(liar, &claim);
        Self { network, node, liar, honest, claim }
    }

    /// The liar keeps saying what it says until the honest chain is there; how long that takes.
    fn until_honest_wins(&mut self) -> Duration {
        let (node, honest) = (self.node, self.honest);
        while !self.network.agree(&[node, honest]) {
            self.network.run_for(seconds(1));
            self.network.claim(self.liar, &self.claim);
            assert!(self.network.now < seconds(300), "the liar wins");
        }
        self.network.now
    }

    /// Lets it go on for long; nothing may change, and the honest peer may not be blamed.
    fn afterwards(&mut self) {
        for _ in 0..60 {
            self.network.run_for(seconds(5));
            self.network.claim(self.liar, &self.claim);
        }
        assert!(self.network.agree(&[self.node, self.honest]));
        assert_eq!(self.blamed(self.honest), [], "the honest peer is blamed");
    }

    /// The pauses that a peer was given, in order.
    fn blamed(&self, peer: MachineId) -> Vec<Duration> {
        let address = Target::Address((ip(peer), PORT).into());
        let notices = self.network.notices(self.node).iter();
        notices
            .filter_map(|notice| match notice {
                Notice::PeerFailed { target, pause, .. } | Notice::PeerMisbehaved { target, pause, .. } => {
                    (*target == address).then_some(*pause)
                }
                _ => None,
            })
            .collect()
    }

    fn reasons(&self) -> Vec<String> {
        let notices = self.network.notices(self.node).iter();
        notices
            .filter_map(|notice| match notice {
                Notice::PeerMisbehaved { reason, .. } => Some(reason.clone()),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn a_black_hole_holds_nobody_up() {
    for greeting in [Greeting::Silence, Greeting::Refuse] {
        let mut contest = Contest::new(&rules(), dream(1_000), greeting, |_| Reply::Never);
        let took = contest.until_honest_wins();
        assert!(took <= seconds(4), "{took:?}");
        contest.afterwards();
    }
}

#[test]
fn a_peer_that_never_answers_holds_nobody_up() {
    let mut contest = Contest::new(&rules(), dream(1_000), Greeting::Hello, |_| Reply::Never);
    let took = contest.until_honest_wins();
    assert!(took <= seconds(6), "{took:?}");
    contest.afterwards();
    let pauses = contest.blamed(contest.liar);
    assert!(pauses.len() >= 4 && pauses.is_sorted(), "{pauses:?}");
    assert!(pauses[3] >= 8 * pauses[0], "{pauses:?}");
}

#[test]
fn a_peer_that_claims_the_honest_tip_and_never_answers_costs_a_hedge() {
    let rules = rules();
    let claim = tip_of(&chain_of(&rules, &branch(&rules, 10, HONEST)));
    let mut contest = Contest::new(&rules, claim, Greeting::Hello, |_| Reply::Never);
    let took = contest.until_honest_wins();
    assert!(took <= seconds(6), "{took:?}");
    contest.afterwards();
}

#[test]
fn an_answer_that_comes_too_late_is_nobody_s() {
    let rules = rules();
    let chain = chain_of(&rules, &branch(&rules, 12, HONEST - 5));
    let claim = dream(1_000);
    let mut contest = Contest::new(&rules, claim, Greeting::Hello, move |request| {
        Reply::After(seconds(15), chain_answers(&chain, request))
    });
    let took = contest.until_honest_wins();
    assert!(took <= seconds(6), "{took:?}");
    contest.afterwards();
}

#[test]
fn a_peer_that_hangs_up_on_every_question_is_left_alone_ever_longer() {
    let mut contest = Contest::new(&rules(), dream(1_000), Greeting::Hello, |_| Reply::HangUp);
    let took = contest.until_honest_wins();
    assert!(took <= seconds(4), "{took:?}");
    contest.afterwards();
    let pauses = contest.blamed(contest.liar);
    assert!(pauses.len() < 20 && pauses.last() >= Some(&seconds(60)), "{pauses:?}");
}

#[test]
fn a_lie_about_work_is_found_out_and_the_pauses_grow() {
    let rules = rules();
    let chain = chain_of(&rules, &branch(&rules, 12, 3));
    let mut contest = Contest::new(&rules, dream(1_000), Greeting::Hello, move |request| {
        Reply::Now(chain_answers(&chain, request))
    });
    contest.until_honest_wins();
    contest.afterwards();
    let pauses = contest.blamed(contest.liar);
    assert!(pauses.len() < 20, "{pauses:?}");
    assert!(pauses.is_sorted() && pauses.last() >= Some(&seconds(60)), "{pauses:?}");
}

#[test]
fn a_claim_of_equal_work_and_an_impossible_id_is_not_looked_at_for_ever() {
    let rules = rules();
    let honest = branch(&rules, 10, HONEST);
    let chain = chain_of(&rules, &honest);
    let last = honest.blocks.last().map(|block| block.header().clone());
    let claim = Tip { id: BlockId::from_bytes([0; 32]), ..tip_of(&chain) };
    let mut contest = Contest::new(&rules, claim, Greeting::Hello, move |request| {
        // Whatever is asked, its headers end where everybody's do.
        Reply::Now(vec![match request {
            Request::GetHeaders { .. } => Response::Headers(last.iter().cloned().collect()),
            _ => Response::NotFound([0; 32]),
        }])
    });
    contest.until_honest_wins();
    contest.afterwards();
    let asked = contest.network.sent(contest.node, contest.liar).count();
    assert!(asked < 40, "the liar was asked {asked} times");
}

/// Breaks a header, and does its work again.
fn broken(header: &SealedHeader, change: impl FnOnce(&mut BlockHeader)) -> SealedHeader {
    let mut header = header.clone();
    change(&mut header.header);
    find_nonce(&mut header.header, true);
    header
}

#[test]
fn a_header_that_breaks_any_rule_is_its_sender_s_fault() {
    let rules = rules();
    let first = branch(&rules, 12, 2).blocks;
    let (first, second) = (first[0].header().clone(), first[1].header().clone());
    let mut lazy = first.clone();
    find_nonce(&mut lazy.header, false);
    let sealed = SealedHeader { seal: Some(Key::new(12).seal(&first.id())), ..first.clone() };
    let easier = CompactTarget::from_bits(0x2100_ffff);
    let cases: [(&str, Vec<SealedHeader>); 8] = [
        ("version", vec![broken(&first, |header| header.version = 2)]),
        ("height", vec![broken(&first, |header| header.height = Height::new(2))]),
        ("bits", vec![broken(&first, |header| header.bits = easier)]),
        ("work was not done", vec![lazy]),
        ("after its parent's", vec![broken(&first, |header| header.time = rules.genesis_time)]),
        ("no authorities", vec![sealed]),
        ("begin where", vec![second.clone()]),
        ("follow its parent", vec![first.clone(), broken(&second, |it| it.previous = BlockId::ZERO)]),
    ];
    for (reason, headers) in cases {
        let mut contest = Contest::new(&rules, dream(1_000), Greeting::Hello, move |_| {
            Reply::Now(vec![Response::Headers(headers.clone())])
        });
        let took = contest.until_honest_wins();
        assert!(took <= seconds(4), "{reason}: {took:?}");
        let reasons = contest.reasons();
        assert!(reasons.iter().any(|it| it.contains(reason)), "{reason}: {reasons:?}");
        assert!(contest.blamed(contest.liar)[0] >= limits::FIRST_BAN);
    }
}

#[test]
fn a_wrong_body_is_its_sender_s_fault_and_says_nothing_about_the_block() {
    let rules = rules();
    let chain = chain_of(&rules, &branch(&rules, 10, HONEST));
    let claim = tip_of(&chain);
    let mut contest = Contest::new(&rules, claim, Greeting::Hello, move |request| {
        let mut answers = chain_answers(&chain, request);
        for answer in &mut answers {
            if let Response::Block(block) = answer {
                let mut other = block.to_block();
                other.body.reward.data = vec![1];
                *block = (&other).into();
            }
        }
        Reply::Now(answers)
    });
    let took = contest.until_honest_wins();
    assert!(took <= seconds(6), "{took:?}");
    assert!(contest.reasons()[0].contains("wrong body"), "{:?}", contest.reasons());
    contest.afterwards();
}

#[test]
fn another_block_than_the_one_asked_for_is_a_fault() {
    let rules = rules();
    let other = branch(&rules, 13, 1).blocks[0].to_block();
    let chain = chain_of(&rules, &branch(&rules, 12, HONEST + 10));
    let claim = tip_of(&chain);
    let mut contest = Contest::new(&rules, claim, Greeting::Hello, move |request| {
        Reply::Now(match request {
            Request::GetBlocks { .. } => vec![Response::Block((&other).into())],
            request => chain_answers(&chain, request),
        })
    });
    contest.until_honest_wins();
    contest.afterwards();
    assert!(contest.reasons()[0].contains("another block"), "{:?}", contest.reasons());
}

#[test]
fn a_compact_block_of_another_header_is_a_fault() {
    let rules = rules();
    let other = branch(&rules, 13, 1).blocks[0].clone();
    let chain = chain_of(&rules, &branch(&rules, 12, 1));
    let claim = dream(1);
    let mut contest = Contest::new(&rules, claim, Greeting::Hello, move |request| {
        Reply::Now(match request {
            Request::GetCompact { .. } => {
                let (header, reward) = (other.header().clone(), other.reward().clone());
                vec![Response::Compact(CompactBlock { header, reward, ids: Vec::new() })]
            }
            request => chain_answers(&chain, request),
        })
    });
    contest.until_honest_wins();
    assert!(contest.reasons()[0].contains("another block"), "{:?}", contest.reasons());
}

/// A branch with more work than the honest one, whose fifth block spends what nobody has.
fn overspending(rules: &Arc<Rules>) -> Branch {
    let mut branch = branch(rules, 12, 4);
    let payment = branch.pay(&Key::new(1), Key::new(2).address(), 2_000_000_000, 0);
    branch.grow_anyway(&Key::new(12), vec![payment]);
    for _ in 0..HONEST {
        branch.grow(&Key::new(12), Vec::new());
    }
    branch
}

/// Serves blocks that no honest chain would hold.
fn serve_branch(branch: &Branch) -> impl FnMut(&Request) -> Reply + 'static {
    let blocks: Vec<CheckedBlock> = branch.blocks.clone();
    move |request| {
        Reply::Now(match request {
            Request::GetHeaders { locator, .. } => {
                let known = |id: &BlockId| blocks.iter().position(|block| block.id() == *id);
                let next = locator.iter().find_map(known).map_or(0, |place| place + 1);
                vec![Response::Headers(blocks[next..].iter().map(|it| it.header().clone()).collect())]
            }
            Request::GetBlocks { ids } => ids
                .iter()
                .map(|id| match blocks.iter().find(|block| block.id() == *id) {
                    Some(block) => Response::Block((&block.to_block()).into()),
                    None => Response::NotFound(*id.as_bytes()),
                })
                .collect(),
            _ => vec![Response::Unsupported(0)],
        })
    }
}

fn end_of(branch: &Branch) -> Tip {
    let work = branch
        .blocks
        .iter()
        .fold(Work::ZERO, |work, block| work.plus(block.header().header.bits.to_target().work()));
    Tip { id: branch.tip(), height: branch.height(), work, time: Timestamp::default() }
}

#[test]
fn a_block_that_is_invalid_on_the_ledger_condemns_its_chain() {
    let rules = rules();
    let bad = overspending(&rules);
    let mut contest = Contest::new(&rules, end_of(&bad), Greeting::Hello, serve_branch(&bad));
    let took = contest.until_honest_wins();
    assert!(took <= seconds(10), "{took:?}");
    contest.afterwards();
    let invalid = contest.network.noticed(contest.node, |it| matches!(it, Notice::InvalidBlock { .. }));
    assert_eq!(invalid, 1);
    assert!(contest.blamed(contest.liar)[0] >= limits::FIRST_BAN);
}

#[test]
fn withheld_bodies_of_a_heavier_chain_do_not_keep_the_honest_one_out() {
    let rules = rules();
    let heavier = branch(&rules, 12, 3 * HONEST);
    let mut serve = serve_branch(&heavier);
    let mut contest = Contest::new(&rules, end_of(&heavier), Greeting::Hello, move |request| match request {
        Request::GetHeaders { .. } => serve(request),
        _ => Reply::Never,
    });
    let took = contest.until_honest_wins();
    assert!(took <= seconds(15), "{took:?}");
    contest.afterwards();
    let pauses = contest.blamed(contest.liar);
    assert!(pauses.is_sorted() && pauses.last() >= Some(&seconds(16)), "{pauses:?}");
}

#[test]
fn bodies_that_drip_do_not_keep_the_honest_chain_out() {
    let rules = rules();
    let dripping = chain_of(&rules, &branch(&rules, 12, 1_000));
    let claim = dream(1_000);
    let heavier = branch(&rules, 10, 1_100);
    let mut network = Network::new(&rules, 12);
    let node = network.add(Spec::wallet());
    let liar = network.add_puppet(Greeting::Hello, move |request| {
        let answers = chain_answers(&dripping, request);
        if matches!(request, Request::GetBlocks { .. }) {
            // Just enough not to seem to stand still.
            return Reply::Drip(millis(1_500), answers);
        }
        Reply::Now(answers)
    });
    network.claim(liar, &claim);
    network.run_for(seconds(3));
    let honest = network.add(Spec::with(&heavier));
    while !network.agree(&[node, honest]) {
        network.run_for(seconds(1));
        network.claim(liar, &claim);
        assert!(network.now < seconds(120), "at height {}", network.height(node));
    }
}

#[test]
fn answers_that_nobody_asked_for_are_a_fault() {
    let rules = rules();
    let chain = chain_of(&rules, &branch(&rules, 12, 3));
    let mut contest = Contest::new(&rules, dream(1_000), Greeting::Hello, move |request| {
        let mut answers = chain_answers(&chain, request);
        answers.push(Response::Rules(Vec::new()));
        answers.push(Response::Rules(Vec::new()));
        Reply::Now(answers)
    });
    contest.until_honest_wins();
    contest.afterwards();
}

#[test]
fn an_answer_to_another_question_is_a_fault() {
    let mut contest = Contest::new(&rules(), dream(1_000), Greeting::Hello, move |_| {
        Reply::Now(vec![Response::PoolIds(Vec::new())])
    });
    contest.until_honest_wins();
    assert!(contest.reasons()[0].contains("does not fit"), "{:?}", contest.reasons());
    contest.afterwards();
}

#[test]
fn headers_without_end_and_without_work_hold_nobody_up() {
    let rules = rules();
    // A node with much work; the liar's chain is long and never gets there.
    let mut network = Network::new(&rules, 13);
    let node = network.add(Spec { miner: None, ..Spec::with(&branch(&rules, 10, 12_000)) });
    let honest = network.add(Spec::with(&branch(&rules, 10, 12_001)));
    let chain = chain_of(&rules, &branch(&rules, 12, 11_000));
    let liar = network.add_puppet(Greeting::Hello, move |request| Reply::Now(chain_answers(&chain, request)));
    network.claim(liar, &dream(20_000));
    let took = network.run_until("the honest block arrives", |it| it.agree(&[node, honest]));
    assert!(took < seconds(5), "{took:?}");
}

#[test]
fn ten_thousand_invented_statuses_open_few_connections_and_take_bounded_memory() {
    let rules = rules();
    let mut network = Network::new(&rules, 14);
    let node = network.add(Spec { miner: None, ..Spec::default() });
    let honest = network.add(Spec::with(&branch(&rules, 10, HONEST)));
    for flood in 0..10_000_u32 {
        let from = Ipv4Addr::from(0xc0a8_0000 + flood).into();
        let work = Work::from_be_bytes([(flood % 200) as u8 + 1; 32]);
        let id = BlockId::from_bytes(crate::hash::sha256(&[&flood.to_le_bytes()]));
        let tip = Tip { id, work, ..dream(flood.into()) };
        network.give(
            node,
            Input::Announcement {
                from,
                announcement: Announcement::Status(status(u64::from(flood) + 50_000, &tip)),
            },
        );
        if flood % 50 == 0 {
            network.run_for(millis(10));
        }
        assert!(network.outbound(node) <= limits::MAX_OUTBOUND);
        assert!(network.node(node).known_peers() <= limits::MAX_PEERS);
    }
    let took = network.run_until("the honest chain is there", |it| it.agree(&[node, honest]));
    assert!(took < seconds(180), "{took:?}");
    let honest_blamed = network.noticed(node, |notice| match notice {
        Notice::PeerFailed { target, .. } => *target == Target::Address((ip(honest), PORT).into()),
        _ => false,
    });
    assert_eq!(honest_blamed, 0);
}

#[test]
fn a_flood_does_not_drive_out_a_miner_that_was_reached() {
    let rules = rules();
    let mut network = Network::new(&rules, 15);
    let node = network.add(Spec { miner: None, ..Spec::default() });
    let honest = network.add(Spec::with(&branch(&rules, 10, HONEST)));
    network.run_until("the honest chain is there", |it| it.agree(&[node, honest]));
    for round in 0..20_u32 {
        for flood in 0..300_u32 {
            let from = Ipv4Addr::from(0xc0a8_0000 + 300 * round + flood).into();
            let announcement = Announcement::Status(status(60_000, &dream(1)));
            network.give(node, Input::Announcement { from, announcement });
        }
        network.run_for(seconds(1));
        network.mine(honest);
        let took = network.run_until("the new block is there", |it| it.agree(&[node, honest]));
        assert!(took < seconds(5), "{took:?}");
    }
}

#[test]
fn foreign_networks_are_named_once_and_a_flood_of_them_not_for_ever() {
    let mut network = Network::new(&rules(), 20);
    let node = network.add(Spec::default());
    for prefix in 0..1_000_u64 {
        for _ in 0..3 {
            let from = Ipv4Addr::LOCALHOST.into();
            network.give(node, Input::ForeignNetwork { from, prefix: prefix.to_le_bytes() });
        }
    }
    assert_eq!(network.noticed(node, |it| matches!(it, Notice::ForeignNetwork { .. })), 64);
}

/// A block's id covers neither its seal nor who sealed it: another authority could have a good block refused
/// for ever, or whoever sends its honest body blamed.
#[test]
fn anothers_seal_on_a_good_block_is_the_fault_of_whoever_sent_it() {
    let authorities = [60, 61].map(Key::new);
    let rules = Arc::new(Rules {
        authorities: authorities.iter().map(Key::address).collect(),
        max_ahead_seconds: 5,
        ..easy_rules(&[])
    });
    rules.check().expect("the rules are within bounds");
    let mut network = Network::new(&rules, 12);
    let honest = network.add(Spec::default().mining_as(61));
    network.run_for(seconds(3));
    let id = network.mine(honest);
    let good = network.node(honest).chain().store().read(|reader| reader.checked_block(&id));
    let good = good.expect("a store in memory does not fail").expect("it was just mined").to_block();
    let claim = *network.node(honest).tip();

    network.set_side(honest, 1);
    let forged = SealedHeader { header: good.header, seal: Some(authorities[0].seal(&id)) };
    let liar = network.add_puppet(Greeting::Hello, move |request| {
        Reply::Now(vec![match request {
            Request::GetHeaders { .. } => Response::Headers(vec![forged.clone()]),
            Request::GetBlocks { .. } => Response::Block((&good).into()),
            _ => Response::NotFound(*id.as_bytes()),
        }])
    });
    let node = network.add(Spec::wallet());
    network.claim(liar, &claim);
    network.run_for(seconds(5));
    assert_eq!(network.height(node), 0);
    assert_eq!(network.noticed(node, |it| matches!(it, Notice::PeerMisbehaved { .. })), 1);
    assert_eq!(network.noticed(node, |it| matches!(it, Notice::InvalidBlock { .. })), 0);

    network.set_side(honest, 0);
    network.run_until("the good block is taken with its own seal", |it| it.tip(node) == id);
}
