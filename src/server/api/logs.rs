//! The logs of the last runs: which there are, and each of them as text.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Problem;
use super::carried::Path;
use crate::measurement::RunId;
use crate::report::{RunLogJson, RunLogsJson};
use crate::run_log::RunLog;
use crate::server::Served;

/// The log of one run, while it is kept.
#[utoipa::path(
    get, path = "/runs/{id}/log", tag = "look",
    params(("id" = String, Path, description = "The run's id")),
    responses((status = 200, body = String, content_type = "text/plain", description = "The log"), Problem)
)]
pub(super) async fn one(
    State(served): State<Arc<Served>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = RunId(id.to_ascii_lowercase());
    let log = served.board.logs().get(&id).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!(
                "there is no log of a run {id}, or it is not kept any more; `/api/v1/run-logs` has those that are, and \
                 `serve --web.run-log-limit` says how many"
            ),
        )
    })?;
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((plain, log.text()).into_response())
}

/// Which logs there are, the latest run first.
#[utoipa::path(
    get, path = "/run-logs", tag = "look",
    responses((status = 200, body = RunLogsJson, description = "Each of them, and where it is"))
)]
pub(super) async fn all(State(served): State<Arc<Served>>) -> Json<RunLogsJson> {
    let logs = served.board.logs().all();
    Json(RunLogsJson {
        logs: logs.iter().map(|log| entry(log)).collect(),
    })
}

fn entry(log: &RunLog) -> RunLogJson {
    let heading = &log.heading;
    RunLogJson {
        run_id: heading.id.to_string(),
        deployment: heading.deployment.clone(),
        workload: heading.workload.clone(),
        cause: heading.cause.label().to_owned(),
        begun_at: heading.begun_at,
        ending: log.ending.label().to_owned(),
        log: format!("runs/{}/log", heading.id),
    }
}
