//! One deployment over HTTP: opens a run's connections, sends a request, and stamps what arrives.
//!
//! Bytes are stamped when they come from the socket and only then decoded; what they mean is decided in
//! [`answer`]. There is no retry: a retry would hide failures and blur latencies.

pub mod answer;
pub mod chat;
mod connection;
mod credentials;
mod error;
mod failure;
mod http_sd;
mod masking;
pub mod page;
mod resolver;
pub mod sse;
pub mod text_format;
mod tls;
mod tokens;
pub mod watch;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use self::answer::{StreamedAnswer, whole_answer};
use self::connection::{ConnectLog, Target, address};
pub use self::credentials::Credentials;
pub use self::error::ClientError;
use self::failure::classify;
pub use self::http_sd::{LIST_BYTES, ListError, fetch as fetch_list};
use self::masking::Masking;
pub use self::tokens::Tokens;
use self::watch::Heard;
use crate::endpoint::Endpoint;
use crate::measurement::{Completion, Connections, FailureReason, RequestError, RequestRecord};
use crate::workload::Limits;

/// Bytes that are read of the body of an HTTP error, and of the small documents `/version` and `/v1/models`.
const SMALL_BODY_BYTES: u64 = 256 << 10;

/// The largest answer that is taken whole: unlike a stream it has to be held in memory, once for each
/// request in flight. It has room for a million tokens of English.
const WHOLE_ANSWER_BYTES: u64 = 4 << 20;

/// How often it is looked whether connections still are being opened in the background.
const OPENING_CHECKED_EVERY: Duration = Duration::from_millis(2);

/// A client of one deployment, with the connections of one run.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    log: ConnectLog,
    /// Held while a request is stamped and written. When many begin at once, each would else be stamped
    /// first and written when all of them had been.
    dispatch: Arc<Mutex<()>>,
    heard: Heard,
    masking: Masking,
    limits: Limits,
    completions: Url,
    models: Url,
    version: Url,
}

/// The monotonic clock of a run: times are offsets from the instant before its first dispatch.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    start: Instant,
    deadline: Duration,
}

impl RunClock {
    /// Starts the clock of a run that may take as long as `deadline`.
    pub fn start(deadline: Duration) -> Self {
        Self {
            start: Instant::now(),
            deadline,
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether the run's deadline has passed.
    pub fn deadline_passed(&self) -> bool {
        self.elapsed() >= self.deadline
    }

    /// The instant from which times are counted.
    pub fn started(&self) -> Instant {
        self.start
    }

    fn instant(&self, offset: Duration) -> Instant {
        self.start + offset
    }
}

/// What a client needs to know of a request beyond its body.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Whether the body asks for a stream.
    pub stream: bool,
    /// About how many tokens will come: room is made for them beforehand.
    pub tokens: u32,
}

impl Client {
    /// Makes a client for one run; reads certificates, sends nothing.
    ///
    /// # Errors
    /// When a file of certificates or keys cannot be used.
    pub fn new(
        endpoint: &Endpoint,
        credentials: &Credentials,
        limits: &Limits,
    ) -> Result<Self, ClientError> {
        let log = ConnectLog::default();
        Ok(Self {
            http: connection::http(
                Target::Server(endpoint.root()),
                &endpoint.route,
                credentials,
                limits.connect,
                log.clone(),
            )?,
            log,
            dispatch: Arc::default(),
            heard: Heard::default(),
            masking: credentials.masking.clone(),
            limits: *limits,
            completions: address(endpoint, "/v1/chat/completions"),
            models: address(endpoint, "/v1/models"),
            version: address(endpoint, "/version"),
        })
    }

    /// Opens `count` connections by asking for the server's version on each, and returns that version.
    ///
    /// A server that cannot be reached is not an error here: the requests will say so, each for itself.
    pub async fn open(&self, count: u32) -> Option<String> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let answers = join_all((0..count).map(|_| self.small(&self.version))).await;
        // A request may have been given the connection of another one that had its answer already. The
        // one that it had begun to open itself is still under way then.
        let until = Instant::now() + self.limits.connect;
        while self.log.is_opening() && Instant::now() < until {
            sleep(OPENING_CHECKED_EVERY).await;
        }
        answers
            .into_iter()
            .flatten()
            .find_map(|body| serde_json::from_slice::<Version>(&body).ok())
            .map(|said| self.masking.text(said.version))
    }

    /// The connections opened so far, all of them counted as opened beforehand.
    pub fn connections(&self) -> Connections {
        Connections {
            opened: self.log.opened(),
            reopened: 0,
            connect_time: self.log.mean_time(),
        }
    }

