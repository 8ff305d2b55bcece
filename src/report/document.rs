//! The report on a family: what it reaches, what became of it over time, and what each change did. One page of HTML
//! that needs nothing else, or Markdown with its charts in files beside it.

mod html;
mod markdown;
mod words;

use jiff::{SignedDuration, Timestamp};

use super::charts::{
    Bar, BarChart, Chart, Mark, Segment, TimeChart, Undrawn, WIDE, bars, over_time,
};
use super::comparison::Heading;
use crate::comparison::{Row, SideBySide, Spread, Story};
use crate::verdict::Measure;

/// A report that is ready to be written.
#[derive(Clone, Debug)]
pub struct Report {
    heading: Heading,
    table: SideBySide,
    stories: Vec<Story>,
    /// The charts of the table, each with the name of its file.
    by_precision: Vec<(&'static str, Chart)>,
    /// One for each story.
    over_time: Vec<Chart>,
    /// What the charts over time begin with; absent when they have everything.
    since: Option<Timestamp>,
    /// The end of the latest run; absent when no run says when it was.
    until: Option<Timestamp>,
}

impl Report {
    /// Lays out what there is to tell, with charts over the last `days` days before the latest run.
    ///
    /// # Errors
    /// When a chart cannot be drawn.
    pub fn new(
        heading: Heading,
        table: SideBySide,
        stories: Vec<Story>,
        days: u32,
    ) -> Result<Self, Undrawn> {
        // A file that does not say when its run began is placed in the first days of the era.
        let dated = |story: &&Story| {
            story
                .until()
                .is_some_and(|until| until.as_second() > 86_400 * 365)
        };
        let mut stories: Vec<Story> = stories.iter().filter(dated).cloned().collect();
        // In the order of the table.
        let names = || table.rows.iter().map(|row| row.deployment.as_str());
        stories.sort_by_key(|story| names().position(|name| name == story.name));
        let until = stories.iter().filter_map(Story::until).max();
        let begin = stories.iter().filter_map(Story::begin).min();
        let window = SignedDuration::from_hours(24 * i64::from(days));
        let since = until.map(|until| until.checked_sub(window).unwrap_or(Timestamp::MIN));
        let range = since.max(begin).zip(until);
        let charts: Vec<TimeChart> = stories
            .iter()
            .filter_map(|story| Some(chart_of(story, range?)))
            .collect();
        Ok(Self {
            by_precision: by_precision(&table)?,
            since: since.filter(|since| begin.is_some_and(|begin| begin < *since)),
            heading,
            table,
            stories,
            over_time: over_time(&charts)?,
            until,
        })
    }

    /// The page, complete in itself.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// The Markdown page. It shows [`Self::files`], which lie beside it.
    pub fn markdown(&self) -> String {
        markdown::page(self)
    }

    /// The charts as files: names and SVG.
    pub fn files(&self) -> Vec<(String, String)> {
        let by_precision = self.by_precision.iter();
        let by_precision = by_precision.map(|(name, chart)| (svg_name(name), chart.file()));
        let over_time = self.over_time.iter().zip(1..);
        let over_time = over_time.map(|(chart, number)| (time_name(number), chart.file()));
        by_precision.chain(over_time).collect()
    }
}

fn svg_name(name: &str) -> String {
    format!("{name}.svg")
}

/// By number, for the name of a deployment need not be one of a file.
fn time_name(number: usize) -> String {
    format!("deployment-{number}.svg")
}

/// The three charts of the reference, each with the name of its file.
///
/// # Errors
/// When one cannot be drawn.
pub fn by_precision(table: &SideBySide) -> Result<Vec<(&'static str, Chart)>, Undrawn> {
    type Figure = fn(&Row) -> Option<Spread>;
    type Drawn = (
        &'static str,
        &'static str,
        &'static str,
        &'static [&'static str],
        &'static [Figure],
        u32,
    );
    const CHARTS: [Drawn; 3] = [
        (
            "latency",
            "Latency by precision",
            "seconds",
            &["p50", "p95"],
            &[|row| row.p50, |row| row.p95],
            3,
        ),
        (
            "qps",
            "Requests per second by precision",
            "requests per second",
            &["QPS"],
            &[|row| row.qps],
            4,
        ),
        (
            "throughput",
            "Throughput by precision",
            "tokens per second",
            &["prompt", "decode"],
            &[|row| row.prompt_tps, |row| row.decode_tps],
            4,
        ),
    ];
    let drawn = CHARTS.map(|(name, title, axis, series, figures, digits)| {
        let group = |row: &Row| Bar {
            label: row.label.clone(),
            figures: figures.iter().map(|figure| figure(row)).collect(),
        };
        let mut groups: Vec<Bar> = table.rows.iter().map(group).collect();
        let chart = bars(&BarChart {
            title,
            axis: in_unit(axis, &mut groups),
            series,
            digits,
            groups,
        })?;
        Ok((name, chart))
    });
    drawn.into_iter().collect()
}

/// Puts times that are all below a second into milliseconds, as tables have them. The name of the unit.
fn in_unit(axis: &'static str, groups: &mut [Bar]) -> &'static str {
    let mut known = groups.iter().flat_map(|group| &group.figures).flatten();
    if axis != "seconds" || !known.all(|spread| spread.median < 1.0) {
        return axis;
    }
    for spread in groups.iter_mut().flat_map(|group| &mut group.figures) {
        *spread = spread.map(|Spread { median, range }| Spread {
            median: median * 1e3,
            range: range.map(|(low, high)| (low * 1e3, high * 1e3)),
        });
    }
    "milliseconds"
}

fn chart_of(story: &Story, range: (Timestamp, Timestamp)) -> TimeChart {
    let mut segments: Vec<Segment> = Vec::new();
    let mut current = Segment::new();
    let mut marks = Vec::new();
    let mut fingerprint = None;
    for run in story.runs_since(range.0) {
        let at = run.figures.ended_at;
        let is_change = fingerprint
            .replace(&run.figures.fingerprint)
            .is_some_and(|before| *before != run.figures.fingerprint);
        let value = run.figures.values.get(&Measure::DecodeTokensRate);
        if is_change || value.is_none() {
            segments.push(std::mem::take(&mut current));
        }
        match value {
            Some(value) => current.push((at, *value)),
            None if run.figures.contaminated => marks.push((at, Mark::Contaminated)),
            None => marks.push((at, Mark::Invalid)),
        }
    }
    segments.push(current);
    segments.retain(|segment| !segment.is_empty());
    for (number, change, fields) in story.changes() {
        if change.at >= range.0 {
            let what = words::fields(fields);
            marks.push((change.at, Mark::Change(number, what)));
        }
    }
    TimeChart {
        title: format!("Decode tokens per second of {} over time", story.name),
        axis: "decode tokens per second",
        size: WIDE,
        range,
        segments,
        marks,
        baseline: story.replay.baseline,
        band: None,
    }
}

#[cfg(test)]
mod tests;
