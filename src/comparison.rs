//! Deployments of one family side by side: what each reaches, and how many times as fast as another that is.
//!
//! Figures of a row and its speed-up stand for the same runs, the present level of the deployment. A speed-up
//! without an interval says so: one is made by the statistics of the verdict, or not at all.

mod replay;
mod row;
mod story;

use std::fmt;

pub use self::replay::{Change, Replay, SeriesRun, VerdictBegun};
use self::row::row;
pub use self::row::{Precision, Row, Shape, Spread};
pub use self::story::Story;
use crate::report::RunJson;
use crate::verdict::{PresentLevel, Speedup, speedup, tokens_agree};

/// Clean runs that a level needs before its speed-up has an interval.
const LEAST_RUNS: usize = 10;

/// One deployment that is to be compared.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Its name; empty for a file of another program, which has none.
    pub deployment: String,
    /// As it was declared; absent when it is to be told from the runs.
    pub precision: Option<Precision>,
    /// The judges' view of all its runs.
    pub level: Option<PresentLevel>,
    /// The runs that it is told by, the latest last: those that [`Replay::shown`] names.
    pub runs: Vec<RunJson>,
    /// Runs since the first of these that do not count.
    pub left_out: usize,
}

/// How many times as fast one row is as another.
#[derive(Clone, Debug, PartialEq)]
pub enum Gain {
    /// It is the other.
    Reference,
    /// With its 95 % interval.
    Known(Speedup),
    /// The ratio of the medians, without an interval, and why.
    Rough {
        /// Above 1 is faster.
        ratio: f64,
        /// Why there is no interval.
        why: String,
    },
    /// There is none, and why.
    Unknown {
        /// Why.
        why: String,
    },
}

impl Gain {
    /// The ratio, if there is one. The reference has none: it would be 1 by definition.
    pub fn ratio(&self) -> Option<f64> {
        match self {
            Self::Known(speedup) => Some(speedup.ratio),
            Self::Rough { ratio, .. } => Some(*ratio),
            Self::Reference | Self::Unknown { .. } => None,
        }
    }

    /// What is missing, and why.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Rough { why, .. } | Self::Unknown { why } => Some(why),
            Self::Reference | Self::Known(_) => None,
        }
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference => f.write_str("reference"),
            Self::Known(speedup) => write!(f, "{speedup}"),
            Self::Rough { ratio, .. } => write!(f, "{ratio:.3}x, no interval"),
            Self::Unknown { .. } => f.write_str("-"),
        }
    }
}

/// A narrower precision against a wider one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The place of the narrower one among the rows.
    pub narrow: usize,
    /// The place of the wider one.
    pub wide: usize,
    /// How many times as fast the narrower one is.
    pub gain: Gain,
}

/// The whole comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct SideBySide {
    /// The narrowest precision first.
    pub rows: Vec<Row>,
    /// The place of the row that others are compared with.
    pub reference: usize,
    /// Each precision against each wider one.
    pub pairs: Vec<Pair>,
    /// What a reader must know to read the rows rightly.
    pub notes: Vec<String>,
}

/// Why there is no comparison.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCompared {
    /// There are no runs at all.
    #[error("there are no runs to compare")]
    Empty,
    /// No row has that precision or that name.
    #[error("no row is called {wanted:?}; there are {}", .known.join(", "))]
    Reference {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: Vec<String>,
    },
}

impl SideBySide {
    /// Compares `contestants` with the one whose precision or name is `reference`, by default the one of the
    /// widest known precision. Those without any run are left out.
    ///
    /// # Errors
    /// When there is nothing to compare, or nothing that is called `reference`.
    pub fn of(contestants: Vec<Contestant>, reference: Option<&str>) -> Result<Self, NotCompared> {
        let rows = contestants
            .into_iter()
            .filter_map(|contestant| Some((row(&contestant)?, contestant.level)));
        let mut rows: Vec<(Row, Option<PresentLevel>)> = rows.collect();
        rows.sort_by(|(one, _), (other, _)| {
            let key = |row: &Row| (row.width(), row.name(), row.deployment.clone());
            key(one).cmp(&key(other))
        });
        label(&mut rows);
        let reference = match reference {
            Some(wanted) => named(&rows, wanted)?,
            None => widest(&rows).ok_or(NotCompared::Empty)?,
        };
        let gains: Vec<Gain> = (0..rows.len())
            .map(|place| match place == reference {
                true => Gain::Reference,
                false => gain(&rows[place], &rows[reference]),
            })
            .collect();
        let pairs = pairs(&rows);
        let rows: Vec<Row> = rows
            .into_iter()
            .zip(gains)
            .map(|((row, _), gain)| Row { gain, ..row })
            .collect();
        let notes = notes(&rows, &pairs);
        Ok(Self {
            rows,
            reference,
            pairs,
            notes,
        })
    }
}

/// Gives every row what people call it. Two of one precision are told apart by their names.
fn label(rows: &mut [(Row, Option<PresentLevel>)]) {
    let names: Vec<String> = rows.iter().map(|(row, _)| row.name()).collect();
    for ((row, _), name) in rows.iter_mut().zip(&names) {
        let is_unique = names.iter().filter(|other| *other == name).count() == 1;
        let own = match row.deployment.as_str() {
            "" => &row.model,
            deployment => deployment,
        };
        row.label = match is_unique || own == name {
            true => name.clone(),
            false => format!("{name} ({own})"),
        };
    }
}

