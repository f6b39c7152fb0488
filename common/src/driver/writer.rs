//! The thread that connects blocks to the chain: applying them to the ledger and making them durable takes
//! tenths of a second while catching up, and the loop has peers and workers to keep busy meanwhile.

use std::io;
use std::sync::mpsc;
use std::thread;

use super::Event;
use crate::chain::Chain;
use crate::consensus::CheckedBlock;
use crate::node::Input;
use crate::store::Store;

/// Hands blocks to the thread. The node bounds how many wait: while a batch of a chain that it fetches is written
/// it offers no more of that chain, and what it mines is one block at a time.
pub(super) struct Writer {
    offers: mpsc::Sender<Vec<CheckedBlock>>,
}

impl Writer {
    /// Starts the thread. It ends when this is dropped, or nobody wants to hear of what it wrote; a write that has
    /// begun is finished first.
    pub(super) fn start<S: Store>(
        chain: Chain<S>,
        results: tokio::sync::mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let (offers, waiting) = mpsc::channel::<Vec<CheckedBlock>>();
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            for blocks in waiting {
                let result = chain.connect(&blocks);
                if results.blocking_send(Event::Input(Input::Offered { blocks, result })).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { offers })
    }

    pub(super) fn offer(&self, blocks: Vec<CheckedBlock>) {
        // The thread ends only after this sender is dropped.
        let _ = self.offers.send(blocks);
    }
}
