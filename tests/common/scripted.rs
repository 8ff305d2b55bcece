//! A server that does what a script says, in raw bytes over plain threads, and keeps a log of what it saw.
//!
//! It shares no code with the product and knows no more HTTP than it must, so that it can be wrong in
//! every way that servers are.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a script does with a request. An error closes the connection, as does a client that is gone.
pub(crate) type Script = Arc<dyn Fn(&Asked, &mut Wire) -> io::Result<()> + Send + Sync>;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its number among the requests of its method, from 0.
    pub(crate) number: usize,
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    /// Connections that had been accepted when it was read.
    pub(crate) accepted: usize,
    pub(crate) head: String,
    pub(crate) body: String,
    /// How many times the socket was read until the request was there.
    pub(crate) reads: usize,
}

impl Asked {
    pub(crate) fn is_post(&self) -> bool {
        self.head.starts_with("POST ")
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// How the server differs from one that speaks plain HTTP, is patient, and tells its version.
#[derive(Clone)]
pub(crate) struct Habits {
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Closes a connection on which no request came for so long.
    pub(crate) idle: Option<Duration>,
    /// How long a connection, by its number, waits until it is served.
    pub(crate) delay: fn(usize) -> Duration,
    /// Answers what is not a POST.
    pub(crate) gets: Script,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            tls: None,
            idle: None,
            delay: |_| Duration::ZERO,
            gets: Arc::new(|_, wire| wire.json("200 OK", r#"{"version":"0.13.0"}"#)),
        }
    }
}

/// A running server. Its threads end when their clients are gone, and at the latest with the process.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    log: Arc<(Mutex<Log>, Condvar)>,
}

#[derive(Debug, Default)]
struct Log {
    accepted: usize,
    closed: usize,
    asked: Vec<Asked>,
}

impl Scripted {
    pub(crate) fn start(
        posts: impl Fn(&Asked, &mut Wire) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::with(Habits::default(), Arc::new(posts))
    }

    pub(crate) fn with(habits: Habits, posts: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let scheme = if habits.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let log = Arc::<(Mutex<Log>, Condvar)>::default();
        let shared = Arc::clone(&log);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = {
                    let mut log = shared.0.lock().expect("no panic under the lock");
                    log.accepted += 1;
                    log.accepted - 1
                };
                let (habits, posts, shared) =
                    (habits.clone(), Arc::clone(&posts), Arc::clone(&shared));
                thread::Builder::new()
                    .stack_size(256 << 10)
                    .spawn(move || {
                        // Whatever ends a conversation, it has ended.
                        let _: io::Result<()> =
                            converse(stream, connection, &habits, &posts, &shared.0);
                        shared.0.lock().expect("no panic under the lock").closed += 1;
                        shared.1.notify_all();
                    })
                    .expect("a thread for a connection");
            }
        });
        Self {
            address,
            scheme,
            log,
        }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.log().accepted
    }

    /// The requests that came so far, in the order of arrival.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log().asked.clone()
    }

    /// The POSTs among them.
    pub(crate) fn posts(&self) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(Asked::is_post);
        asked
    }

    /// Waits until every connection that was accepted is closed; false if one still is open after `patience`.
    pub(crate) fn all_closed_within(&self, patience: Duration) -> bool {
        let (_log, result) = self
            .log
            .1
            .wait_timeout_while(self.log(), patience, |log| log.closed < log.accepted)
            .expect("no panic under the lock");
        !result.timed_out()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.0.lock().expect("no panic under the lock")
    }
}

/// Serves one connection until either side closes it.
fn converse(
    stream: TcpStream,
    connection: usize,
    habits: &Habits,
    posts: &Script,
    log: &Mutex<Log>,
) -> io::Result<()> {
    thread::sleep((habits.delay)(connection));
    stream.set_nodelay(true)?;
    stream.set_read_timeout(habits.idle)?;
    let mut wire = Wire(match &habits.tls {
        None => Box::new(stream),
        Some(config) => Box::new(StreamOwned::new(
            ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?,
            stream,
        )),
    });
    loop {
        let (head, body, reads) = wire.request()?;
        let asked = {
            let mut log = log.lock().expect("no panic under the lock");
            let mut asked = Asked {
                number: 0,
                connection,
                accepted: log.accepted,
                head,
                body,
                reads,
            };
            let same = |earlier: &&Asked| earlier.is_post() == asked.is_post();
            asked.number = log.asked.iter().filter(same).count();
            log.asked.push(asked.clone());
            asked
        };
        let script = if asked.is_post() { posts } else { &habits.gets };
        script(&asked, &mut wire)?;
    }
}

