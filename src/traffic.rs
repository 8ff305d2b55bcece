//! What else the server did during a run, and what it thinks of the run itself: the differences between its
//! readings, less what was ours.
//!
//! Where a difference cannot be told apart from our own doings, the answer errs on the side of "ours": a run is
//! called contaminated only for tokens that cannot be.

use std::sync::Arc;
use std::time::Duration;

use crate::measurement::{RequestRecord, Run};
use crate::observation::{Moment, Observation};
use crate::reading::{Counter, EngineKey, Reading};

/// Tokens by which a server's counters may lag behind what it has sent, for each request in flight.
const COUNTING_LAG: f64 = 16.0;

/// What the server's own metrics say of one run. Times are means in seconds; what cannot be told is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerView {
    /// What it did for others; absent when its counters do not tell.
    pub foreign: Option<Foreign>,
    /// Prompt tokens found in the prefix cache, of those looked up. Absent when others had prompts too.
    pub prefix_cache_hit_ratio: Option<f64>,
    /// Requests that had to give their place up.
    pub preemptions: Option<f64>,
    /// The fullest that the KV cache was seen, from 0 to 1.
    pub kv_cache_usage_peak: Option<f64>,
    /// The most requests that were seen waiting.
    pub waiting_peak: Option<f64>,
    /// Time to first token as the server has it. This and the next two are absent when others' requests
    /// ended too.
    pub ttft_mean: Option<f64>,
    /// Time in the server's queue.
    pub queue_time_mean: Option<f64>,
    /// End-to-end latency as the server has it: ours is longer by the network and the front end.
    pub e2e_latency_mean: Option<f64>,
    /// Draft tokens that were accepted, of those proposed; absent without speculative decoding.
    pub draft_acceptance_ratio: Option<f64>,
    /// When its process started, in seconds since the Unix epoch.
    pub process_start: Option<f64>,
    /// Whether it started anew during the run, or since the probe's run before.
    pub restarted: bool,
    /// Whether several servers answer at its address: what one of them says is not about all.
    pub several_servers: bool,
    /// Whether an engine slept.
    pub asleep: bool,
    /// Tokens that it generated, for us and others.
    pub generated_tokens: Option<f64>,
    /// Why there is no more than this, in words for people.
    pub unobservable: Option<String>,
}

/// What a server did for others during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Foreign {
    /// Tokens generated.
    pub tokens: f64,
    /// The same for each token of ours; absent when we got none.
    pub tokens_ratio: Option<f64>,
    /// Prompt tokens that had to be computed.
    pub prompt_tokens: f64,
    /// The same for each token of ours, prompt and completion together.
    pub prompt_ratio: Option<f64>,
    /// The most requests that were seen running or waiting beside ours.
    pub requests_peak: Option<f64>,
}

impl ServerView {
    /// What the readings of `run` amount to. An answer of it has at most `max_tokens` tokens.
    pub fn of(run: &Run, max_tokens: u32) -> Self {
        let seen = &run.observation;
        let first = seen.before.as_deref();
        let last = seen.after.as_deref().or(first);
        let mut view = Self {
            process_start: last.and_then(|reading| reading.process_start),
            asleep: asleep(seen),
            kv_cache_usage_peak: peak(seen, |moment| moment.kv_cache_usage),
            waiting_peak: peak(seen, |moment| moment.waiting),
            unobservable: seen.unread.clone(),
            ..Self::default()
        };
        if are_several_servers(seen) {
            view.several_servers = true;
            view.unobservable = Some("several servers answer at this address".to_owned());
            return view;
        }
        let restarted_meanwhile = has_restarted(seen);
        view.restarted = restarted_meanwhile || has_restarted_before(seen);
        if let (Some(before), Some(after), false) =
            (first, seen.after.as_deref(), restarted_meanwhile)
        {
            view.compare(run, &Difference { before, after }, max_tokens);
        }
        view
    }

    /// Whether the server's traffic could be told apart from ours.
    pub fn is_observable(&self) -> bool {
        self.foreign.is_some()
    }

