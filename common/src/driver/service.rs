//! What the block server answers: the chain's part from the store, on the server's own threads; the rest
//! by asking the node.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::limits::MAX_POOL_ANSWERS;
use super::{Dropped, Event};
use crate::net::{Answer, Caller, CloseReason, Fault, Service};
use crate::node::{ConnectionId, Input, Node, serve};
use crate::rules::Rules;
use crate::store::{Store, StoreError};
use crate::text::with_causes;
use crate::time::Timestamp;
use crate::wire::{Hello, Request, encode_frame};

/// See the module.
pub(super) struct ChainService<S> {
    store: S,
    rules: Arc<Rules>,
    hello: Hello,
    events: mpsc::Sender<Event>,
    dropped: Arc<Dropped>,
    /// Connections of which the node may hold something.
    asked: Mutex<HashSet<ConnectionId>>,
    /// A turn for an answer from the pool, from when it is asked for until it is bytes: these are long, and callers are
    /// bounded by the bytes that they have yet to take.
    turns: Semaphore,
}

impl<S: Store> ChainService<S> {
    pub(super) fn new(node: &Node<S>, events: mpsc::Sender<Event>, dropped: Arc<Dropped>) -> Self {
        Self {
            store: node.chain().store().clone(),
            rules: node.chain().rules().clone(),
            hello: node.hello(Timestamp::default()),
            events,
            dropped,
            asked: Mutex::default(),
            turns: Semaphore::new(MAX_POOL_ANSWERS),
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<ConnectionId>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_chain(&self, request: Request) -> Answer {
        let (store, rules, events) = (self.store.clone(), self.rules.clone(), self.events.clone());
        if let Request::GetBlocks { ids } = request {
            // Each in a transaction of its own: a slow caller keeps no old state of the store alive.
            let mut ids = ids.into_iter();
            return Answer::Frames(Box::new(move |bytes| {
                let id = ids.next()?;
                Some(
                    store
                        .read(|reader| serve::block(reader, &id, bytes))
                        .map_err(|error| fault(&events, error)),
                )
            }));
        }
        Answer::blocking(move || {
            let answer = store.read(|reader| serve::answer(reader, &rules, &request));
            let answer = answer.map_err(|error| fault(&events, error))?;
            answer.ok_or_else(|| Fault("the request is not about the chain".to_owned()))
        })
    }

    async fn ask_node(&self, connection: ConnectionId, request: Request) -> Answer {
        let is_long = matches!(request, Request::GetTransactions { .. } | Request::GetPoolIds { .. });
        // It is never closed; were it, there would be an answer too many at a time.
        let _turn = if is_long { self.turns.acquire().await.ok() } else { None };
        self.asked().insert(connection);
        let (answer, answered) = oneshot::channel();
        let input = Input::Request { connection, request };
        let ended = || Answer::Close(Fault("the program ends".to_owned()));
        if self.events.send(Event::Request { input, connection, answer }).await.is_err() {
            return ended();
        }
        answered.await.map_or_else(|_| ended(), |response| Answer::Frame(encode_frame(&response)))
    }
}

impl<S: Store> Service for ChainService<S> {
    fn hello(&self) -> Hello {
        Hello { time: Timestamp::from_system_clock(), ..self.hello.clone() }
    }

    fn opened(&self, caller: Caller, hello: &Hello) {
        // Of use, not of need: when the loop is busy a caller is not remembered.
        let _ =
            self.events.try_send(Event::Input(Input::Caller { from: caller.address, hello: hello.clone() }));
    }

    async fn answer(&self, caller: Caller, request: Request) -> Answer {
        if let Err(error) = serve::check_request(&request) {
            return Answer::Close(Fault(error.to_string()));
        }
        if serve::is_about_chain(&request) {
            self.ask_chain(request)
        } else {
            self.ask_node(ConnectionId(caller.id.0), request).await
        }
    }

    async fn closed(&self, caller: Caller, reason: CloseReason, pause: Duration) {
        if reason.is_fault() {
            self.dropped.callers.fetch_add(1, Ordering::Relaxed);
            let from = caller.address.ip();
            let input = Input::CallerAtFault { from, reason: with_causes(&reason), pause };
            // Of use, not of need.
            let _ = self.events.try_send(Event::Input(input));
        }
        let connection = ConnectionId(caller.id.0);
        let may_hold = self.asked().remove(&connection);
        if may_hold {
            // It must arrive, or what the node holds for the caller would stay. A loop that has ended holds nothing.
            let _ = self.events.send(Event::Input(Input::CallerGone { connection })).await;
        }
    }
}

/// What a caller is told. Of a store that is damaged, or a disk that fails, the loop has to know too: it ends, and
/// the user is told what to do. That the loop is too busy to hear is no harm: the next caller finds it as well.
pub(super) fn fault(events: &mpsc::Sender<Event>, error: StoreError) -> Fault {
    let fault = Fault("its store failed".to_owned());
    if matches!(error, StoreError::Damaged { .. }) || error.is_of_disk() {
        let _ = events.try_send(Event::Failed(error.into()));
    }
    fault
}
