//! What a program decides, carried out; and what it tells its user, held against what is true.

use super::{Event, Verdict, Violation, World};
use crate::node::{Effect, Input, Job, Node, Notice};
use crate::simulator::machine::{Machine, MachineId, at};
use crate::store::Tip;

/// More effects than this after one input are a loop.
const MAX_EFFECTS: usize = 20_000;

impl World {
    /// Does what a program decided.
    pub(super) fn carry_out(&mut self, id: MachineId) -> Verdict {
        for _ in 0..MAX_EFFECTS {
            let Some(effect) = self.machines[id].node.as_mut().and_then(Node::next_effect) else {
                return Ok(());
            };
            match effect {
                Effect::Broadcast(announcement) => self.say(id, announcement),
                Effect::Connect { link, target } => self.connect(id, link, target),
                Effect::Send { link, request } => self.send(id, link, request),
                Effect::Disconnect { link } => self.disconnect(id, link),
                Effect::Respond { connection, response } => self.answer(id, connection, response)?,
                Effect::Check(job) => self.check_signatures(id, job),
                Effect::Offer(blocks) => self.offer(id, blocks),
                Effect::Mine(template) => self.work_on(id, template),
                Effect::Notice(notice) => self.noticed(id, &notice)?,
            }
        }
        Err(Violation(format!("machine {id} never stops")))
    }

    fn check_signatures(&mut self, id: MachineId, job: Job) {
        let Some(node) = &self.machines[id].node else { return };
        let checked = job.run(node.checker());
        let at = self.now + self.random.between(&self.weather.checking);
        let run = self.machines[id].run;
        self.schedule(at, Event::Input(id, run, Box::new(Input::Checked(checked))));
    }

    fn noticed(&mut self, id: MachineId, notice: &Notice) -> Verdict {
        if let Some(journal) = &mut self.journal {
            journal.notices.entry(id).or_default().push(notice.clone());
        }
        match notice {
            Notice::TipChanged { change, .. } if self.machines[id].is_honest() => {
                self.counts.tips += 1;
                let depth = change.reverted.len();
                if depth > 0 {
                    self.counts.reorganisations += 1;
                    self.counts.deepest = self.counts.deepest.max(depth);
                    *self.counts.depths.entry(depth).or_default() += 1;
                }
                self.note(|| {
                    let Tip { id: tip, height, time, .. } = change.new;
                    let early_ms = time.millis_since(self.now_of(0).wall);
                    format!(
                        "machine {id} is at height {height}, {} ({depth} undone, {early_ms} ms early)",
                        tip.short()
                    )
                });
            }
            Notice::PeerMisbehaved { target, reason, .. } => {
                self.note(|| format!("machine {id} bans {target}: {reason}"));
                self.counts.bans += 1;
                let banned = at(target).and_then(|banned| self.machines.get(banned));
                if self.machines[id].is_honest() && banned.is_some_and(Machine::is_honest) {
                    return Err(Violation(format!("machine {id} bans the honest {target}: {reason}")));
                }
            }
            Notice::InvalidBlock { id: block, reason } => {
                self.note(|| format!("machine {id} finds {block} invalid: {reason}"));
                self.counts.invalid_blocks += 1;
                if self.machines[id].is_honest() && self.oracle.knows(block) {
                    return Err(Violation(format!(
                        "machine {id} condemns the valid block {block}: {reason}"
                    )));
                }
            }
            Notice::BlockWaits { .. } => self.counts.waiting_blocks += 1,
            Notice::PaymentRefused { .. } => self.counts.refused_payments += 1,
            Notice::PeerFailed { target, reason, .. } => {
                self.note(|| format!("machine {id} leaves {target} alone: {reason}"));
            }
            Notice::Idle(idle) => self.note(|| format!("machine {id} does not mine: {idle:?}")),
            _ => {}
        }
        Ok(())
    }
}
