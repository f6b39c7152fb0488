//! `miner networks`: which networks are there, and with `--join` the rules of one, to take part in it.
//!
//! Miners announce no more of their network than the start of its id. So this listens to statuses for some
//! seconds, then asks a block server of every network it heard for the rules. Whatever the server says, the
//! rules are those that the id commits to, or they are none.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use common::difficulty::Work;
use common::failure::Failure;
use common::hash::NetworkId;
use common::net::{Addresses, ClientDeadlines, ConnectError, Receiver, SessionError, connect};
use common::rules::{DecodeRulesError, Rules, check_name};
use common::settings::{BUILT_IN_NETWORKS, Settings, keep_network, kept_networks, load_network};
use common::time::{Height, Timestamp};
use common::wire::{Announcement, Datagram, Hello, Request, Response, Status};
use tabled::settings::Style;
use tabled::{Table, Tabled};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::complain;
use crate::error::MinerError;
use crate::run::AGENT;

/// Networks that are listed: a room has a few; a flood of invented ones finds no more room.
const MAX_NETWORKS: usize = 64;
/// Miners of a network that are counted.
const MAX_MINERS: usize = 256;
/// Miners of a network that are asked for its rules, the one with the most work first.
const MAX_ASKED: usize = 3;
/// How long a miner may take to say hello, and then to answer. On a LAN it takes milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// Digits of an id that are shown, and that datagrams carry.
const SHOWN_DIGITS: usize = 16;
/// The fewest digits of an id that stand for it: fewer are more likely a name.
const LEAST_ID_DIGITS: usize = 4;

/// Why no network was joined.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    #[error(
        "{text:?} is neither the name of a network (1–32 of a–z 0–9 -) nor the beginning of an id ({LEAST_ID_DIGITS} \
         or more hexadecimal digits)"
    )]
    Malformed { text: String },
    #[error("no network {wanted:?} was heard within {seconds} s at UDP port {port}{}", among(heard))]
    NotHeard { wanted: String, seconds: u64, port: u16, heard: Vec<String> },
    #[error("there are {} different networks {wanted:?}: {}", ids.len(), ids.join(", "))]
    Ambiguous { wanted: String, ids: Vec<String> },
}

fn among(heard: &[String]) -> String {
    match heard {
        [] => ", nor any other".to_owned(),
        heard => format!("; there are {}", heard.join(", ")),
    }
}

impl NetworksError {
    /// What the user can do now, where the sentence does not say it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } => None,
            Self::NotHeard { .. } => Some(HOW_TO_HEAR.to_owned()),
            Self::Ambiguous { ids, .. } => {
                let id = ids.first().map_or("", String::as_str);
                Some(format!("give the id of the right one instead: `miner networks --join {id}`"))
            }
        }
    }
}

/// What to look at when nothing is heard.
const HOW_TO_HEAR: &str = "a miner of it has to be running; --lan listens to other machines, --seconds N listens \
                           longer, and the status_broadcast_port has to be the same";

/// `miner networks`: a table of the networks that are heard.
pub fn list(settings: &Settings, seconds: u64) -> Result<String, MinerError> {
    let networks = listen_and_ask(settings, seconds)?;
    if networks.is_empty() {
        complain(&format!("no network was heard: {HOW_TO_HEAR}"));
        return Ok(String::new());
    }
    let known = known_networks(settings)?;
    let rows = networks.iter().map(|network| Row::new(network, &known));
    Ok(Table::new(rows).with(Style::sharp()).to_string())
}

/// `miner networks --join`: keeps the rules of the network with this name, or whose id begins like this.
pub fn join(settings: &Settings, seconds: u64, wanted: &str) -> Result<String, MinerError> {
    if check_name(wanted).is_err() && wanted.parse::<NetworkId>().is_err() {
        return Err(NetworksError::Malformed { text: wanted.to_owned() }.into());
    }
    let heard = listen_and_ask(settings, seconds)?;
    let found: Vec<(NetworkId, Rules)> = heard
        .into_iter()
        .filter_map(|network| network.rules.map(|rules| (rules.network_id(), rules)))
        .collect();
    let (id, rules) = choose(wanted, seconds, settings.status_broadcast_port, &found)?;
    if let Some(name) = built_in_name(settings, rules)? {
        return Ok(format!("the network {id} is built in: take part with `--network {name}`"));
    }
    let path = keep_network(rules, &settings.data_dir)?;
    let name = &rules.name;
    Ok(format!(
        "the rules of {name} ({id}) are kept in {}\ntake part with `miner --network {name}` and `wallet --network \
         {name} …`",
        path.display()
    ))
}

