//! Publishes on the board what a run came to, how its deployment is, what its judges say, and what is due next.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::info;
use uuid::Uuid;

use super::plan::PlannedProbe;
use super::{Finished, Prober, judging, log, now};
use crate::agenda::ProbeKey;
use crate::board::DeploymentStatus;
use crate::condition::{Condition, DeploymentState};
use crate::deployment::Deployment;
use crate::environment::FieldChange;
use crate::history::{self, EnvironmentChange};
use crate::measure::Measure;
use crate::measurement::{Run, RunId};
use crate::report::FieldChangeJson;
use crate::runner::RunError;
use crate::statistics::Summary;
use crate::verdict::Edge;

impl Prober {
    /// Publishes what the judges of a probe say now, and logs the verdicts that begin.
    pub(super) fn publish_opinion(&self, probe: usize, edges: &[(Measure, Edge)]) {
        let PlannedProbe {
            deployment,
            workload,
            ..
        } = &self.plan.probes[probe];
        let Some(judges) = self.benches[probe].judges() else {
            return;
        };
        let opinion = Arc::new(judges.opinion());
        log::verdicts(deployment, workload, edges, &opinion);
        self.board
            .update(probe, |status| status.opinion = Some(opinion));
    }

    pub(super) fn publish(
        &mut self,
        probe: ProbeKey,
        outcome: Result<Finished, RunError>,
        run_id: Option<&RunId>,
    ) {
        let PlannedProbe {
            deployment,
            workload,
            ..
        } = self.plan.probes[probe.0].clone();
        match outcome {
            Ok(Finished {
                run,
                summary,
                ended_at,
            }) => {
                log::run(&deployment, &workload, &run, &summary);
                let condition = Condition::after_run(&run, &summary);
                let fingerprint =
                    self.judge(&deployment, condition, Some((&run, &summary, ended_at)));
                let judged = judging::of_summary(&summary, ended_at, fingerprint);
                self.board.update(probe.0, |status| {
                    status.in_progress = false;
                    status.ran(&run, summary, ended_at);
                });
                let edges = self.benches[probe.0].take(run.id.clone(), judged);
                self.publish_opinion(probe.0, &edges);
            }
            Err(RunError::Cut) => {
                info!(deployment = %deployment.name, workload = %workload.name, "run cut short, not recorded");
                self.board
                    .update(probe.0, |status| status.in_progress = false);
            }
            Err(why) => {
                if let RunError::NoModel(error) = &why {
                    self.judge(&deployment, Condition::after_failed_attempt(error), None);
                }
                let backoff = self.agenda.backoff(probe);
                log::no_run(&deployment, &workload, run_id, &why, backoff);
                self.board.update(probe.0, |status| {
                    status.in_progress = false;
                    status.did_not_run(run_id.cloned(), why.without_paths(), now());
                });
            }
        }
    }

    /// Publishes how a deployment is now, and logs it where that is news. Returns the fingerprint of its
    /// environment, empty while nothing is known of it.
    pub(super) fn judge(
        &self,
        deployment: &Deployment,
        condition: Condition,
        run: Option<(&Run, &Summary, Timestamp)>,
    ) -> String {
        let shown = self.board.snapshot();
        let known = shown.deployments.get(&deployment.name).map(AsRef::as_ref);
        let mut status = known
            .cloned()
            .unwrap_or_else(|| DeploymentStatus::unknown(now()));
        let before = known.map_or(DeploymentState::Unknown, |known| known.condition.state);
        if before != condition.state {
            log::transition(deployment, before, &condition);
        }
        (status.condition, status.seen_at) = (condition, now());
        if let Some((run, summary, ended_at)) = run {
            status.process_start = summary.server.process_start.or(status.process_start);
            if summary.server.several_servers && !status.several_servers {
                log::several_servers(deployment);
            }
            status.several_servers |= summary.server.several_servers;
            let changes = status.saw_environment(&run.environment, ended_at);
            log::environment(deployment, &changes);
            self.store_changes(deployment, run, ended_at, &changes);
        }
        let generation = status.generation.as_ref();
        let fingerprint = generation.map(|generation| generation.fingerprint.clone());
        self.board.update_deployment(&deployment.name, status);
        fingerprint.unwrap_or_default()
    }

    /// Stores a change of the environment as the event that it is. No one waits for that.
    pub(super) fn store_changes(
        &self,
        deployment: &Deployment,
        run: &Run,
        ended_at: Timestamp,
        changes: &[FieldChange],
    ) {
        let Some(recorder) = self.recorder.clone().filter(|_| !changes.is_empty()) else {
            return;
        };
        let event = history::Event::EnvironmentChanged(EnvironmentChange {
            id: Uuid::now_v7().to_string(),
            deployment: deployment.name.to_string(),
            at: ended_at,
            run: run.id.clone(),
            fields: changes.iter().map(FieldChangeJson::from).collect(),
        });
        tokio::spawn(recorder.note(event));
    }

    /// Shows when each probe is due next, where that has changed.
    pub(super) fn publish_schedule(&self) {
        let shown = self.board.snapshot();
        for (index, probe) in self.plan.probes.iter().enumerate() {
            let next_run = self.agenda.next_run(ProbeKey(index));
            if shown.probes[index].next_run != next_run || shown.probes[index].interval.is_none() {
                let interval = probe.schedule.interval(now());
                self.board.update(index, |status| {
                    (status.next_run, status.interval) = (next_run, interval);
                });
            }
        }
    }
}
