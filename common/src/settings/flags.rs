//! The flags that both programs have, and the way from them to [`Settings`] and [`Rules`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use config::ValueKind;
use etcetera::BaseStrategy;

use super::layer::Layer;
use super::networks::{defaults, is_built_in, network_layer};
use super::parameters::{RULES, VARIABLE_PREFIX};
use super::rules_file::rules_from_values;
use super::values::Values;
use super::{BUILT_IN_NETWORKS, Settings, SettingsError};
use crate::files::DataDirectory;
use crate::rules::Rules;

/// The one variable that is no parameter: it says which file to read parameters from.
const CONFIG_VARIABLE: &str = "FARTHING_CONFIG";

/// Flags that `wallet` and `miner` share. They are global: they may stand before or after a subcommand.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Network and settings")]
pub struct CommonFlags {
    /// The network to take part in: default, classic, authority, one kept with `miner networks --join`, or
    /// a TOML file with rules; under its own name, if it has one, unless --name gives another
    #[arg(long, global = true, value_name = "NAME|FILE")]
    pub network: Option<String>,

    /// Use the network's rules under this name, which makes a network of your own; everyone on it gives the
    /// same name (1–32 of a–z 0–9 -)
    #[arg(id = "network_name", long = "name", global = true, value_name = "NAME")]
    pub name: Option<String>,

    /// Read settings and rules from this TOML file, in place of config.toml in your configuration directory
    #[arg(id = "config_file", long = "config", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Keep keys, payments and the chain in this directory
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub data_dir: Option<String>,

    /// Open to the local network; without it nothing is broadcast beyond this machine and nobody else can call
    /// it, but named peers are called all the same
    #[arg(long, global = true)]
    pub lan: bool,

    /// Stay connected with this node, which no broadcast reaches; may be repeated, and replaces the peers of
    /// your configuration
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub peer: Vec<String>,

    /// Set any parameter of config/default.toml, such as --set block_server_port=2617; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Tell more; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Tell only of warnings and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// What [`CommonFlags::add`] added.
    #[arg(skip)]
    own: Vec<(&'static str, &'static str, String)>,
}

/// What the parameters come to.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// How this node runs.
    pub settings: Settings,
    /// The rules of its network, within every bound.
    pub rules: Rules,
    /// What a user should be told at the start of a program that joins the network.
    pub notes: Vec<Note>,
}

/// Something that is allowed, and may surprise. Shown as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Rules of the chosen network were changed, so that this is another network.
    RulesChanged {
        /// What `--network` named.
        network: String,
        /// Each changed rule, and where it was written.
        changed: Vec<(&'static str, String)>,
    },
    /// Open to the local network under a name that anybody's network has.
    CommonName {
        /// The name.
        name: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RulesChanged { network, changed } => {
                let changed: Vec<_> =
                    changed.iter().map(|(rule, place)| format!("{rule} ({place})")).collect();
                write!(
                    f,
                    "this is not the network {network} but one of its own, for a rule differs: {}",
                    changed.join(", ")
                )
            }
            Self::CommonName { name } => write!(
                f,
                "any network called {name:?} with these rules is the same network: where two meet, the one with \
                 more work wins, and payments on the other are undone; --name makes one of your own"
            ),
        }
    }
}

/// The environment of this process, for [`CommonFlags::load`]: the variables whose names are `FARTHING_…`.
/// What is not Unicode in their values is replaced, and so refused by name where it matters.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(variable, value)| {
        let variable =
            variable.into_string().ok().filter(|variable| variable.starts_with(VARIABLE_PREFIX))?;
        Some((variable, value.to_string_lossy().into_owned()))
    })
}

impl CommonFlags {
    /// Adds a flag that only one of the programs has: `flag`, as the user wrote it, sets `parameter`.
    pub fn add(&mut self, flag: &'static str, parameter: &'static str, value: impl ToString) {
        self.own.push((flag, parameter, value.to_string()));
    }

