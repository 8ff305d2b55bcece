//! The one-shot commands: their exit status, what they write where, and the JSON that others read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;
use vllm_prober::simulator::{Change, Fault, Profile, Settings, Simulator};

async fn simulator() -> Simulator {
    let profile = Profile::named("fp8").unwrap();
    Simulator::start(Settings {
        speedup: 100.0,
        ..Settings::new(profile)
    })
    .await
    .unwrap()
}

/// The program with `arguments`, again if its run was too fast for what else this machine has to do.
async fn prober(arguments: &[&str]) -> Output {
    const TRIES: usize = 5;
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-prober"));
    command.args(arguments);
    let run = move || {
        let run_once = || command.output().unwrap();
        let is_busy = |output: &Output| text(&output.stdout).contains("client_bound");
        let mut runs = std::iter::repeat_with(run_once);
        let calm = runs
            .by_ref()
            .take(TRIES - 1)
            .find(|output| !is_busy(output));
        calm.or_else(|| runs.next()).unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes what differs from run to run the same, and leaves what is promised.
fn without_readings(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => *value = Value::from("a float"),
        Value::Object(fields) => {
            // How often something was sampled, or how the bytes came, is a reading too.
            if let Some(count) = fields.get_mut("count") {
                *count = Value::from("a count");
            }
            fields.values_mut().for_each(without_readings);
        }
        Value::Array(items) => items.iter_mut().for_each(without_readings),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_run_exits_0_and_a_dash_leaves_standard_output_to_the_json() {
    let simulator = simulator().await;
    let base_url = simulator.base_url() + "/v1/";
    let output = prober(&[
        "run",
        "--base-url",
        &base_url,
        "--requests",
        "8",
        "--concurrency",
        "4",
        "--out",
        "-",
    ])
    .await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["token_usage"]["completion_tokens_total"], 8 * 256);
    without_readings(&mut json);
    for (field, same) in [
        ("run_id", "a UUID"),
        ("started_at", "a time"),
        ("deployment", "host:port"),
        ("base_url", "without /v1"),
    ] {
        json[field] = Value::from(same);
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
    simulator.stop().await.unwrap();
}

/// What `run` against a simulator that takes a second or two writes through `wrapped`.
async fn progress_of(wrapped: impl FnOnce(String) -> Command + Send + 'static) -> Output {
    let profile = Profile::named("fp8").unwrap();
    let simulator = Simulator::start(Settings {
        speedup: 20.0,
        ..Settings::new(profile)
    })
    .await
    .unwrap();
    let command = format!(
        "{} run --base-url {} --requests 48",
        env!("CARGO_BIN_EXE_vllm-prober"),
        simulator.base_url()
    );
    let output = tokio::task::spawn_blocking(move || wrapped(command).output().unwrap());
    let output = output.await.unwrap();
    simulator.stop().await.unwrap();
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_plain_lines_in_a_pipe_and_a_bar_on_a_terminal() {
    let piped = progress_of(|command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]);
        shell
    })
    .await;
    let told = text(&piped.stderr);
    let last = told.lines().last().unwrap();
    assert!(
        last.starts_with("vllm-prober: 48 of 48 requests, "),
        "{told}"
    );
    for words in [" requests/s, ", " tok/s, ", " s so far"] {
        assert!(last.contains(words), "{told}");
    }
    assert!(
        !told.chars().any(|c| c.is_control() && c != '\n'),
        "{told:?}"
    );
    assert!(!text(&piped.stdout).contains("so far"));

    // A terminal of its own, on which both streams are.
    let drawn = progress_of(|command| {
        let mut script = Command::new("script");
        let command = format!("stty cols 140 rows 40; {command}");
        script.env("TERM", "xterm");
        script.args(["-qec", &command, "/dev/null"]);
        script
    })
    .await;
    let drawn = text(&drawn.stdout);
    let bar = drawn.split('\r').filter(|part| part.contains(" s so far"));
    assert!(bar.clone().count() > 2, "{drawn:?}");
    let is_full = |part: &str| {
        ["█", "requests/s, ", " tok/s, ", " to go"]
            .iter()
            .all(|words| part.contains(words))
    };
    assert!(bar.clone().any(is_full), "{drawn:?}");
    assert!(!drawn.contains("vllm-prober: "), "{drawn:?}");
    // The bar is gone at the end, and the table stands where it was.
    let (_, rest) = drawn.rsplit_once(" s so far").unwrap();
    assert!(
        rest.contains("\u{1b}[2K") && rest.contains("tok"),
        "{rest:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_run_exits_1_and_withholds_its_figures() {
    let simulator = simulator().await;
    simulator
        .controls()
        .apply(Change {
            fault: Some(Fault::EarlyStop),
            ..Change::default()
        })
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("result.json");
    let arguments = [
        "run",
        "--base-url",
        &simulator.base_url(),
        "--requests",
        "8",
        "--concurrency",
        "4",
    ];
    let output = prober(&[&arguments[..], &["--out", out.to_str().unwrap()]].concat()).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.contains("unexpected_finish") && table.contains("requests per second       -\n"),
        "{table}"
    );
    let json: Value = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(
        json["invalid_reasons"],
        serde_json::json!(["unexpected_finish", "token_count"])
    );
    for withheld in [
        "qps",
        "prompt_tps",
        "decode_tps",
        "latency_seconds",
        "ttft_seconds",
        "tpot_seconds",
        "itl_seconds",
    ] {
        assert_eq!(json[withheld], Value::Null, "{withheld}");
    }
    assert_eq!(json["completed"], 8, "counts are no figures");

    let accepted = prober(&[&arguments[..], &["--any-length"]].concat()).await;
    assert_eq!(
        accepted.status.code(),
        Some(0),
        "{}",
        text(&accepted.stdout)
    );
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_run_it_exits_2_and_says_why() {
    let simulator = simulator().await;
    let base_url = simulator.base_url();
    simulator.stop().await.unwrap();
    for (arguments, why) in [
        (vec!["--base-url", &base_url], "no model is configured"),
        (
            vec![
                "--base-url",
                &base_url,
                "--concurrency",
                "9",
                "--requests",
                "8",
            ],
            "--concurrency 9",
        ),
        (
            vec!["--base-url", &base_url, "--prompt-file", "/no/such/file"],
            "/no/such/file",
        ),
        (
            vec![
                "--base-url",
                &base_url,
                "--model",
                "m",
                "--api-key-file",
                "/no/such/key",
            ],
            "/no/such/key",
        ),
        (vec!["--base-url", "ftp://host"], "not http or https"),
        (
            vec!["--base-url", "http://user:secret@host"],
            "--api-key-file",
        ),
    ] {
        let output = prober(&[&["run"], &arguments[..]].concat()).await;
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(
            text(&output.stderr).contains(why),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vllms_own_scripts_find_the_fields_of_their_schema() {
    let simulator = simulator().await;
    let arguments = [
        "run",
        "--base-url",
        &simulator.base_url(),
        "--requests",
        "8",
        "--concurrency",
        "4",
    ];
    let format = ["--format", "vllm-bench", "--save-detailed", "--out", "-"];
    let output = prober(&[&arguments[..], &format].concat()).await;
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Every field of a result file that `vllm bench serve` of 0.13.0 wrote for this workload.
    for field in include_str!("testdata/vllm-0.13.0/bench_fields.txt").lines() {
        assert!(json.get(field).is_some(), "{field} is missing");
    }
    // Gaps are those of chunks; at this speed-up some carry several tokens.
    assert!((1..=255).contains(&json["itls"][0].as_array().unwrap().len()));
    let total = json["total_token_throughput"].as_f64().unwrap();
    let parts = json["output_throughput"].as_f64().unwrap()
        + 8.0 * 110.0 / json["duration"].as_f64().unwrap();
    assert!((total / parts - 1.0).abs() < 1e-9);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_told_in_full_by_serve_and_by_check() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.yaml");
    std::fs::write(
        &path,
        "workloads: { w: { prompt: x, requsts: 1 } }\ndeployments: [{ name: a, probes: [] }]\n",
    )
    .unwrap();
    for command in ["serve", "check"] {
        let output = prober(&[command, "--config.file", path.to_str().unwrap()]).await;
        assert_eq!(output.status.code(), Some(1), "{command}");
        for said in ["did you mean `requests`?", "base_url", "3 mistakes"] {
            assert!(
                text(&output.stderr).contains(said),
                "{command}: {}",
                text(&output.stderr)
            );
        }
    }
}

#[tokio::test]
async fn the_version_says_what_it_was_built_from() {
    let output = prober(&["--version"]).await;
    let said = text(&output.stdout);
    assert!(
        said.starts_with("vllm-prober ") && said.contains("rustc 1."),
        "{said}"
    );
    for command in [
        "serve", "check", "run", "history", "backtest", "simulate", "demo",
    ] {
        let help = text(&prober(&[command, "--help"]).await.stdout);
        assert!(
            help.contains("Example:"),
            "{command} has no example: {help}"
        );
    }
}
