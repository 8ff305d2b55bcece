//! A continuous-batching engine in virtual time: what vLLM's scheduler would do, without a GPU.
//!
//! Each step computes one token for every running sequence, and the prompts of those that have just
//! been admitted. A step's time is fixed when it begins; who arrives meanwhile waits for the next one.
//! The engine reads no clock: times are offsets from its start and are handed in.

use std::collections::VecDeque;
use std::time::Duration;

use super::faults::Conditions;
use super::kv_cache::{Allocation, KvCache, Prompt};
use super::profile::Profile;
use super::speed::{Random, Speed};
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

/// A simulated engine.
#[derive(Debug)]
pub(super) struct Engine {
    profile: Profile,
    /// Engine time runs so many times faster than what the statistics report.
    speedup: f64,
    kv_cache: KvCache,
    speed: Speed,
    /// First in the queue first.
    waiting: VecDeque<Sequence>,
    /// In the order of admission.
    running: Vec<Sequence>,
    /// When the step in flight ends.
    step_ends: Option<Duration>,
    last_step_ended: Option<Duration>,
    /// When it last began to go on after standing still.
    resumed: Duration,
    stats: Stats,
    next_id: SequenceId,
    foreign: Random,
}

#[derive(Debug)]
struct Sequence {
    id: SequenceId,
    is_foreign: bool,
    request: Request,
    allocation: Allocation,
    /// Tokens, of prompt and answer, whose keys and values are in the cache.
    computed: u32,
    /// Tokens that the step in flight computes.
    scheduled: u32,
    progress: Progress,
    arrived: Duration,
    admitted: Option<Duration>,
    first_token: Duration,
    last_token: Duration,
}

impl Sequence {
    fn length(&self) -> u32 {
        self.request.prompt.tokens + self.progress.tokens
    }

    fn is_prefilling(&self) -> bool {
        self.progress.tokens == 0 || self.length() - self.computed > 1
    }

    fn finish(&self) -> Option<Finish> {
        if self
            .request
            .stops_after
            .is_some_and(|n| self.progress.tokens >= n)
        {
            Some(Finish::Stop)
        } else if self.progress.tokens >= self.request.max_tokens {
            Some(Finish::Length)
        } else {
            None
        }
    }
}

/// What an engine looks like from outside at a moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) running: usize,
    pub(super) waiting: usize,
    pub(super) kv_cache_usage: f64,
    pub(super) stats: Stats,
}

impl Engine {
    /// An idle engine with an empty cache. Its statistics give times as a client sees them, who is
    /// served `speedup` times faster than the profile says.
    pub(super) fn new(profile: Profile, seed: u64, speedup: f64) -> Self {
        Self {
            kv_cache: KvCache::new(profile.kv_blocks),
            speed: Speed::new(&profile, seed),
            foreign: Random::new(!seed),
            profile,
            speedup,
            waiting: VecDeque::new(),
            running: Vec::new(),
            step_ends: None,
            last_step_ended: None,
            resumed: Duration::ZERO,
            stats: Stats::default(),
            next_id: 0,
        }
    }

    /// Queues a request that arrived at `at`.
    pub(super) fn submit(&mut self, at: Duration, request: Request) -> SequenceId {
        self.enqueue(at, request, false)
    }

    /// Forgets a sequence whose client went away. One that has ended is left alone.
    pub(super) fn abort(&mut self, id: SequenceId) {
        let waiting = self.waiting.iter().position(|sequence| sequence.id == id);
        let running = self.running.iter().position(|sequence| sequence.id == id);
        let sequence = waiting
            .and_then(|index| self.waiting.remove(index))
            .or_else(|| running.map(|index| self.running.remove(index)));
        if let Some(mut sequence) = sequence {
            self.kv_cache.release(&mut sequence.allocation);
            self.stats.count_finish(Finish::Abort);
        }
    }

    /// When the step in flight ends.
    pub(super) fn step_ends(&self) -> Option<Duration> {
        self.step_ends
    }

