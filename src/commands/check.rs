//! `check`: reads a configuration, and tells what is wrong with it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::finding::counted;
use crate::config::{Config, Listed, MOST_TARGETS, WebConfig};

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
    /// The web configuration to read as well
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
}

const EXAMPLE: &str = "\
Example:
  vllm-prober check --config.file config/prober.yaml

Exit status: 0 if all that is read can be used, with or without warnings; 1 if not.";

/// Prints mistakes and warnings to stderr; for a file without mistakes, one line to stdout.
pub fn run(args: &CheckArgs) -> ExitCode {
    let web = args.web_config_file.as_deref().map(check_web);
    match (check(args), web) {
        (true, None | Some(true)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn check_web(path: &Path) -> bool {
    match WebConfig::load(path) {
        Ok(web) => {
            for warning in &web.warnings {
                eprintln!("{warning}");
            }
            println!("{}: good", path.display());
            true
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            false
        }
    }
}

fn check(args: &CheckArgs) -> bool {
    match Config::load(&args.config_file) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("{warning}");
            }
            let Some(targets) = check_lists(&config) else {
                return false;
            };
            println!(
                "{}: {}",
                args.config_file.display(),
                summary(&config, targets)
            );
            true
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            false
        }
    }
}

/// Reads the lists that are files, and prints what is wrong with them. The number of targets in them if nothing is;
/// a list that a server has is read by the daemon only.
fn check_lists(config: &Config) -> Option<usize> {
    let (mut targets, mut good) = (0, true);
    for Listed { list, files, found } in config.listed_in_files() {
        for mistakes in files.mistakes() {
            eprintln!("{mistakes}");
            good = false;
        }
        for warning in found.warnings {
            eprintln!("warning: {warning}");
        }
        for refused in &found.refused {
            eprintln!("error: in {}: {refused}", list.name);
        }
        if found.beyond > 0 {
            eprintln!(
                "error: {} has {} targets more than the {MOST_TARGETS} that are probed",
                list.name, found.beyond
            );
        }
        good &= found.refused.is_empty() && found.beyond == 0;
        targets += found.deployments.len();
    }
    good.then_some(targets)
}

/// What there is; `targets` are those of lists.
fn summary(config: &Config, targets: usize) -> String {
    let probes = config.deployments.iter().map(|probed| probed.probes.len());
    let mut parts = vec![
        counted(config.deployments.len(), "deployment"),
        counted(config.workloads.len(), "workload"),
        counted(probes.sum(), "probe"),
    ];
    if !config.sources.is_empty() {
        parts.push(counted(config.sources.len(), "list"));
        parts.push(counted(targets, "listed target"));
    }
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
                web_config_file: None,
            };
            assert_eq!(format!("{:?}", run(&args)), format!("{status:?}"), "{file}");
        }
    }

    #[test]
    fn a_bad_web_configuration_is_bad_whatever_else_is_good() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("web.yml");
        for (text, status) in [("", ExitCode::SUCCESS), ("tls: {}", ExitCode::FAILURE)] {
            std::fs::write(&file, text).unwrap();
            let args = CheckArgs {
                config_file: "config/prober.yaml".into(),
                web_config_file: Some(file.clone()),
            };
            assert_eq!(format!("{:?}", run(&args)), format!("{status:?}"), "{text}");
        }
    }

    #[test]
    fn the_summary_counts_what_is_there() {
        let config = Config::load("config/prober.yaml".as_ref()).unwrap();
        assert_eq!(
            summary(&config, 0),
            "good, with 3 deployments, 2 workloads, 6 probes"
        );
    }
}
