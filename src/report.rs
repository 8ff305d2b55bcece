//! One run as others read it: JSON for programs, the result file of `vllm bench serve` for vLLM's own
//! scripts, and a table for people. All three are functions of the run and its summary alone.

pub mod table;
pub mod vllm_bench;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::deployment::Deployment;
use crate::environment::{Environment, Finding};
use crate::measurement::{RequestRecord, Run};
use crate::statistics::{Distribution, Figures, Summary};
use crate::workload::{DEFINITION_VERSION, Workload};

/// The JSON of one run, schema `vllm-prober/run/v1`. Withheld and unknown figures are null, never 0.
#[derive(Debug, Serialize)]
pub struct RunJson<'a> {
    schema: &'static str,
    run_id: String,
    deployment: &'a str,
    definition_version: u32,
    workload_id: String,
    model: &'a str,
    base_url: &'a str,
    started_at: Timestamp,
    wall_seconds: f64,
    concurrency: u32,
    requests: u32,
    max_tokens: u32,
    temperature: f64,
    completed: u32,
    failed: u32,
    /// Only the reasons that were seen.
    failures: BTreeMap<&'static str, u32>,
    valid: bool,
    invalid_reasons: Vec<&'static str>,
    qps: Option<f64>,
    prompt_tps: Option<f64>,
    decode_tps: Option<f64>,
    latency_seconds: Option<Quantiles>,
    ttft_seconds: Option<Quantiles>,
    tpot_seconds: Option<Quantiles>,
    itl_seconds: Option<Quantiles>,
    token_usage: TokenUsage,
    finish_reasons: BTreeMap<&'static str, u32>,
    concurrency_utilization: Option<f64>,
    environment: EnvironmentJson,
    server: Server<'a>,
    client: Client,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_records: Option<Vec<RequestJson<'a>>>,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    mean: f64,
    min: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl From<Distribution> for Quantiles {
    fn from(d: Distribution) -> Self {
        Self {
            mean: d.mean,
            min: d.min,
            p50: d.p50,
            p90: d.p90,
            p95: d.p95,
            p99: d.p99,
            max: d.max,
        }
    }
}

#[derive(Debug, Serialize)]
struct TokenUsage {
    prompt_tokens_mean: Option<f64>,
    completion_tokens_mean: Option<f64>,
    prompt_tokens_total: u64,
    completion_tokens_total: u64,
    cached_tokens_total: Option<u64>,
}

/// What the server says of itself and of the run. Times are seconds, shares are from 0 up.
#[derive(Debug, Serialize)]
struct Server<'a> {
    version: Option<&'a str>,
    /// Why its own metrics tell no more.
    unobservable: Option<&'a str>,
    start_time: Option<f64>,
    restarted: bool,
    asleep: bool,
    generated_tokens: Option<f64>,
    foreign_tokens: Option<f64>,
    foreign_tokens_ratio: Option<f64>,
    foreign_prompt_tokens: Option<f64>,
    foreign_prompt_ratio: Option<f64>,
    foreign_requests_peak: Option<f64>,
    waiting_requests_peak: Option<f64>,
    prefix_cache_hit_ratio: Option<f64>,
    kv_cache_usage_peak: Option<f64>,
    preemptions: Option<f64>,
    ttft_seconds_mean: Option<f64>,
    queue_time_seconds_mean: Option<f64>,
    e2e_latency_seconds_mean: Option<f64>,
    draft_acceptance_ratio: Option<f64>,
}

