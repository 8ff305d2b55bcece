//! The runs of a deployment over time: what they reached, what changed in between, and which of them do not count.

use jiff::{SignedDuration, Timestamp};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{BLUE, CHARACTER, Chart, INK, ORANGE, RED, TEXT, Undrawn, fitted, style};

const SIZE: (u32, u32) = (940, 300);

/// Pixels left and right of the runs.
const SIDES: (u32, u32) = (72, 16);

/// Rows of labels above the runs, and the height of one.
const ROWS: (usize, i32) = (3, 19);

/// Points up to which each has a dot of its own.
const MOST_DOTS: usize = 500;

/// The least part of the value that the vertical axis spans to either side: runs that hardly differ look alike.
const LEAST_SPAN: f64 = 0.1;

/// Steps between two ticks, in seconds, of which one is chosen.
const STEPS: [i64; 16] = [
    60,
    300,
    900,
    3_600,
    10_800,
    21_600,
    43_200,
    86_400,
    172_800,
    604_800,
    1_209_600,
    2_592_000,
    7_776_000,
    15_552_000,
    31_536_000,
    315_360_000,
];

const DAY: i64 = 86_400;

/// Ticks at most.
const MOST_TICKS: i64 = 7;

/// Runs that follow each other without anything in between, each with its value.
pub type Segment = Vec<(Timestamp, f64)>;

/// Something at an instant.
#[derive(Clone, Debug, PartialEq)]
pub enum Mark {
    /// The environment changed: its number, and what changed.
    Change(usize, String),
    /// A run does not count.
    Invalid,
    /// A run does not count, since others used the server.
    Contaminated,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeChart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the vertical axis has, with its unit.
    pub axis: &'a str,
    /// The first and the last instant of the horizontal axis.
    pub range: (Timestamp, Timestamp),
    /// Joined by a line each.
    pub segments: Vec<Segment>,
    /// In order.
    pub marks: Vec<(Timestamp, Mark)>,
    /// A level to be drawn across.
    pub baseline: Option<f64>,
}

