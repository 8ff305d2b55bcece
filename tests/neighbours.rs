//! A faulty deployment harms no neighbour: whatever goes wrong with one, the other one that the same
//! prober probes meanwhile stays valid, on time and as fast as it was, and the faulty one's run ends
//! within its limits with the reason that fits.
//!
//! Each fault has a pair of deployments and a prober of its own. What the healthy one's rate should be is
//! measured in the same pair, beside the same neighbour before the fault is switched on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vllm_prober::board::{Board, Outcome};
use vllm_prober::deployment::{Deployment, Endpoint, MetricsSource};
use vllm_prober::guard::Guards;
use vllm_prober::measurement::{FailureReason, RunId};
use vllm_prober::prober::{Plan, PlannedProbe, Prober, RemovedRuns};
use vllm_prober::schedule::{Cadence, Schedule};
use vllm_prober::simulator::{Change, Fault, Profile, Settings, Simulator};
use vllm_prober::statistics::{InvalidReason, Summary};
use vllm_prober::validity::Validity;
use vllm_prober::workload::{Limits, Workload};

/// Pairs that are probed at once: enough for all faults to take less than half a minute, few enough for two
/// processors.
const AT_ONCE: usize = 7;

/// Runs of the healthy deployment that are looked at before, and at least beside the fault.
const RUNS: usize = 3;

/// How far the healthy one's best rate may move, as a share: the machine that runs the tests has a say in it.
const RATE_TOLERANCE: f64 = 0.10;

/// How late runs may start after their slots, at the median. Slots come once a second, and waiting for the
/// faulty one's run to time out would take longer than this.
const START_TOLERANCE: Duration = Duration::from_millis(250);

/// Within what time of its deadline the faulty one's run must have ended.
const END_TOLERANCE: Duration = Duration::from_millis(300);

const PATIENCE: Duration = Duration::from_secs(20);

const FAULTY: usize = 0;
const HEALTHY: usize = 1;

