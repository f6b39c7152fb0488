//! How much a node holds at a moment, beside the most that it may hold: for tests and the simulator, which look
//! after every step, and for whoever wants to see where memory goes. What bounds each is in [`super::limits`].

use std::fmt;

use super::Node;
use crate::store::Store;

/// One kind of thing that a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// What is counted, with its unit.
    pub what: &'static str,
    /// How many there are.
    pub now: usize,
    /// The most that there may be.
    pub most: usize,
}

impl Count {
    pub(super) const fn new(what: &'static str, now: usize, most: usize) -> Self {
        Self { what, now, most }
    }
}

/// All that a node holds and strangers could make grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    counts: Vec<Count>,
}

impl Load {
    /// All counts.
    pub fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// How many there are of this.
    pub fn of(&self, what: &str) -> Option<usize> {
        self.counts.iter().find(|count| count.what == what).map(|count| count.now)
    }

    /// Whether everything is within its bounds; else a sentence that names all that is not.
    pub fn check(&self) -> Result<(), String> {
        let beyond = self.counts.iter().filter(|count| count.now > count.most);
        let beyond: Vec<String> = beyond.map(Count::to_string).collect();
        if beyond.is_empty() { Ok(()) } else { Err(beyond.join("; ")) }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, at most {}", self.now, self.what, self.most)
    }
}

impl<S: Store> Node<S> {
    /// What this node holds now. Costs a look at each peer and caller; not for every payment.
    pub fn load(&self) -> Load {
        let mut counts = Vec::with_capacity(32);
        counts.extend(self.peers.counts());
        counts.extend(self.sync.counts());
        counts.extend(self.relay.counts(self.config.named_peers.len()));
        counts.extend(self.pool.iter().flat_map(super::Mempool::counts));
        counts.push(Count::new("waiting callers", self.waiting.len(), super::limits::MAX_WAITING));
        counts.push(Count::new("foreign networks", self.foreign.len(), super::limits::MAX_FOREIGN_NETWORKS));
        Load { counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_beyond_its_bound_is_named() {
        let within = [Count::new("peers", 3, 3), Count::new("scans", 0, 8)];
        assert_eq!(Load { counts: within.to_vec() }.check(), Ok(()));
        let beyond = [Count::new("peers", 4, 3), Count::new("scans", 8, 8), Count::new("bans", 9, 0)];
        let load = Load { counts: beyond.to_vec() };
        assert_eq!(load.check(), Err("4 peers, at most 3; 9 bans, at most 0".to_owned()));
        assert_eq!((load.of("scans"), load.of("wishes")), (Some(8), None));
    }
}
