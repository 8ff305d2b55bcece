//! The reference's own results, and all that may stand in the way of a ratio.

use serde_json::json;

use super::*;
use crate::report::foreign::{self, Told};

fn run(model: &str, qps: f64, decode_tps: f64) -> RunJson {
    let file = json!({
        "model": model, "concurrency": 16, "requests": 64, "max_tokens": 256, "qps": qps,
        "prompt_tps": qps * 110.0, "decode_tps": decode_tps, "latency": {"p50": 16.0 / qps, "p95": 16.2 / qps},
        "token_usage": {"prompt_tokens_mean": 110.0, "completion_tokens_mean": 256.0},
        "started_at": "2025-12-22T10:00:00Z",
    });
    let told = Told {
        deployment: Some(String::new()),
        workload: Some("reference".to_owned()),
        workload_id: None,
        started_at: None,
    };
    foreign::read(&file.to_string(), &told).unwrap().0
}

fn contestant(run: RunJson) -> Contestant {
    Contestant {
        deployment: String::new(),
        precision: None,
        level: None,
        runs: vec![run],
        left_out: 0,
    }
}

fn reference() -> Vec<Contestant> {
    [
        ("Qwen/Qwen3-32B", 1.2582, 322.0868),
        ("Qwen/Qwen3-32B-FP8", 1.4917, 381.8702),
        ("RedHatAI/Qwen3-32B-NVFP4", 2.3690, 606.4682),
    ]
    .map(|(model, qps, decode_tps)| contestant(run(model, qps, decode_tps)))
    .into()
}

fn gains(table: &SideBySide) -> Vec<(String, String)> {
    table
        .rows
        .iter()
        .map(|row| (row.label.clone(), row.gain.to_string()))
        .collect()
}

#[test]
fn a_single_run_of_each_gives_ratios_and_no_interval() {
    let mut contestants = reference();
    contestants[0].precision = Some(Precision::declared("BF16"));
    let table = SideBySide::of(contestants, None).unwrap();
    assert_eq!(
        gains(&table),
        [
            ("nvfp4?", "1.883x, no interval"),
            ("fp8?", "1.186x, no interval"),
            ("bf16", "reference")
        ]
        .map(|(name, gain)| (name.to_owned(), gain.to_owned()))
    );
    let pairs: Vec<String> = table
        .pairs
        .iter()
        .map(|pair| pair.gain.to_string())
        .collect();
    assert_eq!(pairs[0], "1.588x, no interval", "nvfp4 over fp8");
    assert!(
        table.notes[0].contains("there are 1 here and 1 of bf16"),
        "{:?}",
        table.notes
    );
}

#[test]
fn a_precision_that_nobody_told_is_no_reference_by_default() {
    let table = SideBySide::of(reference(), None).unwrap();
    assert_eq!(table.rows[table.reference].label, "fp8?");
    let table = SideBySide::of(reference(), Some("Qwen/Qwen3-32B")).unwrap();
    assert_eq!(table.rows[table.reference].model, "Qwen/Qwen3-32B");
    let error = SideBySide::of(reference(), Some("fp16")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no row is called \"fp16\"; there are nvfp4?, fp8?, Qwen/Qwen3-32B"
    );
    assert_eq!(SideBySide::of(Vec::new(), None), Err(NotCompared::Empty));
    assert_eq!(
        SideBySide::of(Vec::new(), Some("fp8")),
        Err(NotCompared::Empty)
    );
}

/// Why the first of the reference's results, changed like this, has no ratio to the second.
fn why(change: impl FnOnce(&mut RunJson)) -> String {
    let mut contestants = reference();
    change(&mut contestants[2].runs[0]);
    let table = SideBySide::of(contestants, Some("fp8")).unwrap();
    let row = table.rows.iter().find(|row| row.label == "nvfp4?");
    match &row.unwrap().gain {
        Gain::Unknown { why } => why.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_alike_is_not_compared_and_the_reason_is_told() {
    for (told, says) in [
        (why(|run| run.max_tokens = Some(128)), "128 tokens, and not"),
        (
            why(|run| run.concurrency = 8),
            "8 in flight, 256 tokens, and not",
        ),
        (
            why(|run| run.workload_id = "80008449e38bc6ea".to_owned()),
            "the prompt of one is not known",
        ),
        (
            why(|run| run.token_usage.completion_tokens_mean = Some(253.0)),
            "answers of 253.0 and of 256.0",
        ),
        (
            why(|run| run.token_usage.completion_tokens_mean = None),
            "not known",
        ),
        (
            why(|run| (run.valid, run.decode_tps) = (false, None)),
            "no run that counts",
        ),
    ] {
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn a_spread_needs_two_runs_and_holds_nine_in_ten() {
    let runs: Vec<RunJson> = (0..=20)
        .map(|k| run("m", 2.0 + f64::from(k) / 10.0, 600.0))
        .collect();
    let spread = Spread::of(&runs, |run| run.qps).unwrap();
    let (low, high) = spread.range.unwrap();
    assert_eq!(spread.median, 3.0);
    assert!((low - 2.1).abs() < 1e-9 && (high - 3.9).abs() < 1e-9);
    assert_eq!(Spread::of(&runs[..1], |run| run.qps).unwrap().range, None);
    assert_eq!(Spread::of(&runs, |_| None), None);
}

#[test]
fn two_of_one_precision_are_told_apart_by_their_names() {
    let mut contestants = reference();
    contestants.push(contestants[1].clone());
    for (contestant, name) in contestants.iter_mut().zip(["a", "b", "c", "d"]) {
        contestant.deployment = name.to_owned();
    }
    let table = SideBySide::of(contestants, Some("d")).unwrap();
    let labels: Vec<&str> = table.rows.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels, ["nvfp4?", "fp8? (b)", "fp8? (d)", "a"]);
    assert_eq!(table.reference, 2);
}

#[test]
fn what_a_server_says_moves_no_cursor() {
    use crate::report::comparison::{Heading, text};
    let contestants = vec![contestant(run("m\u{1b}[2J", 1.0, 256.0))];
    let table = SideBySide::of(contestants, None).unwrap();
    let heading = Heading {
        title: "1 file".to_owned(),
        workload: None,
    };
    assert!(!text(&heading, &table).contains('\u{1b}'));
}
