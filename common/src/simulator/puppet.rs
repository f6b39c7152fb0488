//! Block servers that are no program: they do with callers and requests what a scene says.

use super::world::Reply;
use crate::wire::Request;

/// What a puppet does with a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    Hello,
    Refuse,
    /// The call is never answered.
    Silence,
}

/// See the module.
pub(crate) struct Puppet {
    pub(crate) greeting: Greeting,
    pub(crate) answers: Box<dyn FnMut(&Request) -> Reply>,
}
