//! Which networks are there. Miners announce no more of their network than the start of its id. So this listens to
//! statuses for some seconds, then asks the block servers of every network that it heard for the rules. Whatever a
//! server says, the rules are those that the id commits to, or they are none.
//!
//! A status is a claim that costs nothing, and so is the work in it: it decides nothing here but what is shown.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::failure::Failure;
use common::net::{Addresses, ClientDeadlines, ConnectError, Receiver, SessionError, connect};
use common::rules::{DecodeRulesError, Rules};
use common::settings::Settings;
use common::time::Timestamp;
use common::wire::{Announcement, Datagram, Hello, Request, Response, Status};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::complain;
use crate::error::MinerError;
use crate::limits::{ASK_WITHIN, MAX_ASKED, MAX_MINERS, MAX_MINERS_PER_ADDRESS, MAX_NETWORKS};
use crate::run::AGENT;

/// Of the reasons why nobody gave a network's rules, so many are told.
const TOLD_FAILURES: usize = 3;

/// A network that was heard.
pub struct Network {
    /// The first bytes of its id.
    pub prefix: [u8; 8],
    /// Its miners, and what each last said.
    pub miners: BTreeMap<SocketAddr, Status>,
    /// How many of them were asked for the rules.
    pub asked: usize,
    /// The rules that its id commits to, if a miner gave them.
    pub rules: Option<Rules>,
}

impl Network {
    /// One of which nothing is known but that it is there.
    pub fn new(prefix: [u8; 8]) -> Self {
        Self { prefix, miners: BTreeMap::new(), asked: 0, rules: None }
    }

    /// The digits of its id that are known: all, or as many as datagrams carry.
    pub fn known_id(&self) -> String {
        match &self.rules {
            Some(rules) => rules.network_id().to_string(),
            None => hex::encode(self.prefix),
        }
    }

    /// The miner that claims the most work.
    pub fn best(&self) -> Option<(&SocketAddr, &Status)> {
        self.miners.iter().max_by_key(|(_, status)| status.work)
    }

    fn hear(&mut self, place: SocketAddr, status: Status) {
        let beside = || self.miners.keys().filter(|known| known.ip() == place.ip()).count();
        let room = self.miners.len() < MAX_MINERS && beside() < MAX_MINERS_PER_ADDRESS;
        if room || self.miners.contains_key(&place) {
            self.miners.insert(place, status);
        }
    }
}

