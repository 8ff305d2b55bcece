//! `demo`: the main job in one command, on simulated deployments.
//!
//! Three deployments with the speeds that were published for NVFP4, FP8 and BF16, the daemon that probes
//! them, and after a while a change that makes one of them slower, all in this process and on loopback.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::logging::LogArgs;
use super::run::reference_prompt;
use super::signal;
use crate::board::{Board, ProbeStatus};
use crate::budget::Budget;
use crate::daemon::Daemon;
use crate::deployment::{Deployment, Endpoint, EnvironmentSources};
use crate::environment::EnvironmentField;
use crate::history::{History, Retention};
use crate::prober::{Plan, PlannedProbe, RemovedRuns};
use crate::schedule::{Cadence, Schedule};
use crate::server::last_run_in_words;
use crate::simulator::{Change, Profile, Settings, Simulator};
use crate::statistics::Figures;
use crate::target::Targets;
use crate::workload::{Workload, WorkloadName};

/// Every deployment is probed this often.
const EVERY: Duration = Duration::from_secs(20);

/// After this long one deployment becomes slower.
const SLOWER_AFTER: Duration = Duration::from_secs(90);

/// Which one, and its steps' time as a multiple.
const SLOWER: (&str, f64) = ("qwen3-32b-fp8", 1.08);

/// What the `demo` command is told.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  vllm-prober demo")]
pub struct DemoArgs {
    /// Where to listen; a free port is taken if this one is in use
    #[arg(
        long = "web.listen-address",
        default_value = "127.0.0.1:10016",
        value_name = "ADDRESS"
    )]
    listen_address: String,
    /// How many times faster than real time the simulated deployments run
    #[arg(long, default_value_t = 10.0, value_parser = speedup)]
    speedup: f64,
    /// End by itself after this many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "SECONDS")]
    exit_after: Option<u64>,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs the demo until Ctrl-C.
