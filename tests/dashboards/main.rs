//! The Grafana dashboards as they are shipped: well-formed, of one piece, and asking only for what the exporter shows.
//! Then every question they ask is put to a genuine Prometheus after a day that had everything in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use promql_parser::parser::{Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;
use vllm_prober::server::metrics;

#[path = "../common/http.rs"]
mod http;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/prometheus.rs"]
mod prometheus;

mod story;

/// What other tools and people link to.
const UIDS: [&str; 5] = [
    "vllm-prober-changes",
    "vllm-prober-deployment",
    "vllm-prober-fleet",
    "vllm-prober-health",
    "vllm-prober-precision",
];

/// Series that Prometheus itself makes of a scrape and of alert rules.
const OF_PROMETHEUS: [&str; 3] = ["ALERTS", "ALERTS_FOR_STATE", "scrape_samples_scraped"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every dashboard by the name of its file.
fn dashboards() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(root().join("grafana/dashboards")).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// All panels that show something, with the id of their dashboard.
fn panels(dashboards: &BTreeMap<String, Value>) -> Vec<(&str, &Value)> {
    let panels = dashboards.iter().flat_map(|(uid, dashboard)| {
        list(&dashboard["panels"])
            .iter()
            .map(move |panel| (uid.as_str(), panel))
    });
    panels.filter(|(_, panel)| panel["type"] != "row").collect()
}

/// One question of a dashboard.
struct Question<'a> {
    place: String,
    expr: &'a str,
    is_range: bool,
}

fn questions(dashboards: &BTreeMap<String, Value>) -> Vec<Question<'_>> {
    let of_panels = panels(dashboards).into_iter().flat_map(|(uid, panel)| {
        list(&panel["targets"]).iter().map(move |target| Question {
            place: format!(
                "{uid} / {} / {}",
                text(&panel["title"]),
                text(&target["refId"])
            ),
            expr: text(&target["expr"]),
            is_range: target["range"] == true,
        })
    });
    let of_annotations = dashboards.iter().flat_map(|(uid, dashboard)| {
        list(&dashboard["annotations"]["list"])
            .iter()
            .map(move |annotation| Question {
                place: format!("{uid} / annotation / {}", text(&annotation["name"])),
                expr: text(&annotation["target"]["expr"]),
                is_range: true,
            })
    });
    of_panels.chain(of_annotations).collect()
}

/// `expr` as Grafana sends it, for a time range of `range` seconds that begins at `from`.
fn filled_in(expr: &str, from: u64, range: u64, comparison: &str) -> String {
    let all = story::DEPLOYMENTS.map(|(name, _)| name).join("|") + "|" + story::GONE;
    [
        ("${__from:date:seconds}", from.to_string()),
        ("$__rate_interval", "4s".to_owned()),
        ("$__interval", "2s".to_owned()),
        ("$__range", format!("{range}s")),
        ("$deployment", format!("({all})")),
        ("$family", ".*".to_owned()),
        ("$workload", story::WORKLOAD.to_owned()),
        ("$comparison", comparison.to_owned()),
        ("$tolerance", "0.03".to_owned()),
    ]
    .iter()
    .fold(expr.to_owned(), |expr, (name, value)| {
        expr.replace(name, value)
    })
}

/// `label_values(metric, label)` taken apart.
fn label_values(query: &str) -> (&str, &str) {
    let inner = query
        .strip_prefix("label_values(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap();
    let (metric, label) = inner.rsplit_once(", ").unwrap();
    (metric, label)
}

/// The query of each variable that asks Prometheus.
fn variables(dashboards: &BTreeMap<String, Value>) -> Vec<(String, &str)> {
    let all = dashboards.iter().flat_map(|(uid, dashboard)| {
        list(&dashboard["templating"]["list"])
            .iter()
            .map(move |variable| (uid, variable))
    });
    all.filter(|(_, variable)| variable["type"] == "query")
        .map(|(uid, variable)| {
            let place = format!("{uid} / variable / {}", text(&variable["name"]));
            (place, text(&variable["query"]["query"]))
        })
        .collect()
}

/// The metrics that a query names.
fn metrics_of(expr: &str) -> Result<BTreeSet<String>, String> {
    struct Names(BTreeSet<String>);
    impl Names {
        fn add(&mut self, selector: &VectorSelector) {
            self.0.extend(selector.name.clone());
        }
    }
    impl ExprVisitor for Names {
        type Error = String;
        fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
            match expr {
                Expr::VectorSelector(selector) => self.add(selector),
                Expr::MatrixSelector(selector) => self.add(&selector.vs),
                _ => {}
            }
            Ok(true)
        }
    }
    let mut names = Names(BTreeSet::new());
    walk_expr(&mut names, &promql_parser::parser::parse(expr)?)?;
    Ok(names.0)
}

