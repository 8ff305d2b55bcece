//! Runs that other programs measured, read into our own form: result files of `vllm bench serve`, and of the
//! script of the reference benchmark.
//!
//! What they do not say is absent. Their prompt is not known, so that neither is what they may be compared with:
//! they are series of their own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::read_back::{Unreadable, read_run};
use super::{Client, EnvironmentJson, Quantiles, RunJson, SCHEMA, Server, TokenUsage};
use crate::closed_set::closed_set;
use crate::workload::DEFINITION_VERSION;

/// The workload id of a run whose prompt is not known.
pub const UNKNOWN_WORKLOAD: &str = "unknown";

/// The share of failed requests up to which a run of another program counts, as it does for ours.
const MAX_FAILED: f64 = 0.05;

closed_set! {
    /// Who measured a run.
    Source:
    Prober "prober" "This program.",
    VllmBench "vllm_bench" "`vllm bench serve`.",
    Script "script" "The script of the reference benchmark.",
}

impl Source {
    /// Reads the word for it.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|source| source.label() == label)
    }
}

/// What whoever imports a file says of it. Names go before what the file says.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The deployment's name.
    pub deployment: Option<String>,
    /// The workload's name.
    pub workload: Option<String>,
    /// The id of the workload, where its user vouches that exactly this was replayed; a file of another program does
    /// not tell.
    pub workload_id: Option<String>,
    /// When the run began, where a file of another program does not say or says it without a zone.
    pub started_at: Option<Timestamp>,
}

/// Reads a run from JSON text of any of the three schemas.
///
/// # Errors
/// When it is none of them, or lacks what a run must have.
pub fn read(text: &str, told: &Told) -> Result<(RunJson, Source), Unreadable> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| Unreadable::new(error.to_string()))?;
    if value.get("schema").is_some() {
        let mut run = read_run(text)?;
        if let Some(deployment) = &told.deployment {
            run.deployment.clone_from(deployment);
        }
        run.workload = told.workload.clone().or(run.workload);
        if run.workload.is_none() {
            return Err(Unreadable::new(
                "it does not name its workload; say --workload NAME",
            ));
        }
        return Ok((run, Source::Prober));
    }
    let file = Foreign {
        value: &value,
        told,
    };
    if value.get("request_throughput").is_some() && value.get("total_output_tokens").is_some() {
        Ok((file.vllm_bench()?, Source::VllmBench))
    } else if value.get("decode_tps").is_some() {
        Ok((file.script()?, Source::Script))
    } else {
        Err(Unreadable::new(format!(
            "it is neither a run of this program (`schema`: {SCHEMA}), nor a result of `vllm bench serve` \
             (`request_throughput`), nor of the reference's script (`decode_tps`)"
        )))
    }
}

/// A file of another program.
struct Foreign<'a> {
    value: &'a Value,
    told: &'a Told,
}

/// What every run has, whoever measured it.
struct Counts {
    requests: u32,
    completed: u32,
    failed: u32,
    wall_seconds: f64,
}

