//! How much probing a deployment, or all of them together, may be put through.

/// Bounds on what probing costs; light runs are counted and never held back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Tokens, prompt and completion together, in any 24 hours; `None` for any number.
    pub tokens_per_day: Option<u64>,
    /// Share of the time, above 0 and at most 1, that may be spent under the probes' load; `None` for all.
    pub duty_cycle: Option<f64>,
}
