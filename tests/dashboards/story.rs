//! A day that has everything in it, in a minute: three precisions are probed, a driver is changed and one of them
//! becomes slower, another one has other users for a while, the third is restarted, and a fourth deployment is not there
//! at all. A genuine Prometheus looks on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use vllm_prober::simulator::{Change, Profile, Settings, Simulator};

use super::http;
use super::program::Program;
use super::prometheus::Prometheus;

/// Each with its driver.
pub(crate) const DEPLOYMENTS: [(&str, &str); 3] = [
    ("nvfp4", "580.95.05"),
    ("fp8", "580.95.05"),
    ("bf16", "580.95.05"),
];

pub(crate) const WORKLOAD: &str = "burst";

/// Large enough to stand out of what a busy machine does to runs of a third of a second.
const SLOWDOWN: f64 = 1.4;

/// It is probed and not there.
pub(crate) const GONE: &str = "gone";

/// What the story need not have an example of; in all else a question without an answer is a wrong one.
pub(crate) const MAY_BE_SILENT: [&str; 7] = [
    "vllm-prober-fleet / Stale / A",
    "vllm-prober-fleet / Firing alerts / A",
    "vllm-prober-health / Missed runs / A",
    "vllm-prober-health / Skipped runs / A",
    "vllm-prober-health / Deferred runs / A",
    "vllm-prober-health / Errors / A",
    "annotation / Faster, while it stands",
];

/// The end of the story, with all who took part in it.
pub(crate) struct Told {
    prometheus: Prometheus,
    daemon: Program,
    simulators: Vec<Simulator>,
    /// Unix time at which it began.
    pub(crate) from: u64,
    until: u64,
    _directory: tempfile::TempDir,
}

fn facts(directory: &Path, name: &str, driver: &str) -> PathBuf {
    let path = directory.join(format!("{name}-facts"));
    std::fs::write(
        &path,
        format!("driver: {driver}\ncuda: 13.0\ngpu: simulated\n"),
    )
    .unwrap();
    path
}

fn configuration(directory: &Path, simulators: &[Simulator]) -> PathBuf {
    let deployments: String = DEPLOYMENTS
        .iter()
        .zip(simulators)
        .map(|((name, driver), simulator)| {
            format!(
                "  - name: {name}\n    base_url: {}\n    family: qwen3-32b\n    precision: {name}\n    \
                 environment: {{ from_file: {} }}\n    probes: [{{ workload: {WORKLOAD}, every: 2s }}]\n",
                simulator.base_url(),
                facts(directory, name, driver).display()
            )
        })
        .collect();
    // The configuration's word is contradicted by what is found.
    let deployments = deployments.replacen("environment: {", "environment: { gpu: another,", 1);
    let path = directory.join("prober.yaml");
    let text = format!(
        "global: {{ max_concurrent_runs: 3, guards: {{ max_foreign_requests: any }} }}\nworkloads:\n  {WORKLOAD}: {{ requests: 16, max_tokens: 128, \
         prompt: Count to ten., validity: {{ min_concurrency_utilization: 0, max_client_delay: 10s, \
         max_client_load_ratio: 1 }} }}\ndeployments:\n{deployments}  \
         - {{ name: {GONE}, base_url: 'http://127.0.0.1:9', model: m, probes: [{{ workload: {WORKLOAD}, every: 5s }}] }}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Prometheus' own clock, so that no wall clock is read here.
async fn now(prometheus: &Prometheus) -> u64 {
    prometheus.until("vector(time())", 1).await[0].1 as u64
}

/// Lets it all happen, each step once the one before is seen in Prometheus.
pub(crate) async fn tell() -> Told {
    let directory = tempfile::tempdir().unwrap();
    let mut simulators = Vec::new();
    for (name, _) in DEPLOYMENTS {
        let settings = Settings {
            speedup: 10.0,
            prompt_tokens: Some(110),
            ..Settings::new(Profile::named(name).unwrap())
        };
        simulators.push(Simulator::start(settings).await.unwrap());
    }
    let change = |index: usize, change: Change| simulators[index].controls().apply(change).unwrap();
    let config = configuration(directory.path(), &simulators);
    let (daemon, address) = Program::serve(&config);
    let prometheus = Prometheus::start(directory.path(), &address);
    let from = now(&prometheus).await;
    prometheus.until("vllm_probe_baseline_runs >= 12", 3).await;

    let starts = prometheus
        .query(r#"vllm_probe_server_start_time_seconds{deployment="nvfp4"}"#)
        .await;
    change(
        0,
        Change {
            restart: true,
            ..Change::default()
        },
    );
    facts(directory.path(), "fp8", "590.01.01");
    change(
        1,
        Change {
            slowdown: Some(SLOWDOWN),
            ..Change::default()
        },
    );
    change(
        2,
        Change {
            foreign_requests: Some(4),
            ..Change::default()
        },
    );
    prometheus
        .until(r#"vllm_probe_run_contaminated{deployment="bf16"} == 1"#, 1)
        .await;
    change(
        2,
        Change {
            foreign_requests: Some(0),
            ..Change::default()
        },
    );
    let restarted = format!(
        r#"vllm_probe_server_start_time_seconds{{deployment="nvfp4"}} > {}"#,
        starts[0].1
    );
    prometheus.until(&restarted, 1).await;
    // Against the environment before and against the baseline.
    let verdict = r#"vllm_probe_verdict{deployment="fp8",measure="decode_tokens_rate"} == -1"#;
    prometheus.until(verdict, 2).await;
    prometheus
        .until(r#"vllm_probe_deployment_info{driver="590.01.01"}"#, 1)
        .await;
    prometheus
        .until("count(vllm_probe_precision_speedup_ratio) == 3", 1)
        .await;
    // The bounds of a time range are whole seconds.
    sleep(Duration::from_secs(2)).await;
    let until = now(&prometheus).await;
    Told {
        prometheus,
        daemon,
        simulators,
        from,
        until,
        _directory: directory,
    }
}

impl Told {
    /// How long it took, in seconds.
    pub(crate) fn range(&self) -> u64 {
        self.until - self.from
    }

    /// How many series answer a question about the whole story, or about its end.
    pub(crate) async fn ask(&self, expr: &str, is_range: bool) -> Result<usize, String> {
        let (from, until) = (self.from.to_string(), self.until.to_string());
        let answer = if is_range {
            let times = [
                ("query", expr),
                ("start", &from),
                ("end", &until),
                ("step", "1"),
            ];
            self.get("query_range", &times).await?
        } else {
            self.get("query", &[("query", expr), ("time", &until)])
                .await?
        };
        Ok(answer["result"].as_array().map_or(0, Vec::len))
    }

    /// What a variable offers.
    pub(crate) async fn label_values(&self, metric: &str, label: &str) -> Vec<Value> {
        let values = self
            .get(&format!("label/{label}/values"), &[("match[]", metric)])
            .await;
        values.unwrap().as_array().cloned().unwrap_or_default()
    }

    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("{}/api/v1/{path}", self.prometheus.base_url());
        let mut url: reqwest::Url = url.parse().unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let (status, body) = http::get(url.as_str())
            .await
            .map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&body).map_err(|_| body.clone())?;
        if status != 200 {
            return Err(answer["error"].to_string());
        }
        Ok(answer["data"].clone())
    }

    /// Ends everything in order.
    pub(crate) async fn end(self) {
        assert!(self.daemon.terminate(Duration::from_secs(40)).0.success());
        for simulator in self.simulators {
            simulator.stop().await.unwrap();
        }
    }
}
