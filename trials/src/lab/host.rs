//! A machine of the laboratory with the programs that run on it.

use common::amount::Amount;
use common::files::Program;
use common::hash::BlockId;
use common::store::{Read, Store, StoreError};
use common::time::Height;

use super::cables::Cables;
use crate::program::{Home, Network, Running, eventually};

/// Where a miner serves its blocks.
pub const BLOCK_SERVER_PORT: u16 = 2607;
/// The key that is paid in each wallet.
pub const SAVINGS: &str = "savings";
/// The key that a miner earns for.
pub const REWARDS: &str = "mining_rewards";

/// See the module.
pub struct Host<'n> {
    /// Its user.
    pub name: &'static str,
    /// The data directory.
    pub home: Home<'n>,
    /// The miner, where there is one.
    pub miner: Option<Running>,
    /// The wallet that follows the network.
    pub wallet: Option<Running>,
}

impl<'n> Host<'n> {
    /// A machine at this address, with a key in its wallet, and nothing that runs.
    pub fn new(
        network: &'n Network,
        cables: &mut Cables,
        name: &'static str,
        address: &str,
        bridge: &str,
    ) -> Self {
        cables.add_machine(name);
        cables.plug_host(name, address, bridge);
        let namespace = cables.namespace(name);
        // The port that users have; here nobody else does.
        let home =
            network.home(name).with_variable("FARTHING_BLOCK_SERVER_PORT", BLOCK_SERVER_PORT.to_string());
        let home = home.started_by(&["ip", "netns", "exec", &namespace]);
        home.wallet(&["new-address", SAVINGS]);
        Self { name, home, miner: None, wallet: None }
    }

    /// Starts a miner that is open to the network of its namespace.
    pub fn mine(&mut self, more: &[&str]) {
        self.miner = Some(self.home.start_miner(&[&["--lan"], more].concat()));
    }

    /// Starts a wallet that follows the network of its namespace.
    pub fn follow(&mut self) {
        self.wallet = Some(self.home.start_wallet(&["--lan", "sync"]));
    }

    /// Pays so many coins from one of the keys here.
    pub fn pay(&self, from: &str, coins: u64, to: &Host<'_>) {
        let address = to.home.address(SAVINGS).to_string();
        self.home.wallet(&["--lan", "send", from, &coins.to_string(), &address]);
    }

    /// What the miner has said.
    pub fn miner_said(&self) -> String {
        self.miner.as_ref().expect("it mines").said()
    }

    /// What all programs here have said.
    pub fn said(&self) -> String {
        [&self.miner, &self.wallet].into_iter().flatten().map(Running::said).collect()
    }

    /// Waits for a line of the miner's log with this; gives the line.
    pub fn miner_line(&self, text: &str) -> String {
        eventually(&format!("{text:?} in the log of {}'s miner", self.name), || {
            self.miner_said().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// The address of a peer that the miner has found, of those that begin with this.
    pub fn found_on(&self, start: &str) -> Option<String> {
        let (said, found) = (self.miner_said(), format!("found a peer: {start}"));
        let (_, rest) = said.split_once(&found)?;
        Some(start.to_owned() + rest.split(',').next()?)
    }

    /// Whether the wallet follows the miner at this address, or did.
    pub fn wallet_follows(&self, address: &str) -> bool {
        let wallet = self.wallet.as_ref().expect("it follows the network");
        wallet.said().contains(&format!("Following {address}:"))
    }

    /// What somebody's savings come to by the wallet here.
    pub fn savings(&self, of: &Host<'_>) -> Amount {
        self.home.balance(&of.home.address(SAVINGS))
    }

    /// The programs here that keep a copy of the chain.
    pub fn copies(&self) -> impl Iterator<Item = Program> {
        let miner = self.miner.as_ref().map(|_| Program::Miner);
        miner.into_iter().chain(self.wallet.as_ref().map(|_| Program::Wallet))
    }

    /// The block of this height in one of the copies.
    pub fn block_at(&self, program: Program, height: u64) -> Option<BlockId> {
        let look = |reader: &dyn Read| reader.best_at(Height::new(height));
        self.home.chain(program)?.store().read::<_, StoreError>(look).expect("the store is sound")
    }

    /// Ends the programs here, and replays the chains that they leave.
    pub fn stop_and_audit(mut self) {
        let copies: Vec<_> = self.copies().collect();
        for program in [self.miner.take(), self.wallet.take()].into_iter().flatten() {
            program.stop();
        }
        for program in copies {
            self.home.audit(program);
        }
    }

    /// No program here has ended.
    pub fn assert_running(&mut self) {
        for program in [&mut self.miner, &mut self.wallet].into_iter().flatten() {
            assert!(program.is_running(), "a program of {} has ended: {}", self.name, program.said());
        }
    }
}

/// Waits until all copies of the chain have the same block at the height of the shortest of them, which is at least
/// this; gives the height.
pub fn agree(hosts: &[&Host<'_>], at_least: u64) -> u64 {
    let names: Vec<_> = hosts.iter().map(|host| host.name).collect();
    eventually(&format!("{} to agree at height {at_least} or above", names.join(", ")), || {
        let copies = || hosts.iter().flat_map(|host| host.copies().map(move |program| (host, program)));
        let height = copies().map(|(host, program)| host.home.height(program)).min()?;
        let mut blocks = copies().map(|(host, program)| host.block_at(program, height));
        let first = blocks.next()??;
        (height >= at_least && blocks.all(|block| block == Some(first))).then_some(height)
    })
}
