//! A genuine Prometheus relabels the same targets by the same rules, and comes to the same labels.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};
use vllm_prober::discovery::Labels;
use vllm_prober::discovery::relabel::{Action, Rule, Written, relabel};

/// The rule in Prometheus' form.
fn json_of(rule: &Written) -> Value {
    let fields = [
        (
            "source_labels",
            (!rule.source_labels.is_empty()).then(|| json!(rule.source_labels)),
        ),
        ("separator", rule.separator.as_ref().map(|text| json!(text))),
        ("regex", rule.regex.as_ref().map(|text| json!(text))),
        ("modulus", rule.modulus.map(|number| json!(number))),
        (
            "target_label",
            rule.target_label.as_ref().map(|text| json!(text)),
        ),
        (
            "replacement",
            rule.replacement.as_ref().map(|text| json!(text)),
        ),
        ("action", rule.action.map(|action| json!(action.label()))),
    ];
    let given = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(given.collect())
}

fn promtool(labels: &Value, rules: &[Written]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prometheus.json");
    let config = json!({"scrape_configs": [{
        "job_name": "j",
        "static_configs": [{"targets": ["gpu-7:8000"], "labels": labels}],
        "relabel_configs": rules.iter().map(json_of).collect::<Vec<_>>(),
    }]});
    std::fs::write(&file, config.to_string()).unwrap();
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "service-discovery", "--timeout=2s"]);
    promtool.arg(&file).arg("j").output().unwrap()
}

