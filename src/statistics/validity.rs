//! Whether a run counts: the closed set of reasons why it may not, and when each of them holds.
//!
//! A figure is either right or absent. What makes it wrong may be the deployment's fault, somebody else's, or
//! ours; the reason says whose.

use std::time::Duration;

use super::{Distribution, completions};
use crate::closed_set::closed_set;
use crate::measurement::{FailureReason, FinishReason, Run};
use crate::observation::GivenUp;
use crate::traffic::ServerView;
use crate::workload::{Expectation, Workload};

closed_set! {
    /// Why a run does not count.
    InvalidReason:
    Asleep "asleep" "The server slept.",
    Wedged "wedged" "The server stopped: no token came for a while, neither to the prober nor by the server's own counters.",
    QueueGrew "queue_grew" "More requests waited at the server than the burst may go on beside, and it was given up.",
    FailedRequests "failed_requests" "More of the requests failed than may; the default is 5 %.",
    Deadline "deadline" "The run's deadline passed before all its requests were sent and had ended.",
    ServerRestarted "server_restarted" "The server restarted during the run, or this is the probe's first run since it did.",
    ClientBound "client_bound" "The prober was the bottleneck: it kept too few requests in flight, was late itself, or had no processor.",
    Contaminated "contaminated" "The server did more for others meanwhile than a run may be beside.",
    UnexpectedFinish "unexpected_finish" "A completed answer ended for another reason than its bound, such as stop.",
    TokenCount "token_count" "A completed answer has more or fewer tokens than its bound.",
    NoUsage "no_usage" "An answer carried no usage, or one that contradicts the stream, so the run's tokens are unknown.",
    NotRun "not_run" "No run came about: nothing could be sent, the model to ask for is unknown, or the run panicked.",
}

/// The share of the concurrency that was in flight during the time in which a closed loop has to have `c` in flight: from the `c`th request to the
/// last one. What ends after that ends one by one. Absent when there are not more than `c` requests.
fn kept_in_flight(run: &Run) -> Option<f64> {
    let concurrency = usize::try_from(run.concurrency).ok()?;
    let full = run.records.get(concurrency.checked_sub(1)?)?.sent;
    let last = run.records.get(concurrency..)?.last()?.sent;
    let in_flight: Duration = run
        .records
        .iter()
        .map(|record| record.ended.min(last).saturating_sub(record.sent.max(full)))
        .sum();
    let available = last.saturating_sub(full).as_secs_f64() * f64::from(run.concurrency);
    (available > 0.0).then(|| in_flight.as_secs_f64() / available)
}

fn is_client_bound(
    run: &Run,
    workload: &Workload,
    delay: Option<Distribution>,
    load: Option<f64>,
) -> bool {
    let limits = &workload.validity;
    kept_in_flight(run).is_some_and(|kept| kept < limits.min_concurrency_utilization)
        || delay.is_some_and(|delay| delay.p95 > limits.max_client_delay.as_secs_f64())
        || load.is_some_and(|load| load > limits.max_client_load_ratio)
}

fn is_contaminated(server: &ServerView, workload: &Workload) -> bool {
    let limits = &workload.validity;
    let exceeds = |found: Option<f64>, most: Option<f64>| {
        found.zip(most).is_some_and(|(found, most)| found > most)
    };
    server.foreign.is_some_and(|foreign| {
        exceeds(foreign.tokens_ratio, limits.max_foreign_tokens_ratio)
            || exceeds(foreign.prompt_ratio, limits.max_foreign_prompt_ratio)
    })
}

