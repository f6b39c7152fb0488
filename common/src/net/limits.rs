//! Every bound of the sockets in one place: what it is for, and why it has that value. `LIMITS.md` has them in a
//! table.

use std::time::Duration;

/// Callers of a block server unless the settings say otherwise: enough for a room of programs that all know each
/// other. What each may make the server hold is bounded by what all may: see [`MAX_ANSWER_BYTES`] and
/// [`MAX_REQUEST_BYTES`].
pub const MAX_CONNECTIONS: usize = 256;
/// One IP address has at most one in so many of them: a classroom on one machine finds room, and whoever takes all of
/// his leaves as many to others.
pub const ADDRESS_SHARE: usize = 2;
/// Bytes of answers that callers have yet to take, of all together. Of the address that holds most, who has been at
/// taking one for longest gives way.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that requests longer than [`FIRST_ROOM_BYTES`] take which have begun or are being answered, of all callers
/// together ([`REQUEST_TAKES`]): five of the longest. Of the address that holds most, who has been at it for longest
/// gives way.
pub const MAX_REQUEST_BYTES: usize = 128 * 1024 * 1024;
/// What each byte of a long request takes while it is decoded: itself, and as many as two more for what it becomes. A
/// payment of the smallest is 91 bytes and becomes 232.
pub const REQUEST_TAKES: usize = 3;
/// Pieces of answers made at a time, at most: half as many as there are cores, for a miner has more to do than to
/// answer. Callers have turns, each for one piece, so that whoever asks for the whole chain a thousand times delays
/// others by milliseconds.
pub const MAX_ANSWERS_MADE: usize = 8;
/// A caller that asked nothing for this long gives way to a new one when there is no room. It is no loss to an
/// honest one: after five seconds it takes that for no fault.
pub const IDLE_GIVES_WAY: Duration = Duration::from_secs(6);
/// A hello is the first thing that a caller sends, and is small: two round trips of the slowest network.
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How long a caller may have nothing to ask. Longer than it waits between two `WaitStatus`.
pub const IDLE_WITHIN: Duration = Duration::from_secs(30);
/// From a frame's first byte to its last: 8 MiB at 280 kB a second.
pub const FRAME_WITHIN: Duration = Duration::from_secs(30);
/// The longest that a service may think. `WaitStatus` is answered after 10 s at the latest.
pub const SERVICE_WITHIN: Duration = Duration::from_secs(30);
/// For each piece of an answer, [`PIECE_BYTES`] or one longer frame: 280 kB a second at worst.
pub const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// After a caller broke the protocol the next one from its IP address waits this long for the server's hello, twice
/// as long after each more. Others there wait too, so that it must be little.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such wait: well within the time that the protocol gives to both hellos.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// One broken rule of an address is forgotten each time this has passed.
pub const FORGIVE_AFTER: Duration = Duration::from_secs(10);
/// IP addresses of which broken rules are remembered: 32 KiB.
pub const MAX_PAUSED_ADDRESSES: usize = 512;
/// After the system could not accept a caller (too many open files, most likely) the server rests this
/// long instead of asking again at once and for ever.
pub const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);
/// Frames of a long answer are made until they are this many bytes, and written at once: small blocks do
/// not cost a change of threads each, and nobody makes the server hold more than this and one frame.
pub const PIECE_BYTES: usize = 256 * 1024;

/// Enough that a small frame costs one system call, little enough for every connection to have one.
pub const READ_BUFFER_BYTES: usize = 16 * 1024;
/// How much room a stranger's frame is given at first. It then grows with what arrives: announcing eight
/// megabytes costs the announcer eight megabytes, not the receiver. Whoever has sent a frame gets as much room
/// at once for the next: growing copies.
pub const FIRST_ROOM_BYTES: usize = 64 * 1024;

/// For connecting and both hellos together. A server that is there answers within two round trips; for one
/// that is not, nothing but this call waits.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// From a request, or the frame before, to a frame's first byte. `WaitStatus` is answered after 10 s.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What is asked of the system as a receive buffer; it may grant less. Room for 3,000 of the longest
/// datagrams, which is a burst of payments, while the receiving loop waits for a turn.
pub const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// After an error of the system a receiver rests this long, so that one that lasts does not cost a core,
/// and one that passes costs nothing that the buffer does not hold.
pub const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
/// How long a list of interfaces is used: they come and go with cables and wireless networks, and reading
/// them costs a tenth of a millisecond. A machine that comes back is heard with its second status at the latest.
pub const INTERFACES_FRESH_FOR: Duration = Duration::from_secs(2);
