//! The exposition as a scrape sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::board::families;
use super::*;
use crate::board::ProbeStatus;
use crate::deployment::{Deployment, Endpoint, EnvironmentSources, Lane};
use crate::environment::EnvironmentField;
use crate::history::Operation;
use crate::lifecycle::ProbeFailure;
use crate::measurement::{
    Arrivals, Completion, Connections, FailureReason, FinishReason, RequestError, RequestRecord,
    Run, RunId,
};
use crate::statistics::{InvalidReason, summarize};
use crate::totals::Buckets;
use crate::workload::Workload;

const START: &str = "2026-03-01T12:00:00Z";

fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + jiff::Span::new().seconds(seconds)
}

fn workload() -> Workload {
    Workload {
        concurrency: 2,
        requests: 4,
        max_tokens: 3,
        ..Workload::reference("p")
    }
}

fn probe(name: &str) -> ProbeStatus {
    let deployment = Deployment {
        family: Some("qwen3-32b".to_owned()),
        precision: Some("fp8".to_owned()),
        lane: Lane::new("gpu0"),
        environment: EnvironmentSources {
            declared: BTreeMap::from([(EnvironmentField::Driver, "580.95.05".to_owned())]),
            ..Default::default()
        },
        labels: BTreeMap::from([("team".to_owned(), "a \"quoted\"\nline\\".to_owned())]),
        ..Deployment::new(
            name,
            Endpoint::new("http://127.0.0.1:8000".parse().unwrap()),
        )
    };
    let bounds = Buckets {
        e2e_latency: vec![1.0, 2.0],
        time_to_first_token: vec![0.1, 0.5],
        time_per_output_token: vec![0.05, 0.5],
    };
    let mut probe = ProbeStatus::new(
        Arc::new(deployment),
        Arc::new(workload()),
        &Some(Arc::new(bounds)),
    );
    (probe.interval, probe.next_run) = (Some(Duration::from_secs(60)), Some(at(60)));
    probe
}

/// Four requests of one second, two at a time; the first `failed` of them fail.
fn run(failed: usize) -> Run {
    let second = |n: u32| Duration::from_secs(n.into());
    let outcome = |sent: Duration| {
        Ok(Completion {
            prompt_tokens: 110,
            completion_tokens: 3,
            cached_tokens: None,
            finish_reason: FinishReason::Length,
            arrivals: Some(Arrivals {
                first: sent + Duration::from_millis(200),
                first_content: None,
                last: sent + second(1),
                gaps: vec![Duration::from_millis(400); 2],
            }),
            system_fingerprint: None,
        })
    };
    let record = |(n, sent): (usize, u32)| RequestRecord {
        sent: second(sent),
        ended: second(sent + 1),
        outcome: if n < failed {
            Err(RequestError::new(FailureReason::Http5xx, "HTTP 500"))
        } else {
            outcome(second(sent))
        },
    };
    Run {
        id: RunId("1".to_owned()),
        started_at: at(0),
        model: "Qwen/Qwen3-32B-FP8".to_owned(),
        server_version: Some("0.13.0".to_owned()),
        planned: 4,
        concurrency: 2,
        records: [0, 0, 1, 1].into_iter().enumerate().map(record).collect(),
        deadline_passed: false,
        connections: Connections::default(),
        client_delays: vec![Duration::from_micros(20)],
        client_cpu: None,
        warmup: Default::default(),
        environment: Default::default(),
        observation: Default::default(),
        given_up: None,
    }
}

fn ran(name: &str, failed: usize) -> ProbeStatus {
    let (mut probe, run) = (probe(name), run(failed));
    probe.ran(&run, Arc::new(summarize(&run, &workload())), at(2));
    probe
}

