//! What a wallet does while its node follows the network: it sends pending payments again, and tells what
//! happens to the user's own addresses. Everything it tells is worked out from the ledger and the outbox
//! before and after, so that it is right whatever the order in which blocks came.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::time::Duration;

use common::address::Address;
use common::chain::Chain;
use common::driver::{Command, Program};
use common::failure::Failure;
use common::hash::{BlockId, TransactionId};
use common::key_store::KeyStore;
use common::node::{Node, Notice, Now};
use common::settings::Settings;
use common::store::{Activity, Direction, Read, Store, StoreError, Tip};
use common::text::count;
use common::time::Height;
use common::transaction::Transaction;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::level_filters::LevelFilter;

use super::Until;
use super::fates::{Before, told};
use super::notices::Notices;
use super::resend::Resend;
use crate::error::WalletError;
use crate::outbox::{Fate, Outbox, PaymentName, Survey};
use crate::output::{self, Audience, Note, Notes};

/// How often outbox and keys are looked at for what other commands changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A change of more blocks than this is told as a whole: nobody reads a thousand lines.
const MOST_TOLD_BLOCKS: u64 = 50;
/// The most entries of one address that are told of one change.
const MOST_TOLD_ENTRIES: usize = 200;
/// How long a miner is waited for at the least, and at the least how many status intervals.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_INTERVALS: u32 = 3;
/// How long catching up may stand still while miners are heard that claim to have more. The node tries several
/// of them in this time.
const STANDSTILL: Duration = Duration::from_secs(60);

/// See the module.
pub struct Follower<'a> {
    keys: KeyStore,
    names: Vec<(Address, String)>,
    outbox: Outbox,
    until: Until,
    notes: &'a mut Notes<'a>,
    notices: Notices,
    progress: Option<ProgressBar>,
    /// Whether the user wants to know of every block.
    verbose: bool,
    /// The name of the network that is followed.
    network: String,
    status_interval: Duration,
    resend: Resend,
    /// What was told of each payment; `None` before the first look, of which nothing is told.
    fates: Option<HashMap<PaymentName, Fate>>,
    look_at: Duration,
    /// The best chain up to which everything was told; `None` before the first look.
    told: Option<Tip>,
    /// More came at once than can be told block by block, and it goes on.
    far_behind: bool,
    /// What was said of unusable files, so that it is said once.
    problems: HashSet<String>,
    /// Expired payments of which it was said that later ones wait for another in their place.
    blocked: HashSet<PaymentName>,
    heard_since: Option<Duration>,
    /// Since when the chain ends in this block.
    moved: Option<(BlockId, Duration)>,
    told_nobody: bool,
    failed: Option<WalletError>,
    done: bool,
    last: Option<(Height, u64)>,
}

impl<'a> Follower<'a> {
    pub fn new(
        settings: &Settings,
        network: &str,
        keys: KeyStore,
        outbox: Outbox,
        until: Until,
        notes: &'a mut Notes<'a>,
    ) -> Self {
        Self {
            keys,
            names: Vec::new(),
            outbox,
            until,
            notes,
            notices: Notices::default(),
            progress: None,
            verbose: settings.log >= LevelFilter::DEBUG,
            network: network.to_owned(),
            status_interval: settings.status_broadcast_interval,
            resend: Resend::new(settings.transaction_broadcast_interval),
            fates: None,
            look_at: Duration::ZERO,
            told: None,
            far_behind: false,
            problems: HashSet::new(),
            blocked: HashSet::new(),
            heard_since: None,
            moved: None,
            told_nobody: false,
            failed: None,
            done: false,
            last: None,
        }
    }

    /// Keeps the activity of every key's address, and finds what the chain already holds of new ones.
    pub fn watch_keys<S: Store>(&mut self, chain: &Chain<S>) -> Result<(), WalletError> {
        let keys = self.keys.list()?.into_iter();
        self.names = keys.filter_map(|key| Some((key.address.ok()?, key.name.to_string()))).collect();
        let addresses: Vec<Address> = self.names.iter().map(|(address, _)| *address).collect();
        Ok(chain.watch(&addresses)?)
    }

