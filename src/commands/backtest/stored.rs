//! `backtest --history`: stored runs judged again, with whatever tolerance, to learn what one would have been told.
//!
//! What people said of verdicts is left out: it was said of the verdicts that there were.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;

use super::{Tally, write_row};
use crate::history::{Reader, judge_again};
use crate::measure::{Measure, Tolerances};

/// Which stored runs are judged, and how.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) deployment: Option<String>,
    pub(super) workload: Option<String>,
    pub(super) measure: Measure,
    pub(super) tolerances: Tolerances,
}

/// Judges the stored runs of each series, and writes each verdict with the run after which it was known.
pub(super) async fn judge(
    storage: &Path,
    asked: &Asked,
    out: &mut (impl Write + Send),
    tally: &mut Tally,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut reader = Reader::open(storage).await?;
    let mut all = reader.all_series().await?;
    let is = |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|one| one == name);
    all.retain(|series| {
        is(&asked.deployment, &series.deployment) && is(&asked.workload, &series.workload)
    });
    if all.is_empty() {
        return Err(
            "there are no such runs; `vllm-prober history list` shows what there is".into(),
        );
    }
    for series in all {
        let points = reader.series(&series, Timestamp::MIN).await?;
        let name = format!("{}/{}", series.deployment, series.workload);
        let mut written: io::Result<()> = Ok(());
        judge_again(&points, &[], &asked.tolerances, |point, edges| {
            let ours = edges
                .iter()
                .filter(|(measure, _)| *measure == asked.measure);
            for (_, edge) in ours {
                tally.alarms += 1;
                if written.is_ok() {
                    written = write_row(
                        out,
                        &name,
                        &format!("{},{}", point.id, edge.verdict.label()),
                    );
                }
            }
        });
        written?;
        tally.series += 1;
        tally.runs += points.len();
    }
    Ok(())
}
