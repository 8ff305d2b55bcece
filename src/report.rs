//! One run as others read it: JSON for programs, the result file of `vllm bench serve` for vLLM's own
//! scripts, and a table for people. All three are functions of the run and its summary alone.
//!
//! The JSON is also what the history keeps. So it holds all that is shown of a run, and can be read back.

pub mod charts;
pub mod comparison;
pub mod csv;
mod deployment;
pub mod document;
mod environment;
pub mod foreign;
mod intervention;
pub mod lines;
mod read_back;
pub mod table;
pub mod vllm_bench;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::deployment::{
    AcknowledgementJson, ComparisonJson, DeploymentJson, DeploymentsJson, JudgementJson,
    LastRunJson, OverviewJson, ProbeJson, RunLogJson, RunLogsJson, RunsJson,
};
pub use self::environment::{EnvironmentJson, FieldChangeJson};
pub use self::foreign::Source;
pub use self::intervention::{
    AcknowledgingJson, IntervenedJson, InterventionJson, ProblemJson, WorkloadsJson,
};
pub use self::read_back::{Unreadable, read_run};

use crate::deployment::Deployment;
use crate::measurement::{RequestRecord, Run};
use crate::statistics::{Distribution, Figures, Summary};
use crate::workload::{DEFINITION_VERSION, Workload};

/// The schema of [`RunJson`].
pub const SCHEMA: &str = "vllm-prober/run/v1";

/// The JSON of one run, schema `vllm-prober/run/v1`. Withheld and unknown figures are null, never 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[expect(
    missing_docs,
    reason = "the names are those of the definitions, and have their units in them"
)]
pub struct RunJson {
    pub schema: String,
    pub run_id: String,
    pub deployment: String,
    /// The workload's name; a file that was written by hand may leave it out.
    pub workload: Option<String>,
    pub definition_version: u32,
    pub workload_id: String,
    pub model: String,
    /// Of the server; absent for a run that another program measured.
    pub base_url: Option<String>,
    pub started_at: Timestamp,
    pub wall_seconds: f64,
    pub concurrency: u32,
    pub requests: u32,
    pub max_tokens: Option<u32>,
    pub temperature: Option<f64>,
    /// How the run met the server's prefix cache; absent when that is not known.
    pub prefix_cache: Option<String>,
    /// Whether it is a mere sign of life: one request in flight and few tokens. No verdict is made of it.
    #[serde(default)]
    pub light: bool,
    pub completed: u32,
    pub failed: u32,
    /// Only the reasons that were seen.
    pub failures: BTreeMap<String, u32>,
    pub valid: bool,
    pub invalid_reasons: Vec<String>,
    pub qps: Option<f64>,
    pub prompt_tps: Option<f64>,
    pub decode_tps: Option<f64>,
    pub latency_seconds: Option<Quantiles>,
    pub ttft_seconds: Option<Quantiles>,
    /// Time to the first content, where reasoning may come before it.
    pub ttfo_seconds: Option<Quantiles>,
    pub tpot_seconds: Option<Quantiles>,
    pub itl_seconds: Option<Quantiles>,
    pub token_usage: TokenUsage,
    pub finish_reasons: BTreeMap<String, u32>,
    pub concurrency_utilization: Option<f64>,
    #[serde(default)]
    pub environment: EnvironmentJson,
    #[serde(default)]
    pub server: Server,
    #[serde(default)]
    pub client: Client,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_records: Option<Vec<RequestJson>>,
}

/// How readings are distributed. What the prober writes has all of them; other programs tell fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are the field's own names")]
pub struct Quantiles {
    pub count: Option<u64>,
    pub sum: Option<f64>,
    pub mean: Option<f64>,
    /// The population's standard deviation.
    pub std: Option<f64>,
    pub min: Option<f64>,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

impl From<Distribution> for Quantiles {
    fn from(d: Distribution) -> Self {
        Self {
            count: Some(d.count),
            sum: Some(d.sum),
            mean: Some(d.mean),
            std: Some(d.std),
            min: Some(d.min),
            p50: Some(d.p50),
            p90: Some(d.p90),
            p95: Some(d.p95),
            p99: Some(d.p99),
            max: Some(d.max),
        }
    }
}

/// The tokens of the completed requests, by the server's usage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub struct TokenUsage {
    pub prompt_tokens_mean: Option<f64>,
    pub completion_tokens_mean: Option<f64>,
    pub prompt_tokens_total: u64,
    pub completion_tokens_total: u64,
    pub cached_tokens_total: Option<u64>,
}

