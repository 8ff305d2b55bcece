//! A run's JSON read back: what it amounted to is the same after a restart as it was before.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Quantiles, RunJson, SCHEMA};
use crate::measurement::{FailureReason, FinishReason};
use crate::statistics::{Distribution, Figures, InvalidReason, Summary, Tokens};
use crate::traffic::{Foreign, ServerView};

/// Why a text is not a run that can be used, in words that name the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    /// Says why.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Reads one run of schema `vllm-prober/run/v1`.
///
/// # Errors
/// When it is not JSON, of another schema, or lacks a field.
pub fn read_run(text: &str) -> Result<RunJson, Unreadable> {
    let run: RunJson =
        serde_json::from_str(text).map_err(|error| Unreadable(format!("{error}")))?;
    if run.schema != SCHEMA {
        return Err(Unreadable(format!(
            "its schema is {:?}, and this version reads {SCHEMA:?}",
            run.schema
        )));
    }
    Ok(run)
}

impl RunJson {
    /// What the run amounts to.
    ///
    /// # Errors
    /// When it has a word that is not known, or a distribution that is not whole, as those of other programs
    /// are not.
    pub fn summary(&self) -> Result<Summary, Unreadable> {
        let wall = Duration::try_from_secs_f64(self.wall_seconds)
            .map_err(|error| Unreadable(format!("wall_seconds {}: {error}", self.wall_seconds)))?;
        let invalid_reasons = self
            .invalid_reasons
            .iter()
            .map(|word| known(word, InvalidReason::ALL, InvalidReason::label));
        Ok(Summary {
            completed: self.completed,
            failed: self.failed,
            failures: counts(&self.failures, FailureReason::ALL, FailureReason::label)?,
            finish_reasons: counts(
                &self.finish_reasons,
                &FinishReason::ALL,
                FinishReason::label,
            )?,
            wall,
            tokens: Tokens {
                prompt_total: self.token_usage.prompt_tokens_total,
                completion_total: self.token_usage.completion_tokens_total,
                cached_total: self.token_usage.cached_tokens_total,
            },
            concurrency_utilization: self.concurrency_utilization,
            client_delay: whole("client.delay_seconds", self.client.delay_seconds)?,
            client_load_ratio: self.client.load_ratio,
            server: self.server_view(),
            invalid_reasons: invalid_reasons.collect::<Result<_, _>>()?,
            figures: self.figures()?,
        })
    }

    fn figures(&self) -> Result<Option<Figures>, Unreadable> {
        let rates = (self.qps, self.prompt_tps, self.decode_tps);
        let means = (
            self.token_usage.prompt_tokens_mean,
            self.token_usage.completion_tokens_mean,
        );
        let (Some(qps), Some(prompt_tps), Some(decode_tps)) = rates else {
            return Ok(None);
        };
        let latency = whole("latency_seconds", self.latency_seconds)?;
        let (Some(latency), (Some(prompt_tokens_mean), Some(completion_tokens_mean))) =
            (latency, means)
        else {
            return Ok(None);
        };
        Ok(Some(Figures {
            qps,
            prompt_tps,
            decode_tps,
            latency,
            ttft: whole("ttft_seconds", self.ttft_seconds)?,
            ttfo: whole("ttfo_seconds", self.ttfo_seconds)?,
            tpot: whole("tpot_seconds", self.tpot_seconds)?,
            itl: whole("itl_seconds", self.itl_seconds)?,
            prompt_tokens_mean,
            completion_tokens_mean,
        }))
    }

    fn server_view(&self) -> ServerView {
        let server = &self.server;
        let foreign = server.foreign_tokens.zip(server.foreign_prompt_tokens);
        ServerView {
            foreign: foreign.map(|(tokens, prompt_tokens)| Foreign {
                tokens,
                tokens_ratio: server.foreign_tokens_ratio,
                prompt_tokens,
                prompt_ratio: server.foreign_prompt_ratio,
                requests_peak: server.foreign_requests_peak,
            }),
            prefix_cache_hit_ratio: server.prefix_cache_hit_ratio,
            preemptions: server.preemptions,
            kv_cache_usage_peak: server.kv_cache_usage_peak,
            waiting_peak: server.waiting_requests_peak,
            ttft_mean: server.ttft_seconds_mean,
            queue_time_mean: server.queue_time_seconds_mean,
            e2e_latency_mean: server.e2e_latency_seconds_mean,
            draft_acceptance_ratio: server.draft_acceptance_ratio,
            process_start: server.start_time,
            restarted: server.restarted,
            several_servers: server.several_servers,
            asleep: server.asleep,
            generated_tokens: server.generated_tokens,
            unobservable: server.unobservable.clone(),
        }
    }
}

