//! The table of a probe's last runs: what each came to, or why it does not count.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::board::{ProbeStatus, RecentRun};
use crate::server::pages::frame::{self, moment};
use crate::server::pages::quantity::{NONE, count, number, seconds};
use crate::server::pages::shown_runs::ShownRuns;

/// Runs in the table.
const MOST_RUNS: usize = 50;

/// The last runs, the latest first.
pub(super) fn runs(probe: &ProbeStatus, shown: &ShownRuns, now: Timestamp) -> Markup {
    let chosen = || probe.recent.iter().filter(|run| shown.has(run));
    let title = format!("Last runs of workload {}", probe.workload.name);
    html! {
        section {
            h2 { (title) }
            @if probe.recent.iter().len() == 0 {
                p.empty {
                    @if probe.in_progress { "The first run is going on." } @else { "There was no run yet." }
                }
            } @else if chosen().next().is_none() {
                p.empty { "None of the last " (count(probe.recent.iter().len(), "run", "runs")) " is one of these." }
            } @else {
                div.wide tabindex="0" role="region" aria-label=(title) {
                    table.runs {
                        @let number = chosen().count();
                        caption {
                            (count(number, "run", "runs"))
                            @if number > MOST_RUNS {
                                ", the latest " (MOST_RUNS) " of them here; "
                                a href={ (frame::api("../", probe.deployment.name.as_str())) "/runs" } { "all that are stored" }
                            }
                        }
                        thead { tr {
                            th scope="col" { "Ended" } th scope="col" { "Outcome" } th scope="col" { "Decode tok/s" }
                            th scope="col" { "QPS" } th scope="col" { "Latency p50" } th scope="col" { "p95" }
                            th scope="col" { "TTFT p50" } th scope="col" { "TPOT p50" } th scope="col" { "Requests" }
                            th scope="col" { "Run" }
                        } }
                        tbody {
                            @for run in chosen().rev().take(MOST_RUNS) { (run_row(run, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn run_row(run: &RecentRun, now: Timestamp) -> Markup {
    let figures = run.figures.as_ref();
    let figure = |value: Option<String>| html! { td.figure { (value.as_deref().unwrap_or(NONE)) } };
    html! {
        tr data-invalid[!run.invalid_reasons.is_empty()] {
            th scope="row" { (moment(run.ended_at, now)) }
            td {
                @if run.invalid_reasons.is_empty() {
                    "ok"
                } @else {
                    @for reason in &run.invalid_reasons {
                        span.reason title=(reason.meaning()) { "× " (reason.label().replace('_', " ")) } " "
                    }
                }
                @if let Some(why) = &run.not_run { div.quiet { (why) } }
            }
            (figure(figures.map(|figures| number(figures.decode_tps))))
            (figure(figures.map(|figures| number(figures.qps))))
            (figure(figures.map(|figures| seconds(figures.p50))))
            (figure(figures.map(|figures| seconds(figures.p95))))
            (figure(figures.and_then(|figures| figures.ttft_p50).map(seconds)))
            (figure(figures.and_then(|figures| figures.tpot_p50).map(seconds)))
            td {
                (run.completed) " ok"
                @if run.failed > 0 {
                    ", " (run.failed) " failed"
                    div.quiet {
                        @for (reason, failed) in &run.failures { (failed) " " (reason.label().replace('_', " ")) " " }
                    }
                }
            }
            td.quiet {
                @match &run.id {
                    Some(id) => a href=(frame::run("../", &id.0)) { code { (id) } },
                    None => (NONE),
                }
            }
        }
    }
}
