//! `demo`: the main job in one command, on simulated deployments.
//!
//! Three deployments with the speeds that were published for NVFP4, FP8 and BF16, the daemon that probes them, and
//! after a while another driver that makes one of them slower, until the verdict says so: all in this process and on
//! loopback.

mod table;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::logging::LogArgs;
use super::run::reference_prompt;
use super::signal;
use crate::board::{ProbeStatus, Snapshot};
use crate::budget::Budget;
use crate::daemon::Daemon;
use crate::deployment::{Deployment, Endpoint, EnvironmentSources};
use crate::environment::EnvironmentField;
use crate::history::{History, Retention};
use crate::prober::{Plan, PlannedProbe, RemovedRuns};
use crate::schedule::{Cadence, Schedule};
use crate::simulator::{Change, Profile, Settings, Simulator};
use crate::target::Targets;
use crate::workload::{Workload, WorkloadName};

/// Every deployment is probed this often.
const EVERY: Duration = Duration::from_secs(12);

/// After so many runs one deployment gets another driver: enough for a verdict to compare with.
const RUNS_BEFORE: u64 = 12;

/// Which one, and its steps' time as a multiple from then on.
const SLOWER: (&str, f64) = ("qwen3-32b-fp8", 1.08);

/// The driver before and after; no such pair is known to do this.
const DRIVERS: (&str, &str) = ("580.95.05", "590.48.01");

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
    #[arg(long, default_value_t = 15.0, value_parser = speedup)]
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
    let machine = storage.path().join("machine");
    install(&machine, DRIVERS.0)?;
    let history = History::open(storage.path())
        .await
        .map_err(std::io::Error::other)?;
    let mut daemon = Daemon::new(
        plan(&simulators, &machine),
        "# The demo has no configuration file.\n".to_owned(),
        vec![listener],
    )
    .keeping(history, Retention::default())
    .await
    .map_err(std::io::Error::other)?;
    if address.ip().is_loopback() {
        daemon = daemon.allowing_lifecycle();
    }
    let showing = tokio::spawn(table::show(daemon.board(), stop.clone()));
    let board = daemon.board();
    let story = async {
        let mut looks = interval(Duration::from_millis(200));
        let is_ready = |probe: &ProbeStatus| probe.totals.runs >= RUNS_BEFORE && !probe.in_progress;
        while !slower(&board.snapshot()).is_some_and(is_ready) {
            looks.tick().await;
        }
        if let Err(error) = make_slower(&simulators, &machine) {
            warn!(%error, "the other driver could not be installed");
        }
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

fn plan(simulators: &[(String, Simulator)], machine: &Path) -> Plan {
    let workload = Arc::new(Workload::reference(reference_prompt()));
    let probes = simulators.iter().map(|(name, simulator)| {
        let url = simulator.base_url().parse().expect("an address is a URL");
        let precision = name.rsplit('-').next().unwrap_or_default();
        let deployment = Deployment {
            family: Some("qwen3-32b".to_owned()),
            precision: Some(precision.to_owned()),
            environment: EnvironmentSources {
                declared: BTreeMap::from([(EnvironmentField::Gpu, "simulated".to_owned())]),
                from_file: (name == SLOWER.0).then(|| machine.to_owned()),
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

/// Writes down what the machine of the one deployment runs on, as an operator's file has it.
fn install(machine: &Path, driver: &str) -> std::io::Result<()> {
    let fresh: PathBuf = machine.with_extension("new");
    std::fs::write(&fresh, format!("driver: {driver}\n"))?;
    std::fs::rename(fresh, machine)
}

fn make_slower(simulators: &[(String, Simulator)], machine: &Path) -> std::io::Result<()> {
    let (name, slowdown) = SLOWER;
    if let Some((_, simulator)) = simulators.iter().find(|(simulated, _)| simulated == name) {
        let change = Change {
            slowdown: Some(slowdown),
            // A driver is changed while the server is down.
            restart: true,
            ..Change::default()
        };
        simulator
            .controls()
            .apply(change)
            .expect("a slowdown of a few percent is in range");
    }
    install(machine, DRIVERS.1)
}

/// The probe of the deployment that becomes slower.
fn slower(snapshot: &Snapshot) -> Option<&ProbeStatus> {
    let mut probes = snapshot.probes.iter();
    let found = probes.find(|probe| probe.deployment.name.as_str() == SLOWER.0);
    found.map(AsRef::as_ref)
}

fn speedup(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.1..=1000.0).contains(value))
        .ok_or_else(|| "a number from 0.1 to 1000".to_owned())
}
