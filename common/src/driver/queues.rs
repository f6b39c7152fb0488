//! What waits for the loop, and whose turn it is.

use tokio::sync::mpsc;

use super::Event;
use super::limits::{ANSWERS_AT_A_TIME, HEARD_AT_A_TIME};
use crate::node::Input;

/// What was broadcast, and waits for the loop.
pub(super) struct Heard {
    pub(super) statuses: mpsc::Receiver<Input>,
    pub(super) payments: mpsc::Receiver<Input>,
}

impl Heard {
    /// Waits for broadcasts, and takes some of each kind: a flood of one leaves the other its turn.
    pub(super) async fn next(&mut self, batch: &mut Vec<Input>) {
        // Their senders live as long as the loop.
        let first = tokio::select! {
            first = self.statuses.recv() => first,
            first = self.payments.recv() => first,
        };
        batch.extend(first);
        self.take_waiting(batch);
    }

    /// Takes some of each kind that are there already.
    fn take_waiting(&mut self, batch: &mut Vec<Input>) {
        take_more(&mut self.statuses, batch);
        take_more(&mut self.payments, batch);
    }
}

fn take_more(from: &mut mpsc::Receiver<Input>, batch: &mut Vec<Input>) {
    batch.extend(std::iter::from_fn(|| from.try_recv().ok()).take(HEARD_AT_A_TIME));
}

/// All that waits for the loop.
pub(super) struct Queues {
    pub(super) inbox: mpsc::Receiver<Event>,
    heard: Heard,
    /// How many events were taken since broadcasts had a turn.
    answers: usize,
}

impl Queues {
    pub(super) fn new(inbox: mpsc::Receiver<Event>, heard: Heard) -> Self {
        Self { inbox, heard, answers: 0 }
    }

    /// Waits for what comes next: events before broadcasts, but never more than [`ANSWERS_AT_A_TIME`] of them. `None`:
    /// it is the turn of the broadcasts in the batch; where that is empty, nobody is left to hand in events. A wait that
    /// is cancelled loses nothing.
    pub(super) async fn next(&mut self, batch: &mut Vec<Input>) -> Option<Event> {
        if self.answers >= ANSWERS_AT_A_TIME {
            self.answers = 0;
            self.heard.take_waiting(batch);
            if !batch.is_empty() {
                return None;
            }
        }
        tokio::select! {
            biased;
            event = self.inbox.recv() => {
                self.answers += 1;
                event
            }
            () = self.heard.next(batch) => {
                self.answers = 0;
                None
            }
        }
    }
}
