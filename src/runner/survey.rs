//! Finds out what a deployment runs on: asks its server, and whoever else was named to know.
//!
//! Every source may fail, and most do not exist somewhere. Then less is known, and nothing else happens: a run
//! is never held up by more than the time limit of one look.

mod exporter;
mod local;
mod server;

use std::sync::Arc;

use futures_util::future::join_all;
use tracing::debug;

use super::notes::Notes;
use crate::client::watch::Watch;
use crate::deployment::{Deployment, EnvironmentSources};
use crate::environment::{EnvironmentField, EnvironmentSource, Finding};
use crate::reading::Reading;

/// What came of asking a source, or why nothing did.
type Answer = Result<Vec<Finding>, String>;

/// All that can be found out by asking.
pub(super) async fn survey(
    deployment: Arc<Deployment>,
    watch: Watch,
    notes: Notes,
) -> Vec<Finding> {
    let EnvironmentSources {
        from_server,
        from_metrics,
        from_file,
        from_command,
        nvml,
        ..
    } = &deployment.environment;
    let pages = join_all(from_metrics.iter().map(|page| exporter::read(&watch, page)));
    let (server, pages, file, command, nvml) = tokio::join!(
        async {
            if *from_server {
                server::ask(&watch, deployment.model.as_deref()).await
            } else {
                [Ok(Vec::new()), Ok(Vec::new())]
            }
        },
        pages,
        async {
            match from_file {
                Some(path) => local::read_file(path).await,
                None => Ok(Vec::new()),
            }
        },
        async {
            match from_command {
                Some(command) => local::run_command(command).await,
                None => Ok(Vec::new()),
            }
        },
        async {
            match nvml {
                Some(index) => local::ask_nvml(*index).await,
                None => Ok(Vec::new()),
            }
        },
    );
    let (mut findings, mut untold) = (declared(&deployment), Vec::new());
    for answer in server.into_iter().chain(pages).chain([file, command, nvml]) {
        match answer {
            Ok(found) => findings.extend(found),
            Err(why) => {
                untold.push(why.clone());
                debug!(deployment = %deployment.name, why, "a source of the environment told nothing");
            }
        }
    }
    survey_told(&notes, &findings, &untold);
    findings
}

/// Notes what came of it: the measuring thread may be at work, and waits for a lock at most once.
fn survey_told(notes: &Notes, findings: &[Finding], untold: &[String]) {
    let told = format!("environment: {} facts found out", findings.len());
    let untold = untold.iter().map(|why| format!("; not told: {why}"));
    notes.add(untold.fold(told, |told, why| told + &why));
}

/// What the operator says.
fn declared(deployment: &Deployment) -> Vec<Finding> {
    let precision = deployment.precision.iter();
    let precision = precision.map(|precision| (&EnvironmentField::Precision, precision));
    precision
        .chain(&deployment.environment.declared)
        .filter_map(|(field, value)| Finding::new(*field, value, EnvironmentSource::Operator))
        .collect()
}

/// What the server's own metrics tell of its configuration.
pub(super) fn of_reading(reading: &Reading) -> Vec<Finding> {
    let config = &reading.cache_config;
    [
        (EnvironmentField::KvCacheDtype, &config.dtype),
        (EnvironmentField::BlockSize, &config.block_size),
        (EnvironmentField::KvBlocks, &config.blocks),
    ]
    .into_iter()
    .filter_map(|(field, value)| Finding::new(field, value.as_deref()?, EnvironmentSource::Metrics))
    .collect()
}
