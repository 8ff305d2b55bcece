//! What the demo shows meanwhile: the last run of each deployment, and how far the story has come.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use console::{Term, measure_text_width, truncate_str};
use jiff::Timestamp;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::{DRIVERS, RUNS_BEFORE, SLOWER, slower};
use crate::board::{Board, ProbeStatus, Snapshot};
use crate::server::{last_run_in_words, verdict_in_words};
use crate::statistics::Figures;

/// Shows the table until `stop`: redrawn in place on a terminal, in a pipe whenever a run has finished.
pub(super) async fn show(board: Arc<Board>, stop: CancellationToken) {
    let live = std::io::stdout().is_terminal();
    let mut drawn_lines = 0;
    let mut runs_seen = 0;
    let mut ticks = interval(Duration::from_millis(500));
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let snapshot = board.snapshot();
        let runs = snapshot.probes.iter().map(|probe| probe.totals.runs).sum();
        if !live && runs == runs_seen {
            continue;
        }
        runs_seen = runs;
        let columns = live.then(|| Term::stdout().size_checked()).flatten();
        let columns = columns.map_or(usize::MAX, |(_, columns)| columns.max(20).into());
        let table = table(&snapshot, columns);
        let mut out = std::io::stdout().lock();
        if live && drawn_lines > 0 {
            // Up to the table's first line, and clear from there.
            let _ = write!(out, "\x1b[{drawn_lines}A\x1b[J");
        }
        let _ = writeln!(out, "{table}");
        let _ = out.flush();
        drawn_lines = table.lines().count();
    }
}

/// No line is longer than `columns`: one that a terminal wraps would be two to move up over.
fn table(snapshot: &Snapshot, columns: usize) -> String {
    let mut lines = vec![format!(
        "{:<18}{:<11}{:>8}{:>15}{:>9}{:>9}{:>9}  {}",
        "deployment", "precision", "QPS", "decode tok/s", "p50 s", "p95 s", "TTFT s", "state"
    )];
    lines.extend(snapshot.probes.iter().map(|probe| row(probe)));
    for line in &mut lines {
        *line = truncate_str(line, columns, "…").into_owned();
    }
    lines.extend(wrapped(&story(snapshot), columns));
    lines.join("\n")
}

/// What has happened, and what the verdict says of it.
fn story(snapshot: &Snapshot) -> String {
    let (name, slowdown) = SLOWER;
    let probe = slower(snapshot);
    let verdict = probe.and_then(|probe| {
        let status = snapshot.deployments.get(&probe.deployment.name);
        verdict_in_words(probe, status.map(AsRef::as_ref), now())
    });
    if let Some(verdict) = verdict {
        return format!("{name}: {verdict}");
    }
    if probe.is_none_or(|probe| probe.totals.runs <= RUNS_BEFORE) {
        return format!(
            "After {RUNS_BEFORE} runs of each, {name} gets another driver and becomes slower."
        );
    }
    format!(
        "{name}: driver {} makes every step {:.0} % longer. The verdict comes after six runs or so.",
        DRIVERS.1,
        (slowdown - 1.0) * 100.0
    )
}

/// The words of `text` in lines of no more than `columns`.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            line.push_str(word);
        } else if measure_text_width(line) + 1 + measure_text_width(word) <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn row(probe: &ProbeStatus) -> String {
    let figures = probe
        .last
        .as_ref()
        .and_then(|last| last.outcome.summary())
        .and_then(|summary| summary.figures.as_ref());
    let cell = |of: fn(&Figures) -> Option<f64>, digits: usize| {
        figures
            .and_then(of)
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    format!(
        "{:<18}{:<11}{:>8}{:>15}{:>9}{:>9}{:>9}  {}",
        probe.deployment.name,
        probe.deployment.precision.as_deref().unwrap_or("-"),
        cell(|f| Some(f.qps), 3),
        cell(|f| Some(f.decode_tps), 1),
        cell(|f| Some(f.latency.p50), 3),
        cell(|f| Some(f.latency.p95), 3),
        cell(|f| Some(f.ttft?.p50), 4),
        doing(probe),
    )
}

/// What the last run came to, and what happens now.
fn doing(probe: &ProbeStatus) -> String {
    let now = now();
    let wait = probe
        .next_run
        .map(|slot| slot.duration_since(now).as_secs().max(0));
    let last = last_run_in_words(probe, u32::MAX, now);
    match wait {
        _ if probe.in_progress => format!("{last}, running"),
        Some(wait) => format!("{last}, next run in {wait} s"),
        None => last,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is shown is as of the moment of looking"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_wrapped_between_words() {
        let told = "driver 580 → 590, 95 % interval 4.6 to 5.6 %";
        assert_eq!(
            wrapped(told, 20),
            ["driver 580 → 590, 95", "% interval 4.6 to", "5.6 %"]
        );
        assert_eq!(wrapped(told, usize::MAX), [told]);
        assert_eq!(wrapped("longer than that", 3), ["longer", "than", "that"]);
    }
}
