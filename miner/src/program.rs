//! What the miner does with its node: it hands templates to the search threads, and what happens to its
//! journal. Called by [`common::driver`], on the event loop's thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::driver::{Command, Program};
use common::node::{Node, Notice, Now, Source, Template};
use common::rules::Rules;
use common::store::{Store, StoreError};
use common::time::Height;
use tracing::info;

use crate::journal::{FoundBy, Journal};
use crate::limits::LONGEST_START;
use crate::words;
use miner::search::{HashRate, Search};

/// How long the log of a miner may say nothing of its mining.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// See the module.
pub struct Miner {
    search: Option<Search>,
    journal: Journal,
    started: Instant,
    /// Mining begins then, or when the chain of others is fetched, so that nobody starts by finding blocks
    /// that are thrown away at once. `None`: it has begun.
    listen_until: Option<Duration>,
    /// What is being worked on.
    template: Option<Arc<Template>>,
    /// Since when this tip is worked on.
    since: Duration,
    /// When the hash rate was last told.
    reported: Duration,
    rate: HashRate,
}

impl Miner {
    /// Without `search` it never mines; with one it listens first, for long enough to hear every miner's
    /// status.
    pub fn new(rules: Arc<Rules>, search: Option<Search>, status_interval: Duration, height: Height) -> Self {
        let listen = status_interval * 3 / 2;
        if search.is_some() {
            info!("listening for {} whether others are mining", words::duration(listen));
        }
        Self {
            listen_until: search.is_some().then_some(listen),
            search,
            journal: Journal::new(rules, height),
            started: Instant::now(),
            template: None,
            since: Duration::ZERO,
            reported: Duration::ZERO,
            rate: HashRate::default(),
        }
    }

    /// The last line of the log.
    pub fn say_goodbye(&self) {
        self.journal.goodbye(self.search.is_some());
    }

    /// Whether a thread that searches has ended by a defect.
    pub fn has_lost_a_thread(&self) -> bool {
        self.search.as_ref().is_some_and(Search::has_lost_a_thread)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn hashes(&self) -> u64 {
        self.search.as_ref().map_or(0, Search::hashes)
    }

    fn is_mining(&self) -> bool {
        self.template.is_some() && self.listen_until.is_none()
    }

    /// Begins to mine when it is time.
    fn start_when_due<S: Store>(&mut self, node: &Node<S>) {
        let Some(until) = self.listen_until else { return };
        let heard = node.has_heard_anybody();
        let due =
            if heard { node.is_caught_up() || self.now() >= LONGEST_START } else { self.now() >= until };
        if due {
            self.listen_until = None;
            self.journal.mining_begins(heard);
            self.begin_to_measure();
            self.work();
        }
    }

    /// Hands the template to the search threads.
    fn work(&mut self) {
        let Some(search) = self.search.as_ref().filter(|_| self.listen_until.is_none()) else { return };
        search.work_on(self.template.clone());
    }

    /// The time without work counts for nothing.
    fn begin_to_measure(&mut self) {
        self.since = self.now();
        self.reported = self.since;
        self.rate.begin(self.since, self.hashes());
    }

    fn measure(&mut self) {
        if self.is_mining() {
            self.rate.update(self.now(), self.hashes());
        }
    }

    fn report_when_due(&mut self) {
        if self.now() < self.reported + REPORT_INTERVAL {
            return;
        }
        self.reported = self.now();
        if let Some(template) = self.template.as_ref().filter(|_| self.is_mining()) {
            self.journal.mining_goes_on(template, self.rate.per_second());
        }
    }
}

impl<S: Store> Program<S> for Miner {
    fn notice(&mut self, node: &Node<S>, notice: Notice) {
        let Notice::TipChanged { change, source, payments, waiting } = notice else {
            self.journal.noticed(notice);
            return;
        };
        self.measure();
        let (template, took) = (self.template.as_deref(), self.now().saturating_sub(self.since));
        let found_by = FoundBy { template, took, rate: self.rate.per_second() };
        self.journal.tip_changed(&change, &source, payments, waiting, &found_by);
        if source == Source::Mined {
            // The line of a block that was found tells the rate too.
            self.reported = self.now();
        }
        if node.is_caught_up() {
            self.journal.caught_up();
        }
        self.since = self.now();
    }

    fn mine(&mut self, template: Option<Arc<Template>>) {
        let was_mining = self.is_mining();
        self.template = template;
        if !was_mining {
            self.begin_to_measure();
        }
        self.work();
    }

    fn tick(&mut self, node: &Node<S>, now: Now) -> Result<(Vec<Command>, Option<Duration>), StoreError> {
        self.journal.catch_up_on_left_out();
        self.start_when_due(node);
        self.measure();
        self.report_when_due();
        // The node's own deadlines are never further apart than a second: often enough for all else.
        let listen_for = self.listen_until.and_then(|until| until.checked_sub(self.now()));
        let commands = if self.has_lost_a_thread() { vec![Command::Stop] } else { Vec::new() };
        Ok((commands, listen_for.map(|listen_for| now.monotonic + listen_for)))
    }
}
