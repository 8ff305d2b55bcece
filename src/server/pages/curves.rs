//! The figures of a probe over time, each as a chart: with its baseline and what is borne, the changes of the
//! environment, and the runs that do not count, over which no line goes.

use jiff::Timestamp;

use super::finding::{fields, with_unit};
use super::quantity::seconds;
use super::readout::Readout;
use super::shown_time::ShownTime;
use crate::board::{ProbeStatus, RecentChange, RecentFigures, RecentRun};
use crate::measure::Measure;
use crate::report::charts::{Mark, Plot, Segment, TimeChart, Undrawn, over_time};
use crate::statistics::InvalidReason;

/// Width and height of a chart, in its own pixels.
const SIZE: (u32, u32) = (720, 260);

/// What an axis of times says.
const SECONDS: &str = "seconds";

/// A chart and what stands above it.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) caption: &'static str,
    pub(super) svg: String,
    /// The value of each run with its unit, or null, in JSON.
    pub(super) values: String,
}

/// The charts of a probe.
#[derive(Debug)]
pub(super) enum Curves {
    /// No run has a figure yet.
    None,
    /// None has one during the time that is shown.
    NoneThen,
    /// Some have.
    Drawn(Vec<Curve>, Readout),
}

/// A figure that is drawn: its name, its unit, and the measure whose baseline it has.
struct Drawn {
    caption: &'static str,
    axis: &'static str,
    measure: Option<Measure>,
    of: fn(&RecentFigures) -> Option<f64>,
}

const DRAWN: [Drawn; 6] = [
    Drawn {
        caption: "Decode rate",
        axis: "tokens per second",
        measure: Some(Measure::DecodeTokensRate),
        of: |figures| Some(figures.decode_tps),
    },
    Drawn {
        caption: "Request rate",
        axis: "requests per second",
        measure: Some(Measure::RequestsRate),
        of: |figures| Some(figures.qps),
    },
    Drawn {
        caption: "Latency, median",
        axis: SECONDS,
        measure: Some(Measure::E2eP50),
        of: |figures| Some(figures.p50),
    },
    Drawn {
        caption: "Latency, 95th percentile",
        axis: SECONDS,
        measure: None,
        of: |figures| Some(figures.p95),
    },
    Drawn {
        caption: "Time to first token, median",
        axis: SECONDS,
        measure: Some(Measure::TtftP50),
        of: |figures| figures.ttft_p50,
    },
    Drawn {
        caption: "Time per output token, median",
        axis: SECONDS,
        measure: Some(Measure::TpotP50),
        of: |figures| figures.tpot_p50,
    },
];

/// The charts of the last runs of `probe` during `time` as of `now`, in an environment that had these `changes`. A
/// figure that no run has is left out.
///
/// # Errors
/// When one cannot be drawn.
pub(super) fn of(
    probe: &ProbeStatus,
    all_changes: &[RecentChange],
    time: ShownTime,
    now: Timestamp,
) -> Result<Curves, Undrawn> {
    let all = || probe.recent.iter();
    let (Some(first), Some(last)) = (all().next(), all().next_back()) else {
        return Ok(Curves::None);
    };
    let whole = (first.ended_at, last.ended_at);
    let Some(range) = time.of(whole, now) else {
        return Ok(Curves::NoneThen);
    };
    let runs: Vec<&RecentRun> = all()
        .filter(|run| range.0 <= run.ended_at && run.ended_at <= range.1)
        .collect();
    let changes: Vec<&RecentChange> = all_changes
        .iter()
        .filter(|change| range.0 < change.at && change.at <= range.1)
        .collect();
    let marks = marks(&runs, &changes);
    let (shown, charts): (Vec<_>, Vec<_>) = DRAWN
        .iter()
        .filter_map(|drawn| {
            let mut segments = segments(&runs, &changes, drawn.of);
            if segments.is_empty() {
                return None;
            }
            let (axis, scale) = in_unit(drawn.axis, &mut segments);
            let baseline = drawn.measure.and_then(|measure| {
                let judgements = &probe.opinion.as_ref()?.judgements;
                Some(judgements.get(&measure)?.baseline_median? * scale)
            });
            let borne = drawn
                .measure
                .map(|measure| probe.deployment.tolerances.of(measure));
            let chart = TimeChart {
                title: format!("{} of the last {} runs", drawn.caption, runs.len()),
                axis,
                size: SIZE,
                range,
                segments,
                marks: marks.clone(),
                baseline,
                band: baseline
                    .zip(borne)
                    .map(|(level, share)| (level * (1.0 - share), level * (1.0 + share))),
            };
            Some((drawn, chart))
        })
        .unzip();
    let Some(plot) = Plot::of(&charts) else {
        return Ok(if time == ShownTime::All {
            Curves::None
        } else {
            Curves::NoneThen
        });
    };
    let curves = shown
        .into_iter()
        .zip(over_time(&charts)?)
        .map(|(drawn, chart)| Curve {
            caption: drawn.caption,
            svg: chart.inline(),
            values: values(&runs, drawn).to_string(),
        });
    let readout = Readout::of(&runs, &plot, whole, all_changes);
    Ok(Curves::Drawn(curves.collect(), readout))
}

