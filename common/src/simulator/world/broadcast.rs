//! Datagrams: everybody on the broadcast hears them, unless they are lost; some come twice.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Event, Verdict, World};
use crate::node::Input;
use crate::simulator::byzantine;
use crate::simulator::machine::{MachineId, ip};
use crate::wire::Announcement;

impl World {
    /// A machine's program wants something broadcast.
    pub(super) fn say(&mut self, id: MachineId, announcement: Announcement) {
        if let Some(announcement) = byzantine::says(self, id, announcement) {
            self.broadcast(id, ip(id), &Arc::new(announcement));
        }
    }

    /// A machine sends a datagram to everybody, perhaps in another's name.
    pub(crate) fn broadcast(&mut self, sender: MachineId, from: IpAddr, announcement: &Arc<Announcement>) {
        if !self.machines[sender].role.broadcast {
            return;
        }
        match self.weather.echo_reaches {
            Some(reaches) if reaches < self.machines.len() && self.is_echo(announcement) => {
                for _ in 0..reaches {
                    let to = self.random.index(self.machines.len());
                    self.datagram(sender, to, from, announcement);
                }
            }
            _ => (0..self.machines.len()).for_each(|to| self.datagram(sender, to, from, announcement)),
        }
    }

    /// Whether a status tells of a tip that is not only its sender's.
    fn is_echo(&self, announcement: &Announcement) -> bool {
        let Announcement::Status(status) = announcement else { return false };
        let arrived = self.arrivals.as_ref().and_then(|arrivals| arrivals.get(&status.tip));
        arrived.is_none_or(|machines| machines.len() > 1)
    }

    /// A datagram on its way to one machine, if it gets there.
    pub(crate) fn datagram(
        &mut self,
        sender: MachineId,
        to: MachineId,
        from: IpAddr,
        announcement: &Arc<Announcement>,
    ) {
        if to == sender || !self.machines[to].role.broadcast || !self.reach(sender, to) {
            return;
        }
        let doubled = self.random.happens(self.weather.doubled);
        self.counts.doubled_datagrams += u64::from(doubled);
        let times = 1 + u32::from(doubled);
        for _ in 0..times {
            if self.random.happens(self.weather.loss) {
                self.counts.lost_datagrams += 1;
            } else {
                self.after_latency(Event::Datagram(to, from, announcement.clone()));
            }
        }
    }

    /// A datagram arrives.
    pub(super) fn heard(&mut self, id: MachineId, from: IpAddr, announcement: &Announcement) -> Verdict {
        self.counts.datagrams += 1;
        byzantine::overhears(self, id, announcement);
        self.give(id, Input::Announcement { from, announcement: announcement.clone() })
    }
}