    /// Where the chain stands, or why it did not end as it should, once the driver has stopped.
    pub fn end(self) -> Result<String, WalletError> {
        if let Some(progress) = &self.progress {
            progress.finish_and_clear();
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        if !self.done && self.until != Until::Interrupted {
            return Err(WalletError::Interrupted);
        }
        Ok(self.last.map_or_else(String::new, |(height, age_ms)| {
            format!("The chain is at height {height}, {} old.", output::duration(age_ms))
        }))
    }

    /// A line of the result, as it happens.
    fn tell(&mut self, text: &str) {
        let print = || output::print_result(text);
        let printed = match &self.progress {
            Some(progress) => progress.suspend(print),
            None => print(),
        };
        match printed {
            Ok(Audience::There) => {}
            // Without an end of its own it would go on for nobody. What has one was asked for more than to print.
            Ok(Audience::Gone) => self.done |= self.until == Until::Interrupted,
            Err(source) => {
                self.failed = Some(Failure::Unprinted { what: "what happens", source }.into());
            }
        }
    }

    fn note(&mut self, note: Note) {
        match &self.progress {
            Some(progress) => progress.suspend(|| (self.notes)(note)),
            None => (self.notes)(note),
        }
    }

    /// An address as the user knows it.
    fn name(&self, address: &Address) -> String {
        let own = self.names.iter().find(|(own, _)| own == address);
        own.map_or_else(|| address.short(), |(_, name)| name.clone())
    }

    fn show_progress(&mut self, height: Height, claimed: Height) {
        if self.progress.is_none() && std::io::stderr().is_terminal() {
            let style =
                ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} blocks, {per_sec}, {eta} left");
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            self.progress = Some(
                bar.with_message("Catching up")
                    .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            );
        }
        match &self.progress {
            Some(progress) => {
                progress.set_length(claimed.get());
                progress.set_position(height.get());
            }
            None => self.note(Note::info(format!("Catching up: {height} of {claimed} blocks."))),
        }
    }

    /// Tells what has become of the best chain and of the outbox.
    fn tell_changes<S: Store>(&mut self, chain: &Chain<S>) -> Result<Survey, WalletError> {
        let changes = self.changes(chain)?;
        let (survey, fates) = self.changed_fates(chain)?;
        changes.iter().chain(&fates).for_each(|line| self.tell(line));
        Ok(survey)
    }

    /// What changes of the best chain since the last call did to the user's addresses, a line each, whoever
    /// fetched the blocks: this program, or another on the same data directory.
    fn changes<S: Store>(&mut self, chain: &Chain<S>) -> Result<Vec<String>, WalletError> {
        let (tip, fork, left, lines) = chain.store().read::<_, StoreError>(|reader| {
            let tip = reader.tip()?;
            let (fork, left) = match &self.told {
                Some(told) if told.id != tip.id => left_the_chain(reader, told.id)?,
                _ => (tip.height, Vec::new()),
            };
            let mut lines = self.taken_out(reader, &left)?;
            if !self.far_behind && tip.height.blocks_since(fork) <= MOST_TOLD_BLOCKS {
                lines.extend(self.receipts(reader, fork)?);
            }
            Ok((tip, fork, left.len(), lines))
        })?;
        self.told = Some(tip);
        let joined = tip.height.blocks_since(fork);
        if left > 0 {
            let left = count(left, "block");
            self.note(Note::info(format!("Reorganisation: {left} left the chain, {joined} joined it.")));
            self.resend.start_again();
        }
        self.far_behind |= joined > MOST_TOLD_BLOCKS;
        Ok(lines)
    }

    /// What the user's addresses received in the blocks above this height.
    fn receipts(&self, reader: &dyn Read, above: Height) -> Result<Vec<String>, StoreError> {
        let mut lines = Vec::new();
        for (address, name) in &self.names {
            let entries = reader.activity(address, MOST_TOLD_ENTRIES)?;
            let new = entries.iter().rev().filter(|entry| entry.height > above);
            lines.extend(new.filter_map(|entry| self.received(address, name, entry)));
        }
        Ok(lines)
    }

    fn received(&self, address: &Address, name: &str, entry: &Activity) -> Option<String> {
        let Activity { amount, height, .. } = entry;
        match entry.direction(address) {
            Direction::Received => {
                let from = entry.from.map_or_else(String::new, |from| format!(" from {}", self.name(&from)));
                let data = if entry.data.is_empty() {
                    String::new()
                } else {
                    format!(", data {}", output::data(&entry.data))
                };
                Some(format!("{name} received {amount}{from} in block {height}{data}."))
            }
            Direction::Mined => Some(format!("{name} earned {amount} for block {height}.")),
            // The user's own payments are told from the outbox.
            Direction::Sent | Direction::ToItself | Direction::Allocated => None,
        }
    }