fn named(rows: &[(Row, Option<PresentLevel>)], wanted: &str) -> Result<usize, NotCompared> {
    let is_it = |row: &Row| {
        let precision = row.precision.as_ref();
        row.deployment == wanted
            || row.model == wanted
            || precision.is_some_and(|precision| precision.name.eq_ignore_ascii_case(wanted))
    };
    rows.iter()
        .position(|(row, _)| is_it(row))
        .ok_or_else(|| match rows {
            [] => NotCompared::Empty,
            rows => NotCompared::Reference {
                wanted: wanted.to_owned(),
                known: rows.iter().map(|(row, _)| row.label.clone()).collect(),
            },
        })
}

/// The row of the widest precision that is known and that has figures.
fn widest(rows: &[(Row, Option<PresentLevel>)]) -> Option<usize> {
    let has_figures = |place: &usize| rows[*place].0.decode_tps.is_some();
    let known = |place: &usize| rows[*place].0.width() != u32::MAX;
    let places = || (0..rows.len()).rev();
    places()
        .filter(has_figures)
        .find(known)
        .or_else(|| places().find(has_figures))
        .or_else(|| places().next())
}

fn pairs(rows: &[(Row, Option<PresentLevel>)]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (narrow, one) in rows.iter().enumerate() {
        for (wide, other) in rows.iter().enumerate() {
            let (bits, others) = (one.0.width(), other.0.width());
            if bits < others && others != u32::MAX {
                pairs.push(Pair {
                    narrow,
                    wide,
                    gain: gain(one, other),
                });
            }
        }
    }
    pairs
}

fn gain(
    (one, level): &(Row, Option<PresentLevel>),
    (reference, reference_level): &(Row, Option<PresentLevel>),
) -> Gain {
    let unknown = |why: String| Gain::Unknown { why };
    let (Some(rate), Some(reference_rate)) = (one.decode_tps, reference.decode_tps) else {
        let which = if one.decode_tps.is_none() {
            one
        } else {
            reference
        };
        return unknown(format!("{} has no run that counts", which.label));
    };
    if !one.shape.is_like(&reference.shape) {
        return unknown(other_workload(&one.shape, &reference.shape));
    }
    let tokens = one.completion_tokens.zip(reference.completion_tokens);
    let Some((tokens, reference_tokens)) = tokens else {
        return unknown("how long the answers were is not known".to_owned());
    };
    if !tokens_agree(tokens, reference_tokens) {
        return unknown(format!(
            "answers of {tokens:.1} and of {reference_tokens:.1} completion tokens differ by more than 1 %, so their speeds are not compared"
        ));
    }
    if let (Some(level), Some(reference_level)) = (level, reference_level)
        && let Some(speedup) = speedup((level, tokens), (reference_level, reference_tokens))
    {
        return Gain::Known(speedup);
    }
    Gain::Rough {
        ratio: rate.median / reference_rate.median,
        why: format!(
            "no interval: it takes {LEAST_RUNS} clean runs on each side, and there are {} here and {} of {}",
            one.runs, reference.runs, reference.label
        ),
    }
}

fn other_workload(one: &Shape, other: &Shape) -> String {
    if one.to_string() != other.to_string() {
        return format!("another workload: {one}, and not {other}");
    }
    match (one.is_known(), other.is_known()) {
        (true, true) => format!(
            "another workload: the ids {} and {} differ, in prompt or settings",
            one.workload_id, other.workload_id
        ),
        _ => "the prompt of one is not known, so it may be another workload; measure both with `vllm-prober run`"
            .to_owned(),
    }
}

fn notes(rows: &[Row], pairs: &[Pair]) -> Vec<String> {
    let mut notes = Vec::new();
    let of_rows = rows.iter().filter_map(|row| {
        let why = row.gain.why()?;
        Some(format!("{}: {why}.", row.label))
    });
    notes.extend(of_rows);
    for pair in pairs {
        if matches!(&pair.gain, Gain::Known(speedup) if speedup.is_inverted()) {
            let (narrow, wide) = (&rows[pair.narrow].label, &rows[pair.wide].label);
            notes.push(format!(
                "The order is inverted: {narrow} is slower than {wide}, and not by chance."
            ));
        }
    }
    if rows.len() > 1 && rows.iter().any(|row| !row.shape.is_known()) {
        notes.push(
            "Files of other programs do not tell their prompt; it is taken to be the same in all of them."
                .to_owned(),
        );
    }
    let guesses = rows.iter().filter_map(|row| row.precision.as_ref());
    if guesses.clone().any(|precision| precision.is_guess) {
        notes.push("A precision with `?` is only suggested by the model's name.".to_owned());
    }
    if guesses.count() < rows.len() {
        notes.push("The precision of a row without one is not known.".to_owned());
    }
    if rows.len() == 1 {
        notes.push("There is only one to look at, and nothing to compare it with.".to_owned());
    }
    notes
}

/// Such as `1 run` and `2 runs`.
pub fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests;
