//! One machine: a disk that stays, a clock that may be wrong, and a program that comes and goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::byzantine::{Malice, Mind};
use super::disk::Disk;
use super::puppet::Puppet;
use super::signer::Signer;
use crate::consensus::CheckedBlock;
use crate::node::{LinkId, MempoolLimits, Node, Target, Template};
use crate::store::{Store, StoreError, Tip};
use crate::time::Timestamp;

/// Where every block server listens.
pub(crate) const PORT: u16 = 2607;

/// A machine, by its place.
pub(crate) type MachineId = usize;

/// What a machine is there for. The default only follows the chain, and hears nobody.
#[derive(Clone, Default)]
pub(crate) struct Role {
    /// Whom its blocks pay, if it mines.
    pub(crate) miner: Option<Signer>,
    /// Hashes a second.
    pub(crate) hash_rate: f64,
    /// A wallet has none.
    pub(crate) pool: Option<MempoolLimits>,
    pub(crate) serves_blocks: bool,
    /// Whether it hears what is broadcast, and is heard.
    pub(crate) broadcast: bool,
    pub(crate) named: Vec<MachineId>,
    /// How it breaks the rules, if it does.
    pub(crate) malice: Option<Malice>,
    /// Its clock less the true time, in milliseconds.
    pub(crate) clock_offset_ms: i64,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { miner, hash_rate, pool, serves_blocks, broadcast, named, malice, clock_offset_ms } = self;
        let is = |what, is: bool| if is { what } else { "" };
        write!(f, "{}{}", is("miner ", miner.is_some()), is("with a pool ", pool.is_some()))?;
        write!(f, "{}{}", is("server ", *serves_blocks), is("on the broadcast ", *broadcast))?;
        write!(f, "calls {named:?} {hash_rate:.2} H/s, {clock_offset_ms} ms ahead {malice:?}")
    }
}

/// See the module.
pub(crate) struct Machine {
    pub(crate) role: Role,
    pub(crate) disk: Disk,
    /// `None`: the program does not run.
    pub(crate) node: Option<Node<Disk>>,
    /// How often the program was started: what was on its way to an earlier run is lost.
    pub(crate) run: u32,
    pub(crate) template: Option<Arc<Template>>,
    /// Whether a nonce is being searched for, and by which search.
    pub(crate) search: u64,
    pub(crate) searching: bool,
    /// Blocks that wait to be written, the oldest first.
    pub(crate) writes: VecDeque<Vec<CheckedBlock>>,
    /// Whether the program is killed when it writes next.
    pub(crate) killed_in_next_write: bool,
    /// The best tip that the program was told is durable, and may have told others.
    pub(crate) acknowledged: Tip,
    /// The latest time that its clock ever showed to its program.
    pub(crate) latest_clock: Timestamp,
    /// Which side of a partition it is on.
    pub(crate) side: u8,
    /// Connections that it opened; `None` while one is being opened.
    pub(crate) links: BTreeMap<LinkId, Option<u64>>,
    /// Connections to its block server.
    pub(crate) callers: BTreeSet<u64>,
    /// When it is woken next at the latest.
    pub(crate) wake_at: Duration,
    /// When what it sends now is out, where its line is of limited width.
    pub(crate) line_free_at: Duration,
    /// What a machine that breaks the rules keeps in mind.
    pub(crate) mind: Mind,
    /// What is there in place of a program, in some scenes.
    pub(crate) puppet: Option<Puppet>,
}

impl Machine {
    /// A new one, switched off.
    pub(super) fn new(role: Role, disk: Disk) -> Self {
        let tip = disk.read::<_, StoreError>(|reader| reader.tip()).expect("a new disk can be read");
        Self {
            role,
            disk,
            node: None,
            run: 0,
            template: None,
            search: 0,
            searching: false,
            writes: VecDeque::new(),
            killed_in_next_write: false,
            acknowledged: tip,
            latest_clock: Timestamp::from_millis(0),
            side: 0,
            links: BTreeMap::new(),
            callers: BTreeSet::new(),
            wake_at: Duration::MAX,
            line_free_at: Duration::ZERO,
            mind: Mind::default(),
            puppet: None,
        }
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.role.malice.is_none() && self.puppet.is_none()
    }
}

/// The address of a machine.
pub(crate) fn ip(id: MachineId) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 | id as u32).into()
}

/// How a user names a machine.
pub(crate) fn name(id: MachineId) -> String {
    format!("{}:{PORT}", ip(id))
}

/// The machine at a place that somebody calls, whether or not there is one.
pub(crate) fn at(target: &Target) -> Option<MachineId> {
    let address = match target {
        Target::Address(address) => *address,
        Target::Named(name) => name.parse::<SocketAddr>().ok()?,
    };
    match address {
        SocketAddr::V4(address) if address.port() == PORT && address.ip().octets()[0] == 10 => {
            Some((u32::from(*address.ip()) & 0x00ff_ffff) as usize)
        }
        _ => None,
    }
}
