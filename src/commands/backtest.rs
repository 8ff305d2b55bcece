//! `backtest`: the product's own verdict on runs of the past, to learn what it would have said.

mod stored;
mod table;

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use self::stored::Asked;
use self::table::Table;
use crate::config::finding::counted;
use crate::measure::{Measure, Tolerances};
use crate::verdict::{Judge, JudgedRun};

/// What the `backtest` command is told.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLE)]
pub struct BacktestArgs {
    /// A CSV file of runs; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "history")]
    csv: Option<PathBuf>,

    /// Judge the stored runs instead
    #[arg(long, conflicts_with = "csv")]
    history: bool,

    /// The directory of the history, as `serve` has it
    #[arg(
        long = "storage.path",
        default_value = "data",
        value_name = "DIRECTORY",
        requires = "history"
    )]
    storage_path: PathBuf,

    /// Of this deployment only
    #[arg(long, value_name = "NAME", requires = "history")]
    deployment: Option<String>,

    /// Of this workload only
    #[arg(long, value_name = "NAME", requires = "history")]
    workload: Option<String>,

    /// What is judged of stored runs
    #[arg(
        long,
        value_name = "NAME",
        default_value = Measure::DecodeTokensRate.label(),
        value_parser = measure,
        requires = "history"
    )]
    measure: Measure,

    /// The change that is borne, as a share of the value; without it 0.03, and 0.1 for ttft_p50
    #[arg(long, value_name = "SHARE", value_parser = share)]
    tolerance: Option<f64>,

    /// Tell on standard error how many series, runs and verdicts there were
    #[arg(long)]
    summary: bool,
}

const EXAMPLE: &str = "\
Example:
  vllm-prober backtest --csv runs.csv --summary
  vllm-prober backtest --history --deployment qwen3-32b-nvfp4 --tolerance 0.05 --summary

The file's first line names its columns, in any order: series, run, value, fingerprint and, if it is known,
contaminated (1 if others used the server, else 0). More is better; an empty value is an invalid run. The runs of
a series are in order, and series come one after another.

Prints a line `series,run,regressed` or `series,run,improved` for each verdict, with the run after which it was
first known. Of stored runs the series is `deployment/workload`, and the run is its id.

Exit status: 0 if all runs were judged, 1 if they could not be read.";

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if 0.0 < share && share < 1.0 => Ok(share),
        _ => Err("a share lies between 0 and 1; 3 % is 0.03".to_owned()),
    }
}

fn measure(name: &str) -> Result<Measure, String> {
    Measure::named(name).ok_or_else(|| {
        let all: Vec<_> = Measure::ALL.iter().map(|measure| measure.label()).collect();
        format!("there are the measures {}", all.join(", "))
    })
}

/// A run of the past, wherever it was kept.
#[derive(Clone, Debug, PartialEq)]
struct PastRun {
    series: String,
    run: u64,
    /// More is better; `None` for an invalid run.
    value: Option<f64>,
    fingerprint: String,
    /// Whether others used the server; `None` when that was not seen.
    contaminated: Option<bool>,
}

/// What was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    series: usize,
    runs: usize,
    alarms: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let series = match self.series {
            1 => "1 series".to_owned(),
            many => format!("{many} series"),
        };
        let (runs, alarms) = (counted(self.runs, "run"), counted(self.alarms, "alarm"));
        write!(f, "{series}, {runs}, {alarms}")?;
        if self.runs > 0 {
            let rate = 1000.0 * self.alarms as f64 / self.runs as f64;
            write!(f, ", {rate:.2} alarms per 1,000 runs")?;
        }
        Ok(())
    }
}

