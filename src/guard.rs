//! When a burst is not to start, or not to go on, for the sake of the deployment's other users.

use std::fmt;
use std::time::Duration;

use crate::reading::{Counter, Gauge, Reading};

/// What keeps a burst from a deployment that is busy with other people's requests.
///
/// Light runs are kept only from a server that sleeps: they are how one learns that it is alive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guards {
    /// Others' requests, running or waiting, beside which a burst still starts; `None` for any number.
    pub max_foreign_requests: Option<u32>,
    /// Use of the KV cache, from 0 to 1, at which a burst still starts; `None` for any.
    pub max_kv_cache_usage: Option<f64>,
    /// Requests waiting at the server, beyond which a burst is given up; `None` for never.
    pub abort_above_waiting: Option<u32>,
    /// How long no token may come, neither to us nor by the server's own counters, before a run is given
    /// up: the server has stopped, and nothing more is learnt by waiting for it.
    pub wedged_after: Duration,
}

impl Default for Guards {
    /// A burst waits until nobody else is being served: beside a single other request all through the
    /// reference run it would not count anyway.
    fn default() -> Self {
        Self {
            max_foreign_requests: Some(0),
            max_kv_cache_usage: Some(0.8),
            abort_above_waiting: None,
            wedged_after: Duration::from_secs(30),
        }
    }
}

impl Guards {
    /// For someone who asks for a run now and watches it.
    pub fn off() -> Self {
        Self {
            max_foreign_requests: None,
            max_kv_cache_usage: None,
            abort_above_waiting: None,
            ..Self::default()
        }
    }

    /// What holds a burst back from a server that said this of itself, while none of our requests was there.
    pub fn hold(&self, now: &Reading) -> Option<Hold> {
        let in_flight = now.in_flight().unwrap_or(0.0);
        let usage = now.max(Gauge::KvCacheUsage).unwrap_or(0.0);
        match (self.max_foreign_requests, self.max_kv_cache_usage) {
            (Some(most), _) if in_flight > f64::from(most) => Some(Hold::Busy { in_flight }),
            (_, Some(most)) if usage > most => Some(Hold::KvCache { usage }),
            _ => None,
        }
    }
}

/// Whether a server worked between two looks. Requests that run without a token are those of a server that
/// has stopped, or a gauge that was left standing when the last client went away.
pub fn has_worked(earlier: &Reading, later: &Reading) -> bool {
    [Counter::GenerationTokens, Counter::PromptTokens]
        .into_iter()
        .any(|counter| earlier.total(counter) != later.total(counter))
}

/// What holds a run back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hold {
    /// The server sleeps. It is never woken.
    Asleep,
    /// It serves others.
    Busy {
        /// Their requests, running or waiting.
        in_flight: f64,
    },
    /// Its KV cache is nearly full.
    KvCache {
        /// From 0 to 1.
        usage: f64,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asleep => f.write_str("the server sleeps"),
            Self::Busy { in_flight } => write!(f, "{in_flight} requests of others are in flight"),
            Self::KvCache { usage } => {
                write!(f, "{:.0} % of the KV cache is in use", usage * 100.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reading::{EngineKey, EngineReading};

    fn reading(running: f64, waiting: f64, usage: f64, tokens: f64) -> Reading {
        let engine = EngineReading {
            counters: BTreeMap::from([(Counter::GenerationTokens, tokens)]),
            gauges: BTreeMap::from([
                (Gauge::Running, running),
                (Gauge::Waiting, waiting),
                (Gauge::KvCacheUsage, usage),
            ]),
        };
        Reading {
            engines: BTreeMap::from([(EngineKey::default(), engine)]),
            ..Reading::default()
        }
    }

    #[test]
    fn a_burst_waits_for_others_and_for_room() {
        let guards = Guards::default();
        assert_eq!(guards.hold(&reading(0.0, 0.0, 0.8, 1.0)), None);
        let busy = guards.hold(&reading(1.0, 2.0, 0.9, 1.0));
        assert_eq!(busy, Some(Hold::Busy { in_flight: 3.0 }));
        let full = guards.hold(&reading(0.0, 0.0, 0.81, 1.0));
        assert_eq!(full, Some(Hold::KvCache { usage: 0.81 }));
        assert_eq!(Guards::off().hold(&reading(9.0, 9.0, 1.0, 1.0)), None);
        // What is not told holds nothing back.
        assert_eq!(guards.hold(&Reading::default()), None);
    }

    #[test]
    fn a_gauge_that_was_left_standing_is_no_work() {
        let (then, now) = (reading(1.0, 0.0, 0.1, 500.0), reading(1.0, 0.0, 0.1, 500.0));
        assert!(!has_worked(&then, &now));
        assert!(has_worked(&then, &reading(1.0, 0.0, 0.1, 501.0)));
    }
}