/// Every reason why `run` does not count; none when it does.
pub(super) fn invalid_reasons(
    run: &Run,
    workload: &Workload,
    server: &ServerView,
    client_delay: Option<Distribution>,
    client_load: Option<f64>,
) -> Vec<InvalidReason> {
    let sent = run.records.len();
    let failed = sent - completions(run).count();
    // 5 % of 20 is exactly 1, whatever a fraction in binary makes of it.
    let has_failed = failed as f64 > sent as f64 * workload.validity.max_failed_ratio + 1e-9;
    let full_length = workload.expect == Expectation::FullLength;
    let completed = completions(run);
    let holds = |reason: &InvalidReason| {
        match reason {
        InvalidReason::Asleep => server.asleep,
        InvalidReason::Wedged => run.given_up == Some(GivenUp::Wedged),
        InvalidReason::QueueGrew => run.given_up == Some(GivenUp::QueueGrew),
        InvalidReason::FailedRequests => has_failed,
        InvalidReason::Deadline => {
            run.deadline_passed
                || (run.given_up.is_none() && sent < run.planned.max(1) as usize)
        }
        InvalidReason::ServerRestarted => server.restarted,
        // Requests that fail at once say nothing of how fast the prober is.
        InvalidReason::ClientBound => {
            !has_failed && is_client_bound(run, workload, client_delay, client_load)
        }
        InvalidReason::Contaminated => is_contaminated(server, workload),
        InvalidReason::UnexpectedFinish => {
            full_length && completed.clone().any(|c| c.finish_reason != FinishReason::Length)
        }
        InvalidReason::TokenCount => {
            full_length
                && completed.clone().any(|c| c.completion_tokens != u64::from(workload.max_tokens))
        }
        InvalidReason::NoUsage => run.records.iter().any(|record| {
            matches!(
                &record.outcome,
                Err(error) if matches!(error.reason, FailureReason::NoUsage | FailureReason::BadUsage)
            )
        }),
        // Without a run there is nothing to summarise.
        InvalidReason::NotRun => false,
    }
    };
    InvalidReason::ALL.iter().copied().filter(holds).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::measurement::ProcessorTime;
    use crate::measurement::fixture::{completion, fail, observe, reading, reference};
    use crate::observation::Moment;
    use crate::statistics::summarize;
    use crate::validity::Validity;

    #[test]
    fn a_run_counts_or_says_why_not() {
        use InvalidReason::{Deadline, FailedRequests, NoUsage, TokenCount, UnexpectedFinish};
        type Change = fn(&mut Run);
        let cases: [(&str, Change, &[InvalidReason]); 11] = [
            ("nothing is wrong", |_| (), &[]),
            (
                "3 of 64 failed",
                |run| fail(&mut run.records[..3], FailureReason::Http5xx),
                &[],
            ),
            (
                "4 of 64 failed",
                |run| fail(&mut run.records[..4], FailureReason::Http5xx),
                &[FailedRequests],
            ),
            (
                "exactly 5 % failed",
                |run| {
                    (run.planned, run.records) = (20, run.records.split_off(44));
                    fail(&mut run.records[0..=0], FailureReason::Connect);
                },
                &[],
            ),
            (
                "all failed",
                |run| fail(&mut run.records, FailureReason::Connect),
                &[FailedRequests],
            ),
            (
                "the deadline passed",
                |run| run.deadline_passed = true,
                &[Deadline],
            ),
            (
                "one was never sent",
                |run| drop(run.records.pop()),
                &[Deadline],
            ),
            ("none was sent", |run| run.records.clear(), &[Deadline]),
            (
                "one stopped early",
                |run| {
                    let completion = completion(&mut run.records[5]);
                    (completion.finish_reason, completion.completion_tokens) =
                        (FinishReason::Stop, 200);
                },
                &[UnexpectedFinish, TokenCount],
            ),
            (
                "one is a token short",
                |run| completion(&mut run.records[5]).completion_tokens = 255,
                &[TokenCount],
            ),
            (
                "one has no usage",
                |run| fail(&mut run.records[5..=5], FailureReason::NoUsage),
                &[NoUsage],
            ),
        ];
        for (what, change, expected) in cases {
            let (mut run, workload) = reference();
            change(&mut run);
            let summary = summarize(&run, &workload);
            assert_eq!(summary.invalid_reasons, expected, "{what}");
            assert_eq!(summary.figures.is_some(), expected.is_empty(), "{what}");
            assert_eq!(
                (summary.completed + summary.failed) as usize,
                run.records.len(),
                "{what}"
            );
        }
    }

    #[test]
    fn answers_of_any_length_count_when_the_workload_says_so() {
        let (mut run, mut workload) = reference();
        workload.expect = Expectation::AnyLength;
        completion(&mut run.records[0]).finish_reason = FinishReason::Stop;
        completion(&mut run.records[0]).completion_tokens = 1;
        let summary = summarize(&run, &workload);
        assert!(summary.is_valid());
        let counts = BTreeMap::from([(FinishReason::Stop, 1), (FinishReason::Length, 63)]);
        assert_eq!(summary.finish_reasons, counts);
        // A single token has no time per output token.
        assert_eq!(summary.figures.unwrap().tpot.unwrap().count, 63);
    }

    #[test]
    fn the_server_and_the_prober_can_spoil_a_run() {
        use InvalidReason::{
            Asleep, ClientBound, Contaminated, FailedRequests, QueueGrew, ServerRestarted, Wedged,
        };
        type Change = fn(&mut Run);
        let cases: [(&str, Change, &[InvalidReason]); 16] = [
            (
                "a quiet server",
                |run| observe(run, 16_384.0, 7_040.0, 6_000.0),
                &[],
            ),
            (
                "just under 5 % for others",
                |run| observe(run, 16_384.0 + 819.0, 7_040.0, 0.0),
                &[],
            ),
            (
                "a little more",
                |run| observe(run, 16_384.0 + 820.0, 7_040.0, 0.0),
                &[Contaminated],
            ),
            (
                "others' prompts alone",
                |run| observe(run, 16_384.0, 7_040.0 + 1_200.0, 0.0),
                &[Contaminated],
            ),
            (
                "others' prompts out of the cache",
                |run| observe(run, 16_384.0, 7_040.0 + 5_000.0, 12_000.0),
                &[],
            ),
            (
                "it restarted in between",
                |run| {
                    observe(run, 16_384.0, 7_040.0, 0.0);
                    run.observation.after = Some(Arc::new(reading(2.0, &[])));
                },
                &[ServerRestarted],
            ),
            (
                "it restarted since the run before",
                |run| {
                    observe(run, 16_384.0, 7_040.0, 0.0);
                    run.observation.previous = Some(Arc::new(reading(0.5, &[])));
                },
                &[ServerRestarted],
            ),
            (
                "it fell asleep",
                |run| {
                    run.observation.during = vec![Moment {
                        asleep: true,
                        ..Moment::default()
                    }];
                },
                &[Asleep],
            ),
            (
                "it stopped",
                |run| {
                    run.given_up = Some(GivenUp::Wedged);
                    run.records.truncate(32);
                    fail(&mut run.records[16..], FailureReason::Cancelled);
                },
                &[Wedged, FailedRequests],
            ),
            (
                "its queue grew",
                |run| {
                    run.given_up = Some(GivenUp::QueueGrew);
                    run.records.truncate(16);
                },
                &[QueueGrew],
            ),
            (
                "requests followed late",
                |run| {
                    for (n, record) in run.records.iter_mut().enumerate() {
                        let late = Duration::from_millis(60) * (n as u32 / 16);
                        record.sent += late;
                        record.ended += late;
                    }
                },
                &[ClientBound],
            ),
            (
                "the last ones end one by one",
                |run| run.records[63].ended += Duration::from_secs(10),
                &[],
            ),
            (
                "the measuring thread was late",
                |run| run.client_delays = vec![Duration::from_millis(21); 10],
                &[ClientBound],
            ),
            (
                "late once in a while",
                |run| {
                    run.client_delays = vec![Duration::ZERO; 99];
                    run.client_delays.push(Duration::from_millis(500));
                },
                &[],
            ),
            (
                "no processor was to be had",
                |run| {
                    run.client_cpu = Some(ProcessorTime {
                        used: Duration::from_secs(1),
                        waited: Duration::from_millis(2_700),
                    });
                },
                &[ClientBound],
            ),
            (
                "requests that fail at once",
                |run| {
                    fail(&mut run.records, FailureReason::Connect);
                    run.client_delays = vec![Duration::from_millis(21); 10];
                },
                &[FailedRequests],
            ),
        ];
        for (what, change, expected) in cases {
            let (mut run, workload) = reference();
            change(&mut run);
            let summary = summarize(&run, &workload);
            assert_eq!(summary.invalid_reasons, expected, "{what}");
            assert_eq!(summary.figures.is_some(), expected.is_empty(), "{what}");
        }
    }

    #[test]
    fn thresholds_are_the_workloads() {
        let (mut run, mut workload) = reference();
        fail(&mut run.records[..10], FailureReason::Http5xx);
        observe(&mut run, 99_999.0, 99_999.0, 0.0);
        run.client_delays = vec![Duration::from_millis(50)];
        assert!(!summarize(&run, &workload).is_valid());
        workload.validity = Validity {
            max_failed_ratio: 0.2,
            max_client_delay: Duration::from_millis(50),
            ..Validity::of_light_run()
        };
        assert_eq!(summarize(&run, &workload).invalid_reasons, []);
    }
}
