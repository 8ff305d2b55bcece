//! All that there is to do, as the configuration has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::agenda::Entry;
use crate::board::{Board, Known, ProbeStatus, Snapshot};
use crate::budget::Budget;
use crate::deployment::Deployment;
use crate::history::Series;
use crate::schedule::Schedule;
use crate::target::Targets;
use crate::totals::HistogramBounds;
use crate::workload::Workload;

/// A workload that is replayed against a deployment on a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedProbe {
    /// Whom to probe.
    pub deployment: Arc<Deployment>,
    /// With what.
    pub workload: Arc<Workload>,
    /// When.
    pub schedule: Schedule,
}

/// What becomes of runs in flight whose probes are no more configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemovedRuns {
    /// They go on to their end and are stored.
    #[default]
    Finish,
    /// They are cut, and leave no trace.
    Cancel,
}

/// All that there is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The probes of a deployment stand next to each other.
    pub probes: Vec<PlannedProbe>,
    /// Bursts in flight at once in the whole process.
    pub max_concurrent_runs: usize,
    /// What probing all deployments together may cost.
    pub budget: Budget,
    /// After how many intervals without a newer run results are withdrawn.
    pub stale_after: u32,
    /// How long the runs in flight may go on after the word to stop.
    pub shutdown_grace: Duration,
    /// Of the request histograms.
    pub histogram_bounds: HistogramBounds,
    /// What becomes of runs in flight whose probes this plan has no more.
    pub removed_runs: RemovedRuns,
    /// What may be asked for beside the probes.
    pub targets: Targets,
}

/// A plan that takes the place of another.
#[derive(Debug)]
pub struct NextPlan {
    /// What there is to do from now on.
    pub plan: Plan,
    /// What the history has of the probes that are new in it.
    pub known: Known,
    /// Told once it is so.
    pub adopted: oneshot::Sender<()>,
}

impl PlannedProbe {
    /// What the agenda has to know of it.
    pub(super) fn entry(&self) -> Entry {
        Entry {
            deployment: self.deployment.name.clone(),
            lane: self.deployment.lane.clone(),
            light: self.workload.is_light(),
            schedule: self.schedule.clone(),
            budget: self.deployment.budget,
            tokens: self.workload.most_tokens(),
        }
    }

    /// The runs of it that are compared with each other.
    pub(super) fn series(&self) -> Series {
        Series {
            deployment: self.deployment.name.to_string(),
            workload: self.workload.name.to_string(),
            workload_id: self.workload.id().to_string(),
        }
    }

    /// Where it stands before its first run.
    pub(super) fn status(&self, bounds: &HistogramBounds) -> ProbeStatus {
        ProbeStatus::new(
            Arc::clone(&self.deployment),
            Arc::clone(&self.workload),
            bounds,
        )
    }
}

impl Plan {
    /// The board on which nothing has happened yet.
    pub fn board(&self) -> Board {
        let status = |probe: &PlannedProbe| Arc::new(probe.status(&self.histogram_bounds));
        Board::new(Snapshot {
            stale_after: self.stale_after,
            probes: self.probes.iter().map(status).collect(),
            deployments: BTreeMap::new(),
        })
    }
}
