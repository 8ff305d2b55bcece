//! A machine that has little left to give. The daemon lives through a time without file descriptors, loses no run that
//! it finished, and goes on as before when there are some again; and it gets by with little memory, whatever a deployment
//! sends and however many ask.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::num::NonZero;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;
#[path = "common/scripted.rs"]
mod scripted;

use program::Program;
use scripted::{Habits, Scripted, Wire};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the daemon may open: enough for its history, its runtime and a burst, and little more.
const FILES: usize = 48;

/// What the daemon may keep in memory, in bytes: a few times what it has at rest, and the stacks of its threads, of which
/// there is one for each processor. A process that asks for more is ended.
fn memory() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (88 << 20) + processors as u64 * (4 << 20)
}

/// The runs of `alpha` that came to an end, and whether the last one counts.
async fn runs(address: &str) -> Option<(f64, bool)> {
    let (_, text) = http::get(&format!("{address}/metrics")).await.ok()?;
    let value = |name: &str, label: &str| {
        let mut lines = text.lines();
        let series = format!("{name}{{deployment=\"alpha\"");
        let is_it = |line: &&str| line.starts_with(&series) && line.contains(label);
        lines.find(is_it)?.rsplit(' ').next()?.parse::<f64>().ok()
    };
    // An attempt that came to no run is counted among those that failed.
    let none = value("vllm_probe_run_failures_total", "reason=\"not_run\"");
    let all = value("vllm_probe_runs_total", "")? - none.unwrap_or_default();
    Some((all, value("vllm_probe_success", "")? > 0.0))
}

/// Waits for a run that counts and is not among the first so many.
async fn until_valid(address: &str, more_than: f64) -> f64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = runs(address).await;
        match now {
            Some((all, true)) if all > more_than => return all,
            _ => assert!(Instant::now() < deadline, "{now:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn simulator() -> Simulator {
    Simulator::start(Settings {
        speedup: 200.0,
        ..Settings::new(Profile::named("nvfp4").unwrap())
    })
    .await
    .unwrap()
}

/// A configuration that probes each of `deployments`, a name and a base URL, every second.
fn configuration(deployments: &[(&str, &str)]) -> String {
    let each = deployments.iter().map(|(name, url)| {
        format!(
            "  - name: {name}\n    base_url: {url}\n    environment: {{ driver: \"580.95.05\" }}\n    \
             probes: [{{ workload: burst, every: 1s }}]\n"
        )
    });
    let each: String = each.collect();
    format!(
        "global: {{ max_concurrent_runs: 2 }}\n\
         workloads:\n  burst: {{ requests: 16, max_tokens: 16, prompt: Count to ten. }}\ndeployments:\n{each}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_lives_through_a_time_without_file_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let config = directory.path().join("prober.yaml");
    let text = configuration(&[("alpha", &simulator.base_url())]);
    std::fs::write(&config, text).unwrap();
    let limit = format!("--nofile={FILES}:{FILES}");
    let (daemon, address) = Program::serve_by(Command::new("prlimit").arg(limit), &config, &[]);
    let before = until_valid(&address, 1.0).await;

    // Connections that say nothing take all that there are.
    let host = address.trim_start_matches("http://");
    let crowd: Vec<_> = (0..2 * FILES)
        .map(|_| TcpStream::connect(host).unwrap())
        .collect();
    sleep(Duration::from_secs(4)).await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap();
    assert!(open.count() + 2 >= FILES, "there were some left");
    drop(crowd);

    let after = until_valid(&address, before + 1.0).await;
    assert!(after > before);
    // What was shown had been stored.
    let (_, stored) = http::get(&format!(
        "{address}/api/v1/deployments/alpha/runs?limit=1000"
    ))
    .await
    .unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let stored = stored["runs"].as_array().unwrap().len();
    assert!(stored as f64 >= after, "{stored} stored, {after} counted");
    let (ended, log) = daemon.terminate(PATIENCE);
    assert!(ended.success(), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:?}");
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_gets_by_with_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    // It tells its model, and all else is an answer without end.
    let without_end = |wire: &mut Wire| {
        wire.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")?;
        let event = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n";
        let many = event.repeat(1000);
        loop {
            wire.say(&many)?;
        }
    };
    let habits = Habits {
        gets: Arc::new(move |asked, wire| match asked.head.contains("/v1/models") {
            true => wire.json(
                "200 OK",
                r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#,
            ),
            false => without_end(wire),
        }),
        ..Habits::default()
    };
    let flood = Scripted::with(habits, Arc::new(move |_, wire| without_end(wire)));
    let config = directory.path().join("prober.yaml");
    let flooding = flood.base_url();
    let text = configuration(&[("alpha", &simulator.base_url()), ("flood", &flooding)]);
    std::fs::write(&config, text).unwrap();
    let limit = format!("--data={0}:{0}", memory());
    let (daemon, address) = Program::serve_by(Command::new("prlimit").arg(limit), &config, &[]);
    let before = until_valid(&address, 1.0).await;

    // As many as it serves at once ask for everything that there is.
    let paths = [
        "",
        "metrics",
        "about",
        "config",
        "deployments/alpha",
        "deployments/flood",
        "api/v1/deployments",
    ];
    let asking = (0..400).map(|at| {
        let url = format!("{address}/{}", paths[at % paths.len()]);
        async move { http::get(&url).await.map(|(status, _)| status) }
    });
    for status in futures_util::future::join_all(asking).await {
        assert_eq!(status.unwrap(), 200);
    }
    until_valid(&address, before + 3.0).await;

    let (_, flooded) = http::get(&format!("{address}/api/v1/deployments/flood"))
        .await
        .unwrap();
    let flooded: Value = serde_json::from_str(&flooded).unwrap();
    let evidence = flooded["evidence"].as_str().unwrap();
    assert!(evidence.starts_with("too_large"), "{evidence}");
    let (ended, log) = daemon.terminate(PATIENCE);
    assert!(ended.success(), "{log:?}");
    simulator.stop().await.unwrap();
}
