//! What is replayed: the fixed requests of a run, how many at once, how long each may take, and what
//! makes two workloads the same.
//!
//! Two runs may be compared only if their [`WorkloadId`]s are equal, so everything that can move a
//! figure without a change of the deployment goes into that hash.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::validity::Validity;

/// The version of the definitions that this program measures by. A change of any definition of a
/// measured number is a new version, and starts new series.
pub const DEFINITION_VERSION: u32 = 1;

/// Tokens a light workload may ask for in all: enough for a sign of life, too few to disturb a burst.
const LIGHT_TOKENS: u64 = 256;

/// The name of a workload: the `workload` label of every series about it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName(Arc<str>);

impl WorkloadName {
    /// Takes a name as it stands in the configuration.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A fixed set of chat completions, replayed in a closed loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Unique among the workloads of a configuration.
    pub name: WorkloadName,
    /// The one user message of every request.
    pub prompt: Arc<str>,
    /// Requests kept in flight; at least 1, at most `requests`.
    pub concurrency: u32,
    /// Requests measured in a run; at least 1.
    pub requests: u32,
    /// Requests sent before the measured ones, at the same concurrency, and left out of every figure.
    pub warmup: u32,
    /// Upper bound of the completion's tokens; at least 1.
    pub max_tokens: u32,
    /// Lower bound of the completion's tokens (a vLLM extension); not sent when absent.
    pub min_tokens: Option<u32>,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Whether answers are streamed. Without streaming only the end-to-end latency is known.
    pub stream: bool,
    /// Whether the model is kept from ending its answer (a vLLM extension); not sent when false.
    pub ignore_eos: bool,
    /// Variables of the chat template, such as `enable_thinking`; not sent when absent.
    pub chat_template_kwargs: Option<serde_json::Map<String, serde_json::Value>>,
    /// Scheduling priority for servers that schedule by it; with vLLM a lower one is served earlier, and
    /// its default policy passes it over. Not sent when absent.
    pub priority: Option<i32>,
    /// Further fields of the request body, for servers that know them; never one that the prober sets
    /// itself.
    pub extra_body: serde_json::Map<String, serde_json::Value>,
    /// How the server's prefix cache is met.
    pub prefix_cache: PrefixCache,
    /// What every answer must look like for the run to count.
    pub expect: Expectation,
    /// What else must hold for the run to count.
    pub validity: Validity,
    /// What bounds each request and the run.
    pub limits: Limits,
}

/// How a run meets the server's prefix cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrefixCache {
    /// No salt: whatever the cache holds is used, as the reference benchmark did.
    #[default]
    Warm,
    /// A unique `cache_salt` with each request: the prompt's tokens stay the same, nothing matches.
    Cold,
    /// One `cache_salt` a run: the first request is cold, the rest warm, earlier runs do not help.
    PerRun,
}

impl PrefixCache {
    /// The word for it in configuration and flags.
    pub fn label(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::PerRun => "per_run",
        }
    }
}

/// What each completed answer must look like before a run's speed is judged at all: shorter answers
/// look like a faster server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expectation {
    /// Every answer runs to exactly `max_tokens` and ends with finish reason `length`.
    #[default]
    FullLength,
    /// Answers may end whenever the model ends them.
    AnyLength,
}

/// Bounds on one request and on the run; each gives a failure reason of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To open a connection.
    pub connect: Duration,
    /// From sending a request to its first token.
    pub first_token: Duration,
    /// Between two arrivals of a stream.
    pub stall: Duration,
    /// From sending a request to the end of its body.
    pub total: Duration,
    /// From the first dispatch of a run to its last answer.
    pub run: Duration,
    /// Bytes of one answer's body; beyond it the request fails and memory stays flat.
    pub body_bytes: u64,
}

impl Default for Limits {
    /// The reference's 1200 s for a request; the others are wide enough for a 32B model in BF16 under a
    /// long queue and still end before an operator would lose patience.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_token: Duration::from_secs(300),
            stall: Duration::from_secs(60),
            total: Duration::from_secs(1200),
            run: Duration::from_secs(1800),
            body_bytes: 64 << 20,
        }
    }
}

