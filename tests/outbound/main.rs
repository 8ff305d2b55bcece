//! What a run shows to be let in, which way it takes, and that nobody else gets any of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use tempfile::NamedTempFile;
use vllm_prober::endpoint::{Endpoint, SecretSource};
use vllm_prober::measurement::{RequestError, Run};

mod elsewhere;
mod headers;
mod oauth2;
#[path = "../common/program.rs"]
mod program;
mod proxies;
#[path = "../common/replay.rs"]
mod replay;
#[path = "../common/scripted.rs"]
mod scripted;
#[path = "../common/socks.rs"]
mod socks;
#[path = "../common/tls.rs"]
mod tls;
mod tls_settings;

use replay::{measure, workload};
use scripted::{Habits, Scripted};

/// A server that answers everything well.
fn healthy() -> Scripted {
    Scripted::start(|asked, wire| wire.answer(asked))
}

/// The same behind TLS.
fn encrypted(tls: Arc<rustls::ServerConfig>) -> Scripted {
    let habits = Habits {
        tls: Some(tls),
        ..Habits::default()
    };
    Scripted::with(habits, Arc::new(|asked, wire| wire.answer(asked)))
}

/// A file that holds `text`, and where to read it.
fn secret(text: &str) -> (NamedTempFile, SecretSource) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let source = SecretSource::File(file.path().to_owned());
    (file, source)
}

/// A short run against `endpoint`.
fn run(endpoint: Endpoint) -> Run {
    measure(endpoint, workload(2, 4)).unwrap()
}

fn failures(run: &Run) -> Vec<&RequestError> {
    let records = run.records.iter();
    records
        .filter_map(|record| record.outcome.as_ref().err())
        .collect()
}

/// Checks that every request had its answer.
fn assert_let_in(run: &Run, what: &str) {
    assert_eq!(failures(run), Vec::<&RequestError>::new(), "{what}");
    assert_eq!(run.records.len(), 4, "{what}");
}
