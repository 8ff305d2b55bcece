//! Runs from a CSV file: read a row at a time, and strict, since a column that is misread gives verdicts that are
//! merely wrong.

use std::collections::HashSet;
use std::io::Read;

use csv::{ReaderBuilder, StringRecord};
use thiserror::Error;

use super::PastRun;
use crate::config::likeness::closest;

const SERIES: &str = "series";
const RUN: &str = "run";
const VALUE: &str = "value";
const FINGERPRINT: &str = "fingerprint";
const CONTAMINATED: &str = "contaminated";

/// What is wrong with a file, where, and how to mend it.
#[derive(Debug, Error)]
pub(super) enum Fault {
    /// The header lacks a column.
    #[error(
        "line 1: there is no column `{missing}`{}\n  \
         help: the first line names the columns: series,run,value,fingerprint and, if known, contaminated",
        meant(.instead)
    )]
    Header {
        missing: &'static str,
        instead: Option<String>,
    },
    /// The header has a column twice.
    #[error("line 1: the column `{0}` is there twice\n  help: leave one of them out")]
    Twice(&'static str),
    /// The header has what is likely meant for the optional column.
    #[error(
        "line 1: unknown column `{0}`, did you mean `contaminated`?\n  \
         help: write `contaminated`, or leave the column out"
    )]
    Misspelt(String),
    /// A field does not say what its column is for.
    #[error("line {line}, column `{column}`: {problem}\n  help: {mend}")]
    Field {
        line: u64,
        column: &'static str,
        problem: String,
        mend: &'static str,
    },
    /// A line has a field too few, or too many.
    #[error(
        "line {line}: {len} fields, where the first line has {expected}\n  \
         help: write a field for each column, separated by commas; one that holds a comma stands in quotes"
    )]
    Fields { line: u64, len: u64, expected: u64 },
    /// The file cannot be read to its end, or is not text.
    #[error("{0}")]
    Unreadable(csv::Error),
}

impl From<csv::Error> for Fault {
    fn from(error: csv::Error) -> Self {
        match error.kind() {
            csv::ErrorKind::UnequalLengths {
                pos,
                expected_len,
                len,
            } => Self::Fields {
                line: pos.as_ref().map_or(0, csv::Position::line),
                len: *len,
                expected: *expected_len,
            },
            _ => Self::Unreadable(error),
        }
    }
}

fn meant(instead: &Option<String>) -> String {
    instead
        .as_ref()
        .map_or(String::new(), |name| format!("; is it `{name}`?"))
}

/// The places of the columns that are read; others are passed over.
struct Columns {
    series: usize,
    run: usize,
    value: usize,
    fingerprint: usize,
    contaminated: Option<usize>,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, Fault> {
        let names: Vec<&str> = header
            .iter()
            .map(|name| name.trim_start_matches('\u{feff}').trim())
            .collect();
        let known = [SERIES, RUN, VALUE, FINGERPRINT, CONTAMINATED];
        let mut unknown = names.iter().filter(|name| !known.contains(name));
        let find = |column| {
            let mut places = (0..names.len()).filter(|place| names[*place] == column);
            match (places.next(), places.next()) {
                (_, Some(_)) => Err(Fault::Twice(column)),
                (place, None) => Ok(place),
            }
        };
        let must = |column: &'static str| {
            find(column)?.ok_or_else(|| Fault::Header {
                missing: column,
                instead: unknown
                    .clone()
                    .find(|name| closest(name, [column].into_iter()).is_some())
                    .map(|name| (*name).to_owned()),
            })
        };
        let columns = Self {
            series: must(SERIES)?,
            run: must(RUN)?,
            value: must(VALUE)?,
            fingerprint: must(FINGERPRINT)?,
            contaminated: find(CONTAMINATED)?,
        };
        let is_misspelt = |name: &&&str| closest(name, known.into_iter()) == Some(CONTAMINATED);
        match unknown.find(is_misspelt) {
            Some(name) if columns.contaminated.is_none() => {
                Err(Fault::Misspelt((*name).to_owned()))
            }
            _ => Ok(columns),
        }
    }
}

/// The runs of a CSV file, in its order, up to its end or its first fault.
pub(super) struct Table<R> {
    reader: csv::Reader<R>,
    columns: Columns,
    row: StringRecord,
    /// The series and the run of the row before.
    last: Option<(String, u64)>,
    ended: HashSet<String>,
    is_over: bool,
}