    /// What a reorganisation took from the user's addresses.
    fn taken_out(&self, reader: &dyn Read, left: &[BlockId]) -> Result<Vec<String>, StoreError> {
        let own = |address: Address| self.names.iter().find(|(own, _)| *own == address).map(|(_, name)| name);
        let mut lines = Vec::new();
        for id in left.iter().take(MOST_TOLD_BLOCKS as usize) {
            let (Some(record), Some(body)) = (reader.record(id)?, reader.body(id)?) else { continue };
            if let Some(name) = own(body.reward.to) {
                let (amount, height) = (body.reward.amount, record.height());
                lines.push(format!(
                    "{name} no longer has {amount} for block {height}: a reorganisation took the block out."
                ));
            }
            for transaction in &body.transactions {
                let Some(name) = own(transaction.payment.to) else { continue };
                if reader.find_transaction(&transaction.id())?.is_none() {
                    let amount = transaction.payment.amount;
                    lines
                        .push(format!("{name} no longer has {amount}: a reorganisation took its block out."));
                }
            }
        }
        Ok(lines)
    }

    /// The outbox, and what became of its payments since the last call, a line each.
    fn changed_fates<S: Store>(&mut self, chain: &Chain<S>) -> Result<(Survey, Vec<String>), WalletError> {
        let (before, mut lines) = (self.fates.take(), Vec::new());
        let (survey, fates) = chain.store().read::<_, WalletError>(|reader| {
            let survey = self.outbox.survey(Some(reader))?;
            let fates = self.outbox.fates(&survey, reader)?;
            Ok((survey, fates))
        })?;
        for problem in survey.unusable.iter().map(ToString::to_string) {
            if !self.problems.contains(&problem) {
                self.note(Note::warning(&problem));
                self.problems.insert(problem);
            }
        }
        for name in survey.past.iter().chain(survey.open.iter().map(|entry| &entry.name)) {
            let Some(fate) = fates.get(name).copied() else { continue };
            let before = before.as_ref().map_or(Before::Nothing, |before| {
                before.get(name).map_or(Before::New, |fate| Before::Known(*fate))
            });
            if let Some(text) = told(before, fate) {
                lines.push(format!("{}: {text}", self.describe(chain, name)?));
            }
            self.check_goal(&name.id, fate);
        }
        for (expired, behind) in survey.blocked() {
            if self.blocked.insert(expired) {
                let name = self.name(&expired.sender);
                let behind = count(behind, "later payment");
                lines.push(format!(
                    "{name}: an expired payment left a gap that holds up {behind}; the next `wallet send {name} …` \
                     fills it."
                ));
            }
        }
        self.fates = Some(fates);
        Ok((survey, lines))
    }

    /// Sends what is due again.
    fn due(&mut self, survey: &Survey, now: Duration) -> Vec<Command> {
        let pending: Vec<TransactionId> = survey.pending().map(|entry| entry.name.id).collect();
        let due = self.resend.due(&pending, now);
        let mut transactions: Vec<Transaction> = survey
            .pending()
            .filter(|entry| due.contains(&entry.name.id))
            .map(|entry| entry.transaction.clone())
            .collect();
        // In nonce order, so that none has to be kept aside for an earlier one.
        transactions.sort_by_key(|transaction| transaction.payment.nonce);
        if transactions.is_empty() { Vec::new() } else { vec![Command::Send(transactions)] }
    }

    /// Ends when the payment that is waited for is confirmed, or never can be.
    fn check_goal(&mut self, id: &TransactionId, fate: Fate) {
        if self.until != Until::Confirmed(*id) {
            return;
        }
        match fate {
            Fate::Pending => {}
            Fate::Confirmed(_) => self.done = true,
            Fate::Conflicting => self.failed = Some(WalletError::PaymentConflicting { id: *id }),
            Fate::Expired => self.failed = Some(WalletError::PaymentExpired { id: *id }),
        }
    }

    fn describe<S: Store>(&self, chain: &Chain<S>, name: &PaymentName) -> Result<String, WalletError> {
        let transaction: Option<Transaction> = match self.outbox.read(name) {
            Ok(Some(transaction)) => Some(transaction),
            _ => chain.store().read::<_, StoreError>(|reader| {
                let Some(place) = reader.find_transaction(&name.id)? else { return Ok(None) };
                let body = reader.body(&place.block)?;
                Ok(body.and_then(|body| body.transactions.into_iter().nth(place.index as usize)))
            })?,
        };
        Ok(match transaction {
            Some(transaction) => {
                let payment = &transaction.payment;
                format!("{} pays {} to {}", self.name(&name.sender), payment.amount, self.name(&payment.to))
            }
            None => format!("Payment {}", name.id.short()),
        })
    }

