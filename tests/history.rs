//! The history as its users meet it: a daemon that is killed at any instant, restarted, or has no disk to write
//! to; and the commands that read, export and import runs beside it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use vllm_prober::history::{Order, Page, Reader};
use vllm_prober::simulator::{Change, Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
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

/// Lets a daemon, started by `command` with its history in `directory`, lose its disk and get it back.
async fn lose_the_disk(
    command: &mut Command,
    directory: &Path,
    lose: impl Fn(u32),
    give_back: impl Fn(u32),
) {
    let storage = directory.join("data");
    let simulator = simulator().await;
    let config = configuration(directory, 2, &simulator.base_url(), "every: 1s");
    let (daemon, base_url) = Program::serve_by(command, &config, &[]);
    let series = "vllm_probe_runs_total{deployment=\"d0\"";
    scrape_until(&base_url, series, |runs| runs >= 1.0).await;
    lose(daemon.id());
    let failing = "vllm_probe_history_errors_total{operation=\"append\"}";
    let text = scrape_until(&base_url, failing, |errors| errors >= 1.0).await;
    let runs = value(&text, series).unwrap();
    scrape_until(&base_url, series, |now| now >= runs + 3.0).await;
    give_back(daemon.id());
    let until = Instant::now() + PATIENCE;
    loop {
        let shown = metrics(&base_url).await;
        let of = |name: &str| {
            let series = format!("vllm_probe_runs_total{{deployment=\"{name}\"");
            value(&shown, &series).unwrap()
        };
        let stored = stored(&storage).await.len() as f64;
        let finished = of("d0") + of("d1");
        if stored >= finished {
            break;
        }
        assert!(Instant::now() < until, "{stored} of {finished} are stored");
        sleep(Duration::from_millis(50)).await;
    }
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    let stored = stored(&storage).await;
    assert!(announced(&log).is_subset(&stored), "{}", log.join("\n"));
    for line in ["history cannot be written", "history is written again"] {
        let said = log.iter().filter(|said| said.contains(line)).count();
        assert_eq!(said, 1, "{line}: {}", log.join("\n"));
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn probing_goes_on_while_nothing_can_be_written_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let limit = |id: u32, bytes: &str| {
        let limit = format!("--fsize={bytes}:");
        let status = Command::new("prlimit")
            .args(["--pid", &id.to_string(), &limit])
            .status();
        assert!(status.unwrap().success());
    };
    // A limit on the size of files stands for a full disk; its signal is not to end the daemon.
    lose_the_disk(
        Command::new("sh").args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]),
        directory.path(),
        |id| limit(id, "4096"),
        |id| limit(id, "unlimited"),
    )
    .await;
}

