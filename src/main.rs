//! The command line of the prober.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vllm_prober::commands::run;

/// A Prometheus exporter and continuous prober for vLLM deployments
#[derive(Debug, Parser)]
#[command(name = "vllm-prober", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the workload once, now, against one server
    Run(run::RunArgs),
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(args) => run::run(args).await,
    }
}
