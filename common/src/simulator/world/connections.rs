//! Connections: calls, and what is sent on them, which nothing overtakes. They break when their ends are on
//! different sides of a wall, or when a program ends.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Event, Verdict, World};
use crate::net::limits::IDLE_GIVES_WAY;
use crate::node::{ConnectionId, Input, LinkId, Target};
use crate::simulator::journal::{Message, Traffic};
use crate::simulator::machine::{MachineId, PORT, at, ip};
use crate::simulator::puppet::Greeting;
use crate::wire::{Hello, Request, Response};

/// Connections of lower numbers are nobody's: scenes ask on them in the name of strangers.
const FIRST: u64 = 1 << 32;

/// All that are open, or that one side believes to be.
#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<u64, Connection>,
    /// How many there ever were.
    count: u64,
}

pub(super) struct Connection {
    caller: MachineId,
    link: LinkId,
    pub(super) server: MachineId,
    /// Requests that wait for the one in service.
    pub(super) waiting: VecDeque<Request>,
    pub(super) in_service: bool,
    /// Something on it was lost: nothing comes through any more, and neither side is told.
    broken: bool,
    /// When what was sent last arrives, at the server and at the caller: nothing overtakes.
    last_up: Duration,
    last_down: Duration,
}

impl Connections {
    fn add(&mut self, connection: Connection) -> u64 {
        let id = FIRST + self.count;
        self.count += 1;
        self.open.insert(id, connection);
        id
    }

    fn get(&self, id: u64) -> Option<&Connection> {
        self.open.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Connection> {
        self.open.get_mut(&id)
    }
}

impl World {
    // ── Opening ─────────────────────────────────────────────────────────────────────────────────────

    /// A program calls somebody.
    pub(super) fn connect(&mut self, id: MachineId, link: LinkId, target: Target) {
        self.counts.calls += 1;
        let machine = &mut self.machines[id];
        machine.links.insert(link, None);
        let run = machine.run;
        self.after_latency(Event::Call { caller: id, run, link, target });
    }

    /// A call arrives, or does not.
    pub(super) fn call(&mut self, caller: MachineId, run: u32, link: LinkId, target: &Target) -> Verdict {
        if self.machines[caller].run != run || !self.machines[caller].links.contains_key(&link) {
            return Ok(());
        }
        let server = at(target).filter(|id| *id < self.machines.len());
        let Some(server) = server.filter(|server| self.reach(caller, *server)) else { return Ok(()) };
        if self.machines[server].puppet.as_ref().is_some_and(|puppet| puppet.greeting == Greeting::Silence) {
            return Ok(());
        }
        let Some(callers_hello) = self.hello_of(caller) else { return Ok(()) };
        let Some(hello) = self.greeting(server, &callers_hello) else {
            self.counts.refused_calls += 1;
            self.machines[caller].links.remove(&link);
            let input = Input::Disconnected { link, reason: "connection refused".to_owned() };
            self.after_latency(Event::Input(caller, run, Box::new(input)));
            return Ok(());
        };
        let arrives = self.now + self.latency();
        let connection = self.connections.add(Connection {
            caller,
            link,
            server,
            waiting: VecDeque::new(),
            in_service: false,
            broken: false,
            last_up: self.now,
            last_down: arrives,
        });
        self.machines[caller].links.insert(link, Some(connection));
        self.machines[server].callers.insert(connection);
        self.schedule(arrives, Event::Greeted { connection, hello: Box::new(hello) });
        let from = SocketAddr::new(ip(caller), 40_000);
        self.give(server, Input::Caller { from, hello: callers_hello })
    }

    fn hello_of(&self, id: MachineId) -> Option<Hello> {
        self.machines[id].node.as_ref().map(|node| node.hello(self.now_of(id).wall))
    }

    /// What a block server says to a new caller, if it takes one more.
    fn greeting(&mut self, server: MachineId, callers: &Hello) -> Option<Hello> {
        let full = self.machines[server].callers.len() >= self.weather.callers;
        if full && !self.somebody_gives_way(server) {
            return None;
        }
        match &self.machines[server].puppet {
            None => self.hello_of(server),
            Some(puppet) => (puppet.greeting == Greeting::Hello).then(|| Hello {
                instance: 1_000 + server as u64,
                block_server_port: PORT,
                time: self.now_of(server).wall,
                ..callers.clone()
            }),
        }
    }

    /// Whether a caller of a full block server that has had nothing to ask for long gives way to a new one.
    fn somebody_gives_way(&mut self, server: MachineId) -> bool {
        let callers = self.machines[server].callers.iter();
        let idle = callers.filter_map(|id| {
            let open = self.connections.get(*id)?;
            let is_idle = open.waiting.is_empty() && !open.in_service;
            is_idle.then_some((open.last_up.max(open.last_down), *id))
        });
        let Some((since, connection)) = idle.min().filter(|(since, _)| *since + IDLE_GIVES_WAY <= self.now)
        else {
            return false;
        };
        self.note(|| format!("machine {server} sends somebody away who is idle since {since:.1?}"));
        self.machines[server].callers.remove(&connection);
        self.schedule(self.now, Event::HungUp { connection, reason: "the peer hung up" });
        true
    }

