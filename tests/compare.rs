//! `compare` and `report` as their users meet them: the reference's own results from files and from a history, a
//! family with a history of its own, and everything that is not there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// The published results of the reference, as its script writes them.
const REFERENCE: [(&str, &str, [f64; 5]); 3] = [
    (
        "nvfp4",
        "RedHatAI/Qwen3-32B-NVFP4",
        [2.3690, 260.5918, 606.4682, 6.7577, 6.7950],
    ),
    (
        "fp8",
        "Qwen/Qwen3-32B-FP8",
        [1.4917, 164.0849, 381.8702, 10.6898, 10.8637],
    ),
    (
        "bf16",
        "Qwen/Qwen3-32B",
        [1.2582, 138.3967, 322.0868, 12.7105, 12.7653],
    ),
];

fn script_result(model: &str, [qps, prompt_tps, decode_tps, p50, p95]: [f64; 5]) -> Value {
    json!({
        "model": model, "base_url": "http://127.0.0.1:8000", "concurrency": 16, "requests": 64,
        "max_tokens": 256, "temperature": 0.0, "qps": qps, "prompt_tps": prompt_tps, "decode_tps": decode_tps,
        "latency": { "p50": p50, "p95": p95 },
        "token_usage": { "prompt_tokens_mean": 110.0, "completion_tokens_mean": 256.0 },
    })
}

/// A directory with the reference's three results.
fn with_reference() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (precision, model, figures) in REFERENCE {
        let path = directory.path().join(format!("{precision}.json"));
        std::fs::write(path, script_result(model, figures).to_string()).unwrap();
    }
    directory
}

