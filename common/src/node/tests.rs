//! Tests of the node: scenes in the simulator's world ([`harness`]), and its parts by themselves.

mod blame;
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
