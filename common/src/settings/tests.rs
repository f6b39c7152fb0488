//! Parameters from every source, through [`CommonFlags::load`], and rules to TOML and back.

use std::fs;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use proptest::collection::{btree_map, hash_set};
use proptest::prelude::*;
use tempfile::TempDir;

use super::flags::Directories;
use super::layer::Layer;
use super::networks::defaults;
use super::parameters::{RULES, SETTINGS, variable_of};
use super::rules_file::rules_from_values;
use super::*;
use crate::address::Address;
use crate::amount::Amount;
use crate::files::DataDirectory;
use crate::rules::Rules;
use crate::time::Timestamp;

/// About the program.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    common: CommonFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Has a positional argument of the same name as a shared flag.
    NewAddress { name: String },
}

/// A user's home and what the user wrote.
struct User {
    home: TempDir,
    variables: Vec<(String, String)>,
    flags: Vec<String>,
}

impl User {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), variables: Vec::new(), flags: Vec::new() }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.home.path().join(file)
    }

    fn data_dir(&self) -> DataDirectory {
        DataDirectory::new(self.path("data"))
    }

    /// Writes a file in the home and gives its path.
    fn write(&self, file: &str, text: &str) -> String {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// With this as the platform's `config.toml`.
    fn file(self, text: &str) -> Self {
        self.write("config/config.toml", text);
        self
    }

    fn variable(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    fn parse(&self) -> CommonFlags {
        let arguments = ["program"].into_iter().chain(self.flags.iter().map(String::as_str));
        Program::try_parse_from(arguments).unwrap().common
    }

    fn try_load(&self) -> Result<Loaded, SettingsError> {
        self.load_flags(&self.parse())
    }

    fn load_flags(&self, flags: &CommonFlags) -> Result<Loaded, SettingsError> {
        let directories = Directories { config: Some(self.path("config")), data: Some(self.data_dir()) };
        flags.load_in(&directories, self.variables.iter().cloned())
    }

    fn load(&self) -> Loaded {
        self.try_load().unwrap()
    }

    fn error(&self) -> String {
        self.try_load().expect_err("something is wrong with the parameters").to_string()
    }
}

fn rules_of(toml: &str) -> Result<Rules, SettingsError> {
    rules_from_values(&Values::merge([&defaults()?, &Layer::from_toml(toml, "rules.toml")?])?)
}

fn address(byte: u8) -> Address {
    Address::from_bytes([byte; 32])
}

// ----- the built-in files

#[test]
fn the_default_file_is_the_default_rules() {
    let loaded = User::new().load();
    assert_eq!(loaded.rules, Rules::default());
    assert_eq!(loaded.notes, []);
    assert_eq!(loaded.settings.status_broadcast_interval, Duration::from_millis(2000));
    assert!(!loaded.settings.lan && loaded.settings.broadcast_addresses.is_empty());
}

#[test]
fn the_default_file_names_every_parameter_and_explains_it() {
    let table: toml::Table = DEFAULT_TOML.parse().unwrap();
    let mut in_file: Vec<_> = table.keys().map(String::as_str).collect();
    let mut known: Vec<_> = RULES.into_iter().chain(SETTINGS).collect();
    in_file.sort_unstable();
    known.sort_unstable();
    assert_eq!(in_file, known);
    let lines: Vec<_> = DEFAULT_TOML.lines().collect();
    for pair in lines.windows(2).filter(|pair| !pair[1].is_empty() && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with("# "), "{} has no comment above it", pair[1]);
    }
}

/// Each field of `Rules` and `Settings` is filled from a parameter; here, that each parameter is read.
#[test]
fn every_parameter_is_read_and_a_malformed_one_named() {
    for name in RULES.into_iter().chain(SETTINGS) {
        let error = User::new().file(&format!("\n{name} = 0.5")).error();
        let place = "config.toml, line 2: ";
        assert!(error.contains(&format!("{place}{name} is 0.5; it must be ")), "{error}");
    }
}

