//! Replays a workload against a deployment in a closed loop and collects a run.
//!
//! A run measures on a thread of its own with a runtime of its own: nothing that serves, schedules or
//! measures elsewhere can come between a socket and its time stamp, and when the run ends its
//! connections and tasks end with it.

mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::client::{Client, ClientError, RunClock, Shape, chat};
use crate::deployment::Deployment;
use crate::measurement::{Connections, RequestError, RequestRecord, Run, RunId};
use crate::workload::{PrefixCache, Workload};

/// How often the delay of the measuring thread is sampled.
const DELAY_SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Why a replay came to no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The prober was told to stop.
    #[error("cut short by a shutdown")]
    Cut,
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server was asked for its model and gave no answer.
    #[error("no model is configured and the server does not tell which it serves: {0}")]
    NoModel(RequestError),
    /// The server does not serve exactly one model.
    #[error("no model is configured and the server serves {}: [{}]; name one as `model`", .0.len(), .0.join(", "))]
    AmbiguousModel(Vec<String>),
    /// The measuring thread could not be started, or ended in a panic.
    #[error("the measuring thread failed: {0}")]
    Thread(String),
}

/// How far a run has come, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    ended: AtomicU32,
    failed: AtomicU32,
    completion_tokens: AtomicU64,
}

impl Progress {
    /// Measured requests that have ended.
    pub fn ended(&self) -> u32 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Those of them that failed.
    pub fn failed(&self) -> u32 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Tokens of the answers that completed.
    pub fn completion_tokens(&self) -> u64 {
        self.completion_tokens.load(Ordering::Relaxed)
    }

    fn note(&self, record: &RequestRecord) {
        match &record.outcome {
            Ok(completion) => self
                .completion_tokens
                .fetch_add(completion.completion_tokens, Ordering::Relaxed),
            Err(_) => u64::from(self.failed.fetch_add(1, Ordering::Relaxed)),
        };
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Replays `workload` against `deployment` on a measuring thread, unless `stop` comes first.
///
/// # Errors
/// When nothing was measured. A run whose every request failed is a run, not an error.
pub async fn measure(
    deployment: Arc<Deployment>,
    workload: Arc<Workload>,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<Run, RunError> {
    thread::run(stop, async move {
        replay(&deployment, workload, progress).await
    })
    .await
}

async fn replay(
    deployment: &Deployment,
    workload: Arc<Workload>,
    progress: Arc<Progress>,
) -> Result<Run, RunError> {
    let client = Client::new(&deployment.endpoint, &workload.limits)?;
    let server_version = client.open(workload.concurrency).await;
    let model = match &deployment.model {
        Some(model) => model.clone(),
        None => the_one_model(client.served_models().await.map_err(RunError::NoModel)?)?,
    };
    let id = Uuid::now_v7();
    let replay = Replay {
        client,
        bodies: Bodies::new(&workload, &model, id),
        workload,
    };

    replay
        .clone()
        .requests(0..replay.workload.warmup, Arc::default())
        .await;

    let before = replay.client.connections();
    let delays = Delays::sample();
    let cpu = thread::cpu_time();
    #[expect(
        clippy::disallowed_methods,
        reason = "a run is stamped with wall time once, where it starts"
    )]
    let started_at = Timestamp::now();
    let measured = replay.workload.warmup..replay.workload.warmup + replay.workload.requests;
    let (records, deadline_passed) = replay.clone().requests(measured, progress).await;
    let client_cpu = thread::cpu_time()
        .zip(cpu)
        .map(|(after, before)| after.saturating_sub(before));
    let client_delays = delays.end().await;

    let opened = replay.client.connections().opened;
    Ok(Run {
        id: RunId(id.to_string()),
        started_at,
        model,
        server_version,
        planned: replay.workload.requests,
        concurrency: replay.workload.concurrency,
        records,
        deadline_passed,
        connections: Connections {
            reopened: opened - before.opened,
            ..before
        },
        client_delays,
        client_cpu,
    })
}

fn the_one_model(mut served: Vec<String>) -> Result<String, RunError> {
    match served.pop() {
        Some(model) if served.is_empty() => Ok(model),
        last => Err(RunError::AmbiguousModel(
            served.into_iter().chain(last).collect(),
        )),
    }
}

/// What the workers of a run share.
#[derive(Clone)]
struct Replay {
    client: Client,
    bodies: Bodies,
    workload: Arc<Workload>,
}

impl Replay {
    /// Sends the numbered requests, `concurrency` of them at a time, each worker its next one as soon as
    /// its last one has ended. Returns the records in the order of sending, and whether the run's
    /// deadline passed.
    async fn requests(
        self,
        numbers: std::ops::Range<u32>,
        progress: Arc<Progress>,
    ) -> (Vec<RequestRecord>, bool) {
        let workers = self.workload.concurrency.min(numbers.len() as u32);
        let next = Arc::new(AtomicU32::new(numbers.start));
        let clock = RunClock::start(self.workload.limits.run);
        let mut running = JoinSet::new();
        for _ in 0..workers {
            running.spawn(self.clone().work(
                Arc::clone(&next),
                numbers.end,
                clock,
                Arc::clone(&progress),
            ));
        }
        let mut records: Vec<RequestRecord> =
            running.join_all().await.into_iter().flatten().collect();
        records.sort_by_key(|record| record.sent);
        (records, clock.deadline_passed())
    }