fn text(probes: Vec<ProbeStatus>, now: Timestamp) -> String {
    let snapshot = Snapshot {
        stale_after: 3,
        probes: probes.into_iter().map(Arc::new).collect(),
        deployments: Default::default(),
    };
    let mut text = Vec::new();
    let mut families = families(&snapshot, now);
    families.sort_by(|a, b| a.name().cmp(b.name()));
    TextEncoder::new().encode(&families, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_valid_run_shows_all_its_figures() {
    insta::assert_snapshot!(text(vec![ran("good", 0)], at(3)));
}

#[test]
fn an_invalid_run_withdraws_the_figures_of_the_valid_one_before() {
    let mut probe = ran("bad", 0);
    let second = run(1);
    probe.ran(&second, Arc::new(summarize(&second, &workload())), at(62));
    insta::assert_snapshot!(text(vec![probe], at(63)));
}

#[test]
fn before_the_first_run_there_are_counters_at_zero_and_nothing_made_up() {
    let text = text(vec![probe("new")], at(0));
    for absent in [
        "success",
        "run_requests_per_second",
        "run_invalid",
        "last_run_timestamp_seconds",
        "quantile=",
    ] {
        assert!(
            !text.contains(&format!("vllm_probe_{absent}{{")) && !text.contains("quantile="),
            "{absent}\n{text}"
        );
    }
    for reason in FailureReason::ALL {
        let series = format!("reason=\"{}\"}} 0", reason.label());
        assert!(text.contains(&series), "{series}");
    }
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn an_attempt_without_a_run_is_a_failure_of_its_own_kind() {
    let mut probe = ran("a", 0);
    probe.did_not_run(None, "the token file is gone".to_owned(), at(62));
    let text = text(vec![probe], at(63));
    assert!(
        text.contains(
            r#"vllm_probe_run_invalid{deployment="a",workload="reference",reason="not_run"} 1"#
        ),
        "{text}"
    );
    assert!(
        text.contains(r#"vllm_probe_success{deployment="a",workload="reference"} 0"#),
        "{text}"
    );
    assert!(
        !text.contains("token file"),
        "words of an error are never a label"
    );
}

#[test]
fn stale_results_vanish_and_the_time_of_the_last_run_stays() {
    let fresh = text(vec![ran("a", 0)], at(2 + 180));
    let stale = text(vec![ran("a", 0)], at(2 + 181));
    for result in [
        "vllm_probe_run_requests_per_second{",
        "vllm_probe_success{",
        "quantile=\"0.5\"",
    ] {
        assert!(fresh.contains(result), "{result}");
        assert!(!stale.contains(result), "{result}");
    }
    for kept in [
        "vllm_probe_last_run_timestamp_seconds{",
        "vllm_probe_runs_total{",
        "vllm_probe_deployment_info{",
    ] {
        assert!(stale.contains(kept), "{kept}");
    }
}

#[test]
fn every_metric_is_documented() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let shown = Exposition::new(
        Arc::new(Board::new(Snapshot {
            stale_after: 3,
            probes: vec![Arc::new(ran("a", 0))],
            deployments: Default::default(),
        })),
        Arc::default(),
        at(0),
    );
    shown.show_history(Arc::default());
    shown.show_sources(vec![SourceStatus {
        source: "targets/*.yml".to_owned(),
        failing: false,
        last_success: Some(at(0)),
        targets: 3,
        refused: 1,
    }]);
    let text = String::from_utf8(shown.text()).unwrap();
    let series = "vllm_probe_discovery_refused_targets{source=\"targets/*.yml\"} 1\n";
    assert!(text.contains(series), "{text}");
    for operation in Operation::ALL {
        let label = operation.label();
        let series = format!("vllm_probe_history_errors_total{{operation=\"{label}\"}} 0\n");
        assert!(text.contains(&series), "{series}");
        assert!(document.contains(&format!("`{label}`")), "{label}");
    }
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for name in names.filter(|name| name.starts_with("vllm_probe_")) {
        let name = name.trim_start_matches("vllm_probe_");
        assert!(
            document.contains(&format!("`{name}`")),
            "docs/metrics.md does not know {name}"
        );
    }
    for name in probe_names() {
        assert!(
            document.contains(&format!("| `{name}` | gauge |")),
            "docs/metrics.md does not know {name}"
        );
    }
    for reason in ProbeFailure::ALL {
        let row = format!("| `{}` | {} |", reason.label(), reason.meaning());
        assert!(document.contains(&row), "{row}");
    }
    for reason in FailureReason::ALL {
        assert!(
            document.contains(&format!("`{}`", reason.label())),
            "{}",
            reason.label()
        );
    }
    for reason in InvalidReason::ALL {
        assert!(
            document.contains(&format!("`{}`", reason.label())),
            "{}",
            reason.label()
        );
    }
}
