//! What happened: the record of each request of a run, and the run they make up.
//!
//! Readings only, no statistics. Times are offsets on the monotonic clock from the instant before the
//! first dispatch, so that a run can be stored, replayed and summarised again anywhere.

#[cfg(test)]
pub(crate) mod fixture;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::closed_set::closed_set;
use crate::environment::Environment;
use crate::observation::{GivenUp, Observation};

/// One finished replay of a workload against a deployment.
///
/// A run whose every request failed is still a run. A run cut short by a shutdown never becomes one.
#[derive(Clone, Debug)]
pub struct Run {
    /// Sorts by time.
    pub id: RunId,
    /// Wall time of the first dispatch.
    pub started_at: Timestamp,
    /// The model that the requests named.
    pub model: String,
    /// What the server says of its version, when it says so.
    pub server_version: Option<String>,
    /// Requests that the workload asks for.
    pub planned: u32,
    /// Requests kept in flight.
    pub concurrency: u32,
    /// What was sent before the measured requests.
    pub warmup: WarmUp,
    /// One for each request sent, in the order of sending.
    pub records: Vec<RequestRecord>,
    /// Whether the run's deadline passed before every request had ended.
    pub deadline_passed: bool,
    /// The connections it took.
    pub connections: Connections,
    /// How long ready work had to wait on the measuring thread, sampled through the run.
    pub client_delays: Vec<Duration>,
    /// Processor time of the measuring thread over the run; absent where the system does not tell.
    pub client_cpu: Option<ProcessorTime>,
    /// What the deployment runs on, as far as it was found out before the run.
    pub environment: Environment,
    /// What the server said of itself meanwhile.
    pub observation: Observation,
    /// Why it was given up before its end.
    pub given_up: Option<GivenUp>,
}

/// The requests before the measured ones: of their figures only the cost is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmUp {
    /// Tokens of its prompts and answers.
    pub tokens: u64,
    /// From its first dispatch to its last end.
    pub wall: Duration,
}

impl WarmUp {
    /// What `records` of a warm-up cost.
    pub fn of(records: &[RequestRecord]) -> Self {
        let completions = records
            .iter()
            .filter_map(|record| record.outcome.as_ref().ok());
        Self {
            tokens: completions
                .map(|completion| completion.prompt_tokens + completion.completion_tokens)
                .sum(),
            wall: records
                .iter()
                .map(|record| record.ended)
                .max()
                .unwrap_or_default(),
        }
    }
}

/// What a thread had of its processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    /// Time on a processor.
    pub used: Duration,
    /// Time that it was ready to run and waited for a processor.
    pub waited: Duration,
}

impl ProcessorTime {
    /// What was had since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            used: self.used.saturating_sub(earlier.used),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }
}

/// A UUID of version 7 as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunId(pub String);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happened to one request.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// `s`: just before the request was written.
    pub sent: Duration,
    /// `x`: end of the body, or the moment of failure.
    pub ended: Duration,
    /// The completion, or why there is none.
    pub outcome: Result<Completion, RequestError>,
}

impl RequestRecord {
    fn arrivals(&self) -> Option<&Arrivals> {
        self.outcome.as_ref().ok()?.arrivals.as_ref()
    }

    /// End-to-end latency: `l - s` when streamed, `x - s` when not; absent when the request failed.
    pub fn latency(&self) -> Option<Duration> {
        let completion = self.outcome.as_ref().ok()?;
        let end = completion
            .arrivals
            .as_ref()
            .map_or(self.ended, |arrivals| arrivals.last);
        Some(end.saturating_sub(self.sent))
    }

    /// Time to first token, `f - s`; absent when the request failed or was not streamed.
    pub fn time_to_first_token(&self) -> Option<Duration> {
        Some(self.arrivals()?.first.saturating_sub(self.sent))
    }

    /// Time to first output: the first visible text minus `s`; absent when there was none.
    pub fn time_to_first_output(&self) -> Option<Duration> {
        Some(self.arrivals()?.first_content?.saturating_sub(self.sent))
    }

    /// Time per output token in seconds, `(l - f) / (n - 1)`; absent unless streamed and `n > 1`.
    pub fn time_per_output_token(&self) -> Option<f64> {
        let later_tokens = self
            .outcome
            .as_ref()
            .ok()?
            .completion_tokens
            .checked_sub(1)
            .filter(|n| *n > 0)?;
        let arrivals = self.arrivals()?;
        Some(arrivals.last.saturating_sub(arrivals.first).as_secs_f64() / later_tokens as f64)
    }
}

