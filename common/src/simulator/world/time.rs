//! Time: the queue of events, ordered by when they happen, and those of one moment by when they were scheduled.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Verdict, Violation, World};
use crate::node::{Input, LinkId, Target};
use crate::simulator::history::{self, Planned};
use crate::simulator::machine::MachineId;
use crate::wire::{Announcement, Hello, Request, Response};

/// Something on its way.
pub(crate) enum Event {
    /// A program is started, unless it runs.
    Start(MachineId),
    /// A program is killed, if it runs.
    Kill(MachineId),
    Wake(MachineId),
    /// For one run of a program only.
    Input(MachineId, u32, Box<Input>),
    Datagram(MachineId, IpAddr, Arc<Announcement>),
    Call {
        caller: MachineId,
        run: u32,
        link: LinkId,
        target: Target,
    },
    Greeted {
        connection: u64,
        hello: Box<Hello>,
    },
    Request {
        connection: u64,
        request: Box<Request>,
    },
    Response {
        connection: u64,
        response: Box<Response>,
    },
    /// The caller closed it.
    Closed {
        connection: u64,
    },
    /// The server closed it, or its program ended.
    HungUp {
        connection: u64,
        reason: &'static str,
    },
    /// The oldest write of a machine is done.
    Write(MachineId, u32),
    /// A search for a nonce succeeds.
    Found(MachineId, u64),
    /// Something that the history has in store.
    Planned(Planned),
}

/// All events that are to come.
#[derive(Default)]
pub(super) struct Queue {
    events: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
}

impl Queue {
    fn push(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(Scheduled { at, sequence: self.sequence, event }));
    }

    /// The next one, unless that is after `end`.
    fn pop(&mut self, end: Duration) -> Option<Scheduled> {
        self.events.peek().filter(|Reverse(next)| next.at <= end)?;
        self.events.pop().map(|Reverse(next)| next)
    }
}

struct Scheduled {
    at: Duration,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl World {
    /// Lets everything go on for so long.
    pub(crate) fn run_for(&mut self, time: Duration) -> Verdict {
        let end = self.now + time;
        while self.step(end)? {}
        Ok(())
    }

    /// Lets the next thing happen; where none is to come until `end`, it is that time then. Says whether one was.
    pub(crate) fn step(&mut self, end: Duration) -> Result<bool, Violation> {
        let Some(Scheduled { at, event, .. }) = self.queue.pop(end) else {
            self.now = end;
            return Ok(false);
        };
        self.now = self.now.max(at);
        self.counts.events += 1;
        self.happen(event)?;
        Ok(true)
    }

    pub(crate) fn schedule(&mut self, at: Duration, event: Event) {
        self.queue.push(at, event);
    }

    /// Schedules what a message brings about.
    pub(super) fn after_latency(&mut self, event: Event) {
        let at = self.now + self.latency();
        self.schedule(at, event);
    }

    /// How long the next message takes.
    pub(super) fn latency(&mut self) -> Duration {
        self.random.between(&self.weather.latency)
    }

    fn happen(&mut self, event: Event) -> Verdict {
        match event {
            Event::Start(id) => self.start(id),
            Event::Kill(id) => self.kill(id),
            Event::Wake(id) => self.wake(id),
            Event::Input(id, run, input) if self.machines[id].run == run => self.give(id, *input),
            Event::Write(id, run) if self.machines[id].run == run => self.write(id),
            // Their program has ended.
            Event::Input(..) | Event::Write(..) => Ok(()),
            Event::Datagram(id, from, announcement) => self.heard(id, from, &announcement),
            Event::Call { caller, run, link, target } => self.call(caller, run, link, &target),
            Event::Greeted { connection, hello } => {
                self.give_caller(connection, |link| Input::Connected { link, hello: *hello })
            }
            Event::Request { connection, request } => self.asked(connection, *request),
            Event::Response { connection, response } => {
                self.give_caller(connection, |link| Input::Response { link, response: *response })
            }
            Event::Closed { connection } => self.closed(connection),
            Event::HungUp { connection, reason } => self.hung_up(connection, reason),
            Event::Found(id, search) => self.found(id, search),
            Event::Planned(planned) => {
                history::happens(self, planned);
                Ok(())
            }
        }
    }
}
