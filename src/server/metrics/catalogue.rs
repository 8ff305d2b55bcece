//! Every metric about a probe: its name, its HELP and where its value comes from. This is the list to
//! read, and to extend.

use jiff::Timestamp;

use crate::board::{LastRun, ProbeStatus};
use crate::statistics::{Distribution, Figures, InvalidReason, Summary};
use crate::totals::{Histogram, Histograms, SumAndCount, Totals};

/// Where a value comes from: a probe, and its last run unless that is stale.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) probe: &'a ProbeStatus,
    pub(super) current: Option<&'a LastRun>,
}

impl<'a> Reading<'a> {
    /// The figures of the last run. A run that does not count has none, and older ones are not repeated.
    pub(super) fn figures(self) -> Option<&'a Figures> {
        self.summary()?.figures.as_ref()
    }

    /// What the last run amounts to, whether it counts or not.
    pub(super) fn summary(self) -> Option<&'a Summary> {
        self.current?.outcome.summary()
    }

    /// The same, of a run that counts.
    pub(super) fn valid_summary(self) -> Option<&'a Summary> {
        self.summary().filter(|summary| summary.is_valid())
    }
}

/// Said of every figure of a run: the licence that Prometheus' rules for exporters give to readings that
/// take longer than a scrape may.
macro_rules! of_last_run {
    ($text:literal) => {
        concat!(
            $text,
            " Of the last run; cached from a scheduled run, not taken at scrape time; absent when that run was not valid or is stale."
        )
    };
}

/// A metric with one series for each probe.
pub(super) struct One {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) value: fn(Reading<'_>) -> Option<f64>,
}

/// Gauges with the labels `deployment` and `workload` only.
pub(super) const GAUGES: &[One] = &[
    One {
        name: "success",
        help: "1 if the last finished run was valid, 0 if not. Absent when it is stale.",
        value: |of| Some(flag(of.current?.outcome.invalid_reasons().is_empty())),
    },
    One {
        name: "last_run_timestamp_seconds",
        help: "Unix time at which the last run finished, valid or not.",
        value: |of| Some(unix(of.probe.last.as_ref()?.ended_at)),
    },
    One {
        name: "last_valid_run_timestamp_seconds",
        help: "Unix time at which the last valid run finished.",
        value: |of| of.probe.last_valid.map(unix),
    },
    One {
        name: "run_duration_seconds",
        help: "Wall time W of the last finished run, from before its first dispatch to the end of its last answer; of an invalid run too. Cached from a scheduled run, not taken at scrape time.",
        value: |of| Some(of.summary()?.wall.as_secs_f64()),
    },
    One {
        name: "run_requests_per_second",
        help: of_last_run!("Completed requests divided by the run's wall time (QPS)."),
        value: |of| Some(of.figures()?.qps),
    },
    One {
        name: "run_prompt_tokens_per_second",
        help: of_last_run!(
            "Prompt tokens divided by the run's wall time. Accepted tokens, not computed ones: with a warm prefix cache most of them come from the cache."
        ),
        value: |of| Some(of.figures()?.prompt_tps),
    },
    One {
        name: "run_decode_tokens_per_second",
        help: of_last_run!("Completion tokens divided by the run's wall time."),
        value: |of| Some(of.figures()?.decode_tps),
    },
    One {
        name: "run_prompt_tokens_mean",
        help: of_last_run!("Prompt tokens of a completed request, mean."),
        value: |of| Some(of.figures()?.prompt_tokens_mean),
    },
    One {
        name: "run_completion_tokens_mean",
        help: of_last_run!("Completion tokens of a completed request, mean."),
        value: |of| Some(of.figures()?.completion_tokens_mean),
    },
    One {
        name: "run_concurrency_utilization_ratio",
        help: "Time that requests were in flight, divided by wall time and concurrency: 1 when the prober kept the full concurrency in flight. Of the last finished run, valid or not; cached from a scheduled run, not taken at scrape time.",
        value: |of| of.summary()?.concurrency_utilization,
    },
    One {
        name: "run_client_load_ratio",
        help: "Share of the last finished run during which the prober's measuring thread worked, or waited for a processor to: near 1 the prober was the bottleneck. Cached from a scheduled run, not taken at scrape time.",
        value: |of| of.summary()?.client_load_ratio,
    },
    One {
        name: "contention_observable",
        help: "1 if the server's own metrics told the last finished run's tokens from those of others, 0 if not.",
        value: |of| Some(flag(of.summary()?.server.is_observable())),
    },
    One {
        name: "run_foreign_tokens_ratio",
        help: "Tokens that the server generated for others during the last finished run, for each one of the run's own. Cached from a scheduled run, not taken at scrape time; absent when the server's metrics do not tell.",
        value: |of| of.summary()?.server.foreign?.tokens_ratio,
    },
    One {
        name: "run_contaminated",
        help: "1 if the server did more for others during the last finished run than the run may be beside, 0 if not. Absent when the server's metrics do not tell.",
        value: |of| {
            let summary = of.summary()?;
            let contaminated = summary
                .invalid_reasons
                .contains(&InvalidReason::Contaminated);
            summary.server.is_observable().then(|| flag(contaminated))
        },
    },
    One {
        name: "run_prefix_cache_hit_ratio",
        help: "Prompt tokens that the server found in its prefix cache, of those of the last finished run. Cached from a scheduled run, not taken at scrape time; absent when the server does not tell, or others sent prompts meanwhile.",
        value: |of| of.summary()?.prefix_cache_hit_ratio(),
    },
    One {
        name: "run_server_time_to_first_token_seconds_mean",
        help: of_last_run!(
            "Mean time to first token by the server's own metrics; ours is longer by the network and the front end."
        ),
        value: |of| of.valid_summary()?.server.ttft_mean,
    },
    One {
        name: "run_server_queue_time_seconds_mean",
        help: of_last_run!("Mean time in the server's queue by its own metrics."),
        value: |of| of.valid_summary()?.server.queue_time_mean,
    },
    One {
        name: "run_server_e2e_latency_seconds_mean",
        help: of_last_run!("Mean end-to-end latency by the server's own metrics."),
        value: |of| of.valid_summary()?.server.e2e_latency_mean,
    },
    One {
        name: "interval_seconds",
        help: "Time between two slots of the probe's schedule.",
        value: |of| of.probe.interval.map(|interval| interval.as_secs_f64()),
    },
    One {
        name: "next_run_timestamp_seconds",
        help: "Unix time of the slot of the probe's next run; in the past while that run waits for its lane.",
        value: |of| of.probe.next_run.map(unix),
    },
    One {
        name: "run_start_delay_seconds",
        help: "How much later than its slot the last run started.",
        value: |of| of.probe.start_delay.map(|delay| delay.as_secs_f64()),
    },
    One {
        name: "run_in_progress",
        help: "1 while a run is going on.",
        value: |of| Some(flag(of.probe.in_progress)),
    },
];