trait Socket: Read + Write + Send {}

impl<S: Read + Write + Send> Socket for S {}

/// The server's end of a connection.
pub(crate) struct Wire(Box<dyn Socket>);

/// The role-only event with which vLLM begins a stream: no token.
pub(crate) const ROLE: &str = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
/// An event with a token.
pub(crate) const TOKEN: &str =
    r#"data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
/// The event with the last token.
pub(crate) const LAST: &str =
    r#"data: {"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"length"}]}"#;
/// The usage of an answer of four tokens.
pub(crate) const USAGE: &str =
    r#"data: {"choices":[],"usage":{"prompt_tokens":9,"total_tokens":13,"completion_tokens":4}}"#;
/// The end of a stream.
pub(crate) const DONE: &str = "data: [DONE]";
/// Tokens of [`Wire::answer`].
pub(crate) const TOKENS: u32 = 4;

impl Wire {
    /// Writes `bytes` as they are.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref())
    }

    /// A whole answer of `kind` with its length.
    pub(crate) fn document(&mut self, status: &str, kind: &str, body: &str) -> io::Result<()> {
        self.say(format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub(crate) fn json(&mut self, status: &str, body: &str) -> io::Result<()> {
        self.document(status, "application/json", body)
    }

    /// The head of a chunked stream of events.
    pub(crate) fn stream(&mut self) -> io::Result<()> {
        self.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")
    }

    /// One event in one chunk.
    pub(crate) fn event(&mut self, event: &str) -> io::Result<()> {
        self.say(format!("{:x}\r\n{event}\n\n\r\n", event.len() + 2))
    }

    /// A whole stream of `events`, cleanly ended.
    pub(crate) fn events(&mut self, events: &[&str]) -> io::Result<()> {
        self.stream()?;
        for event in events {
            self.event(event)?;
        }
        self.say("0\r\n\r\n")
    }

    /// A faultless answer of [`TOKENS`] tokens, streamed if that was asked for.
    pub(crate) fn answer(&mut self, asked: &Asked) -> io::Result<()> {
        if asked.body.contains(r#""stream":true"#) {
            self.events(&[ROLE, TOKEN, TOKEN, TOKEN, LAST, USAGE, DONE])
        } else {
            self.json("200 OK", r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"aaab"},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"total_tokens":13,"completion_tokens":4}}"#)
        }
    }

    /// Says nothing more, until the client closes the connection.
    pub(crate) fn silence(&mut self) -> io::Result<()> {
        while self.0.read(&mut [0; 256])? > 0 {}
        self.hang_up()
    }

    /// Says `bytes` again and again, until the client closes the connection.
    pub(crate) fn trickle(&mut self, every: Duration, bytes: &str) -> io::Result<()> {
        loop {
            self.say(bytes)?;
            thread::sleep(every);
        }
    }

    /// Closes the connection, when it is a script's last word.
    pub(crate) fn hang_up(&self) -> io::Result<()> {
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// The next request: its head, its body, and how many reads it took.
    fn request(&mut self) -> io::Result<(String, String, usize)> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        let mut reads = 0;
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let length = head.lines().find_map(|line| {
                    let line = line.to_ascii_lowercase();
                    line.strip_prefix("content-length:")?.trim().parse().ok()
                });
                let body = &bytes[end + 4..];
                if body.len() >= length.unwrap_or(0) {
                    return Ok((head, String::from_utf8_lossy(body).into_owned(), reads));
                }
            }
            match self.0.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
            reads += 1;
        }
    }
}
