//! What a run must hold to for its figures to be shown: the thresholds, with their defaults.
//!
//! They decide only whether a run counts. They move no figure, so they do not enter a workload's identity.

use std::time::Duration;

/// Thresholds beyond which a run does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validity {
    /// Share of the requests that may fail.
    pub max_failed_ratio: f64,
    /// Tokens that the server generated for others, per token of ours; `None` when any traffic will do.
    pub max_foreign_tokens_ratio: Option<f64>,
    /// Prompt tokens that the server computed for others, per token of ours, prompt and completion
    /// together: prefill slows a decoding neighbour too, if less so. `None` when any traffic will do.
    pub max_foreign_prompt_ratio: Option<f64>,
    /// How much of the concurrency must have been in flight until the last request was sent.
    pub min_concurrency_utilization: f64,
    /// How late the prober itself may be, at the 95th percentile of the run's samples.
    pub max_client_delay: Duration,
    /// Share of the run during which the measuring thread may work, or wait for a processor to.
    pub max_client_load_ratio: f64,
}

impl Default for Validity {
    fn default() -> Self {
        Self {
            max_failed_ratio: 0.05,
            max_foreign_tokens_ratio: Some(0.05),
            max_foreign_prompt_ratio: Some(0.05),
            min_concurrency_utilization: 0.95,
            max_client_delay: Duration::from_millis(20),
            max_client_load_ratio: 0.9,
        }
    }
}

impl Validity {
    /// For a sign of life: other people's traffic is no reason to doubt it.
    pub fn of_light_run() -> Self {
        Self {
            max_foreign_tokens_ratio: None,
            max_foreign_prompt_ratio: None,
            ..Self::default()
        }
    }
}
