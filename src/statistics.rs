//! What a run amounts to: its figures, or the reasons why it has none.
//!
//! Every formula is that of `vllm bench serve` and of the reference benchmark, so that numbers can be laid
//! side by side. A run that does not count has no rates and no quantiles: they are absent, never 0.

mod validity;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::validity::InvalidReason;
use self::validity::invalid_reasons;
use crate::measurement::{Completion, FailureReason, FinishReason, RequestRecord, Run};
use crate::sample::Sample;
use crate::traffic::ServerView;
use crate::workload::Workload;

/// What one run amounts to.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// `|C|`: requests that completed.
    pub completed: u32,
    /// Requests that failed.
    pub failed: u32,
    /// How many failed for each reason that was seen.
    pub failures: BTreeMap<FailureReason, u32>,
    /// How many completed with each finish reason that was seen.
    pub finish_reasons: BTreeMap<FinishReason, u32>,
    /// `W`: from the instant before the first dispatch to the end of the last request.
    pub wall: Duration,
    /// The tokens of all completed requests.
    pub tokens: Tokens,
    /// `sum (x - s) / (W c)`: 1 when the prober kept `c` requests in flight all the time. Absent when
    /// nothing took any time.
    pub concurrency_utilization: Option<f64>,
    /// How late the prober itself was, in seconds; absent when it was not sampled.
    pub client_delay: Option<Distribution>,
    /// Share of the run during which the measuring thread worked, or waited for a processor to; absent where
    /// the system does not tell.
    pub client_load_ratio: Option<f64>,
    /// What the server's own metrics say of the run.
    pub server: ServerView,
    /// Why the run does not count; empty when it does.
    pub invalid_reasons: Vec<InvalidReason>,
    /// Rates and quantiles; absent when the run does not count, or took no time at all.
    pub figures: Option<Figures>,
}

impl Summary {
    /// Whether the run counts.
    pub fn is_valid(&self) -> bool {
        self.invalid_reasons.is_empty()
    }

    /// Prompt tokens that came from the prefix cache, of all: by the answers' own usage where they tell it, or
    /// else by the server's counters.
    pub fn prefix_cache_hit_ratio(&self) -> Option<f64> {
        let prompt = self.tokens.prompt_total;
        let told = self.tokens.cached_total.filter(|_| prompt > 0);
        told.map(|cached| cached as f64 / prompt as f64)
            .or(self.server.prefix_cache_hit_ratio)
    }
}

/// Tokens of the completed requests, as the server's usage tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// `sum p`: prompt tokens.
    pub prompt_total: u64,
    /// `sum n`: completion tokens.
    pub completion_total: u64,
    /// Prompt tokens that came from the prefix cache; absent unless every completed request tells it.
    pub cached_total: Option<u64>,
}

/// The figures of a run that counts. Times are in seconds, rates are per second of `W`.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// `|C| / W`: completed requests.
    pub qps: f64,
    /// `sum p / W`: accepted prompt tokens, whether computed or taken from the prefix cache.
    pub prompt_tps: f64,
    /// `sum n / W`: completion tokens.
    pub decode_tps: f64,
    /// End-to-end latency: `l - s` when streamed, `x - s` when not.
    pub latency: Distribution,
    /// Time to first token, `f - s`; absent when nothing was streamed.
    pub ttft: Option<Distribution>,
    /// Time to the first content, over the requests that had some; absent when none had.
    pub ttfo: Option<Distribution>,
    /// Time per output token, `(l - f) / (n - 1)`, over the streamed requests with `n > 1`.
    pub tpot: Option<Distribution>,
    /// Inter-token latency: the gaps between token-bearing chunks, pooled over the run.
    pub itl: Option<Distribution>,
    /// Prompt tokens per completed request.
    pub prompt_tokens_mean: f64,
    /// Completion tokens per completed request.
    pub completion_tokens_mean: f64,
}

