//! The real programs on machines of their own, with `--lan`: a network of network namespaces that is cut, healed,
//! left and returned to. `scripts/lab` runs it, as root, and removes what is left of it when it is interrupted.
//!
//! Nothing of it is joined to the network of the machine underneath, so that no broadcast gets there.

use std::time::Instant;

use common::amount::Amount;
use common::files::Program;
use common::rules::Rules;

mod cables;
mod host;

use cables::Cables;
use host::{BLOCK_SERVER_PORT, Host, REWARDS, SAVINGS, agree};

use crate::program::{Network, Ports, eventually};

/// The bridges: a hall, a part of it that can be cut off, and another building.
const HALL: &str = "hall";
const ANNEX: &str = "annex";
const OTHER: &str = "other";
/// For so many blocks the network is in two parts.
const PARTITION_BLOCKS: u64 = 50;
/// The least that the shorter part makes meanwhile: a reorganisation so deep is an alarm.
const SHORTER_PART: u64 = 21;
/// How far the longer part is ahead before the two meet: no luck turns that round.
const AHEAD: u64 = 8;
/// So many blocks are mined while a machine is away.
const ABSENCE_BLOCKS: u64 = 20;
/// How long one thread should take for a block, in seconds: fifty blocks are a matter of seconds, and it is work that
/// keeps two miners ahead of one.
const BLOCK_SECONDS: f64 = 0.25;
/// What a miner says of a reorganisation as deep as that.
const ALARM: &str = "BLOCKS ARE BEING REPLACED";

/// Lives through all steps. The names of all namespaces begin with `prefix`; `keep` says whether stores and logs
/// stay; each sentence of what happens is given to `say`.
pub fn run(prefix: &str, keep: bool, say: &mut dyn FnMut(&str)) {
    let mut story = Story { started: Instant::now(), step: 0, say };
    let mut network = Network::with_blocks(difficulty(), 1, Rules::default());
    // Those that users have: on these machines nobody else does.
    network.ports = Ports { status: 2606, transactions: 2608 };
    let bits = network.rules.difficulty;
    story.tell(&format!("a network of its own, whose blocks take one thread here about 2^{bits} hashes"));
    let mut cables = Cables::new(prefix);
    [HALL, ANNEX, OTHER].iter().for_each(|bridge| cables.add_bridge(bridge));
    let mut host = |name, address| Host::new(&network, &mut cables, name, address, HALL);
    // As some tools set an address, and as `ip address add` does by itself.
    let mut hall = [
        host("alice", "10.77.1.1/24"),
        host("bob", "10.77.1.2/24 broadcast +"),
        host("carol", "10.77.1.3/24"),
        host("dave", "10.77.1.4/24"),
    ];

    discovery(&mut story, &mut hall);
    partition(&mut story, &cables, &hall);
    absence(&mut story, &cables, &hall);
    let other = two_networks(&mut story, &network, &mut cables, &hall);
    bad_line(&mut story, &cables, &hall);
    let mut everybody: Vec<_> = hall.into_iter().chain(other).collect();
    for host in &mut everybody {
        host.assert_running();
    }
    story.step("Everything is ended and replayed");
    let copies = everybody.iter().map(|host| host.copies().count()).sum::<usize>();
    let height = agree(&everybody.iter().collect::<Vec<_>>(), 0);
    story.tell(&format!(
        "{copies} copies of the chain agree at height {height}; but for erin's miner nothing was restarted"
    ));
    for host in everybody {
        host.stop_and_audit();
    }
    story.tell("every ledger is what its chain gives when it is replayed from genesis");
    if keep {
        story.tell(&format!("kept, with all logs: {}", network.keep().display()));
    }
}

/// What happens, told to whoever watches.
struct Story<'a> {
    started: Instant,
    step: u32,
    say: &'a mut dyn FnMut(&str),
}

impl Story<'_> {
    fn step(&mut self, title: &str) {
        self.step += 1;
        (self.say)(&format!("\n{}. {title}", self.step));
    }

    fn tell(&mut self, sentence: &str) {
        (self.say)(&format!("{:6.1} s  {sentence}", self.started.elapsed().as_secs_f64()));
    }
}

/// Four machines on one network.
fn discovery(story: &mut Story<'_>, hall: &mut [Host<'_>; 4]) {
    story.step("Four machines on one network find each other, with nothing set up but --lan");
    let [alice, bob, carol, dave] = hall;
    for host in [&mut *alice, bob, carol] {
        host.mine(&[]);
    }
    for host in [&mut *alice, bob, carol, dave] {
        host.follow();
    }
    story.tell("alice, bob and carol mine; they and dave follow with a wallet each");
    let [alice, bob, carol, dave] = &*hall;
    for host in [alice, bob, carol] {
        let found = eventually("a miner to find another machine", || host.found_on("10.77.1."));
        story.tell(&format!("{}'s miner has found {found}", host.name));
    }
    // Nobody calls a wallet: it knows those that it has heard.
    for address in ["10.77.1.1", "10.77.1.2", "10.77.1.3"] {
        eventually(&format!("dave's wallet to follow {address}"), || {
            dave.wallet_follows(address).then_some(())
        });
    }
    story.tell("dave's wallet has heard all three");
    let height = agree(&[alice, bob, carol, dave], 5);
    story.tell(&format!("all seven copies of the chain agree at height {height}"));
    for host in [alice, bob, carol] {
        // Enough to pay with, whatever becomes of later rewards.
        host.home.wait_for_at_least(&host.home.address(REWARDS), Amount::from_coins(20));
    }
    pays(story, alice, REWARDS, 5, dave, &[alice, bob, carol, dave]);
}