/// Prometheus' result and ours, of rules that Prometheus takes; both without what it sets afterwards.
fn assert_same(labels: &Value, rules: &[Written]) {
    let output = promtool(labels, rules);
    assert!(
        output.status.success(),
        "{rules:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let targets: Value = serde_json::from_slice(&output.stdout).unwrap();
    let target = &targets[0];
    // What promtool tells as discovered is not to be relied on: it was changed meanwhile.
    let mut discovered: Labels = serde_json::from_value(labels.clone()).unwrap();
    let set = [
        ("__address__", "gpu-7:8000"),
        ("__metrics_path__", "/metrics"),
        ("__scheme__", "http"),
        ("__scrape_interval__", "1m"),
        ("__scrape_timeout__", "10s"),
        ("job", "j"),
    ];
    discovered.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let theirs: Labels = serde_json::from_value(target["labels"].clone()).unwrap();
    let rules: Vec<Rule> = rules
        .iter()
        .map(|rule| Rule::new(rule.clone()).unwrap())
        .collect();
    let ours = relabel(discovered, &rules).map(|mut ours| {
        let address = ours["__address__"].clone();
        ours.entry("instance".to_owned()).or_insert(address);
        ours.retain(|name, _| !name.starts_with("__meta_") && !name.starts_with("__tmp"));
        ours
    });
    let theirs: Labels = theirs
        .into_iter()
        .filter(|(name, _)| !name.starts_with("__meta_") && !name.starts_with("__tmp"))
        .collect();
    assert_eq!(ours.unwrap_or_default(), theirs, "{rules:?}");
}

fn written(action: &str, source_labels: &[&str], regex: Option<&str>) -> Written {
    Written {
        source_labels: source_labels
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        regex: regex.map(str::to_owned),
        action: Some(Action::named(action).unwrap()),
        ..Written::default()
    }
}

fn to(target_label: &str, replacement: Option<&str>, rule: Written) -> Written {
    Written {
        target_label: Some(target_label.to_owned()),
        replacement: replacement.map(str::to_owned),
        ..rule
    }
}

#[test]
#[ignore = "needs promtool"]
fn rules_come_to_what_they_come_to_in_prometheus() {
    let labels = json!({"zone": "b", "__meta_team": "a", "__meta_GPU": "H100", "port": "8000", "same": "8000"});
    let hash = |modulus| Written {
        modulus: Some(modulus),
        ..to("shard", None, written("hashmod", &["__address__"], None))
    };
    let joined = Written {
        separator: Some(":".to_owned()),
        ..to(
            "joined",
            None,
            written("replace", &["zone", "absent", "port"], None),
        )
    };
    let address = ["__address__"];
    let cases: Vec<Vec<Written>> = vec![
        vec![to(
            "all",
            None,
            written("replace", &["__address__", "zone"], None),
        )],
        vec![joined],
        vec![to(
            "host",
            Some("${2}-$1$$"),
            written("replace", &["__address__", "zone"], Some("([^:]+):.*;(.*)")),
        )],
        vec![to(
            "${1}_x",
            Some("v"),
            written("replace", &address, Some("([a-z]+).*")),
        )],
        vec![to(
            "x",
            Some("$1x-${1}x-$9-$"),
            written("replace", &address, Some("(gpu).*")),
        )],
        vec![to(
            "zone",
            Some(""),
            written("replace", &address, Some(".*")),
        )],
        vec![to(
            "zone",
            Some("c"),
            written("replace", &address, Some("cpu")),
        )],
        vec![to("fixed", Some("yes"), written("replace", &[], None))],
        vec![written("keep", &["zone"], Some("b|c"))],
        vec![written("keep", &["zone"], Some("c"))],
        vec![written("drop", &["zone", "port"], Some("b;8.*"))],
        vec![written("drop", &["zone"], Some("a"))],
        vec![to("same", None, written("keepequal", &["port"], None))],
        vec![to("zone", None, written("keepequal", &["port"], None))],
        vec![to("same", None, written("dropequal", &["port"], None))],
        vec![hash(1), hash(7), hash(1000), hash(u64::from(u32::MAX))],
        vec![hash(4), written("keep", &["shard"], Some("0|1|2|3"))],
        vec![written("labelmap", &[], Some("__meta_(.+)"))],
        vec![to(
            "",
            Some("vllm_${1}_x"),
            written("labelmap", &[], Some("__meta_(.+)")),
        )],
        vec![written("labeldrop", &[], Some("zone|port"))],
        vec![written("labelkeep", &[], Some("__.*|job|zone"))],
        vec![to(
            "low",
            None,
            written("lowercase", &["__meta_GPU", "zone"], None),
        )],
        vec![to(
            "up",
            None,
            written("uppercase", &["__meta_GPU", "zone"], None),
        )],
    ];
    thread::scope(|scope| {
        for rules in &cases {
            let rules: Vec<Written> = rules
                .iter()
                .cloned()
                .map(|rule| Written {
                    // Prometheus takes an empty one and none for the same.
                    target_label: rule.target_label.filter(|name| !name.is_empty()),
                    ..rule
                })
                .collect();
            let labels = &labels;
            scope.spawn(move || assert_same(labels, &rules));
        }
    });
}

#[test]
#[ignore = "needs promtool"]
fn patterns_match_what_they_match_in_prometheus() {
    const PATTERNS: [&str; 42] = [
        "(.*)",
        "",
        "oo",
        "foo|bar",
        r"\d+",
        r"\D+",
        r"\w+",
        r"\W+",
        r"\s",
        r"\S+",
        r"[\d\w]+",
        r"[^\S]",
        r"[\D]",
        r"a\b.*",
        r"a\B.*",
        "a{2}",
        "a{,2}",
        "a{2,}",
        "{a}",
        "a{b}",
        "a{1,2}{",
        "[[]",
        "[]a]+",
        "[^]]+",
        "[a&&b]+",
        "[a~~b]+",
        "[+--]+",
        "[a-c-e]+",
        "[]-a]+",
        "[^^]+",
        "[[:alpha:]]+",
        "[[:^alpha:]]+",
        "[a-z-]+",
        r"\Qa.b\E+",
        "(?i)GPU.*",
        r"\pL+",
        r"[\pL-]+",
        r"\x{e9}",
        r"a\.b",
        "(?U)a+",
        r"\p{Greek}",
        r"[\p{Lu}\x41-\x{5a}]+",
    ];
    const TEXTS: [&str; 26] = [
        "foo", "bar", "12", "١٢", "a1_", "é", " ", "a é", "ab c", "aa", "a{,2}", "{a}", "a{b}",
        "aa{", "[", "]a", "a&b", "~", "-,+", "b-e", "^_`", "a.bb", "a.b", "gpu-7", "d", "[a",
    ];
    let rules: Vec<Written> = PATTERNS
        .iter()
        .enumerate()
        .map(|(at, pattern)| {
            to(
                &format!("m{at}"),
                Some("yes"),
                written("replace", &["text"], Some(pattern)),
            )
        })
        .collect();
    thread::scope(|scope| {
        for text in TEXTS {
            let rules = &rules;
            scope.spawn(move || assert_same(&json!({"text": text}), rules));
        }
    });
    for pattern in [
        "(",
        "[a",
        "a\\",
        "(?x)a b",
        r"(a)\1",
        "*a",
        "(?=a)",
        "[b-a]",
        "a)",
        "[]",
        "[[:nothing:]]",
    ] {
        let rule = to("m", None, written("replace", &["text"], Some(pattern)));
        let output = promtool(&json!({}), std::slice::from_ref(&rule));
        assert!(!output.status.success(), "{pattern} is taken by Prometheus");
        assert!(Rule::new(rule).is_err(), "{pattern} is taken here");
    }
}
