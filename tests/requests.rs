//! The requests of a run as the server sees them: their bodies, their headers, and those that only warm up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use vllm_prober::endpoint::{Auth, SecretSource};
use vllm_prober::runner::RunError;
use vllm_prober::workload::{PrefixCache, Workload};

#[path = "common/replay.rs"]
mod replay;
#[path = "common/scripted.rs"]
mod scripted;

use replay::{endpoint, measure, workload};
use scripted::{Asked, Scripted, TOKENS};

fn healthy() -> Scripted {
    Scripted::start(|asked, wire| wire.answer(asked))
}

/// The POSTs of a run of `workload`.
fn posts(workload: Workload) -> Vec<Asked> {
    let server = healthy();
    let run = measure(endpoint(&server.base_url()), workload).unwrap();
    assert!(
        run.records.iter().all(|record| record.outcome.is_ok()),
        "{:?}",
        run.records[0].outcome
    );
    server.posts()
}

#[test]
fn warm_up_requests_are_sent_and_left_out() {
    let server = Scripted::start(|asked, wire| {
        if asked.number < 3 {
            std::thread::sleep(Duration::from_millis(200));
        }
        wire.answer(asked)
    });
    let mut workload = workload(2, 5);
    workload.warmup = 3;
    let run = measure(endpoint(&server.base_url()), workload).unwrap();
    assert_eq!(
        (server.posts().len(), run.records.len(), run.planned),
        (8, 5, 5)
    );
    for record in &run.records {
        assert!(
            record.ended < Duration::from_millis(200),
            "a warm-up request was recorded, or its time was: {record:?}"
        );
    }
}

#[test]
fn bodies_are_byte_identical_except_for_the_salt() {
    for (mode, salts) in [
        (PrefixCache::Warm, 0),
        (PrefixCache::PerRun, 1),
        (PrefixCache::Cold, 8),
    ] {
        let mut workload = workload(4, 6);
        (workload.prefix_cache, workload.warmup) = (mode, 2);
        let posts = posts(workload);
        assert_eq!(posts.len(), 8);
        let mut seen = BTreeSet::new();
        let mut without_salt = BTreeSet::new();
        for post in &posts {
            let body: Value = serde_json::from_str(&post.body).unwrap();
            match body.get("cache_salt") {
                None => without_salt.insert(post.body.clone()),
                Some(salt) => {
                    seen.insert(salt.to_string());
                    without_salt.insert(post.body.replace(&salt.to_string(), "…"))
                }
            };
        }
        assert_eq!(seen.len(), salts, "{mode:?}: {seen:?}");
        assert_eq!(without_salt.len(), 1, "{mode:?}: {without_salt:?}");
    }
}

#[test]
fn no_two_runs_share_a_salt() {
    let salt = |mode| {
        let mut workload = workload(1, 1);
        workload.prefix_cache = mode;
        let body: Value = serde_json::from_str(&posts(workload)[0].body).unwrap();
        body["cache_salt"].as_str().unwrap().to_owned()
    };
    for mode in [PrefixCache::PerRun, PrefixCache::Cold] {
        assert_ne!(salt(mode), salt(mode), "{mode:?}");
    }
}

#[test]
fn the_body_asks_for_exactly_what_the_workload_says() {
    let expected = |stream: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"a prompt"}}],"max_tokens":{TOKENS},"temperature":0.0{stream}}}"#
        )
    };
    for (stream, fields) in [
        (
            true,
            r#","stream":true,"stream_options":{"include_usage":true}"#,
        ),
        (false, ""),
    ] {
        let mut workload = workload(2, 4);
        workload.stream = stream;
        for post in posts(workload) {
            assert_eq!(post.body, expected(fields));
            assert!(
                post.head
                    .starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
                "{}",
                post.head
            );
            assert_eq!(post.header("content-type"), Some("application/json"));
            assert_eq!(post.header("accept-encoding"), Some("identity"));
            assert_eq!(post.header("authorization"), None);
        }
    }
}

#[test]
fn the_token_is_the_first_line_of_its_file() {
    for text in [
        "secret",
        "secret\n",
        "secret\r\n",
        " secret \n\n",
        "secret\nwritten by vault\n",
    ] {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), text).unwrap();
        let server = healthy();
        let mut endpoint = endpoint(&server.base_url());
        endpoint.auth = Auth::bearer(SecretSource::File(token.path().to_owned()));
        measure(endpoint, workload(2, 4)).unwrap();
        let asked = server.asked();
        assert!(asked.len() >= 6, "the versions and the completions");
        for asked in asked {
            assert_eq!(
                asked.header("authorization"),
                Some("Bearer secret"),
                "{text:?}"
            );
        }
    }
}

#[test]
fn a_token_file_that_cannot_be_used_is_named_and_nothing_is_sent() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [Path::new("/nowhere/vllm-token"), empty.path()] {
        let server = healthy();
        let mut endpoint = endpoint(&server.base_url());
        endpoint.auth = Auth::bearer(SecretSource::File(path.to_owned()));
        let error = measure(endpoint, workload(1, 1)).unwrap_err();
        assert!(matches!(error, RunError::Client(_)), "{error:?}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        assert_eq!(server.accepted(), 0);
    }
}