/// A command that starts what it is given without the power to write what is not to be written, which root has.
fn without_privilege() -> Command {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn probing_goes_on_while_the_file_is_read_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data/history.db");
    let signal = |id: u32, signal: &str| {
        let status = Command::new("kill")
            .args([signal, &id.to_string()])
            .status();
        assert!(status.unwrap().success());
    };
    let permit = |mode| std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    // A file that is open stays writable, so another one with the same runs takes its place, as after a restore.
    let replace = |id| {
        signal(id, "-STOP");
        let copy = directory.path().join("copy.db");
        let copying = async {
            let mut stored = SqliteConnectOptions::new()
                .filename(&file)
                .connect()
                .await?;
            let into = sqlx::query("VACUUM INTO ?").bind(copy.to_str().unwrap());
            into.execute(&mut stored).await?;
            stored.close().await
        };
        tokio::task::block_in_place(|| Handle::current().block_on(copying)).unwrap();
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
        }
        std::fs::rename(&copy, &file).unwrap();
        permit(0o444);
        signal(id, "-CONT");
    };
    lose_the_disk(&mut without_privilege(), directory.path(), replace, |_| {
        permit(0o644);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills a file system of a few MB, whose directory VLLM_PROBER_TEST_SMALL_DISK names"]
async fn probing_goes_on_while_the_disk_is_full() {
    let directory = PathBuf::from(std::env::var("VLLM_PROBER_TEST_SMALL_DISK").unwrap());
    let directory = tempfile::tempdir_in(directory).unwrap();
    let filler = directory.path().join("filler");
    let fill = |_| {
        let mut file = std::fs::File::create(&filler).unwrap();
        let full = (0..1 << 20).find_map(|_| file.write_all(&[0; 4096]).err());
        assert_eq!(full.unwrap().kind(), std::io::ErrorKind::StorageFull);
    };
    let empty = |_| std::fs::remove_file(&filler).unwrap();
    lose_the_disk(&mut Command::new("env"), directory.path(), fill, empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_opened_ends_the_start_with_its_mend() {
    let directory = tempfile::tempdir().unwrap();
    let config = configuration(directory.path(), 1, "http://127.0.0.1:9", NEVER);
    let storage = directory.path().join("data");
    std::fs::create_dir(&storage).unwrap();
    std::fs::write(storage.join("history.db"), "no database ".repeat(200)).unwrap();
    let output = prober(&[
        "serve",
        "--config.file",
        config.to_str().unwrap(),
        "--web.listen-address",
        "127.0.0.1:0",
        "--storage.path",
        storage.to_str().unwrap(),
    ])
    .await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for word in ["--storage.path", "history.db", "not a SQLite file"] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_taken_away_begins_anew_and_the_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let config = configuration(directory.path(), 1, &simulator.base_url(), "every: 1s");
    let (mut daemon, base_url) = Program::serve(&config);
    let series = "vllm_probe_runs_total{deployment=\"d0\"";
    scrape_until(&base_url, series, |runs| runs >= 1.0).await;
    let storage = directory.path().join("data");
    // At once, so that nothing is begun anew in between.
    std::fs::rename(&storage, directory.path().join("elsewhere")).unwrap();
    let line = daemon.line("the file of the history is gone", PATIENCE);
    assert!(
        line.contains("level=warn") && line.contains("history.db"),
        "{line}"
    );
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    assert!(!stored(&storage).await.is_empty(), "{}", log.join("\n"));
    let told = log
        .iter()
        .filter(|line| line.contains("history is gone"))
        .count();
    assert_eq!(told, 1, "{}", log.join("\n"));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_the_history_ends_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let config = configuration(directory.path(), 1, "http://127.0.0.1:9", NEVER);
    let storage = directory.path().join("data");
    std::fs::create_dir(&storage).unwrap();
    let options = SqliteConnectOptions::new().filename(storage.join("history.db"));
    let mut other = options.create_if_missing(true).connect().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let (daemon, _) = Program::serve(&config);
    // Less than it would wait for the other process.
    let (status, log) = daemon.terminate(Duration::from_secs(5));
    assert!(status.success(), "{log:?}");
    assert!(
        log.iter()
            .any(|line| line.contains("stopped before it was ready")),
        "{log:?}"
    );
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_shown_exported_and_imported_while_the_daemon_writes() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("data");
    let simulator = simulator().await;
    let config = configuration(directory.path(), 2, &simulator.base_url(), "every: 1s");
    let (daemon, base_url) = Program::serve(&config);
    let runs = "vllm_probe_runs_total{deployment=\"d0\"";
    scrape_until(&base_url, runs, |runs| runs >= 2.0).await;

    let list = history(&storage, &["list", "--deployment", "d0", "--limit", "1"]).await;
    assert_eq!(list.lines().count(), 2, "{list}");
    let id = list
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    let shown = history(&storage, &["show", &id]).await;
    assert!(
        shown.contains(&id) && shown.contains("end-to-end latency"),
        "{shown}"
    );
    let json = history(&storage, &["show", "--json", &id]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["run_id"], id.as_str());
    assert_eq!(json["request_records"].as_array().unwrap().len(), 8);

    // A result of another program goes in beside the daemon, once.
    let bench = directory.path().join("bench.json");
    let bench = bench.to_str().unwrap();
    let base = simulator.base_url();
    let run = [
        "run",
        "--base-url",
        &base,
        "--requests",
        "8",
        "--concurrency",
        "4",
        "--format",
        "vllm-bench",
        "--out",
        bench,
    ];
    // A busy machine may be too slow for a run that counts; then it is tried again.
    let mut is_valid = false;
    for _ in 0..10 {
        is_valid = is_valid || prober(&run).await.status.success();
    }
    assert!(is_valid);
    let import = ["import", "--deployment", "d9", "--workload", "bench", bench];
    for says in ["1 runs imported, 0 were", "0 runs imported, 1 were"] {
        let said = history(&storage, &import).await;
        assert!(said.contains(says), "{said}");
    }
    let imported = history(&storage, &["list", "--deployment", "d9"]).await;
    assert!(
        imported.contains("bench") && imported.contains("yes"),
        "{imported}"
    );
    scrape_until(
        &base_url,
        "vllm_probe_history_errors_total{operation=\"append\"}",
        |n| n == 0.0,
    )
    .await;
    assert!(daemon.terminate(PATIENCE).0.success());

    let exported = directory.path().join("runs.jsonl");
    let exported = exported.to_str().unwrap();
    history(&storage, &["export", "--save-detailed", "--out", exported]).await;
    let lines = std::fs::read_to_string(exported).unwrap();
    assert_eq!(lines.lines().count(), stored(&storage).await.len());
    let elsewhere = directory.path().join("elsewhere");
    history(&elsewhere, &["import", exported]).await;
    assert_eq!(stored(&elsewhere).await, stored(&storage).await);
    let again = history(&elsewhere, &["export", "--save-detailed"]).await;
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&again), sorted(&lines), "nothing is lost on the way");
    let csv = history(
        &elsewhere,
        &["export", "--format", "csv", "--deployment", "d0"],
    )
    .await;
    let of_d0 = lines
        .lines()
        .filter(|line| line.contains("\"deployment\":\"d0\""))
        .count();
    assert_eq!(csv.lines().count(), 1 + of_d0, "{csv}");
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_of_an_import_names_file_and_line_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("data");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = r#"{"decode_tps":600,"requests":4,"concurrency":1,"qps":2,"model":"m","started_at":"2025-12-22T10:00:00Z"}"#;
    let good_file = write("good.json", good);
    let bad_line = write("bad.jsonl", &format!("{good}\n\n{{\"a\":1}}\n"));
    let not_json = write("not.json", "{\n  \"a\": \n}");
    let names = ["--deployment", "d", "--workload", "w"];
    for (files, says) in [
        (
            vec![good_file.as_str(), &bad_line],
            "bad.jsonl:3: it is neither",
        ),
        (
            vec![not_json.as_str()],
            "not.json:1: expected value at line 3",
        ),
        (vec!["/no/such/file"], "/no/such/file: No such file"),
    ] {
        let storage = ["--storage.path", storage.to_str().unwrap()];
        let output = prober(&[&["history", "import"], &names[..], &files, &storage].concat()).await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(says), "{said}");
    }
    assert!(!storage.exists());
    let said = history(&storage, &[&["import"], &names[..], &[&good_file]].concat()).await;
    assert!(said.starts_with("1 runs imported"), "{said}");
    let output = prober(&[
        "history",
        "show",
        "nowhere",
        "--storage.path",
        storage.to_str().unwrap(),
    ])
    .await;
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("history list")
    );
}
