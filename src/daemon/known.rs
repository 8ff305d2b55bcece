//! Reads what the history has of probes that come onto the board: at a start all of them, later those that a reload or
//! a list adds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;

use crate::board::{Board, Known, KnownRun, LastRun, Outcome, RecentChange};
use crate::deployment::{Deployment, DeploymentName};
use crate::history::{Health, HistoryError, Latest, Operation, Reader, Series};
use crate::measurement::RunId;
use crate::prober::Plan;
use crate::report::{FieldChangeJson, Unreadable};
use crate::workload::Workload;

/// Where the history is.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Its directory.
    pub(super) storage: PathBuf,
    /// How it fares.
    pub(super) health: Arc<Health>,
}

impl Stored {
    /// What there is of the probes of `plan` that the board does not show. A history that cannot be read has nothing
    /// of them, and says so.
    pub(super) async fn of_new(&self, plan: &Plan, board: &Board) -> Known {
        let shown: BTreeSet<Series> = board
            .snapshot()
            .probes
            .iter()
            .map(|probe| series(&probe.deployment, &probe.workload))
            .collect();
        let mut probes = plan.probes.iter();
        if probes.all(|probe| shown.contains(&series(&probe.deployment, &probe.workload))) {
            return Known::default();
        }
        let read = async {
            let mut reader = Reader::open(&self.storage).await?;
            known(&mut reader, &self.health).await
        };
        read.await.unwrap_or_else(|error| {
            self.health.failed(Operation::Read);
            warn!(%error, "the history cannot be read, so the last runs of new probes are not shown");
            Known::default()
        })
    }
}

/// All that there is, of whatever was probed. What cannot be read is told and left out.
pub(super) async fn known(reader: &mut Reader, health: &Health) -> Result<Known, HistoryError> {
    let mut known = Known::default();
    for latest in reader.latest().await? {
        let id = latest.run.id.clone();
        match last_run(latest) {
            Ok(run) => known.runs.push(run),
            Err(error) => {
                health.failed(Operation::Read);
                warn!(run_id = %id, %error, "the last run cannot be read, so it is not shown");
            }
        }
    }
    for change in reader.environment_changes(None).await? {
        let fields = change.fields.iter().filter_map(FieldChangeJson::read);
        let (at, fields) = (change.at, fields.collect());
        let name = DeploymentName::new(change.deployment);
        known.changes.push((name, RecentChange { at, fields }));
    }
    Ok(known)
}

fn series(deployment: &Deployment, workload: &Workload) -> Series {
    Series {
        deployment: deployment.name.to_string(),
        workload: workload.name.to_string(),
        workload_id: workload.id().to_string(),
    }
}

fn last_run(latest: Latest) -> Result<KnownRun, Unreadable> {
    let run = latest.run.read()?;
    let summary = run.summary()?;
    Ok(KnownRun {
        series: latest.series,
        last_valid: latest.last_valid,
        process_start: summary.server.process_start,
        base_url: run.base_url,
        generation: run.environment.to_generation(),
        last: LastRun {
            ended_at: latest.run.ended_at,
            outcome: Outcome::Ran {
                id: RunId(run.run_id),
                model: run.model,
                server_version: run.server.version,
                summary: Arc::new(summary),
            },
        },
    })
}
