//! The description of the JSON interface, and a genuine schemathesis that holds the daemon to it: it makes requests out
//! of the document, good ones and broken ones, and looks whether the answers are what the document says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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

/// Requests that are made of each operation; each finds another way to be wrong.
const EXAMPLES: &str = "40";

async fn daemon(directory: &std::path::Path) -> (Simulator, Program, String) {
    let settings = Settings {
        speedup: 200.0,
        ..Settings::new(Profile::named("nvfp4").unwrap())
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let config = directory.join("prober.yaml");
    let text = format!(
        "workloads:\n  burst: {{ requests: 16, max_tokens: 64, prompt: Count to ten. }}\n\
         deployments:\n  - name: alpha\n    base_url: {}\n    family: f\n    precision: fp8\n    \
         environment: {{ driver: \"580.95.05\" }}\n    probes: [{{ workload: burst, every: 1h }}]\n",
        simulator.base_url()
    );
    std::fs::write(&config, text).unwrap();
    let (daemon, address) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    (simulator, daemon, address)
}

async fn get(url: &str) -> Value {
    let (status, body) = http::get(url).await.unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_every_route() {
    let directory = tempfile::tempdir().unwrap();
    let (simulator, daemon, address) = daemon(directory.path()).await;
    let document = get(&format!("{address}/api/v1/openapi.json")).await;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let operations: Vec<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{method} {path}"))
        })
        .collect();
    insta::assert_snapshot!("openapi_operations", operations.join("\n"));
    // What the document says of a run is said of what is stored of one, too.
    let run = &document["components"]["schemas"]["RunJson"]["properties"];
    assert!(
        run["decode_tps"]["type"].to_string().contains("null"),
        "{run}"
    );
    for told in [
        get(&format!("{address}/api/v1/deployments")).await,
        get(&format!("{address}/api/v1/deployments/alpha")).await,
    ] {
        assert!(told.is_object());
    }
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs schemathesis"]
async fn schemathesis_finds_no_answer_that_the_document_does_not_tell_of() {
    let directory = tempfile::tempdir().unwrap();
    let (simulator, daemon, address) = daemon(directory.path()).await;
    let deadline = Instant::now() + PATIENCE;
    let runs = format!("{address}/api/v1/deployments/alpha/runs");
    let run = loop {
        let stored = get(&runs).await;
        if let Some(id) = stored["runs"][0]["run_id"].as_str() {
            break id.to_owned();
        }
        assert!(Instant::now() < deadline, "{stored}");
        sleep(Duration::from_millis(50)).await;
    };
    // Without names that exist, nothing but 404 would be looked at.
    let known = directory.path().join("schemathesis.toml");
    let parameters = format!("[parameters]\n\"path.name\" = \"alpha\"\n\"path.id\" = \"{run}\"\n");
    // No schema says of a time that it is to come.
    let ahead = "[[operations]]\ninclude-name = \"POST /api/v1/deployments/{name}/acknowledgements\"\n\
                 checks.positive_data_acceptance.enabled = false\n";
    for (name, parameters) in [("known", parameters.as_str()), ("unknown", "")] {
        std::fs::write(&known, format!("{parameters}{ahead}")).unwrap();
        let url = format!("{address}/api/v1/openapi.json");
        let (root, config, folder) = (address.clone(), known.clone(), directory.path().to_owned());
        let ended = tokio::task::spawn_blocking(move || {
            Command::new("schemathesis")
                .arg("--config-file")
                .arg(config)
                .args(["run", &url, "--url", &root, "--max-examples", EXAMPLES])
                .args([
                    "--seed",
                    "1",
                    "--generation-database",
                    "none",
                    "--request-timeout",
                    "10",
                ])
                .args(["--no-color", "--phases", "examples,coverage,fuzzing"])
                .current_dir(folder)
                .output()
                .expect("schemathesis is installed")
        });
        let ended = ended.await.unwrap();
        let told = String::from_utf8_lossy(&ended.stdout);
        println!("{name}: {told}");
        assert!(ended.status.success(), "{name}: {told}");
    }
    let (status, _) = http::get(&format!("{address}/-/healthy")).await.unwrap();
    assert_eq!(status, 200);
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}
