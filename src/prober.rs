//! The loop that drives everything: asks the agenda what starts now, runs it, and publishes what it
//! came to.
//!
//! The loop only decides when; a run is one straight line through the domain, and its failure or panic is
//! that run's outcome. After a panic its probe rests before it runs again. It ends in good order: no run starts
//! any more, those in flight get a grace period, and what is cut short after that leaves no trace.

mod judging;
mod log;
mod orders;
mod plan;
mod publishing;
mod replan;
mod run_logs;
mod seating;
mod visits;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::judging::{Bench, Replayed};
pub use self::plan::{NextPlan, Plan, PlannedProbe, RemovedRuns};
use self::visits::Visits;
use crate::agenda::{Agenda, DeferredReason, Event, ProbeKey, SkippedReason, Spent};
use crate::board::Board;
use crate::client::Tokens;
use crate::condition::Condition;
use crate::environment::Generation;
use crate::guard::Hold;
use crate::history::Recorder;
use crate::lifecycle::Orders;
use crate::measurement::Run;
use crate::report::{EnvironmentJson, RunJson};
use crate::runner::{Attempt, Notes, RunError, measure};
use crate::statistics::{Summary, summarize};
use crate::supervisor::{Supervisor, Watchdog};

/// The longest sleep between two looks at the wall clock, so that a clock that was set, or a machine that
/// slept, is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Which probe something is about, whatever its place is meanwhile: plans change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(u64);

/// What a run came to, and whose it was.
type Ended = (Ticket, Result<Finished, RunError>);

/// A run that has ended, and is in the history if there is one.
struct Finished {
    run: Run,
    summary: Arc<Summary>,
    ended_at: Timestamp,
}

/// Measures a run, or says why nothing was measured.
type Measuring = fn(Attempt, CancellationToken) -> BoxFuture<'static, Result<Run, RunError>>;

/// A run that goes on.
#[derive(Debug)]
struct InFlight {
    /// Cuts it.
    cut: CancellationToken,
    /// Its log.
    notes: Notes,
}

/// Drives every probe of a plan.
#[derive(Debug)]
pub struct Prober {
    plan: Plan,
    board: Arc<Board>,
    agenda: Agenda,
    /// Of the probes in the order of the plan, and of those behind them that are in no plan any more and still run.
    tickets: Vec<Ticket>,
    /// How many tickets and seats there were.
    issued: u64,
    running: JoinSet<Ended>,
    /// The runs that go on.
    in_flight: BTreeMap<Ticket, InFlight>,
    /// Whose next run was asked for before its time.
    ordered: BTreeSet<Ticket>,
    /// Where runs are stored before they are published.
    recorder: Option<Recorder>,
    /// The directory of the history, for what was stored before.
    storage: Option<PathBuf>,
    /// The judges of each probe.
    benches: Vec<Bench>,
    /// Where judges report that have read the history.
    seated: (mpsc::Sender<Replayed>, mpsc::Receiver<Replayed>),
    /// What takes the place of the plan.
    plans: Option<mpsc::Receiver<NextPlan>>,
    /// What it is told to do while it runs.
    orders: Option<Orders>,
    /// Runs beside the schedule.
    visits: Visits,
    /// Fed by every turn of the loop.
    watchdog: Watchdog,
    /// Cuts the runs in flight.
    cut: CancellationToken,
    /// Access tokens, for as long as they are good.
    tokens: Tokens,
    /// What measures the runs.
    measuring: Measuring,
}

impl Prober {
    /// A prober of `plan` that publishes on its `board`.
    pub fn new(plan: Plan, board: Arc<Board>) -> Self {
        let agenda = Agenda::new(
            plan.probes.iter().map(PlannedProbe::entry).collect(),
            plan.max_concurrent_runs,
            plan.budget,
            now(),
        );
        let issued = plan.probes.len() as u64;
        Self {
            plan,
            board,
            agenda,
            tickets: (0..issued).map(Ticket).collect(),
            issued,
            running: JoinSet::new(),
            in_flight: BTreeMap::new(),
            ordered: BTreeSet::new(),
            recorder: None,
            storage: None,
            benches: Vec::new(),
            seated: mpsc::channel(1),
            plans: None,
            orders: None,
            visits: Visits::default(),
            watchdog: Supervisor::default().watchdog(),
            cut: CancellationToken::new(),
            tokens: Tokens::default(),
            measuring: |attempt, cut| measure(attempt, Arc::default(), cut).boxed(),
        }
    }

