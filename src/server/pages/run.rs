//! One run: what it came to and whether it counts, what became of each of its requests, what the server says of the
//! same time, and what it ran on.

mod histogram;
mod waterfall;

use jiff::Timestamp;
use maud::{Markup, html};

use super::frame::{self, moment};
use super::quantity::{NONE, count, number, percent, seconds};
use crate::environment::{EnvironmentField, EnvironmentSource};
use crate::measurement::FailureReason;
use crate::report::{Quantiles, RequestJson, RunJson};
use crate::statistics::InvalidReason;

/// Requests that are drawn and listed; more are in the JSON.
const MOST_REQUESTS: usize = 512;

/// Renders a run that ended at `ended_at`, as it is looked at `now`.
pub(super) fn html(run: &RunJson, ended_at: Timestamp, now: Timestamp) -> String {
    let main = html! {
        p.quiet {
            a href="../" { "Fleet" } " / "
            a href=(frame::deployment("../", &run.deployment)) { (run.deployment) } " / run"
        }
        h1 { "Run of " (run.deployment) }
        p {
            (standing(run)) " "
            span.quiet {
                @if let Some(workload) = &run.workload { "workload " (workload) ", " }
                "ended " (moment(ended_at, now)) ", took " (seconds(run.wall_seconds)) ", model " (run.model)
            }
        }
        (validity(run))
        (figures(run))
        (requests(run))
        (both_views(run))
        (environment(run))
        p { "Run " code { (run.run_id) } ". The same for programs: "
            a href=(frame::run_api("../", &run.run_id)) { (frame::run_api("", &run.run_id)) } }
    };
    let title = format!("Run of {} · vllm-prober", run.deployment);
    frame::page(&title, "../", &main, now)
}

/// Renders that the run cannot be shown, and why.
pub(super) fn missing(why: &str, now: Timestamp) -> String {
    let main = html! {
        h1 { "No such run to show" }
        p.empty { (why) ". " a href="../" { "Show the fleet" } }
    };
    frame::page("No such run · vllm-prober", "../", &main, now)
}

fn standing(run: &RunJson) -> Markup {
    let (stand, mark, words) = if run.valid {
        ("ok", "●", "counts")
    } else {
        ("down", "×", "does not count")
    };
    html! { span.state data-state=(stand) { span aria-hidden="true" { (mark) } " " (words) } }
}

/// Why it does not count, each reason with what it means.
fn validity(run: &RunJson) -> Markup {
    let meaning = |word: &str| {
        let known = InvalidReason::ALL
            .iter()
            .find(|reason| reason.label() == word);
        known.map_or("", |reason| reason.meaning())
    };
    let failed = |word: &str| {
        let known = FailureReason::ALL
            .iter()
            .find(|reason| reason.label() == word);
        known.map_or("", |reason| reason.meaning())
    };
    html! {
        @if !run.invalid_reasons.is_empty() {
            div.notice {
                p { "This run does not count, so it has no rates and no quantiles:" }
                ul {
                    @for reason in &run.invalid_reasons {
                        li { b { (reason.replace('_', " ")) } ": " (meaning(reason)) }
                    }
                }
            }
        }
        @if !run.failures.is_empty() {
            h2 { "Failed requests" }
            ul {
                @for (reason, failures) in &run.failures {
                    li { (failures) " × " b { (reason.replace('_', " ")) } ": " (failed(reason)) }
                }
            }
        }
    }
}

