//! What a run came to: its rates and counts, and how its times are distributed.

use maud::{Markup, html};

use crate::report::{Quantiles, RunJson};
use crate::server::pages::quantity::{NONE, number, percent, seconds};

/// The figures of `run`; a run that does not count has few.
pub(super) fn of(run: &RunJson) -> Markup {
    let rate = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), number);
    let usage = &run.token_usage;
    let facts = [
        ("Decode tokens per second", rate(run.decode_tps)),
        ("Prompt tokens per second", rate(run.prompt_tps)),
        ("Requests per second", rate(run.qps)),
        (
            "Requests",
            format!(
                "{} completed, {} failed, of {}",
                run.completed, run.failed, run.requests
            ),
        ),
        ("Kept in flight", format!("{} requests", run.concurrency)),
        (
            "Concurrency reached",
            run.concurrency_utilization
                .map_or_else(|| NONE.to_owned(), percent),
        ),
        ("Prompt tokens per request", rate(usage.prompt_tokens_mean)),
        (
            "Completion tokens per request",
            rate(usage.completion_tokens_mean),
        ),
    ];
    let distributions = [
        ("Latency, end to end", run.latency_seconds),
        ("Time to first token", run.ttft_seconds),
        ("Time to first output", run.ttfo_seconds),
        ("Time per output token", run.tpot_seconds),
        ("Between two chunks", run.itl_seconds),
    ];
    let known: Vec<_> = distributions
        .into_iter()
        .filter_map(|(name, distribution)| Some((name, distribution?)))
        .collect();
    html! {
        section {
            h2 { "Figures" }
            div.wide tabindex="0" role="region" aria-label="Figures of the run" {
                table.facts {
                    tbody { @for (name, value) in &facts { tr { th scope="row" { (name) } td.figure { (value) } } } }
                }
            }
            @if !known.is_empty() {
                div.wide tabindex="0" role="region" aria-label="How times are distributed" {
                    table.facts {
                        caption { "How times are distributed over the completed requests" }
                        thead { tr {
                            th scope="col" { "Time" } th scope="col" { "mean" } th scope="col" { "p50" }
                            th scope="col" { "p90" } th scope="col" { "p95" } th scope="col" { "p99" }
                            th scope="col" { "least" } th scope="col" { "most" }
                        } }
                        tbody { @for (name, distribution) in &known { (distribution_row(name, distribution)) } }
                    }
                }
            }
        }
    }
}

fn distribution_row(name: &str, of: &Quantiles) -> Markup {
    let cells = [of.mean, of.p50, of.p90, of.p95, of.p99, of.min, of.max];
    html! {
        tr {
            th scope="row" { (name) }
            @for cell in cells { td.figure { (cell.map_or_else(|| NONE.to_owned(), seconds)) } }
        }
    }
}
