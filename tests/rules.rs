//! The shipped rules: every alert is complete, knows only metrics that exist, and has unit tests that notice when a
//! threshold, a direction or a time constant of it is changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};
use tokio::time::Instant;

#[path = "common/rules.rs"]
mod rules;

use rules::{Kind, pieces, replaced, shipped, times};

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
fn every_runbook_has_its_parts() {
    for name in names("docs/runbooks", ".md") {
        let page = fs::read_to_string(shipped(&format!("docs/runbooks/{name}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for part in [
            "## Meaning",
            "## Impact",
            "## How to check",
            "## How to mend",
            "## When to acknowledge",
        ] {
            assert!(
                page.contains(&format!("\n{part}\n")),
                "{name} lacks {part:?}"
            );
        }
    }
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let runbooks = names("docs/runbooks", ".md").into_iter();
    let pages = runbooks.map(|name| format!("docs/runbooks/{name}.md"));
    for page in pages.chain(["docs/alerts.md".to_owned()]) {
        let text = fs::read_to_string(shipped(&page)).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = shipped(&page).with_file_name("").join(file);
            assert!(target.exists(), "{page} links to {link}");
            if !heading.is_empty() {
                let headings = fs::read_to_string(target).unwrap();
                let is_there = headings
                    .lines()
                    .filter_map(|line| line.strip_prefix("## "))
                    .any(|line| line.to_lowercase().replace(' ', "-").replace(',', "") == heading);
                assert!(is_there, "{page} links to {link}");
            }
        }
    }
}

#[test]
fn every_command_of_the_pages_is_one_of_the_program() {
    let mut seen = 0;
    for name in names("docs/runbooks", ".md") {
        let page = fs::read_to_string(shipped(&format!("docs/runbooks/{name}.md"))).unwrap();
        for line in page
            .lines()
            .filter_map(|line| line.strip_prefix("$ vllm-prober "))
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            // A command, and perhaps one below it, which is a word in lower case too.
            let is_command = |word: &&&str| {
                ["history", "baseline"].contains(&words[0])
                    && word.bytes().all(|byte| byte.is_ascii_lowercase())
            };
            let mut arguments = vec![words[0]];
            arguments.extend(words.get(1).filter(is_command));
            arguments.push("--help");
            let help = run(env!("CARGO_BIN_EXE_vllm-prober"), &arguments);
            assert!(help.status.success(), "{name}: {line}");
            let help = said(&help);
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{name}: {line}: no {flag}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} were found");
}

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

#[test]
fn pieces_of_an_expression_are_found() {
    let expression = r#"a:b_c:d2h{x="3 > 1"}[1h30m] offset 2d >= 0.5 and on (x) sum(y) == -1"#;
    let found: Vec<_> = pieces(expression)
        .into_iter()
        .map(|(kind, range)| (kind, &expression[range]))
        .collect();
    assert_eq!(
        found,
        [
            (Kind::Word, "a:b_c:d2h"),
            (Kind::Duration, "1h30m"),
            (Kind::Word, "offset"),
            (Kind::Duration, "2d"),
            (Kind::Comparison, ">="),
            (Kind::Number, "0.5"),
            (Kind::Word, "and"),
            (Kind::Word, "on"),
            (Kind::Word, "x"),
            (Kind::Word, "sum"),
            (Kind::Word, "y"),
            (Kind::Comparison, "=="),
            (Kind::Number, "1"),
        ]
    );
    assert_eq!(times("1h30m", 0.5), "2700000ms");
    assert_eq!(
        (times("1ms", 0.1), times("0s", 2.0)),
        ("1ms".to_owned(), "0ms".to_owned())
    );
}

#[test]
fn the_template_of_time_constants_moves_times_and_nothing_else() {
    for (before, after) in [
        (
            "a[1h] offset 3h < 0.93",
            "a[60000ms] offset 180000ms < 0.93",
        ),
        (
            "(time() - max_over_time(t[1h]) < 3600) * 1",
            "(time() - max_over_time(t[60000ms]) < 60) * 1",
        ),
        (
            "time() - t > 2.2 * i and on (x) r == 1",
            "time() - t > 2.2 * i and on (x) r == 1",
        ),
        ("rate_3600{le=\"90\"} > 90", "rate_3600{le=\"90\"} > 90"),
    ] {
        assert_eq!(rules::scaled_expression(before, 1.0 / 60.0), after);
    }
    let scaled = rules::scaled(rules::yaml(&shipped(ALERTS)), 1.0 / 60.0);
    let waits: Vec<_> = rules::rules(&scaled)
        .iter()
        .filter(|alert| alert["alert"] == "VllmTokenRateRegression")
        .map(|alert| [alert["for"].clone(), alert["keep_firing_for"].clone()])
        .collect();
    assert_eq!(waits, [[json!("2000ms"), json!("10000ms")]]);
    assert_eq!(scaled["groups"][0]["interval"], "500ms");
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

/// The queries of a page: one a line, and what is indented goes on.
fn queries(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for block in page.split("```promql\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match found.last_mut().filter(|_| line.starts_with(' ')) {
                Some(query) => query.push_str(line),
                None => found.push(line.to_owned()),
            }
        }
    }
    found
}

#[test]
#[ignore = "needs promtool"]
fn prometheus_understands_every_query_of_the_runbooks() {
    let mut recorded = Vec::new();
    for name in names("docs/runbooks", ".md") {
        let page = fs::read_to_string(shipped(&format!("docs/runbooks/{name}.md"))).unwrap();
        let found = queries(&page);
        assert!(!found.is_empty(), "{name} has no query");
        for query in found {
            let n = recorded.len();
            recorded.push(json!({ "record": format!("query:{name}:n{n}"), "expr": query }));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.yml");
    rules::write(
        &path,
        &json!({ "groups": [{ "name": "queries", "rules": recorded }] }),
    );
    let output = run("promtool", &["check", "rules", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
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