    fn compare(&mut self, run: &Run, difference: &Difference<'_>, max_tokens: u32) {
        let ours = Ours::of(run);
        let Some(generated) = difference.total(Counter::GenerationTokens) else {
            self.unobservable = Some("its page has no count of generated tokens".to_owned());
            return;
        };
        self.generated_tokens = Some(generated);
        let lag = COUNTING_LAG * f64::from(run.concurrency);
        if generated + lag.min(ours.completion_tokens / 2.0) < ours.completion_tokens {
            self.unobservable = Some(
                "it counted fewer tokens than came: the page is not, or not only, that of the server that answers"
                    .to_owned(),
            );
            return;
        }
        self.preemptions = difference.total(Counter::Preemptions);
        let foreign = foreign(run, difference, &ours, generated, f64::from(max_tokens));
        self.foreign = Some(foreign);

        let own = |counter| difference.of_model(counter, &run.model);
        let ratio = |part, whole| {
            let whole: f64 = own(whole)?;
            (whole > 0.0).then_some(own(part)? / whole)
        };
        if foreign.prompt_tokens == 0.0 {
            self.prefix_cache_hit_ratio =
                ratio(Counter::PrefixCacheHits, Counter::PrefixCacheQueries);
        }
        let mean = |sum, count| {
            ratio(sum, count).filter(|_| own(count).is_some_and(|count| count <= ours.requests))
        };
        self.ttft_mean = mean(Counter::TimeToFirstTokenSum, Counter::TimeToFirstTokenCount);
        self.queue_time_mean = mean(Counter::QueueTimeSum, Counter::QueueTimeCount);
        self.e2e_latency_mean = mean(Counter::E2eLatencySum, Counter::E2eLatencyCount);
        self.draft_acceptance_ratio = ratio(Counter::AcceptedDraftTokens, Counter::DraftTokens);
    }
}

/// What of the server's work was for us.
struct Ours {
    requests: f64,
    failed: f64,
    completion_tokens: f64,
    prompt_tokens: f64,
    longest_prompt: f64,
}

impl Ours {
    fn of(run: &Run) -> Self {
        let completed = || run.records.iter().filter_map(|r| r.outcome.as_ref().ok());
        let requests = run.records.len() as f64;
        Self {
            requests,
            failed: requests - completed().count() as f64,
            completion_tokens: completed().map(|c| c.completion_tokens as f64).sum(),
            prompt_tokens: completed().map(|c| c.prompt_tokens as f64).sum(),
            longest_prompt: completed()
                .map(|c| c.prompt_tokens as f64)
                .fold(0.0, f64::max),
        }
    }
}

fn foreign(
    run: &Run,
    difference: &Difference<'_>,
    ours: &Ours,
    generated: f64,
    max_tokens: f64,
) -> Foreign {
    // How far the server came with a request that failed is not known: all of it is taken for ours.
    let tokens = generated - ours.completion_tokens - ours.failed * max_tokens;
    let tokens = tokens.max(0.0);
    let accepted = difference.total(Counter::PromptTokens).map_or(0.0, |all| {
        (all - ours.prompt_tokens - ours.failed * ours.longest_prompt).max(0.0)
    });
    let computed = difference
        .total(Counter::PromptTokens)
        .zip(difference.total(Counter::PrefixCacheHits))
        .map_or(accepted, |(all, hits)| (all - hits).max(0.0));
    // Which of the prompts were found in the cache is not known: at most all that were computed are theirs.
    let prompt_tokens = match ours.failed > 0.0 && ours.longest_prompt == 0.0 {
        true => 0.0,
        false => accepted.min(computed),
    };
    let per = |foreign: f64, ours: f64| (ours > 0.0).then_some(foreign / ours);
    Foreign {
        tokens,
        tokens_ratio: per(tokens, ours.completion_tokens),
        prompt_tokens,
        prompt_ratio: per(prompt_tokens, ours.completion_tokens + ours.prompt_tokens),
        requests_peak: requests_beside_ours(run),
    }
}

/// The most requests that the server had in flight beyond ours. Its gauges are a moment old: what of ours
/// was in flight at any time since the look before counts.
fn requests_beside_ours(run: &Run) -> Option<f64> {
    let mut since = Duration::ZERO;
    let mut beside = Vec::new();
    for moment in &run.observation.during {
        let ours = most_in_flight(&run.records, since, moment.at);
        beside.extend(moment.in_flight.map(|all| (all - ours).max(0.0)));
        since = moment.at;
    }
    beside.into_iter().reduce(f64::max)
}

/// The most of `records` that were in flight at one time from `since` to `until`.
fn most_in_flight(records: &[RequestRecord], since: Duration, until: Duration) -> f64 {
    let at = |time: Duration| {
        let count = records
            .iter()
            .filter(|record| record.sent <= time && time < record.ended);
        count.count()
    };
    // The number rises only where one is sent.
    let rises = records
        .iter()
        .map(|record| record.sent)
        .filter(|sent| (since..=until).contains(sent));
    rises.chain([since]).map(at).max().unwrap_or(0) as f64
}

fn peak(seen: &Observation, of: fn(&Moment) -> Option<f64>) -> Option<f64> {
    seen.during.iter().filter_map(of).reduce(f64::max)
}

