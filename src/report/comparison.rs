//! The comparison of a family as text, CSV, Markdown and JSON. Where a figure is unknown or withheld there is a
//! dash for people, nothing in CSV, and null in JSON.

use std::fmt::Write;

use serde::Serialize;

use super::csv::line;
use crate::comparison::{Gain, Row, SideBySide, Spread, counted};

/// The schema of [`json`].
pub const SCHEMA: &str = "vllm-prober/comparison/v1";

/// What the comparison is of, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The family's name, or what stands for it.
    pub title: String,
    /// The workload's name.
    pub workload: Option<String>,
}

impl Heading {
    /// What was replayed, in words.
    pub fn workload(&self, table: &SideBySide) -> String {
        let shape = table
            .rows
            .get(table.reference)
            .map(|row| row.shape.to_string())
            .unwrap_or_default();
        match &self.workload {
            Some(name) => format!("workload {name}: {shape}"),
            None => shape,
        }
    }
}

/// A column for people.
struct Column {
    name: String,
    is_number: bool,
    cell: Box<dyn Fn(&Row) -> String>,
}

/// The columns of the table, the reference's own first. A column that no row has anything for is left out.
fn columns(table: &SideBySide) -> Vec<Column> {
    let text = |name: &str, cell: fn(&Row) -> String| Column {
        name: name.to_owned(),
        is_number: false,
        cell: Box::new(cell),
    };
    let figure = |name: &str, of: fn(&Row) -> Option<Spread>| Column {
        name: name.to_owned(),
        is_number: true,
        cell: Box::new(move |row| {
            of(row).map_or_else(dash, |spread| format!("{:.4}", spread.median))
        }),
    };
    let reference = table.rows.get(table.reference).map(|row| row.label.clone());
    let all = vec![
        text("precision", |row| {
            row.precision
                .as_ref()
                .map_or_else(dash, ToString::to_string)
        }),
        text("deployment", |row| row.deployment.clone()),
        text("model", |row| row.model.clone()),
        Column {
            is_number: true,
            ..text("runs", |row| row.runs.to_string())
        },
        Column {
            is_number: true,
            ..text("left out", |row| row.left_out.to_string())
        },
        figure("QPS", |row| row.qps),
        figure("prompt_tps", |row| row.prompt_tps),
        figure("decode_tps", |row| row.decode_tps),
        figure("p50 (s)", |row| row.p50),
        figure("p95 (s)", |row| row.p95),
        figure("TTFT p50 (s)", |row| row.ttft_p50),
        Column {
            name: format!("speed-up over {}", reference.unwrap_or_default()),
            // Alone it is compared with nothing.
            ..text(
                "",
                if table.rows.len() > 1 {
                    |row| row.gain.to_string()
                } else {
                    |_| String::new()
                },
            )
        },
    ];
    let is_empty = |column: &Column| table.rows.iter().all(|row| (column.cell)(row).is_empty());
    all.into_iter().filter(|column| !is_empty(column)).collect()
}

/// The table's head and rows for people, and which columns are numbers.
pub fn cells(table: &SideBySide) -> (Vec<(String, bool)>, Vec<Vec<String>>) {
    let columns = columns(table);
    let rows = table.rows.iter();
    let rows = rows.map(|row| columns.iter().map(|column| (column.cell)(row)).collect());
    let rows = rows.collect();
    let heads = columns
        .into_iter()
        .map(|column| (column.name, column.is_number));
    (heads.collect(), rows)
}

/// Each narrower precision against each wider one, in words and figures.
pub fn pairs(table: &SideBySide) -> Vec<(String, String)> {
    let name = |place: usize| {
        table
            .rows
            .get(place)
            .map(|row| row.label.clone())
            .unwrap_or_default()
    };
    table
        .pairs
        .iter()
        .map(|pair| {
            let what = format!("{} over {}", name(pair.narrow), name(pair.wide));
            (what, pair.gain.to_string())
        })
        .collect()
}

