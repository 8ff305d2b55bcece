//! The daemon's pages over whatever there is to show, on a port of their own, and a history behind them.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vllm_prober::history::{Entry, Health, History};
use vllm_prober::report::{RunJson, Source};
use vllm_prober::server::{Served, serve};

/// Serves until `stop`, and says where.
pub(crate) async fn served_at(served: Served, stop: &CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a loopback port");
    let address = listener
        .local_addr()
        .expect("a bound listener has an address");
    tokio::spawn(serve(
        vec![listener],
        Arc::new(served),
        Arc::default(),
        stop.clone(),
    ));
    format!("http://{address}")
}

/// Lets `served` show a new history in `directory`, which has `runs` that ended at `now`.
pub(crate) async fn show_history(
    served: &Served,
    directory: &Path,
    runs: impl IntoIterator<Item = RunJson>,
    now: Timestamp,
) {
    let entries = runs
        .into_iter()
        .map(|run| Entry::new(run, Source::Prober, now).expect("it can be stored"));
    let history = History::open(directory).await.expect("a history");
    let entries: Vec<_> = entries.collect();
    history.append(&entries).await.expect("they are stored");
    history.close().await;
    served.show_history(directory.to_owned(), Arc::new(Health::default()));
}