fn figures(run: &RunJson) -> Markup {
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

/// What became of each request, as long as that is kept.
fn requests(run: &RunJson) -> Markup {
    let records = run.request_records.as_deref();
    html! {
        section {
            h2 { "Requests" }
            @match records {
                None => p.empty {
                    "The single requests of this run are not kept any more, or never were; its figures stay. "
                    "The configuration says how long they are, as " code { "retention.requests" } "."
                },
                Some([]) => p.empty { "No request was sent." },
                Some(records) => {
                    @let shown = &records[..records.len().min(MOST_REQUESTS)];
                    @if shown.len() < records.len() {
                        p.quiet { "The first " (shown.len()) " of " (records.len()) " are shown; the JSON has all." }
                    }
                    (waterfall::svg(shown))
                    (listed(shown))
                    @if run.valid { (histogram::of(records)) }
                },
            }
        }
    }
}

/// The same as the waterfall in figures, for those who cannot see it.
fn listed(records: &[RequestJson]) -> Markup {
    let time = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), seconds);
    html! {
        details {
            summary { "The requests as a table" }
            div.wide tabindex="0" role="region" aria-label="Requests" {
                table.facts {
                    caption { "Times count from the first dispatch; the times to tokens count from the sending." }
                    thead { tr {
                        th scope="col" { "Request" } th scope="col" { "Sent" } th scope="col" { "First token after" }
                        th scope="col" { "Last token after" } th scope="col" { "Ended" } th scope="col" { "Tokens" }
                        th scope="col" { "Outcome" }
                    } }
                    tbody {
                        @for (place, record) in (1..).zip(records) {
                            @let place: usize = place;
                            tr {
                                th scope="row" { (place) }
                                td.figure { (seconds(record.sent)) }
                                td.figure { (time(record.ttft)) }
                                td.figure { (time(record.latency)) }
                                td.figure { (seconds(record.ended)) }
                                td.figure {
                                    (record.completion_tokens.map_or_else(|| NONE.to_owned(), |tokens| tokens.to_string()))
                                }
                                td {
                                    @match &record.failure_reason {
                                        Some(reason) => {
                                            span.reason { "× " (reason.replace('_', " ")) }
                                            @if let Some(detail) = &record.failure { div.quiet { (detail) } }
                                        },
                                        None => (record.finish_reason.as_deref().unwrap_or("ok")),
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What this program and the server say of the same run.
fn both_views(run: &RunJson) -> Markup {
    let (server, client) = (&run.server, &run.client);
    let usage = &run.token_usage;
    let time = |value: Option<f64>| value.map(seconds);
    let mean = |of: Option<Quantiles>| of.and_then(|of| of.mean).map(seconds);
    let share = |value: Option<f64>| value.map(percent);
    let amount = |value: Option<f64>| value.map(number);
    let whole = |value: u64| (value > 0).then(|| number(value as f64));
    let rows = [
        (
            "Completion tokens of this run",
            whole(usage.completion_tokens_total),
            amount(server.generated_tokens),
        ),
        (
            "Time to first token, mean",
            mean(run.ttft_seconds),
            time(server.ttft_seconds_mean),
        ),
        (
            "Latency, mean",
            mean(run.latency_seconds),
            time(server.e2e_latency_seconds_mean),
        ),
        (
            "Waited in the queue, mean",
            None,
            time(server.queue_time_seconds_mean),
        ),
        (
            "Prompt tokens from the prefix cache",
            usage
                .cached_tokens_total
                .filter(|_| usage.prompt_tokens_total > 0)
                .map(|cached| percent(cached as f64 / usage.prompt_tokens_total as f64)),
            share(server.prefix_cache_hit_ratio),
        ),
        (
            "Tokens generated for others",
            None,
            amount(server.foreign_tokens),
        ),
        (
            "Prompt tokens of others",
            None,
            amount(server.foreign_prompt_tokens),
        ),
        (
            "Requests of others at once, most",
            None,
            amount(server.foreign_requests_peak),
        ),
        (
            "Requests that waited at once, most",
            None,
            amount(server.waiting_requests_peak),
        ),
        (
            "KV cache in use, most",
            None,
            share(server.kv_cache_usage_peak),
        ),
        ("Preemptions", None, amount(server.preemptions)),
        (
            "Draft tokens accepted",
            None,
            share(server.draft_acceptance_ratio),
        ),
        (
            "Load of the measuring thread",
            share(client.load_ratio),
            None,
        ),
        (
            "Delay of the measuring thread, most",
            client
                .delay_seconds
                .and_then(|delay| delay.max)
                .map(seconds),
            None,
        ),
        (
            "Connections opened, of those in mid-run",
            Some(format!(
                "{}, {}",
                client.connections_opened, client.connections_reopened
            )),
            None,
        ),
        (
            "Version",
            client.version.clone(),
            server
                .version
                .as_ref()
                .map(|version| format!("vLLM {version}")),
        ),
    ];
    let remarks = [
        (server.restarted, "The server was restarted in mid-run."),
        (
            server.several_servers,
            "Several servers answer at this address, so their metrics are of no use.",
        ),
        (server.asleep, "The server was asleep."),
    ];
    html! {
        section {
            h2 { "Two views of it" }
            @if let Some(why) = &server.unobservable {
                p.notice { "The server's own metrics tell no more: " (why) }
            }
            @for (_, remark) in remarks.iter().filter(|(is_so, _)| *is_so) { p.notice { (remark) } }
            div.wide tabindex="0" role="region" aria-label="What this program and the server say" {
                table.facts {
                    caption { "What this program measured, and what the server's own metrics say of the same time" }
                    thead { tr { th scope="col" { "Figure" } th scope="col" { "This prober" } th scope="col" { "The server" } } }
                    tbody {
                        @for (name, ours, theirs) in rows.iter().filter(|(_, ours, theirs)| ours.is_some() || theirs.is_some()) {
                            tr {
                                th scope="row" { (name) }
                                td.figure { (ours.as_deref().unwrap_or(NONE)) }
                                td.figure { (theirs.as_deref().unwrap_or(NONE)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the deployment ran on then.
fn environment(run: &RunJson) -> Markup {
    let known = &run.environment.fields;
    let meaning = |name: &str| {
        let field = EnvironmentField::ALL
            .iter()
            .find(|field| field.label() == name);
        field.map(|field| field.meaning())
    };
    let source = |name: &str| {
        let source = EnvironmentSource::ALL
            .iter()
            .find(|source| source.label() == name);
        source.map(|source| source.meaning())
    };
    html! {
        section {
            h2 { "Environment" }
            @if known.is_empty() {
                p.quiet { "Nothing was known of what it ran on." }
            } @else {
                div.wide tabindex="0" role="region" aria-label="What it ran on" {
                    table.facts {
                        caption { (count(known.len(), "field", "fields")) " of what it ran on, as it was known then" }
                        thead { tr { th scope="col" { "Field" } th scope="col" { "Value" } th scope="col" { "Known from" } } }
                        tbody {
                            @for (name, field) in known {
                                tr {
                                    th scope="row" title=[meaning(name)] { (name.replace('_', " ")) }
                                    td { (field.value) }
                                    td.quiet title=[source(&field.source)] { (field.source.replace('_', " ")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pages::fixture;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_run_is_told_with_its_requests_and_both_views() {
        let run = fixture::stored_run("qwen3-32b-fp8", now());
        let page = html(&run, now(), now());
        insta::assert_snapshot!(fixture::text(&page));
        assert_eq!(page.matches("<g class=\"request\"").count(), 64);
        assert!(page.contains("href=\"../deployments/qwen3-32b-fp8\""));
        assert!(page.contains(&format!("href=\"../api/v1/runs/{}\"", run.run_id)));
    }

    #[test]
    fn a_run_whose_requests_are_gone_says_so() {
        let mut run = fixture::stored_run("qwen3-32b-fp8", now());
        run.request_records = None;
        let page = html(&run, now(), now());
        assert!(page.contains("not kept any more") && !page.contains("<svg class=\"waterfall\""));
    }

    #[test]
    fn a_run_that_does_not_count_says_why_and_has_no_figures() {
        let run = fixture::stored_failed_run("qwen3-32b-fp8", now());
        let page = html(&run, now(), now());
        assert!(page.contains("does not count") && page.contains("<b>connect</b>"));
        assert!(page.contains("× connect") && page.contains("connection refused"));
        assert!(
            !page.contains("class=\"histogram\"") && !page.contains("How times are distributed")
        );
    }

    #[test]
    fn no_text_becomes_a_part_of_the_page() {
        let run = fixture::hostile_run(now());
        let page = html(&run, now(), now());
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.matches("&lt;script&gt;").count() > 20, "{page}");
        assert!(missing(fixture::HOSTILE, now()).contains("&lt;script&gt;"));
    }
}