/// Judges the runs and prints the verdicts.
pub async fn run(args: BacktestArgs) -> ExitCode {
    let mut tally = Tally::default();
    let (name, result) = match &args.csv {
        Some(csv) => {
            let name = if csv == Path::new("-") {
                "standard input".into()
            } else {
                csv.display().to_string()
            };
            (name, of_table(csv, &args, &mut tally))
        }
        None => {
            let asked = Asked {
                deployment: args.deployment.clone(),
                workload: args.workload.clone(),
                measure: args.measure,
                tolerances: Tolerances::new(
                    args.tolerance.map(|tolerance| (args.measure, tolerance)),
                ),
            };
            let judged =
                stored::judge(&args.storage_path, &asked, &mut io::stdout(), &mut tally).await;
            (args.storage_path.display().to_string(), judged)
        }
    };
    if let Err(error) = result {
        // Whoever reads the verdicts may have seen enough.
        let is_broken_pipe = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe);
        if !is_broken_pipe {
            eprintln!("error: {name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    if args.summary {
        eprintln!("{tally}");
    }
    ExitCode::SUCCESS
}

fn of_table(csv: &Path, args: &BacktestArgs, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
    let headline = Measure::DecodeTokensRate;
    let tolerance = args.tolerance.unwrap_or(headline.default_tolerance());
    let table = Table::new(open(csv)?)?;
    judge(table, tolerance, &mut io::stdout().lock(), tally)
}

fn open(path: &Path) -> Result<Box<dyn Read>, Box<dyn Error>> {
    Ok(if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path)?)
    })
}

/// Judges runs, a series after another, and writes each verdict as soon as it is known.
fn judge<E: Error + 'static>(
    runs: impl Iterator<Item = Result<PastRun, E>>,
    tolerance: f64,
    out: &mut impl Write,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let mut current: Option<(String, Judge)> = None;
    for past in runs {
        let past = past?;
        if current
            .as_ref()
            .is_none_or(|(series, _)| *series != past.series)
        {
            let judge = Judge::new(Measure::DecodeTokensRate.good(), tolerance);
            current = Some((past.series.clone(), judge));
            tally.series += 1;
        }
        let Some((series, judge)) = &mut current else {
            continue;
        };
        tally.runs += 1;
        let edge = judge.feed(&JudgedRun {
            // No verdict hangs on the time; what is past is told by its number.
            ended_at: Timestamp::UNIX_EPOCH,
            value: past.value,
            contaminated: past.contaminated == Some(true),
            contention_observable: past.contaminated.is_some(),
            fingerprint: &past.fingerprint,
            restarted: false,
        });
        if let Some(edge) = edge {
            tally.alarms += 1;
            let line = format!("{},{}", past.run, edge.verdict.label());
            write_row(out, series, &line)?;
        }
    }
    Ok(())
}

/// Writes a series' name, quoted when CSV asks for it, and the rest of its line.
fn write_row(out: &mut impl Write, series: &str, rest: &str) -> io::Result<()> {
    if series.contains([',', '"', '\n', '\r']) {
        write!(out, "\"{}\"", series.replace('"', "\"\""))?;
    } else {
        write!(out, "{series}")?;
    }
    writeln!(out, ",{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_in_words() {
        let tally = |series, runs, alarms| {
            Tally {
                series,
                runs,
                alarms,
            }
            .to_string()
        };
        assert_eq!(tally(0, 0, 0), "0 series, 0 runs, 0 alarms");
        assert_eq!(
            tally(1, 1, 1),
            "1 series, 1 run, 1 alarm, 1000.00 alarms per 1,000 runs"
        );
        assert_eq!(
            tally(3, 2000, 3),
            "3 series, 2000 runs, 3 alarms, 1.50 alarms per 1,000 runs"
        );
    }

    #[test]
    fn a_series_name_is_quoted_where_it_would_be_misread() {
        let row = |series| {
            let mut out = Vec::new();
            write_row(&mut out, series, "5,improved").unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(row("plain name"), "plain name,5,improved\n");
        assert_eq!(row("a,\"b\""), "\"a,\"\"b\"\"\",5,improved\n");
    }

    #[test]
    fn a_tolerance_is_a_share() {
        assert_eq!(share("0.03"), Ok(0.03));
        for wrong in ["3", "0", "-0.1", "3%", "NaN"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
