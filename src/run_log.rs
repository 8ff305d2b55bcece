//! The log of one run: why it was started, what was asked of the server, what failed and why, and how it ended. It
//! is what someone wants to see who has to find out what went wrong.
//!
//! A line is noted at the seams of a run, never while requests are in flight: no token and no request pays for it.
//! What is noted has been masked where it came from, as what the daemon's own log says.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::closed_set::closed_set;
use crate::measurement::RunId;

/// Lines of a log; what comes after them is counted only.
const MOST_LINES: usize = 256;

/// The longest line, in characters.
const LINE_CHARS: usize = 1_000;

closed_set! {
    /// Why a run was started.
    Cause:
    Schedule "schedule" "Its slot on the schedule had come.",
    Order "order" "Someone asked for it before its time.",
    Probe "probe" "Someone asked `/probe` for it, and waited for the outcome.",
}

closed_set! {
    /// How a run ended.
    Ending:
    Valid "valid" "It counts.",
    Invalid "invalid" "It does not count.",
    Failed "failed" "It came to no run.",
    Held "held" "The server's guards held it back, and nothing was sent.",
    Cut "cut" "It was cut short, and is not recorded.",
}

impl Ending {
    /// Whether someone may want to look into it long after.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Invalid | Self::Failed)
    }
}

/// What a log is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The run's id; one that came to no run has one too.
    pub id: RunId,
    /// The deployment's name, or the address of a target that is none.
    pub deployment: String,
    /// The workload's name.
    pub workload: String,
    /// Why it was started.
    pub cause: Cause,
    /// When.
    pub begun_at: Timestamp,
}

/// The lines of a log. Their number and their lengths are bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    kept: Vec<(Duration, String)>,
    left_out: usize,
}

impl Lines {
    /// Adds what was to be told `after` the begin of the run. Control characters are escaped.
    pub fn add(&mut self, after: Duration, text: &str) {
        if self.kept.len() >= MOST_LINES {
            self.left_out += 1;
            return;
        }
        let mut line = String::new();
        for (number, c) in text.chars().enumerate() {
            if number == LINE_CHARS {
                line.push('…');
                break;
            }
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        self.kept.push((after, line));
    }
}

/// The log of a run that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLog {
    /// What it is of.
    pub heading: Heading,
    /// How the run ended.
    pub ending: Ending,
    /// What happened, in the order in which it did.
    pub lines: Lines,
}

impl RunLog {
    /// The log as text, a line for each thing that happened, with the seconds since the begin before it.
    pub fn text(&self) -> String {
        let Self {
            heading,
            ending,
            lines,
        } = self;
        let Heading {
            id,
            deployment,
            workload,
            cause,
            begun_at,
        } = heading;
        let mut text = format!(
            "run: {id}\ndeployment: {deployment}\nworkload: {workload}\ncause: {}\nbegun: {begun_at:.3}\nending: {}\n\n",
            cause.label(),
            ending.label()
        );
        for (after, line) in &lines.kept {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{:+9.3}s  {line}", after.as_secs_f64());
        }
        if lines.left_out > 0 {
            let _ = writeln!(text, "… and {} lines more", lines.left_out);
        }
        text
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let lines = self.lines.kept.iter();
        let lines: usize = lines
            .map(|(_, line)| line.len() + size_of::<(Duration, String)>())
            .sum();
        lines + self.heading.deployment.len() + self.heading.workload.len() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> RunLog {
        let mut kept = Lines::default();
        for (number, line) in lines.iter().enumerate() {
            kept.add(Duration::from_millis(1_500 * number as u64), line);
        }
        RunLog {
            heading: Heading {
                id: RunId("0193".to_owned()),
                deployment: "nvfp4".to_owned(),
                workload: "canary".to_owned(),
                cause: Cause::Schedule,
                begun_at: "2026-03-02T12:00:00.25Z".parse().unwrap(),
            },
            ending: Ending::Invalid,
            lines: kept,
        }
    }

    #[test]
    fn a_log_reads_from_top_to_bottom() {
        let text = log(&["due at noon", "a\nb\u{1b}[31m"]).text();
        let expected = "run: 0193\ndeployment: nvfp4\nworkload: canary\ncause: schedule\n\
                        begun: 2026-03-02T12:00:00.250Z\nending: invalid\n\n   \
                        +0.000s  due at noon\n   +1.500s  a\\nb\\u{1b}[31m\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_log_is_bounded_in_lines_and_in_their_lengths() {
        let long = "ü".repeat(LINE_CHARS + 1);
        let log = log(&vec![long.as_str(); MOST_LINES + 3]);
        let text = log.text();
        assert!(text.ends_with("ü…\n… and 3 lines more\n"), "{text:.300}");
        assert_eq!(text.matches('…').count(), MOST_LINES + 1);
        assert!(
            log.bytes() < MOST_LINES * (2 * LINE_CHARS + 100),
            "{}",
            log.bytes()
        );
    }
}
