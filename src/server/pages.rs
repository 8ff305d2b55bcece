//! The pages for people: the fleet, one deployment, what has changed, this program itself, and what they are drawn
//! with.
//!
//! All of it is rendered here, from the board's snapshot: a page is whole without a script, loads nothing from
//! elsewhere, and every text that comes from a server or a configuration is escaped by the template.

mod about;
mod assets;
mod changes;
mod curves;
mod deployment;
mod finding;
#[cfg(test)]
#[path = "../../tests/common/fleet.rs"]
mod fixture;
mod fleet;
mod frame;
mod last_run;
mod lost;
mod mark;
mod precision;
pub(crate) mod quantity;
mod readout;
mod run;
mod said;
mod shown_runs;
mod shown_time;
mod sparkline;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use jiff::Timestamp;

pub(super) use self::deployment::Outcomes;
use self::deployment::{Asked, Buttons};
pub(crate) use self::finding::{Stand, verdict_in_words};
use self::fleet::Selection;
pub(super) use self::fleet::overview;
pub use self::last_run::last_run_in_words;
pub(super) use self::lost::lost;
pub(super) use self::precision::Kept;
use super::Served;
use super::api::{broken, stored_run};
use super::provenance::Provenance;
use crate::measurement::RunId;

/// What a page may do: load this program's own style, script and picture, ask this program, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page that was rendered.
pub(super) struct Page {
    status: StatusCode,
    html: String,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // Without any referrer, a browser would not say either that a form is of this very place.
            (header::REFERRER_POLICY, "same-origin"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (self.status, headers, self.html).into_response()
    }
}

/// Every page, and what they load.
pub(super) fn router() -> Router<Arc<Served>> {
    Router::new()
        .route("/", get(fleet))
        .route("/deployments/{name}", get(deployment).post(press))
        .route("/runs/{id}", get(run))
        .route("/precision", get(precision))
        .route("/changes", get(changes))
        .route("/about", get(about))
        .route("/assets/{name}", get(assets::answer))
}

async fn fleet(
    State(served): State<Arc<Served>>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Page {
    let (selection, mistakes) = Selection::read(&asked);
    let status = if mistakes.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    Page {
        status,
        html: fleet::html(&served.board.snapshot(), &selection, &mistakes, now()),
    }
}

async fn deployment(
    State(served): State<Arc<Served>>,
    Path(name): Path<String>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Page {
    let now = now();
    let is_allowed = served.lifecycle.get().is_some();
    let buttons = is_allowed.then(|| Buttons::after(&served, &name, &asked));
    let snapshot = served.board.snapshot();
    let asked = Asked::read(&asked);
    match deployment::html(&snapshot, &name, &asked, buttons.as_ref(), now) {
        Some(html) => Page {
            status: if asked.is_mistaken() {
                StatusCode::BAD_REQUEST
            } else {
                StatusCode::OK
            },
            html,
        },
        None => Page {
            status: StatusCode::NOT_FOUND,
            html: deployment::missing(&name, None, now),
        },
    }
}

async fn press(
    State(served): State<Arc<Served>>,
    Path(name): Path<String>,
    Query(asked): Query<BTreeMap<String, String>>,
    Extension(provenance): Extension<Provenance>,
    body: Bytes,
) -> Response {
    deployment::press(&served, &name, &asked, &provenance, &body, now()).await
}

async fn run(State(served): State<Arc<Served>>, Path(id): Path<String>) -> Page {
    let now = now();
    let known = RunId(id.to_ascii_lowercase());
    let log = served.board.logs().get(&known);
    let found = stored_run(&served, &id).await.and_then(|stored| {
        let run = stored.read().map_err(|error| broken(&error))?;
        Ok((run, stored.ended_at))
    });
    match found {
        Ok((run, ended_at)) => Page {
            status: StatusCode::OK,
            html: run::html(&run, ended_at, log.as_deref(), now),
        },
        Err(problem) => {
            let snapshot = served.board.snapshot();
            match run::alone(&snapshot, &known, log.as_deref(), problem.detail(), now) {
                Some(html) => Page {
                    status: StatusCode::OK,
                    html,
                },
                None => Page {
                    status: problem.status(),
                    html: run::missing(problem.detail(), now),
                },
            }
        }
    }
}

async fn precision(
    State(served): State<Arc<Served>>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let (snapshot, now) = (served.board.snapshot(), now());
    let given = |name: &str| {
        let value = asked.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    };
    let (family, workload) = (given("family"), given("workload"));
    let wanted = match precision::wanted(&snapshot, family, workload) {
        Ok(wanted) => wanted,
        Err(why) => {
            let is_asked = family.or(workload).is_some();
            let page = Page {
                status: if is_asked {
                    StatusCode::NOT_FOUND
                } else {
                    StatusCode::OK
                },
                html: precision::html(&snapshot, None, Err(&why), now),
            };
            return page.into_response();
        }
    };
    let compared = precision::gather(&served, &snapshot, &wanted).await;
    let compared = compared.as_deref().map_err(String::as_str);
    if let (Some(name), Ok(compared)) = (given("file"), compared) {
        return match precision::file(&compared.table, name) {
            Ok(Some(file)) => {
                let saved = format!("attachment; filename=\"{}\"", file.name);
                let headers = [
                    (header::CONTENT_TYPE, file.kind),
                    (header::CONTENT_DISPOSITION, saved.as_str()),
                    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                ];
                (headers, file.text).into_response()
            }
            Ok(None) => {
                let there_are =
                    "there is no such file; there are csv, qps, throughput and latency\n";
                (StatusCode::NOT_FOUND, there_are).into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        };
    }
    let page = Page {
        status: StatusCode::OK,
        html: precision::html(&snapshot, Some(&wanted), compared, now),
    };
    page.into_response()
}

async fn changes(State(served): State<Arc<Served>>) -> Page {
    Page {
        status: StatusCode::OK,
        html: changes::html(&served.board.snapshot(), now()),
    }
}

async fn about(State(served): State<Arc<Served>>) -> Page {
    let itself = served.exposition.itself();
    let configuration = served.configuration.load();
    Page {
        status: StatusCode::OK,
        html: about::html(&itself, &served.board.snapshot(), &configuration, now()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "ages are shown as of the moment of looking"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_load_nothing_from_elsewhere_and_run_nothing_within() {
        let page = Page {
            status: StatusCode::OK,
            html: String::new(),
        };
        let answer = page.into_response();
        let policy = &answer.headers()[header::CONTENT_SECURITY_POLICY];
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(policy.contains("form-action 'self'"), "{policy}");
        assert_eq!(answer.headers()[header::REFERRER_POLICY], "same-origin");
        for word in ["unsafe", "http", "*", "data:"] {
            assert!(!policy.contains(word), "{word} in {policy}");
        }
    }
}
