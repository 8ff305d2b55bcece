//! A row of the fleet as programs and terminals get it: the same choice, order and words as on the page.

use std::sync::Arc;

use jiff::Timestamp;

use super::row::Row;
use crate::board::{ProbeStatus, Snapshot};
use crate::environment::EnvironmentField;
use crate::measure::Measure;
use crate::report::{ComparisonJson, OverviewJson};
use crate::server::pages::last_run::last_run_in_words;

/// What is to be said of the deployment of `probes`, which are all of its probes, as it is at `now`; `None` if there are
/// none.
pub(in crate::server) fn overview(
    snapshot: &Snapshot,
    probes: &[Arc<ProbeStatus>],
    now: Timestamp,
) -> Option<OverviewJson> {
    let row = Row::of(snapshot, probes, now)?;
    let Row { probe, finding, .. } = &row;
    let figures = row.figures.as_ref();
    let baseline = probe.opinion.as_ref().and_then(|opinion| {
        let decode = opinion.judgements.get(&Measure::DecodeTokensRate)?;
        decode.baseline_median
    });
    Some(OverviewJson {
        rank: row.rank(),
        workload: probe.workload.name.to_string(),
        has_several: row.has_several,
        stand: finding.stand.label().to_owned(),
        verdict: finding.in_short(),
        qualified: finding.qualified().text(now),
        acknowledged: finding.acknowledged(now).map(|said| said.text(now)),
        measure: finding.measure.label().to_owned(),
        comparison: finding.comparison.map(ComparisonJson::from),
        decode_tps: figures.map(|figures| figures.decode_tps),
        baseline_decode_tps: baseline,
        latency_p50_seconds: figures.map(|figures| figures.p50),
        latency_p95_seconds: figures.map(|figures| figures.p95),
        ttft_p50_seconds: figures.and_then(|figures| figures.ttft_p50),
        vllm_version: row.version().map(str::to_owned),
        driver: row.environment(EnvironmentField::Driver).map(str::to_owned),
        last_run: last_run_in_words(probe, snapshot.stale_after, now),
        last_run_at: probe.last.as_ref().map(|last| last.ended_at),
        in_progress: probe.in_progress,
        next_run_at: probe.next_run,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pages::fixture;

    #[test]
    fn what_the_page_shows_first_has_the_lowest_rank() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let fleet = fixture::fleet(now);
        let all: Vec<OverviewJson> = fleet
            .of_each_deployment()
            .filter_map(|probes| overview(&fleet, probes, now))
            .collect();
        let slower = all.iter().find(|one| one.stand == "slower").unwrap();
        assert!(slower.verdict.ends_with("slower") && slower.comparison.is_some());
        assert!(slower.qualified.starts_with("since "), "{slower:?}");
        let fine = all.iter().find(|one| one.stand == "unchanged").unwrap();
        assert!(slower.rank < fine.rank, "{slower:?} {fine:?}");
        assert!(all.iter().any(|one| one.decode_tps.is_none()));
    }
}