    /// The same prober, which stores every finished run before it publishes it, and judges those that the history in
    /// the directory `storage` has of before.
    pub fn recording(self, recorder: Recorder, storage: PathBuf) -> Self {
        Self {
            recorder: Some(recorder),
            storage: Some(storage),
            ..self
        }
    }

    /// The same prober, which goes over to whatever plan comes.
    pub fn following(self, plans: mpsc::Receiver<NextPlan>) -> Self {
        Self {
            plans: Some(plans),
            ..self
        }
    }

    /// The same prober, which takes `orders` while it runs.
    pub fn obeying(self, orders: Orders) -> Self {
        Self {
            orders: Some(orders),
            ..self
        }
    }

    /// The same prober, whose loop is watched.
    pub fn watched(self, watchdog: Watchdog) -> Self {
        Self { watchdog, ..self }
    }

    /// Probes until `stop`, then lets the runs in flight end within the grace period.
    pub async fn run(mut self, stop: CancellationToken) {
        self.publish_schedule();
        self.seat_judges();
        while !stop.is_cancelled() {
            for event in self.agenda.poll(now()) {
                self.take(event);
            }
            self.publish_schedule();
            let pause = self.until_next_wake().min(self.watchdog.feed());
            tokio::select! {
                () = stop.cancelled() => {}
                Some(Ok(ended)) = self.running.join_next() => self.ended(ended),
                Some(Ok(left)) = self.visits.going.join_next() => self.left(left),
                Some(judges) = self.seated.1.recv() => self.sit(judges),
                Some(order) = orders::next(&mut self.orders) => self.obey(order),
                Some(next) = orders::next(&mut self.plans) => self.replan(next),
                () = sleep(pause) => {}
            }
        }
        self.drain().await;
    }