impl Foreign<'_> {
    fn vllm_bench(&self) -> Result<RunJson, Unreadable> {
        let requests = self.whole(&["num_prompts"])?;
        let completed = self.whole(&["completed"])?;
        let counts = Counts {
            requests,
            completed,
            // Versions before 0.12 do not say.
            failed: self
                .whole(&["failed"])
                .unwrap_or(requests.saturating_sub(completed)),
            wall_seconds: self.number(&["duration"])?,
        };
        let (prompt, completion) = (
            self.total("total_input_tokens")?,
            self.total("total_output_tokens")?,
        );
        let usage = usage(prompt, completion, completed);
        let milliseconds = |name: &str| {
            let of =
                |figure: &str| Some(self.find(&[&format!("{figure}_{name}_ms")])?.as_f64()? / 1e3);
            some(Quantiles {
                mean: of("mean"),
                std: of("std"),
                p50: of("p50").or_else(|| of("median")),
                p90: of("p90"),
                p95: of("p95"),
                p99: of("p99"),
                ..Quantiles::default()
            })
        };
        let date = self.find(&["date"]).and_then(Value::as_str);
        // Its clock's zone is not in the file.
        let date = date.and_then(|date| DateTime::strptime("%Y%m%d-%H%M%S", date).ok());
        let date = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
        let run = RunJson {
            concurrency: self.whole(&["max_concurrency"]).unwrap_or(requests),
            qps: Some(self.number(&["request_throughput"])?),
            prompt_tps: Some(prompt as f64 / counts.wall_seconds),
            decode_tps: Some(self.number(&["output_throughput"])?),
            latency_seconds: milliseconds("e2el"),
            ttft_seconds: milliseconds("ttft"),
            tpot_seconds: milliseconds("tpot"),
            itl_seconds: milliseconds("itl"),
            token_usage: usage,
            ..self.run(counts, date.map(|date| date.timestamp()))?
        };
        Ok(withheld_if_invalid(run))
    }

    fn script(&self) -> Result<RunJson, Unreadable> {
        let requests = self.whole(&["requests", "num_requests", "total_requests"])?;
        let failed = self.whole(&["failed", "failures", "errors"]).unwrap_or(0);
        let completed = self
            .whole(&["completed", "ok", "success", "succeeded"])
            .unwrap_or(requests.saturating_sub(failed));
        let qps = self.number(&["qps", "QPS"])?;
        let wall = [
            "wall_seconds",
            "wall_s",
            "wall_time_s",
            "elapsed_s",
            "duration_s",
            "duration",
        ];
        let counts = Counts {
            requests,
            completed,
            failed,
            wall_seconds: self.number(&wall).unwrap_or(f64::from(completed) / qps),
        };
        let tokens = self.find(&["token_usage", "usage"]);
        let mean = |name: &str| tokens?.get(name)?.as_f64();
        let total = |name: &str, mean: Option<f64>| {
            let told = tokens.and_then(|tokens| tokens.get(name)?.as_u64());
            told.or_else(|| Some((mean? * f64::from(completed)).round() as u64))
                .unwrap_or(0)
        };
        let (prompt, completion) = (mean("prompt_tokens_mean"), mean("completion_tokens_mean"));
        let latency = self.find(&["latency", "latency_seconds", "latency_s", "latency_sec"]);
        let of = |figure: &str| latency?.get(figure)?.as_f64();
        let run = RunJson {
            concurrency: self.whole(&["concurrency"])?,
            max_tokens: self.whole(&["max_tokens"]).ok(),
            temperature: self.number(&["temperature"]).ok(),
            qps: Some(qps),
            prompt_tps: self.number(&["prompt_tps"]).ok(),
            decode_tps: Some(self.number(&["decode_tps"])?),
            latency_seconds: some(Quantiles {
                mean: of("mean").or_else(|| of("avg")),
                min: of("min"),
                p50: of("p50"),
                p90: of("p90"),
                p95: of("p95"),
                p99: of("p99"),
                max: of("max"),
                ..Quantiles::default()
            }),
            token_usage: TokenUsage {
                prompt_tokens_mean: prompt,
                completion_tokens_mean: completion,
                prompt_tokens_total: total("prompt_tokens_total", prompt),
                completion_tokens_total: total("completion_tokens_total", completion),
                cached_tokens_total: None,
            },
            ..self.run(counts, self.time())?
        };
        Ok(withheld_if_invalid(run))
    }

    /// What the file says of the run beside its figures.
    fn run(&self, counts: Counts, started_at: Option<Timestamp>) -> Result<RunJson, Unreadable> {
        let named = |told: &Option<String>, flag: &str| {
            told.clone().ok_or_else(|| {
                Unreadable::new(format!("it does not say whose it is; say {flag} NAME"))
            })
        };
        let started_at = self.told.started_at.or(started_at).ok_or_else(|| {
            Unreadable::new(
                "it does not say when it began; say --started-at, as in 2026-03-01T12:00:00Z",
            )
        })?;
        if !(counts.wall_seconds.is_finite() && counts.wall_seconds > 0.0) {
            return Err(Unreadable::new(
                "its wall time is not a positive number of seconds",
            ));
        }
        let valid = counts.completed > 0
            && f64::from(counts.failed) <= f64::from(counts.requests) * MAX_FAILED + 1e-9;
        let model = self.find(&["model", "model_id"]).and_then(Value::as_str);
        Ok(RunJson {
            schema: SCHEMA.to_owned(),
            run_id: self.id(),
            deployment: named(&self.told.deployment, "--deployment")?,
            workload: Some(named(&self.told.workload, "--workload")?),
            definition_version: DEFINITION_VERSION,
            workload_id: (self.told.workload_id.clone())
                .unwrap_or_else(|| UNKNOWN_WORKLOAD.to_owned()),
            model: model.ok_or_else(|| lacks("model"))?.to_owned(),
            base_url: None,
            started_at,
            wall_seconds: counts.wall_seconds,
            concurrency: 0,
            requests: counts.requests,
            max_tokens: None,
            temperature: None,
            prefix_cache: None,
            light: false,
            completed: counts.completed,
            failed: counts.failed,
            failures: BTreeMap::new(),
            valid,
            invalid_reasons: if valid {
                Vec::new()
            } else {
                vec!["failed_requests".to_owned()]
            },
            qps: None,
            prompt_tps: None,
            decode_tps: None,
            latency_seconds: None,
            ttft_seconds: None,
            ttfo_seconds: None,
            tpot_seconds: None,
            itl_seconds: None,
            token_usage: TokenUsage::default(),
            finish_reasons: BTreeMap::new(),
            concurrency_utilization: None,
            environment: EnvironmentJson::default(),
            server: Server::default(),
            client: Client::default(),
            request_records: None,
        })
    }

    /// The same for the same content, however it is spaced and ordered.
    fn id(&self) -> String {
        let digest = Sha256::digest(self.value.to_string());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes)
            .into_uuid()
            .to_string()
    }

    fn time(&self) -> Option<Timestamp> {
        match self.find(&["started_at", "timestamp", "date", "time"])? {
            Value::String(text) => text.parse().ok(),
            Value::Number(seconds) => {
                Timestamp::from_microsecond((seconds.as_f64()? * 1e6) as i64).ok()
            }
            _ => None,
        }
    }

    /// The first of `names` that is there.
    fn find(&self, names: &[&str]) -> Option<&Value> {
        names
            .iter()
            .find_map(|name| self.value.get(name))
            .filter(|value| !value.is_null())
    }

    fn number(&self, names: &[&str]) -> Result<f64, Unreadable> {
        let number = self.find(names).and_then(Value::as_f64);
        number.ok_or_else(|| lacks(names[0]))
    }

    fn whole(&self, names: &[&str]) -> Result<u32, Unreadable> {
        let number = self.find(names).and_then(Value::as_u64);
        number
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| lacks(names[0]))
    }

    fn total(&self, name: &str) -> Result<u64, Unreadable> {
        self.find(&[name])
            .and_then(Value::as_u64)
            .ok_or_else(|| lacks(name))
    }
}

