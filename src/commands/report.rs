//! `report`: the deployments of a family side by side and over time, as a page to keep or to send.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::family::FamilyArgs;
use super::printed::print;
use crate::report::comparison::Heading;
use crate::report::document::Report;

/// What the `report` command is told.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct ReportArgs {
    #[command(flatten)]
    family: FamilyArgs,
    /// The directory for report.html, report.md and its charts; made if it is missing
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
    /// Days before the latest run that the charts over time show; all runs are judged, whatever this says
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

const EXAMPLE: &str = "\
Examples:
  vllm-prober report --family qwen3-32b --out report
  vllm-prober report --out report nvfp4=bench_nvfp4.json fp8=bench_fp8.json bf16=bench_bf16.json

report.html needs nothing beside it: it can be mailed, printed and read on a phone. report.md shows the charts that
lie beside it as SVG files.

Exit status: 0 if the report was written, 1 if not.";

/// Writes the report, and prints where it is.
pub async fn run(args: ReportArgs) -> ExitCode {
    match args.write().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("vllm-prober: {message}");
            ExitCode::FAILURE
        }
    }
}

impl ReportArgs {
    async fn write(&self) -> Result<(), String> {
        let gathered = self.family.gather().await?;
        let table = gathered.compare(&self.family)?;
        let heading = Heading {
            title: gathered.title,
            workload: gathered.workload,
        };
        let stories = gathered.subjects.into_iter().map(|subject| subject.story);
        let report = Report::new(heading, table, stories.collect(), self.days)
            .map_err(|error| error.to_string())?;
        let failed = |path: &Path, error: std::io::Error| {
            format!(
                "--out {}: {error}; name a directory that can be written",
                path.display()
            )
        };
        std::fs::create_dir_all(&self.out).map_err(|error| failed(&self.out, error))?;
        let pages = [
            ("report.html".to_owned(), report.html()),
            ("report.md".to_owned(), report.markdown()),
        ];
        for (name, text) in report.files().into_iter().chain(pages) {
            let path = self.out.join(name);
            std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
        }
        let shown = |name: &str| self.out.join(name).display().to_string();
        print(&format!(
            "{}\n{}\n",
            shown("report.html"),
            shown("report.md")
        ))
    }
}