/// Counters with the labels `deployment` and `workload` only.
pub(super) const COUNTERS: &[One] = &[
    One {
        name: "runs_total",
        help: "Finished runs, valid or not.",
        value: |of| Some(of.probe.totals.runs as f64),
    },
    One {
        name: "requests_total",
        help: "Requests sent, warm-up excluded.",
        value: |of| Some(of.probe.totals.requests as f64),
    },
    One {
        name: "prompt_tokens_total",
        help: "Prompt tokens of completed requests: what the probing itself costs.",
        value: |of| Some(of.probe.totals.prompt_tokens as f64),
    },
    One {
        name: "completion_tokens_total",
        help: "Completion tokens of completed requests: what the probing itself costs.",
        value: |of| Some(of.probe.totals.completion_tokens as f64),
    },
    One {
        name: "run_seconds_total",
        help: "Wall time of the finished runs: how long the deployment was under the probe's load.",
        value: |of| Some(of.probe.totals.run_seconds),
    },
];

/// A counter with one series for each reason of a closed set, all of them at 0 from the start.
pub(super) struct ByReason {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) counts: fn(&Totals) -> Vec<(&'static str, u64)>,
}

/// Counters with a label `reason`.
pub(super) const REASON_COUNTERS: &[ByReason] = &[
    ByReason {
        name: "run_failures_total",
        help: "Finished runs that were not valid, by the first of their reasons.",
        counts: |totals| {
            totals
                .run_failures
                .iter()
                .map(|(reason, count)| (reason.label(), *count))
                .collect()
        },
    },
    ByReason {
        name: "request_failures_total",
        help: "Requests that failed, by reason.",
        counts: |totals| {
            totals
                .request_failures
                .iter()
                .map(|(reason, count)| (reason.label(), *count))
                .collect()
        },
    },
    ByReason {
        name: "missed_runs_total",
        help: "Slots of the schedule that came to no run although they should have, by what held them up.",
        counts: |totals| {
            totals
                .missed
                .iter()
                .map(|(reason, count)| (reason.label(), *count))
                .collect()
        },
    },
    ByReason {
        name: "deferred_runs_total",
        help: "Times that a run was put off within its slot for the deployment's other users, by reason.",
        counts: |totals| {
            totals
                .deferred
                .iter()
                .map(|(reason, count)| (reason.label(), *count))
                .collect()
        },
    },
    ByReason {
        name: "skipped_runs_total",
        help: "Slots of the schedule that came to no run on purpose, by reason.",
        counts: |totals| {
            totals
                .skipped
                .iter()
                .map(|(reason, count)| (reason.label(), *count))
                .collect()
        },
    },
];

