//! Relabelling by the examples that Prometheus documents, and those that users shard with.

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn written(action: &str) -> Written {
    Written {
        action: Some(Action::named(action).unwrap()),
        ..Written::default()
    }
}

fn from(action: &str, source_labels: &[&str]) -> Written {
    Written {
        source_labels: source_labels
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        ..written(action)
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn apply(before: &[(&str, &str)], rules: &[Written]) -> Option<Labels> {
    let rules: Vec<Rule> = rules
        .iter()
        .map(|written| Rule::new(written.clone()).unwrap())
        .collect();
    relabel(labels(before), &rules)
}

#[test]
fn replace_sets_a_label_from_others() {
    let before = [("__address__", "gpu-7:8000"), ("zone", "b")];
    let rule = |regex: Option<&str>, target: &str, replacement: Option<&str>| Written {
        regex: regex.and_then(some),
        target_label: some(target),
        replacement: replacement.and_then(some),
        ..from("replace", &["__address__", "zone"])
    };
    for (rule, name, value) in [
        // By default the whole of it, with `;` between.
        (rule(None, "all", None), "all", "gpu-7:8000;b"),
        (
            rule(Some("([^:]+):.*;(.*)"), "host", Some("${2}/$1")),
            "host",
            "b/gpu-7",
        ),
        // The label may come from the match too.
        (
            rule(Some("([a-z]+)-.*"), "${1}_host", Some("yes")),
            "gpu_host",
            "yes",
        ),
        // Without a match nothing happens; an empty replacement takes the label away.
        (rule(Some("cpu.*"), "zone", Some("c")), "zone", "b"),
        (rule(Some(".*"), "zone", Some("")), "zone", ""),
        (rule(Some(".*"), "zone", Some("$3")), "zone", ""),
        // A label without a name is none.
        (rule(Some("x?(.*)"), "$2", Some("v")), "zone", "b"),
    ] {
        let after = apply(&before, &[rule]).unwrap();
        assert_eq!(super::value(&after, name), value, "{name}");
    }
    // Without source labels a label is set.
    let fixed = Written {
        target_label: some("team"),
        replacement: some("inference"),
        ..Written::default()
    };
    assert_eq!(apply(&[], &[fixed]), Some(labels(&[("team", "inference")])));
}

#[test]
fn keep_and_drop_look_at_the_whole_value() {
    let before = [("job", "vllm"), ("env", "prod")];
    for (action, regex, kept) in [
        ("keep", "vllm;prod", true),
        ("keep", "vllm", false),
        ("drop", "vllm;.*", false),
        ("drop", "prod", true),
    ] {
        let rule = Written {
            regex: some(regex),
            ..from(action, &["job", "env"])
        };
        let after = apply(&before, &[rule]);
        assert_eq!(after, kept.then(|| labels(&before)), "{action} {regex}");
    }
    // A label that is not there is empty.
    let rule = |action| Written {
        regex: some(""),
        ..from(action, &["absent"])
    };
    assert!(apply(&before, &[rule("keep")]).is_some());
    assert!(apply(&before, &[rule("drop")]).is_none());
}

#[test]
fn keepequal_and_dropequal_compare_two_labels() {
    let rule = |action| Written {
        target_label: some("__port"),
        ..from(action, &["__container_port"])
    };
    for (port, equal) in [("8000", true), ("9000", false)] {
        let before = [("__port", "8000"), ("__container_port", port)];
        assert_eq!(apply(&before, &[rule("keepequal")]).is_some(), equal);
        assert_eq!(apply(&before, &[rule("dropequal")]).is_some(), !equal);
    }
}

#[test]
fn hashmod_shards_as_prometheus_does() {
    let shard = |source: &str, modulus| {
        let rule = Written {
            modulus: Some(modulus),
            target_label: some("__tmp_hash"),
            ..from("hashmod", &["__address__"])
        };
        apply(&[("__address__", source)], &[rule]).unwrap()["__tmp_hash"].clone()
    };
    assert_eq!(shard("baz", 1000), "976");
    assert_eq!(shard("foo\nbar", 1000), "734");
    let shards: Vec<String> = (0..8).map(|n| shard(&format!("gpu-{n}:8000"), 3)).collect();
    assert_eq!(shards, ["2", "2", "2", "2", "1", "0", "0", "1"]);
    // As it is used: one of three probers takes its third.
    let rules = |shard: &str| {
        [
            Written {
                modulus: Some(3),
                target_label: some("__tmp_hash"),
                ..from("hashmod", &["__address__"])
            },
            Written {
                regex: some(shard),
                ..from("keep", &["__tmp_hash"])
            },
        ]
    };
    for number in 0..8 {
        let address = format!("gpu-{number}:8000");
        let before = [("__address__", address.as_str())];
        let takers = ["0", "1", "2"].map(|shard| apply(&before, &rules(shard)).is_some());
        assert_eq!(
            takers.iter().filter(|takes| **takes).count(),
            1,
            "{address}"
        );
    }
}

#[test]
fn labels_are_copied_and_taken_away_by_their_names() {
    let before = [("__meta_team", "a"), ("__meta_zone", "b"), ("job", "vllm")];
    let rule = |action: &str, regex: &str| Written {
        regex: some(regex),
        ..written(action)
    };
    let mapped = apply(&before, &[rule("labelmap", "__meta_(.*)")]).unwrap();
    assert_eq!(mapped.len(), 5);
    assert_eq!(
        (mapped["team"].as_str(), mapped["zone"].as_str()),
        ("a", "b")
    );
    let renamed = Written {
        replacement: some("vllm_${1}"),
        ..rule("labelmap", "__meta_(.*)")
    };
    assert_eq!(apply(&before, &[renamed]).unwrap()["vllm_team"], "a");
    let dropped = apply(&before, &[rule("labeldrop", "__meta_.*")]);
    assert_eq!(dropped, Some(labels(&before[2..])));
    let kept = apply(&before, &[rule("labelkeep", "__meta_.*")]);
    assert_eq!(kept, Some(labels(&before[..2])));
}

#[test]
fn case_is_changed() {
    let before = [("model", "Qwen3-32B"), ("gpu", "H100")];
    for (action, text) in [
        ("lowercase", "qwen3-32b;h100"),
        ("UpperCase", "QWEN3-32B;H100"),
    ] {
        let rule = Written {
            target_label: some("name"),
            ..from(action, &["model", "gpu"])
        };
        assert_eq!(apply(&before, &[rule]).unwrap()["name"], text);
    }
}

#[test]
fn what_is_no_rule_is_refused_with_its_field() {
    let with = |change: fn(&mut Written), action: &str| {
        let mut rule = from(action, &["a"]);
        change(&mut rule);
        Rule::new(rule).unwrap_err()
    };
    for (refused, part, words) in [
        (with(|_| {}, "replace"), None, "needs a `target_label`"),
        (with(|_| {}, "keepequal"), None, "needs a `target_label`"),
        (
            with(|rule| rule.target_label = some("b"), "hashmod"),
            None,
            "needs a `modulus`",
        ),
        (
            with(|rule| rule.regex = some("("), "keep"),
            Some(Part::Regex),
            "unclosed group",
        ),
        (
            with(|_| {}, "labeldrop"),
            Some(Part::SourceLabels),
            "means nothing",
        ),
        (
            with(
                |rule| {
                    rule.target_label = some("b");
                    rule.replacement = some("c");
                },
                "lowercase",
            ),
            Some(Part::Replacement),
            "means nothing",
        ),
        (
            with(
                |rule| {
                    rule.target_label = some("b");
                    rule.regex = some("c");
                },
                "dropequal",
            ),
            Some(Part::Regex),
            "means nothing",
        ),
        (
            with(|rule| rule.replacement = some(""), "labelmap"),
            Some(Part::Replacement),
            "without a name",
        ),
    ] {
        assert_eq!(refused.part, part, "{refused}");
        assert!(refused.message.contains(words), "{refused}");
        assert!(!refused.mend.is_empty());
    }
    assert_eq!(Action::named("relabel"), None);
}
