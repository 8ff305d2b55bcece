//! A machine that has nothing left to give: no file descriptors, for a while. The daemon lives through it, loses no
//! run that it finished, and goes on as before when there are some again.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;

use program::Program;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the daemon may open: enough for its history, its runtime and a burst, and little more.
const FILES: usize = 48;

/// The runs that came to an end, and whether the last one counts.
async fn runs(address: &str) -> Option<(f64, bool)> {
    let (_, text) = http::get(&format!("{address}/metrics")).await.ok()?;
    let value = |name: &str, label: &str| {
        let mut lines = text.lines();
        let is_it = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
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

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_lives_through_a_time_without_file_descriptors() {
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
