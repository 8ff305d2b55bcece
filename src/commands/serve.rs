//! `serve`: the daemon, from a configuration file to the last answer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use tokio::signal::unix::Signal;
use tracing::{error, info, warn};

use super::logging::LogArgs;
use super::signal;
use super::web::WebArgs;
use crate::config::{Config, Global};
use crate::daemon::{Daemon, Discovery, Loaded, Reload, WebFile, planned};
use crate::history::History;
use crate::prober::Plan;
use crate::server::Front;
use crate::supervisor::Supervisor;
use crate::totals::{Buckets, HistogramBounds};

/// What the `serve` command is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober serve --config.file config/prober.yaml --web.listen-address 127.0.0.1:10016"
)]
pub struct ServeArgs {
    /// The configuration
    #[arg(
        long = "config.file",
        default_value = "config/prober.yaml",
        value_name = "FILE"
    )]
    config_file: PathBuf,
    /// How often the configuration's files are looked at for a change, as 10s or 5m; 0s for never
    #[arg(
        long = "config.watch-interval",
        default_value = "10s",
        value_name = "DURATION",
        value_parser = interval
    )]
    watch_interval: Duration,
    #[command(flatten)]
    web: WebArgs,
    /// The directory of the history; it is created when it is missing
    #[arg(
        long = "storage.path",
        default_value = "data",
        value_name = "DIRECTORY"
    )]
    storage_path: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

fn interval(text: &str) -> Result<Duration, String> {
    let span = text.parse::<SignedDuration>().ok();
    span.and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| "write a duration as 10s or 5m".to_owned())
}

/// Probes and serves until SIGTERM or SIGINT.
pub async fn run(args: ServeArgs) -> ExitCode {
    args.log.start();
    // The handlers stand before anything is announced, so that no signal is lost.
    let (stop, hangups) = (signal::stop_token(), signal::hangups());
    let config = match load(&args.config_file) {
        Ok(config) => config,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::FAILURE;
        }
    };
    let front = args.web.front();
    let web = match args.web.protection(&front) {
        Ok(web) => web,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::FAILURE;
        }
    };
    let ready = ready(&args, config, front, web, hangups);
    let ended = match stop.run_until_cancelled(ready).await {
        Some(Ok(daemon)) => {
            let ended = daemon.run(stop).await;
            ended.map_err(|error| format!("the server failed: {error}"))
        }
        Some(Err(message)) => Err(message),
        None => {
            info!("stopped before it was ready");
            Ok(())
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// A daemon that is ready to run. It may take a while until another process lets go of the history, or the lists are
/// read.
async fn ready(
    args: &ServeArgs,
    config: Config,
    front: Arc<Front>,
    web: Option<WebFile>,
    hangups: Option<Signal>,
) -> Result<Daemon, String> {
    let listeners = args.web.listeners().await?;
    args.web.announce(&listeners, &front);
    let storage = |error| format!("--storage.path {}: {error}", args.storage_path.display());
    let history = History::open(&args.storage_path).await.map_err(storage)?;
    let Loaded {
        plan,
        sources,
        text,
        retention,
        contents,
    } = loaded(config);
    let watch = Some(args.watch_interval).filter(|interval| !interval.is_zero());
    let (discovery, plan) = Discovery::start(plan, sources, watch).await;
    let file = args.config_file.clone();
    let reload = Reload {
        load: Arc::new(move || load(&file).map(loaded)),
        contents,
        watch,
        hangups,
        discovery,
        web,
    };
    let supervisor =
        Supervisor::from_environment().map_err(|error| format!("NOTIFY_SOCKET: {error}"))?;
    let mut daemon = Daemon::new(plan, text, listeners)
        .following(reload)
        .supervised(supervisor)
        .behind(front)
        .probing(args.web.probes())
        .keeping(history, retention)
        .await
        .map_err(storage)?;
    daemon.board().logs().keep(args.web.run_log_limit);
    if args.web.enable_lifecycle {
        daemon = daemon.allowing_lifecycle();
    }
    Ok(daemon)
}

/// Reads the configuration, and logs its warnings.
fn load(file: &Path) -> Result<Config, String> {
    let config = Config::load(file).map_err(|mistakes| mistakes.to_string())?;
    for warning in &config.warnings {
        warn!(file = %file.display(), line = warning.line(), mend = warning.mend(), "{}", warning.message());
    }
    Ok(config)
}

fn loaded(config: Config) -> Loaded {
    Loaded {
        sources: config.sources.clone(),
        text: config.text.clone(),
        retention: config.global.retention,
        contents: config.contents.clone(),
        plan: plan(config),
    }
}

/// What the configuration asks for.
fn plan(config: Config) -> Plan {
    let Config {
        global,
        deployments,
        targets,
        ..
    } = config;
    Plan {
        probes: deployments.into_iter().flat_map(planned).collect(),
        max_concurrent_runs: global.max_concurrent_runs.get(),
        budget: global.budget,
        stale_after: global.stale_after,
        shutdown_grace: global.shutdown_grace,
        removed_runs: global.removed_runs,
        targets,
        histogram_bounds: histogram_bounds(global),
    }
}

fn histogram_bounds(global: Global) -> HistogramBounds {
    global.request_histograms.then(|| {
        Arc::new(Buckets {
            e2e_latency: global.buckets.e2e,
            time_to_first_token: global.buckets.ttft,
            time_per_output_token: global.buckets.tpot,
        })
    })
}