/// For a terminal.
pub fn text(heading: &Heading, table: &SideBySide) -> String {
    let mut out = format!("{}, {}\n\n", heading.title, heading.workload(table));
    let (heads, mut rows) = cells(table);
    // A server's word must not move the cursor of a terminal.
    for cell in rows.iter_mut().flatten() {
        *cell = cell.replace(char::is_control, "\u{fffd}");
    }
    let width = |place: usize| {
        let cells = rows.iter().map(|row| row[place].chars().count());
        cells
            .chain([heads[place].0.chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let names: Vec<String> = heads.iter().map(|(name, _)| name.clone()).collect();
    for row in std::iter::once(&names).chain(&rows) {
        let mut line = String::new();
        for (place, cell) in row.iter().enumerate() {
            let width = widths[place];
            let _ = match heads[place].1 {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let pairs = pairs(table);
    if pairs.len() > 1 {
        let widest = pairs.iter().map(|(what, _)| what.chars().count()).max();
        let width = widest.unwrap_or(0);
        let _ = writeln!(out);
        for (what, gain) in pairs {
            let _ = writeln!(out, "{what:<width$}  {gain}");
        }
    }
    if !table.notes.is_empty() {
        let _ = writeln!(out);
    }
    for note in &table.notes {
        let _ = writeln!(out, "{note}");
    }
    out
}

/// A table for a Markdown page, with what is to be said of it below.
pub fn markdown(heading: &Heading, table: &SideBySide) -> String {
    let (heads, rows) = cells(table);
    let heads_line: Vec<String> = heads.iter().map(|(name, _)| escaped(name)).collect();
    let rule: Vec<&str> = heads
        .iter()
        .map(|(_, is_number)| if *is_number { "---:" } else { "---" })
        .collect();
    let mut out = format!(
        "{}, {}.\n\n| {} |\n|{}|\n",
        escaped(&heading.title),
        escaped(&heading.workload(table)),
        heads_line.join(" | "),
        rule.join("|")
    );
    for row in rows {
        let row: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    let pairs = pairs(table);
    if pairs.len() > 1 {
        out += "\n| narrower over wider | speed-up |\n|---|---|\n";
        for (what, gain) in pairs {
            let _ = writeln!(out, "| {} | {} |", escaped(&what), escaped(&gain));
        }
    }
    if !table.notes.is_empty() {
        out.push('\n');
    }
    for note in &table.notes {
        let _ = writeln!(out, "- {}", escaped(note));
    }
    out
}

/// Text as Markdown shows it: no character of it makes a table, a link, an element or a line of its own.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '|' | '*' | '`' | '[' | ']' | '\\' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn dash() -> String {
    "-".to_owned()
}

type Figure = (&'static str, fn(&Row) -> Option<Spread>);
const FIGURES: [Figure; 6] = [
    ("qps", |row| row.qps),
    ("prompt_tps", |row| row.prompt_tps),
    ("decode_tps", |row| row.decode_tps),
    ("latency_p50_seconds", |row| row.p50),
    ("latency_p95_seconds", |row| row.p95),
    ("ttft_p50_seconds", |row| row.ttft_p50),
];

/// For spreadsheets, a row each.
pub fn csv(table: &SideBySide) -> String {
    let names = [
        "precision",
        "deployment",
        "model",
        "vllm_version",
        "workload_id",
        "runs",
        "left_out",
    ];
    let figures = FIGURES.iter().flat_map(|(name, _)| {
        [String::new(), "_low".into(), "_high".into()].map(|end| format!("{name}{end}"))
    });
    let gains = ["reference", "speedup", "speedup_lower", "speedup_upper"];
    let head = names.iter().map(|name| (*name).to_owned());
    let head = head
        .chain(figures)
        .chain(gains.iter().map(|name| (*name).to_owned()));
    let reference = table.rows.get(table.reference).map(|row| row.label.clone());
    let mut out = line(head);
    for row in &table.rows {
        let precision = row.precision.as_ref();
        let names = [
            precision
                .map(|precision| precision.name.clone())
                .unwrap_or_default(),
            row.deployment.clone(),
            row.model.clone(),
            row.vllm_version.clone().unwrap_or_default(),
            row.shape.workload_id.clone(),
            row.runs.to_string(),
            row.left_out.to_string(),
        ];
        let figures = FIGURES.iter().flat_map(|(_, of)| {
            let spread = of(row);
            let range = spread.and_then(|spread| spread.range);
            [
                number(spread.map(|spread| spread.median)),
                number(range.map(|range| range.0)),
                number(range.map(|range| range.1)),
            ]
        });
        let gain = GainJson::of(&row.gain);
        let gains = [
            reference.clone().unwrap_or_default(),
            number(gain.ratio),
            number(gain.lower),
            number(gain.upper),
        ];
        out += &line(names.into_iter().chain(figures).chain(gains));
    }
    out
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[derive(Serialize)]
struct TableJson<'a> {
    schema: &'a str,
    title: &'a str,
    workload: Option<&'a str>,
    reference: Option<String>,
    rows: Vec<RowJson<'a>>,
    pairs: Vec<PairJson>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct RowJson<'a> {
    precision: Option<&'a str>,
    /// Whether only the model's name suggests the precision.
    precision_is_guess: bool,
    deployment: Option<&'a str>,
    model: &'a str,
    vllm_version: Option<&'a str>,
    workload_id: &'a str,
    requests: u32,
    concurrency: u32,
    max_tokens: Option<u32>,
    runs: usize,
    left_out: usize,
    qps: Option<SpreadJson>,
    prompt_tps: Option<SpreadJson>,
    decode_tps: Option<SpreadJson>,
    latency_p50_seconds: Option<SpreadJson>,
    latency_p95_seconds: Option<SpreadJson>,
    ttft_p50_seconds: Option<SpreadJson>,
    completion_tokens_mean: Option<f64>,
    speedup: GainJson,
}

/// The median over the runs, and where nine in ten of them lie.
#[derive(Serialize)]
struct SpreadJson {
    median: f64,
    low: Option<f64>,
    high: Option<f64>,
}

#[derive(Serialize)]
struct PairJson {
    precision: String,
    over: String,
    speedup: GainJson,
}

#[derive(Serialize)]
struct GainJson {
    ratio: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    is_reference: bool,
    /// Why something of it is null.
    why: Option<String>,
}

impl GainJson {
    fn of(gain: &Gain) -> Self {
        let interval = match gain {
            Gain::Known(speedup) => Some((speedup.lower, speedup.upper)),
            _ => None,
        };
        Self {
            ratio: gain.ratio(),
            lower: interval.map(|interval| interval.0),
            upper: interval.map(|interval| interval.1),
            is_reference: *gain == Gain::Reference,
            why: gain.why().map(str::to_owned),
        }
    }
}

fn spread(spread: Option<Spread>) -> Option<SpreadJson> {
    spread.map(|spread| SpreadJson {
        median: spread.median,
        low: spread.range.map(|range| range.0),
        high: spread.range.map(|range| range.1),
    })
}

/// For other programs, schema `vllm-prober/comparison/v1`.
///
/// # Errors
/// When a figure has no form in JSON.
pub fn json(heading: &Heading, table: &SideBySide) -> Result<String, serde_json::Error> {
    let name = |place: usize| table.rows.get(place).map(|row| row.label.clone());
    let rows = table.rows.iter().map(|row| {
        let precision = row.precision.as_ref();
        RowJson {
            precision: precision.map(|precision| precision.name.as_str()),
            precision_is_guess: precision.is_some_and(|precision| precision.is_guess),
            deployment: Some(row.deployment.as_str()).filter(|name| !name.is_empty()),
            model: &row.model,
            vllm_version: row.vllm_version.as_deref(),
            workload_id: &row.shape.workload_id,
            requests: row.shape.requests,
            concurrency: row.shape.concurrency,
            max_tokens: row.shape.max_tokens,
            runs: row.runs,
            left_out: row.left_out,
            qps: spread(row.qps),
            prompt_tps: spread(row.prompt_tps),
            decode_tps: spread(row.decode_tps),
            latency_p50_seconds: spread(row.p50),
            latency_p95_seconds: spread(row.p95),
            ttft_p50_seconds: spread(row.ttft_p50),
            completion_tokens_mean: row.completion_tokens,
            speedup: GainJson::of(&row.gain),
        }
    });
    let pairs = table.pairs.iter().map(|pair| PairJson {
        precision: name(pair.narrow).unwrap_or_default(),
        over: name(pair.wide).unwrap_or_default(),
        speedup: GainJson::of(&pair.gain),
    });
    serde_json::to_string_pretty(&TableJson {
        schema: SCHEMA,
        title: &heading.title,
        workload: heading.workload.as_deref(),
        reference: name(table.reference),
        rows: rows.collect(),
        pairs: pairs.collect(),
        notes: &table.notes,
    })
}

/// Such as `48 runs, 3 left out`.
pub fn runs_in_words(row: &Row) -> String {
    match row.left_out {
        0 => counted(row.runs, "run"),
        n => format!("{}, {n} left out", counted(row.runs, "run")),
    }
}
