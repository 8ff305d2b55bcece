//! What a simulated engine counts: the numbers behind vLLM's `/metrics`.

/// How a request ended, in vLLM's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The model ended its answer.
    Stop,
    /// The answer ran to its bound.
    Length,
    /// The client went away.
    Abort,
    /// The engine died.
    Error,
}

impl Finish {
    /// The word for it in answers and labels.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

/// Counts below each bound, and the sum of what was observed.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    pub(super) bounds: &'static [f64],
    /// One for each bound, and one for what is above them all. Not cumulative.
    pub(super) counts: Vec<u64>,
    pub(super) sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    pub(super) fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }
}

/// Counters and histograms since the start.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    pub(super) prefix_cache_queries: u64,
    pub(super) prefix_cache_hits: u64,
    pub(super) preemptions: u64,
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    pub(super) stopped: u64,
    pub(super) reached_length: u64,
    pub(super) aborted: u64,
    /// The part of `prompt_tokens` and of `generation_tokens` that was other clients'; not on vLLM's page.
    pub(super) foreign_prompt_tokens: u64,
    pub(super) foreign_generation_tokens: u64,
    pub(super) request_prompt_tokens: Histogram,
    pub(super) request_generation_tokens: Histogram,
    pub(super) iteration_tokens: Histogram,
    pub(super) request_max_num_generation_tokens: Histogram,
    pub(super) request_params_n: Histogram,
    pub(super) request_params_max_tokens: Histogram,
    pub(super) time_to_first_token: Histogram,
    pub(super) inter_token_latency: Histogram,
    pub(super) time_per_output_token: Histogram,
    pub(super) e2e_request_latency: Histogram,
    pub(super) queue_time: Histogram,
    pub(super) inference_time: Histogram,
    pub(super) prefill_time: Histogram,
    pub(super) decode_time: Histogram,
    pub(super) prefill_kv_computed_tokens: Histogram,
}

// vLLM 0.13 with the default --max-model-len of the profiles.
const TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0,
];
const ITERATION_TOKENS: &[f64] = &[
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
const CHOICES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
const FIRST_TOKEN_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const TOKEN_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST_SECONDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

impl Default for Stats {
    fn default() -> Self {
        Self {
            prefix_cache_queries: 0,
            prefix_cache_hits: 0,
            preemptions: 0,
            prompt_tokens: 0,
            generation_tokens: 0,
            stopped: 0,
            reached_length: 0,
            aborted: 0,
            foreign_prompt_tokens: 0,
            foreign_generation_tokens: 0,
            request_prompt_tokens: Histogram::new(TOKENS),
            request_generation_tokens: Histogram::new(TOKENS),
            iteration_tokens: Histogram::new(ITERATION_TOKENS),
            request_max_num_generation_tokens: Histogram::new(TOKENS),
            request_params_n: Histogram::new(CHOICES),
            request_params_max_tokens: Histogram::new(TOKENS),
            time_to_first_token: Histogram::new(FIRST_TOKEN_SECONDS),
            inter_token_latency: Histogram::new(TOKEN_SECONDS),
            time_per_output_token: Histogram::new(TOKEN_SECONDS),
            e2e_request_latency: Histogram::new(REQUEST_SECONDS),
            queue_time: Histogram::new(REQUEST_SECONDS),
            inference_time: Histogram::new(REQUEST_SECONDS),
            prefill_time: Histogram::new(REQUEST_SECONDS),
            decode_time: Histogram::new(REQUEST_SECONDS),
            prefill_kv_computed_tokens: Histogram::new(TOKENS),
        }
    }
}

impl Stats {
    pub(super) fn count_finish(&mut self, finish: Finish) {
        match finish {
            Finish::Stop => self.stopped += 1,
            Finish::Length => self.reached_length += 1,
            Finish::Abort => self.aborted += 1,
            // Who would count it is dead.
            Finish::Error => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_below_it() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 2.0, 9.0] {
            histogram.observe(value);
        }
        assert_eq!(histogram.counts, [2, 2, 1]);
        assert_eq!(histogram.sum, 14.0);
    }
}
