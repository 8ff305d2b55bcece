//! `/metrics`: renders the board's snapshot. It never starts a probe, and no probe waits for it.

mod board;
mod catalogue;
mod deployments;
mod discovery;
mod family;
mod history;
mod itself;
mod probe;
mod reloads;
mod verdicts;
mod vitals;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, Gauge, Opts, Registry, TextEncoder};
use tokio::time::Instant;

use self::board::BoardCollector;
use self::discovery::{Sources, SourcesCollector};
pub(super) use self::itself::Itself;
pub(super) use self::probe::text as of_probe;
pub(super) use self::reloads::Loading;
use self::reloads::Reloads;
use self::vitals::VitalsCollector;
use crate::board::{Board, Snapshot};
use crate::discovery::source::SourceStatus;
use crate::history::Health;
use crate::vitals::Vitals;

/// The media type of the exposition.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All that `/metrics` shows: the board, and the exporter itself.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
    scrape_duration: Gauge,
    reloads: Reloads,
    /// Absent without a web configuration.
    web_reloads: OnceLock<Reloads>,
    sources: Arc<Sources>,
    vitals: Arc<Vitals>,
    history: OnceLock<Arc<Health>>,
}

impl Exposition {
    /// An exposition of `board`, by a program whose configuration was loaded at `configured_at`.
    pub fn new(board: Arc<Board>, vitals: Arc<Vitals>, configured_at: Timestamp) -> Self {
        let registry = Registry::new();
        gauge(
            &registry,
            "build_info",
            "1. The version of this exporter.",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("revision", env!("VLLM_PROBER_REVISION")),
                ("rustc", env!("VLLM_PROBER_RUSTC")),
            ],
        )
        .set(1.0);
        let reloads = Reloads::of_configuration(&registry, configured_at);
        let scrape_duration = gauge(
            &registry,
            "scrape_duration_seconds",
            "Time that it took to render the previous scrape.",
            &[],
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
            reloads,
            web_reloads: OnceLock::new(),
            sources,
            vitals,
            history: OnceLock::new(),
        }
    }

    /// Shows when the configuration was read anew.
    pub fn reloaded(&self, at: Timestamp) {
        self.reloads.succeeded(at);
    }

    /// Shows that the configuration could not be read anew.
    pub fn reload_failed(&self, at: Timestamp) {
        self.reloads.failed(at);
    }

    /// Adds the metrics of the web configuration, which was loaded at `at`. To be said once.
    pub fn show_web_config(&self, at: Timestamp) {
        self.web_reloads
            .get_or_init(|| Reloads::of_web_configuration(&self.registry, at));
    }

    /// Shows when the web configuration was read anew.
    pub fn web_reloaded(&self, at: Timestamp) {
        self.web_reloads
            .get()
            .inspect(|reloads| reloads.succeeded(at));
    }

    /// Shows that the web configuration could not be read anew.
    pub fn web_reload_failed(&self, at: Timestamp) {
        self.web_reloads.get().inspect(|reloads| reloads.failed(at));
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

/// Registers a gauge with the name behind the prefix of all.
fn gauge(registry: &Registry, name: &str, help: &str, labels: &[(&str, &str)]) -> Gauge {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let gauge =
        Gauge::with_opts(Opts::new(format!("vllm_probe_{name}"), help).const_labels(labels))
            .expect("names and labels are literals of this crate");
    registry
        .register(Box::new(gauge.clone()))
        .expect("every name is registered once");
    gauge
}

/// The name of every metric that may be shown, with its prefix: for what is written against them, such as dashboards.
pub fn names() -> BTreeSet<String> {
    let board = Arc::new(Board::new(Snapshot {
        stale_after: 1,
        probes: Vec::new(),
        deployments: Default::default(),
    }));
    let exposition = Exposition::new(Arc::clone(&board), Arc::default(), Timestamp::UNIX_EPOCH);
    exposition.show_web_config(Timestamp::UNIX_EPOCH);
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

#[cfg(test)]
mod tests;
