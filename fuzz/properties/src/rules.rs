//! Rules and settings: as bytes from a stranger, and as text that somebody wrote.

use common::encoding::decode;
use common::rules::Rules;
use common::settings::{HostPort, Settings, SettingsError, rules_from_toml, rules_to_toml};

use crate::allocation::within;
use crate::data::most_bytes;
use crate::read;

/// The rules bytes that genesis commits to.
pub fn rules(bytes: &[u8]) {
    // Whatever the bounds say, there is one encoding.
    if let Some(decoded) = read(within(most_bytes(bytes), || decode::<Rules>(bytes))) {
        assert_eq!(decoded.to_bytes(), bytes);
    }
    let Some(rules) = read(within(2 * most_bytes(bytes), || Rules::from_bytes(bytes))) else { return };
    stay_the_same_as_text(&rules);
}

fn stay_the_same_as_text(rules: &Rules) {
    assert_eq!(rules.check(), Ok(()));
    let text = rules_to_toml(rules);
    let again = rules_from_toml(&text, "text").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(again, *rules);
    assert_eq!(again.network_id(), rules.network_id());
    assert_eq!(Rules::from_bytes(&rules.to_bytes()).ok().as_ref(), Some(rules));
    assert!(
        rules.least_leaves() >= 1 && rules.genesis().header.bits.to_target().is_met_by(&Default::default())
    );
}

/// A file of parameters, as that of a network and as that of a user.
pub fn settings(bytes: &[u8]) {
    // Reading TOML takes many small pieces: a table of one entry for every few bytes.
    let most = 1024 * 1024 + 512 * bytes.len();
    let text = &String::from_utf8_lossy(bytes);
    if let Some(rules) = read(within(most, || rules_from_toml(text, "the file"))) {
        stay_the_same_as_text(&rules);
    }
    let read_settings = |text: &str| within(most, || Settings::from_toml(text, "the file"));
    // So that a fuzzer need not find it: a directory.
    let settings = match read_settings(text) {
        Err(SettingsError::NoDataDirectory) => read_settings(&format!("data_dir = \"/data\"\n{text}")),
        other => other,
    };
    let Some(settings) = read(settings) else { return };
    for peer in &settings.peers {
        assert_eq!(peer.to_string().parse::<HostPort>().as_ref(), Ok(peer));
    }
    assert!(settings.lan || settings.broadcast_addresses.iter().all(|address| address.is_loopback()));
    assert_ne!(settings.status_broadcast_port, settings.transaction_port);
    assert!(settings.mining_threads() > 0);
}
