//! The thread that connects blocks to the chain: applying them to the ledger and making them durable takes
//! tenths of a second while catching up, and the loop has peers and workers to keep busy meanwhile.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;

use super::Event;
use crate::chain::{Chain, ChainError};
use crate::consensus::CheckedBlock;
use crate::node::Input;
use crate::store::{Store, StoreError};

/// Why a write ended that panicked.
const DEFECT: &str = "a defect of this program ended a write; nothing is changed";

/// Hands blocks to the thread. The node bounds how many wait: while a batch of a chain that it fetches is written
/// it offers no more of that chain, and what it mines is one block at a time.
pub(super) struct Writer {
    offers: mpsc::Sender<Vec<CheckedBlock>>,
    /// Tells, when the thread ends, of a write that failed and that nobody heard of.
    ended: mpsc::Receiver<Option<StoreError>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start<S: Store>(
        chain: Chain<S>,
        results: tokio::sync::mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let (offers, waiting) = mpsc::channel::<Vec<CheckedBlock>>();
        let (running, ended) = mpsc::channel();
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            let mut unheard = None;
            for blocks in waiting {
                // The loop waits for every result: a defect must end it with an error, not leave it waiting. The
                // chain keeps nothing in memory, and a write that is cut short changes nothing.
                let result = catch_unwind(AssertUnwindSafe(|| chain.connect(&blocks)));
                let result = result.unwrap_or_else(|_| Err(StoreError::Database(DEFECT.into()).into()));
                // A loop that has ended takes no answers; what it handed out is written all the same.
                let answer = results.blocking_send(Event::Input(Input::Offered { blocks, result }));
                if let Err(SendError(Event::Input(Input::Offered {
                    result: Err(ChainError::Store(error)),
                    ..
                }))) = answer
                {
                    unheard = Some(error);
                }
            }
            // Who gave up waiting does not hear it.
            let _ = running.send(unheard);
        })?;
        Ok(Self { offers, ended })
    }

    pub(super) fn offer(&self, blocks: Vec<CheckedBlock>) {
        // The thread ends only after this sender is dropped.
        let _ = self.offers.send(blocks);
    }

    /// Ends the thread when it has written all that it was given, and waits for that: a block that was just
    /// mined here is not to be lost. Results must no longer wait for room. Fails when a write did of which nobody has
    /// heard.
    pub(super) fn finish(self, within: Duration) -> Result<(), StoreError> {
        drop(self.offers);
        // A write that takes longer than that is given up, and with it what would come of it.
        self.ended.recv_timeout(within).ok().flatten().map_or(Ok(()), Err)
    }
}