fn asleep(seen: &Observation) -> bool {
    let at_the_ends = [&seen.before, &seen.after];
    at_the_ends
        .into_iter()
        .flatten()
        .any(|reading| reading.is_asleep())
        || seen.during.iter().any(|moment| moment.asleep)
}

/// A process that is older than the one seen before it is another server's, behind the same address.
fn are_several_servers(seen: &Observation) -> bool {
    let before = seen.previous.as_ref().and_then(|then| then.process_start);
    let starts: Vec<f64> = before.into_iter().chain(process_starts(seen)).collect();
    starts.windows(2).any(|pair| pair[1] < pair[0])
}

/// Whether it started anew during the run.
fn has_restarted(seen: &Observation) -> bool {
    let mut starts = process_starts(seen);
    starts.dedup();
    let ends = seen.before.as_ref().zip(seen.after.as_ref());
    starts.len() > 1 || ends.is_some_and(|(before, after)| before.is_before_a_restart(after))
}

/// Whether it started anew since the probe's run before.
fn has_restarted_before(seen: &Observation) -> bool {
    let now = seen.before.as_ref().or(seen.after.as_ref());
    let then = seen.previous.as_ref();
    then.zip(now)
        .is_some_and(|(then, now)| then.is_before_a_restart(now))
}

/// When the server's process had started, as often as it was looked at during the run.
fn process_starts(seen: &Observation) -> Vec<f64> {
    let of = |reading: &Option<Arc<Reading>>| reading.as_ref().and_then(|r| r.process_start);
    let during = seen.during.iter().filter_map(|moment| moment.process_start);
    of(&seen.before)
        .into_iter()
        .chain(during)
        .chain(of(&seen.after))
        .collect()
}

/// What the counters of a server that did not restart have grown by.
struct Difference<'a> {
    before: &'a Reading,
    after: &'a Reading,
}

