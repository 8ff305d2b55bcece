//! The last runs of a probe in one small line: what the decode rate did, in the width of a table's cell.

use std::fmt::Write;

use maud::{Markup, html};

use super::quantity::{count, number};
use crate::board::{ProbeStatus, RecentRun};

/// Runs that are drawn at most.
const MOST: usize = 48;

const WIDTH: f64 = 132.0;
const HEIGHT: f64 = 30.0;
const MARGIN: f64 = 3.0;

/// The least part of the level that the height spans to either side: noise is not to look like a cliff.
const LEAST_SPAN: f64 = 0.06;

/// Draws the decode rate of the last runs, with `baseline` as a dashed line. Runs that do not count are crosses at
/// the foot, and no line goes over them.
pub(super) fn sparkline(probe: &ProbeStatus, baseline: Option<f64>) -> Markup {
    let all = probe.recent.iter();
    let skipped = all.len().saturating_sub(MOST);
    let runs: Vec<&RecentRun> = all.skip(skipped).collect();
    let value = |run: &RecentRun| run.figures.map(|figures| figures.decode_tps);
    let values: Vec<Option<f64>> = runs.iter().map(|run| value(run)).collect();
    let counted: Vec<f64> = values.iter().copied().flatten().collect();
    let (Some(first), Some(last)) = (counted.first(), counted.last()) else {
        return html! {};
    };
    let (least, most) = span(counted.iter().copied().chain(baseline));
    let step = (WIDTH - 2.0 * MARGIN) / (runs.len().max(2) - 1) as f64;
    let x = |place: usize| MARGIN + step * place as f64;
    let y =
        |value: f64| HEIGHT - MARGIN - (value - least) / (most - least) * (HEIGHT - 2.0 * MARGIN);
    let point = |(place, value): (usize, f64)| format!("{:.1},{:.1}", x(place), y(value));

    let mut lines = Vec::new();
    for stretch in stretches(&values) {
        lines.push(stretch.into_iter().map(point).collect::<Vec<_>>().join(" "));
    }
    let mut crosses = String::new();
    for (place, _) in values
        .iter()
        .enumerate()
        .filter(|(_, value)| value.is_none())
    {
        let (x, y) = (x(place), HEIGHT - MARGIN);
        let _ = write!(crosses, "M{:.1} {:.1}l4 4m0 -4l-4 4", x - 2.0, y - 2.0);
    }
    let end = values.iter().rposition(Option::is_some).unwrap_or_default();
    let label = format!(
        "decode rate of the last {}: from {} to {} tok/s{}",
        count(runs.len(), "run", "runs"),
        number(*first),
        number(*last),
        match runs.len() - counted.len() {
            0 => String::new(),
            invalid => format!(", {invalid} not counted"),
        }
    );
    html! {
        svg.spark role="img" aria-label=(label) viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) {
            @if let Some(baseline) = baseline {
                line.expected x1="0" x2=(WIDTH) y1=(format!("{:.1}", y(baseline))) y2=(format!("{:.1}", y(baseline))) {}
            }
            @for line in &lines { polyline points=(line) {} }
            @if !crosses.is_empty() { path.invalid d=(crosses) {} }
            circle cx=(format!("{:.1}", x(end))) cy=(format!("{:.1}", y(*last))) r="2.2" {}
        }
    }
}

/// Values that follow each other without a gap, each with its place.
fn stretches(values: &[Option<f64>]) -> Vec<Vec<(usize, f64)>> {
    let placed: Vec<(usize, Option<f64>)> = values.iter().copied().enumerate().collect();
    placed
        .split(|(_, value)| value.is_none())
        .map(|stretch| {
            let known = stretch.iter();
            known
                .filter_map(|(place, value)| Some((*place, (*value)?)))
                .collect()
        })
        .filter(|stretch: &Vec<_>| !stretch.is_empty())
        .collect()
}

fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    let middle = f64::midpoint(least, most);
    let room = ((most - least) / 2.0)
        .max(middle * LEAST_SPAN)
        .max(f64::MIN_POSITIVE);
    (middle - room, middle + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_goes_over_a_run_that_does_not_count() {
        let values = [Some(1.0), Some(2.0), None, Some(3.0), None];
        assert_eq!(
            stretches(&values),
            [vec![(0, 1.0), (1, 2.0)], vec![(3, 3.0)]]
        );
        assert_eq!(stretches(&[None, None]), Vec::<Vec<_>>::new());
    }

    #[test]
    fn noise_is_no_cliff() {
        let (least, most) = span([600.0, 601.0].into_iter());
        assert!(least < 570.0 && most > 630.0, "{least} {most}");
    }
}
