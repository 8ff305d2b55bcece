//! How a deployment is: from what its last run met, its own word about its health, and its token counters.
//!
//! A server's word is not enough. vLLM's `/health` may go on saying 200 when its engine has hung; only a token
//! shows that it works. And a token that does not come to us may still have gone to others: then the server is
//! not dead, but full.

use std::fmt;

use crate::closed_set::closed_set;
use crate::guard::Hold;
use crate::measurement::{FailureReason, RequestError, RequestRecord, Run};
use crate::observation::{GivenUp, Health};
use crate::reading::Gauge;
use crate::statistics::Summary;

/// Requests of others in the queue, beside none of ours, from which a queue is long.
const LONG_QUEUE: f64 = 10.0;

closed_set! {
    /// How a deployment is.
    DeploymentState:
    Ok "ok" "Tokens come.",
    Saturated "saturated" "Tokens flow, and the queue is long.",
    Wedged "wedged" "It says that it is well, and no token comes.",
    Asleep "asleep" "Its engine sleeps.",
    Down "down" "It does not answer, says that it is not well, or fails every request.",
    Unknown "unknown" "Nothing recent is known, or it answers without serving the probe.",
}

/// A state, and what speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// How the deployment is.
    pub state: DeploymentState,
    /// For people: log and status page, never a label.
    pub evidence: String,
}

impl Condition {
    fn new(state: DeploymentState, evidence: impl fmt::Display) -> Self {
        Self {
            state,
            evidence: evidence.to_string(),
        }
    }

    /// What a finished run shows.
    pub fn after_run(run: &Run, summary: &Summary) -> Self {
        if summary.server.asleep {
            return Self::new(DeploymentState::Asleep, "its metrics say that it sleeps");
        }
        match last_failure(&run.records, run.concurrency) {
            None => serving(run, summary),
            Some(error) => failing(run, summary, error),
        }
    }

    /// What an attempt shows that failed before any request of a run was sent.
    pub fn after_failed_attempt(error: &RequestError) -> Self {
        match error.reason {
            FailureReason::Connect
            | FailureReason::TimeoutConnect
            | FailureReason::Disconnect
            | FailureReason::TimeoutTotal
            | FailureReason::Http5xx => Self::new(DeploymentState::Down, error),
            _ => Self::new(DeploymentState::Unknown, error),
        }
    }

    /// What a look before a run shows that held the run back; `None` when it shows nothing of the state.
    pub fn while_held(hold: Hold) -> Option<Self> {
        (hold == Hold::Asleep).then(|| Self::new(DeploymentState::Asleep, hold))
    }
}

/// The error of the request that ended last, if the last ones to end failed: as many as are in flight at once.
/// What failed earlier, among others that did not, says little of how the server is now.
fn last_failure(records: &[RequestRecord], concurrency: u32) -> Option<&RequestError> {
    let mut by_end: Vec<&RequestRecord> = records.iter().collect();
    by_end.sort_by_key(|record| std::cmp::Reverse(record.ended));
    by_end.truncate(usize::try_from(concurrency).unwrap_or(usize::MAX));
    let errors: Option<Vec<&RequestError>> = by_end
        .iter()
        .map(|record| record.outcome.as_ref().err())
        .collect();
    errors?.first().copied()
}

fn serving(run: &Run, summary: &Summary) -> Condition {
    let queue = [&run.observation.before, &run.observation.after]
        .into_iter()
        .flatten()
        .filter_map(|reading| reading.sum(Gauge::Waiting))
        .fold(0.0, f64::max);
    if queue >= LONG_QUEUE {
        return Condition::new(
            DeploymentState::Saturated,
            format_args!("{queue} requests of others wait in its queue"),
        );
    }
    let sent = run.records.len();
    Condition::new(
        DeploymentState::Ok,
        format_args!("{} of {sent} requests completed", summary.completed),
    )
}

fn failing(run: &Run, summary: &Summary, error: &RequestError) -> Condition {
    let not_well = match run.observation.health {
        Some(Health::Silent) => Some("/health does not answer".to_owned()),
        Some(Health::Bad(status)) => Some(format!("/health answers {status}")),
        Some(Health::Good) | None => None,
    };
    if let Some(health) = not_well {
        return Condition::new(DeploymentState::Down, format_args!("{error}; {health}"));
    }
    match error.reason {
        FailureReason::TimeoutFirstToken
        | FailureReason::TimeoutStall
        | FailureReason::TimeoutTotal
        | FailureReason::Deadline
        | FailureReason::Cancelled => silent(run, summary, error),
        FailureReason::Http429 => Condition::new(DeploymentState::Saturated, error),
        // The answer was not what it should be, and yet it came from a model.
        FailureReason::NoUsage | FailureReason::BadUsage => {
            Condition::new(DeploymentState::Ok, error)
        }
        FailureReason::Dns
        | FailureReason::Connect
        | FailureReason::TimeoutConnect
        | FailureReason::Disconnect
        | FailureReason::Http5xx
        | FailureReason::StreamError
        | FailureReason::Truncated => Condition::new(DeploymentState::Down, error),
        _ => Condition::new(DeploymentState::Unknown, error),
    }
}

/// No token came in time, from a server that says that it is well.
fn silent(run: &Run, summary: &Summary, error: &RequestError) -> Condition {
    if run.given_up != Some(GivenUp::Wedged) && tokens_flow(run, summary) {
        return Condition::new(
            DeploymentState::Saturated,
            format_args!("{error}; meanwhile others got tokens"),
        );
    }
    Condition::new(
        DeploymentState::Wedged,
        format_args!("{error}; /health answers, and its token counters stand still"),
    )
}

