//! A continuous-batching engine in virtual time: what vLLM's scheduler would do, without a GPU.
//!
//! Each step computes one token for every running sequence, and the prompts of those that have just
//! been admitted. A step's time is fixed when it begins; who arrives meanwhile waits for the next one.
//! The engine reads no clock: times are offsets from its start and are handed in.

use std::collections::VecDeque;
use std::time::Duration;

use super::controls::Conditions;
use super::kv_cache::{KvCache, Prompt};
use super::profile::Profile;
use super::sequence::{Progress, Request, Sequence, SequenceId};
use super::speed::{Random, Speed};
use super::stats::{Finish, Stats};

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
        let prefill = self.schedule(at);
        let sequences = self.running.iter().filter(|s| s.scheduled > 0).count();
        if sequences == 0 {
            return None;
        }
        let seconds = self.profile.step_seconds
            + self.profile.sequence_seconds * sequences as f64
            + self.profile.prefill_seconds * f64::from(prefill);
        let factor = conditions.slowdown * self.speed.factor(at, self.last_step_ended);
        self.step_ends = Some(at + Duration::from_secs_f64(seconds * factor));
        self.step_ends
    }

    /// Ends the step in flight, reports each sequence that got a token, and lets the finished go.
    pub(super) fn end_step(&mut self, mut report: impl FnMut(SequenceId, Progress)) {
        let Some(at) = self.step_ends.take() else {
            return;
        };
        self.last_step_ended = Some(at);
        let mut tokens = 0;
        for sequence in &mut self.running {
            sequence.computed += std::mem::take(&mut sequence.scheduled);
            // A prompt computed in part yields no token yet.
            if sequence.computed == sequence.length() {
                sequence.progress.tokens += 1;
                sequence.progress.finish = sequence.finish();
                sequence.note_token(&mut self.stats, at, self.speedup);
                tokens += 1 + sequence.newly_prefilled();
                report(sequence.id, sequence.progress);
            }
        }
        self.stats.iteration_tokens.observe(f64::from(tokens));
        for sequence in self.running.extract_if(.., |s| s.progress.finish.is_some()) {
            let mut sequence = sequence;
            self.kv_cache.release(&mut sequence.allocation);
            sequence.note_finish(&mut self.stats, self.speedup);
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
        let sequence = Sequence::new(id, request, arrived, is_foreign);
        self.waiting.push_back(sequence);
        id
    }

    /// Shares out the tokens of a step: to the running first, then to the waiting in order. Returns
    /// how many of them are prefill.
    fn schedule(&mut self, at: Duration) -> u32 {
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
        prefill
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::simulator::stats::Finish;

    const USUAL: Conditions = Conditions {
        slowdown: 1.0,
        foreign_requests: 0,
        fault: crate::simulator::Fault::None,
        metrics: crate::simulator::MetricsFault::Ok,
    };

    fn engine(change: impl FnOnce(&mut Profile)) -> Engine {
        let mut profile = Profile::named("nvfp4").unwrap();
        change(&mut profile);
        Engine::new(profile, 1, 1.0)
    }

    fn request(prompt_tokens: u32, max_tokens: u32, salt: &str) -> Request {
        Request {
            prompt: Prompt::new("", prompt_tokens, 1.0, Some(salt)),
            max_tokens,
            stops_after: None,
        }
    }

    /// Takes one step; the sequences that got a token.
    fn step(engine: &mut Engine) -> Vec<SequenceId> {
        let mut told = Vec::new();
        engine.begin_step(Duration::ZERO, &USUAL);
        engine.end_step(|id, _| told.push(id));
        told
    }

    #[test]
    fn who_arrives_during_a_step_joins_the_next_one() {
        let mut engine = engine(|_| {});
        let first = engine.submit(Duration::ZERO, request(20, 3, "a"));
        let ends = engine.begin_step(Duration::ZERO, &USUAL).unwrap();
        let second = engine.submit(ends / 2, request(20, 3, "b"));
        let mut told = Vec::new();
        engine.end_step(|id, _| told.push(id));
        assert_eq!(told, [first]);
        assert_eq!(step(&mut engine), [first, second]);
    }

    #[test]
    fn a_long_prompt_is_computed_in_parts_while_others_decode() {
        let mut engine = engine(|profile| profile.max_num_batched_tokens = 64);
        let short = engine.submit(Duration::ZERO, request(10, 9, "a"));
        assert_eq!(step(&mut engine), [short]);
        let long = engine.submit(Duration::ZERO, request(150, 9, "b"));
        // 63 + 63 + 24 tokens beside the one of the other.
        assert_eq!(step(&mut engine), [short]);
        assert_eq!(step(&mut engine), [short]);
        assert_eq!(step(&mut engine), [short, long]);
    }

    #[test]
    fn a_step_costs_what_the_profile_says() {
        let seconds = |sequences: u32, prompt_tokens: u32, slowdown: f64| {
            let mut engine = engine(|profile| {
                (profile.step_seconds, profile.sequence_seconds) = (0.020, 0.001);
                (profile.prefill_seconds, profile.ramp_seconds) = (0.000_1, 0.0);
            });
            for i in 0..sequences {
                let salt = i.to_string();
                engine.submit(Duration::ZERO, request(prompt_tokens, 2, &salt));
            }
            let conditions = Conditions { slowdown, ..USUAL };
            let ends = engine.begin_step(Duration::ZERO, &conditions);
            ends.unwrap().as_secs_f64()
        };
        for (sequences, prompt_tokens, slowdown, expected) in [
            (1, 10, 1.0, 0.020 + 0.001 + 0.001),
            (1, 100, 1.0, 0.020 + 0.001 + 0.010),
            (16, 10, 1.0, 0.020 + 0.016 + 0.016),
            (16, 10, 1.5, 1.5 * (0.020 + 0.016 + 0.016)),
        ] {
            let found = seconds(sequences, prompt_tokens, slowdown);
            assert!(
                (found / expected - 1.0).abs() < 0.006,
                "{found} for {expected}"
            );
        }
    }

    #[test]
    fn without_room_the_last_admitted_starts_over_and_still_ends() {
        // Six usable blocks; two sequences grow to four each.
        let mut engine = engine(|profile| profile.kv_blocks = 7);
        let first = engine.submit(Duration::ZERO, request(40, 20, "a"));
        let second = engine.submit(Duration::ZERO, request(40, 20, "b"));
        let mut counts = BTreeMap::new();
        for _ in 0..60 {
            for id in step(&mut engine) {
                *counts.entry(id).or_insert(0) += 1;
            }
        }
        assert_eq!(counts, BTreeMap::from([(first, 20), (second, 20)]));
        let seen = engine.snapshot();
        assert_eq!((seen.stats.preemptions, seen.stats.reached_length), (1, 2));
        assert_eq!(seen.kv_cache_usage, 0.0);
    }

    #[test]
    fn standing_still_is_not_made_good() {
        let mut engine = engine(|_| {});
        engine.submit(Duration::ZERO, request(20, 3, "a"));
        engine.begin_step(Duration::ZERO, &USUAL);
        let later = Duration::from_secs(60);
        engine.resume(later);
        assert_eq!(engine.step_ends(), Some(later));
        engine.end_step(|_, _| {});
        assert!(engine.begin_step(later, &USUAL).unwrap() > later);
    }

    proptest! {
        #[test]
        fn every_request_gets_its_tokens_or_is_aborted_and_nothing_is_left(
            requests in prop::collection::vec((1_u32..60, 1_u32..40, 0_u8..4, any::<bool>()), 1..40),
            kv_blocks in 8_u32..40,
            max_num_seqs in 1_usize..9,
            budget in 8_u32..80,
        ) {
            let mut engine = engine(|profile| {
                profile.kv_blocks = kv_blocks;
                profile.max_num_seqs = max_num_seqs;
                profile.max_num_batched_tokens = budget;
            });
            let mut wanted = BTreeMap::new();
            let mut aborted = Vec::new();
            for (number, (prompt, tokens, salt, leaves)) in requests.into_iter().enumerate() {
                let id = engine.submit(Duration::ZERO, request(prompt, tokens, &salt.to_string()));
                wanted.insert(id, tokens);
                if leaves {
                    aborted.push((number, id));
                }
            }
            let mut got: BTreeMap<SequenceId, Progress> = BTreeMap::new();
            let mut steps = 0;
            while engine.begin_step(Duration::ZERO, &USUAL).is_some() {
                prop_assert!(engine.snapshot().running <= max_num_seqs);
                prop_assert!(engine.snapshot().kv_cache_usage <= 1.0);
                if let Some((_, id)) = aborted.pop_if(|(number, _)| steps >= *number) {
                    engine.abort(id);
                    wanted.remove(&id);
                }
                engine.end_step(|id, progress| {
                    let before = got.insert(id, progress).unwrap_or_default();
                    assert_eq!(progress.tokens, before.tokens + 1, "one token a step");
                });
                steps += 1;
                prop_assert!(steps < 20_000, "it never ends");
            }
            for (id, tokens) in wanted {
                prop_assert_eq!(got[&id].tokens, tokens);
                prop_assert_eq!(got[&id].finish, Some(Finish::Length));
            }
            let left = engine.snapshot();
            prop_assert_eq!((left.running, left.waiting), (0, 0));
            prop_assert_eq!(left.kv_cache_usage, 0.0);
        }
    }
}
