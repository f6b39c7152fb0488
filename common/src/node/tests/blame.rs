//! What is nobody's fault, and is held against nobody.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::*;
use super::faults::{branch, dream, rules, tip_of};
use super::harness::*;
use crate::block::Block;

#[test]
fn a_clock_that_is_set_right_lets_blocks_in_at_once() {
    let rules = rules();
    let mut network = Network::new(&rules, 17);
    // An hour behind: everybody else's blocks come from the future.
    let miner = network.add(Spec { clock_ahead_ms: 3_600_000, ..Spec::default() });
    let node = network.add(Spec { miner: None, ..Spec::default() });
    network.run_for(seconds(3));
    network.mine(miner);
    network.run_for(seconds(35));
    assert_eq!(network.height(node), 0);
    network.machines[node].role.clock_offset_ms = 3_600_000;
    let took = network.run_until("the block is there", |it| it.agree(&[miner, node]));
    assert!(took < seconds(3), "{took:?}");
}

#[test]
fn a_block_from_the_future_waits_for_its_time_and_blames_nobody() {
    let rules = rules();
    let mut network = Network::new(&rules, 16);
    // Blocks may be two minutes ahead; this miner's clock is three minutes fast.
    let fast = network.add(Spec { clock_ahead_ms: 180_000, ..Spec::default() });
    let node = network.add(Spec { miner: None, ..Spec::default() });
    network.run_for(seconds(3));
    network.mine(fast);
    network.run_for(seconds(50));
    assert_eq!(network.height(node), 0);
    let took = network.run_until("the block's time has come", |it| it.agree(&[fast, node]));
    assert!(took > seconds(5) && took < seconds(45), "{took:?}");
    let blamed = |it: &Notice| matches!(it, Notice::PeerFailed { .. } | Notice::PeerMisbehaved { .. });
    assert_eq!(network.noticed(node, blamed), 0);
    assert_eq!(network.noticed(node, |it| matches!(it, Notice::BlockWaits { .. })), 1);
    assert_eq!(network.noticed(node, |it| matches!(it, Notice::ClockDiffers { .. })), 1);
    // It was asked now and then, not all the time.
    let asked = network.sent(node, fast);
    let asked = asked.filter(|it| matches!(it, Message::Request(Request::GetHeaders { .. }))).count();
    assert!(asked <= 10, "{asked}");
}

#[test]
fn peers_that_lack_a_block_are_no_reason_to_blame_the_one_that_has_it() {
    let rules = rules();
    let mut network = Network::new(&rules, 17);
    // Nine have another chain that is better than nothing; one has the best.
    let others: Vec<_> = (0..9).map(|_| network.add(Spec::with(&branch(&rules, 20, 100)))).collect();
    others.iter().for_each(|other| network.set_side(*other, 1));
    let best = network.add(Spec::with(&branch(&rules, 10, 200)));
    network.set_side(best, 1);
    let node = network.add(Spec::wallet());
    let statuses: Vec<_> = others.iter().chain([&best]).map(|id| (*id, *network.node(*id).tip())).collect();
    network.set_side(node, 1);
    statuses.iter().for_each(|(id, tip)| {
        let announcement = Announcement::Status(status(*id as u64 + 1, tip));
        network.give(node, Input::Announcement { from: ip(*id), announcement });
    });
    network.run_until("the best chain is there", |it| it.agree(&[node, best]));
    let blamed = |it: &Notice| matches!(it, Notice::PeerFailed { .. } | Notice::PeerMisbehaved { .. });
    assert_eq!(network.noticed(node, blamed), 0, "{:?}", network.notices(node));
}

/// Whoever spoke in an honest machine's name had everybody leave it alone, for longer each time.
#[test]
fn what_strangers_say_in_a_peer_s_name_keeps_nobody_from_following_it() {
    let rules = rules();
    let mut network = Network::new(&rules, 21);
    let honest = network.add(Spec::with(&branch(&rules, 10, 1)));
    let node = network.add(Spec { miner: None, ..Spec::default() });
    network.run_until("the chain is there", |it| it.agree(&[node, honest]));
    let (much, nothing) = (dream(1_000), tip_of(&chain_of(&rules, &branch(&rules, 0, 1))));
    let asked = |network: &Network| {
        let requests = network.sent(node, honest).filter(|it| matches!(it, Message::Request(_)));
        requests.count()
    };
    let (before, mut longest) = (asked(&network), Duration::ZERO);
    for round in 0..600_u64 {
        if round.is_multiple_of(50) {
            network.mine(honest);
            let mined_at = network.now;
            while !network.agree(&[node, honest]) {
                lie(&mut network, honest, &[much, nothing]);
                network.run_for(millis(100));
            }
            longest = longest.max(network.now - mined_at);
        }
        lie(&mut network, honest, &[much, nothing]);
        network.run_for(millis(100));
    }
    assert!(longest <= seconds(4), "{longest:?}");
    let blamed = |it: &Notice| matches!(it, Notice::PeerFailed { .. } | Notice::PeerMisbehaved { .. });
    assert_eq!(network.noticed(node, blamed), 0, "{:?}", network.notices(node));
    // 2,400 lies in a minute and 12 blocks: about one question a second, and what the blocks take.
    let asked = asked(&network) - before;
    assert!((60..250).contains(&asked), "{asked}");
}

/// Tells everybody that a member has each of these tips, one after the other.
fn lie(network: &mut Network, member: MachineId, tips: &[Tip]) {
    for tip in tips {
        network.say_status(ip(member), status(member as u64 + 1, tip));
    }
}

#[test]
fn a_body_of_an_abandoned_attempt_is_held_against_nobody() {
    let rules = rules();
    let good = branch(&rules, 10, 1);
    let chain = chain_of(&rules, &good);
    let claim = tip_of(&chain);
    let mut network = Network::new(&rules, 18);
    network.jobs_take(seconds(3));
    let node = network.add(Spec::wallet());
    let mut wrong: Block = good.blocks[0].to_block();
    wrong.body.reward.data = vec![9];
    let liar = network.add_puppet(Greeting::Hello, move |request| {
        Reply::Now(match request {
            Request::GetHeaders { .. } => chain_answers(&chain, request),
            _ => vec![Response::Block((&wrong).into()), Response::Block((&wrong).into())],
        })
    });
    network.claim(liar, &claim);
    network.run_for(seconds(1));
    // The liar is found out by its second answer, and its first body is still being checked.
    let honest = network.add(Spec::with(&good));
    network.run_until("the block is there", |it| it.agree(&[node, honest]));
    let blamed: BTreeSet<Target> = network
        .notices(node)
        .iter()
        .filter_map(|notice| match notice {
            Notice::PeerFailed { target, .. } | Notice::PeerMisbehaved { target, .. } => Some(target.clone()),
            _ => None,
        })
        .collect();
    assert!(!blamed.contains(&Target::Address((ip(honest), PORT).into())), "{blamed:?}");
}

#[test]
fn a_server_that_closes_an_idle_connection_is_not_blamed() {
    let rules = rules();
    let mut network = Network::new(&rules, 19);
    let (a, b) = (network.add(Spec::default()), network.add(Spec::default().mining_as(901)));
    network.run_for(seconds(3));
    network.mine(a);
    network.run_until("both have it", |it| it.agree(&[a, b]));
    network.run_for(seconds(6));
    network.hang_up(a);
    network.run_for(seconds(1));
    let blamed = |it: &Notice| matches!(it, Notice::PeerFailed { .. } | Notice::PeerMisbehaved { .. });
    assert_eq!(network.noticed(b, blamed), 0);
}
