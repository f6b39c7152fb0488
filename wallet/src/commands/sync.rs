//! `wallet sync`, and what `wallet send --wait` does after sending: following the network.
//!
//! The node of [`common::node`] does the work; here is what a wallet adds to it: [`follower`] sends pending
//! payments again and says what happens to the user's own addresses.

use std::sync::Arc;

use common::chain::Chain;
use common::driver::{Driver, Sockets};
use common::failure::Failure;
use common::files::Program;
use common::hash::TransactionId;
use common::key_store::KeyStore;
use common::node::{Node, NodeConfig};
use common::settings::Loaded;
use common::signature::RsaVerifier;
use common::store::LmdbStore;

use crate::error::WalletError;
use crate::outbox::Outbox;
use crate::output::Notes;

mod fates;
mod follower;
mod notices;
mod resend;

use follower::Follower;

/// When to stop following.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When the user stops it.
    Interrupted,
    /// When no miner heard has a better chain.
    CaughtUp,
    /// When a block holds this payment.
    Confirmed(TransactionId),
}

/// Follows the network: what happens to the user's addresses is printed as it happens; the result is where
/// the chain stands at the end.
pub fn follow(parameters: &Loaded, until: Until, notes: &mut Notes) -> Result<String, WalletError> {
    let Loaded { settings, rules, .. } = parameters;
    let rules = Arc::new(rules.clone());
    let network = rules.network_id();
    let data = &settings.data_dir;
    let store = LmdbStore::open(&data.program(Program::Wallet, &rules.name, &network), &rules)?;
    let chain = Chain::new(rules.clone(), store);
    let driver = Driver::open(Sockets {
        lan: settings.lan,
        broadcast_addresses: settings.broadcast_addresses.clone(),
        status_port: settings.status_broadcast_port,
        transaction_port: settings.transaction_port,
        hear_transactions: false,
        block_server_port: None,
        max_connections: 0,
    })?;
    let config = NodeConfig {
        instance: random()?,
        seed: random()?,
        agent: crate::AGENT.to_owned(),
        block_server_port: 0,
        status_interval: settings.status_broadcast_interval,
        pool_interval: settings.transaction_broadcast_interval,
        named_peers: settings.peers.iter().map(ToString::to_string).collect(),
        pool: None,
        miner: None,
        reward_data: Vec::new(),
    };
    let outbox = Outbox::new(data.outbox(&rules.name, &network));
    let keys = KeyStore::new(data.keys());
    let mut follower = Follower::new(settings, &rules.name, keys, outbox, until, notes);
    follower.watch_keys(&chain)?;
    let node = Node::new(chain, config, Arc::new(RsaVerifier::default()), driver.now())?;
    driver.run(node, &mut follower)?;
    follower.end()
}

fn random() -> Result<u64, WalletError> {
    getrandom::u64()
        .map_err(|error| Failure::System { action: "get random numbers", source: error.into() }.into())
}
