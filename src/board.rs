//! The latest state of every probe, published as one immutable snapshot.
//!
//! The prober is the only writer; whoever renders takes the snapshot of the moment and is neither in its
//! way nor has to wait for it.

mod known;
mod logs;
mod recent;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;

pub use self::known::{Known, KnownRun};
pub use self::logs::{RunLogs, USUAL_LOGS};
pub use self::recent::{MOST_RUNS, RecentChange, RecentFigures, RecentRun, RecentRuns};
use crate::condition::{Condition, DeploymentState};
use crate::deployment::{Deployment, DeploymentName};
use crate::environment::{Contradiction, Environment, EnvironmentField, FieldChange, Generation};
use crate::judges::Opinion;
use crate::measurement::{Run, RunId};
use crate::reading::Reading;
use crate::statistics::{InvalidReason, Summary};
use crate::totals::{HistogramBounds, Totals};
use crate::workload::Workload;

/// Publishes snapshots, and keeps the logs of the last runs.
#[derive(Debug)]
pub struct Board {
    snapshot: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
    logs: RunLogs,
}

/// The state of everything at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// After how many intervals without a newer run results are withdrawn.
    pub stale_after: u32,
    /// Every probe, in the order of the configuration.
    pub probes: Vec<Arc<ProbeStatus>>,
    /// What is known of each deployment; absent until something is.
    pub deployments: BTreeMap<DeploymentName, Arc<DeploymentStatus>>,
}

/// What is known of a deployment as a whole.
#[derive(Clone, Debug)]
pub struct DeploymentStatus {
    /// How it was when it was last seen, and what spoke for that.
    pub condition: Condition,
    /// When it was last seen.
    pub seen_at: Timestamp,
    /// When its server's process started, in seconds since the Unix epoch; absent when it does not tell.
    pub process_start: Option<f64>,
    /// What it runs on, and has run on since the last change.
    pub generation: Option<Generation>,
    /// When that last changed; absent until it has.
    pub changed_at: Option<Timestamp>,
    /// The last changes of it, oldest first.
    pub recent_changes: Vec<RecentChange>,
    /// How often each field has changed since the start.
    pub changes: BTreeMap<EnvironmentField, u64>,
    /// What the operator declared and something else contradicts.
    pub contradictions: Vec<Contradiction>,
    /// Whether several servers were found to answer at its address, so that their metrics are of no use.
    pub several_servers: bool,
}

impl DeploymentStatus {
    /// A deployment of which nothing is known at `now`.
    pub fn unknown(now: Timestamp) -> Self {
        Self {
            condition: Condition {
                state: DeploymentState::Unknown,
                evidence: "nothing is known yet".to_owned(),
            },
            seen_at: now,
            process_start: None,
            generation: None,
            changed_at: None,
            recent_changes: Vec::new(),
            changes: EnvironmentField::ALL
                .iter()
                .map(|field| (*field, 0))
                .collect(),
            contradictions: Vec::new(),
            several_servers: false,
        }
    }

    /// Takes in what the deployment runs on, as a run saw it that ended at `ended_at`, and tells what has changed.
    pub fn saw_environment(&mut self, seen: &Environment, ended_at: Timestamp) -> Vec<FieldChange> {
        self.contradictions = seen.contradictions();
        let changes = match &mut self.generation {
            Some(generation) => generation.observe(seen),
            None => {
                self.generation = Some(Generation::first(seen.clone()));
                Vec::new()
            }
        };
        if !changes.is_empty() {
            self.changed(ended_at, changes.clone());
        }
        for change in &changes {
            *self.changes.entry(change.field).or_default() += 1;
        }
        changes
    }

    /// Takes in that `fields` of what it runs on had changed by `at`: a later change than those that are known.
    pub fn changed(&mut self, at: Timestamp, fields: Vec<FieldChange>) {
        self.changed_at = Some(at);
        recent::add_change(&mut self.recent_changes, RecentChange { at, fields });
    }
}

impl Snapshot {
    /// The probes of each deployment, which stand next to each other.
    pub fn of_each_deployment(&self) -> impl Iterator<Item = &[Arc<ProbeStatus>]> {
        self.probes
            .chunk_by(|a, b| a.deployment.name == b.deployment.name)
    }

