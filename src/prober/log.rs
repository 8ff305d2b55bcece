//! What the log says of runs and deployments: a line for each run, one for each reason of failure, and one
//! whenever a deployment's state changes.

use tracing::{error, info, warn};

use super::PlannedProbe;
use crate::agenda::{Backoff, Event};
use crate::condition::{Condition, DeploymentState};
use crate::deployment::Deployment;
use crate::environment::FieldChange;
use crate::guard::Hold;
use crate::judges::{Intervention, Opinion};
use crate::measure::Measure;
use crate::measurement::{RequestError, Run, RunId};
use crate::runner::RunError;
use crate::statistics::Summary;
use crate::verdict::Edge;
use crate::workload::Workload;

/// One line for each run with its figures, and one for each reason for which its requests failed.
pub(super) fn run(deployment: &Deployment, workload: &Workload, run: &Run, summary: &Summary) {
    let figures = summary.figures.as_ref();
    info!(
        deployment = %deployment.name,
        workload = %workload.name,
        run_id = %run.id,
        valid = summary.is_valid(),
        invalid_reasons = summary.invalid_reasons.iter().map(|reason| reason.label()).collect::<Vec<_>>().join(","),
        completed = summary.completed,
        failed = summary.failed,
        wall_seconds = summary.wall.as_secs_f64(),
        qps = figures.map(|figures| figures.qps),
        prompt_tps = figures.map(|figures| figures.prompt_tps),
        decode_tps = figures.map(|figures| figures.decode_tps),
        latency_p50_seconds = figures.map(|figures| figures.latency.p50),
        latency_p95_seconds = figures.map(|figures| figures.latency.p95),
        foreign_tokens_ratio = summary.server.foreign.and_then(|foreign| foreign.tokens_ratio),
        prefix_cache_hit_ratio = summary.prefix_cache_hit_ratio(),
        ttft_p50_seconds = figures.and_then(|figures| figures.ttft).map(|ttft| ttft.p50),
        "run finished"
    );
    for (reason, count) in &summary.failures {
        let of_this_reason = |error: &&RequestError| error.reason == *reason;
        let first = run
            .records
            .iter()
            .filter_map(|record| record.outcome.as_ref().err())
            .find(of_this_reason);
        warn!(
            deployment = %deployment.name,
            workload = %workload.name,
            run_id = %run.id,
            reason = reason.label(),
            count,
            first = first.map(|error| error.detail.as_str()),
            "requests failed"
        );
    }
}

/// An attempt that came to no run, and how long its probe rests if that was a panic.
pub(super) fn no_run(
    deployment: &Deployment,
    workload: &Workload,
    run_id: Option<&RunId>,
    why: &RunError,
    backoff: Option<Backoff>,
) {
    error!(
        deployment = %deployment.name,
        workload = %workload.name,
        run_id = run_id.map(tracing::field::display),
        error = %why,
        panics_in_a_row = backoff.map(|backoff| backoff.in_a_row),
        slots_left_out_until = backoff.map(|backoff| tracing::field::display(backoff.until)),
        "no run"
    );
}

/// A run that a guard held back, and what became of its slot.
pub(super) fn held(deployment: &Deployment, workload: &Workload, hold: Hold, event: Event) {
    let until = match event {
        Event::Deferred { until, .. } => Some(until.to_string()),
        _ => None,
    };
    info!(
        deployment = %deployment.name,
        workload = %workload.name,
        why = %hold,
        until,
        "{}",
        if until.is_some() { "run put off" } else { "run skipped" }
    );
}

/// The verdicts that begin, a line for each.
pub(super) fn verdicts(
    deployment: &Deployment,
    workload: &Workload,
    edges: &[(Measure, Edge)],
    opinion: &Opinion,
) {
    for (measure, edge) in edges {
        let judgement = opinion.judgements.get(measure);
        let comparison = judgement.and_then(|judgement| judgement.comparison(edge.compared));
        warn!(
            deployment = %deployment.name,
            workload = %workload.name,
            measure = measure.label(),
            verdict = edge.verdict.label(),
            against = edge.compared.label(),
            ratio = comparison.map(|comparison| comparison.ratio),
            lower = comparison.map(|comparison| comparison.lower),
            upper = comparison.map(|comparison| comparison.upper),
            "verdict"
        );
    }
}

/// What someone said of the verdicts of a probe.
pub(super) fn intervention(probe: &PlannedProbe, said: &Intervention, measures: &[Measure]) {
    info!(
        deployment = %probe.deployment.name,
        workload = %probe.workload.name,
        act = said.act.label(),
        by = said.by,
        why = said.why,
        until = said.act.until().map(tracing::field::display),
        measures = measures.iter().map(|measure| measure.label()).collect::<Vec<_>>().join(","),
        "someone intervened"
    );
}

/// What has changed of where a deployment runs, in one line.
pub(super) fn environment(deployment: &Deployment, changes: &[FieldChange]) {
    if changes.is_empty() {
        return;
    }
    let told: Vec<String> = changes
        .iter()
        .map(|change| {
            format!(
                "{}: {} → {}",
                change.field.label(),
                change.before,
                change.after
            )
        })
        .collect();
    warn!(deployment = %deployment.name, changes = told.join("; "), "environment changed");
}

/// That a deployment's metrics are of no use from now on.
pub(super) fn several_servers(deployment: &Deployment) {
    warn!(
        deployment = %deployment.name,
        "several servers answer at this address, so their metrics are not used; write `metrics_url: off` to say so yourself"
    );
}

/// A transition from one state to another, with what speaks for the new one.
pub(super) fn transition(deployment: &Deployment, from: DeploymentState, to: &Condition) {
    let Condition { state, evidence } = to;
    let from = from.label();
    match state {
        DeploymentState::Ok | DeploymentState::Asleep => {
            info!(deployment = %deployment.name, from, to = state.label(), evidence, "deployment changed state");
        }
        _ => {
            warn!(deployment = %deployment.name, from, to = state.label(), evidence, "deployment changed state");
        }
    }
}
