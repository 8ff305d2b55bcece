//! What is noted of a run while it goes on. Whoever works for the run has a hand on the same notes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::measurement::{RequestRecord, RunId};
use crate::run_log::{Cause, Ending, Heading, Lines, RunLog};
use crate::workload::Workload;

/// Failures of one run that are told one by one.
const TOLD_FAILURES: usize = 32;

/// The log of a run that goes on. Cloning gives another hand on it.
#[derive(Clone, Debug)]
pub struct Notes {
    id: Uuid,
    heading: Arc<Heading>,
    begun: Instant,
    lines: Arc<Mutex<Lines>>,
}

impl Notes {
    /// Begins the log of a run, and gives it its id.
    pub fn begin(deployment: &Deployment, workload: &Workload, cause: Cause) -> Self {
        let id = Uuid::now_v7();
        #[expect(
            clippy::disallowed_methods,
            reason = "a log tells once when its run was begun"
        )]
        let begun_at = Timestamp::now();
        Self {
            id,
            heading: Arc::new(Heading {
                id: RunId(id.to_string()),
                deployment: deployment.name.to_string(),
                workload: workload.name.to_string(),
                cause,
                begun_at,
            }),
            begun: Instant::now(),
            lines: Arc::default(),
        }
    }

    /// The run's id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The same as text.
    pub fn run_id(&self) -> &RunId {
        &self.heading.id
    }

    /// Why it was started.
    pub fn cause(&self) -> Cause {
        self.heading.cause
    }

    /// Adds a line: not while requests are in flight.
    pub fn add(&self, text: impl AsRef<str>) {
        let after = self.begun.elapsed();
        self.lines().add(after, text.as_ref());
    }

    /// Tells of the requests that failed, once all have ended.
    pub(super) fn failures(&self, what: &str, records: &[RequestRecord]) {
        let failed = records
            .iter()
            .enumerate()
            .filter_map(|(number, record)| Some((number, record, record.outcome.as_ref().err()?)));
        let all = failed.clone().count();
        self.add(format!(
            "{what}: {} requests ended, {all} of them failed",
            records.len()
        ));
        for (number, record, error) in failed.take(TOLD_FAILURES) {
            let took = record.ended.saturating_sub(record.sent);
            self.add(format!(
                "request {}: sent after {:.3} s, failed {:.3} s later, not tried again: {error}",
                number + 1,
                record.sent.as_secs_f64(),
                took.as_secs_f64()
            ));
        }
        if all > TOLD_FAILURES {
            self.add(format!("and {} failures more", all - TOLD_FAILURES));
        }
    }

    /// The log of the run, which ended like this.
    pub fn close(&self, ending: Ending) -> RunLog {
        RunLog {
            heading: Heading::clone(&self.heading),
            ending,
            lines: self.lines().clone(),
        }
    }

    /// Nobody panics while holding it.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
