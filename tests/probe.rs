//! `/probe` as Prometheus and people meet it: the daemon as a program, asked over HTTP, with servers that do what a
//! test wants.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;
#[path = "common/prometheus.rs"]
mod prometheus;
#[path = "common/scripted.rs"]
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
async fn the_logs_of_scheduled_runs_tell_what_went_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let broken = Scripted::start(|_, wire| {
        wire.json(
            "503 Service Unavailable",
            r#"{"error":{"message":"no GPU"}}"#,
        )
    });
    let often = "probes: [{ workload: canary, every: 1s }]";
    let deployments = [
        ("broken", broken.base_url(), often),
        ("good", healthy().base_url(), often),
    ];
    let config = write(directory.path(), "", &deployments);
    let (daemon, base_url) = Program::serve_with(
        &config,
        &["--web.enable-lifecycle", "--web.run-log-limit", "4"],
    );
    let deadline = Instant::now() + PATIENCE;
    let log = loop {
        let logs = json(&format!("{base_url}/api/v1/run-logs")).await;
        let logs = logs["logs"].as_array().unwrap().clone();
        // The good runs have pushed it out of the last ones, and it is still there.
        let kept = logs.iter().filter(|log| log["ending"] == "invalid").count();
        if logs.len() > 6 && kept >= 4 {
            assert!(logs.len() <= 8, "{logs:?}");
            break logs
                .into_iter()
                .rfind(|log| log["ending"] == "invalid")
                .unwrap();
        }
        assert!(Instant::now() < deadline, "{logs:?}");
        sleep(Duration::from_millis(50)).await;
    };
    let (_, text) = http::get(&format!(
        "{base_url}/api/v1/{}",
        log["log"].as_str().unwrap()
    ))
    .await
    .unwrap();
    for words in [
        "deployment: broken",
        "cause: schedule",
        "ending: invalid",
        "due at ",
        "model m, as configured",
        "not tried again: http_5xx: HTTP 503: no GPU",
        "failed_requests (",
        "handed to the history",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    // It has the id of the run in the history.
    let run = log["run_id"].as_str().unwrap();
    let stored = json(&format!("{base_url}/api/v1/runs/{run}")).await;
    assert_eq!(stored["run_id"], run);
    let (status, page) = http::get(&format!("{base_url}/runs/{run}")).await.unwrap();
    assert_eq!(status, 200);
    assert!(
        page.contains("not tried again: http_5xx: HTTP 503: no GPU"),
        "{page}"
    );
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_came_to_no_run_leads_to_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prober.yaml");
    // No model is named, and nobody is there to tell.
    let text = "workloads:\n  canary: { requests: 1, concurrency: 1, max_tokens: 8, prompt: Count. }\ndeployments:\n  - name: nobody\n    base_url: http://127.0.0.1:1\n    \
        probes: [{ workload: canary, every: 1s }]\n";
    std::fs::write(&config, text).unwrap();
    let (daemon, base_url) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let deadline = Instant::now() + PATIENCE;
    let link = loop {
        let url = format!("{base_url}/deployments/nobody");
        let (_, page) = http::get(&url).await.unwrap();
        if let Some((_, rest)) = page.split_once("href=\"../runs/") {
            break rest.split('"').next().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{page}");
        sleep(Duration::from_millis(50)).await;
    };
    let (status, page) = http::get(&format!("{base_url}/runs/{link}")).await.unwrap();
    assert_eq!(status, 200);
    for words in [
        "came to no run",
        "cause: schedule",
        "ending: failed",
        "no run: no model is",
    ] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    let (status, _) = http::get(&format!("{base_url}/runs/none")).await.unwrap();
    assert_eq!(status, 404);
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
async fn no_probe_runs_while_a_burst_holds_its_lane() {
    let directory = tempfile::tempdir().unwrap();
    let (hangs, waits, free) = (hanging(), healthy(), healthy());
    let lane = format!("lane: gpu0, {RARELY}");
    let deployments = [
        ("burst", hangs.base_url(), lane.as_str()),
        ("waits", waits.base_url(), lane.as_str()),
        ("free", free.base_url(), RARELY),
    ];
    let config = write(directory.path(), "", &deployments);
    let (daemon, base_url) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let order = format!("{base_url}/api/v1/deployments/burst/runs");
    let (status, body) = http::post_json(&order, &serde_json::json!({}))
        .await
        .unwrap();
    assert_eq!(status, 202, "{body}");
    let deadline = Instant::now() + PATIENCE;
    while hangs.posts().is_empty() {
        assert!(Instant::now() < deadline, "the burst does not begin");
        sleep(Duration::from_millis(20)).await;
    }
    for target in ["waits", "burst"] {
        let (status, text) = probe(&base_url, &[("target", target)], Some("1")).await;
        assert_eq!(status, 200);
        assert!(
            has(&text, r#"probe_failure_info{reason="lane"} 1"#),
            "{text}"
        );
        assert!(
            has(&text, "probe_success 0") && has(&text, "probe_timeout_seconds 0.5"),
            "{text}"
        );
        assert_eq!(
            value(&text, "probe_lane_wait_seconds"),
            value(&text, "probe_duration_seconds")
        );
    }
    assert_eq!(waits.accepted(), 0, "nothing was sent");
    let (_, text) = probe(&base_url, &[("target", "free")], Some("10")).await;
    assert!(has(&text, "probe_success 1"), "{text}");
    // One that waits is let in when the lane is free.
    let waiting = probe(&base_url, &[("target", "waits")], Some("20"));
    let cutting = async {
        sleep(Duration::from_millis(300)).await;
        let cancel = format!("{base_url}/api/v1/deployments/burst/cancel");
        http::post_json(&cancel, &serde_json::json!({}))
            .await
            .unwrap()
    };
    let ((_, text), (status, body)) = tokio::join!(waiting, cutting);
    assert_eq!(status, 200, "{body}");
    assert!(has(&text, "probe_success 1"), "{text}");
    assert!(
        value(&text, "probe_lane_wait_seconds").unwrap() > 0.2,
        "{text}"
    );
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_open_relay() {
    let directory = tempfile::tempdir().unwrap();
    let (server, known, trap) = (healthy(), healthy(), healthy());
    std::fs::write(directory.path().join("own"), "the-deployment-s").unwrap();
    std::fs::write(directory.path().join("other"), "the-entry-s").unwrap();
    let port = trap.address.port();
    let sections = format!(
        "auths:\n  own: {{ bearer_token_file: own }}\n  other: {{ bearer_token_file: other }}\nprobe:\n  targets:\n    \
         - {{ url: '{}', local_addresses: [127.0.0.1] }}\n    \
         - {{ url: 'http://127\\.0\\.0\\.1:{}/team', auth: other, local_addresses: [127.0.0.0/8] }}\n    \
         - {{ url: 'http://(localhost|[^/]*[.\\]0-9:].*):{port}' }}\n",
        server.base_url().replace('.', "\\."),
        server.address.port(),
    );
    let own = format!("auth: own, {RARELY}");
    let config = write(
        directory.path(),
        &sections,
        &[("known", known.base_url(), &own)],
    );
    let (daemon, base_url) = Program::serve(&config);
    let given = server.base_url();
    for (target, token) in [
        (given.clone(), None),
        (format!("{given}/v1"), None),
        (format!("{given}/team/v1"), Some("Bearer the-entry-s")),
    ] {
        let before = server.asked().len();
        let (status, text) = probe(&base_url, &[("target", &target)], Some("10")).await;
        assert_eq!(status, 200, "{text}");
        // Its model is asked for, and the server tells none.
        assert!(text.contains("probe_target_info"), "{text}");
        let asked = server.asked().split_off(before);
        assert!(!asked.is_empty());
        for asked in asked {
            assert_eq!(
                asked.header("authorization"),
                token,
                "{target}: {}",
                asked.head
            );
        }
    }
    let spellings = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "100.100.100.200",
        "2852039166",
        "127.0.0.1.",
    ];
    for host in spellings {
        let target = format!("http://{host}:{port}");
        let (status, body) = probe(&base_url, &[("target", &target)], Some("5")).await;
        assert_eq!(status, 403, "{target}: {body}");
        assert!(body.contains("local_addresses"), "{target}: {body}");
    }
    // A name is looked at when it is resolved.
    let (status, page) = probe(
        &base_url,
        &[
            ("target", &format!("http://localhost:{port}")),
            ("debug", "true"),
        ],
        Some("5"),
    )
    .await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("probe_success 0") && page.contains("which is loopback"),
        "{page}"
    );
    assert_eq!(trap.accepted(), 0, "nothing was sent");
    for (target, wrong) in [
        ("http://gpu.example:8000", 403),
        ("http://127.0.0.1.evil.example:8000", 403),
        ("nobody", 400),
        ("gpu:8000", 400),
        ("ftp://gpu", 400),
        ("file:///etc/passwd", 400),
        ("http://me:hunter2@gpu:80", 400),
        ("http://gpu:80/?a=b", 400),
        ("http://gpu:99999", 400),
    ] {
        let (status, body) = probe(&base_url, &[("target", target)], None).await;
        assert_eq!(status, wrong, "{target}: {body}");
        assert!(!body.contains("hunter2"), "{body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], wrong);
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_with_the_mend() {
    let directory = tempfile::tempdir().unwrap();
    let server = healthy();
    let config = write(directory.path(), "", &[("a", server.base_url(), RARELY)]);
    let (daemon, base_url) = Program::serve(&config);
    for (parameters, timeout, says) in [
        (&[][..], None, "`target` is missing"),
        (&[("target", "")], None, "`target` is missing"),
        (&[("target", "a"), ("target", "a")], None, "duplicate field"),
        (
            &[
                ("target", "a"),
                ("workload", "canary"),
                ("module", "canary"),
            ],
            None,
            "duplicate field",
        ),
        (
            &[("target", "a"), ("targets", "b")],
            None,
            "there are `target`",
        ),
        (&[("target", "a"), ("debug", "yes")], None, "`debug` is"),
        (
            &[("target", "a"), ("workload", "burst")],
            None,
            "is not light",
        ),
        (
            &[("target", "a"), ("workload", "none")],
            None,
            "there is `canary`",
        ),
        (&[("target", "b")], None, "there is `a`"),
        (&[("target", "a")], Some("soon"), "no number of seconds"),
        (&[("target", "a")], Some("-3"), "no number of seconds"),
    ] {
        let (status, body) = probe(&base_url, parameters, timeout).await;
        assert_eq!(status, 400, "{parameters:?}: {body}");
        assert!(body.contains(says), "{parameters:?}: {body}");
    }
    let (status, _) = http::post(&format!("{base_url}/probe?target=a"))
        .await
        .unwrap();
    assert_eq!(status, 405);
    assert_eq!(server.accepted(), 0, "nothing was sent");
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_cuts_the_run_and_it_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let server = hanging();
    let other = healthy();
    let lane = format!("lane: gpu0, {RARELY}");
    let deployments = [
        ("a", server.base_url(), lane.as_str()),
        ("b", other.base_url(), &lane),
    ];
    let config = write(directory.path(), "", &deployments);
    let (daemon, base_url) = Program::serve(&config);
    let address = base_url.strip_prefix("http://").unwrap();
    let ask = |target: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET /probe?target={target} HTTP/1.1\r\nhost: x\r\n\r\n"
        )
        .unwrap();
        stream
    };
    let going = ask("a");
    let deadline = Instant::now() + PATIENCE;
    while server.posts().is_empty() {
        assert!(Instant::now() < deadline, "it does not begin");
        sleep(Duration::from_millis(10)).await;
    }
    // One that waits goes first, then the one that it waited for.
    let waiting = ask("b");
    sleep(Duration::from_millis(100)).await;
    drop(waiting);
    drop(going);
    assert!(
        server.all_closed_within(Duration::from_secs(10)),
        "the run goes on"
    );
    let (_, text) = probe(&base_url, &[("target", "b")], Some("10")).await;
    assert!(
        has(&text, "probe_success 1"),
        "the lane is free again: {text}"
    );
    assert_eq!(other.posts().len(), 1);
    let logs = json(&format!("{base_url}/api/v1/run-logs")).await;
    assert_eq!(logs["logs"].as_array().unwrap().len(), 1, "{logs}");

    // Nobody is kept waiting by a shutdown either.
    let mut going = ask("a");
    while server.posts().len() < 2 {
        assert!(Instant::now() < deadline, "it does not begin");
        sleep(Duration::from_millis(10)).await;
    }
    let (status, log) = daemon.terminate(Duration::from_secs(10));
    assert!(status.success(), "{}", log.join("\n"));
    let mut answer = String::new();
    going.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_probes_is_bounded_and_harms_nobody() {
    const FLOOD: usize = 500;
    const AT_ONCE: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let (server, scheduled) = (hanging(), healthy());
    let often = "probes: [{ workload: canary, every: 1s }]";
    let deployments = [
        ("flooded", server.base_url(), RARELY),
        ("scheduled", scheduled.base_url(), often),
    ];
    let config = write(directory.path(), "", &deployments);
    let limit = AT_ONCE.to_string();
    let (daemon, base_url) = Program::serve_with(
        &config,
        &["--web.max-probes", &limit, "--web.max-connections", "2000"],
    );
    let client = client();
    let url = format!("{base_url}/probe?target=flooded");
    let begun = scheduled.posts().len();
    let answers = (0..FLOOD).map(|_| {
        let request = client
            .get(&url)
            .header("X-Prometheus-Scrape-Timeout-Seconds", "4");
        tokio::spawn(async move {
            let response = request.send().await.unwrap();
            (
                response.status().as_u16(),
                response.headers().contains_key("retry-after"),
            )
        })
    });
    let answers: Vec<_> = answers.collect();
    let mut served = 0;
    for answer in answers {
        let (status, says_when) = answer.await.unwrap();
        match status {
            200 => served += 1,
            503 => assert!(says_when),
            other => panic!("{other}"),
        }
    }
    // A busy machine may take so long to ask that the first ones have their answers before the last ones ask.
    assert!((AT_ONCE..=4 * AT_ONCE).contains(&served), "{served}");
    assert!(server.posts().len() <= served, "one at a time in a lane");
    let (status, _) = http::get(&format!("{base_url}/metrics")).await.unwrap();
    assert_eq!(status, 200);
    assert!(scheduled.posts().len() > begun, "the schedule goes on");
    // All of it is given back.
    let (_, text) = probe(&base_url, &[("target", "scheduled")], Some("10")).await;
    assert!(has(&text, "probe_success 1"), "{text}");
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus and promtool"]
async fn prometheus_probes_several_targets_by_relabelling() {
    let directory = tempfile::tempdir().unwrap();
    let profile = Profile::named("nvfp4").unwrap();
    let simulator = Simulator::start(Settings {
        speedup: 10.0,
        ..Settings::new(profile)
    })
    .await
    .unwrap();
    let deployments = [
        ("nvfp4", simulator.base_url(), RARELY),
        ("down", "http://127.0.0.1:1".to_owned(), RARELY),
    ];
    let config = write(directory.path(), "", &deployments);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("model: m, metrics_url: off, ", "")).unwrap();
    let (daemon, base_url) = Program::serve(&config);
    let address = base_url.strip_prefix("http://").unwrap();
    // As docs/probe.md has it.
    let job = format!(
        "metrics_path: /probe
params: {{ workload: [canary] }}
http_sd_configs: [{{ url: '{base_url}/discovery', refresh_interval: 1s }}]
relabel_configs:
  - {{ source_labels: [__address__], target_label: __param_target }}
  - {{ source_labels: [__param_target], target_label: instance }}
  - {{ target_label: __address__, replacement: '{address}' }}"
    );
    let prometheus = Prometheus::start_with(directory.path(), &job);
    let success = prometheus.until("probe_success", 2).await;
    for (labels, value) in success {
        let expected = if labels["instance"] == "nvfp4" {
            1.0
        } else {
            0.0
        };
        assert_eq!(value, expected, "{labels}");
    }
    let (labels, ttft) = prometheus
        .until("probe_time_to_first_token_seconds", 1)
        .await
        .remove(0);
    assert!(
        labels["instance"] == "nvfp4" && ttft > 0.0,
        "{labels} {ttft}"
    );
    // The scrape timeout of a second, less the half.
    let limits = prometheus.until("probe_timeout_seconds == 0.5", 2).await;
    assert_eq!(limits.len(), 2);
    assert_eq!(prometheus.query("up == 1").await.len(), 2);
    for target in ["nvfp4", "down"] {
        let (_, text) = probe(&base_url, &[("target", target)], Some("10")).await;
        promtool_finds_nothing(&text);
    }
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}