#[test]
fn uids_are_stable_and_of_one_piece() {
    let dashboards = dashboards();
    assert_eq!(dashboards.keys().collect::<Vec<_>>(), UIDS);
    let mut titles = BTreeSet::new();
    for (file, dashboard) in &dashboards {
        assert_eq!(text(&dashboard["uid"]), file);
        assert!(titles.insert(text(&dashboard["title"])), "{file}");
        assert!(
            dashboard["schemaVersion"].as_u64() >= Some(39),
            "{file}: older than Grafana 11"
        );
        assert!(!text(&dashboard["description"]).is_empty(), "{file}");
        assert!(
            dashboard.get("id").is_none(),
            "{file}: an id belongs to one Grafana"
        );
        let names: Vec<&str> = list(&dashboard["templating"]["list"])
            .iter()
            .map(|variable| text(&variable["name"]))
            .collect();
        assert_eq!(
            names[..4],
            ["datasource", "family", "deployment", "workload"],
            "{file}"
        );
        let annotations = list(&dashboard["annotations"]["list"]);
        assert!(annotations.len() >= 3, "{file}");
    }
}

#[test]
fn panels_are_complete_and_do_not_overlap() {
    let dashboards = dashboards();
    for (uid, dashboard) in &dashboards {
        let all = list(&dashboard["panels"]);
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in all {
            let title = format!("{uid} / {}", text(&panel["title"]));
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
            assert!(w > 0 && h > 0 && x + w <= 24, "{title}: its place");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(
                    taken.insert(cell),
                    "{title} lies on another panel at {cell:?}"
                );
            }
        }
    }
    for (uid, panel) in panels(&dashboards) {
        let title = format!("{uid} / {}", text(&panel["title"]));
        assert!(text(&panel["title"]).len() > 2, "{title}");
        assert!(
            text(&panel["description"]).ends_with('.'),
            "{title}: a sentence"
        );
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(!text(&defaults["unit"]).is_empty(), "{title}: a unit");
        let mut ref_ids = BTreeSet::new();
        assert!(!list(&panel["targets"]).is_empty(), "{title}");
        for target in list(&panel["targets"]) {
            assert!(ref_ids.insert(text(&target["refId"])), "{title}");
        }
        if panel["type"] == "timeseries" {
            assert_eq!(
                defaults["custom"]["spanNulls"], false,
                "{title}: what does not count is joined"
            );
        }
    }
}

/// Each object that has a `datasource` names the variable, and so does each variable and annotation.
#[test]
fn no_data_source_is_hard_coded() {
    fn look(value: &Value, place: &str) {
        match value {
            Value::Object(fields) => {
                if let Some(source) = fields.get("datasource") {
                    assert_eq!(source["uid"], "${datasource}", "{place}");
                    assert_eq!(source["type"], "prometheus", "{place}");
                }
                fields
                    .iter()
                    .for_each(|(name, value)| look(value, &format!("{place}.{name}")));
            }
            Value::Array(values) => values.iter().for_each(|value| look(value, place)),
            _ => {}
        }
    }
    let dashboards = dashboards();
    for (uid, dashboard) in &dashboards {
        look(dashboard, uid);
        let annotations = list(&dashboard["annotations"]["list"]);
        assert!(
            annotations.iter().all(|one| one["datasource"].is_object()),
            "{uid}"
        );
    }
    for (uid, panel) in panels(&dashboards) {
        for target in list(&panel["targets"]) {
            assert!(
                target["datasource"].is_object(),
                "{uid} / {}",
                text(&panel["title"])
            );
        }
    }
}

