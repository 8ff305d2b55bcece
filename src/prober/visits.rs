//! Runs beside the schedule: each waits for its lane, measures, and is told to whoever asked. Its time runs from the
//! moment of asking. It is in no history, moves no counter and is judged by nobody.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::run_logs::{ending_of, in_words};
use super::{Measuring, Prober, now, spent};
use crate::agenda::{Spent, VisitKey};
use crate::board::Board;
use crate::deployment::{Deployment, EnvironmentSources};
use crate::guard::Hold;
use crate::lifecycle::{Answer, ProbeFailure, Probed, Refusal, Unmeasured, Wanted};
use crate::measurement::Run;
use crate::run_log::{Cause, Ending};
use crate::runner::{Attempt, Notes, RunError};
use crate::statistics::summarize;
use crate::target::time_limit;
use crate::workload::Workload;

/// A visit that is over, and what it cost as far as that is known.
pub(super) type Left = (VisitKey, Option<Spent>);

/// The visits that wait or go on.
#[derive(Debug, Default)]
pub(super) struct Visits {
    /// Tells those that wait that they are let in.
    admissions: BTreeMap<VisitKey, oneshot::Sender<()>>,
    /// All of them.
    pub(super) going: JoinSet<Left>,
}

/// All that a visit needs to know.
struct Visit {
    attempt: Attempt,
    limit: Duration,
    asked: Instant,
    board: Arc<Board>,
    measuring: Measuring,
}

impl Prober {
    /// Takes someone in who asks for a run.
    pub(super) fn welcome(&mut self, wanted: Wanted, answer: Answer<Probed>) {
        let planned = self.plan.probes.iter();
        let configured = planned.map(|planned| (&planned.deployment, &planned.workload));
        let workload = wanted.workload.as_deref();
        let resolved = self
            .plan
            .targets
            .resolve(configured, &wanted.target, workload);
        let (deployment, workload) = match resolved {
            Ok(resolved) => resolved,
            Err(refusal) => {
                // Whoever asked may have gone.
                let _ = answer.send(Err(Refusal::Target(refusal)));
                return;
            }
        };
        let limit = time_limit(wanted.patience, wanted.offset, &workload);
        let mut within = Workload::clone(&workload);
        within.limits.run = limit;
        let shown = self.board.snapshot();
        let known = shown.deployments.get(&deployment.name);
        let notes = Notes::begin(&deployment, &workload, Cause::Probe);
        notes.add(format!(
            "asked for by /probe, for {:.3} s in all",
            limit.as_secs_f64()
        ));
        let visit = Visit {
            attempt: Attempt {
                observed: !known.is_some_and(|known| known.several_servers),
                tokens: self.tokens.clone(),
                notes,
                ..Attempt::new(Arc::new(unsurveyed(&deployment)), Arc::new(within))
            },
            limit,
            asked: wanted.asked,
            board: Arc::clone(&self.board),
            measuring: self.measuring,
        };
        let key = self
            .agenda
            .visit(deployment.name.clone(), deployment.lane.clone());
        let (admit, admitted) = oneshot::channel();
        self.visits.admissions.insert(key, admit);
        self.visits.going.spawn(async move {
            // Whatever goes wrong, it gives back what it occupies. What measures has told its own panic by then.
            let attending = AssertUnwindSafe(visit.attend(deployment, admitted, answer));
            (key, attending.catch_unwind().await.unwrap_or(None))
        });
    }

    /// Tells a visit that it is let in. It may have left meanwhile, and will be heard of.
    pub(super) fn admit(&mut self, visit: VisitKey) {
        if let Some(admit) = self.visits.admissions.remove(&visit) {
            let _ = admit.send(());
        }
    }

    /// Gives back what a visit occupied.
    pub(super) fn left(&mut self, (visit, spent): Left) {
        self.visits.admissions.remove(&visit);
        self.agenda.left(visit, spent, now());
    }
}

/// The same deployment, of which nobody finds out what it runs on: that takes time, and is of no use here.
fn unsurveyed(deployment: &Deployment) -> Deployment {
    Deployment {
        environment: EnvironmentSources {
            from_server: false,
            ..EnvironmentSources::default()
        },
        ..deployment.clone()
    }
}

impl Visit {
    /// Waits, measures and answers, unless whoever asked goes away.
    async fn attend(
        self,
        deployment: Arc<Deployment>,
        admitted: oneshot::Receiver<()>,
        mut answer: Answer<Probed>,
    ) -> Option<Spent> {
        let Self {
            attempt,
            limit,
            asked,
            board,
            measuring,
        } = self;
        let (workload, notes) = (Arc::clone(&attempt.workload), attempt.notes.clone());
        let mut waited = None;
        let measuring = async {
            // An agenda that is no more lets nobody in.
            admitted.await.map_err(|_| RunError::Cut)?;
            waited = Some(asked.elapsed());
            notes.add("the lane is free");
            let run = measuring(attempt, CancellationToken::new()).await?;
            let summary = summarize(&run, &workload);
            Ok((run, summary))
        };
        // A panic is this run's outcome, which whoever asked is told, and no one else's.
        let measuring = AssertUnwindSafe(measuring)
            .catch_unwind()
            .map(|outcome| outcome.unwrap_or_else(|payload| Err(RunError::panicked(&*payload))));
        let measured = tokio::select! {
            biased;
            () = answer.closed() => return None,
            measured = measuring => Some(measured),
            () = sleep_until(asked + limit) => None,
        };
        let took = asked.elapsed();
        let (outcome, ending, cost) = match measured {
            Some(Ok((run, summary))) => {
                notes.add(in_words(&summary));
                let (ending, cost) = (ending_of(&summary), spent(&run));
                (
                    Ok((Arc::<Run>::new(run), Arc::new(summary))),
                    ending,
                    Some(cost),
                )
            }
            Some(Err(RunError::Cut)) => return None,
            other => {
                let unmeasured = unmeasured(other.and_then(Result::err), waited.is_some());
                notes.add(format!("no run: {}", unmeasured.detail));
                let ending = match unmeasured.reason {
                    ProbeFailure::Asleep => Ending::Held,
                    _ => Ending::Failed,
                };
                (Err(unmeasured), ending, None)
            }
        };
        let log = Arc::new(notes.close(ending));
        let probed = Probed {
            deployment,
            workload,
            limit,
            took,
            waited: waited.unwrap_or(took),
            outcome,
            log: Arc::clone(&log),
        };
        if answer.send(Ok(probed)).is_ok() {
            board.logs().push(log);
        }
        cost
    }
}

/// Why a visit came to no run: for an error, or since its time was over.
fn unmeasured(error: Option<RunError>, was_let_in: bool) -> Unmeasured {
    let (reason, detail) = match error {
        Some(error @ RunError::Held(Hold::Asleep)) => (ProbeFailure::Asleep, error.to_string()),
        Some(error) => (ProbeFailure::NotRun, error.to_string()),
        None if was_let_in => (
            ProbeFailure::Timeout,
            ProbeFailure::Timeout.meaning().to_owned(),
        ),
        None => (ProbeFailure::Lane, ProbeFailure::Lane.meaning().to_owned()),
    };
    Unmeasured { reason, detail }
}
