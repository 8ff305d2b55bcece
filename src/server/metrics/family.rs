//! Builds metric families in the `prometheus` crate's own model.
//!
//! The crate's counters and gauges cannot express what is needed here: true summaries with quantiles that
//! were computed elsewhere, and series that are not there when there is no reading.

use prometheus::core::Desc;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use crate::statistics::Distribution;
use crate::totals::{Histogram, SumAndCount};

/// The prefix of every metric of this program.
const NAMESPACE: &str = "vllm_probe_";

/// The quantiles of the summaries.
type QuantileOf = (f64, fn(&Distribution) -> f64);
const QUANTILES: [QuantileOf; 4] = [
    (0.5, |d| d.p50),
    (0.9, |d| d.p90),
    (0.95, |d| d.p95),
    (0.99, |d| d.p99),
];

/// Labels of one series; one with an empty value is left out, as Prometheus takes it for missing.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A family that is being filled.
#[derive(Debug)]
pub(super) struct Family {
    family: MetricFamily,
    metrics: Vec<Metric>,
}

impl Family {
    pub(super) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    pub(super) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    pub(super) fn summary(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::SUMMARY)
    }

    pub(super) fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    /// A gauge of one probe, under a name of its own: what `/probe` shows is no part of the namespace.
    pub(super) fn of_probe(name: &str, help: &str) -> Self {
        Self::named(name.to_owned(), help, MetricType::GAUGE)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        Self::named(format!("{NAMESPACE}{name}"), help, kind)
    }

    fn named(name: String, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name);
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self {
            family,
            metrics: Vec::new(),
        }
    }

    /// What the registry wants to know of a family beforehand.
    pub(super) fn desc(name: &str, help: &str) -> Desc {
        Desc::new(
            format!("{NAMESPACE}{name}"),
            help.to_owned(),
            Vec::new(),
            Default::default(),
        )
        .expect("names and help texts are literals of this crate and well-formed")
    }

    /// Adds a gauge or a counter; without a value there is no series.
    pub(super) fn value(&mut self, labels: Labels<'_>, value: Option<f64>) {
        let Some(value) = value else { return };
        let mut metric = labelled(labels);
        if self.family.get_field_type() == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// Adds a summary: the quantiles of `last` if there are any, and the sum and count of all.
    pub(super) fn quantiles(
        &mut self,
        labels: Labels<'_>,
        last: Option<&Distribution>,
        all: SumAndCount,
    ) {
        let mut summary = proto::Summary::default();
        summary.set_sample_sum(all.sum);
        summary.set_sample_count(all.count);
        let quantiles = last.into_iter().flat_map(|distribution| {
            QUANTILES.map(|(q, of)| {
                let mut quantile = proto::Quantile::default();
                quantile.set_quantile(q);
                quantile.set_value(of(distribution));
                quantile
            })
        });
        summary.set_quantile(quantiles.collect());
        let mut metric = labelled(labels);
        metric.set_summary(summary);
        self.metrics.push(metric);
    }

    /// Adds a histogram.
    pub(super) fn buckets(&mut self, labels: Labels<'_>, readings: &Histogram) {
        let mut histogram = proto::Histogram::default();
        histogram.set_sample_sum(readings.total.sum);
        histogram.set_sample_count(readings.total.count);
        let buckets = readings.cumulative().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    /// The family, unless it has no series.
    pub(super) fn done(self) -> Option<MetricFamily> {
        let Self {
            mut family,
            metrics,
        } = self;
        if metrics.is_empty() {
            return None;
        }
        family.set_metric(metrics);
        Some(family)
    }
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    metric
}

pub(super) fn with<'a>(labels: Labels<'a>, label: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    labels.iter().copied().chain([label]).collect()
}
