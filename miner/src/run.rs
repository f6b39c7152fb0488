//! `miner` without a subcommand: opens everything, says what it opened, and runs the node until it is
//! stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::address::Address;
use common::block::BlockHeader;
use common::chain::Chain;
use common::driver::{Driver, Sockets};
use common::failure::Failure;
use common::files::{self, FileLock, Program};
use common::key_store::{KeyName, KeyStore, KeyStoreError};
use common::keys::PrivateKey;
use common::node::{Input, MempoolLimits, Node, NodeConfig, Template};
use common::passphrase::Passphrases;
use common::process::hide_memory;
use common::rules::Rules;
use common::settings::{Loaded, Note, Settings};
use common::signature::RsaVerifier;
use common::store::{LmdbStore, Tip};
use common::text::count;
use common::time::Timestamp;
use tracing::{debug, info, warn};

use crate::error::MinerError;
use crate::log;
use crate::program::Miner;
use crate::words;
use miner::search::{Search, best_kernel};

/// The key that is paid for blocks. Made on the first run.
const REWARD_KEY: &str = "mining_rewards";
/// Who holds this lock is the one miner of a network in a data directory.
const LOCK_FILE: &str = "miner.lock";
/// How often pools are compared with another miner's: a payment whose broadcast was lost is late by no more.
const POOL_INTERVAL: Duration = Duration::from_secs(5);

/// What this program calls itself to peers.
pub const AGENT: &str = concat!("farthing-miner/", env!("CARGO_PKG_VERSION"));

/// Mines, or only follows the chain, until Ctrl-C, SIGTERM, or a failure.
pub fn run(Loaded { settings, rules, notes }: Loaded, passphrases: &Passphrases) -> Result<(), MinerError> {
    log::start(settings.log);
    let (rules, network) = (Arc::new(rules.clone()), rules.network_id());
    let directory = settings.data_dir.program(Program::Miner, &rules.name, &network);
    let _lock = lock(&directory, &rules.name)?;
    info!("{AGENT} on the network {} ({network})", rules.name);
    for note in notes {
        match note {
            Note::CommonName { .. } => warn!("{note}"),
            Note::RulesChanged { .. } => info!("{note}"),
        }
    }
    let rewards = if settings.mine { rewards(&settings, &rules, passphrases)? } else { None };
    let store = LmdbStore::open(&directory, &rules)?;
    let chain = Chain::new(rules.clone(), store);
    let driver = Driver::open(sockets(&settings))?;
    let config =
        node_config(&settings, driver.block_server_port(), rewards.as_ref().map(|rewards| rewards.to))?;
    let node = Node::new(chain, config, Arc::new(RsaVerifier::default()), driver.now())?;

    tell_where(&settings, &directory, &driver);
    let to = rewards.as_ref().map(|rewards| rewards.to);
    let search = match rewards {
        Some(rewards) => Some(start_search(&settings, rewards.seal_with, &driver)?),
        None => None,
    };
    tell_what_is_mined(&settings, to.as_ref(), search.as_ref());
    tell_the_chain(node.tip());
    let height = node.tip().height;

    let mut miner = Miner::new(rules, search, settings.status_broadcast_interval, height);
    let dropped = driver.dropped();
    let outcome = driver.run(node, &mut miner);
    debug!("dropped as malformed, foreign or too many: {dropped:?}");
    miner.say_goodbye();
    outcome?;
    if miner.has_lost_a_thread() { Err(MinerError::SearchPanicked) } else { Ok(()) }
}

/// Makes the directory, and sees to it that one miner at most works in it.
pub fn lock(directory: &Path, network: &str) -> Result<FileLock, MinerError> {
    files::create_private_directory(directory)?;
    FileLock::try_acquire(&directory.join(LOCK_FILE))?.ok_or_else(|| MinerError::AlreadyRunning {
        network: network.to_owned(),
        directory: directory.to_owned(),
    })
}

/// Who is paid for blocks, and how they are sealed.
struct Rewards {
    to: Address,
    /// Only where the network asks for seals is a private key held in memory.
    seal_with: Option<PrivateKey>,
}

/// The key that is paid; on networks with authorities one of theirs. `None`: none of the keys may mine here. Where
/// nothing is sealed, no passphrase is needed.
fn rewards(
    settings: &Settings,
    rules: &Rules,
    passphrases: &Passphrases,
) -> Result<Option<Rewards>, MinerError> {
    // To make a key, or to read an unencrypted one, is to hold it for a moment.
    hide_memory();
    let keys = KeyStore::new(settings.data_dir.keys());
    let (own, address) = find_or_make(&keys, rules)?;
    if !rules.has_authorities() {
        return Ok(Some(Rewards { to: address, seal_with: None }));
    }
    let may_mine = |address: &Address| rules.authorities.contains(address);
    let name = if may_mine(&address) {
        Some(own)
    } else {
        let listed = keys.list()?.into_iter();
        listed.filter(|key| key.address.as_ref().is_ok_and(may_mine)).map(|key| key.name).next()
    };
    let Some(name) = name else {
        warn!(
            "only {} may make blocks on this network, and no key in {} is one of them: this miner follows \
             the chain without mining. To take part, the rules have to name {REWARD_KEY}, {address}",
            count(rules.authorities.len(), "authority key"),
            keys.directory().display(),
        );
        return Ok(None);
    };
    // A prompt is to stand below what was said.
    log::flush();
    let key = keys.load(&name, rules.key_size, passphrases)?;
    Ok(Some(Rewards { to: key.address(), seal_with: Some(key) }))
}

