//! A prober whose runs panic, beside a deployment that has nothing to do with it; and one that ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{NextPlan, Plan, PlannedProbe, Prober, RemovedRuns};
use crate::agenda::SkippedReason;
use crate::board::{Board, Known, Outcome, ProbeStatus};
use crate::deployment::Deployment;
use crate::endpoint::Endpoint;
use crate::lifecycle::{ProbeFailure, ProbeRequest, Wanted, lifecycle};
use crate::measurement::{Run, fixture};
use crate::runner::{Attempt, RunError};
use crate::schedule::{Cadence, Schedule};
use crate::target::Targets;
use crate::workload::Workload;

const PATIENCE: Duration = Duration::from_secs(30);
const FAULTY: usize = 0;
const HEALTHY: usize = 1;

/// The first three runs of the faulty deployment panic, and all of the hopeless one; others are over at once.
fn measuring(attempt: Attempt, _: CancellationToken) -> BoxFuture<'static, Result<Run, RunError>> {
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    async move {
        let name = attempt.deployment.name.as_str();
        assert_ne!(name, "hopeless");
        if name == "faulty" {
            let before = BEGUN.fetch_add(1, Ordering::Relaxed);
            assert!(before >= 3, "row {} is not there", 7 + before);
        }
        Ok(fixture::closed_loop(1, &[Duration::from_millis(200)], 16))
    }
    .boxed()
}

/// A sign-of-life probe of each, every second.
fn plan(names: &[&str]) -> Plan {
    let light = Arc::new(Workload {
        concurrency: 1,
        requests: 1,
        max_tokens: 16,
        ..Workload::reference("Say yes.")
    });
    let probe = |name: &str| {
        let endpoint = Endpoint::new("http://127.0.0.1:9".parse().unwrap());
        PlannedProbe {
            deployment: Arc::new(Deployment::new(name, endpoint)),
            workload: Arc::clone(&light),
            schedule: Schedule::new(
                Cadence::Every(Duration::from_secs(1)),
                Duration::ZERO,
                Vec::new(),
                name,
            ),
        }
    };
    Plan {
        probes: names.iter().copied().map(probe).collect(),
        max_concurrent_runs: 1,
        budget: Default::default(),
        stale_after: 3,
        shutdown_grace: Duration::ZERO,
        histogram_bounds: None,
        removed_runs: RemovedRuns::default(),
        targets: Targets {
            workloads: vec![light],
            ..Targets::default()
        },
    }
}

