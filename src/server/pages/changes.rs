//! Every change of an environment that is known in the fleet, the latest first, with what it did to the decode rate
//! where it is the last one of its deployment.

use jiff::Timestamp;
use maud::{Markup, html};

use super::finding::fields;
use super::frame::{self, Place, moment};
use super::quantity::{NONE, count, ratio};
use crate::board::{DeploymentStatus, ProbeStatus, RecentChange, Snapshot};
use crate::measure::Measure;
use crate::verdict::Comparison;

/// Changes that are shown.
const MOST: usize = 200;

/// The ratios between which an interval is drawn, and the width of the picture.
const SHOWN: (f64, f64) = (0.85, 1.15);
const WIDTH: f64 = 220.0;
const HEIGHT: f64 = 22.0;

/// Renders the changes in `snapshot` as it is at `now`.
pub(super) fn html(snapshot: &Snapshot, now: Timestamp) -> String {
    let mut changes: Vec<(&ProbeStatus, &DeploymentStatus, &RecentChange)> = snapshot
        .of_each_deployment()
        .filter_map(|probes| {
            let probe = probes
                .iter()
                .find(|probe| !probe.workload.is_light())
                .or(probes.first())?;
            let status = snapshot.deployments.get(&probe.deployment.name)?;
            Some((probe, status))
        })
        .flat_map(|(probe, status)| {
            let changes = status.recent_changes.iter();
            changes.map(move |change| (&**probe, &**status, change))
        })
        .collect();
    changes.sort_by_key(|(.., change)| std::cmp::Reverse(change.at));
    let main = html! {
        h1 { "Changes of the environment" }
        @if changes.is_empty() {
            p.empty { "No change is known yet. It is noticed by the first run after it." }
        } @else {
            div.wide tabindex="0" role="region" aria-label="Changes of the environment" {
                table.facts {
                    caption {
                        (count(changes.len(), "change", "changes")) ", the latest first. The decode rate after the last \
                        change of a deployment divided by that before, with its 95 % interval; below 1 is slower."
                    }
                    thead { tr {
                        th scope="col" { "Noticed" } th scope="col" { "Deployment" } th scope="col" { "What changed" }
                        th scope="col" { "Ratio, 95 % interval" } th scope="col" { "slower ← 1 → faster" }
                        th scope="col" { "Found" }
                    } }
                    tbody {
                        @for (probe, status, change) in changes.iter().take(MOST) {
                            (row(probe, status, change, now))
                        }
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

fn row(
    probe: &ProbeStatus,
    status: &DeploymentStatus,
    change: &RecentChange,
    now: Timestamp,
) -> Markup {
    let is_last = status.recent_changes.last() == Some(change);
    let judgement = probe
        .opinion
        .as_ref()
        .and_then(|opinion| opinion.judgements.get(&Measure::DecodeTokensRate));
    let comparison = judgement
        .and_then(|judgement| judgement.previous.as_ref())
        .filter(|_| is_last);
    let name = probe.deployment.name.as_str();
    html! {
        tr {
            th scope="row" { (moment(change.at, now)) }
            td { a href=(frame::deployment("", name)) { (name) } }
            td { (fields(change)) }
            @match comparison {
                Some(comparison) => {
                    td {
                        span.figure { (ratio(comparison.ratio)) } " "
                        span.quiet { (ratio(comparison.lower)) " to " (ratio(comparison.upper)) }
                    }
                    td { (interval(comparison)) }
                    td {
                        (comparison.verdict.map_or(comparison.decision.label(), |verdict| verdict.label()))
                        div.quiet { (count(comparison.runs_after, "run", "runs")) " against " (comparison.runs_before) }
                    }
                },
                None => {
                    td { (NONE) }
                    td {}
                    td.quiet { @if is_last { "too few runs" } @else { "another change came after it" } }
                },
            }
        }
    }
}

/// The interval as a bar about its ratio, with a line at 1.
fn interval(comparison: &Comparison) -> Markup {
    let x = |ratio: f64| {
        let share = (ratio - SHOWN.0) / (SHOWN.1 - SHOWN.0);
        format!("{:.1}", share.clamp(0.01, 0.99) * WIDTH)
    };
    let (middle, one) = (format!("{:.1}", HEIGHT / 2.0), x(1.0));
    html! {
        svg.forest aria-hidden="true" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) {
            line.one x1=(one) x2=(one) y1="0" y2=(HEIGHT) {}
            line x1=(x(comparison.lower)) x2=(x(comparison.upper)) y1=(middle) y2=(middle) {}
            circle cx=(x(comparison.ratio)) cy=(middle) r="4" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pages::fixture;

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
        assert!(!html(&fixture::hostile(now), now).contains("<script>"));
        let mut none = fixture::fleet(now);
        none.deployments.clear();
        assert!(html(&none, now).contains("No change is known yet."));
    }
}
