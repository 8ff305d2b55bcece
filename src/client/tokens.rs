//! Access tokens by OAuth 2.0 client credentials: fetched before a run, and kept until shortly before they expire.
//!
//! Each token endpoint has a lock of its own, so that a slow one holds up nobody but the deployments that it
//! is for. It is asked once for a token, and its answer is bounded in time and size.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::connection::{self, ConnectLog, Target};
use super::credentials::{Credentials, read_secret};
use super::error::ClientError;
use super::failure::classify;
use super::masking::Masking;
use super::{SMALL_BODY_BYTES, status_error, too_large};
use crate::endpoint::{Auth, ClientCredentials, Scheme};
use crate::measurement::{FailureReason, RequestError};
use crate::secret::Secret;

/// How long a token endpoint may take unless something else is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that a token is taken to be good for, whatever is said of it.
const LONGEST_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The tokens that are good at the moment. Cloning gives another hand on the same ones.
#[derive(Clone, Debug)]
pub struct Tokens {
    slots: Arc<Mutex<BTreeMap<ClientCredentials, Slot>>>,
    patience: Duration,
}

impl Default for Tokens {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

/// Held while a token is fetched, so that two runs do not fetch two.
type Slot = Arc<tokio::sync::Mutex<Option<Kept>>>;

#[derive(Debug)]
struct Kept {
    token: Secret,
    /// What it was got for: another secret needs another token.
    client_secret: Secret,
    fetched: Instant,
    lifetime: Duration,
}

impl Kept {
    /// Whether it is good for a run that may take as long as `longest`. A token that lives shorter than that
    /// serves for half its life.
    fn outlasts(&self, longest: Duration, now: Instant) -> bool {
        let left = self.lifetime.saturating_sub(now - self.fetched);
        left > longest.min(self.lifetime / 2)
    }
}

impl Tokens {
    /// No tokens yet. A token endpoint may take as long as `patience`, from the connection to the end of its
    /// answer.
    pub fn with_patience(patience: Duration) -> Self {
        Self {
            slots: Arc::default(),
            patience,
        }
    }

    /// A token that is good for `longest`: one that is kept, or a new one.
    pub(super) async fn get(
        &self,
        credentials: &ClientCredentials,
        longest: Duration,
    ) -> Result<Secret, ClientError> {
        let client_secret = read_secret(&credentials.client_secret, "client secret")?;
        let slot = Arc::clone(self.slots().entry(credentials.clone()).or_default());
        let mut kept = slot.lock().await;
        if let Some(kept) = kept.as_ref()
            && kept.client_secret == client_secret
            && kept.outlasts(longest, Instant::now())
        {
            return Ok(kept.token.clone());
        }
        *kept = None;
        let fetched = Instant::now();
        let Granted { token, lifetime } = fetch(credentials, &client_secret, self.patience).await?;
        // Of a token that does not say how long it is good, nothing is known when the next run comes.
        *kept = lifetime.map(|lifetime| Kept {
            token: token.clone(),
            client_secret,
            fetched,
            lifetime,
        });
        Ok(token)
    }

    /// Keeps the token of `auth` no longer: it was refused.
    pub fn forget(&self, auth: &Auth) {
        if let Some(Scheme::ClientCredentials(credentials)) = &auth.scheme {
            self.slots().remove(credentials.as_ref());
        }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, BTreeMap<ClientCredentials, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the token endpoint gave.
struct Granted {
    token: Secret,
    lifetime: Option<Duration>,
}

/// How we say who we are: some endpoints take the one, some the other.
#[derive(Clone, Copy, Debug)]
enum Introduction {
    /// In the `Authorization` header, which every endpoint must take (RFC 6749, section 2.3.1).
    Header,
    /// In the body, for those that do not.
    Body,
}

async fn fetch(
    credentials: &ClientCredentials,
    client_secret: &Secret,
    patience: Duration,
) -> Result<Granted, ClientError> {
    let way = Credentials::of_route(&credentials.route)?;
    let http = connection::http(
        Target::Server(&credentials.token_url),
        &credentials.route,
        &way,
        patience,
        ConnectLog::default(),
    )?;
    let pair = basic(credentials, client_secret);
    let masking = way
        .masking
        .and(&Masking::of([client_secret.clone(), pair.clone()]));
    let asking = async {
        match ask(
            &http,
            credentials,
            client_secret,
            &pair,
            Introduction::Header,
        )
        .await
        {
            Err(error) if was_not_understood(&error) => {
                let body = Introduction::Body;
                let again = ask(&http, credentials, client_secret, &pair, body).await;
                // Of two refusals the first is the one of what every endpoint must take.
                again.map_err(|_| error)
            }
            answer => answer,
        }
    };
    let late = || {
        let said = format!("no answer within {} s", patience.as_secs_f64());
        RequestError::new(FailureReason::TimeoutTotal, said)
    };
    timeout(patience, asking)
        .await
        .unwrap_or_else(|_| Err(late()))
        .map_err(|error| ClientError::NoToken {
            url: credentials.token_url.to_string(),
            error: masking.error(error),
        })
}

/// Id and secret as they go into the header, each encoded by itself.
fn basic(credentials: &ClientCredentials, client_secret: &Secret) -> Secret {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let id = encoded(&credentials.client_id);
    Secret::new(format!("{id}:{}", encoded(client_secret.expose())))
}

/// Whether the endpoint may want to be told otherwise who we are.
fn was_not_understood(error: &RequestError) -> bool {
    matches!(
        error.reason,
        FailureReason::Http401 | FailureReason::Http4xx
    )
}

async fn ask(
    http: &reqwest::Client,
    credentials: &ClientCredentials,
    client_secret: &Secret,
    pair: &Secret,
    introduction: Introduction,
) -> Result<Granted, RequestError> {
    let mut request = http
        .post(credentials.token_url.clone())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json");
    if let Introduction::Header = introduction {
        let encoded = BASE64_STANDARD.encode(pair.expose());
        // Base64 is always fit for a header.
        let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))
            .unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let sent = request
        .body(form(credentials, client_secret, introduction))
        .send()
        .await;
    answer(sent.map_err(|error| classify(&error, false))?).await
}

fn form(
    credentials: &ClientCredentials,
    client_secret: &Secret,
    introduction: Introduction,
) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !credentials.scopes.is_empty() {
        form.append_pair("scope", &credentials.scopes.join(" "));
    }
    form.extend_pairs(&credentials.params);
    if let Introduction::Body = introduction {
        form.append_pair("client_id", &credentials.client_id);
        form.append_pair("client_secret", client_secret.expose());
    }
    form.finish()
}

async fn answer(mut response: Response) -> Result<Granted, RequestError> {
    let (status, head) = (response.status(), response.headers().clone());
    let mut body = zeroize::Zeroizing::new(Vec::new());
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| classify(&error, true))?
    {
        if body.len() as u64 + chunk.len() as u64 > SMALL_BODY_BYTES {
            return Err(too_large(SMALL_BODY_BYTES));
        }
        body.extend_from_slice(&chunk);
    }
    if status == StatusCode::OK {
        return granted(&body);
    }
    let words = said(&body);
    let words = words.as_deref().map_or(body.as_slice(), str::as_bytes);
    Err(status_error(status, &head, words))
}