    /// Begins the step that is due by `now` and says when it ends; `None` when there is nothing to do. A
    /// step in flight goes on.
    ///
    /// The step begins when it could have begun, not when the caller finds the time: at the end of the
    /// last one, or with the arrival that ends idleness. So a late caller loses no time for good.
    pub(super) fn begin_step(
        &mut self,
        now: Duration,
        conditions: &Conditions,
    ) -> Option<Duration> {
        if self.step_ends.is_some() {
            return self.step_ends;
        }
        let ready = if self.running.is_empty() {
            self.waiting.front().map_or(now, |first| first.arrived)
        } else {
            Duration::ZERO
        };
        let at = ready
            .max(self.last_step_ended.unwrap_or_default())
            .max(self.resumed);
        self.keep_foreign_requests(at, conditions.foreign_requests as usize);
        let (tokens, prefill) = self.schedule(at);
        let sequences = self.running.iter().filter(|s| s.scheduled > 0).count();
        if sequences == 0 {
            return None;
        }
        let seconds = self.profile.step_seconds
            + self.profile.sequence_seconds * sequences as f64
            + self.profile.prefill_seconds * f64::from(prefill);
        let factor = conditions.slowdown * self.speed.factor(at, self.last_step_ended);
        self.stats.iteration_tokens.observe(f64::from(tokens));
        self.step_ends = Some(at + Duration::from_secs_f64(seconds * factor));
        self.step_ends
    }

    /// Ends the step in flight, reports each sequence that got a token, and lets the finished go.
    pub(super) fn end_step(&mut self, mut report: impl FnMut(SequenceId, Progress)) {
        let Some(at) = self.step_ends.take() else {
            return;
        };
        self.last_step_ended = Some(at);
        for sequence in &mut self.running {
            sequence.computed += std::mem::take(&mut sequence.scheduled);
            // A prompt computed in part yields no token yet.
            if sequence.computed == sequence.length() {
                sequence.progress.tokens += 1;
                sequence.progress.finish = sequence.finish();
                note_token(&mut self.stats, sequence, at, self.speedup);
                report(sequence.id, sequence.progress);
            }
        }
        for sequence in self.running.extract_if(.., |s| s.progress.finish.is_some()) {
            let mut sequence = sequence;
            self.kv_cache.release(&mut sequence.allocation);
            note_finish(&mut self.stats, &sequence, self.speedup);
        }
    }

    /// Goes on at `at` after standing still: no step ends or begins before.
    pub(super) fn resume(&mut self, at: Duration) {
        self.resumed = at;
        self.step_ends = self.step_ends.map(|ends| ends.max(at));
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            running: self.running.len(),
            waiting: self.waiting.len(),
            kv_cache_usage: self.kv_cache.usage(),
            stats: self.stats.clone(),
        }
    }

    fn enqueue(&mut self, arrived: Duration, request: Request, is_foreign: bool) -> SequenceId {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Sequence {
            id,
            is_foreign,
            request,
            allocation: Allocation::default(),
            computed: 0,
            scheduled: 0,
            progress: Progress::default(),
            arrived,
            admitted: None,
            first_token: Duration::ZERO,
            last_token: Duration::ZERO,
        });
        id
    }

    /// Shares out the tokens of a step: to the running first, then to the waiting in order. Returns the
    /// tokens, and how many of them belong to prompts.
    fn schedule(&mut self, at: Duration) -> (u32, u32) {
        let mut budget = self.profile.max_num_batched_tokens;
        let mut prefill = 0;
        let mut preempted = false;
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &mut self.running[index];
            let tokens = (sequence.length() - sequence.computed).min(budget);
            let reaches = sequence.computed + tokens;
            if self
                .kv_cache
                .grow(&mut sequence.allocation, &sequence.request.prompt, reaches)
            {
                sequence.scheduled = tokens;
                budget -= tokens;
                prefill += if sequence.is_prefilling() { tokens } else { 0 };
                index += 1;
            } else {
                // The last admitted gives its room up, and computes all its tokens again later.
                preempted = true;
                let (given_back, given_back_prefill) = self.preempt();
                budget += given_back;
                prefill -= given_back_prefill;
            }
        }
        while !preempted && budget > 0 && self.running.len() < self.profile.max_num_seqs {
            let Some(mut sequence) = self.waiting.pop_front() else {
                break;
            };
            let prompt = &sequence.request.prompt;
            let cached = self.kv_cache.cached_tokens(prompt);
            let tokens = (sequence.length() - cached).min(budget);
            if !self
                .kv_cache
                .grow(&mut sequence.allocation, prompt, cached + tokens)
            {
                self.waiting.push_front(sequence);
                break;
            }
            if sequence.admitted.is_none() {
                sequence.admitted = Some(at);
                sequence.progress.cached_tokens = cached;
                self.stats.prefix_cache_queries += u64::from(prompt.tokens);
                self.stats.prefix_cache_hits += u64::from(cached);
            }
            sequence.computed = cached;
            sequence.scheduled = tokens;
            budget -= tokens;
            prefill += tokens;
            self.running.push(sequence);
        }
        (self.profile.max_num_batched_tokens - budget, prefill)
    }

    /// Puts the last admitted sequence back at the head of the queue. Returns the tokens that it had
    /// been given in this step, and how many of them were prefill.
    fn preempt(&mut self) -> (u32, u32) {
        let Some(mut sequence) = self.running.pop() else {
            return (0, 0);
        };
        let tokens = std::mem::take(&mut sequence.scheduled);
        let prefill = if sequence.is_prefilling() { tokens } else { 0 };
        self.kv_cache.release(&mut sequence.allocation);
        sequence.computed = 0;
        self.waiting.push_front(sequence);
        self.stats.preemptions += 1;
        (tokens, prefill)
    }

    /// Other clients' traffic: as many requests as wanted, each with a prompt of its own and an answer of
    /// its own length, so that they do not fall into step.
    fn keep_foreign_requests(&mut self, at: Duration, wanted: usize) {
        let sequences = self.running.iter().chain(&self.waiting);
        let mut foreign: Vec<SequenceId> =
            sequences.filter(|s| s.is_foreign).map(|s| s.id).collect();
        while foreign.len() > wanted {
            self.abort(foreign.pop().unwrap_or_default());
        }
        for _ in foreign.len()..wanted {
            let salt = self.foreign.next();
            let request = Request {
                prompt: Prompt::new("", 64 + (salt % 128) as u32, 1.0, Some(&salt.to_string())),
                max_tokens: 128 + (salt / 128 % 256) as u32,
                stops_after: None,
            };
            self.enqueue(at, request, true);
        }
    }
}