/// What the server says of itself and of the run. Times are seconds, shares are from 0 up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[expect(
    missing_docs,
    reason = "the names are those of the server's view of a run"
)]
pub struct Server {
    pub version: Option<String>,
    /// Why its own metrics tell no more.
    pub unobservable: Option<String>,
    pub start_time: Option<f64>,
    pub restarted: bool,
    pub several_servers: bool,
    pub asleep: bool,
    pub generated_tokens: Option<f64>,
    pub foreign_tokens: Option<f64>,
    pub foreign_tokens_ratio: Option<f64>,
    pub foreign_prompt_tokens: Option<f64>,
    pub foreign_prompt_ratio: Option<f64>,
    pub foreign_requests_peak: Option<f64>,
    pub waiting_requests_peak: Option<f64>,
    pub prefix_cache_hit_ratio: Option<f64>,
    pub kv_cache_usage_peak: Option<f64>,
    pub preemptions: Option<f64>,
    pub ttft_seconds_mean: Option<f64>,
    pub queue_time_seconds_mean: Option<f64>,
    pub e2e_latency_seconds_mean: Option<f64>,
    pub draft_acceptance_ratio: Option<f64>,
}

impl Server {
    fn new(run: &Run, summary: &Summary) -> Self {
        let view = &summary.server;
        let valid = |value: Option<f64>| value.filter(|_| summary.is_valid());
        Self {
            version: run.server_version.clone(),
            unobservable: view.unobservable.clone(),
            start_time: view.process_start,
            restarted: view.restarted,
            several_servers: view.several_servers,
            asleep: view.asleep,
            generated_tokens: view.generated_tokens,
            foreign_tokens: view.foreign.map(|foreign| foreign.tokens),
            foreign_tokens_ratio: view.foreign.and_then(|foreign| foreign.tokens_ratio),
            foreign_prompt_tokens: view.foreign.map(|foreign| foreign.prompt_tokens),
            foreign_prompt_ratio: view.foreign.and_then(|foreign| foreign.prompt_ratio),
            foreign_requests_peak: view.foreign.and_then(|foreign| foreign.requests_peak),
            waiting_requests_peak: view.waiting_peak,
            prefix_cache_hit_ratio: summary.prefix_cache_hit_ratio(),
            kv_cache_usage_peak: view.kv_cache_usage_peak,
            preemptions: view.preemptions,
            ttft_seconds_mean: valid(view.ttft_mean),
            queue_time_seconds_mean: valid(view.queue_time_mean),
            e2e_latency_seconds_mean: valid(view.e2e_latency_mean),
            draft_acceptance_ratio: view.draft_acceptance_ratio,
        }
    }
}

/// What the prober adds, and what it cost. A run that another program measured has no version here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Client {
    pub version: Option<String>,
    pub cpu_seconds: Option<f64>,
    pub cpu_wait_seconds: Option<f64>,
    pub load_ratio: Option<f64>,
    pub delay_seconds: Option<Quantiles>,
    pub connections_opened: u32,
    pub connections_reopened: u32,
    pub connect_seconds_mean: Option<f64>,
}

/// One request, with `--save-detailed`. Times are seconds; `sent` counts from the first dispatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the names are those of the definitions")]
pub struct RequestJson {
    pub sent: f64,
    pub ended: f64,
    pub ttft: Option<f64>,
    pub latency: Option<f64>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub finish_reason: Option<String>,
    pub failure_reason: Option<String>,
    pub failure: Option<String>,
}

