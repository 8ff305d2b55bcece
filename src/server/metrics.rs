//! `/metrics`: renders the board's snapshot. It never starts a probe, and no probe waits for it.

mod catalogue;
mod deployments;
mod discovery;
mod family;
mod history;
mod itself;
mod probe;
mod verdicts;
mod vitals;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Gauge, Opts, Registry, TextEncoder};
use tokio::time::Instant;

use self::catalogue::{
    COUNTERS, FINISH_REASON, GAUGES, HISTOGRAMS, REASON_COUNTERS, RUN_INVALID, Reading, SUMMARIES,
    unix,
};
use self::discovery::{Sources, SourcesCollector};
use self::family::{Family, Labels};
pub(super) use self::itself::Itself;
pub(super) use self::probe::text as of_probe;
use self::vitals::VitalsCollector;
use crate::board::{Board, Snapshot};
use crate::discovery::source::SourceStatus;
use crate::history::Health;
use crate::measurement::FinishReason;
use crate::statistics::InvalidReason;
use crate::vitals::Vitals;

/// The media type of the exposition.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All that `/metrics` shows: the board, and the exporter itself.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
    scrape_duration: Gauge,
    reload_successful: Gauge,
    reloaded_at: Gauge,
    sources: Arc<Sources>,
    vitals: Arc<Vitals>,
    history: OnceLock<Arc<Health>>,
}

impl Exposition {
    /// An exposition of `board`, by a program whose configuration was loaded at `configured_at`.
    pub fn new(board: Arc<Board>, vitals: Arc<Vitals>, configured_at: Timestamp) -> Self {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str, labels: &[(&str, &str)], value: f64| {
            let labels = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let gauge = Gauge::with_opts(
                Opts::new(format!("vllm_probe_{name}"), help).const_labels(labels),
            )
            .expect("names and labels are literals of this crate");
            gauge.set(value);
            registry
                .register(Box::new(gauge.clone()))
                .expect("every name is registered once");
            gauge
        };
        gauge(
            "build_info",
            "1. The version of this exporter.",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("revision", env!("VLLM_PROBER_REVISION")),
                ("rustc", env!("VLLM_PROBER_RUSTC")),
            ],
            1.0,
        );
        let reload_successful = gauge(
            "config_last_reload_successful",
            "1 if the last attempt to load the configuration succeeded.",
            &[],
            1.0,
        );
        let reloaded_at = gauge(
            "config_last_reload_success_timestamp_seconds",
            "Unix time at which the configuration was last loaded.",
            &[],
            unix(configured_at),
        );
        let scrape_duration = gauge(
            "scrape_duration_seconds",
            "Time that it took to render the previous scrape.",
            &[],
            0.0,
        );
        registry
            .register(Box::new(ProcessCollector::for_self()))
            .expect("process metrics are registered once");
        registry
            .register(Box::new(BoardCollector::new(board)))
            .expect("every name is registered once");
        registry
            .register(Box::new(VitalsCollector::new(Arc::clone(&vitals))))
            .expect("every name is registered once");
        let sources = Arc::<Sources>::default();
        registry
            .register(Box::new(SourcesCollector::new(Arc::clone(&sources))))
            .expect("every name is registered once");
        Self {
            registry,
            scrape_duration,
            reload_successful,
            reloaded_at,
            sources,
            vitals,
            history: OnceLock::new(),
        }
    }

    /// Shows when the configuration was read anew.
    pub fn reloaded(&self, at: Timestamp) {
        self.reload_successful.set(1.0);
        self.reloaded_at.set(unix(at));
    }

    /// Shows that the configuration could not be read anew.
    pub fn reload_failed(&self) {
        self.reload_successful.set(0.0);
    }

    /// Shows how the sources of deployments fare.
    pub fn show_sources(&self, sources: Vec<SourceStatus>) {
        self.sources.store(Arc::new(sources));
    }

    /// Adds the metrics of the history. To be said once.
    pub fn show_history(&self, health: Arc<Health>) {
        // A second one cannot be registered.
        let _ = self.history.set(Arc::clone(&health));
        self.registry
            .register(Box::new(history::HistoryCollector::new(health)))
            .expect("every name is registered once");
    }

    /// The exposition of this moment, in Prometheus' text format.
    pub fn text(&self) -> Vec<u8> {
        let start = Instant::now();
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        self.scrape_duration.set(start.elapsed().as_secs_f64());
        text
    }
}

/// The name of every metric that may be shown, with its prefix: for what is written against them, such as dashboards.
pub fn names() -> BTreeSet<String> {
    let board = Arc::new(Board::new(Snapshot {
        stale_after: 1,
        probes: Vec::new(),
        deployments: Default::default(),
    }));
    let exposition = Exposition::new(Arc::clone(&board), Arc::default(), Timestamp::UNIX_EPOCH);
    let shown = exposition.registry.gather();
    let collectors: [Box<dyn Collector>; 4] = [
        Box::new(BoardCollector::new(board)),
        Box::new(VitalsCollector::new(Arc::default())),
        Box::new(SourcesCollector::new(Arc::default())),
        Box::new(history::HistoryCollector::new(Arc::default())),
    ];
    let possible = collectors.iter().flat_map(|collector| collector.desc());
    possible
        .map(|desc| desc.fq_name.clone())
        .chain(shown.iter().map(|family| family.name().to_owned()))
        .collect()
}

/// The name of every metric that `/probe` may show.
pub fn probe_names() -> BTreeSet<String> {
    probe::names().map(str::to_owned).collect()
}

