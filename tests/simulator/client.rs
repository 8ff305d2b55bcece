//! A client that knows nothing but sockets, so that it sees the bytes as they are.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::runtime::Runtime;
use vllm_prober::simulator::{Profile, Settings, Simulator};

/// A running deployment with its runtime; stops when dropped.
pub(crate) struct Server {
    runtime: Runtime,
    simulator: Option<Simulator>,
}

impl Server {
    /// A deployment of the fastest profile, `speedup` times faster still.
    pub(crate) fn start(speedup: f64, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(Profile::named("nvfp4").unwrap());
        settings.speedup = speedup;
        change(&mut settings);
        let runtime = Runtime::new().unwrap();
        let simulator = runtime.block_on(Simulator::start(settings)).unwrap();
        Self {
            runtime,
            simulator: Some(simulator),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.simulator().address()
    }

    pub(crate) fn simulator(&self) -> &Simulator {
        self.simulator.as_ref().unwrap()
    }

    /// Stops it and waits for that.
    pub(crate) fn stop(mut self) {
        let stopped = self.simulator.take().unwrap().stop();
        self.runtime.block_on(stopped).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.send(&post(path, body))
    }

    pub(crate) fn chat(&self, body: &str) -> Reply {
        self.post("/v1/chat/completions", body)
    }

    pub(crate) fn send(&self, request: &str) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        read_reply(&mut stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// The value of a series of `/metrics`, by the beginning of its line.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.get("/metrics").body;
        let line = page.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("{series} is missing from\n{page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until a series has a value, but not for long.
    pub(crate) fn await_metric(&self, series: &str, value: f64) {
        for _ in 0..500 {
            if self.metric(series) == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{series} is {} and not {value}", self.metric(series));
    }
}

/// A request on a connection of its own.
pub(crate) fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A chat completion's body: `fields` after a short conversation.
pub(crate) fn chat(fields: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"Hello"}}],{fields}}}"#)
}

/// What came back on a connection that the server closed.
#[derive(Debug)]
pub(crate) struct Reply {
    /// 0 if there was none.
    pub(crate) status: u16,
    pub(crate) head: String,
    /// Free of chunk marks.
    pub(crate) body: String,
    /// The chunks of a chunked body.
    pub(crate) chunks: Vec<String>,
    /// Whether the body came to its proper end.
    pub(crate) is_whole: bool,
}

impl Reply {
    /// The events of a stream, without `data: `.
    pub(crate) fn events(&self) -> Vec<&str> {
        self.body
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap_or(event))
            .collect()
    }
}

pub(crate) fn read_reply(stream: &mut impl Read) -> Reply {
    let mut bytes = Vec::new();
    // A reset after the last byte is as good as an end.
    let _: io::Result<usize> = stream.read_to_end(&mut bytes);
    parse_reply(&bytes)
}

pub(crate) fn parse_reply(bytes: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let (chunks, is_whole) = match length {
        Some(length) => (Vec::new(), length.parse() == Ok(body.len())),
        None => dechunk(body.as_bytes()),
    };
    let body = if length.is_some() {
        body.to_owned()
    } else {
        chunks.concat()
    };
    Reply {
        status,
        head: head.to_owned(),
        body,
        chunks,
        is_whole,
    }
}

/// The chunks, and whether the last one came.
pub(crate) fn dechunk(mut bytes: &[u8]) -> (Vec<String>, bool) {
    let mut chunks = Vec::new();
    while let Some(mark) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..mark]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (chunks, true);
        }
        let Some(chunk) = bytes.get(mark + 2..mark + 2 + size) else {
            break;
        };
        chunks.push(String::from_utf8(chunk.to_vec()).unwrap());
        bytes = bytes.get(mark + 2 + size + 2..).unwrap_or_default();
    }
    (chunks, false)
}
