//! The only sockets: announcements by UDP broadcast, the block server, and its callers
//! (`PROTOCOL.md`, section 7). Thin building blocks for the programs' drivers, which glue them to the
//! decisions of [`crate::node`]; the bytes are [`crate::wire`]'s.
//!
//! - [`Addresses`] says where to listen and where to send: on this machine alone, unless the user opens it.
//! - [`Receiver`] and [`Broadcaster`] hear and make announcements. UDP is never answered.
//! - [`Listener`] becomes a [`Server`], which hands the requests of its callers to a [`Service`].
//! - [`connect`] calls a server and gives the two halves of a session: requests go out by one while answers
//!   come in by the other.
//!
//! Whoever is at the other end is a stranger. So every wait here has a deadline, every frame and every
//! number of connections a limit, and whoever breaks one is dropped without holding up anybody else.

mod addresses;
mod broadcast;
mod callers;
mod client;
mod connection;
mod frames;
pub(crate) mod limits;
mod server;
#[cfg(test)]
mod tests;

pub use addresses::{AddressError, Addresses, address_gone};
pub use broadcast::{BroadcastError, Broadcaster, Receiver};
pub use client::{
    ClientDeadlines, ConnectError, RequestSender, ResponseReceiver, Session, SessionError, connect,
    connect_to_any, resolve,
};
pub use connection::CloseReason;
pub use frames::{FrameReader, TransferError};
pub use server::{
    Answer, Caller, ConnectionId, Fault, Frames, ListenError, Listener, Server, ServerLimits, Service,
};
