//! The recorder beside a disk that does not do its part: probing goes on, and nothing is lost that need not be.

use std::path::Path;

use sqlx::{ConnectOptions, Connection, Executor};

use super::super::tests::{at, run_json};
use super::super::{Order, Page, Reader, writing};
use super::*;

const PATIENTLY: Duration = Duration::from_secs(20);

struct Recording {
    directory: tempfile::TempDir,
    recorder: Recorder,
    writing: Writing,
    health: Arc<Health>,
}

/// Keeps what the tests store, which is of 2025, for as long as they may be run.
const FOREVER: Retention = Retention {
    runs: Duration::from_secs(1000 * 366 * 24 * 60 * 60),
    light_runs: Duration::from_secs(1000 * 366 * 24 * 60 * 60),
    requests: Duration::from_secs(1000 * 366 * 24 * 60 * 60),
};

async fn recording() -> Recording {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path()).await.unwrap();
    let health = Arc::new(Health::default());
    let (recorder, writing) = Recorder::start(history, FOREVER, Arc::clone(&health));
    Recording {
        directory,
        recorder,
        writing,
        health,
    }
}

impl Recording {
    /// Records the `n`th run, and says how long that took.
    async fn record(&self, n: u32) -> Duration {
        let start = Instant::now();
        let run = run_json("a", "w", n, i64::from(n));
        self.recorder.record(run, at(n.into())).await;
        start.elapsed()
    }

