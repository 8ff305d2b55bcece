//! What the server said of itself around and during a run: the readings, not yet what they amount to.

use std::sync::Arc;
use std::time::Duration;

use crate::closed_set::closed_set;
use crate::reading::{Counter, Gauge, Reading};

/// The server's own metrics as far as they could be read.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The last reading of the same probe's run before this one: has the server restarted since?
    pub previous: Option<Arc<Reading>>,
    /// After the warm-up, before the first dispatch.
    pub before: Option<Arc<Reading>>,
    /// About every second while requests were in flight.
    pub during: Vec<Moment>,
    /// After the last request had ended.
    pub after: Option<Arc<Reading>>,
    /// Why a reading is missing, in words for people.
    pub unread: Option<String>,
    /// Whether `/health` answered after the run; it is asked only when something went wrong.
    pub health: Option<Health>,
}

/// What the server was doing at one moment of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// When the page had arrived, as an offset like those of the run's records.
    pub at: Duration,
    /// Requests running or waiting.
    pub in_flight: Option<f64>,
    /// Those of them that wait.
    pub waiting: Option<f64>,
    /// From 0 to 1; of the fullest engine.
    pub kv_cache_usage: Option<f64>,
    /// Tokens generated so far.
    pub generation_tokens: Option<f64>,
    /// When the server's process started.
    pub process_start: Option<f64>,
    /// Whether an engine slept.
    pub asleep: bool,
}

impl Moment {
    /// What `reading` says of the moment `at`.
    pub fn of(reading: &Reading, at: Duration) -> Self {
        Self {
            at,
            in_flight: reading.in_flight(),
            waiting: reading.sum(Gauge::Waiting),
            kv_cache_usage: reading.max(Gauge::KvCacheUsage),
            generation_tokens: reading.total(Counter::GenerationTokens),
            process_start: reading.process_start,
            asleep: reading.is_asleep(),
        }
    }
}

/// What `GET /health` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered with a status from 200 to 299.
    Good,
    /// It answered with another status.
    Bad(u16),
    /// It did not answer.
    Silent,
}

closed_set! {
    /// Why a run was given up before its end.
    GivenUp:
    Wedged "wedged" "No token came for a while, neither to the prober nor by the server's own counters.",
    QueueGrew "queue_grew" "More requests waited at the server than a burst may go on beside.",
}
