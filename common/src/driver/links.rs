//! The connections that the node opens: a task each that sends what is asked, and hands in what is
//! answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Event;
use crate::hash::NetworkId;
use crate::net::{
    ClientDeadlines, ConnectError, RequestSender, Session, SessionError, address_gone, connect_to_any,
    resolve,
};
use crate::node::limits::{CONNECT_DEADLINE, MAX_QUESTIONS, WAIT_STATUS_DEADLINE};
use crate::node::{Input, LinkId, Node, Target};
use crate::store::Store;
use crate::text::with_causes;
use crate::time::Timestamp;
use crate::wire::{Hello, Request};

/// All open connections.
pub(super) struct Links {
    runtime: Handle,
    events: mpsc::Sender<Event>,
    network: NetworkId,
    hello: Arc<dyn Fn() -> Hello + Send + std::marker::Sync>,
    open: HashMap<LinkId, Link>,
}

struct Link {
    requests: mpsc::Sender<Request>,
    task: AbortHandle,
}

impl Links {
    pub(super) fn new<S: Store>(runtime: Handle, events: mpsc::Sender<Event>, node: &Node<S>) -> Self {
        let template = node.hello(Timestamp::default());
        let hello = move || Hello { time: Timestamp::from_system_clock(), ..template.clone() };
        Self {
            runtime,
            events,
            network: node.chain().network(),
            hello: Arc::new(hello),
            open: HashMap::new(),
        }
    }

    pub(super) fn connect(&mut self, link: LinkId, target: Target) {
        self.open.retain(|_, link| !link.task.is_finished());
        let (requests, to_send) = mpsc::channel(MAX_QUESTIONS);
        let (events, network, hello) = (self.events.clone(), self.network, self.hello.clone());
        let task = self.runtime.spawn(async move {
            let End { reason, fault } = match call(&target, &network, &*hello).await {
                Ok((session, hello)) => {
                    if events.send(Event::Input(Input::Connected { link, hello })).await.is_err() {
                        return;
                    }
                    converse(link, session, to_send, &events).await
                }
                Err(error) => End { reason: with_causes(&error), fault: error.is_fault() },
            };
            let input = match fault {
                true => Input::PeerAtFault { link, reason },
                false => Input::Disconnected { link, reason },
            };
            // Nobody is there to be told when the loop has ended.
            let _ = events.send(Event::Input(input)).await;
        });
        self.open.insert(link, Link { requests, task: task.abort_handle() });
    }

    pub(super) fn send(&mut self, link: LinkId, request: Request) {
        let full = self.open.get(&link).is_some_and(|link| link.requests.try_send(request).is_err());
        if full {
            // It reads more slowly than it is asked, or is just ending: either way it is of no more use.
            self.disconnect(link);
            let (events, reason) = (self.events.clone(), "it does not read what it is asked".to_owned());
            let ended =
                async move { events.send(Event::Input(Input::Disconnected { link, reason })).await.is_ok() };
            self.runtime.spawn(ended);
        }
    }

    pub(super) fn disconnect(&mut self, link: LinkId) {
        if let Some(link) = self.open.remove(&link) {
            link.task.abort();
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.open.values().for_each(|link| link.task.abort());
    }
}

/// How a connection ended.
struct End {
    reason: String,
    /// Whether the server broke the protocol.
    fault: bool,
}

impl End {
    fn of_program() -> Self {
        Self { reason: "the program ends".to_owned(), fault: false }
    }
}

impl From<SessionError> for End {
    fn from(error: SessionError) -> Self {
        Self { reason: with_causes(&error), fault: error.is_fault() }
    }
}

async fn call(
    target: &Target,
    network: &NetworkId,
    hello: &(dyn Fn() -> Hello + Send + std::marker::Sync),
) -> Result<(Session, Hello), ConnectError> {
    let addresses = match target {
        Target::Address(address) => vec![*address],
        Target::Named(name) => resolve(name, CONNECT_DEADLINE).await?,
    };
    // The node's own deadlines are shorter; these are there so that nothing here can last for ever.
    let deadlines = ClientDeadlines {
        connect: CONNECT_DEADLINE,
        answer: WAIT_STATUS_DEADLINE + Duration::from_secs(10),
        ..ClientDeadlines::default()
    };
    connect_to_any(&addresses, network, |_| hello(), deadlines).await
}

/// Sends requests and hands in answers until one of the two ends, or nothing more can come; says why.
async fn converse(
    link: LinkId,
    session: Session,
    mut to_send: mpsc::Receiver<Request>,
    events: &mpsc::Sender<Event>,
) -> End {
    let own_address = session.own_address;
    let (mut requests, mut responses) = session.split();
    let sending = send_all(&mut requests, &mut to_send);
    let receiving = async {
        loop {
            match responses.next().await {
                Ok(response) => {
                    if events.send(Event::Input(Input::Response { link, response })).await.is_err() {
                        return End::of_program();
                    }
                }
                Err(error) => return End::from(error),
            }
        }
    };
    tokio::select! {
        end = sending => end,
        end = receiving => end,
        () = address_gone(own_address) => {
            let reason = format!("this machine no longer has the address {}", own_address.ip());
            End { reason, fault: false }
        }
    }
}

async fn send_all(requests: &mut RequestSender, to_send: &mut mpsc::Receiver<Request>) -> End {
    while let Some(request) = to_send.recv().await {
        if let Err(error) = requests.send(&request).await {
            return End::from(error);
        }
    }
    End::of_program()
}
