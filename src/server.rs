//! What the daemon shows over HTTP, all of it a function of the board's snapshot.
//!
//! | path | meaning |
//! |---|---|
//! | `/`, `/deployments/…`, `/runs/…`, `/precision`, `/changes`, `/about` | the pages for people |
//! | `/deployments/…` | POST: the buttons of that page |
//! | `/assets/…` | what the pages load |
//! | `/metrics` | Prometheus exposition, gzipped when asked |
//! | `/config` | the running configuration, secrets masked |
//! | `/events` | server-sent events: something on the pages has changed |
//! | `/-/healthy` | 200 while the process serves |
//! | `/discovery` | the deployments as targets, for Prometheus' `http_sd` |
//! | `/api/v1/…` | the deployments in JSON, and what can be said of their verdicts |
//! | `/probe` | a light run at scrape time, of a target by name or address |
//! | `/-/reload` | POST: read the configuration anew |
//! | `/-/ready` | 200 once the history is open and the schedule runs, 503 before and during a shutdown |
//!
//! Before a route is asked, a request has passed a [`Front`]: TLS, limits, a password, the prefix of a proxy.

mod api;
mod client_certificates;
mod connections;
mod crowd;
mod discovery;
mod events;
mod front;
pub mod metrics;
mod pages;
mod passwords;
mod patience;
mod probe;
mod provenance;
mod tls;
mod token_bucket;
mod turns;
mod web;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

pub use self::client_certificates::ClientPolicy;
use self::crowd::Crowd;
use self::events::Listening;
pub use self::front::{Front, MAX_CONNECTIONS};
use self::metrics::Exposition;
pub use self::pages::last_run_in_words;
pub(crate) use self::pages::{Stand, quantity, verdict_in_words};
pub use self::passwords::Users;
use self::probe::ProbeDesk;
pub use self::probe::ProbeSettings;
use self::provenance::Provenance;
pub use self::tls::{TlsSettings, ciphers, curves, is_of_tls13};
pub use self::web::{RateLimit, Web};
use crate::board::Board;
use crate::discovery::source::SourceStatus;
use crate::history::Health;
use crate::lifecycle::{Lifecycle, Probing, Reloader};
use crate::vitals::Vitals;

/// Readers of the history at once.
const READERS: usize = 4;

/// What the handlers share.
#[derive(Debug)]
pub struct Served {
    board: Arc<Board>,
    exposition: Exposition,
    configuration: ArcSwap<String>,
    ready: AtomicBool,
    lifecycle: OnceLock<Lifecycle>,
    storage: OnceLock<PathBuf>,
    /// Turns of those who read the history.
    readers: Semaphore,
    reloader: OnceLock<Reloader>,
    probes: OnceLock<ProbeDesk>,
    /// Comparisons of families that were worked out.
    compared: pages::Kept,
    /// What came of the buttons that were pressed last.
    outcomes: pages::Outcomes,
}

impl Served {
    /// Serves `board` of a program whose configuration, fit to be shown, was loaded at `configured_at`.
    pub fn new(
        board: Arc<Board>,
        vitals: Arc<Vitals>,
        configuration: String,
        configured_at: Timestamp,
    ) -> Self {
        let exposition = Exposition::new(Arc::clone(&board), vitals, configured_at);
        Self {
            board,
            exposition,
            configuration: ArcSwap::from_pointee(configuration),
            ready: AtomicBool::new(false),
            lifecycle: OnceLock::new(),
            storage: OnceLock::new(),
            readers: Semaphore::new(READERS),
            reloader: OnceLock::new(),
            probes: OnceLock::new(),
            compared: pages::Kept::default(),
            outcomes: pages::Outcomes::since(configured_at),
        }
    }

    /// Lets whoever can reach the server change what `lifecycle` can. To be said once, before it is served.
    pub fn allow_lifecycle(&self, lifecycle: Lifecycle) {
        // A second one would be another prober's.
        let _ = self.lifecycle.set(lifecycle);
    }

    /// Shows how the history in the directory `storage` is, and what is in it. To be said once, before it is served.
    pub fn show_history(&self, storage: PathBuf, health: Arc<Health>) {
        let _ = self.storage.set(storage);
        self.exposition.show_history(health);
    }

    /// Lets whoever can reach the server have the configuration read anew. To be said once, before it is served.
    pub fn allow_reload(&self, reloader: Reloader) {
        let _ = self.reloader.set(reloader);
    }

