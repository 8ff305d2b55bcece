//! Closes the log of each run with what it came to, and puts it where it can be read.

use jiff::Timestamp;

use super::{Finished, Prober, Ticket};
use crate::agenda::Event;
use crate::guard::Hold;
use crate::run_log::{Cause, Ending};
use crate::runner::{Notes, RunError};
use crate::statistics::Summary;

impl Prober {
    /// Begins the log of the run that the slot comes to.
    pub(super) fn begin_notes(&mut self, probe: usize, slot: Timestamp, now: Timestamp) -> Notes {
        let cause = if self.ordered.remove(&self.tickets[probe]) {
            Cause::Order
        } else {
            Cause::Schedule
        };
        let planned = &self.plan.probes[probe];
        let notes = Notes::begin(&planned.deployment, &planned.workload, cause);
        let late = now.duration_since(slot).as_secs_f64();
        notes.add(match cause {
            Cause::Order => format!("ordered at {slot:.3}, started {late:.3} s later"),
            _ => format!("due at {slot:.3}, started {late:.3} s later"),
        });
        notes
    }

    /// Closes the log of a run that has ended; what a guard held back is closed by [`Self::close_held`].
    pub(super) fn close_log(&self, notes: &Notes, outcome: &Result<Finished, RunError>) {
        let ending = match outcome {
            Ok(finished) => {
                notes.add(in_words(&finished.summary));
                if self.recorder.is_some() {
                    notes.add("handed to the history");
                }
                ending_of(&finished.summary)
            }
            Err(RunError::Held(_)) => return,
            Err(RunError::Cut) => {
                notes.add("cut short: it is not recorded");
                Ending::Cut
            }
            Err(why) => {
                notes.add(format!("no run: {why}"));
                Ending::Failed
            }
        };
        self.board.logs().push(notes.close(ending).into());
    }

    /// Closes the log of a run that a guard held back, and tells what became of its slot.
    pub(super) fn close_held(&self, notes: &Notes, hold: Hold, event: Option<Event>) {
        notes.add(format!("held back: {hold}"));
        notes.add(match event {
            Some(Event::Deferred { until, .. }) => format!("put off until {until:.3}"),
            _ => "skipped: this slot comes to no run".to_owned(),
        });
        self.board.logs().push(notes.close(Ending::Held).into());
    }

    /// Remembers that the next run of these probes was asked for.
    pub(super) fn note_order(&mut self, probes: &[usize]) {
        let tickets = probes.iter().map(|probe| self.tickets[*probe]);
        self.ordered.extend(tickets.collect::<Vec<Ticket>>());
    }
}

/// How a run ended that has a summary.
pub(super) fn ending_of(summary: &Summary) -> Ending {
    if summary.is_valid() {
        Ending::Valid
    } else {
        Ending::Invalid
    }
}

/// What a run amounts to, in a line.
pub(super) fn in_words(summary: &Summary) -> String {
    let wall = summary.wall.as_secs_f64();
    let counts = format!("{} completed, {} failed", summary.completed, summary.failed);
    match &summary.figures {
        Some(figures) => format!(
            "valid: {counts} in {wall:.3} s; {:.3} requests/s, {:.1} tokens/s, latency p50 {:.3} s",
            figures.qps, figures.decode_tps, figures.latency.p50
        ),
        None => {
            let reasons = summary.invalid_reasons.iter();
            let reasons: Vec<_> = reasons
                .map(|reason| format!("{} ({})", reason.label(), reason.meaning()))
                .collect();
            format!("not valid: {counts} in {wall:.3} s; {}", reasons.join("; "))
        }
    }
}
