//! Replays a workload against a deployment in a closed loop and collects a run.
//!
//! A run measures on a thread of its own with a runtime of its own: nothing that serves, schedules or
//! measures elsewhere can come between a socket and its time stamp, and when the run ends its
//! connections and tasks end with it.

mod closed_loop;
mod delays;
mod follower;
mod hold;
mod notes;
mod panic;
mod survey;
mod thread;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::closed_loop::{Replay, Replayed};
use self::delays::Delays;
use self::follower::Follower;
use self::hold::reason_to_wait;
pub use self::notes::Notes;
use self::survey::survey;
use crate::client::watch::{Unread, Watch};
use crate::client::{Client, ClientError, Credentials, Tokens};
use crate::deployment::Deployment;
use crate::environment::{Environment, EnvironmentField, EnvironmentSource, Finding};
use crate::guard::Hold;
use crate::measurement::{
    Connections, FailureReason, RequestError, RequestRecord, Run, RunId, WarmUp,
};
use crate::observation::{Health, Moment, Observation};
use crate::reading::Reading;
use crate::run_log::Cause;
use crate::workload::Workload;

/// Why a replay came to no run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The prober was told to stop.
    #[error("cut short by a shutdown")]
    Cut,
    /// The deployment's guards hold it back.
    #[error("{0}")]
    Held(Hold),
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server was asked for its model and gave no answer.
    #[error("no model is configured and the server does not tell which it serves: {0}")]
    NoModel(RequestError),
    /// The server does not serve exactly one model.
    #[error("no model is configured and the server serves {}: [{}]; name one as `model`", .0.len(), .0.join(", "))]
    AmbiguousModel(Vec<String>),
    /// The measuring thread could not be started.
    #[error("the measuring thread failed: {0}")]
    Thread(String),
    /// A defect of the prober ended it, which said this: on one line, and nothing secret.
    #[error("it panicked: {0}")]
    Panicked(String),
}

/// How far a run has come, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    began: OnceLock<Instant>,
    ended: AtomicU32,
    failed: AtomicU32,
    completion_tokens: AtomicU64,
    last_end: AtomicU64,
}

impl Progress {
    /// When the first measured request was about to be sent; `None` before that.
    pub fn began(&self) -> Option<Instant> {
        self.began.get().copied()
    }

    /// Takes in that the first measured request is about to be sent.
    pub(crate) fn begin(&self) {
        let _ = self.began.set(Instant::now());
    }

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

    /// How long after the begin the last of them ended: over this time, what has ended is a rate.
    pub fn last_end(&self) -> Duration {
        Duration::from_micros(self.last_end.load(Ordering::Relaxed))
    }

