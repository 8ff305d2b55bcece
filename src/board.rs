//! The latest state of every probe, published as one immutable snapshot.
//!
//! The prober is the only writer; whoever renders takes the snapshot of the moment and is neither in its
//! way nor has to wait for it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::deployment::Deployment;
use crate::measurement::{Run, RunId};
use crate::statistics::{InvalidReason, Summary};
use crate::totals::{HistogramBounds, Totals};
use crate::workload::Workload;

/// Publishes snapshots.
#[derive(Debug)]
pub struct Board(ArcSwap<Snapshot>);

/// The state of everything at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// After how many intervals without a newer run results are withdrawn.
    pub stale_after: u32,
    /// Every probe, in the order of the configuration.
    pub probes: Vec<Arc<ProbeStatus>>,
}

/// Where one probe stands: one workload on one deployment.
#[derive(Clone, Debug)]
pub struct ProbeStatus {
    /// Whom it probes.
    pub deployment: Arc<Deployment>,
    /// With what.
    pub workload: Arc<Workload>,
    /// The time between two slots; absent for a schedule that never fires again.
    pub interval: Option<Duration>,
    /// The slot of the next run; absent when there will be none.
    pub next_run: Option<Timestamp>,
    /// Whether a run is going on.
    pub in_progress: bool,
    /// How much later than its slot the last run started; absent before the first.
    pub start_delay: Option<Duration>,
    /// The last finished run, or the last attempt at one.
    pub last: Option<LastRun>,
    /// The end of the last valid run.
    pub last_valid: Option<Timestamp>,
    /// What has accumulated since the start.
    pub totals: Totals,
}

/// The last finished run of a probe.
#[derive(Clone, Debug)]
pub struct LastRun {
    /// When it ended.
    pub ended_at: Timestamp,
    /// What it came to.
    pub outcome: Outcome,
}

/// What an attempt at a run came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A run, valid or not.
    Ran {
        /// Its id.
        id: RunId,
        /// The model that was asked for.
        model: String,
        /// The server's version, when it told.
        server_version: Option<String>,
        /// What it amounts to.
        summary: Arc<Summary>,
    },
    /// No run, and why: for people, never a label.
    NotRun(String),
}

impl Outcome {
    /// The summary, if there was a run.
    pub fn summary(&self) -> Option<&Summary> {
        match self {
            Self::Ran { summary, .. } => Some(summary),
            Self::NotRun(_) => None,
        }
    }

    /// Why it does not count; empty when it does.
    pub fn invalid_reasons(&self) -> &[InvalidReason] {
        self.summary()
            .map_or(&[InvalidReason::NotRun], |summary| &summary.invalid_reasons)
    }
}

impl ProbeStatus {
    /// A probe that has not run yet.
    pub fn new(
        deployment: Arc<Deployment>,
        workload: Arc<Workload>,
        bounds: &HistogramBounds,
    ) -> Self {
        Self {
            deployment,
            workload,
            interval: None,
            next_run: None,
            in_progress: false,
            start_delay: None,
            last: None,
            last_valid: None,
            totals: Totals::new(bounds),
        }
    }

    /// Takes in a run that has just ended.
    pub fn ran(&mut self, run: &Run, summary: Arc<Summary>, ended_at: Timestamp) {
        self.totals.add_run(run, &summary);
        if summary.is_valid() {
            self.last_valid = Some(ended_at);
        }
        self.last = Some(LastRun {
            ended_at,
            outcome: Outcome::Ran {
                id: run.id.clone(),
                model: run.model.clone(),
                server_version: run.server_version.clone(),
                summary,
            },
        });
    }

    /// Takes in that an attempt came to no run.
    pub fn did_not_run(&mut self, why: String, ended_at: Timestamp) {
        self.totals.add_failed_attempt();
        self.last = Some(LastRun {
            ended_at,
            outcome: Outcome::NotRun(why),
        });
    }

    /// The last run, unless its results are older than `stale_after` intervals.
    pub fn current(&self, stale_after: u32, now: Timestamp) -> Option<&LastRun> {
        let last = self.last.as_ref()?;
        let age = now.duration_since(last.ended_at).unsigned_abs();
        let stale = self
            .interval
            .is_some_and(|interval| age > interval * stale_after);
        (!stale || now < last.ended_at).then_some(last)
    }

    /// The version that the server last told.
    pub fn server_version(&self) -> Option<&str> {
        match &self.last.as_ref()?.outcome {
            Outcome::Ran { server_version, .. } => server_version.as_deref(),
            Outcome::NotRun(_) => None,
        }
    }

    /// The model that was last asked for, or is configured to be.
    pub fn model(&self) -> Option<&str> {
        match self.last.as_ref().map(|last| &last.outcome) {
            Some(Outcome::Ran { model, .. }) => Some(model),
            _ => self.deployment.model.as_deref(),
        }
    }
}

impl Board {
    /// A board that shows `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The state of this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Publishes a snapshot in which `change` has been made to one probe. For the one writer only: what
    /// two would publish at once, one of them would lose.
    pub fn update(&self, probe: usize, change: impl FnOnce(&mut ProbeStatus)) {
        let mut snapshot = Snapshot::clone(&self.0.load());
        change(Arc::make_mut(&mut snapshot.probes[probe]));
        self.0.store(Arc::new(snapshot));
    }
}
