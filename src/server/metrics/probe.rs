//! What `/probe` shows of one run: names and HELP, and where each value comes from. The names begin with `probe_`, as
//! those of other exporters that probe at scrape time do, and not with the prefix of the scheduled series: dashboards
//! and rules about those are not to take in what a scrape happened to measure.

use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};

use super::family::Family;
use crate::lifecycle::Probed;
use crate::measurement::FailureReason;
use crate::statistics::{Distribution, Figures, Summary};

/// A metric with at most one series.
struct One {
    name: &'static str,
    help: &'static str,
    value: fn(&Probed) -> Option<f64>,
}

/// Said of every figure of a run.
macro_rules! of_this_run {
    ($text:literal) => {
        concat!($text, " Of this run; absent when it was not valid.")
    };
}

/// Said of what is a distribution elsewhere.
macro_rules! median {
    ($text:literal) => {
        concat!(
            $text,
            " The median of this run's requests, which is the only one's if it has one; absent when the run was not valid."
        )
    };
}

const GAUGES: &[One] = &[
    One {
        name: "probe_success",
        help: "1 if the probe came to a valid run, 0 if not.",
        value: |of| {
            let valid = summary(of).is_some_and(Summary::is_valid);
            Some(f64::from(u8::from(valid)))
        },
    },
    One {
        name: "probe_duration_seconds",
        help: "How long the probe took in all, waiting for its lane and looking at the server included.",
        value: |of| Some(of.took.as_secs_f64()),
    },
    One {
        name: "probe_timeout_seconds",
        help: "How long the probe was allowed to take in all: the scrape timeout less the offset, or the workload's own timeout for a run if that is shorter.",
        value: |of| Some(of.limit.as_secs_f64()),
    },
    One {
        name: "probe_lane_wait_seconds",
        help: "How long the probe waited for runs of the same lane; part of its duration.",
        value: |of| Some(of.waited.as_secs_f64()),
    },
    One {
        name: "probe_run_duration_seconds",
        help: "Wall time W of the run, from before its first dispatch to the end of its last answer; of an invalid run too.",
        value: |of| Some(summary(of)?.wall.as_secs_f64()),
    },
    One {
        name: "probe_requests",
        help: "Requests that the run sent, warm-up excluded.",
        value: |of| {
            let summary = summary(of)?;
            Some(f64::from(summary.completed + summary.failed))
        },
    },
    One {
        name: "probe_connect_seconds",
        help: "Mean time to open a connection to the server: DNS, TCP and TLS. Absent when none was opened.",
        value: |of| {
            let (run, _) = of.outcome.as_ref().ok()?;
            Some(run.connections.connect_time?.as_secs_f64())
        },
    },
    One {
        name: "probe_time_to_first_token_seconds",
        help: median!("TTFT: from sending a request to the first chunk that bears a token."),
        value: |of| Some(figures(of)?.ttft?.p50),
    },
    One {
        name: "probe_e2e_latency_seconds",
        help: median!(
            "From sending a request to its last token (to the end of the body when not streamed)."
        ),
        value: |of| Some(figures(of)?.latency.p50),
    },
    One {
        name: "probe_time_per_output_token_seconds",
        help: median!("TPOT: (last token - first token) / (completion tokens - 1) of a request."),
        value: |of| median_of(figures(of)?.tpot),
    },
    One {
        name: "probe_inter_token_latency_seconds",
        help: of_this_run!("ITL: the median of the gaps between token-bearing chunks."),
        value: |of| median_of(figures(of)?.itl),
    },
    One {
        name: "probe_requests_per_second",
        help: of_this_run!("Completed requests divided by the run's wall time."),
        value: |of| Some(figures(of)?.qps),
    },
    One {
        name: "probe_prompt_tokens_per_second",
        help: of_this_run!(
            "Prompt tokens divided by the run's wall time. Accepted tokens, not computed ones."
        ),
        value: |of| Some(figures(of)?.prompt_tps),
    },
    One {
        name: "probe_decode_tokens_per_second",
        help: of_this_run!(
            "Completion tokens divided by the run's wall time: with one request at a time, no measure of what the server can do."
        ),
        value: |of| Some(figures(of)?.decode_tps),
    },
    One {
        name: "probe_prompt_tokens_mean",
        help: of_this_run!("Prompt tokens of a completed request, mean."),
        value: |of| Some(figures(of)?.prompt_tokens_mean),
    },
    One {
        name: "probe_completion_tokens_mean",
        help: of_this_run!("Completion tokens of a completed request, mean."),
        value: |of| Some(figures(of)?.completion_tokens_mean),
    },
];

const FAILURE_INFO: (&str, &str) = (
    "probe_failure_info",
    "1 for each reason why the probe came to no valid run; none when it did.",
);
const FAILED_REQUESTS: (&str, &str) = (
    "probe_failed_requests",
    "Requests of the run that failed, by reason; only reasons that there were.",
);
const HTTP_INFO: (&str, &str) = (
    "probe_http_info",
    "1. The class of the HTTP status of the run's answers, of the first failed one if one failed. Absent when it is not known.",
);
const TARGET_INFO: (&str, &str) = (
    "probe_target_info",
    "1. What was probed: the deployment's name or the target's address, the workload, the model that was asked for, and the version that the server tells.",
);