#[test]
fn every_built_in_network_loads_and_is_another() {
    let mut ids: Vec<_> = BUILT_IN_NETWORKS
        .map(|name| User::new().flags(&["--network", name]).load().rules.network_id())
        .into();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), BUILT_IN_NETWORKS.len());
    assert_eq!(load_network("farthing", &User::new().data_dir()).unwrap(), Rules::default());
}

/// It was an error that the directory cannot be read, which helps nobody who mistyped a network's name.
#[test]
fn a_directory_is_no_network_whatever_its_name() {
    let user = User::new();
    let directory = user.path("lab");
    fs::create_dir(&directory).unwrap();
    let error = user.flags(&["--network", directory.to_str().unwrap()]).error();
    assert!(error.contains("is not a network: there are default, classic, authority"), "{error}");
}

/// It was taken for a user without one.
#[test]
fn a_config_file_that_cannot_be_looked_for_is_named() {
    let user = User::new();
    user.write("config", "no directory");
    let error = user.try_load().expect_err("nobody can say whether there is a file");
    assert!(error.to_string().contains("config/config.toml cannot be read"), "{error}");
}

#[test]
fn a_file_that_the_disk_or_its_owner_keeps_from_us_is_told_from_one_that_is_not_there() {
    let unreadable = |number| SettingsError::Unreadable {
        path: PathBuf::from("rules.toml"),
        source: std::io::Error::from_raw_os_error(number),
    };
    // Linux' numbers for EIO, EACCES and ENOENT.
    #[cfg(target_os = "linux")]
    assert_eq!([5, 13, 2].map(|number| unreadable(number).is_of_disk()), [true, true, false]);
    let failure = crate::failure::Failure::from(unreadable(2));
    assert_eq!(failure.exit_code(), crate::failure::USAGE);
}

#[test]
fn classic_has_the_ancestors_rules() {
    let rules = load_network("classic", &User::new().data_dir()).unwrap();
    assert_eq!((rules.difficulty, rules.target_block_seconds, rules.block_size), (18, 0, 5));
    assert_eq!((rules.block_reward, rules.key_size), (Amount::from_coins(10), 2048));
    // One payment gets into a block after 30 seconds; none makes no block.
    assert_eq!((rules.block_interval_seconds, rules.least_leaves()), (30, 2));
}

#[test]
fn authority_has_turns() {
    let rules = load_network("authority", &User::new().data_dir()).unwrap();
    assert_eq!((rules.authorities.len(), rules.alloc.len()), (3, 3));
}

#[test]
fn the_lan_file_opens_to_the_lan() {
    let text = include_str!("../../../config/lan.toml");
    assert!(User::new().file(text).load().settings.lan);
    // With the proposals in its comments as well.
    let proposals: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let loaded = User::new().file(&proposals).load();
    assert_eq!((loaded.rules.name.as_str(), loaded.settings.peers.len()), ("class-7b", 1));
    assert_eq!(loaded.settings.broadcast_addresses, [Ipv4Addr::new(192, 168, 7, 255)]);
}

// ----- precedence

#[test]
fn the_networks_file_beats_the_defaults() {
    let user = User::new();
    let file = user.write("own.toml", "difficulty = 7");
    assert_eq!(user.flags(&["--network", &file]).load().rules, Rules { difficulty: 7, ..Rules::default() });
}

#[test]
fn the_users_file_beats_the_networks_file() {
    let user = User::new().file("difficulty = 8");
    let file = user.write("own.toml", "difficulty = 7\nblock_reward = '2.5'");
    let rules = user.flags(&["--network", &file]).load().rules;
    assert_eq!((rules.difficulty, rules.block_reward), (8, Amount::from_units(2_500_000)));
}

#[test]
fn variables_beat_the_users_file() {
    let user = User::new().file("status_broadcast_port = 1000\ntransaction_port = 1001");
    let settings = user.variable("FARTHING_STATUS_BROADCAST_PORT", "2000").load().settings;
    assert_eq!((settings.status_broadcast_port, settings.transaction_port), (2000, 1001));
}