/// Runs the program in `directory`: its status, what it printed, and what it said beside that.
fn prober(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vllm-prober"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What a command prints that is to end well.
fn printed(directory: &Path, arguments: &[&str]) -> String {
    let (status, out, said) = prober(directory, arguments);
    assert_eq!(status, Some(0), "{arguments:?}: {said}");
    out
}

fn said(directory: &Path, arguments: &[&str]) -> String {
    let (status, out, said) = prober(directory, arguments);
    assert_eq!((status, out.as_str()), (Some(1), ""), "{arguments:?}");
    said
}

const FILES: [&str; 3] = ["nvfp4=nvfp4.json", "fp8=fp8.json", "bf16=bf16.json"];

/// The configuration of the reference's family, and of another one.
fn configure(directory: &Path, others: &str) -> PathBuf {
    let mut text = "workloads:\n  reference: { prompt: Count to ten. }\ndeployments:\n".to_owned();
    for (precision, ..) in REFERENCE {
        let _ = writeln!(
            text,
            "  - {{ name: qwen-{precision}, base_url: \"http://127.0.0.1:9\", family: qwen, precision: {precision}, \
             probes: [{{ workload: reference, every: 1h }}] }}"
        );
    }
    text += others;
    std::fs::create_dir_all(directory.join("config")).unwrap();
    let path = directory.join("config/prober.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

const ANOTHER_FAMILY: &str = "  - { name: other, base_url: \"http://127.0.0.1:9\", family: llama, probes: [{ workload: reference, every: 1h }] }\n";

#[test]
fn the_references_results_have_the_references_ratios() {
    let directory = with_reference();
    let table = printed(directory.path(), &[&["compare"], &FILES[..]].concat());
    insta::assert_snapshot!("reference_files", table);
    let markdown = ["compare", "--reference", "fp8", "--format", "markdown"];
    let markdown = printed(directory.path(), &[&markdown[..], &FILES].concat());
    insta::assert_snapshot!("reference_files_markdown", markdown);
    let csv = printed(
        directory.path(),
        &[&["compare", "--format", "csv"], &FILES[..]].concat(),
    );
    assert_eq!(csv.lines().count(), 4);

    // The same from the history, where the configuration says what a family is.
    for (precision, ..) in REFERENCE {
        let name = format!("qwen-{precision}");
        let file = format!("{precision}.json");
        let import = ["history", "import", "--deployment", &name, "--workload"];
        let rest = ["reference", "--started-at", "2025-12-22T10:00:00Z", &file];
        printed(directory.path(), &[&import[..], &rest].concat());
    }
    configure(directory.path(), "");
    let table = printed(directory.path(), &["compare"]);
    insta::assert_snapshot!("reference_history", table);
    let names = ["--deployment", "qwen-nvfp4", "--deployment", "qwen-fp8"];
    let two = printed(directory.path(), &[&["compare"], &names[..]].concat());
    assert!(
        two.contains("1.588x, no interval") && !two.contains("bf16"),
        "{two}"
    );
}

#[test]
fn what_the_model_suggests_is_marked_as_a_guess() {
    let directory = with_reference();
    let table = printed(directory.path(), &["compare", "nvfp4.json", "fp8.json"]);
    assert!(table.contains("nvfp4? over fp8?") || table.contains("speed-up over fp8?"));
    assert!(
        table.contains("only suggested by the model's name"),
        "{table}"
    );
}

/// A run of `deployment` in our own schema, the `n`th at one each quarter of an hour.
fn run(
    deployment: &str,
    n: usize,
    decode_tps: Option<f64>,
    precision: &str,
    driver: &str,
) -> Value {
    let minutes = 15 * n as i64;
    let began = "2026-03-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let began = began + jiff::SignedDuration::from_mins(minutes);
    let quantiles = |p50: f64| json!({ "p50": p50, "p95": p50 * 1.01 });
    let number = deployment
        .bytes()
        .fold(0, |sum, byte| sum * 31 + u128::from(byte));
    let id = uuid::Uuid::from_u128(number << 32 | n as u128);
    let field = |value: &str| json!({ "value": value, "source": "operator" });
    json!({
        "schema": "vllm-prober/run/v1", "run_id": id.to_string(), "deployment": deployment, "workload": "reference",
        "definition_version": 1, "workload_id": "80008449e38bc6ea", "model": format!("m-{precision}"),
        "base_url": "http://127.0.0.1:8000", "started_at": began.to_string(), "wall_seconds": 27.0,
        "concurrency": 16, "requests": 64, "max_tokens": 256, "temperature": 0.0, "prefix_cache": "warm",
        "completed": 64, "failed": 0, "failures": {}, "valid": decode_tps.is_some(),
        "invalid_reasons": if decode_tps.is_some() { vec![] } else { vec!["contaminated"] },
        "qps": decode_tps.map(|tps| tps / 256.0), "prompt_tps": decode_tps.map(|tps| tps * 110.0 / 256.0),
        "decode_tps": decode_tps, "latency_seconds": decode_tps.map(|tps| quantiles(4096.0 / tps)),
        "ttft_seconds": decode_tps.map(|_| quantiles(0.3)), "ttfo_seconds": null, "tpot_seconds": null,
        "itl_seconds": null, "finish_reasons": { "length": 64 }, "concurrency_utilization": 1.0,
        "token_usage": {
            "prompt_tokens_mean": 110.0, "completion_tokens_mean": 256.0,
            "prompt_tokens_total": 7040, "completion_tokens_total": 16384, "cached_tokens_total": null
        },
        "environment": {
            "fingerprint": driver, "fields": { "driver": field(driver), "precision": field(precision) }
        },
        "server": { "foreign_tokens": 0.0, "foreign_prompt_tokens": 0.0 },
    })
}

/// How far from its level a run is: within 0.4 %, and told by its number alone.
fn wobble(n: usize) -> f64 {
    1.0 + 0.008 * ((n as f64 * 0.618_034).fract() - 0.5)
}

/// Eighty runs of each precision; the driver of one is changed after fifty, and costs it a twentieth.
fn with_history() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for (precision, _, [_, _, level, ..]) in REFERENCE {
        for n in 0..80 {
            let changed = precision == "nvfp4" && n >= 50;
            let (driver, share) = if changed { ("590", 0.95) } else { ("580", 1.0) };
            let value = (n % 20 != 7).then(|| level * share * wobble(n));
            let name = format!("qwen-{precision}");
            let _ = writeln!(lines, "{}", run(&name, n, value, precision, driver));
        }
    }
    std::fs::write(directory.path().join("runs.jsonl"), lines).unwrap();
    printed(directory.path(), &["history", "import", "runs.jsonl"]);
    directory
}

#[test]
fn a_history_gives_intervals_that_hold_the_truth_and_the_doing_of_each_change() {
    let directory = with_history();
    configure(directory.path(), ANOTHER_FAMILY);
    let family = ["--family", "qwen"];
    let json = ["compare", "--format", "json"];
    let json = printed(directory.path(), &[&json[..], &family].concat());
    let table: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(table["schema"], "vllm-prober/comparison/v1");
    let rows = table["rows"].as_array().unwrap();
    let counts: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["precision"].as_str(),
                row["runs"].as_u64(),
                row["left_out"].as_u64(),
            )
        })
        .collect();
    assert_eq!(counts[0].0, Some("nvfp4"));
    assert!(
        counts[0].1.unwrap() < 30,
        "of the new driver only: {counts:?}"
    );
    assert!(counts.iter().all(|row| row.2 > Some(0)), "{counts:?}");
    let truth = [
        606.4682 * 0.95 / 381.8702,
        606.4682 * 0.95 / 322.0868,
        381.8702 / 322.0868,
    ];
    for (pair, truth) in table["pairs"].as_array().unwrap().iter().zip(truth) {
        let of = |name: &str| pair["speedup"][name].as_f64().unwrap();
        assert!(
            of("lower") < truth && truth < of("upper"),
            "{truth}: {pair}"
        );
        assert!(of("upper") / of("lower") < 1.05, "{pair}");
    }

    let report = ["report", "--out", "out"];
    let told = printed(directory.path(), &[&report[..], &family].concat());
    assert_eq!(told, "out/report.html\nout/report.md\n");
    let markdown = std::fs::read_to_string(directory.path().join("out/report.md")).unwrap();
    insta::assert_snapshot!("report", markdown);
    let html = std::fs::read_to_string(directory.path().join("out/report.html")).unwrap();
    for foreign in ["http:", "https:", "<script", "src=", "<link"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(html.contains("driver 580 → 590") && html.contains("regressed: 5."));
    for file in [
        "latency",
        "qps",
        "throughput",
        "deployment-1",
        "deployment-3",
    ] {
        let svg = std::fs::read_to_string(directory.path().join(format!("out/{file}.svg")));
        assert!(svg.unwrap().starts_with("<svg"), "{file}");
    }
}