    /// Takes in a request that has ended, after all of it is stamped.
    fn note(&self, record: &RequestRecord) {
        let end = u64::try_from(record.ended.as_micros()).unwrap_or(u64::MAX);
        self.last_end.fetch_max(end, Ordering::Relaxed);
        match &record.outcome {
            Ok(completion) => self
                .completion_tokens
                .fetch_add(completion.completion_tokens, Ordering::Relaxed),
            Err(_) => u64::from(self.failed.fetch_add(1, Ordering::Relaxed)),
        };
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is to be replayed, against whom, and what is known of the server from before.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whom to probe.
    pub deployment: Arc<Deployment>,
    /// With what.
    pub workload: Arc<Workload>,
    /// The server's last reading of the same probe's run before.
    pub previous: Option<Arc<Reading>>,
    /// Whether the server's own metrics are of use: not when several servers answer at its address.
    pub observed: bool,
    /// Access tokens that were fetched for earlier runs.
    pub tokens: Tokens,
    /// What is noted of it; the run has the id of the notes.
    pub notes: Notes,
}

impl Attempt {
    /// The first attempt at a probe, which someone asked for.
    pub fn new(deployment: Arc<Deployment>, workload: Arc<Workload>) -> Self {
        Self {
            notes: Notes::begin(&deployment, &workload, Cause::Order),
            deployment,
            workload,
            previous: None,
            observed: true,
            tokens: Tokens::default(),
        }
    }
}

/// Replays a workload against a deployment on a measuring thread, unless `stop` comes first, or the
/// deployment's guards hold it back.
///
/// # Errors
/// When nothing was measured. A run whose every request failed is a run, not an error.
pub async fn measure(
    attempt: Attempt,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<Run, RunError> {
    let endpoint = &attempt.deployment.endpoint;
    let limits = &attempt.workload.limits;
    // All that a run needs to be let in is there before it begins, and is not asked for again.
    let notes = attempt.notes.clone();
    let reading = Credentials::read(endpoint, &attempt.tokens, limits.run);
    let credentials = match stop.run_until_cancelled(reading).await {
        None => return Err(RunError::Cut),
        Some(read) => read?,
    };
    if endpoint.auth.is_secret() {
        notes.add("what lets us in was read");
    }
    let mut watch = Watch::new(&attempt.deployment, &credentials, limits.connect)?;
    if !attempt.observed {
        watch.ignore_metrics("several servers answer at this address");
        notes.add("its metrics are not read: several servers answer at this address");
    }
    let look = reason_to_wait(
        &mut watch,
        &attempt.deployment.guards,
        attempt.workload.is_light(),
    );
    match stop.run_until_cancelled(look).await {
        None => return Err(RunError::Cut),
        Some(Some(hold)) => return Err(RunError::Held(hold)),
        Some(None) => notes.add("nothing that the server says holds the run back"),
    }
    // Nothing of a run waits for those who may know something of where it runs.
    let surveying = AbortOnDropHandle::new(tokio::spawn(survey(
        Arc::clone(&attempt.deployment),
        watch.clone(),
        notes,
    )));
    let (tokens, deployment) = (attempt.tokens.clone(), Arc::clone(&attempt.deployment));
    let looks = watch.clone();
    let replay = async move { replay(attempt, looks, credentials, progress).await };
    let measured = thread::run(stop, replay).await;
    if was_refused(&measured) {
        tokens.forget(&deployment.endpoint.auth);
    }
    let masked = |error: RunError| error.masked(&watch);
    let mut run = measured.map_err(masked)?;
    let findings = surveying.await.map_err(RunError::ended).map_err(masked)?;
    run.environment = environment(&run, findings);
    Ok(run)
}

/// Whether the server does not take what was to let us in: a token may have been withdrawn before its time.
fn was_refused(measured: &Result<Run, RunError>) -> bool {
    let refused = |error: &RequestError| error.reason == FailureReason::Http401;
    match measured {
        Ok(run) => {
            let mut failures = run
                .records
                .iter()
                .filter_map(|record| record.outcome.as_ref().err());
            failures.any(refused)
        }
        Err(RunError::NoModel(error)) => refused(error),
        Err(_) => false,
    }
}

async fn replay(
    attempt: Attempt,
    watch: Watch,
    credentials: Credentials,
    progress: Arc<Progress>,
) -> Result<Run, RunError> {
    let Attempt {
        deployment,
        workload,
        previous,
        notes,
        ..
    } = attempt;
    let client = Client::new(&deployment.endpoint, &credentials, &workload.limits)?;
    let server_version = client.open(workload.concurrency).await;
    notes.add(opened(client.connections(), server_version.as_deref()));
    let model = match &deployment.model {
        Some(model) => model.clone(),
        None => the_one_model(client.served_models().await.map_err(RunError::NoModel)?)?,
    };
    let whence = if deployment.model.is_some() {
        "as configured"
    } else {
        "as GET /v1/models says"
    };
    notes.add(format!("model {model}, {whence}"));
    let id = notes.id();
    let follower = Follower::start(&watch, deployment.guards, client.heard());
    let replay = Replay::new(client.clone(), Arc::clone(&workload), &model, id);
    let warmup = workload.warmup;
    let warmed_up = replay.requests(0..warmup, Arc::default(), &follower).await;
    if warmup > 0 {
        notes.failures("warm-up", &warmed_up.records);
    }

    let before = watch.read().await;
    notes.add(looked("before", &before));
    notes.add(format!(
        "sending {} requests, {} in flight",
        workload.requests, workload.concurrency
    ));
    let connections = client.connections();
    let delays = Delays::sample();
    let processor = thread::processor_time();
    #[expect(
        clippy::disallowed_methods,
        reason = "a run is stamped with wall time once, where it starts"
    )]
    let started_at = Timestamp::now();
    let Replayed {
        records,
        clock,
        given_up,
    } = replay
        .requests(warmup..warmup + workload.requests, progress, &follower)
        .await;
    let client_cpu = thread::processor_time()
        .zip(processor)
        .map(|(after, before)| after.since(before));
    let deadline_passed = clock.deadline_passed();
    let client_delays = delays.end().await;
    let during = follower.end(clock.started()).await;
    notes.failures("run", &records);
    if let Some(given_up) = given_up {
        notes.add(format!("given up: {}", given_up.meaning()));
    }
    if deadline_passed {
        notes.add("the run's deadline passed");
    }
    let after = watch.read().await;
    notes.add(looked("after", &after));

