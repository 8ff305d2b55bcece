//! How a run's connections are made: TLS, token, proxy, and a log of what it took to open them.
//!
//! Everything is read anew for every run, so that a rotated token or certificate is picked up, and every
//! run has a pool of its own, so that no run meets a connection that vLLM is about to close.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::deployment::{Endpoint, SecretSource};

/// Why no client could be made for a run: nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The bearer token's file cannot be read.
    #[error("cannot read the token file {path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bearer token's environment variable is not set.
    #[error("the environment variable {0}, which should hold the token, is not set or not UTF-8")]
    TokenEnv(String),
    /// The token holds characters that no header can carry.
    #[error("the token from {0} is empty or holds characters that an HTTP header cannot carry")]
    TokenText(String),
    /// The CA file cannot be read, or holds no certificate.
    #[error("cannot use the CA file {path}: {message}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// TLS cannot be set up on this machine.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be built.
    #[error("cannot set up HTTP: {0}")]
    Http(#[from] reqwest::Error),
}

/// An HTTP/1.1 client for one run against `endpoint`.
///
/// No redirect is followed, no proxy is used that was not configured, no body is decompressed, and no
/// request waits for Nagle's algorithm.
pub(super) fn http(
    endpoint: &Endpoint,
    connect_timeout: Duration,
    log: ConnectLog,
) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(usize::MAX)
        .user_agent(concat!("vllm-prober/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers(endpoint)?)
        .tls_backend_preconfigured(tls(endpoint)?)
        .connector_layer(log);
    if let Some(proxy) = &endpoint.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.clone())?);
    }
    Ok(builder.build()?)
}

fn headers(endpoint: &Endpoint) -> Result<HeaderMap, ClientError> {
    let mut headers =
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
    if let Some(source) = &endpoint.bearer_token {
        let (token, place) = read_secret(source)?;
        let token = token.trim();
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| ClientError::TokenText(place.clone()))?;
        if token.is_empty() {
            return Err(ClientError::TokenText(place));
        }
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The secret, and where it came from.
fn read_secret(source: &SecretSource) -> Result<(String, String), ClientError> {
    match source {
        SecretSource::File(path) => std::fs::read_to_string(path)
            .map(|text| text.lines().next().unwrap_or_default().to_owned())
            .map(|secret| (secret, path.display().to_string()))
            .map_err(|source| ClientError::TokenFile {
                path: path.clone(),
                source,
            }),
        SecretSource::Env(name) => std::env::var(name)
            .map(|secret| (secret, format!("${name}")))
            .map_err(|_| ClientError::TokenEnv(name.clone())),
    }
}

fn tls(endpoint: &Endpoint) -> Result<rustls::ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    let builder = match &endpoint.ca_file {
        Some(path) => {
            let refused = |message: String| ClientError::CaFile {
                path: path.clone(),
                message,
            };
            let mut roots = RootCertStore::empty();
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?
            {
                let certificate = certificate.map_err(|error| refused(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| refused(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(refused("it holds no certificate in PEM form".to_owned()));
            }
            builder.with_root_certificates(roots)
        }
        None if endpoint.is_https() => builder.with_platform_verifier()?,
        // Without TLS the system's certificates need not be read.
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    Ok(builder.with_no_client_auth())
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