/// Whether the server's counters moved when they were last looked at, or over a run that is too short for
/// several looks.
fn tokens_flow(run: &Run, summary: &Summary) -> bool {
    let looks = &run.observation.during;
    match looks.as_slice() {
        [.., earlier, later] => {
            later.generation_tokens.is_some()
                && earlier.generation_tokens != later.generation_tokens
        }
        _ => summary
            .server
            .generated_tokens
            .is_some_and(|generated| generated > 0.0),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::measurement::fixture::{fail, observe, reading, reference};
    use crate::observation::Moment;
    use crate::reading::Reading;
    use crate::statistics::summarize;

    fn after(change: impl FnOnce(&mut Run)) -> Condition {
        let (mut run, workload) = reference();
        change(&mut run);
        let summary = summarize(&run, &workload);
        Condition::after_run(&run, &summary)
    }

    /// A run of which the last requests failed for `reason`, on a server that then said `health`.
    fn failed(reason: FailureReason, health: Health) -> impl FnOnce(&mut Run) {
        move |run| {
            fail(&mut run.records[48..], reason);
            run.observation.health = Some(health);
        }
    }

    #[test]
    fn what_the_last_requests_met_decides() {
        use DeploymentState::{Down, Ok, Saturated, Unknown, Wedged};
        for (reason, health, state) in [
            (FailureReason::Connect, Health::Silent, Down),
            (FailureReason::Dns, Health::Silent, Down),
            (FailureReason::StreamError, Health::Bad(503), Down),
            (FailureReason::TimeoutFirstToken, Health::Bad(503), Down),
            (FailureReason::TimeoutFirstToken, Health::Silent, Down),
            (FailureReason::Http5xx, Health::Good, Down),
            (FailureReason::Http429, Health::Good, Saturated),
            (FailureReason::Http401, Health::Good, Unknown),
            (FailureReason::Http404, Health::Good, Unknown),
            (FailureReason::BadSse, Health::Good, Unknown),
            (FailureReason::NoUsage, Health::Good, Ok),
            (FailureReason::TimeoutStall, Health::Good, Wedged),
        ] {
            let condition = after(failed(reason, health));
            assert_eq!(
                condition.state, state,
                "{reason:?} {health:?}: {condition:?}"
            );
            assert!(
                condition.evidence.starts_with(reason.label()),
                "{condition:?}"
            );
        }
    }

    #[test]
    fn what_failed_in_between_does_not() {
        let among_others = after(|run| {
            fail(&mut run.records[..40], FailureReason::Http5xx);
            fail(&mut run.records[63..], FailureReason::TimeoutStall);
        });
        assert_eq!(among_others.state, DeploymentState::Ok, "{among_others:?}");
        assert_eq!(after(|_| ()).state, DeploymentState::Ok);
    }

    #[test]
    fn silence_is_a_full_server_while_others_get_tokens() {
        let moment = |tokens| Moment {
            generation_tokens: Some(tokens),
            ..Moment::default()
        };
        let with = |during: Vec<Moment>| {
            after(|run| {
                failed(FailureReason::TimeoutFirstToken, Health::Good)(run);
                run.observation.during = during;
            })
            .state
        };
        assert_eq!(
            with(vec![moment(5.0), moment(9.0), moment(13.0)]),
            DeploymentState::Saturated
        );
        // They did once, and do not any more.
        assert_eq!(
            with(vec![moment(5.0), moment(13.0), moment(13.0)]),
            DeploymentState::Wedged
        );
        // A run that was too short for two looks: the counters before and after it.
        let short = |tokens| {
            after(|run| {
                fail(&mut run.records, FailureReason::TimeoutFirstToken);
                run.observation.health = Some(Health::Good);
                observe(run, tokens, 0.0, 0.0);
            })
            .state
        };
        assert_eq!(short(12.0), DeploymentState::Saturated);
        assert_eq!(short(0.0), DeploymentState::Wedged);
    }

    #[test]
    fn a_run_that_was_given_up_shows_a_wedge() {
        let condition = after(|run| {
            failed(FailureReason::Cancelled, Health::Good)(run);
            run.given_up = Some(GivenUp::Wedged);
        });
        assert_eq!(condition.state, DeploymentState::Wedged);
    }

    #[test]
    fn a_long_queue_of_others_is_a_full_server() {
        let queue = |waiting: f64| {
            let mut reading: Reading = reading(1.0, &[]);
            for engine in reading.engines.values_mut() {
                engine.gauges.insert(Gauge::Waiting, waiting);
            }
            after(|run| run.observation.before = Some(Arc::new(reading))).state
        };
        assert_eq!(queue(9.0), DeploymentState::Ok);
        assert_eq!(queue(10.0), DeploymentState::Saturated);
    }

    #[test]
    fn a_sleeping_server_is_neither_well_nor_down() {
        let asleep = Moment {
            asleep: true,
            ..Moment::default()
        };
        let condition = after(|run| {
            failed(FailureReason::TimeoutFirstToken, Health::Good)(run);
            run.observation.during = vec![asleep];
        });
        assert_eq!(condition.state, DeploymentState::Asleep);
        let held = Condition::while_held(Hold::Asleep).unwrap();
        assert_eq!(held.state, DeploymentState::Asleep);
        assert_eq!(Condition::while_held(Hold::Busy { in_flight: 3.0 }), None);
    }
}
