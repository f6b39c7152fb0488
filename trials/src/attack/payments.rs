//! Floods of payments: good ones, and ones that are wrong in every way.

use std::time::{Duration, Instant};

use common::address::Address;
use common::amount::Amount;
use common::hash::{BlockId, NetworkId, TransactionId};
use common::rules::Rules;
use common::signature::address_of;
use common::transaction::{Payment, Transaction, TransactionVersion};
use common::wire::{Announcement, Datagram, Request, Response, SubmitResult};

use super::caller::{Caller, stranger};
use super::honest::Client;
use super::memory::frugal;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use super::udp::{Flood, Source};
use super::{Figures, ROUNDS};
use crate::program::{Network, PATIENCE};
use crate::random::Random;
use crate::weak_keys::WeakKey;

/// Payments for the smallest scale.
const PAYMENTS: u64 = 6_000;
/// Who pays: one is honest, one is wrong by TCP, two come to a full pool, and others fill it, a few at a time, for nobody
/// has more than a quarter of it. The rest are attackers.
const SENDERS: usize = 94;
const HONEST: usize = 0;
const BY_TCP: usize = 1;
const RICH: usize = 2;
const POOR: usize = 3;
const FILLERS: std::ops::Range<usize> = 4..64;
const FILLERS_AT_A_TIME: usize = 5;
/// The most payments that the pool may hold: so few that it can be filled between two blocks, and that a flood keeps
/// others out in every second.
const POOL: usize = 100;
/// How often an honest sender repeats its payment.
const REPEAT: Duration = Duration::from_millis(500);
/// How often the pool is looked at, in payments.
const LOOK_EVERY: u64 = 250;
/// Payments that were in the pool lately are remembered, in MiB (`LIMITS.md`).
const REMEMBERED_MIB: u64 = 20;
/// Pool, remembered, waiting for a check, and in the queue.
const PAYMENTS_MIB: u64 = 64 + REMEMBERED_MIB + 48 + 40;

pub fn run(scale: u32, seed: u64) -> Figures {
    let random = Random::new(seed);
    let keys: Vec<WeakKey> =
        (0..=SENDERS as u64).map(|number| WeakKey::generate(&mut random.branch(number))).collect();
    // The last one has nothing.
    let funded = keys.iter().take(SENDERS).map(|key| address_of(key.modulus()));
    let mut alloc: Vec<_> = funded.map(|address| (address, Amount::from_coins(1_000))).collect();
    alloc.sort_unstable();
    let network = Network::with_rules(Rules { alloc, max_block_bytes: 65_536, ..Rules::default() });
    let room = format!("mempool_max_transactions={POOL}");
    let mut target = Target::mining(frugal(network.home("attacked")), &["--set", &room]);
    target.remembers(REMEMBERED_MIB);
    let id = target.network();
    let mut people = People { keys, network: id, random, next: vec![0; SENDERS], sent: Vec::new() };

    let honest = Source::at(std::net::Ipv4Addr::LOCALHOST);
    let sources: Vec<Source> = (0..8).map(|number| Source::at(stranger(number))).collect();
    let payment = people.pay(HONEST, 0, Amount::from_coins(1), &id);
    let told = Datagram::new(&id, Announcement::Transaction(payment.clone())).to_bytes();
    let mut flood = Flood::to(network.ports.transactions);
    let mut client = Client::call(target.place, id).expect("an honest caller is served");
    full_pool(&mut target, &people, &mut client);
    let (all, started) = (PAYMENTS * u64::from(scale), Instant::now());
    let (mut told_at, mut mined_after, mut most_held) = (None::<Instant>, None, 0);
    while flood.sent < all || mined_after.is_none() {
        let datagram = people.hostile();
        flood.send(&sources[(flood.sent % 8) as usize], &datagram);
        if flood.sent.is_multiple_of(LOOK_EVERY) {
            let held = pool_ids(&mut client).len();
            assert!(held <= POOL, "the pool holds {held} payments");
            most_held = most_held.max(held);
        }
        if flood.sent == all / u64::from(ROUNDS) {
            flood.end();
            target.end_round();
        }
        if flood.sent < all / 2 {
            continue;
        }
        let since = *told_at.get_or_insert_with(|| {
            honest.send(&told, network.ports.transactions);
            Instant::now()
        });
        if flood.sent.is_multiple_of(100) && mined_after.is_none() {
            let proof = client.ask(&Request::GetProof { transaction: payment.id() });
            match proof.expect("an honest caller is served") {
                Response::Proof(_) => mined_after = Some(since.elapsed()),
                _ if since.elapsed() > REPEAT => told_at = None,
                _ => assert!(started.elapsed() < 10 * PATIENCE, "the honest payment is not mined"),
            }
        }
    }
    let lost = flood.end();
    target.end_round();
    by_tcp(&target, &mut people);
    sources.iter().chain([&honest]).for_each(Source::heard_nothing);
    target.serves(3);
    target.figures.add("payments sent", flood.sent);
    target.figures.add("taken", flood.sent - lost);
    target.figures.add("most in the pool", most_held as u64);
    let mined_after = mined_after.expect("the loop ends when it is mined");
    target.figures.add("honest one mined after, ms", mined_after.as_millis() as u64);
    target.withstood(PAYMENTS_MIB + EVERYTHING_ELSE_MIB).0
}

