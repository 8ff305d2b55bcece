//! What the measuring client costs: processor time for each streamed token, and memory at c=256.
//!
//! The server runs in a process of its own (this program again), so that only the client's thread is
//! counted. Beside the client stands a floor: the least that a reader can do, which is to read, to
//! stamp, to find the events and to parse each into what is needed.
//!
//! `cargo bench --bench client_cost`

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vllm_prober::deployment::{Deployment, DeploymentName, Endpoint, Lane};
use vllm_prober::runner;
use vllm_prober::workload::Workload;

#[path = "../tests/common/paced.rs"]
mod paced;

use paced::{Pace, PacedServer};

const TOKENS: u32 = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--serve") {
        return serve(&arguments[at + 1]);
    }
    println!("processor time of the client for each streamed token, µs (median of 3)");
    println!(
        "{:<44}{:>10}{:>10}{:>12}",
        "", "client", "floor", "resident"
    );
    for (what, gap_ms, concurrency, requests) in [
        ("16 in flight, tokens 10 ms apart", 10, 16, 64),
        ("16 in flight, tokens as fast as they come", 0, 16, 512),
        ("256 in flight, tokens 40 ms apart", 40, 256, 512),
    ] {
        let server = Server::start(gap_ms);
        let tokens = f64::from(requests * TOKENS);
        let client =
            median((0..3).map(|_| client_seconds(&server.base_url, concurrency, requests)));
        let resident = resident_mb();
        let floor = median((0..3).map(|_| floor_seconds(&server.base_url, concurrency, requests)));
        println!(
            "{what:<44}{:>10.2}{:>10.2}{resident:>9.1} MB",
            client / tokens * 1e6,
            floor / tokens * 1e6
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The product's client, through the product's runner.
fn client_seconds(base_url: &str, concurrency: u32, requests: u32) -> f64 {
    let deployment = Deployment {
        name: DeploymentName::new("bench"),
        endpoint: Endpoint::new(base_url.parse().expect("a URL")),
        model: Some("Qwen/Qwen3-32B".to_owned()),
        family: None,
        precision: None,
        lane: Lane::new("bench"),
        environment: Default::default(),
        labels: Default::default(),
    };
    let workload = Workload {
        concurrency,
        requests,
        ..Workload::reference("Hello ".repeat(80))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let run = runtime
        .block_on(runner::measure(
            Arc::new(deployment),
            Arc::new(workload),
            Arc::default(),
            CancellationToken::new(),
        ))
        .expect("a run");
    assert!(
        run.records.iter().all(|record| record.outcome.is_ok()),
        "{:?}",
        run.records[0].outcome
    );
    run.client_cpu
        .expect("Linux tells the processor time of a thread")
        .as_secs_f64()
}

/// The floor: raw sockets on one thread, one buffer a connection, events found and parsed in place.
fn floor_seconds(base_url: &str, concurrency: u32, requests: u32) -> f64 {
    let address = base_url
        .strip_prefix("http://")
        .expect("plain HTTP")
        .to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let each = requests / concurrency;
            let mut sockets = Vec::new();
            for _ in 0..concurrency {
                sockets.push(
                    tokio::net::TcpStream::connect(&address)
                        .await
                        .expect("a connection"),
                );
            }
            let before = thread_seconds();
            let readers: Vec<_> = sockets
                .into_iter()
                .map(|socket| tokio::spawn(read_floor(socket, each)))
                .collect();
            for reader in readers {
                assert_eq!(reader.await.expect("no panic"), each * TOKENS);
            }
            thread_seconds() - before
        })
    })
    .join()
    .expect("no panic")
}

async fn read_floor(mut socket: tokio::net::TcpStream, requests: u32) -> u32 {
    #[derive(Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        choices: Vec<Choice<'a>>,
    }
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow)]
        delta: Delta<'a>,
    }
    #[derive(Deserialize)]
    struct Delta<'a> {
        role: Option<&'a str>,
        content: Option<&'a str>,
    }
    let mut buffer = vec![0; 64 << 10];
    let mut stamps = Vec::with_capacity((requests * TOKENS) as usize);
    for _ in 0..requests {
        let body = "x".repeat(600);
        let request = format!(
            "POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket
            .write_all(request.as_bytes())
            .await
            .expect("a request is written");
        let mut filled = 0;
        let mut ended = false;
        while !ended {
            filled += socket
                .read(&mut buffer[filled..])
                .await
                .expect("an answer is read");
            let at = Instant::now();
            let mut from = 0;
            while let Some(length) = memchr::memmem::find(&buffer[from..filled], b"\n\n") {
                let text = &buffer[from..from + length];
                if let Some(data) = memchr::memmem::find(text, b"data: ") {
                    match serde_json::from_slice::<Chunk<'_>>(&text[data + 6..]) {
                        Ok(Chunk { choices }) => {
                            if choices.iter().any(|choice| {
                                choice.delta.role.is_none() && choice.delta.content.is_some()
                            }) {
                                stamps.push(at);
                            }
                        }
                        Err(_) => ended = true,
                    }
                }
                from += length + 2;
            }
            buffer.copy_within(from..filled, 0);
            filled -= from;
        }
        // The chunk's own line end and the last chunk.
        while memchr::memmem::find(&buffer[..filled], b"0\r\n\r\n").is_none() {
            filled += socket
                .read(&mut buffer[filled..])
                .await
                .expect("an end is read");
        }
    }
    u32::try_from(stamps.len()).expect("few tokens")
}

fn thread_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds: f64 = stat
        .split_whitespace()
        .next()
        .and_then(|field| field.parse().ok())
        .expect("a number");
    nanoseconds / 1e9
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a high-water mark");
    let kilobytes: f64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok())
        .expect("a number");
    kilobytes * 1024.0 / 1e6
}

/// The server in its own process; it ends when its standard input does.
struct Server {
    child: Child,
    base_url: String,
}

impl Server {
    fn start(gap_ms: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--serve", &gap_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server process");
        let mut base_url = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut base_url)
            .expect("an address");
        Self {
            child,
            base_url: base_url.trim().to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn serve(gap_ms: &str) {
    let gap = Duration::from_millis(gap_ms.parse().expect("milliseconds"));
    let server = PacedServer::start(Pace {
        first: Duration::from_millis(20),
        gap,
        tokens: TOKENS,
    });
    println!("{}", server.base_url());
    std::io::stdout().flush().expect("stdout");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let _ = TcpStream::connect(server.address);
}