#[test]
fn set_beats_variables_and_the_last_one_wins() {
    let user = User::new().variable("FARTHING_THREADS", "1").flags(&["--set", "threads=2"]);
    assert_eq!(user.load().settings.threads, 2);
    assert_eq!(user.flags(&["--set", "threads = 3"]).load().settings.threads, 3);
}

#[test]
fn flags_of_their_own_beat_set() {
    let user = User::new().flags(&["--set", "name=a", "--name", "b", "--set", "lan=false", "--lan", "-q"]);
    let loaded = user.load();
    assert_eq!((loaded.rules.name.as_str(), loaded.settings.lan), ("b", true));
    assert_eq!(loaded.settings.log, LevelFilter::WARN);

    let mut flags = user.parse();
    flags.add("--threads", "threads", 5);
    assert_eq!(user.load_flags(&flags).unwrap().settings.threads, 5);
    flags.add("--threads", "threads", "many");
    let error = user.load_flags(&flags).unwrap_err().to_string();
    assert_eq!(error, "--threads: threads is \"many\"; it must be a whole number from 0 to 1024");
}

#[test]
fn a_table_or_list_replaces_the_one_below_it() {
    let user = User::new().file(&format!("peers = ['a:1', 'b:2']\n[alloc]\n{} = '1'", address(1)));
    let two = format!("{}=2,{}=0.5", address(3), address(2));
    let loaded = user.variable("FARTHING_ALLOC", &two).flags(&["--peer", "c:3", "--peer", "[::1]:4"]).load();
    let units = Amount::from_units;
    assert_eq!(loaded.rules.alloc, [(address(2), units(500_000)), (address(3), units(2_000_000))]);
    assert_eq!(loaded.settings.peers, ["c:3", "[::1]:4"].map(|peer| peer.parse().unwrap()));
}

#[test]
fn the_config_flag_beats_its_variable_which_beats_the_usual_file() {
    let user = User::new().file("threads = 1");
    let (second, third) = (user.write("2.toml", "threads = 2"), user.write("3.toml", "threads = 3"));
    assert_eq!(user.load().settings.threads, 1);
    let user = user.variable("FARTHING_CONFIG", &second);
    assert_eq!(user.load().settings.threads, 2);
    assert_eq!(user.flags(&["--config", &third]).load().settings.threads, 3);
    let missing = User::new().flags(&["--config", "/nowhere/farthing.toml"]).error();
    assert!(missing.starts_with("/nowhere/farthing.toml cannot be read: "), "{missing}");
}

#[test]
fn every_parameter_has_a_variable_and_an_empty_one_is_not_set() {
    let user = RULES.into_iter().chain(SETTINGS).fold(User::new(), |user, name| {
        let variable = variable_of(name);
        user.variable(&variable, "")
    });
    assert_eq!(user.load().rules, Rules::default());
    let user = User::new().variable("FARTHING_LAN", "1").variable("FARTHING_NETWORK", "classic");
    let loaded = user.variable("FARTHING_DATA_DIR", "/elsewhere").variable("OTHER_LAN", "x").load();
    assert!(loaded.settings.lan);
    assert_eq!(loaded.rules.name, "classic");
    assert_eq!(loaded.settings.data_dir, DataDirectory::new("/elsewhere"));
}

// ----- what is wrong is named, with its place

#[test]
fn an_unknown_key_is_named_in_each_source_with_the_nearest_known_one() {
    let error = User::new().file("lan = true\ndificulty = 20").error();
    assert!(
        error.ends_with("config.toml, line 2: \"dificulty\" is not a parameter; did you mean difficulty?")
    );

    let error = User::new().variable("FARTHING_TREADS", "2").error();
    assert_eq!(
        error,
        "the environment: \"FARTHING_TREADS\" is not a parameter; did you mean FARTHING_THREADS?"
    );
    assert!(User::new().variable("FARTHING_lan", "").error().contains("FARTHING_LAN?"));

    let error = User::new().flags(&["--set", "colour=red"]).error();
    assert_eq!(error, "--set: \"colour\" is not a parameter; config/default.toml lists them all");

    let user = User::new();
    let file = user.write("own.toml", "\n\nformat = 1");
    assert!(
        user.flags(&["--network", &file]).error().contains("own.toml, line 3: \"format\" is not a parameter")
    );
}

