//! The JSON interface: what is known of the deployments, and, where that is allowed, what can be said of them.
//!
//! Whoever may change something has to send JSON, which no form of a foreign web page can. What goes wrong is told
//! as problem details (RFC 9457).

mod problem;
mod runs;
mod views;

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::Deserialize;

pub(super) use self::problem::Problem;
use super::Served;
use crate::judges::Act;
use crate::lifecycle::{InterventionRequest, ProbeRequest, Refusal};
use crate::measure::Measure;
use crate::report::{
    DeploymentJson, DeploymentsJson, IntervenedJson, InterventionJson, WorkloadsJson,
};

type Answer<T> = Result<Json<T>, Problem>;

/// What a POST carries.
type Said = Result<Json<InterventionJson>, JsonRejection>;

/// Every route below `/api/v1`.
pub(super) fn router() -> Router<Arc<Served>> {
    Router::new()
        .route("/deployments", get(deployments))
        .route("/deployments/{name}", get(deployment))
        .route(
            "/deployments/{name}/runs",
            get(runs::of_deployment).post(run_now),
        )
        .route("/deployments/{name}/cancel", post(cancel))
        .route("/runs/{id}", get(runs::one))
        .route("/deployments/{name}/acknowledgements", post(acknowledge))
        .route("/deployments/{name}/baseline/pin", post(pin))
        .route("/deployments/{name}/baseline/unpin", post(unpin))
        .fallback(async || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "there is no such path; `/api/v1/deployments` has the deployments",
            )
        })
}

async fn deployments(State(served): State<Arc<Served>>) -> Json<DeploymentsJson> {
    let snapshot = served.board.snapshot();
    let now = now();
    let all = snapshot.of_each_deployment();
    Json(DeploymentsJson {
        deployments: all
            .map(|probes| views::deployment(&snapshot, probes, now))
            .collect(),
    })
}

async fn deployment(
    State(served): State<Arc<Served>>,
    Path(name): Path<String>,
) -> Answer<DeploymentJson> {
    let snapshot = served.board.snapshot();
    let probes = snapshot
        .of_each_deployment()
        .find(|probes| probes[0].deployment.name.as_str() == name)
        .ok_or(Refusal::UnknownDeployment(name))?;
    Ok(Json(views::deployment(&snapshot, probes, now())))
}

async fn acknowledge(
    served: State<Arc<Served>>,
    name: Path<String>,
    said: Said,
) -> Answer<Vec<IntervenedJson>> {
    intervene(served, name, said, |said| said.acknowledgement(now())).await
}

async fn pin(
    served: State<Arc<Served>>,
    name: Path<String>,
    said: Said,
) -> Answer<Vec<IntervenedJson>> {
    intervene(served, name, said, |said| {
        about_the_baseline(said, Act::Pin)
    })
    .await
}

async fn unpin(
    served: State<Arc<Served>>,
    name: Path<String>,
    said: Said,
) -> Answer<Vec<IntervenedJson>> {
    intervene(served, name, said, |said| {
        about_the_baseline(said, Act::Unpin)
    })
    .await
}

fn about_the_baseline(said: &InterventionJson, act: Act) -> Result<Act, String> {
    if said.until.is_some() || said.rebaseline {
        return Err(
            "`until` and `rebaseline` are about acknowledgements; leave them out".to_owned(),
        );
    }
    Ok(act)
}

async fn intervene(
    State(served): State<Arc<Served>>,
    Path(deployment): Path<String>,
    said: Said,
    act: impl FnOnce(&InterventionJson) -> Result<Act, String>,
) -> Answer<Vec<IntervenedJson>> {
    let lifecycle = served.lifecycle.get().ok_or_else(Problem::no_lifecycle)?;
    let Json(said) = said?;
    for (field, text) in [("by", &said.by), ("why", &said.why)] {
        if text.trim().is_empty() {
            return Err(Problem::unprocessable(format!(
                "`{field}` is missing; say who intervenes and why, for whoever comes later"
            )));
        }
    }
    let act = act(&said).map_err(Problem::unprocessable)?;
    let measure = match &said.measure {
        Some(name) => Some(Measure::named(name).ok_or_else(|| unknown_measure(name))?),
        None => None,
    };
    let request = InterventionRequest {
        probes: ProbeRequest {
            deployment,
            workload: said.workload,
        },
        measure,
        by: said.by,
        why: said.why,
        act,
    };
    let done = lifecycle.intervene(request).await?;
    let done = done.into_iter().map(|done| IntervenedJson {
        workload: done.workload,
        measures: done
            .measures
            .iter()
            .map(|measure| measure.label().to_owned())
            .collect(),
        stored: done.stored,
    });
    Ok(Json(done.collect()))
}

/// Which workload is meant; all of the deployment's if it is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meant {
    workload: Option<String>,
}

async fn run_now(
    State(served): State<Arc<Served>>,
    Path(deployment): Path<String>,
    meant: Result<Json<Meant>, JsonRejection>,
) -> Result<(StatusCode, Json<WorkloadsJson>), Problem> {
    let lifecycle = served.lifecycle.get().ok_or_else(Problem::no_lifecycle)?;
    let Json(Meant { workload }) = meant?;
    let probes = ProbeRequest {
        deployment,
        workload,
    };
    let workloads = lifecycle.run(probes).await?;
    Ok((StatusCode::ACCEPTED, Json(WorkloadsJson { workloads })))
}

async fn cancel(
    State(served): State<Arc<Served>>,
    Path(deployment): Path<String>,
    meant: Result<Json<Meant>, JsonRejection>,
) -> Answer<WorkloadsJson> {
    let lifecycle = served.lifecycle.get().ok_or_else(Problem::no_lifecycle)?;
    let Json(Meant { workload }) = meant?;
    let probes = ProbeRequest {
        deployment,
        workload,
    };
    let workloads = lifecycle.cancel(probes).await?;
    Ok(Json(WorkloadsJson { workloads }))
}

fn unknown_measure(name: &str) -> Problem {
    let all: Vec<_> = Measure::ALL.iter().map(|measure| measure.label()).collect();
    Problem::unprocessable(format!(
        "there is no measure `{name}`; there are {}",
        all.join(", ")
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is shown is as of the moment of looking"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
