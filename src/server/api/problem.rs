//! What goes wrong, in the form of RFC 9457, so that programs can tell it from an answer and people can read it.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use utoipa::openapi::{
    ContentBuilder, RefOr, Response as Described, ResponseBuilder, ResponsesBuilder,
};
use utoipa::{IntoResponses, PartialSchema};

use crate::lifecycle::Refusal;
use crate::report::ProblemJson;
use crate::target::TargetRefusal;

/// The form of a problem.
const FORM: &str = "application/problem+json";

/// An answer that is none.
#[derive(Debug)]
pub(in crate::server) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(in crate::server) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }

    /// What it is to HTTP.
    pub(in crate::server) fn status(&self) -> StatusCode {
        self.status
    }

    /// What it is to people.
    pub(in crate::server) fn detail(&self) -> &str {
        &self.detail
    }

    /// The request can be read, and makes no sense.
    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// Nothing may be changed over HTTP.
    pub(super) fn no_lifecycle() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "the lifecycle API is not enabled; start the daemon with --web.enable-lifecycle",
        )
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::UnknownDeployment(_) | Refusal::UnknownWorkload { .. } => {
                StatusCode::NOT_FOUND
            }
            Refusal::NotJudged
            | Refusal::NothingToAcknowledge(_)
            | Refusal::Running
            | Refusal::NotRunning => StatusCode::CONFLICT,
            Refusal::NotYet | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Target(TargetRefusal::NotAllowed | TargetRefusal::Local { .. }) => {
                StatusCode::FORBIDDEN
            }
            Refusal::Target(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, refusal.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let problem = ProblemJson {
            kind: "about:blank".to_owned(),
            title: title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let mut response = (self.status, Json(problem)).into_response();
        let form = HeaderValue::from_static(FORM);
        response.headers_mut().insert(header::CONTENT_TYPE, form);
        response
    }
}

impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let content = ContentBuilder::new().schema(Some(ProblemJson::schema()));
        let problem = ResponseBuilder::new()
            .description("What is wrong, and how to mend it")
            .content(FORM, content.build())
            .build();
        let all = ["4XX", "5XX"].map(|status| (status, problem.clone()));
        ResponsesBuilder::new()
            .responses_from_iter(all)
            .build()
            .into()
    }
}
