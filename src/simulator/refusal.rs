//! Refusals in vLLM's words: the status and the error object.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A request that is answered with an error object.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// What vLLM says when its engine has died.
pub(super) const ENGINE_DEAD: &str =
    "EngineCore encountered an issue. See stack trace (above) for the root cause.";

impl Refusal {
    /// The body does not fit the schema: each mistake as Python prints it.
    pub(super) fn invalid(mistakes: Vec<String>) -> Self {
        let plural = if mistakes.len() == 1 { "" } else { "s" };
        let message = format!(
            "{} validation error{plural}:\n  {}\n\n  File \"/opt/venv/lib/python3.11/site-packages/vllm/\
             entrypoints/utils.py\", line 477, in create_chat_completion\n    POST /v1/chat/completions [{}]",
            mistakes.len(),
            mistakes.join("\n  "),
            mistakes.join(", "),
        );
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", message)
    }

    /// The body is well-formed and asks for what cannot be had.
    pub(super) fn bad_request(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestError", message)
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist.");
        Self::new(StatusCode::NOT_FOUND, "NotFoundError", message)
    }

    pub(super) fn engine_dead() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "Internal Server Error", ENGINE_DEAD.into())
    }

    pub(super) fn new(status: StatusCode, kind: &'static str, message: String) -> Self {
        Self {
            status,
            kind,
            message,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: u16,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Body {
            error: Error {
                message: &self.message,
                kind: self.kind,
                param: None,
                code: self.status.as_u16(),
            },
        };
        let body = serde_json::to_string(&body).expect("text and numbers are JSON");
        (
            self.status,
            [(header::CONTENT_TYPE, "application/json")],
            body,
        )
            .into_response()
    }
}
