//! The comparison of a family as text, CSV, Markdown and JSON. Where a figure is unknown or withheld there is a
//! dash for people, nothing in CSV, and null in JSON.

mod machine;

use std::fmt::Write;

pub use self::machine::{SCHEMA, csv, json};
use crate::comparison::{Row, SideBySide, Spread};

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

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Something per second.
    PerSecond,
    /// Seconds.
    Seconds,
}

/// How figures are told.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// One of them.
    pub figure: fn(f64, Unit) -> String,
    /// What stands behind the name of a column of times: their unit, unless it stands with each of them.
    pub times: &'static str,
}

/// As the reference benchmark tells them.
const AS_REFERENCE: Told = Told {
    figure: |figure, _| format!("{figure:.4}"),
    times: " (s)",
};

/// A column for people.
struct Column {
    name: String,
    is_number: bool,
    cell: Box<dyn Fn(&Row) -> String>,
}

/// The columns of the table, the reference's own first. A column that no row has anything for is left out.
fn columns(table: &SideBySide, told: Told) -> Vec<Column> {
    let text = |name: &str, cell: fn(&Row) -> String| Column {
        name: name.to_owned(),
        is_number: false,
        cell: Box::new(cell),
    };
    let figure = |name: &str, unit: Unit, of: fn(&Row) -> Option<Spread>| Column {
        name: match unit {
            Unit::PerSecond => name.to_owned(),
            Unit::Seconds => format!("{name}{}", told.times),
        },
        is_number: true,
        cell: Box::new(move |row| {
            of(row).map_or_else(dash, |spread| (told.figure)(spread.median, unit))
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
        figure("QPS", Unit::PerSecond, |row| row.qps),
        figure("prompt_tps", Unit::PerSecond, |row| row.prompt_tps),
        figure("decode_tps", Unit::PerSecond, |row| row.decode_tps),
        figure("p50", Unit::Seconds, |row| row.p50),
        figure("p95", Unit::Seconds, |row| row.p95),
        figure("TTFT p50", Unit::Seconds, |row| row.ttft_p50),
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

/// The table's head and rows for people, and which columns are numbers; figures as the reference has them.
pub fn cells(table: &SideBySide) -> (Vec<(String, bool)>, Vec<Vec<String>>) {
    cells_told(table, AS_REFERENCE)
}

/// The same with figures that are told in another way.
pub fn cells_told(table: &SideBySide, told: Told) -> (Vec<(String, bool)>, Vec<Vec<String>>) {
    let columns = columns(table, told);
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
