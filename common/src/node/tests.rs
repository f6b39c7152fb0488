//! Tests of the node on a simulated network ([`harness`]).

mod faults;
mod harness;
mod limits;
mod limits_table;
mod mempool;
mod mining;
mod payments;
mod push;
mod regressions;
mod simulation;
mod sync;