/// The one network that is wanted: by its name, or else by the beginning of its id.
fn choose<'a>(
    wanted: &str,
    seconds: u64,
    port: u16,
    found: &'a [(NetworkId, Rules)],
) -> Result<&'a (NetworkId, Rules), NetworksError> {
    let by_name: Vec<_> = found.iter().filter(|(_, rules)| rules.name == wanted).collect();
    let by_id = || found.iter().filter(|(id, _)| id.to_string().starts_with(wanted)).collect();
    let chosen: Vec<_> = match by_name.is_empty() && wanted.len() >= LEAST_ID_DIGITS {
        true => by_id(),
        false => by_name,
    };
    match chosen[..] {
        [one] => Ok(one),
        [] => {
            let heard = found.iter().map(|(id, rules)| format!("{} ({})", rules.name, shown(id))).collect();
            Err(NetworksError::NotHeard { wanted: wanted.to_owned(), seconds, port, heard })
        }
        _ => {
            let ids = chosen.iter().map(|(id, _)| shown(id)).collect();
            Err(NetworksError::Ambiguous { wanted: wanted.to_owned(), ids })
        }
    }
}

fn shown(id: &NetworkId) -> String {
    id.to_string()[..SHOWN_DIGITS].to_owned()
}

/// What `--network` calls these rules without anything being kept.
fn built_in_name(settings: &Settings, rules: &Rules) -> Result<Option<&'static str>, MinerError> {
    for name in BUILT_IN_NETWORKS {
        if load_network(name, &settings.data_dir)? == *rules {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The networks that `--network` knows by a name. A file that cannot be used is told of.
fn known_networks(settings: &Settings) -> Result<HashMap<NetworkId, String>, MinerError> {
    let built_in = BUILT_IN_NETWORKS.into_iter().map(str::to_owned);
    let mut known = HashMap::new();
    for name in built_in.chain(kept_networks(&settings.data_dir)?) {
        match load_network(&name, &settings.data_dir) {
            Ok(rules) => drop(known.entry(rules.network_id()).or_insert(name)),
            Err(error) => complain(&format!("warning: {error}")),
        }
    }
    Ok(known)
}

/// A network that was heard.
struct Network {
    prefix: [u8; 8],
    /// Its miners, and what each last said.
    miners: BTreeMap<SocketAddr, Status>,
    /// The rules that its id commits to, if a miner gave them.
    rules: Option<Rules>,
}

#[derive(Tabled)]
#[tabled(rename_all = "Upper Title Case")]
struct Row {
    name: String,
    id: String,
    height: Height,
    miners: usize,
    #[tabled(rename = "Blocks Served At")]
    place: String,
    #[tabled(rename = "Take Part With")]
    known: String,
}

impl Row {
    fn new(network: &Network, known: &HashMap<NetworkId, String>) -> Self {
        let name = network.rules.as_ref().map(|rules| rules.name.clone());
        let known = network.rules.as_ref().and_then(|rules| known.get(&rules.network_id()));
        let best = network.best().into_iter().next();
        Self {
            id: hex::encode(network.prefix),
            height: best.map(|(_, status)| status.height).unwrap_or_default(),
            miners: network.miners.len(),
            place: best.map(|(place, _)| place.to_string()).unwrap_or_default(),
            known: match (known, &name) {
                (Some(known), _) => format!("--network {known}"),
                (None, Some(name)) => format!("networks --join {name}"),
                (None, None) => String::new(),
            },
            name: name.unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

impl Network {
    /// The miners, the one with the most work first.
    fn best(&self) -> Vec<(&SocketAddr, &Status)> {
        let mut miners: Vec<_> = self.miners.iter().collect();
        miners.sort_by_key(|(_, status)| std::cmp::Reverse::<Work>(status.work));
        miners
    }
}

fn listen_and_ask(settings: &Settings, seconds: u64) -> Result<Vec<Network>, MinerError> {
    let addresses = Addresses::new(settings.lan, settings.broadcast_addresses.clone())?;
    let port = settings.status_broadcast_port;
    let place = if settings.lan { "the local network" } else { "this machine" };
    complain(&format!("listening for {seconds} s to the miners of {place} (UDP port {port}) …"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::System { action: "start listening", source })?;
    runtime.block_on(async {
        let receiver = Receiver::bind(&addresses, port)?;
        let heard = listen(receiver, Instant::now() + Duration::from_secs(seconds)).await;
        Ok(ask_all(heard).await)
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
        let room = heard.len() < MAX_NETWORKS;
        match heard.iter_mut().find(|known| known.prefix == network) {
            Some(known) if known.miners.len() < MAX_MINERS || known.miners.contains_key(&place) => {
                known.miners.insert(place, status);
            }
            None if room => {
                heard.push(Network { prefix: network, miners: [(place, status)].into(), rules: None });
            }
            _ => {}
        }
    }
    heard.sort_by_key(|network| network.prefix);
    heard
}

/// Asks for the rules of all networks at once, and tells of those that nobody gives.
async fn ask_all(heard: Vec<Network>) -> Vec<Network> {
    let mut asking = JoinSet::new();
    for mut network in heard {
        asking.spawn(async move {
            let places: Vec<SocketAddr> =
                network.best().into_iter().map(|(place, _)| *place).take(MAX_ASKED).collect();
            let mut failures = Vec::new();
            for place in places {
                match ask(place, network.prefix).await {
                    Ok(rules) => {
                        network.rules = Some(rules);
                        return (network, failures);
                    }
                    Err(error) => failures.push(format!("{place}: {error}")),
                }
            }
            (network, failures)
        });
    }
    let mut asked = Vec::new();
    while let Some(done) = asking.join_next().await {
        let Ok((network, failures)) = done else { continue };
        if network.rules.is_none() {
            let prefix = hex::encode(network.prefix);
            complain(&format!(
                "warning: nobody gives the rules of network {prefix}: {}",
                failures.join("; ")
            ));
        }
        asked.push(network);
    }
    asked.sort_by_key(|network| network.prefix);
    asked
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
    let deadlines = ClientDeadlines {
        connect: ANSWER_WITHIN,
        answer: ANSWER_WITHIN,
        frame: ANSWER_WITHIN,
        write: ANSWER_WITHIN,
    };
    let (mut session, hello) = connect(place, None, own_hello, deadlines).await?;
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
    use super::*;

    fn network(name: &str, difficulty: u32) -> (NetworkId, Rules) {
        let rules = Rules { name: name.to_owned(), difficulty, ..Rules::default() };
        (rules.network_id(), rules)
    }

    #[test]
    fn a_network_is_chosen_by_its_name_or_by_the_beginning_of_its_id() {
        let found = [network("one", 20), network("two", 20)];
        assert_eq!(choose("two", 1, 1, &found).unwrap().1.name, "two");
        let id = found[0].0.to_string();
        for digits in [LEAST_ID_DIGITS, 16, 64] {
            assert_eq!(choose(&id[..digits], 1, 1, &found).unwrap().1.name, "one");
        }
        assert!(
            matches!(choose("three", 1, 1, &found), Err(NetworksError::NotHeard { heard, .. }) if heard.len() == 2)
        );
        assert!(matches!(choose("o", 1, 1, &found), Err(NetworksError::NotHeard { .. })));
    }

    #[test]
    fn of_two_networks_with_one_name_neither_is_taken_but_by_its_id() {
        let found = [network("lab", 20), network("lab", 21)];
        let refused = choose("lab", 1, 1, &found).unwrap_err();
        let NetworksError::Ambiguous { ids, .. } = &refused else { panic!("{refused}") };
        assert!(ids.iter().zip(&found).all(|(shown, (id, _))| id.to_string().starts_with(shown)));
        assert!(refused.hint().is_some_and(|hint| hint.contains(&ids[0])));
        assert_eq!(choose(&ids[1], 1, 1, &found).unwrap().1.difficulty, 21);
    }
}