/// The value of each run as it is told; null where there is none.
fn values(runs: &[&RecentRun], drawn: &Drawn) -> serde_json::Value {
    let told = runs.iter().map(|run| {
        let value = run.figures.as_ref().and_then(drawn.of)?;
        Some(match drawn.measure {
            Some(measure) => with_unit(measure, value),
            None => seconds(value),
        })
    });
    told.collect()
}

/// Runs that follow each other in one environment and all have the figure.
fn segments(
    runs: &[&RecentRun],
    changes: &[&RecentChange],
    of: fn(&RecentFigures) -> Option<f64>,
) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut before: Option<Timestamp> = None;
    let mut goes_on = false;
    for run in runs {
        let at = run.ended_at;
        let has_changed = before.is_some_and(|before| {
            changes
                .iter()
                .any(|change| before < change.at && change.at <= at)
        });
        before = Some(at);
        let Some(value) = run.figures.as_ref().and_then(of) else {
            goes_on = false;
            continue;
        };
        match segments.last_mut().filter(|_| goes_on && !has_changed) {
            Some(segment) => segment.push((at, value)),
            None => segments.push(vec![(at, value)]),
        }
        goes_on = true;
    }
    segments
}

/// Puts times into the unit that they are told in elsewhere: milliseconds below a second. The name of that unit, and what
/// the values were multiplied by.
fn in_unit(axis: &'static str, segments: &mut [Segment]) -> (&'static str, f64) {
    let is_below_one = |(_, value): &(Timestamp, f64)| *value < 1.0;
    if axis != SECONDS || !segments.iter().flatten().all(is_below_one) {
        return (axis, 1.0);
    }
    for (_, value) in segments.iter_mut().flatten() {
        *value *= 1e3;
    }
    ("milliseconds", 1e3)
}

/// Changes, and runs that do not count, in order.
fn marks(runs: &[&RecentRun], changes: &[&RecentChange]) -> Vec<(Timestamp, Mark)> {
    let changes = (1..).zip(changes);
    let changes = changes.map(|(number, change)| (change.at, Mark::Change(number, fields(change))));
    let invalid = runs.iter().filter(|run| run.figures.is_none()).map(|run| {
        let is_contaminated = run.invalid_reasons.contains(&InvalidReason::Contaminated);
        let mark = if is_contaminated {
            Mark::Contaminated
        } else {
            Mark::Invalid
        };
        (run.ended_at, mark)
    });
    let mut marks: Vec<_> = changes.chain(invalid).collect();
    marks.sort_by_key(|(at, _)| *at);
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_its_unit(axis: &'static str, values: &[f64]) -> (&'static str, f64, Vec<f64>) {
        let segment = |value: &f64| vec![(Timestamp::UNIX_EPOCH, *value)];
        let mut segments: Vec<Segment> = values.iter().map(segment).collect();
        let (axis, scale) = in_unit(axis, &mut segments);
        let values = segments.iter().flatten().map(|(_, value)| *value);
        (axis, scale, values.collect())
    }

    #[test]
    fn times_are_in_milliseconds_if_all_are_below_a_second() {
        assert_eq!(
            in_its_unit(SECONDS, &[0.25, 0.5]),
            ("milliseconds", 1e3, vec![250.0, 500.0])
        );
        assert_eq!(
            in_its_unit(SECONDS, &[0.25, 1.0]),
            (SECONDS, 1.0, vec![0.25, 1.0])
        );
        assert_eq!(
            in_its_unit("requests per second", &[0.25]),
            ("requests per second", 1.0, vec![0.25])
        );
    }
}