/// Two machines are cut off from the other two, and joined with them again.
fn partition(story: &mut Story<'_>, cables: &Cables, hall: &[Host<'_>; 4]) {
    story.step(&format!("The network is in two parts for {PARTITION_BLOCKS} blocks, then in one again"));
    let [alice, bob, carol, dave] = hall;
    let everybody = [alice, bob, carol, dave];
    let (savings, fork) = (dave.savings(dave), agree(&everybody, 0));
    for host in [carol, dave] {
        cables.move_to(host.name, ANNEX);
    }
    story.tell(&format!("carol and dave are cut off, at about height {fork}"));
    pays(story, alice, REWARDS, 1, bob, &[alice, bob]);
    pays(story, carol, REWARDS, 2, dave, &[carol, dave]);
    for blocks in (10..=PARTITION_BLOCKS).step_by(10) {
        alice.home.reach(Program::Miner, fork + blocks);
    }
    let (long, short) = eventually("both parts to be long enough", || {
        let (long, short) = (alice.home.height(Program::Miner), carol.home.height(Program::Miner));
        (short >= fork + SHORTER_PART && long >= short + AHEAD).then_some((long, short))
    });
    let lost = carol.block_at(Program::Miner, short).expect("it was just there");
    assert_ne!(alice.block_at(Program::Miner, short), Some(lost), "the parts hear each other");
    assert_eq!(bob.savings(dave), savings, "a payment came through a cut");
    story.tell(&format!("alice and bob are at height {long}, carol and dave at {short} on another branch"));

    let healed = Instant::now();
    for host in [carol, dave] {
        cables.move_to(host.name, HALL);
    }
    let height = agree(&everybody, long);
    let seconds = healed.elapsed().as_secs_f64();
    story.tell(&format!("joined again; {seconds:.1} s later all agree at height {height}"));
    for host in everybody {
        for program in host.copies() {
            assert_ne!(host.block_at(program, short), Some(lost), "the longer branch was to win");
        }
    }
    let line = carol.miner_line(ALARM);
    let (line, _) = line.split_once(": payments").expect("it says what that means for payments");
    story.tell(&format!("carol's log: {line}"));
    for host in [alice, bob] {
        assert!(!host.miner_said().contains(ALARM), "{}'s branch was the longer one", host.name);
    }
    for host in everybody {
        host.home.wait_for_balance(&dave.home.address(SAVINGS), sum(savings, 2));
        host.home.wait_for_balance(&bob.home.address(SAVINGS), Amount::from_coins(1));
    }
    story.tell("what carol paid dave on the shorter branch is confirmed again, and alice's payment still is");
}

/// A machine whose interface goes, and comes back as another.
fn absence(story: &mut Story<'_>, cables: &Cables, hall: &[Host<'_>; 4]) {
    story.step("A machine leaves, and returns with another interface and another address");
    let [alice, bob, carol, dave] = hall;
    let left = bob.home.height(Program::Miner);
    cables.unplug(bob.name);
    story.tell(&format!("bob's link goes down, and his interface away, at height {left}"));
    let gone = "this machine no longer has the address 10.77.1.2";
    bob.miner_line(gone);
    story.tell(&format!("his miner ends its connections: {gone}"));
    bob.pay(REWARDS, 3, alice);
    let (long, short) = eventually("the others to be ahead", || {
        let (long, short) = (alice.home.height(Program::Miner), bob.home.height(Program::Miner));
        (long >= left + ABSENCE_BLOCKS && short > left && long >= short + AHEAD).then_some((long, short))
    });
    assert_eq!(alice.savings(alice), Amount::ZERO, "a payment came without a cable");
    story.tell(&format!("the others are at height {long}, bob by himself at {short}; he has paid alice 3"));

    let returned = Instant::now();
    cables.plug_host(bob.name, "10.77.1.77/24", HALL);
    let height = agree(&[alice, bob, carol, dave], long);
    let seconds = returned.elapsed().as_secs_f64();
    story.tell(&format!("he is back, as 10.77.1.77; {seconds:.1} s later all agree at height {height}"));
    alice.home.wait_for_balance(&alice.home.address(SAVINGS), Amount::from_coins(3));
    story.tell("his payment is confirmed at alice's wallet");
    eventually("dave's wallet to hear bob", || dave.wallet_follows("10.77.1.77").then_some(()));
    let seconds = returned.elapsed().as_secs_f64();
    story.tell(&format!("{seconds:.1} s after his return dave's wallet, too, follows his miner there"));
}

