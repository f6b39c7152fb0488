//! A miner that is attacked, and what holds whatever anybody does to it.

use std::net::SocketAddr;
use std::time::Duration;

use common::address::Address;
use common::files::Program;
use common::hash::NetworkId;
use common::store::{Read, Store, StoreError, Tip};
use common::time::Height;

use super::Figures;
use super::honest::Honest;
use super::log_lines::{LogLines, OF_MINERS};
use super::memory::Memory;
use crate::crash::recording::Clock;
use crate::program::{Home, Running, eventually};

/// Blocks that there are before an attack begins.
const BLOCKS: u64 = 5;
/// Everything that has no row of its own in `LIMITS.md`, in MiB.
pub const EVERYTHING_ELSE_MIB: u64 = 32;

/// A miner that runs, with an honest caller.
pub struct Target<'n> {
    /// Where its data is.
    pub home: Home<'n>,
    miner: Running,
    /// Where it serves blocks.
    pub place: SocketAddr,
    /// What is counted meanwhile.
    pub figures: Figures,
    mined_by: Address,
    before: Tip,
    memory: Memory,
    lines: LogLines,
    honest: Option<Honest>,
    clock: Option<Clock>,
}

impl<'n> Target<'n> {
    /// Starts a miner that mines, and an honest caller of it.
    pub fn mining(home: Home<'n>, arguments: &[&str]) -> Self {
        let miner = home.start_miner(arguments);
        let mut target = Self::new(home, miner, None);
        target.serve_honest_caller();
        target
    }

    /// A miner that was started, without an honest caller so far. It mines, or only follows the chain that this
    /// address is paid for.
    pub fn new(home: Home<'n>, mut miner: Running, mined_by: Option<Address>) -> Self {
        let place = miner.block_server();
        home.reach(Program::Miner, BLOCKS);
        let mined_by = mined_by.unwrap_or_else(|| home.address("mining_rewards"));
        let before = home.tip(Program::Miner).expect("it has blocks");
        let (memory, lines) = (Memory::of(miner.pid()), LogLines::after(&miner.said(), OF_MINERS));
        let figures = Figures::default();
        Self { home, miner, place, figures, mined_by, before, memory, lines, honest: None, clock: None }
    }

    /// From now on an honest caller has to be served.
    pub fn serve_honest_caller(&mut self) {
        self.honest = Some(Honest::start(self.place, self.network()));
    }

    /// The miner measures time with this clock.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Lets this time pass for the miner, at once. The honest caller is not there meanwhile: it could do nothing for its
    /// deadlines.
    pub fn pass(&mut self, time: Duration) {
        self.dismiss_honest_caller();
        self.clock.as_ref().expect("it has such a clock").pass(time);
        self.lines.pass(time);
        self.serve_honest_caller();
    }

    /// The honest caller has to have been served until now.
    pub fn dismiss_honest_caller(&mut self) {
        if let Some(honest) = self.honest.take() {
            let (times, slowest) = honest.end().unwrap_or_else(|error| {
                panic!("an honest caller was let down: {error}: {}", self.miner.said())
            });
            self.figures.add("honest visits", times);
            self.figures.add("slowest visit, ms", slowest.as_millis() as u64);
        }
    }

    /// The id of its network.
    pub fn network(&self) -> NetworkId {
        self.home.network().rules.network_id()
    }

    /// Who is paid for all blocks of its chain.
    pub fn mined_by(&self) -> Address {
        self.mined_by
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.miner.pid()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.miner.said()
    }

    /// Waits until the honest caller was served so many times more.
    pub fn serves(&self, times: u64) {
        let honest = self.honest.as_ref().expect("there is an honest caller");
        let until = honest.served() + times;
        eventually("the honest caller to be served", || {
            (honest.served() >= until || !honest.is_content()).then_some(())
        });
    }

    /// Waits until its chain has so many blocks more.
    pub fn goes_on(&self, blocks: u64) {
        let height = self.home.height(Program::Miner);
        self.home.reach(Program::Miner, height + blocks);
    }

    /// See [`Memory::remembers`].
    pub fn remembers(&mut self, mib: u64) {
        self.memory.remembers(mib);
    }

    /// A round of the attack is over. There are at least two, all of them equal: the last may not cost more memory than
    /// the first.
    pub fn end_round(&mut self) {
        self.memory.end_round();
    }

    /// The attack is over: asserts that it achieved nothing. Strangers may have made the miner hold so much memory,
    /// by `LIMITS.md`. Gives the figures and the log.
    pub fn withstood(mut self, most_mib: u64) -> (Figures, String) {
        assert!(self.miner.is_running(), "it has ended: {}", self.miner.said());
        self.dismiss_honest_caller();
        self.goes_on(2);
        let names =
            ["memory in the first round, KiB", "memory in the last round, KiB", "memory at most, KiB"];
        self.memory.withstood(most_mib, &mut self.figures, names);
        self.figures.add("lines logged", self.lines.count(&self.miner.said()));
        self.miner.signal("INT");
        let ended = self.miner.end();
        assert!(ended.status.success() && !ended.stderr.contains("panicked"), "{ended:?}");
        self.figures.add("blocks meanwhile", only_grown(&self.home, &self.before, self.mined_by));
        self.home.audit(Program::Miner);
        (self.figures, ended.stderr)
    }
}

/// Asserts that a chain still has this tip, and that all blocks since are of this miner; says how many they are.
pub fn only_grown(home: &Home<'_>, before: &Tip, mined_by: Address) -> u64 {
    let chain = home.chain(Program::Miner).expect("there is a chain");
    let grown = chain.store().read::<_, StoreError>(|reader: &dyn Read| {
        let tip = reader.tip()?;
        assert_eq!(reader.best_at(before.height)?, Some(before.id), "its chain was replaced");
        for height in before.height.get() + 1..=tip.height.get() {
            let id = reader.best_at(Height::new(height))?.expect("a chain has no holes");
            let body = reader.body(&id)?.expect("the blocks of a chain are kept");
            assert_eq!(body.reward.to, mined_by, "block {height} is a stranger's");
        }
        Ok(tip.height.get() - before.height.get())
    });
    grown.expect("the store is sound")
}
