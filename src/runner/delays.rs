//! How late the prober itself is.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::panic::joined;

/// How often the delay of the measuring thread is sampled.
const DELAY_SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Samples how long ready work waits on this thread: a task that only asks for its next turn is timed
/// until it gets it. What it waits is what a chunk that has just arrived would wait to be stamped.
pub(super) struct Delays {
    stop: CancellationToken,
    sampler: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Delays {
    /// Begins to sample, on the runtime that it is called on.
    pub(super) fn sample() -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let sampler = tokio::spawn(async move {
            let mut delays = Vec::new();
            let mut ticks = interval(DELAY_SAMPLE_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
                let ready = Instant::now();
                yield_now().await;
                delays.push(ready.elapsed());
            }
            delays
        });
        Self { stop, sampler }
    }

    /// Ends, and tells what was sampled.
    pub(super) async fn end(self) -> Vec<Duration> {
        self.stop.cancel();
        joined(self.sampler.await)
    }
}
