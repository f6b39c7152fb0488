//! Disks: blocks are written one offer after the other, and the program is told of it a little later. A write that
//! fails, or whose program is killed, leaves nothing behind.

use super::{Event, Verdict, Violation, World};
use crate::address::Address;
use crate::chain::ChainError;
use crate::consensus::CheckedBlock;
use crate::ledger::Account;
use crate::node::Input;
use crate::simulator::disk::Disk;
use crate::simulator::machine::MachineId;
use crate::store::{Store, StoreError, Tip};

impl World {
    /// A program offers blocks to its chain.
    pub(super) fn offer(&mut self, id: MachineId, blocks: Vec<CheckedBlock>) {
        self.machines[id].writes.push_back(blocks);
        if self.machines[id].writes.len() == 1 {
            self.begin_write(id);
        }
    }

    fn begin_write(&mut self, id: MachineId) {
        if std::mem::take(&mut self.machines[id].killed_in_next_write) {
            self.schedule(self.now, Event::Kill(id));
        }
        let at = self.now + self.random.between(&self.weather.writing);
        let run = self.machines[id].run;
        self.schedule(at, Event::Write(id, run));
    }

    /// The oldest write is done.
    pub(super) fn write(&mut self, id: MachineId) -> Verdict {
        let machine = &mut self.machines[id];
        let Some(node) = &machine.node else { return Ok(()) };
        let Some(blocks) = machine.writes.pop_front() else { return Ok(()) };
        let before = machine.disk.is_about_to_fail().then(|| snapshot(&machine.disk));
        let result = node.chain().connect(&blocks);
        self.counts.writes += 1;
        if let Err(ChainError::Store(_)) = &result
            && before.is_some_and(|before| snapshot(&machine.disk) != before)
        {
            return Err(left_something_behind(id));
        }
        if let Ok(outcome) = &result
            && let Some(change) = &outcome.change
        {
            machine.acknowledged = change.new;
        }
        if !machine.writes.is_empty() {
            self.begin_write(id);
        }
        // The program may be killed between the write and the news of it.
        let at = self.now + self.random.between(&self.weather.writing) / 4;
        let run = self.machines[id].run;
        self.schedule(at, Event::Input(id, run, Box::new(Input::Offered { blocks, result })));
        Ok(())
    }

    /// The power goes while a write is under way, if one is: all of it is there then, or nothing.
    pub(super) fn cut_write_short(&mut self, id: MachineId) -> Verdict {
        let Some(blocks) = self.machines[id].writes.pop_front() else { return Ok(()) };
        let changes = self.random.below(4 * blocks.len() as u64 + 4);
        let machine = &self.machines[id];
        let Some(node) = &machine.node else { return Ok(()) };
        let before = snapshot(&machine.disk);
        machine.disk.fail_after(changes);
        let result = node.chain().connect(&blocks);
        machine.disk.mend();
        if result.is_ok() {
            self.counts.whole_writes += 1;
            return Ok(());
        }
        self.counts.cut_writes += 1;
        if snapshot(&machine.disk) == before { Ok(()) } else { Err(left_something_behind(id)) }
    }
}

fn left_something_behind(id: MachineId) -> Violation {
    Violation(format!("a write of machine {id} that failed left something behind"))
}

/// What a disk holds, as far as a failed write could change it.
fn snapshot(disk: &Disk) -> (Option<Tip>, Vec<(Address, Account)>) {
    let mut accounts = Vec::new();
    let tip = disk.read::<_, StoreError>(|reader| {
        reader.for_each_account(&mut |address, account| accounts.push((address, account)))?;
        reader.tip()
    });
    (tip.ok(), accounts)
}
