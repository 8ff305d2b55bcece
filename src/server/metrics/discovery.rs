//! The metrics of the sources that tell whom to probe.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::catalogue::unix;
use super::family::Family;
use crate::discovery::source::SourceStatus;

/// How each source fares at the moment.
pub(super) type Sources = ArcSwap<Vec<SourceStatus>>;

/// A gauge with one series for each source.
type Of = (&'static str, &'static str, fn(&SourceStatus) -> Option<f64>);

const GAUGES: [Of; 4] = [
    (
        "discovery_failing",
        "1 while something of a source of deployments cannot be read, so that what it said last still holds.",
        |of| Some(f64::from(u8::from(of.failing))),
    ),
    (
        "discovery_last_success_timestamp_seconds",
        "Unix time at which all of a source of deployments was last read. Absent until it was.",
        |of| of.last_success.map(unix),
    ),
    (
        "discovery_targets",
        "Targets of a source of deployments that its rules keep.",
        |of| Some(of.targets as f64),
    ),
    (
        "discovery_refused_targets",
        "Those of a source's targets that its rules keep and that cannot be probed; the log tells why.",
        |of| Some(of.refused as f64),
    ),
];

/// Collects them.
pub(super) struct SourcesCollector {
    sources: Arc<Sources>,
    descs: [Desc; 4],
}

impl SourcesCollector {
    pub(super) fn new(sources: Arc<Sources>) -> Self {
        let descs = GAUGES.map(|(name, help, _)| Family::desc(name, help));
        Self { sources, descs }
    }
}

impl Collector for SourcesCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let sources = self.sources.load();
        let families = GAUGES.iter().map(|(name, help, value)| {
            let mut family = Family::gauge(name, help);
            for of in sources.iter() {
                family.value(&[("source", &of.source)], value(of));
            }
            family.done()
        });
        families.flatten().collect()
    }
}