    /// When the last token arrived, for whoever watches the run.
    pub fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// The names of the models that the server serves.
    ///
    /// # Errors
    /// When there is no answer, or none that is a list of models.
    pub async fn served_models(&self) -> Result<Vec<String>, RequestError> {
        #[derive(Deserialize)]
        struct Models {
            data: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        let body = self.small(&self.models).await?;
        let models: Models = serde_json::from_slice(&body).map_err(|error| {
            RequestError::new(FailureReason::BadJson, format!("/v1/models: {error}"))
        })?;
        let ids = models.data.into_iter().map(|model| model.id);
        Ok(ids.map(|id| self.masking.text(id)).collect())
    }

    /// Sends one chat completion and records what happened to it, timed by `clock`.
    pub async fn complete(&self, body: Bytes, shape: Shape, clock: &RunClock) -> RequestRecord {
        let request = self
            .http
            .post(self.completions.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let turn = Arc::clone(&self.dispatch).lock_owned().await;
        let sent = clock.elapsed();
        let patience = Patience {
            limits: &self.limits,
            clock,
            sent,
            streamed: shape.stream,
        };
        let mut timer = pin!(sleep_until(clock.instant(patience.until(None).0)));
        let outcome = async {
            // The connection's own task writes the request; the turn is kept until it has had its own.
            let written = async {
                yield_now().await;
                drop(turn);
            };
            let (response, ()) = patience
                .wait(join(request.send(), written), None, timer.as_mut())
                .await?;
            let response = response.map_err(|error| classify(&error, false))?;
            if response.status() != StatusCode::OK {
                return Err(refusal(response, &patience, timer.as_mut()).await);
            }
            if shape.stream {
                self.stream(response, shape.tokens, &patience, timer.as_mut())
                    .await
            } else {
                let bound = self.limits.body_bytes.min(WHOLE_ANSWER_BYTES);
                let mut body = Vec::new();
                read(response, bound, &mut body, &patience, timer.as_mut()).await?;
                whole_answer(&body)
            }
        }
        .await;
        let ended = clock.elapsed();
        RequestRecord {
            sent,
            ended,
            outcome: self.without_secrets(outcome),
        }
    }

    async fn stream(
        &self,
        mut response: Response,
        tokens: u32,
        patience: &Patience<'_>,
        mut timer: Pin<&mut Sleep>,
    ) -> Result<Completion, RequestError> {
        expect_events(&response)?;
        let mut answer = StreamedAnswer::new(tokens);
        let mut left = self.limits.body_bytes;
        let mut last_token = None;
        loop {
            let chunk = patience
                .wait(response.chunk(), last_token, timer.as_mut())
                .await?;
            let at = patience.clock.elapsed();
            let Some(bytes) = chunk.map_err(|error| classify(&error, true))? else {
                break;
            };
            left = left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| too_large(self.limits.body_bytes))?;
            answer.arrive(at, &bytes)?;
            if last_token.is_none() && answer.last_token().is_some() {
                // From here on it is the stall that is watched for, which may come sooner.
                timer.as_mut().reset(
                    patience
                        .clock
                        .instant(patience.until(answer.last_token()).0),
                );
            }
            if answer.last_token() != last_token {
                last_token = answer.last_token();
                self.heard.token(at);
            }
        }
        answer.finish()
    }

    /// What came of a request, with nothing in its words that lets us in.
    fn without_secrets(
        &self,
        outcome: Result<Completion, RequestError>,
    ) -> Result<Completion, RequestError> {
        let mut completion = outcome.map_err(|error| self.masking.error(error))?;
        let fingerprint = completion.system_fingerprint.take();
        completion.system_fingerprint = fingerprint.map(|text| self.masking.text(text));
        Ok(completion)
    }

    /// Gets a small document, whatever its status, within the time that a connection may take twice over.
    async fn small(&self, url: &Url) -> Result<Bytes, RequestError> {
        let fetch = async {
            let mut response = self
                .http
                .get(url.clone())
                .send()
                .await
                .map_err(|error| classify(&error, false))?;
            let (status, head) = (response.status(), response.headers().clone());
            let mut body = Vec::new();
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
            if status.is_success() {
                Ok(body.into())
            } else {
                Err(status_error(status, &head, &body))
            }
        };
        let late = || {
            RequestError::new(
                FailureReason::TimeoutTotal,
                format!("no answer from {}", url.path()),
            )
        };
        timeout(2 * self.limits.connect, fetch)
            .await
            .unwrap_or_else(|_| Err(late()))
            .map_err(|error| self.masking.error(error))
    }
}

/// How long a request may go on waiting, and what it is called when it has waited too long.
///
/// One timer serves the whole request. It is not moved when a token arrives: when it fires, it is asked
/// what the deadline is by now, so that tokens cost no timer.
struct Patience<'a> {
    limits: &'a Limits,
    clock: &'a RunClock,
    sent: Duration,
    streamed: bool,
}

