//! All runs of a series, judged again: what a comparison of deployments tells of one of them.

use jiff::Timestamp;

use super::{HistoryError, Reader, Series, SeriesPoint};
use crate::comparison::{Contestant, Precision, Replay, SeriesRun, Story};
use crate::environment::{FieldChange, Generation};
use crate::judges::JudgedFigures;
use crate::measure::Tolerances;
use crate::measurement::RunId;
use crate::report::{RunJson, Unreadable};

/// A deployment with all its runs, and what the judges make of them.
#[derive(Clone, Debug)]
pub struct Subject {
    /// As it is compared.
    pub contestant: Contestant,
    /// All its runs, and what became of them.
    pub story: Story,
}

/// Why a subject could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadSubject {
    /// The file cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It holds a run that this version cannot read.
    #[error("run {id}: {why}")]
    Run {
        /// Which.
        id: RunId,
        /// What is wrong with it.
        why: Unreadable,
    },
}

impl Reader {
    /// Judges all runs of `series` again, with what people said of them. `precision` is as it was declared.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn subject(
        &mut self,
        series: &Series,
        precision: Option<&str>,
        tolerances: &Tolerances,
    ) -> Result<Subject, UnreadSubject> {
        let points = self.series(series, Timestamp::MIN).await?;
        let said = self.interventions(Some(series)).await?;
        let mut said: Vec<_> = said
            .into_iter()
            .map(|said| (said.place(&points), said.intervention))
            .collect();
        said.sort_by_key(|(place, _)| *place);
        let runs: Vec<SeriesRun> = points.iter().map(series_run).collect();
        let replay = Replay::of(&runs, &said, tolerances);
        let mut shown = Vec::new();
        for id in &replay.shown {
            shown.extend(self.run_json(id).await?);
        }
        let mut changed = Vec::new();
        for change in &replay.changes {
            let before = self.run_json(&change.last_before).await?;
            let after = self.run_json(&change.first_after).await?;
            let sides = before.zip(after);
            changed.push(
                sides.map_or_else(Vec::new, |(before, after)| fields_changed(&before, &after)),
            );
        }
        Ok(Subject {
            contestant: Contestant {
                deployment: series.deployment.clone(),
                precision: precision.map(Precision::declared),
                level: replay.level.clone(),
                runs: shown,
                left_out: replay.left_out,
            },
            story: Story {
                name: series.deployment.clone(),
                runs,
                replay,
                changed,
            },
        })
    }

    /// A run, if it was not pruned meanwhile.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn run_json(&mut self, id: &RunId) -> Result<Option<RunJson>, UnreadSubject> {
        let stored = self.run(id).await?;
        let run = stored.map(|stored| stored.read()).transpose();
        run.map_err(|why| UnreadSubject::Run {
            id: id.clone(),
            why,
        })
    }
}

fn series_run(point: &SeriesPoint) -> SeriesRun {
    SeriesRun {
        id: point.id.clone(),
        figures: JudgedFigures::from(point),
    }
}

/// The fields of the environment that differ, as far as both runs know them.
pub fn fields_changed(before: &RunJson, after: &RunJson) -> Vec<FieldChange> {
    let mut generation = Generation::first(before.environment.to_environment());
    generation.observe(&after.environment.to_environment())
}
