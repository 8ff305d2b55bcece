//! The runs of a deployment over time: what they reached, what changed in between, and which of them do not count.

use jiff::{SignedDuration, Timestamp};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{
    BLUE, CHARACTER, Chart, Drawn, INK, ORANGE, RED, TEXT, Undrawn, fitted, on_axis, style,
};

/// Width and height of a chart that has a page's width, in its own pixels.
pub const WIDE: (u32, u32) = (940, 300);

/// Pixels left of the runs, and right of them.
const SIDES: (u32, u32) = (72, 16);

/// Seconds that the axis goes on beyond the runs to either side, at least.
const LEAST_BEYOND: f64 = 30.0;

/// Rows of labels above the runs at most, and the height of one.
const ROWS: i32 = 3;
const ROW: i32 = 19;

/// Characters of a label at most.
const MOST_CHARACTERS: usize = 40;

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

/// Ticks at most, and the pixels that one needs with its label.
const MOST_TICKS: i64 = 7;
const TICK: f64 = 95.0;

/// Pixels from a tick to the right end of the axis at least, so that its label is not cut.
const TICK_END: f64 = 32.0;

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
pub struct TimeChart {
    /// What it shows.
    pub title: String,
    /// What the vertical axis has, with its unit.
    pub axis: &'static str,
    /// Width and height, in its own pixels.
    pub size: (u32, u32),
    /// The first and the last instant of the horizontal axis.
    pub range: (Timestamp, Timestamp),
    /// Joined by a line each.
    pub segments: Vec<Segment>,
    /// In order.
    pub marks: Vec<(Timestamp, Mark)>,
    /// A level to be drawn across.
    pub baseline: Option<f64>,
    /// The least and the most value that is borne, between which the ground is shaded.
    pub band: Option<(f64, f64)>,
}

/// Where the runs are within a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// The left end of the horizontal axis, in the chart's own pixels.
    pub left: f64,
    /// The right end of it.
    pub right: f64,
    /// The width of the chart.
    pub width: f64,
    /// The instant of the left end, in seconds since the Unix epoch.
    pub from: f64,
    /// The instant of the right end.
    pub to: f64,
    /// What stands at the ticks of the axis, each with its instant.
    pub ticks: Vec<(String, f64)>,
}

impl Plot {
    /// Where the runs are within each of `charts`, which are drawn together; `None` when there is none.
    pub fn of(charts: &[TimeChart]) -> Option<Self> {
        let first = charts.first()?;
        let (from, to) = widened(first.range);
        let width = f64::from(first.size.0);
        let ticks = Ticks::new(from, to, room(first));
        let told = ticks.points.iter().map(|at| (ticks.format_ext(at), *at));
        Some(Self {
            left: SIDES.0.into(),
            right: width - f64::from(SIDES.1),
            width,
            from,
            to,
            ticks: told.collect(),
        })
    }
}

/// Pixels that the runs have in a chart.
fn room(chart: &TimeChart) -> f64 {
    f64::from(chart.size.0 - SIDES.0 - SIDES.1)
}

/// Draws charts of one range, one below the other, so that an instant has the same place in all of them.
///
/// # Errors
/// When the drawing library cannot.
pub fn over_time(charts: &[TimeChart]) -> Result<Vec<Chart>, Undrawn> {
    let drawn = charts.iter().map(|chart| {
        let mut svg = String::new();
        draw(chart, &mut svg).map_err(|error| Undrawn::new(&error))?;
        Ok(Chart {
            svg,
            title: chart.title.clone(),
        })
    });
    drawn.collect()
}

fn draw(chart: &TimeChart, svg: &mut String) -> Drawn {
    let (from, to) = widened(chart.range);
    let (least, most) = span(chart);
    let width = room(chart);
    let scale = width / (to - from);
    let in_pixels: Vec<_> = changes(chart)
        .map(|(at, number, what)| ((at - from) * scale, number, what))
        .collect();
    let labels = placed(&in_pixels, width);
    let rows = labels.iter().map(|label| label.row + 1).max().unwrap_or(0);
    let mut labels = labels.into_iter();
    let root = SVGBackend::with_string(svg, chart.size).into_drawing_area();
    let mut context = ChartBuilder::on(&root)
        .margin_top(ROW * rows + 8)
        .margin_right(SIDES.1)
        .x_label_area_size(46)
        .y_label_area_size(SIDES.0)
        .build_cartesian_2d(Ticks::new(from, to, width), least..most)?;
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
        .y_label_formatter(&|value| on_axis(*value))
        .draw()?;
    let area = context.plotting_area();
    if let Some((low, high)) = chart.band {
        let ground = [(from, low), (to, high)];
        area.draw(&Rectangle::new(ground, INK.mix(0.07).filled()))?;
    }
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
    for (at, mark) in &chart.marks {
        let x = seconds(*at);
        match mark {
            Mark::Invalid => {
                area.draw(&Cross::new((x, floor), 4, RED.stroke_width(2)))?;
            }
            Mark::Contaminated => {
                area.draw(&TriangleMarker::new((x, floor), 6, ORANGE.filled()))?;
            }
            Mark::Change(..) => {
                let Some(Placed { text, row, side }) = labels.next() else {
                    continue;
                };
                let up = -(ROW * row + 6);
                let ink = INK.mix(0.7).stroke_width(1);
                area.draw(&PathElement::new(vec![(x, least), (x, most)], ink))?;
                let (anchor, beside) = match side {
                    Side::Right => (HPos::Left, 5),
                    Side::Left => (HPos::Right, -5),
                };
                let style = style(TEXT).pos(Pos::new(anchor, VPos::Bottom));
                area.draw(
                    &(EmptyElement::at((x, most))
                        + PathElement::new(vec![(0, 0), (0, up - 10)], ink)
                        + Text::new(text, (beside, up + 4), style)),
                )?;
            }
        }
    }
    root.present()
}