/// What the requests of a run against a deployment with `fault` may fail by; none if they complete, but not
/// as they should.
fn expected(fault: Fault) -> &'static [FailureReason] {
    use FailureReason as R;
    match fault {
        Fault::None | Fault::EarlyStop => &[],
        Fault::Hang | Fault::Asleep | Fault::SlowHeaders => &[R::TimeoutFirstToken],
        Fault::EngineDead | Fault::Http500 | Fault::Http503 => &[R::Http5xx],
        Fault::StallMidStream => &[R::TimeoutStall],
        Fault::ErrorMidStream => &[R::StreamError],
        // HTML under the content type of a stream is one without an event.
        Fault::Truncate | Fault::NoDone | Fault::GarbageSse => &[R::Truncated],
        Fault::NoUsage => &[R::NoUsage],
        Fault::Http429 => &[R::Http429],
        Fault::Http401 => &[R::Http401],
        Fault::Redirect => &[R::Redirect],
        Fault::EmptyAnswer => &[R::NoTokens],
        Fault::GarbageJson => &[R::BadJson],
        Fault::HugeEvent | Fault::Flood => &[R::TooLarge],
        // The kernel accepts before the server closes, so it depends on who is faster.
        Fault::Refuse => &[R::Disconnect, R::Connect],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_fault_of_one_deployment_shows_in_another() {
    let faults = Fault::ALL.iter().filter(|fault| **fault != Fault::None);
    let checked = stream::iter(faults)
        .map(|fault| tokio::spawn(Pair::check(*fault)))
        .buffer_unordered(AT_ONCE);
    let mut checked: Vec<_> = checked.collect().await;
    assert_eq!(checked.len(), Fault::ALL.len() - 1);
    let complaints: Vec<String> = checked
        .drain(..)
        .flat_map(|complaints| complaints.unwrap())
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A deployment that is going to be faulty, and a healthy one.
struct Pair {
    fault: Fault,
    board: Arc<Board>,
    limits: Limits,
    complaints: Vec<String>,
}

impl Pair {
    /// What there is to complain of when one of a pair has `fault`.
    async fn check(fault: Fault) -> Vec<String> {
        let simulators = [simulator(1).await, simulator(2).await];
        let plan = plan(&simulators);
        let board = Arc::new(plan.board());
        let stop = CancellationToken::new();
        let mut pair = Self {
            fault,
            board: Arc::clone(&board),
            limits: plan.probes[FAULTY].workload.limits,
            complaints: Vec::new(),
        };
        let prober = tokio::spawn(Prober::new(plan, board).run(stop.clone()));

        // A usual slot may have come while the run of the start was under way, and then waits for its end.
        pair.runs_of(HEALTHY, 2).await;
        let before = pair.healthy_rate().await;
        simulators[FAULTY]
            .controls()
            .apply(Change {
                fault: Some(fault),
                ..Change::default()
            })
            .unwrap();
        // A run that is under way is half of each.
        let shown = &pair.board.snapshot().probes[FAULTY];
        let enough = shown.totals.runs + 1 + u64::from(shown.in_progress);
        let (beside, ()) = tokio::join!(
            Self::healthy_rate_of(&pair.board),
            pair.runs_of(FAULTY, enough)
        );
        let beside = pair.take(beside);
        let moved = beside / before - 1.0;
        println!(
            "{:<18} {before:>7.1} tokens/s before, {moved:>+7.2} %",
            fault.name(),
            moved = 100.0 * moved
        );
        if moved.is_nan() || moved.abs() > RATE_TOLERANCE {
            pair.complain(format!(
                "the healthy one's rate went from {before} to {beside}"
            ));
        }
        pair.look_at_the_faulty();

        stop.cancel();
        prober.await.unwrap();
        for simulator in simulators {
            simulator.stop().await.unwrap();
        }
        pair.complaints
    }

    fn complain(&mut self, of: String) {
        self.complaints.push(format!("{}: {of}", self.fault.name()));
    }

    async fn healthy_rate(&mut self) -> f64 {
        let seen = Self::healthy_rate_of(&self.board).await;
        self.take(seen)
    }

    fn take(&mut self, (rate, complaints): (f64, Vec<String>)) -> f64 {
        for complaint in complaints {
            self.complain(complaint);
        }
        rate
    }

    /// The healthy one's best rate over the next [`RUNS`] runs, and what is wrong with them. The machine can
    /// only take from a rate; a faulty neighbour would take from them all.
    async fn healthy_rate_of(board: &Board) -> (f64, Vec<String>) {
        let (mut rates, mut delays, mut complaints) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = last_run(board, HEALTHY).map(|(id, _)| id);
        let until = Instant::now() + PATIENCE;
        while rates.len() < RUNS && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
            let Some((id, summary)) = last_run(board, HEALTHY) else {
                continue;
            };
            if last.as_ref() == Some(&id) {
                continue;
            }
            last = Some(id);
            rates.extend(summary.figures.as_ref().map(|figures| figures.decode_tps));
            if !summary.is_valid() {
                complaints.push(format!(
                    "the healthy one's run is invalid: {:?}, {:?}",
                    summary.invalid_reasons, summary.failures
                ));
            }
            let shown = &board.snapshot().probes[HEALTHY];
            delays.extend(shown.start_delay);
            if shown.totals.missed.values().any(|count| *count > 0) {
                complaints.push(format!("the healthy one missed {:?}", shown.totals.missed));
            }
        }
        delays.sort();
        if delays
            .get(delays.len() / 2)
            .is_none_or(|late| *late > START_TOLERANCE)
        {
            complaints.push(format!("the healthy one was late: {delays:?}"));
        }
        (rates.into_iter().fold(f64::NAN, f64::max), complaints)
    }

    /// Waits until a probe has ended `enough` runs in all.
    async fn runs_of(&self, probe: usize, enough: u64) {
        let until = Instant::now() + PATIENCE;
        while self.board.snapshot().probes[probe].totals.runs < enough && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn look_at_the_faulty(&mut self) {
        let Some((_, summary)) = last_run(&self.board, FAULTY) else {
            self.complain("the faulty one never ran".to_owned());
            return;
        };
        let reasons: Vec<FailureReason> = summary.failures.keys().copied().collect();
        let expected = expected(self.fault);
        let fits = match expected {
            [] => {
                reasons.is_empty()
                    && summary
                        .invalid_reasons
                        .contains(&InvalidReason::UnexpectedFinish)
            }
            _ => !reasons.is_empty() && reasons.iter().all(|reason| expected.contains(reason)),
        };
        if !fits || summary.is_valid() {
            self.complain(format!(
                "failed by {:?}, invalid by {:?}, expected {expected:?}",
                summary.failures, summary.invalid_reasons
            ));
        }
        if summary.wall > self.limits.run + END_TOLERANCE {
            self.complain(format!("its run took {:?}", summary.wall));
        }
    }
}

fn last_run(board: &Board, probe: usize) -> Option<(RunId, Arc<Summary>)> {
    match &board.snapshot().probes[probe].last.as_ref()?.outcome {
        Outcome::Ran { id, summary, .. } => Some((id.clone(), Arc::clone(summary))),
        Outcome::NotRun { why, .. } => panic!("no run: {why}"),
    }
}

/// A deployment whose steps take about four milliseconds.
async fn simulator(seed: u64) -> Simulator {
    Simulator::start(Settings {
        speedup: 6.0,
        seed,
        ..Settings::new(Profile::named("nvfp4").unwrap())
    })
    .await
    .unwrap()
}

/// Two probes that fall into the same slots, once a second, each in a lane of its own.
fn plan(simulators: &[Simulator; 2]) -> Plan {
    const SHORT: Duration = Duration::from_millis(400);
    let burst = Workload {
        concurrency: 4,
        requests: 8,
        max_tokens: 48,
        // What this machine does to the client is not what is tested here.
        validity: Validity {
            max_client_delay: PATIENCE,
            max_client_load_ratio: 1.0,
            min_concurrency_utilization: 0.0,
            ..Validity::default()
        },
        ..Workload::reference("Count to ten.")
    };
    let limits = Limits {
        connect: SHORT,
        first_token: SHORT,
        stall: SHORT,
        total: 2 * SHORT,
        run: 4 * SHORT,
        ..Limits::default()
    };
    let impatient = Workload {
        limits,
        ..burst.clone()
    };
    let probe = |index: usize, workload: Workload, metrics: MetricsSource| {
        let name = ["faulty", "healthy"][index];
        let endpoint = Endpoint::new(simulators[index].base_url().parse().unwrap());
        let deployment = Deployment {
            model: Some(Profile::named("nvfp4").unwrap().model.to_owned()),
            metrics,
            guards: Guards::off(),
            ..Deployment::new(name, endpoint)
        };
        PlannedProbe {
            deployment: Arc::new(deployment),
            workload: Arc::new(workload),
            schedule: Schedule::new(
                Cadence::Every(Duration::from_secs(1)),
                Duration::ZERO,
                Vec::new(),
                "both",
            ),
        }
    };
    Plan {
        removed_runs: RemovedRuns::default(),
        targets: Default::default(),
        probes: vec![
            // What its page says shall keep no run from it.
            probe(FAULTY, impatient, MetricsSource::Off),
            probe(HEALTHY, burst, MetricsSource::Own),
        ],
        budget: Default::default(),
        max_concurrent_runs: 2,
        stale_after: 3,
        shutdown_grace: Duration::ZERO,
        histogram_bounds: None,
    }
}