/// Every name, for what is written about them.
pub(in crate::server) fn names() -> impl Iterator<Item = &'static str> {
    let gauges = GAUGES.iter().map(|metric| metric.name);
    let infos = [FAILURE_INFO, FAILED_REQUESTS, HTTP_INFO, TARGET_INFO];
    gauges.chain(infos.map(|(name, _)| name))
}

/// The exposition of one probe, in Prometheus' text format.
pub(in crate::server) fn text(probed: &Probed) -> Vec<u8> {
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&families(probed), &mut text)
        .expect("writing to memory does not fail");
    text
}

fn families(probed: &Probed) -> Vec<MetricFamily> {
    let gauges = GAUGES.iter().map(|metric| {
        let mut family = Family::of_probe(metric.name, metric.help);
        family.value(&[], (metric.value)(probed));
        family.done()
    });
    gauges
        .chain([
            failure_info(probed),
            failed_requests(probed),
            http_info(probed),
            target_info(probed),
        ])
        .flatten()
        .collect()
}

fn summary(of: &Probed) -> Option<&Summary> {
    Some(of.outcome.as_ref().ok()?.1.as_ref())
}

fn figures(of: &Probed) -> Option<&Figures> {
    summary(of)?.figures.as_ref()
}

fn median_of(distribution: Option<Distribution>) -> Option<f64> {
    Some(distribution?.p50)
}

fn failure_info(of: &Probed) -> Option<MetricFamily> {
    let mut family = Family::of_probe(FAILURE_INFO.0, FAILURE_INFO.1);
    let reasons: Vec<&str> = match &of.outcome {
        Ok((_, summary)) => {
            let reasons = summary.invalid_reasons.iter();
            reasons.map(|reason| reason.label()).collect()
        }
        Err(unmeasured) => vec![unmeasured.reason.label()],
    };
    for reason in reasons {
        family.value(&[("reason", reason)], Some(1.0));
    }
    family.done()
}

fn failed_requests(of: &Probed) -> Option<MetricFamily> {
    let mut family = Family::of_probe(FAILED_REQUESTS.0, FAILED_REQUESTS.1);
    for (reason, count) in &summary(of)?.failures {
        family.value(&[("reason", reason.label())], Some(f64::from(*count)));
    }
    family.done()
}

fn http_info(of: &Probed) -> Option<MetricFamily> {
    let (run, _) = of.outcome.as_ref().ok()?;
    let mut failures = run
        .records
        .iter()
        .filter_map(|record| record.outcome.as_ref().err());
    let class = match failures.next() {
        Some(error) => status_class(error.reason)?,
        None => run.records.first().map(|_| "2xx")?,
    };
    let mut family = Family::of_probe(HTTP_INFO.0, HTTP_INFO.1);
    family.value(&[("status_class", class)], Some(1.0));
    family.done()
}

/// The class of the status that came before a request failed so; `None` if there may have been none.
fn status_class(reason: FailureReason) -> Option<&'static str> {
    match reason {
        FailureReason::Redirect => Some("3xx"),
        FailureReason::Http401
        | FailureReason::Http404
        | FailureReason::Http429
        | FailureReason::Http4xx => Some("4xx"),
        FailureReason::Http5xx => Some("5xx"),
        FailureReason::HttpOther => Some("other"),
        FailureReason::StreamError
        | FailureReason::BadSse
        | FailureReason::BadJson
        | FailureReason::TooLarge
        | FailureReason::Truncated
        | FailureReason::NoTokens
        | FailureReason::NoUsage
        | FailureReason::BadUsage
        | FailureReason::BadFinish
        | FailureReason::TimeoutStall => Some("2xx"),
        FailureReason::Dns
        | FailureReason::Connect
        | FailureReason::TimeoutConnect
        | FailureReason::Tls
        | FailureReason::Disconnect
        | FailureReason::BadHttp
        | FailureReason::TimeoutFirstToken
        | FailureReason::TimeoutTotal
        | FailureReason::Deadline
        | FailureReason::Cancelled => None,
    }
}

fn target_info(of: &Probed) -> Option<MetricFamily> {
    let run = of.outcome.as_ref().ok().map(|(run, _)| run);
    let model = run.map(|run| run.model.as_str());
    let model = model.or(of.deployment.model.as_deref()).unwrap_or_default();
    let version = run.and_then(|run| run.server_version.as_deref());
    let mut family = Family::of_probe(TARGET_INFO.0, TARGET_INFO.1);
    family.value(
        &[
            ("deployment", of.deployment.name.as_str()),
            ("workload", of.workload.name.as_str()),
            ("model", model),
            ("vllm_version", version.unwrap_or_default()),
        ],
        Some(1.0),
    );
    family.done()
}
