//! `ack`: tells a running daemon that a verdict was seen.

use std::process::ExitCode;

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::api::DaemonArgs;
use crate::report::{AcknowledgingJson, IntervenedJson, InterventionJson};

/// What the `ack` command is told.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct AckArgs {
    #[command(flatten)]
    said: SaidArgs,
    /// Silent until then: a while from now as 4h or 2d, or a time as 2027-01-31T08:00:00Z
    #[arg(
        long,
        value_name = "WHEN",
        value_parser = until,
        required_unless_present = "rebaseline",
        conflicts_with = "rebaseline"
    )]
    until: Option<Timestamp>,
    /// The level of the verdict is what is expected from now on, and ends the verdict
    #[arg(long)]
    rebaseline: bool,
    #[command(flatten)]
    daemon: DaemonArgs,
}

const EXAMPLE: &str = "\
Example:
  vllm-prober ack qwen3-32b-nvfp4 --why \"driver 590 costs 5 %, rolled back on Monday\" --until 3d
  vllm-prober ack qwen3-32b-nvfp4 --why \"guided decoding is on now\" --rebaseline

The verdict stays; `vllm_probe_acknowledged` silences its alerts. A further step is a new verdict, and is heard. The
daemon has to run with --web.enable-lifecycle.

Exit status: 0 if a verdict was acknowledged, 1 if not.";

/// Who says what of which verdicts.
#[derive(Args, Clone, Debug)]
pub(super) struct SaidArgs {
    /// The deployment's name
    #[arg(value_name = "DEPLOYMENT")]
    pub(super) deployment: String,
    /// Of this workload only
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Of this measure only, such as decode_tokens_rate
    #[arg(long, value_name = "NAME")]
    measure: Option<String>,
    /// Who says it
    #[arg(long, env = "USER", value_name = "WHO")]
    by: String,
    /// For which reason
    #[arg(long, value_name = "TEXT")]
    why: String,
}

impl SaidArgs {
    /// As the daemon takes it.
    pub(super) fn json(&self) -> InterventionJson {
        InterventionJson {
            workload: self.workload.clone(),
            measure: self.measure.clone(),
            by: self.by.clone(),
            why: self.why.clone(),
        }
    }
}

/// A time, or one that lies so far ahead.
fn until(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let span: Span = text.parse().map_err(|_| {
        "write how long as 4h or 2d, or a time with its zone as 2027-01-31T08:00:00Z".to_owned()
    })?;
    #[expect(
        clippy::disallowed_methods,
        reason = "it is counted from the moment of saying it"
    )]
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let end = now.checked_add(span).map_err(|error| error.to_string())?;
    Ok(end.timestamp())
}

/// Acknowledges.
pub async fn run(args: AckArgs) -> ExitCode {
    let said = AcknowledgingJson::new(args.said.json(), args.until, args.rebaseline);
    let name = &args.said.deployment;
    let path = ["api", "v1", "deployments", name, "acknowledgements"];
    let done = args.daemon.post(&path, &said).await;
    report(name, "acknowledged", done)
}

/// Says what came of an intervention.
pub(super) fn report(
    deployment: &str,
    done: &str,
    answer: Result<Vec<IntervenedJson>, String>,
) -> ExitCode {
    match answer {
        Ok(all) => {
            for one in all {
                let later = if one.stored {
                    ""
                } else {
                    " (not on the disk yet: it is kept in memory until the history can be written)"
                };
                println!(
                    "{done}: {deployment}, {}: {}{later}",
                    one.workload,
                    one.measures.join(", ")
                );
            }
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("vllm-prober: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_time_or_a_while_from_now() {
        let time = "2027-01-31T08:00:00Z";
        assert_eq!(until(time).unwrap().to_string(), time);
        let day = until("1d").unwrap().as_second() - until("0s").unwrap().as_second();
        assert!((86_399..=86_401).contains(&day), "{day}");
        for wrong in ["soon", "4", "2027-01-31"] {
            assert!(until(wrong).unwrap_err().contains("4h"), "{wrong}");
        }
    }
}