/// How readings are distributed; quantiles are those of [`Sample::quantile`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the field's own names")]
pub struct Distribution {
    pub count: u64,
    pub sum: f64,
    pub mean: f64,
    /// The population's standard deviation, as [`Sample::std`].
    pub std: f64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl From<&Sample> for Distribution {
    fn from(sample: &Sample) -> Self {
        Self {
            count: sample.count(),
            sum: sample.sum(),
            mean: sample.mean(),
            std: sample.std(),
            min: sample.min(),
            p50: sample.median(),
            p90: sample.quantile(0.90),
            p95: sample.quantile(0.95),
            p99: sample.quantile(0.99),
            max: sample.max(),
        }
    }
}

/// Summarises a run of `workload`.
pub fn summarize(run: &Run, workload: &Workload) -> Summary {
    let mut failures = BTreeMap::new();
    let mut finish_reasons = BTreeMap::new();
    for record in &run.records {
        match &record.outcome {
            Ok(completion) => *finish_reasons.entry(completion.finish_reason).or_default() += 1,
            Err(error) => *failures.entry(error.reason).or_default() += 1,
        }
    }
    let wall = run.records.iter().map(|record| record.ended).max();
    let wall = wall.unwrap_or_default();
    let tokens = tokens(run);
    let client_delay = distribution(run.client_delays.iter().map(Duration::as_secs_f64));
    let client_load_ratio = client_load_ratio(run, wall);
    let server = ServerView::of(run, workload.max_tokens);
    let invalid_reasons = invalid_reasons(run, workload, &server, client_delay, client_load_ratio);
    Summary {
        completed: finish_reasons.values().sum(),
        failed: failures.values().sum(),
        failures,
        finish_reasons,
        wall,
        tokens,
        concurrency_utilization: concurrency_utilization(run, wall),
        client_delay,
        client_load_ratio,
        figures: if invalid_reasons.is_empty() {
            figures(run, wall, tokens)
        } else {
            None
        },
        server,
        invalid_reasons,
    }
}

/// Every completed request of the run.
fn completions(run: &Run) -> impl Iterator<Item = &Completion> + Clone {
    run.records
        .iter()
        .filter_map(|record| record.outcome.as_ref().ok())
}

fn tokens(run: &Run) -> Tokens {
    let sum = |tokens: fn(&Completion) -> u64| completions(run).map(tokens).sum();
    Tokens {
        prompt_total: sum(|completion| completion.prompt_tokens),
        completion_total: sum(|completion| completion.completion_tokens),
        cached_total: completions(run)
            .map(|completion| completion.cached_tokens)
            .sum::<Option<u64>>()
            .filter(|_| completions(run).next().is_some()),
    }
}

fn concurrency_utilization(run: &Run, wall: Duration) -> Option<f64> {
    let in_flight: Duration = run
        .records
        .iter()
        .map(|record| record.ended.saturating_sub(record.sent))
        .sum();
    let available = wall.as_secs_f64() * f64::from(run.concurrency);
    (available > 0.0).then(|| in_flight.as_secs_f64() / available)
}

fn client_load_ratio(run: &Run, wall: Duration) -> Option<f64> {
    let had = run.client_cpu?;
    let wall = wall.as_secs_f64();
    (wall > 0.0).then(|| (had.used + had.waited).as_secs_f64() / wall)
}

fn figures(run: &Run, wall: Duration, tokens: Tokens) -> Option<Figures> {
    let wall = wall.as_secs_f64();
    let completed = completions(run).count() as f64;
    if wall == 0.0 || completed == 0.0 {
        return None;
    }
    let readings = |of: fn(&RequestRecord) -> Option<Duration>| {
        distribution(
            run.records
                .iter()
                .filter_map(of)
                .map(|reading| reading.as_secs_f64()),
        )
    };
    Some(Figures {
        qps: completed / wall,
        prompt_tps: tokens.prompt_total as f64 / wall,
        decode_tps: tokens.completion_total as f64 / wall,
        latency: readings(RequestRecord::latency)?,
        ttft: readings(RequestRecord::time_to_first_token),
        ttfo: readings(RequestRecord::time_to_first_output),
        tpot: distribution(
            run.records
                .iter()
                .filter_map(RequestRecord::time_per_output_token),
        ),
        itl: distribution(gaps(run).map(Duration::as_secs_f64)),
        prompt_tokens_mean: tokens.prompt_total as f64 / completed,
        completion_tokens_mean: tokens.completion_total as f64 / completed,
    })
}

/// The gaps between the token-bearing chunks of all completed requests.
fn gaps(run: &Run) -> impl Iterator<Item = &Duration> {
    completions(run)
        .filter_map(|completion| completion.arrivals.as_ref())
        .flat_map(|arrivals| &arrivals.gaps)
}

/// `None` when there are no readings: such a figure is absent.
fn distribution(readings: impl Iterator<Item = f64>) -> Option<Distribution> {
    Sample::new(readings.collect())
        .as_ref()
        .map(Distribution::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measurement::fixture::{closed_loop, completion, reference};

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
    }

    #[test]
    fn the_published_figures_of_the_reference_hang_together() {
        // Three waves of 16 as long as the published median, the fourth ends the run on time.
        for (precision, qps, decode_tps, p50) in [
            ("NVFP4", 2.3690, 606.47, 6.7577),
            ("FP8", 1.4917, 381.87, 10.6898),
            ("BF16", 1.2582, 322.09, 12.7105),
        ] {
            let wall = 64.0 * 256.0 / decode_tps;
            let waves = [p50, p50, p50, wall - 3.0 * p50].map(|wave| [wave; 16]);
            let times: Vec<_> = waves
                .iter()
                .flatten()
                .map(|s| Duration::from_secs_f64(*s))
                .collect();
            let summary = summarize(&closed_loop(16, &times, 256), &Workload::reference("p"));
            let figures = summary.figures.unwrap();
            assert!(
                (figures.qps - qps).abs() <= 0.00005,
                "{precision}: {}",
                figures.qps
            );
            assert!(
                (figures.decode_tps - decode_tps).abs() <= 0.005,
                "{precision}"
            );
            assert!((figures.latency.p50 - p50).abs() <= 0.00005, "{precision}");
            // In a closed loop of fixed length the three figures are one.
            assert!(
                (qps * 256.0 - decode_tps).abs() <= 256.0 * 0.00005 + 0.005,
                "{precision}"
            );
            assert!(
                (16.0 / figures.qps / p50 - 1.0).abs() < 0.004,
                "{precision}"
            );
        }
    }

    #[test]
    fn each_figure_is_what_its_formula_says() {
        let (mut run, workload) = reference();
        // Half a second from the last token to the end of the body: part of W, not of the latency.
        run.records[63].ended += Duration::from_millis(500);
        let content = run.records[63].sent + Duration::from_millis(400);
        let last = completion(&mut run.records[63]);
        last.arrivals.as_mut().unwrap().first_content = Some(content);
        run.client_delays = vec![Duration::from_millis(1), Duration::from_millis(3)];
        let summary = summarize(&run, &workload);
        assert_eq!(summary.wall, Duration::from_millis(4_500));
        assert_eq!(summary.client_delay.unwrap().mean, 0.002);
        assert!(near(
            summary.concurrency_utilization.unwrap(),
            64.5 / (4.5 * 16.0)
        ));
        let figures = summary.figures.unwrap();
        assert!(near(figures.qps, 64.0 / 4.5));
        assert!(near(figures.prompt_tps, 64.0 * 110.0 / 4.5));
        assert!(near(figures.decode_tps, 64.0 * 256.0 / 4.5));
        assert_eq!((figures.latency.max, figures.latency.std), (1.0, 0.0));
        assert!(near(figures.ttft.unwrap().p50, 0.1));
        assert!(near(figures.ttfo.unwrap().sum, 0.4));
        assert!(near(figures.tpot.unwrap().p99, 0.9 / 255.0));
        assert_eq!(figures.itl.unwrap().count, 64);
        assert_eq!(
            (figures.prompt_tokens_mean, figures.completion_tokens_mean),
            (110.0, 256.0)
        );
    }

    #[test]
    fn without_streaming_only_the_whole_latency_is_known() {
        let (mut run, workload) = reference();
        run.records
            .iter_mut()
            .for_each(|record| completion(record).arrivals = None);
        let figures = summarize(&run, &workload).figures.unwrap();
        assert_eq!(figures.latency.p50, 1.0);
        assert_eq!(
            (figures.ttft, figures.ttfo, figures.tpot, figures.itl),
            (None, None, None, None)
        );
    }

    #[test]
    fn cached_tokens_are_known_only_if_every_answer_tells_them() {
        let (mut run, workload) = reference();
        run.records
            .iter_mut()
            .for_each(|record| completion(record).cached_tokens = Some(96));
        assert_eq!(
            summarize(&run, &workload).tokens.cached_total,
            Some(64 * 96)
        );
        completion(&mut run.records[7]).cached_tokens = None;
        assert_eq!(summarize(&run, &workload).tokens.cached_total, None);
        run.records.clear();
        assert_eq!(summarize(&run, &workload).tokens.cached_total, None);
    }

    #[test]
    fn a_run_that_took_no_time_divides_by_nothing() {
        let run = closed_loop(1, &[Duration::ZERO], 256);
        let summary = summarize(&run, &Workload::reference("p"));
        assert_eq!(
            (summary.concurrency_utilization, summary.figures),
            (None, None)
        );
    }

    fn times() -> impl Strategy<Value = Vec<Duration>> {
        prop::collection::vec((1_u64..20_000).prop_map(Duration::from_millis), 1..100)
    }

    proptest! {
        #[test]
        fn requests_times_their_mean_length_are_the_tokens(times in times(), c in 1_u32..20, tokens in 1_u32..2_000) {
            let mut workload = Workload::reference("p");
            workload.max_tokens = tokens;
            let figures = summarize(&closed_loop(c, &times, tokens), &workload).figures.unwrap();
            prop_assert!(near(figures.qps * figures.completion_tokens_mean, figures.decode_tps));
            prop_assert!(near(figures.qps * figures.prompt_tokens_mean, figures.prompt_tps));
        }

        #[test]
        fn littles_law_holds(times in times(), c in 1_u32..20) {
            let run = closed_loop(c, &times, 256);
            let summary = summarize(&run, &Workload::reference("p"));
            let figures = summary.figures.unwrap();
            let in_flight = figures.qps * figures.latency.mean;
            prop_assert!(near(in_flight, summary.concurrency_utilization.unwrap() * f64::from(c)));
            // All lanes are busy but for the drain at the end, which is no longer than one request.
            let drained = figures.latency.max / summary.wall.as_secs_f64();
            prop_assert!(in_flight <= f64::from(c) + 1e-9);
            prop_assert!(in_flight >= f64::from(c) * (1.0 - drained) - 1e-9);
        }

        #[test]
        fn in_lock_step_exactly_the_concurrency_is_in_flight(time in 1_u64..100_000, waves in 1_usize..8, c in 1_u32..20) {
            let times = vec![Duration::from_millis(time); waves * c as usize];
            let figures = summarize(&closed_loop(c, &times, 256), &Workload::reference("p")).figures.unwrap();
            prop_assert!(near(figures.qps * figures.latency.mean, f64::from(c)));
            prop_assert!(near(f64::from(c) / figures.qps, figures.latency.p50));
        }

        #[test]
        fn the_order_of_the_records_does_not_matter(times in times(), c in 1_u32..20, turn in 0_usize..100) {
            let run = closed_loop(c, &times, 256);
            let mut turned = run.clone();
            turned.records.reverse();
            turned.records.rotate_left(turn % times.len());
            let workload = Workload::reference("p");
            prop_assert_eq!(summarize(&run, &workload), summarize(&turned, &workload));
        }
    }
}