#[test]
fn a_setting_in_a_networks_file_is_told_where_it_belongs() {
    let user = User::new();
    let file = user.write("own.toml", "difficulty = 9\nmine = false");
    let error = user.flags(&["--network", &file]).error();
    let end = "own.toml, line 2: mine is a setting of a node, not a rule of a network: it belongs in your own \
               file (--config), in FARTHING_MINE or in --set";
    assert!(error.ends_with(end), "{error}");
}

#[test]
fn malformed_values_are_named_with_their_place_and_what_would_be_right() {
    for (key, value, says) in [
        ("status_broadcast_port", "0", "is \"0\"; it must be a whole number from 1 to 65535"),
        ("block_server_port", "65536", "it must be a whole number from 0 to 65535"),
        ("status_broadcast_interval_ms", "99", "it must be a whole number from 100 to 600000"),
        ("threads", "+1", "it must be a whole number from 0 to 1024"),
        ("threads", "-1", "it must be a whole number from 0 to 1024"),
        ("lan", "perhaps", "is \"perhaps\"; it must be true or false"),
        ("peers", "a:1,b", "is \"b\"; it must be a list in which each entry is HOST:PORT"),
        ("broadcast_addresses", "::1", "each entry is an IPv4 address"),
        ("log", "loud", "it must be one of error, warn, info, debug, trace"),
        ("data_dir", "~/farthing", "it must be a path written out in full"),
        ("difficulty", "99999999999", "it must be a whole number"),
        ("authorities", "abc", "is \"abc\"; it must be a list in which each entry is an address"),
        ("block_reward", "1e3", "it must be coins in quotes"),
        ("min_fee", "0.0000001", "has more than 6 decimals"),
        ("alloc", "abc=1", "is \"abc\"; it must be a line ADDRESS = \"COINS\""),
        ("alloc", "abc", "is \"abc\"; it must be a line ADDRESS = \"COINS\""),
    ] {
        let error = User::new().variable(&variable_of(key), value).error();
        assert!(error.starts_with(&format!("{}: {key} is ", variable_of(key))), "{error}");
        assert!(error.contains(says), "{error}");
    }
    assert!(User::new().file("difficulty = 99999999999999999999").error().contains("difficulty is \"9999"));
    assert!(User::new().file("peers = ['a:1', 2]").error().contains("peers is 2; it must be a list"));
    let error = User::new().flags(&["--set", "threads"]).error();
    assert_eq!(error, "--set \"threads\" is not KEY=VALUE, such as --set threads=2");
    let error = User::new().file("lan = true\nthreads = = 2").error();
    assert!(error.contains("config.toml, line 2 is not TOML: "), "{error}");
}

/// Keys that were made in one directory were not found from another.
#[test]
fn a_data_directory_of_a_file_is_written_out_in_full() {
    for (user, place) in [
        (User::new().file("data_dir = 'data'"), "config.toml, line 1: "),
        (User::new().variable("FARTHING_DATA_DIR", "../data"), "FARTHING_DATA_DIR: "),
    ] {
        let error = user.error();
        assert!(error.contains(&format!("{place}data_dir is ")), "{error}");
        assert!(error.contains("it must be a path written out in full: a relative one leads"), "{error}");
        // What is not in force is nobody's problem.
        let data_dir = user.flags(&["--data-dir", "/elsewhere"]).load().settings.data_dir;
        assert_eq!(data_dir, DataDirectory::new("/elsewhere"));
    }
    for flags in [["--data-dir", "data"], ["--set", "data_dir=data"]] {
        assert_eq!(User::new().flags(&flags).load().settings.data_dir, DataDirectory::new("data"));
    }
}