impl RunJson {
    /// Lays out `run` and its summary; with `detailed`, each of its requests too.
    pub fn new(
        deployment: &Deployment,
        workload: &Workload,
        run: &Run,
        summary: &Summary,
        detailed: bool,
    ) -> Self {
        let figures = summary.figures.as_ref();
        let quantiles =
            |of: fn(&Figures) -> Option<Distribution>| figures.and_then(of).map(Quantiles::from);
        let completed = f64::from(summary.completed);
        let mean = |total: u64| (summary.completed > 0).then(|| total as f64 / completed);
        Self {
            schema: SCHEMA.to_owned(),
            run_id: run.id.to_string(),
            deployment: deployment.name.to_string(),
            workload: Some(workload.name.to_string()),
            definition_version: DEFINITION_VERSION,
            workload_id: workload.id().to_string(),
            model: run.model.clone(),
            base_url: Some(deployment.endpoint.base_url().to_owned()),
            started_at: run.started_at,
            wall_seconds: summary.wall.as_secs_f64(),
            concurrency: workload.concurrency,
            requests: workload.requests,
            max_tokens: Some(workload.max_tokens),
            temperature: Some(workload.temperature),
            prefix_cache: Some(workload.prefix_cache.label().to_owned()),
            light: workload.is_light(),
            completed: summary.completed,
            failed: summary.failed,
            failures: summary
                .failures
                .iter()
                .map(|(reason, count)| (reason.label().to_owned(), *count))
                .collect(),
            valid: summary.is_valid(),
            invalid_reasons: summary
                .invalid_reasons
                .iter()
                .map(|reason| reason.label().to_owned())
                .collect(),
            qps: figures.map(|figures| figures.qps),
            prompt_tps: figures.map(|figures| figures.prompt_tps),
            decode_tps: figures.map(|figures| figures.decode_tps),
            latency_seconds: quantiles(|figures| Some(figures.latency)),
            ttft_seconds: quantiles(|figures| figures.ttft),
            ttfo_seconds: quantiles(|figures| figures.ttfo),
            tpot_seconds: quantiles(|figures| figures.tpot),
            itl_seconds: quantiles(|figures| figures.itl),
            token_usage: TokenUsage {
                prompt_tokens_mean: mean(summary.tokens.prompt_total),
                completion_tokens_mean: mean(summary.tokens.completion_total),
                prompt_tokens_total: summary.tokens.prompt_total,
                completion_tokens_total: summary.tokens.completion_total,
                cached_tokens_total: summary.tokens.cached_total,
            },
            finish_reasons: summary
                .finish_reasons
                .iter()
                .map(|(reason, count)| (reason.label().to_owned(), *count))
                .collect(),
            concurrency_utilization: summary.concurrency_utilization,
            environment: EnvironmentJson::from(&run.environment),
            server: Server::new(run, summary),
            client: Client {
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                cpu_seconds: run.client_cpu.map(|had| had.used.as_secs_f64()),
                cpu_wait_seconds: run.client_cpu.map(|had| had.waited.as_secs_f64()),
                load_ratio: summary.client_load_ratio,
                delay_seconds: summary.client_delay.map(Quantiles::from),
                connections_opened: run.connections.opened,
                connections_reopened: run.connections.reopened,
                connect_seconds_mean: run.connections.connect_time.map(|time| time.as_secs_f64()),
            },
            request_records: detailed.then(|| run.records.iter().map(RequestJson::new).collect()),
        }
    }
}

impl RequestJson {
    fn new(record: &RequestRecord) -> Self {
        let completion = record.outcome.as_ref().ok();
        let error = record.outcome.as_ref().err();
        Self {
            sent: record.sent.as_secs_f64(),
            ended: record.ended.as_secs_f64(),
            ttft: record.time_to_first_token().map(|ttft| ttft.as_secs_f64()),
            latency: record.latency().map(|latency| latency.as_secs_f64()),
            prompt_tokens: completion.map(|completion| completion.prompt_tokens),
            completion_tokens: completion.map(|completion| completion.completion_tokens),
            finish_reason: completion.map(|completion| completion.finish_reason.label().to_owned()),
            failure_reason: error.map(|error| error.reason.label().to_owned()),
            failure: error.map(|error| error.detail.clone()),
        }
    }
}
