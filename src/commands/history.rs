//! `history`: what is stored, for people and for other programs; and runs of other files put into it.
//!
//! All of it works while the daemon runs: readers do not wait for its writing, and writing takes turns.

mod events;
mod export;
mod import;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::printed::print;
use crate::history::Reader;

/// What the `history` command is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober history list --deployment qwen3-32b-nvfp4 --limit 5\n  \
    vllm-prober history export --format csv --out runs.csv"
)]
pub struct HistoryArgs {
    /// The directory of the history, as `serve` has it
    #[arg(
        long = "storage.path",
        default_value = "data",
        value_name = "DIRECTORY",
        global = true
    )]
    storage_path: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List runs, newest first
    List(show::ListArgs),
    /// Show one run
    Show(show::ShowArgs),
    /// List what changed where deployments run, and what people said of verdicts
    Events(events::EventsArgs),
    /// Write runs as JSON Lines or CSV, oldest first
    Export(export::ExportArgs),
    /// Store runs of other files: this program's JSON, results of `vllm bench serve` and of the reference's script
    Import(import::ImportArgs),
}

/// Which runs.
#[derive(Args, Debug)]
struct Selection {
    /// Of this deployment only
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
    /// Of this workload only
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
}

/// Does what it is told with the history.
pub async fn run(args: HistoryArgs) -> ExitCode {
    let storage = &args.storage_path;
    let done = match args.command {
        Command::List(list) => list.run(storage).await,
        Command::Show(show) => show.run(storage).await,
        Command::Events(events) => events.run(storage).await,
        Command::Export(export) => export.run(storage).await,
        Command::Import(import) => import.run(storage).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("vllm-prober: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn reader(storage: &std::path::Path) -> Result<Reader, String> {
    Reader::open(storage)
        .await
        .map_err(|error| error.to_string())
}
