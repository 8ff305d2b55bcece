//! The JSON interface: what is known of the deployments, and, where that is allowed, what can be said of them.
//!
//! Whoever may change something has to send JSON, which no form of a foreign web page can. What goes wrong is told
//! as problem details (RFC 9457).

mod carried;
mod document;
mod logs;
pub(super) mod orders;
mod problem;
mod runs;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::carried::{Json, Name, Path};
pub(super) use self::problem::Problem;
pub(super) use self::runs::{broken, stored_run};
use super::Served;
use crate::judges::Act;
use crate::lifecycle::{ProbeRequest, Refusal};
use crate::report::{
    AcknowledgingJson, DeploymentJson, DeploymentsJson, IntervenedJson, InterventionJson,
    WorkloadsJson,
};

type Answer<T> = Result<axum::Json<T>, Problem>;

/// Every route at `/api/v1`, and `/api/v1/openapi.json`, which describes them.
pub(super) fn router() -> Router<Arc<Served>> {
    let routes = OpenApiRouter::new()
        .routes(routes!(deployments))
        .routes(routes!(deployment))
        .routes(routes!(runs::of_deployment, run_now))
        .routes(routes!(cancel))
        .routes(routes!(runs::one))
        .routes(routes!(logs::one))
        .routes(routes!(logs::all))
        .routes(routes!(acknowledge))
        .routes(routes!(pin))
        .routes(routes!(unpin))
        .fallback(async || {
            let told = "there is no such path; `/api/v1/openapi.json` has them all";
            Problem::new(StatusCode::NOT_FOUND, told)
        });
    let other_method = || {
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "`Allow` says which methods there are",
        )
    };
    document::described(routes).method_not_allowed_fallback(async move || other_method())
}

/// All deployments, in the order of the configuration.
#[utoipa::path(
    get, path = "/deployments", tag = "look",
    responses((status = 200, body = DeploymentsJson, description = "All of them"))
)]
async fn deployments(State(served): State<Arc<Served>>) -> axum::Json<DeploymentsJson> {
    let snapshot = served.board.snapshot();
    let (now, kept) = (now(), served.board.logs().kept());
    let all = snapshot.of_each_deployment();
    axum::Json(DeploymentsJson {
        deployments: all
            .filter_map(|probes| views::deployment(&snapshot, probes, &kept, now))
            .collect(),
    })
}

/// One deployment: how it is, its last runs, its verdicts.
#[utoipa::path(
    get, path = "/deployments/{name}", tag = "look", params(Name),
    responses((status = 200, body = DeploymentJson, description = "The deployment"), Problem)
)]
async fn deployment(
    State(served): State<Arc<Served>>,
    Path(Name(name)): Path<Name>,
) -> Answer<DeploymentJson> {
    let (snapshot, kept) = (served.board.snapshot(), served.board.logs().kept());
    let deployment = snapshot
        .of_each_deployment()
        .find(|probes| probes[0].deployment.name.as_str() == name)
        .and_then(|probes| views::deployment(&snapshot, probes, &kept, now()))
        .ok_or(Refusal::UnknownDeployment(name))?;
    Ok(axum::Json(deployment))
}

/// Silences the standing verdicts: until a time, or by making their level the baseline.
#[utoipa::path(
    post, path = "/deployments/{name}/acknowledgements", tag = "intervene", params(Name),
    request_body = AcknowledgingJson,
    responses((status = 200, body = Vec<IntervenedJson>, description = "What it was said of"), Problem)
)]
async fn acknowledge(
    served: State<Arc<Served>>,
    name: Path<Name>,
    Json(said): Json<AcknowledgingJson>,
) -> Answer<Vec<IntervenedJson>> {
    let act = said.acknowledgement(now());
    intervene(served, name, said.into(), act).await
}

/// Keeps the present baseline, whatever comes.
#[utoipa::path(
    post, path = "/deployments/{name}/baseline/pin", tag = "intervene", params(Name),
    request_body = InterventionJson,
    responses((status = 200, body = Vec<IntervenedJson>, description = "What it was said of"), Problem)
)]
async fn pin(
    served: State<Arc<Served>>,
    name: Path<Name>,
    Json(said): Json<InterventionJson>,
) -> Answer<Vec<IntervenedJson>> {
    intervene(served, name, said, Ok(Act::Pin)).await
}

/// Lets the baseline follow again.
#[utoipa::path(
    post, path = "/deployments/{name}/baseline/unpin", tag = "intervene", params(Name),
    request_body = InterventionJson,
    responses((status = 200, body = Vec<IntervenedJson>, description = "What it was said of"), Problem)
)]
async fn unpin(
    served: State<Arc<Served>>,
    name: Path<Name>,
    Json(said): Json<InterventionJson>,
) -> Answer<Vec<IntervenedJson>> {
    intervene(served, name, said, Ok(Act::Unpin)).await
}

async fn intervene(
    State(served): State<Arc<Served>>,
    Path(Name(deployment)): Path<Name>,
    said: InterventionJson,
    act: Result<Act, String>,
) -> Answer<Vec<IntervenedJson>> {
    let done = orders::intervene(&served, deployment, said, act).await?;
    let done = done.into_iter().map(|done| IntervenedJson {
        workload: done.workload,
        measures: done
            .measures
            .iter()
            .map(|measure| measure.label().to_owned())
            .collect(),
        stored: done.stored,
    });
    Ok(axum::Json(done.collect()))
}

/// Which workload is meant; all of the deployment's if it is left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Meant {
    /// Its name.
    workload: Option<String>,
}

/// Asks for a run before its time.
#[utoipa::path(
    post, path = "/deployments/{name}/runs", tag = "intervene", params(Name), request_body = Meant,
    responses((status = 202, body = WorkloadsJson, description = "The workloads that have a run coming"), Problem)
)]
async fn run_now(
    State(served): State<Arc<Served>>,
    Path(Name(deployment)): Path<Name>,
    Json(Meant { workload }): Json<Meant>,
) -> Result<(StatusCode, axum::Json<WorkloadsJson>), Problem> {
    let probes = ProbeRequest {
        deployment,
        workload,
    };
    let workloads = orders::run_now(&served, probes).await?;
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(WorkloadsJson { workloads }),
    ))
}

/// Cuts the runs that go on; they leave no trace.
#[utoipa::path(
    post, path = "/deployments/{name}/cancel", tag = "intervene", params(Name),
    request_body = Meant,
    responses((status = 200, body = WorkloadsJson, description = "The workloads whose run is cut"), Problem)
)]
async fn cancel(
    State(served): State<Arc<Served>>,
    Path(Name(deployment)): Path<Name>,
    Json(Meant { workload }): Json<Meant>,
) -> Answer<WorkloadsJson> {
    let probes = ProbeRequest {
        deployment,
        workload,
    };
    let workloads = orders::cancel(&served, probes).await?;
    Ok(axum::Json(WorkloadsJson { workloads }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is shown is as of the moment of looking"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
