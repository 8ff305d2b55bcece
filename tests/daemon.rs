//! The daemon as its users meet it: started with a file, asked over HTTP, ended with a signal.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use vllm_prober::simulator::{Change, Fault, Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;

use program::Program;

const PATIENCE: Duration = Duration::from_secs(30);

async fn simulator(speedup: f64) -> Simulator {
    let profile = Profile::named("nvfp4").unwrap();
    Simulator::start(Settings {
        speedup,
        ..Settings::new(profile)
    })
    .await
    .unwrap()
}

fn switch(simulator: &Simulator, fault: Fault) {
    simulator
        .controls()
        .apply(Change {
            fault: Some(fault),
            ..Change::default()
        })
        .unwrap();
}

/// A configuration that probes each deployment every two seconds with 32 requests of 64 tokens. They take so
/// little time that a busy machine makes the prober the bottleneck, which is no matter here.
fn configuration(directory: &Path, global: &str, deployments: &[(&str, String)]) -> PathBuf {
    let deployments: String = deployments
        .iter()
        .map(|(name, base_url)| {
            format!(
                "  - name: \"{name}\"\n    base_url: {base_url}\n    probes: [{{ workload: burst, every: 2s }}]\n"
            )
        })
        .collect();
    let text = format!(
        "global: {{ {global} }}\nworkloads:\n  burst: {{ requests: 32, max_tokens: 64, prompt: Count to ten., \
         validity: {{ min_concurrency_utilization: 0, max_client_delay: 10s, max_client_load_ratio: 1 }} }}\n\
         deployments:\n{deployments}"
    );
    let path = directory.join("prober.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Scrapes until there is a line that begins with `series` and ends with `value`.
async fn scrape_until(base_url: &str, series: &str, value: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, text) = http::get(&format!("{base_url}/metrics")).await.unwrap();
        if text
            .lines()
            .any(|line| line.starts_with(series) && line.ends_with(value))
        {
            return text;
        }
        assert!(
            Instant::now() < deadline,
            "no {series} … {value} in\n{text}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_answers_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator(100.0).await;
    let name = "<script>alert(1)</script>";
    let config = configuration(directory.path(), "", &[(name, simulator.base_url())]);
    let (daemon, base_url) = Program::serve(&config);
    for (path, status, says) in [
        ("/-/healthy", 200, "healthy"),
        ("/-/ready", 200, "ready"),
        ("/config", 200, "burst"),
        ("/", 200, "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("/metrics", 200, "vllm_probe_build_info"),
        ("/nowhere", 404, ""),
        ("/api/../config/prober.yaml", 404, ""),
    ] {
        let (found, body) = http::get(&format!("{base_url}{path}")).await.unwrap();
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.contains(says), "{path}: {body}");
        assert!(path != "/" || !body.contains("<script>"), "{body}");
    }
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_hangs_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (hanging, healthy) = (simulator(100.0).await, simulator(100.0).await);
    switch(&hanging, Fault::Hang);
    let config = configuration(
        directory.path(),
        "max_concurrent_runs: 2, shutdown_grace: 0s",
        &[
            ("hanging", hanging.base_url()),
            ("healthy", healthy.base_url()),
        ],
    );
    let (daemon, base_url) = Program::serve(&config);
    let text = scrape_until(
        &base_url,
        r#"vllm_probe_runs_total{deployment="healthy""#,
        " 3",
    )
    .await;
    assert!(
        text.contains(r#"vllm_probe_run_in_progress{deployment="hanging",workload="burst"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"vllm_probe_success{deployment="healthy",workload="burst"} 1"#),
        "{text}"
    );
    // The slots that its own run has outlasted are counted, and nothing piles up behind it.
    scrape_until(
        &base_url,
        r#"vllm_probe_missed_runs_total{deployment="hanging",workload="burst",reason="running"}"#,
        " 1",
    )
    .await;
    assert!(daemon.terminate(PATIENCE).0.success());
    hanging.stop().await.unwrap();
    healthy.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_told_once_for_each_reason() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator(100.0).await;
    switch(&simulator, Fault::Http500);
    let config = configuration(directory.path(), "", &[("broken", simulator.base_url())]);
    let (daemon, base_url) = Program::serve(&config);
    scrape_until(
        &base_url,
        r#"vllm_probe_runs_total{deployment="broken""#,
        " 1",
    )
    .await;
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    let lines = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    let runs = lines("run finished");
    assert!(runs >= 1, "{}", log.join("\n"));
    assert_eq!(
        lines("requests failed"),
        runs,
        "32 failures of one reason are one line: {}",
        log.join("\n")
    );
    assert!(
        log.iter()
            .any(|line| line.contains("reason=http_5xx") && line.contains("count=32")),
        "{}",
        log.join("\n")
    );
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_flight_is_finished_within_the_grace_period() {
    let directory = tempfile::tempdir().unwrap();
    // A run takes about a second and a half.
    let simulator = simulator(3.0).await;
    let config = configuration(
        directory.path(),
        "shutdown_grace: 30s",
        &[("a", simulator.base_url())],
    );
    let (daemon, base_url) = Program::serve(&config);
    scrape_until(
        &base_url,
        r#"vllm_probe_run_in_progress{deployment="a""#,
        " 1",
    )
    .await;
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success(), "{}", log.join("\n"));
    assert!(
        log.iter()
            .any(|line| line.contains("run finished") && line.contains("valid=true")),
        "{}",
        log.join("\n")
    );
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beyond_the_grace_period_is_cut_and_not_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator(100.0).await;
    switch(&simulator, Fault::Hang);
    let config = configuration(
        directory.path(),
        "shutdown_grace: 300ms",
        &[("a", simulator.base_url())],
    );
    let (daemon, base_url) = Program::serve(&config);
    scrape_until(
        &base_url,
        r#"vllm_probe_run_in_progress{deployment="a""#,
        " 1",
    )
    .await;
    let told = Instant::now();
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success(), "{}", log.join("\n"));
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "{:?}",
        told.elapsed()
    );
    assert!(
        log.iter().any(|line| line.contains("not recorded")),
        "{}",
        log.join("\n")
    );
    assert!(
        !log.iter().any(|line| line.contains("run finished")),
        "{}",
        log.join("\n")
    );
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_stays_unknown_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator(100.0).await;
    let config = configuration(directory.path(), "", &[("other", simulator.base_url())]);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("    probes:", "    model: nobody-serves-it\n    probes:");
    std::fs::write(&config, text).unwrap();
    let (daemon, base_url) = Program::serve(&config);
    let state = r#"vllm_probe_deployment_state{deployment="other",state="unknown"}"#;
    scrape_until(&base_url, state, " 1").await;
    let series = r#"vllm_probe_runs_total{deployment="other""#;
    scrape_until(&base_url, series, " 2").await;
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    let said = |text: &str| log.iter().any(|line| line.contains(text));
    assert!(
        said("run finished") && !said("changed state"),
        "{}",
        log.join("\n")
    );
    simulator.stop().await.unwrap();
}
