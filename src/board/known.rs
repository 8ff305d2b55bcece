//! What is known of a probe from before it came onto the board: its last run, and what its deployment ran on.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{DeploymentStatus, LastRun, RecentChange, Snapshot};
use crate::deployment::DeploymentName;
use crate::environment::Generation;
use crate::history::Series;

/// What the history has of some probes.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last run of each, in any order.
    pub runs: Vec<KnownRun>,
    /// The changes of what deployments run on, oldest first.
    pub changes: Vec<(DeploymentName, RecentChange)>,
}

/// The last run of a probe.
#[derive(Clone, Debug)]
pub struct KnownRun {
    /// Whose it is: of the very workload that is replayed now.
    pub series: Series,
    /// What it came to.
    pub last: LastRun,
    /// The end of the last one that counts.
    pub last_valid: Option<Timestamp>,
    /// When the server's process had started by then, in seconds since the Unix epoch.
    pub process_start: Option<f64>,
    /// The address that was probed.
    pub base_url: Option<String>,
    /// What the deployment ran on.
    pub generation: Option<Generation>,
}

impl Snapshot {
    /// Shows what is known of those of whom nothing is shown yet. A change of what they run on is one then, though it
    /// came while nobody looked.
    pub fn recall(&mut self, known: Known) {
        let shown: BTreeSet<DeploymentName> = self.deployments.keys().cloned().collect();
        for run in known.runs {
            self.recall_run(run, &shown);
        }
        for (name, RecentChange { at, fields }) in known.changes {
            if let Some(status) = self.deployments.get_mut(&name)
                && !shown.contains(&name)
            {
                Arc::make_mut(status).changed(at, fields);
            }
        }
    }

    fn recall_run(&mut self, run: KnownRun, shown: &BTreeSet<DeploymentName>) {
        let probe = self.probes.iter_mut().find(|probe| {
            probe.last.is_none()
                && probe.deployment.name.as_str() == run.series.deployment
                && probe.workload.name.as_str() == run.series.workload
                && probe.workload.id().to_string() == run.series.workload_id
        });
        let Some(probe) = probe else { return };
        let (name, seen_at) = (probe.deployment.name.clone(), run.last.ended_at);
        let is_same_server = run.base_url.as_deref() == Some(probe.deployment.endpoint.base_url());
        let process_start = run.process_start.filter(|_| is_same_server);
        Arc::make_mut(probe).restore(run.last, run.last_valid, process_start);
        // By the latest run of any of its probes.
        let known = self.deployments.get(&name);
        if !shown.contains(&name) && known.is_none_or(|known| known.seen_at < seen_at) {
            let status = DeploymentStatus {
                generation: run.generation,
                ..DeploymentStatus::unknown(seen_at)
            };
            self.deployments.insert(name, Arc::new(status));
        }
    }
}