/// Fills the pool, and asserts that it is full, that one who pays nothing finds no room, and that one who pays well does:
/// others give way. Tried again where a block made room meanwhile.
fn full_pool(target: &mut Target<'_>, people: &People, client: &mut Client) {
    let id = &people.network;
    for (number, fillers) in FILLERS.collect::<Vec<_>>().chunks(FILLERS_AT_A_TIME).enumerate() {
        let before = tip(client);
        let share = POOL.div_ceil(fillers.len()) as u64;
        let pay = |(sender, nonce)| people.pay(sender, nonce, Amount::from_units(1), id);
        let filling = fillers.iter().flat_map(|sender| (0..share).map(|nonce| (*sender, nonce))).map(pay);
        submit(client, filling.collect());
        let poor = submit(client, vec![people.pay(POOR, 0, Amount::ZERO, id)]);
        let full = pool_ids(client);
        let payment = people.pay(RICH, number as u64, Amount::from_coins(1), id);
        let rich = submit(client, vec![payment.clone()]);
        let after = pool_ids(client);
        if tip(client) != before {
            continue;
        }
        assert_eq!(full.len(), POOL, "the pool is not full");
        assert_eq!(poor, [SubmitResult::POOL_FULL], "who pays nothing finds room");
        assert_eq!(rich, [SubmitResult::ACCEPTED], "who pays well finds none");
        assert!(after.contains(&payment.id()) && after.len() <= POOL, "nobody gave way: {}", after.len());
        target.figures.add("times the pool was filled", number as u64 + 1);
        return;
    }
    panic!("there is a new block whenever the pool was filled");
}

/// What becomes of payments that are submitted.
fn submit(client: &mut Client, payments: Vec<Transaction>) -> Vec<SubmitResult> {
    match client.ask(&Request::SubmitTransactions(payments)).expect("an honest caller is served") {
        Response::Results(results) => results,
        other => panic!("{other:?} instead of results"),
    }
}

/// The tip that the miner has.
fn tip(client: &mut Client) -> BlockId {
    match client.ask(&Request::WaitStatus { tip: BlockId::ZERO }).expect("an honest caller is served") {
        Response::Status(status) => status.tip,
        other => panic!("{other:?} instead of a status"),
    }
}

/// The payments that the pool holds.
fn pool_ids(client: &mut Client) -> Vec<TransactionId> {
    match client.ask(&Request::GetPoolIds { after: None }).expect("an honest caller is served") {
        Response::PoolIds(ids) => ids,
        other => panic!("{other:?} instead of the pool"),
    }
}