    /// Answers `/probe` with what `probing` comes to. To be said once, before it is served.
    pub fn answer_probes(&self, probing: Probing, settings: ProbeSettings) {
        let _ = self.probes.set(ProbeDesk::new(probing, settings));
    }

    /// Shows another configuration, which holds since `at`.
    pub fn reloaded(&self, configuration: String, at: Timestamp) {
        self.configuration.store(Arc::new(configuration));
        self.exposition.reloaded(at);
    }

    /// Shows that another configuration could not be used at `at`.
    pub fn reload_failed(&self, at: Timestamp) {
        self.exposition.reload_failed(at);
    }

    /// Shows that there is a web configuration, loaded at `at`. To be said once.
    pub fn show_web_configuration(&self, at: Timestamp) {
        self.exposition.show_web_config(at);
    }

    /// Shows that the web configuration was read anew at `at`.
    pub fn web_reloaded(&self, at: Timestamp) {
        self.exposition.web_reloaded(at);
    }

    /// Shows that the web configuration could not be used at `at`.
    pub fn web_reload_failed(&self, at: Timestamp) {
        self.exposition.web_reload_failed(at);
    }

    /// Shows how the sources of deployments fare.
    pub fn show_sources(&self, sources: Vec<SourceStatus>) {
        self.exposition.show_sources(sources);
    }

    /// Whether the schedule runs, for `/-/ready`.
    pub fn mark_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

/// Answers on every listener behind `front` until `stop`, then ends after the answers that are under way.
///
/// # Errors
/// When a listener fails for good.
pub async fn serve(
    listeners: Vec<TcpListener>,
    served: Arc<Served>,
    front: Arc<Front>,
    stop: CancellationToken,
) -> io::Result<()> {
    let crowd = Crowd::new(front.max_connections);
    let listening = Listening::new(front.max_connections, stop.clone());
    let mut serving = JoinSet::new();
    for listener in listeners {
        serving.spawn(connections::serve(
            listener,
            Arc::clone(&front),
            Arc::clone(&crowd),
            router(Arc::clone(&served), listening.clone()),
            stop.clone(),
        ));
    }
    while let Some(ended) = serving.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

/// Every route.
fn router(served: Arc<Served>, listening: Listening) -> Router {
    let events = move |State(served): State<Arc<Served>>| async move {
        listening.answer(served.board.version())
    };
    Router::new()
        .route("/metrics", get(exposition))
        .route("/config", get(configuration))
        .route("/probe", get(probe::probe))
        .route("/discovery", get(discovery::targets))
        .route("/events", get(events))
        .route("/-/healthy", get(|| async { "vllm-prober is healthy.\n" }))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload))
        .merge(api::router())
        .merge(pages::router())
        .fallback(pages::lost)
        .layer(CompressionLayer::new())
        .with_state(served)
}

async fn exposition(State(served): State<Arc<Served>>) -> Response {
    // Rendering a thousand deployments takes a while, and is not to hold up the other answers.
    match tokio::task::spawn_blocking(move || served.exposition.text()).await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn configuration(State(served): State<Arc<Served>>) -> Response {
    // It is a user's text: no browser is to take it for a page.
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, String::clone(&served.configuration.load())).into_response()
}

async fn reload(
    State(served): State<Arc<Served>>,
    Extension(provenance): Extension<Provenance>,
) -> (StatusCode, String) {
    // Programs say nothing of where they are.
    if let Provenance::Elsewhere(told) = provenance {
        let told =
            format!("this was sent from a page of another place ({told}), so nothing was done\n");
        return (StatusCode::FORBIDDEN, told);
    }
    let Some(reloader) = served.reloader.get() else {
        let told =
            "the lifecycle API is not enabled; start the daemon with --web.enable-lifecycle\n";
        return (StatusCode::FORBIDDEN, told.to_owned());
    };
    match reloader.reload().await {
        Ok(()) => (
            StatusCode::OK,
            "The configuration was read anew.\n".to_owned(),
        ),
        Err(told) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{told}\n")),
    }
}

async fn ready(State(served): State<Arc<Served>>) -> (StatusCode, &'static str) {
    if served.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "vllm-prober is ready.\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "vllm-prober is not ready: the schedule is not running.\n",
        )
    }
}
