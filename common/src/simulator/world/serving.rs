//! Block servers: which answers a request has. Requests of a connection are served one after the other.

use std::time::Duration;

use super::{Event, Verdict, Violation, World};
use crate::chain::Chain;
use crate::node::{ConnectionId, Input, serve};
use crate::simulator::byzantine;
use crate::simulator::journal::STRANGER;
use crate::simulator::machine::MachineId;
use crate::store::{Store, StoreError};
use crate::wire::{Request, Response, decode_frame};

/// What a block server does with a request.
pub(crate) enum Reply {
    Now(Vec<Response>),
    #[cfg_attr(not(test), expect(dead_code, reason = "only puppets are this slow"))]
    After(Duration, Vec<Response>),
    /// One after the other, so far apart.
    Drip(Duration, Vec<Response>),
    Never,
    HangUp,
}

impl World {
    /// A request arrives.
    pub(super) fn asked(&mut self, connection: u64, request: Request) -> Verdict {
        let Some(open) = self.connections.get_mut(connection) else { return Ok(()) };
        open.waiting.push_back(request);
        self.serve_next(connection)
    }

    /// A program answers what is not about the chain alone.
    pub(super) fn answer(&mut self, id: MachineId, to: ConnectionId, response: Response) -> Verdict {
        if let Some(journal) = self.journal.as_mut().filter(|_| to == STRANGER) {
            journal.answers.push(response);
            return Ok(());
        }
        let ConnectionId(connection) = to;
        let Some(open) = self.connections.get_mut(connection) else { return Ok(()) };
        if !std::mem::take(&mut open.in_service) {
            return Err(Violation(format!("machine {id} answers what nobody asked")));
        }
        self.respond(connection, response, 0);
        self.serve_next(connection)
    }

    /// Serves the oldest request of a connection, unless one is in service.
    fn serve_next(&mut self, connection: u64) -> Verdict {
        while let Some(open) = self.connections.get_mut(connection).filter(|open| !open.in_service) {
            let Some(request) = open.waiting.pop_front() else { return Ok(()) };
            let server = open.server;
            if let Some(puppet) = &mut self.machines[server].puppet {
                let reply = (puppet.answers)(&request);
                self.reply(connection, reply);
                continue;
            }
            let Some(node) = &self.machines[server].node else { return Ok(()) };
            if !serve::is_about_chain(&request) {
                open.in_service = true;
                self.give(server, Input::Request { connection: ConnectionId(connection), request })?;
                continue;
            }
            let honest = chain_answers(node.chain(), &request)?;
            let reply = byzantine::answers(self, server, &request, honest);
            self.reply(connection, reply);
        }
        Ok(())
    }

    fn reply(&mut self, connection: u64, reply: Reply) {
        match reply {
            Reply::Now(responses) => {
                for response in responses {
                    let bytes = bytes_of(&response);
                    self.respond(connection, response, bytes);
                }
            }
            Reply::After(time, responses) => {
                self.hold_back(connection, time);
                responses.into_iter().for_each(|response| self.respond(connection, response, 0));
            }
            Reply::Drip(time, responses) => {
                for response in responses {
                    self.hold_back(connection, time);
                    self.respond(connection, response, 0);
                }
            }
            Reply::Never => {}
            Reply::HangUp => {
                self.schedule(self.now, Event::HungUp { connection, reason: "the peer hung up" });
            }
        }
    }
}

/// What an honest block server answers from its chain.
pub(crate) fn chain_answers(
    chain: &Chain<impl Store>,
    request: &Request,
) -> Result<Vec<Response>, Violation> {
    let failed = |error: StoreError| Violation(format!("a request cannot be served: {error}"));
    let frames: Vec<Vec<u8>> = match request {
        Request::GetBlocks { ids } => {
            let mut frames = Vec::with_capacity(ids.len());
            for id in ids {
                let mut frame = Vec::new();
                chain.store().read(|reader| serve::block(reader, id, &mut frame)).map_err(failed)?;
                frames.push(frame);
            }
            frames
        }
        request => {
            let answer = chain.store().read(|reader| serve::answer(reader, chain.rules(), request));
            answer.map_err(failed)?.into_iter().collect()
        }
    };
    let decoded = frames.iter().map(|frame| decode_frame(&frame[4..]));
    decoded.collect::<Result<_, _>>().map_err(|error| Violation(format!("an answer is malformed: {error}")))
}

/// About how many bytes an answer takes on the line.
fn bytes_of(response: &Response) -> u64 {
    let bytes = match response {
        Response::Block(block) => 200 + block.body.bytes().len(),
        Response::Headers(headers) => 20 + 97 * headers.len(),
        Response::Compact(compact) => 200 + 32 * compact.ids.len(),
        Response::Transactions(transactions) => 700 * transactions.len(),
        _ => 40,
    };
    bytes as u64
}
