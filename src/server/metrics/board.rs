//! The metrics of the deployments: a collector that turns the board's snapshot into families at each scrape.

use std::sync::Arc;

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::catalogue::{
    COUNTERS, FINISH_REASON, GAUGES, HISTOGRAMS, REASON_COUNTERS, RUN_INVALID, Reading, SUMMARIES,
};
use super::family::{Family, Labels, with};
use super::{deployments, verdicts};
use crate::board::{Board, Snapshot};
use crate::measurement::FinishReason;
use crate::statistics::InvalidReason;

/// Collects the families of the board's snapshot.
pub(super) struct BoardCollector {
    board: Arc<Board>,
    descs: Vec<Desc>,
}

impl BoardCollector {
    pub(super) fn new(board: Arc<Board>) -> Self {
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
pub(super) fn families(snapshot: &Snapshot, now: Timestamp) -> Vec<MetricFamily> {
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
