//! `simulate`: one simulated deployment in the foreground.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValue;

use super::signal;
use crate::simulator::{Change, Conditions, Fault, MetricsFault, Profile, Settings, Simulator};

/// A simulated vLLM deployment, for tests, demos and alert drills.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLE)]
pub struct SimulateArgs {
    /// Whose speed it has
    #[arg(long, default_value = "nvfp4", value_parser = Profile::NAMES)]
    profile: String,

    /// Where it listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen_address: SocketAddr,

    /// Lets it listen where other machines can reach it
    #[arg(long)]
    allow_remote: bool,

    /// How many times faster than the profile it runs; figures stay true up to about 20
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    speedup: f64,

    /// The model's name, in place of the profile's
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,

    /// What requests under /v1 must carry as a bearer token
    #[arg(long, value_name = "KEY", env = "VLLM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// Tokens that every prompt counts, in place of an estimate from its length
    #[arg(long, value_name = "TOKENS")]
    prompt_tokens: Option<u32>,

    /// Multiplies the time of every step: 1.08 is 8 % slower
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    slowdown: f64,

    /// Lets the slowdown begin after this many seconds of the machine's clock, as after a bad upgrade
    #[arg(long, value_name = "SECONDS", requires = "slowdown")]
    slowdown_after: Option<u64>,

    /// Sequences of other clients that are kept running
    #[arg(long, value_name = "REQUESTS", default_value_t = 0)]
    foreign_requests: u32,

    /// What goes wrong from the beginning
    #[arg(long, default_value = "none", value_parser = faults())]
    fault: String,

    /// What is wrong with its /metrics from the beginning, beside any other fault
    #[arg(long, value_name = "FAULT", default_value = "ok", value_parser = metrics_faults())]
    metrics: String,

    /// Data-parallel engines behind its address, each as fast as the profile
    #[arg(long, value_name = "ENGINES", default_value_t = 1)]
    engines: u32,

    /// Where the small wander of its speed begins
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

const EXAMPLE: &str = "\
Example: an FP8 deployment that runs ten times as fast, and becomes 8 % slower after a while

  vllm-prober simulate --profile fp8 --listen-address 127.0.0.1:8001 --speedup 10
  curl -d '{\"slowdown\": 1.08}' http://127.0.0.1:8001/simulate

A fault is switched on and off in the same way: {\"fault\": \"hang\"}, then {\"fault\": \"none\"}; one of
/metrics too: {\"metrics\": \"absent\"}, then {\"metrics\": \"ok\"}. {\"restart\": true} restarts the server,
{\"down_for\": 30} does so with half a minute in which it refuses connections.";

/// Simulates one deployment until SIGTERM or SIGINT, and prints its base URL once it answers.
pub async fn run(args: SimulateArgs) -> ExitCode {
    let stop = signal::stop_token();
    match simulate(args, stop.cancelled()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vllm-prober simulate: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn simulate(args: SimulateArgs, stop: impl Future<Output = ()>) -> io::Result<()> {
    let (slowdown, slowdown_after) = (args.slowdown, args.slowdown_after);
    let simulator = Simulator::start(settings(args)?).await?;
    if slowdown_after.is_some() {
        // Started with it, since a factor out of range is refused at the start.
        slow_down(&simulator, 1.0)?;
    }
    println!("{}", simulator.base_url());
    let later = async {
        match slowdown_after {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(stop);
    tokio::select! {
        () = &mut stop => {}
        () = later => {
            slow_down(&simulator, slowdown)?;
            stop.await;
        }
    }
    simulator.stop().await
}

fn slow_down(simulator: &Simulator, factor: f64) -> io::Result<()> {
    let change = Change {
        slowdown: Some(factor),
        ..Change::default()
    };
    let applied = simulator.controls().apply(change);
    applied.map(drop).map_err(io::Error::other)
}

fn settings(args: SimulateArgs) -> io::Result<Settings> {
    let unknown = |what: &str, name: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("unknown {what} {name}"),
        )
    };
    let profile = Profile::named(&args.profile).ok_or_else(|| unknown("profile", &args.profile))?;
    let fault = Fault::named(&args.fault).ok_or_else(|| unknown("fault", &args.fault))?;
    let metrics =
        MetricsFault::named(&args.metrics).ok_or_else(|| unknown("fault", &args.metrics))?;
    Ok(Settings {
        listen: args.listen_address,
        allow_remote: args.allow_remote,
        speedup: args.speedup,
        served_model: args.served_model_name,
        api_key: args.api_key,
        engines: args.engines,
        seed: args.seed,
        prompt_tokens: args.prompt_tokens,
        conditions: Conditions {
            slowdown: args.slowdown,
            foreign_requests: args.foreign_requests,
            fault,
            metrics,
        },
        ..Settings::new(profile)
    })
}

fn faults() -> Vec<PossibleValue> {
    let value = |fault: &Fault| PossibleValue::new(fault.name()).help(fault.meaning());
    Fault::ALL.iter().map(value).collect()
}

fn metrics_faults() -> Vec<PossibleValue> {
    let value = |fault: &MetricsFault| PossibleValue::new(fault.label()).help(fault.meaning());
    MetricsFault::ALL.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn parse(flags: &[&str]) -> Result<Settings, String> {
        let flags = ["simulate"].iter().chain(flags);
        let program = Program::try_parse_from(flags).map_err(|error| error.to_string())?;
        settings(program.args).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_settings() {
        let settings = parse(&[
            "--profile=bf16",
            "--listen-address=127.0.0.1:0",
            "--slowdown=1.5",
            "--fault=no_done",
            "--metrics=silent",
            "--engines=2",
        ])
        .unwrap();
        assert_eq!(settings.profile.name, "bf16");
        assert_eq!(settings.conditions.slowdown, 1.5);
        assert_eq!(settings.conditions.fault, Fault::NoDone);
        assert_eq!(settings.conditions.metrics, MetricsFault::Silent);
        assert_eq!(settings.engines, 2);
        assert!(parse(&["--slowdown-after=5"]).is_err(), "by how much?");
        for wrong in [
            "--profile=int4",
            "--fault=gremlins",
            "--metrics=gremlins",
            "--listen-address=here",
        ] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
    }
}
