//! What scenes look back on. Histories keep none: theirs would be long.

use std::collections::BTreeMap;

use super::machine::MachineId;
use crate::node::{ConnectionId, Notice};
use crate::wire::{Request, Response};

/// Where a scene itself asks, which is no machine.
pub(crate) const STRANGER: ConnectionId = ConnectionId(u64::MAX);

/// See the module.
#[derive(Default)]
pub(crate) struct Journal {
    /// Every message on a connection, in the order they were sent.
    pub(crate) traffic: Vec<Traffic>,
    /// What each program told its user.
    pub(crate) notices: BTreeMap<MachineId, Vec<Notice>>,
    /// What programs answered the [`STRANGER`].
    pub(crate) answers: Vec<Response>,
}

/// A message on a connection, as it was sent.
pub(crate) struct Traffic {
    pub(crate) from: MachineId,
    pub(crate) to: MachineId,
    pub(crate) message: Message,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "tests match on what is inside")]
pub(crate) enum Message {
    Request(Request),
    Response(Response),
}
