//! Each way in which a request fails has its reason, says what the server or the system said, and leaves
//! the other requests of its run alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vllm_prober::endpoint::{Auth, SecretSource};
use vllm_prober::measurement::{FailureReason, RequestError, Run};
use vllm_prober::statistics::{InvalidReason, summarize};

mod answers;
mod oddities;
#[path = "../common/replay.rs"]
mod replay;
mod resets;
#[path = "../common/scripted.rs"]
mod scripted;
#[path = "../common/tls.rs"]
mod tls;
mod unreachable;

use answers::ANSWERS;
use replay::{endpoint, measure, workload};
use scripted::{Asked, Habits, Scripted, TOKENS, Wire};
use tls::SelfSigned;
use unreachable::{UNREACHABLE, encrypted};

/// A limit that is meant to be met.
const SHORT: Duration = Duration::from_millis(300);

/// Far more than any run here needs, and far less than the limits that are not meant to be met.
const PROMPTLY: Duration = Duration::from_secs(5);

/// The longest detail that may be kept, in characters.
const DETAIL_CHARS: usize = 300;

#[test]
fn a_failing_answer_has_its_reason_and_leaves_the_others_alone() {
    for row in ANSWERS {
        let what = format!("{}: {}", row.reason.label(), row.what);
        let server = Scripted::start(|asked, wire| match asked.number % 4 {
            3 => (row.script)(wire),
            _ => wire.answer(asked),
        });
        let mut workload = workload(4, 8);
        (row.workload)(&mut workload);
        let begun = Instant::now();
        let run = measure(endpoint(&server.base_url()), workload).unwrap();

        assert!(begun.elapsed() < PROMPTLY, "{what}: {:?}", begun.elapsed());
        assert_eq!(run.records.len(), 8, "{what}");
        assert_eq!(server.posts().len(), 8, "{what}: nothing is tried again");
        let failures = failures(&run);
        assert_eq!(failures.len(), 2, "{what}: {failures:?}");
        for error in failures {
            expect(error, row.reason, row.words, &what);
        }
        for completion in run
            .records
            .iter()
            .filter_map(|record| record.outcome.as_ref().ok())
        {
            assert_eq!(completion.completion_tokens, u64::from(TOKENS), "{what}");
            let chunks = completion
                .arrivals
                .as_ref()
                .map(|arrivals| arrivals.gaps.len() + 1);
            assert!(
                chunks.is_none_or(|chunks| chunks == TOKENS as usize),
                "{what}: {chunks:?}"
            );
        }
    }
}

#[test]
fn a_server_that_cannot_be_talked_to_fails_every_request_of_its_run() {
    for row in UNREACHABLE {
        let what = format!("{}: {}", row.reason.label(), row.what);
        let (endpoint, _alive) = (row.place)();
        let mut workload = workload(2, 4);
        (row.limits)(&mut workload.limits);
        let begun = Instant::now();
        let run = measure(endpoint, workload).unwrap();

        assert!(begun.elapsed() < PROMPTLY, "{what}: {:?}", begun.elapsed());

        let failures = failures(&run);
        assert_eq!(failures.len(), 4, "{what}: {failures:?}");
        for error in failures {
            expect(error, row.reason, row.words, &what);
        }
        assert_eq!(run.connections.opened, 0, "{what}");
        assert_eq!(run.connections.connect_time, None, "{what}");
    }
}

#[test]
fn every_reason_has_a_row() {
    let answers = ANSWERS.iter().map(|row| row.reason);
    let covered: BTreeSet<_> = answers
        .chain(UNREACHABLE.iter().map(|row| row.reason))
        .collect();
    // A request is cancelled when its whole run is given up: tests/guards.rs.
    let of_requests = FailureReason::ALL
        .iter()
        .copied()
        .filter(|reason| *reason != FailureReason::Cancelled);
    assert_eq!(covered, of_requests.collect());
}

#[test]
fn a_certificate_in_the_ca_file_is_trusted() {
    let certificate = SelfSigned::of("127.0.0.1");
    let (server, ca_file) = (encrypted(&certificate), certificate.ca_file());
    let mut endpoint = endpoint(&server.base_url());
    endpoint.route.tls.ca_file = Some(ca_file.path().to_owned());
    let run = measure(endpoint, workload(2, 4)).unwrap();
    assert_eq!(failures(&run), Vec::<&RequestError>::new());
    assert_eq!(server.accepted(), 2);
}

#[test]
fn a_redirect_takes_neither_a_request_nor_the_key_elsewhere() {
    let elsewhere = Scripted::start(|asked, wire| wire.answer(asked));
    let location = format!("{}/v1/chat/completions", elsewhere.base_url());
    let redirects = move |_: &Asked, wire: &mut Wire| {
        wire.say(format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
        ))
    };
    let redirects = Arc::new(redirects);
    // The small documents are redirected too.
    let habits = Habits {
        gets: redirects.clone(),
        ..Habits::default()
    };
    let server = Scripted::with(habits, redirects);
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret\n").unwrap();
    let mut endpoint = endpoint(&server.base_url());
    endpoint.auth = Auth::bearer(SecretSource::File(token.path().to_owned()));

    let run = measure(endpoint, workload(2, 4)).unwrap();

    let failures = failures(&run);
    assert_eq!(failures.len(), 4);
    assert!(
        failures
            .iter()
            .all(|error| error.reason == FailureReason::Redirect),
        "{failures:?}"
    );
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| asked.header("authorization") == Some("Bearer secret"))
    );
    assert_eq!(elsewhere.accepted(), 0);
}

#[test]
fn a_deadline_ends_what_is_in_flight_and_sends_nothing_more() {
    // Two are answered, two hang, two are never sent.
    let server = Scripted::start(|asked, wire| match asked.number {
        0 | 1 => wire.answer(asked),
        _ => wire.silence(),
    });
    let mut workload = workload(2, 6);
    workload.limits.run = SHORT;
    let run = measure(endpoint(&server.base_url()), workload.clone()).unwrap();

    assert!(run.deadline_passed);
    assert_eq!(
        (run.planned, run.records.len(), server.posts().len()),
        (6, 4, 4)
    );
    let failures = failures(&run);
    assert_eq!(failures.len(), 2);
    assert!(
        failures
            .iter()
            .all(|error| error.reason == FailureReason::Deadline),
        "{failures:?}"
    );
    let ended = run.records.iter().map(|record| record.ended).max().unwrap();
    assert!(ended >= SHORT && ended < SHORT * 3, "{ended:?}");
    let summary = summarize(&run, &workload);
    assert!(summary.invalid_reasons.contains(&InvalidReason::Deadline));
    assert_eq!(summary.figures, None);
}

fn failures(run: &Run) -> Vec<&RequestError> {
    run.records
        .iter()
        .filter_map(|record| record.outcome.as_ref().err())
        .collect()
}

fn expect(error: &RequestError, reason: FailureReason, words: &str, what: &str) {
    assert_eq!(error.reason, reason, "{what}: {error}");
    assert!(error.detail.contains(words), "{what}: {error}");
    assert!(!error.detail.is_empty(), "{what}");
    assert!(
        error.detail.chars().count() <= DETAIL_CHARS,
        "{what}: {} characters",
        error.detail.chars().count()
    );
    assert!(
        !error.detail.contains(char::is_control),
        "{what}: {error:?}"
    );
}