#[test]
fn amounts_without_quotes_are_refused_with_the_repair() {
    for (text, key) in [
        ("block_reward = 2.5".to_owned(), "block_reward is 2.5"),
        ("min_fee = 1".to_owned(), "min_fee is 1"),
        (format!("[alloc]\n{} = 0.1", address(1)), "alloc is 0.1"),
    ] {
        let error = User::new().file(&text).error();
        assert!(error.contains(&format!("{key}; it must be coins in quotes, such as \"10\"")), "{error}");
    }
}

#[test]
fn a_parameter_below_the_alloc_section_is_told_to_stand_above_it() {
    let error = User::new().file("[alloc]\nlan = true").error();
    assert!(error.contains("\"lan\"") && error.ends_with("all else belongs above [alloc]"), "{error}");
}

#[test]
fn rules_out_of_bounds_are_named_with_their_place() {
    let error = User::new().flags(&["--set", "difficulty=225"]).error();
    assert_eq!(error, "--set: difficulty is 225; it must be 1–224 leading zero bits");
    let error = User::new().flags(&["--name", "Seven B"]).error();
    assert_eq!(error, "--name: name \"Seven B\" is not 1–32 of a–z 0–9 -");
    let error =
        User::new().variable("FARTHING_BLOCK_SIZE", "2").flags(&["--set", "allow_empty=false"]).error();
    assert!(
        error.starts_with("FARTHING_BLOCK_SIZE and --set: target_block_seconds above 0 needs"),
        "{error}"
    );
    // One account in two letter cases.
    let (lower, upper) = ("ab".repeat(32), "AB".repeat(32));
    let error = User::new().file(&format!("[alloc]\n{lower} = '1'\n{upper} = '2'")).error();
    assert!(error.contains("config.toml, line 1: alloc") && error.contains("twice"), "{error}");
}

#[test]
fn the_two_udp_ports_must_differ() {
    let error = User::new().flags(&["--set", "transaction_port=2606"]).error();
    assert!(error.starts_with("--set: status_broadcast_port and transaction_port are both 2606;"), "{error}");
}

#[test]
fn nothing_is_broadcast_beyond_this_machine_without_lan() {
    let user = User::new().flags(&["--set", "broadcast_addresses=127.255.255.255,10.0.0.255"]);
    assert!(user.error().starts_with("--set: broadcast_addresses holds 10.0.0.255, which is outside"));
    assert!(user.flags(&["--lan"]).try_load().is_ok());
}

/// A payment on the network that was joined went to the one of the user's file, without a word.
#[test]
fn a_name_in_the_users_file_does_not_turn_a_joined_network_into_another() {
    let joined = Rules { name: "class-8c".to_owned(), difficulty: 20, ..Rules::default() };
    let user = || {
        let user = User::new().file("name = 'class-7b'");
        keep_network(&joined, &user.data_dir()).unwrap();
        user
    };
    for (user, changes_it) in [
        (user().flags(&["--network", "class-8c"]), None),
        (user().flags(&["--set", "network=class-8c"]), None),
        (user().variable("FARTHING_NETWORK", "class-8c"), None),
        (user().variable("FARTHING_NAME", "class-7c").flags(&["--network", "class-8c"]), None),
        (user().flags(&["--network", "class-8c", "--name", "class-9d"]), Some("name (--name)")),
        (user().flags(&["--network", "class-8c", "--set", "name=class-9d"]), Some("name (--set)")),
        (user().flags(&["--network", "class-8c", "--set", "min_fee=1"]), Some("min_fee (--set)")),
        // Whoever writes a name beside the network, or after it, means this network.
        (
            user().variable("FARTHING_NETWORK", "class-8c").variable("FARTHING_NAME", "class-9d"),
            Some("name (FARTHING_NAME)"),
        ),
    ] {
        let Loaded { rules, notes, .. } = user.load();
        match changes_it {
            None => assert_eq!((&rules, &notes[..]), (&joined, &[][..])),
            Some(change) => {
                assert_ne!(rules.network_id(), joined.network_id());
                let sentence = format!(
                    "this is not the network class-8c but one of its own, for a rule differs: {change}"
                );
                assert_eq!(notes.iter().map(ToString::to_string).collect::<Vec<_>>(), [sentence]);
            }
        }
    }
    // Nor does it matter that the network is chosen twice.
    let beside = User::new().file("network = 'classic'\nname = 'class-7b'").flags(&["--network", "classic"]);
    assert_eq!(beside.load().rules.name, "class-7b");
    let other = User::new().file("network = 'default'\nname = 'class-7b'").flags(&["--network", "classic"]);
    assert_eq!(other.load().rules.name, "classic");
    // Where no network is chosen the name is that of the rules in force, as it was written for.
    assert_eq!(user().load().rules.name, "class-7b");
    assert_eq!(user().flags(&["--network", "classic"]).load().rules.name, "classic");
    assert_eq!(user().flags(&["--network", "default"]).load().rules, Rules::default());
    // And what is only a file of rules has no name to keep.
    let user = user();
    let own = user.write("own.toml", "difficulty = 9");
    assert_eq!(user.flags(&["--network", &own]).load().rules.name, "class-7b");
}

