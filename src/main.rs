//! The command line of the prober: picks the command, and leaves the rest to it.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use vllm_prober::commands::{
    ack, backtest, baseline, check, compare, demo, health, history, report, run, serve, shell,
    simulate, status,
};

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("VLLM_PROBER_REVISION"),
    ", ",
    env!("VLLM_PROBER_RUSTC"),
    ")"
);

/// A Prometheus exporter and continuous prober for vLLM deployments
#[derive(Debug, Parser)]
#[command(name = "vllm-prober", version = VERSION, after_help = "Try it:\n  vllm-prober demo")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Probe every configured deployment on a schedule, and expose what was measured
    Serve(serve::ServeArgs),
    /// Show how every deployment of a running daemon is, those that want attention first
    Status(status::StatusArgs),
    /// Read a configuration file and print every mistake in it
    Check(check::CheckArgs),
    /// Run the workload once, now, against one server
    Run(run::RunArgs),
    /// List, show, export and import stored runs
    History(history::HistoryArgs),
    /// Judge runs of the past, to learn what verdicts there would have been
    Backtest(backtest::BacktestArgs),
    /// Tell a running daemon that a verdict was seen
    Ack(ack::AckArgs),
    /// Show what verdicts are compared with, or pin another baseline
    Baseline(baseline::BaselineArgs),
    /// Show the deployments of a family, or result files, side by side
    Compare(compare::CompareArgs),
    /// Write a page on a family: the comparison, charts, and what each change did
    Report(report::ReportArgs),
    /// Simulate a vLLM deployment
    Simulate(simulate::SimulateArgs),
    /// Probe three simulated deployments and show what comes of it
    Demo(demo::DemoArgs),
    /// Ask a running daemon whether it is ready
    Health(health::HealthArgs),
    /// Print what completes the command line in a shell
    Completions(shell::CompletionsArgs),
    /// Print or write the manual pages
    Man(shell::ManArgs),
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(args) => serve::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Check(args) => check::run(&args),
        Command::Run(args) => run::run(args).await,
        Command::History(args) => history::run(args).await,
        Command::Backtest(args) => backtest::run(args).await,
        Command::Ack(args) => ack::run(args).await,
        Command::Baseline(args) => baseline::run(args).await,
        Command::Compare(args) => compare::run(args).await,
        Command::Report(args) => report::run(args).await,
        Command::Simulate(args) => simulate::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Health(args) => health::run(args).await,
        Command::Completions(args) => shell::completions(&args, Arguments::command()),
        Command::Man(args) => shell::man(&args, Arguments::command()),
    }
}
