//! The table of the deployments: on a narrow screen each of its rows is laid out as a card.

use jiff::Timestamp;
use maud::{Markup, html};

use super::address;
use super::row::Row;
use super::selection::{Order, Selection};
use crate::environment::EnvironmentField;
use crate::measure::Measure;
use crate::server::pages::frame::ago;
use crate::server::pages::last_run::last_run_in_words;
use crate::server::pages::mark::{state, verdict};
use crate::server::pages::quantity::{NONE, count, number, ratio, seconds, span, whole};
use crate::server::pages::sparkline::sparkline;

/// The columns: what is ordered by them, and their names. One without an order is a picture.
const COLUMNS: [(Option<Order>, &str); 11] = [
    (Some(Order::Name), "Deployment"),
    (Some(Order::State), "State"),
    (Some(Order::Problems), "Verdict"),
    (Some(Order::Ratio), "Ratio, 95\u{a0}% interval"),
    (Some(Order::Decode), "Decode tok/s"),
    (None, "Last runs"),
    (Some(Order::Latency), "Latency p50, p95"),
    (Some(Order::Ttft), "TTFT p50"),
    (Some(Order::Version), "vLLM, driver"),
    (Some(Order::Age), "Last run"),
    (Some(Order::Next), "Next"),
];

/// The table of `rows`, which are some of `all` deployments, as it is at `now`.
pub(super) fn html(
    rows: &[&Row<'_>],
    all: usize,
    selection: &Selection,
    stale_after: u32,
    now: Timestamp,
) -> Markup {
    html! {
        // Explicit roles: on a narrow screen the table is laid out as cards, and is to be read as a table still.
        table.fleet role="table" {
            caption {
                (count(all, "deployment", "deployments"))
                @if selection.order == Order::Problems && !selection.is_descending { ", problems first" }
                @if rows.len() < all { ", " (whole(rows.len())) " of them here" }
            }
            thead role="rowgroup" {
                tr role="row" {
                    @for (order, name) in COLUMNS {
                        @let is_current = order == Some(selection.order);
                        @let sorted = if selection.is_descending { "descending" } else { "ascending" };
                        th scope="col" role="columnheader" aria-sort=[is_current.then_some(sorted)] {
                            @match order {
                                Some(order) => a href=(selection.ordered_by(order)) {
                                    (name)
                                    @if is_current {
                                        span aria-hidden="true" { @if selection.is_descending { " ↓" } @else { " ↑" } }
                                    }
                                },
                                None => (name),
                            }
                        }
                    }
                }
            }
            tbody role="rowgroup" {
                @for row in rows { (deployment(row, stale_after, now)) }
            }
        }
    }
}

fn deployment(row: &Row<'_>, stale_after: u32, now: Timestamp) -> Markup {
    let Row { probe, finding, .. } = row;
    let deployment = &probe.deployment;
    let figures = row.figures.as_ref();
    let baseline = probe
        .opinion
        .as_ref()
        .and_then(|opinion| opinion.judgements.get(&Measure::DecodeTokensRate))
        .and_then(|judgement| judgement.baseline_median);
    let cells: [Markup; 10] = [
        html! { (state(row.state)) },
        html! {
            (verdict(finding.stand, &finding.in_short()))
            div.quiet { (finding.qualified().html(now)) }
            @if let Some(seen) = finding.acknowledged(now) { div.quiet.seen { (seen.html(now)) } }
        },
        html! {
            @match finding.comparison {
                Some(comparison) => {
                    span.figure { (ratio(comparison.ratio)) }
                    div.quiet { (ratio(comparison.lower)) " to " (ratio(comparison.upper)) }
                },
                None => (NONE),
            }
        },
        html! {
            span.figure { (figures.map_or_else(|| NONE.to_owned(), |figures| number(figures.decode_tps))) }
            @if let Some(baseline) = baseline { div.quiet { "baseline " (number(baseline)) } }
        },
        sparkline(probe, baseline),
        html! {
            @match figures {
                Some(figures) => {
                    span.figure { (seconds(figures.p50)) }
                    div.quiet { (seconds(figures.p95)) }
                },
                None => (NONE),
            }
        },
        html! {
            span.figure {
                (figures.and_then(|figures| figures.ttft_p50).map_or_else(|| NONE.to_owned(), seconds))
            }
        },
        html! {
            (row.version().unwrap_or(NONE))
            div.quiet { (row.environment(EnvironmentField::Driver).unwrap_or_default()) }
        },
        html! {
            @match &probe.last {
                Some(last) => {
                    (ago(last.ended_at, now))
                    div.quiet { (last_run_in_words(probe, stale_after, now).replace('_', " ")) }
                },
                None => (last_run_in_words(probe, stale_after, now)),
            }
        },
        html! {
            @match probe.next_run.map(|slot| slot.duration_since(now)) {
                _ if probe.in_progress => "running",
                Some(wait) if !wait.is_positive() => "waiting",
                Some(wait) => { "in\u{a0}" (span(wait)) },
                None => (NONE),
            }
        },
    ];
    html! {
        tr role="row" data-stand=(finding.stand.label()) data-state=(row.state.label()) data-news[row.is_news] {
            th scope="row" role="rowheader" {
                a.name href=(address(row)) { (row.name()) }
                div.quiet {
                    @let words = [deployment.family.as_deref(), deployment.precision.as_deref()];
                    (words.into_iter().flatten().collect::<Vec<_>>().join(" · "))
                    @if row.has_several { " · " (probe.workload.name) }
                }
                div.quiet.model { (probe.model().unwrap_or_default()) }
            }
            @for ((_, name), cell) in COLUMNS.iter().skip(1).zip(cells) {
                td role="cell" data-label=(name) { div { (cell) } }
            }
        }
    }
}
