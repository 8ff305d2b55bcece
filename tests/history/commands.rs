//! The commands that read, export and import runs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_shown_exported_and_imported_while_the_daemon_writes() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("data");
    let simulator = simulator().await;
    let config = configuration(directory.path(), 2, &simulator.base_url(), "every: 1s");
    let (daemon, base_url) = Program::serve(&config);
    let runs = "vllm_probe_runs_total{deployment=\"d0\"";
    scrape_until(&base_url, runs, |runs| runs >= 2.0).await;

    let list = history(&storage, &["list", "--deployment", "d0", "--limit", "1"]).await;
    assert_eq!(list.lines().count(), 2, "{list}");
    let id = list
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    let shown = history(&storage, &["show", &id]).await;
    assert!(
        shown.contains(&id) && shown.contains("end-to-end latency"),
        "{shown}"
    );
    let json = history(&storage, &["show", "--json", &id]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["run_id"], id.as_str());
    assert_eq!(json["request_records"].as_array().unwrap().len(), 8);

    // A result of another program goes in beside the daemon, once.
    let bench = directory.path().join("bench.json");
    let bench = bench.to_str().unwrap();
    let base = simulator.base_url();
    let run = [
        "run",
        "--base-url",
        &base,
        "--requests",
        "8",
        "--concurrency",
        "4",
        "--format",
        "vllm-bench",
        "--out",
        bench,
    ];
    // A busy machine may be too slow for a run that counts; then it is tried again.
    let mut is_valid = false;
    for _ in 0..10 {
        is_valid = is_valid || prober(&run).await.status.success();
    }
    assert!(is_valid);
    let import = ["import", "--deployment", "d9", "--workload", "bench", bench];
    for says in ["1 runs imported, 0 were", "0 runs imported, 1 were"] {
        let said = history(&storage, &import).await;
        assert!(said.contains(says), "{said}");
    }
    let imported = history(&storage, &["list", "--deployment", "d9"]).await;
    assert!(
        imported.contains("bench") && imported.contains("yes"),
        "{imported}"
    );
    scrape_until(
        &base_url,
        "vllm_probe_history_errors_total{operation=\"append\"}",
        |n| n == 0.0,
    )
    .await;
    assert!(daemon.terminate(PATIENCE).0.success());

    let exported = directory.path().join("runs.jsonl");
    let exported = exported.to_str().unwrap();
    history(&storage, &["export", "--save-detailed", "--out", exported]).await;
    let lines = std::fs::read_to_string(exported).unwrap();
    assert_eq!(lines.lines().count(), stored(&storage).await.len());
    let elsewhere = directory.path().join("elsewhere");
    history(&elsewhere, &["import", exported]).await;
    assert_eq!(stored(&elsewhere).await, stored(&storage).await);
    let again = history(&elsewhere, &["export", "--save-detailed"]).await;
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&again), sorted(&lines), "nothing is lost on the way");
    let csv = history(
        &elsewhere,
        &["export", "--format", "csv", "--deployment", "d0"],
    )
    .await;
    let of_d0 = lines
        .lines()
        .filter(|line| line.contains("\"deployment\":\"d0\""))
        .count();
    assert_eq!(csv.lines().count(), 1 + of_d0, "{csv}");
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_of_an_import_names_file_and_line_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("data");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = r#"{"decode_tps":600,"requests":4,"concurrency":1,"qps":2,"model":"m","started_at":"2025-12-22T10:00:00Z"}"#;
    let good_file = write("good.json", good);
    let bad_line = write("bad.jsonl", &format!("{good}\n\n{{\"a\":1}}\n"));
    let not_json = write("not.json", "{\n  \"a\": \n}");
    let names = ["--deployment", "d", "--workload", "w"];
    for (files, says) in [
        (
            vec![good_file.as_str(), &bad_line],
            "bad.jsonl:3: it is neither",
        ),
        (
            vec![not_json.as_str()],
            "not.json:1: expected value at line 3",
        ),
        (vec!["/no/such/file"], "/no/such/file: No such file"),
    ] {
        let storage = ["--storage.path", storage.to_str().unwrap()];
        let output = prober(&[&["history", "import"], &names[..], &files, &storage].concat()).await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(says), "{said}");
    }
    assert!(!storage.exists());
    let said = history(&storage, &[&["import"], &names[..], &[&good_file]].concat()).await;
    assert!(said.starts_with("1 runs imported"), "{said}");
    let output = prober(&[
        "history",
        "show",
        "nowhere",
        "--storage.path",
        storage.to_str().unwrap(),
    ])
    .await;
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("history list")
    );
}
