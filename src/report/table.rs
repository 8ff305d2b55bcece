//! A run as a table for people. A withheld or unknown figure is a dash.

use std::fmt::Write;

use super::{Quantiles, RequestJson, RunJson};
use crate::statistics::InvalidReason;

/// Messages of failed requests that are shown; the others are in the JSON.
const FAILURES_SHOWN: usize = 3;

/// Lays out `run` in a few lines of plain text. Messages of failures are shown of a run that has its requests
/// with it.
pub fn text(run: &RunJson) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<26}{value}");
    };
    line("deployment", deployment(run));
    line("model", run.model.clone());
    line("vLLM", run.server.version.clone().unwrap_or_else(dash));
    line("workload", workload(run));
    line(
        "completed / failed",
        format!("{} / {}", run.completed, run.failed),
    );
    line("wall time", seconds(run.wall_seconds));
    line("requests per second", rate(run.qps, 4));
    line("prompt tokens per second", rate(run.prompt_tps, 2));
    line("decode tokens per second", rate(run.decode_tps, 2));
    line("tokens per request", tokens(run));
    let _ = writeln!(
        out,
        "\n{:<26}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "seconds", "mean", "p50", "p90", "p95", "p99", "max"
    );
    for (name, distribution) in [
        ("end-to-end latency", run.latency_seconds),
        ("time to first token", run.ttft_seconds),
        ("time per output token", run.tpot_seconds),
        ("inter-token latency", run.itl_seconds),
        ("delay by the prober", run.client.delay_seconds),
    ] {
        let _ = writeln!(out, "{name:<26}{}", row(distribution));
    }
    let _ = writeln!(out);
    let _ = writeln!(
        out,
        "{:<26}{}",
        "kept in flight",
        share(run.concurrency_utilization)
    );
    server(&mut out, run);
    if run.client.connections_reopened > 0 {
        let _ = writeln!(
            out,
            "{:<26}{}",
            "connections reopened", run.client.connections_reopened
        );
    }
    let _ = writeln!(out, "{:<26}{}", "valid", verdict(run));
    for error in errors(run) {
        let _ = writeln!(out, "{:<26}{error}", "failed");
    }
    out
}

fn deployment(run: &RunJson) -> String {
    match &run.base_url {
        Some(base_url) => format!("{} ({base_url})", run.deployment),
        None => run.deployment.clone(),
    }
}

/// What was replayed, as far as it is known.
fn workload(run: &RunJson) -> String {
    let known = [
        Some(format!("{} requests", run.requests)),
        Some(format!("{} in flight", run.concurrency)),
        run.max_tokens.map(|tokens| format!("{tokens} tokens")),
        run.temperature
            .map(|degree| format!("temperature {degree}")),
        run.prefix_cache
            .as_ref()
            .map(|cache| format!("{} prefix cache", cache.replace('_', "-"))),
    ];
    let known: Vec<String> = known.into_iter().flatten().collect();
    format!("{} ({})", known.join(", "), run.workload_id)
}

/// What the server's own metrics say of the run.
fn server(out: &mut String, run: &RunJson) {
    let view = &run.server;
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<26}{value}");
    };
    line("prefix cache hits", share(view.prefix_cache_hit_ratio));
    if let Some(why) = &view.unobservable {
        line("server's own metrics", format!("not to be had ({why})"));
    }
    if let (Some(tokens), Some(prompt_tokens)) = (view.foreign_tokens, view.foreign_prompt_tokens) {
        let peak = view.foreign_requests_peak.map_or_else(String::new, |peak| {
            format!(", {peak:.0} requests of others at most")
        });
        line(
            "tokens for others",
            format!(
                "{tokens:.0} generated ({} of ours), {prompt_tokens:.0} prompt{peak}",
                share(view.foreign_tokens_ratio),
            ),
        );
    }
    if let Some(usage) = view.kv_cache_usage_peak {
        line(
            "KV cache",
            format!(
                "{} in use at most, {} preemptions",
                share(Some(usage)),
                view.preemptions.map_or_else(dash, |n| format!("{n:.0}")),
            ),
        );
    }
    if let Some(acceptance) = view.draft_acceptance_ratio {
        line("draft tokens accepted", share(Some(acceptance)));
    }
    if let (Some(ttft), Some(e2e)) = (view.ttft_seconds_mean, view.e2e_latency_seconds_mean) {
        let queue = view.queue_time_seconds_mean.map_or_else(dash, seconds);
        line(
            "the server's own means",
            format!(
                "first token {}, queue {queue}, end to end {}",
                seconds(ttft),
                seconds(e2e)
            ),
        );
    }
}

fn verdict(run: &RunJson) -> String {
    if run.valid {
        return "yes".to_owned();
    }
    let meaning = |word: &str| {
        let known = InvalidReason::ALL
            .iter()
            .find(|reason| reason.label() == word);
        known.map_or_else(
            || word.to_owned(),
            |reason| format!("{word}: {}", reason.meaning()),
        )
    };
    let reasons: Vec<String> = run
        .invalid_reasons
        .iter()
        .map(|word| meaning(word))
        .collect();
    format!(
        "no, so rates and quantiles are withheld ({})",
        reasons.join(" ")
    )
}

/// The first failures, one of each reason.
fn errors(run: &RunJson) -> Vec<String> {
    let mut shown: Vec<&RequestJson> = Vec::new();
    for request in run.request_records.iter().flatten() {
        if request.failure_reason.is_some()
            && shown.len() < FAILURES_SHOWN
            && !shown
                .iter()
                .any(|earlier| earlier.failure_reason == request.failure_reason)
        {
            shown.push(request);
        }
    }
    let words = |request: &RequestJson| {
        Some(format!(
            "{}: {}",
            request.failure_reason.as_ref()?,
            request.failure.as_deref().unwrap_or_default()
        ))
    };
    shown.into_iter().filter_map(words).collect()
}

fn tokens(run: &RunJson) -> String {
    let usage = &run.token_usage;
    match (usage.prompt_tokens_mean, usage.completion_tokens_mean) {
        (None, None) => dash(),
        (prompt, completion) => format!(
            "{} prompt, {} completion",
            rate(prompt, 1),
            rate(completion, 1)
        ),
    }
}

fn row(distribution: Option<Quantiles>) -> String {
    let cells = distribution.map_or([None; 6], |d| [d.mean, d.p50, d.p90, d.p95, d.p99, d.max]);
    cells
        .into_iter()
        .map(|cell| {
            format!(
                "{:>10}",
                cell.map_or_else(dash, |value| format!("{value:.4}"))
            )
        })
        .collect()
}

fn rate(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(dash, |value| format!("{value:.digits$}"))
}

fn seconds(value: f64) -> String {
    format!("{value:.3} s")
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(dash, |value| format!("{:.1} %", value * 100.0))
}

fn dash() -> String {
    "-".to_owned()
}
