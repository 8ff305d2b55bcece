//! `check`: reads a configuration, and tells what is wrong with it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::Config;
use crate::config::finding::counted;

/// The flags of `check`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLE)]
pub struct CheckArgs {
    /// The configuration to read
    #[arg(
        long = "config.file",
        value_name = "FILE",
        default_value = "config/prober.yaml"
    )]
    pub config_file: PathBuf,
}

const EXAMPLE: &str = "\
Example:
  vllm-prober check --config.file config/prober.yaml

Exit status: 0 if the configuration can be used, with or without warnings; 1 if not.";

/// Prints mistakes and warnings to stderr; if there are no mistakes, one line to stdout.
pub fn run(args: &CheckArgs) -> ExitCode {
    match Config::load(&args.config_file) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("{warning}");
            }
            println!("{}: {}", args.config_file.display(), summary(&config));
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::FAILURE
        }
    }
}

fn summary(config: &Config) -> String {
    let probes = config.deployments.iter().map(|probed| probed.probes.len());
    let mut parts = vec![
        counted(config.deployments.len(), "deployment"),
        counted(config.workloads.len(), "workload"),
        counted(probes.sum(), "probe"),
    ];
    if !config.warnings.is_empty() {
        parts.push(counted(config.warnings.len(), "warning"));
    }
    format!("good, with {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_says_whether_the_file_can_be_used() {
        for (file, status) in [
            ("config/prober.yaml", ExitCode::SUCCESS),
            (
                "tests/testdata/config/warning_lane_overcommitted.yaml",
                ExitCode::SUCCESS,
            ),
            (
                "tests/testdata/config/unknown_field.yaml",
                ExitCode::FAILURE,
            ),
            ("absent.yaml", ExitCode::FAILURE),
        ] {
            let args = CheckArgs {
                config_file: file.into(),
            };
            assert_eq!(format!("{:?}", run(&args)), format!("{status:?}"), "{file}");
        }
    }

    #[test]
    fn the_summary_counts_what_is_there() {
        let config = Config::load("config/prober.yaml".as_ref()).unwrap();
        assert_eq!(
            summary(&config),
            "good, with 3 deployments, 2 workloads, 6 probes"
        );
    }
}
