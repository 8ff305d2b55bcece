//! `status`: the fleet in a terminal, once or as long as someone looks.

mod layout;
mod row;
mod screen;

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::layout::{Room, table};
use self::screen::Screen;
use super::api::DaemonArgs;
use super::printed::print;
use super::signal;
use crate::condition::DeploymentState;
use crate::report::{DeploymentJson, DeploymentsJson};
use crate::server::quantity::{instant, span};

/// Nothing stands.
const WELL: u8 = 0;
/// There was no answer.
const COULD_NOT_ASK: u8 = 1;
/// A verdict stands that nobody has acknowledged, or a deployment is not ok.
const SOMETHING_STANDS: u8 = 2;

/// Clocks that differ by less than this are taken to agree.
const TOO_LITTLE: SignedDuration = SignedDuration::from_secs(3);

/// How often a daemon is asked at most.
const SHORTEST: Duration = Duration::from_millis(100);

/// What the `status` command is told.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct StatusArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Show it again and again, every so often, until Ctrl-C
    #[arg(
        long,
        value_name = "INTERVAL",
        num_args = 0..=1,
        default_missing_value = "5s",
        value_parser = often
    )]
    watch: Option<Duration>,
    /// Deployments of this family only
    #[arg(long, value_name = "NAME")]
    family: Option<String>,
    /// Deployments in this state only
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Option<String>,
    /// Deployments only whose name, family, precision, model, version, driver, GPU or labels have this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

const EXAMPLE: &str = "\
Example:
  vllm-prober status --url http://localhost:10016
  vllm-prober status --watch 2s --family qwen3-32b
  vllm-prober status > /dev/null || echo 'look at the fleet'

The order is that of the Fleet page: what wants attention comes first. In a terminal the table is fitted to its width; in
a pipe nothing is cut and nothing is coloured. NO_COLOR=1 keeps the colours out of a terminal, too.

Exit status: 0 all that is shown is well, 1 the daemon could not be asked, 2 something stands: a regressed verdict that
nobody has acknowledged, or a deployment whose state is not ok. With --watch it is that of the last look.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each deployment
    Table,
    /// The daemon's whole answer, as it came
    Json,
}

fn states() -> PossibleValuesParser {
    PossibleValuesParser::new(DeploymentState::ALL.iter().map(|state| state.label()))
}

fn often(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(SignedDuration::from_secs);
    let span = seconds.or_else(|| text.parse().ok());
    span.and_then(|span| Duration::try_from(span).ok())
        .filter(|often| *often >= SHORTEST)
        .ok_or_else(|| "write how often as 2s or 1m, and not below 100ms".to_owned())
}

/// Shows the fleet.
pub async fn run(args: StatusArgs) -> ExitCode {
    let shown = match args.watch {
        _ if args.format == Format::Json && args.is_narrow() => Err(
            "--format json prints the whole answer; leave out --family, --state and --search"
                .to_owned(),
        ),
        None => args.once().await,
        Some(often) => args.watch(often).await,
    };
    ExitCode::from(shown.unwrap_or_else(|message| {
        eprintln!("vllm-prober: {}", row::clean(&message));
        COULD_NOT_ASK
    }))
}

/// What the daemon answered.
struct Answer {
    /// When, by the clock here.
    at: Timestamp,
    /// How far the daemon's clock is ahead of the one here.
    ahead: SignedDuration,
    json: Box<RawValue>,
    fleet: Vec<DeploymentJson>,
}

impl Answer {
    /// What the daemon's clock shows when the one here shows `here`: what the daemon tells of is told by its clock.
    fn daemon(&self, here: Timestamp) -> Timestamp {
        here.saturating_add(self.ahead).unwrap_or(here)
    }
}

/// How far a clock is ahead that showed `date`, in whole seconds, when the one here showed `at`. What may be the way of
/// the answer is none.
fn ahead(date: Option<Timestamp>, at: Timestamp) -> SignedDuration {
    let ahead = date.map_or(SignedDuration::ZERO, |date| date.duration_since(at));
    if ahead.abs() < TOO_LITTLE {
        SignedDuration::ZERO
    } else {
        ahead
    }
}

