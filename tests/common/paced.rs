//! A ground truth: a server that streams tokens at set times and keeps a log of when it did.
//!
//! It shares no code with the product. A plain thread serves each connection, on an absolute timeline,
//! and notes when a request had arrived and when each token left. What a client should measure can then
//! be computed from the log alone.

#![allow(dead_code, reason = "each test and benchmark uses a part of it")]
#![expect(
    clippy::disallowed_types,
    reason = "a clock of its own is the point of a ground truth"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// When and what the server answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// From the arrival of a request to its first token.
    pub(crate) first: Duration,
    /// Between tokens; zero writes them all at once.
    pub(crate) gap: Duration,
    /// Tokens of an answer.
    pub(crate) tokens: u32,
}

/// What the server saw of one request, as offsets from the server's start.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// The request had arrived in full.
    pub(crate) arrived: Duration,
    /// The first token was written.
    pub(crate) first: Duration,
    /// The last token was written.
    pub(crate) last: Duration,
    /// The end of the body was written.
    pub(crate) ended: Duration,
}

/// A running server. It ends with the process; connections are served until the client closes them.
pub(crate) struct PacedServer {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Served>>>,
}

impl PacedServer {
    pub(crate) fn start(pace: Pace) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let log = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&log);
        let start = Instant::now();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&shared);
                thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn(move || serve(stream, pace, start, &log))
                    .expect("a thread for a connection");
            }
        });
        Self { address, log }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was served so far, in the order of arrival.
    pub(crate) fn served(&self) -> Vec<Served> {
        let mut log = self.log.lock().expect("no server thread panics").clone();
        log.sort_by_key(|served| served.arrived);
        log
    }
}

fn serve(stream: TcpStream, pace: Pace, start: Instant, log: &Mutex<Vec<Served>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let arrived = start.elapsed();
        if !head.starts_with("POST") {
            let version = r#"{"version":"0.13.0"}"#;
            write!(
                writer,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{version}",
                version.len()
            )
            .ok()?;
            continue;
        }
        let (first, last) = answer(&mut writer, pace, start, arrived).ok()?;
        let ended = start.elapsed();
        log.lock().expect("no server thread panics").push(Served {
            arrived,
            first,
            last,
            ended,
        });
    }
}

fn answer(
    writer: &mut TcpStream,
    pace: Pace,
    start: Instant,
    arrived: Duration,
) -> std::io::Result<(Duration, Duration)> {
    writer.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    chunk(
        writer,
        &event(
            r#""delta":{"role":"assistant","content":"","reasoning_content":null}"#,
            "null",
        ),
    )?;
    let token = event(
        r#""delta":{"content":"word","reasoning_content":null}"#,
        "null",
    );
    let end = event(
        r#""delta":{"content":"end","reasoning_content":null}"#,
        r#""length""#,
    );
    let (mut first, mut last) = (arrived, arrived);
    for k in 0..pace.tokens {
        let due = arrived + pace.first + pace.gap * k;
        thread::sleep(due.saturating_sub(start.elapsed()));
        last = start.elapsed();
        if k == 0 {
            first = last;
        }
        chunk(writer, if k + 1 == pace.tokens { &end } else { &token })?;
    }
    let usage = format!(
        r#"data: {{"id":"chatcmpl-b428c71a07aa8b2e","object":"chat.completion.chunk","created":1795489033,"model":"Qwen/Qwen3-32B","choices":[],"usage":{{"prompt_tokens":110,"total_tokens":{},"completion_tokens":{}}}}}"#,
        110 + pace.tokens,
        pace.tokens
    );
    chunk(writer, &usage)?;
    chunk(writer, "data: [DONE]")?;
    writer.write_all(b"0\r\n\r\n")?;
    Ok((first, last))
}

/// An event as long as vLLM's are.
fn event(delta: &str, finish_reason: &str) -> String {
    format!(
        r#"data: {{"id":"chatcmpl-b428c71a07aa8b2e","object":"chat.completion.chunk","created":1795489033,"model":"Qwen/Qwen3-32B","choices":[{{"index":0,{delta},"logprobs":null,"finish_reason":{finish_reason},"token_ids":null}}]}}"#
    )
}

/// One event in one chunk and one write, as vLLM's server does it.
fn chunk(writer: &mut TcpStream, event: &str) -> std::io::Result<()> {
    writer.write_all(format!("{:x}\r\n{event}\n\n\r\n", event.len() + 2).as_bytes())
}
