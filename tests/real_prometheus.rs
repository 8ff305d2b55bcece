//! A genuine Prometheus scrapes the daemon, and its series are read back over Prometheus' own API.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use vllm_prober::simulator::{Change, Fault, Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;
#[path = "common/prometheus.rs"]
mod prometheus;

use program::Program;
use prometheus::{Prometheus, promtool_finds_nothing};

const SPEEDUP: f64 = 10.0;

async fn simulator(profile: &str) -> Simulator {
    let profile = Profile::named(profile).unwrap();
    Simulator::start(Settings {
        speedup: SPEEDUP,
        prompt_tokens: Some(110),
        ..Settings::new(profile)
    })
    .await
    .unwrap()
}

fn configuration(directory: &Path, deployments: &[(&str, &Simulator)]) -> std::path::PathBuf {
    let deployments: String = deployments
        .iter()
        .map(|(name, simulator)| {
            format!(
                "  - name: {name}\n    base_url: {}\n    family: qwen3-32b\n    precision: {name}\n    \
                 environment: {{ driver: \"580.95.05\" }}\n    probes:\n      \
                 - {{ workload: reference, every: 12s }}\n      - {{ workload: canary, every: 5s }}\n",
                simulator.base_url()
            )
        })
        .collect();
    let path = directory.join("prober.yaml");
    let text = format!(
        "workloads:\n  reference: {{ prompt: \"{}\" }}\n  \
         canary: {{ requests: 1, concurrency: 1, max_tokens: 16, prompt: hello }}\ndeployments:\n{deployments}",
        "word ".repeat(100)
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus and promtool"]
async fn prometheus_scrapes_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let (nvfp4, bf16) = (simulator("nvfp4").await, simulator("bf16").await);
    let config = configuration(directory.path(), &[("nvfp4", &nvfp4), ("bf16", &bf16)]);
    let (daemon, base_url) = Program::serve(&config);
    let prometheus = Prometheus::start(directory.path(), &base_url);

    // Both deployments have figures, close to the published ones at the simulators' speed-up.
    let rates = prometheus
        .until(
            r#"vllm_probe_run_decode_tokens_per_second{workload="reference"}"#,
            2,
        )
        .await;
    for (labels, rate) in rates {
        let published = if labels["deployment"] == "nvfp4" {
            606.47
        } else {
            322.09
        };
        let measured = rate / SPEEDUP;
        assert!(
            (measured / published - 1.0).abs() < 0.15,
            "{labels}: {measured}"
        );
    }
    assert_eq!(prometheus.query("up").await[0].1, 1.0);

    // Identity lives on the info metric, and is joined from there.
    let joined = prometheus.query(r#"vllm_probe_run_requests_per_second{workload="reference"} * on (deployment) group_left (precision, model, vllm_version, driver) vllm_probe_deployment_info"#,
    )
    .await;
    let (labels, _) = joined
        .iter()
        .find(|(labels, _)| labels["deployment"] == "nvfp4")
        .unwrap();
    assert_eq!(labels["model"], "RedHatAI/Qwen3-32B-NVFP4");
    assert_eq!(labels["vllm_version"], "0.13.0");
    assert_eq!(labels["driver"], "580.95.05");

    // Quantiles are a summary's, counters are there from the start.
    let quantiles = prometheus
        .query(r#"vllm_probe_run_e2e_latency_seconds{workload="reference",deployment="bf16"}"#)
        .await;
    assert_eq!(quantiles.len(), 4, "{quantiles:?}");
    let failures = prometheus
        .query(r#"sum(vllm_probe_request_failures_total)"#)
        .await;
    assert_eq!(failures[0].1, 0.0);

    // A deployment that fails loses its figures at once; when it last ran stays known.
    nvfp4
        .controls()
        .apply(Change {
            fault: Some(Fault::Http500),
            ..Change::default()
        })
        .unwrap();
    prometheus
        .until(
            r#"vllm_probe_success{workload="reference",deployment="nvfp4"} == 0"#,
            1,
        )
        .await;
    let rates = prometheus
        .until(
            r#"vllm_probe_run_decode_tokens_per_second{workload="reference"}"#,
            1,
        )
        .await;
    assert_eq!(
        rates[0].0["deployment"], "bf16",
        "the other one is not harmed"
    );
    let reasons = prometheus
        .query(r#"vllm_probe_run_invalid{workload="reference",deployment="nvfp4"} == 1"#)
        .await;
    assert_eq!(reasons[0].0["reason"], "failed_requests");
    let failures = prometheus
        .query(r#"vllm_probe_request_failures_total{deployment="nvfp4",workload="reference"} > 0"#)
        .await;
    assert_eq!(failures[0].0["reason"], "http_5xx");
    assert_eq!(
        prometheus
            .query(
                r#"vllm_probe_last_run_timestamp_seconds{deployment="nvfp4",workload="reference"}"#
            )
            .await
            .len(),
        1
    );

    promtool_finds_nothing(&http::get(&format!("{base_url}/metrics")).await.unwrap().1);

    let (status, log) = daemon.terminate(Duration::from_secs(40));
    assert!(status.success(), "{status}: {}", log.join("\n"));
    nvfp4.stop().await.unwrap();
    bf16.stop().await.unwrap();
}
