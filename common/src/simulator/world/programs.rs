//! Programs: how they start and end, what they are given, and what must be true of them at any time.

use std::time::Duration;

use super::{Event, Verdict, Violation, World};
use crate::chain::Chain;
use crate::node::{Input, Node, NodeConfig};
use crate::simulator::machine::{MachineId, PORT, name};
use crate::store::{StoreError, Tip};

/// How long a program whose disk failed stays away.
const BACK_AFTER: Duration = Duration::from_secs(5);

impl World {
    /// Starts a machine's program, unless it runs.
    pub(crate) fn start(&mut self, id: MachineId) -> Verdict {
        if self.machines[id].node.is_some() {
            return Ok(());
        }
        let now = self.now_of(id);
        let seed = self.random.number();
        let machine = &mut self.machines[id];
        machine.disk.mend();
        machine.run += 1;
        let role = &machine.role;
        let config = NodeConfig {
            instance: u64::from(machine.run) << 32 | (id as u64 + 1),
            seed,
            agent: format!("machine/{id}"),
            block_server_port: if role.serves_blocks { PORT } else { 0 },
            status_interval: self.status_interval,
            pool_interval: self.pool_interval,
            named_peers: role.named.iter().map(|id| name(*id)).collect(),
            pool: role.pool,
            miner: role.miner.as_ref().map(|key| key.address()),
            reward_data: Vec::new(),
        };
        let chain = Chain::new(self.rules.clone(), machine.disk.clone());
        let node = Node::new(chain, config, self.verifier.clone(), now)
            .map_err(|error| Violation(format!("machine {id} cannot start: {error}")))?;
        let tip = *node.tip();
        if machine.acknowledged.is_better_than(&tip) {
            return Err(Violation(format!(
                "machine {id} comes back with {tip:?} and had {:?}",
                machine.acknowledged
            )));
        }
        machine.node = Some(node);
        self.note(|| format!("machine {id} starts at height {}: {}", tip.height, self.machines[id].role));
        self.after(id, None)
    }

    /// Ends a machine's program at once; what it was writing may or may not be written.
    pub(crate) fn kill(&mut self, id: MachineId) -> Verdict {
        if self.machines[id].node.is_none() {
            return Ok(());
        }
        self.note(|| format!("machine {id} is killed"));
        self.counts.kills += 1;
        self.cut_write_short(id)?;
        self.gone(id);
        Ok(())
    }

    /// A program ends when its disk fails. It must have a reason.
    fn store_failed(&mut self, id: MachineId, error: &StoreError) -> Verdict {
        if !matches!(error, StoreError::Io { .. }) {
            return Err(Violation(format!("machine {id}: {error}")));
        }
        self.note(|| format!("machine {id} ends: {error}"));
        self.counts.failed_disks += 1;
        self.gone(id);
        self.schedule(self.now + BACK_AFTER, Event::Start(id));
        Ok(())
    }

    /// The program of a machine has ended: whoever spoke with it finds out.
    fn gone(&mut self, id: MachineId) {
        let machine = &mut self.machines[id];
        machine.node = None;
        machine.template = None;
        machine.searching = false;
        machine.writes.clear();
        machine.wake_at = Duration::MAX;
        let callers = std::mem::take(&mut machine.callers);
        let links = std::mem::take(&mut machine.links);
        for connection in callers {
            self.after_latency(Event::HungUp { connection, reason: "connection reset by peer" });
        }
        for connection in links.into_values().flatten() {
            self.after_latency(Event::Closed { connection });
        }
    }

    /// Hands a machine's program an input, if it runs.
    pub(crate) fn give(&mut self, id: MachineId, input: Input) -> Verdict {
        self.give_many(id, [input])
    }

    /// The same with several at a time.
    pub(crate) fn give_many<I>(&mut self, id: MachineId, inputs: I) -> Verdict
    where
        I: AsRef<[Input]> + IntoIterator<Item = Input>,
    {
        let now = self.now_of(id);
        inputs.as_ref().iter().for_each(|input| self.fingerprint(kind_of(input), id));
        let Some(node) = &mut self.machines[id].node else { return Ok(()) };
        let before = *node.tip();
        match node.handle_many(inputs, now) {
            Ok(()) => self.after(id, Some(before)),
            Err(error) => self.store_failed(id, &error),
        }
    }

    /// A program asked to be woken, unless it asked for an earlier time since.
    pub(super) fn wake(&mut self, id: MachineId) -> Verdict {
        if self.now < self.machines[id].wake_at {
            return Ok(());
        }
        self.machines[id].wake_at = Duration::MAX;
        self.fingerprint(1, id);
        self.tick(id)
    }

    fn tick(&mut self, id: MachineId) -> Verdict {
        let now = self.now_of(id);
        let Some(node) = &mut self.machines[id].node else { return Ok(()) };
        let before = *node.tip();
        if let Err(error) = node.tick(now) {
            return self.store_failed(id, &error);
        }
        if node.next_deadline() <= now.monotonic {
            return Err(Violation(format!("machine {id} wants to be woken in the past: a busy loop")));
        }
        self.after(id, Some(before))
    }

    /// After a program did something: carries it out, and holds it against what must always be true.
    fn after(&mut self, id: MachineId, before: Option<Tip>) -> Verdict {
        self.carry_out(id)?;
        self.check(id, before)?;
        let now = self.now;
        let machine = &mut self.machines[id];
        let Some(node) = &machine.node else { return Ok(()) };
        let deadline = node.next_deadline();
        if deadline <= now {
            // What it put off until its news are out.
            return self.tick(id);
        }
        if deadline < machine.wake_at {
            machine.wake_at = deadline;
            self.schedule(deadline, Event::Wake(id));
        }
        Ok(())
    }

    /// What must be true of a machine at any time: what it holds is within its limits, its tip never gets worse, and
    /// its store is what the oracle says.
    fn check(&mut self, id: MachineId, before: Option<Tip>) -> Verdict {
        let wall = self.now_of(id).wall;
        let machine = &mut self.machines[id];
        machine.latest_clock = machine.latest_clock.max(wall);
        let Some(node) = &machine.node else { return Ok(()) };
        node.load().check().map_err(|beyond| Violation(format!("machine {id} holds {beyond}")))?;
        let tip = *node.tip();
        if before == Some(tip) {
            return Ok(());
        }
        if let Some(before) = before.filter(|before| !tip.is_better_than(before)) {
            return Err(Violation(format!("machine {id} went back from {before:?} to {tip:?}")));
        }
        if let Some(arrivals) = &mut self.arrivals {
            arrivals.entry(tip.id).or_default().push(self.now);
        }
        if machine.is_honest() {
            let checked = self.oracle.check(&machine.disk, machine.latest_clock);
            checked
                .map_err(|problem| Violation(format!("machine {id} at height {}: {problem}", tip.height)))?;
        }
        Ok(())
    }
}

/// A number for the fingerprint.
fn kind_of(input: &Input) -> u64 {
    match input {
        Input::Announcement { .. } => 10,
        Input::ForeignNetwork { .. } => 11,
        Input::Connected { .. } => 12,
        Input::Disconnected { .. } => 13,
        Input::Response { .. } => 14,
        Input::Caller { .. } => 15,
        Input::Request { .. } => 16,
        Input::CallerGone { .. } => 17,
        Input::Checked(_) => 18,
        Input::Offered { .. } => 19,
        Input::Mined { .. } => 20,
        Input::Submit(_) => 21,
        Input::CallerAtFault { .. } => 22,
        Input::PeerAtFault { .. } => 23,
    }
}
