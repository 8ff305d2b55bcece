//! How often something may happen: a few times at once, and then no faster than a steady rate.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket of tokens that fills by one every so often. It begins full.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    capacity: u32,
    every: Duration,
    /// When it will be full again, if nothing is taken meanwhile. What is missing is the time until then.
    full_at: Instant,
}

impl TokenBucket {
    pub(super) fn new(capacity: u32, every: Duration, now: Instant) -> Self {
        Self {
            capacity,
            every,
            full_at: now,
        }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + self.every;
        if full_at.duration_since(now) > self.every * self.capacity {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// Puts one back that was not used.
    pub(super) fn give_back(&mut self) {
        self.full_at -= self.every;
    }

    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_empties_it_and_time_fills_it() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut bucket = TokenBucket::new(3, second, start);
        assert_eq!(
            [(); 5].map(|()| bucket.take(start)),
            [true, true, true, false, false]
        );
        assert!(!bucket.take(start + second / 2));
        assert!(bucket.take(start + second));
        assert!(!bucket.take(start + second));
        bucket.give_back();
        assert!(bucket.take(start + second));
        assert!(!bucket.is_full(start + 3 * second));
        assert!(bucket.is_full(start + 4 * second));
        // A long silence gives no more than a full one.
        let later = start + 100 * second;
        assert_eq!(
            [(); 4].map(|()| bucket.take(later)),
            [true, true, true, false]
        );
        assert!(!TokenBucket::new(0, second, start).take(start));
    }
}
