//! What the JSON interface shows of a snapshot.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::board::{LastRun, Outcome, ProbeStatus, Snapshot};
use crate::measurement::RunId;
use crate::report::{DeploymentJson, EnvironmentJson, JudgementJson, LastRunJson, ProbeJson};
use crate::server::pages::overview;

/// The deployment of `probes`, which are all of its probes, as it is at `now`; `None` if there are none. The logs of
/// the runs `kept` are there to be read.
pub(super) fn deployment(
    snapshot: &Snapshot,
    probes: &[Arc<ProbeStatus>],
    kept: &HashSet<RunId>,
    now: Timestamp,
) -> Option<DeploymentJson> {
    let overview = overview(snapshot, probes, now)?;
    let deployment = &probes[0].deployment;
    let status = snapshot
        .deployments
        .get(&deployment.name)
        .map(AsRef::as_ref);
    let environment = status.and_then(|status| status.generation.as_ref());
    Some(DeploymentJson {
        name: deployment.name.to_string(),
        family: deployment.family.clone(),
        precision: deployment.precision.clone(),
        model: probes[0].model().map(str::to_owned),
        lane: deployment.lane.to_string(),
        labels: deployment.labels.clone(),
        state: snapshot.state(probes, now).label().to_owned(),
        evidence: status.map(|status| status.condition.evidence.clone()),
        seen_at: status.map(|status| status.seen_at),
        environment: environment.map(EnvironmentJson::of).unwrap_or_default(),
        environment_changed_at: status.and_then(|status| status.changed_at),
        overview,
        probes: probes.iter().map(|status| probe(status, kept)).collect(),
    })
}

fn probe(status: &ProbeStatus, kept: &HashSet<RunId>) -> ProbeJson {
    let opinion = status.opinion.iter();
    ProbeJson {
        workload: status.workload.name.to_string(),
        workload_id: status.workload.id().to_string(),
        interval_seconds: status.interval.map(|interval| interval.as_secs_f64()),
        next_run_at: status.next_run,
        in_progress: status.in_progress,
        last_run: status.last.as_ref().map(|last| last_run(last, kept)),
        last_valid_at: status.last_valid,
        judgements: opinion
            .flat_map(|opinion| &opinion.judgements)
            .map(|(measure, judgement)| {
                (measure.label().to_owned(), JudgementJson::from(judgement))
            })
            .collect(),
    }
}

fn last_run(last: &LastRun, kept: &HashSet<RunId>) -> LastRunJson {
    let reasons = last.outcome.invalid_reasons();
    let figures = last
        .outcome
        .summary()
        .and_then(|summary| summary.figures.as_ref());
    let (run_id, not_run) = match &last.outcome {
        Outcome::Ran { id, .. } => (Some(id.0.clone()), None),
        Outcome::NotRun { why, .. } => (None, Some(why.clone())),
    };
    LastRunJson {
        run_id,
        ended_at: last.ended_at,
        valid: reasons.is_empty(),
        invalid_reasons: reasons
            .iter()
            .map(|reason| reason.label().to_owned())
            .collect(),
        not_run,
        log: last
            .outcome
            .id()
            .filter(|id| kept.contains(id))
            .map(|id| format!("runs/{id}/log")),
        qps: figures.map(|figures| figures.qps),
        prompt_tps: figures.map(|figures| figures.prompt_tps),
        decode_tps: figures.map(|figures| figures.decode_tps),
        latency_p50_seconds: figures.map(|figures| figures.latency.p50),
        latency_p95_seconds: figures.map(|figures| figures.latency.p95),
        ttft_p50_seconds: figures
            .and_then(|figures| figures.ttft)
            .map(|ttft| ttft.p50),
        tpot_p50_seconds: figures
            .and_then(|figures| figures.tpot)
            .map(|tpot| tpot.p50),
    }
}
