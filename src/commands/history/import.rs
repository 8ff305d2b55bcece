//! `history import`: runs of files put into the history, each once however often it is imported.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::print;
use crate::history::{Entry, History};
use crate::report::foreign::{self, Told};
use crate::report::lines;

/// Runs that are stored in one transaction: in between the daemon has its turn.
const BATCH: usize = 200;

/// What `history import` is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober history import --deployment qwen3-32b-nvfp4 --workload reference result.json"
)]
pub(super) struct ImportArgs {
    /// JSON of one run, or JSON Lines
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Whose runs they are; goes before what a file says
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
    /// What they replayed; goes before what a file says
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// The workload's id, as `history show` and the daemon's API have it, to vouch that a file of another program is of
    /// exactly that workload: then it is compared with the prober's own runs, and may become their baseline
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload_id: Option<String>,
    /// When the run began, for a file of another program that does not say
    #[arg(long, value_name = "TIME")]
    started_at: Option<Timestamp>,
}

fn workload_id(text: &str) -> Result<String, String> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text.to_ascii_lowercase()).ok_or_else(|| {
        "an id has 16 hexadecimal digits, as `history show --json` has them".to_owned()
    })
}

impl ImportArgs {
    pub(super) async fn run(self, storage: &Path) -> Result<(), String> {
        let told = Told {
            deployment: self.deployment,
            workload: self.workload,
            workload_id: self.workload_id,
            started_at: self.started_at,
        };
        // All files are read before anything is stored: a mistake in the last one leaves nothing half done.
        let mut entries = Vec::new();
        for file in &self.files {
            entries.extend(read(file, &told)?);
        }
        let history = History::open(storage)
            .await
            .map_err(|error| error.to_string())?;
        let mut new = 0;
        for batch in entries.chunks(BATCH) {
            new += history.append(batch).await.map_err(|error| {
                format!("{error}; {new} runs were imported before that, and importing again goes on from there")
            })?;
        }
        history.close().await;
        let known = entries.len() - new;
        print(&format!(
            "{new} runs imported, {known} were there already\n"
        ))
    }
}

/// The runs of a file: one, or one in each line.
fn read(file: &Path, told: &Told) -> Result<Vec<Entry>, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    lines::runs(&text)
        .into_iter()
        .map(|(line, text)| {
            entry(text, told).map_err(|why| format!("{}:{line}: {why}", file.display()))
        })
        .collect()
}

fn entry(text: &str, told: &Told) -> Result<Entry, String> {
    let (run, source) = foreign::read(text, told).map_err(|error| error.to_string())?;
    let wall = Duration::try_from_secs_f64(run.wall_seconds)
        .map_err(|error| format!("wall_seconds {}: {error}", run.wall_seconds))?;
    let ended_at = run
        .started_at
        .checked_add(wall)
        .map_err(|error| format!("started_at {}: {error}", run.started_at))?;
    Entry::new(run, source, ended_at).map_err(|error| error.to_string())
}
