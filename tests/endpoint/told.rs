//! What answers tell of the machine: where its files lie is the log's alone.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_told_without_its_place() {
    let (directory, _, _) = place();
    let token = write(directory.path(), "token", "a-token-of-a-test");
    let config = write(
        directory.path(),
        "guarded.yaml",
        "auths: { guarded: { bearer_token_file: token } }\nworkloads: { burst: { prompt: hello } }\ndeployments:\n  - name: \
         guarded\n    base_url: http://127.0.0.1:9\n    model: m\n    auth: guarded\n    probes: [{ workload: burst, every: \
         1d }]\n",
    );
    let (mut daemon, address) = serve(&config, "", &["--web.enable-lifecycle"]);
    std::fs::remove_file(&token).unwrap();
    let of_deployment = format!("http://{address}/api/v1/deployments/guarded");
    let ordered = http::post_json(&format!("{of_deployment}/runs"), &serde_json::json!({})).await;
    assert_eq!(ordered.unwrap().0, 202);
    let log = daemon.line("cannot read the token file", PATIENCE);
    assert!(log.contains(token.to_str().unwrap()), "{log}");

    let deadline = Instant::now() + PATIENCE;
    while !http::get(&of_deployment)
        .await
        .unwrap()
        .1
        .contains("token file")
    {
        assert!(Instant::now() < deadline, "the interface does not tell");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let place = directory.path().to_str().unwrap();
    for path in [
        "/",
        "/deployments/guarded",
        "/changes",
        "/precision",
        "/about",
        "/metrics",
        "/discovery",
        "/api/v1/deployments",
        "/api/v1/deployments/guarded",
        "/api/v1/deployments/guarded/runs",
    ] {
        let (_, text) = http::get(&format!("http://{address}{path}")).await.unwrap();
        assert!(!text.contains(place), "{path}: {text}");
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}