// ----- notes

#[test]
fn whoever_changes_a_rule_is_told_that_this_is_another_network() {
    assert_eq!(User::new().flags(&["--name", "class-7b"]).load().notes, []);
    assert_eq!(User::new().file("difficulty = 24").load().notes, [], "the same value changes nothing");
    let notes = User::new().flags(&["--network", "classic", "--set", "difficulty=4"]).load().notes;
    let [note] = notes.as_slice() else { panic!("{notes:?}") };
    let sentence =
        "this is not the network classic but one of its own, for a rule differs: difficulty (--set)";
    assert_eq!(note.to_string(), sentence);
}

#[test]
fn a_common_name_on_the_lan_is_noted() {
    let common = |flags: &[&str]| {
        let notes = User::new().flags(flags).load().notes;
        notes.iter().any(|note| matches!(note, Note::CommonName { .. }))
    };
    assert!(common(&["--lan"]) && common(&["--lan", "--network", "classic"]));
    assert!(!common(&[]) && !common(&["--lan", "--name", "class-7b"]));
}

// ----- networks by name

#[test]
fn a_kept_network_is_found_by_its_name_and_is_the_same_network() {
    let user = User::new();
    let rules = Rules { name: "class-7b".to_owned(), difficulty: 20, ..Rules::default() };
    assert_eq!(kept_networks(&user.data_dir()).unwrap(), Vec::<String>::new());
    let path = keep_network(&rules, &user.data_dir()).unwrap();
    assert_eq!(path, user.path("data/networks/class-7b.toml"));
    assert_eq!(kept_networks(&user.data_dir()).unwrap(), ["class-7b"]);
    let user = user.flags(&["--network", "class-7b"]);
    assert_eq!(user.load().rules.network_id(), rules.network_id());
    // As a file of its own, too.
    let user = User { flags: vec!["--network".into(), path.to_str().unwrap().into()], ..user };
    assert_eq!(user.load().rules, rules);
}

#[test]
fn a_kept_network_never_takes_anothers_name() {
    let user = User::new();
    let named = |name: &str| Rules { name: name.to_owned(), difficulty: 20, ..Rules::default() };
    for name in ["farthing", "default", "classic", "authority"] {
        let error = keep_network(&named(name), &user.data_dir()).unwrap_err();
        assert!(matches!(error, SettingsError::NameOfBuiltIn { .. }), "{error}");
    }
    keep_network(&Rules::default(), &user.data_dir()).unwrap();
    keep_network(&named("own"), &user.data_dir()).unwrap();
    keep_network(&named("own"), &user.data_dir()).unwrap();
    let other = Rules { difficulty: 21, ..named("own") };
    assert!(matches!(keep_network(&other, &user.data_dir()), Err(SettingsError::NameTaken { .. })));
    assert_eq!(load_network("own", &user.data_dir()).unwrap(), named("own"));
    assert!(matches!(keep_network(&named("../own"), &user.data_dir()), Err(SettingsError::Rules { .. })));
}