    async fn work(
        self,
        next: Arc<AtomicU32>,
        end: u32,
        clock: RunClock,
        progress: Arc<Progress>,
    ) -> Vec<RequestRecord> {
        let shape = Shape {
            stream: self.workload.stream,
            tokens: self.workload.max_tokens,
        };
        let mut records = Vec::new();
        while !clock.deadline_passed() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                break;
            }
            let body = self.bodies.of(number);
            let record = self.client.complete(body, shape, &clock).await;
            progress.note(&record);
            records.push(record);
            // The end of a body is seen a moment before its connection is back in the pool. Without this
            // turn for the connection's own task every request would open a new one.
            yield_now().await;
        }
        records
    }
}

/// The request bodies of a run: one for all, or one each when every request has a salt of its own.
#[derive(Clone)]
enum Bodies {
    Same(Bytes),
    Each {
        workload: Arc<Workload>,
        model: String,
        run: Uuid,
    },
}

impl Bodies {
    fn new(workload: &Arc<Workload>, model: &str, run: Uuid) -> Self {
        let same =
            |salt: Option<&str>| Self::Same(chat::request_body(workload, model, salt).into());
        match workload.prefix_cache {
            PrefixCache::Warm => same(None),
            PrefixCache::PerRun => same(Some(&run.to_string())),
            PrefixCache::Cold => Self::Each {
                workload: Arc::clone(workload),
                model: model.to_owned(),
                run,
            },
        }
    }

    fn of(&self, number: u32) -> Bytes {
        match self {
            Self::Same(body) => body.clone(),
            Self::Each {
                workload,
                model,
                run,
            } => chat::request_body(workload, model, Some(&format!("{run}-{number}"))).into(),
        }
    }
}

/// Samples how long ready work waits on this thread: a task that only asks for its next turn is timed
/// until it gets it. What it waits is what a chunk that has just arrived would wait to be stamped.
struct Delays {
    stop: CancellationToken,
    sampler: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Delays {
    fn sample() -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let sampler = tokio::spawn(async move {
            let mut delays = Vec::new();
            let mut ticks = interval(DELAY_SAMPLE_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stopped.run_until_cancelled(ticks.tick()).await.is_some() {
                let ready = Instant::now();
                yield_now().await;
                delays.push(ready.elapsed());
            }
            delays
        });
        Self { stop, sampler }
    }

    async fn end(self) -> Vec<Duration> {
        self.stop.cancel();
        self.sampler.await.unwrap_or_default()
    }
}