impl StatusArgs {
    fn is_narrow(&self) -> bool {
        self.family.is_some() || self.state.is_some() || self.search.is_some()
    }

    async fn ask(&self) -> Result<Answer, String> {
        let answer = self.daemon.get_dated(&["api", "v1", "deployments"]).await?;
        let (json, date): (Box<RawValue>, _) = answer;
        let at = now();
        let all: DeploymentsJson = serde_json::from_str(json.get()).map_err(|error| {
            let daemon = self.daemon.shown();
            format!(
                "{daemon}: the answer cannot be read ({error}); is it a daemon of this version?"
            )
        })?;
        let mut fleet = all.deployments;
        fleet.retain(|deployment| self.wants(deployment));
        // A stable order: what is of one rank stays as it is configured.
        fleet.sort_by_key(|deployment| deployment.overview.rank);
        Ok(Answer {
            at,
            ahead: ahead(date, at),
            json,
            fleet,
        })
    }

    fn wants(&self, deployment: &DeploymentJson) -> bool {
        let of_family = self.family.is_none() || self.family == deployment.family;
        let in_state = self
            .state
            .as_ref()
            .is_none_or(|state| *state == deployment.state);
        let text = self.search.as_ref().map(|text| text.to_lowercase());
        of_family && in_state && text.is_none_or(|text| row::contains(deployment, &text))
    }

    async fn once(&self) -> Result<u8, String> {
        let answer = self.ask().await?;
        let screen = Screen::of_stdout();
        // It is not drawn over, so it may be longer than the terminal.
        let room = Room {
            lines: None,
            ..screen.room()
        };
        print(&self.frame(&answer, None, &room))?;
        Ok(row::worst(&answer.fleet, answer.daemon(answer.at)))
    }

    /// Shows a frame at each interval until it is told to stop.
    async fn watch(&self, often: Duration) -> Result<u8, String> {
        let stop = signal::stop_token_with(screen::restore);
        let mut screen = match self.format {
            Format::Table => Screen::of_stdout(),
            // It is for a program, and may be longer than any terminal.
            Format::Json => Screen::pipe(),
        };
        let mut ticks = interval(often);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: Option<Answer> = None;
        let mut code = COULD_NOT_ASK;
        while let Some(asked) = self.next(&mut ticks, &stop).await {
            let fault = match asked {
                Ok(answer) => {
                    code = row::worst(&answer.fleet, answer.daemon(answer.at));
                    last = Some(answer);
                    None
                }
                Err(message) => {
                    code = COULD_NOT_ASK;
                    Some(message)
                }
            };
            let frame = match (&last, &fault) {
                (Some(answer), fault) => self.frame(answer, fault.as_deref(), &screen.room()),
                (None, fault) => self.without(fault.as_deref().unwrap_or_default(), &screen.room()),
            };
            if !screen.show(&frame)? {
                break;
            }
        }
        Ok(code)
    }

    /// The next answer; `None` once it is told to stop.
    async fn next(
        &self,
        ticks: &mut tokio::time::Interval,
        stop: &CancellationToken,
    ) -> Option<Result<Answer, String>> {
        stop.run_until_cancelled(async {
            ticks.tick().await;
            self.ask().await
        })
        .await
    }

    /// What is shown while there has been no answer yet.
    fn without(&self, fault: &str, room: &Room) -> String {
        match self.format {
            Format::Table => layout::plain(fault, room),
            Format::Json => {
                eprintln!("vllm-prober: {}", row::clean(fault));
                String::new()
            }
        }
    }

    /// What is shown: `fault` says why it is not of now.
    fn frame(&self, answer: &Answer, fault: Option<&str>, room: &Room) -> String {
        if self.format == Format::Json {
            return match fault {
                // What reads JSON is not to be given words, nor old figures.
                Some(fault) => self.without(fault, room),
                None => format!("{}\n", answer.json.get()),
            };
        }
        let now = now();
        let head = heading(answer, self.is_narrow(), fault, now);
        if answer.fleet.is_empty() {
            return layout::plain(&head, room);
        }
        let rows: Vec<row::Row> = answer
            .fleet
            .iter()
            .map(|deployment| row::Row::of(deployment, answer.daemon(now)))
            .collect();
        table(&head, &rows, room)
    }
}