fn lacks(name: &str) -> Unreadable {
    Unreadable::new(format!(
        "`{name}` is missing or not a number of the right kind"
    ))
}

fn usage(prompt: u64, completion: u64, completed: u32) -> TokenUsage {
    let mean = |total: u64| (completed > 0).then(|| total as f64 / f64::from(completed));
    TokenUsage {
        prompt_tokens_mean: mean(prompt),
        completion_tokens_mean: mean(completion),
        prompt_tokens_total: prompt,
        completion_tokens_total: completion,
        cached_tokens_total: None,
    }
}

/// `None` when nothing of it is known.
fn some(quantiles: Quantiles) -> Option<Quantiles> {
    (quantiles != Quantiles::default()).then_some(quantiles)
}

fn withheld_if_invalid(run: RunJson) -> RunJson {
    if run.valid {
        return run;
    }
    RunJson {
        qps: None,
        prompt_tps: None,
        decode_tps: None,
        latency_seconds: None,
        ttft_seconds: None,
        tpot_seconds: None,
        itl_seconds: None,
        ..run
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::measurement::fixture::reference;
    use crate::report::vllm_bench;
    use crate::statistics::summarize;

    fn told() -> Told {
        Told {
            deployment: Some("a".to_owned()),
            workload: Some("w".to_owned()),
            workload_id: None,
            started_at: None,
        }
    }

    #[test]
    fn a_result_of_vllm_bench_has_the_figures_that_were_written() {
        let (run, workload) = reference();
        let summary = summarize(&run, &workload);
        let file = vllm_bench::json(&workload, &run, &summary, false);
        let (read, source) = read(&file.to_string(), &told()).unwrap();
        assert_eq!((source, read.valid), (Source::VllmBench, true));
        let figures = summary.figures.unwrap();
        assert_eq!(
            (read.qps, read.decode_tps),
            (Some(figures.qps), Some(figures.decode_tps))
        );
        assert_eq!(read.prompt_tps, Some(figures.prompt_tps));
        assert_eq!(read.latency_seconds.unwrap().p95, Some(figures.latency.p95));
        assert_eq!(read.ttft_seconds.unwrap().max, None, "vLLM does not tell");
        assert_eq!(read.token_usage.completion_tokens_total, 64 * 256);
        assert_eq!((read.started_at, read.concurrency), (run.started_at, 16));
        assert_eq!(
            (read.temperature, read.workload_id.as_str()),
            (None, UNKNOWN_WORKLOAD)
        );
    }

    #[test]
    fn a_result_of_the_references_script_has_the_published_figures() {
        let file = json!({
            "model": "RedHatAI/Qwen3-32B-NVFP4", "concurrency": 16, "requests": 64, "max_tokens": 256,
            "qps": 2.369, "prompt_tps": 260.5918, "decode_tps": 606.4682,
            "latency": {"p50": 6.7577, "p95": 6.795},
            "token_usage": {"prompt_tokens_mean": 110.0, "completion_tokens_mean": 256.0},
        });
        let wanted = read(&file.to_string(), &told()).unwrap_err().to_string();
        assert!(wanted.contains("--started-at"), "{wanted}");
        let when = Told {
            started_at: Some("2025-12-22T10:00:00Z".parse().unwrap()),
            ..told()
        };
        let (run, source) = read(&file.to_string(), &when).unwrap();
        assert_eq!((source, run.completed, run.failed), (Source::Script, 64, 0));
        assert!(
            (run.wall_seconds - 27.02).abs() < 0.01,
            "{}",
            run.wall_seconds
        );
        assert_eq!(run.decode_tps, Some(606.4682));
        assert_eq!(run.latency_seconds.unwrap().p50, Some(6.7577));
        assert_eq!(run.token_usage.completion_tokens_total, 64 * 256);
        // Spacing and order do not make another run; another figure does.
        let spaced = serde_json::to_string_pretty(&file).unwrap();
        assert_eq!(read(&spaced, &when).unwrap().0.run_id, run.run_id);
        let other = file.to_string().replace("2.369", "2.37");
        assert_ne!(read(&other, &when).unwrap().0.run_id, run.run_id);
    }

    #[test]
    fn too_many_failures_withhold_the_figures() {
        let (run, workload) = reference();
        let mut file = vllm_bench::json(&workload, &run, &summarize(&run, &workload), false);
        file["completed"] = json!(60);
        file["failed"] = json!(4);
        let (run, _) = read(&file.to_string(), &told()).unwrap();
        assert_eq!(
            (run.valid, run.qps, run.latency_seconds),
            (false, None, None)
        );
        assert_eq!(run.invalid_reasons, ["failed_requests"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (file, told, says) in [
            (json!({"a": 1}), told(), "neither"),
            (json!([1]), told(), "neither"),
            (json!({"decode_tps": 1.0}), told(), "`requests`"),
            (
                json!({"decode_tps": 1, "requests": 4, "concurrency": 1, "qps": 1, "model": "m", "time": 0}),
                Told::default(),
                "--deployment NAME",
            ),
        ] {
            let error = read(&file.to_string(), &told).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
