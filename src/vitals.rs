//! The prober watches itself: whether its event loop is late, and how many sockets it holds.
//!
//! Measuring has threads of its own; this is about the loop that schedules, serves and reads the servers'
//! metrics. When it is late, starts are late and scrapes are slow, and that is to be seen before someone looks
//! for the cause elsewhere.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::sample::Sample;

/// How often the loop's lag is sampled.
const EVERY: Duration = Duration::from_millis(100);

/// How many samples the quantiles are of: those of the last minute.
const KEPT: usize = 600;

/// What the prober knows of its own health.
#[derive(Debug, Default)]
pub struct Vitals(Mutex<Lag>);

/// How late the event loop was.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    /// The latest samples, in seconds, oldest first.
    recent: VecDeque<f64>,
    /// Seconds, over all samples since the start.
    pub sum: f64,
    /// Samples since the start.
    pub count: u64,
}

impl Lag {
    /// The samples of the last minute; `None` before the first one.
    pub fn recent(&self) -> Option<Sample> {
        Sample::new(self.recent.iter().copied().collect())
    }

    fn add(&mut self, seconds: f64) {
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(seconds);
        self.sum += seconds;
        self.count += 1;
    }
}

impl Vitals {
    /// Samples the loop that it is awaited on until `stop`: a task that wants its turn at a certain time sees
    /// how much later it gets it. Timers tick in milliseconds, so up to one of them is no lag.
    pub async fn watch(&self, stop: &CancellationToken) {
        loop {
            let due = Instant::now() + EVERY;
            if stop.run_until_cancelled(sleep_until(due)).await.is_none() {
                return;
            }
            self.lock().add(due.elapsed().as_secs_f64());
        }
    }

    /// How late the loop was.
    pub fn lag(&self) -> Lag {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Lag> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sockets that this process holds open: connections to deployments and from scrapers, and what it listens
/// on. `None` where there is no Linux `/proc`.
pub fn open_sockets() -> Option<usize> {
    let descriptors = std::fs::read_dir("/proc/self/fd").ok()?;
    let is_socket = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(entry.ok()?.path()).ok()?;
        target.to_str()?.starts_with("socket:").then_some(())
    };
    Some(descriptors.filter_map(is_socket).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_is_held_up_shows_it() {
        let vitals = Vitals::default();
        assert!(vitals.lag().recent().is_none());
        let stop = CancellationToken::new();
        let holding_up = async {
            sleep_until(Instant::now() + EVERY / 2).await;
            std::thread::sleep(2 * EVERY);
            sleep_until(Instant::now() + 2 * EVERY).await;
            stop.cancel();
        };
        tokio::join!(vitals.watch(&stop), holding_up);
        let lag = vitals.lag();
        let recent = lag.recent().unwrap();
        assert!(recent.max() >= EVERY.as_secs_f64(), "{lag:?}");
        assert_eq!(recent.count(), lag.count);
    }

    #[test]
    fn only_the_latest_samples_are_kept() {
        let mut lag = Lag::default();
        for n in 0..2 * KEPT {
            lag.add(n as f64);
        }
        let recent = lag.recent().unwrap();
        assert_eq!((recent.count(), recent.min()), (KEPT as u64, KEPT as f64));
        assert_eq!(lag.count, 2 * KEPT as u64);
    }

    #[test]
    fn a_socket_is_counted_while_it_is_open() {
        let Some(before) = open_sockets() else { return };
        let sockets: Vec<_> = (0..40)
            .map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        // Other tests open and close theirs meanwhile.
        assert!(open_sockets().unwrap() >= before.saturating_sub(20) + 20);
        drop(sockets);
    }
}
