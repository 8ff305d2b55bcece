//! `baseline`: what a running daemon compares with, and how to make it compare with something else.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::ack::{SaidArgs, report};
use super::api::DaemonArgs;
use crate::report::{DeploymentJson, DeploymentsJson, JudgementJson};

/// What the `baseline` command is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober baseline show qwen3-32b-nvfp4\n  \
    vllm-prober baseline pin qwen3-32b-nvfp4 --why \"the level after the move to H200\""
)]
pub struct BaselineArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the baselines, and how the present level compares with them
    #[command(after_help = "Example:\n  vllm-prober baseline show qwen3-32b-nvfp4")]
    Show(ShowArgs),
    /// Make the present level the baseline, whatever stands
    #[command(
        after_help = "Example:\n  vllm-prober baseline pin qwen3-32b-nvfp4 --why \"the level after the move to H200\"\n\n\
        The clean runs since the last change of level become the baseline; with fewer than 10 of them it grows before it \
        is used."
    )]
    Pin(ChangeArgs),
    /// Forget the baseline, and let the next clean runs become one
    #[command(
        after_help = "Example:\n  vllm-prober baseline unpin qwen3-32b-nvfp4 --why \"the first day was not representative\""
    )]
    Unpin(ChangeArgs),
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// Of this deployment only
    #[arg(value_name = "DEPLOYMENT")]
    deployment: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Args, Debug)]
struct ChangeArgs {
    #[command(flatten)]
    said: SaidArgs,
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Shows or changes baselines.
pub async fn run(args: BaselineArgs) -> ExitCode {
    match args.command {
        Command::Show(args) => match show(&args).await {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("vllm-prober: {message}");
                ExitCode::FAILURE
            }
        },
        Command::Pin(args) => change(&args, "pin", "pinned").await,
        Command::Unpin(args) => change(&args, "unpin", "unpinned").await,
    }
}

async fn change(args: &ChangeArgs, act: &str, done: &str) -> ExitCode {
    let name = &args.said.deployment;
    let path = ["api", "v1", "deployments", name, "baseline", act];
    let answer = args.daemon.post(&path, &args.said.json()).await;
    report(name, done, answer)
}

async fn show(args: &ShowArgs) -> Result<String, String> {
    let all: Vec<DeploymentJson> = match &args.deployment {
        Some(name) => vec![args.daemon.get(&["api", "v1", "deployments", name]).await?],
        None => {
            let all: DeploymentsJson = args.daemon.get(&["api", "v1", "deployments"]).await?;
            all.deployments
        }
    };
    let mut text = format!(
        "{:<26}{:<14}{:<20}{:>12}{:>6}  {:<22}{:>8}  {:<18}{}\n",
        "deployment",
        "workload",
        "measure",
        "baseline",
        "runs",
        "until",
        "change",
        "95 % interval",
        "verdict"
    );
    for deployment in &all {
        for probe in &deployment.probes {
            for (measure, judgement) in &probe.judgements {
                let _ = write!(
                    text,
                    "{:<26}{:<14}{measure:<20}",
                    deployment.name, probe.workload
                );
                line(&mut text, judgement);
            }
        }
    }
    Ok(text)
}

fn line(text: &mut String, judgement: &JudgementJson) {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let compared = judgement.baseline.as_ref();
    let baseline = judgement
        .baseline_median
        .map(|median| format!("{median:.4}"));
    let until = judgement
        .baseline_at
        .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let change = compared.map(|compared| format!("{:+.2} %", 100.0 * (compared.ratio - 1.0)));
    let interval =
        compared.map(|compared| format!("{:.4} to {:.4}", compared.lower, compared.upper));
    let verdict = match (&judgement.verdict, compared) {
        (Some(verdict), _) => match &judgement.acknowledgement {
            Some(acknowledgement) => format!("{verdict}, seen by {}", acknowledgement.by),
            None => verdict.clone(),
        },
        (None, Some(compared)) => compared.decision.clone(),
        (None, None) => "too few runs".to_owned(),
    };
    let _ = writeln!(
        text,
        "{:>12}{:>6}  {:<22}{:>8}  {:<18}{verdict}",
        or_dash(baseline),
        judgement.baseline_runs,
        or_dash(until),
        or_dash(change),
        or_dash(interval),
    );
}