/// The key that is paid where anybody may mine.
fn find_or_make(keys: &KeyStore, rules: &Rules) -> Result<(KeyName, Address), MinerError> {
    let name: KeyName = REWARD_KEY.parse().expect("REWARD_KEY has only letters and an underscore");
    let address = match keys.public_key(&name, rules.key_size) {
        Err(KeyStoreError::Unknown { .. }) => match keys.create(&name, rules.key_size) {
            Ok((key, path)) => {
                info!(
                    "made the key {REWARD_KEY} in {}: whoever has this file has the coins, so keep a copy",
                    path.display()
                );
                key.address()
            }
            // Another miner of this data directory, on another network, was faster.
            Err(KeyStoreError::Exists { .. }) => keys.public_key(&name, rules.key_size)?.address(),
            Err(error) => return Err(error.into()),
        },
        found => found?.address(),
    };
    Ok((name, address))
}

fn sockets(settings: &Settings) -> Sockets {
    Sockets {
        lan: settings.lan,
        broadcast_addresses: settings.broadcast_addresses.clone(),
        status_port: settings.status_broadcast_port,
        transaction_port: settings.transaction_port,
        hear_transactions: true,
        block_server_port: Some(settings.block_server_port),
        max_connections: settings.max_connections,
    }
}

fn node_config(
    settings: &Settings,
    block_server_port: u16,
    miner: Option<Address>,
) -> Result<NodeConfig, MinerError> {
    let random = || {
        getrandom::u64()
            .map_err(|error| Failure::System { action: "get random numbers", source: error.into() })
    };
    Ok(NodeConfig {
        instance: random()?,
        seed: random()?,
        agent: AGENT.to_owned(),
        block_server_port,
        status_interval: settings.status_broadcast_interval,
        pool_interval: POOL_INTERVAL,
        named_peers: settings.peers.iter().map(ToString::to_string).collect(),
        pool: Some(MempoolLimits {
            transactions: settings.mempool_max_transactions,
            bytes: settings.mempool_max_bytes,
        }),
        miner,
        reward_data: Vec::new(),
    })
}

/// The threads; what they find is sealed where the network asks for it, and goes to the node.
fn start_search(
    settings: &Settings,
    seal_with: Option<PrivateKey>,
    driver: &Driver,
) -> Result<Search, MinerError> {
    let inputs = driver.inputs();
    let found = Arc::new(move |template: Arc<Template>, nonce| {
        debug!("found a nonce for block {}", template.header.height);
        let header = BlockHeader { nonce, ..template.header };
        let seal = seal_with.as_ref().map(|key| key.seal(&header.id()));
        // The loop may have ended: then nobody needs the block.
        inputs.send(Input::Mined { template, nonce, seal });
    });
    Search::start(settings.mining_threads(), best_kernel(), found)
        .map_err(|source| Failure::System { action: "start the search threads", source }.into())
}

fn tell_where(settings: &Settings, directory: &Path, driver: &Driver) {
    info!("the chain is kept in {}", directory.display());
    let (wanted, got) = (settings.block_server_port, driver.block_server_port());
    if wanted != 0 && wanted != got {
        info!("port {wanted} is taken, probably by another miner: blocks are served at {got} instead");
    }
    let (status, payments) = (settings.status_broadcast_port, settings.transaction_port);
    info!("listening: statuses UDP {status}, payments UDP {payments}, blocks TCP {}:{got}", driver.host());
    let callers = driver.most_callers();
    if callers < settings.max_connections {
        info!(
            "serving {callers} callers at a time at most: the system allows no more open files (ulimit -n)"
        );
    }
    info!("{}", reach(settings.lan, !settings.peers.is_empty()));
    for peer in &settings.peers {
        info!("keeping up a connection with {peer}");
    }
}

/// What of this miner other machines get to see.
fn reach(lan: bool, has_peers: bool) -> &'static str {
    match (lan, has_peers) {
        (true, _) => {
            "open to the local network: other machines hear this miner and can reach its block server"
        }
        (false, false) => {
            "on this machine only: nothing is sent beyond it (--lan opens it to the local network)"
        }
        (false, true) => {
            "nothing is broadcast beyond this machine, and nobody else can call it (--lan opens it to the local \
             network); but its peers are called, wherever they are"
        }
    }
}

fn tell_what_is_mined(settings: &Settings, to: Option<&Address>, search: Option<&Search>) {
    match (to, search) {
        (Some(to), Some(search)) => {
            let threads = count(search.threads(), "thread");
            info!("mining with {threads}; rewards go to {to}");
        }
        _ if settings.mine => {}
        _ => info!("not mining: this node checks, keeps and serves the chain"),
    }
}

fn tell_the_chain(tip: &Tip) {
    match tip.height.get() {
        0 => info!("the chain is empty so far"),
        height => {
            let age = Timestamp::from_system_clock().millis_since(tip.time);
            let age = words::duration(Duration::from_millis(age));
            info!("the chain is at height {height} (block {}, {age} old)", words::block(&tip.id));
        }
    }
}
