//! Each fault of `/metrics` as a reader of the page meets it, alone and beside another fault.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vllm_prober::simulator::{Fault, MetricsFault};

use crate::client::{Server, chat, post};

fn with(metrics: MetricsFault) -> Server {
    Server::start(50.0, |settings| settings.conditions.metrics = metrics)
}

fn asked(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    stream
}

#[test]
fn a_page_that_is_none_has_its_status_and_its_kind() {
    for (fault, status, kind, says) in [
        (
            MetricsFault::Ok,
            200,
            "text/plain",
            "vllm:num_requests_running",
        ),
        (MetricsFault::Absent, 404, "application/json", "Not Found"),
        (MetricsFault::Html, 200, "text/html", "<h1>Log in</h1>"),
        (MetricsFault::Garbage, 200, "text/plain", "\u{fffd}"),
    ] {
        let server = with(fault);
        let reply = server.get("/metrics");
        assert_eq!(reply.status, status, "{fault:?}");
        assert!(
            reply.head.contains(&format!("content-type: {kind}")),
            "{fault:?}: {}",
            reply.head
        );
        assert!(reply.body.contains(says), "{fault:?}");
        assert_eq!(
            server.chat(&chat(r#""max_tokens":2"#)).status,
            200,
            "{fault:?}: no other page is touched"
        );
    }
}

#[test]
fn an_endless_page_goes_on_for_as_long_as_it_is_read() {
    for (fault, has_lines) in [
        (MetricsFault::Endless, true),
        (MetricsFault::EndlessLine, false),
    ] {
        let server = with(fault);
        let mut stream = asked(&server);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let mut bytes = vec![0; 8 << 20];
        stream.read_exact(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        // The marks of the chunks end with a line end of their own.
        let lines = text.replace("\r\n", "").matches('\n').count();
        assert_eq!(lines > 100_000, has_lines, "{fault:?}: {lines} lines");
        assert_eq!(lines == 0, !has_lines, "{fault:?}: {lines} lines");
        drop(stream);
        assert_eq!(server.get("/health").status, 200);
    }
}

#[test]
fn a_huge_page_ends_with_the_page() {
    let server = with(MetricsFault::Huge);
    let mut stream = asked(&server);
    let (mut total, mut tail) = (0, Vec::new());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        total += read;
        tail.extend_from_slice(&buffer[..read]);
        tail.drain(..tail.len().saturating_sub(200 << 10));
    }
    assert!((95_000_000..110_000_000).contains(&total), "{total} bytes");
    let tail = String::from_utf8_lossy(&tail);
    for says in [
        "an_unknown_series{number=\"",
        "vllm:num_requests_running{",
        "process_start_time_seconds",
    ] {
        assert!(tail.contains(says), "{says}");
    }
    assert!(tail.ends_with("0\r\n\r\n"));
}

#[test]
fn a_silent_page_is_silent_and_nothing_else_is() {
    let server = with(MetricsFault::Silent);
    let mut stream = asked(&server);
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(stream.read(&mut [0]).is_err(), "neither a byte nor an end");
    assert_eq!(server.get("/health").status, 200);
    server.post("/simulate", r#"{"metrics": "ok"}"#);
    assert_eq!(server.metric("vllm:num_requests_running"), 0.0);
}

#[test]
fn an_old_page_has_the_old_names_and_not_the_new_ones() {
    let server = Server::start(50.0, |settings| settings.prompt_tokens = Some(110));
    for _ in 0..2 {
        server.chat(&chat(r#""max_tokens":3"#));
    }
    server.post("/simulate", r#"{"metrics": "renamed"}"#);
    for (name, value) in [
        ("vllm:gpu_cache_usage_perc{", 0.0),
        ("vllm:gpu_prefix_cache_queries_total{", 220.0),
        ("vllm:gpu_prefix_cache_hits_total{", 96.0),
        ("vllm:time_per_output_token_seconds_count{", 4.0),
        ("vllm:external_prefix_cache_hits_total{", 0.0),
        ("vllm:generation_tokens_total{", 6.0),
    ] {
        assert_eq!(server.metric(name), value, "{name}");
    }
    let page = server.get("/metrics").body;
    for name in [
        "vllm:kv_cache_usage_perc",
        "vllm:prefix_cache_",
        "vllm:inter_token_latency_seconds",
    ] {
        assert!(!page.contains(name), "{name}");
    }
}

#[test]
fn both_kinds_of_fault_are_on_and_end_each_for_itself() {
    let server = Server::start(50.0, |_| {});
    server.post("/simulate", r#"{"fault": "hang", "metrics": "absent"}"#);
    let mut waiting = server.connect();
    waiting
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let request = post("/v1/chat/completions", &chat(r#""max_tokens":2"#));
    waiting.write_all(request.as_bytes()).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "no token comes");
    assert_eq!(server.get("/metrics").status, 404);

    server.post("/simulate", r#"{"metrics": "ok"}"#);
    assert_eq!(server.metric("vllm:num_requests_waiting"), 1.0);
    let now = server.simulator().controls().conditions();
    assert_eq!((now.fault, now.metrics), (Fault::Hang, MetricsFault::Ok));
}
