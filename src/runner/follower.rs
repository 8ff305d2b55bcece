//! Follows the server's own metrics while a run goes on, and gives a run up that has no point any more.
//!
//! A server that has stopped may go on saying that it is well. It is known by silence on both sides: no token
//! has come to us, and by its own counters none has gone to anybody else.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::panic::joined;
use crate::client::watch::{Heard, Watch};
use crate::guard::Guards;
use crate::observation::{GivenUp, Health, Moment};

/// How often the server's metrics are read during a run.
const EVERY: Duration = Duration::from_secs(1);

/// A run being followed; dropping it ends that.
#[derive(Debug)]
pub(super) struct Follower {
    task: JoinHandle<Vec<(Instant, Moment)>>,
    given_up: watch::Receiver<Option<GivenUp>>,
    _stop: DropGuard,
}

impl Follower {
    /// Begins to follow.
    pub(super) fn start(watch: &Watch, guards: Guards, heard: Heard) -> Self {
        let stop = CancellationToken::new();
        let (give_up, given_up) = watch::channel(None);
        let follow = follow(watch.clone(), guards, heard, give_up, stop.clone());
        Self {
            task: watch.runtime().spawn(follow),
            given_up,
            _stop: stop.drop_guard(),
        }
    }

    /// Resolves when the run is to be given up.
    pub(super) async fn given_up(&self) -> GivenUp {
        let mut given_up = self.given_up.clone();
        let reason = given_up.wait_for(Option::is_some).await.map(|why| *why);
        match reason {
            Ok(Some(reason)) => reason,
            // Nobody follows any more, and nobody will give it up.
            _ => std::future::pending().await,
        }
    }

    /// Ends, and tells the moments since `start`, at which the run's clock began.
    pub(super) async fn end(self, start: Instant) -> Vec<Moment> {
        let Self { task, _stop, .. } = self;
        drop(_stop);
        let moments = joined(task.await).into_iter();
        let since = moments.filter_map(|(seen, moment)| {
            let at = seen.checked_duration_since(start)?;
            Some(Moment { at, ..moment })
        });
        since.collect()
    }
}

async fn follow(
    watch: Watch,
    guards: Guards,
    heard: Heard,
    give_up: watch::Sender<Option<GivenUp>>,
    stop: CancellationToken,
) -> Vec<(Instant, Moment)> {
    let mut moments = Vec::new();
    let mut life = Life::new(guards.wedged_after, Instant::now());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and the run has just been looked at.
    ticks.tick().await;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(read) = stop.run_until_cancelled(watch.read()).await else {
            break;
        };
        let now = Instant::now();
        let moment = match &read {
            Ok(reading) => Moment::of(reading, Duration::ZERO),
            Err(_) => Moment::default(),
        };
        if let (Some(waiting), Some(limit)) = (moment.waiting, guards.abort_above_waiting)
            && waiting > f64::from(limit)
        {
            give_up.send_replace(Some(GivenUp::QueueGrew));
        }
        if read.is_ok() {
            moments.push((now, moment));
        }
        if life.is_over(heard.mark(), moment.generation_tokens, now)
            && (moment.generation_tokens.is_some()
                || stop.run_until_cancelled(watch.health()).await != Some(Health::Good))
        {
            give_up.send_replace(Some(GivenUp::Wedged));
        }
    }
    moments
}

/// The last sign of life: a token that came to us, or one that the server counted.
#[derive(Debug)]
struct Life {
    patience: Duration,
    heard: u64,
    counted: Option<f64>,
    seen: Instant,
}

impl Life {
    fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            heard: 0,
            counted: None,
            seen: now,
        }
    }

    /// Takes in what is known `now`, and tells whether nothing has moved for too long.
    fn is_over(&mut self, heard: u64, counted: Option<f64>, now: Instant) -> bool {
        if heard != self.heard || (counted.is_some() && counted != self.counted) {
            self.seen = now;
        }
        self.heard = heard;
        self.counted = counted.or(self.counted);
        now.duration_since(self.seen) >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_to_anybody_is_a_sign_of_life() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut life = Life::new(Duration::from_secs(30), start);
        assert!(!life.is_over(1, Some(100.0), at(1)));
        assert!(!life.is_over(1, Some(100.0), at(30)));
        assert!(life.is_over(1, Some(100.0), at(31)));
        // Others get tokens while we wait in the queue.
        assert!(!life.is_over(1, Some(101.0), at(32)));
        // A page that cannot be read is no sign, and hides none.
        assert!(!life.is_over(1, None, at(61)));
        assert!(!life.is_over(1, Some(102.0), at(61)));
        assert!(life.is_over(1, None, at(91)));
        // We get tokens from a server whose counters stand still.
        assert!(!life.is_over(2, Some(102.0), at(92)));
    }
}
