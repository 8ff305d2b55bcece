//! The shipped rules: every alert is complete, every record is used, and the real programs accept the files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

mod metrics;
mod mutants;
mod pages;
#[path = "../common/rules.rs"]
mod rules;
mod template;

use rules::shipped;

const RECORDS: &str = "config/prometheus/recording.rules.yml";
const ALERTS: &str = "config/prometheus/alerts.rules.yml";

/// The uids of the dashboards under `grafana/`.
const DASHBOARDS: [&str; 5] = ["fleet", "deployment", "precision", "changes", "health"];

fn records() -> Vec<Value> {
    rules::rules(&rules::yaml(&shipped(RECORDS)))
}

fn alerts() -> Vec<Value> {
    rules::rules(&rules::yaml(&shipped(ALERTS)))
}

fn text<'a>(rule: &'a Value, field: &str) -> &'a str {
    rule[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} of {rule}"))
}

/// The names of the files in a directory of the repository, without this ending.
fn names(directory: &str, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(shipped(directory)).unwrap();
    entries
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(ending).map(str::to_owned)
        })
        .collect()
}

#[test]
fn every_alert_says_what_it_is_about_and_what_to_do() {
    let mut known = BTreeSet::new();
    for alert in alerts() {
        let name = text(&alert, "alert");
        assert!(known.insert(name.to_owned()), "{name} is there twice");
        let severity = text(&alert["labels"], "severity");
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: {severity}"
        );
        let annotations = &alert["annotations"];
        assert!(!text(annotations, "summary").is_empty(), "{name}");
        assert!(
            text(annotations, "description").len() > text(annotations, "summary").len(),
            "{name}"
        );
        let runbook = text(annotations, "runbook_url");
        let page = format!("docs/runbooks/{name}.md");
        assert!(runbook.ends_with(&page), "{name}: {runbook}");
        let dashboard = text(annotations, "dashboard_url");
        let uid = dashboard.split("/d/vllm-prober-").nth(1).unwrap();
        let uid = uid.split('?').next().unwrap();
        assert!(DASHBOARDS.contains(&uid), "{name}: {dashboard}");
    }
    assert_eq!(names("docs/runbooks", ".md"), known, "a page for each");
    assert_eq!(
        names("tests/prometheus", ".test.yml"),
        known,
        "unit tests for each"
    );
    let table = fs::read_to_string(shipped("docs/alerts.md")).unwrap();
    for name in &known {
        let row = format!("| [{name}](runbooks/{name}.md) |");
        assert!(table.contains(&row), "docs/alerts.md lacks {row}");
    }
}

#[test]
fn every_recording_rule_is_used_and_named_by_the_rules() {
    let used: Vec<Value> = alerts();
    for record in records() {
        let name = text(&record, "record");
        assert_eq!(name.split(':').count(), 3, "{name}");
        assert!(
            used.iter().any(|alert| text(alert, "expr").contains(name)),
            "{name} is for nothing"
        );
    }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(both).unwrap()
}

#[test]
#[ignore = "needs promtool and amtool"]
fn the_programs_accept_the_files() {
    let checks: [(&str, &[&str]); 3] = [
        ("promtool", &["check", "rules", RECORDS, ALERTS]),
        (
            "promtool",
            &["check", "config", "config/prometheus/prometheus.yml"],
        ),
        (
            "amtool",
            &["check-config", "config/alertmanager/alertmanager.yml"],
        ),
    ];
    // What is routed where, and to nobody else.
    for (severity, receiver) in [
        ("critical", "pages"),
        ("warning", "tickets"),
        ("info", "notes"),
    ] {
        let label = format!("severity={severity}");
        let file = "--config.file=config/alertmanager/alertmanager.yml";
        let output = run("amtool", &["config", "routes", "test", file, &label]);
        let routed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(routed.trim(), receiver);
    }
    for (program, arguments) in checks {
        let output = run(program, arguments);
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        for word in ["FAILED", "duplicate", "warning"] {
            assert!(!said.contains(word), "{said}");
        }
    }
}

#[test]
#[ignore = "needs promtool"]
fn the_unit_tests_of_every_alert_pass() {
    for name in names("tests/prometheus", ".test.yml") {
        let output = run(
            "promtool",
            &[
                "test",
                "rules",
                &format!("tests/prometheus/{name}.test.yml"),
            ],
        );
        assert!(output.status.success(), "{}", said(&output));
    }
}