/// What an endpoint says in the form of RFC 6749, section 5.2.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        error_description: Option<String>,
    }
    let Refusal {
        error,
        error_description,
    } = serde_json::from_slice(body).ok()?;
    Some(match error_description {
        Some(words) => format!("{error}: {words}"),
        None => error,
    })
}

/// Reads the answer of RFC 6749, section 5.1. Nothing of it is repeated in an error: it may hold the token.
fn granted(body: &[u8]) -> Result<Granted, RequestError> {
    #[derive(Deserialize)]
    struct Grant {
        access_token: String,
        token_type: Option<String>,
        expires_in: Option<serde_json::Value>,
    }
    let bad = |what: &str| RequestError::new(FailureReason::BadJson, what);
    let Grant {
        access_token,
        token_type,
        expires_in,
    } = serde_json::from_slice(body)
        .map_err(|_| bad("its answer is not JSON with an `access_token`"))?;
    let token = Secret::new(access_token);
    if token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(bad("it gives tokens of another `token_type` than `bearer`"));
    }
    let sendable = |byte: u8| byte.is_ascii_graphic();
    if token.expose().is_empty() || !token.expose().bytes().all(sendable) {
        return Err(bad("its `access_token` cannot be sent in an HTTP header"));
    }
    // Some endpoints write the number as text.
    let seconds = expires_in.and_then(|value| match value {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    });
    let lifetime = seconds
        .filter(|seconds| *seconds > 0.0)
        .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFETIME))
        .map(|lifetime| lifetime.min(LONGEST_LIFETIME));
    Ok(Granted { token, lifetime })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read_and_what_is_none_is_not_repeated() {
        for (body, lifetime) in [
            (
                r#"{"access_token":"t","token_type":"Bearer","expires_in":300}"#,
                Some(300),
            ),
            (r#"{"access_token":"t","expires_in":"300"}"#, Some(300)),
            (r#"{"access_token":"t","token_type":"bearer"}"#, None),
            (r#"{"access_token":"t","expires_in":0}"#, None),
            (
                r#"{"access_token":"t","expires_in":1e99}"#,
                Some(LONGEST_LIFETIME.as_secs()),
            ),
        ] {
            let granted = granted(body.as_bytes()).ok().unwrap();
            assert_eq!(granted.token.expose(), "t", "{body}");
            assert_eq!(
                granted.lifetime,
                lifetime.map(Duration::from_secs),
                "{body}"
            );
        }
        for body in [
            r#"{"token":"hunter2"}"#,
            r#"{"access_token":"hunter2","token_type":"mac"}"#,
            r#"{"access_token":"hunter2 and more"}"#,
            r#"{"access_token":""}"#,
            r#"hunter2"#,
        ] {
            let error = granted(body.as_bytes()).err().unwrap();
            assert!(!error.detail.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_token_is_kept_for_as_long_as_it_outlasts_a_run() {
        let fetched = Instant::now();
        let kept = |lifetime| Kept {
            token: Secret::new("t"),
            client_secret: Secret::new("s"),
            fetched,
            lifetime: Duration::from_secs(lifetime),
        };
        for (lifetime, run, age, good) in [
            (3600, 1800, 0, true),
            (3600, 1800, 1799, true),
            (3600, 1800, 1800, false),
            (3600, 25, 3574, true),
            (3600, 25, 3576, false),
            // It never outlasts the longest run, and is not fetched every time for that.
            (300, 1800, 149, true),
            (300, 1800, 151, false),
        ] {
            let (run, now) = (Duration::from_secs(run), fetched + Duration::from_secs(age));
            assert_eq!(
                kept(lifetime).outlasts(run, now),
                good,
                "{lifetime} {run:?} {age}"
            );
        }
    }
}