/// A request that completed: an answer with tokens, a finish reason, usage and a clean end.
#[derive(Clone, Debug)]
pub struct Completion {
    /// `p`: `usage.prompt_tokens`.
    pub prompt_tokens: u64,
    /// `n`: `usage.completion_tokens`.
    pub completion_tokens: u64,
    /// Prompt tokens that came from the prefix cache, when usage carries them.
    pub cached_tokens: Option<u64>,
    /// Why the answer ended.
    pub finish_reason: FinishReason,
    /// The arrivals of its tokens; absent when the answer was not streamed.
    pub arrivals: Option<Arrivals>,
    /// `system_fingerprint` of the answer: changes when the server's configuration does.
    pub system_fingerprint: Option<String>,
}

/// When the token-bearing chunks of one streamed answer arrived, as offsets like those of its record.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// `f`: the first token-bearing chunk.
    pub first: Duration,
    /// The first chunk with non-empty `content`; absent when all of it was reasoning.
    pub first_content: Option<Duration>,
    /// `l`: the last token-bearing chunk.
    pub last: Duration,
    /// The gaps between consecutive token-bearing chunks: one fewer than there were chunks.
    pub gaps: Vec<Duration>,
}

/// The finish reasons of a completed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FinishReason {
    /// The model ended its answer, or a stop sequence did.
    Stop,
    /// The answer ran to its bound.
    Length,
    /// The answer ended in a tool call.
    ToolCalls,
}

impl FinishReason {
    /// Every finish reason, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Stop, Self::Length, Self::ToolCalls];

    /// The word for it in the API and in labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }

    /// Reads the API's word; `None` for the reasons of an answer that did not complete.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }
}

/// Why a request failed: a reason of a closed set, and what the server or the system said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// Doubles as the metric's label.
    pub reason: FailureReason,
    /// For log and record only, never a label: cut, and free of control characters.
    pub detail: String,
}

/// The longest detail of a failure that is kept, in characters.
const DETAIL_CHARS: usize = 300;

impl RequestError {
    /// Keeps the first characters of `detail`, with control characters escaped: 300 at most in all.
    pub fn new(reason: FailureReason, detail: impl AsRef<str>) -> Self {
        Self {
            reason,
            detail: in_a_line(detail.as_ref()),
        }
    }
}

/// The first characters of `text`, with control characters escaped: 300 at most in all.
pub(crate) fn in_a_line(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars().take(DETAIL_CHARS + 1) {
        if c.is_control() {
            kept.extend(c.escape_default());
        } else {
            kept.push(c);
        }
    }
    if kept.chars().count() > DETAIL_CHARS {
        kept = kept.chars().take(DETAIL_CHARS - 1).chain(['…']).collect();
    }
    kept
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.label(), self.detail)
    }
}

closed_set! {
    /// Why a request failed, in the order of its life.
    FailureReason:
    Dns "dns" "The host's name did not resolve.",
    Connect "connect" "The connection was refused, reset or unreachable.",
    TimeoutConnect "timeout_connect" "No connection came about in time.",
    Tls "tls" "The TLS handshake failed: certificate, name or protocol.",
    Disconnect "disconnect" "The server closed the connection before it answered.",
    BadHttp "bad_http" "The answer is not HTTP/1.1.",
    Redirect "redirect" "The server answered with a redirect, which is not followed.",
    Http401 "http_401" "HTTP 401: the key is missing or wrong.",
    Http404 "http_404" "HTTP 404: the path or the model does not exist.",
    Http429 "http_429" "HTTP 429: the server or a gateway limits the rate.",
    Http4xx "http_4xx" "Another HTTP status from 400 to 499.",
    Http5xx "http_5xx" "An HTTP status from 500 to 599.",
    HttpOther "http_other" "An HTTP status that is neither 200, a redirect nor an error.",
    StreamError "stream_error" "An error object inside an answer that began with HTTP 200.",
    BadSse "bad_sse" "The stream is not one of server-sent events.",
    BadJson "bad_json" "An event or the body is not the JSON of a chat completion.",
    TooLarge "too_large" "An event or the body is larger than its bound.",
    Truncated "truncated" "The body ended early, or without `[DONE]`.",
    NoTokens "no_tokens" "The answer ended cleanly without a token.",
    NoUsage "no_usage" "The answer carried no usage, so its tokens are unknown.",
    BadUsage "bad_usage" "The answer's usage tells of fewer tokens than came.",
    BadFinish "bad_finish" "The finish reason is missing, or one of an unfinished answer such as abort.",
    TimeoutFirstToken "timeout_first_token" "No token came within the first-token timeout.",
    TimeoutStall "timeout_stall" "A stream fell silent for longer than the stall timeout.",
    TimeoutTotal "timeout_total" "The request took longer than its total timeout.",
    Deadline "deadline" "The run's deadline passed while the request was in flight.",
    Cancelled "cancelled" "The run was given up while the request was in flight.",
}

/// The connections that a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Connections {
    /// Opened before the first dispatch.
    pub opened: u32,
    /// Opened in mid-run, since the server had closed one; their time is part of the latencies.
    pub reopened: u32,
    /// Mean time to open one of the first kind: DNS, TCP and TLS.
    pub connect_time: Option<Duration>,
}