impl<'a> Server<'a> {
    fn new(run: &'a Run, summary: &'a Summary) -> Self {
        let view = &summary.server;
        let valid = |value: Option<f64>| value.filter(|_| summary.is_valid());
        Self {
            version: run.server_version.as_deref(),
            unobservable: view.unobservable.as_deref(),
            start_time: view.process_start,
            restarted: view.restarted,
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

/// What the deployment runs on.
#[derive(Debug, Serialize)]
struct EnvironmentJson {
    fingerprint: String,
    fields: BTreeMap<&'static str, FieldJson>,
}

/// A value and where it is known from.
#[derive(Debug, Serialize)]
struct FieldJson {
    value: String,
    source: &'static str,
}

impl EnvironmentJson {
    fn new(environment: &Environment) -> Self {
        let field = |known: Finding| {
            let field = FieldJson {
                value: known.value,
                source: known.source.label(),
            };
            (known.field.label(), field)
        };
        Self {
            fingerprint: environment.fingerprint(),
            fields: environment.known().map(field).collect(),
        }
    }
}

/// What the prober adds, and what it cost.
#[derive(Debug, Serialize)]
struct Client {
    version: &'static str,
    cpu_seconds: Option<f64>,
    cpu_wait_seconds: Option<f64>,
    load_ratio: Option<f64>,
    delay_seconds: Option<Quantiles>,
    connections_opened: u32,
    connections_reopened: u32,
    connect_seconds_mean: Option<f64>,
}

/// One request, with `--save-detailed`. Times are seconds; `sent` counts from the first dispatch.
#[derive(Debug, Serialize)]
struct RequestJson<'a> {
    sent: f64,
    ended: f64,
    ttft: Option<f64>,
    latency: Option<f64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    finish_reason: Option<&'static str>,
    failure_reason: Option<&'static str>,
    failure: Option<&'a str>,
}

impl<'a> RunJson<'a> {
    /// Lays out `run` and its summary; with `detailed`, each of its requests too.
    pub fn new(
        deployment: &'a Deployment,
        workload: &Workload,
        run: &'a Run,
        summary: &'a Summary,
        detailed: bool,
    ) -> Self {
        let figures = summary.figures.as_ref();
        let quantiles =
            |of: fn(&Figures) -> Option<Distribution>| figures.and_then(of).map(Quantiles::from);
        let completed = f64::from(summary.completed);
        let mean = |total: u64| (summary.completed > 0).then(|| total as f64 / completed);
        Self {
            schema: "vllm-prober/run/v1",
            run_id: run.id.to_string(),
            deployment: deployment.name.as_str(),
            definition_version: DEFINITION_VERSION,
            workload_id: workload.id().to_string(),
            model: &run.model,
            base_url: deployment.endpoint.base_url(),
            started_at: run.started_at,
            wall_seconds: summary.wall.as_secs_f64(),
            concurrency: workload.concurrency,
            requests: workload.requests,
            max_tokens: workload.max_tokens,
            temperature: workload.temperature,
            completed: summary.completed,
            failed: summary.failed,
            failures: summary
                .failures
                .iter()
                .map(|(reason, count)| (reason.label(), *count))
                .collect(),
            valid: summary.is_valid(),
            invalid_reasons: summary
                .invalid_reasons
                .iter()
                .map(|reason| reason.label())
                .collect(),
            qps: figures.map(|figures| figures.qps),
            prompt_tps: figures.map(|figures| figures.prompt_tps),
            decode_tps: figures.map(|figures| figures.decode_tps),
            latency_seconds: quantiles(|figures| Some(figures.latency)),
            ttft_seconds: quantiles(|figures| figures.ttft),
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
                .map(|(reason, count)| (reason.label(), *count))
                .collect(),
            concurrency_utilization: summary.concurrency_utilization,
            environment: EnvironmentJson::new(&run.environment),
            server: Server::new(run, summary),
            client: Client {
                version: env!("CARGO_PKG_VERSION"),
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

impl<'a> RequestJson<'a> {
    fn new(record: &'a RequestRecord) -> Self {
        let completion = record.outcome.as_ref().ok();
        let error = record.outcome.as_ref().err();
        Self {
            sent: record.sent.as_secs_f64(),
            ended: record.ended.as_secs_f64(),
            ttft: record.time_to_first_token().map(|ttft| ttft.as_secs_f64()),
            latency: record.latency().map(|latency| latency.as_secs_f64()),
            prompt_tokens: completion.map(|completion| completion.prompt_tokens),
            completion_tokens: completion.map(|completion| completion.completion_tokens),
            finish_reason: completion.map(|completion| completion.finish_reason.label()),
            failure_reason: error.map(|error| error.reason.label()),
            failure: error.map(|error| error.detail.as_str()),
        }
    }
}
