//! What callers ask of the node beyond its chain, and those that wait for a new tip.

use std::collections::HashSet;

use crate::node::limits::*;
use crate::node::{ConnectionId, Effect, Node};
use crate::store::{Store, StoreError};
use crate::wire::{MAX_POOL_IDS, Request, Response};

impl<S: Store> Node<S> {
    pub(in crate::node) fn request(
        &mut self,
        connection: ConnectionId,
        request: Request,
    ) -> Result<(), StoreError> {
        let response = match request {
            Request::GetPoolIds { after } => Response::PoolIds(
                self.pool.as_ref().map_or(Vec::new(), |pool| pool.ids_after(after, MAX_POOL_IDS)),
            ),
            Request::GetTransactions { ids } => {
                // Each once, so that an answer is never larger than what is in the pool.
                let mut asked = HashSet::with_capacity(ids.len());
                let ids = ids.iter().filter(|id| asked.insert(**id));
                let found = ids.filter_map(|id| self.pool.as_ref()?.get(id));
                Response::Transactions(found.map(|known| known.transaction().clone()).collect())
            }
            Request::SubmitTransactions(transactions) => {
                return self.transactions_submitted(connection, transactions);
            }
            Request::SubmitBlocks(blocks) => return self.blocks_submitted(connection, blocks),
            Request::WaitStatus { tip } if tip == self.tip.id && self.waiting.len() < MAX_WAITING => {
                self.waiting.insert(connection, self.now.monotonic + WAIT_STATUS_HOLD);
                return Ok(());
            }
            // The chain's requests are answered without the node; one that strays here is told its status.
            _ => Response::Status(self.status()),
        };
        self.effects.push_back(Effect::Respond { connection, response });
        Ok(())
    }

    pub(in crate::node) fn caller_gone(&mut self, connection: ConnectionId) {
        self.waiting.remove(&connection);
        self.relay.staged.remove(&connection);
        self.relay.submitted.retain(|_, submitted| submitted.connection != connection);
    }

    /// Answers the callers that wait for a new tip: all of them, or those who have waited long enough.
    pub(in crate::node) fn answer_waiting(&mut self, all: bool) {
        let (now, status) = (self.now.monotonic, self.status());
        let due: Vec<ConnectionId> = self
            .waiting
            .iter()
            .filter(|(_, until)| all || **until <= now)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in due {
            self.waiting.remove(&connection);
            self.effects.push_back(Effect::Respond { connection, response: Response::Status(status) });
        }
    }
}
