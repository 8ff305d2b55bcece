//! How a run's connections are made: headers, TLS, proxy, and a log of what it took to open them.
//!
//! Everything is read anew for every run, so that a rotated token or certificate is picked up, and every
//! run has a pool of its own, so that no run meets a connection that vLLM is about to close.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HOST, HeaderValue};
use tokio::time::Instant;
use tower::{Layer, Service};
use url::{Position, Url};

use super::credentials::Credentials;
use super::error::ClientError;
use super::resolver::Resolver;
use super::tls;
use crate::endpoint::{Endpoint, Proxy, Route};
use crate::reach::Reach;

/// The server that a client is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// This one alone: it may be known to TLS by another name.
    Server(&'a Url),
    /// Any: nothing that is sent is meant for one of them.
    Anyone,
}

/// An HTTP/1.1 client for one run, on the way that `route` describes.
///
/// No redirect is followed, no proxy is used that was not configured, no body is decompressed, and no
/// request waits for Nagle's algorithm.
pub(super) fn http(
    target: Target<'_>,
    route: &Route,
    credentials: &Credentials,
    connect_timeout: Duration,
    log: ConnectLog,
) -> Result<reqwest::Client, ClientError> {
    let mut headers = credentials.headers.clone();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let mut alias = None;
    if let (Target::Server(url), Some(name)) = (target, &route.tls.server_name)
        && let Some(host) = url.host_str()
    {
        // The connection's addresses are the host's, and so is what HTTP says; only TLS says the name.
        let host_field = &url[Position::BeforeHost..Position::AfterPort];
        if let Ok(host_field) = HeaderValue::from_str(host_field) {
            headers.insert(HOST, host_field);
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        alias = Some((name.clone(), bare.to_owned()));
    }
    // The proxy's certificate is looked at by the same authorities as the server's.
    let by_tls_to_proxy = route.proxy.as_ref().is_some_and(Proxy::is_encrypted);
    let encrypted = match target {
        Target::Server(url) => by_tls_to_proxy || url.scheme() == "https",
        Target::Anyone => true,
    };
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(usize::MAX)
        .user_agent(concat!("vllm-prober/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .tls_backend_preconfigured(tls::settings(&route.tls, encrypted)?)
        .connector_layer(log);
    if route.ip.is_some() || alias.is_some() || route.reach != Reach::Anywhere {
        builder = builder.dns_resolver(Arc::new(Resolver {
            ip: route.ip,
            alias,
            reach: route.reach.clone(),
        }));
    }
    if let Some(proxy) = &route.proxy {
        let mut proxy = reqwest::Proxy::all(proxy.url.clone())?;
        if let Some((username, password)) = &credentials.proxy {
            proxy = proxy.basic_auth(username, password.expose());
        }
        builder = builder.proxy(proxy);
    }
    Ok(builder.build()?)
}

/// The address of `path` below the server's root, by the name that TLS is to ask for.
pub(super) fn address(endpoint: &Endpoint, path: &str) -> Url {
    known_by(endpoint.url(path), &endpoint.route)
}

/// `url` by the name that TLS is to ask for on this way.
pub(super) fn known_by(mut url: Url, route: &Route) -> Url {
    if let Some(name) = &route.tls.server_name
        && url.scheme() == "https"
        && let Some(port) = url.port_or_known_default()
    {
        // Neither can fail on an `https` URL with a name that the configuration has looked at.
        let _ = url.set_host(Some(name));
        let _ = url.set_port(Some(port));
    }
    url
}

/// Counts the connections that were opened, and the time it took: DNS, TCP and TLS.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectLog(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    opening: AtomicU32,
    opened: AtomicU32,
    nanoseconds: AtomicU64,
}

impl ConnectLog {
    pub(super) fn opened(&self) -> u32 {
        self.0.opened.load(Ordering::Relaxed)
    }

    /// Whether a connection is being opened now.
    pub(super) fn is_opening(&self) -> bool {
        self.0.opening.load(Ordering::Relaxed) > 0
    }

    pub(super) fn mean_time(&self) -> Option<Duration> {
        let total = Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed));
        total.checked_div(self.opened())
    }
}

impl<S> Layer<S> for ConnectLog {
    type Service = LoggedConnector<S>;

    fn layer(&self, connector: S) -> Self::Service {
        LoggedConnector {
            connector,
            log: self.clone(),
        }
    }
}

/// One connection being opened, until it is dropped: opened, failed or given up.
struct Opening(ConnectLog);

impl Opening {
    fn begin(log: &ConnectLog) -> Self {
        log.0.opening.fetch_add(1, Ordering::Relaxed);
        Self(log.clone())
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.0.opening.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connector whose successes are logged.
#[derive(Clone, Debug)]
pub(super) struct LoggedConnector<S> {
    connector: S,
    log: ConnectLog,
}

impl<S, R> Service<R> for LoggedConnector<S>
where
    S: Service<R, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.connector.call(request);
        let log = self.log.clone();
        Box::pin(async move {
            let _opening = Opening::begin(&log);
            let start = Instant::now();
            let connection = connecting.await?;
            let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            log.0.nanoseconds.fetch_add(took, Ordering::Relaxed);
            log.0.opened.fetch_add(1, Ordering::Relaxed);
            Ok(connection)
        })
    }
}
