//! The report as one page of HTML: it loads nothing and runs nothing. Whatever servers and configurations say is
//! escaped by the template engine, and in charts by the drawing library.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, words};
use crate::comparison::{Change, Story};
use crate::environment::FieldChange;
use crate::report::charts::Chart;
use crate::report::comparison::{cells, pairs};
use crate::verdict::Measure;

const STYLE: &str = "
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --soft: color-mix(in srgb, currentColor 5%, transparent);
  font-family: system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; line-height: 1.5; }
body { margin: 2.5rem auto; max-width: 78rem; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .8rem; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .2rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; }
.quiet, figcaption { font-size: .88rem; opacity: .75; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .84rem; }
th, td { padding: .45rem .4rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; font-size: .8rem; opacity: .8; vertical-align: bottom; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.wide { white-space: normal; overflow-wrap: anywhere; min-width: 14rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.tile { background: var(--soft); border-radius: .6rem; padding: .8rem 1rem; }
.tile strong { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; line-height: 1.35; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1.2rem; }
figure { margin: .6rem 0; }
figcaption strong { display: block; opacity: 1; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit; }
.time svg { min-width: 44rem; }
.change { border-left: 3px solid var(--line); padding-left: .9rem; margin: 1.1rem 0; }
ul { padding-left: 1.2rem; }
summary { cursor: pointer; font-size: .88rem; opacity: .75; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 10pt; } .charts { grid-template-columns: repeat(3, 1fr); }
  figure, .change, .tile, tr { break-inside: avoid; } h2, h3, section > p { break-after: avoid; } th, td { padding: .25rem .4rem; white-space: normal; }
  .scroll { overflow: visible; } details::details-content { content-visibility: visible; display: block; } .time svg { min-width: 0; } }
";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let title = format!("{}: speed by precision", report.heading.title);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (report.heading.title) }
                    p { (report.heading.workload(&report.table)) }
                    p.quiet {
                        @if let Some(until) = report.until {
                            "As of the run that ended at " (until.strftime("%Y-%m-%d %H:%M UTC")) ". "
                        }
                        "Made by vllm-prober " (env!("CARGO_PKG_VERSION")) "."
                    }
                }
                (table(report))
                (charts(report))
                @if !report.stories.is_empty() {
                    h2 { "Over time" }
                    (legend(report))
                    @for (story, chart) in report.stories.iter().zip(&report.over_time) { (told(story, chart)) }
                }
                (how_to_read())
            }
        }
    };
    page.into_string()
}

fn table(report: &Report) -> Markup {
    let (heads, rows) = cells(&report.table);
    html! {
        div.tiles {
            @for (what, gain) in pairs(&report.table) {
                div.tile { (what) strong { (gain) } }
            }
        }
        div.scroll {
            table {
                thead { tr { @for (name, is_number) in &heads { th.n[*is_number] { (name) } } } }
                tbody {
                    @for row in rows {
                        tr { @for (cell, (_, is_number)) in row.iter().zip(&heads) { td.n[*is_number] { (cell) } } }
                    }
                }
            }
        }
        @if !report.table.notes.is_empty() {
            ul.quiet { @for note in &report.table.notes { li { (note) } } }
        }
    }
}

fn charts(report: &Report) -> Markup {
    html! {
        h2 { "By precision" }
        div.charts {
            @for (_, chart) in &report.by_precision {
                figure {
                    (PreEscaped(chart.inline()))
                    figcaption { strong { (chart.title) } }
                }
            }
        }
        p.quiet {
            "A bar is the median over the runs of its row, and nine runs in ten lie within its whisker. "
            "A single run has none."
        }
    }
}

fn legend(report: &Report) -> Markup {
    html! {
        p.quiet {
            "A dot is a run that counts; dots are joined only where no other run lies between them. "
            "✕ is a run that does not count, ▲ one that others' traffic spoilt: neither has figures. "
            "A numbered line is a change of the environment; dashes are the baseline. "
            "The vertical axis does not begin at 0."
            @if let Some(since) = report.since {
                " Runs before " (since.strftime("%Y-%m-%d")) " are judged too, and not drawn."
            }
        }
    }
}

fn told(story: &Story, chart: &Chart) -> Markup {
    let replay = &story.replay;
    html! {
        section {
            h3 { (story.name) }
            p.quiet {
                (words::runs(story)) "."
                @if let Some(baseline) = replay.baseline { " Baseline: " (format!("{baseline:.1}")) " decode tokens per second." }
            }
            figure.time { div.scroll { (PreEscaped(chart.inline())) } }
            @if replay.changes.is_empty() { p.quiet { "Its environment has not changed." } }
            @for (number, change, fields) in story.changes() { (changed(number, change, fields)) }
            @if !replay.verdicts.is_empty() { (verdicts(story)) }
        }
    }
}

fn changed(number: usize, change: &Change, fields: &[FieldChange]) -> Markup {
    html! {
        div.change {
            p {
                strong { (number) ": " (words::fields(fields)) }
                ", " (change.at.strftime("%Y-%m-%d %H:%M UTC"))
            }
            p { (words::of_change(change)) }
            @if let Some(headline) = change.compared.get(&Measure::DecodeTokensRate) {
                p {
                    "Decode tokens per second, after / before: " strong { (words::ratio(headline)) }
                    ", from " (headline.runs_before) " clean runs before and " (headline.runs_after) " after."
                }
                details { summary { "Every measure" } div.scroll {
                    table {
                        thead { tr {
                            th { "measure" } th.n { "after / before [95 %]" } th.n { "clean runs before" } th.n { "after" } th { "verdict" }
                        } }
                        tbody {
                            @for (measure, comparison) in &change.compared {
                                tr {
                                    td { (words::measure(*measure)) }
                                    td.n { (words::ratio(comparison)) }
                                    td.n { (comparison.runs_before) }
                                    td.n { (comparison.runs_after) }
                                    td { (words::outcome(*measure, comparison)) }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn verdicts(story: &Story) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "verdicts that began" } th { "measure" } th { "verdict" } th { "against" } th.n { "ratio then [95 %]" } } }
                tbody {
                    @for verdict in &story.replay.verdicts {
                        tr {
                            td { (verdict.at.strftime("%Y-%m-%d %H:%M UTC")) }
                            td { (words::measure(verdict.measure)) }
                            td { (verdict.verdict.label()) }
                            td { (words::against(verdict.against)) }
                            td.n { (verdict.comparison.as_ref().map_or_else(|| "-".to_owned(), words::ratio)) }
                        }
                    }
                }
            }
        }
    }
}

fn how_to_read() -> Markup {
    html! {
        h2 { "How to read this" }
        ul.quiet {
            li { "Figures of a row are medians over the clean runs of its present level, at most 48. Runs that do not count are in none of them." }
            li { "QPS: completed requests per second. prompt_tps, decode_tps: prompt and completion tokens per second. p50, p95: end-to-end latency. TTFT: time to first token." }
            li { "A speed-up is the ratio of decode tokens per second, with the interval that holds the true ratio in 95 cases of 100. Above 1 is faster." }
            li { "After / before is the ratio of the measure itself: below 1 is slower for a rate, and faster for a time." }
            li { "A verdict is found by a stricter test than the interval: the whole effect lies beyond the tolerance's margin and beyond chance." }
        }
    }
}
