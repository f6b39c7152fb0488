//! `miner networks`: which networks are there, and with `--join` the rules of one, to take part in it.

mod choice;
mod discovery;
mod error;
mod table;

use std::collections::HashMap;

use common::hash::NetworkId;
use common::rules::Rules;
use common::settings::{BUILT_IN_NETWORKS, Settings, keep_network, kept_networks, load_network};

use crate::complain;
use crate::error::MinerError;
use discovery::discover;
pub use error::NetworksError;

/// `miner networks`: a table of the networks that are heard.
pub fn list(settings: &Settings, seconds: u64) -> Result<String, MinerError> {
    let heard = discover(settings, seconds)?;
    if heard.is_empty() {
        complain(&format!("no network was heard: {}", error::HOW_TO_HEAR));
        return Ok(String::new());
    }
    Ok(table::table(&heard, &known_networks(settings)?))
}

/// `miner networks --join`: keeps the rules of the network with this name, or whose id begins like this.
pub fn join(settings: &Settings, seconds: u64, wanted: &str) -> Result<String, MinerError> {
    choice::check(wanted)?;
    let heard = discover(settings, seconds)?;
    let rules = choice::choose(wanted, seconds, settings.status_broadcast_port, &heard)?;
    let id = rules.network_id();
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