    fn new_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.issued);
        self.issued += 1;
        ticket
    }

    /// Cuts the run of a probe, if there is one.
    fn cut_run(&self, ticket: Ticket) {
        if let Some(run) = self.in_flight.get(&ticket) {
            run.cut.cancel();
        }
    }

    fn until_next_wake(&self) -> Duration {
        let wake = self.agenda.next_wake().map_or(LONGEST_SLEEP, |wake| {
            Duration::try_from(wake.duration_since(now())).unwrap_or(Duration::ZERO)
        });
        wake.min(LONGEST_SLEEP)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Start { probe, slot } => self.start(probe, slot),
            Event::Missed {
                probe,
                reason,
                count,
            } => {
                let PlannedProbe {
                    deployment,
                    workload,
                    ..
                } = &self.plan.probes[probe.0];
                warn!(deployment = %deployment.name, workload = %workload.name, reason = reason.label(), count, "run missed");
                self.board.update(probe.0, |status| {
                    *status.totals.missed.entry(reason).or_default() += count;
                });
            }
            Event::Deferred { probe, reason, .. } => {
                self.board.update(probe.0, |status| {
                    *status.totals.deferred.entry(reason).or_default() += 1;
                });
            }
            Event::Admitted { visit } => self.admit(visit),
            Event::Skipped { probe, reason } => {
                self.board.update(probe.0, |status| {
                    *status.totals.skipped.entry(reason).or_default() += 1;
                });
            }
        }
    }

    fn start(&mut self, probe: ProbeKey, slot: Timestamp) {
        let notes = self.begin_notes(probe.0, slot, now());
        let planned = &self.plan.probes[probe.0];
        let shown = self.board.snapshot();
        let known = shown.deployments.get(&planned.deployment.name);
        let attempt = Attempt {
            previous: shown.probes[probe.0].last_reading.clone(),
            observed: !known.is_some_and(|known| known.several_servers),
            tokens: self.tokens.clone(),
            notes: notes.clone(),
            ..Attempt::new(
                Arc::clone(&planned.deployment),
                Arc::clone(&planned.workload),
            )
        };
        let (ticket, cut) = (self.tickets[probe.0], self.cut.child_token());
        let run = InFlight {
            cut: cut.clone(),
            notes,
        };
        self.in_flight.insert(ticket, run);
        let measuring = (self.measuring)(attempt, cut);
        let (planned, recorder) = (planned.clone(), self.recorder.clone());
        let generation = known.and_then(|known| known.generation.clone());
        let measuring = async move {
            let finished = finish(measuring.await?, &planned);
            if let Some(recorder) = recorder {
                let PlannedProbe {
                    deployment,
                    workload,
                    ..
                } = &planned;
                let Finished {
                    run,
                    summary,
                    ended_at,
                } = &finished;
                let mut json = RunJson::new(deployment, workload, run, summary, true);
                json.environment = EnvironmentJson::of(&match generation {
                    Some(mut generation) => {
                        generation.observe(&run.environment);
                        generation
                    }
                    None => Generation::first(run.environment.clone()),
                });
                recorder.record(json, *ended_at).await;
            }
            Ok(finished)
        };
        self.running.spawn(async move {
            // A panic is this run's outcome and no one else's.
            let outcome = AssertUnwindSafe(measuring).catch_unwind().await;
            (
                ticket,
                outcome.unwrap_or_else(|payload| Err(RunError::panicked(&*payload))),
            )
        });
        self.board.update(probe.0, |status| {
            status.in_progress = true;
            status.start_delay = Duration::try_from(now().duration_since(slot)).ok();
        });
    }

    fn ended(&mut self, (ticket, outcome): Ended) {
        let notes = self.in_flight.remove(&ticket).map(|run| run.notes);
        if let Some(notes) = &notes {
            self.close_log(notes, &outcome);
        }
        let Some(place) = self.tickets.iter().position(|one| *one == ticket) else {
            return;
        };
        let probe = ProbeKey(place);
        if place >= self.plan.probes.len() {
            // It is in no plan any more. Its run, if it came to one, is in the history.
            self.agenda.finished(probe, None, now());
            info!("the last run of a probe that is no more configured has ended");
            return;
        }
        if let Err(RunError::Held(hold)) = outcome {
            self.held(probe, hold, notes);
            return;
        }
        if let Err(RunError::Panicked(_)) = outcome {
            self.agenda.panicked(probe, now());
        } else {
            let spent = outcome.as_ref().ok().map(|finished| spent(&finished.run));
            self.agenda.finished(probe, spent, now());
        }
        let run_id = notes.as_ref().map(Notes::run_id);
        self.publish(probe, outcome, run_id);
    }

    /// Takes a run back that was not to start: it waits, or its slot passes without one.
    fn held(&mut self, probe: ProbeKey, hold: Hold, notes: Option<Notes>) {
        let event = match hold {
            Hold::Asleep => self.agenda.skip(probe, SkippedReason::Asleep, now()),
            Hold::Busy { .. } => self.agenda.defer(probe, DeferredReason::Busy, now()),
            Hold::KvCache { .. } => self.agenda.defer(probe, DeferredReason::KvCache, now()),
        };
        if let Some(notes) = notes {
            self.close_held(&notes, hold, event);
        }
        self.board
            .update(probe.0, |status| status.in_progress = false);
        let PlannedProbe {
            deployment,
            workload,
            ..
        } = &self.plan.probes[probe.0];
        if let Some(condition) = Condition::while_held(hold) {
            self.judge(deployment, condition, None);
        }
        if let Some(event) = event {
            log::held(deployment, workload, hold, event);
            self.take(event);
        }
    }

    async fn drain(mut self) {
        // Whoever waits for one is told at once that nothing will come of it.
        (self.orders, self.plans) = (None, None);
        self.visits.going.shutdown().await;
        if self.running.is_empty() {
            return;
        }
        let grace = self.plan.shutdown_grace;
        info!(
            runs = self.running.len(),
            grace_seconds = grace.as_secs_f64(),
            "waiting for the runs in flight"
        );
        if timeout(grace, self.all_ended()).await.is_err() {
            self.cut.cancel();
            self.all_ended().await;
        }
    }

    /// Waits until no run is in flight any more.
    async fn all_ended(&mut self) {
        loop {
            let pause = self.watchdog.feed();
            tokio::select! {
                ended = self.running.join_next() => match ended {
                    Some(Ok(ended)) => self.ended(ended),
                    _ => return,
                },
                () = sleep(pause) => {}
            }
        }
    }
}

/// What a run that has just ended amounts to.
fn finish(run: Run, planned: &PlannedProbe) -> Finished {
    Finished {
        summary: Arc::new(summarize(&run, &planned.workload)),
        run,
        ended_at: now(),
    }
}

/// What a run cost, as far as its records tell.
fn spent(run: &Run) -> Spent {
    let completions = run
        .records
        .iter()
        .filter_map(|record| record.outcome.as_ref().ok());
    let last = run.records.iter().map(|record| record.ended).max();
    let measured: u64 = completions
        .map(|completion| completion.prompt_tokens + completion.completion_tokens)
        .sum();
    Spent {
        tokens: run.warmup.tokens + measured,
        wall: run.warmup.wall + last.unwrap_or_default(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the loop is where the schedule meets the wall clock"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