    /// Whether following is over. `heard`: somebody on the network was; `caught_up`: nobody has a better chain
    /// than this, which ends in `tip`.
    fn is_over(&mut self, heard: bool, caught_up: bool, tip: BlockId, now: Duration) -> bool {
        if self.failed.is_some() || self.done {
            return true;
        }
        if !heard {
            return self.nobody_heard(now);
        }
        if self.until != Until::CaughtUp {
            return false;
        }
        let (known, since) = *self.moved.get_or_insert((tip, now));
        if known != tip {
            self.moved = Some((tip, now));
        } else if !caught_up && now >= since + STANDSTILL {
            let network = self.network.clone();
            self.failed = Some(WalletError::NoChainGiven { network, within: STANDSTILL });
            return true;
        }
        // Every miner announces its chain once an interval: after one, all have been heard. A network that
        // grows faster than that is caught up with again and again, so once is enough.
        let since = *self.heard_since.get_or_insert(now);
        self.done = caught_up && now >= since + self.status_interval;
        self.done
    }

    /// Nobody is there yet. Who waits for that alone has waited in vain after a while; who follows the network
    /// is told, and goes on listening.
    fn nobody_heard(&mut self, now: Duration) -> bool {
        let within = PATIENCE.max(self.status_interval * PATIENCE_INTERVALS);
        if now < within || self.told_nobody {
            return false;
        }
        let error = WalletError::NobodyHeard { network: self.network.clone(), within };
        if self.until == Until::CaughtUp {
            self.failed = Some(error);
            return true;
        }
        self.told_nobody = true;
        self.note(Note::warning(format!("{error}; still listening")));
        if let Some(hint) = error.hint() {
            self.note(Note::hint(hint));
        }
        false
    }

    fn act<S: Store>(&mut self, node: &Node<S>, now: Now) -> Result<Vec<Command>, WalletError> {
        let mut commands = Vec::new();
        if now.monotonic >= self.look_at {
            self.look_at = now.monotonic + LOOK_EVERY;
            self.watch_keys(node.chain())?;
            // Another `wallet sync` on the same data directory may have been faster.
            let survey = self.tell_changes(node.chain())?;
            commands = self.due(&survey, now.monotonic);
            self.notices.left_out(now.monotonic).into_iter().for_each(|note| self.note(note));
        }
        if self.far_behind && node.is_caught_up() {
            self.far_behind = false;
            self.note(Note::info(format!("Caught up at height {}.", node.tip().height)));
        }
        self.last = self.told.map(|tip| (tip.height, now.wall.millis_since(tip.time)));
        let (heard, caught_up) = (node.has_heard_anybody(), node.is_caught_up());
        if self.is_over(heard, caught_up, node.tip().id, now.monotonic) {
            commands.push(Command::Stop);
        }
        Ok(commands)
    }
}

/// Where the branch of a block leaves the best chain, and its blocks above that, the newest first.
fn left_the_chain(reader: &dyn Read, tip: BlockId) -> Result<(Height, Vec<BlockId>), StoreError> {
    let (mut id, mut left) = (tip, Vec::new());
    loop {
        let record = reader.record(&id)?;
        let record = record.ok_or_else(|| StoreError::damaged(format!("block {id} is missing")))?;
        if reader.is_best(&record)? {
            return Ok((record.height(), left));
        }
        left.push(id);
        id = record.header.header.previous;
    }
}

impl<S: Store> Program<S> for Follower<'_> {
    fn notice(&mut self, node: &Node<S>, notice: Notice) {
        match notice {
            Notice::TipChanged { change, payments, .. } => {
                if self.verbose {
                    let (id, height) = (change.new.id, change.new.height);
                    self.note(Note::info(format!(
                        "Block {height} ({id}); payments in what came: {payments}."
                    )));
                }
                if let (Some(progress), true) = (&self.progress, node.is_caught_up()) {
                    progress.finish_and_clear();
                    self.progress = None;
                }
                if let Err(error) = self.tell_changes(node.chain()) {
                    self.failed = Some(error);
                }
            }
            Notice::CatchingUp { height, claimed, .. } => self.show_progress(height, claimed),
            Notice::DeepReorganisation { depth } => {
                self.note(Note::warning(format!("{depth} blocks were replaced by a chain with more work; payments in them may be pending again")));
            }
            other => {
                if let Some(note) = self.notices.note(&other, self.verbose) {
                    self.note(note);
                }
            }
        }
    }

    fn tick(&mut self, node: &Node<S>, now: Now) -> Result<(Vec<Command>, Option<Duration>), StoreError> {
        match self.act(node, now) {
            Ok(commands) => Ok((commands, Some(self.look_at))),
            Err(error) => {
                self.failed = Some(error);
                Ok((vec![Command::Stop], None))
            }
        }
    }
}

#[cfg(test)]
mod tests;