/// Whoever submits payments by TCP is told what is wrong with each.
fn by_tcp(target: &Target<'_>, people: &mut People) {
    let id = people.network;
    let good = people.pay(BY_TCP, 0, Amount::from_coins(2), &id);
    let unfunded = people.pay(SENDERS, 0, Amount::from_coins(2), &id);
    let elsewhere = people.pay(BY_TCP, 1, Amount::from_coins(2), &NetworkId::from_bytes([7; 32]));
    let mut forged = people.pay(BY_TCP, 1, Amount::from_coins(3), &id);
    forged.signature[200] ^= 1;
    let conflict = people.pay(BY_TCP, 0, Amount::from_coins(1), &id);
    let mut caller = Caller::greeted(stranger(9), target.place).expect("there is room for a caller");
    let mut submit = |payments: Vec<Transaction>| {
        caller.ask(&Request::SubmitTransactions(payments)).expect("the server listens");
        let frame = caller.frame().expect("the server answers");
        match Response::from_frame(frame).expect("its answer decodes") {
            Response::Results(results) => results,
            other => panic!("{other:?} instead of results"),
        }
    };
    assert_eq!(submit(vec![good.clone()]), [SubmitResult::ACCEPTED]);
    let again = submit(vec![good, unfunded, elsewhere, forged, conflict]);
    // A block may have been found in between, which holds the good one.
    assert!(matches!(again[0], SubmitResult::KNOWN | SubmitResult::NONCE_TOO_LOW), "{again:?}");
    let (funds, signature) = (SubmitResult::FUNDS, SubmitResult::BAD_SIGNATURE);
    assert_eq!(again[1..4], [funds, signature, signature]);
    assert!(matches!(again[4], SubmitResult::CONFLICT | SubmitResult::NONCE_TOO_LOW), "{again:?}");
}

struct People {
    keys: Vec<WeakKey>,
    network: NetworkId,
    random: Random,
    /// The next nonce of each, as far as its payments get in.
    next: Vec<u64>,
    /// Some that were sent.
    sent: Vec<Vec<u8>>,
}

impl People {
    fn pay(&self, sender: usize, nonce: u64, fee: Amount, network: &NetworkId) -> Transaction {
        let payment = Payment {
            version: TransactionVersion::V1,
            to: Address::from_bytes([7; 32]),
            amount: Amount::from_units(1),
            fee,
            nonce,
            valid_until: 0,
            data: Vec::new(),
            public_key: Vec::new(),
        };
        self.keys[sender].sign_payment(payment, network)
    }

    /// A datagram of an attacker who has keys with money, and spends little of it.
    fn hostile(&mut self) -> Vec<u8> {
        let sender = FILLERS.end + self.random.below((SENDERS - FILLERS.end) as u64) as usize;
        let fee = Amount::from_units(self.random.below(100));
        let (own, other) = (self.network, NetworkId::from_bytes([7; 32]));
        let next = self.next[sender];
        let told = |network: &NetworkId, payment| {
            Datagram::new(network, Announcement::Transaction(payment)).to_bytes()
        };
        match self.random.below(10) {
            0 if !self.sent.is_empty() => {
                let place = self.random.below(self.sent.len() as u64) as usize;
                self.sent[place].clone()
            }
            // A gap.
            1 => told(&own, self.pay(sender, next + 2 + self.random.clone().below(1_000), fee, &own)),
            // Signed for another network, and said on another.
            2 => told(&own, self.pay(sender, next, fee, &other)),
            3 => told(&other, self.pay(sender, next, fee, &other)),
            // Forged.
            4 => {
                let mut payment = self.pay(sender, next, fee, &own);
                let place = self.random.below(256) as usize;
                payment.signature[place] ^= 1 << self.random.below(8);
                told(&own, payment)
            }
            // Of somebody who has nothing.
            5 => told(&own, self.pay(SENDERS, 0, fee, &own)),
            // Too old; it begins anew, in case some were lost or gave way.
            6 => {
                self.next[sender] = self.random.below(next + 1);
                told(&own, self.pay(sender, 0, fee, &own))
            }
            _ => {
                self.next[sender] += 1;
                let payment = told(&own, self.pay(sender, next, fee, &own));
                if self.sent.len() < 1_000 {
                    self.sent.push(payment.clone());
                }
                payment
            }
        }
    }
}
