//! What the measuring client costs: processor time for each streamed token, and memory at c=256.
//!
//! The server runs in a process of its own (this program again), so that only the client's thread is
//! counted. Beside the client stands a floor: the least that a reader can do, which is to read, to
//! stamp, to find the events and to parse each into what is needed.
//!
//! `cargo bench --bench client_cost`

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use vllm_prober::deployment::{Deployment, Endpoint, MetricsSource};
use vllm_prober::runner::{self, Attempt};
use vllm_prober::workload::Workload;

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
        model: Some("Qwen/Qwen3-32B".to_owned()),
        metrics: MetricsSource::Off,
        ..Deployment::new("bench", Endpoint::new(base_url.parse().expect("a URL")))
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
            Attempt::new(Arc::new(deployment), Arc::new(workload)),
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
        .map(|had| had.used)
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
                sockets.push(TcpStream::connect(&address).await.expect("a connection"));
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

async fn read_floor(mut socket: TcpStream, requests: u32) -> u32 {
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

/// Streams to all connections in lock-step, as an engine that batches does: every `gap_ms` a token to
/// each. Without a gap each connection is written to as fast as it takes it.
fn serve(gap_ms: &str) {
    let gap = Duration::from_millis(gap_ms.parse().expect("milliseconds"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        println!(
            "http://{}",
            listener
                .local_addr()
                .expect("a bound listener has an address")
        );
        let (steps, step) = watch::channel(());
        tokio::spawn(async move {
            let mut ticks = interval(gap.max(Duration::from_millis(1)));
            loop {
                ticks.tick().await;
                steps.send_replace(());
            }
        });
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(stream(socket, (!gap.is_zero()).then(|| step.clone())));
            }
        });
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    });
}

/// Serves one connection until the client closes it.
async fn stream(mut socket: TcpStream, mut step: Option<watch::Receiver<()>>) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    let token = chunk(
        r#""delta":{"content":"word","reasoning_content":null}"#,
        "null",
    );
    let last = chunk(
        r#""delta":{"content":"end","reasoning_content":null}"#,
        r#""length""#,
    );
    let role = chunk(
        r#""delta":{"role":"assistant","content":"","reasoning_content":null}"#,
        "null",
    );
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let usage = framed(&format!(
        r#"{{"choices":[],"usage":{{"prompt_tokens":110,"completion_tokens":{TOKENS}}}}}"#
    ));
    let mut request = vec![0; 64 << 10];
    loop {
        let read = socket
            .read(&mut request)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        if request[..read].starts_with(b"GET") {
            socket
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                .await
                .ok()?;
            continue;
        }
        socket
            .write_all(format!("{head}{role}").as_bytes())
            .await
            .ok()?;
        for k in 1..=TOKENS {
            if let Some(step) = &mut step {
                step.changed().await.ok()?;
            }
            socket
                .write_all(if k == TOKENS {
                    last.as_bytes()
                } else {
                    token.as_bytes()
                })
                .await
                .ok()?;
        }
        socket
            .write_all(format!("{usage}{}0\r\n\r\n", framed("[DONE]")).as_bytes())
            .await
            .ok()?;
    }
}

/// One event in one HTTP chunk, as long as vLLM's are.
fn chunk(delta: &str, finish_reason: &str) -> String {
    framed(&format!(
        r#"{{"id":"chatcmpl-b428c71a07aa8b2e","object":"chat.completion.chunk","created":1795489033,"model":"Qwen/Qwen3-32B","choices":[{{"index":0,{delta},"logprobs":null,"finish_reason":{finish_reason},"token_ids":null}}]}}"#
    ))
}

fn framed(data: &str) -> String {
    format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8)
}
