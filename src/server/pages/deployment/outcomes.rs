//! What came of the buttons that were pressed last. The page that tells it is another one than the form was sent to,
//! so that to load it again presses nothing again; its address has the number of what it tells.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::posted::{Button, Term};
use crate::judges::Act;
use crate::lifecycle::Intervened;
use crate::server::pages::finding::name;
use crate::server::pages::quantity::instant;

/// Outcomes that are kept.
const MOST: usize = 64;

/// What came of a button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    number: i64,
    deployment: String,
    /// When it was pressed.
    pub(super) at: Timestamp,
    /// What came of it, in sentences.
    pub(super) text: String,
}

/// The last outcomes.
#[derive(Debug)]
pub(in crate::server) struct Outcomes(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    next: i64,
    outcomes: VecDeque<Outcome>,
}

impl Outcomes {
    /// None yet. The numbers begin with the start of the program: those of an earlier one are not given again.
    pub(in crate::server) fn since(start: Timestamp) -> Self {
        Self(Mutex::new(Kept {
            next: start.as_millisecond(),
            outcomes: VecDeque::new(),
        }))
    }

    /// Keeps one, and tells its number.
    pub(super) fn keep(&self, deployment: &str, text: String, at: Timestamp) -> i64 {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = kept.next;
        kept.next += 1;
        kept.outcomes.truncate(MOST - 1);
        kept.outcomes.push_front(Outcome {
            number,
            deployment: deployment.to_owned(),
            at,
            text,
        });
        number
    }

    /// The one of that number, if it is of that deployment and still known.
    pub(super) fn of(&self, deployment: &str, number: &str) -> Option<Outcome> {
        let number: i64 = number.parse().ok()?;
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = kept.outcomes.iter();
        let is_it = |one: &&Outcome| one.number == number && one.deployment == deployment;
        all.find(is_it).cloned()
    }
}

/// What is told of runs that were asked for or cut.
pub(super) fn of_runs(button: Button, workloads: &[String]) -> String {
    let (run, it) = match workloads {
        [_] => ("run", "It"),
        _ => ("runs", "They"),
    };
    let names = workloads.join(", ");
    match (button, workloads) {
        (Button::Cancel, [_]) => format!("The run of {names} was cut. It leaves no trace."),
        (Button::Cancel, _) => format!("The runs of {names} were cut. They leave no trace."),
        _ => format!(
            "Asked for the {run} of {names}. {it} will start as soon as the lane is free, and stand below at the end."
        ),
    }
}

/// What is told of an intervention.
pub(super) fn of_intervention(act: Act, done: &[Intervened], now: Timestamp) -> String {
    let said_of: Vec<String> = done
        .iter()
        .map(|done| {
            let measures: Vec<_> = done.measures.iter().copied().map(name).collect();
            format!("{} ({})", done.workload, measures.join(", "))
        })
        .collect();
    let said_of = said_of.join("; ");
    let mut text = match act {
        Act::Acknowledge(_) => match act.until() {
            Some(end) => format!(
                "Acknowledged until {}: the verdict of {said_of}.",
                instant(end, now)
            ),
            None => format!(
                "Acknowledged as the {}: the level of {said_of}.",
                Term::Baseline.meaning().trim_start_matches("this is the ")
            ),
        },
        Act::Pin => format!("Pinned the present level as the baseline of {said_of}."),
        Act::Unpin => {
            format!("Unpinned: there is no baseline until ten more clean runs of {said_of}.")
        }
    };
    if done.iter().any(|done| !done.stored) {
        text += " It is not on the disk yet: it is stored as soon as the history works, and without a history it is \
                 forgotten at the end of the program.";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measure;
    use crate::verdict::Settlement;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_outcome_is_told_of_its_deployment_while_it_is_among_the_last() {
        let now = at("2026-03-01T12:00:00Z");
        let outcomes = Outcomes::since(now);
        let first = outcomes.keep("a", "one".to_owned(), now);
        let told = |deployment, number: i64| {
            let found = outcomes.of(deployment, &number.to_string());
            found.map(|outcome| outcome.text)
        };
        assert_eq!(told("a", first).as_deref(), Some("one"));
        assert_eq!(told("b", first), None);
        assert_eq!(told("a", first + 1), None);
        for nonsense in ["", "x", "-", "99999999999999999999", "<script>"] {
            assert_eq!(outcomes.of("a", nonsense), None, "{nonsense}");
        }
        for n in 1..MOST {
            outcomes.keep("b", n.to_string(), now);
        }
        assert!(told("a", first).is_some());
        outcomes.keep("b", "one more".to_owned(), now);
        assert_eq!(told("a", first), None);
        let restarted = Outcomes::since(at("2026-03-01T12:00:01Z"));
        assert!(restarted.keep("a", String::new(), now) > first + 64);
    }

    #[test]
    fn it_is_told_in_sentences() {
        let now = at("2026-03-01T12:00:00Z");
        let done = |workload: &str, stored| Intervened {
            workload: workload.to_owned(),
            measures: vec![Measure::DecodeTokensRate, Measure::E2eP50],
            stored,
        };
        let until = Act::Acknowledge(Settlement::Until(at("2026-03-01T13:00:00Z")));
        let rebaseline = Act::Acknowledge(Settlement::Rebaseline);
        let two = ["burst".to_owned(), "long".to_owned()];
        let told = [
            of_runs(Button::Run, &two[..1]),
            of_runs(Button::Run, &two),
            of_runs(Button::Cancel, &two[..1]),
            of_runs(Button::Cancel, &two),
            of_intervention(until, &[done("burst", true)], now),
            of_intervention(rebaseline, &[done("burst", true), done("long", true)], now),
            of_intervention(Act::Pin, &[done("burst", true)], now),
            of_intervention(Act::Unpin, &[done("burst", false)], now),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }
}
