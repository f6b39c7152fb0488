//! Every bound of the node in one place: what it is for, and why it has that value. `LIMITS.md` has them in a table,
//! together with those of [`crate::net`] and [`crate::driver`].

use std::time::Duration;

/// Peers known by address. A room of machines has fewer; a flood of made-up addresses finds no more room.
pub const MAX_PEERS: usize = 256;
/// Of these at one IP address: a classroom on one machine, and half of the room for others whatever ports are
/// invented there.
pub const MAX_PEERS_PER_ADDRESS: usize = 128;
/// Connections being opened or open to heard peers. Enough to fetch in parallel; few enough that ten
/// thousand invented statuses cannot make this machine call ten thousand addresses.
pub const MAX_OUTBOUND: usize = 16;
/// Of these, so many may be opening at a time to those who claim a better chain: a claim may point at a
/// black hole, and whoever is honest must not wait behind it. Half, so that bodies and pools find room.
pub const MAX_CALLS: usize = 8;
/// While somebody is being called, another with the same claim is left alone for this long.
pub const CALL_HEDGE_AFTER: Duration = Duration::from_millis(500);
/// Header chains followed at a time before one has proved more work: liars that stall hold up at most
/// these, and an honest peer needs one.
pub const MAX_SCANS: usize = 8;
/// How long a connection may take to open and to say hello. A LAN takes milliseconds.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// How long an answer may take, counted from when it is the next to come. The largest block takes under a
/// second on a slow Wi-Fi.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a status may take that was waited for: the protocol's ten seconds, and an answer's time.
pub const WAIT_STATUS_DEADLINE: Duration = Duration::from_secs(20);
/// How long a block server holds a request to wait for a status (`PROTOCOL.md`, section 7).
pub const WAIT_STATUS_HOLD: Duration = Duration::from_secs(10);
/// A `WaitStatus` follows the answer to the one before after this long: a peer that answers at once,
/// whatever is asked, makes nobody spin.
pub const WATCH_SPACING: Duration = Duration::from_millis(100);
/// A peer in whose name something wrong was said is asked for its status itself, at most this often.
pub const STATUS_SPACING: Duration = Duration::from_secs(1);
/// After this long without progress another peer is asked the same.
pub const HEDGE_AFTER: Duration = Duration::from_secs(2);
/// A fetch that gets fewer than [`SLOW_BLOCKS`] and [`SLOW_BYTES`] in this time does not keep this node
/// from looking at other chains: somebody may be sending just enough not to seem to stand still.
pub const SLOW_AFTER: Duration = Duration::from_secs(10);
/// See [`SLOW_AFTER`].
pub const SLOW_BLOCKS: usize = 16;
/// See [`SLOW_AFTER`]: 100 KB a second.
pub const SLOW_BYTES: usize = 1024 * 1024;
/// A fetch that nothing at all happened to for this long is given up: three times an answer's time.
pub const FETCH_PATIENCE: Duration = Duration::from_secs(30);
/// A connection that nothing is asked of is closed after this long.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// A server that closes a connection unasked is not at fault when nothing happened on it for this long.
pub const QUIET_CONNECTION: Duration = Duration::from_secs(5);
/// The first pause after a peer failed; each further one is twice as long as the one before.
pub const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// The longest such pause.
pub const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// The longest pause of a peer that the user named: he wants it, so it is asked again soon.
pub const LONGEST_NAMED_BACK_OFF: Duration = Duration::from_secs(10);
/// How long a peer that broke a rule of the protocol is left alone at first; each time twice as long as before, and
/// half as long for every time that it was good for as long as it had been banned.
pub const FIRST_BAN: Duration = Duration::from_secs(60);
/// The longest that a peer is left alone for breaking rules.
pub const LONGEST_BAN: Duration = Duration::from_secs(86_400);
/// Bans that are remembered, by IP address and port: 64 KiB. Each costs a liar a server that says hello.
pub const MAX_BANS: usize = 1_024;
/// Calls in a minute to ports of one IP address that were never reached, on other machines than this. After a
/// minute in which all were used half as many are made in the next.
pub const STRANGER_CALLS_A_MINUTE: u32 = 60;
/// The least that this comes down to: a machine that is just being set up is found within a minute.
pub const LEAST_STRANGER_CALLS_A_MINUTE: u32 = 4;
/// IP addresses with such ports that are called in a minute.
pub const MAX_CALLED_ADDRESSES: usize = 256;
/// A peer that was reached is remembered for at least this long when unknown ones need its room.
pub const KEEP_GREETED: Duration = Duration::from_secs(120);
/// A chain that waits for the clock is looked at again at the latest after this long: its peer may have
/// left it meanwhile.
pub const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// A machine's clock that runs away from the time that passes by more than this was set: by NTP, or a user.
pub const CLOCK_WAS_SET_MS: u64 = 1_000;

