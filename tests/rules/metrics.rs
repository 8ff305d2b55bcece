//! Every metric that a rule, a runbook or a unit test names is one that the exporter has.

use std::collections::BTreeSet;
use std::fs;

use super::rules::shipped;
use super::{alerts, names, records, text};

/// Names of the exporter's metrics, as its source has them: a name is followed by its HELP.
fn metrics_of_the_exporter() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let files = fs::read_dir(shipped("src/server/metrics")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    for file in files.chain([shipped("src/server/metrics.rs")]) {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        let literals: Vec<&str> = source.split('"').collect();
        // The text between two literals, and what is around it.
        for n in (1..literals.len().saturating_sub(2)).step_by(2) {
            let between = literals[n + 1].trim_start_matches([',', ' ', '\n']);
            let is_followed_by_help = between.is_empty()
                || between.starts_with("help:")
                || between.starts_with("of_last_run!(");
            let is_name = literals[n]
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if is_name && is_followed_by_help {
                found.insert(format!("vllm_probe_{}", literals[n]));
            }
        }
    }
    assert!(
        found.contains("vllm_probe_success") && found.contains("vllm_probe_verdict"),
        "{found:?}"
    );
    found
}

/// The metrics of the exporter that `text` names, without the endings of summaries and histograms.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(|c| !is_name(c))
        .filter(|word| word.starts_with("vllm_probe_"))
        .map(|word| {
            let series = ["_bucket", "_sum", "_count"];
            let base = series.iter().find_map(|ending| word.strip_suffix(ending));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn every_metric_is_one_that_the_exporter_has() {
    let known = metrics_of_the_exporter();
    let mut texts = vec![(
        "docs/alerts.md".to_owned(),
        fs::read_to_string(shipped("docs/alerts.md")).unwrap(),
    )];
    for rule in records().into_iter().chain(alerts()) {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap();
        texts.push((
            name.to_owned(),
            format!("{} {}", text(&rule, "expr"), rule["annotations"]),
        ));
    }
    for name in names("docs/runbooks", ".md") {
        let page = fs::read_to_string(shipped(&format!("docs/runbooks/{name}.md"))).unwrap();
        texts.push((format!("the runbook of {name}"), page));
    }
    for name in names("tests/prometheus", ".test.yml") {
        let test = fs::read_to_string(shipped(&format!("tests/prometheus/{name}.test.yml")));
        texts.push((format!("the unit tests of {name}"), test.unwrap()));
    }
    let mut seen = 0;
    for (place, text) in texts {
        for metric in metrics_in(&text) {
            assert!(
                known.contains(&metric),
                "{place} names {metric}, which the exporter does not have"
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} were found");
}
