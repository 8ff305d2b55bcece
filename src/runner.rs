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
mod progress;
mod replay;
mod survey;
mod thread;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::hold::reason_to_wait;
pub use self::notes::Notes;
pub use self::progress::Progress;
use self::replay::replay;
use self::survey::survey;
use crate::client::watch::Watch;
use crate::client::{ClientError, Credentials, Tokens};
use crate::deployment::Deployment;
use crate::environment::{Environment, EnvironmentField, EnvironmentSource, Finding};
use crate::guard::Hold;
use crate::measurement::{FailureReason, RequestError, Run};
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

impl RunError {
    /// What happened, without where anything lies on this machine.
    pub fn without_paths(&self) -> String {
        match self {
            Self::Client(error) => error.without_paths(),
            other => other.to_string(),
        }
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