/// What the board shows as soon as it is as wanted.
async fn shown(
    board: &Board,
    wanted: impl Fn(&[Arc<ProbeStatus>]) -> bool,
) -> Vec<Arc<ProbeStatus>> {
    let mut version = board.version();
    let until = async {
        loop {
            version.borrow_and_update();
            let probes = board.snapshot().probes.clone();
            if wanted(&probes) {
                return probes;
            }
            version.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, until)
        .await
        .expect("it never came to that")
}

/// That the last attempt panicked with these words, and that no slot is due for so many seconds after it.
fn assert_rests(probe: &ProbeStatus, said: &str, seconds: i64) {
    let last = probe.last.as_ref().unwrap();
    let Outcome::NotRun { why, .. } = &last.outcome else {
        unreachable!("it ran: {last:?}");
    };
    assert_eq!(why, &format!("it panicked: {said}"));
    // The attempt is published a moment after the agenda has heard of it.
    let rest = probe.next_run.unwrap().duration_since(last.ended_at);
    assert!(
        (seconds - 1..seconds + 2).contains(&rest.as_secs()),
        "{rest:#}"
    );
}

#[tokio::test]
async fn a_probe_whose_runs_panic_rests_ever_longer_and_nothing_else_does() {
    let plan = plan(&["faulty", "healthy"]);
    let board = Arc::new(plan.board());
    let (lifecycle, orders) = lifecycle();
    let mut prober = Prober::new(plan, Arc::clone(&board)).obeying(orders);
    prober.measuring = measuring;
    let stop = CancellationToken::new();
    let probing = tokio::spawn(prober.run(stop.clone()));
    let order = || ProbeRequest {
        deployment: "faulty".to_owned(),
        workload: None,
    };
    let left_out = |probe: &ProbeStatus| probe.totals.skipped[&SkippedReason::Fault];

    let probes = shown(&board, |probes| {
        left_out(&probes[FAULTY]) >= 1 && probes[HEALTHY].totals.runs >= 2
    })
    .await;
    assert_rests(&probes[FAULTY], "row 7 is not there", 30);
    assert_eq!(probes[FAULTY].totals.runs, 1);
    assert_eq!(left_out(&probes[HEALTHY]), 0);

    // An order is obeyed all the same; its panic is one more.
    assert_eq!(lifecycle.run(order()).await.unwrap(), ["reference"]);
    let probes = shown(&board, |probes| {
        probes[FAULTY].totals.runs == 2 && !probes[FAULTY].in_progress
    })
    .await;
    assert_rests(&probes[FAULTY], "row 8 is not there", 60);

    // A visit that panics is told so, and moves nothing.
    let wanted = Wanted {
        target: "faulty".to_owned(),
        workload: None,
        patience: Some(PATIENCE),
        offset: Duration::ZERO,
        asked: Instant::now(),
    };
    let probed = lifecycle.probing().probe(wanted).await.unwrap();
    let unmeasured = probed.outcome.unwrap_err();
    assert_eq!(unmeasured.reason, ProbeFailure::NotRun);
    assert_eq!(unmeasured.detail, "it panicked: row 9 is not there");
    assert!(probed.log.text().contains("row 9 is not there"));
    assert_eq!(board.snapshot().probes[FAULTY].totals.runs, 2);

    // A good run ends the rest, and the schedule goes on.
    lifecycle.run(order()).await.unwrap();
    let probes = shown(&board, |probes| probes[FAULTY].totals.runs >= 4).await;
    let last = probes[FAULTY].last.as_ref().unwrap();
    assert!(matches!(last.outcome, Outcome::Ran { .. }), "{last:?}");

    stop.cancel();
    timeout(PATIENCE, probing).await.unwrap().unwrap();
}

#[tokio::test]
async fn another_plan_ends_the_rest_only_of_a_probe_that_is_another_in_it() {
    let plan = plan(&["hopeless"]);
    let board = Arc::new(plan.board());
    let (plans, next_plans) = mpsc::channel(1);
    let mut prober = Prober::new(plan.clone(), Arc::clone(&board)).following(next_plans);
    prober.measuring = measuring;
    let stop = CancellationToken::new();
    let probing = tokio::spawn(prober.run(stop.clone()));
    let adopt = async |plan: Plan| {
        let (adopted, done) = oneshot::channel();
        let known = Known::default();
        let next = NextPlan {
            plan,
            known,
            adopted,
        };
        plans.send(next).await.unwrap();
        done.await.unwrap();
    };
    let has_begun = |runs: u64| {
        move |probes: &[Arc<ProbeStatus>]| probes[0].totals.runs == runs && !probes[0].in_progress
    };
    shown(&board, has_begun(1)).await;
    adopt(plan.clone()).await;
    let resting = board.snapshot().probes[0].clone();
    let last = resting.last.as_ref().unwrap();
    let rest = resting.next_run.unwrap().duration_since(last.ended_at);
    assert!(rest.as_secs() >= 29, "{rest:#}");

    let mut moved = plan;
    let probe = &mut moved.probes[0];
    probe.deployment = Arc::new(Deployment {
        endpoint: Endpoint::new("http://127.0.0.2:9".parse().unwrap()),
        ..Deployment::clone(&probe.deployment)
    });
    adopt(moved).await;
    shown(&board, has_begun(2)).await;
    stop.cancel();
    timeout(PATIENCE, probing).await.unwrap().unwrap();
}

#[tokio::test]
async fn no_plan_waits_for_the_last_runs() {
    let plan = plan(&["slow"]);
    let board = Arc::new(plan.board());
    let (plans, next_plans) = mpsc::channel::<NextPlan>(1);
    let waits = Plan {
        shutdown_grace: PATIENCE,
        ..plan
    };
    let mut prober = Prober::new(waits, Arc::clone(&board)).following(next_plans);
    prober.measuring =
        |_, cut| async move { Err(cut.cancelled().map(|()| RunError::Cut).await) }.boxed();
    let stop = CancellationToken::new();
    let probing = tokio::spawn(prober.run(stop.clone()));
    shown(&board, |probes| probes[0].in_progress).await;
    stop.cancel();
    let refused = timeout(Duration::from_secs(5), plans.closed()).await;
    refused.expect("a reload would wait until the last run has ended");
    assert!(!probing.is_finished());
    probing.abort();
}
