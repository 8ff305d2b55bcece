//! Fetches a list of targets as Prometheus' `http_sd` has it: one request, bounded in time and size.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use super::connection::{self, ConnectLog, Target, known_by};
use super::credentials::Credentials;
use super::error::ClientError;
use super::failure::classify;
use super::tokens::Tokens;
use super::{SMALL_BODY_BYTES, status_error, too_large};
use crate::discovery::source::HttpSource;
use crate::measurement::{FailureReason, RequestError};

/// The largest list: as large as a configuration may be.
pub const LIST_BYTES: u64 = 16 << 20;

/// Tells the server how often it is asked.
const REFRESH_INTERVAL: &str = "X-Prometheus-Refresh-Interval-Seconds";

/// Why there is no list. Nothing of it repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Nothing could be sent.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was sent came to nothing.
    #[error("{0}")]
    Request(RequestError),
}

/// The text of the list, which may take as long as `patience` from the connection to its end.
///
/// # Errors
/// When nothing can be sent, or no list comes: anything but HTTP 200 with JSON in UTF-8.
pub async fn fetch(
    source: &HttpSource,
    tokens: &Tokens,
    patience: Duration,
) -> Result<String, ListError> {
    let HttpSource {
        url,
        refresh_interval,
        auth,
        route,
    } = source;
    let fetching = async {
        let credentials = Credentials::of(auth, route, tokens, patience).await?;
        let http = connection::http(
            Target::Server(url),
            route,
            &credentials,
            patience,
            ConnectLog::default(),
        )?;
        let request = http
            .get(known_by(url.clone(), route))
            .header(ACCEPT, "application/json")
            .header(REFRESH_INTERVAL, refresh_interval.as_secs_f64().to_string());
        let answer = async {
            let response = request
                .send()
                .await
                .map_err(|error| classify(&error, false))?;
            list(response).await
        };
        let masking = &credentials.masking;
        match answer.await {
            // What it repeats of what let us in must not become a label.
            Ok(body) => text(masking.document(body)).map_err(ListError::Request),
            Err(error) => {
                if error.reason == FailureReason::Http401 {
                    tokens.forget(auth);
                }
                Err(ListError::Request(masking.error(error)))
            }
        }
    };
    let late = || {
        let said = format!("no list within {} s", patience.as_secs_f64());
        RequestError::new(FailureReason::TimeoutTotal, said)
    };
    timeout(patience, fetching)
        .await
        .unwrap_or_else(|_| Err(ListError::Request(late())))
}

async fn list(mut response: Response) -> Result<Vec<u8>, RequestError> {
    let (status, head) = (response.status(), response.headers().clone());
    let good = status == StatusCode::OK;
    let bound = if good { LIST_BYTES } else { SMALL_BODY_BYTES };
    if good {
        expect_json(&head)?;
    }
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| classify(&error, true))?
    {
        if body.len() as u64 + chunk.len() as u64 > bound {
            return Err(too_large(bound));
        }
        body.extend_from_slice(&chunk);
    }
    if good {
        Ok(body)
    } else {
        Err(status_error(status, &head, &body))
    }
}

fn expect_json(head: &HeaderMap) -> Result<(), RequestError> {
    let kind = head.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("none");
    let media_type = kind.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let said =
        format!("the answer is of content type {kind}; a list is told by `application/json`");
    Err(RequestError::new(FailureReason::BadJson, said))
}

fn text(body: Vec<u8>) -> Result<String, RequestError> {
    String::from_utf8(body)
        .map_err(|_| RequestError::new(FailureReason::BadJson, "the list is not UTF-8"))
}
