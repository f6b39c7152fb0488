//! Tests of the node.

mod mempool;
