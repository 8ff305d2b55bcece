//! What the logs of runs tell whoever has to find out what went wrong.

use super::*;

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