    let all_went_well = given_up.is_none() && records.iter().all(|record| record.outcome.is_ok());
    let health = if all_went_well {
        None
    } else {
        let health = watch.health().await;
        notes.add(match health {
            Health::Good => "GET /health: it says that it is well".to_owned(),
            Health::Bad(status) => format!("GET /health: HTTP {status}"),
            Health::Silent => "GET /health: no answer".to_owned(),
        });
        Some(health)
    };
    let opened = client.connections().opened;
    Ok(Run {
        id: RunId(id.to_string()),
        started_at,
        model,
        server_version,
        planned: workload.requests,
        concurrency: workload.concurrency,
        warmup: WarmUp::of(&warmed_up.records),
        records,
        deadline_passed,
        connections: Connections {
            reopened: opened - connections.opened,
            ..connections
        },
        client_delays,
        client_cpu,
        environment: Environment::default(),
        observation: observation(previous, before, during, after, health),
        given_up,
    })
}

/// What was found out by asking, and what the run itself showed.
fn environment(run: &Run, mut findings: Vec<Finding>) -> Environment {
    let mut answers = run
        .records
        .iter()
        .filter_map(|record| record.outcome.as_ref().ok());
    let fingerprint = answers.find_map(|completion| completion.system_fingerprint.as_deref());
    let seen = [
        (
            EnvironmentField::VllmVersion,
            run.server_version.as_deref(),
            EnvironmentSource::Version,
        ),
        (
            EnvironmentField::SystemFingerprint,
            fingerprint,
            EnvironmentSource::Reply,
        ),
    ];
    let seen = seen
        .into_iter()
        .filter_map(|(field, value, source)| Finding::new(field, value?, source));
    findings.extend(seen);
    let reading = run.observation.before.as_deref();
    findings.extend(reading.into_iter().flat_map(survey::of_reading));
    Environment::of(findings)
}

fn observation(
    previous: Option<Arc<Reading>>,
    before: Result<Reading, Unread>,
    during: Vec<Moment>,
    after: Result<Reading, Unread>,
    health: Option<Health>,
) -> Observation {
    let unread = before.as_ref().and(after.as_ref()).err();
    Observation {
        previous,
        unread: unread.map(Unread::to_string),
        before: before.ok().map(Arc::new),
        during,
        after: after.ok().map(Arc::new),
        health,
    }
}

/// What came of opening the connections, in words.
fn opened(connections: Connections, version: Option<&str>) -> String {
    let mut told = format!("opened {} connections", connections.opened);
    if let Some(time) = connections.connect_time {
        told += &format!(" in {:.1} ms each", 1e3 * time.as_secs_f64());
    }
    told + &match version {
        Some(version) => format!("; GET /version says {version}"),
        None => "; GET /version says nothing".to_owned(),
    }
}

/// What came of a look at the server's own metrics, in words.
fn looked(when: &str, look: &Result<Reading, Unread>) -> String {
    match look {
        Ok(_) => format!("read the server's metrics {when} the run"),
        Err(unread) => format!("no metrics of the server {when} the run: {unread}"),
    }
}

fn the_one_model(mut served: Vec<String>) -> Result<String, RunError> {
    match served.pop() {
        Some(model) if served.is_empty() => Ok(model),
        last => Err(RunError::AmbiguousModel(
            served.into_iter().chain(last).collect(),
        )),
    }
}