    /// How the deployment of `probes`, which are all of its probes, is at `now`. What was seen longer ago than
    /// its results may be is not known any more, unless a run is going on that has not come to its end.
    pub fn state(&self, probes: &[Arc<ProbeStatus>], now: Timestamp) -> DeploymentState {
        let status = probes
            .first()
            .and_then(|probe| self.deployments.get(&probe.deployment.name));
        let Some(status) = status else {
            return DeploymentState::Unknown;
        };
        let shortest = probes.iter().filter_map(|probe| probe.interval).min();
        let age = now.duration_since(status.seen_at);
        let is_old = shortest.is_some_and(|interval| {
            Duration::try_from(age).is_ok_and(|age| age > interval * self.stale_after)
        });
        if is_old && !probes.iter().any(|probe| probe.in_progress) {
            DeploymentState::Unknown
        } else {
            status.condition.state
        }
    }
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
    /// The server's own metrics when they were last read after a run.
    pub last_reading: Option<Arc<Reading>>,
    /// What the judges say of its runs; absent for a light probe, and until they have read the history.
    pub opinion: Option<Arc<Opinion>>,
    /// The end of the last valid run.
    pub last_valid: Option<Timestamp>,
    /// The last runs; those of before this start too, once the history was read.
    pub recent: Arc<RecentRuns>,
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
    /// No run, and why: in words for people, never a label.
    NotRun {
        /// The id that the attempt began with; absent when that is not known.
        id: Option<RunId>,
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// The summary, if there was a run.
    pub fn summary(&self) -> Option<&Summary> {
        match self {
            Self::Ran { summary, .. } => Some(summary),
            Self::NotRun { .. } => None,
        }
    }

    /// The id that it began with, under which its log is kept for a while.
    pub fn id(&self) -> Option<&RunId> {
        match self {
            Self::Ran { id, .. } => Some(id),
            Self::NotRun { id, .. } => id.as_ref(),
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
            last_reading: None,
            opinion: None,
            last_valid: None,
            recent: Arc::default(),
            totals: Totals::new(bounds),
        }
    }

    /// Takes in a run that has just ended.
    pub fn ran(&mut self, run: &Run, summary: Arc<Summary>, ended_at: Timestamp) {
        self.totals.add_run(run, &summary);
        let seen = &run.observation;
        if let Some(reading) = seen.after.as_ref().or(seen.before.as_ref()) {
            self.last_reading = Some(Arc::clone(reading));
        }
        if summary.is_valid() {
            self.last_valid = Some(ended_at);
        }
        let recent = RecentRun::of(run.id.clone(), ended_at, &summary);
        Arc::make_mut(&mut self.recent).push(recent);
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

    /// Takes in what is known from before this start: the last run, when the last valid one ended, and when the
    /// server's process had started by then, if it is still the same server. Counters stay at 0, since they count
    /// from the start.
    pub fn restore(
        &mut self,
        last: LastRun,
        last_valid: Option<Timestamp>,
        process_start: Option<f64>,
    ) {
        // Enough to tell whether the server has restarted since.
        self.last_reading = process_start.map(|start| {
            Arc::new(Reading {
                process_start: Some(start),
                ..Reading::default()
            })
        });
        self.last = Some(last);
        self.last_valid = last_valid;
    }

    /// Takes in that an attempt, which began with that id, came to no run, and why.
    pub fn did_not_run(&mut self, id: Option<RunId>, why: String, ended_at: Timestamp) {
        self.totals.add_failed_attempt();
        Arc::make_mut(&mut self.recent).push(RecentRun::none(id.clone(), why.clone(), ended_at));
        self.last = Some(LastRun {
            ended_at,
            outcome: Outcome::NotRun { id, why },
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
            Outcome::NotRun { .. } => None,
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
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            version: watch::Sender::new(0),
            logs: RunLogs::default(),
        }
    }

    /// The state of this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The number of the snapshot: another one after each change.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.version.send_modify(|version| *version += 1);
    }

    /// The logs of the last runs.
    pub fn logs(&self) -> &RunLogs {
        &self.logs
    }

    /// Publishes another state of everything. For the one writer only, as [`Self::update`].
    pub fn replace(&self, snapshot: Snapshot) {
        self.publish(snapshot);
    }

    /// Publishes what is now known of a deployment. For the one writer only, as [`Self::update`].
    pub fn update_deployment(&self, name: &DeploymentName, status: DeploymentStatus) {
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        snapshot.deployments.insert(name.clone(), Arc::new(status));
        self.publish(snapshot);
    }

    /// Publishes a snapshot in which `change` has been made to one probe. For the one writer only: what
    /// two would publish at once, one of them would lose.
    pub fn update(&self, probe: usize, change: impl FnOnce(&mut ProbeStatus)) {
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        change(Arc::make_mut(&mut snapshot.probes[probe]));
        self.publish(snapshot);
    }
}