fn note_token(stats: &mut Stats, sequence: &mut Sequence, at: Duration, speedup: f64) {
    let seconds_since = |then| at.saturating_sub(then).as_secs_f64() / speedup;
    if sequence.progress.tokens == 1 {
        stats
            .time_to_first_token
            .observe(seconds_since(sequence.arrived));
        stats.prompt_tokens += u64::from(sequence.request.prompt.tokens);
        sequence.first_token = at;
    } else {
        stats
            .inter_token_latency
            .observe(seconds_since(sequence.last_token));
    }
    stats.generation_tokens += 1;
    sequence.last_token = at;
}

fn note_finish(stats: &mut Stats, sequence: &Sequence, speedup: f64) {
    let Sequence {
        request,
        progress,
        arrived,
        first_token,
        last_token,
        ..
    } = sequence;
    let admitted = sequence.admitted.unwrap_or(*arrived);
    let seconds = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() / speedup;
    if let Some(finish) = progress.finish {
        stats.count_finish(finish);
    }
    let decode = seconds(*first_token, *last_token);
    let prompt_tokens = f64::from(request.prompt.tokens);
    let (tokens, max_tokens) = (f64::from(progress.tokens), f64::from(request.max_tokens));
    stats.request_prompt_tokens.observe(prompt_tokens);
    stats.request_generation_tokens.observe(tokens);
    stats.request_max_num_generation_tokens.observe(tokens);
    stats.request_params_n.observe(1.0);
    stats.request_params_max_tokens.observe(max_tokens);
    stats
        .e2e_request_latency
        .observe(seconds(*arrived, *last_token));
    stats.queue_time.observe(seconds(*arrived, admitted));
    stats.inference_time.observe(seconds(admitted, *last_token));
    stats.prefill_time.observe(seconds(admitted, *first_token));
    stats.decode_time.observe(decode);
    // vLLM counts a single token as 0 s each.
    stats
        .time_per_output_token
        .observe(decode / (tokens - 1.0).max(1.0));
    stats
        .prefill_kv_computed_tokens
        .observe(prompt_tokens - f64::from(progress.cached_tokens));
}
