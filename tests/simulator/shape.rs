//! Every answer has the shape of vLLM 0.13.0's: the same keys in the same order, with values of the same
//! kinds.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{Reply, Server, chat, dechunk, parse_reply};

macro_rules! captured {
    ($file:literal) => {
        include_str!(concat!("../testdata/vllm-0.13.0/", $file))
    };
}

/// JSON with every value replaced by its kind.
fn shape(json: &str) -> String {
    let mut shape = String::new();
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let (literal, after) = rest.split_at(end.expect("a string ends") + 2);
            let is_key = after.trim_start().starts_with(':');
            shape.push_str(if is_key { literal } else { "text" });
            rest = after;
        } else if c.is_ascii_digit() || c == '-' {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !".-+eE".contains(c));
            shape.push_str("number");
            rest = &rest[end.unwrap_or(rest.len())..];
        } else {
            shape.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    shape
}

/// The names of a head's fields, in order, with the values that do not change.
fn head_shape(head: &str) -> Vec<String> {
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().to_owned();
    let fields = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| match name {
            "date" | "content-length" => name.to_owned(),
            _ => format!("{name}: {value}"),
        });
    let mut shape: Vec<String> = fields.collect();
    shape.sort();
    shape.insert(0, status);
    shape
}

/// A server that is asked as the captured one was.
fn server() -> Server {
    Server::start(50.0, |settings| {
        settings.served_model = Some("Qwen/Qwen3-32B".into());
        settings.prompt_tokens = Some(121);
    })
}

