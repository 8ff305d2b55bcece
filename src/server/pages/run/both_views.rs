//! What this program measured of a run, and what the server's own metrics say of the same time, side by side: where the
//! two part, one of them is wrong about it, or something lies between them.

use maud::{Markup, html};

use crate::report::{Quantiles, RunJson};
use crate::server::pages::quantity::{NONE, amount, percent, seconds};

/// What this program and the server say of the same run.
pub(super) fn of(run: &RunJson) -> Markup {
    let (server, client) = (&run.server, &run.client);
    let usage = &run.token_usage;
    let time = |value: Option<f64>| value.map(seconds);
    let mean = |of: Option<Quantiles>| of.and_then(|of| of.mean).map(seconds);
    let share = |value: Option<f64>| value.map(percent);
    let whole = |value: u64| (value > 0).then(|| amount(value as f64));
    let amount = |value: Option<f64>| value.map(amount);
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
