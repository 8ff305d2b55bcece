//! The whole story: a driver is changed, the deployment becomes slower, and the daemon says so, against what and by
//! how much. It is restarted in the middle and at the end, and forgets nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Change, Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;

use program::Program;

const PATIENCE: Duration = Duration::from_secs(60);

/// Large enough to stand out of what a busy machine does to runs of a third of a second.
const SLOWDOWN: f64 = 1.4;

fn configuration(directory: &Path, base_url: &str, driver: &str, every: &str) -> PathBuf {
    let path = directory.join("prober.yaml");
    let text = format!(
        "workloads:\n  burst: {{ requests: 16, max_tokens: 128, prompt: Count to ten., \
         validity: {{ min_concurrency_utilization: 0, max_client_delay: 10s, max_client_load_ratio: 1 }} }}\n\
         deployments:\n  - name: d\n    base_url: {base_url}\n    family: f\n    precision: fp8\n    \
         environment: {{ driver: \"{driver}\" }}\n    probes: [{{ workload: burst, every: {every} }}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Scrapes until a line begins with `series` and its value is what `holds` wants.
async fn until(base_url: &str, series: &str, holds: impl Fn(f64) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, text) = http::get(&format!("{base_url}/metrics")).await.unwrap();
        if value(&text, series).is_some_and(&holds) {
            return text;
        }
        assert!(Instant::now() < deadline, "no such {series} in\n{text}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

const BASELINE: &str = r#"vllm_probe_baseline_runs{deployment="d",workload="burst"}"#;
const VERDICT: &str = r#"vllm_probe_verdict{deployment="d",workload="burst",comparison="previous",measure="decode_tokens_rate"}"#;
const CHANGES: &str = r#"vllm_probe_environment_changes_total{deployment="d",field="driver"}"#;

const ACKNOWLEDGED: &str = r#"vllm_probe_acknowledged{deployment="d",workload="burst"}"#;
const CHANGED_AT: &str = r#"vllm_probe_environment_changed_timestamp_seconds{deployment="d"}"#;

fn bound(name: &str) -> String {
    format!(
        r#"vllm_probe_{name}{{deployment="d",workload="burst",comparison="previous",measure="decode_tokens_rate"}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_makes_a_deployment_slower_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(Settings {
        speedup: 10.0,
        ..Settings::new(Profile::named("fp8").unwrap())
    })
    .await
    .unwrap();
    let base_url = simulator.base_url();

    let config = configuration(directory.path(), &base_url, "580.95.05", "1s");
    let (daemon, address) = Program::serve(&config);
    let text = until(&address, BASELINE, |runs| runs >= 12.0).await;
    assert_eq!(value(&text, CHANGES), Some(0.0));
    assert_eq!(value(&text, VERDICT), None, "nothing has changed yet");
    assert!(daemon.terminate(PATIENCE).0.success());

    let slower = Change {
        slowdown: Some(SLOWDOWN),
        ..Change::default()
    };
    simulator.controls().apply(slower).unwrap();
    let config = configuration(directory.path(), &base_url, "590.01.01", "1s");
    let (daemon, address) = Program::serve(&config);
    let text = until(&address, VERDICT, |verdict| verdict == -1.0).await;
    assert_eq!(value(&text, CHANGES), Some(1.0));
    let (lower, upper) = (
        value(&text, &bound("change_lower_ratio")).unwrap(),
        value(&text, &bound("change_upper_ratio")).unwrap(),
    );
    println!("{lower} to {upper}, and the truth is {}", 1.0 / SLOWDOWN);
    assert!(lower < upper && upper < 0.9, "{lower} to {upper}");
    let runs = value(&text, "vllm_probe_runs_total{").unwrap();
    assert!(runs <= 12.0, "found after {runs} runs");
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    let log = log.join("\n");
    assert!(log.contains("driver: 580.95.05 → 590.01.01"), "{log}");
    assert!(log.contains("verdict=regressed"), "{log}");

    // The same opinion is there again before there is another run.
    let config = configuration(directory.path(), &base_url, "590.01.01", "1h");
    let (daemon, address) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let again = until(&address, VERDICT, |verdict| verdict == -1.0).await;
    if value(&again, "vllm_probe_runs_total{") == Some(0.0) {
        assert_eq!(value(&again, BASELINE), value(&text, BASELINE));
    }
    assert_eq!(value(&again, ACKNOWLEDGED), Some(0.0));
    assert!(value(&again, CHANGED_AT).is_some(), "{again}");

    // Someone sees it. That is silent, and is not forgotten either.
    let url = address.as_str();
    let ack = ["ack", "d", "--by", "on-call", "--url", url];
    let because = [&ack[..], &["--why", "rolled back on Monday"]].concat();
    let (status, _, error) = program::run(&[&because[..], &["--until", "0s"]].concat());
    assert!(status == 1 && error.contains("past"), "{error}");
    let (status, out, error) = program::run(&[&because[..], &["--until", "2d"]].concat());
    assert_eq!(status, 0, "{error}");
    assert!(
        out.starts_with("acknowledged: d, burst: decode_tokens_rate"),
        "{out}"
    );
    until(&address, ACKNOWLEDGED, |holds| holds == 1.0).await;
    assert!(daemon.terminate(PATIENCE).0.success());
    let (daemon, address) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    until(&address, ACKNOWLEDGED, |holds| holds == 1.0).await;
    let url = address.as_str();
    let (status, out, _) = program::run(&["baseline", "show", "d", "--url", url]);
    assert!(
        status == 0 && out.contains("regressed, seen by on-call"),
        "{out}"
    );

    // The new level is what is expected from now on, and that too outlives the process.
    let pin = ["baseline", "pin", "d", "--by", "on-call", "--url", url];
    let (status, out, error) = program::run(&[&pin[..], &["--why", "it stays"]].concat());
    assert!(
        status == 0 && out.starts_with("pinned: d, burst: "),
        "{out}{error}"
    );
    let pinned = until(&address, ACKNOWLEDGED, |holds| holds == 0.0).await;
    assert_eq!(value(&pinned, VERDICT), None, "nothing stands any more");
    assert_ne!(value(&pinned, BASELINE), value(&again, BASELINE));
    assert!(daemon.terminate(PATIENCE).0.success());
    let (daemon, address) = Program::serve(&config);
    let again = until(&address, BASELINE, |_| true).await;
    assert_eq!(value(&again, BASELINE), value(&pinned, BASELINE));
    let url = address.as_str();
    let pin = [
        "baseline", "pin", "d", "--by", "x", "--why", "y", "--url", url,
    ];
    let (status, _, error) = program::run(&pin);
    assert!(
        status == 1 && error.contains("--web.enable-lifecycle"),
        "{error}"
    );
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}