    async fn errors_until(&self, operation: Operation, least: u64) {
        let deadline = Instant::now() + PATIENTLY;
        while self.health.errors(operation) < least {
            assert!(Instant::now() < deadline, "no error was counted");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn stored(directory: &Path) -> usize {
    let Ok(mut reader) = Reader::open(directory).await else {
        return 0;
    };
    let page = Page {
        deployment: None,
        workload: None,
        order: Order::OldestFirst,
        after: None,
        limit: 1000,
    };
    reader.page(&page).await.unwrap().len()
}

async fn stored_until(directory: &Path, wanted: usize) {
    let deadline = Instant::now() + PATIENTLY;
    while stored(directory).await < wanted {
        assert!(
            Instant::now() < deadline,
            "only {} are stored",
            stored(directory).await
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_on_the_disk_when_it_has_been_recorded() {
    let recording = recording().await;
    for n in 0..5 {
        recording.record(n).await;
        assert_eq!(stored(recording.directory.path()).await, n as usize + 1);
    }
    assert!(
        Operation::ALL
            .iter()
            .all(|op| recording.health.errors(*op) == 0)
    );
    recording.writing.finish(PATIENTLY).await;
    assert!(recording.health.size_bytes() > 50_000);
    assert!(!recording.directory.path().join("history.db-wal").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_holds_up_one_run_for_a_moment_and_no_further_one() {
    let recording = recording().await;
    recording.record(0).await;
    let file = recording.directory.path().join("history.db");
    let mut other = writing(&file).connect().await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let took = recording.record(1).await;
    assert!(took < PATIENCE + Duration::from_secs(1), "{took:?}");
    for n in 2..20 {
        let took = recording.record(n).await;
        assert!(took < Duration::from_millis(500), "run {n}: {took:?}");
    }
    recording.errors_until(Operation::Append, 1).await;
    other.execute("ROLLBACK").await.unwrap();
    stored_until(recording.directory.path(), 20).await;
    // It waits for its commits again.
    let deadline = Instant::now() + PATIENTLY;
    while recording.recorder.shared.lock().behind {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(10)).await;
    }
    recording.record(20).await;
    assert_eq!(stored(recording.directory.path()).await, 21);
    assert_eq!(recording.health.errors(Operation::Drop), 0);
    other.close().await.unwrap();
    recording.writing.finish(PATIENTLY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_file_any_more_is_written_again_when_it_can_be() {
    let recording = recording().await;
    recording.record(0).await;
    let file = recording.directory.path().join("history.db");
    std::fs::rename(&file, recording.directory.path().join("saved.db")).unwrap();
    std::fs::create_dir(&file).unwrap();
    for n in 1..4 {
        recording.record(n).await;
    }
    recording.errors_until(Operation::Append, 2).await;
    std::fs::remove_dir(&file).unwrap();
    stored_until(recording.directory.path(), 3).await;
    recording.writing.finish(PATIENTLY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_what_can_be_written_and_not_for_what_cannot() {
    let recording = recording().await;
    let file = recording.directory.path().join("history.db");
    let mut other = writing(&file).connect().await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    recording.record(0).await;
    recording.record(1).await;
    let releasing = async {
        sleep(Duration::from_millis(300)).await;
        other.execute("ROLLBACK").await.unwrap();
    };
    tokio::join!(recording.writing.finish(PATIENTLY), releasing);
    assert_eq!(stored(recording.directory.path()).await, 2);
    let history = History::open(recording.directory.path()).await.unwrap();
    let (recorder, writing) = Recorder::start(history, FOREVER, Arc::default());
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    recorder.record(run_json("a", "w", 2, 2), at(2)).await;
    let start = Instant::now();
    writing.finish(Duration::from_millis(500)).await;
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path()).await.unwrap();
    let entries: Vec<Entry> = (0..PRUNE_BATCH + 50)
        .map(|n| {
            Entry::new(
                run_json("a", "w", n, n.into()),
                Source::Prober,
                at(n.into()),
            )
            .unwrap()
        })
        .collect();
    history.append(&entries).await.unwrap();
    // The newest one was, by the wall clock, made after the time that is looked back to.
    let retention = Retention {
        runs: Duration::from_secs(60 * 60),
        ..FOREVER
    };
    let (_recorder, writing) = Recorder::start(history, retention, Arc::default());
    let deadline = Instant::now() + PATIENTLY;
    while stored(directory.path()).await > 0 {
        assert!(
            Instant::now() < deadline,
            "{} are left",
            stored(directory.path()).await
        );
        sleep(Duration::from_millis(20)).await;
    }
    writing.finish(PATIENTLY).await;
}

#[tokio::test]
async fn of_too_many_that_wait_the_oldest_give_way() {
    let shared = Shared {
        queue: Mutex::default(),
        wake: Notify::new(),
        health: Arc::default(),
        retention: Mutex::default(),
    };
    let large = |n| Entry {
        requests: Some("x".repeat(MOST_WAITING / 4)),
        ..Entry::new(run_json("a", "w", n, 0), Source::Prober, at(0)).unwrap()
    };
    let entries: Vec<Entry> = (0..6).map(large).collect();
    let receivers: Vec<_> = entries
        .iter()
        .cloned()
        .map(|entry| shared.put(Item::Run(Box::new(entry))))
        .collect();
    assert_eq!(shared.health.errors(Operation::Drop), 3);
    let front = shared.front().unwrap();
    assert_eq!(front.name(), entries[3].id.0);
    for (n, stored) in receivers.into_iter().enumerate().take(3) {
        assert!(stored.unwrap().await.is_err(), "no one waits for run {n}");
    }
    // One alone is never too many.
    let huge = Entry {
        requests: Some("x".repeat(2 * MOST_WAITING)),
        ..large(9)
    };
    shared.put(Item::Run(Box::new(huge.clone())));
    assert_eq!(shared.front().unwrap().name(), huge.id.0);
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_one_run_and_no_further_one() {
    // No one writes: that is how it looks from here.
    let recorder = Recorder {
        shared: Arc::new(Shared {
            queue: Mutex::default(),
            wake: Notify::new(),
            health: Arc::default(),
            retention: Mutex::default(),
        }),
    };
    let record = async |n: u32| {
        let start = Instant::now();
        recorder
            .record(run_json("a", "w", n, n.into()), at(n.into()))
            .await;
        start.elapsed()
    };
    assert!(record(0).await >= PATIENCE);
    assert!(record(1).await < PATIENCE / 2);
    let shared = &recorder.shared;
    assert_eq!(shared.health.errors(Operation::Wait), 1);
    // It works again: only when both are written is it waited for as before.
    assert!(!shared.done(&shared.front().unwrap()));
    assert!(shared.lock().behind);
    assert!(shared.done(&shared.front().unwrap()));
    assert!(!shared.lock().behind && shared.lock().bytes == 0);
}
