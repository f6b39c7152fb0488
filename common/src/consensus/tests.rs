//! One test a rule, which breaks that rule alone, beside a block or payment that just keeps it; and the
//! order in which broken rules are reported (`PROTOCOL.md`, section 6).

mod body;
mod header;
mod regressions;
mod transaction;
