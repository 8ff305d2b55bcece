//! A genuine Prometheus as a child process that scrapes one target every second.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::http;
use super::program::Program;

/// How long a query may take to come to its answer.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Prometheus {
    base_url: String,
    _program: Program,
}

impl Prometheus {
    /// Starts the `prometheus` of this machine with its data under `directory`.
    pub(crate) fn start(directory: &Path, target: &str) -> Self {
        let target = target.strip_prefix("http://").expect("a plain HTTP target");
        Self::start_with(
            directory,
            &format!("static_configs: [{{ targets: ['{target}'] }}]"),
        )
    }

    /// The same with what is said of the job in YAML, below its name.
    pub(crate) fn start_with(directory: &Path, job: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let config = directory.join("prometheus.yml");
        let job = job.replace('\n', "\n    ");
        let text = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: vllm-prober\n    {job}\n"
        );
        std::fs::write(&config, text).expect("a configuration file");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={free}"));
        Self {
            base_url: format!("http://{free}"),
            _program: Program::start(&mut command),
        }
    }

    /// Where its API answers.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The current value of `query`: labels and value of each series.
    pub(crate) async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        http::query(&self.base_url, query).await
    }

    /// Asks until exactly `count` series come, for a bounded time.
    pub(crate) async fn until(&self, query: &str, count: usize) -> Vec<(Value, f64)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let series = self.query(query).await;
            if series.len() == count {
                return series;
            }
            assert!(Instant::now() < deadline, "{query} stayed at {series:?}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// Holds `exposition` against `promtool check metrics`, which is to print nothing.
pub(crate) fn promtool_finds_nothing(exposition: &str) {
    use std::io::Write;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool
        .stdin
        .take()
        .expect("piped")
        .write_all(exposition.as_bytes())
        .expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
