//! A run as a table for people. A withheld or unknown figure is a dash.

use std::fmt::Write;

use crate::deployment::Deployment;
use crate::measurement::{RequestError, Run};
use crate::statistics::{Distribution, Summary};
use crate::workload::Workload;

/// Messages of failed requests that are shown; the others are in the JSON.
const FAILURES_SHOWN: usize = 3;

/// Lays out `run` in a few lines of plain text.
pub fn text(deployment: &Deployment, workload: &Workload, run: &Run, summary: &Summary) -> String {
    let figures = summary.figures.as_ref();
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<26}{value}");
    };
    line(
        "deployment",
        format!("{} ({})", deployment.name, deployment.endpoint.base_url()),
    );
    line("model", run.model.clone());
    line("vLLM", run.server_version.clone().unwrap_or_else(dash));
    line(
        "workload",
        format!(
            "{} requests, {} in flight, {} tokens, temperature {}, {} prefix cache ({})",
            workload.requests,
            workload.concurrency,
            workload.max_tokens,
            workload.temperature,
            workload.prefix_cache.label().replace('_', "-"),
            workload.id(),
        ),
    );
    line(
        "completed / failed",
        format!("{} / {}", summary.completed, summary.failed),
    );
    line("wall time", seconds(summary.wall.as_secs_f64()));
    line("requests per second", rate(figures.map(|f| f.qps), 4));
    line(
        "prompt tokens per second",
        rate(figures.map(|f| f.prompt_tps), 2),
    );
    line(
        "decode tokens per second",
        rate(figures.map(|f| f.decode_tps), 2),
    );
    line("tokens per request", tokens(summary));
    let _ = writeln!(
        out,
        "\n{:<26}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "seconds", "mean", "p50", "p90", "p95", "p99", "max"
    );
    for (name, distribution) in [
        ("end-to-end latency", figures.map(|f| f.latency)),
        ("time to first token", figures.and_then(|f| f.ttft)),
        ("time per output token", figures.and_then(|f| f.tpot)),
        ("inter-token latency", figures.and_then(|f| f.itl)),
        ("delay by the prober", summary.client_delay),
    ] {
        let _ = writeln!(out, "{name:<26}{}", row(distribution));
    }
    let _ = writeln!(out);
    let _ = writeln!(
        out,
        "{:<26}{}",
        "kept in flight",
        share(summary.concurrency_utilization)
    );
    server(&mut out, summary);
    if run.connections.reopened > 0 {
        let _ = writeln!(
            out,
            "{:<26}{}",
            "connections reopened", run.connections.reopened
        );
    }
    let _ = writeln!(out, "{:<26}{}", "valid", verdict(summary));
    for error in errors(run) {
        let _ = writeln!(out, "{:<26}{error}", "failed");
    }
    out
}

/// What the server's own metrics say of the run.
fn server(out: &mut String, summary: &Summary) {
    let view = &summary.server;
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<26}{value}");
    };
    line("prefix cache hits", share(summary.prefix_cache_hit_ratio()));
    if let Some(why) = &view.unobservable {
        line("server's own metrics", format!("not to be had ({why})"));
    }
    if let Some(foreign) = view.foreign {
        let peak = foreign.requests_peak.map_or_else(String::new, |peak| {
            format!(", {peak:.0} requests of others at most")
        });
        line(
            "tokens for others",
            format!(
                "{:.0} generated ({} of ours), {:.0} prompt{peak}",
                foreign.tokens,
                share(foreign.tokens_ratio),
                foreign.prompt_tokens,
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
    if summary.is_valid()
        && let (Some(ttft), Some(e2e)) = (view.ttft_mean, view.e2e_latency_mean)
    {
        let queue = view.queue_time_mean.map_or_else(dash, seconds);
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

fn verdict(summary: &Summary) -> String {
    if summary.is_valid() {
        return "yes".to_owned();
    }
    let reasons: Vec<String> = summary
        .invalid_reasons
        .iter()
        .map(|reason| format!("{}: {}", reason.label(), reason.meaning()))
        .collect();
    format!(
        "no, so rates and quantiles are withheld ({})",
        reasons.join(" ")
    )
}

/// The first failures, one of each reason.
fn errors(run: &Run) -> Vec<&RequestError> {
    let mut shown: Vec<&RequestError> = Vec::new();
    for error in run
        .records
        .iter()
        .filter_map(|record| record.outcome.as_ref().err())
    {
        if shown.len() < FAILURES_SHOWN
            && !shown.iter().any(|earlier| earlier.reason == error.reason)
        {
            shown.push(error);
        }
    }
    shown
}

fn tokens(summary: &Summary) -> String {
    if summary.completed == 0 {
        return dash();
    }
    let mean = |total: u64| total as f64 / f64::from(summary.completed);
    format!(
        "{:.1} prompt, {:.1} completion",
        mean(summary.tokens.prompt_total),
        mean(summary.tokens.completion_total)
    )
}

fn row(distribution: Option<Distribution>) -> String {
    let cells = distribution.map_or_else(
        || [const { None }; 6],
        |d| [d.mean, d.p50, d.p90, d.p95, d.p99, d.max].map(Some),
    );
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
