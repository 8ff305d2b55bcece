//! What is shown of the prober's own health.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::Family;
use crate::statistics::Distribution;
use crate::totals::SumAndCount;
use crate::vitals::{Vitals, open_sockets};

const EVENT_LOOP_LAG: (&str, &str) = (
    "event_loop_lag_seconds",
    "How late the loop that schedules, serves and reads the servers' metrics got its turn; measuring has threads of its own. Quantiles of the last minute; sum and count since the start.",
);

const OPEN_SOCKETS: (&str, &str) = (
    "open_sockets",
    "Sockets that the exporter holds open: connections to deployments and from scrapers, and what it listens on.",
);

/// Collects what the prober knows of its own health.
pub(super) struct VitalsCollector {
    vitals: Arc<Vitals>,
    descs: [Desc; 2],
}

impl VitalsCollector {
    pub(super) fn new(vitals: Arc<Vitals>) -> Self {
        let descs = [EVENT_LOOP_LAG, OPEN_SOCKETS].map(|(name, help)| Family::desc(name, help));
        Self { vitals, descs }
    }
}

impl Collector for VitalsCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let lag = self.vitals.lag();
        let recent = lag.recent().as_ref().map(Distribution::from);
        let all = SumAndCount {
            sum: lag.sum,
            count: lag.count,
        };
        let mut lags = Family::summary(EVENT_LOOP_LAG.0, EVENT_LOOP_LAG.1);
        lags.quantiles(&[], recent.as_ref(), all);
        let mut sockets = Family::gauge(OPEN_SOCKETS.0, OPEN_SOCKETS.1);
        sockets.value(&[], open_sockets().map(|count| count as f64));
        [lags, sockets]
            .into_iter()
            .filter_map(Family::done)
            .collect()
    }
}
