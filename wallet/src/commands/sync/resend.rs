//! When each pending payment is broadcast again: soon at first, then ever more slowly.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use common::hash::TransactionId;

/// The longest pause: a network that was away for hours still hears of a payment within minutes, and a
/// forgotten one costs it a datagram every five.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The schedule of all pending payments.
#[derive(Debug)]
pub struct Resend {
    first_pause: Duration,
    due: HashMap<TransactionId, (Duration, Duration)>,
}

impl Resend {
    /// A schedule that begins with this pause.
    pub fn new(first_pause: Duration) -> Self {
        Self { first_pause, due: HashMap::new() }
    }

    /// Follows the set of pending payments, and says which of them are due now. One that is new here is due
    /// at once: whoever sent it may have had nobody to hear it.
    pub fn due(&mut self, pending: &[TransactionId], now: Duration) -> HashSet<TransactionId> {
        // Sets, not lists: ten thousand payments may be pending, and this is asked every second.
        let known: HashSet<&TransactionId> = pending.iter().collect();
        self.due.retain(|id, _| known.contains(id));
        let mut due = HashSet::new();
        for id in pending {
            let (at, pause) = self.due.entry(*id).or_insert((now, self.first_pause));
            if *at <= now {
                *at = now + *pause;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                due.insert(*id);
            }
        }
        due
    }

    /// After a reorganisation all are due at once, and soon again.
    pub fn start_again(&mut self) {
        self.due.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_and_begin_again_after_a_reorganisation() {
        let (seconds, id) = (Duration::from_secs, TransactionId::from_bytes([1; 32]));
        let mut resend = Resend::new(seconds(5));
        let mut sent = Vec::new();
        for second in 0..2_000 {
            if !resend.due(&[id], seconds(second)).is_empty() {
                sent.push(second);
            }
        }
        assert_eq!(sent, [0, 5, 15, 35, 75, 155, 315, 615, 915, 1215, 1515, 1815]);
        resend.start_again();
        assert_eq!(resend.due(&[id], seconds(2_000)), [id].into());
        assert_eq!(resend.due(&[id], seconds(2_005)), [id].into());
        assert_eq!(resend.due(&[], seconds(2_006)), [].into());
    }
}