#[test]
fn an_unknown_network_gets_the_known_ones_listed() {
    let user = User::new();
    keep_network(&Rules { name: "own".to_owned(), ..Rules::default() }, &user.data_dir()).unwrap();
    let error = user.flags(&["--network", "ovn"]).error();
    let sentence = "\"ovn\" is not a network: there are default, classic, authority, own, and it is not the path of a file";
    assert_eq!(error, sentence);
}

// ----- the command line

#[test]
fn the_flags_fit_into_a_program() {
    let command = Program::command();
    command.clone().debug_assert();
    assert_eq!(command.get_about().map(ToString::to_string), Some("About the program".to_owned()));
    let program =
        Program::try_parse_from(["program", "new-address", "alice", "--name", "class-7b", "-vv"]).unwrap();
    assert!(matches!(program.command, Some(Command::NewAddress { name }) if name == "alice"));
    assert_eq!((program.common.name.as_deref(), program.common.verbose), (Some("class-7b"), 2));
}

// ----- rules to TOML and back

fn any_rules() -> impl Strategy<Value = Rules> {
    let address = || any::<[u8; 32]>().prop_map(Address::from_bytes);
    let amount = |most: u64| (0..most).prop_map(Amount::from_units);
    let spacing = (0..=86_400_u32, 5..=10_000_u32, 1..=60_000_u32, 1..=7_200_u32, 1..10_000_u32);
    let blocks = (1..=u32::MAX, any::<u32>(), any::<bool>(), (64_u32 << 10)..=(4 << 20));
    let money = (
        amount(1 << 30),
        any::<u64>().prop_map(Amount::from_units),
        btree_map(address(), amount(1 << 50), 0..6),
    );
    let keys = (prop::sample::select(vec![2048_u32, 3072, 4096]), hash_set(address(), 0..6));
    (("[a-z0-9-]{1,32}", 0..(1_u64 << 53), 1..=224_u32), spacing, blocks, money, keys).prop_map(
        |(
            (name, genesis_time, difficulty),
            (target_block_seconds, retarget_blocks, min_spacing_ms, max_ahead_seconds, later),
            (block_size, block_interval_seconds, allow_empty, max_block_bytes),
            (block_reward, min_fee, alloc),
            (key_size, authorities),
        )| {
            let follows = target_block_seconds > 0;
            Rules {
                format: 1,
                name,
                genesis_time: Timestamp::from_millis(genesis_time),
                difficulty,
                target_block_seconds,
                retarget_blocks,
                min_spacing_ms,
                max_ahead_seconds,
                block_size: if follows { 1 } else { block_size },
                block_interval_seconds,
                allow_empty: follows || allow_empty,
                max_block_bytes,
                block_reward,
                min_fee,
                key_size,
                authorities: authorities.into_iter().collect(),
                authority_timeout_seconds: max_ahead_seconds + later,
                alloc: alloc.into_iter().collect(),
                extensions: Vec::new(),
            }
        },
    )
}

/// Rules may ask for a fee that nobody can pay. A network that has them can be joined, and its file kept.
#[test]
fn the_greatest_fee_that_rules_may_ask_for_is_written_and_read() {
    let rules = Rules { min_fee: Amount::from_units(u64::MAX), ..Rules::default() };
    assert_eq!(rules.check(), Ok(()));
    assert_eq!(rules_of(&rules_to_toml(&rules)).unwrap(), rules);
}

proptest! {
    #[test]
    fn rules_written_and_read_are_the_same_network(rules in any_rules()) {
        let read = rules_of(&rules_to_toml(&rules)).unwrap();
        prop_assert_eq!(read.network_id(), rules.network_id());
        prop_assert_eq!(read, rules);
    }
}