impl<R: Read> Table<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it cannot be read, or a column is missing.
    pub(super) fn new(source: R) -> Result<Self, Fault> {
        let mut reader = ReaderBuilder::new().from_reader(source);
        let columns = Columns::of(reader.headers()?)?;
        Ok(Self {
            reader,
            columns,
            row: StringRecord::new(),
            last: None,
            ended: HashSet::new(),
            is_over: false,
        })
    }

    fn past_run(&mut self) -> Result<PastRun, Fault> {
        let columns = &self.columns;
        let line = self.row.position().map_or(0, csv::Position::line);
        let text = |place: usize| self.row.get(place).unwrap_or_default().trim();
        let fault = |column, problem, mend| Fault::Field {
            line,
            column,
            problem,
            mend,
        };

        let series = text(columns.series).to_owned();
        let number = text(columns.run);
        let run: u64 = number.parse().map_err(|_| {
            let problem = format!("`{number}` is no number of a run");
            fault(RUN, problem, "count the runs of a series 0, 1, 2 …")
        })?;
        let value = match text(columns.value) {
            "" => None,
            written => {
                let value = written.parse().ok();
                let value = value.filter(|value: &f64| value.is_finite() && *value > 0.0);
                Some(value.ok_or_else(|| {
                    let problem = format!("`{written}` is no value above 0");
                    fault(VALUE, problem, "leave the value of an invalid run empty")
                })?)
            }
        };
        let contaminated = match columns.contaminated.map(text) {
            None => None,
            Some("0") => Some(false),
            Some("1") => Some(true),
            Some(other) => {
                let problem = format!("`{other}` is neither 0 nor 1");
                return Err(fault(
                    CONTAMINATED,
                    problem,
                    "write 1 if others used the server during the run, else 0",
                ));
            }
        };
        let fingerprint = text(columns.fingerprint).to_owned();
        match &self.last {
            Some((last, before)) if *last == series && *before >= run => {
                let problem = format!("run {run} comes after run {before} of the same series");
                return Err(fault(RUN, problem, "sort the runs of each series"));
            }
            Some((last, _)) if *last == series => {}
            _ => {
                if self.ended.contains(&series) {
                    let problem = format!("the series `{series}` had ended before");
                    return Err(fault(SERIES, problem, "write series one after another"));
                }
                self.ended.extend(self.last.take().map(|(last, _)| last));
            }
        }
        self.last = Some((series.clone(), run));
        Ok(PastRun {
            series,
            run,
            value,
            fingerprint,
            contaminated,
        })
    }
}

impl<R: Read> Iterator for Table<R> {
    type Item = Result<PastRun, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = match self.reader.read_record(&mut self.row) {
            Ok(false) => None,
            Ok(true) => Some(self.past_run()),
            Err(error) => Some(Err(error.into())),
        };
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(text: &str) -> Result<Vec<PastRun>, String> {
        let table = Table::new(text.as_bytes()).map_err(|fault| fault.to_string())?;
        table
            .map(|run| run.map_err(|fault| fault.to_string()))
            .collect()
    }

    #[test]
    fn columns_come_in_any_order_and_others_are_passed_over() {
        let read = runs(
            "\u{feff}host,value,run, fingerprint ,contaminated,series\r\nx,606.5,7,\"a,b\",1,s\r\nx,,8,c,0,s\r\n",
        );
        let run = |run, value, fingerprint: &str, contaminated| PastRun {
            series: "s".to_owned(),
            run,
            value,
            fingerprint: fingerprint.to_owned(),
            contaminated: Some(contaminated),
        };
        assert_eq!(
            read.unwrap(),
            [run(7, Some(606.5), "a,b", true), run(8, None, "c", false)]
        );
        let plain = runs("series,run,value,fingerprint\ns,0,1,f\n").unwrap();
        assert_eq!(plain[0].contaminated, None, "nothing is known of it");
    }

    #[test]
    fn every_fault_names_its_place_and_its_mend() {
        let told: Vec<String> = [
            "",
            "series,run,vale,fingerprint\n",
            "series,run,value,fingerprint,run\n",
            "series,run,value,fingerprint,contamined\n",
            "series,run,value,fingerprint\ns,0,1,f\ns,one,1,f\n",
            "series,run,value,fingerprint\ns,0,-3,f\n",
            "series,run,value,fingerprint\ns,0,NaN,f\n",
            "series,run,value,fingerprint,contaminated\ns,0,1,f,yes\n",
            "series,run,value,fingerprint\ns,1,1,f\ns,1,1,f\n",
            "series,run,value,fingerprint\ns,0,1,f\nt,0,1,f\ns,1,1,f\n",
            "series,run,value,fingerprint\ns,0,1\n",
        ]
        .into_iter()
        .map(|text| runs(text).unwrap_err())
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn nothing_is_read_after_a_fault() {
        let text = "series,run,value,fingerprint\ns,x,1,f\ns,1,1,f\n";
        let mut table = Table::new(text.as_bytes()).unwrap();
        assert!(table.next().unwrap().is_err());
        assert!(table.next().is_none());
    }
}