/// Draws it.
///
/// # Errors
/// When the drawing library cannot.
pub fn time(chart: &TimeChart<'_>) -> Result<Chart, Undrawn> {
    let mut svg = String::new();
    draw(chart, &mut svg).map_err(|error| Undrawn::new(&error))?;
    Ok(Chart {
        svg,
        title: chart.title.to_owned(),
    })
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(chart: &TimeChart<'_>, svg: &mut String) -> Drawn {
    let (from, to) = widened(chart.range);
    let (least, most) = span(chart);
    let top = ROWS.0 as i32 * ROWS.1 + 8;
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut context = ChartBuilder::on(&root)
        .margin_top(top)
        .margin_right(SIDES.1)
        .x_label_area_size(46)
        .y_label_area_size(SIDES.0)
        .build_cartesian_2d(Ticks::new(from, to), least..most)?;
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(INK.mix(0.12))
        .y_labels(6)
        .x_desc("time (UTC)")
        .y_desc(chart.axis)
        .axis_style(INK.mix(0.45))
        .axis_desc_style(style(TEXT))
        .label_style(style(TEXT))
        .y_label_formatter(&|value| format!("{}", (value * 1e6).round() / 1e6))
        .draw()?;
    let area = context.plotting_area();
    if let Some(baseline) = chart.baseline {
        let line = [(from, baseline), (to, baseline)];
        area.draw(&DashedPathElement::new(
            line,
            8,
            5,
            INK.mix(0.55).stroke_width(1),
        ))?;
    }
    let dots = chart.segments.iter().map(Vec::len).sum::<usize>() <= MOST_DOTS;
    for segment in &chart.segments {
        let points: Vec<(f64, f64)> = segment.iter().map(|(at, y)| (seconds(*at), *y)).collect();
        if dots || points.len() == 1 {
            for point in &points {
                area.draw(&Circle::new(*point, 2, BLUE.filled()))?;
            }
        }
        area.draw(&PathElement::new(points, BLUE.stroke_width(1)))?;
    }
    let floor = least + (most - least) * 0.04;
    let mut rows = Rows::new(from, to);
    for (at, mark) in &chart.marks {
        let x = seconds(*at);
        match mark {
            Mark::Invalid => {
                area.draw(&Cross::new((x, floor), 4, RED.stroke_width(2)))?;
            }
            Mark::Contaminated => {
                area.draw(&TriangleMarker::new((x, floor), 6, ORANGE.filled()))?;
            }
            Mark::Change(number, what) => {
                area.draw(&PathElement::new(
                    vec![(x, least), (x, most)],
                    INK.mix(0.7).stroke_width(1),
                ))?;
                let (label, row, to_the_left) = rows.place(x, *number, what);
                let up = -(ROWS.1 * (row as i32) + 4);
                let (side, right) = match to_the_left {
                    true => (HPos::Right, 4),
                    false => (HPos::Left, -4),
                };
                let style = style(TEXT).pos(Pos::new(side, VPos::Bottom));
                area.draw(
                    &(EmptyElement::at((x, most))
                        + PathElement::new(vec![(0, 0), (0, up)], INK.mix(0.7).stroke_width(1))
                        + Text::new(label, (right, up), style)),
                )?;
            }
        }
    }
    root.present()
}

fn seconds(at: Timestamp) -> f64 {
    at.as_second() as f64
}

/// An axis has two ends, also for a single run.
fn widened((from, to): (Timestamp, Timestamp)) -> (f64, f64) {
    let (from, to) = (seconds(from), seconds(to));
    let room = ((to - from) * 0.015).max(300.0);
    (from - room, to + room)
}

/// What the vertical axis spans: all runs with some room, and never so little that noise looks like a cliff.
fn span(chart: &TimeChart<'_>) -> (f64, f64) {
    let values = chart.segments.iter().flatten().map(|(_, value)| *value);
    let values: Vec<f64> = values.chain(chart.baseline).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    if !least.is_finite() {
        return (0.0, 1.0);
    }
    let room = (most - least) * 0.12;
    let low = (least - room).min(most * (1.0 - LEAST_SPAN)).max(0.0);
    (low, (most + room).max(least * (1.0 + LEAST_SPAN)))
}

/// The horizontal axis, with its ticks at round times.
struct Ticks {
    from: f64,
    to: f64,
    points: Vec<f64>,
    step: i64,
}

impl Ticks {
    fn new(from: f64, to: f64) -> Self {
        let (first, last) = (from as i64, to as i64);
        let enough = |step: &&i64| (last - first) / **step < MOST_TICKS;
        let step = STEPS.iter().find(enough).or(STEPS.last()).copied();
        let step = step.unwrap_or(1);
        let points = (first.div_euclid(step) + 1..=last.div_euclid(step))
            .map(|tick| (tick * step) as f64)
            .collect();
        Self {
            from,
            to,
            points,
            step,
        }
    }
}

impl Ranged for Ticks {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        let share = (value - self.from) / (self.to - self.from);
        left + (share * f64::from(right - left)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.points.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Ticks {
    fn format(at: &f64) -> String {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(*at as i64);
        at.strftime("%Y-%m-%d").to_string()
    }

    fn format_ext(&self, at: &f64) -> String {
        if self.step >= DAY {
            return Self::format(at);
        }
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(*at as i64);
        at.strftime("%b %d %H:%M").to_string()
    }
}

/// Where labels go so that none lies over another: in one of a few rows, cut short where there is little room.
struct Rows {
    /// The pixel up to which each row is taken.
    taken: [f64; ROWS.0],
    scale: f64,
    from: f64,
    width: f64,
}

impl Rows {
    fn new(from: f64, to: f64) -> Self {
        let width = f64::from(SIZE.0 - SIDES.0 - SIDES.1);
        Self {
            taken: [f64::NEG_INFINITY; ROWS.0],
            scale: width / (to - from),
            from,
            width,
        }
    }

    /// The text, its row, and whether it stands left of its line. Lines come from left to right.
    fn place(&mut self, at: f64, number: usize, what: &str) -> (String, usize, bool) {
        let x = (at - self.from) * self.scale;
        let whole = format!("{number}: {what}");
        let needed = whole.chars().count().min(44) as f64 * CHARACTER + 12.0;
        let free = |taken: f64, begin: f64| taken <= begin;
        for row in 0..ROWS.0 {
            if x + needed <= self.width && free(self.taken[row], x) {
                self.taken[row] = x + needed;
                return (fitted(&whole, needed - 10.0), row, false);
            }
            if x + needed > self.width && free(self.taken[row], x - needed) {
                self.taken[row] = x + 4.0;
                return (fitted(&whole, needed - 10.0), row, true);
            }
        }
        let row = (0..ROWS.0)
            .min_by(|one, other| self.taken[*one].total_cmp(&self.taken[*other]))
            .unwrap_or(0);
        let label = match self.taken[row] <= x {
            true => number.to_string(),
            false => String::new(),
        };
        self.taken[row] = self.taken[row].max(x + 24.0);
        (label, row, x + 24.0 > self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_round_times_and_are_few() {
        let ticks = Ticks::new(1_000.0, 80_000.0);
        assert_eq!(ticks.points, [21_600.0, 43_200.0, 64_800.0]);
        assert_eq!(ticks.format_ext(&21_600.0), "Jan 01 06:00");
        let years = Ticks::new(0.0, 3e9);
        assert!(years.points.len() <= 10, "{:?}", years.points);
    }

    #[test]
    fn labels_never_lie_over_each_other() {
        let mut rows = Rows::new(0.0, 1_000.0);
        let mut spans: Vec<(usize, f64, f64)> = Vec::new();
        for number in 1..60 {
            let at = 17.0 * f64::from(number);
            let (label, row, to_the_left) = rows.place(at, number as usize, "driver 580 to 590");
            let (x, width) = (at * rows.scale, label.chars().count() as f64 * CHARACTER);
            let (begin, end) = match to_the_left {
                true => (x - width, x),
                false => (x, x + width),
            };
            for (other, left, right) in &spans {
                let apart = *other != row || *right <= begin + 1.0 || end <= *left + 1.0;
                assert!(apart || label.is_empty(), "{number} in row {row}");
            }
            spans.push((row, begin, end));
        }
    }

    #[test]
    fn a_steady_series_does_not_look_like_a_cliff() {
        let at = Timestamp::UNIX_EPOCH;
        let chart = TimeChart {
            title: "",
            axis: "",
            range: (at, at),
            segments: vec![vec![(at, 600.0), (at, 601.0)]],
            marks: Vec::new(),
            baseline: None,
        };
        let (low, high) = span(&chart);
        assert!(low < 545.0 && high > 655.0, "{low} to {high}");
        assert!(time(&chart).is_ok(), "an axis of one instant");
    }
}
