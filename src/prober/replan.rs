//! How the prober goes over to another plan while it runs: it changes what is different, and nothing else.
//!
//! A probe is the same if deployment, workload and the workload's id are. It keeps its schedule, counters, results,
//! verdicts and its run. A new one is shown with what the history has of it. One that is gone vanishes from the board
//! at once; its run ends by itself or is cut.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use tracing::info;

use super::plan::{NextPlan, Plan, PlannedProbe, RemovedRuns};
use super::{Bench, Prober, Ticket, now};
use crate::agenda::{Agenda, ProbeKey};
use crate::board::{DeploymentStatus, Known, ProbeStatus, Snapshot};
use crate::budget::Budget;
use crate::history::Series;

impl Prober {
    /// Goes over to another plan.
    pub(super) fn replan(&mut self, next: NextPlan) {
        let NextPlan {
            plan,
            known,
            adopted,
        } = next;
        let predecessors = self.predecessors(&plan);
        self.replan_agenda(&plan, &predecessors);
        self.replan_board(&plan, &predecessors, known);
        self.replan_benches(&plan, &predecessors);
        let (before, kept) = (
            self.plan.probes.len(),
            predecessors.iter().flatten().count(),
        );
        info!(
            probes = plan.probes.len(),
            kept,
            added = plan.probes.len() - kept,
            removed = before - kept,
            "another plan"
        );
        self.plan = plan;
        self.publish_schedule();
        // Whoever asked may have gone.
        let _ = adopted.send(());
    }

    /// The same probes in the plan so far.
    fn predecessors(&self, plan: &Plan) -> Vec<Option<usize>> {
        let before = self.plan.probes.iter().map(PlannedProbe::series);
        let places: BTreeMap<Series, usize> = before.zip(0..).collect();
        let series = plan.probes.iter().map(PlannedProbe::series);
        series.map(|series| places.get(&series).copied()).collect()
    }

    fn replan_agenda(&mut self, plan: &Plan, predecessors: &[Option<usize>]) {
        let entries = plan.probes.iter().zip(predecessors);
        let entries = entries
            .map(|(probe, predecessor)| (probe.entry(), predecessor.map(ProbeKey)))
            .collect();
        let nothing = Agenda::new(Vec::new(), 1, Budget::default(), now());
        let (agenda, places) = mem::replace(&mut self.agenda, nothing).replan(
            entries,
            plan.max_concurrent_runs,
            plan.budget,
            now(),
        );
        self.agenda = agenda;
        for (new, old) in predecessors.iter().enumerate() {
            // What made its runs panic may have gone with what it was.
            if old.is_some_and(|old| plan.probes[new] != self.plan.probes[old]) {
                self.agenda.forgive(ProbeKey(new));
            }
        }

        let before = mem::take(&mut self.tickets);
        let mut tickets: Vec<Option<Ticket>> = vec![None; plan.probes.len()];
        let mut leaving = Vec::new();
        // Those that leave stand behind the others, in the order in which they stood.
        for (index, place) in places.into_iter().enumerate() {
            let Some(ProbeKey(place)) = place else {
                continue;
            };
            let ticket = before[index];
            if place < plan.probes.len() {
                tickets[place] = Some(ticket);
            } else {
                if plan.removed_runs == RemovedRuns::Cancel {
                    self.cut_run(ticket);
                }
                leaving.push(ticket);
            }
        }
        self.tickets = tickets
            .into_iter()
            .map(|ticket| ticket.unwrap_or_else(|| self.new_ticket()))
            .collect();
        self.tickets.extend(leaving);
    }

    fn replan_board(&self, plan: &Plan, predecessors: &[Option<usize>], known: Known) {
        let shown = self.board.snapshot();
        let bounds_are_others = plan.histogram_bounds != self.plan.histogram_bounds;
        let status = |(probe, predecessor): (&PlannedProbe, &Option<usize>)| {
            let Some(predecessor) = predecessor else {
                return Arc::new(probe.status(&plan.histogram_bounds));
            };
            let mut status = ProbeStatus::clone(&shown.probes[*predecessor]);
            if is_elsewhere(&self.plan.probes[*predecessor], probe) {
                status.last_reading = None;
            }
            if bounds_are_others {
                status.totals.rebin(&plan.histogram_bounds);
            }
            status.deployment = Arc::clone(&probe.deployment);
            status.workload = Arc::clone(&probe.workload);
            // It is published anew with the schedule.
            status.interval = None;
            Arc::new(status)
        };
        let mut deployments = shown.deployments.clone();
        deployments.retain(|name, _| {
            plan.probes
                .iter()
                .any(|probe| probe.deployment.name == *name)
        });
        for (probe, predecessor) in plan.probes.iter().zip(predecessors) {
            let moved =
                predecessor.is_some_and(|before| is_elsewhere(&self.plan.probes[before], probe));
            if let Some(known) = deployments
                .get_mut(&probe.deployment.name)
                .filter(|_| moved)
            {
                let status = DeploymentStatus::clone(known);
                *known = Arc::new(DeploymentStatus {
                    process_start: None,
                    several_servers: false,
                    ..status
                });
            }
        }
        let mut next = Snapshot {
            stale_after: plan.stale_after,
            probes: plan.probes.iter().zip(predecessors).map(status).collect(),
            deployments,
        };
        next.recall(known);
        self.board.replace(next);
    }

    /// Judges go on if they bear what they bore; others judge the history again.
    fn replan_benches(&mut self, plan: &Plan, predecessors: &[Option<usize>]) {
        let mut before: Vec<Option<Bench>> =
            mem::take(&mut self.benches).into_iter().map(Some).collect();
        let mut unread = Vec::new();
        for (probe, predecessor) in plan.probes.iter().zip(predecessors) {
            let kept = predecessor
                .filter(|index| {
                    let planned = &self.plan.probes[*index];
                    planned.deployment.tolerances == probe.deployment.tolerances
                })
                .and_then(|index| before[index].take());
            let bench = kept.unwrap_or_else(|| self.seat(probe, &mut unread));
            self.benches.push(bench);
        }
        self.read_history(unread);
    }
}

/// Whether another server is probed now, as far as the address tells.
fn is_elsewhere(before: &PlannedProbe, now: &PlannedProbe) -> bool {
    before.deployment.endpoint.base_url() != now.deployment.endpoint.base_url()
}
