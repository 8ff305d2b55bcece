//! Every change of an environment that is known in the fleet, the latest first, with what it did to the decode rate.

use jiff::Timestamp;
use maud::{Markup, html};

use super::finding::fields;
use super::frame::{self, Place, moment};
use super::quantity::{NONE, count, ratio};
use crate::board::{ProbeStatus, RecentChange, Snapshot};
use crate::measure::Measure;
use crate::verdict::{Comparison, Effect};

/// Changes that are shown.
const MOST: usize = 200;

/// How far from 1 ratios are drawn, at least and at most, and the size of the picture.
const LEAST_REACH: f64 = 0.15;
const MOST_REACH: f64 = 0.95;
const WIDTH: f64 = 220.0;
const HEIGHT: f64 = 22.0;

/// A change with what it did, where that is known.
struct Told<'a> {
    name: &'a str,
    change: &'a RecentChange,
    is_last: bool,
    comparison: Option<&'a Comparison>,
}

/// Renders the changes in `snapshot` as it is at `now`.
pub(super) fn html(snapshot: &Snapshot, now: Timestamp) -> String {
    let mut changes: Vec<Told<'_>> = snapshot
        .of_each_deployment()
        .filter_map(|probes| {
            let probe = probes
                .iter()
                .find(|probe| !probe.workload.is_light())
                .or(probes.first())?;
            let status = snapshot.deployments.get(&probe.deployment.name)?;
            Some((probe, status))
        })
        .flat_map(|(probe, status)| told(probe, &status.recent_changes))
        .collect();
    changes.sort_by_key(|told| std::cmp::Reverse(told.change.at));
    let shown = &changes[..changes.len().min(MOST)];
    let reach = reach(shown.iter().filter_map(|told| told.comparison));
    let main = html! {
        h1 { "Changes of the environment" }
        @if changes.is_empty() {
            p.empty { "No change is known yet. It is noticed by the first run after it." }
        } @else {
            div.wide tabindex="0" role="region" aria-label="Changes of the environment" {
                table.facts {
                    caption {
                        (count(changes.len(), "change", "changes")) ", the latest first. The decode rate after a \
                        change divided by that before, with its 95 % interval; below 1 is slower."
                    }
                    thead { tr {
                        th scope="col" { "Noticed" } th scope="col" { "Deployment" } th scope="col" { "What changed" }
                        th scope="col" { "Ratio, 95 % interval" } th scope="col" { (format!("{:.2} slower ← 1 → faster {:.2}", 1.0 - reach, 1.0 + reach)) }
                        th scope="col" { "Found" }
                    } }
                    tbody {
                        @for told in shown { (row(told, reach, now)) }
                    }
                }
            }
            @if changes.len() > MOST { p.quiet { "The latest " (MOST) " are shown." } }
        }
    };
    frame::page(
        "Changes · vllm-prober",
        "",
        Some(Place::Changes),
        &main,
        now,
    )
}

/// The changes of a deployment, each with what came of it. The runs of a probe may begin later than the change was
/// noticed, by another probe, but not after the next change.
fn told<'a>(probe: &'a ProbeStatus, changes: &'a [RecentChange]) -> impl Iterator<Item = Told<'a>> {
    let judgement = probe
        .opinion
        .as_ref()
        .and_then(|opinion| opinion.judgements.get(&Measure::DecodeTokensRate));
    let effects = judgement.map_or(&[][..], |judgement| &judgement.effects);
    changes.iter().enumerate().map(move |(index, change)| {
        let next = changes.get(index + 1);
        let is_its = |effect: &&Effect| {
            effect.at >= change.at && next.is_none_or(|next| effect.at < next.at)
        };
        Told {
            name: probe.deployment.name.as_str(),
            change,
            is_last: next.is_none(),
            comparison: effects
                .iter()
                .rev()
                .find(is_its)
                .map(|effect| &effect.comparison),
        }
    })
}

/// How far from 1 ratios are to be drawn, so that all of these have room.
fn reach<'a>(comparisons: impl Iterator<Item = &'a Comparison>) -> f64 {
    let farthest = comparisons
        .flat_map(|comparison| [comparison.lower, comparison.upper])
        .map(|ratio| (ratio - 1.0).abs())
        .fold(LEAST_REACH, f64::max);
    ((farthest * 20.0).ceil() / 20.0).min(MOST_REACH)
}

fn row(told: &Told<'_>, reach: f64, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" { (moment(told.change.at, now)) }
            td { a href=(frame::deployment("", told.name)) { (told.name) } }
            td { (fields(told.change)) }
            @match told.comparison {
                Some(comparison) => {
                    td {
                        span.figure { (ratio(comparison.ratio)) } " "
                        span.quiet { (ratio(comparison.lower)) " to " (ratio(comparison.upper)) }
                    }
                    td { (interval(comparison, reach)) }
                    td {
                        (comparison.verdict.map_or(comparison.decision.label(), |verdict| verdict.label()))
                        div.quiet { (count(comparison.runs_after, "run", "runs")) " against " (comparison.runs_before) }
                    }
                },
                None => {
                    td { (NONE) }
                    td {}
                    td.quiet { @if told.is_last { "too few runs" } @else { "too few runs before the next change" } }
                },
            }
        }
    }
}

