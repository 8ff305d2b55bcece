//! The history as its users meet it: a daemon that is killed at any instant, restarted, or has no disk to write
//! to; and the commands that read, export and import runs beside it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep};
use vllm_prober::history::{Order, Page, Reader};
use vllm_prober::simulator::{Change, Profile, Settings, Simulator};

mod commands;
mod disk;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/program.rs"]
mod program;

use program::Program;

const PATIENCE: Duration = Duration::from_secs(30);
const NEVER: &str = "cron: \"0 0 1 1 *\"";

async fn simulator() -> Simulator {
    let profile = Profile::named("nvfp4").unwrap();
    Simulator::start(Settings {
        speedup: 200.0,
        ..Settings::new(profile)
    })
    .await
    .unwrap()
}

/// A configuration with so many deployments on one server, each probed at such times.
fn configuration(directory: &Path, deployments: usize, base_url: &str, when: &str) -> PathBuf {
    let mut text = "global: { max_concurrent_runs: 8, shutdown_grace: 0s }\n\
        workloads:\n  burst: { requests: 8, concurrency: 4, max_tokens: 16, prompt: Count to ten., validity: { max_foreign_tokens_ratio: any, max_foreign_prompt_ratio: any, min_concurrency_utilization: 0, max_client_delay: 10s, max_client_load_ratio: 1 } }\n\
        deployments:\n"
        .to_owned();
    for n in 0..deployments {
        let _ = writeln!(
            text,
            "  - name: d{n}\n    base_url: {base_url}\n    guards: {{ max_foreign_requests: any }}\n    probes: [{{ workload: burst, {when} }}]"
        );
    }
    let path = directory.join("prober.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

async fn prober(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-prober"));
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// What `history` with `arguments` writes, which is to end well.
async fn history(storage: &Path, arguments: &[&str]) -> String {
    let storage = ["--storage.path", storage.to_str().unwrap()];
    let output = prober(&[&["history"], arguments, &storage[..]].concat()).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The ids of the runs that the log says are finished.
fn announced(log: &[String]) -> BTreeSet<String> {
    let lines = log.iter().filter(|line| line.contains("run finished"));
    lines
        .map(|line| {
            let id = line.split("run_id=").nth(1).unwrap();
            id.split_whitespace().next().unwrap().to_owned()
        })
        .collect()
}

async fn stored(storage: &Path) -> BTreeSet<String> {
    let mut reader = Reader::open(storage).await.unwrap();
    let mut page = Page {
        deployment: None,
        workload: None,
        order: Order::OldestFirst,
        after: None,
        limit: 500,
    };
    let mut found = BTreeSet::new();
    loop {
        let runs = reader.page(&page).await.unwrap();
        let Some(last) = runs.last() else {
            return found;
        };
        page.after = Some(last.id.clone());
        for run in &runs {
            assert_eq!(
                run.read().unwrap().run_id,
                run.id.0,
                "what is listed can be read"
            );
            found.insert(run.id.0.clone());
        }
    }
}

async fn metrics(base_url: &str) -> String {
    http::get(&format!("{base_url}/metrics")).await.unwrap().1
}

/// Scrapes until a line that begins with `series` is there and `holds`.
async fn scrape_until(base_url: &str, series: &str, holds: impl Fn(f64) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = metrics(base_url).await;
        if value(&text, series).is_some_and(&holds) {
            return text;
        }
        assert!(
            Instant::now() < deadline,
            "{series} does not come in\n{text}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_finished_run_is_lost_when_the_daemon_is_killed_at_any_instant() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("data");
    let simulator = simulator().await;
    let config = configuration(directory.path(), 6, &simulator.base_url(), "every: 1s");
    let mut finished = BTreeSet::new();
    // More of them on demand.
    let rounds = std::env::var("VLLM_PROBER_TEST_KILLS").map_or(20, |kills| kills.parse().unwrap());
    for round in 0..rounds {
        let (mut daemon, _) = Program::serve(&config);
        for _ in 0..=round % 4 {
            daemon.line("run finished", PATIENCE);
        }
        // At the very moment at which a run is announced, or at some instant between two.
        if round % 2 == 1 {
            sleep(Duration::from_millis(round * 37 % 100)).await;
        }
        finished.extend(announced(&daemon.kill()));

        let mut file = SqliteConnectOptions::new()
            .filename(storage.join("history.db"))
            .connect()
            .await
            .unwrap();
        let sound: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&mut file)
            .await
            .unwrap();
        assert_eq!(sound, "ok", "round {round}");
        let (points, runs): (i64, i64) =
            sqlx::query_as("SELECT (SELECT count(*) FROM point), (SELECT count(*) FROM run)")
                .fetch_one(&mut file)
                .await
                .unwrap();
        assert_eq!(points, runs, "round {round}: a run is stored whole");
    }
    let stored = stored(&storage).await;
    let lost: Vec<_> = finished.difference(&stored).collect();
    assert!(
        finished.len() >= 2 * rounds as usize,
        "only {} runs finished",
        finished.len()
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    simulator.stop().await.unwrap();
}

/// The series that tell of the last run, which are to be the same after a restart.
fn of_the_last_run(text: &str) -> Vec<&str> {
    let since_the_start = [
        "_sum{",
        "_count{",
        "_total{",
        "run_in_progress",
        "run_start_delay",
        "next_run",
    ];
    text.lines()
        .filter(|line| {
            [
                "run_",
                "success",
                "last_",
                "contention_observable",
                "deployment_info",
            ]
            .iter()
            .any(|name| line.starts_with(&format!("vllm_probe_{name}")))
        })
        .filter(|line| !since_the_start.iter().any(|word| line.contains(word)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_shows_the_last_runs_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    for attempt in 0..5 {
        let config = configuration(directory.path(), 2, &simulator.base_url(), "every: 1s");
        let (daemon, base_url) = Program::serve(&config);
        scrape_until(
            &base_url,
            "vllm_probe_runs_total{deployment=\"d0\"",
            |runs| runs >= 1.0,
        )
        .await;
        let before = scrape_until(
            &base_url,
            "vllm_probe_runs_total{deployment=\"d1\"",
            |runs| runs >= 1.0,
        )
        .await;
        daemon.kill();
        // The same probes, which do not run for a long while.
        let config = configuration(directory.path(), 2, &simulator.base_url(), NEVER);
        let (daemon, base_url) = Program::serve(&config);
        let mut status = 503;
        for _ in 0..100 {
            // It listens a moment before it is ready.
            (status, _) = http::get(&format!("{base_url}/-/ready")).await.unwrap();
            if status == 200 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let mut drawn = false;
        for _ in 0..500 {
            // The runs of before come with the judges, who read the history in the background.
            let (_, page) = http::get(&format!("{base_url}/deployments/d0"))
                .await
                .unwrap();
            drawn = page.contains("<figcaption>Decode rate");
            if drawn {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert!(drawn, "the runs of before the restart are not drawn");
        let after = metrics(&base_url).await;
        daemon.kill();
        let last_run = "vllm_probe_last_run_timestamp_seconds{deployment=";
        let ends = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| line.starts_with(last_run))
                .map(str::to_owned)
                .collect()
        };
        if ends(&before) != ends(&after) && attempt < 4 {
            // Another run ended between the scrape and the kill.
            continue;
        }
        assert_eq!(status, 200);
        assert!(of_the_last_run(&before).len() > 80, "{before}");
        assert_eq!(of_the_last_run(&before), of_the_last_run(&after));
        assert_eq!(
            value(&after, "vllm_probe_runs_total{deployment=\"d0\""),
            Some(0.0)
        );
        assert!(value(&after, "vllm_probe_history_size_bytes").unwrap() > 10_000.0);
        break;
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarted_while_the_prober_was_down_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let config = configuration(directory.path(), 1, &simulator.base_url(), "every: 1s");
    let restarted = "vllm_probe_run_failures_total{deployment=\"d0\",workload=\"burst\",reason=\"server_restarted\"}";
    let runs = "vllm_probe_runs_total{deployment=\"d0\"";
    for (restarts, counted) in [(false, 0.0), (true, 0.0), (false, 1.0), (false, 0.0)] {
        let (daemon, base_url) = Program::serve(&config);
        let text = scrape_until(&base_url, runs, |runs| runs >= 1.0).await;
        assert_eq!(value(&text, restarted), Some(counted), "{text}");
        daemon.kill();
        if restarts {
            let change = Change {
                restart: true,
                ..Change::default()
            };
            simulator.controls().apply(change).unwrap();
        }
    }
    simulator.stop().await.unwrap();
}