pub async fn run(args: DemoArgs) -> ExitCode {
    let stop = signal::stop_token();
    match demo(args, stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vllm-prober demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(args: DemoArgs, stop: CancellationToken) -> std::io::Result<()> {
    if !std::io::stderr().is_terminal() {
        // On a terminal the log would run through the table.
        args.log.start();
    }
    let mut simulators = Vec::new();
    for (seed, name) in (1..).zip(Profile::NAMES) {
        let profile = Profile::named(name).expect("a listed profile exists");
        let settings = Settings {
            speedup: args.speedup,
            seed,
            prompt_tokens: Some(110),
            ..Settings::new(profile)
        };
        simulators.push((
            format!("qwen3-32b-{name}"),
            Simulator::start(settings).await?,
        ));
    }

    let listener = match TcpListener::bind(&args.listen_address).await {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            TcpListener::bind("127.0.0.1:0").await?
        }
        listener => listener?,
    };
    let address = listener.local_addr()?;
    introduce(&format!("http://{address}"), args.speedup);

    // It goes with the demo.
    let storage = tempfile::tempdir()?;
    let history = History::open(storage.path())
        .await
        .map_err(std::io::Error::other)?;
    let mut daemon = Daemon::new(
        plan(&simulators),
        "# The demo has no configuration file.\n".to_owned(),
        vec![listener],
    )
    .keeping(history, Retention::default())
    .await
    .map_err(std::io::Error::other)?;
    if address.ip().is_loopback() {
        daemon = daemon.allowing_lifecycle();
    }
    let showing = tokio::spawn(show(daemon.board(), stop.clone()));
    let story = async {
        tokio::time::sleep(SLOWER_AFTER).await;
        make_slower(&simulators);
        std::future::pending::<()>().await;
    };
    let until = async {
        match args.exit_after {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
        stop.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = daemon.run(stop.clone()) => ended?,
        () = story => {}
        () = until => {}
    }
    stop.cancel();
    let _ = showing.await;
    for (_, simulator) in simulators {
        simulator.stop().await?;
    }
    Ok(())
}

fn introduce(address: &str, speedup: f64) {
    println!(
        "Three simulated vLLM deployments of Qwen3-32B are probed about every {} s.",
        EVERY.as_secs()
    );
    println!(
        "Their time runs {speedup} times faster than that of the published benchmark they are calibrated to:"
    );
    println!(
        "divide rates by {speedup}, and multiply latencies by it, to compare with NVFP4 606, FP8 382, BF16 322 tok/s."
    );
    println!();
    println!("  metrics      {address}/metrics");
    println!("  status page  {address}/");
    println!("  JSON         {address}/api/v1/openapi.json");
    println!("  one probe    {address}/probe?target=qwen3-32b-nvfp4");
    println!();
    println!("Ctrl-C ends it.");
    println!();
}

fn plan(simulators: &[(String, Simulator)]) -> Plan {
    let workload = Arc::new(Workload::reference(reference_prompt()));
    let probes = simulators.iter().map(|(name, simulator)| {
        let url = simulator.base_url().parse().expect("an address is a URL");
        let precision = name.rsplit('-').next().unwrap_or_default();
        let deployment = Deployment {
            family: Some("qwen3-32b".to_owned()),
            precision: Some(precision.to_owned()),
            environment: EnvironmentSources {
                declared: BTreeMap::from([(EnvironmentField::Gpu, "simulated".to_owned())]),
                ..EnvironmentSources::default()
            },
            ..Deployment::new(name, Endpoint::new(url))
        };
        PlannedProbe {
            deployment: Arc::new(deployment),
            workload: Arc::clone(&workload),
            schedule: Schedule::new(Cadence::Every(EVERY), Duration::ZERO, Vec::new(), name),
        }
    });
    Plan {
        probes: probes.collect(),
        max_concurrent_runs: 1,
        budget: Budget::default(),
        stale_after: 3,
        shutdown_grace: Duration::ZERO,
        removed_runs: RemovedRuns::default(),
        targets: Targets {
            workloads: vec![Arc::new(sign_of_life())],
            ..Targets::default()
        },
        histogram_bounds: None,
    }
}

/// What `/probe` replays.
fn sign_of_life() -> Workload {
    Workload {
        name: WorkloadName::new("canary"),
        requests: 1,
        concurrency: 1,
        max_tokens: 16,
        ..Workload::reference("Hello.".to_owned())
    }
}

fn make_slower(simulators: &[(String, Simulator)]) {
    let (name, slowdown) = SLOWER;
    if let Some((_, simulator)) = simulators.iter().find(|(simulated, _)| simulated == name) {
        let change = Change {
            slowdown: Some(slowdown),
            ..Change::default()
        };
        simulator
            .controls()
            .apply(change)
            .expect("a slowdown of a few percent is in range");
    }
}

/// Shows the table until `stop`: redrawn in place on a terminal, in a pipe whenever a run has finished.
async fn show(board: Arc<Board>, stop: CancellationToken) {
    let live = std::io::stdout().is_terminal();
    let start = Instant::now();
    let mut drawn_lines = 0;
    let mut runs_seen = 0;
    let mut ticks = interval(Duration::from_millis(500));
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let snapshot = board.snapshot();
        let runs = snapshot.probes.iter().map(|probe| probe.totals.runs).sum();
        if !live && runs == runs_seen {
            continue;
        }
        runs_seen = runs;
        let table = table(&snapshot.probes, start.elapsed() >= SLOWER_AFTER);
        let mut out = std::io::stdout().lock();
        if live && drawn_lines > 0 {
            // Up to the table's first line, and clear from there.
            let _ = write!(out, "\x1b[{drawn_lines}A\x1b[J");
        }
        let _ = writeln!(out, "{table}");
        let _ = out.flush();
        drawn_lines = table.lines().count();
    }
}

fn table(probes: &[Arc<ProbeStatus>], slower: bool) -> String {
    let mut lines = vec![format!(
        "{:<18}{:<11}{:>8}{:>15}{:>9}{:>9}{:>9}  {}",
        "deployment", "precision", "QPS", "decode tok/s", "p50 s", "p95 s", "TTFT s", "state"
    )];
    lines.extend(probes.iter().map(|probe| row(probe)));
    lines.push(if slower {
        let (name, slowdown) = SLOWER;
        format!(
            "{name}: every step now takes {:.0} % longer, as after a bad driver; its next runs show it.",
            (slowdown - 1.0) * 100.0
        )
    } else {
        format!(
            "After {} s one of them becomes slower.",
            SLOWER_AFTER.as_secs()
        )
    });
    lines.join("\n")
}

fn row(probe: &ProbeStatus) -> String {
    let figures = probe
        .last
        .as_ref()
        .and_then(|last| last.outcome.summary())
        .and_then(|summary| summary.figures.as_ref());
    let cell = |of: fn(&Figures) -> Option<f64>, digits: usize| {
        figures
            .and_then(of)
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    format!(
        "{:<18}{:<11}{:>8}{:>15}{:>9}{:>9}{:>9}  {}",
        probe.deployment.name,
        probe.deployment.precision.as_deref().unwrap_or("-"),
        cell(|f| Some(f.qps), 3),
        cell(|f| Some(f.decode_tps), 1),
        cell(|f| Some(f.latency.p50), 3),
        cell(|f| Some(f.latency.p95), 3),
        cell(|f| Some(f.ttft?.p50), 4),
        doing(probe),
    )
}

/// What the last run came to, and what happens now.
fn doing(probe: &ProbeStatus) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the wait for the next run is shown as of now"
    )]
    let now = Timestamp::now();
    let wait = probe
        .next_run
        .map(|slot| slot.duration_since(now).as_secs().max(0));
    let last = last_run_in_words(probe, u32::MAX, now);
    match wait {
        _ if probe.in_progress => format!("{last}, running"),
        Some(wait) => format!("{last}, next run in {wait} s"),
        None => last,
    }
}

fn speedup(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.1..=1000.0).contains(value))
        .ok_or_else(|| "a number from 0.1 to 1000".to_owned())
}
