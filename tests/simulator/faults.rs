//! Each fault as a client meets it.

use std::io::{Read, Write};
use std::time::Duration;

use vllm_prober::simulator::{Change, Fault};

use crate::client::{Reply, Server, chat, parse_reply, post, read_reply};

fn switch(server: &Server, fault: Fault) {
    let change = Change {
        fault: Some(fault),
        ..Change::default()
    };
    server.simulator().controls().apply(change).unwrap();
}

fn with(fault: Fault) -> Server {
    let server = Server::start(20.0, |_| {});
    switch(&server, fault);
    server
}

fn stream() -> String {
    chat(r#""stream":true,"max_tokens":32"#)
}

fn tokens(reply: &Reply) -> usize {
    reply
        .events()
        .iter()
        .filter(|event| event.contains(r#""token_ids":null"#))
        .count()
}

/// What a client has after a while on a connection that stays open.
fn what_comes(server: &Server, request: &str, patience: Duration) -> Reply {
    let mut stream = server.connect();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream
        .write_all(post("/v1/chat/completions", request).as_bytes())
        .unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!(
                "the server closed the connection after {:?}",
                parse_reply(&bytes)
            ),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(_) => return parse_reply(&bytes),
        }
    }
}

#[test]
fn statuses_come_before_the_engine_is_asked() {
    for (fault, status, in_head) in [
        (Fault::Http500, 500, "content-type: application/json"),
        (Fault::Http503, 503, "content-type: application/json"),
        (Fault::Http429, 429, "retry-after: 1"),
        (Fault::Http401, 401, "content-type: application/json"),
        (Fault::Redirect, 307, "location: http://elsewhere.invalid/"),
    ] {
        let server = with(fault);
        let reply = server.chat(&stream());
        assert_eq!(reply.status, status, "{fault:?}");
        assert!(reply.head.contains(in_head), "{fault:?}: {}", reply.head);
        let health = if fault == Fault::Http503 { 503 } else { 200 };
        assert_eq!(server.get("/health").status, health, "{fault:?}");
        assert_eq!(
            server.metric("vllm:generation_tokens_total"),
            0.0,
            "{fault:?}"
        );
    }
    let captured = include_str!("../testdata/vllm-0.13.0/resp_enginedead_plain.txt");
    assert!(captured.ends_with(&with(Fault::Http500).chat(&stream()).body));
}

#[test]
fn a_hung_and_a_sleeping_engine_stand_still_and_go_on() {
    for (fault, awake) in [(Fault::Hang, 1.0), (Fault::Asleep, 0.0)] {
        let server = with(fault);
        let mut waiting = server.connect();
        waiting
            .write_all(post("/v1/chat/completions", &stream()).as_bytes())
            .unwrap();
        server.await_metric("vllm:num_requests_waiting", 1.0);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(server.get("/health").status, 200);
        assert_eq!(server.metric("vllm:generation_tokens_total"), 0.0);
        let state = r#"vllm:engine_sleep_state{engine="0",model_name="RedHatAI/Qwen3-32B-NVFP4",sleep_state="awake"}"#;
        assert_eq!(server.metric(state), awake);
        assert_eq!(
            server.get("/is_sleeping").body,
            format!("{{\"is_sleeping\":{}}}", awake == 0.0)
        );

        switch(&server, Fault::None);
        let reply = read_reply(&mut waiting);
        assert_eq!(*reply.events().last().unwrap(), "[DONE]");
        let queued = server.metric("vllm:request_queue_time_seconds_sum");
        assert!(queued >= 0.1, "it queued for {queued} s");
    }
}

#[test]
fn a_hang_in_mid_answer_does_not_make_the_rest_come_at_once() {
    let server = Server::start(1.0, |_| {});
    let mut stream = server.connect();
    let request = chat(r#""stream":true,"max_tokens":60"#);
    stream
        .write_all(post("/v1/chat/completions", &request).as_bytes())
        .unwrap();
    while server.metric("vllm:generation_tokens_total") < 3.0 {}
    switch(&server, Fault::Hang);
    std::thread::sleep(Duration::from_secs(1));
    let before = server.metric("vllm:generation_tokens_total");
    assert!(before < 40.0, "{before}");
    switch(&server, Fault::None);
    std::thread::sleep(Duration::from_millis(100));
    let after = server.metric("vllm:generation_tokens_total");
    assert!(after < before + 15.0, "{before} tokens, then {after}");
    assert_eq!(tokens(&read_reply(&mut stream)), 60);
}

#[test]
fn streams_go_wrong_in_mid_answer() {
    let error = with(Fault::ErrorMidStream).chat(&stream());
    let events = error.events();
    let captured = include_str!("../testdata/vllm-0.13.0/raw_enginedead_stream.txt");
    assert!(captured.contains(events[events.len() - 2]), "{events:?}");
    assert_eq!((error.is_whole, events[events.len() - 1]), (true, "[DONE]"));

    let cut = with(Fault::Truncate).chat(&stream());
    assert!(!cut.is_whole && tokens(&cut) > 0, "{cut:?}");

    let server = with(Fault::StallMidStream);
    let silent = what_comes(&server, &stream(), Duration::from_millis(300));
    assert!(tokens(&silent) > 0 && !silent.is_whole, "{silent:?}");
    assert!(
        !silent.body.contains("finish_reason\":\"length"),
        "{silent:?}"
    );
}

#[test]
fn streams_end_without_what_belongs_at_their_end() {
    let no_done = with(Fault::NoDone).chat(&stream());
    assert!(no_done.is_whole && !no_done.body.contains("[DONE]"));
    assert!(no_done.body.contains(r#""completion_tokens":32"#));

    let no_usage = with(Fault::NoUsage).chat(&stream());
    assert!(no_usage.is_whole && no_usage.body.ends_with("data: [DONE]\n\n"));
    assert!(!no_usage.body.contains("usage"));

    let empty = with(Fault::EmptyAnswer).chat(&stream());
    assert_eq!(
        (empty.status, empty.is_whole, tokens(&empty)),
        (200, true, 0)
    );
    assert!(empty.body.contains(r#""completion_tokens":0"#));
}

#[test]
fn streams_carry_what_is_no_answer() {
    let html = with(Fault::GarbageSse).chat(&stream());
    assert_eq!((html.status, html.is_whole), (200, true));
    assert!(html.body.starts_with("<html>"));

    let broken = with(Fault::GarbageJson).chat(&stream());
    let events = broken.events();
    assert!(
        serde_json::from_str::<serde_json::Value>(events[1]).is_err(),
        "{events:?}"
    );

    let huge = with(Fault::HugeEvent).chat(&stream());
    let longest = huge.body.split('\n').map(str::len).max();
    assert!(longest > Some(1 << 20), "{longest:?}");

    let server = with(Fault::Flood);
    let mut stream = server.connect();
    let request = post(
        "/v1/chat/completions",
        &chat(r#""stream":true,"max_tokens":4"#),
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut flood = vec![0; 1 << 20];
    stream.read_exact(&mut flood).unwrap();
}

#[test]
fn an_early_stop_is_a_stop_that_the_engine_counts() {
    let server = with(Fault::EarlyStop);
    let reply = server.chat(&stream());
    assert!(
        reply.body.contains(r#""finish_reason":"stop""#),
        "{}",
        reply.body
    );
    assert!(
        reply.body.contains(r#""completion_tokens":8"#),
        "{}",
        reply.body
    );
    assert_eq!(
        server.metric(r#"vllm:request_success_total{engine="0",finished_reason="stop""#),
        1.0
    );
}

#[test]
fn a_refusing_server_closes_new_and_open_connections() {
    let server = Server::start(20.0, |_| {});
    let mut open = server.connect();
    open.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut head = [0; 16];
    open.read_exact(&mut head).unwrap();
    switch(&server, Fault::Refuse);
    let _ = open.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest);
    assert!(
        !String::from_utf8_lossy(&rest).contains("HTTP/1.1"),
        "the second answer never came"
    );

    let mut fresh = server.connect();
    let _ = fresh.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(read_reply(&mut fresh).status, 0);
    switch(&server, Fault::None);
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn slow_headers_come_late_and_then_the_answer() {
    let server = with(Fault::SlowHeaders);
    // Ten seconds at a speed-up of twenty.
    let mut stream = server.connect();
    stream
        .set_read_timeout(Some(Duration::from_millis(250)))
        .unwrap();
    stream
        .write_all(post("/v1/chat/completions", &self::stream()).as_bytes())
        .unwrap();
    let mut first = [0; 1];
    assert!(
        stream.read(&mut first).is_err(),
        "nothing comes in the first half of the delay"
    );
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert!(read_reply(&mut stream).body.ends_with("data: [DONE]\n\n"));
}

#[test]
fn answers_without_a_stream_go_wrong_too() {
    let plain = chat(r#""max_tokens":8"#);
    for (fault, status, is_whole, is_json) in [
        (Fault::ErrorMidStream, 500, true, true),
        (Fault::Truncate, 200, false, false),
        (Fault::GarbageJson, 200, true, false),
        (Fault::HugeEvent, 200, true, false),
    ] {
        let reply = with(fault).chat(&plain);
        let json = serde_json::from_str::<serde_json::Value>(&reply.body).is_ok();
        assert_eq!(
            (reply.status, reply.is_whole, json),
            (status, is_whole, is_json),
            "{fault:?}"
        );
    }
    let no_usage = with(Fault::NoUsage).chat(&plain);
    assert!(
        no_usage.body.contains(r#""usage":null"#),
        "{}",
        no_usage.body
    );
    let empty = with(Fault::EmptyAnswer).chat(&plain);
    assert!(empty.body.contains(r#""content":"""#), "{}", empty.body);
}
