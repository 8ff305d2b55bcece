//! The metrics of the history: how large it is and what went wrong with it.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::Family;
use crate::history::{Health, Operation};

const SIZE: (&str, &str) = (
    "history_size_bytes",
    "Bytes that the history takes on the disk, with what is yet to be merged into its file.",
);
const ERRORS: (&str, &str) = (
    "history_errors_total",
    "What went wrong with the history, by operation. Probing goes on; runs that cannot be written wait in memory.",
);

/// Collects them.
pub(super) struct HistoryCollector {
    health: Arc<Health>,
    descs: [Desc; 2],
}

impl HistoryCollector {
    pub(super) fn new(health: Arc<Health>) -> Self {
        let descs = [SIZE, ERRORS].map(|(name, help)| Family::desc(name, help));
        Self { health, descs }
    }
}

impl Collector for HistoryCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut size = Family::gauge(SIZE.0, SIZE.1);
        size.value(&[], Some(self.health.size_bytes() as f64));
        let mut errors = Family::counter(ERRORS.0, ERRORS.1);
        for operation in Operation::ALL {
            let count = self.health.errors(*operation);
            errors.value(&[("operation", operation.label())], Some(count as f64));
        }
        [size, errors]
            .into_iter()
            .filter_map(Family::done)
            .collect()
    }
}