/// When each change of the environment was, its number, and what changed.
fn changes(chart: &TimeChart) -> impl Iterator<Item = (f64, usize, &str)> {
    chart.marks.iter().filter_map(|(at, mark)| match mark {
        Mark::Change(number, what) => Some((seconds(*at), *number, what.as_str())),
        Mark::Invalid | Mark::Contaminated => None,
    })
}

fn label(number: usize, what: &str) -> String {
    let whole = format!("{number}: {what}");
    fitted(&whole, MOST_CHARACTERS as f64 * CHARACTER)
}

fn seconds(at: Timestamp) -> f64 {
    at.as_second() as f64
}

/// An axis has two ends, also for a single run.
fn widened((from, to): (Timestamp, Timestamp)) -> (f64, f64) {
    let (from, to) = (seconds(from), seconds(to));
    let room = ((to - from) * 0.015).max(LEAST_BEYOND);
    (from - room, to + room)
}

/// What the vertical axis spans: all runs with some room, and never so little that noise looks like a cliff.
fn span(chart: &TimeChart) -> (f64, f64) {
    let values = chart.segments.iter().flatten().map(|(_, value)| *value);
    let band = chart.band.into_iter().flat_map(|(low, high)| [low, high]);
    let values: Vec<f64> = values.chain(chart.baseline).chain(band).collect();
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
    /// Ticks of an axis that is `width` pixels wide.
    fn new(from: f64, to: f64, width: f64) -> Self {
        let (first, last) = (from as i64, to as i64);
        let most = MOST_TICKS.min((width / TICK) as i64).max(1);
        let enough = |step: &&i64| (last - first) / **step < most;
        let step = STEPS.iter().find(enough).or(STEPS.last()).copied();
        let step = step.unwrap_or(1);
        let points = (first.div_euclid(step) + 1..=last.div_euclid(step))
            .map(|tick| (tick * step) as f64)
            .filter(|tick| (to - tick) / (to - from) * width >= TICK_END)
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

/// On which side of its line a label stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// Where a label stands.
#[derive(Clone, Debug, PartialEq)]
struct Placed {
    /// Empty where there is no room.
    text: String,
    /// Counted from the lowest.
    row: i32,
    side: Side,
}

/// A label and its line, in pixels.
struct Taken {
    line: f64,
    row: i32,
    from: f64,
    to: f64,
}

impl Taken {
    fn new(line: f64, text: &str, row: i32, side: Side) -> Self {
        let width = width_of(text);
        let (from, to) = match side {
            Side::Right => (line, line + width),
            Side::Left => (line - width, line),
        };
        Self {
            line,
            row,
            from,
            to,
        }
    }

    /// Whether one of them lies over the other, or its line goes through it.
    fn meets(&self, other: &Self) -> bool {
        let is_over = self.row == other.row && self.from < other.to && other.from < self.to;
        let cuts = |line: &Self, label: &Self| {
            label.from < line.line && line.line < label.to && line.row >= label.row
        };
        is_over || cuts(self, other) || cuts(other, self)
    }
}

/// Places the label of each change beside its line, at `x` pixels of `width`: right of it, or left of it where it would
/// not end within the chart. Its row is so high that no line goes through it. A label for which there is no row is cut
/// to its number, or left out.
fn placed(labels: &[(f64, usize, &str)], width: f64) -> Vec<Placed> {
    let side_of = |(x, number, what): &(f64, usize, &str)| {
        if x + width_of(&label(*number, what)) > width {
            Side::Left
        } else {
            Side::Right
        }
    };
    let mut placed: Vec<Option<Placed>> = vec![None; labels.len()];
    // Lines left of a label on the left end below it, so the latest of those has the highest row.
    let low: Vec<i32> = (0..ROWS).collect();
    let high: Vec<i32> = (0..ROWS).rev().collect();
    for (side, rows) in [(Side::Left, &high), (Side::Right, &low)] {
        let on_it = (0..labels.len()).rev();
        for place in on_it.filter(|place| side_of(&labels[*place]) == side) {
            let (_, number, what) = labels[place];
            let found = [label(number, what), number.to_string()]
                .into_iter()
                .find_map(|text| {
                    let row = free(labels, &placed, place, &text, side, rows)?;
                    Some(Placed { text, row, side })
                });
            placed[place] = Some(found.unwrap_or(Placed {
                text: String::new(),
                row: 0,
                side,
            }));
        }
    }
    // What stands higher than it needs to, now that all is known, comes down.
    for place in 0..labels.len() {
        if let Some(label) = placed[place].take() {
            let row = free(labels, &placed, place, &label.text, label.side, &low);
            let row = row.map_or(label.row, |row| row.min(label.row));
            placed[place] = Some(Placed { row, ..label });
        }
    }
    placed.into_iter().flatten().collect()
}

/// The first of `rows` in which `text` beside the line of the change at `place` meets nothing that is placed.
fn free(
    labels: &[(f64, usize, &str)],
    placed: &[Option<Placed>],
    place: usize,
    text: &str,
    side: Side,
    rows: &[i32],
) -> Option<i32> {
    let others = labels.iter().zip(placed).filter_map(|((x, ..), label)| {
        let label = label.as_ref()?;
        Some(Taken::new(*x, &label.text, label.row, label.side))
    });
    let others: Vec<Taken> = others.collect();
    rows.iter().copied().find(|row| {
        let wanted = Taken::new(labels[place].0, text, *row, side);
        !others.iter().any(|other| wanted.meets(other))
    })
}

fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER + 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_round_times_and_are_few() {
        let ticks = Ticks::new(1_000.0, 80_000.0, 852.0);
        assert_eq!(ticks.points, [21_600.0, 43_200.0, 64_800.0]);
        assert_eq!(ticks.format_ext(&21_600.0), "Jan 01 06:00");
        let narrow = Ticks::new(1_000.0, 80_000.0, 300.0);
        assert_eq!(narrow.points, [43_200.0]);
        let late = Ticks::new(1_000.0, 65_000.0, 852.0);
        assert_eq!(late.points.last(), Some(&54_000.0), "64,800 is cut");
        let years = Ticks::new(0.0, 3e9, 852.0);
        assert!(years.points.len() <= 10, "{:?}", years.points);
    }

    #[test]
    fn no_label_lies_over_another_or_under_a_line() {
        let labels: Vec<(f64, usize, &str)> = (1..40)
            .map(|n| (f64::from(n * n) * 0.5, n as usize, "driver 580 → 590"))
            .collect();
        for width in [632.0, 770.0, 2_000.0] {
            let placed = placed(&labels, width);
            let whole = placed.iter().filter(|label| label.text.contains("590"));
            assert!(whole.count() > 1, "{placed:?}");
            assert!(placed.iter().any(|label| label.row == 2));
            let taken = labels.iter().zip(&placed);
            let taken = taken.filter(|(_, label)| !label.text.is_empty());
            let taken: Vec<Taken> = taken
                .map(|((x, ..), label)| Taken::new(*x, &label.text, label.row, label.side))
                .collect();
            for (n, one) in taken.iter().enumerate() {
                assert!(one.from >= 0.0, "{placed:?}");
                for other in taken.iter().skip(n + 1) {
                    assert!(!one.meets(other), "{} and {}", one.line, other.line);
                }
            }
        }
    }

    #[test]
    fn the_label_of_a_late_change_stands_left_of_its_line() {
        let early = (40.0, 1, "driver 580 → 590");
        let late = (620.0, 2, "driver 590 → 600");
        let placed = placed(&[early, late], 632.0);
        let sides: Vec<Side> = placed.iter().map(|label| label.side).collect();
        assert_eq!(sides, [Side::Right, Side::Left]);
        assert!(placed.iter().all(|label| label.row == 0), "{placed:?}");
        assert!(placed[1].text.ends_with("600"), "{placed:?}");
    }

    #[test]
    fn a_few_minutes_take_the_width_of_the_chart() {
        let from = Timestamp::UNIX_EPOCH;
        let (left, right) = widened((from, from + SignedDuration::from_secs(240)));
        assert!(right - left <= 300.0, "{left} to {right}");
    }

    #[test]
    fn a_steady_series_does_not_look_like_a_cliff() {
        let at = Timestamp::UNIX_EPOCH;
        let chart = TimeChart {
            title: String::new(),
            axis: "",
            range: (at, at),
            segments: vec![vec![(at, 600.0), (at, 601.0)]],
            marks: Vec::new(),
            baseline: None,
            band: None,
            size: WIDE,
        };
        let (low, high) = span(&chart);
        assert!(low < 545.0 && high > 655.0, "{low} to {high}");
        assert!(over_time(&[chart]).is_ok(), "an axis of one instant");
    }
}