/// The interval as a bar about its ratio, with a line at 1. What lies beyond `reach` ends in an arrow.
fn interval(comparison: &Comparison, reach: f64) -> Markup {
    let x = |ratio: f64| {
        let share = (ratio - 1.0 + reach) / (2.0 * reach);
        format!("{:.1}", share.clamp(0.01, 0.99) * WIDTH)
    };
    let is_beyond = |ratio: f64| (ratio - 1.0).abs() > reach;
    let arrow = |ratio: f64| {
        let (tip, back) = if ratio < 1.0 {
            (0.0, 8.0)
        } else {
            (WIDTH, WIDTH - 8.0)
        };
        format!(
            "{back},{} {tip},{} {back},{}",
            HEIGHT / 2.0 - 5.0,
            HEIGHT / 2.0,
            HEIGHT / 2.0 + 5.0
        )
    };
    let ends = [comparison.lower, comparison.upper];
    let (middle, one) = (format!("{:.1}", HEIGHT / 2.0), x(1.0));
    html! {
        svg.forest aria-hidden="true" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) {
            line.one x1=(one) x2=(one) y1="0" y2=(HEIGHT) {}
            line x1=(x(comparison.lower)) x2=(x(comparison.upper)) y1=(middle) y2=(middle) {}
            circle cx=(x(comparison.ratio)) cy=(middle) r="4" {}
            @for end in ends.into_iter().filter(|end| is_beyond(*end)) { polygon points=(arrow(end)) {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pages::fixture;
    use crate::verdict::Decision;

    #[test]
    fn a_change_is_told_with_what_it_did() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let page = html(&fixture::fleet(now), now);
        let driver = page.find("driver 580.95.05 → 590.12").unwrap();
        let version = page.find("vllm_version 0.13.0 → 0.14.1").unwrap();
        let rows: Vec<&str> = page.split("<tr>").skip(2).collect();
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(driver != version && page.matches("svg class=\"forest\"").count() == 2);
        assert!(
            rows.iter()
                .any(|row| row.contains(">0.949<") && row.contains("regressed"))
        );
        assert!(
            rows.iter()
                .any(|row| row.contains(">1.070<") && row.contains("improved"))
        );
        assert!(page.contains("0.85 slower"), "{page}");
        assert!(!html(&fixture::hostile(now), now).contains("<script>"));
        let mut none = fixture::fleet(now);
        none.deployments.clear();
        assert!(html(&none, now).contains("No change is known yet."));
    }

    #[test]
    fn each_change_has_what_it_did_itself_and_not_what_the_next_one_did() {
        let at = |minute: i64| Timestamp::from_second(60 * minute).unwrap();
        let change = |minute| RecentChange {
            at: at(minute),
            fields: Vec::new(),
        };
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let fleet = fixture::fleet(now);
        let probe = fleet.probes.iter().find(|probe| probe.opinion.is_some());
        let mut probe = ProbeStatus::clone(probe.unwrap());
        let mut opinion = probe.opinion.as_deref().unwrap().clone();
        let judgement = opinion.judgements.get_mut(&Measure::DecodeTokensRate);
        let judgement = judgement.unwrap();
        let comparison = Comparison {
            ratio: 1.0,
            lower: 0.9,
            upper: 1.1,
            verdict: None,
            decision: Decision::Inconclusive,
            runs_after: 5,
            runs_before: 10,
        };
        let effect = |minute, ratio| Effect {
            at: at(minute),
            comparison: Comparison {
                ratio,
                lower: ratio - 0.1,
                upper: ratio + 0.1,
                ..comparison
            },
        };
        // The third change came before the probe had a run of the second, and of the last it has too few.
        judgement.effects = vec![effect(11, 0.7), effect(31, 0.5), effect(40, 2.5)];
        probe.opinion = Some(opinion.into());
        let changes = [10, 20, 30, 40, 50].map(change);
        let told: Vec<_> = told(&probe, &changes).collect();
        let ratios = told
            .iter()
            .map(|told| Some(told.comparison?.ratio))
            .collect::<Vec<_>>();
        assert_eq!(ratios, [Some(0.7), None, Some(0.5), Some(2.5), None]);
        assert!(
            told.iter()
                .map(|told| told.is_last)
                .eq([false, false, false, false, true])
        );

        let reach_of = |some: &[usize]| reach(some.iter().filter_map(|n| told[*n].comparison));
        assert_eq!(
            (reach_of(&[]), reach_of(&[0]), reach_of(&[0, 2])),
            (0.15, 0.4, 0.6)
        );
        assert_eq!(reach_of(&[0, 2, 3]), MOST_REACH);
        let drawn = |n: usize| interval(told[n].comparison.unwrap(), MOST_REACH).into_string();
        assert!(drawn(3).contains("<polygon") && !drawn(0).contains("<polygon"));
    }
}
