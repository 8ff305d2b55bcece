//! Answers that fail, one row for each way.

use std::io;
use std::time::Duration;

use vllm_prober::measurement::FailureReason;
use vllm_prober::workload::Workload;

use crate::SHORT;
use crate::scripted::{DONE, LAST, ROLE, TOKEN, USAGE, Wire};

/// A failing answer of a server that can be reached.
pub(crate) struct Answer {
    pub(crate) reason: FailureReason,
    pub(crate) what: &'static str,
    /// What the detail must say.
    pub(crate) words: &'static str,
    pub(crate) workload: fn(&mut Workload),
    pub(crate) script: fn(&mut Wire) -> io::Result<()>,
}

impl Answer {
    const fn new(
        reason: FailureReason,
        what: &'static str,
        words: &'static str,
        workload: fn(&mut Workload),
        script: fn(&mut Wire) -> io::Result<()>,
    ) -> Self {
        Self {
            reason,
            what,
            words,
            workload,
            script,
        }
    }
}

fn plain(_: &mut Workload) {}

fn whole(workload: &mut Workload) {
    workload.stream = false;
}

fn small_body(workload: &mut Workload) {
    workload.limits.body_bytes = 64 << 10;
}

fn small_whole_body(workload: &mut Workload) {
    small_body(workload);
    whole(workload);
}

fn short_first_token(workload: &mut Workload) {
    workload.limits.first_token = SHORT;
}

fn short_stall(workload: &mut Workload) {
    workload.limits.stall = SHORT;
}

fn short_total(workload: &mut Workload) {
    workload.limits.total = SHORT;
}

fn short_run(workload: &mut Workload) {
    workload.limits.run = 2 * SHORT;
}

const CHUNKED_HTML: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n";

/// Three tokens and the end of an answer, said to be of `length` bytes.
fn with_length(length: usize) -> String {
    let events = [TOKEN, TOKEN, TOKEN].join("\n\n");
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{events}\n\n"
    )
}

