//! Runs for the tests of everything that is computed from runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    Arrivals, Completion, Connections, FailureReason, FinishReason, RequestError, RequestRecord,
    Run, RunId,
};
use crate::reading::{Counter, EngineKey, EngineReading, Gauge, Reading};
use crate::workload::Workload;

/// A closed loop without gaps: each of `concurrency` lanes sends its next request at the instant its last
/// one ended. Answers have `tokens` tokens, the first after a tenth of the time.
pub(crate) fn closed_loop(concurrency: u32, times: &[Duration], tokens: u32) -> Run {
    let mut free_at = vec![Duration::ZERO; concurrency as usize];
    let records = times.iter().map(|time| {
        let lane = free_at.iter_mut().min().unwrap();
        let (sent, ended) = (*lane, *lane + *time);
        *lane = ended;
        let first = sent + *time / 10;
        let outcome = Ok(Completion {
            prompt_tokens: 110,
            completion_tokens: u64::from(tokens),
            cached_tokens: None,
            finish_reason: FinishReason::Length,
            arrivals: Some(Arrivals {
                first,
                first_content: None,
                last: ended,
                gaps: vec![ended - first],
            }),
            system_fingerprint: None,
        });
        RequestRecord {
            sent,
            ended,
            outcome,
        }
    });
    let records: Vec<RequestRecord> = records.collect();
    Run {
        id: RunId("0".to_owned()),
        started_at: Timestamp::UNIX_EPOCH,
        model: "m".to_owned(),
        server_version: None,
        planned: u32::try_from(times.len()).unwrap(),
        concurrency,
        records,
        deadline_passed: false,
        connections: Connections::default(),
        client_delays: Vec::new(),
        client_cpu: None,
        warmup: Default::default(),
        environment: Default::default(),
        observation: Default::default(),
        given_up: None,
    }
}

/// The reference's shape: 64 requests of one second each, 16 in flight.
pub(crate) fn reference() -> (Run, Workload) {
    let run = closed_loop(16, &[Duration::from_secs(1); 64], 256);
    (run, Workload::reference("p"))
}

pub(crate) fn fail(records: &mut [RequestRecord], reason: FailureReason) {
    for record in records {
        record.outcome = Err(RequestError::new(reason, "why"));
    }
}

pub(crate) fn completion(record: &mut RequestRecord) -> &mut Completion {
    record.outcome.as_mut().unwrap()
}

/// What the one engine of model `m` says: its process started at `start`, and it has counted so much.
pub(crate) fn reading(start: f64, counters: &[(Counter, f64)]) -> Reading {
    let engine = EngineReading {
        counters: counters.iter().copied().collect(),
        gauges: BTreeMap::from([
            (Gauge::Running, 0.0),
            (Gauge::Waiting, 0.0),
            (Gauge::Awake, 1.0),
        ]),
    };
    let key = EngineKey {
        model: "m".to_owned(),
        engine: "0".to_owned(),
    };
    Reading {
        engines: BTreeMap::from([(key, engine)]),
        process_start: Some(start),
        ..Reading::default()
    }
}

/// Lets `run` have been observed on a server that generated `tokens` meanwhile, for prompts of `prompts` tokens
/// of which `hits` were cached.
pub(crate) fn observe(run: &mut Run, tokens: f64, prompts: f64, hits: f64) {
    let at = |tokens, prompts, hits| {
        Some(Arc::new(reading(
            1.0,
            &[
                (Counter::GenerationTokens, tokens),
                (Counter::PromptTokens, prompts),
                (Counter::PrefixCacheQueries, prompts),
                (Counter::PrefixCacheHits, hits),
            ],
        )))
    };
    run.observation.before = at(1000.0, 500.0, 100.0);
    run.observation.after = at(1000.0 + tokens, 500.0 + prompts, 100.0 + hits);
}
