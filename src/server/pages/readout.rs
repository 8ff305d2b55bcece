//! What a script reads off the charts of a probe: where its runs are in them, and what is to be told of each. It is
//! written here, so that a number is told the same way on a chart as in a table.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::finding::fields;
use crate::board::{RecentChange, RecentRun};
use crate::report::charts::Plot;

/// What the charts of a probe share, each in JSON.
#[derive(Debug)]
pub(super) struct Readout {
    /// How many runs are drawn.
    pub(super) shown: usize,
    /// Left and right end of the runs and the width of a chart, in its own pixels; the instants of both ends; and
    /// the first and the last instant of all runs, in seconds since the Unix epoch.
    pub(super) plot: String,
    /// What stands at the ticks of the axis, with its instant in seconds since the Unix epoch.
    pub(super) ticks: String,
    /// Of each run: when it ended, in seconds since the Unix epoch; its id, if it is known; whether it counts, or why
    /// not; and in which of the environments.
    pub(super) runs: String,
    /// The environments.
    pub(super) environments: String,
}

impl Readout {
    /// What there is to tell of `runs`, drawn at `plot`, of a probe that has runs during `whole` and whose
    /// environment had these `changes`.
    pub(super) fn of(
        runs: &[&RecentRun],
        plot: &Plot,
        whole: (Timestamp, Timestamp),
        changes: &[RecentChange],
    ) -> Self {
        let (first, last) = (whole.0.as_second(), whole.1.as_second());
        let told = runs.iter().map(|run| {
            let environment = changes.iter().filter(|change| change.at <= run.ended_at);
            json!([
                run.ended_at.as_second(),
                run.id.as_ref().map(|id| &id.0),
                standing(run),
                environment.count()
            ])
        });
        Self {
            shown: runs.len(),
            plot: json!([
                plot.left, plot.right, plot.width, plot.from, plot.to, first, last
            ])
            .to_string(),
            ticks: json!(plot.ticks.iter().cloned().collect::<BTreeMap<_, _>>()).to_string(),
            runs: told.collect::<serde_json::Value>().to_string(),
            environments: json!(environments(changes)).to_string(),
        }
    }
}

/// Whether a run counts, or why not.
fn standing(run: &RecentRun) -> String {
    if run.invalid_reasons.is_empty() {
        return "valid".to_owned();
    }
    let reasons = run.invalid_reasons.iter();
    let reasons: Vec<_> = reasons
        .map(|reason| reason.label().replace('_', " "))
        .collect();
    let why = run.not_run.as_ref();
    let why = why.map_or(String::new(), |why| format!(" ({why})"));
    format!("does not count: {}{why}", reasons.join(", "))
}

/// The environment before the first change, and after each.
fn environments(changes: &[RecentChange]) -> Vec<String> {
    let before = changes
        .first()
        .map(|change| format!("environment before {}", fields(change)));
    let after = changes
        .iter()
        .map(|change| format!("environment since {}", fields(change)));
    let none = "environment without a known change";
    let mut all = vec![before.unwrap_or_else(|| none.to_owned())];
    all.extend(after);
    all
}
