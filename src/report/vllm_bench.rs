//! A run in the result schema of `vllm bench serve`, so that vLLM's own scripts read and compare it.
//!
//! Same names, same units (milliseconds where the name says so), same formulas: percentiles are
//! `numpy.percentile`'s, the standard deviation is the population's.

use serde_json::{Map, Value, json};

use crate::measurement::{Completion, RequestRecord, Run};
use crate::statistics::{Distribution, Summary};
use crate::workload::Workload;

/// Lays out `run` as `vllm bench serve --save-result` does; with `detailed`, as `--save-detailed` does.
/// The figures of an invalid run are null.
pub fn json(workload: &Workload, run: &Run, summary: &Summary, detailed: bool) -> Value {
    let figures = summary.figures.as_ref();
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| {
        result.insert(name.to_owned(), value);
    };
    put(
        "date",
        json!(run.started_at.strftime("%Y%m%d-%H%M%S").to_string()),
    );
    put("endpoint_type", json!("openai-chat"));
    put("backend", json!("openai-chat"));
    put("label", Value::Null);
    put("model_id", json!(run.model));
    put("tokenizer_id", json!(run.model));
    put("num_prompts", json!(workload.requests));
    put("request_rate", json!("inf"));
    put("burstiness", json!(1.0));
    put("max_concurrency", json!(workload.concurrency));
    put("duration", json!(summary.wall.as_secs_f64()));
    put("completed", json!(summary.completed));
    put("failed", json!(summary.failed));
    put("total_input_tokens", json!(summary.tokens.prompt_total));
    put(
        "total_output_tokens",
        json!(summary.tokens.completion_total),
    );
    put("request_throughput", json!(figures.map(|f| f.qps)));
    put("request_goodput", Value::Null);
    put("output_throughput", json!(figures.map(|f| f.decode_tps)));
    put(
        "total_token_throughput",
        json!(figures.map(|f| f.prompt_tps + f.decode_tps)),
    );
    // vLLM's peak takes every chunk for one token, which is not so.
    put("max_output_tokens_per_s", Value::Null);
    put(
        "max_concurrent_requests",
        json!(workload.concurrency.min(summary.completed + summary.failed)),
    );
    for (name, distribution) in [
        ("ttft", figures.and_then(|f| f.ttft)),
        ("tpot", figures.and_then(|f| f.tpot)),
        ("itl", figures.and_then(|f| f.itl)),
        ("e2el", figures.map(|f| f.latency)),
    ] {
        let milliseconds =
            |of: fn(&Distribution) -> f64| json!(distribution.as_ref().map(|d| of(d) * 1e3));
        put(&format!("mean_{name}_ms"), milliseconds(|d| d.mean));
        put(&format!("median_{name}_ms"), milliseconds(|d| d.p50));
        put(&format!("std_{name}_ms"), milliseconds(|d| d.std));
        put(&format!("p50_{name}_ms"), milliseconds(|d| d.p50));
        put(&format!("p90_{name}_ms"), milliseconds(|d| d.p90));
        put(&format!("p95_{name}_ms"), milliseconds(|d| d.p95));
        put(&format!("p99_{name}_ms"), milliseconds(|d| d.p99));
    }
    if detailed {
        let each =
            |of: &dyn Fn(&RequestRecord) -> Value| run.records.iter().map(of).collect::<Value>();
        put(
            "input_lens",
            each(&|record| json!(completion(record).map_or(0, |c| c.prompt_tokens))),
        );
        put(
            "output_lens",
            each(&|record| json!(completion(record).map_or(0, |c| c.completion_tokens))),
        );
        put(
            "ttfts",
            each(&|record| {
                json!(
                    record
                        .time_to_first_token()
                        .map_or(0.0, |ttft| ttft.as_secs_f64())
                )
            }),
        );
        put("itls", each(&itls));
        put(
            "errors",
            each(&|record| {
                json!(
                    record
                        .outcome
                        .as_ref()
                        .err()
                        .map_or(String::new(), ToString::to_string)
                )
            }),
        );
    }
    Value::Object(result)
}

fn completion(record: &RequestRecord) -> Option<&Completion> {
    record.outcome.as_ref().ok()
}

fn itls(record: &RequestRecord) -> Value {
    let gaps = completion(record)
        .and_then(|c| c.arrivals.as_ref())
        .map(|arrivals| &arrivals.gaps);
    gaps.into_iter()
        .flatten()
        .map(|gap| json!(gap.as_secs_f64()))
        .collect()
}
