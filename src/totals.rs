//! What has accumulated since the prober started: the counters, and the sums behind summaries and
//! histograms.
//!
//! A cumulative histogram cannot be rebuilt from the last run, so these are kept apart from what the last
//! run says. Adding to them is arithmetic on values that are handed in.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agenda::{DeferredReason, MissedReason, SkippedReason};
use crate::measurement::{FailureReason, RequestRecord, Run};
use crate::statistics::{Distribution, InvalidReason, Summary};

/// The upper bounds of the request histograms, in seconds; `None` when there are to be none.
pub type HistogramBounds = Option<Arc<Buckets>>;

/// The buckets of each request histogram: ascending, finite upper bounds in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// Of the end-to-end latency.
    pub e2e_latency: Vec<f64>,
    /// Of the time to first token.
    pub time_to_first_token: Vec<f64>,
    /// Of the time per output token.
    pub time_per_output_token: Vec<f64>,
}

/// The accumulated readings of one probe.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Finished runs, valid or not.
    pub runs: u64,
    /// Runs that do not count, by the first of their reasons.
    pub run_failures: BTreeMap<InvalidReason, u64>,
    /// Requests sent.
    pub requests: u64,
    /// Requests that failed.
    pub request_failures: BTreeMap<FailureReason, u64>,
    /// Prompt tokens of completed requests.
    pub prompt_tokens: u64,
    /// Completion tokens of completed requests.
    pub completion_tokens: u64,
    /// `W`, summed over the finished runs.
    pub run_seconds: f64,
    /// Slots that came to no run, against the plan.
    pub missed: BTreeMap<MissedReason, u64>,
    /// Times that a run was put off within its slot.
    pub deferred: BTreeMap<DeferredReason, u64>,
    /// Slots that came to no run, as planned.
    pub skipped: BTreeMap<SkippedReason, u64>,
    /// Over the valid runs.
    pub e2e_latency: SumAndCount,
    /// Over the valid runs.
    pub time_to_first_token: SumAndCount,
    /// Over the valid runs.
    pub time_per_output_token: SumAndCount,
    /// Over the valid runs.
    pub inter_token_latency: SumAndCount,
    /// Over the finished runs.
    pub client_delay: SumAndCount,
    /// Over all completed requests, those of invalid runs too; absent when switched off.
    pub histograms: Option<Histograms>,
}

/// A sum of readings in seconds, and how many they were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SumAndCount {
    /// Seconds.
    pub sum: f64,
    /// Readings.
    pub count: u64,
}

/// The request histograms.
#[derive(Clone, Debug)]
pub struct Histograms {
    /// End-to-end latency of each completed request.
    pub e2e_latency: Histogram,
    /// Time to first token of each streamed one.
    pub time_to_first_token: Histogram,
    /// Time per output token of each streamed one with more than one token.
    pub time_per_output_token: Histogram,
}

/// A cumulative histogram as Prometheus knows it, without the bucket at infinity, which is `total.count`.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: Vec<f64>,
    counts: Vec<u64>,
    /// All readings.
    pub total: SumAndCount,
}

impl Totals {
    /// Nothing has happened yet: every counter is there, at 0.
    pub fn new(bounds: &HistogramBounds) -> Self {
        Self {
            runs: 0,
            run_failures: InvalidReason::ALL
                .iter()
                .map(|reason| (*reason, 0))
                .collect(),
            requests: 0,
            request_failures: FailureReason::ALL
                .iter()
                .map(|reason| (*reason, 0))
                .collect(),
            prompt_tokens: 0,
            completion_tokens: 0,
            run_seconds: 0.0,
            missed: MissedReason::ALL
                .iter()
                .map(|reason| (*reason, 0))
                .collect(),
            deferred: DeferredReason::ALL
                .iter()
                .map(|reason| (*reason, 0))
                .collect(),
            skipped: SkippedReason::ALL
                .iter()
                .map(|reason| (*reason, 0))
                .collect(),
            e2e_latency: SumAndCount::default(),
            time_to_first_token: SumAndCount::default(),
            time_per_output_token: SumAndCount::default(),
            inter_token_latency: SumAndCount::default(),
            client_delay: SumAndCount::default(),
            histograms: bounds.as_ref().map(|bounds| Histograms {
                e2e_latency: Histogram::new(&bounds.e2e_latency),
                time_to_first_token: Histogram::new(&bounds.time_to_first_token),
                time_per_output_token: Histogram::new(&bounds.time_per_output_token),
            }),
        }
    }

