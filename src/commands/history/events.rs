//! `history events`: what changed where deployments run, and what people said of verdicts, in the order of time.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::{print, reader};
use crate::history::{EnvironmentChange, StoredIntervention};
use crate::measure::Measure;

/// What `history events` is told.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  vllm-prober history events --deployment qwen3-32b-nvfp4")]
pub(super) struct EventsArgs {
    /// Of this deployment only
    #[arg(long, value_name = "NAME")]
    deployment: Option<String>,
}

impl EventsArgs {
    pub(super) async fn run(self, storage: &Path) -> Result<(), String> {
        let mut reader = reader(storage).await?;
        let deployment = self.deployment.as_deref();
        let changes = reader.environment_changes(deployment).await;
        let mut said = reader
            .interventions(None)
            .await
            .map_err(|error| error.to_string())?;
        said.retain(|said| deployment.is_none_or(|one| one == said.series.deployment));
        let changes = changes.map_err(|error| error.to_string())?;
        let mut lines: Vec<_> = changes.iter().map(changed).collect();
        lines.extend(said.iter().map(intervened));
        if lines.is_empty() {
            eprintln!("There are no such events.");
            return Ok(());
        }
        lines.sort();
        let lines: Vec<_> = lines
            .into_iter()
            .map(|(at, line)| format!("{}  {line}\n", at.strftime("%Y-%m-%dT%H:%M:%SZ")))
            .collect();
        print(&lines.concat())
    }
}

fn changed(change: &EnvironmentChange) -> (Timestamp, String) {
    let fields: Vec<_> = change
        .fields
        .iter()
        .map(|field| format!("{}: {} → {}", field.field, field.before, field.after))
        .collect();
    let what = format!(
        "{:<26}environment  {}",
        change.deployment,
        fields.join("; ")
    );
    (change.at, what)
}

fn intervened(said: &StoredIntervention) -> (Timestamp, String) {
    let what = &said.intervention;
    let until = what
        .act
        .until()
        .map_or_else(String::new, |end| format!(" until {end}"));
    let line = format!(
        "{:<26}{:<13}{}, {}{until}, by {}: {}",
        said.series.deployment,
        what.act.label(),
        said.series.workload,
        what.measure.map_or("all measures", Measure::label),
        what.by,
        what.why
    );
    (what.at, line)
}