/// Headers held of a chain that has not proved more work yet: 5 MiB with the largest seals. A longer
/// chain is followed by its work alone, and fetched again once that is proved.
pub const MAX_HELD_HEADERS: usize = 4_000;
/// Ends of windows that are kept of one such chain: of 500 million headers, a block a second for 16 years. 10 MiB.
pub const MAX_WINDOWS: usize = 262_144;
/// Headers of the chain being fetched that may wait for their bodies: more are asked for as long as they find room
/// below this. A fetch begins with the headers that its scan held and those that proved the work: 6,000 at most.
pub const MAX_PENDING_HEADERS: usize = 4_000;
/// Blocks asked for and not yet handed out to be connected.
pub const MAX_BLOCKS_IN_FLIGHT: usize = 256;
/// Bytes of bodies received and not yet connected, those being written included. The rest is asked for again
/// later.
pub const MAX_BUFFERED_BYTES: usize = 48 * 1024 * 1024;
/// Blocks asked for in one request: one peer's failure delays no more than these.
pub const BLOCKS_PER_REQUEST: usize = 16;
/// Peers that are called for the bodies of one chain. A few fill any line.
pub const MAX_FETCH_PEERS: usize = 4;
/// Questions under way on one connection: two for blocks, two for headers, those for a page of a pool, and payments.
/// What finds no room is asked again later.
pub const MAX_QUESTIONS: usize = 64;
/// Of these, how many may give payments to a named peer: one that takes them slowly is told the rest by a comparison
/// of pools.
pub const MAX_SUBMISSIONS: usize = 16;
/// Requests for blocks under way with one peer: the second keeps the line busy.
pub const REQUESTS_PER_PEER: usize = 2;
/// While catching up, so many blocks or bytes are written in one transaction of the store.
pub const BATCH_BLOCKS: usize = 128;
/// See [`BATCH_BLOCKS`].
pub const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Batches handed out to be written before more are: one of the chain being fetched, and those of fetches that
/// were given up meanwhile.
pub const MAX_OFFERS: usize = 4;
/// Blocks that are ready are connected after this long even if their batch is not full, unless others are being
/// written.
pub const CONNECT_AFTER: Duration = Duration::from_millis(500);
/// A body that this many peers failed to deliver ends the attempt to fetch its chain.
pub const MAX_BODY_FAILURES: u32 = 6;

/// Transactions waiting for their signature check: a burst of 20,000 and as much again.
pub const MAX_UNVERIFIED: usize = 40_000;
/// Transactions of one `SubmitTransactions` that are looked at: four times as many as a node of this kind sends. A
/// frame has room for 90,000 that are none.
pub const MAX_SUBMITTED: usize = 4_096;
/// Lanes that these wait in, by where they came from: one source delays the others by one job each time around.
pub const LANES: usize = 64;
/// Transactions in one signature job: 64 · 20 µs, so that a job is neither overhead nor delay.
pub const TRANSACTIONS_PER_JOB: usize = 64;
/// Transactions that left the pool and whose signatures need no second check: those of about the last
/// minute under full load, which a reorganisation brings back. 15 MB with the usual keys.
pub const MAX_RECENT: usize = 16_384;
/// Payments that came in and that named peers are not told of yet. The rest they learn when pools are compared.
pub const MAX_FRESH: usize = MAX_UNVERIFIED;
/// Signature jobs for transactions handed out at a time.
pub const MAX_TRANSACTION_JOBS: usize = 8;
/// Ids of transactions that were refused for good, so that their copies cost a look-up: 2 MiB.
pub const MAX_REFUSED_IDS: usize = 32_768;
/// One sender's part of the pool, in transactions and in bytes: one in so many, so that nobody is kept out by one.
pub const SENDER_SHARE: usize = 4;
/// The fewest bytes of a transaction (`PROTOCOL.md`, section 4): a block of so many bytes names no more payments.
pub const LEAST_TRANSACTION_BYTES: usize = 600;
/// Transactions kept aside because an earlier one of their sender is missing, per sender.
pub const MAX_GAP_PER_SENDER: usize = 64;

/// A template is renewed this often for the time in its header and for new payments.
pub const TEMPLATE_REFRESH: Duration = Duration::from_millis(1000);
/// New payments enter the block being mined at most this often.
pub const TEMPLATE_DEBOUNCE: Duration = Duration::from_millis(200);

/// Blocks in one push to a named peer.
pub const PUSH_BLOCKS: usize = 64;
/// Bytes of the blocks in one push to a named peer, unless the first alone has more: half a frame.
pub const PUSH_BYTES: usize = 4 * 1024 * 1024;
/// Pages of a peer's pool that are read: more ids than any pool holds by default.
pub const MAX_POOL_PAGES: usize = 8;
/// Transactions asked for, or pushed, in one request: under 3 MB with the usual keys.
pub const POOL_TRANSACTIONS: usize = 1_024;
/// After a payment came in, named peers are told this soon.
pub const RELAY_DEBOUNCE: Duration = Duration::from_millis(200);

/// When a push led to nothing, the same tip is pushed again after this long.
pub const PUSH_AGAIN: Duration = Duration::from_secs(60);
/// The same when the peer lacked the parent or had no room: it is fetching something, or its chain changed.
pub const PUSH_RETRY: Duration = Duration::from_secs(2);

/// Blocks pushed by a caller that do not yet add up to a better chain, per connection.
pub const MAX_STAGED_BLOCKS: usize = 4_096;
/// Bytes of them.
pub const MAX_STAGED_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of them from all callers together: a header's work can be shown many times, so the bound of one
/// connection is none.
pub const MAX_STAGED_BYTES_IN_ALL: usize = 96 * 1024 * 1024;
/// Callers waiting for a status.
pub const MAX_WAITING: usize = 512;

/// A reorganisation deeper than this is announced loudly (`PROTOCOL.md`, section 6).
pub const DEEP_REORGANISATION: usize = 20;
/// Other networks that are named to the user: a flood of invented ones is named for a while, then no more.
pub const MAX_FOREIGN_NETWORKS: usize = 64;
/// A peer's clock that differs by more than this is mentioned.
pub const CLOCK_DIFFERENCE_MS: u64 = 30_000;
