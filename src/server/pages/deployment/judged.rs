//! What the judges say of a probe of the deployment, in a sentence and measure by measure, and its figures over time.

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use crate::board::{DeploymentStatus, ProbeStatus};
use crate::measure::Measure;
use crate::server::pages::curves::{self, Curve, Curves};
use crate::server::pages::finding::{Finding, name, with_unit};
use crate::server::pages::frame::moment;
use crate::server::pages::mark::verdict;
use crate::server::pages::quantity::{NONE, count, percent, ratio};
use crate::server::pages::readout::Readout;
use crate::server::pages::shown_runs::ShownRuns;
use crate::server::pages::shown_time::ShownTime;
use crate::verdict::{Comparison, Judgement};

/// What the judges say of a probe, and its figures over time.
pub(super) fn judged(
    probe: &ProbeStatus,
    status: Option<&DeploymentStatus>,
    asked: (&ShownRuns, ShownTime),
    now: Timestamp,
) -> Markup {
    let finding = Finding::of(probe);
    let judgements = probe.opinion.as_ref().map(|opinion| &opinion.judgements);
    html! {
        section aria-label={ "Workload " (probe.workload.name) } {
            h2 { "Workload " (probe.workload.name) }
            div.said data-stand=(finding.stand.label()) {
                    (verdict(finding.stand, &finding.in_short()))
                    p { (finding.in_full(status, now).html(now)) }
                    @if let Some(why) = finding.why(status) { p.quiet { (why.html(now)) } }
                    @if let Some(seen) = finding.acknowledged(now) { p.quiet { (seen.html(now)) } }
                }
            (figures(probe, status, asked, now))
            @if let Some(judgements) = judgements {
                div.wide tabindex="0" role="region" aria-label="Judgement of every measure" {
                    table.facts {
                        caption { "Every measure that is judged. A ratio is the present level divided by the other, with its 95 % interval." }
                        thead { tr {
                            th scope="col" { "Measure" } th scope="col" { "Verdict" } th scope="col" { "Baseline" }
                            th scope="col" { "Against the baseline" } th scope="col" { "Against the environment before" }
                            th scope="col" { "Noise of a run" } th scope="col" { "Could have seen" }
                        } }
                        tbody {
                            @for (measure, judgement) in judgements { (measure_row(*measure, judgement, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn measure_row(measure: Measure, judgement: &Judgement, now: Timestamp) -> Markup {
    let compared = |comparison: Option<&Comparison>| {
        html! {
            @match comparison {
                Some(comparison) => {
                    span.figure { (ratio(comparison.ratio)) } " "
                    span.quiet {
                        (ratio(comparison.lower)) " to " (ratio(comparison.upper)) ", " (comparison.decision.label()) ", "
                        (count(comparison.runs_after, "run", "runs")) " against " (comparison.runs_before)
                    }
                },
                None => (NONE),
            }
        }
    };
    let share = |share: Option<f64>| share.map_or_else(|| NONE.to_owned(), percent);
    html! {
        tr {
            th scope="row" { (name(measure)) }
            td {
                @match &judgement.standing {
                    Some(standing) => { (standing.verdict.label()) " since " (moment(standing.since, now)) },
                    None => "none",
                }
            }
            td.figure {
                (judgement.baseline_median.map_or_else(|| NONE.to_owned(), |median| with_unit(measure, median)))
            }
            td { (compared(judgement.baseline.as_ref())) }
            td { (compared(judgement.previous.as_ref())) }
            td.figure { (share(judgement.noise_ratio)) }
            td.figure { (share(judgement.minimum_detectable_change)) }
        }
    }
}

/// The figures of a probe over time, with the runs and the time that were asked for.
fn figures(
    probe: &ProbeStatus,
    status: Option<&DeploymentStatus>,
    (shown, time): (&ShownRuns, ShownTime),
    now: Timestamp,
) -> Markup {
    let changes = status.map_or(&[][..], |status| &status.recent_changes);
    let choice = || time.choice(&shown.pairs(), now);
    match curves::of(probe, changes, time, now) {
        Err(error) => html! { p.notice { (error) } },
        Ok(Curves::None) => {
            html! { p.empty { "There is no run yet that counts, so there is nothing to draw." } }
        }
        Ok(Curves::NoneThen) => html! {
            (choice())
            p.empty { "No run that counts is known of this time. Choose another one." }
        },
        Ok(Curves::Drawn(curves, readout)) => html! {
            (choice())
            (charts(&curves, &readout))
        },
    }
}

fn charts(curves: &[Curve], readout: &Readout) -> Markup {
    html! {
        p.legend {
            (count(readout.shown, "run", "runs")) ". "
            span { "┄ baseline and its tolerance" } " "
            span { "│ a change of the environment" } " "
            span { "× a run that does not count" } " "
            span { "▲ disturbed by other traffic" }
        }
        p.legend.scripted {
            "Point at a run or tap it to read it off, and drag over a time to zoom to it. With the keyboard, in a chart: "
            kbd { "←" } " " kbd { "→" } " from run to run, " kbd { "Enter" } " opens the run, "
            kbd { "+" } " " kbd { "−" } " zoom, " kbd { "0" } " shows all."
        }
        div.curves data-plot=(readout.plot) data-ticks=(readout.ticks) data-runs=(readout.runs) data-environments=(readout.environments) {
            @for Curve { caption, svg, values } in curves {
                // On a narrow screen it scrolls by itself.
                figure tabindex="0" data-values=(values) {
                    figcaption { (caption) }
                    p.readout.scripted aria-live="polite" data-kept {}
                    // It was escaped where it was drawn.
                    div.plot { (PreEscaped(svg)) }
                }
            }
        }
    }
}
