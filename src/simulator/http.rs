//! The HTTP side of a simulated deployment.
//!
//! | path | answer |
//! |---|---|
//! | `POST /v1/chat/completions` | a chat completion, streamed or whole |
//! | `GET /v1/models`, `/version` | what is served |
//! | `GET /health`, `/ping` | empty 200 |
//! | `GET /load`, `/is_sleeping` | requests in the server; whether the engine sleeps |
//! | `GET /metrics` | vLLM's page |
//! | `GET`, `POST /simulate` | the [`Conditions`] with what happened so far, and a [`Change`]; not vLLM's |

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, UsageOptions};
use super::controls::{Change, Conditions, Controls};
use super::driver::{Driver, Timeline};
use super::exposition::{self, Identity};
use super::faults::Fault;
use super::metrics as metrics_page;
use super::profile::Profile;
use super::refusal::Refusal;
use super::request::{Bounds, ChatRequest};
use super::speed::Random;
use super::stream as answering;

/// How late the head of an answer comes under [`Fault::SlowHeaders`], in engine time.
const SLOW_HEADERS: Duration = Duration::from_secs(10);

/// What a handler needs.
pub(super) struct Deployment {
    pub(super) profile: Profile,
    pub(super) model: String,
    pub(super) api_key: Option<String>,
    pub(super) prompt_tokens: Option<u32>,
    pub(super) force_include_usage: bool,
    pub(super) prompt_tokens_details: bool,
    pub(super) timeline: Timeline,
    pub(super) driver: Driver,
    pub(super) controls: Controls,
    pub(super) ids: Mutex<Random>,
    pub(super) started: Started,
}

/// When the deployment started, on both clocks, so that one reading of the wall clock is enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    pub(super) at: jiff::Timestamp,
    pub(super) instant: Instant,
}

impl Started {
    /// Seconds since the Unix epoch, now.
    fn unix_seconds(&self) -> i64 {
        self.at.as_second() + self.instant.elapsed().as_secs() as i64
    }

    /// Seconds since the Unix epoch, at `instant`.
    fn unix_seconds_at(&self, instant: Instant) -> f64 {
        let since = instant.saturating_duration_since(self.instant);
        self.at.as_duration().as_secs_f64() + since.as_secs_f64()
    }
}

type Shared = State<Arc<Deployment>>;

/// Everything the deployment answers.
pub(super) fn router(deployment: Arc<Deployment>) -> Router {
    let not_allowed = async || {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            axum::Json(json!({"detail": "Method Not Allowed"})),
        )
    };
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/version", get(version))
        .route("/health", get(health))
        .route("/ping", get(health).post(health))
        .route("/load", get(load))
        .route("/is_sleeping", get(is_sleeping))
        .route("/metrics", get(metrics))
        .route("/simulate", get(conditions).post(change_conditions))
        .method_not_allowed_fallback(not_allowed)
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                axum::Json(json!({"detail": "Not Found"})),
            )
        })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&deployment),
            as_uvicorn,
        ))
        .with_state(deployment)
}

/// What surrounds every request: the key, uvicorn's headers, and the count of answers.
async fn as_uvicorn(State(deployment): Shared, request: Request, next: Next) -> Response {
    let handler = counted_handler(request.uri().path());
    let method = request.method().clone();
    let needs_key = request.uri().path().starts_with("/v1") && method != Method::OPTIONS;
    let mut response = if needs_key && !deployment.lets_in(request.headers()) {
        unauthorized()
    } else {
        next.run(request).await
    };
    response
        .headers_mut()
        .insert(header::SERVER, HeaderValue::from_static("uvicorn"));
    if let Some(handler) = handler {
        let method = if method == Method::POST {
            "POST"
        } else {
            "GET"
        };
        let status = match response.status().as_u16() / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        deployment.driver.count_answer(handler, method, status);
    }
    response
}

/// vLLM leaves its health and metrics pages out of the count.
fn counted_handler(path: &str) -> Option<&'static str> {
    ["/v1/chat/completions", "/v1/models"]
        .into_iter()
        .find(|handler| *handler == path)
}

fn unauthorized() -> Response {
    (
        StatusCode::UNAUTHORIZED,
        axum::Json(json!({"error": "Unauthorized"})),
    )
        .into_response()
}

impl Deployment {
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.api_key else {
            return true;
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        given
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|token| token == key)
    }

    fn new_id(&self) -> String {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{:016x}", ids.next())
    }

    fn fault(&self) -> Fault {
        self.controls.conditions().fault
    }
}

