//! `history list` and `history show`: runs for people.

use std::fmt::Write;
use std::path::Path;

use clap::Args;

use super::{Selection, print, reader};
use crate::history::{Order, Page, StoredRun};
use crate::measurement::RunId;
use crate::report::{RunJson, table};

/// What `history list` is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober history list --deployment qwen3-32b-nvfp4 --limit 5"
)]
pub(super) struct ListArgs {
    #[command(flatten)]
    selection: Selection,
    /// Not more than these
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl ListArgs {
    pub(super) async fn run(self, storage: &Path) -> Result<(), String> {
        let page = Page {
            deployment: self.selection.deployment,
            workload: self.selection.workload,
            order: Order::NewestFirst,
            after: None,
            limit: self.limit,
        };
        let mut reader = reader(storage).await?;
        let runs = reader
            .page(&page)
            .await
            .map_err(|error| error.to_string())?;
        let mut text = String::new();
        for run in &runs {
            line(&mut text, run, &read(run)?);
        }
        if runs.is_empty() {
            eprintln!("There are no such runs.");
            return Ok(());
        }
        print(&(heading() + &text))
    }
}

/// Columns of the list: when, what, and the headline figures.
fn heading() -> String {
    format!(
        "{:<21}{:<38}{:<26}{:<14}{:>10}{:>10}{:>10}  {}\n",
        "ended", "run", "deployment", "workload", "tokens/s", "QPS", "p50 (s)", "valid"
    )
}

fn line(text: &mut String, stored: &StoredRun, run: &RunJson) {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let valid = if run.valid {
        "yes".to_owned()
    } else {
        format!("no: {}", run.invalid_reasons.join(", "))
    };
    let _ = writeln!(
        text,
        "{:<21}{:<38}{:<26}{:<14}{:>10}{:>10}{:>10}  {valid}",
        stored.ended_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        stored.id.0,
        run.deployment,
        run.workload.as_deref().unwrap_or("-"),
        number(run.decode_tps, 2),
        number(run.qps, 3),
        number(run.latency_seconds.and_then(|latency| latency.p50), 3),
    );
}

/// What `history show` is told.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  vllm-prober history show 019c1e5a-8f00-7a3e-b1d2-0123456789ab")]
pub(super) struct ShowArgs {
    /// The run, as `history list` names it
    #[arg(value_name = "ID")]
    id: String,
    /// As JSON, with its requests if they are still kept
    #[arg(long)]
    json: bool,
}

impl ShowArgs {
    pub(super) async fn run(self, storage: &Path) -> Result<(), String> {
        let mut reader = reader(storage).await?;
        let id = RunId(self.id.to_ascii_lowercase());
        let stored = reader.run(&id).await.map_err(|error| error.to_string())?;
        let stored = stored.ok_or_else(|| {
            format!(
                "there is no run {}; `vllm-prober history list` has the ids",
                self.id
            )
        })?;
        let run = read(&stored)?;
        if self.json {
            let json = serde_json::to_string_pretty(&run).map_err(|error| error.to_string())?;
            return print(&(json + "\n"));
        }
        print(&format!(
            "{:<26}{}\n{:<26}{}, ended {}\n{}",
            "run",
            stored.id,
            "measured by",
            stored
                .source
                .meaning()
                .trim_end_matches('.')
                .replace('`', ""),
            stored.ended_at,
            table::text(&run)
        ))
    }
}

fn read(stored: &StoredRun) -> Result<RunJson, String> {
    stored
        .read()
        .map_err(|error| format!("run {}: {error}", stored.id))
}