impl Workload {
    /// The reference workload with `prompt`: 64 requests, 16 in flight, 256 tokens, temperature 0.
    pub fn reference(prompt: impl Into<Arc<str>>) -> Self {
        Self {
            name: WorkloadName::new("reference"),
            prompt: prompt.into(),
            concurrency: 16,
            requests: 64,
            warmup: 0,
            max_tokens: 256,
            min_tokens: None,
            temperature: 0.0,
            stream: true,
            ignore_eos: false,
            chat_template_kwargs: None,
            priority: None,
            extra_body: serde_json::Map::new(),
            prefix_cache: PrefixCache::Warm,
            expect: Expectation::FullLength,
            validity: Validity::default(),
            limits: Limits::default(),
        }
    }

    /// Whether a run is a mere sign of life: one request in flight and few tokens. Light runs take no
    /// place among the bursts that `max_concurrent_runs` counts.
    pub fn is_light(&self) -> bool {
        self.concurrency == 1 && self.most_tokens() <= LIGHT_TOKENS
    }

    /// The most tokens that the answers of a run can have together, those to the warm-up included.
    pub fn most_tokens(&self) -> u64 {
        (u64::from(self.requests) + u64::from(self.warmup)) * u64::from(self.max_tokens)
    }

    /// The identity of what is replayed. Equal ids make runs comparable; names and limits do not enter.
    pub fn id(&self) -> WorkloadId {
        let template = self
            .chat_template_kwargs
            .as_ref()
            .map(|kwargs| serde_json::Value::Object(kwargs.clone()).to_string());
        // Absent fields stay out of the hash, so that workloads without them keep the id that they had.
        let priority = self.priority.map(|priority| priority.to_string());
        let extra = (!self.extra_body.is_empty())
            .then(|| serde_json::Value::Object(self.extra_body.clone()).to_string());
        let optional = [("priority", priority), ("extra_body", extra)];
        let optional = optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        // A field is `name=value` with the value's length in front: no two different lists read the same.
        let fields = [
            ("definition_version", DEFINITION_VERSION.to_string()),
            ("prompt", self.prompt.to_string()),
            ("concurrency", self.concurrency.to_string()),
            ("requests", self.requests.to_string()),
            ("warmup", self.warmup.to_string()),
            ("max_tokens", self.max_tokens.to_string()),
            (
                "min_tokens",
                self.min_tokens.map_or_else(String::new, |n| n.to_string()),
            ),
            ("temperature", self.temperature.to_string()),
            ("stream", self.stream.to_string()),
            ("ignore_eos", self.ignore_eos.to_string()),
            ("chat_template_kwargs", template.unwrap_or_default()),
            ("prefix_cache", self.prefix_cache.label().to_owned()),
        ];
        let mut hash = Sha256::new();
        for (name, value) in fields.into_iter().chain(optional) {
            hash.update(format!("{name}:{}={value};", value.len()));
        }
        let digest = hash.finalize();
        WorkloadId(
            digest
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

/// Sixteen hexadecimal digits that stand for all that is replayed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadId(String);

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_moves_with_all_that_can_move_a_figure_and_with_nothing_else() {
        let reference = Workload::reference("a prompt");
        let id = reference.id();
        type Change = fn(&mut Workload);
        let changes: [(&str, Change); 12] = [
            ("prompt", |w| w.prompt = "another prompt".into()),
            ("concurrency", |w| w.concurrency = 8),
            ("requests", |w| w.requests = 65),
            ("warmup", |w| w.warmup = 16),
            ("max_tokens", |w| w.max_tokens = 255),
            ("min_tokens", |w| w.min_tokens = Some(256)),
            ("temperature", |w| w.temperature = 0.7),
            ("stream", |w| w.stream = false),
            ("ignore_eos", |w| w.ignore_eos = true),
            ("priority", |w| w.priority = Some(0)),
            ("extra_body", |w| {
                w.extra_body.insert("seed".into(), 1.into());
            }),
            ("prefix_cache", |w| w.prefix_cache = PrefixCache::Cold),
        ];
        for (what, change) in changes {
            let mut other = reference.clone();
            change(&mut other);
            assert_ne!(other.id(), id, "{what}");
        }
        let mut renamed = reference.clone();
        renamed.name = WorkloadName::new("nightly");
        renamed.limits.total = Duration::from_secs(60);
        assert_eq!(renamed.id(), id);
        // Held by a literal: a change of the hash would silently end every user's series.
        assert_eq!(id.to_string(), "80008449e38bc6ea");
    }

    #[test]
    fn only_a_single_short_answer_is_light() {
        let mut canary = Workload::reference("hi");
        assert!(!canary.is_light());
        (canary.concurrency, canary.requests, canary.max_tokens) = (1, 1, 16);
        assert!(canary.is_light());
        canary.warmup = 16;
        assert!(!canary.is_light());
    }
}