/// Every reason that an answer, or the lack of one, can have.
pub(crate) const ANSWERS: &[Answer] = {
    use FailureReason as R;
    &[
        Answer::new(R::Disconnect, "closed without a word", "", plain, |wire| {
            wire.hang_up()
        }),
        Answer::new(R::Disconnect, "closed within the head", "", plain, |wire| {
            wire.say("HTTP/1.1 200 OK\r\ncontent-")?;
            wire.hang_up()
        }),
        Answer::new(R::BadHttp, "another protocol", "", plain, |wire| {
            wire.say("SSH-2.0-OpenSSH_9.6\r\n\r\n")?;
            wire.silence()
        }),
        Answer::new(
            R::BadHttp,
            "a chunk whose size is no number",
            "",
            plain,
            |wire| {
                wire.stream()?;
                wire.event(TOKEN)?;
                wire.say("xyz\r\n")?;
                wire.silence()
            },
        ),
        Answer::new(
            R::BadHttp,
            "a chunk longer than it says",
            "",
            plain,
            |wire| {
                wire.stream()?;
                wire.event(TOKEN)?;
                wire.say(format!("10\r\n{TOKEN}\n\n\r\n"))?;
                wire.silence()
            },
        ),
        Answer::new(
            R::BadHttp,
            "a chunk larger than any number",
            "",
            plain,
            |wire| {
                wire.stream()?;
                wire.event(TOKEN)?;
                wire.say("fffffffffffffffff0\r\n")?;
                wire.silence()
            },
        ),
        Answer::new(
            R::BadHttp,
            "a status that is no number",
            "",
            plain,
            |wire| {
                wire.say("HTTP/1.1 two hundred\r\n\r\n")?;
                wire.silence()
            },
        ),
        Answer::new(R::BadHttp, "two lengths", "", plain, |wire| {
            wire.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef")?;
            wire.silence()
        }),
        Answer::new(R::Redirect, "302", "HTTP 302", plain, |wire| {
            wire.say("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")
        }),
        Answer::new(
            R::Http401,
            "vLLM's key check",
            "HTTP 401: Unauthorized",
            plain,
            |wire| wire.json("401 Unauthorized", r#"{"error":"Unauthorized"}"#),
        ),
        Answer::new(
            R::Http404,
            "a wrong model",
            "The model `m` does not exist.",
            plain,
            |wire| {
                wire.json("404 Not Found", r#"{"error":{"message":"The model `m` does not exist.","type":"NotFoundError","param":null,"code":404}}"#)
            },
        ),
        Answer::new(
            R::Http404,
            "a wrong path",
            "HTTP 404: Not Found",
            plain,
            |wire| wire.json("404 Not Found", r#"{"detail":"Not Found"}"#),
        ),
        Answer::new(
            R::Http429,
            "a gateway's limit",
            "slow down",
            plain,
            |wire| wire.document("429 Too Many Requests", "text/plain", "slow down"),
        ),
        Answer::new(
            R::Http429,
            "a limit with a time to come back, which is not waited for",
            "HTTP 429: later",
            plain,
            |wire| {
                wire.say("HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 5\r\n\r\nlater")
            },
        ),
        Answer::new(
            R::Http4xx,
            "400",
            "max_tokens is too large",
            plain,
            |wire| {
                wire.json(
                    "400 Bad Request",
                    r#"{"error":{"message":"max_tokens is too large"}}"#,
                )
            },
        ),
        Answer::new(
            R::Http5xx,
            "503 with control characters and a page of words",
            r"HTTP 503: \u{1b}[31mno\r\nupstream",
            plain,
            |wire| {
                wire.document(
                    "503 Service Unavailable",
                    "text/html",
                    &format!("\u{1b}[31mno\r\nupstream {}", "\u{7}é".repeat(500)),
                )
            },
        ),
        Answer::new(
            R::Http5xx,
            "a page larger than is read",
            "HTTP 500: oops",
            plain,
            |wire| {
                wire.document(
                    "500 Internal Server Error",
                    "text/html",
                    &"oops ".repeat(100_000),
                )
            },
        ),
        Answer::new(
            R::Http5xx,
            "a page that breaks off",
            "HTTP 502: Bad gateway",
            plain,
            |wire| {
                wire.say("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 1000\r\n\r\nBad gateway")?;
                wire.hang_up()
            },
        ),
        Answer::new(R::HttpOther, "204", "HTTP 204", plain, |wire| {
            wire.say("HTTP/1.1 204 No Content\r\n\r\n")
        }),
        Answer::new(
            R::HttpOther,
            "another protocol is offered",
            "HTTP 101",
            plain,
            |wire| {
                wire.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")?;
                wire.silence()
            },
        ),
        Answer::new(
            R::StreamError,
            "an error event, then the end",
            "EngineCore encountered an issue.",
            plain,
            |wire| {
                wire.events(&[ROLE, TOKEN, r#"data: {"error":{"message":"EngineCore encountered an issue.","type":"InternalServerError","code":500}}"#, DONE])
            },
        ),
        Answer::new(
            R::StreamError,
            "an error event alone",
            r"out\nof \u{1b}memory",
            plain,
            |wire| wire.events(&[r#"data: {"error":{"message":"out\nof \u001bmemory"}}"#]),
        ),
        Answer::new(
            R::StreamError,
            "an error in place of a whole answer",
            "engine is dead",
            whole,
            |wire| wire.json("200 OK", r#"{"error":{"message":"engine is dead"}}"#),
        ),
        Answer::new(R::BadSse, "a login page", "text/html", plain, |wire| {
            wire.document("200 OK", "text/html", "<h1>Log in</h1>")
        }),
        Answer::new(
            R::BadSse,
            "a login page without an end",
            "text/html",
            plain,
            |wire| {
                wire.say(CHUNKED_HTML)?;
                wire.trickle(Duration::from_millis(1), "4\r\n<br>\r\n")
            },
        ),
        Answer::new(
            R::BadSse,
            "a whole answer in place of a stream",
            "application/json",
            plain,
            |wire| wire.json("200 OK", r#"{"choices":[]}"#),
        ),
        Answer::new(R::BadSse, "bytes of no kind", "none", plain, |wire| {
            wire.say(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{TOKEN}\n\n",
                TOKEN.len() + 2
            ))
        }),
        Answer::new(
            R::BadJson,
            "an event that is cut off",
            r#"{"choices":[{"ind"#,
            plain,
            |wire| wire.events(&[ROLE, TOKEN, r#"data: {"choices":[{"ind"#, DONE]),
        ),
        Answer::new(
            R::BadJson,
            "an event that is a number",
            "5",
            plain,
            |wire| wire.events(&[ROLE, TOKEN, "data: 5", DONE]),
        ),
        Answer::new(
            R::BadJson,
            "a token that is not UTF-8",
            "content",
            plain,
            |wire| {
                wire.stream()?;
                wire.event(TOKEN)?;
                let (head, tail) = (
                    &b"data: {\"choices\":[{\"delta\":{\"content\":\""[..],
                    &b"\"}}]}\n\n"[..],
                );
                let event = [head, b"\xff\xfe\xc3\x28", tail].concat();
                wire.say([format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat())?;
                wire.event(DONE)?;
                wire.say("0\r\n\r\n")
            },
        ),
        Answer::new(
            R::BadJson,
            "a whole answer that is a page",
            "<h1>",
            whole,
            |wire| wire.document("200 OK", "text/html", "<h1>Log in</h1>"),
        ),
        Answer::new(
            R::TooLarge,
            "an event without an end",
            "1048576",
            plain,
            |wire| {
                wire.stream()?;
                wire.say(format!("{:x}\r\ndata: {}", 2 << 20, "x".repeat(2 << 20)))?;
                wire.silence()
            },
        ),
        Answer::new(
            R::TooLarge,
            "a stream over its bound",
            "65536",
            small_body,
            |wire| wire.events(&[TOKEN; 2000]),
        ),
        Answer::new(
            R::TooLarge,
            "a whole answer over its bound",
            "65536",
            small_whole_body,
            |wire| wire.json("200 OK", &" ".repeat(80_000)),
        ),
        Answer::new(R::Truncated, "closed within a chunk", "", plain, |wire| {
            wire.stream()?;
            wire.event(TOKEN)?;
            wire.say("60\r\ndata: {\"choi")?;
            wire.hang_up()
        }),
        Answer::new(R::Truncated, "closed between chunks", "", plain, |wire| {
            wire.stream()?;
            for event in [TOKEN, LAST, USAGE, DONE] {
                wire.event(event)?;
            }
            wire.hang_up()
        }),
        Answer::new(
            R::Truncated,
            "a clean end without [DONE]",
            "[DONE]",
            plain,
            |wire| wire.events(&[ROLE, TOKEN, LAST, USAGE]),
        ),
        Answer::new(
            R::Truncated,
            "a stream shorter than its length",
            "",
            plain,
            |wire| {
                wire.say(with_length(1000))?;
                wire.hang_up()
            },
        ),
        Answer::new(
            R::Truncated,
            "a stream longer than its length",
            "[DONE]",
            plain,
            |wire| {
                wire.say(with_length(100))?;
                wire.hang_up()
            },
        ),
        Answer::new(
            R::Truncated,
            "a whole answer that breaks off",
            "",
            whole,
            |wire| {
                wire.say("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"choices\":")?;
                wire.hang_up()
            },
        ),
        Answer::new(
            R::NoTokens,
            "a role and no more",
            "without a token",
            plain,
            |wire| wire.events(&[ROLE, USAGE, DONE]),
        ),
        Answer::new(R::NoTokens, "an empty message", "empty", whole, |wire| {
            wire.json("200 OK", r#"{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#)
        }),
        Answer::new(
            R::NoUsage,
            "a proxy that drops stream_options",
            "--enable-force-include-usage",
            plain,
            |wire| wire.events(&[ROLE, TOKEN, LAST, DONE]),
        ),
        Answer::new(
            R::NoUsage,
            "a whole answer without usage",
            "no usage",
            whole,
            |wire| {
                wire.json(
                    "200 OK",
                    r#"{"choices":[{"message":{"content":"a"},"finish_reason":"length"}]}"#,
                )
            },
        ),
        Answer::new(
            R::BadUsage,
            "more tokens than usage tells of",
            "usage tells of 4 completion tokens, at least 5 came",
            plain,
            |wire| wire.events(&[ROLE, TOKEN, TOKEN, TOKEN, TOKEN, TOKEN, LAST, USAGE, DONE]),
        ),
        Answer::new(
            R::BadUsage,
            "a whole answer of no tokens",
            "usage tells of 0 completion tokens",
            whole,
            |wire| {
                wire.json(
                    "200 OK",
                    r#"{"choices":[{"message":{"content":"a"},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":0}}"#,
                )
            },
        ),
        Answer::new(R::BadFinish, "an aborted answer", "abort", plain, |wire| {
            wire.events(&[
                ROLE,
                TOKEN,
                r#"data: {"choices":[{"delta":{"content":""},"finish_reason":"abort"}]}"#,
                USAGE,
                DONE,
            ])
        }),
        Answer::new(
            R::BadFinish,
            "no finish reason",
            "no finish_reason",
            plain,
            |wire| wire.events(&[ROLE, TOKEN, TOKEN, USAGE, DONE]),
        ),
        Answer::new(
            R::TimeoutFirstToken,
            "no head",
            "0.300 s",
            short_first_token,
            |wire| wire.silence(),
        ),
        Answer::new(
            R::TimeoutFirstToken,
            "a head that comes byte by byte",
            "0.300 s",
            short_first_token,
            |wire| {
                for byte in "HTTP/1.1 200 OK\r\n".bytes() {
                    wire.say([byte])?;
                    std::thread::sleep(Duration::from_millis(50));
                }
                wire.silence()
            },
        ),
        Answer::new(
            R::TimeoutFirstToken,
            "a role and no more",
            "0.300 s",
            short_first_token,
            |wire| {
                wire.stream()?;
                wire.event(ROLE)?;
                wire.silence()
            },
        ),
        Answer::new(
            R::TimeoutFirstToken,
            "comments, which are no tokens",
            "0.300 s",
            short_first_token,
            |wire| {
                wire.stream()?;
                wire.trickle(Duration::from_millis(20), "e\r\n: keep-alive\n\n\r\n")
            },
        ),
        Answer::new(
            R::TimeoutStall,
            "silence after two tokens",
            " s after it was sent",
            short_stall,
            |wire| {
                wire.stream()?;
                wire.event(TOKEN)?;
                wire.event(TOKEN)?;
                wire.silence()
            },
        ),
        Answer::new(
            R::TimeoutStall,
            "silence before the length is reached",
            " s after it was sent",
            short_stall,
            |wire| {
                wire.say(with_length(1000))?;
                wire.silence()
            },
        ),
        Answer::new(
            R::TimeoutStall,
            "comments after a token",
            " s after it was sent",
            short_stall,
            |wire| {
                wire.stream()?;
                wire.event(TOKEN)?;
                wire.trickle(Duration::from_millis(20), "e\r\n: keep-alive\n\n\r\n")
            },
        ),
        Answer::new(
            R::TimeoutTotal,
            "tokens for ever",
            "0.300 s",
            short_total,
            |wire| {
                wire.stream()?;
                loop {
                    wire.event(TOKEN)?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            },
        ),
        Answer::new(
            R::TimeoutTotal,
            "a whole answer that does not come",
            "0.300 s",
            |workload| {
                short_total(workload);
                whole(workload);
            },
            |wire| wire.silence(),
        ),
        Answer::new(
            R::Deadline,
            "a run that has to end",
            "0.",
            short_run,
            |wire| wire.silence(),
        ),
    ]
};
