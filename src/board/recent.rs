//! The last runs of a probe and the last changes of an environment, for whoever draws them. Bounded, so that what a
//! snapshot holds does not grow with the age of the process; the history has the rest.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::environment::FieldChange;
use crate::measurement::{FailureReason, RunId};
use crate::statistics::{Figures, InvalidReason, Summary};

/// Runs that are held of each probe: two days at one each quarter of an hour.
pub const MOST_RUNS: usize = 192;

/// Changes of the environment that are held of each deployment.
const MOST_CHANGES: usize = 32;

/// The last runs of a probe, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecentRuns(VecDeque<RecentRun>);

/// What is drawn of a run, or of an attempt at one.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentRun {
    /// Its id, under which its log is kept for a while even if it came to no run; absent when that is not known.
    pub id: Option<RunId>,
    /// When it had ended.
    pub ended_at: Timestamp,
    /// Requests that completed.
    pub completed: u32,
    /// Requests that failed.
    pub failed: u32,
    /// How many failed for each reason that was seen.
    pub failures: Vec<(FailureReason, u32)>,
    /// Why it does not count; empty when it does.
    pub invalid_reasons: Vec<InvalidReason>,
    /// Why it came to no run, for people.
    pub not_run: Option<String>,
    /// Absent when it does not count.
    pub figures: Option<RecentFigures>,
}

/// The figures that are drawn. Times are in seconds, rates are per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecentFigures {
    /// Completed requests.
    pub qps: f64,
    /// Completion tokens.
    pub decode_tps: f64,
    /// Median end-to-end latency.
    pub p50: f64,
    /// 95th percentile of the end-to-end latency.
    pub p95: f64,
    /// Median time to first token; absent when nothing was streamed.
    pub ttft_p50: Option<f64>,
    /// Median time per output token; absent when nothing was streamed.
    pub tpot_p50: Option<f64>,
}

/// What a deployment runs on has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentChange {
    /// When it was noticed.
    pub at: Timestamp,
    /// What has another value than before.
    pub fields: Vec<FieldChange>,
}

impl RecentRun {
    /// A run that came to `summary`.
    pub fn of(id: RunId, ended_at: Timestamp, summary: &Summary) -> Self {
        Self {
            id: Some(id),
            ended_at,
            completed: summary.completed,
            failed: summary.failed,
            failures: summary
                .failures
                .iter()
                .map(|(reason, count)| (*reason, *count))
                .collect(),
            invalid_reasons: summary.invalid_reasons.clone(),
            not_run: None,
            figures: summary.figures.as_ref().map(RecentFigures::from),
        }
    }

    /// An attempt that came to no run, and why.
    pub fn none(id: Option<RunId>, why: String, ended_at: Timestamp) -> Self {
        Self {
            id,
            ended_at,
            completed: 0,
            failed: 0,
            failures: Vec::new(),
            invalid_reasons: vec![InvalidReason::NotRun],
            not_run: Some(why),
            figures: None,
        }
    }
}

impl From<&Figures> for RecentFigures {
    fn from(figures: &Figures) -> Self {
        Self {
            qps: figures.qps,
            decode_tps: figures.decode_tps,
            p50: figures.latency.p50,
            p95: figures.latency.p95,
            ttft_p50: figures.ttft.map(|ttft| ttft.p50),
            tpot_p50: figures.tpot.map(|tpot| tpot.p50),
        }
    }
}

impl RecentRuns {
    /// Every run that is held, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RecentRun> + ExactSizeIterator {
        self.0.iter()
    }

    /// Takes in the run that has just ended.
    pub fn push(&mut self, run: RecentRun) {
        if self.0.len() == MOST_RUNS {
            self.0.pop_front();
        }
        self.0.push_back(run);
    }

    /// Puts runs of before, oldest first, in front of those that are held already, as many as there is room for.
    pub fn recall(&mut self, before: Vec<RecentRun>) {
        let first = self.0.front().map(|run| run.ended_at);
        let is_before = |run: &RecentRun| first.is_none_or(|first| run.ended_at < first);
        for run in before.into_iter().rev().filter(is_before) {
            if self.0.len() == MOST_RUNS {
                break;
            }
            self.0.push_front(run);
        }
    }
}

/// Adds a change to those that are held, in order; the oldest goes when there are too many.
pub(super) fn add_change(changes: &mut Vec<RecentChange>, change: RecentChange) {
    if changes.len() == MOST_CHANGES {
        changes.remove(0);
    }
    changes.push(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(second: i64) -> RecentRun {
        RecentRun::none(
            None,
            "refused".to_owned(),
            Timestamp::from_second(second).unwrap(),
        )
    }

    fn seconds(runs: &RecentRuns) -> Vec<i64> {
        runs.iter().map(|run| run.ended_at.as_second()).collect()
    }

    #[test]
    fn the_last_runs_are_held_and_no_more() {
        let mut runs = RecentRuns::default();
        let most = i64::try_from(MOST_RUNS).unwrap();
        for second in 0..most + 10 {
            runs.push(run(second));
        }
        assert_eq!(seconds(&runs), (10..most + 10).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_before_comes_in_front_once() {
        let mut runs = RecentRuns::default();
        runs.push(run(1_000));
        // The history may hold the run that has ended meanwhile.
        runs.recall((1..=1_000).map(run).collect());
        let most = i64::try_from(MOST_RUNS).unwrap();
        assert_eq!(seconds(&runs), (1_001 - most..=1_000).collect::<Vec<_>>());
    }

    #[test]
    fn old_changes_make_room() {
        let mut changes = Vec::new();
        for second in 0..40 {
            let at = Timestamp::from_second(second).unwrap();
            let fields = Vec::new();
            add_change(&mut changes, RecentChange { at, fields });
        }
        assert_eq!((changes.len(), changes[0].at.as_second()), (32, 8));
    }
}