/// Of when it is and how many there are, and whether that is all one can know.
fn heading(answer: &Answer, is_narrow: bool, fault: Option<&str>, now: Timestamp) -> String {
    let number = answer.fleet.len();
    let standing = answer
        .fleet
        .iter()
        .filter(|one| row::stands(one, answer.daemon(answer.at)))
        .count();
    let mut head = match (number, is_narrow) {
        (0, true) => "No deployment matches".to_owned(),
        (0, false) => "No deployment is configured".to_owned(),
        (1, _) => "1 deployment".to_owned(),
        _ => format!("{number} deployments"),
    };
    if number > 0 {
        head += &match standing {
            0 => ", all well".to_owned(),
            _ => format!(", {standing} to look at"),
        };
    }
    let [at, by_then] = [answer.at, now].map(|here| answer.daemon(here));
    head += &format!(", as of {}", instant(at, by_then));
    if !answer.ahead.is_zero() {
        let word = if answer.ahead.is_positive() {
            "ahead of"
        } else {
            "behind"
        };
        // What it showed was told in whole seconds.
        let off = span(answer.ahead.abs() + SignedDuration::from_secs(1));
        head += &format!("\nthe daemon's clock is {off} {word} the one here");
    }
    if let Some(fault) = fault {
        let age = span(now.duration_since(answer.at));
        head += &format!("\nwhat is shown is {age} old: {fault}");
    }
    head
}

#[expect(
    clippy::disallowed_methods,
    reason = "ages are shown as of the moment of looking"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_is_a_duration_or_a_number_of_seconds() {
        assert_eq!(often("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(often("3"), Ok(Duration::from_secs(3)));
        for wrong in ["0", "-1s", "1ms", "soon", ""] {
            assert!(often(wrong).unwrap_err().contains("2s"), "{wrong}");
        }
    }

    #[test]
    fn what_is_old_is_said_to_be_old() {
        let at: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let later = "2026-03-01T12:00:35Z".parse().unwrap();
        let answer = Answer {
            at,
            ahead: SignedDuration::ZERO,
            json: RawValue::from_string("{}".to_owned()).unwrap(),
            fleet: vec![row::tests::deployment("a")],
        };
        let fresh = heading(&answer, false, None, at).replace('\u{a0}', " ");
        assert_eq!(fresh, "1 deployment, all well, as of 12:00 UTC");
        let old = heading(&answer, false, Some("it cannot be reached"), later);
        assert!(
            old.ends_with("what is shown is 35\u{a0}s old: it cannot be reached"),
            "{old}"
        );
    }

    #[test]
    fn what_a_daemon_tells_is_told_by_its_clock() {
        let here: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let there = |text: &str| ahead(Some(text.parse().unwrap()), here);
        assert_eq!(there("2026-03-01T11:59:58Z"), SignedDuration::ZERO);
        assert_eq!(there("2026-03-01T13:00:00Z"), SignedDuration::from_hours(1));
        assert_eq!(ahead(None, here), SignedDuration::ZERO);
        let answer = Answer {
            at: here,
            ahead: there("2026-03-01T13:00:00Z"),
            json: RawValue::from_string("{}".to_owned()).unwrap(),
            fleet: vec![row::tests::deployment("a")],
        };
        let head = heading(&answer, false, None, here).replace('\u{a0}', " ");
        assert!(
            head.ends_with("as of 13:00 UTC\nthe daemon's clock is 60 min ahead of the one here"),
            "{head}"
        );
        // Its last run was at 11:57 by the daemon's clock.
        let row = row::Row::of(&answer.fleet[0], answer.daemon(here));
        let last = &row.cell(row::Column::LastRun).text;
        assert!(last.starts_with("63 min ago"), "{last}");
    }
}
