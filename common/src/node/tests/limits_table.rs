//! `LIMITS.md` says what the constants are.

use std::time::Duration;

use crate::driver::limits as driver;
use crate::net::limits as net;
use crate::node::limits as node;
use crate::rate_limit as lines;

/// How a value is written in the table.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Duration {
    fn shown(&self) -> String {
        match self.subsec_millis() {
            0 => format!("{} s", grouped(self.as_secs())),
            _ => format!("{} ms", grouped(self.as_millis() as u64)),
        }
    }
}

impl Shown for usize {
    fn shown(&self) -> String {
        grouped(*self as u64)
    }
}

impl Shown for u32 {
    fn shown(&self) -> String {
        grouped(u64::from(*self))
    }
}

impl Shown for u64 {
    fn shown(&self) -> String {
        grouped(*self)
    }
}

/// With a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |place: usize| place > 0 && (digits.len() - place).is_multiple_of(3);
    let with_comma = |(place, digit)| comma(place).then_some(',').into_iter().chain([digit]);
    digits.chars().enumerate().flat_map(with_comma).collect()
}

/// Each constant has a row with its value, and none of the source is left out here.
fn check(table: &str, source: &str, constants: &[(&str, String)]) {
    assert_eq!(source.matches("pub const ").count(), constants.len(), "a constant is not in this test");
    for (name, value) in constants {
        let row = format!("| `{name}` | {value} | ");
        assert_eq!(table.matches(&row).count(), 1, "LIMITS.md has no such row: {row}");
    }
}

/// The names and values of constants.
macro_rules! rows {
    ($module:ident: $($name:ident),* $(,)?) => { vec![$((stringify!($name), $module::$name.shown())),*] };
}

#[test]
fn the_table_of_limits_has_every_constant_with_its_value() {
    let of_node = rows![node: MAX_PEERS, MAX_PEERS_PER_ADDRESS, MAX_OUTBOUND, MAX_CALLS, CALL_HEDGE_AFTER, MAX_SCANS, CONNECT_DEADLINE, ANSWER_DEADLINE, WAIT_STATUS_DEADLINE, WAIT_STATUS_HOLD, WATCH_SPACING, STATUS_SPACING, HEDGE_AFTER, SLOW_AFTER, SLOW_BLOCKS, SLOW_BYTES, FETCH_PATIENCE, IDLE_CONNECTION, QUIET_CONNECTION, FIRST_BACK_OFF, LONGEST_BACK_OFF, LONGEST_NAMED_BACK_OFF, FIRST_BAN, LONGEST_BAN, MAX_BANS, STRANGER_CALLS_A_MINUTE, LEAST_STRANGER_CALLS_A_MINUTE, MAX_CALLED_ADDRESSES, KEEP_GREETED, LONGEST_HOLD, CLOCK_WAS_SET_MS, MAX_HELD_HEADERS, MAX_WINDOWS, MAX_PENDING_HEADERS, MAX_BLOCKS_IN_FLIGHT, MAX_BUFFERED_BYTES, BLOCKS_PER_REQUEST, MAX_FETCH_PEERS, MAX_QUESTIONS, MAX_SUBMISSIONS, REQUESTS_PER_PEER, BATCH_BLOCKS, BATCH_BYTES, MAX_OFFERS, CONNECT_AFTER, MAX_BODY_FAILURES, MAX_UNVERIFIED, MAX_SUBMITTED, LANES, TRANSACTIONS_PER_JOB, MAX_RECENT, MAX_FRESH, MAX_TRANSACTION_JOBS, MAX_REFUSED_IDS, SENDER_SHARE, LEAST_TRANSACTION_BYTES, MAX_GAP_PER_SENDER, TEMPLATE_REFRESH, TEMPLATE_DEBOUNCE, PUSH_BLOCKS, PUSH_BYTES, MAX_POOL_PAGES, POOL_TRANSACTIONS, RELAY_DEBOUNCE, PUSH_AGAIN, PUSH_RETRY, MAX_STAGED_BLOCKS, MAX_STAGED_BYTES, MAX_STAGED_BYTES_IN_ALL, MAX_WAITING, DEEP_REORGANISATION, MAX_FOREIGN_NETWORKS, CLOCK_DIFFERENCE_MS];
    let of_net = rows![net: MAX_CONNECTIONS, ADDRESS_SHARE, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, REQUEST_TAKES, MAX_ANSWERS_MADE, IDLE_GIVES_WAY, HELLO_WITHIN, IDLE_WITHIN, FRAME_WITHIN, SERVICE_WITHIN, WRITE_WITHIN, FIRST_PAUSE, LONGEST_PAUSE, FORGIVE_AFTER, MAX_PAUSED_ADDRESSES, PAUSE_AFTER_ACCEPT_ERROR, PIECE_BYTES, READ_BUFFER_BYTES, FIRST_ROOM_BYTES, CONNECT_WITHIN, ANSWER_WITHIN, RECEIVE_BUFFER_BYTES, PAUSE_AFTER_ERROR, INTERFACES_FRESH_FOR];
    let of_driver = rows![driver: MAX_ANSWERS, MAX_HEARD, MAX_HEARD_STATUSES, HEARD_AT_A_TIME, ANSWERS_AT_A_TIME, MAX_POOL_ANSWERS, MAX_TO_SEND, OWN_DESCRIPTORS, LEAST_DESCRIPTORS, LONGEST_FAREWELL, LONGEST_END, LONGEST_LAST_WORD, SOCKET_THREADS];
    let of_lines = rows![lines: LINES_A_PERIOD, PERIOD, LONGEST_PERIOD, LONGEST_LINE];
    let table = include_str!("../../../../LIMITS.md");
    check(table, include_str!("../limits.rs"), &of_node);
    check(table, include_str!("../../net/limits.rs"), &of_net);
    check(table, include_str!("../../driver/limits.rs"), &of_driver);
    check(table, include_str!("../../rate_limit.rs"), &of_lines);
}
