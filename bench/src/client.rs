//! A caller of a block server, one request after the other.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::net::{ClientDeadlines, Session, connect};
use common::time::Timestamp;
use common::wire::{Hello, Request, Response};
use tokio::runtime::Runtime;

use crate::Failure;

/// How often a server that does not listen yet is called.
const CALL_EVERY: Duration = Duration::from_micros(500);

/// An open connection.
pub struct Client {
    runtime: Runtime,
    session: Session,
}

impl Client {
    /// Calls a server, again and again until it answers.
    pub fn call(place: SocketAddr, at_most: Duration) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let own_hello = |theirs: &Hello| Hello::of_caller(theirs, "bench", Timestamp::from_system_clock());
        let deadline = Instant::now() + at_most;
        loop {
            match runtime.block_on(connect(place, None, own_hello, ClientDeadlines::default())) {
                Ok((session, _)) => return Ok(Self { runtime, session }),
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => sleep(CALL_EVERY),
            }
        }
    }

    /// Asks one thing.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        let session = &mut self.session;
        Ok(self.runtime.block_on(async {
            session.send(request).await?;
            session.next().await
        })?)
    }
}
