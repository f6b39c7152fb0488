//! Every bound of the event loop in one place. `LIMITS.md` has them in a table.

use std::time::Duration;

/// Answers and results on their way to the loop. Each connection waits with its next until there is room.
pub const MAX_ANSWERS: usize = 1_024;
/// Payments on their way to the loop: a burst of 20,000 and half as much again, 40 MiB at most.
pub const MAX_HEARD: usize = 32_768;
/// Statuses on their way to the loop, in a queue of their own: a flood of them takes no room from payments. A room of
/// 256 programs sends a tenth of that in a second.
pub const MAX_HEARD_STATUSES: usize = 1_024;
/// Broadcasts of each kind taken in at one go before answers have their turn again.
pub const HEARD_AT_A_TIME: usize = 256;
/// Answers, requests and results taken in before broadcasts have their turn again, however many more wait: callers who
/// ask without a pause cannot make a node deaf.
pub const ANSWERS_AT_A_TIME: usize = 64;
/// Answers from the node's pool that are made, encoded, or wait to be, at a time: 5.3 MiB each at most.
pub const MAX_POOL_ANSWERS: usize = 8;
/// Datagrams waiting to be sent.
pub const MAX_TO_SEND: usize = 4_096;
/// Files and sockets that are not callers': the store, broadcasts, connections to peers. Callers have the rest of what
/// the system allows, so that those who take places cannot leave a new one without any: it is for the block server to
/// say who gives way.
pub const OWN_DESCRIPTORS: usize = 64;
/// With fewer files and sockets a program does nothing: the event loop, the store and the sockets take 23, and a payment
/// is not to be made by halves.
pub const LEAST_DESCRIPTORS: usize = 32;
/// How long each of the three steps of ending may take: a program is gone within 2 s of Ctrl-C.
pub const LONGEST_FAREWELL: Duration = Duration::from_millis(500);
/// How long all of an ending may take that a signal asked for. Then, or at a second signal, the program ends on the
/// spot, as by kill -9: whoever reads its output may have stopped reading.
pub const LONGEST_END: Duration = Duration::from_secs(5);
/// How long it waits then for its last word to be written.
pub const LONGEST_LAST_WORD: Duration = Duration::from_millis(100);
/// Threads for sockets: they only move bytes.
pub const SOCKET_THREADS: usize = 2;
