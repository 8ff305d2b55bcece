//! A run that is stopped ends at once, and leaves neither a connection nor a thread.
//!
//! One test, since what it looks for are the threads of the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vllm_prober::runner::{self, Attempt, RunError};
use vllm_prober::workload::Workload;

#[path = "common/replay.rs"]
mod replay;
#[path = "common/scripted.rs"]
mod scripted;

use replay::{deployment, endpoint, workload};
use scripted::{Habits, Scripted, TOKEN};

/// What a stop may take, even on a machine with other things to do.
const PROMPTLY: Duration = Duration::from_millis(500);

type Change = fn(&mut Workload, &mut Habits);

/// Where in its life a run is stopped: what is asked when, for a server whose POSTs are answered by two
/// tokens and silence.
const STAGES: [(&str, Change, usize); 3] = [
    (
        "while connections are opened",
        |_, habits| habits.gets = Arc::new(|_, wire| wire.silence()),
        8,
    ),
    ("while it warms up", |workload, _| workload.warmup = 8, 16),
    ("in mid-run", |_, _| {}, 16),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_leaves_nothing_behind() {
    stopped_before_it_begins().await;
    for (stage, change, asked) in STAGES {
        for stopped in [true, false] {
            let (mut workload, mut habits) = (workload(8, 64), Habits::default());
            change(&mut workload, &mut habits);
            let server = Scripted::with(
                habits,
                Arc::new(|_, wire| {
                    wire.stream()?;
                    wire.event(TOKEN)?;
                    wire.event(TOKEN)?;
                    wire.silence()
                }),
            );
            let stop = CancellationToken::new();
            let run = tokio::spawn(runner::measure(
                Attempt::new(
                    Arc::new(deployment(endpoint(&server.base_url()))),
                    Arc::new(workload),
                ),
                Arc::default(),
                stop.clone(),
            ));
            eventually(|| server.asked().len() == asked, stage).await;
            assert_eq!(measuring_threads(), 1, "{stage}");

            let told = Instant::now();
            if stopped {
                stop.cancel();
                let outcome = run.await.unwrap();
                assert!(
                    matches!(outcome, Err(RunError::Cut)),
                    "{stage}: {outcome:?}"
                );
                assert!(told.elapsed() < PROMPTLY, "{stage}: {:?}", told.elapsed());
            } else {
                // The caller goes away, which is a stop too.
                run.abort();
            }
            assert!(server.all_closed_within(PROMPTLY), "{stage}");
            eventually(|| measuring_threads() == 0, stage).await;
        }
    }
}

async fn stopped_before_it_begins() {
    let server = Scripted::start(|asked, wire| wire.answer(asked));
    let stop = CancellationToken::new();
    stop.cancel();
    let outcome = runner::measure(
        Attempt::new(
            Arc::new(deployment(endpoint(&server.base_url()))),
            Arc::new(workload(8, 64)),
        ),
        Arc::default(),
        stop,
    )
    .await;
    assert!(matches!(outcome, Err(RunError::Cut)), "{outcome:?}");
    assert_eq!(server.accepted(), 0);
}

async fn eventually(holds: impl Fn() -> bool, what: &str) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: it never came about");
}

/// Threads of this process that measure.
fn measuring_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.trim() == "measure")
        .count()
}
