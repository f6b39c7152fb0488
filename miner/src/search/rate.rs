//! How fast a search is.

use std::time::Duration;

/// How fast the search is, over the last second or more of searching.
#[derive(Debug, Default)]
pub struct HashRate {
    since: Duration,
    hashes: u64,
    per_second: Option<f64>,
    so_far: f64,
}

impl HashRate {
    /// Less would measure how hashes are counted, a batch at a time.
    const LEAST_TIME: Duration = Duration::from_secs(1);

    /// Searching begins after a time without it, which is not to count.
    pub fn begin(&mut self, now: Duration, hashes: u64) {
        (self.since, self.hashes) = (now, hashes);
    }

    /// So many hashes were tried by now.
    pub fn update(&mut self, now: Duration, hashes: u64) {
        let elapsed = now.saturating_sub(self.since);
        self.so_far = (hashes - self.hashes) as f64 / elapsed.as_secs_f64().max(1e-3);
        if elapsed >= Self::LEAST_TIME {
            self.per_second = Some(self.so_far);
            self.begin(now, hashes);
        }
    }

    /// Hashes in a second.
    pub fn per_second(&self) -> f64 {
        self.per_second.unwrap_or(self.so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_do_not_count_and_the_last_second_does() {
        let (second, mut rate) = (Duration::from_secs(1), HashRate::default());
        rate.begin(10 * second, 0);
        rate.update(10 * second + second / 2, 50);
        assert_eq!(rate.per_second(), 100.0);
        rate.update(11 * second, 200);
        assert_eq!(rate.per_second(), 200.0);
        rate.update(11 * second + second / 2, 200);
        assert_eq!(rate.per_second(), 200.0, "half a second says little");
        rate.begin(20 * second, 200);
        rate.update(22 * second, 800);
        assert_eq!(rate.per_second(), 300.0);
    }
}
