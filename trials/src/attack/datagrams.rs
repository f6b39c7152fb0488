//! Datagrams of random bytes, and good ones that were damaged on their way.

use common::address::Address;
use common::amount::Amount;
use common::difficulty::Work;
use common::files::Program;
use common::hash::{BlockId, NetworkId};
use common::time::Height;
use common::transaction::{Payment, TransactionVersion};
use common::wire::{Announcement, Datagram, DatagramError, MAX_DATAGRAM_BYTES, Status};

use super::caller::stranger;
use super::memory::frugal;
use super::reader::Reader;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use super::udp::{Flood, Source};
use super::{Figures, ROUNDS};
use crate::program::Network;
use crate::random::Random;
use crate::weak_keys::WeakKey;

/// Datagrams for the smallest scale.
const DATAGRAMS: u64 = 20_000;
/// Where they come from.
const SOURCES: u32 = 32;
/// Payments that wait, and those in the queue, by `LIMITS.md`.
const PAYMENTS_MIB: u64 = 48 + 40;

/// What a receiver has to make of a datagram.
#[derive(Default)]
struct Expected {
    malformed: u64,
    foreign: u64,
}

pub fn run(scale: u32, seed: u64) -> Figures {
    let network = Network::new();
    let mut target = Target::mining(frugal(network.home("attacked")), &["--set", "log=debug"]);
    let mut reader = Reader::start(frugal(network.home("reading")));
    reader.home.reach(Program::Wallet, 1);
    let mut maker = Maker::new(target.network(), seed);
    let sources: Vec<Source> = (0..SOURCES).map(|number| Source::at(stranger(number))).collect();
    let mut floods = [Flood::to(network.ports.status), Flood::to(network.ports.transactions)];
    let mut expected = Expected::default();
    for _ in 0..ROUNDS {
        for number in 0..DATAGRAMS * u64::from(scale) / u64::from(ROUNDS) {
            let datagram = maker.next();
            match Datagram::announcement_of(&datagram, &maker.network) {
                Ok(_) => {}
                Err(DatagramError::OtherNetwork { .. }) => expected.foreign += 1,
                Err(_) => expected.malformed += 1,
            }
            let port = maker.random.below(2) as usize;
            floods[port].send(&sources[(number % u64::from(SOURCES)) as usize], &datagram);
        }
        for flood in &floods {
            flood.end();
        }
        target.end_round();
        reader.end_round();
    }
    let lost: u64 = floods.iter().map(Flood::end).sum();
    target.serves(3);
    sources.iter().for_each(Source::heard_nothing);
    let sent: u64 = floods.iter().map(|flood| flood.sent).sum();
    target.figures.add("datagrams sent", sent);
    target.figures.add("taken", sent - lost);
    target.figures.add("of no form", expected.malformed);
    target.figures.add("of other networks", expected.foreign);
    reader.withstood(&target.home, EVERYTHING_ELSE_MIB, &mut target.figures);
    let (figures, log) = target.withstood(PAYMENTS_MIB + EVERYTHING_ELSE_MIB);
    for (what, expected) in [("malformed", expected.malformed), ("foreign", expected.foreign)] {
        let counted = counted(&log, what);
        assert!(
            counted <= expected && counted + lost >= expected,
            "{what}: {counted} of {expected}, {lost} lost"
        );
    }
    figures
}

/// What a miner says at its end to have dropped.
fn counted(log: &str, what: &str) -> u64 {
    let line =
        log.lines().rev().find(|line| line.contains("dropped as malformed")).expect("it is said at the end");
    let count = line.split_once(&format!("{what}: ")).expect("it is counted").1;
    count
        .split(|end: char| !end.is_ascii_digit())
        .next()
        .and_then(|count| count.parse().ok())
        .expect("a number")
}

struct Maker {
    network: NetworkId,
    random: Random,
    good: [Vec<u8>; 2],
}

impl Maker {
    fn new(network: NetworkId, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let status = Status {
            instance: random.next_u64(),
            height: Height::new(7),
            work: Work::from_be_bytes([1; 32]),
            tip: BlockId::from_bytes([7; 32]),
            // Nobody is there.
            block_server_port: 9,
        };
        let payment = Payment {
            version: TransactionVersion::V1,
            to: Address::from_bytes([7; 32]),
            amount: Amount::from_coins(1),
            fee: Amount::ZERO,
            nonce: 0,
            valid_until: 0,
            data: vec![7; 80],
            public_key: Vec::new(),
        };
        let payment = WeakKey::generate(&mut random).sign_payment(payment, &network);
        let bytes = |announcement| Datagram::new(&network, announcement).to_bytes();
        let good = [bytes(Announcement::Status(status)), bytes(Announcement::Transaction(payment))];
        Self { network, random, good }
    }

    fn next(&mut self) -> Vec<u8> {
        let kind = self.random.below(6);
        let mut datagram = self.good[self.random.below(2) as usize].clone();
        match kind {
            0 => {
                let length = self.random.below(MAX_DATAGRAM_BYTES as u64 + 300) as usize;
                datagram = self.random_bytes(length);
            }
            1 => {
                // The right beginning, so that the rest has to be decoded.
                let tail = self.random.below(1_400) as usize;
                let head = 14 + 4 * self.random.below(2) as usize;
                datagram.truncate(head);
                let tail = self.random_bytes(tail);
                datagram.extend(tail);
            }
            2 => datagram.truncate(self.random.below(datagram.len() as u64) as usize),
            3 => {
                let more = self.random.below(64) as usize + 1;
                let more = self.random_bytes(more);
                datagram.extend(more);
            }
            _ => {
                // The last two bytes of a status say which port to call: one that nobody listens at is left alone.
                let bits = 8 * (datagram.len() as u64 - 2);
                for _ in 0..=self.random.below(16) {
                    let bit = self.random.below(bits);
                    datagram[(bit / 8) as usize] ^= 1 << (bit % 8);
                }
            }
        }
        datagram
    }

    fn random_bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.random.next_u64() as u8).collect()
    }
}
