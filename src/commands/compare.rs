//! `compare`: the deployments of a family side by side, as a table.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::family::FamilyArgs;
use super::printed::print;
use crate::report::comparison::{self, Heading};

/// What the `compare` command is told.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct CompareArgs {
    #[command(flatten)]
    family: FamilyArgs,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

const EXAMPLE: &str = "\
Examples:
  vllm-prober compare --family qwen3-32b --reference bf16
  vllm-prober compare nvfp4=bench_nvfp4.json fp8=bench_fp8.json bf16=bench_bf16.json

A row stands for the runs of the deployment's present level: the last 10 to 48 clean ones. Runs that do not count
are left out. A speed-up is told with its 95 % interval from 10 clean runs on each side, without one from fewer, and
only where completion tokens agree within 1 %.

Exit status: 0 if there was something to print, 1 if not.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For other programs, with the spread of each figure
    Json,
    /// For spreadsheets, a row each
    Csv,
    /// For a page
    Markdown,
}

/// Prints the comparison.
pub async fn run(args: CompareArgs) -> ExitCode {
    let done = match args.text().await {
        Ok(text) => print(&text),
        Err(message) => Err(message),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("vllm-prober: {message}");
            ExitCode::FAILURE
        }
    }
}

impl CompareArgs {
    async fn text(&self) -> Result<String, String> {
        let gathered = self.family.gather().await?;
        let table = gathered.compare(&self.family)?;
        let heading = Heading {
            title: gathered.title,
            workload: gathered.workload,
        };
        Ok(match self.format {
            Format::Table => comparison::text(&heading, &table),
            Format::Markdown => comparison::markdown(&heading, &table),
            Format::Csv => comparison::csv(&table),
            Format::Json => {
                comparison::json(&heading, &table).map_err(|error| error.to_string())? + "\n"
            }
        })
    }
}