/// Collects the families of the board's snapshot.
struct BoardCollector {
    board: Arc<Board>,
    descs: Vec<Desc>,
}

impl BoardCollector {
    fn new(board: Arc<Board>) -> Self {
        let ones = GAUGES
            .iter()
            .chain(COUNTERS)
            .map(|metric| (metric.name, metric.help));
        let reasons = REASON_COUNTERS
            .iter()
            .map(|metric| (metric.name, metric.help));
        let summaries = SUMMARIES.iter().map(|metric| (metric.name, metric.help));
        let histograms = HISTOGRAMS.iter().map(|metric| (metric.name, metric.help));
        let others = [RUN_INVALID, FINISH_REASON]
            .into_iter()
            .chain(deployments::ALL.iter().copied())
            .chain(verdicts::all());
        let all = ones
            .chain(reasons)
            .chain(summaries)
            .chain(histograms)
            .chain(others);
        Self {
            board,
            descs: all.map(|(name, help)| Family::desc(name, help)).collect(),
        }
    }
}

impl Collector for BoardCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        #[expect(
            clippy::disallowed_methods,
            reason = "whether a result is stale is asked at scrape time"
        )]
        let now = Timestamp::now();
        families(&self.board.snapshot(), now)
    }
}

/// Every family of `snapshot` as it is to be seen at `now`.
fn families(snapshot: &Snapshot, now: Timestamp) -> Vec<MetricFamily> {
    let readings: Vec<Reading<'_>> = snapshot
        .probes
        .iter()
        .map(|probe| Reading {
            probe,
            current: probe.current(snapshot.stale_after, now),
        })
        .collect();
    let fill = |mut family: Family, add: &dyn Fn(&mut Family, Reading<'_>, Labels<'_>)| {
        for reading in &readings {
            let labels = [
                ("deployment", reading.probe.deployment.name.as_str()),
                ("workload", reading.probe.workload.name.as_str()),
            ];
            add(&mut family, *reading, &labels);
        }
        family.done()
    };

    let gauges = GAUGES.iter().map(|metric| {
        fill(
            Family::gauge(metric.name, metric.help),
            &|family, of, labels| family.value(labels, (metric.value)(of)),
        )
    });
    let counters = COUNTERS.iter().map(|metric| {
        fill(
            Family::counter(metric.name, metric.help),
            &|family, of, labels| family.value(labels, (metric.value)(of)),
        )
    });
    let reasons = REASON_COUNTERS.iter().map(|metric| {
        fill(
            Family::counter(metric.name, metric.help),
            &|family, of, labels| {
                for (reason, count) in (metric.counts)(&of.probe.totals) {
                    family.value(&with(labels, ("reason", reason)), Some(count as f64));
                }
            },
        )
    });
    let summaries = SUMMARIES.iter().map(|metric| {
        fill(
            Family::summary(metric.name, metric.help),
            &|family, of, labels| {
                family.quantiles(
                    labels,
                    (metric.last)(of).as_ref(),
                    (metric.all)(&of.probe.totals),
                );
            },
        )
    });
    let histograms = HISTOGRAMS.iter().map(|metric| {
        fill(
            Family::histogram(metric.name, metric.help),
            &|family, of, labels| {
                if let Some(histograms) = &of.probe.totals.histograms {
                    family.buckets(labels, (metric.readings)(histograms));
                }
            },
        )
    });
    let others = [
        fill(
            Family::gauge(RUN_INVALID.0, RUN_INVALID.1),
            &invalid_reasons,
        ),
        fill(
            Family::gauge(FINISH_REASON.0, FINISH_REASON.1),
            &finish_reasons,
        ),
    ];
    gauges
        .chain(counters)
        .chain(reasons)
        .chain(summaries)
        .chain(histograms)
        .chain(others)
        .flatten()
        .chain(deployments::families(snapshot, now))
        .chain(verdicts::families(snapshot, now))
        .collect()
}

fn with<'a>(labels: Labels<'a>, label: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    labels.iter().copied().chain([label]).collect()
}

fn invalid_reasons(family: &mut Family, of: Reading<'_>, labels: Labels<'_>) {
    let Some(last) = of.current else { return };
    for reason in InvalidReason::ALL {
        let holds = last.outcome.invalid_reasons().contains(reason);
        family.value(
            &with(labels, ("reason", reason.label())),
            Some(f64::from(u8::from(holds))),
        );
    }
}

fn finish_reasons(family: &mut Family, of: Reading<'_>, labels: Labels<'_>) {
    let Some(summary) = of
        .figures()
        .and(of.current)
        .and_then(|last| last.outcome.summary())
    else {
        return;
    };
    for reason in FinishReason::ALL {
        let count = summary.finish_reasons.get(&reason).copied().unwrap_or(0);
        let share = f64::from(count) / f64::from(summary.completed);
        family.value(
            &with(labels, ("finish_reason", reason.label())),
            Some(share),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::board::ProbeStatus;
    use crate::deployment::{Deployment, Endpoint, EnvironmentSources, Lane};
    use crate::environment::EnvironmentField;
    use crate::history::Operation;
    use crate::lifecycle::ProbeFailure;
    use crate::measurement::{
        Arrivals, Completion, Connections, FailureReason, RequestError, RequestRecord, Run, RunId,
    };
    use crate::statistics::summarize;
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
        probe.did_not_run("the token file is gone".to_owned(), at(62));
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
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"))
                .unwrap();
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
}