    /// Begins the histograms anew with other bounds; all else goes on.
    pub fn rebin(&mut self, bounds: &HistogramBounds) {
        self.histograms = Self::new(bounds).histograms;
    }

    /// Adds a finished run.
    pub fn add_run(&mut self, run: &Run, summary: &Summary) {
        self.runs += 1;
        if let Some(reason) = summary.invalid_reasons.first() {
            *self.run_failures.entry(*reason).or_default() += 1;
        }
        self.requests += run.records.len() as u64;
        for (reason, count) in &summary.failures {
            *self.request_failures.entry(*reason).or_default() += u64::from(*count);
        }
        self.prompt_tokens += summary.tokens.prompt_total;
        self.completion_tokens += summary.tokens.completion_total;
        self.run_seconds += summary.wall.as_secs_f64();
        self.client_delay.add(summary.client_delay);
        if let Some(figures) = &summary.figures {
            self.e2e_latency.add(Some(figures.latency));
            self.time_to_first_token.add(figures.ttft);
            self.time_per_output_token.add(figures.tpot);
            self.inter_token_latency.add(figures.itl);
        }
        if let Some(histograms) = &mut self.histograms {
            run.records
                .iter()
                .for_each(|record| histograms.observe(record));
        }
    }

    /// Adds a run that did not come about.
    pub fn add_failed_attempt(&mut self) {
        self.runs += 1;
        *self.run_failures.entry(InvalidReason::NotRun).or_default() += 1;
    }
}

impl SumAndCount {
    fn add(&mut self, distribution: Option<Distribution>) {
        if let Some(distribution) = distribution {
            self.sum += distribution.sum;
            self.count += distribution.count;
        }
    }
}

impl Histograms {
    fn observe(&mut self, record: &RequestRecord) {
        if let Some(latency) = record.latency() {
            self.e2e_latency.observe(latency.as_secs_f64());
        }
        if let Some(ttft) = record.time_to_first_token() {
            self.time_to_first_token.observe(ttft.as_secs_f64());
        }
        if let Some(tpot) = record.time_per_output_token() {
            self.time_per_output_token.observe(tpot);
        }
    }
}

impl Histogram {
    fn new(bounds: &[f64]) -> Self {
        Self {
            bounds: bounds.to_vec(),
            counts: vec![0; bounds.len()],
            total: SumAndCount::default(),
        }
    }

    /// Adds one reading, in seconds.
    fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.total.sum += value;
        self.total.count += 1;
    }

    /// Each upper bound with the number of readings up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.bounds
            .iter()
            .copied()
            .zip(self.counts.iter().scan(0, |sum, count| {
                *sum += count;
                Some(*sum)
            }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_at_a_bound_belongs_to_it_and_one_beyond_all_bounds_to_infinity() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for value in [0.05, 0.1, 0.5, 1.0, 7.0] {
            histogram.observe(value);
        }
        assert_eq!(
            histogram.cumulative().collect::<Vec<_>>(),
            [(0.1, 2), (1.0, 4)]
        );
        assert_eq!(histogram.total.count, 5);
    }

    #[test]
    fn every_reason_is_there_from_the_start() {
        let totals = Totals::new(&None);
        assert_eq!(totals.request_failures.len(), FailureReason::ALL.len());
        assert_eq!(totals.run_failures.len(), InvalidReason::ALL.len());
        assert_eq!(totals.missed.len(), MissedReason::ALL.len());
    }
}