/// The networks that are heard in so many seconds, with the rules that their miners give.
pub fn discover(settings: &Settings, seconds: u64) -> Result<Vec<Network>, MinerError> {
    let addresses = Addresses::new(settings.lan, settings.broadcast_addresses.clone())?;
    let port = settings.status_broadcast_port;
    let place = if settings.lan { "the local network" } else { "this machine" };
    complain(&format!("listening for {seconds} s to the miners of {place} (UDP port {port}) …"));
    let system = |action| move |source| Failure::System { action, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start listening"))?;
    runtime.block_on(async {
        let receiver = Receiver::bind(&addresses, port)?;
        let heard = listen(receiver, Instant::now() + Duration::from_secs(seconds)).await;
        Ok(ask_all(heard).await.map_err(system("get random numbers"))?)
    })
}

/// What is announced until then, by network.
async fn listen(mut receiver: Receiver, until: Instant) -> Vec<Network> {
    let mut heard: Vec<Network> = Vec::new();
    while let Ok(received) = timeout_at(until, receiver.receive()).await {
        // What is no status, or nothing at all, is noise; the next may be one.
        let Ok((bytes, from)) = received else { continue };
        let Ok(Datagram { network, announcement: Announcement::Status(status), .. }) =
            Datagram::decode(bytes)
        else {
            continue;
        };
        let place = SocketAddr::new(from.ip(), status.block_server_port);
        match heard.iter().position(|known| known.prefix == network) {
            Some(known) => heard[known].hear(place, status),
            None if heard.len() < MAX_NETWORKS => {
                let mut new = Network::new(network);
                new.hear(place, status);
                heard.push(new);
            }
            None => {}
        }
    }
    heard.sort_by_key(|network| network.prefix);
    heard
}

/// Asks for the rules of all networks at once, and tells of those that nobody gives.
async fn ask_all(heard: Vec<Network>) -> io::Result<Vec<Network>> {
    let mut asking = JoinSet::new();
    for mut network in heard {
        let places = in_turns(network.miners.keys().copied())?;
        asking.spawn(async move {
            let failures = ask_one_after_the_other(&mut network, places).await;
            (network, failures)
        });
    }
    let mut asked = Vec::new();
    while let Some(done) = asking.join_next().await {
        let Ok((network, failures)) = done else { continue };
        if network.rules.is_none() {
            let more = match failures.len().saturating_sub(TOLD_FAILURES) {
                0 => String::new(),
                more => format!("; and so on, {more} more"),
            };
            let told = failures[..failures.len().min(TOLD_FAILURES)].join("; ");
            let prefix = hex::encode(network.prefix);
            complain(&format!("warning: nobody gives the rules of network {prefix}: {told}{more}"));
        }
        asked.push(network);
    }
    asked.sort_by_key(|network| network.prefix);
    Ok(asked)
}

/// Whom to ask, at random: one of each IP address, then a second of each, and so on. Nothing that a liar claims
/// brings him to the front, and all his ports together keep nobody at another address from being asked.
fn in_turns(places: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let mut shuffled = places.map(|place| Ok((getrandom::u64()?, place))).collect::<io::Result<Vec<_>>>()?;
    shuffled.sort_unstable();
    let mut turns: HashMap<IpAddr, usize> = HashMap::new();
    let mut places = Vec::with_capacity(shuffled.len());
    for (_, place) in shuffled {
        let turn = turns.entry(place.ip()).or_default();
        places.push((*turn, place));
        *turn += 1;
    }
    places.sort_by_key(|(turn, _)| *turn);
    Ok(places.into_iter().map(|(_, place)| place).take(MAX_ASKED).collect())
}

/// Asks until one gives the rules; why the others did not.
async fn ask_one_after_the_other(network: &mut Network, places: Vec<SocketAddr>) -> Vec<String> {
    let mut failures = Vec::new();
    for place in places {
        network.asked += 1;
        match timeout(ASK_WITHIN, ask(place, network.prefix)).await {
            Ok(Ok(rules)) => {
                network.rules = Some(rules);
                break;
            }
            Ok(Err(error)) => failures.push(format!("{place}: {error}")),
            Err(_) => failures.push(format!("{place}: no answer within {} s", ASK_WITHIN.as_secs())),
        }
    }
    failures
}

/// Why a miner gave no rules.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("its answer does not fit the question")]
    OtherAnswer,
    #[error(transparent)]
    Rules(#[from] DecodeRulesError),
    #[error("its rules are not those of the network that it announces")]
    OtherRules,
}

/// The rules of the network whose id begins like this, from one of its miners.
async fn ask(place: SocketAddr, prefix: [u8; 8]) -> Result<Rules, AskError> {
    let (mut session, hello) = connect(place, None, own_hello, ClientDeadlines::default()).await?;
    session.send(&Request::GetRules).await?;
    let Response::Rules(bytes) = session.next().await? else { return Err(AskError::OtherAnswer) };
    let rules = Rules::from_bytes(&bytes)?;
    let id = rules.network_id();
    if id != hello.network || id.prefix() != prefix {
        return Err(AskError::OtherRules);
    }
    Ok(rules)
}

/// What this program says of itself: a caller of the same network that serves nothing.
fn own_hello(theirs: &Hello) -> Hello {
    Hello::of_caller(theirs, AGENT, Timestamp::from_system_clock())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn places(address: u8, ports: std::ops::Range<u16>) -> impl Iterator<Item = SocketAddr> {
        ports.map(move |port| SocketAddr::from(([192, 0, 2, address], port)))
    }

    #[test]
    fn no_number_of_ports_at_one_address_keeps_another_from_being_asked() {
        let asked = in_turns(places(1, 1..200).chain(places(2, 1..2)).chain(places(3, 1..3))).unwrap();
        assert_eq!(asked.len(), MAX_ASKED);
        let first: HashSet<IpAddr> = asked[..3].iter().map(SocketAddr::ip).collect();
        assert_eq!(first.len(), 3, "{asked:?}");
        assert!(asked[3..5].iter().any(|place| place.ip() == asked[0].ip() || place.ip() == asked[1].ip()));
        assert_eq!(asked.iter().collect::<HashSet<_>>().len(), MAX_ASKED, "nobody is asked twice");
    }

    #[test]
    fn whom_to_ask_is_chosen_at_random() {
        // That ten draws of 16 out of 200 are the same does not happen.
        let draws: HashSet<Vec<SocketAddr>> = (0..10).map(|_| in_turns(places(1, 1..201)).unwrap()).collect();
        assert!(draws.len() > 1);
    }

    #[test]
    fn one_address_takes_a_part_of_the_room_at_most() {
        let mut network = Network::new([7; 8]);
        let status = Status {
            instance: 1,
            height: Default::default(),
            work: Default::default(),
            tip: Default::default(),
            block_server_port: 1,
        };
        places(1, 1..1_000).for_each(|place| network.hear(place, status));
        assert_eq!(network.miners.len(), MAX_MINERS_PER_ADDRESS);
        for address in 2..10 {
            places(address, 1..1_000).for_each(|place| network.hear(place, status));
        }
        assert_eq!(network.miners.len(), MAX_MINERS);
        assert!(network.miners.keys().any(|place| place.ip() == IpAddr::from([192, 0, 2, 2])));
    }
}
