//! Answers that are odd and nonetheless complete: each is measured as what it is, and keeps to itself.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;
use vllm_prober::measurement::{FinishReason, RequestError};

use crate::replay::{endpoint, measure, workload};
use crate::scripted::{DONE, Habits, LAST, ROLE, Scripted, TOKEN, USAGE, Wire};
use crate::{PROMPTLY, failures};

struct Oddity {
    what: &'static str,
    /// Token-bearing chunks that come of it.
    chunks: usize,
    finish: FinishReason,
    has_content: bool,
    script: fn(&mut Wire) -> io::Result<()>,
}

const USUAL: Oddity = Oddity {
    what: "",
    chunks: 4,
    finish: FinishReason::Length,
    has_content: true,
    script: |_| Ok(()),
};

const EVENTS: [&str; 7] = [ROLE, TOKEN, TOKEN, TOKEN, LAST, USAGE, DONE];

/// A stream in one chunk, whose events are joined and ended by `end`.
fn ended_by(wire: &mut Wire, begin: &str, end: &str) -> io::Result<()> {
    let body = format!("{begin}{}{end}", EVENTS.join(end));
    wire.stream()?;
    wire.say(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
}

const ODDITIES: &[Oddity] = &[
    Oddity {
        what: "lines that end in CRLF",
        script: |wire| ended_by(wire, "", "\r\n\r\n"),
        ..USUAL
    },
    Oddity {
        what: "lines that end in CR",
        script: |wire| ended_by(wire, "", "\r\r"),
        ..USUAL
    },
    Oddity {
        what: "comments between the events",
        script: |wire| ended_by(wire, ": hello\n\n", "\n: ping\n\n: ping\n\n"),
        ..USUAL
    },
    Oddity {
        what: "a byte order mark and fields that nobody needs",
        script: |wire| ended_by(wire, "\u{feff}event: message\nid: 7\n", "\nretry: 5\n\n"),
        ..USUAL
    },
    Oddity {
        what: "several tokens an event",
        chunks: 2,
        script: |wire| wire.events(&[ROLE, TOKEN, LAST, USAGE, DONE]),
        ..USUAL
    },
    Oddity {
        what: "nothing but reasoning",
        has_content: false,
        chunks: 2,
        script: |wire| {
            const THOUGHT: &str = r#"data: {"choices":[{"delta":{"reasoning_content":"a"}}]}"#;
            const END: &str = r#"data: {"choices":[{"delta":{},"finish_reason":"length"}]}"#;
            wire.events(&[ROLE, THOUGHT, THOUGHT, END, USAGE, DONE])
        },
        ..USUAL
    },
    Oddity {
        what: "a stop before the bound",
        chunks: 2,
        finish: FinishReason::Stop,
        script: |wire| {
            const STOP: &str =
                r#"data: {"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}"#;
            wire.events(&[ROLE, TOKEN, STOP, USAGE, DONE])
        },
        ..USUAL
    },
    Oddity {
        what: "an empty chunk that closes the answer",
        chunks: 5,
        script: |wire| {
            const CLOSING: &str =
                r#"data: {"choices":[{"delta":{"content":""},"finish_reason":"length"}]}"#;
            wire.events(&[ROLE, TOKEN, TOKEN, TOKEN, TOKEN, CLOSING, USAGE, DONE])
        },
        ..USUAL
    },
    Oddity {
        what: "announcements before the answer",
        script: |wire| {
            wire.say(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            )?;
            wire.events(&EVENTS)
        },
        ..USUAL
    },
    Oddity {
        what: "HTTP/1.0, ended by the end of the connection",
        script: |wire| {
            let body = EVENTS.join("\n\n");
            wire.say(format!(
                "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}\n\n"
            ))?;
            wire.hang_up()
        },
        ..USUAL
    },
    Oddity {
        what: "a content type in capitals, chunks with extensions, and a trailer",
        script: |wire| {
            wire.say("HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for event in EVENTS {
                wire.say(format!("{:X};a=b\r\n{event}\n\n\r\n", event.len() + 2))?;
            }
            wire.say("0\r\nx-took: 1\r\n\r\n")
        },
        ..USUAL
    },
    Oddity {
        what: "one byte a chunk",
        script: |wire| {
            wire.stream()?;
            for byte in (EVENTS.join("\n\n") + "\n\n").bytes() {
                wire.say([b"1\r\n", &[byte][..], b"\r\n"].concat())?;
            }
            wire.say("0\r\n\r\n")
        },
        ..USUAL
    },
];

#[test]
fn an_odd_answer_is_measured_as_what_it_is() {
    for row in ODDITIES {
        let server = Scripted::start(|_, wire| (row.script)(wire));
        let begun = Instant::now();
        let run = measure(endpoint(&server.base_url()), workload(2, 6)).unwrap();
        assert!(begun.elapsed() < PROMPTLY, "{}", row.what);
        assert_eq!(failures(&run), Vec::<&RequestError>::new(), "{}", row.what);
        assert_eq!(
            (run.records.len(), server.posts().len()),
            (6, 6),
            "{}",
            row.what
        );
        for record in &run.records {
            let completion = record.outcome.as_ref().unwrap();
            let arrivals = completion.arrivals.as_ref().unwrap();
            assert_eq!(completion.completion_tokens, 4, "{}", row.what);
            assert_eq!(completion.finish_reason, row.finish, "{}", row.what);
            assert_eq!(arrivals.gaps.len() + 1, row.chunks, "{}", row.what);
            assert_eq!(
                arrivals.first_content.is_some(),
                row.has_content,
                "{}",
                row.what
            );
        }
    }
}

#[test]
fn a_stream_may_be_cut_at_every_byte() {
    let body = EVENTS.join("\n\n") + "\n\n";
    let positions = body.len() - 1;
    let cut = move |number: usize, wire: &mut Wire| {
        let (head, tail) = body.as_bytes().split_at(1 + number % (body.len() - 1));
        wire.stream()?;
        for part in [head, tail] {
            wire.say([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat())?;
        }
        wire.say("0\r\n\r\n")
    };
    let server = Scripted::start(move |asked, wire| cut(asked.number, wire));
    let run = measure(
        endpoint(&server.base_url()),
        workload(4, positions.try_into().unwrap()),
    )
    .unwrap();
    assert_eq!(failures(&run), Vec::<&RequestError>::new());
    assert_eq!(server.posts().len(), positions);
    for record in &run.records {
        let arrivals = record.outcome.as_ref().unwrap().arrivals.as_ref().unwrap();
        assert_eq!(arrivals.gaps.len(), 3);
    }
}

/// A server that says more than it was asked for must not answer the next request with it.
#[test]
fn a_second_answer_on_one_connection_is_nobodys() {
    const LIE: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":99}}"#;
    let stream = |usage: &str| {
        let body = [ROLE, TOKEN, TOKEN, TOKEN, LAST, usage, DONE].join("\n\n") + "\n\n";
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let both = stream(USAGE) + &stream(LIE);
    let server = Scripted::with(Habits::default(), Arc::new(move |_, wire| wire.say(&both)));
    let run = measure(endpoint(&server.base_url()), workload(2, 8)).unwrap();
    assert_eq!(failures(&run), Vec::<&RequestError>::new());
    for record in &run.records {
        assert_eq!(record.outcome.as_ref().unwrap().completion_tokens, 4);
    }
    assert_eq!((run.connections.opened, run.connections.reopened), (2, 6));
}
