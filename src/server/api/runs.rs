//! Stored runs, as they were stored. Each question opens a reader of its own, and few are asked at once: the history
//! is the daemon's, and its readers are not to crowd out its writer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Problem;
use super::carried::{Name, Path, Query};
use crate::history::{HistoryError, Order, Page, Reader, StoredRun};
use crate::lifecycle::Refusal;
use crate::measurement::RunId;
use crate::report::{RunJson, RunsJson};
use crate::server::Served;

/// Runs of a page, unless its reader wants fewer or more.
const USUAL: u32 = 50;

/// Runs of a page at most: about 3 kB each.
const MOST: u32 = 1_000;

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Runs of a page; 50 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    before: Option<String>,
    /// Only runs of this workload.
    workload: Option<String>,
}

/// The runs of a deployment, newest first, without their requests.
#[utoipa::path(
    get, path = "/deployments/{name}/runs", tag = "look", params(Name, Which),
    responses((status = 200, body = RunsJson, description = "A page of them"), Problem)
)]
pub(super) async fn of_deployment(
    State(served): State<Arc<Served>>,
    Path(Name(deployment)): Path<Name>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let limit = which.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::unprocessable(format!(
            "`limit` is from 1 to {MOST}"
        )));
    }
    let snapshot = served.board.snapshot();
    let is_known = |name: &str| {
        let mut probes = snapshot.probes.iter();
        probes.any(|probe| probe.deployment.name.as_str() == name)
    };
    if !is_known(&deployment) {
        return Err(Refusal::UnknownDeployment(deployment).into());
    }
    let (_turn, mut reader) = served.history_reader().await?;
    let from = which.before.clone().unwrap_or_default();
    let page = Page {
        deployment: Some(deployment),
        workload: which.workload,
        order: Order::NewestFirst,
        after: which.before.map(RunId),
        limit,
    };
    let stored = reader.page(&page).await;
    let stored = stored.map_err(|error| {
        if error.is_about_an_unknown_run() {
            let told =
                format!("there is no run `{from}` to go on from; `before` is the `next` of a page");
            return Problem::new(StatusCode::NOT_FOUND, told);
        }
        unreadable(error)
    })?;
    let next = stored
        .last()
        .filter(|_| stored.len() == limit as usize)
        .map(|last| last.id.0.clone());
    let runs = stored
        .into_iter()
        .map(|run| RawValue::from_string(run.json))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(&error))?;
    Ok(axum::Json(RunsJson { runs, next }).into_response())
}

/// One run, with its requests while they are kept.
#[utoipa::path(
    get, path = "/runs/{id}", tag = "look",
    params(("id" = String, Path, description = "The run's id")),
    responses((status = 200, body = RunJson, description = "The run"), Problem)
)]
pub(super) async fn one(
    State(served): State<Arc<Served>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let stored = stored_run(&served, &id).await?;
    if stored.requests.is_none() {
        let json = [(header::CONTENT_TYPE, "application/json")];
        return Ok((json, stored.json).into_response());
    }
    let run = stored.read().map_err(|error| broken(&error))?;
    Ok(axum::Json(run).into_response())
}

/// The run of that id, with its requests while they are kept.
pub(in crate::server) async fn stored_run(served: &Served, id: &str) -> Result<StoredRun, Problem> {
    let (_turn, mut reader) = served.history_reader().await?;
    let id = RunId(id.to_ascii_lowercase());
    reader.run(&id).await.map_err(unreadable)?.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("there is no run {id}; `/api/v1/deployments/{{name}}/runs` has the ids"),
        )
    })
}

/// What is stored is beyond this version.
pub(in crate::server) fn broken(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("the history holds what this version cannot read: {error}"),
    )
}

/// The path of the file is no affair of whoever asks.
fn unreadable(error: HistoryError) -> Problem {
    tracing::warn!(%error, "the history cannot be read");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the history cannot be read; the log of the daemon says more",
    )
}

impl Served {
    /// A reader of the history, and the turn that whoever has it holds.
    pub(in crate::server) async fn history_reader(
        &self,
    ) -> Result<(tokio::sync::SemaphorePermit<'_>, Reader), Problem> {
        let storage = self.storage.get().ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "this daemon keeps no history; `serve --storage.path` does",
            )
        })?;
        let turn = self
            .readers
            .acquire()
            .await
            .map_err(|error| broken(&error))?;
        let reader = Reader::open(storage).await.map_err(unreadable)?;
        Ok((turn, reader))
    }
}