#[test]
fn runs_of_another_workload_are_not_compared_and_the_reason_is_told() {
    let directory = with_reference();
    let write = |name: &str, value: &Value| {
        std::fs::write(directory.path().join(name), value.to_string()).unwrap();
    };
    let (_, model, figures) = REFERENCE[0];
    let mut shorter = script_result(model, figures);
    shorter["max_tokens"] = 128.into();
    write("shorter.json", &shorter);
    let mut narrow = script_result(model, figures);
    narrow["concurrency"] = 8.into();
    write("narrow.json", &narrow);
    let mut brief = script_result(model, figures);
    brief["token_usage"]["completion_tokens_mean"] = 200.0.into();
    write("brief.json", &brief);
    write("ours.json", &run("a", 0, Some(606.0), "nvfp4", "580"));
    write("invalid.json", &run("a", 0, None, "nvfp4", "580"));
    for (file, says) in [
        (
            "shorter.json",
            "64 requests, 16 in flight, 128 tokens, and not",
        ),
        (
            "narrow.json",
            "64 requests, 8 in flight, 256 tokens, and not",
        ),
        (
            "brief.json",
            "answers of 200.0 and of 256.0 completion tokens",
        ),
        ("ours.json", "the prompt of one is not known"),
        ("invalid.json", "no run that counts"),
    ] {
        let one = format!("nvfp4={file}");
        let table = printed(directory.path(), &["compare", &one, "fp8=fp8.json"]);
        assert!(table.contains(says), "{file}: {table}");
        assert!(!table.contains("1.588"), "{file}: {table}");
    }
}