    // ── Sending ─────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn send(&mut self, id: MachineId, link: LinkId, request: Request) {
        let Some(connection) = self.machines[id].links.get(&link).copied().flatten() else { return };
        let latency = self.latency();
        let Some(open) = self.connections.get_mut(connection) else { return };
        let at = (self.now + latency).max(open.last_up);
        open.last_up = at;
        let to = open.server;
        if !self.carries(connection) {
            return;
        }
        if let Some(journal) = &mut self.journal {
            journal.traffic.push(Traffic { from: id, to, message: Message::Request(request.clone()) });
        }
        self.schedule(at, Event::Request { connection, request: Box::new(request) });
    }

    /// Sends an answer that takes up so many bytes of the server's line.
    pub(super) fn respond(&mut self, connection: u64, response: Response, bytes: u64) {
        let latency = self.latency();
        let Some(open) = self.connections.get_mut(connection) else { return };
        let line = &mut self.machines[open.server].line_free_at;
        if let Some(uplink) = self.weather.uplink {
            *line = (*line).max(self.now) + Duration::from_secs_f64(bytes as f64 / uplink as f64);
        }
        let at = (self.now.max(*line) + latency).max(open.last_down);
        open.last_down = at;
        let (from, to) = (open.server, open.caller);
        if !self.carries(connection) {
            return;
        }
        if let Some(journal) = &mut self.journal {
            journal.traffic.push(Traffic { from, to, message: Message::Response(response.clone()) });
        }
        self.counts.answers += 1;
        self.schedule(at, Event::Response { connection, response: Box::new(response) });
    }

    /// What is answered next on a connection comes so much later than what was answered before.
    pub(super) fn hold_back(&mut self, connection: u64, time: Duration) {
        if let Some(open) = self.connections.get_mut(connection) {
            open.last_down = open.last_down.max(self.now) + time;
        }
    }

    /// Whether what is sent on a connection arrives; it is broken for good when something does not.
    fn carries(&mut self, connection: u64) -> bool {
        let Some(open) = self.connections.get(connection) else { return false };
        let carries = !open.broken && self.reach(open.caller, open.server);
        if let Some(open) = self.connections.get_mut(connection) {
            open.broken = !carries;
        }
        carries
    }

    /// Something arrives at the caller.
    pub(super) fn give_caller(&mut self, connection: u64, input: impl FnOnce(LinkId) -> Input) -> Verdict {
        match self.connections.get(connection) {
            Some(open) => self.give(open.caller, input(open.link)),
            None => Ok(()),
        }
    }

    // ── Closing ─────────────────────────────────────────────────────────────────────────────────────

    /// A program closes a connection, or does not want it any more.
    pub(super) fn disconnect(&mut self, id: MachineId, link: LinkId) {
        let Some(connection) = self.machines[id].links.remove(&link).flatten() else { return };
        if let Some(open) = self.connections.get(connection) {
            let at = open.last_up.max(self.now);
            self.schedule(at, Event::Closed { connection });
        }
    }

    /// The server hears that the caller closed it.
    pub(super) fn closed(&mut self, connection: u64) -> Verdict {
        let Some(open) = self.forget(connection) else { return Ok(()) };
        self.give(open.server, Input::CallerGone { connection: ConnectionId(connection) })
    }

    /// Both hear that it is no more.
    pub(super) fn hung_up(&mut self, connection: u64, reason: &str) -> Verdict {
        let Some(open) = self.forget(connection) else { return Ok(()) };
        if self.machines[open.caller].links.remove(&open.link).is_some() {
            self.give(open.caller, Input::Disconnected { link: open.link, reason: reason.to_owned() })?;
        }
        self.give(open.server, Input::CallerGone { connection: ConnectionId(connection) })
    }

    fn forget(&mut self, connection: u64) -> Option<Connection> {
        let open = self.connections.open.remove(&connection)?;
        self.machines[open.server].callers.remove(&connection);
        Some(open)
    }

    /// Ends one of a machine's calls, as a switch that is turned off would.
    pub(crate) fn cut(&mut self, id: MachineId) {
        let open: Vec<u64> = self.machines[id].links.values().copied().flatten().collect();
        if let Some(connection) = open.get(self.random.index(open.len())).copied() {
            self.counts.cut_connections += 1;
            self.schedule(self.now, Event::HungUp { connection, reason: "connection reset by peer" });
        }
    }
}
