//! A wallet that follows the chain while everybody is attacked, and what holds whatever anybody does to it.

use common::files::Program;
use common::store::{Read, Store, StoreError};

use super::Figures;
use super::log_lines::{LogLines, OF_WALLETS};
use super::memory::Memory;
use crate::program::{Home, Running};

/// A `wallet sync` that runs.
pub struct Reader<'n> {
    /// Where its data is.
    pub home: Home<'n>,
    wallet: Running,
    memory: Memory,
    lines: LogLines,
}

impl<'n> Reader<'n> {
    /// Starts a wallet.
    pub fn start(home: Home<'n>) -> Self {
        let wallet = home.start_wallet(&["sync"]);
        let (memory, lines) = (Memory::of(wallet.pid()), LogLines::after("", OF_WALLETS));
        Self { home, wallet, memory, lines }
    }

    /// A round of the attack is over; all of them are equal.
    pub fn end_round(&mut self) {
        self.memory.end_round();
    }

    /// The attack is over: asserts that it achieved nothing, and that the wallet comes to have the chain of an honest
    /// miner. Strangers may have made it hold so much memory, by `LIMITS.md`.
    pub fn withstood(mut self, honest: &Home<'_>, most_mib: u64, figures: &mut Figures) {
        self.home.reach(Program::Wallet, honest.height(Program::Miner));
        assert!(self.wallet.is_running(), "it has ended: {}", self.wallet.said());
        let names = [
            "wallet's memory in the first round, KiB",
            "wallet's memory in the last round, KiB",
            "wallet's memory at most, KiB",
        ];
        self.memory.withstood(most_mib, figures, names);
        self.wallet.signal("INT");
        let ended = self.wallet.end();
        assert!(ended.status.success() && !ended.stderr.contains("panicked"), "{ended:?}");
        let tip = self.home.tip(Program::Wallet).expect("it has blocks");
        honest.reach(Program::Miner, tip.height.get());
        let chain = honest.chain(Program::Miner).expect("there is a chain");
        let known = chain.store().read::<_, StoreError>(|reader: &dyn Read| reader.best_at(tip.height));
        assert_eq!(known.expect("the store is sound"), Some(tip.id), "it follows a stranger's chain");
        self.home.audit(Program::Wallet);
        figures.add("wallet's lines", self.lines.count(&(ended.stderr + &ended.stdout)));
    }
}
