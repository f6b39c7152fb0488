//! Statuses that are invented: from ten thousand addresses, of chains that are better than any, and in a victim's name.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use common::difficulty::Work;
use common::files::Program;
use common::hash::{BlockId, NetworkId};
use common::node::limits::CONNECT_DEADLINE;
use common::time::Height;
use common::wire::{Announcement, Datagram, Status};

use super::caller::stranger;
use super::memory::frugal;
use super::reader::Reader;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use super::udp::{Flood, Source};
use super::{Figures, ROUNDS};
use crate::program::Network;
use crate::random::Random;

/// Addresses that statuses come from.
const SOURCES: u32 = 10_000;
/// Sockets that are kept, to see that nothing comes.
const KEPT: u32 = 256;
/// One in so many statuses is in the victim's name.
const VICTIMS_EVERY: u32 = 10;
/// Two miners and a wallet hear all of it.
const PROGRAMS: u64 = 3;
/// Blocks that the follower has to take while it is flooded.
const BLOCKS: u64 = 3;

pub fn run(scale: u32, seed: u64) -> Figures {
    let network = Network::new();
    let mut mining = Target::mining(frugal(network.home("mining")), &[]);
    let following = frugal(network.home("following"));
    let miner = following.start_miner(&["--no-mine"]);
    let mut following = Target::new(following, miner, Some(mining.mined_by()));
    following.serve_honest_caller();
    let mut reader = Reader::start(frugal(network.home("reading")));
    reader.home.reach(Program::Wallet, 1);
    let victim = Victim::at(Ipv4Addr::new(127, 77, 0, 1));
    let in_victims_name = Source::at(*victim.address.ip());
    let mut maker = Maker { network: mining.network(), random: Random::new(seed) };
    let mut flood = Flood::to(network.ports.status);
    let mut kept = Vec::new();
    let started = Instant::now();
    for round in 0..ROUNDS * scale {
        let part = round % ROUNDS;
        for number in part * SOURCES / ROUNDS..(part + 1) * SOURCES / ROUNDS {
            let source = Source::at(stranger(number));
            let port = 1_024 + maker.random.below(60_000) as u16;
            flood.send(&source, &maker.status(port));
            if number % VICTIMS_EVERY == 0 {
                flood.send(&in_victims_name, &maker.status(victim.address.port()));
                flood.send(&in_victims_name, &maker.status(port));
            }
            source.heard_nothing();
            if round < ROUNDS && number.is_multiple_of(SOURCES / KEPT) {
                kept.push(source);
            }
        }
        // Whom it follows has found blocks meanwhile, and it has them.
        following.home.reach(Program::Miner, mining.home.height(Program::Miner));
        following.end_round();
        mining.end_round();
        reader.end_round();
    }
    following.goes_on(BLOCKS);
    mining.serves(3);
    following.serves(3);
    let calls = victim.calls();
    // A call to somebody who accepts it and says nothing lasts so long, and nobody calls the same a second time
    // meanwhile.
    let most = PROGRAMS * (started.elapsed().as_secs() / CONNECT_DEADLINE.as_secs() + 1);
    assert!(
        calls <= most,
        "the victim was called {calls} times by {PROGRAMS} programs; at most {most} are fair"
    );
    kept.iter().chain([&in_victims_name]).for_each(Source::heard_nothing);
    flood.end();
    following.figures.add("statuses sent", flood.sent);
    following.figures.add("sources", u64::from(SOURCES) + 1);
    following.figures.add("calls of the victim", calls);
    following.figures.add("bytes said to it", victim.bytes_heard());
    assert_eq!(victim.bytes_heard(), 0, "whoever calls says nothing before the server's hello");
    reader.withstood(&mining.home, EVERYTHING_ELSE_MIB, &mut following.figures);
    let (figures, _) = following.withstood(EVERYTHING_ELSE_MIB);
    mining.withstood(EVERYTHING_ELSE_MIB);
    figures
}

/// Who never asked for any of it: accepts calls, and says nothing.
struct Victim {
    address: std::net::SocketAddrV4,
    calls: Arc<AtomicU64>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Victim {
    fn at(address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("all of 127.0.0.0/8 is this machine");
        let SocketAddr::V4(address) = listener.local_addr().expect("it is bound") else {
            panic!("it is bound to an IPv4 address")
        };
        let (calls, open) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (count, keep) = (calls.clone(), open.clone());
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                keep.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            }
        });
        Self { address, calls, open }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// All that was sent to it.
    fn bytes_heard(&self) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = open.iter().map(|stream| {
            stream.set_nonblocking(true).expect("a socket can be read without waiting");
            stream.peek(&mut [0; 64]).unwrap_or(0) as u64
        });
        heard.sum()
    }
}

struct Maker {
    network: NetworkId,
    random: Random,
}

impl Maker {
    /// Of a chain that is better than any there can be.
    fn status(&mut self, block_server_port: u16) -> Vec<u8> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(self.random.next_u64() | 1 << 63).to_be_bytes());
        let status = Status {
            instance: self.random.next_u64(),
            height: Height::new(self.random.next_u64()),
            work: Work::from_be_bytes(bytes),
            tip: BlockId::from_bytes(bytes),
            block_server_port,
        };
        Datagram::new(&self.network, Announcement::Status(status)).to_bytes()
    }
}
