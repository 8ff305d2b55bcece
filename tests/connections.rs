//! The connections of a run: all of them open before its first request, none opened in mid-run unless the
//! server closed one, and those are counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use vllm_prober::measurement::Run;

#[path = "common/replay.rs"]
mod replay;
#[path = "common/scripted.rs"]
mod scripted;
#[path = "common/tls.rs"]
mod tls;

use replay::{endpoint, measure, workload};
use scripted::{Asked, Habits, Scripted, Wire};
use tls::SelfSigned;

/// How long an answer takes: long enough for all the requests in flight to have been sent.
const ANSWER: Duration = Duration::from_millis(100);

/// Some handshakes take longer than others, and longer than a whole request.
const UNEVEN: fn(usize) -> Duration =
    |connection| Duration::from_millis(20 * (connection as u64 % 5));

fn assert_all_completed(run: &Run) {
    for record in &run.records {
        assert!(record.outcome.is_ok(), "{:?}", record.outcome);
    }
    assert_eq!(run.records.len(), run.planned as usize);
}

#[test]
fn a_healthy_run_lives_on_the_connections_it_began_with() {
    let certificate = SelfSigned::of("127.0.0.1");
    let ca_file = certificate.ca_file();
    for (concurrency, requests, encrypted) in [
        (1, 8, false),
        (16, 64, false),
        (256, 512, false),
        (16, 64, true),
        (128, 256, true),
    ] {
        let habits = Habits {
            tls: encrypted.then(|| certificate.server()),
            delay: UNEVEN,
            ..Habits::default()
        };
        let answer = |asked: &Asked, wire: &mut Wire| {
            std::thread::sleep(ANSWER);
            wire.answer(asked)
        };
        let server = Scripted::with(habits, Arc::new(answer));
        let mut endpoint = endpoint(&server.base_url());
        endpoint.route.tls.ca_file = encrypted.then(|| ca_file.path().to_owned());
        let run = measure(endpoint, workload(concurrency, requests)).unwrap();

        let what = format!("{concurrency} in flight, TLS: {encrypted}");
        assert_all_completed(&run);
        assert_eq!(
            (
                run.connections.opened,
                run.connections.reopened,
                server.accepted()
            ),
            (concurrency, 0, concurrency as usize),
            "{what}: opened, reopened, and what the server counts"
        );
        assert!(
            run.connections.connect_time.unwrap() > Duration::ZERO,
            "{what}"
        );
        let posts = server.posts();
        // The server's own loop may be a few behind the kernel, which has accepted them all.
        assert!(
            posts[0].accepted * 4 >= concurrency as usize * 3,
            "{what}: all are open before the first POST, not only {}",
            posts[0].accepted
        );
        let used: BTreeSet<usize> = posts.iter().map(|post| post.connection).collect();
        assert_eq!(used.len(), concurrency as usize, "{what}: each is used");
        if !encrypted {
            assert!(
                posts.iter().all(|post| post.reads == 1),
                "{what}: a request is one write"
            );
        }
    }
}

#[test]
fn a_server_that_closes_after_each_answer_has_every_connection_counted() {
    let closing = |text: &'static str| {
        move |_: &Asked, wire: &mut Wire| {
            wire.say(text)?;
            wire.hang_up()
        }
    };
    let habits = Habits {
        gets: Arc::new(closing(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 20\r\n\r\n{\"version\":\"0.13.0\"}",
        )),
        ..Habits::default()
    };
    let body = [
        scripted::TOKEN,
        scripted::LAST,
        scripted::USAGE,
        scripted::DONE,
    ]
    .join("\n\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n{body}\n\n"
    );
    let server = Scripted::with(habits, Arc::new(closing(answer.leak())));
    let run = measure(endpoint(&server.base_url()), workload(4, 12)).unwrap();

    assert_all_completed(&run);
    assert_eq!((run.connections.opened, run.connections.reopened), (4, 12));
    assert_eq!(server.accepted(), 16);
    assert_eq!(run.server_version.as_deref(), Some("0.13.0"));
}

#[test]
fn a_connection_that_the_server_closed_while_idle_is_reopened_and_counted() {
    // One warm-up request takes so long that the other three connections are closed meanwhile.
    let habits = Habits {
        idle: Some(Duration::from_millis(100)),
        ..Habits::default()
    };
    let slow_first = |asked: &Asked, wire: &mut Wire| {
        std::thread::sleep(if asked.number == 0 {
            4 * ANSWER
        } else {
            ANSWER
        });
        wire.answer(asked)
    };
    let server = Scripted::with(habits, Arc::new(slow_first));
    let mut workload = workload(4, 8);
    workload.warmup = 1;
    let run = measure(endpoint(&server.base_url()), workload).unwrap();

    assert_all_completed(&run);
    assert_eq!((run.connections.opened, run.connections.reopened), (4, 3));
    assert_eq!(server.accepted(), 7);
}

#[test]
fn a_gateway_that_hides_the_version_is_measured_all_the_same() {
    for refusal in [
        "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nNot Found",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    ] {
        let certificate = SelfSigned::of("127.0.0.1");
        let ca_file = certificate.ca_file();
        let habits = Habits {
            tls: Some(certificate.server()),
            delay: UNEVEN,
            gets: Arc::new(move |_, wire| wire.say(refusal)),
            ..Habits::default()
        };
        let server = Scripted::with(habits, Arc::new(|asked, wire| wire.answer(asked)));
        let mut endpoint = endpoint(&server.base_url());
        endpoint.route.tls.ca_file = Some(ca_file.path().to_owned());
        let run = measure(endpoint, workload(16, 32)).unwrap();

        assert_all_completed(&run);
        assert_eq!(run.server_version, None);
        assert_eq!(
            (
                run.connections.opened,
                run.connections.reopened,
                server.accepted()
            ),
            (16, 0, 16),
            "{refusal}"
        );
    }
}
