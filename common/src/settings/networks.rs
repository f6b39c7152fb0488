//! Finding the rules that `--network` names: built in, kept in the data directory, or in a file.

use std::path::PathBuf;

use super::layer::Layer;
use super::rules_file::{rules_from_values, rules_to_toml};
use super::values::Values;
use super::{DEFAULT_TOML, SettingsError};
use crate::files::{self, DataDirectory};
use crate::rules::{Rules, check_name};

/// The networks that are built in, as `--network` names them. Their rules have the same names, but for
/// `default`, whose rules are called `farthing`; it answers to both.
pub const BUILT_IN_NETWORKS: [&str; 3] = ["default", "classic", "authority"];

/// What errors call the lowest layer.
pub(super) const DEFAULTS_PLACE: &str = "config/default.toml";

/// The lowest layer: every parameter.
pub(super) fn defaults() -> Result<Layer, SettingsError> {
    Layer::from_toml(DEFAULT_TOML, DEFAULTS_PLACE)
}

/// The rules of a network as it is, whatever a user's file or flags make of them.
///
/// `network` is the name of a built-in network, of one kept in `data_dir`, or a path.
pub fn load_network(network: &str, data_dir: &DataDirectory) -> Result<Rules, SettingsError> {
    rules_from_values(&Values::merge([&defaults()?, &network_layer(network, data_dir)?])?)
}

/// The layer of a network: what its file says, which is rules only.
pub(super) fn network_layer(network: &str, data_dir: &DataDirectory) -> Result<Layer, SettingsError> {
    if let Some(text) = built_in(network) {
        return Layer::from_toml(text, &format!("the built-in network {network}"))?.only_rules();
    }
    let kept = check_name(network).is_ok().then(|| kept_path(network, data_dir));
    let path = match kept {
        Some(path) if path.is_file() => path,
        _ => PathBuf::from(network),
    };
    // A directory that happens to have the name is as good as nothing; a pipe is as good as a file.
    match path.metadata() {
        Ok(metadata) if !metadata.is_dir() => return Layer::from_file(&path)?.only_rules(),
        Err(source) if files::is_of_disk(&source) => return Err(SettingsError::Unreadable { path, source }),
        _ => {}
    }
    let built_in = BUILT_IN_NETWORKS.map(str::to_owned);
    let known = built_in.into_iter().chain(kept_networks(data_dir)?).collect();
    Err(SettingsError::UnknownNetwork { name: network.to_owned(), known })
}

/// The names of the networks that [`keep_network`] kept in a data directory, in alphabetical order.
pub fn kept_networks(data_dir: &DataDirectory) -> Result<Vec<String>, SettingsError> {
    let names = files::names_in(&data_dir.networks())?.into_iter();
    let names = names.filter_map(|file| file.strip_suffix(".toml").map(str::to_owned));
    Ok(names.filter(|name| check_name(name).is_ok()).collect())
}

/// Keeps the rules of a network in a data directory, under the network's own name, for `--network NAME`.
/// Gives the path of the file.
///
/// Fails when the rules are out of bounds, or when the name already stands for other rules: those of a
/// built-in network, or of one that was kept before. Keeping the same network again changes nothing.
pub fn keep_network(rules: &Rules, data_dir: &DataDirectory) -> Result<PathBuf, SettingsError> {
    rules.check().map_err(|error| SettingsError::Rules { error, places: Vec::new() })?;
    let name = &rules.name;
    let path = kept_path(name, data_dir);
    if built_in(name).is_some() && load_network(name, data_dir)? != *rules {
        return Err(SettingsError::NameOfBuiltIn { name: name.clone() });
    }
    if path.is_file() {
        let same = load_network(name, data_dir)? == *rules;
        return if same { Ok(path) } else { Err(SettingsError::NameTaken { path }) };
    }
    files::create_private_directory(&data_dir.networks())?;
    files::create_new(&path, rules_to_toml(rules).as_bytes())?;
    Ok(path)
}

/// Whether `--network` means a network that is built in.
pub(super) fn is_built_in(network: &str) -> bool {
    built_in(network).is_some()
}

/// What a built-in network's file says.
fn built_in(network: &str) -> Option<&'static str> {
    match network {
        "default" | "farthing" => Some("name = \"farthing\""),
        "classic" => Some(include_str!("../../../config/classic.toml")),
        "authority" => Some(include_str!("../../../config/authority.toml")),
        _ => None,
    }
}

/// `name` must have passed [`check_name`]: then no path can be smuggled in.
fn kept_path(name: &str, data_dir: &DataDirectory) -> PathBuf {
    data_dir.networks().join(format!("{name}.toml"))
}
