//! A group of bars for each precision, with whiskers over nine runs in ten.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{BLUE, Chart, Drawn, INK, ORANGE, TEXT, Undrawn, fitted, grouped, on_axis, style};
use crate::comparison::Spread;

const HEIGHT: u32 = 330;

/// The width of a chart at least, and for each group.
const WIDTH: (u32, u32) = (460, 132);

/// The size of the figures above the bars, and of the names below them.
const FIGURE: i32 = TEXT + 1;
const NAME: i32 = TEXT - 1;

/// The size of what stands in place of a bar, of which two have room next to each other.
const ABSENT: i32 = TEXT - 4;

/// What of a group's width has bars.
const FILLED: f64 = 0.72;

/// A group of bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What stands below it.
    pub label: String,
    /// One bar each; absent figures leave a gap.
    pub figures: Vec<Option<Spread>>,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct BarChart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// What the vertical axis has, with its unit.
    pub axis: &'a str,
    /// What each bar of a group is; at most two.
    pub series: &'a [&'a str],
    /// Digits that mean something of the figures above the bars.
    pub digits: u32,
    /// The groups from left to right.
    pub groups: Vec<Bar>,
}

/// Draws it.
///
/// # Errors
/// When the drawing library cannot.
pub fn bars(chart: &BarChart<'_>) -> Result<Chart, Undrawn> {
    let mut svg = String::new();
    let groups = u32::try_from(chart.groups.len()).unwrap_or(u32::MAX).max(1);
    let width = WIDTH
        .0
        .max(WIDTH.1.saturating_mul(groups).saturating_add(90));
    draw(chart, &mut svg, width).map_err(|error| Undrawn::new(&error))?;
    Ok(Chart {
        svg,
        title: chart.title.to_owned(),
    })
}

fn draw(chart: &BarChart<'_>, svg: &mut String, width: u32) -> Drawn {
    let groups = chart.groups.len();
    let spreads = chart.groups.iter().flat_map(|group| &group.figures);
    let tops = spreads.flatten().map(|spread| {
        spread
            .range
            .map_or(spread.median, |range| range.1.max(spread.median))
    });
    let top = tops.fold(0.0, f64::max);
    // Room for the figure above the tallest bar.
    let top = if top > 0.0 { top * 1.16 } else { 1.0 };
    let root = SVGBackend::with_string(svg, (width, HEIGHT)).into_drawing_area();
    let mut context = ChartBuilder::on(&root)
        .margin_top(8)
        .margin_right(8)
        .x_label_area_size(54)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..groups.max(1) as f64, 0.0..top)?;
    context
        .configure_mesh()
        .disable_mesh()
        .disable_x_axis()
        .y_labels(6)
        .y_desc(chart.axis)
        .axis_style(INK.mix(0.45))
        .axis_desc_style(style(TEXT))
        .label_style(style(TEXT))
        .y_label_formatter(&|value| on_axis(*value))
        .x_labels(0)
        .draw()?;
    let area = context.plotting_area();
    let per_group = f64::from(width - 80) / groups.max(1) as f64;
    let centred = |vertical| Pos::new(HPos::Center, vertical);
    let below = style(NAME).pos(centred(VPos::Top));
    for (place, group) in chart.groups.iter().enumerate() {
        let count = chart.series.len().max(1) as f64;
        let bar = FILLED / count;
        for (number, spread) in group.figures.iter().enumerate() {
            let left = place as f64 + (1.0 - FILLED) / 2.0 + bar * number as f64;
            let (inner, middle) = (bar * 0.06, left + bar / 2.0);
            if chart.series.len() > 1
                && let Some(name) = chart.series.get(number)
            {
                let name = fitted(name, per_group * bar);
                area.draw(
                    &(EmptyElement::at((middle, 0.0)) + Text::new(name, (0, 5), below.clone())),
                )?;
            }
            let Some(Spread { median, range }) = *spread else {
                let style = style(ABSENT).pos(centred(VPos::Bottom));
                area.draw(
                    &(EmptyElement::at((middle, 0.0)) + Text::new("unknown", (0, -4), style)),
                )?;
                continue;
            };
            let colour = if number == 0 { BLUE } else { ORANGE };
            area.draw(&Rectangle::new(
                [(left + inner, 0.0), (left + bar - inner, median)],
                colour.filled(),
            ))?;
            if let Some((low, high)) = range {
                let whisker = INK.stroke_width(2);
                let cap = bar * 0.14;
                for ends in [
                    [(middle, low), (middle, high)],
                    [(middle - cap, low), (middle + cap, low)],
                    [(middle - cap, high), (middle + cap, high)],
                ] {
                    area.draw(&PathElement::new(ends.to_vec(), whisker))?;
                }
            }
            let above = range.map_or(median, |range| range.1.max(median));
            let figure = figure(median, chart.digits);
            let style = style(FIGURE).pos(centred(VPos::Bottom));
            area.draw(&(EmptyElement::at((middle, above)) + Text::new(figure, (0, -5), style)))?;
        }
        let down = if chart.series.len() > 1 { 29 } else { 8 };
        let style = ("sans-serif", TEXT + 3, FontStyle::Bold)
            .into_font()
            .color(&INK)
            .pos(centred(VPos::Top));
        let label = fitted(&group.label, per_group * 0.95);
        area.draw(
            &(EmptyElement::at((place as f64 + 0.5, 0.0)) + Text::new(label, (0, down), style)),
        )?;
    }
    root.present()
}

/// A figure with so many digits that mean something, as tables have it.
fn figure(value: f64, digits: u32) -> String {
    let decimals = (1..digits).rev().find(|decimals| {
        let places = f64::from(digits - decimals);
        value.abs() < 10_f64.powf(places) - 0.5 * 10_f64.powf(-f64::from(*decimals))
    });
    let decimals = decimals.unwrap_or_default() as usize;
    grouped(&format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::charts::CHARACTER;

    #[test]
    fn a_figure_has_the_digits_that_a_table_has() {
        for (value, digits, text) in [
            (2.369, 4, "2.369"),
            (35.475, 4, "35.48"),
            (606.47, 4, "606.5"),
            (9_082.4, 4, "9,082"),
            (999.96, 4, "1,000"),
            (6.7577, 3, "6.76"),
            (12.71, 3, "12.7"),
            (450.3, 3, "450"),
        ] {
            assert_eq!(figure(value, digits), text);
        }
    }

    #[test]
    fn what_is_unknown_of_two_bars_is_said_side_by_side() {
        let group = |label: &str| Bar {
            label: label.to_owned(),
            figures: vec![None, None],
        };
        let drawn = bars(&BarChart {
            title: "t",
            axis: "seconds",
            series: &["p50", "p95"],
            digits: 3,
            groups: ["bf16", "fp8", "nvfp4", "int4", "w8a8"].map(group).to_vec(),
        });
        let svg = drawn.unwrap().file();
        let places: Vec<f64> = svg
            .split("<text x=\"")
            .skip(1)
            .filter(|text| {
                text.split('<')
                    .next()
                    .is_some_and(|text| text.trim_end().ends_with("unknown"))
            })
            .map(|text| text.split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(places.len(), 10, "{svg}");
        let width = 7.0 * CHARACTER * f64::from(ABSENT) / f64::from(TEXT);
        for pair in places.windows(2) {
            assert!(pair[1] - pair[0] > width, "{pair:?}");
        }
    }
}