#[test]
fn a_result_of_vllm_bench_serve_is_compared_too() {
    let directory = tempfile::tempdir().unwrap();
    for (name, throughput) in [("a", 600.0), ("b", 300.0)] {
        let duration = 16384.0 / throughput;
        let file = json!({
            "date": "20260301-120000", "model_id": format!("m-{name}"), "num_prompts": 64, "max_concurrency": 16,
            "duration": duration, "completed": 64, "failed": 0, "total_input_tokens": 7040,
            "total_output_tokens": 16384, "request_throughput": 64.0 / duration, "output_throughput": throughput,
            "median_e2el_ms": 4096e3 / throughput, "p95_e2el_ms": 4100e3 / throughput, "median_ttft_ms": 300.0,
        });
        let path = directory.path().join(format!("{name}.json"));
        std::fs::write(path, file.to_string()).unwrap();
    }
    let table = printed(directory.path(), &["compare", "fp8=a.json", "bf16=b.json"]);
    assert!(table.contains("2.000x, no interval"), "{table}");
    assert!(table.contains("0.3000"), "TTFT: {table}");
}

#[test]
fn one_file_by_itself_is_shown_without_a_ratio() {
    let directory = with_reference();
    let table = printed(directory.path(), &["compare", "fp8=fp8.json"]);
    assert!(table.contains("nothing to compare it with"), "{table}");
    assert!(!table.contains("speed-up"), "{table}");
    let report = ["report", "--out", "out", "fp8=fp8.json"];
    printed(directory.path(), &report);
    let html = std::fs::read_to_string(directory.path().join("out/report.html")).unwrap();
    assert!(!html.contains("Over time"), "a single file has no past");
}

#[test]
fn what_is_not_there_is_told_with_its_mend() {
    let directory = with_history();
    let directory = directory.path();
    let empty = ["compare", "--storage.path", "nowhere"];
    assert!(said(directory, &empty).contains("there is no history here"));
    let no_config = said(directory, &["compare", "--family", "qwen"]);
    assert!(no_config.contains("--config.file"), "{no_config}");
    let all = printed(directory, &["compare"]);
    assert!(
        all.starts_with("All deployments") && all.contains("qwen-bf16"),
        "{all}"
    );

    configure(directory, ANOTHER_FAMILY);
    for (arguments, says) in [
        (&["compare"][..], "several families: llama, qwen"),
        (
            &["compare", "--family", "qwem"],
            "has no such family; it has llama, qwen",
        ),
        (
            &["compare", "--family", "llama"],
            "no runs of other; it has runs of qwen-bf16",
        ),
        (&["compare", "--deployment", "x"], "no runs of x"),
        (
            &["compare", "--family", "qwen", "--workload", "x"],
            "it has runs of reference",
        ),
        (
            &["compare", "--family", "qwen", "--reference", "int4"],
            "--reference: no row is called \"int4\"",
        ),
        (&["compare", "absent.json"], "absent.json: No such file"),
        (&["compare", "config/prober.yaml"], "config/prober.yaml:1: "),
        (
            &["report", "--out", "runs.jsonl", "--family", "qwen"],
            "--out runs.jsonl: ",
        ),
    ] {
        let said = said(directory, arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let partly = ["compare", "--deployment", "qwen-fp8", "--deployment", "x"];
    assert!(printed(directory, &partly).contains("x has no runs yet"));
}

#[test]
fn the_help_of_each_command_has_an_example() {
    for command in ["compare", "report"] {
        let help = printed(Path::new("."), &[command, "--help"]);
        assert!(
            help.contains(&format!("  vllm-prober {command} ")),
            "{help}"
        );
    }
}