#[test]
fn refusals_say_what_vllm_says() {
    let server = server();
    for (request, status, captured) in [
        (
            chat(r#""model":"nope/none""#),
            404,
            captured!("resp_wrongmodel.body"),
        ),
        (
            chat(r#""max_tokens":100000"#),
            400,
            captured!("resp_toolong.body"),
        ),
        (
            chat(r#""max_tokens":"abc""#),
            400,
            captured!("resp_badtype.body"),
        ),
        (
            // The first thing that is not JSON stands at the captured one's place.
            r#"{"model": "Qwen/Qwen3-32B", "messages": [oops"#.into(),
            400,
            captured!("resp_malformed.body"),
        ),
    ] {
        let reply = server.chat(&request);
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (status, captured),
            "{request}"
        );
    }
    // Python prints the request in the order in which it was sent; ours is sorted.
    for (request, captured) in [
        (
            r#"{"model":"Qwen/Qwen3-32B","max_tokens":256,"temperature":0}"#.into(),
            captured!("resp_nomessages.body"),
        ),
        (
            chat(r#""stream_options":{"include_usage":true}"#),
            captured!("resp_streamopts_nostream.body"),
        ),
    ] {
        let reply = server.chat(&request);
        assert_eq!(
            (reply.status, shape(&reply.body)),
            (400, shape(captured)),
            "{request}"
        );
        let beginning = |body: &str| body.split("'input'").next().unwrap().to_owned();
        assert_eq!(beginning(&reply.body), beginning(captured), "{request}");
    }
    let reply = server.get("/v1/nowhere");
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (404, captured!("resp_wrongpath.body"))
    );
    assert_eq!(server.get("/v1/chat/completions").status, 405);
}

#[test]
fn what_is_served_is_told_as_vllm_tells_it() {
    let server = server();
    for (path, captured) in [
        ("/v1/models", captured!("v1_models.body")),
        ("/version", captured!("version.body")),
    ] {
        let reply = server.get(path);
        assert_eq!(
            (reply.status, shape(&reply.body)),
            (200, shape(captured)),
            "{path}"
        );
        assert!(reply.head.contains("\r\nserver: uvicorn"), "{}", reply.head);
    }
    assert_eq!(server.get("/version").body, captured!("version.body"));
    let health = server.get("/health");
    assert_eq!((health.status, health.body.as_str()), (200, ""));
    assert_eq!(server.get("/load").body, r#"{"server_load":0}"#);
}

#[test]
fn a_key_opens_what_is_under_v1_and_the_rest_is_open() {
    let server = Server::start(50.0, |settings| settings.api_key = Some("sesame".into()));
    let refused = parse_reply(
        captured!("resp_401_nokey.txt")
            .replace('\n', "\r\n")
            .replace("\r\r", "\r")
            .as_bytes(),
    );
    for key in [
        "",
        "authorization: Bearer wrong\r\n",
        "authorization: sesame\r\n",
    ] {
        let reply = server.send(&format!(
            "GET /v1/models HTTP/1.1\r\n{key}connection: close\r\n\r\n"
        ));
        assert_eq!(
            (reply.status, &reply.body),
            (refused.status, &refused.body),
            "{key}"
        );
    }
    let key = "authorization: Bearer sesame\r\n";
    let reply = server.send(&format!(
        "GET /v1/models HTTP/1.1\r\n{key}connection: close\r\n\r\n"
    ));
    assert_eq!(reply.status, 200);
    for path in ["/health", "/version", "/metrics"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_whole_answer_has_the_captured_shape_cold_and_cached() {
    let server = Server::start(50.0, |settings| {
        settings.prompt_tokens = Some(121);
        settings.prompt_tokens_details = true;
    });
    for captured in [
        captured!("resp_plain.body"),
        captured!("resp_plain_prefixcached.body"),
    ] {
        let reply = server.chat(&chat(r#""max_tokens":256"#));
        assert_eq!((reply.status, shape(&reply.body)), (200, shape(captured)));
        let usage = |body: &str| body[body.find(r#""usage""#).unwrap()..].to_owned();
        assert_eq!(usage(&reply.body), usage(captured));
    }
}

/// The different shapes of a stream's events, in order: role, token, last token, usage, end.
fn stages(reply: &Reply) -> Vec<String> {
    let mut stages: Vec<String> = reply
        .events()
        .into_iter()
        .map(|event| {
            if event.starts_with('{') {
                shape(event)
            } else {
                event.to_owned()
            }
        })
        .collect();
    stages.dedup();
    stages
}

fn captured_stream(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let (chunks, is_whole) = dechunk(body.as_bytes());
    Reply {
        status: 200,
        head: head.to_owned(),
        body: chunks.concat(),
        chunks,
        is_whole,
    }
}

#[test]
fn streams_have_the_captured_events_in_the_captured_order() {
    for (forced, fields, captured) in [
        (true, r#""stream":true"#, captured!("raw_stream.txt")),
        (
            false,
            r#""stream":true"#,
            captured!("raw_noforce_stream.txt"),
        ),
        (
            false,
            r#""stream":true,"stream_options":{"include_usage":true}"#,
            captured!("raw_stream.txt"),
        ),
        (
            false,
            r#""stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}"#,
            captured!("raw_stream_cont.txt"),
        ),
    ] {
        // Slow enough that the reader keeps up, and each event has one token.
        let server = Server::start(2.0, |settings| {
            settings.force_include_usage = forced;
            settings.prompt_tokens = Some(121);
        });
        let reply = server.chat(&chat(&format!(r#"{fields},"max_tokens":16"#)));
        let captured = captured_stream(captured);
        assert_eq!(stages(&reply), stages(&captured), "{fields}");
        assert_eq!(
            head_shape(&reply.head.replace("connection: close\r\n", "")),
            head_shape(&captured.head)
        );
        assert!(reply.is_whole);
        for chunk in &reply.chunks {
            assert!(
                chunk.starts_with("data: ") && chunk.ends_with("\n\n"),
                "{chunk:?}"
            );
            assert_eq!(
                chunk.matches("\n\n").count(),
                1,
                "an event a chunk: {chunk:?}"
            );
        }
    }
}

/// Families with their kinds, and each series with its labels but without its value.
fn series(page: &str) -> (BTreeMap<&str, &str>, BTreeSet<String>) {
    let kinds = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let series = page.lines().filter(|line| !line.starts_with('#'));
    let named = series
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series);
    let kinds = kinds.filter_map(|line| line.split_once(' ')).collect();
    // What the cache is made of differs between deployments, and is looked at below.
    let named = named.map(|series| match series.split_once('{') {
        Some(("vllm:cache_config_info", _)) => "vllm:cache_config_info".to_owned(),
        _ => series.to_owned(),
    });
    (kinds, named.collect())
}

#[test]
fn the_metrics_page_has_the_captured_series() {
    let server = server();
    server.chat(&chat(r#""max_tokens":1"#));
    let page = server.get("/metrics");
    assert_eq!(
        head_shape(&page.head.replace("connection: close\r\n", "")),
        head_shape(captured!("metrics.headers").trim_end())
    );
    let (our_kinds, our_series) = series(&page.body);
    let (kinds, series) = series(captured!("metrics_after.txt"));
    let left_out = |name: &str| {
        name.starts_with("python_")
            || name.starts_with("process_virtual")
            || name.starts_with("process_cpu")
            || name.starts_with("process_open")
            || name.starts_with("process_max")
            || name.starts_with("http_request_")
            || name.starts_with("http_response_")
    };
    let kinds: BTreeMap<&str, &str> = kinds
        .into_iter()
        .filter(|(name, _)| !left_out(name))
        .collect();
    let series: BTreeSet<String> = series
        .into_iter()
        .filter(|series| !left_out(series))
        .collect();
    assert_eq!(our_kinds, kinds);
    assert_eq!(our_series, series);
    let labels = |page: &str| {
        let line = page
            .lines()
            .find(|line| line.starts_with("vllm:cache_config_info"))
            .unwrap();
        let labels = line.split('"').step_by(2).map(str::to_owned);
        labels.collect::<Vec<_>>()
    };
    assert_eq!(labels(&page.body), labels(captured!("metrics_after.txt")));
    for line in page.body.lines().filter(|line| line.starts_with("# HELP")) {
        assert!(captured!("metrics_after.txt").contains(line), "{line}");
    }
}
