//! What became of one deployment over time.

use jiff::Timestamp;

use super::{Change, Replay, SeriesRun};
use crate::environment::FieldChange;

/// All runs of a deployment, and what the judges make of them.
#[derive(Clone, Debug)]
pub struct Story {
    /// The deployment.
    pub name: String,
    /// In order.
    pub runs: Vec<SeriesRun>,
    /// The judges' view.
    pub replay: Replay,
    /// What each change in it changed; empty where that is not known.
    pub changed: Vec<Vec<FieldChange>>,
}

impl Story {
    /// Each change of the environment with its fields, numbered from 1.
    pub fn changes(&self) -> impl Iterator<Item = (usize, &Change, &[FieldChange])> {
        let fields = self.changed.iter().map(Vec::as_slice);
        let changes = self.replay.changes.iter().zip(fields);
        changes
            .zip(1..)
            .map(|((change, fields), number)| (number, change, fields))
    }

    /// Its runs that ended at `since` or later.
    pub fn runs_since(&self, since: Timestamp) -> &[SeriesRun] {
        let first = self
            .runs
            .partition_point(|run| run.figures.ended_at < since);
        &self.runs[first..]
    }

    /// The end of its first run.
    pub fn begin(&self) -> Option<Timestamp> {
        self.runs.first().map(|run| run.figures.ended_at)
    }

    /// The end of its latest run.
    pub fn until(&self) -> Option<Timestamp> {
        self.runs.last().map(|run| run.figures.ended_at)
    }
}
