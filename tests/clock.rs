//! A clock that is set while the daemon runs, and a daemon that does not run for a while: the schedule goes on at once,
//! what could not run is counted as missed, and nothing is made up for or lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;

use program::Program;

const PATIENCE: Duration = Duration::from_secs(30);

/// What stands between the daemon and the system's clock: it adds what a file says, and leaves the time that only goes
/// forward alone, as a clock that is set does.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let mut found = folders
        .filter_map(|folder| Some(folder.ok()?.path().join("faketime/libfaketime.so.1")))
        .filter(|library| library.exists());
    found
        .next()
        .expect("libfaketime is missing; install the package `faketime`")
}

/// What a scrape says of the one probe.
#[derive(Clone, Copy, Debug)]
struct Seen {
    valid: bool,
    runs: f64,
    suspended: f64,
    missed: f64,
    last: f64,
    next: f64,
}

async fn look(address: &str) -> Option<Seen> {
    let (_, text) = http::get(&format!("{address}/metrics")).await.ok()?;
    let sum = |name: &str, label: &str| {
        let start = format!("{name}{{");
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&start) && line.contains(label));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>()
    };
    Some(Seen {
        valid: sum("vllm_probe_success", "") > 0.0,
        runs: sum("vllm_probe_runs_total", ""),
        suspended: sum("vllm_probe_missed_runs_total", "reason=\"suspended\""),
        missed: sum("vllm_probe_missed_runs_total", ""),
        last: sum("vllm_probe_last_run_timestamp_seconds", ""),
        next: sum("vllm_probe_next_run_timestamp_seconds", ""),
    })
}

/// Waits until three more runs than `before` have come to an end, and the last one counts.
async fn three_more(address: &str, before: f64) -> Seen {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = look(address).await;
        match now {
            Some(seen) if seen.valid && seen.runs >= before + 3.0 => return seen,
            _ => assert!(Instant::now() < deadline, "{before} before, now {now:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Where the daemon's clock stands when the file says `seconds`, in seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the daemon's clock is compared with ours"
)]
fn clock(seconds: i64) -> f64 {
    (Timestamp::now() + seconds.seconds()).as_millisecond() as f64 / 1000.0
}

/// A simulated deployment, and a directory with a configuration that has it probed every second.
async fn place() -> (tempfile::TempDir, Simulator, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        speedup: 200.0,
        ..Settings::new(Profile::named("nvfp4").unwrap())
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let config = directory.path().join("prober.yaml");
    let text = format!(
        "workloads:\n  burst: {{ requests: 16, max_tokens: 16, prompt: Count to ten. }}\n\
         deployments:\n  - name: alpha\n    base_url: {}\n    \
         environment: {{ driver: \"580.95.05\" }}\n    probes: [{{ workload: burst, every: 1s }}]\n",
        simulator.base_url()
    );
    std::fs::write(&config, text).unwrap();
    (directory, simulator, config)
}

async fn stored(address: &str) -> usize {
    let url = format!("{address}/api/v1/deployments/alpha/runs?limit=1000");
    let (_, stored) = http::get(&url).await.unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    stored["runs"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime"]
async fn a_clock_that_is_set_and_a_machine_that_slept_are_lived_through() {
    let (directory, simulator, config) = place().await;
    let offset = directory.path().join("offset");
    let set = |seconds: i64| {
        let fresh = directory.path().join("fresh");
        std::fs::write(&fresh, format!("{seconds:+}")).unwrap();
        std::fs::rename(&fresh, &offset).unwrap();
    };
    let serve = || {
        let mut command = Command::new("env");
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &offset)
            // The file is looked at once a second: threads that look at the same time may read each other's
            // half-read text, and take the clock for another one.
            .env("FAKETIME_CACHE_DURATION", "0")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Program::serve_by(&mut command, &config, &[])
    };
    let near = |seen: Seen, clock: f64| {
        assert!((clock - seen.last).abs() < 10.0, "{clock}: {seen:?}");
        assert!((seen.next - clock).abs() < 10.0, "{clock}: {seen:?}");
    };

    set(0);
    let (daemon, address) = serve();
    let start = three_more(&address, 0.0).await;
    near(start, clock(0));

    // An hour back: it does not wait for the hour to pass again.
    set(-3600);
    let set_back = Instant::now();
    let back = three_more(&address, start.runs).await;
    near(back, clock(-3600));
    assert_eq!(back.suspended, start.suspended, "{start:?} {back:?}");

    // Three hours ahead, as after a sleep of the machine: what lies between is missed, and not made up for.
    set(7200);
    let ahead = three_more(&address, back.runs).await;
    near(ahead, clock(7200));
    let missed = ahead.suspended - back.suspended;
    assert!((10_800.0..10_830.0).contains(&missed), "{back:?} {ahead:?}");
    let elapsed = set_back.elapsed().as_secs_f64();
    assert!(
        ahead.runs - start.runs <= elapsed + 3.0,
        "{start:?} {ahead:?}"
    );

    // The daemon itself stands still.
    let tell = |signal: &str| {
        let id = daemon.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    };
    tell("-STOP");
    sleep(Duration::from_secs(4)).await;
    tell("-CONT");
    let woken = three_more(&address, ahead.runs).await;
    assert!(woken.missed - ahead.missed >= 2.0, "{ahead:?} {woken:?}");

    let all = stored(&address).await;
    assert!(all as f64 >= woken.runs, "{all} stored, {woken:?}");
    let (ended, log) = daemon.terminate(PATIENCE);
    assert!(ended.success(), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");

    // It begins again before the time of some of what it has stored, and loses none of it.
    set(0);
    let (daemon, address) = serve();
    near(three_more(&address, 0.0).await, clock(0));
    assert!(stored(&address).await >= all + 3);
    let (ended, log) = daemon.terminate(PATIENCE);
    assert!(ended.success(), "{log:?}");
    simulator.stop().await.unwrap();
}

/// What `status` says of the daemon at `address`, with plain spaces.
async fn status(address: &str) -> String {
    let url = address.to_owned();
    let run = move || program::run(&["status", "--url", &url]);
    let (code, told, errors) = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!((code, errors.as_str()), (0, ""), "{told}");
    told.replace('\u{a0}', " ")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime"]
async fn status_tells_of_a_daemon_whose_clock_is_wrong_by_its_clock() {
    let (_directory, simulator, config) = place().await;
    for (offset, word) in [("+10800", "ahead of"), ("-10800", "behind")] {
        let mut command = Command::new("env");
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME", offset)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let (daemon, address) = Program::serve_by(&mut command, &config, &[]);
        three_more(&address, 0.0).await;
        let told = status(&address).await;
        let clock = format!("the daemon's clock is 3 h {word} the one here");
        assert!(told.contains(&clock), "{told}");
        // Ages are as if the clock were right.
        let row = told.lines().find(|line| line.starts_with("alpha"));
        assert!(row.is_some_and(|row| row.contains(" s ago, ok")), "{told}");
        let (ended, log) = daemon.terminate(PATIENCE);
        assert!(ended.success(), "{log:?}");
    }
    simulator.stop().await.unwrap();
}
