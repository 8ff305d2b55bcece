//! A server that restarts: what was in flight is cut, what was counted is gone, and it may stay away.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;
use vllm_prober::simulator::{Change, Fault};

use crate::client::{Server, chat, post, read_reply};

const RUNNING: &str = "vllm:num_requests_running";
const TOKENS: &str = "vllm:generation_tokens_total";
const STARTED: &str = "process_start_time_seconds";
const CREATED: &str = "vllm:generation_tokens_created";
const LONG: &str = r#""stream":true,"max_tokens":2000"#;

fn open_chat(server: &Server, fields: &str) -> TcpStream {
    let mut stream = server.connect();
    stream
        .write_all(post("/v1/chat/completions", &chat(fields)).as_bytes())
        .unwrap();
    stream
}

/// A connection that is open and on which nothing has been asked.
fn idle(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    stream
}

#[test]
fn a_restart_cuts_what_is_in_flight_and_begins_all_counts_at_0() {
    let server = Server::start(1.0, |settings| settings.conditions.foreign_requests = 2);
    let streams: Vec<TcpStream> = (0..3).map(|_| open_chat(&server, LONG)).collect();
    let whole = open_chat(&server, r#""max_tokens":2000"#);
    let idle = idle(&server);
    server.await_metric(RUNNING, 6.0);
    while server.metric(TOKENS) < 20.0 {}
    let (started, created) = (server.metric(STARTED), server.metric(CREATED));
    assert_eq!(started, created);

    let answer = server.post("/simulate", r#"{"restart": true}"#);
    assert_eq!(
        answer.status, 200,
        "who asks for it is answered: {answer:?}"
    );
    assert!(answer.body.contains(r#""restarts":1"#), "{}", answer.body);
    assert!(
        answer.body.contains(r#""foreign_requests":2"#),
        "{}",
        answer.body
    );
    let page = server.get("/metrics").body;
    for mut stream in streams {
        let reply = read_reply(&mut stream);
        assert!(
            !reply.is_whole && !reply.body.contains("[DONE]"),
            "{reply:?}"
        );
        assert!(!reply.body.contains("error"), "{reply:?}");
    }
    for mut stream in [whole, idle] {
        assert_eq!(read_reply(&mut stream).status, 0);
    }

    let value = |series: &str| -> f64 {
        let line = page.lines().find(|line| line.starts_with(series)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(
        value(STARTED) > started,
        "{} after {started}",
        value(STARTED)
    );
    assert_eq!(value(CREATED), value(STARTED));
    assert!(
        value(TOKENS) < 15.0,
        "only what came since: {}",
        value(TOKENS)
    );
    assert_eq!(value("vllm:e2e_request_latency_seconds_count"), 0.0);
    assert_eq!(
        value(r#"vllm:request_success_total{engine="0",finished_reason="abort""#),
        0.0
    );
    assert!(
        !page.contains("http_requests_total{"),
        "no request was answered yet"
    );
    // The conditions have outlived it, and it serves.
    server.await_metric(RUNNING, 2.0);
    assert_eq!(server.chat(&chat(r#""max_tokens":2"#)).status, 200);
    assert_eq!(server.metric(STARTED), value(STARTED));
}

#[test]
fn a_server_that_is_down_refuses_connections_and_comes_back() {
    let server = Server::start(20.0, |_| {});
    server.chat(&chat(r#""max_tokens":5"#));
    let told = Instant::now();
    server.post("/simulate", r#"{"down_for": 0.5}"#);
    let mut refused = 0;
    loop {
        match TcpStream::connect(server.address()) {
            Ok(_) if refused > 0 => break,
            // The word may take a moment to reach the door.
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                refused += 1;
            }
        }
        assert!(
            told.elapsed() < Duration::from_secs(10),
            "refused {refused}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        told.elapsed() >= Duration::from_millis(450),
        "{:?}",
        told.elapsed()
    );
    assert_eq!(server.metric(TOKENS), 0.0);
    assert_eq!(server.chat(&chat(r#""max_tokens":5"#)).status, 200);
}

#[test]
fn a_dead_engine_says_so_to_all_and_only_a_restart_brings_it_back() {
    let server = Server::start(1.0, |_| {});
    let streams: Vec<TcpStream> = (0..2).map(|_| open_chat(&server, LONG)).collect();
    let mut whole = open_chat(&server, r#""max_tokens":2000"#);
    server.await_metric(RUNNING, 3.0);
    while server.metric(TOKENS) < 20.0 {}
    let change = Change {
        fault: Some(Fault::EngineDead),
        ..Change::default()
    };
    server.simulator().controls().apply(change).unwrap();

    let captured = include_str!("../testdata/vllm-0.13.0/raw_enginedead_stream.txt");
    for mut stream in streams {
        let reply = read_reply(&mut stream);
        let events = reply.events();
        let [.., token, error, done] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert!(token.contains(r#""token_ids":null"#), "{token}");
        assert!(captured.contains(error), "{error}");
        assert_eq!((reply.is_whole, *done), (true, "[DONE]"));
    }
    let captured = include_str!("../testdata/vllm-0.13.0/resp_enginedead_plain.txt");
    for reply in [
        read_reply(&mut whole),
        server.chat(&chat(LONG)),
        server.chat(&chat(r#""max_tokens":2"#)),
    ] {
        assert_eq!(reply.status, 500);
        assert!(captured.ends_with(&reply.body), "{}", reply.body);
    }
    assert_eq!(server.get("/health").status, 503);
    // The page goes on, and shows what the engine looked like when it died.
    assert_eq!(server.metric(RUNNING), 3.0);
    let tokens = server.metric(TOKENS);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.metric(TOKENS), tokens);
    let started = server.metric(STARTED);

    server.post("/simulate", r#"{"fault": "none"}"#);
    assert_eq!(server.get("/health").status, 200);
    assert!(server.metric(STARTED) > started);
    assert_eq!((server.metric(RUNNING), server.metric(TOKENS)), (0.0, 0.0));
    assert_eq!(server.chat(&chat(r#""max_tokens":2"#)).status, 200);
}

#[test]
fn a_hung_engine_keeps_what_runs() {
    let server = Server::start(1.0, |_| {});
    let stream = open_chat(&server, LONG);
    server.await_metric(RUNNING, 1.0);
    server.post("/simulate", r#"{"fault": "hang"}"#);
    let tokens = server.metric(TOKENS);
    drop(stream);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(
        (server.metric(RUNNING), server.metric(TOKENS)),
        (1.0, tokens)
    );
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.metric(r#"vllm:engine_sleep_state{engine="0",model_name="RedHatAI/Qwen3-32B-NVFP4",sleep_state="awake""#), 1.0);
}
