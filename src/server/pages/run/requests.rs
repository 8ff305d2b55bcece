//! The requests of a run: drawn over its time, as a table, and how many took how long.

use maud::{Markup, html};

use super::{histogram, waterfall};
use crate::report::{RequestJson, RunJson};
use crate::server::pages::quantity::{NONE, seconds};

/// Requests that are drawn and listed; more are in the JSON.
const MOST_REQUESTS: usize = 512;

/// What became of each request, as long as that is kept.
pub(super) fn of(run: &RunJson) -> Markup {
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