impl Patience<'_> {
    fn until(&self, last_token: Option<Duration>) -> (Duration, FailureReason) {
        let next_arrival = match last_token {
            _ if !self.streamed => None,
            None => Some((
                self.sent + self.limits.first_token,
                FailureReason::TimeoutFirstToken,
            )),
            Some(last) => Some((last + self.limits.stall, FailureReason::TimeoutStall)),
        };
        let end = (self.sent + self.limits.total, FailureReason::TimeoutTotal);
        let run = (self.clock.deadline, FailureReason::Deadline);
        next_arrival
            .into_iter()
            .chain([end, run])
            .min_by_key(|(at, _)| *at)
            .unwrap_or(run)
    }

    async fn wait<T>(
        &self,
        arrival: impl Future<Output = T>,
        last_token: Option<Duration>,
        mut timer: Pin<&mut Sleep>,
    ) -> Result<T, RequestError> {
        let mut arrival = pin!(arrival);
        loop {
            tokio::select! {
                biased;
                arrived = arrival.as_mut() => return Ok(arrived),
                () = timer.as_mut() => {
                    let (until, reason) = self.until(last_token);
                    if self.clock.elapsed() >= until {
                        let waited = (until - self.sent.min(until)).as_secs_f64();
                        return Err(RequestError::new(reason, format!("given up {waited:.3} s after it was sent")));
                    }
                    timer.as_mut().reset(self.clock.instant(until));
                }
            }
        }
    }
}

/// Reads a body of bounded size to its end. What came of it before an error is in `body` all the same.
async fn read(
    mut response: Response,
    bound: u64,
    body: &mut Vec<u8>,
    patience: &Patience<'_>,
    mut timer: Pin<&mut Sleep>,
) -> Result<(), RequestError> {
    loop {
        let chunk = patience
            .wait(response.chunk(), None, timer.as_mut())
            .await?;
        let Some(bytes) = chunk.map_err(|error| classify(&error, true))? else {
            return Ok(());
        };
        if body.len() as u64 + bytes.len() as u64 > bound {
            return Err(too_large(bound));
        }
        body.extend_from_slice(&bytes);
    }
}

/// The failure that an answer other than 200 stands for, in the server's own words as far as they came.
async fn refusal(
    response: Response,
    patience: &Patience<'_>,
    timer: Pin<&mut Sleep>,
) -> RequestError {
    let (status, head) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    // The status is the reason, whatever becomes of the page that explains it.
    let _ = read(response, SMALL_BODY_BYTES, &mut body, patience, timer).await;
    status_error(status, &head, &body)
}

fn status_error(status: StatusCode, head: &HeaderMap, body: &[u8]) -> RequestError {
    let reason = match status.as_u16() {
        300..400 => FailureReason::Redirect,
        401 => FailureReason::Http401,
        404 => FailureReason::Http404,
        429 => FailureReason::Http429,
        400..500 => FailureReason::Http4xx,
        500..600 => FailureReason::Http5xx,
        _ => FailureReason::HttpOther,
    };
    let said = match head.get(LOCATION) {
        Some(location) if reason == FailureReason::Redirect => format!(
            "the server redirects to {}, which is not followed: configure the address itself",
            place(location)
        ),
        _ => chat::error_message(body),
    };
    RequestError::new(reason, format!("HTTP {}: {said}", status.as_u16()))
}

/// Where a redirect leads, without what may be secret of it: a query, or a name and password.
fn place(location: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(location.as_bytes());
    match Url::parse(&text) {
        Ok(url) => format!("{}{}", url.origin().ascii_serialization(), url.path()),
        Err(_) => text.split(['?', '#']).next().unwrap_or_default().to_owned(),
    }
}

fn expect_events(response: &Response) -> Result<(), RequestError> {
    let encoding = response.headers().get(CONTENT_ENCODING);
    if let Some(encoding) = encoding.and_then(|encoding| encoding.to_str().ok())
        && !encoding.eq_ignore_ascii_case("identity")
    {
        let detail = format!("the answer is encoded as {encoding}, which was not asked for");
        return Err(RequestError::new(FailureReason::BadSse, detail));
    }
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("none");
    if kind
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("text/event-stream")
    {
        return Ok(());
    }
    let detail = format!("asked for a stream, got an answer of content type {kind}");
    Err(RequestError::new(FailureReason::BadSse, detail))
}

fn too_large(bound: u64) -> RequestError {
    RequestError::new(
        FailureReason::TooLarge,
        format!("the body is larger than {bound} bytes"),
    )
}
