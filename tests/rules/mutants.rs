//! Whether the unit tests of the rules notice when a threshold, a direction or a time constant is changed.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::rules::{self, Kind, pieces, replaced, shipped, times};
use super::{alerts, records, run, said, text};

/// Changes that change nothing: what a longer window adds is shut out by the comparison beside it.
const EQUIVALENT: [&str; 1] = ["VllmEnvironmentChanged: expr: 1h in line 1 → 7200000ms"];

/// One change of one rule that its unit tests must notice.
#[derive(Clone, Debug)]
struct Mutant {
    what: String,
    rule: Value,
}

/// Every mutant of a rule: thresholds moved both ways, comparisons and set operators turned round, windows and waiting
/// times halved and doubled.
fn mutants(rule: &Value) -> Vec<Mutant> {
    let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap();
    let expression = text(rule, "expr");
    let mut found = Vec::new();
    let mut with = |field: &str, before: &str, after: &str, value: String| {
        let mut rule = rule.clone();
        rule[field] = value.into();
        found.push(Mutant {
            what: format!("{name}: {field}: {before} → {after}"),
            rule,
        });
    };
    for (kind, range) in pieces(expression) {
        let piece = &expression[range.clone()];
        for after in other(kind, piece, &expression[..range.start]) {
            let line = expression[..range.start].matches('\n').count() + 1;
            let before = format!("{piece} in line {line}");
            with(
                "expr",
                &before,
                &after,
                replaced(expression, &range, &after),
            );
        }
    }
    if rule["alert"].is_string() {
        match rule["for"].as_str() {
            Some(wait) => {
                for factor in [0.5, 2.0] {
                    let after = times(wait, factor);
                    with("for", wait, &after, after.clone());
                }
            }
            None => with("for", "none", "5m", "5m".to_owned()),
        }
        match rule["keep_firing_for"].as_str() {
            Some(wait) => {
                for factor in [0.5, 2.0] {
                    let after = times(wait, factor);
                    with("keep_firing_for", wait, &after, after.clone());
                }
            }
            None => with("keep_firing_for", "none", "1h", "1h".to_owned()),
        }
    }
    found
}

/// What may stand in place of a piece, of which `before` is what comes before it.
fn other(kind: Kind, piece: &str, before: &str) -> Vec<String> {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match (kind, piece) {
        (Kind::Comparison, ">") => own(&["<"]),
        (Kind::Comparison, "<") => own(&[">"]),
        (Kind::Comparison, "==") => own(&["!="]),
        (Kind::Comparison, other) => panic!("a comparison {other}"),
        (Kind::Word, "and") => own(&["unless"]),
        (Kind::Word, "unless") => own(&["and"]),
        (Kind::Word, "or") => own(&["and"]),
        (Kind::Word, _) => Vec::new(),
        (Kind::Duration, window) => vec![times(window, 0.5), times(window, 2.0)],
        // A quantile: what is not the median is another figure altogether.
        (Kind::Number, _) if before.ends_with("quantile_over_time(") => own(&["0.05", "0.95"]),
        (Kind::Number, number) => {
            let number: f64 = number.parse().unwrap();
            // What bounds a count is moved to the next count, all else by a twentieth.
            let is_of_a_count = number == 0.0
                || (number > 1.0 && number.fract() == 0.5)
                || (10.0..100.0).contains(&number);
            let step = if is_of_a_count { 1.0 } else { number * 0.05 };
            vec![(number - step).to_string(), (number + step).to_string()]
        }
    }
}

/// Runs the unit tests of `alert` on it and on the recording rules that it uses; what promtool says if they fail.
fn tested(directory: &Path, alert: &Value, records: &[Value]) -> Option<String> {
    let name = text(alert, "alert");
    let used: Vec<&Value> = records
        .iter()
        .filter(|record| text(alert, "expr").contains(text(record, "record")))
        .collect();
    let rule_file = json!({ "groups": [
        { "name": "vllm-prober-records", "rules": used },
        { "name": "vllm-prober-alerts", "rules": [alert] },
    ] });
    rules::write(&directory.join("alerts.rules.yml"), &rule_file);
    let test = fs::read_to_string(shipped(&format!("tests/prometheus/{name}.test.yml"))).unwrap();
    let test = test
        .replace("  - ../../config/prometheus/recording.rules.yml\n", "")
        .replace("../../config/prometheus/", "");
    let path = directory.join("test.yml");
    fs::write(&path, test).unwrap();
    let output = run("promtool", &["test", "rules", path.to_str().unwrap()]);
    (!output.status.success()).then(|| said(&output))
}

#[test]
#[ignore = "needs promtool"]
fn the_unit_tests_notice_every_mutant() {
    let start = Instant::now();
    let (records, alerts) = (records(), alerts());
    // Each piece of work: a mutant, and the alerts and records among which it stands.
    let mut work: Vec<(Mutant, Value, Vec<Value>)> = Vec::new();
    for alert in &alerts {
        let unchanged = Mutant {
            what: String::new(),
            rule: alert.clone(),
        };
        work.push((unchanged, alert.clone(), records.clone()));
        for mutant in mutants(alert) {
            let rule = mutant.rule.clone();
            work.push((mutant, rule, records.clone()));
        }
    }
    for (n, record) in records.iter().enumerate() {
        let name = text(record, "record");
        let user = alerts
            .iter()
            .find(|alert| text(alert, "expr").contains(name))
            .unwrap();
        for mutant in mutants(record) {
            let mut records = records.clone();
            records[n] = mutant.rule.clone();
            work.push((mutant, user.clone(), records));
        }
    }
    let count = work.len() - alerts.len();
    let work = Mutex::new(work.into_iter());
    let survivors = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let directory = tempfile::tempdir().unwrap();
                loop {
                    let next = work.lock().unwrap().next();
                    let Some((mutant, alert, records)) = next else {
                        return;
                    };
                    let failed = tested(directory.path(), &alert, &records);
                    match failed {
                        // A rule that is not read at all proves nothing.
                        Some(said) if mutant.what.is_empty() || !said.contains("got:") => {
                            panic!("{}: {said}", mutant.what)
                        }
                        None if !mutant.what.is_empty()
                            && !EQUIVALENT.contains(&mutant.what.as_str()) =>
                        {
                            survivors.lock().unwrap().push(mutant.what);
                        }
                        _ => {}
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().unwrap();
    println!("{count} mutants in {:.0?}", start.elapsed());
    assert!(
        survivors.is_empty(),
        "nobody noticed these {}:\n{}",
        survivors.len(),
        survivors.join("\n")
    );
}
