//! One request on its way through a simulated engine, and what is counted along it.

use std::time::Duration;

use super::kv_cache::{Allocation, Prompt};
use super::stats::{Finish, Stats};

/// What a client asks of the engine.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// What is to be answered.
    pub(super) prompt: Prompt,
    /// The answer's bound; at least 1.
    pub(super) max_tokens: u32,
    /// Where the model ends its answer by itself, if that is before the bound.
    pub(super) stops_after: Option<u32>,
}

/// Names a sequence for as long as the engine lives.
pub(super) type SequenceId = u64;

/// How far one answer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Tokens of the answer so far.
    pub(super) tokens: u32,
    /// Tokens of the prompt that came from the prefix cache.
    pub(super) cached_tokens: u32,
    /// Why it is at its end, once it is.
    pub(super) finish: Option<Finish>,
}

/// A request in the engine.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    pub(super) is_foreign: bool,
    pub(super) request: Request,
    pub(super) allocation: Allocation,
    /// Tokens, of prompt and answer, whose keys and values are in the cache.
    pub(super) computed: u32,
    /// Tokens that the step in flight computes.
    pub(super) scheduled: u32,
    pub(super) progress: Progress,
    pub(super) arrived: Duration,
    pub(super) admitted: Option<Duration>,
    first_token: Duration,
    last_token: Duration,
}

impl Sequence {
    pub(super) fn new(
        id: SequenceId,
        request: Request,
        arrived: Duration,
        is_foreign: bool,
    ) -> Self {
        Self {
            id,
            is_foreign,
            request,
            allocation: Allocation::default(),
            computed: 0,
            scheduled: 0,
            progress: Progress::default(),
            arrived,
            admitted: None,
            first_token: arrived,
            last_token: arrived,
        }
    }

    /// Tokens of prompt and answer so far.
    pub(super) fn length(&self) -> u32 {
        self.request.prompt.tokens + self.progress.tokens
    }

    /// Whether more than the last token is still to be computed.
    pub(super) fn is_prefilling(&self) -> bool {
        self.progress.tokens == 0 || self.length() - self.computed > 1
    }

    /// Why it has reached its end, if it has.
    pub(super) fn finish(&self) -> Option<Finish> {
        let (tokens, request) = (self.progress.tokens, &self.request);
        if request.stops_after.is_some_and(|end| tokens >= end) {
            Some(Finish::Stop)
        } else {
            (tokens >= request.max_tokens).then_some(Finish::Length)
        }
    }

    /// The tokens of its prompt, if the last token was the first.
    pub(super) fn newly_prefilled(&self) -> u32 {
        match self.progress.tokens {
            1 => self.request.prompt.tokens,
            _ => 0,
        }
    }

    /// Counts a token that came at `at`.
    pub(super) fn note_token(&mut self, stats: &mut Stats, at: Duration, speedup: f64) {
        let seconds_since = |then| at.saturating_sub(then).as_secs_f64() / speedup;
        if self.progress.tokens == 1 {
            let waited = seconds_since(self.arrived);
            stats.time_to_first_token.observe(waited);
            let prompt_tokens = u64::from(self.request.prompt.tokens);
            stats.prompt_tokens += prompt_tokens;
            stats.foreign_prompt_tokens += if self.is_foreign { prompt_tokens } else { 0 };
            self.first_token = at;
        } else {
            let gap = seconds_since(self.last_token);
            stats.inter_token_latency.observe(gap);
        }
        stats.generation_tokens += 1;
        stats.foreign_generation_tokens += u64::from(self.is_foreign);
        self.last_token = at;
    }

    /// Counts an answer that has ended.
    pub(super) fn note_finish(&self, stats: &mut Stats, speedup: f64) {
        let seconds =
            |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / speedup;
        let (arrived, first, last) = (self.arrived, self.first_token, self.last_token);
        let admitted = self.admitted.unwrap_or(arrived);
        if let Some(finish) = self.progress.finish {
            stats.count_finish(finish);
        }
        let prompt = f64::from(self.request.prompt.tokens);
        let cached = f64::from(self.progress.cached_tokens);
        let tokens = f64::from(self.progress.tokens);
        let max_tokens = f64::from(self.request.max_tokens);
        stats.request_prompt_tokens.observe(prompt);
        stats.request_generation_tokens.observe(tokens);
        stats.request_max_num_generation_tokens.observe(tokens);
        stats.request_params_n.observe(1.0);
        stats.request_params_max_tokens.observe(max_tokens);
        stats.e2e_request_latency.observe(seconds(arrived, last));
        stats.queue_time.observe(seconds(arrived, admitted));
        stats.inference_time.observe(seconds(admitted, last));
        stats.prefill_time.observe(seconds(admitted, first));
        stats.decode_time.observe(seconds(first, last));
        // vLLM counts an answer of a single token as one of 0 s a token.
        let gaps = (tokens - 1.0).max(1.0);
        stats
            .time_per_output_token
            .observe(seconds(first, last) / gaps);
        stats.prefill_kv_computed_tokens.observe(prompt - cached);
    }
}