/// A second network behind a router, at first by itself; gives its machines.
fn two_networks<'n>(
    story: &mut Story<'_>,
    network: &'n Network,
    cables: &mut Cables,
    hall: &[Host<'_>; 4],
) -> [Host<'n>; 2] {
    story.step("Two networks that no broadcast joins, and one --peer that does");
    let [alice, bob, carol, dave] = hall;
    cables.add_machine("router");
    cables.plug("router", "eth1", "10.77.1.254/24", HALL);
    cables.plug("router", "eth2", "10.77.2.254/24", OTHER);
    cables.forward("router");
    let mut erin = Host::new(network, cables, "erin", "10.77.2.1/24", OTHER);
    let mut frank = Host::new(network, cables, "frank", "10.77.2.2/24", OTHER);
    erin.mine(&[]);
    erin.follow();
    frank.follow();
    let height = agree(&[&erin, &frank], 10);
    assert_ne!(erin.block_at(Program::Miner, 1), alice.block_at(Program::Miner, 1), "a broadcast was routed");
    story.tell(&format!(
        "erin mines and frank follows beyond a router: their own chain is at height {height}"
    ));

    let target = format!("10.77.1.1:{BLOCK_SERVER_PORT}");
    erin.miner.take().expect("it was started").stop();
    let joined = Instant::now();
    erin.mine(&["--peer", &target]);
    let everybody = [alice, bob, carol, dave, &erin, &frank];
    let height = agree(&everybody, alice.home.height(Program::Miner));
    let seconds = joined.elapsed().as_secs_f64();
    story.tell(&format!(
        "erin's miner runs again, with --peer {target}; {seconds:.1} s later all agree at height {height}"
    ));
    pays(story, alice, REWARDS, 4, &frank, &everybody);
    pays(story, &frank, SAVINGS, 1, dave, &everybody);
    for (host, other) in [(bob, "10.77.2."), (carol, "10.77.2."), (dave, "10.77.2."), (&frank, "10.77.1.")] {
        assert!(!host.said().contains(other), "{} knows of the other network", host.name);
    }
    story.tell("whoever hears broadcasts alone knows nobody of the other network");
    [erin, frank]
}

/// A machine on a line that loses some of what is sent.
fn bad_line(story: &mut Story<'_>, cables: &Cables, hall: &[Host<'_>; 4]) {
    story.step("A bad line");
    let [alice, bob, carol, dave] = hall;
    let Some(how) = cables.spoil(carol.name) else {
        return story.tell("skipped: this system has no tc, or its kernel neither netem nor tbf");
    };
    story.tell(&format!("what carol sends comes {how}"));
    let height = alice.home.height(Program::Miner);
    pays(story, carol, REWARDS, 1, bob, &[alice, bob, carol, dave]);
    let height = agree(&[alice, bob, carol, dave], height + 10);
    story.tell(&format!("all agree at height {height}"));
}

/// Somebody pays somebody, and all of these wallets have it confirmed.
fn pays(
    story: &mut Story<'_>,
    from: &Host<'_>,
    key: &str,
    amount: u64,
    to: &Host<'_>,
    seen_by: &[&Host<'_>],
) {
    let before = to.savings(to);
    let sent = Instant::now();
    from.pay(key, amount, to);
    for host in seen_by {
        host.home.wait_for_balance(&to.home.address(SAVINGS), sum(before, amount));
    }
    let names: Vec<_> = seen_by.iter().map(|host| host.name).collect();
    story.tell(&format!(
        "{} has paid {} {amount}: confirmed {:.1} s later at the wallets of {}",
        from.name,
        to.name,
        sent.elapsed().as_secs_f64(),
        names.join(", "),
    ));
}

fn sum(balance: Amount, coins: u64) -> Amount {
    balance.checked_add(Amount::from_coins(coins)).expect("a trial moves little")
}

/// How many zero bits make one thread of this machine take [`BLOCK_SECONDS`] for a block.
fn difficulty() -> u32 {
    let network = Network::new();
    let said = network.home("bench").start_miner(&["bench"]).end().stdout;
    let rate = said.split_once("mining with 1 thread: ").and_then(|(_, rest)| {
        let (number, rest) = rest.split_once(' ')?;
        let unit = [("GH/s", 1e9), ("MH/s", 1e6), ("kH/s", 1e3)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))?;
        Some(number.parse::<f64>().ok()? * unit.1)
    });
    let rate = rate.unwrap_or_else(|| panic!("`miner bench` says no rate: {said}"));
    (rate * BLOCK_SECONDS).log2().round().clamp(16.0, 32.0) as u32
}
