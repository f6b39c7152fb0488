//! The search for nonces: chance says how long it takes, so that no work is done for it.

use std::sync::Arc;
use std::time::Duration;

use super::{Event, Verdict, Violation, World};
use crate::hash::BlockId;
use crate::node::{Input, Template};
use crate::simulator::byzantine;
use crate::simulator::machine::MachineId;
use crate::testing::find_nonce;

impl World {
    /// A program has something else to work on, or nothing.
    pub(super) fn work_on(&mut self, id: MachineId, template: Option<Arc<Template>>) {
        self.machines[id].template = template;
        self.search(id);
    }

    /// Searches for a nonce of what there is to work on, unless that is being done. How long it takes does not
    /// depend on how long it took already, so a new block of the same difficulty changes nothing.
    fn search(&mut self, id: MachineId) {
        let machine = &mut self.machines[id];
        let Some(template) = &machine.template else { return };
        let rate = machine.role.hash_rate;
        if machine.searching || rate <= 0.0 {
            return;
        }
        machine.searching = true;
        machine.search += 1;
        let search = machine.search;
        let mean = Duration::from_secs_f64(template.header.bits.to_target().work().to_f64() / rate);
        let wait = self.random.waiting_time(mean);
        self.note(|| format!("machine {id} needs {wait:.1?} for its next block, {mean:.1?} on average"));
        self.schedule(self.now + wait, Event::Found(id, search));
    }

    /// A search succeeds, unless it was given up.
    pub(super) fn found(&mut self, id: MachineId, search: u64) -> Verdict {
        let machine = &mut self.machines[id];
        if machine.search != search || !machine.searching {
            return Ok(());
        }
        machine.searching = false;
        let template = machine.template.clone();
        if let Some(template) = template.filter(|_| self.mining)
            && !byzantine::finds(self, id, &template)
        {
            self.solve(id, template)?;
        }
        self.search(id);
        Ok(())
    }

    /// A program is given the solution of what it works on.
    pub(crate) fn solve(&mut self, id: MachineId, template: Arc<Template>) -> Result<BlockId, Violation> {
        let mut header = template.header;
        find_nonce(&mut header, true);
        let miner = self.machines[id].role.miner.as_ref();
        let seal = miner.filter(|_| self.rules.has_authorities()).map(|key| key.seal(&header.id()));
        self.counts.found += 1;
        self.give(id, Input::Mined { template, nonce: header.nonce, seal })?;
        Ok(header.id())
    }
}