/// The member of a closed set that `word` stands for.
fn known<T: Copy>(word: &str, all: &[T], label: fn(T) -> &'static str) -> Result<T, Unreadable> {
    all.iter()
        .copied()
        .find(|member| label(*member) == word)
        .ok_or_else(|| {
            Unreadable(format!(
                "{word:?} is a word that this version does not know"
            ))
        })
}

fn counts<T: Copy + Ord>(
    counts: &BTreeMap<String, u32>,
    all: &[T],
    label: fn(T) -> &'static str,
) -> Result<BTreeMap<T, u32>, Unreadable> {
    counts
        .iter()
        .map(|(word, count)| Ok((known(word, all, label)?, *count)))
        .collect()
}

/// The distribution, if there is one; half a one is none that could be shown.
fn whole(name: &str, quantiles: Option<Quantiles>) -> Result<Option<Distribution>, Unreadable> {
    let Some(q) = quantiles else { return Ok(None) };
    let distribution = || {
        Some(Distribution {
            count: q.count?,
            sum: q.sum?,
            mean: q.mean?,
            std: q.std?,
            min: q.min?,
            p50: q.p50?,
            p90: q.p90?,
            p95: q.p95?,
            p99: q.p99?,
            max: q.max?,
        })
    };
    distribution()
        .map(Some)
        .ok_or_else(|| Unreadable(format!("{name} lacks some of its figures")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::{Deployment, Endpoint};
    use crate::measurement::fixture::{completion, fail, observe, reference};
    use crate::measurement::{ProcessorTime, Run};
    use crate::statistics::summarize;
    use crate::workload::Workload;

    fn through_json(run: &Run, workload: &Workload) -> (Summary, RunJson) {
        let endpoint = Endpoint::new("http://127.0.0.1:8000".parse().unwrap());
        let summary = summarize(run, workload);
        let json = RunJson::new(
            &Deployment::new("a", endpoint),
            workload,
            run,
            &summary,
            true,
        );
        let read = read_run(&serde_json::to_string(&json).unwrap()).unwrap();
        assert_eq!(read, json);
        (summary, read)
    }

    #[test]
    fn a_run_is_the_same_after_it_went_through_json() {
        let (mut run, workload) = reference();
        observe(&mut run, 64.0 * 256.0 + 100.0, 64.0 * 110.0, 6_144.0);
        for (n, record) in run.records.iter_mut().enumerate() {
            // Fractions that have no short form in decimals.
            let odd = Duration::from_nanos(1_234_567 * n as u64);
            record.ended += odd;
            let arrivals = completion(record).arrivals.as_mut().unwrap();
            arrivals.last += odd;
            arrivals.first_content = Some(arrivals.first + odd / 7);
        }
        run.client_delays = vec![Duration::from_nanos(1_003), Duration::from_nanos(77_777)];
        run.client_cpu = Some(ProcessorTime {
            used: Duration::from_millis(123),
            waited: Duration::from_micros(7),
        });
        let (summary, read) = through_json(&run, &workload);
        assert!(summary.is_valid(), "{:?}", summary.invalid_reasons);
        let read = read.summary().unwrap();
        assert_eq!(read, summary);
    }

    #[test]
    fn a_run_that_does_not_count_keeps_its_reasons() {
        let (mut run, workload) = reference();
        fail(&mut run.records[..9], FailureReason::TimeoutStall);
        let (summary, read) = through_json(&run, &workload);
        assert_eq!(read.summary().unwrap(), summary);
        assert_eq!(read.invalid_reasons, ["failed_requests"]);
    }

    #[test]
    fn what_is_not_known_is_told_by_its_name() {
        let (run, workload) = reference();
        let (_, json) = through_json(&run, &workload);
        let mut other = json.clone();
        other.invalid_reasons = vec!["moonlight".to_owned()];
        let told = other.summary().unwrap_err().to_string();
        assert!(told.contains("\"moonlight\""), "{told}");
        let mut partial = json.clone();
        partial.ttft_seconds.as_mut().unwrap().p90 = None;
        let told = partial.summary().unwrap_err().to_string();
        assert!(told.contains("ttft_seconds"), "{told}");
        let newer = RunJson {
            schema: "vllm-prober/run/v9".to_owned(),
            ..json
        };
        let told = read_run(&serde_json::to_string(&newer).unwrap()).unwrap_err();
        assert!(told.to_string().contains("v9"), "{told}");
    }
}
