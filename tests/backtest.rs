//! `backtest` as its users meet it: what it reads, what it prints where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn backtest(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vllm-prober"))
        .arg("backtest")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its input leaves without reading it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `series` at 600 tokens/s give or take half a percent, from `change` on at `ratio` of it.
fn rows(series: &str, runs: usize, change: usize, ratio: f64, fingerprint: &str) -> String {
    let mut rows = String::new();
    for run in 0..runs {
        let noise = 1.0 + 0.01 * ((run as f64 * 0.618_034).fract() - 0.5);
        let (level, environment) = if run < change {
            (600.0, "old")
        } else {
            (600.0 * ratio, fingerprint)
        };
        writeln!(rows, "{series},{run},{:.3},{environment}", level * noise).unwrap();
    }
    rows
}

const HEADER: &str = "series,run,value,fingerprint\n";

#[test]
fn each_verdict_is_a_line_and_the_summary_stands_apart() {
    let input = [
        HEADER,
        &rows("steady", 150, 120, 1.0, "new"),
        &rows("slower", 150, 120, 0.95, "new"),
        &rows("\"faster, unannounced\"", 150, 120, 1.05, "old"),
    ]
    .concat();
    let output = backtest(&["--csv", "-", "--summary"], &input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "slower,125,regressed\n\"faster, unannounced\",126,improved\n"
    );
    assert_eq!(
        text(&output.stderr),
        "3 series, 450 runs, 2 alarms, 4.44 alarms per 1,000 runs\n"
    );
}

#[test]
fn a_file_says_the_same_and_a_wider_tolerance_says_less() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("runs.csv");
    let input = [HEADER, &rows("slower", 150, 120, 0.95, "new")].concat();
    std::fs::write(&path, &input).unwrap();
    let path = path.to_str().unwrap();
    let output = backtest(&["--csv", path], "");
    assert_eq!(text(&output.stdout), "slower,125,regressed\n");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let output = backtest(&["--csv", path, "--tolerance", "0.20"], "");
    assert!(output.stdout.is_empty() && output.status.success());
}

#[test]
fn flags_of_traffic_make_it_quicker_and_keep_it_from_what_others_did() {
    let plain = rows("s", 160, 120, 0.95, "old");
    let flagged = |flag: fn(usize) -> u8| {
        let mut input = "series,run,value,fingerprint,contaminated\n".to_owned();
        for (run, row) in plain.lines().enumerate() {
            writeln!(input, "{row},{}", flag(run)).unwrap();
        }
        text(&backtest(&["--csv", "-"], &input).stdout)
    };
    let unseen = backtest(&["--csv", "-"], &[HEADER, &plain].concat());
    let first = |told: &str| told.split(',').nth(1).unwrap().parse::<usize>().unwrap();
    assert!(first(&flagged(|_| 0)) < first(&text(&unseen.stdout)));
    assert_eq!(flagged(|run| u8::from(run >= 120)), "");
}

#[test]
fn what_cannot_be_judged_exits_1_and_names_the_place() {
    for (arguments, input, said) in [
        (
            &["--csv", "-"][..],
            "series,run,value\n",
            "no column `fingerprint`",
        ),
        (
            &["--csv", "-"],
            "series,run,value,fingerprint\ns,0,fast,f\n",
            "standard input: line 2, column `value`: `fast`",
        ),
        (&["--csv", "/no/such/file"], "", "/no/such/file: "),
        (&["--csv", "/"], "", "error: /: "),
    ] {
        let output = backtest(arguments, input);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let told = text(&output.stderr);
        assert!(told.contains(said), "{said}: {told}");
    }
    let output = backtest(&["--csv", "-", "--tolerance", "3"], HEADER);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("3 % is 0.03"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut input = HEADER.to_owned();
    for series in 0..400 {
        input += &rows(&format!("s{series}"), 30, 15, 0.9, "new");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_vllm-prober"))
        .args(["backtest", "--csv", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// Results as the reference's script writes them, a line each, from `slower` on at 0.94 of the speed.
fn results(runs: usize, slower: usize) -> String {
    let mut lines = String::new();
    for run in 0..runs {
        let noise = 1.0 + 0.01 * ((run as f64 * 0.618_034).fract() - 0.5);
        let speed = noise * if run < slower { 1.0 } else { 0.94 };
        let (day, hour) = (1 + run / 24, run % 24);
        writeln!(
            lines,
            r#"{{"model": "m", "concurrency": 16, "requests": 64, "max_tokens": 256, "started_at": "2026-01-{day:02}T{hour:02}:00:00Z", "qps": {}, "prompt_tps": {}, "decode_tps": {}, "latency": {{"p50": {}, "p95": 7.0}}, "token_usage": {{"prompt_tokens_mean": 110.0, "completion_tokens_mean": 256.0}}}}"#,
            2.369 * speed,
            260.6 * speed,
            606.5 * speed,
            6.7577 / speed
        )
        .unwrap();
    }
    lines
}

#[test]
fn stored_runs_are_judged_again_with_other_tolerances_and_measures() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("data");
    let file = directory.path().join("results.jsonl");
    std::fs::write(&file, results(120, 90)).unwrap();
    let [storage, file] = [&storage, &file].map(|path| path.to_str().unwrap());
    let import = |id: &str| {
        Command::new(env!("CARGO_BIN_EXE_vllm-prober"))
            .args(["history", "import", "--storage.path", storage, file])
            .args(["--deployment", "d", "--workload", "w", "--workload-id", id])
            .output()
            .unwrap()
    };
    let refused = import("reference");
    assert!(text(&refused.stderr).contains("16 hexadecimal digits"));
    let imported = import("0123456789abcdef");
    assert_eq!(
        text(&imported.stdout),
        "120 runs imported, 0 were there already\n",
        "{}",
        text(&imported.stderr)
    );

    let stored = ["--history", "--storage.path", storage, "--summary"];
    let judged = |more: &[&str]| {
        let output = backtest(&[&stored[..], more].concat(), "");
        (text(&output.stdout), text(&output.stderr))
    };
    let (verdicts, summary) = judged(&[]);
    assert!(
        verdicts.starts_with("d/w,") && verdicts.ends_with(",regressed\n"),
        "{verdicts}{summary}"
    );
    assert_eq!(
        summary,
        "1 series, 120 runs, 1 alarm, 8.33 alarms per 1,000 runs\n"
    );
    let latency = judged(&["--measure", "e2e_p50", "--deployment", "d"]);
    assert_eq!(latency.0, verdicts, "it fell with the same run");
    let (none, summary) = judged(&["--tolerance", "0.3"]);
    assert_eq!(
        (none.as_str(), summary.as_str()),
        (
            "",
            "1 series, 120 runs, 0 alarms, 0.00 alarms per 1,000 runs\n"
        )
    );
    let (_, error) = judged(&["--deployment", "other"]);
    assert!(error.contains("history list"), "{error}");
    let (_, error) = judged(&["--measure", "p99"]);
    assert!(error.contains("decode_tokens_rate"), "{error}");
}
