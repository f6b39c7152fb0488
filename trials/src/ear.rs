//! Hears what the programs of a network broadcast.

use std::sync::{Arc, Mutex, PoisonError};

use common::net::{Addresses, Receiver};
use tokio::runtime::Runtime;

/// Listens from when it is made until it is dropped.
pub struct Ear {
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Dropping it ends the listening.
    _runtime: Runtime,
}

impl Ear {
    /// At one of the ports of a network.
    pub fn at(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("the system has room for a thread");
        let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let guard = runtime.enter();
        let mut receiver = Receiver::bind(&Addresses::this_machine(), port).expect("the port can be shared");
        let into = heard.clone();
        runtime.spawn(async move {
            loop {
                // What cannot be received is not heard.
                if let Ok((bytes, _)) = receiver.receive().await {
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(bytes.to_vec());
                }
            }
        });
        drop(guard);
        Self { heard, _runtime: runtime }
    }

    /// The datagrams that came since this was last asked.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
