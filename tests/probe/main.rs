//! `/probe` as Prometheus and people meet it: the daemon as a program, asked over HTTP, with servers that do what a
//! test wants.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Profile, Settings, Simulator};

mod crowd;
#[path = "../common/http.rs"]
mod http;
mod logs;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/prometheus.rs"]
mod prometheus;
mod refusals;
mod scrapes;
#[path = "../common/scripted.rs"]
mod scripted;

use program::Program;
use prometheus::{Prometheus, promtool_finds_nothing};
use scripted::{Habits, Scripted};

const PATIENCE: Duration = Duration::from_secs(30);

const WORKLOADS: &str = "workloads:
  canary: { requests: 1, concurrency: 1, max_tokens: 4, prompt: Say a., validity: { max_client_delay: 10s, max_client_load_ratio: 1 } }
  burst: { requests: 2, concurrency: 2, max_tokens: 4, prompt: Say a. }
";

fn write(directory: &Path, sections: &str, deployments: &[(&str, String, &str)]) -> PathBuf {
    let mut text = format!("{sections}{WORKLOADS}deployments:\n");
    for (name, base_url, more) in deployments {
        writeln!(
            text,
            "  - {{ name: {name}, base_url: \"{base_url}\", model: m, metrics_url: off, {more} }}"
        )
        .unwrap();
    }
    let path = directory.join("prober.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

const RARELY: &str = "probes: [{ workload: burst, every: 300d }]";

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
    client.build().unwrap()
}

/// Asks `/probe` with `parameters` as a scraper that waits for `timeout` seconds.
async fn probe(
    base_url: &str,
    parameters: &[(&str, &str)],
    timeout: Option<&str>,
) -> (u16, String) {
    let mut url: reqwest::Url = format!("{base_url}/probe").parse().unwrap();
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    let mut request = client().get(url);
    if let Some(timeout) = timeout {
        request = request.header("X-Prometheus-Scrape-Timeout-Seconds", timeout);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

/// The value of the series `name` without labels.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// A server that is well. It takes its time, or the prober would be found to be the bottleneck.
fn healthy() -> Scripted {
    Scripted::start(|asked, wire| {
        std::thread::sleep(Duration::from_millis(30));
        wire.answer(asked)
    })
}

fn hanging() -> Scripted {
    Scripted::start(|_, wire| wire.silence())
}

async fn json(url: &str) -> Value {
    let (status, body) = http::get(url).await.unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_probed_while_the_scrape_waits_and_nothing_else_takes_notice() {
    let directory = tempfile::tempdir().unwrap();
    let server = healthy();
    let config = write(
        directory.path(),
        "",
        &[("nvfp4", server.base_url(), RARELY)],
    );
    let (daemon, base_url) = Program::serve(&config);
    for parameters in [
        &[("target", "nvfp4")][..],
        &[("target", "nvfp4"), ("module", "canary")],
        &[
            ("target", &format!("{}/v1/", server.base_url())),
            ("workload", "canary"),
        ],
        &[("target", "nvfp4"), ("workload", ""), ("debug", "false")],
    ] {
        let (status, text) = probe(&base_url, parameters, Some("10")).await;
        assert_eq!(status, 200, "{text}");
        for line in [
            "probe_success 1",
            "probe_timeout_seconds 9.5",
            "probe_requests 1",
            "probe_completion_tokens_mean 4",
            r#"probe_http_info{status_class="2xx"} 1"#,
            r#"probe_target_info{deployment="nvfp4",workload="canary",model="m",vllm_version="0.13.0"} 1"#,
        ] {
            assert!(has(&text, line), "{line} is not in\n{text}");
        }
        for name in [
            "probe_time_to_first_token_seconds",
            "probe_e2e_latency_seconds",
            "probe_duration_seconds",
        ] {
            assert!(value(&text, name).unwrap() > 0.0, "{text}");
        }
        assert!(
            !text.contains("probe_failure_info") && !text.contains("vllm_probe_"),
            "{text}"
        );
    }
    // Whoever does not say how long it waits is waited for no longer than that.
    let (_, text) = probe(&base_url, &[("target", "nvfp4")], None).await;
    assert!(has(&text, "probe_timeout_seconds 120"), "{text}");
    assert_eq!(server.posts().len(), 5);

    let (_, metrics) = http::get(&format!("{base_url}/metrics")).await.unwrap();
    let never = r#"vllm_probe_runs_total{deployment="nvfp4",workload="burst"} 0"#;
    assert!(
        has(&metrics, never) && !metrics.contains("canary"),
        "{metrics}"
    );
    let runs = json(&format!("{base_url}/api/v1/deployments/nvfp4/runs")).await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 0);

    // Its log is kept for a while.
    let logs = json(&format!("{base_url}/api/v1/run-logs")).await;
    let logs = logs["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 5);
    assert_eq!(
        (&logs[0]["cause"], &logs[0]["ending"]),
        (&"probe".into(), &"valid".into())
    );
    let path = logs[0]["log"].as_str().unwrap();
    let (status, log) = http::get(&format!("{base_url}/api/v1/{path}"))
        .await
        .unwrap();
    assert_eq!(status, 200);
    for words in [
        "cause: probe",
        "asked for by /probe",
        "GET /version says 0.13.0",
        "valid: 1 completed",
    ] {
        assert!(log.contains(words), "{words} is not in\n{log}");
    }
    let (status, body) = http::get(&format!("{base_url}/api/v1/runs/none/log"))
        .await
        .unwrap();
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &problem["status"]), (404, &404.into()));
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_ends_in_time_and_says_why_it_failed() {
    let directory = tempfile::tempdir().unwrap();
    let (hangs, breaks) = (
        hanging(),
        Scripted::start(|_, wire| wire.json("500 Internal Server Error", "{}")),
    );
    let deployments = [
        ("hangs", hangs.base_url(), RARELY),
        ("breaks", breaks.base_url(), RARELY),
        ("refuses", "http://127.0.0.1:1".to_owned(), RARELY),
    ];
    let config = write(directory.path(), "", &deployments);
    let (daemon, base_url) = Program::serve_with(&config, &["--web.probe-timeout-offset", "1s"]);
    let asked = Instant::now();
    let (status, text) = probe(&base_url, &[("target", "hangs")], Some("2")).await;
    let took = asked.elapsed();
    assert_eq!(status, 200);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(
        hangs.all_closed_within(PATIENCE),
        "the request is taken back"
    );
    for line in [
        "probe_success 0",
        "probe_timeout_seconds 1",
        r#"probe_failure_info{reason="timeout"} 1"#,
    ] {
        assert!(has(&text, line), "{line} is not in\n{text}");
    }
    for (target, lines, absent) in [
        (
            "breaks",
            &[
                r#"probe_failure_info{reason="failed_requests"} 1"#,
                r#"probe_failed_requests{reason="http_5xx"} 1"#,
                r#"probe_http_info{status_class="5xx"} 1"#,
            ][..],
            "probe_e2e_latency_seconds",
        ),
        (
            "refuses",
            &[
                r#"probe_failure_info{reason="failed_requests"} 1"#,
                r#"probe_failed_requests{reason="connect"} 1"#,
            ],
            "probe_http_info",
        ),
    ] {
        let (status, text) = probe(&base_url, &[("target", target)], Some("10")).await;
        assert_eq!(status, 200);
        assert!(
            has(&text, "probe_success 0") && !text.contains(absent),
            "{text}"
        );
        for line in lines {
            assert!(has(&text, line), "{line} is not in\n{text}");
        }
    }
    let (status, page) = probe(&base_url, &[("target", "breaks"), ("debug", "true")], None).await;
    assert_eq!(status, 200);
    for words in [
        "Log of the probe:",
        "http_5xx: HTTP 500",
        "\nprobe_success 0\n",
        "\ntarget: breaks\n",
        "auth: none",
    ] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sleeps_is_not_woken() {
    let directory = tempfile::tempdir().unwrap();
    let page = "# TYPE vllm:engine_sleep_state gauge\nvllm:engine_sleep_state{engine=\"0\",sleep_state=\"awake\"} 0\n\
                vllm:engine_sleep_state{engine=\"0\",sleep_state=\"weights_offloaded\"} 1\n\
                # TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\"} 0\n";
    let habits = Habits {
        gets: std::sync::Arc::new(move |_, wire| wire.document("200 OK", "text/plain", page)),
        ..Habits::default()
    };
    let server = Scripted::with(
        habits,
        std::sync::Arc::new(|asked, wire| wire.answer(asked)),
    );
    let config = write(directory.path(), "", &[("a", server.base_url(), RARELY)]);
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("metrics_url: off, ", "");
    std::fs::write(&config, text).unwrap();
    let (daemon, base_url) = Program::serve(&config);
    let (status, text) = probe(&base_url, &[("target", "a")], Some("10")).await;
    assert_eq!(status, 200);
    assert!(
        has(&text, r#"probe_failure_info{reason="asleep"} 1"#),
        "{text}"
    );
    assert!(server.posts().is_empty());
    assert!(daemon.terminate(PATIENCE).0.success());
}