/// A summary: the quantiles of the last run, and sum and count since the start.
pub(super) struct OfRun {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) last: fn(Reading<'_>) -> Option<Distribution>,
    pub(super) all: fn(&Totals) -> SumAndCount,
}

/// Said of every summary.
macro_rules! quantiles {
    ($text:literal) => {
        concat!(
            $text,
            " Exact quantiles (type 7) of the last run, cached from a scheduled run and absent when it was not valid or is stale; sum and count accumulate over the valid runs since the start."
        )
    };
}

/// Summaries.
pub(super) const SUMMARIES: &[OfRun] = &[
    OfRun {
        name: "run_e2e_latency_seconds",
        help: quantiles!(
            "From sending a request to its last token (to the end of the body when not streamed)."
        ),
        last: |of| Some(of.figures()?.latency),
        all: |totals| totals.e2e_latency,
    },
    OfRun {
        name: "run_time_to_first_token_seconds",
        help: quantiles!(
            "TTFT: from sending a request to the first chunk that bears a token; a role-only chunk does not."
        ),
        last: |of| of.figures()?.ttft,
        all: |totals| totals.time_to_first_token,
    },
    OfRun {
        name: "run_time_per_output_token_seconds",
        help: quantiles!(
            "TPOT: (last token - first token) / (completion tokens - 1) of a request, as vllm bench serve has it."
        ),
        last: |of| of.figures()?.tpot,
        all: |totals| totals.time_per_output_token,
    },
    OfRun {
        name: "run_inter_token_latency_seconds",
        help: quantiles!(
            "ITL: gaps between consecutive token-bearing chunks, pooled over the run; a chunk may carry several tokens."
        ),
        last: |of| of.figures()?.itl,
        all: |totals| totals.inter_token_latency,
    },
    OfRun {
        name: "run_client_delay_seconds",
        help: "How long ready work waited on the prober's measuring thread, sampled through the run: the delay that the prober itself adds. Quantiles of the last run; sum and count accumulate over the finished runs.",
        last: |of| of.summary()?.client_delay,
        all: |totals| totals.client_delay,
    },
];

/// A histogram over all completed requests.
pub(super) struct OfRequests {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) readings: fn(&Histograms) -> &Histogram,
}

/// Histograms, unless the configuration switches them off.
pub(super) const HISTOGRAMS: &[OfRequests] = &[
    OfRequests {
        name: "request_e2e_latency_seconds",
        help: "From sending a request to its last token, over all completed requests since the start.",
        readings: |histograms| &histograms.e2e_latency,
    },
    OfRequests {
        name: "request_time_to_first_token_seconds",
        help: "From sending a request to its first token, over all completed streamed requests since the start.",
        readings: |histograms| &histograms.time_to_first_token,
    },
    OfRequests {
        name: "request_time_per_output_token_seconds",
        help: "(last token - first token) / (completion tokens - 1), over all completed streamed requests since the start.",
        readings: |histograms| &histograms.time_per_output_token,
    },
];

/// HELP of the metrics that need code of their own.
pub(super) const RUN_INVALID: (&str, &str) = (
    "run_invalid",
    "1 for each reason why the last finished run does not count, 0 for the other reasons. Absent when that run is stale.",
);
pub(super) const FINISH_REASON: (&str, &str) = (
    "run_finish_reason_ratio",
    of_last_run!("Share of the completed requests that ended for this reason."),
);

pub(super) fn unix(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
