//! When a burst is not to start, or not to go on, for the sake of the deployment's other users.

use std::time::Duration;

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
}
