//! The networks that are heard, as a table.

use std::collections::HashMap;

use common::hash::NetworkId;
use common::time::Height;
use tabled::settings::Style;
use tabled::{Table, Tabled};

use super::choice::word_for;
use super::discovery::Network;

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

/// A row for each network; `known` are those that `--network` takes by a name.
pub fn table(heard: &[Network], known: &HashMap<NetworkId, String>) -> String {
    let rows = heard.iter().map(|network| row(network, heard, known));
    Table::new(rows).with(Style::sharp()).to_string()
}

fn row(network: &Network, heard: &[Network], known: &HashMap<NetworkId, String>) -> Row {
    let best = network.best();
    let known = network.rules.as_ref().and_then(|rules| known.get(&rules.network_id()));
    Row {
        name: network.rules.as_ref().map_or("unknown", |rules| &rules.name).to_owned(),
        id: hex::encode(network.prefix),
        height: best.map(|(_, status)| status.height).unwrap_or_default(),
        miners: network.miners.len(),
        place: best.map(|(place, _)| place.to_string()).unwrap_or_default(),
        known: match (known, word_for(network, heard)) {
            (Some(known), _) => format!("--network {known}"),
            (None, Some(word)) => format!("networks --join {word}"),
            (None, None) => String::new(),
        },
    }
}
