//! `/probe`: a light run while whoever asks waits, in the way of exporters for several targets. It is asked for as
//! Prometheus asks such exporters; the prober does it, in the lanes of its schedule.
//!
//! A bounded number goes on at once. Who goes away cuts the run.

mod debug;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::api::Problem;
use super::{Served, metrics};
use crate::lifecycle::{Probing, Wanted};

/// How long Prometheus waits for an answer, in seconds.
const SCRAPE_TIMEOUT: &str = "X-Prometheus-Scrape-Timeout-Seconds";

/// How `/probe` is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Probes at once, those that wait for their lane included.
    pub at_once: usize,
    /// How much of the scrape timeout is left for the way of the answer.
    pub offset: Duration,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            at_once: 20,
            offset: Duration::from_millis(500),
        }
    }
}

/// Where probes are asked for, and how many may be.
#[derive(Debug)]
pub(super) struct ProbeDesk {
    probing: Probing,
    turns: Semaphore,
    settings: ProbeSettings,
}

impl ProbeDesk {
    pub(super) fn new(probing: Probing, settings: ProbeSettings) -> Self {
        Self {
            probing,
            turns: Semaphore::new(settings.at_once),
            settings,
        }
    }
}

/// What is asked for. `module` is the name that other exporters, and the operator of Kubernetes, have for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    target: Option<String>,
    #[serde(alias = "module")]
    workload: Option<String>,
    debug: Option<String>,
}

pub(super) async fn probe(
    State(served): State<Arc<Served>>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let begun = Instant::now();
    let refuse = |problem: Problem| problem.into_response();
    let Query(asked) = asked.map_err(|rejection| {
        refuse(bad(format!(
            "{}; there are `target`, `workload` (or `module`) and `debug`",
            rejection.body_text()
        )))
    })?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let target = given(asked.target).ok_or_else(|| {
        refuse(bad(
            "`target` is missing; it is the name of a deployment or a base URL, as in `/probe?target=qwen3-32b-nvfp4`",
        ))
    })?;
    let is_debug = match given(asked.debug).as_deref() {
        Some("true") => true,
        None | Some("false") => false,
        Some(_) => return Err(refuse(bad("`debug` is `true` or `false`"))),
    };
    let patience = patience(&headers).map_err(refuse)?;
    let desk = served.probes.get().ok_or_else(|| {
        let told = "no prober runs here that could be asked";
        refuse(Problem::new(StatusCode::SERVICE_UNAVAILABLE, told))
    })?;
    let Ok(_turn) = desk.turns.try_acquire() else {
        return Err(too_many(desk.settings.at_once));
    };
    let wanted = Wanted {
        target,
        workload: given(asked.workload),
        patience,
        offset: desk.settings.offset,
        asked: begun,
    };
    let probed = desk.probing.probe(wanted).await;
    let probed = probed.map_err(|refusal| refuse(refusal.into()))?;
    let (kind, text) = if is_debug {
        ("text/plain; charset=utf-8", debug::page(&probed))
    } else {
        (metrics::CONTENT_TYPE, metrics::of_probe(&probed))
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn too_many(at_once: usize) -> Response {
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        format!(
            "{at_once} probes go on or wait already, and no more do at once; spread the scrapes, or raise \
             --web.max-probes"
        ),
    );
    let mut response = problem.into_response();
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, soon);
    response
}

/// How long whoever asks waits; `None` when it does not tell.
fn patience(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(SCRAPE_TIMEOUT) else {
        return Ok(None);
    };
    let seconds = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let seconds = seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    let seconds = seconds.ok_or_else(|| {
        bad(format!(
            "the header {SCRAPE_TIMEOUT} is no number of seconds above 0"
        ))
    })?;
    // One too long for a duration is as good as none.
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrape_timeout_is_a_number_of_seconds() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(SCRAPE_TIMEOUT, text.parse().unwrap());
            patience(&headers)
        };
        assert_eq!(of("10").unwrap(), Some(Duration::from_secs(10)));
        assert_eq!(of(" 0.25").unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(of("1e300").unwrap(), None);
        assert_eq!(patience(&HeaderMap::new()).unwrap(), None);
        for wrong in ["", "0", "-1", "NaN", "inf", "10s"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