#[test]
fn links_lead_to_dashboards_that_are_there() {
    fn urls<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("url").and_then(Value::as_str));
                fields.values().for_each(|value| urls(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| urls(value, found)),
            _ => {}
        }
    }
    for (uid, dashboard) in &dashboards() {
        let mut found = Vec::new();
        urls(dashboard, &mut found);
        let targets: BTreeSet<&str> = found
            .iter()
            .map(|url| {
                let path = url
                    .strip_prefix("/d/")
                    .unwrap_or_else(|| panic!("{uid}: {url}"));
                path.split('?').next().unwrap()
            })
            .collect();
        assert!(
            targets.iter().all(|target| UIDS.contains(target)),
            "{uid}: {targets:?}"
        );
        let others = UIDS.iter().filter(|other| *other != uid);
        assert!(
            others.clone().all(|other| targets.contains(other)),
            "{uid}: {targets:?}"
        );
    }
}

#[test]
fn every_metric_is_one_of_the_exporter() {
    let known = metrics::names();
    assert!(known.contains("vllm_probe_verdict") && known.contains("process_open_fds"));
    let is_known = |name: &str| {
        let mut part_of = ["_bucket", "_sum", "_count"].iter();
        known.contains(name)
            || OF_PROMETHEUS.contains(&name)
            || part_of.any(|suffix| {
                name.strip_suffix(suffix)
                    .is_some_and(|name| known.contains(name))
            })
    };
    let dashboards = dashboards();
    let mut used = BTreeSet::new();
    let asked = questions(&dashboards)
        .into_iter()
        .map(|question| (question.place, question.expr))
        .chain(
            variables(&dashboards)
                .into_iter()
                .map(|(place, query)| (place, label_values(query).0)),
        );
    for (place, expr) in asked {
        let expr = filled_in(expr, 0, 60, "previous");
        assert!(
            !expr.contains('$'),
            "{place}: an unknown variable in {expr}"
        );
        let names = metrics_of(&expr).unwrap_or_else(|error| panic!("{place}: {error}\n{expr}"));
        assert!(!names.is_empty(), "{place}: {expr}");
        for name in &names {
            assert!(is_known(name), "{place}: the exporter has no {name}");
        }
        used.extend(names);
    }
    // What this test is worth: a name that is not there would be noticed.
    assert!(!is_known("vllm_probe_run_decode_token_per_second"));
    for needed in [
        "vllm_probe_verdict",
        "vllm_probe_environment_changes_total",
        "vllm_probe_precision_speedup_lower_ratio",
    ] {
        assert!(used.contains(needed), "{needed}");
    }
}

/// Runs a program of `grafana/` and shows what it says when it fails.
fn succeeds(command: &mut Command) {
    let output = command.current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
#[ignore = "needs python3"]
fn what_is_shipped_is_what_the_generator_gives() {
    succeeds(Command::new("python3").args(["-B", "grafana/generator", "--check"]));
}

#[test]
#[ignore = "needs python3 and Grafana's SDK types from PyPI"]
fn grafana_knows_every_field() {
    let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grafana-types");
    let python = environment.join("bin/python3");
    if !python.exists() {
        succeeds(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        );
    }
    succeeds(Command::new(&python).args(["-m", "pip", "install", "-q", "-r", "grafana/types.txt"]));
    succeeds(Command::new(&python).args(["-B", "grafana/check_types.py"]));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus"]
async fn every_question_is_answered() {
    let told = story::tell().await;
    let dashboards = dashboards();
    let mut silent = Vec::new();
    for question in questions(&dashboards) {
        // Each wording of a question that depends on a choice.
        let mut answers = 0;
        for comparison in ["previous", "baseline"] {
            let expr = filled_in(question.expr, told.from, told.range(), comparison);
            let found = told.ask(&expr, question.is_range).await;
            answers += found.unwrap_or_else(|error| panic!("{}: {error}\n{expr}", question.place));
        }
        if answers == 0 {
            silent.push(question.place);
        }
    }
    for (place, query) in variables(&dashboards) {
        let (metric, label) = label_values(query);
        let metric = filled_in(metric, told.from, told.range(), "previous");
        let found = told.label_values(&metric, label).await;
        assert!(!found.is_empty(), "{place} has nothing to choose from");
    }
    silent.retain(|place| {
        !story::MAY_BE_SILENT
            .iter()
            .any(|known| place.ends_with(known))
    });
    assert!(silent.is_empty(), "no answer to {silent:#?}");
    told.end().await;
}
