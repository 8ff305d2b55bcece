//! Puts together whom to probe: the deployments that stand in the configuration, and those that its sources tell of.
//!
//! The sources are looked at whenever one of them has been read. Only another list of targets makes another plan,
//! which the prober takes over as it does that of a reload: as a difference.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tracing::warn;

use super::sources::{Reading, Sources};
use crate::config::{DeploymentSource, Found, MOST_TARGETS, ProbedDeployment, Remark};
use crate::deployment::DeploymentName;
use crate::discovery::source::SourceStatus;
use crate::prober::{Plan, PlannedProbe};

/// Targets of one list that are spoken of one by one: an inventory gone wrong must not flood the log.
const MOST_TOLD: usize = 20;

/// Whom to probe by a configuration and its sources.
#[derive(Debug)]
pub struct Discovery {
    /// The plan of what stands in the configuration.
    written: Plan,
    lists: Vec<DeploymentSource>,
    sources: Sources,
    /// What the latest plan was made of.
    readings: Vec<Reading>,
    statuses: Vec<SourceStatus>,
    /// What was said of targets already.
    told: BTreeSet<(String, Remark)>,
}

impl Discovery {
    /// Follows `lists` besides what is `written`, and gives the plan of both; files are looked at as often as `watch`
    /// says. A source that takes too long at first does not hold this up: its deployments come later.
    pub async fn start(
        written: Plan,
        lists: Vec<DeploymentSource>,
        watch: Option<Duration>,
    ) -> (Self, Plan) {
        let mut discovery = Self {
            written: written.clone(),
            lists: Vec::new(),
            sources: Sources::none(watch),
            readings: Vec::new(),
            statuses: Vec::new(),
            told: BTreeSet::new(),
        };
        let plan = discovery.follow(written, lists).await;
        (discovery, plan)
    }

    /// Goes over to another configuration, for which every list is read anew.
    pub(super) async fn follow(&mut self, written: Plan, lists: Vec<DeploymentSource>) -> Plan {
        self.sources.follow(&lists).await;
        (self.written, self.lists) = (written, lists);
        self.readings = self.sources.readings();
        self.plan().await
    }

    /// Returns once some source has been read again.
    pub(super) async fn read(&self) {
        self.sources.read().await;
    }

    /// Takes in what the sources say now; a plan, if that makes another one.
    pub(super) async fn look(&mut self) -> Option<Plan> {
        let readings = self.sources.readings();
        let mut both = readings.iter().zip(&self.readings);
        let changed = both.any(|(now, before)| !Arc::ptr_eq(&now.targets, &before.targets));
        self.readings = readings;
        if changed {
            return Some(self.plan().await);
        }
        for (status, reading) in self.statuses.iter_mut().zip(&self.readings) {
            status.failing = reading.is_failing();
            status.last_success = reading.last_success;
        }
        None
    }

    /// How each source fares.
    pub(super) fn statuses(&self) -> Vec<SourceStatus> {
        self.statuses.clone()
    }

    async fn plan(&mut self) -> Plan {
        let mut plan = self.written.clone();
        let names = plan.probes.iter();
        let taken = names.map(|probe| probe.deployment.name.clone()).collect();
        let mut remarks = BTreeSet::new();
        self.statuses.clear();
        let all_found = self.find(taken).await;
        let lists = self.lists.iter().zip(&self.readings);
        for ((list, reading), found) in lists.zip(all_found) {
            let refused = found.refused.len() + found.beyond;
            self.statuses.push(SourceStatus {
                source: list.name.clone(),
                failing: reading.is_failing(),
                last_success: reading.last_success,
                targets: found.deployments.len() + refused,
                refused,
            });
            if found.beyond > 0 {
                warn!(
                    source = list.name,
                    beyond = found.beyond,
                    mend = "let several probers share the list, each a part of it by `hashmod`",
                    "the list has more targets than the {MOST_TARGETS} that are probed"
                );
            }
            let said = found.refused.into_iter().map(|remark| (true, remark));
            let said = said.chain(found.warnings.into_iter().map(|remark| (false, remark)));
            self.tell(&list.name, said.collect(), &mut remarks);
            plan.probes
                .extend(found.deployments.into_iter().flat_map(planned));
        }
        self.told = remarks;
        plan
    }

    /// What the targets of each list come to. A long list takes a while, which is not to hold up the loops that
    /// schedule and serve.
    async fn find(&self, mut taken: BTreeSet<DeploymentName>) -> Vec<Found> {
        let lists = self.lists.clone();
        let targets = self.readings.iter();
        let targets: Vec<_> = targets
            .map(|reading| Arc::clone(&reading.targets))
            .collect();
        let finding = spawn_blocking(move || {
            let both = lists.iter().zip(&targets);
            both.map(|(list, targets)| list.find(targets, &mut taken))
                .collect()
        });
        match finding.await {
            Ok(found) => found,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Logs what there is to say of targets and was not said before; `remarks` has all of it in the end.
    fn tell(
        &self,
        source: &str,
        said: Vec<(bool, Remark)>,
        remarks: &mut BTreeSet<(String, Remark)>,
    ) {
        let mut news = 0;
        for (refused, remark) in said {
            let named = (source.to_owned(), remark);
            if !self.told.contains(&named) {
                news += 1;
                let (_, Remark { message, mend, .. }) = &named;
                let what = if refused {
                    "a target cannot be probed: "
                } else {
                    ""
                };
                if news <= MOST_TOLD {
                    // Not `target`: of a JSON line that is the part of the program that writes it.
                    warn!(source, labels = named.1.target(), mend, "{what}{message}");
                }
            }
            remarks.insert(named);
        }
        if news > MOST_TOLD {
            let more = news - MOST_TOLD;
            warn!(
                source,
                more, "there is as much to say of other targets; `check` tells all of it"
            );
        }
    }
}

/// The probes of a deployment as a plan has them.
pub fn planned(probed: ProbedDeployment) -> impl Iterator<Item = PlannedProbe> {
    let deployment = probed.deployment;
    probed.probes.into_iter().map(move |probe| PlannedProbe {
        deployment: Arc::clone(&deployment),
        workload: probe.workload,
        schedule: probe.schedule,
    })
}
