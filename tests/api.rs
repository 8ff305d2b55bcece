//! The JSON interface as programs meet it: what is known, what is stored, and what can be asked for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;

use program::Program;

const PATIENCE: Duration = Duration::from_secs(30);

fn configuration(directory: &Path, base_url: &str) -> PathBuf {
    let path = directory.join("prober.yaml");
    let text = format!(
        "workloads:\n  burst: {{ requests: 16, max_tokens: 64, prompt: Count to ten. }}\n  \
         canary: {{ requests: 1, concurrency: 1, max_tokens: 8, prompt: Hello. }}\n\
         deployments:\n  - name: a b/c\n    base_url: {base_url}\n    family: f\n    precision: fp8\n    \
         probes: [{{ workload: burst, every: 1h }}, {{ workload: canary, every: 1h }}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// As a path has it.
const NAME: &str = "a%20b%2Fc";

async fn get(url: &str) -> (u16, Value) {
    let (status, body) = http::get(url).await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

async fn post(url: &str, body: &Value) -> (u16, Value) {
    let (status, answer) = http::post_json(url, body).await.unwrap();
    (status, serde_json::from_str(&answer).unwrap())
}

async fn runs_until(url: &str, least: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, answer) = get(&format!("{url}/api/v1/deployments/{NAME}/runs")).await;
        assert_eq!(status, 200, "{answer}");
        let runs = answer["runs"].as_array().unwrap().clone();
        if runs.len() >= least {
            return runs;
        }
        assert!(Instant::now() < deadline, "{answer}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_asked_for_listed_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(Settings {
        speedup: 20.0,
        ..Settings::new(Profile::named("fp8").unwrap())
    })
    .await
    .unwrap();
    let config = configuration(directory.path(), &simulator.base_url());
    let (daemon, url) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let deployment = format!("{url}/api/v1/deployments/{NAME}");

    let (status, answer) = post(&format!("{deployment}/runs"), &json!({"workload": "burst"})).await;
    assert_eq!((status, &answer["workloads"]), (202, &json!(["burst"])));
    let runs = runs_until(&url, 1).await;
    assert_eq!(runs[0]["schema"], "vllm-prober/run/v1");
    assert_eq!(
        (&runs[0]["workload"], &runs[0]["request_records"]),
        (&json!("burst"), &Value::Null)
    );
    let id = runs[0]["run_id"].as_str().unwrap();
    let (status, run) = get(&format!("{url}/api/v1/runs/{id}")).await;
    assert_eq!((status, &run["decode_tps"]), (200, &runs[0]["decode_tps"]));
    assert_eq!(run["request_records"].as_array().unwrap().len(), 16);

    // Pages follow each other.
    post(
        &format!("{deployment}/runs"),
        &json!({"workload": "canary"}),
    )
    .await;
    let runs = runs_until(&url, 2).await;
    let (_, first) = get(&format!("{deployment}/runs?limit=1")).await;
    assert_eq!(first["next"], runs[0]["run_id"]);
    let next = first["next"].as_str().unwrap();
    let (_, second) = get(&format!("{deployment}/runs?limit=1&before={next}")).await;
    assert_eq!(second["runs"][0]["run_id"], runs[1]["run_id"]);
    let (_, canaries) = get(&format!("{deployment}/runs?workload=canary")).await;
    assert_eq!(canaries["runs"].as_array().unwrap().len(), 1);

    let (status, shown) = get(&deployment).await;
    assert_eq!(
        (status, &shown["name"], &shown["state"]),
        (200, &json!("a b/c"), &json!("ok"))
    );
    assert_eq!(shown["probes"][0]["workload"], "burst");
    assert_eq!(shown["probes"][0]["last_run"]["run_id"], json!(id));
    let log = shown["probes"][0]["last_run"]["log"].as_str().unwrap();
    assert_eq!(log, format!("runs/{id}/log"));
    let (status, told) = http::get(&format!("{url}/api/v1/{log}")).await.unwrap();
    assert!(
        status == 200 && told.contains(&format!("run: {id}")),
        "{told}"
    );
    assert!(shown["probes"][0]["judgements"]["decode_tokens_rate"]["baseline_runs"].is_u64());
    let (_, all) = get(&format!("{url}/api/v1/deployments")).await;
    assert_eq!(all["deployments"].as_array().unwrap().len(), 1);

    // What goes wrong is told as a problem.
    for (path, status, told) in [
        ("deployments/x", 404, "there is no deployment `x`"),
        ("deployments/x/runs", 404, "there is no deployment `x`"),
        ("runs/x", 404, "there is no run x"),
        ("nothing", 404, "there is no such path"),
        (
            &format!("deployments/{NAME}/runs?limit=0"),
            422,
            "from 1 to 1000",
        ),
        (&format!("deployments/{NAME}/runs?page=2"), 400, "`before`"),
    ] {
        let (got, problem) = get(&format!("{url}/api/v1/{path}")).await;
        assert_eq!(
            (got, &problem["status"]),
            (status, &json!(status)),
            "{path}: {problem}"
        );
        assert_eq!(problem["type"], "about:blank");
        assert!(
            problem["detail"].as_str().unwrap().contains(told),
            "{path}: {problem}"
        );
    }
    for (path, body, status) in [
        ("cancel", json!({}), 409),
        ("cancel", json!({"workload": "x"}), 404),
        ("runs", json!({"workloads": "burst"}), 422),
        (
            "acknowledgements",
            json!({"by": "x", "why": "y", "rebaseline": true}),
            409,
        ),
        (
            "acknowledgements",
            json!({"by": "x", "why": " ", "rebaseline": true}),
            422,
        ),
        ("acknowledgements", json!({"by": "x", "why": "y"}), 422),
        (
            "baseline/pin",
            json!({"by": "x", "why": "y", "rebaseline": true}),
            422,
        ),
        (
            "baseline/pin",
            json!({"by": "x", "why": "y", "measure": "p99"}),
            422,
        ),
    ] {
        let (got, problem) = post(&format!("{deployment}/{path}"), &body).await;
        assert_eq!(got, status, "{path} {body}: {problem}");
    }
    assert!(daemon.terminate(PATIENCE).0.success());

    let (daemon, url) = Program::serve(&config);
    let (status, problem) =
        post(&format!("{url}/api/v1/deployments/{NAME}/runs"), &json!({})).await;
    assert_eq!(status, 403);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("--web.enable-lifecycle")
    );
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(Settings::new(Profile::named("fp8").unwrap()))
        .await
        .unwrap();
    let config = configuration(directory.path(), &simulator.base_url());
    let (mut daemon, url) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let deployment = format!("{url}/api/v1/deployments/{NAME}");
    post(&format!("{deployment}/runs"), &json!({"workload": "burst"})).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, shown) = get(&deployment).await;
        if shown["probes"][0]["in_progress"] == true {
            break;
        }
        assert!(Instant::now() < deadline, "{shown}");
        sleep(Duration::from_millis(20)).await;
    }
    let (status, again) = post(&format!("{deployment}/runs"), &json!({"workload": "burst"})).await;
    assert_eq!(status, 409, "{again}");
    let (status, answer) = post(&format!("{deployment}/cancel"), &json!({})).await;
    assert_eq!((status, &answer["workloads"]), (200, &json!(["burst"])));
    daemon.line("run cut short", PATIENCE);
    let (_, shown) = get(&deployment).await;
    assert_eq!(shown["probes"][0]["last_run"], Value::Null);
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}