impl Difference<'_> {
    /// Over all engines and models.
    fn total(&self, counter: Counter) -> Option<f64> {
        self.over(counter, |_| true)
    }

    /// Over the engines of the model that was asked for. A model that the page does not know by this name
    /// has another one there, and all of them are taken.
    fn of_model(&self, counter: Counter, model: &str) -> Option<f64> {
        let is_known = self.after.engines.keys().any(|key| key.model == model);
        self.over(counter, |key| !is_known || key.model == model)
    }

    fn over(&self, counter: Counter, wanted: impl Fn(&EngineKey) -> bool) -> Option<f64> {
        let grown = self.after.engines.iter().filter_map(|(key, engine)| {
            let after = engine.counters.get(&counter).filter(|_| wanted(key))?;
            // An engine that was not there before has counted from 0.
            let before = self
                .before
                .engines
                .get(key)
                .and_then(|engine| engine.counters.get(&counter));
            Some(after - before.copied().unwrap_or(0.0))
        });
        grown.reduce(|sum, value| sum + value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measurement::FailureReason;
    use crate::measurement::fixture::{closed_loop, fail, observe, reading, reference};

    fn view(run: &Run) -> ServerView {
        ServerView::of(run, 256)
    }

    /// What 64 requests of 256 tokens, with prompts of 110, leave on a server.
    const OUR_TOKENS: f64 = 64.0 * 256.0;
    const OUR_PROMPTS: f64 = 64.0 * 110.0;

    #[test]
    fn what_is_not_ours_is_others() {
        let (mut run, _) = reference();
        observe(&mut run, OUR_TOKENS + 4_096.0, OUR_PROMPTS + 100.0, 6_000.0);
        let foreign = view(&run).foreign.unwrap();
        assert_eq!(
            (foreign.tokens, foreign.tokens_ratio),
            (4_096.0, Some(0.25))
        );
        assert_eq!(foreign.prompt_tokens, 100.0);
        assert_eq!(
            view(&run).prefix_cache_hit_ratio,
            None,
            "others' prompts are among the queries"
        );
        assert!(view(&run).is_observable());
    }

    #[test]
    fn a_quiet_server_tells_of_the_cache() {
        let (mut run, _) = reference();
        observe(&mut run, OUR_TOKENS, OUR_PROMPTS, 6_144.0);
        let view = view(&run);
        assert_eq!(view.foreign.unwrap().tokens_ratio, Some(0.0));
        assert_eq!(view.prefix_cache_hit_ratio, Some(6_144.0 / OUR_PROMPTS));
    }

    #[test]
    fn what_a_failed_request_got_is_taken_for_ours() {
        let (mut run, _) = reference();
        fail(&mut run.records[..2], FailureReason::TimeoutStall);
        let completed = 62.0 * 256.0;
        for (generated, foreign) in [
            (completed, 0.0),
            (completed + 512.0, 0.0),
            (completed + 600.0, 88.0),
        ] {
            observe(&mut run, generated, OUR_PROMPTS, 0.0);
            assert_eq!(view(&run).foreign.unwrap().tokens, foreign);
        }
        fail(&mut run.records, FailureReason::TimeoutStall);
        observe(&mut run, 100.0, OUR_PROMPTS, 0.0);
        let foreign = view(&run).foreign.unwrap();
        assert_eq!(
            (foreign.tokens, foreign.tokens_ratio, foreign.prompt_tokens),
            (0.0, None, 0.0)
        );
    }

    #[test]
    fn counters_of_another_server_are_not_believed() {
        let (mut run, _) = reference();
        observe(&mut run, OUR_TOKENS / 2.0, OUR_PROMPTS, 0.0);
        let half = view(&run);
        assert_eq!(half.foreign, None);
        assert!(half.unobservable.unwrap().contains("fewer tokens"));
        // A step that is counted a moment after it was sent is no such thing.
        observe(&mut run, OUR_TOKENS - 16.0, OUR_PROMPTS, 0.0);
        assert_eq!(view(&run).foreign.unwrap().tokens, 0.0);
    }

    #[test]
    fn a_restart_leaves_no_differences() {
        let (mut run, _) = reference();
        observe(&mut run, OUR_TOKENS, OUR_PROMPTS, 0.0);
        run.observation.after = Some(Arc::new(reading(
            7.0,
            &[(Counter::GenerationTokens, 99_999.0)],
        )));
        let restarted = view(&run);
        assert!(restarted.restarted && !restarted.several_servers);
        assert_eq!(
            (restarted.foreign, restarted.process_start),
            (None, Some(7.0))
        );
        // It came back before the first look.
        observe(&mut run, OUR_TOKENS, OUR_PROMPTS, 0.0);
        run.observation.previous = Some(Arc::new(reading(0.1, &[])));
        assert!(view(&run).restarted);
        assert!(
            view(&run)
                .foreign
                .is_some_and(|foreign| foreign.tokens == 0.0)
        );
    }

    #[test]
    fn a_process_that_grows_younger_is_several() {
        let (mut run, _) = reference();
        observe(&mut run, OUR_TOKENS, OUR_PROMPTS, 0.0);
        let moment = |start| Moment {
            process_start: Some(start),
            ..Moment::default()
        };
        run.observation.during = vec![moment(1.0), moment(5.0), moment(1.0)];
        let view = view(&run);
        assert!(view.several_servers && !view.restarted && view.foreign.is_none());
    }

    #[test]
    fn what_was_not_read_is_absent_with_its_reason() {
        let (mut run, _) = reference();
        run.observation.unread = Some("http_404: HTTP 404".to_owned());
        assert_eq!(
            view(&run),
            ServerView {
                unobservable: Some("http_404: HTTP 404".to_owned()),
                ..ServerView::default()
            }
        );
    }

    #[test]
    fn requests_beside_ours_are_those_that_cannot_be_ours() {
        // 16 in flight until second 4, one of them until second 5.
        let mut times = [Duration::from_secs(1); 64];
        times[63] = Duration::from_secs(2);
        let mut run = closed_loop(16, &times, 256);
        let moment = |seconds: u64, in_flight| Moment {
            at: Duration::from_millis(seconds * 1000 + 500),
            in_flight: Some(in_flight),
            ..Moment::default()
        };
        run.observation.during = vec![moment(0, 16.0), moment(1, 18.0), moment(2, 16.0)];
        assert_eq!(requests_beside_ours(&run), Some(2.0));
        // Half a second after the last wave ended its gauge may still show it; a second later it may not.
        run.observation.during = vec![moment(3, 16.0), moment(4, 16.0)];
        assert_eq!(requests_beside_ours(&run), Some(0.0));
        run.observation.during.push(moment(5, 16.0));
        assert_eq!(requests_beside_ours(&run), Some(15.0));
        run.observation.during.clear();
        assert_eq!(requests_beside_ours(&run), None);
    }

    proptest! {
        #[test]
        fn the_share_of_others_is_found_whatever_it_is(share in 0.0_f64..3.0) {
            let (mut run, _) = reference();
            let foreign = (OUR_TOKENS * share).round();
            observe(&mut run, OUR_TOKENS + foreign, OUR_PROMPTS, 0.0);
            let found = view(&run).foreign.unwrap().tokens_ratio.unwrap();
            prop_assert!((found - share).abs() < 1e-4);
        }
    }
}