    /// All parameters, from built-in defaults, files, the given environment ([`environment`]) and these flags.
    ///
    /// Fails with the first parameter that is unknown, malformed or out of bounds, naming it and its place.
    pub fn load(&self, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded, SettingsError> {
        self.load_in(&Directories::of_the_platform(), environment)
    }

    pub(super) fn load_in(
        &self,
        directories: &Directories,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Loaded, SettingsError> {
        let mut environment: BTreeMap<String, String> = environment.collect();
        let config_variable = environment.remove(CONFIG_VARIABLE).filter(|path| !path.is_empty());
        let variables = environment.iter().map(|(variable, value)| (variable.as_str(), value.as_str()));

        let defaults = defaults()?;
        let mut own = [
            self.user_file(directories, config_variable.map(PathBuf::from))?,
            Layer::from_environment(variables)?,
            self.layer()?,
        ];
        // Which network's file comes between defaults and the user's own layers is itself a parameter.
        let chosen = Values::merge([&defaults].into_iter().chain(&own))?;
        let settings = Settings::from_values(&chosen, directories.data.clone())?;
        let network = network_layer(&settings.network, &settings.data_dir)?;
        if network.has("name") {
            keep_name_of_network(&mut own);
        }

        let as_it_is = Values::merge([&defaults, &network])?;
        let in_force = Values::merge([&defaults, &network].into_iter().chain(&own))?;
        let rules = rules_from_values(&in_force)?;
        // A built-in network under another name is what names are for.
        let may_be_renamed = is_built_in(&settings.network) || !network.has("name");
        let notes = notes(&settings, &rules, may_be_renamed, &as_it_is, &in_force);
        Ok(Loaded { settings, rules, notes })
    }

    /// The file named by flag or variable, which must exist; else the platform's, if there is one.
    fn user_file(
        &self,
        directories: &Directories,
        variable: Option<PathBuf>,
    ) -> Result<Layer, SettingsError> {
        match self.config.clone().or(variable) {
            Some(named) => Layer::from_file(&named),
            None => match directories.config.as_ref().map(|directory| directory.join("config.toml")) {
                Some(usual) => match usual.try_exists() {
                    Ok(true) => Layer::from_file(&usual),
                    Ok(false) => Ok(Layer::default()),
                    Err(source) => Err(SettingsError::Unreadable { path: usual, source }),
                },
                None => Ok(Layer::default()),
            },
        }
    }

    /// The flags as a layer. A flag of its own beats `--set`, being the more deliberate.
    fn layer(&self) -> Result<Layer, SettingsError> {
        let mut layer = Layer::default();
        for text in &self.set {
            layer.set(text)?;
        }
        let log = match (self.quiet, self.verbose) {
            (true, _) => Some(("--quiet", "warn")),
            (false, 0) => None,
            (false, 1) => Some(("--verbose", "debug")),
            (false, _) => Some(("--verbose", "trace")),
        };
        let named = [
            ("--network", "network", self.network.clone()),
            ("--name", "name", self.name.clone()),
            ("--data-dir", "data_dir", self.data_dir.clone()),
            ("--lan", "lan", self.lan.then(|| "true".to_owned())),
            ("--peer", "peers", (!self.peer.is_empty()).then(|| self.peer.join(","))),
            (log.map_or("", |(flag, _)| flag), "log", log.map(|(_, level)| level.to_owned())),
        ];
        let own = self.own.iter().map(|(flag, parameter, value)| (*flag, *parameter, Some(value.clone())));
        for (flag, parameter, value) in named.into_iter().chain(own) {
            if let Some(value) = value {
                layer.insert(parameter.to_owned(), ValueKind::String(value), flag.to_owned())?;
            }
        }
        Ok(layer)
    }
}

/// Takes away names that were written before the network was chosen: they were meant for another. A payment would go
/// there without a word. Whoever chooses again what was chosen already changes nothing.
fn keep_name_of_network(own: &mut [Layer]) {
    let mut chosen = None;
    for number in 0..own.len() {
        let network = own[number].text("network");
        if network.is_some() && network != chosen {
            own[..number].iter_mut().for_each(|layer| layer.forget("name"));
            chosen = network;
        }
    }
}

fn notes(
    settings: &Settings,
    rules: &Rules,
    may_be_renamed: bool,
    as_it_is: &Values,
    in_force: &Values,
) -> Vec<Note> {
    let mut notes = Vec::new();
    // The network's file alone may be out of bounds, when the user's layers repair it: then it is no network.
    let mut original = rules_from_values(as_it_is).ok();
    if let Some(original) = original.as_mut().filter(|_| may_be_renamed) {
        original.name.clone_from(&rules.name);
    }
    if original.as_ref() != Some(rules) {
        let is_renamed = original.is_some_and(|original| original.name != rules.name);
        let places = RULES.map(|rule| (rule, in_force.place(rule)));
        let changed = places
            .into_iter()
            .filter(|(rule, place)| *place != as_it_is.place(rule) && (*rule != "name" || is_renamed));
        notes.push(Note::RulesChanged { network: settings.network.clone(), changed: changed.collect() });
    }
    let common = rules.name == Rules::default().name || BUILT_IN_NETWORKS.contains(&rules.name.as_str());
    if settings.lan && common {
        notes.push(Note::CommonName { name: rules.name.clone() });
    }
    notes
}

/// Where the platform keeps this user's configuration and data; `None` where it names no home.
#[derive(Clone, Debug)]
pub(super) struct Directories {
    pub(super) config: Option<PathBuf>,
    pub(super) data: Option<DataDirectory>,
}

impl Directories {
    fn of_the_platform() -> Self {
        let base = etcetera::choose_base_strategy();
        Self {
            config: base.ok().map(|base| base.config_dir().join("farthing")),
            data: DataDirectory::default_location().ok(),
        }
    }
}