async fn chat_completions(State(deployment): Shared, body: Bytes) -> Result<Response, Refusal> {
    let fault = deployment.fault();
    if let Some(response) = failed_outright(fault) {
        return Ok(response);
    }
    let chat = ChatRequest::parse(&body)?;
    if let Some(model) = chat
        .model
        .as_ref()
        .filter(|model| **model != deployment.model)
    {
        return Err(Refusal::unknown_model(model));
    }
    let request = chat.resolve(&Bounds {
        max_model_len: deployment.profile.max_model_len,
        prompt_tokens: deployment.prompt_tokens,
        stops_early: fault == Fault::EarlyStop,
    })?;
    let usage_at_the_end = chat.include_usage || deployment.force_include_usage;
    let answer = Answer::new(
        format!("chatcmpl-{}", deployment.new_id()),
        deployment.started.unix_seconds(),
        &deployment.model,
        request.prompt.tokens,
        UsageOptions {
            at_the_end: usage_at_the_end,
            continuous: usage_at_the_end && chat.continuous_usage,
            details: deployment.prompt_tokens_details,
        },
    );
    let progress = deployment.driver.submit(request);
    if fault == Fault::SlowHeaders {
        tokio::time::sleep(deployment.timeline.on_the_clock(SLOW_HEADERS)).await;
    }
    if chat.stream {
        let events = Body::from_stream(answering::events(answer, progress, fault));
        return Ok((
            [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")],
            events,
        )
            .into_response());
    }
    let Some(body) = answering::body(answer, progress, fault).await else {
        return Err(Refusal::engine_dead());
    };
    let body = match fault {
        Fault::ErrorMidStream => return Err(Refusal::engine_dead()),
        Fault::Truncate => broken_off(body),
        _ => Body::from(body),
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The first half of a body, and then the end of the connection.
fn broken_off(body: Bytes) -> Body {
    let half = stream::once(async move { Ok(body.slice(..body.len() / 2)) });
    let reset = stream::once(async {
        // A pause, in which what has been written is sent.
        tokio::task::yield_now().await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(half.chain(reset))
}

/// Faults that answer before the engine is asked.
fn failed_outright(fault: Fault) -> Option<Response> {
    let response = match fault {
        Fault::Http401 => unauthorized(),
        Fault::Http429 => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let refusal = Refusal::new(status, "RateLimitError", "Rate limit exceeded.".into());
            ([(header::RETRY_AFTER, "1")], refusal).into_response()
        }
        Fault::Http500 | Fault::EngineDead => Refusal::engine_dead().into_response(),
        Fault::Http503 => unavailable(),
        Fault::Redirect => {
            let elsewhere = [(
                header::LOCATION,
                "http://elsewhere.invalid/v1/chat/completions",
            )];
            (StatusCode::TEMPORARY_REDIRECT, elsewhere).into_response()
        }
        _ => return None,
    };
    Some(response)
}

fn unavailable() -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Refusal::new(
        status,
        "Service Unavailable",
        "The server is not ready.".into(),
    )
    .into_response()
}

async fn models(State(deployment): Shared) -> Response {
    let created = deployment.started.unix_seconds();
    let model = Value::from(deployment.model.as_str());
    let root = Value::from(deployment.profile.model);
    let (len, id) = (deployment.profile.max_model_len, deployment.new_id());
    // Written out, since vLLM's order of the keys is part of what its clients see.
    let body = format!(
        r#"{{"object":"list","data":[{{"id":{model},"object":"model","created":{created},"owned_by":"vllm","root":{root},"parent":null,"max_model_len":{len},"permission":[{{"id":"modelperm-{id}","object":"model_permission","created":{created},"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}}]}}]}}"#
    );
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn version(State(deployment): Shared) -> Response {
    axum::Json(json!({"version": deployment.profile.version})).into_response()
}

async fn health(State(deployment): Shared) -> Response {
    match deployment.fault() {
        Fault::Http503 => unavailable(),
        Fault::EngineDead => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::OK.into_response(),
    }
}

async fn load(State(deployment): Shared) -> Response {
    let engines = deployment.driver.look().engines;
    let load: usize = engines.iter().map(|seen| seen.running + seen.waiting).sum();
    axum::Json(json!({"server_load": load})).into_response()
}

async fn is_sleeping(State(deployment): Shared) -> Response {
    axum::Json(json!({"is_sleeping": deployment.fault() == Fault::Asleep})).into_response()
}

async fn metrics(State(deployment): Shared) -> Response {
    let page = || {
        let seen = deployment.driver.look();
        let identity = Identity {
            model: &deployment.model,
            profile: &deployment.profile,
            started: deployment.started.unix_seconds_at(seen.started),
            is_asleep: deployment.fault() == Fault::Asleep,
        };
        exposition::render(&identity, &seen.engines, &seen.http_requests)
    };
    metrics_page::answer(deployment.controls.conditions().metrics, page).await
}

/// What `/simulate` shows.
#[derive(Serialize)]
struct Simulation {
    #[serde(flatten)]
    conditions: Conditions,
    restarts: u32,
    /// The part of the prompt and generation tokens on `/metrics` that was other clients'.
    foreign_prompt_tokens: u64,
    foreign_generation_tokens: u64,
}

async fn conditions(State(deployment): Shared) -> Response {
    let engines = deployment.driver.look().engines;
    let shown = Simulation {
        conditions: deployment.controls.conditions(),
        restarts: deployment.controls.restarts(),
        foreign_prompt_tokens: engines.iter().map(|e| e.stats.foreign_prompt_tokens).sum(),
        foreign_generation_tokens: engines
            .iter()
            .map(|e| e.stats.foreign_generation_tokens)
            .sum(),
    };
    axum::Json(shown).into_response()
}

async fn change_conditions(shared: Shared, body: Bytes) -> Response {
    let change: Result<Change, String> =
        serde_json::from_slice(&body).map_err(|error| error.to_string());
    match change.and_then(|change| shared.controls.apply(change)) {
        Ok(_) => conditions(shared).await,
        Err(message) => (
            StatusCode::BAD_REQUEST,
            axum::Json(json!({"error": message})),
        )
            .into_response(),
    }
}
